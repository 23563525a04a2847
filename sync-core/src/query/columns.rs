//! Values of some fields of many records, held in memory for queries.

use std::{
    cmp::Ordering,
    fmt,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;
use serde_json::Value;

use super::{
    evaluate::Query,
    path::FieldPath,
    row::{JsonRow, Row},
    scalar::{Number, Scalar},
};
use crate::{id::RecordId, payload::JsonObject};

/// How many texts are remembered, so that fields with few different values share them.
const RECENT_TEXTS: usize = 1_024;

/// What an array takes besides its elements, and what an element takes besides its texts, about.
const VALUE_BYTES: usize = 48;

/// A table in memory of some fields of records, which answers queries about these fields as [`evaluate`] does.
///
/// A store that had to look at all records for a query keeps one to answer the next with; it says which records are
/// in it, with [`ColumnTable::put`] and [`ColumnTable::remove`].
///
/// [`evaluate`]: super::evaluate
///
/// ```
/// use sync_core::{Payload, RecordId};
/// use sync_core::query::{ColumnTable, Filter, Query, QuerySpec};
///
/// let query = Query::new(&QuerySpec::new().filter(Filter::gt("n", 1)))?;
/// let mut table = ColumnTable::new(query.fields().into_iter().cloned(), 100_000);
/// for n in 0..4 {
///     let fields = Payload::parse(format!(r#"{{"n":{n},"title":"tea"}}"#))?.to_object()?;
///     assert!(table.put(&RecordId::new(format!("r{n}"))?, &fields));
/// }
/// assert!(table.answers(&query));
/// assert_eq!(table.count(&query), 2);
/// assert_eq!(table.select(&query)[0].as_str(), "r2");
/// # Ok::<(), sync_core::SyncError>(())
/// ```
pub struct ColumnTable {
    paths: Vec<FieldPath>,
    ids: Vec<Text>,
    /// The values of the first record, one for each path, then those of the next.
    cells: Vec<Cell>,
    texts: Texts,
    /// What arrays take.
    composite_bytes: usize,
    /// The rows by the hashes of their ids; made when the first one is looked for.
    by_id: Option<HashTable<u32>>,
    hasher: RandomState,
    most_bytes: usize,
}

/// A value of one field.
#[derive(Debug)]
enum Cell {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    /// An array with its elements, or an object.
    Composite(Box<Elements>),
}

#[derive(Debug)]
struct Elements(Vec<Value>);

/// A piece of [`Texts`].
#[derive(Clone, Copy, Debug)]
struct Text {
    start: u32,
    length: u32,
}

/// All texts, one after the other. Those of records that changed or went stay.
struct Texts {
    all: String,
    recent: Vec<Option<Text>>,
}

/// A record in the table.
struct TableRow<'a> {
    table: &'a ColumnTable,
    row: usize,
}

impl ColumnTable {
    /// An empty table for these fields, which takes at most about `most_bytes` of memory, and never 4 GiB.
    pub fn new(fields: impl IntoIterator<Item = FieldPath>, most_bytes: usize) -> Self {
        Self {
            paths: fields.into_iter().filter(|path| !path.is_id()).collect(),
            ids: Vec::new(),
            cells: Vec::new(),
            texts: Texts {
                all: String::new(),
                recent: vec![None; RECENT_TEXTS],
            },
            composite_bytes: 0,
            by_id: None,
            hasher: RandomState::new(),
            most_bytes: most_bytes.min(u32::MAX as usize),
        }
    }

    /// The fields whose values are held.
    pub fn fields(&self) -> &[FieldPath] {
        &self.paths
    }

    /// Whether the values that decide this query are held.
    pub fn answers(&self, query: &Query) -> bool {
        query.fields().into_iter().all(|path| self.paths.contains(path))
    }

    /// How many records are held.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no record is held.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How much memory it takes, about.
    pub fn bytes(&self) -> usize {
        let rows = self.ids.len() * size_of::<Text>() + self.cells.len() * size_of::<Cell>();
        let index = self.by_id.as_ref().map_or(0, |index| index.capacity() * 6);
        rows + index + self.texts.all.len() + RECENT_TEXTS * size_of::<Text>() + self.composite_bytes
    }

    /// Gives back memory that was taken in advance. Worth it when no more than single records are to follow.
    pub fn shrink(&mut self) {
        self.ids.shrink_to_fit();
        self.cells.shrink_to_fit();
        self.texts.all.shrink_to_fit();
    }

    /// Holds a record, instead of what is held of it. Returns false if it does not fit; then the table is of no use
    /// any more.
    #[must_use]
    pub fn put(&mut self, id: &RecordId, fields: &JsonObject) -> bool {
        match self.find(id.as_str()) {
            Some(row) => self.replace(row, id, fields),
            None => self.append(id, fields),
        }
    }

    /// As [`ColumnTable::put`], for a record that is not held yet, which the caller makes sure of.
    #[must_use]
    pub fn add(&mut self, id: &RecordId, fields: &JsonObject) -> bool {
        self.append(id, fields)
    }

    /// Forgets a record, if it is held.
    pub fn remove(&mut self, id: &RecordId) {
        let Some(row) = self.find(id.as_str()) else {
            return;
        };
        let last = self.ids.len() - 1;
        let width = self.paths.len();
        let (gone, moved) = (self.hash_of(row), self.hash_of(last));
        if let Some(index) = &mut self.by_id {
            if let Ok(entry) = index.find_entry(gone, |found| *found as usize == row) {
                entry.remove();
            }
            if let Some(place) = index.find_mut(moved, |found| *found as usize == last) {
                *place = row as u32;
            }
        }
        for column in 0..width {
            self.cells.swap(row * width + column, last * width + column);
        }
        for cell in self.cells.drain(last * width..) {
            self.composite_bytes -= cell.composite_bytes();
        }
        self.ids.swap_remove(row);
    }

    /// The ids of the records that are the answer of a query, in its order. The table must hold the values that
    /// decide it; see [`ColumnTable::answers`].
    pub fn select(&self, query: &Query) -> Vec<RecordId> {
        let mut found: Vec<u32> = self
            .rows()
            .filter(|row| query.matches_row(row) && query.admits_row(row))
            .map(|found| found.row as u32)
            .collect();
        let order = |a: &u32, b: &u32| self.compare(query, *a, *b);
        let window = query.window();
        if window.end < found.len() && window.end > 0 {
            found.select_nth_unstable_by(window.end - 1, order);
        }
        found.truncate(window.end);
        found.sort_unstable_by(order);
        let ids = found.into_iter().skip(window.start);
        ids.map(|row| RecordId::known(self.texts.get(self.ids[row as usize])))
            .collect()
    }

    /// How many records match the filter of a query; see [`ColumnTable::select`].
    pub fn count(&self, query: &Query) -> u64 {
        let matching = self.rows().filter(|row| query.matches_row(row));
        matching.count() as u64
    }

    fn rows(&self) -> impl Iterator<Item = TableRow<'_>> {
        (0..self.ids.len()).map(|row| TableRow { table: self, row })
    }

    fn compare(&self, query: &Query, a: u32, b: u32) -> Ordering {
        let row = |row: u32| TableRow {
            table: self,
            row: row as usize,
        };
        query.compare_rows(&row(a), &row(b))
    }

    fn hash_of(&self, row: usize) -> u64 {
        self.hasher.hash_one(self.texts.get(self.ids[row]))
    }

    fn find(&mut self, id: &str) -> Option<usize> {
        let Self {
            ids, texts, hasher, ..
        } = self;
        let index = self.by_id.get_or_insert_with(|| {
            let hash = |row: &u32| hasher.hash_one(texts.get(ids[*row as usize]));
            let mut index = HashTable::with_capacity(ids.len());
            for row in 0..ids.len() as u32 {
                index.insert_unique(hash(&row), row, hash);
            }
            index
        });
        let found = index.find(hasher.hash_one(id), |row| texts.get(ids[*row as usize]) == id);
        found.map(|row| *row as usize)
    }

    fn append(&mut self, id: &RecordId, fields: &JsonObject) -> bool {
        let Ok(row) = u32::try_from(self.ids.len()) else {
            return false;
        };
        let Some(text) = self.texts.add(id.as_str(), self.most_bytes) else {
            return false;
        };
        for column in 0..self.paths.len() {
            let Some(cell) = self.cell(column, id, fields) else {
                return false;
            };
            self.cells.push(cell);
        }
        self.ids.push(text);
        if let Some(index) = &mut self.by_id {
            let hash = |row: &u32| self.hasher.hash_one(self.texts.get(self.ids[*row as usize]));
            index.insert_unique(hash(&row), row, hash);
        }
        self.bytes() <= self.most_bytes
    }

    fn replace(&mut self, row: usize, id: &RecordId, fields: &JsonObject) -> bool {
        for column in 0..self.paths.len() {
            let Some(cell) = self.cell(column, id, fields) else {
                return false;
            };
            let before = std::mem::replace(&mut self.cells[row * self.paths.len() + column], cell);
            self.composite_bytes -= before.composite_bytes();
        }
        self.bytes() <= self.most_bytes
    }

    /// The value of a column; `None` if it does not fit.
    fn cell(&mut self, column: usize, id: &RecordId, fields: &JsonObject) -> Option<Cell> {
        let cell = match (JsonRow { id, fields }).read(&self.paths[column]) {
            Scalar::Null => Cell::Null,
            Scalar::Bool(value) => Cell::Bool(value),
            Scalar::Number(value) => Cell::Number(value),
            Scalar::Text(text) => Cell::Text(self.texts.share(text, &self.hasher, self.most_bytes)?),
            Scalar::Composite(elements) => Cell::Composite(Box::new(Elements(elements.to_vec()))),
        };
        self.composite_bytes += cell.composite_bytes();
        Some(cell)
    }
}

impl fmt::Debug for ColumnTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnTable")
            .field("fields", &self.paths)
            .field("records", &self.ids.len())
            .finish_non_exhaustive()
    }
}

impl Cell {
    fn composite_bytes(&self) -> usize {
        match self {
            Self::Composite(elements) => elements.0.iter().map(weight).sum::<usize>() + VALUE_BYTES,
            _ => 0,
        }
    }
}

/// What a JSON value takes, about.
fn weight(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(elements) => elements.iter().map(weight).sum(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| VALUE_BYTES + name.len() + weight(value))
                .sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

impl Texts {
    fn get(&self, text: Text) -> &str {
        &self.all[text.start as usize..][..text.length as usize]
    }

    /// `None` if it does not fit into so many bytes.
    fn add(&mut self, text: &str, most_bytes: usize) -> Option<Text> {
        let start = self.all.len();
        if text.len() > most_bytes.saturating_sub(start) {
            return None;
        }
        self.all.push_str(text);
        Some(Text {
            start: u32::try_from(start).ok()?,
            length: u32::try_from(text.len()).ok()?,
        })
    }

    /// As [`Texts::add`], where the same text may have been added lately.
    fn share(&mut self, text: &str, hasher: &RandomState, most_bytes: usize) -> Option<Text> {
        let place = (hasher.hash_one(text) % RECENT_TEXTS as u64) as usize;
        if let Some(recent) = self.recent[place]
            && self.get(recent) == text
        {
            return Some(recent);
        }
        let added = self.add(text, most_bytes)?;
        self.recent[place] = Some(added);
        Some(added)
    }
}

impl Row for TableRow<'_> {
    fn id(&self) -> &str {
        self.table.texts.get(self.table.ids[self.row])
    }

    fn field(&self, path: &FieldPath) -> Scalar<'_> {
        let paths = &self.table.paths;
        let Some(column) = paths.iter().position(|held| held == path) else {
            return Scalar::Null;
        };
        match &self.table.cells[self.row * paths.len() + column] {
            Cell::Null => Scalar::Null,
            Cell::Bool(value) => Scalar::Bool(*value),
            Cell::Number(value) => Scalar::Number(*value),
            Cell::Text(text) => Scalar::Text(self.table.texts.get(*text)),
            Cell::Composite(elements) => Scalar::Composite(&elements.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        payload::Payload,
        query::{Comparison, Filter, OrderBy, QuerySpec, evaluate},
    };

    #[test]
    fn a_cell_stays_small() {
        assert_eq!(size_of::<Cell>(), 16);
    }

    fn content() -> impl Strategy<Value = String> {
        let value = prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "1",
            "1.5",
            "\"\"",
            "\"a\"",
            "\"b\"",
            "[]",
            "[1,\"a\"]",
            "{\"b\":1}",
        ]);
        (value.clone(), value).prop_map(|(a, b)| format!(r#"{{"a":{a},"b":{b},"c":1}}"#))
    }

    fn spec() -> impl Strategy<Value = QuerySpec> {
        let field = prop::sample::select(vec!["a", "b", "a.b", "$id"]);
        let comparison = prop::sample::select(vec![
            Comparison::Eq(1.into()),
            Comparison::Eq("a".into()),
            Comparison::Gt(0.into()),
            Comparison::Lte("b".into()),
            Comparison::Contains("a".into()),
            Comparison::Contains(1.into()),
            Comparison::IsNull,
            Comparison::IsNotNull,
        ]);
        let filter = (field.clone(), comparison).prop_map(|(field, comparison)| Filter::Compare {
            field: field.to_owned(),
            comparison,
        });
        let order = (field, any::<bool>()).prop_map(|(field, descending)| OrderBy {
            field: field.to_owned(),
            descending,
        });
        let filters = (prop::option::of(filter.clone()), prop::option::of(filter));
        let window = (prop::option::of(0..6_u64), prop::option::of(0..4_u64));
        (filters, prop::collection::vec(order, 0..3), window).prop_map(|(filters, order_by, window)| {
            QuerySpec {
                filter: match filters {
                    (Some(a), Some(b)) => Some(a.or(!b)),
                    (a, b) => a.or(b),
                },
                order_by,
                limit: window.0,
                offset: window.1,
                after: None,
            }
        })
    }

    proptest! {
        #[test]
        fn it_answers_as_the_evaluator_after_any_changes(
            changes in prop::collection::vec((0..12_u8, prop::option::weighted(0.7, content())), 0..60),
            specs in prop::collection::vec(spec(), 1..6),
        ) {
            let fields = ["a", "b", "a.b"].map(|path| FieldPath::new(path).unwrap());
            let mut table = ColumnTable::new(fields, 1_000_000);
            let mut records = std::collections::BTreeMap::new();
            for (number, content) in changes {
                let id = RecordId::new(format!("r{number}")).unwrap();
                match content {
                    Some(text) => {
                        let payload = Payload::parse(text).unwrap();
                        prop_assert!(table.put(&id, &payload.to_object().unwrap()));
                        records.insert(id, payload);
                    }
                    None => {
                        table.remove(&id);
                        records.remove(&id);
                    }
                }
            }
            prop_assert_eq!(table.len(), records.len());
            for mut spec in specs {
                loop {
                    let query = Query::new(&spec).unwrap();
                    let expected = evaluate(&spec, records.clone()).unwrap();
                    let ids: Vec<_> = expected.iter().map(|(id, _)| id.clone()).collect();
                    prop_assert!(table.answers(&query));
                    prop_assert_eq!(table.select(&query), ids, "{:?}", spec);
                    prop_assert_eq!(table.count(&query), crate::query::count(&spec, records.clone()).unwrap());
                    // The next page, from the middle of this one.
                    match expected.get(expected.len() / 2) {
                        Some((id, payload)) if spec.after.is_none() => {
                            spec.offset = None;
                            spec.after = Some(spec.keyset_after(id, payload).unwrap());
                        }
                        _ => break,
                    }
                }
            }
        }
    }

    #[test]
    fn it_keeps_to_its_bound() {
        let path = FieldPath::new("a").unwrap();
        let mut table = ColumnTable::new([path], 40_000);
        let fits = |table: &mut ColumnTable, number: u32, text: &str| {
            let fields = Payload::encode(&serde_json::json!({ "a": text })).unwrap();
            table.put(
                &RecordId::new(number.to_string()).unwrap(),
                &fields.to_object().unwrap(),
            )
        };
        assert!(!fits(&mut table, 0, &"x".repeat(40_000)));
        let shared = (0..)
            .find(|number| !fits(&mut table, *number, "the same text"))
            .unwrap();
        assert!(shared > 500, "{shared} rows");
        // The last record may have made the index grow.
        assert!(table.bytes() < 50_000);
        let mut table = ColumnTable::new(table.fields().to_vec(), 40_000);
        let rounds = (0..10_000).find(|round| !fits(&mut table, 0, &format!("text {round}")));
        assert!(rounds.is_some(), "texts that are not used any more count as well");
    }
}
