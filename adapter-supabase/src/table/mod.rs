//! Table mode: a project as it is, by its tables alone.
//!
//! `updated_at` is the time at which a transaction began, so rows appear behind a watermark on it. Each pass reads an
//! overlap again, rows are counted, and what still comes later is found by the scan of ids. Writes go row by row, on
//! the condition that the row still has the `updated_at` that they were made on.

mod cursor;
mod place;
mod plan;
mod probe;
mod pull;
mod push;
mod read;
mod row;

use std::collections::BTreeMap;

use sync_core::{
    Capabilities, CollectionName, CursorKind, DeleteVisibility, ErrorKind, Realtime, RemoteState, Result,
    SearchPage, SearchSupport, SyncError, SyncScope, Target, Timestamp, query::QuerySpec,
};

use crate::{
    client::{Call, Client},
    config::{Options, SupabaseConfig, refused},
    realtime::{Channel, WatchedTable},
    search::Search,
    table_mapping::SupabaseTable,
};

pub(crate) use place::{Place, name};
pub use probe::TableProfile;
pub(crate) use probe::probe;
pub(crate) use read::NO_SUCH_VALUE;
pub(crate) use row::{id_text, is_canonical_time};

/// The tables, and how they are read and written.
#[derive(Debug)]
pub(crate) struct Tables {
    mappings: BTreeMap<CollectionName, SupabaseTable>,
    options: Options,
    schema: String,
}

impl Tables {
    pub(crate) fn new(config: &SupabaseConfig) -> Self {
        Self {
            mappings: config.collections.clone(),
            options: config.options,
            schema: config.schema.clone(),
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let marked = self.mappings.values().all(|table| table.soft_delete.is_some());
        Capabilities {
            cursor: CursorKind::TimestampWithRepair {
                overlap_ms: u64::try_from(self.options.overlap.as_millis()).unwrap_or(u64::MAX),
            },
            deletes: if marked {
                DeleteVisibility::SoftDeleteField
            } else {
                DeleteVisibility::SweepOnly
            },
            conditional_write: true,
            idempotent_push: false,
            atomic_batch: false,
            stamps: false,
            epoch: false,
            id_list: true,
            server_time: true,
            search: SearchSupport::Partial,
            realtime: Realtime::Poke,
            max_push_batch: self.options.push_batch,
            max_page: self.options.page,
        }
    }

    /// Where the records of a target lie.
    ///
    /// # Errors
    /// `Configuration` naming the collection or the key of the scope that has no table or column.
    pub(crate) fn place(&self, target: &Target) -> Result<Place<'_>> {
        let Some(mapping) = self.mappings.get(&target.collection) else {
            let why = format!("there is no table for the collection `{}`", target.collection);
            return Err(refused("collection", why));
        };
        Place::new(mapping, &target.scope)
    }

    /// Answers a query from the table's own rows.
    pub(crate) async fn search(
        &self,
        client: &Client,
        target: &Target,
        spec: &QuerySpec,
    ) -> Result<SearchPage> {
        let place = self.place(target)?;
        client.user().await?;
        let search = Search::new(&place, spec)?;
        let rows = search
            .candidates(client, self.options.page, &place.whole_row())
            .await?;
        // Rows that cannot be understood match nothing; pulls report them.
        let live = rows.into_iter().filter_map(|row| {
            let row = row::Row::read(place.mapping, row).ok()?;
            match row.state() {
                RemoteState::Live(live) => Some((row.id, live)),
                _ => None,
            }
        });
        Ok(SearchPage {
            hits: search.answer(live.collect())?,
            server_time: pull::server_now(client),
        })
    }

    /// The channel with the changes of the tables that hold records of the scope.
    pub(crate) fn channel(&self, scope: &SyncScope) -> Result<Channel> {
        let mut watched = Vec::new();
        for (collection, mapping) in &self.mappings {
            // Collections whose scopes have other keys hold nothing of this one.
            let Ok(place) = Place::new(mapping, scope) else {
                continue;
            };
            watched.push(WatchedTable {
                schema: self.schema.clone(),
                table: mapping.table.clone(),
                // One condition is all that a subscription takes.
                only: place.scope.first().cloned(),
                collection: Some(collection.clone()),
            });
        }
        if watched.is_empty() {
            return Err(refused(
                "scope",
                format!("no table holds records of the scope {scope}"),
            ));
        }
        Ok(Channel::of_tables(scope.key(), watched))
    }

    /// The project's time, from the `Date` of an answer.
    pub(crate) async fn server_time(&self, client: &Client) -> Result<Timestamp> {
        let table = self.mappings.values().next();
        let table = table.ok_or_else(|| refused("collections", "there is none; add one"))?;
        let call = Call::table(sync_http::Method::HEAD, &table.table)
            .query("select", name(&table.id))
            .query("limit", "0");
        client.send(&call).await?;
        match client.server_clock().skew() {
            Some(_) => Ok(client.server_clock().now()),
            None => Err(SyncError::new(ErrorKind::Malformed, "the answer tells no time").with_field("date")),
        }
    }
}
