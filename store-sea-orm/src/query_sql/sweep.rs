//! Queries by the reference evaluator over all records of a target, where SQLite runs within the process: rows are
//! looked at where they lie, and most of them are seen not to match without being parsed.

use std::{borrow::Cow, fmt};

use memchr::{memchr, memmem};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use sync_core::{
    JsonObject, LocalRecord, Payload, RecordId, Result, SyncError,
    query::{ColumnTable, Comparison, FieldPath, Filter, FilterValue, Position, Query, is_marked_deleted},
};

use super::Selection;
use crate::{
    commit::CHUNK,
    dialect::Dialect,
    driver::{
        Database,
        direct::{DirectTransaction, VisitedRow},
    },
    row::ReadRow,
    sql::Sql,
};

/// The records that are selected; `None` if statements do not run within the process. With a limit, takes memory for
/// about twice as many; else for all of them.
pub(super) fn query(database: &Database, selection: &Selection) -> Result<Option<Vec<LocalRecord>>> {
    let Some(transaction) = database.fix_state()? else {
        return Ok(None);
    };
    let mut first = First::of(selection);
    sweep(&transaction, selection, |id, schema_version, view, fields| {
        let position = selection.query.position(id, fields);
        if selection.query.admits(&position) {
            first.add(position, schema_version, view);
        }
    })?;
    let mut records = first.into_records(selection);
    mark_pending(&transaction, selection.number, &mut records)?;
    Ok(Some(records))
}

/// How many records match the filter; `None` if statements do not run within the process.
pub(super) fn count(database: &Database, selection: &Selection) -> Result<Option<u64>> {
    let Some(transaction) = database.fix_state()? else {
        return Ok(None);
    };
    let mut matching = 0;
    sweep(&transaction, selection, |_, _, _, _| matching += 1)?;
    Ok(Some(matching))
}

/// Puts all records of the target into an empty table. Returns whether they fit.
pub(super) fn fill(
    transaction: &DirectTransaction,
    selection: &Selection,
    table: &mut ColumnTable,
) -> Result<bool> {
    let roots = Roots::of(table.fields());
    let mut fits = true;
    visit_all(transaction, selection.number, &mut |row| {
        if fits && let Some(view) = row.opt_text_ref(0)? {
            let id = row.id(1)?;
            fits = table.add(&id, &roots.pick(&id, view)?);
        }
        Ok(())
    })?;
    table.shrink();
    Ok(fits)
}

/// The records that come first, as far as a query wants them.
struct First<'a> {
    query: &'a Query,
    wanted: Option<usize>,
    found: Vec<(Position, u32, Payload)>,
}

impl<'a> First<'a> {
    fn of(selection: &'a Selection) -> Self {
        let spec = &selection.spec;
        let wanted = spec
            .limit
            .map(|limit| limit.saturating_add(spec.offset.unwrap_or(0)));
        Self {
            query: &selection.query,
            wanted: wanted.and_then(|wanted| usize::try_from(wanted).ok()),
            found: Vec::new(),
        }
    }

    fn add(&mut self, position: Position, schema_version: u32, view: &str) {
        self.found
            .push((position, schema_version, Payload::from_stored(view)));
        if let Some(wanted) = self.wanted
            && self.found.len() > wanted.saturating_mul(2).saturating_add(64)
        {
            self.sort();
            self.found.truncate(wanted);
        }
    }

    fn sort(&mut self) {
        self.found.sort_by(|(a, ..), (b, ..)| self.query.compare(a, b));
    }

    fn into_records(mut self, selection: &Selection) -> Vec<LocalRecord> {
        self.sort();
        let skipped = selection.spec.offset.unwrap_or(0);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let found = self.found.into_iter().take(self.wanted.unwrap_or(usize::MAX));
        found
            .skip(skipped)
            .map(|(position, schema_version, payload)| LocalRecord {
                id: position.id().clone(),
                payload,
                schema_version,
                pending: false,
            })
            .collect()
    }
}

/// Shows every record that matches the filter to `visit`: its id, schema version, content, and those of its fields
/// that the query speaks of.
fn sweep(
    transaction: &DirectTransaction,
    selection: &Selection,
    mut visit: impl FnMut(&RecordId, u32, &str, &JsonObject),
) -> Result<()> {
    let mark = selection.declared.deleted_at.as_ref();
    let roots = Roots::of(selection.query.fields().into_iter().chain(mark));
    let filter = selection.spec.filter.as_ref();
    let needle = filter.and_then(needle);
    let needle = needle.as_deref().map(memmem::Finder::new);
    visit_all(transaction, selection.number, &mut |row| {
        if let Some(needle) = &needle {
            let view = row.bytes(0)?;
            // An escape may hide it.
            if needle.find(view).is_none() && memchr(b'\\', view).is_none() {
                return Ok(());
            }
        }
        let Some(view) = row.opt_text_ref(0)? else {
            return Ok(());
        };
        let id = row.id(1)?;
        let fields = roots.pick(&id, view)?;
        let deleted = mark.and_then(|field| field.lookup(&fields));
        if !is_marked_deleted(deleted) && selection.query.matches(&id, &fields) {
            visit(&id, row.small_count(2)?, view, &fields);
        }
        Ok(())
    })
}

/// Shows all rows of a target: view, id, schema version.
fn visit_all(
    transaction: &DirectTransaction,
    number: i64,
    visit: &mut dyn FnMut(&VisitedRow<'_>) -> Result<()>,
) -> Result<()> {
    let columns = "SELECT r.view, r.id, r.schema_version FROM sync_records r";
    let mut sql = Sql::new(Dialect::Sqlite, columns);
    // By the table, unless that would mean to read much that is not asked for.
    if is_most(transaction, number)? {
        sql.push(" NOT INDEXED");
    }
    sql.push(" WHERE r.target_id = ").bind(number);
    transaction.visit(sql, visit)
}

/// Whether a large part of all records are of the target.
fn is_most(transaction: &DirectTransaction, number: i64) -> Result<bool> {
    let mut sql = Sql::new(
        Dialect::Sqlite,
        "SELECT COUNT(*) >= n FROM (SELECT COALESCE(MAX(row_id), 0) / 16 AS n FROM sync_records), \
         (SELECT 1 FROM sync_records WHERE target_id = ",
    );
    sql.bind(number)
        .push(" LIMIT (SELECT COALESCE(MAX(row_id), 0) / 16 FROM sync_records))");
    let rows = transaction.rows(sql)?;
    let is_most = rows.first().map(|row| row.opt_int(0)).transpose()?;
    Ok(is_most.flatten() == Some(1))
}

/// Notes which of these records have operations.
fn mark_pending(transaction: &DirectTransaction, number: i64, records: &mut [LocalRecord]) -> Result<()> {
    for records in records.chunks_mut(CHUNK) {
        let mut sql = Sql::new(
            Dialect::Sqlite,
            "SELECT DISTINCT id FROM sync_queue WHERE target_id = ",
        );
        sql.bind(number)
            .push(" AND id IN ")
            .bind_list(records.iter().map(|record| record.id.as_str()));
        for row in transaction.rows(sql)? {
            let id = row.text(0)?;
            let pending = records.iter_mut().filter(|record| record.id.as_str() == id);
            pending.for_each(|record| record.pending = true);
        }
    }
    Ok(())
}

/// A text that every selected record without escapes has in its JSON, if the filter asks for one.
fn needle(filter: &Filter) -> Option<String> {
    match filter {
        Filter::Compare {
            field,
            comparison: Comparison::Eq(FilterValue::Text(text)),
        } if FieldPath::new(field.as_str()).is_ok_and(|path| !path.is_id()) => serde_json::to_string(text)
            .ok()
            .filter(|text| !text.contains('\\')),
        Filter::And(parts) => parts.iter().filter_map(needle).max_by_key(String::len),
        _ => None,
    }
}

/// The keys at the top of a record that lead to some fields.
pub(super) struct Roots(Vec<String>);

impl Roots {
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a FieldPath>) -> Self {
        let fields = paths.into_iter().filter(|path| !path.is_id());
        let mut roots: Vec<String> = fields
            .filter_map(|path| path.steps().next().map(str::to_owned))
            .collect();
        roots.sort_unstable();
        roots.dedup();
        Self(roots)
    }

    /// Reads the fields under these keys, and skips all others.
    pub(super) fn pick(&self, id: &RecordId, json: &str) -> Result<JsonObject> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        self.deserialize(&mut deserializer)
            .and_then(|picked| deserializer.end().map(|()| picked))
            .map_err(|error| SyncError::malformed("payload", error).with_field(format!("payload of {id}")))
    }
}

impl<'de> DeserializeSeed<'de> for &Roots {
    type Value = JsonObject;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<JsonObject, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &Roots {
    type Value = JsonObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> std::result::Result<JsonObject, A::Error> {
        let mut picked = JsonObject::new();
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            if self.0.iter().any(|root| *root == name) {
                picked.insert(name.into_owned(), fields.next_value()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(picked)
    }
}
