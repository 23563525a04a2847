//! What one simulation does, as data: it can be saved, shrunk and replayed.

use serde::{Deserialize, Serialize};

use super::fault_kind::FaultKind;

/// One simulation: its settings and its steps. Equal plans run equally, poll by poll.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Decides what nothing else decides: which task runs next, identities, jitter.
    pub seed: u64,
    /// The cast.
    pub settings: Settings,
    /// What happens, in order. Afterwards every fault ends, and the devices must come to rest.
    pub steps: Vec<Step>,
}

/// How strong the remote is. What a profile means exactly is up to the [`Backends`](super::Backends).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Profile {
    /// Everything the contract knows.
    Strong,
    /// As `Strong`, with small limits for pages and pushes.
    Small,
    /// Operation ids are not remembered.
    Forgetful,
    /// Stamps are not kept.
    Stampless,
    /// Batches are not atomic, and there is no list of ids.
    Plain,
    /// A cursor by time, deletes without trace, unconditional writes.
    Timestamp,
    /// Every pull is a snapshot; unconditional writes.
    Snapshot,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 7] = [
        Self::Strong,
        Self::Small,
        Self::Forgetful,
        Self::Stampless,
        Self::Plain,
        Self::Timestamp,
        Self::Snapshot,
    ];
}

/// Who decides conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// [`LastWriteWins`](sync_core::resolve::LastWriteWins).
    LastWriteWins,
    /// [`FieldMerge`](sync_core::resolve::FieldMerge).
    FieldMerge,
    /// [`ServerWins`](sync_core::resolve::ServerWins).
    ServerWins,
    /// [`ClientWins`](sync_core::resolve::ClientWins).
    ClientWins,
    /// [`Manual`](sync_core::resolve::Manual): the simulated user decides.
    Manual,
    /// A resolver that fails or panics on some records.
    Faulty,
}

/// The cast of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The remote.
    pub profile: Profile,
    /// The resolver of every device.
    pub decider: Decider,
    /// The devices, at least one.
    pub devices: Vec<DeviceSettings>,
    /// How many scopes there are, at least one.
    pub scopes: usize,
    /// Whether background drivers run on every device, or the app asks for every sync.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// Whether the server changes records on their way into the store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server_changes: bool,
    /// Whether no record is the parent of another. Engines read what they push further ahead then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unrelated: bool,
    /// Whether each device changes a field of its own, and users delete nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_fields: bool,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSettings {
    /// As [`EngineOptions::page_size`](sync_core::EngineOptions::page_size).
    pub page_size: u32,
    /// As [`EngineOptions::commit_rows`](sync_core::EngineOptions::commit_rows).
    pub commit_rows: usize,
    /// As [`EngineOptions::push_batch`](sync_core::EngineOptions::push_batch).
    pub push_batch: u32,
    /// As [`EngineOptions::sweep_interval`](sync_core::EngineOptions::sweep_interval), in seconds.
    pub sweep_seconds: u64,
    /// How far its wall clock is off, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_skew_millis: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// One step, and how far things go on before the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What happens.
    #[serde(flatten)]
    pub act: Act,
    /// How many turns the tasks get before the next step.
    #[serde(default)]
    pub turns: u32,
}

/// Which kind of sync the app asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// [`SyncEngine::synchronize`](sync_core::SyncEngine::synchronize).
    Both,
    /// [`SyncEngine::push_only`](sync_core::SyncEngine::push_only).
    Push,
    /// [`SyncEngine::pull_only`](sync_core::SyncEngine::pull_only).
    Pull,
    /// [`SyncEngine::full_resync`](sync_core::SyncEngine::full_resync).
    Full,
    /// [`SyncEngine::sweep`](sync_core::SyncEngine::sweep).
    Sweep,
}

/// Where a read takes its answer from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// [`OfflineOnly`](sync_core::CachePolicy::OfflineOnly).
    Store,
    /// [`LocalFirst`](sync_core::CachePolicy::LocalFirst).
    StoreFirst,
    /// [`RemoteFirst`](sync_core::CachePolicy::RemoteFirst).
    RemoteFirst,
    /// [`OnlineOnly`](sync_core::CachePolicy::OnlineOnly), evaluated by the remote where it can.
    Remote,
}

/// A record: `lists` are the parents of `items`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The number of the scope.
    pub scope: usize,
    /// Whether it is a list, or an item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list: bool,
    /// The number of the record.
    pub id: usize,
}

/// What happens in one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Act {
    /// The user writes a record: creates it, or changes the fields whose bits are set.
    Put {
        /// The device.
        device: usize,
        /// The record.
        place: Place,
        /// 1 = `x`, 2 = `y`, 4 = `n`, 8 = the parent.
        fields: u8,
        /// Whether other tasks run while it is written.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        beside: bool,
    },
    /// The user deletes a record.
    Delete {
        /// The device.
        device: usize,
        /// The record.
        place: Place,
    },
    /// The user writes a list and two items in it as one batch.
    Batch {
        /// The device.
        device: usize,
        /// The scope.
        scope: usize,
        /// The number of the list; the items follow from it.
        id: usize,
    },
    /// The app asks for a sync.
    Sync {
        /// The device.
        device: usize,
        /// The scope.
        scope: usize,
        /// Which kind.
        how: How,
    },
    /// The app reads.
    Read {
        /// The device.
        device: usize,
        /// The scope.
        scope: usize,
        /// Where from.
        from: ReadFrom,
        /// Which order and filter.
        query: u8,
    },
    /// The user sends what was set aside again.
    Retry {
        /// The device.
        device: usize,
    },
    /// The user gives a pending operation up.
    Discard {
        /// The device.
        device: usize,
        /// Which of them.
        nth: usize,
    },
    /// The user decides an open conflict.
    Resolve {
        /// The device.
        device: usize,
        /// Whether for the local value.
        keep: bool,
    },
    /// The app clears a scope.
    Clear {
        /// The device.
        device: usize,
        /// The scope.
        scope: usize,
        /// Whether pending operations are given up.
        discard: bool,
    },
    /// The app gives up cached records.
    Evict {
        /// The device.
        device: usize,
    },
    /// The app exports the queue of a scope and imports it again.
    Reimport {
        /// The device.
        device: usize,
        /// The scope.
        scope: usize,
    },
    /// The app ends and starts again.
    Restart {
        /// The device.
        device: usize,
    },
    /// Someone else writes a record.
    ForeignPut {
        /// The record.
        place: Place,
    },
    /// Someone else deletes a record.
    ForeignDelete {
        /// The record.
        place: Place,
    },
    /// Time passes.
    Wait {
        /// How much.
        millis: u64,
    },
    /// A fault begins, or is set to strike at the next chance.
    Fault {
        /// Which.
        kind: FaultKind,
        /// The device it is about.
        device: usize,
        /// The record or scope it is about.
        place: Place,
        /// How much of it.
        amount: u64,
    },
    /// A lasting fault ends.
    End {
        /// Which.
        kind: FaultKind,
        /// The device it is about.
        device: usize,
        /// The record or scope it is about.
        place: Place,
    },
}

impl Act {
    /// The device it is about, if it is about one.
    pub(crate) fn device_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Put { device, .. }
            | Self::Delete { device, .. }
            | Self::Batch { device, .. }
            | Self::Sync { device, .. }
            | Self::Read { device, .. }
            | Self::Retry { device }
            | Self::Discard { device, .. }
            | Self::Resolve { device, .. }
            | Self::Clear { device, .. }
            | Self::Evict { device }
            | Self::Reimport { device, .. }
            | Self::Restart { device }
            | Self::Fault { device, .. }
            | Self::End { device, .. } => Some(device),
            Self::ForeignPut { .. } | Self::ForeignDelete { .. } | Self::Wait { .. } => None,
        }
    }

    /// Whether it is an operation of a client or of someone else, and not the passing of time or a fault.
    pub fn is_operation(&self) -> bool {
        !matches!(self, Self::Wait { .. } | Self::Fault { .. } | Self::End { .. })
    }

    /// Whether it is about a fault.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Fault { .. } | Self::End { .. })
    }
}

impl Plan {
    /// How many operations of clients and others it has.
    pub fn operations(&self) -> usize {
        self.steps.iter().filter(|step| step.act.is_operation()).count()
    }

    /// The plan without one device, and without what it did.
    pub(crate) fn without_device(&self, gone: usize) -> Plan {
        let mut plan = self.clone();
        plan.settings.devices.remove(gone);
        plan.steps.retain_mut(|step| match step.act.device_mut() {
            Some(device) if *device == gone => false,
            Some(device) => {
                *device -= usize::from(*device > gone);
                true
            }
            None => true,
        });
        plan
    }

    /// The plan as JSON, as the bug base keeps it.
    pub fn to_json(&self) -> String {
        // Numbers, texts and lists always render.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads a plan back.
    ///
    /// # Errors
    /// What does not fit, and where.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
