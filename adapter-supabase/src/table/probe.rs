//! Whether the tables are as the mappings say.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sync_core::{CollectionName, ErrorKind, Result, SyncError};
use sync_http::Method;

use super::place::name;
use crate::{
    client::{Call, Client},
    config::{SupabaseConfig, refused},
    table_mapping::{ScopeColumns, SupabaseTable},
};

/// What was found out about the tables of a project without the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableProfile {
    /// The collections whose tables were looked at.
    pub collections: BTreeSet<CollectionName>,
}

/// Looks at each table.
///
/// # Errors
/// `Configuration` naming the table or column that is not there, or has rows without a time; those of the requests.
pub(crate) async fn probe(client: &Client, config: &SupabaseConfig) -> Result<TableProfile> {
    if config.collections.is_empty() {
        let why = "the project has no change feed, and no table was named; run the feed's migration, or add \
                   collections with `with_collection`";
        return Err(refused("collections", why));
    }
    client.user().await?;
    for (collection, table) in &config.collections {
        look_at(client, table)
            .await
            .map_err(|error| explain(collection, table, error))?;
    }
    Ok(TableProfile {
        collections: config.collections.keys().cloned().collect(),
    })
}

async fn look_at(client: &Client, table: &SupabaseTable) -> Result<()> {
    let scope: Vec<&String> = match &table.scope {
        ScopeColumns::Whole(column) => vec![column],
        ScopeColumns::Keys(keys) => keys.values().collect(),
    };
    let named = [&table.id, &table.updated_at].into_iter();
    let named = named
        .chain(scope)
        .chain(&table.soft_delete)
        .chain(table.columns.keys());
    let columns: BTreeSet<String> = named.map(|column| name(column)).collect();
    let select: Vec<String> = columns.into_iter().collect();
    let call = Call::table(Method::GET, &table.table)
        .query("select", select.join(","))
        .query(&table.updated_at, "is.null")
        .query("limit", "1");
    if client.rows(&call).await?.rows.is_empty() {
        return Ok(());
    }
    let why = format!(
        "rows of `{}` have no `{}`, so that no pull would see them: fill the column and make it `not null default now()`",
        table.table, table.updated_at
    );
    Err(refused("updated_at", why))
}

fn explain(collection: &CollectionName, table: &SupabaseTable, error: SyncError) -> SyncError {
    if error.kind() != ErrorKind::Configuration || error.code().is_none() {
        return error;
    }
    let why = format!(
        "the table `{}` of the collection `{collection}` is not as described: {}",
        table.table,
        error.message()
    );
    let code = error.code().unwrap_or_default().to_owned();
    refused("collection", why).with_code(code).with_source(error)
}
