//! How a remote in memory is set up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sync_core::{
    Capabilities, Clock, CursorKind, DeleteVisibility, Realtime, SearchSupport, SystemClock, Timer,
};

use super::{
    MemoryRemoteStore,
    state::{Backend, Data, Hooks, Memory},
};

/// Sets up a [`MemoryRemoteStore`].
///
/// Whatever capability is switched off is really absent: a remote without conditional writes overwrites, one
/// without idempotency applies a repeated operation again, one without stamps forgets them.
///
/// ```
/// use std::time::Duration;
/// use adapter_memory::MemoryRemoteStore;
/// use sync_core::RemoteStore;
///
/// let weak = MemoryRemoteStore::builder().timestamp_profile(Duration::from_secs(5)).build();
/// assert!(weak.capabilities().needs_sweep() && !weak.capabilities().conditional_write);
/// let forgetful = MemoryRemoteStore::builder().adjust(|can| can.idempotent_push = false).build();
/// assert!(!forgetful.capabilities().idempotent_push);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryRemoteBuilder {
    capabilities: Capabilities,
    clock: Arc<dyn Clock>,
    timer: Option<Arc<dyn Timer>>,
    remembered_ops: usize,
}

impl MemoryRemoteBuilder {
    /// How many operation ids the backend remembers unless [`MemoryRemoteBuilder::remember_ops`] says otherwise.
    pub const DEFAULT_REMEMBERED_OPS: usize = 100_000;

    pub(super) fn new() -> Self {
        Self {
            capabilities: Self::strongest(),
            clock: Arc::new(SystemClock::new()),
            timer: None,
            remembered_ops: Self::DEFAULT_REMEMBERED_OPS,
        }
    }

    /// Everything a remote can do, without limits: the default.
    pub const fn strongest() -> Capabilities {
        Capabilities {
            cursor: CursorKind::CommitOrdered,
            deletes: DeleteVisibility::Tombstones,
            conditional_write: true,
            idempotent_push: true,
            atomic_batch: true,
            stamps: true,
            epoch: true,
            id_list: true,
            server_time: true,
            search: SearchSupport::Full,
            realtime: Realtime::Poke,
            max_push_batch: 0,
            max_page: 0,
        }
    }

    /// Exactly these capabilities. Combinations that make no sense are built all the same; the engine refuses them.
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Changes single capabilities.
    pub fn adjust(mut self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(&mut self.capabilities);
        self
    }

    /// A plain table with an `updated_at` column: the cursor is a server time in whole milliseconds that is taken
    /// before the commit and read back by `overlap`; deletes leave nothing; pushes are unconditional and not
    /// remembered; searches know no operators on texts.
    pub fn timestamp_profile(self, overlap: Duration) -> Self {
        self.capabilities(Capabilities {
            cursor: CursorKind::TimestampWithRepair {
                overlap_ms: u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX),
            },
            deletes: DeleteVisibility::SweepOnly,
            id_list: true,
            server_time: true,
            search: SearchSupport::Partial,
            realtime: Realtime::Poke,
            ..Capabilities::minimal()
        })
    }

    /// A remote that can only tell everything it has: [`Capabilities::minimal`].
    pub fn snapshot_profile(self) -> Self {
        self.capabilities(Capabilities::minimal())
    }

    /// The server's clock. The default is the operating system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The timer that delays wait on. Without one, a delay fails as `Configuration`.
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = Some(timer);
        self
    }

    /// How many operation ids the backend remembers; the oldest are forgotten first.
    pub fn remember_ops(mut self, number: usize) -> Self {
        self.remembered_ops = number;
        self
    }

    /// An empty backend, and the handle of its first client.
    pub fn build(self) -> MemoryRemoteStore {
        let data = Data {
            sequence: 0,
            rows: BTreeMap::new(),
            memory: Memory::new(self.remembered_ops),
            horizon: 0,
        };
        let backend = Backend {
            capabilities: self.capabilities,
            clock: self.clock,
            skew_micros: 0,
            epoch: 1,
            data,
            hooks: Hooks::default(),
            revoked: BTreeSet::new(),
            applied: BTreeMap::new(),
            push_log: Vec::new(),
            news: BTreeSet::new(),
        };
        MemoryRemoteStore::connect(backend, self.timer)
    }
}
