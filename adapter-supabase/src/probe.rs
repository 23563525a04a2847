//! Finding out what the project offers, instead of guessing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sync_core::{CollectionName, ErrorKind, Result, SyncError};

use crate::{
    client::Client,
    config::{SupabaseConfig, refused},
    error::codes,
    feed::{self, Status},
    table::{self, TableProfile},
};

/// The format of the feed that this adapter speaks.
const FEED_FORMAT: u32 = 1;

/// How a project is synchronized with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By the change feed, which a migration installs: changes in the order of commits, tombstones, conditional and
    /// idempotent writes, detection of restored backups.
    Feed,
    /// By the tables as they are: changes by the time of the last write, with overlap, count check and id sweep.
    Table,
}

/// What [`SupabaseRemoteStore::connect`](crate::SupabaseRemoteStore::connect) found out about a project.
///
/// An app keeps it (it serialises), and starts without a network with
/// [`SupabaseRemoteStore::open`](crate::SupabaseRemoteStore::open).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum ProjectProfile {
    /// The project has the feed.
    Feed(FeedProfile),
    /// The project has no feed, and the tables are used as they are.
    Table(TableProfile),
}

/// What a project's feed is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedProfile {
    /// The collections in the feed.
    pub collections: BTreeSet<CollectionName>,
    /// The most records in one page.
    pub max_page: u32,
    /// The most operations in one push.
    pub max_push: u32,
}

impl ProjectProfile {
    /// How the project is synchronized with.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Feed(_) => Mode::Feed,
            Self::Table(_) => Mode::Table,
        }
    }
}

/// Asks the project what it is.
pub(crate) async fn probe(client: &Client, config: &SupabaseConfig) -> Result<ProjectProfile> {
    let required = config.options.required;
    if required == Some(Mode::Table) {
        return Ok(ProjectProfile::Table(table::probe(client, config).await?));
    }
    match feed::status(client).await {
        Ok(status) => Ok(ProjectProfile::Feed(feed_profile(status, config)?)),
        Err(error) if required.is_none() && error.code() == Some(codes::UNKNOWN_FUNCTION) => {
            Ok(ProjectProfile::Table(table::probe(client, config).await?))
        }
        Err(error) => Err(explain(error)),
    }
}

/// Checks the feed against the configuration.
fn feed_profile(status: Status, config: &SupabaseConfig) -> Result<FeedProfile> {
    if status.format != FEED_FORMAT {
        let why = format!(
            "the project's feed has format {}, this adapter speaks {FEED_FORMAT}; run the migration of this version, or \
             use the adapter of that one",
            status.format
        );
        return Err(refused("migration", why));
    }
    for (name, table) in &config.collections {
        let Some(found) = status.collections.get(name) else {
            let why = format!(
                "the collection `{name}` is not in the feed; add its table to the migration and run it"
            );
            return Err(refused("collection", why));
        };
        if found.id != table.id {
            let why = format!(
                "the id of the collection `{name}` is the column `{}` in the feed, and `{}` here",
                found.id, table.id
            );
            return Err(refused("collection", why));
        }
    }
    Ok(FeedProfile {
        collections: status.collections.into_keys().collect(),
        max_page: status.max_page,
        max_push: status.max_push,
    })
}

fn explain(error: SyncError) -> SyncError {
    match (error.kind(), error.code()) {
        (ErrorKind::Configuration, Some(codes::UNKNOWN_FUNCTION)) => {
            let why = "the project has no change feed: run its migration, which `adapter_supabase::migration` writes";
            refused("migration", why)
                .with_code(codes::UNKNOWN_FUNCTION)
                .with_source(error)
        }
        _ => error,
    }
}
