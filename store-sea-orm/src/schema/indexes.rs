//! What record types declare: which field marks a record as deleted, and which fields have an index.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use sync_core::{CollectionName, CollectionSchema, Result, query::FieldPath};

use crate::{
    dialect::Dialect,
    driver::{Run, Step, Transaction, Write},
    query_sql::field,
    row::ReadRow,
    sql::Sql,
    store::Shared,
};

/// A field of an index, and whether it descends.
pub(crate) type IndexField = (FieldPath, bool);

/// What one collection declares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    /// The field that marks a record as deleted, if any.
    pub(crate) deleted_at: Option<FieldPath>,
    pub(crate) indexes: Vec<Vec<IndexField>>,
}

/// What each collection declares.
#[derive(Debug, Default)]
pub(crate) struct Schemas(RwLock<HashMap<CollectionName, Arc<Declared>>>);

impl Schemas {
    /// What the collection declares; nothing if it was not registered.
    pub(crate) fn of(&self, collection: &CollectionName) -> Arc<Declared> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(collection)
            .cloned()
            .unwrap_or_default()
    }
}

/// Remembers the schemas, and makes the indexes that are missing.
pub(crate) async fn register(store: &Shared, schemas: &[CollectionSchema]) -> Result<()> {
    let declared = schemas.iter().map(declared).collect::<Result<Vec<_>>>()?;
    if store.database.dialect.evaluates_queries() {
        create_indexes(store, &declared).await?;
    }
    let mut known = store.schemas.0.write().unwrap_or_else(PoisonError::into_inner);
    for (schema, declared) in schemas.iter().zip(declared) {
        known.insert(schema.name.clone(), Arc::new(declared));
    }
    Ok(())
}

fn declared(schema: &CollectionSchema) -> Result<Declared> {
    let mut indexes: Vec<Vec<IndexField>> = Vec::new();
    for name in &schema.indexes {
        indexes.push(vec![(FieldPath::new(name.as_str())?, false)]);
    }
    for fields in &schema.composite_indexes {
        let fields = fields
            .iter()
            .map(|by| Ok((FieldPath::new(by.field.as_str())?, by.descending)));
        indexes.push(fields.collect::<Result<_>>()?);
    }
    // The id has an index of its own.
    indexes.retain(|fields| fields.first().is_some_and(|(path, _)| !path.is_id()));
    let deleted_at = schema.deleted_at_field.as_deref().map(FieldPath::new);
    Ok(Declared {
        deleted_at: deleted_at.transpose()?,
        indexes,
    })
}

async fn create_indexes(store: &Shared, declared: &[Declared]) -> Result<()> {
    let mut wanted: Vec<Vec<IndexField>> = Vec::new();
    for fields in declared.iter().flat_map(|declared| &declared.indexes) {
        if !wanted.contains(fields) {
            wanted.push(fields.clone());
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let existing = Sql::new(
        Dialect::Sqlite,
        "SELECT name FROM sqlite_schema WHERE type = 'index'",
    );
    let existing = store.database.reader().rows(existing).await?;
    let existing = existing
        .iter()
        .map(|row| row.text(0))
        .collect::<Result<Vec<_>>>()?;
    wanted.retain(|fields| !existing.contains(&index_name(fields)));
    if wanted.is_empty() {
        return Ok(());
    }
    store.database.write(CreateIndexes(wanted), ()).await
}

#[derive(Debug)]
struct CreateIndexes(Vec<Vec<IndexField>>);

#[async_trait]
impl Write for CreateIndexes {
    type Draft = ();
    type Answer = ();

    fn rows(&self) -> usize {
        // An index is made of all records.
        usize::MAX
    }

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<(), ()>> {
        create(transaction, &self.0).await.map(Step::Commit)
    }

    fn committed(&self, (): ()) {}
}

async fn create(transaction: Transaction<'_>, indexes: &[Vec<IndexField>]) -> Result<()> {
    for fields in indexes {
        let mut columns = String::from("target_id");
        for (path, descending) in fields {
            columns.push_str(", ");
            columns.push_str(&field::column("view", path));
            columns.push_str(if *descending { " DESC" } else { "" });
        }
        // Collections share the indexes; records without the first field are left out. The id comes last, so that
        // records of equal values are found in the order of an answer.
        let first = fields.first().map(|(path, _)| field::column("view", path));
        let first = first.unwrap_or_else(|| "view".to_owned());
        let name = field::quoted(&index_name(fields));
        transaction
            .script(&format!(
                "CREATE INDEX IF NOT EXISTS {name} ON sync_records ({columns}, id) WHERE {first} IS NOT NULL"
            ))
            .await?;
    }
    advise_planner(transaction, indexes).await
}

/// Tells SQLite's planner that a field selects few records and a target many. Without statistics it takes both for
/// alike, and rather reads a whole target in the order of ids than sort the few.
async fn advise_planner(transaction: Transaction<'_>, indexes: &[Vec<IndexField>]) -> Result<()> {
    // Makes the table of statistics if there is none.
    transaction.script("ANALYZE sqlite_schema").await?;
    let of_fields = indexes.iter().map(|fields| {
        let rows: String = (0..fields.len())
            .map(|place| if place == 0 { " 100" } else { " 10" })
            .collect();
        (index_name(fields), format!("1000000 100000{rows} 1"))
    });
    let key = (RECORDS_KEY.to_owned(), "1000000 100000 1".to_owned());
    for (index, statistics) in std::iter::once(key).chain(of_fields) {
        let mut delete = Sql::new(Dialect::Sqlite, "DELETE FROM sqlite_stat1 WHERE idx = ");
        delete.bind(index.as_str());
        transaction.run(delete).await?;
        let mut insert = Sql::new(
            Dialect::Sqlite,
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ",
        );
        insert.bind_list(["sync_records", &index, &statistics]);
        transaction.run(insert).await?;
    }
    transaction.script("ANALYZE sqlite_schema").await
}

/// The index that finds a record by its id.
const RECORDS_KEY: &str = "sync_records_key";

/// A name that no other list of fields has: the paths are quoted.
fn index_name(fields: &[IndexField]) -> String {
    let mut name = String::from("sync_index");
    for (path, descending) in fields {
        name.push_str(&format!(" {:?}", path.as_str()));
        name.push_str(if *descending { " desc" } else { "" });
    }
    name
}
