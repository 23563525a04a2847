//! Pulling.

mod feed;
mod plain;

use sync_core::{Delta, ErrorKind, PullRequest, Result, SyncError};

use crate::{
    client::Caller,
    cursor::{Cursor, resync},
    error::ADAPTER,
    remote::Inner,
    rows::{Row, RowKind},
};

impl Inner {
    /// One page of changes.
    pub(crate) async fn pull(&self, caller: &Caller<'_>, request: &PullRequest) -> Result<Delta> {
        let table = self.table(&request.target.collection)?;
        let cursor = request.since.as_ref().map(Cursor::read).transpose()?;
        match (table.kind, cursor) {
            (RowKind::Plain, None) => self.pull_plain(caller, table, request, None).await,
            (RowKind::Plain, Some(Cursor::Plain(cursor))) => {
                self.pull_plain(caller, table, request, Some(cursor)).await
            }
            (RowKind::Feed, None) => self.pull_feed(caller, table, request, None).await,
            (RowKind::Feed, Some(Cursor::Feed(cursor))) => {
                self.pull_feed(caller, table, request, Some(cursor)).await
            }
            _ => Err(resync(
                "the sync point was made when the server had another profile",
            )),
        }
    }
}

/// Puts what a row says into a delta.
fn add(delta: &mut Delta, row: Row) {
    match row.record {
        Ok((id, state)) => delta.changes.push(sync_core::RemoteChange { id, state }),
        Err(malformed) => delta.malformed.push(malformed),
    }
}

/// The feed is not there, though the sign-in is good.
fn no_feed(table: &str) -> SyncError {
    let message = format!("the feed of the collection `{table}` is not there any more; connect again");
    SyncError::new(ErrorKind::Configuration, message).with_adapter(ADAPTER)
}
