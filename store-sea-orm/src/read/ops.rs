//! The queue of operations.

use sync_core::{OpCounts, OpQuery, PendingOp, Result, SyncScope};

use crate::{
    driver::{Run, counter},
    rows::{OP_SELECT, op_state_kind, read_op},
    sql::{Conditions, Sql},
    store::Shared,
};

/// True for an operation `o` that heads its record's queue.
const IS_HEAD: &str =
    "NOT EXISTS (SELECT 1 FROM sync_ops p WHERE p.target_id = o.target_id AND p.id = o.id AND p.seq < o.seq)";

pub(crate) async fn load<R: Run>(store: &Shared, run: &R, query: &OpQuery) -> Result<Vec<PendingOp>> {
    let mut sql = Sql::new(run.dialect(), "SELECT ");
    sql.push(OP_SELECT).push(" FROM sync_ops o");
    let mut conditions = Conditions::new(&mut sql);
    if let Some(scope) = &query.scope {
        in_scope(conditions.and().push("o."), scope);
    }
    if let Some(target) = &query.target {
        let Some(number) = store.targets.find(run, target).await? else {
            return Ok(Vec::new());
        };
        conditions.and().push("o.target_id = ").bind(number);
    }
    if let Some(op_ids) = &query.op_ids {
        if op_ids.is_empty() {
            return Ok(Vec::new());
        }
        conditions
            .and()
            .push("o.op_id IN ")
            .bind_list(op_ids.iter().copied());
    }
    if !query.states.is_empty() {
        conditions
            .and()
            .push("o.state IN ")
            .bind_list(query.states.iter().map(|state| state.as_str()));
    }
    if let Some(due_by) = query.due_by {
        // An expression, so that no index on it is used: the rows are wanted by `seq`, and most are due.
        conditions.and().push("o.next_attempt_at + 0 <= ").bind(due_by);
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
    sql.push(" ORDER BY o.seq").limit(query.limit);
    let mut ops = Vec::new();
    for row in run.rows(sql).await? {
        let target = store.targets.target_of(run, row.int(1)?).await?;
        ops.push(read_op(&row, 0, target)?);
    }
    Ok(ops)
}

pub(crate) async fn count<R: Run>(run: &R, scope: Option<&SyncScope>) -> Result<OpCounts> {
    let mut counts = OpCounts::default();
    // One statement, so that numbers and time belong to one state of the store.
    let mut sql = Sql::new(
        run.dialect(),
        "SELECT c.state, COUNT(*), (SELECT o.next_attempt_at FROM sync_ops o \
         WHERE o.state IN ('queued', 'in_doubt') AND ",
    );
    sql.push(IS_HEAD);
    if let Some(scope) = scope {
        in_scope(sql.push(" AND o."), scope);
    }
    sql.push(" ORDER BY o.next_attempt_at LIMIT 1) FROM sync_ops c");
    if let Some(scope) = scope {
        in_scope(sql.push(" WHERE c."), scope);
    }
    sql.push(" GROUP BY c.state");
    for row in run.rows(sql).await? {
        counts
            .by_state
            .insert(row.parse(0, op_state_kind)?, row.count(1)?);
        counts.next_due = row.opt_time(2)?;
    }
    Ok(counts)
}

fn in_scope(sql: &mut Sql, scope: &SyncScope) {
    sql.push("target_id IN (SELECT target_id FROM sync_targets WHERE scope = ")
        .bind(scope.key().as_str())
        .push(")");
}
