//! Finding out what the server is, instead of guessing.

use serde::{Deserialize, Serialize};
use sync_core::{
    Capabilities, CursorKind, DeleteVisibility, ErrorKind, Realtime, Result, SearchSupport, SyncError,
};

use crate::{
    client::{Caller, ListQuery},
    config::{CollectionMapping, Content, PocketBaseConfig},
    error::{ADAPTER, BatchRefusal},
    feed::{FEED_VERSION, FIELD_REV},
    filter,
    rows::{RowKind, Table},
    wire::BatchRequest,
};

/// How many columns are asked about in one filter, within the server's limits.
const COLUMNS_AT_ONCE: usize = 40;

/// Which guarantees a server can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Any server: changes by the time of the last write, with overlap, count check and id sweep; deletes by
    /// sweep, or by a soft-delete column.
    Plain,
    /// A server on which every collection has a feed: changes in the order of commits, tombstones, conditional
    /// and idempotent writes, detection of restored backups.
    Feed,
}

/// What [`PocketBaseRemoteStore::connect`](crate::PocketBaseRemoteStore::connect) found out about a server.
///
/// An app keeps it (it serialises), and starts without a network with
/// [`PocketBaseRemoteStore::open`](crate::PocketBaseRemoteStore::open).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerProfile {
    /// Which guarantees the server can give.
    pub profile: Profile,
    /// How many requests it takes in one batch, as far as they are wanted; `None` if batches are switched off.
    pub batch_requests: Option<u32>,
}

impl ServerProfile {
    /// What the engine may count on.
    pub(crate) fn capabilities(&self, config: &PocketBaseConfig) -> Capabilities {
        let batches = self.batch_requests.is_some();
        let requests = self.batch_requests.unwrap_or(u32::MAX);
        let common = Capabilities {
            atomic_batch: batches,
            id_list: true,
            server_time: true,
            search: SearchSupport::Partial,
            realtime: Realtime::Poke,
            max_page: crate::client::LARGEST_PAGE,
            ..Capabilities::minimal()
        };
        match self.profile {
            Profile::Plain => {
                let all_soft = config
                    .collections
                    .iter()
                    .all(|mapping| mapping.soft_delete.is_some());
                Capabilities {
                    cursor: CursorKind::TimestampWithRepair {
                        overlap_ms: u64::try_from(config.overlap.as_millis()).unwrap_or(u64::MAX),
                    },
                    deletes: if all_soft {
                        DeleteVisibility::SoftDeleteField
                    } else {
                        DeleteVisibility::SweepOnly
                    },
                    max_push_batch: config.push_batch.min(requests),
                    ..common
                }
            }
            Profile::Feed => Capabilities {
                cursor: CursorKind::CommitOrdered,
                deletes: DeleteVisibility::Tombstones,
                // Without batches a delete can carry neither condition nor identity.
                conditional_write: batches,
                idempotent_push: batches,
                stamps: true,
                epoch: true,
                // A delete is two requests.
                max_push_batch: config.push_batch.min(requests / 2).max(1),
                ..common
            },
        }
    }
}

/// Asks the server what it is.
pub(crate) async fn probe(caller: &Caller<'_>, config: &PocketBaseConfig) -> Result<ServerProfile> {
    caller.client.health_time().await?;
    caller.ensure_signed_in().await?;
    let mut without_feed = None;
    for mapping in &config.collections {
        let table = Table::new(mapping.clone(), RowKind::Feed);
        match caller.meta(&table.feed.meta()).await? {
            Some(meta) if meta.version == FEED_VERSION => {}
            Some(meta) => {
                let message = format!(
                    "the feed of `{}` has version {}, this adapter speaks {FEED_VERSION}; run its setup again",
                    table.table_name(),
                    meta.version
                );
                return Err(configuration(mapping, message));
            }
            None => {
                without_feed.get_or_insert(mapping);
            }
        }
    }
    if let Some(mapping) = without_feed {
        if config.needs_feed {
            let message = format!(
                "the collection `{}` has no feed; install it with `feed::setup`",
                mapping.table
            );
            return Err(configuration(mapping, message));
        }
        tracing::info!(collection = %mapping.table, "no feed, so the server is used as a plain one");
    }
    let profile = if without_feed.is_some() {
        Profile::Plain
    } else {
        Profile::Feed
    };
    for mapping in &config.collections {
        check_columns(caller, mapping, profile).await?;
    }
    Ok(ServerProfile {
        profile,
        batch_requests: batch_requests(caller, config.push_batch.saturating_mul(2)).await?,
    })
}

/// Makes sure that the columns are there. A filter on one that is not is refused.
async fn check_columns(caller: &Caller<'_>, mapping: &CollectionMapping, profile: Profile) -> Result<()> {
    let mut columns: Vec<&str> = mapping.scope.values().map(String::as_str).collect();
    columns.extend(mapping.derived_ids.as_deref());
    match &mapping.content {
        Content::Document { column } => columns.push(column),
        Content::Fields { fields, .. } => columns.extend(fields.keys().map(String::as_str)),
    }
    match profile {
        Profile::Plain => {
            columns.push(&mapping.updated);
            columns.extend(mapping.soft_delete.as_deref());
        }
        Profile::Feed => columns.push(FIELD_REV),
    }
    if refuses(caller, mapping, &columns).await?.is_none() {
        return Ok(());
    }
    // One of them is not there; the server does not say which.
    for column in columns {
        if let Some(refusal) = refuses(caller, mapping, &[column]).await? {
            let hint = if column == mapping.updated {
                "; it must be an autodate field that is set on create and update"
            } else {
                ""
            };
            let message = format!("the collection `{}` has no field `{column}`{hint}", mapping.table);
            return Err(configuration(mapping, message)
                .with_code(column.to_owned())
                .with_source(refusal));
        }
    }
    Ok(())
}

/// Whether the server refuses a filter on these columns, and with what.
async fn refuses(
    caller: &Caller<'_>,
    mapping: &CollectionMapping,
    columns: &[&str],
) -> Result<Option<SyncError>> {
    for columns in columns.chunks(COLUMNS_AT_ONCE) {
        let conditions: Vec<String> = columns.iter().map(|column| format!("{column} != ''")).collect();
        let filter = filter::all(conditions.iter().map(String::as_str));
        let query = ListQuery {
            filter: &filter,
            fields: "id",
            per_page: 1,
            ..ListQuery::default()
        };
        match caller.list(&mapping.table, &query).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Invalid => return Ok(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn configuration(mapping: &CollectionMapping, message: String) -> SyncError {
    SyncError::new(ErrorKind::Configuration, message)
        .with_field(mapping.name.clone())
        .with_operation("connect")
        .with_adapter(ADAPTER)
}

/// How many requests go into one batch, at most `wanted`; `None` if batches are switched off.
///
/// Nobody but a superuser can read the setting, so a batch is sent that cannot have an effect: its length is
/// checked first.
async fn batch_requests(caller: &Caller<'_>, wanted: u32) -> Result<Option<u32>> {
    let nothing = BatchRequest {
        method: "GET",
        url: "/".to_owned(),
        body: None,
    };
    let requests = vec![&nothing; wanted as usize];
    Ok(match caller.batch(&requests).await? {
        Err(BatchRefusal::Off) => None,
        Err(BatchRefusal::TooMany(limit)) => Some(u32::try_from(limit).unwrap_or(u32::MAX).min(wanted)),
        Err(BatchRefusal::Whole(error)) if error.kind() != ErrorKind::Invalid => return Err(error),
        _ => Some(wanted),
    })
}
