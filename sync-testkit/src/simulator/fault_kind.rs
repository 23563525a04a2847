//! Everything that can go wrong in a simulation.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! fault_kinds {
    ($($(#[doc = $text:literal])+ $kind:ident $name:literal,)*) => {
        /// One way in which things go wrong. Each is counted when it strikes, not when it is planned.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum FaultKind {
            $($(#[doc = $text])+ $kind,)*
        }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$kind,)*];

            /// The name as printed, and as the option `--only` of the program takes it.
            pub fn name(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $name,)*
                }
            }
        }
    };
}

fault_kinds! {
    /// A request never reaches the remote.
    RequestLost "request_lost",
    /// The remote does what was asked, and the answer is lost.
    AnswerLost "answer_lost",
    /// The remote does what was asked, and the answer cannot be read.
    AnswerGarbled "answer_garbled",
    /// A request reaches the remote twice.
    Duplicated "duplicated",
    /// An old push reaches the remote once more.
    Redelivered "redelivered",
    /// A request is overtaken by later ones.
    Reordered "reordered",
    /// A request reaches the remote after the client has given up waiting.
    DelayedPastTimeout "delayed_past_timeout",
    /// One client is cut off.
    Partition "partition",
    /// The remote is down for everybody.
    RemoteDown "remote_down",
    /// The remote takes seconds for every answer.
    RemoteSlow "remote_slow",
    /// The remote fails one request.
    ServerError "server_error",
    /// The remote asks for fewer requests, without saying when to come back.
    RateLimited "rate_limited",
    /// The remote asks for fewer requests, with a time to come back (`Retry-After`).
    RateLimitedWithPause "rate_limited_with_pause",
    /// Some operations of a push are to be sent again.
    PartialPush "partial_push",
    /// Pages are shorter than asked for.
    PageCap "page_cap",
    /// A write becomes visible long after its time was taken.
    LateCommit "late_commit",
    /// Several writes have the same time.
    EqualTimes "equal_times",
    /// The server's clock jumps.
    ServerClockJump "server_clock_jump",
    /// A device's clock is wrong from the start.
    ClientClockSkew "client_clock_skew",
    /// A device's clock jumps.
    ClientClockJump "client_clock_jump",
    /// A sign-in expires, until the next one.
    TokenExpired "token_expired",
    /// One request is refused as not signed in.
    TokenRefused "token_refused",
    /// The remote is put back to an old backup.
    BackupRestored "backup_restored",
    /// The remote begins a new epoch, with its data as it is.
    NewEpoch "new_epoch",
    /// The remote says that a sync point is no longer good.
    CursorExpired "cursor_expired",
    /// The remote forgets its tombstones.
    TombstonesCollected "tombstones_collected",
    /// A scope may no longer be seen.
    AccessRevoked "access_revoked",
    /// A scope may be seen again.
    AccessGranted "access_granted",
    /// The remote refuses a record for good.
    PoisonRecord "poison_record",
    /// The remote has a row that nobody understands.
    MalformedRow "malformed_row",
    /// A row is gone without a tombstone.
    VanishedRow "vanished_row",
    /// News of a change is lost.
    PokeLost "poke_lost",
    /// News of a change comes twice.
    PokeDuplicated "poke_duplicated",
    /// News of a change comes late, after later ones.
    PokeDelayed "poke_delayed",
    /// The connection that brings news breaks.
    SubscriptionCut "subscription_cut",
    /// The device believes to be offline, or online, and is wrong.
    WrongConnectivity "wrong_connectivity",
    /// A process is killed and started again.
    Crash "crash",
    /// A process is killed right before or right after a call of its store.
    CrashAtStoreCall "crash_at_store_call",
    /// A second process works on the same store.
    SecondProcess "second_process",
    /// A call of the app is dropped half-way.
    CallDropped "call_dropped",
    /// A call of the store finds it locked.
    StoreBusy "store_busy",
    /// A commit finds the disk full.
    StoreFull "store_full",
    /// The app is updated, with another schema version, while operations are pending.
    SchemaChange "schema_change",
}

impl FaultKind {
    /// The place in [`FaultKind::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Whether it lasts until it is ended.
    pub(crate) fn lasts(self) -> bool {
        matches!(
            self,
            Self::Partition
                | Self::RemoteDown
                | Self::RemoteSlow
                | Self::TokenExpired
                | Self::AccessRevoked
                | Self::LateCommit
                | Self::WrongConnectivity
                | Self::PoisonRecord
        )
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|kind| kind.name() == name);
        found
            .copied()
            .ok_or_else(|| format!("there is no fault kind {name:?}"))
    }
}
