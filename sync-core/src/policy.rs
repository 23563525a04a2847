//! How a read uses the local store and the remote, and what its answer says about itself.

use std::{collections::BTreeSet, time::Duration};

use crate::{error::SyncError, store::Incomplete, time::Timestamp};

/// Where a read takes its answer from. Chosen for every read.
///
/// | policy | answers from | asks the remote | remote cannot be reached |
/// |---|---|---|---|
/// | `RemoteFirst` | the store, after a sync | before answering | the store's answer, marked stale with the reason |
/// | `LocalFirst` | the store, at once | afterwards, in the background | the status tells |
/// | `OfflineOnly` | the store | never | no difference |
/// | `OnlineOnly` | the store, after a sync | before answering | an error |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// Synchronize within the deadline, then answer from the store; if that fails, answer from the store and say
    /// that it is stale and why.
    #[default]
    RemoteFirst,
    /// Answer from the store at once, and refresh it in the background.
    LocalFirst,
    /// Answer from the store, without any request.
    OfflineOnly,
    /// Synchronize within the deadline, then answer from the store; if that fails, fail.
    OnlineOnly,
}

/// Options of one read. A bare [`CachePolicy`] is enough wherever they are asked for.
///
/// ```
/// use std::time::Duration;
/// use sync_core::{CachePolicy, ReadOptions};
///
/// let quick = ReadOptions::from(CachePolicy::RemoteFirst)
///     .with_max_age(Duration::from_secs(30))
///     .with_deadline(Duration::from_secs(2));
/// assert!(quick.policy == CachePolicy::RemoteFirst && !quick.prefer_remote_eval);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Where the answer comes from.
    pub policy: CachePolicy,
    /// A sync that ended less than this ago, by the local clock, is recent enough, and no other is made. A scope
    /// that is incomplete is never recent enough.
    pub max_age: Option<Duration>,
    /// How long to wait for a sync; 10 seconds by default. The sync goes on in the background if it takes longer.
    pub deadline: Duration,
    /// Let the remote evaluate the query; its hits are merged like any pulled record, and the answer still comes
    /// from the store. If the remote cannot evaluate the query, a sync takes its place.
    pub prefer_remote_eval: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            policy: CachePolicy::default(),
            max_age: None,
            deadline: Duration::from_secs(10),
            prefer_remote_eval: false,
        }
    }
}

impl From<CachePolicy> for ReadOptions {
    fn from(policy: CachePolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }
}

impl ReadOptions {
    /// Sets how old the last sync may be.
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Sets how long to wait for a sync.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Lets the remote evaluate the query.
    pub fn with_remote_eval(mut self) -> Self {
        self.prefer_remote_eval = true;
        self
    }
}

/// Whether an answer reflects the remote as the policy asked for.
#[derive(Clone, Debug)]
pub enum Freshness {
    /// A sync or search that this read waited for succeeded, or one within `max_age` did.
    Fresh,
    /// The policy does not ask the remote before answering.
    AsStored,
    /// The remote was asked, without success. The answer is what the store has.
    Stale(SyncError),
}

impl Freshness {
    /// Whether the remote was asked without success.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Stale(_))
    }
}

/// A stored record that could not be decoded as the record type. It is kept, and left out of the items.
#[derive(Clone, Debug)]
pub struct Undecodable<Id> {
    /// The record's id.
    pub id: Id,
    /// What is wrong with it.
    pub error: SyncError,
}

/// The answer to a read, and what it is worth.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadAnswer<T, Id> {
    /// The records.
    pub items: Vec<T>,
    /// Which of them carry writes that the remote has not confirmed.
    pub pending: BTreeSet<Id>,
    /// The server's time (or, where it tells none, the local time) up to which the store had everything.
    pub as_of: Option<Timestamp>,
    /// `None` if every record of the scope was here at `as_of`; otherwise why not.
    pub incomplete: Option<Incomplete>,
    /// Whether the remote was asked, and with which success.
    pub freshness: Freshness,
    /// Records that are stored but could not be decoded.
    pub undecodable: Vec<Undecodable<Id>>,
}

impl<T, Id> ReadAnswer<T, Id> {
    /// Whether every record of the scope was here at `as_of`.
    pub fn is_complete(&self) -> bool {
        self.incomplete.is_none()
    }

    /// Whether the remote was asked without success.
    pub fn is_stale(&self) -> bool {
        self.freshness.is_stale()
    }
}
