//! Conflict records and quarantined rows.

use sync_core::{ConflictQuery, ConflictRecord, MalformedRow, QuarantinedRow, Result, Target};

use crate::{
    driver::Run,
    error::corrupt,
    row::ReadRow,
    rows::read_id,
    sql::{Conditions, Sql},
    store::Shared,
};

pub(crate) async fn load<R: Run>(
    store: &Shared,
    run: &R,
    query: &ConflictQuery,
) -> Result<Vec<ConflictRecord>> {
    let mut sql = Sql::new(run.dialect(), "SELECT body FROM sync_conflicts");
    let mut conditions = Conditions::new(&mut sql);
    for target in query
        .target
        .iter()
        .chain(query.key.as_ref().map(|key| &key.target))
    {
        let Some(number) = store.targets.find(run, target).await? else {
            return Ok(Vec::new());
        };
        conditions.and().push("target_id = ").bind(number);
    }
    if let Some(key) = &query.key {
        conditions.and().push("id = ").bind(key.id.as_str());
    }
    if let Some(open) = query.open {
        conditions.and().push("settled = ").bind(!open);
    }
    if let Some(conflict_id) = query.conflict_id {
        conditions.and().push("conflict_id = ").bind(conflict_id);
    }
    sql.push(" ORDER BY detected_at DESC, conflict_id DESC")
        .limit(query.limit);
    run.rows(sql)
        .await?
        .iter()
        .map(|row| {
            row.opt_json(0)?
                .ok_or_else(|| corrupt("a conflict record is empty"))
        })
        .collect()
}

pub(crate) async fn load_quarantine<R: Run>(
    store: &Shared,
    run: &R,
    target: Option<&Target>,
    limit: u64,
) -> Result<Vec<QuarantinedRow>> {
    let mut sql = Sql::new(
        run.dialect(),
        "SELECT target_id, id, seen_at, raw, error FROM sync_quarantine",
    );
    if let Some(target) = target {
        let Some(number) = store.targets.find(run, target).await? else {
            return Ok(Vec::new());
        };
        sql.push(" WHERE target_id = ").bind(number);
    }
    sql.push(" ORDER BY seen_at DESC, row_id DESC").limit(Some(limit));
    let mut rows = Vec::new();
    for row in run.rows(sql).await? {
        let text = |column| {
            row.opt_json(column)?
                .ok_or_else(|| corrupt("a quarantined row is empty"))
        };
        let id = match row.opt_text(1)? {
            Some(_) => Some(read_id(&row, 1)?),
            None => None,
        };
        rows.push(QuarantinedRow {
            target: store.targets.target_of(run, row.int(0)?).await?,
            row: MalformedRow {
                id,
                raw: text(3)?,
                error: text(4)?,
            },
            seen_at: row.time(2)?,
        });
    }
    Ok(rows)
}
