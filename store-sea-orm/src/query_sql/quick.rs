//! Queries that an index answers with few records: in the calling task, with contents from memory where they are known.

use sync_core::{LocalRecord, Payload, RecordId, Result, Target, View, query::QuerySpec};

use super::{Statements, is_quick, visit_records};
use crate::{dialect::Dialect, driver::direct::Peek, error::corrupt, row::ReadRow, store::Shared};

/// A record of the answer, as the index has it.
struct Hit {
    id: RecordId,
    row_id: i64,
    pending: bool,
}

/// As [`super::query`], for a query that takes no longer than reading a few records; `None` where the database does not
/// answer in the calling task, and where SQL has no answer.
///
/// # Errors
/// As [`super::query`].
pub(crate) fn query_at_once(
    store: &Shared,
    target: &Target,
    spec: &QuerySpec,
) -> Result<Option<Vec<LocalRecord>>> {
    if !store.database.answers_at_once() {
        return Ok(None);
    }
    let declared = store.schemas.of(&target.collection);
    let Some(number) = store.targets.cached(target).filter(|_| is_quick(spec, &declared)) else {
        return Ok(None);
    };
    spec.validate()?;
    let statements = Statements {
        number,
        spec,
        declared: &declared,
        // Such a query asks for a value of the first field of an index.
        implies_view: true,
    };
    let records = match from_memory(store, target, &statements)? {
        Some(records) => records,
        None => visit_records(&store.database, statements.rows_sql(Dialect::Sqlite)?)?,
    };
    // An empty answer may be that of records which SQL cannot judge.
    Ok((!records.is_empty()).then_some(records))
}

/// Reads ids from the index alone, and contents where they are not in memory; `None` if the writer is busy, or nothing
/// is kept in memory.
fn from_memory(
    store: &Shared,
    target: &Target,
    statements: &Statements<'_>,
) -> Result<Option<Vec<LocalRecord>>> {
    if !store.cache.keeps_views() {
        return Ok(None);
    }
    let (text, params) = statements.ids_sql()?.into_parts();
    let answer = store.database.peek(|others, connection| {
        let mut hits = Vec::new();
        connection.visit(&text, &params, &mut |row| {
            hits.push(Hit {
                id: row.id(0)?,
                row_id: row.int(1)?,
                pending: row.int(2)? != 0,
            });
            Ok(())
        })?;
        let (known, ticket) = store.cache.views(others, target, hits.iter().map(|hit| &hit.id));
        let mut read = Vec::new();
        let mut records = Vec::with_capacity(hits.len());
        for (hit, known) in hits.into_iter().zip(known) {
            let view = match known {
                Some(view) => view,
                None => {
                    let view = content(connection, hit.row_id)?;
                    read.push((hit.id.clone(), view.clone()));
                    view
                }
            };
            records.push(LocalRecord {
                id: hit.id,
                payload: view.payload,
                schema_version: view.schema_version,
                pending: hit.pending,
            });
        }
        store.cache.keep_views(ticket, target, read);
        Ok(records)
    });
    answer.transpose()
}

fn content(connection: Peek<'_>, row_id: i64) -> Result<View> {
    let text = "SELECT view, schema_version FROM sync_records WHERE row_id = ?";
    let mut view = None;
    connection.visit(text, &[row_id.into()], &mut |row| {
        view = Some(View {
            payload: Payload::from_stored(row.text(0)?),
            schema_version: row.small_count(1)?,
        });
        Ok(())
    })?;
    view.ok_or_else(|| corrupt(format!("an index names row {row_id}, which is not there")))
}
