//! Installing the feed, and taking it away.

use serde_json::Value;
use std::time::Duration;
use sync_core::{ErrorKind, Result, SyncError};
use sync_http::Method;

use super::{
    collections::{feed_collections, meta_view, prepared, stripped},
    operator::Operator,
    options::FeedOptions,
    triggers::{
        count_old_records, drop_counter, drop_triggers, forget_tombstones, make_counter, number_old_records,
        replace_triggers,
    },
};

/// How many old records are numbered in one transaction, during which nobody else can write.
const OLD_RECORDS_AT_ONCE: u32 = 2_000;

/// What [`setup`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedReport {
    /// Whether a feed was there already.
    pub was_there: bool,
    /// How many records, there before the feed, were given a version.
    pub numbered: u64,
}

/// Installs the feed of a collection, or brings it up to date. Doing it again changes nothing.
///
/// Apps may go on writing meanwhile: what they write while the triggers are being made is numbered at the end.
/// The settings of the server stay as they are; batches, which pushing needs to be sound, are off by default.
///
/// # Errors
/// `Configuration` if the collection is not there or does not fit, with what to change; `Forbidden` or
/// `Unauthenticated` if the operator is no superuser; `Unsupported` if the server has no SQL endpoint; those of
/// the transport.
///
/// # Cancel safety
/// If dropped, part of it may be there; run it again.
pub async fn setup(operator: &Operator, options: &FeedOptions) -> Result<FeedReport> {
    let found = find_collection(operator, options).await?;
    let meta = options.names().meta();
    let was_there = operator.find(&["api", "collections", &meta]).await?.is_some();

    let mut collections = vec![prepared(options, &found)?];
    collections.extend(feed_collections(options, &found)?);
    operator.import(collections).await?;
    operator.sql(&make_counter(options)).await?;
    operator.import(vec![meta_view(options, &found)]).await?;
    for trigger in replace_triggers(options) {
        operator.sql(&trigger).await?;
    }
    let numbered = number_all(operator, options).await?;
    Ok(FeedReport { was_there, numbered })
}

/// Takes the feed of a collection away, with its history. Clients start over when there is one again.
///
/// # Errors
/// As [`setup`].
///
/// # Cancel safety
/// If dropped, part of it may be there; run it again.
pub async fn uninstall(operator: &Operator, options: &FeedOptions) -> Result<()> {
    let found = find_collection(operator, options).await?;
    operator.sql(&drop_triggers(options)).await?;
    let names = options.names();
    for collection in [names.meta(), names.gone(), names.ops(), names.marks()] {
        operator.remove(&["api", "collections", &collection]).await?;
    }
    operator.sql(&drop_counter(options)).await?;
    let path = ["api", "collections", options.collection()];
    operator
        .send(Method::PATCH, &path, &stripped(options, &found))
        .await
}

/// Forgets tombstones of records that are gone for longer than `age`. A client that was away for longer starts
/// over with a full resync. Numbers are never given out again.
///
/// # Errors
/// As [`setup`].
///
/// # Cancel safety
/// If dropped, it has happened as a whole or not at all.
pub async fn prune(operator: &Operator, options: &FeedOptions, age: Duration) -> Result<()> {
    operator
        .sql(&forget_tombstones(options, age.as_secs()))
        .await
        .map(drop)
}

async fn find_collection(operator: &Operator, options: &FeedOptions) -> Result<Value> {
    let name = options.collection();
    operator
        .find(&["api", "collections", name])
        .await?
        .ok_or_else(|| {
            let message = format!("there is no collection `{name}`; make it first");
            SyncError::new(ErrorKind::Configuration, message).with_field("collection")
        })
}

/// Gives the records that have none a version.
async fn number_all(operator: &Operator, options: &FeedOptions) -> Result<u64> {
    let mut before = None;
    let mut numbered = 0;
    loop {
        let old = count(operator, &count_old_records(options)).await?;
        if let Some(before) = before {
            numbered += u64::saturating_sub(before, old);
        }
        if old == 0 {
            return Ok(numbered);
        }
        if before == Some(old) {
            let message = format!("{old} records of `{}` take no version", options.collection());
            return Err(SyncError::new(ErrorKind::Internal, message));
        }
        before = Some(old);
        operator
            .sql(&number_old_records(options, OLD_RECORDS_AT_ONCE))
            .await?;
    }
}

/// The number that a query tells.
async fn count(operator: &Operator, query: &str) -> Result<u64> {
    let rows = operator.sql(query).await?;
    let cell = rows.first().map(|row| &row[0]);
    let number = cell.and_then(|cell| match cell {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    number.ok_or_else(|| SyncError::new(ErrorKind::Malformed, "a count was answered without a number"))
}
