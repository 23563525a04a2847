//! Target states, the clock and settings.

use sync_core::{Incomplete, Pass, Result, Stamp, SyncPoint, Target, TargetState};

use crate::{
    commit::tail,
    dialect::Dialect,
    driver::Run,
    row::{ReadRow, Row},
    sql::Sql,
    targets::read_target,
};

pub(crate) async fn load<R: Run>(run: &R, target: &Target) -> Result<TargetState> {
    let mut sql = Sql::new(
        run.dialect(),
        "SELECT sync_point, incomplete, as_of, pulled_at, swept_at, generation, pass, failures, next_attempt_at \
         FROM sync_targets WHERE stored = 1 AND collection = ",
    );
    sql.bind(target.collection.as_str())
        .push(" AND scope = ")
        .bind(target.scope.key().as_str());
    match run.row(sql).await? {
        Some(row) => read_state(&row, target.clone()),
        None => Ok(TargetState::new(target.clone())),
    }
}

fn read_state(row: &Row, target: Target) -> Result<TargetState> {
    let incomplete = match row.opt_text(1)? {
        Some(_) => Some(row.parse(1, incomplete_of)?),
        None => None,
    };
    let pass = match row.opt_text(6)? {
        Some(_) => Some(row.parse(6, |text| {
            (text == pass_name(Pass::Resync)).then_some(Pass::Resync)
        })?),
        None => None,
    };
    Ok(TargetState {
        target,
        sync_point: row.opt_text(0)?.map(SyncPoint::new),
        incomplete,
        as_of: row.opt_time(2)?,
        pulled_at: row.opt_time(3)?,
        swept_at: row.opt_time(4)?,
        generation: row.count(5)?,
        pass,
        failures: row.small_count(7)?,
        next_attempt_at: row.time(8)?,
    })
}

/// The name as stored.
pub(crate) fn incomplete_name(why: Incomplete) -> &'static str {
    match why {
        Incomplete::NeverPulled => "never_pulled",
        Incomplete::Evicted => "evicted",
        Incomplete::Cleared => "cleared",
    }
}

fn incomplete_of(text: &str) -> Option<Incomplete> {
    [Incomplete::NeverPulled, Incomplete::Evicted, Incomplete::Cleared]
        .into_iter()
        .find(|why| incomplete_name(*why) == text)
}

/// The name as stored.
pub(crate) fn pass_name(pass: Pass) -> &'static str {
    match pass {
        Pass::Resync => "resync",
    }
}

pub(crate) async fn list<R: Run>(run: &R) -> Result<Vec<Target>> {
    let sql = Sql::new(
        run.dialect(),
        "SELECT t.collection, t.scope FROM sync_targets t WHERE t.stored = 1 \
         OR EXISTS (SELECT 1 FROM sync_records r WHERE r.target_id = t.target_id) ORDER BY t.target_id",
    );
    run.rows(sql)
        .await?
        .iter()
        .map(|row| read_target(row, 0))
        .collect()
}

pub(crate) async fn load_clock<R: Run>(run: &R) -> Result<Option<Stamp>> {
    let text = match run.dialect() {
        Dialect::Sqlite => format!("SELECT {}", tail::SELECT),
        Dialect::Postgres | Dialect::MySql => {
            "SELECT 0, value FROM sync_meta WHERE name = 'clock'".to_owned()
        }
    };
    let row = run.row(Sql::new(run.dialect(), text)).await?;
    row.map_or(Ok(None), |row| tail::read_stamp(&row, 1))
}

pub(crate) async fn load_setting<R: Run>(run: &R, name: &str) -> Result<Option<String>> {
    let mut sql = Sql::new(run.dialect(), "SELECT value FROM sync_settings WHERE name = ");
    sql.bind(name);
    run.row(sql).await?.map(|row| row.text(0)).transpose()
}
