//! What stands between the engine and the parts that are known to be right.

use std::{fmt, sync::Arc};

use sync_core::{LocalStore, RemoteStore};

use crate::naive::{RemoteMistake, StoreMistake, WrongRemote, WrongStore};

type WrapStore = Box<dyn Fn(Arc<dyn LocalStore>) -> Arc<dyn LocalStore> + Send + Sync>;
type WrapRemote = Box<dyn Fn(Arc<dyn RemoteStore>) -> Arc<dyn RemoteStore> + Send + Sync>;

/// Wrappers around every device's store and remote. By default there are none; with one that makes a mistake, the
/// simulation shows that the mistake is found.
///
/// The store's wrapper stands above the simulated disk, so that a process can end between any two calls that the
/// wrapper makes. The remote's stands below the simulated network, as a part of the server.
pub struct Doubles {
    pub(crate) store: WrapStore,
    pub(crate) remote: WrapRemote,
}

impl Default for Doubles {
    fn default() -> Self {
        Self {
            store: Box::new(|store| store),
            remote: Box::new(|remote| remote),
        }
    }
}

impl fmt::Debug for Doubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doubles").finish_non_exhaustive()
    }
}

impl Doubles {
    /// Puts something in front of every device's store.
    pub fn with_store(
        mut self,
        wrap: impl Fn(Arc<dyn LocalStore>) -> Arc<dyn LocalStore> + Send + Sync + 'static,
    ) -> Self {
        self.store = Box::new(wrap);
        self
    }

    /// Puts something in front of every device's connection, on the server's side of the network.
    pub fn with_remote(
        mut self,
        wrap: impl Fn(Arc<dyn RemoteStore>) -> Arc<dyn RemoteStore> + Send + Sync + 'static,
    ) -> Self {
        self.remote = Box::new(wrap);
        self
    }
}

/// One of the mistakes in [`naive`](crate::naive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mistake {
    /// Of a remote.
    Remote(RemoteMistake),
    /// Of a local store.
    Store(StoreMistake),
}

/// Every mistake, by the name that the bug base knows it by.
pub const MISTAKES: &[(&str, Mistake)] = &[
    ("cursor_by_time", Mistake::Remote(RemoteMistake::CursorByTime)),
    (
        "short_page_is_the_end",
        Mistake::Remote(RemoteMistake::ShortPageIsTheEnd),
    ),
    (
        "keeps_deletes_to_itself",
        Mistake::Remote(RemoteMistake::KeepsDeletesToItself),
    ),
    (
        "swallows_refusals",
        Mistake::Remote(RemoteMistake::SwallowsRefusals),
    ),
    (
        "forgets_operations",
        Mistake::Remote(RemoteMistake::ForgetsOperations),
    ),
    (
        "ignores_conditions",
        Mistake::Remote(RemoteMistake::IgnoresConditions),
    ),
    ("ignores_scopes", Mistake::Remote(RemoteMistake::IgnoresScopes)),
    (
        "answers_empty_when_signed_out",
        Mistake::Remote(RemoteMistake::AnswersEmptyWhenSignedOut),
    ),
    ("cursor_by_stamp", Mistake::Remote(RemoteMistake::CursorByStamp)),
    ("offset_pages", Mistake::Remote(RemoteMistake::OffsetPages)),
    (
        "fails_on_malformed_rows",
        Mistake::Remote(RemoteMistake::FailsOnMalformedRows),
    ),
    (
        "claims_commit_order",
        Mistake::Remote(RemoteMistake::ClaimsCommitOrder),
    ),
    (
        "commits_in_two_halves",
        Mistake::Store(StoreMistake::CommitsInTwoHalves),
    ),
    (
        "commits_rows_before_operations",
        Mistake::Store(StoreMistake::CommitsRowsBeforeOperations),
    ),
    ("ignores_guards", Mistake::Store(StoreMistake::IgnoresGuards)),
    ("forgets_leases", Mistake::Store(StoreMistake::ForgetsLeases)),
    (
        "rewrites_payloads",
        Mistake::Store(StoreMistake::RewritesPayloads),
    ),
    ("sorts_nulls_last", Mistake::Store(StoreMistake::SortsNullsLast)),
    ("tells_no_changes", Mistake::Store(StoreMistake::TellsNoChanges)),
];

impl Mistake {
    /// The mistake of this name in [`MISTAKES`].
    pub fn named(name: &str) -> Option<Self> {
        MISTAKES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, mistake)| *mistake)
    }

    /// The doubles that make it.
    pub fn doubles(self) -> Doubles {
        match self {
            Self::Remote(mistake) => {
                Doubles::default().with_remote(move |remote| Arc::new(WrongRemote::new(remote, mistake)))
            }
            Self::Store(mistake) => {
                Doubles::default().with_store(move |store| Arc::new(WrongStore::new(store, mistake)))
            }
        }
    }
}
