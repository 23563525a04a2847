//! What stands between the engine and the parts that are known to be right.

use std::{fmt, sync::Arc};

use sync_core::{LocalStore, RemoteStore};

use super::{fault_kind::FaultKind, generate::PlanOptions};
use crate::naive::{ClientMistake, RemoteMistake, StoreMistake, WrongRemote, WrongStore};

type WrapStore = Box<dyn Fn(Arc<dyn LocalStore>) -> Arc<dyn LocalStore> + Send + Sync>;
type WrapRemote = Box<dyn Fn(Arc<dyn RemoteStore>) -> Arc<dyn RemoteStore> + Send + Sync>;

/// What the apps of the devices are built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Engine,
    Naive(Option<ClientMistake>),
}

/// Wrappers around every device's store and remote. By default there are none; with one that makes a mistake, the
/// simulation shows that the mistake is found.
///
/// The store's wrapper stands above the simulated disk, so that a process can end between any two calls that the
/// wrapper makes. The remote's stands below the simulated network, as a part of the server.
pub struct Doubles {
    pub(crate) store: WrapStore,
    pub(crate) remote: WrapRemote,
    pub(crate) client: Client,
}

impl Default for Doubles {
    fn default() -> Self {
        Self {
            store: Box::new(|store| store),
            remote: Box::new(|remote| remote),
            client: Client::Engine,
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

    /// Puts a naive client in the place of every device's engine: one with a mistake, or the measure for all of them.
    /// It can only play plans of [`PlanOptions::of_naive_clients`].
    pub fn with_naive_client(mut self, mistake: Option<ClientMistake>) -> Self {
        self.client = Client::Naive(mistake);
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
    /// Of a client that is not the engine.
    Client(ClientMistake),
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
    (
        "whole_record_wins",
        Mistake::Client(ClientMistake::WholeRecordWins),
    ),
    (
        "separate_outbox_write",
        Mistake::Client(ClientMistake::SeparateOutboxWrite),
    ),
    (
        "clears_queue_after_push",
        Mistake::Client(ClientMistake::ClearsQueueAfterPush),
    ),
    (
        "answer_overwrites_edit",
        Mistake::Client(ClientMistake::AnswerOverwritesEdit),
    ),
    (
        "drops_overlay_at_answer",
        Mistake::Client(ClientMistake::DropsOverlayAtAnswer),
    ),
    (
        "unconditional_push",
        Mistake::Client(ClientMistake::UnconditionalPush),
    ),
    ("repeats_blindly", Mistake::Client(ClientMistake::RepeatsBlindly)),
    (
        "waits_for_the_answer",
        Mistake::Client(ClientMistake::WaitsForTheAnswer),
    ),
    (
        "failed_needs_new_input",
        Mistake::Client(ClientMistake::FailedNeedsNewInput),
    ),
    (
        "drops_after_three_failures",
        Mistake::Client(ClientMistake::DropsAfterThreeFailures),
    ),
    (
        "swallows_failures",
        Mistake::Client(ClientMistake::SwallowsFailures),
    ),
    (
        "stops_at_first_refusal",
        Mistake::Client(ClientMistake::StopsAtFirstRefusal),
    ),
    (
        "retries_refused_for_ever",
        Mistake::Client(ClientMistake::RetriesRefusedForEver),
    ),
    (
        "auth_failure_is_refusal",
        Mistake::Client(ClientMistake::AuthFailureIsRefusal),
    ),
    ("regroups_by_kind", Mistake::Client(ClientMistake::RegroupsByKind)),
    ("sorts_by_ids", Mistake::Client(ClientMistake::SortsByIds)),
    ("sorts_by_clock", Mistake::Client(ClientMistake::SortsByClock)),
    (
        "sends_all_ops_of_a_record_at_once",
        Mistake::Client(ClientMistake::SendsAllOpsOfARecordAtOnce),
    ),
    ("never_coalesces", Mistake::Client(ClientMistake::NeverCoalesces)),
    (
        "ignores_batch_limit",
        Mistake::Client(ClientMistake::IgnoresBatchLimit),
    ),
    (
        "forgets_new_version",
        Mistake::Client(ClientMistake::ForgetsNewVersion),
    ),
    (
        "reuses_id_for_new_content",
        Mistake::Client(ClientMistake::ReusesIdForNewContent),
    ),
    (
        "id_from_the_clock",
        Mistake::Client(ClientMistake::IdFromTheClock),
    ),
    ("pushes_the_loser", Mistake::Client(ClientMistake::PushesTheLoser)),
    ("forces_the_push", Mistake::Client(ClientMistake::ForcesThePush)),
    (
        "tie_goes_to_the_local",
        Mistake::Client(ClientMistake::TieGoesToTheLocal),
    ),
    (
        "clock_beats_causality",
        Mistake::Client(ClientMistake::ClockBeatsCausality),
    ),
    (
        "stamps_are_the_wall_clock",
        Mistake::Client(ClientMistake::StampsAreTheWallClock),
    ),
    (
        "refuses_when_clock_is_behind",
        Mistake::Client(ClientMistake::RefusesWhenClockIsBehind),
    ),
    (
        "cursor_before_rows",
        Mistake::Client(ClientMistake::CursorBeforeRows),
    ),
    ("cursor_is_now", Mistake::Client(ClientMistake::CursorIsNow)),
    (
        "cursor_moves_with_push",
        Mistake::Client(ClientMistake::CursorMovesWithPush),
    ),
    (
        "failed_pull_is_empty",
        Mistake::Client(ClientMistake::FailedPullIsEmpty),
    ),
    (
        "stores_pages_at_the_end",
        Mistake::Client(ClientMistake::StoresPagesAtTheEnd),
    ),
    (
        "fetches_everything",
        Mistake::Client(ClientMistake::FetchesEverything),
    ),
    (
        "asks_for_tombstones",
        Mistake::Client(ClientMistake::AsksForTombstones),
    ),
    ("one_page_is_all", Mistake::Client(ClientMistake::OnePageIsAll)),
    (
        "only_applies_events",
        Mistake::Client(ClientMistake::OnlyAppliesEvents),
    ),
    (
        "pull_overwrites_pending",
        Mistake::Client(ClientMistake::PullOverwritesPending),
    ),
    (
        "writes_during_pull_untracked",
        Mistake::Client(ClientMistake::WritesDuringPullUntracked),
    ),
    (
        "remote_delete_always_wins",
        Mistake::Client(ClientMistake::RemoteDeleteAlwaysWins),
    ),
    (
        "deleted_stays_deleted",
        Mistake::Client(ClientMistake::DeletedStaysDeleted),
    ),
    (
        "echo_becomes_operation",
        Mistake::Client(ClientMistake::EchoBecomesOperation),
    ),
    ("ignores_resync", Mistake::Client(ClientMistake::IgnoresResync)),
    (
        "resync_keeps_ghosts",
        Mistake::Client(ClientMistake::ResyncKeepsGhosts),
    ),
    (
        "resync_drops_queue",
        Mistake::Client(ClientMistake::ResyncDropsQueue),
    ),
    (
        "keeps_cursor_of_revoked_scope",
        Mistake::Client(ClientMistake::KeepsCursorOfRevokedScope),
    ),
    (
        "wipe_takes_the_queue",
        Mistake::Client(ClientMistake::WipeTakesTheQueue),
    ),
    ("evicts_pending", Mistake::Client(ClientMistake::EvictsPending)),
    (
        "keeps_cursor_at_eviction",
        Mistake::Client(ClientMistake::KeepsCursorAtEviction),
    ),
    (
        "client_ignores_scopes",
        Mistake::Client(ClientMistake::IgnoresScopes),
    ),
    (
        "ignores_store_errors",
        Mistake::Client(ClientMistake::IgnoresStoreErrors),
    ),
    (
        "bulk_writes_stay_local",
        Mistake::Client(ClientMistake::BulkWritesStayLocal),
    ),
    ("drops_the_oldest", Mistake::Client(ClientMistake::DropsTheOldest)),
    ("no_fallback", Mistake::Client(ClientMistake::NoFallback)),
    ("policies_are_one", Mistake::Client(ClientMistake::PoliciesAreOne)),
    (
        "keeps_revoked_rows",
        Mistake::Client(ClientMistake::KeepsRevokedRows),
    ),
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
            Self::Client(mistake) => Doubles::default().with_naive_client(Some(mistake)),
        }
    }

    /// Plans that show it.
    pub fn plans(self) -> PlanOptions {
        match self {
            Self::Remote(_) | Self::Store(_) => PlanOptions::default(),
            // In what order records go matters only where some are the parents of others.
            Self::Client(ClientMistake::SortsByIds) => PlanOptions::of_naive_clients_in_order(),
            // Where the last write wins, whole records are right.
            Self::Client(ClientMistake::WholeRecordWins) => PlanOptions::of_naive_clients_that_merge(),
            // Others write between two requests only if those take time.
            Self::Client(ClientMistake::CursorIsNow) => PlanOptions {
                faults: vec![(FaultKind::RemoteSlow, 1)],
                calm: 0.0,
                ..PlanOptions::of_naive_clients()
            },
            Self::Client(_) => PlanOptions::of_naive_clients(),
        }
    }
}
