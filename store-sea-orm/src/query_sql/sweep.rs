//! Queries by the reference evaluator over all records of a target, where SQLite runs within the process: rows are
//! looked at where they lie, and most of them are seen not to match without being parsed.

use std::{borrow::Cow, fmt};

use memchr::{memchr, memmem};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use sync_core::{
    JsonObject, LocalRecord, Payload, RecordId, Result,
    query::{Comparison, FieldPath, Filter, FilterValue, Position, Query, is_marked_deleted},
};

use super::Selection;
use crate::{
    commit::CHUNK,
    driver::{Database, Run, Transaction},
    error::corrupt,
    sql::Sql,
};

/// The records that are selected. With a limit, memory for about twice as many; else for all of them.
pub(super) async fn query(database: &Database, selection: &Selection) -> Result<Vec<LocalRecord>> {
    let transaction = database.begin_read().await?;
    let found = query_in(transaction.as_run(), selection).await;
    transaction.finish(found).await
}

async fn query_in(transaction: Transaction<'_>, selection: &Selection) -> Result<Vec<LocalRecord>> {
    let mut first = First::of(selection);
    sweep(transaction, selection, |id, schema_version, view, fields| {
        let position = selection.query.position(id, fields);
        if selection.query.admits(&position) {
            first.add(position, schema_version, view);
        }
    })
    .await?;
    let mut records = first.into_records(selection);
    mark_pending(transaction, selection.number, &mut records).await?;
    Ok(records)
}

/// How many records match the filter.
pub(super) async fn count(database: &Database, selection: &Selection) -> Result<u64> {
    let transaction = database.begin_read().await?;
    let mut matching = 0;
    let swept = sweep(transaction.as_run(), selection, |_, _, _, _| matching += 1).await;
    transaction.finish(swept).await?;
    Ok(matching)
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
async fn sweep(
    transaction: Transaction<'_>,
    selection: &Selection,
    mut visit: impl FnMut(&RecordId, u32, &str, &JsonObject) + Send,
) -> Result<()> {
    let roots = Roots::of(selection)?;
    let filter = selection.spec.filter.as_ref();
    let needle = filter.and_then(needle);
    let needle = needle.as_deref().map(memmem::Finder::new);
    let columns = "SELECT r.view, r.id, r.schema_version FROM sync_records r";
    let mut sql = Sql::new(transaction.dialect(), columns);
    // By the table, unless that would mean to read much that is not asked for.
    if is_most(transaction, selection.number).await? {
        sql.push(" NOT INDEXED");
    }
    sql.push(" WHERE r.target_id = ").bind(selection.number);
    transaction.visit(sql, &mut |row| {
        if let Some(needle) = &needle {
            let view = row.bytes(0)?;
            // An escape may hide it.
            if needle.find(view).is_none() && memchr(b'\\', view).is_none() {
                return Ok(());
            }
        }
        let Some(view) = row.opt_text(0)? else {
            return Ok(());
        };
        let id = RecordId::new(row.opt_text(1)?.unwrap_or_default())
            .map_err(|error| corrupt(format!("a record's id cannot be read: {error}")))?;
        let fields = roots.pick(view).map_err(|error| {
            sync_core::SyncError::malformed("payload", error).with_field(format!("payload of {id}"))
        })?;
        let mark = selection.declared.deleted_at.as_ref();
        let deleted = mark.and_then(|field| field.lookup(&fields));
        if !is_marked_deleted(deleted) && selection.query.matches(&id, &fields) {
            let version =
                u32::try_from(row.int(2)?).map_err(|_| corrupt("a schema version is out of range"))?;
            visit(&id, version, view, &fields);
        }
        Ok(())
    })
}

/// Whether a large part of all records are of the target.
async fn is_most(transaction: Transaction<'_>, number: i64) -> Result<bool> {
    let mut sql = Sql::new(
        transaction.dialect(),
        "SELECT COUNT(*) >= n FROM (SELECT COALESCE(MAX(row_id), 0) / 16 AS n FROM sync_records), \
         (SELECT 1 FROM sync_records WHERE target_id = ",
    );
    sql.bind(number)
        .push(" LIMIT (SELECT COALESCE(MAX(row_id), 0) / 16 FROM sync_records))");
    let row = transaction.row(sql).await?;
    Ok(row.map(|row| row.opt_int(0)).transpose()?.flatten() == Some(1))
}

/// Notes which of these records have operations.
async fn mark_pending(transaction: Transaction<'_>, number: i64, records: &mut [LocalRecord]) -> Result<()> {
    for records in records.chunks_mut(CHUNK) {
        let mut sql = Sql::new(
            transaction.dialect(),
            "SELECT DISTINCT id FROM sync_ops WHERE target_id = ",
        );
        sql.bind(number)
            .push(" AND id IN ")
            .bind_list(records.iter().map(|record| record.id.as_str()));
        for row in transaction.rows(sql).await? {
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

/// The keys at the top of a record that a query speaks of.
struct Roots(Vec<String>);

impl Roots {
    fn of(selection: &Selection) -> Result<Self> {
        let mut names = Vec::new();
        if let Some(filter) = &selection.spec.filter {
            fields_of(filter, &mut names);
        }
        names.extend(selection.spec.order_by.iter().map(|by| by.field.as_str()));
        let mut roots = Vec::new();
        for name in names {
            roots.extend(root(&FieldPath::new(name)?));
        }
        roots.extend(selection.declared.deleted_at.as_ref().and_then(root));
        roots.sort_unstable();
        roots.dedup();
        Ok(Self(roots))
    }

    /// Reads the fields under these keys, and skips all others.
    fn pick(&self, json: &str) -> serde_json::Result<JsonObject> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let picked = self.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(picked)
    }
}

fn root(path: &FieldPath) -> Option<String> {
    let root = path.steps().next().filter(|_| !path.is_id());
    root.map(str::to_owned)
}

fn fields_of<'a>(filter: &'a Filter, names: &mut Vec<&'a str>) {
    match filter {
        Filter::Compare { field, .. } => names.push(field),
        Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| fields_of(part, names)),
        Filter::Not(part) => fields_of(part, names),
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
