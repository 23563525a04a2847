//! What a naive client does wrong.

/// What a naive client does wrong. Each is what some real sync code did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ClientMistake {
    /// Conflicts are settled by whole records where fields should be merged, and nobody is asked.
    WholeRecordWins,
    /// The row is written first, the operation in a second step.
    SeparateOutboxWrite,
    /// After a push the whole queue is cleared, with what was written meanwhile.
    ClearsQueueAfterPush,
    /// The record as it was pushed is written over what the user wrote meanwhile.
    AnswerOverwritesEdit,
    /// When the push was answered, the record shows the old state until it is pulled.
    DropsOverlayAtAnswer,
    /// Pushes name no base: whoever comes last overwrites.
    UnconditionalPush,
    /// An operation that is sent again has a new identity and no base.
    RepeatsBlindly,
    /// What was sent once is never sent again: the client waits for its answer.
    WaitsForTheAnswer,
    /// What failed once is not sent again unless the user writes the record again.
    FailedNeedsNewInput,
    /// The third failure of an operation is its last.
    DropsAfterThreeFailures,
    /// Every answer counts as success, a failure as well.
    SwallowsFailures,
    /// The first refused operation ends the sync, each time.
    StopsAtFirstRefusal,
    /// What was refused is sent with every sync.
    RetriesRefusedForEver,
    /// An expired sign-in counts as a refusal.
    AuthFailureIsRefusal,
    /// Operations go by kind: creates, updates, deletes.
    RegroupsByKind,
    /// Operations go in the order of ids.
    SortsByIds,
    /// Operations go in the order of the wall clock, one by one.
    SortsByClock,
    /// Every operation of a record goes at once, all on the first base.
    SendsAllOpsOfARecordAtOnce,
    /// Nothing coalesces.
    NeverCoalesces,
    /// The batch limit is not held.
    IgnoresBatchLimit,
    /// The version that a push made is not kept.
    ForgetsNewVersion,
    /// New content joins an operation that was sent, under its identity.
    ReusesIdForNewContent,
    /// Operation ids are made of the time.
    IdFromTheClock,
    /// What lost a conflict is pushed all the same.
    PushesTheLoser,
    /// When the local side wins, it is pushed without a base.
    ForcesThePush,
    /// On a tie, the local write wins.
    TieGoesToTheLocal,
    /// The record with the greater stamp stays, whatever its writer had seen.
    ClockBeatsCausality,
    /// Stamps are the wall clock, also after it was set back.
    StampsAreTheWallClock,
    /// No write while the clock is behind the last one.
    RefusesWhenClockIsBehind,
    /// The sync point is stored before its rows.
    CursorBeforeRows,
    /// The sync point after a pull is the server's now.
    CursorIsNow,
    /// A push moves the sync point to now.
    CursorMovesWithPush,
    /// A pull that failed counts as an empty one, up to now.
    FailedPullIsEmpty,
    /// Rows and sync point are stored when the last page has come.
    StoresPagesAtTheEnd,
    /// Every pull begins from nothing.
    FetchesEverything,
    /// Tombstones are asked for although nothing is held.
    AsksForTombstones,
    /// Only the first page is asked for.
    OnePageIsAll,
    /// A sync pushes, and waits for events to tell of changes.
    OnlyAppliesEvents,
    /// Pulled rows overwrite records with pending operations.
    PullOverwritesPending,
    /// What the user writes during a pull is not queued.
    WritesDuringPullUntracked,
    /// A remote delete wins over every pending edit.
    RemoteDeleteAlwaysWins,
    /// A record that was deleted once stays so.
    DeletedStaysDeleted,
    /// Pulled rows are queued for the remote.
    EchoBecomesOperation,
    /// A sync point that is no longer good is taken for "nothing new".
    IgnoresResync,
    /// A full pull only adds and changes.
    ResyncKeepsGhosts,
    /// A full pull begins with an empty store, queue included.
    ResyncDropsQueue,
    /// Rows of a revoked scope stay.
    KeepsRevokedRows,
    /// The sync point of a revoked scope stays, its rows go.
    KeepsCursorOfRevokedScope,
    /// Clearing the cache clears the queue.
    WipeTakesTheQueue,
    /// Eviction takes records with pending operations.
    EvictsPending,
    /// Eviction leaves the sync point as it is.
    KeepsCursorAtEviction,
    /// Evictions and deletes go by id, in every scope.
    IgnoresScopes,
    /// Errors of the store are swallowed.
    IgnoresStoreErrors,
    /// Writes of many records change the store alone.
    BulkWritesStayLocal,
    /// Of more than a hundred pending operations the oldest are dropped.
    DropsTheOldest,
    /// A remote-first read that meets no network is an error.
    NoFallback,
    /// Every policy reads the store alone, and no failure is told.
    PoliciesAreOne,
}
