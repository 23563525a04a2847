//! The queue of operations.

use sync_core::{OpCounts, OpQuery, OpStateKind, PendingOp, RecordKey, Result, SyncScope, Timestamp};

use crate::{
    dialect::Dialect,
    driver::Run,
    read::records::RECORD_SELECT,
    row::{ReadRow, counter},
    rows::{BASE_SELECT, OP_SELECT, op_state_kind, read_id, read_op},
    schema::tables::{UNUSUAL_STATE, WAITS},
    sql::{Conditions, Sql},
    store::Shared,
};

/// True for an operation `o` that heads its record's queue.
const IS_HEAD: &str = "NOT EXISTS (SELECT 1 FROM sync_queue p WHERE p.target_id = o.target_id AND p.id = o.id AND p.seq < o.seq)";

/// True for an operation `o` that is to be sent.
const IS_ACTIVE: &str = "o.state IN ('queued', 'in_doubt')";

pub(crate) async fn load<R: Run>(store: &Shared, run: &R, query: &OpQuery) -> Result<Vec<PendingOp>> {
    let Some(sql) = statement(store, run, query, Columns::Operation).await? else {
        return Ok(Vec::new());
    };
    let mut ops = Vec::new();
    for row in run.rows(sql).await? {
        let target = store.targets.target_of(run, row.int(1)?).await?;
        ops.push(read_op(&row, 0, RecordKey::new(target, read_id(&row, 2)?))?);
    }
    Ok(ops)
}

/// What a statement about operations `o` reads of each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Columns {
    /// The columns of [`OP_SELECT`].
    Operation,
    /// Those, [`RECORD_SELECT`] and [`BASE_SELECT`] of its record `r`, if there is one, and whether another operation
    /// of the record stands behind it.
    WithRecord,
}

/// True for an operation `o` with another of its record behind it.
const IS_FOLLOWED: &str =
    "EXISTS (SELECT 1 FROM sync_queue n WHERE n.target_id = o.target_id AND n.id = o.id AND n.seq > o.seq)";

/// The statement for the answer; `None` if the answer is empty.
///
/// `+ 0` and `|| ''` keep indexes away: where most of the queue is wanted in the order of `seq`, walking along it
/// and stopping at the limit is the best plan, and SQLite without statistics would rather sort everything.
pub(super) async fn statement<R: Run>(
    store: &Shared,
    run: &R,
    query: &OpQuery,
    columns: Columns,
) -> Result<Option<Sql>> {
    let mut sql = Sql::new(run.dialect(), "SELECT ");
    sql.push(OP_SELECT);
    match columns {
        Columns::Operation => sql.push(" FROM sync_queue o"),
        Columns::WithRecord => sql
            .push(", ")
            .push(RECORD_SELECT)
            .push(", ")
            .push(BASE_SELECT)
            .push(", ")
            .push(IS_FOLLOWED)
            .push(" FROM sync_queue o LEFT JOIN sync_records r ON r.target_id = o.target_id AND r.id = o.id"),
    };
    let mut conditions = Conditions::new(&mut sql);
    let walks = query.limit.is_some();
    if let Some(scope) = &query.scope {
        in_scope(
            conditions
                .and()
                .push(if walks { "o.target_id + 0" } else { "o.target_id" }),
            scope,
        );
    }
    if let Some(target) = &query.target {
        let Some(number) = store.targets.find(run, target).await? else {
            return Ok(None);
        };
        conditions.and().push("o.target_id = ").bind(number);
    }
    if let Some(op_ids) = &query.op_ids {
        if op_ids.is_empty() {
            return Ok(None);
        }
        conditions
            .and()
            .push("o.op_id IN ")
            .bind_list(op_ids.iter().copied());
    }
    if !query.states.is_empty() {
        let most = run.dialect() == Dialect::Sqlite && query.states.iter().any(|state| state.is_active());
        conditions
            .and()
            .push(if most { "o.state || '' IN " } else { "o.state IN " });
        conditions
            .go_on()
            .bind_list(query.states.iter().map(|state| state.as_str()));
    }
    if !query.states.is_empty() && !query.states.contains(&OpStateKind::Queued) {
        conditions.and().push("o.").push(UNUSUAL_STATE);
    }
    if let Some(due_by) = query.due_by {
        conditions.and().push("o.next_attempt_at + 0 <= ").bind(due_by);
    }
    if let Some(due_after) = query.due_after {
        conditions.and().push("o.next_attempt_at > ").bind(due_after);
        if due_after >= Timestamp::EPOCH {
            conditions.and().push("o.").push(WAITS);
        }
    }
    if let Some(after) = query.after_seq {
        conditions
            .and()
            .push("o.seq > ")
            .bind(counter("after_seq", after)?);
    }
    if query.heads_only {
        conditions.and().push(IS_HEAD);
    }
    // What waits for long is found by its time.
    let order = if query.due_after.is_some() {
        "o.seq + 0"
    } else {
        "o.seq"
    };
    sql.push(" ORDER BY ").push(order).limit(query.limit);
    Ok(Some(sql))
}

pub(crate) async fn count<R: Run>(run: &R, scope: Option<&SyncScope>) -> Result<OpCounts> {
    let mut counts = OpCounts::default();
    for row in run.rows(count_statement(run.dialect(), scope)).await? {
        let number = row.count(1)?;
        if number > 0 {
            counts.by_state.insert(row.parse(0, op_state_kind)?, number);
        }
        counts.next_due = counts.next_due.or(row.opt_time(2)?);
    }
    Ok(counts)
}

/// One statement, so that numbers and time belong to one state of the store.
fn count_statement(dialect: Dialect, scope: Option<&SyncScope>) -> Sql {
    let mut sql = Sql::new(dialect, "");
    if dialect == Dialect::Sqlite {
        // The index by state has the others; all of them together are counted without looking at their states.
        sql.push("WITH total(n) AS MATERIALIZED (SELECT COUNT(*) FROM sync_queue c WHERE TRUE");
        scoped(&mut sql, "c.target_id", scope);
        sql.push(") SELECT 'queued', (SELECT n FROM total) - (SELECT COUNT(*) FROM sync_queue c WHERE c.")
            .push(UNUSUAL_STATE);
        scoped(&mut sql, "c.target_id", scope);
        sql.push("), ");
        next_due(&mut sql, scope);
        sql.push(" UNION ALL SELECT c.state, COUNT(*), NULL FROM sync_queue c WHERE c.")
            .push(UNUSUAL_STATE);
    } else {
        sql.push("SELECT c.state, COUNT(*), ");
        next_due(&mut sql, scope);
        sql.push(" FROM sync_queue c WHERE TRUE");
    }
    scoped(&mut sql, "c.target_id", scope);
    sql.push(" GROUP BY c.state");
    sql
}

/// The earliest time of an attempt, as a value. In SQLite, `total` has the number of all operations.
fn next_due(sql: &mut Sql, scope: Option<&SyncScope>) {
    let of_head = format!("SELECT o.next_attempt_at FROM sync_queue o WHERE {IS_ACTIVE} AND {IS_HEAD}");
    if sql.dialect() != Dialect::Sqlite {
        sql.push("(").push(&of_head);
        scoped(sql, "o.target_id", scope);
        sql.push(" ORDER BY o.next_attempt_at LIMIT 1)");
        return;
    }
    // What may be sent at once is not in the index by time. Operations that were tried are most often older than those,
    // and one that stands behind another does not count; with the limit, the search ends when all were seen.
    sql.push("(SELECT MIN(at) FROM (SELECT 0 AS at WHERE EXISTS (SELECT 1 FROM (SELECT f.* FROM sync_queue f WHERE NOT f.")
        .push(WAITS);
    scoped(sql, "f.target_id + 0", scope);
    sql.push(
        " ORDER BY f.seq DESC LIMIT (SELECT n FROM total) - (SELECT COUNT(*) FROM sync_queue c WHERE c.",
    )
    .push(WAITS);
    scoped(sql, "c.target_id + 0", scope);
    sql.push(")) o WHERE ")
        .push(IS_ACTIVE)
        .push(" AND ")
        .push(IS_HEAD);
    sql.push(") UNION ALL SELECT * FROM (")
        .push(&of_head)
        .push(" AND o.")
        .push(WAITS);
    scoped(sql, "o.target_id + 0", scope);
    sql.push(" ORDER BY o.next_attempt_at LIMIT 1)))");
}

/// One more condition: the operation with this target is of this scope. With `+ 0`, no index is used for it.
fn scoped(sql: &mut Sql, target: &str, scope: Option<&SyncScope>) {
    if let Some(scope) = scope {
        in_scope(sql.push(" AND ").push(target), scope);
    }
}

fn in_scope(sql: &mut Sql, scope: &SyncScope) {
    sql.push(" IN (SELECT target_id FROM sync_targets WHERE scope = ")
        .bind(scope.key().as_str())
        .push(")");
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use sync_core::OpStateKind;

    use super::*;
    use crate::{OpenOptions, SeaOrmLocalStore, query_sql::tests::plan};

    #[tokio::test]
    async fn the_next_operations_are_read_along_the_queue() {
        let store = SeaOrmLocalStore::open(OpenOptions::memory()).await.unwrap();
        let query = OpQuery {
            scope: Some(SyncScope::new("s").unwrap()),
            states: vec![OpStateKind::Queued, OpStateKind::InDoubt],
            due_by: Some(sync_core::Timestamp::EPOCH),
            heads_only: true,
            limit: Some(100),
            ..OpQuery::default()
        };
        let reader = store.shared().database.reader();
        let sql = statement(store.shared(), &reader, &query, Columns::Operation)
            .await
            .unwrap()
            .unwrap();
        let plan = plan(&store, sql).await;
        assert!(plan.contains("SCAN o") && !plan.contains("TEMP B-TREE"), "{plan}");
        assert!(
            plan.contains("SEARCH p USING COVERING INDEX sync_queue_record"),
            "{plan}"
        );
    }

    #[tokio::test]
    async fn few_operations_are_found_by_index() {
        let store = SeaOrmLocalStore::open(OpenOptions::memory()).await.unwrap();
        let query = OpQuery {
            states: vec![OpStateKind::Parked],
            ..OpQuery::default()
        };
        let reader = store.shared().database.reader();
        let sql = statement(store.shared(), &reader, &query, Columns::Operation)
            .await
            .unwrap()
            .unwrap();
        assert!(plan(&store, sql).await.contains("USING INDEX sync_queue_state"));
    }

    #[tokio::test]
    async fn the_time_of_the_next_attempt_is_found_without_sorting() {
        let store = SeaOrmLocalStore::open(OpenOptions::memory()).await.unwrap();
        for scope in [None, Some(&SyncScope::new("s").unwrap())] {
            let plan = plan(&store, count_statement(Dialect::Sqlite, scope)).await;
            assert!(plan.contains("SCAN o USING INDEX sync_queue_due"), "{plan}");
            assert!(
                plan.contains("SCAN c USING COVERING INDEX sync_queue_due"),
                "{plan}"
            );
            assert!(plan.contains("CO-ROUTINE o"), "{plan}");
            assert!(
                !plan.contains("TEMP B-TREE FOR ORDER BY") && !plan.contains("MATERIALIZE o"),
                "{plan}"
            );
        }
    }
}
