//! The queue of operations.

use std::{borrow::Cow, sync::LazyLock};

use sync_core::{ChangeSet, OpChange, Result};

use super::{Batch, CHUNK, Numbers, tail::Tail};
use crate::{
    dialect::Dialect,
    driver::{PerDialect, Shape},
    rows::{OP_COLUMNS, assign_op, op_values, revision},
    sql::Param,
};

static APPEND: LazyLock<PerDialect<Shape>> = LazyLock::new(|| {
    PerDialect::new(|dialect| {
        let columns = match dialect {
            Dialect::Sqlite => Cow::Owned(format!("seq, {OP_COLUMNS}")),
            // They give the numbers.
            Dialect::Postgres | Dialect::MySql => Cow::Borrowed(OP_COLUMNS),
        };
        let row = vec!["?"; columns.split(", ").count()].join(", ");
        Shape::new(
            &format!("INSERT INTO sync_queue ({columns}) VALUES "),
            &format!("({row})"),
            "",
        )
    })
});

static MARK_IN_DOUBT: LazyLock<PerDialect<Shape>> = LazyLock::new(|| {
    PerDialect::new(|_| Shape::each("UPDATE sync_queue SET state = 'in_doubt', attempts = ? WHERE seq = ?"))
});

static REMOVE: LazyLock<PerDialect<Shape>> =
    LazyLock::new(|| PerDialect::new(|_| Shape::each("DELETE FROM sync_queue WHERE op_id = ?")));

pub(super) fn write(
    batch: &mut Batch,
    numbers: &Numbers,
    changes: &ChangeSet,
    tail: Option<&mut Tail>,
) -> Result<()> {
    let mut tail = tail;
    // Neighbours of one kind share a statement; the order of the change set is kept.
    for run in changes
        .ops
        .chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b))
    {
        for chunk in run.chunks(CHUNK) {
            write_chunk(batch, numbers, chunk, tail.as_deref_mut())?;
        }
    }
    for ops in changes.unblock.chunks(CHUNK) {
        let mut sql = batch.sql(
            "UPDATE sync_queue SET state = 'queued', blocked_by = NULL WHERE state = 'blocked' AND blocked_by IN ",
        );
        sql.bind_list(ops.iter().copied());
        batch.add(sql);
    }
    Ok(())
}

fn write_chunk(
    batch: &mut Batch,
    numbers: &Numbers,
    changes: &[OpChange],
    mut tail: Option<&mut Tail>,
) -> Result<()> {
    let mut appended = Vec::new();
    let mut removed = Vec::new();
    let mut marked: Vec<Param> = Vec::new();
    for change in changes {
        match change {
            OpChange::Append(op) => {
                appended.extend(tail.as_deref_mut().map(|tail| Param::from(tail.next_seq())));
                appended.extend(op_values(numbers.of(&op.key.target)?, op)?);
            }
            OpChange::Remove(op_id) => removed.push(*op_id),
            OpChange::MarkInDoubt { seq, attempts, .. } => {
                marked.extend([(*attempts).into(), revision(*seq)?.into()]);
            }
            OpChange::Replace(op) => {
                let mut sql = batch.sql("UPDATE sync_queue SET ");
                assign_op(&mut sql, op_values(numbers.of(&op.key.target)?, op)?);
                sql.push(" WHERE seq = ").bind(revision(op.seq)?);
                batch.add(sql);
            }
        }
    }
    batch.add_rows(&APPEND, appended);
    batch.add_rows(&MARK_IN_DOUBT, marked);
    if batch.row_by_row {
        batch.add_rows(&REMOVE, removed.into_iter().map(Param::from).collect());
    } else if !removed.is_empty() {
        let mut sql = batch.sql("DELETE FROM sync_queue WHERE op_id IN ");
        sql.bind_list(removed);
        batch.add(sql);
    }
    Ok(())
}
