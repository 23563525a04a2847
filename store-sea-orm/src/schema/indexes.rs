//! What record types declare: which field marks a record as deleted, and which fields have an index.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use async_trait::async_trait;
use sync_core::{CollectionName, CollectionSchema, Result, query::FieldPath};

use crate::{
    dialect::Dialect,
    driver::{Run, Step, Transaction, Write},
    query_sql::field,
    sql::Sql,
    store::Shared,
};

/// The declared soft-delete field of each collection.
#[derive(Debug, Default)]
pub(crate) struct Schemas(RwLock<HashMap<CollectionName, Option<String>>>);

impl Schemas {
    /// The field that marks a record of the collection as deleted, if one was declared.
    pub(crate) fn deleted_at_field(&self, collection: &CollectionName) -> Option<String> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(collection)
            .cloned()
            .flatten()
    }
}

/// Remembers the schemas, and makes the indexes that are missing.
pub(crate) async fn register(store: &Shared, schemas: &[CollectionSchema]) -> Result<()> {
    if store.database.dialect.evaluates_queries() {
        create_indexes(store, schemas).await?;
    }
    let mut known = store.schemas.0.write().unwrap_or_else(PoisonError::into_inner);
    for schema in schemas {
        known.insert(schema.name.clone(), schema.deleted_at_field.clone());
    }
    Ok(())
}

async fn create_indexes(store: &Shared, schemas: &[CollectionSchema]) -> Result<()> {
    let mut wanted = Vec::new();
    for name in schemas.iter().flat_map(|schema| &schema.indexes) {
        let path = FieldPath::new(name.as_str())?;
        if !path.is_id() && !wanted.contains(&path) {
            wanted.push(path);
        }
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
    wanted.retain(|path| !existing.contains(&index_name(path)));
    if wanted.is_empty() {
        return Ok(());
    }
    store.database.write(CreateIndexes(wanted), ()).await
}

#[derive(Debug)]
struct CreateIndexes(Vec<FieldPath>);

#[async_trait]
impl Write for CreateIndexes {
    type Draft = ();
    type Answer = ();

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<(), ()>> {
        create(transaction, &self.0).await.map(Step::Commit)
    }

    fn committed(&self, (): ()) {}
}

async fn create(transaction: Transaction<'_>, paths: &[FieldPath]) -> Result<()> {
    for path in paths {
        // Collections share the index of a field; records without the field are left out. The id comes last, so that
        // records of one value are found in the order of an answer.
        let value = field::value("view", path);
        let name = field::quoted(&index_name(path));
        transaction
            .script(&format!(
                "CREATE INDEX IF NOT EXISTS {name} ON sync_records (target_id, {value}, id) WHERE {value} IS NOT NULL"
            ))
            .await?;
    }
    advise_planner(transaction, paths).await
}

/// Tells SQLite's planner that a field selects few records and a target many. Without statistics it takes both for
/// alike, and rather reads a whole target in the order of ids than sort the few.
async fn advise_planner(transaction: Transaction<'_>, paths: &[FieldPath]) -> Result<()> {
    // Makes the table of statistics if there is none.
    transaction.script("ANALYZE sqlite_schema").await?;
    let fields = paths
        .iter()
        .map(|path| (index_name(path), "1000000 100000 100 1"));
    let key = (RECORDS_KEY.to_owned(), "1000000 100000 1");
    for (index, statistics) in std::iter::once(key).chain(fields) {
        let mut delete = Sql::new(Dialect::Sqlite, "DELETE FROM sqlite_stat1 WHERE idx = ");
        delete.bind(index.as_str());
        transaction.run(delete).await?;
        let mut insert = Sql::new(
            Dialect::Sqlite,
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ",
        );
        insert.bind_list(["sync_records", &index, statistics]);
        transaction.run(insert).await?;
    }
    transaction.script("ANALYZE sqlite_schema").await
}

/// The index that finds a record by its id.
const RECORDS_KEY: &str = "sync_records_key";

fn index_name(path: &FieldPath) -> String {
    format!("sync_field_{path}")
}
