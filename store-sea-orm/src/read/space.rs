//! What records take, and which could be given up.

use sync_core::{EvictionCandidate, EvictionQuery, RecordId, RecordKey, Result, Target};

use crate::{
    dialect::Dialect,
    driver::Run,
    row::{ReadRow, counter},
    rows::{DELETED, LIVE, read_id},
    sql::Sql,
    store::Shared,
};

/// True for a record `r` without operations.
const NOT_PENDING: &str =
    "NOT EXISTS (SELECT 1 FROM sync_queue o WHERE o.target_id = r.target_id AND o.id = r.id)";

/// About what a row's fixed columns and its places in the indexes take.
const ROW_BYTES: u64 = 96;

/// The bytes of a row of texts, as SQL.
fn bytes(columns: &[&str]) -> String {
    let sum = columns
        .iter()
        .map(|column| format!(" + COALESCE(OCTET_LENGTH({column}), 0)"));
    format!("({ROW_BYTES}{})", sum.collect::<String>())
}

fn record_bytes() -> String {
    bytes(&["r.id", "r.view", "r.base_payload", "r.version_token"])
}

/// Adds up a number of bytes as a 64-bit integer.
fn total(dialect: Dialect, bytes: &str) -> String {
    let integer = dialect.integer();
    format!("CAST(COALESCE(SUM({bytes}), 0) AS {integer})")
}

pub(crate) async fn load_unmarked<R: Run>(
    store: &Shared,
    run: &R,
    target: &Target,
    generation: u64,
    after: Option<&RecordId>,
    limit: u64,
) -> Result<Vec<RecordId>> {
    let Some(number) = store.targets.find(run, target).await? else {
        return Ok(Vec::new());
    };
    let mut sql = Sql::new(
        run.dialect(),
        "SELECT r.id FROM sync_records r WHERE r.target_id = ",
    );
    sql.bind(number)
        .push(&format!(" AND r.base_kind = {LIVE} AND r.mark < "))
        .bind(counter("generation", generation)?);
    if let Some(after) = after {
        sql.push(" AND r.id > ").bind(after.as_str());
    }
    sql.push(" AND ")
        .push(NOT_PENDING)
        .push(" ORDER BY r.id")
        .limit(Some(limit));
    run.rows(sql).await?.iter().map(|row| read_id(row, 0)).collect()
}

pub(crate) async fn load_eviction_candidates<R: Run>(
    store: &Shared,
    run: &R,
    query: &EvictionQuery,
) -> Result<Vec<EvictionCandidate>> {
    let bytes = total_of_row(run.dialect(), &record_bytes());
    let mut sql = Sql::new(
        run.dialect(),
        format!("SELECT r.target_id, r.id, {bytes} FROM sync_records r WHERE "),
    );
    sql.push(&format!(
        "r.base_kind = {}",
        if query.tombstones { DELETED } else { LIVE }
    ));
    if let Some(target) = &query.target {
        let Some(number) = store.targets.find(run, target).await? else {
            return Ok(Vec::new());
        };
        sql.push(" AND r.target_id = ").bind(number);
    }
    if let Some(before) = query.touched_before {
        sql.push(" AND r.touched_at < ").bind(before);
    }
    sql.push(" AND ")
        .push(NOT_PENDING)
        .push(" ORDER BY r.touched_at, r.target_id, r.id")
        .limit(Some(query.limit));
    let mut candidates = Vec::new();
    for row in run.rows(sql).await? {
        let target = store.targets.target_of(run, row.int(0)?).await?;
        candidates.push(EvictionCandidate {
            key: RecordKey::new(target, read_id(&row, 1)?),
            bytes: row.count(2)?,
        });
    }
    Ok(candidates)
}

fn total_of_row(dialect: Dialect, bytes: &str) -> String {
    let integer = dialect.integer();
    format!("CAST({bytes} AS {integer})")
}

pub(crate) async fn approx_size<R: Run>(store: &Shared, run: &R, target: Option<&Target>) -> Result<u64> {
    let number = match target {
        Some(target) => match store.targets.find(run, target).await? {
            Some(number) => Some(number),
            None => return Ok(0),
        },
        None => None,
    };
    let dialect = run.dialect();
    let parts = [
        ("sync_records r", record_bytes()),
        (
            "sync_queue r",
            bytes(&["r.id", "r.payload", "r.base", "r.changed", "r.last_failure"]),
        ),
        ("sync_conflicts r", bytes(&["r.id", "r.body"])),
    ];
    let mut sql = Sql::new(dialect, "SELECT ");
    for (index, (table, bytes)) in parts.iter().enumerate() {
        sql.push(if index > 0 { ", (SELECT " } else { "(SELECT " });
        sql.push(&total(dialect, bytes)).push(" FROM ").push(table);
        if let Some(number) = number {
            sql.push(" WHERE r.target_id = ").bind(number);
        }
        sql.push(")");
    }
    let mut size = 0;
    if let Some(row) = run.row(sql).await? {
        for column in 0..parts.len() {
            size += row.count(column)?;
        }
    }
    Ok(size)
}
