//! The queue of operations.

use sync_core::{ChangeSet, OpChange, PendingOp, Result};

use super::{Batch, CHUNK, Numbers};
use crate::rows::{OP_COLUMNS, assign_op, op_values, revision};

pub(super) fn write(batch: &mut Batch, numbers: &Numbers, changes: &ChangeSet) -> Result<()> {
    // Neighbours of one kind share a statement; the order of the change set is kept.
    for run in changes
        .ops
        .chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b))
    {
        for chunk in run.chunks(CHUNK) {
            write_chunk(batch, numbers, chunk)?;
        }
    }
    for ops in changes.unblock.chunks(CHUNK) {
        let mut sql = batch.sql(
            "UPDATE sync_ops SET state = 'queued', blocked_by = NULL WHERE state = 'blocked' AND blocked_by IN ",
        );
        sql.bind_list(ops.iter().copied());
        batch.add(sql);
    }
    Ok(())
}

fn write_chunk(batch: &mut Batch, numbers: &Numbers, changes: &[OpChange]) -> Result<()> {
    let mut appended: Vec<&PendingOp> = Vec::new();
    let mut removed = Vec::new();
    for change in changes {
        match change {
            OpChange::Append(op) => appended.push(op),
            OpChange::Remove(op_id) => removed.push(*op_id),
            OpChange::Replace(op) => {
                let mut sql = batch.sql("UPDATE sync_ops SET ");
                assign_op(&mut sql, op_values(numbers.of(&op.key.target)?, op)?);
                sql.push(" WHERE seq = ").bind(revision(op.seq)?);
                batch.add(sql);
            }
        }
    }
    if !appended.is_empty() {
        let mut sql = batch.sql(format!("INSERT INTO sync_ops ({OP_COLUMNS}) VALUES "));
        for (index, op) in appended.into_iter().enumerate() {
            sql.push(if index > 0 { ", " } else { "" });
            sql.bind_list(op_values(numbers.of(&op.key.target)?, op)?);
        }
        batch.add(sql);
    }
    if !removed.is_empty() {
        let mut sql = batch.sql("DELETE FROM sync_ops WHERE op_id IN ");
        sql.bind_list(removed);
        batch.add(sql);
    }
    Ok(())
}
