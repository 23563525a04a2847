//! A disk in memory that remembers every write, and what of it a crash would leave.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    faults::{Call, FaultPlan},
    replay::Image,
    vfs,
};

/// One change of the disk, in the order in which SQLite asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file appears in the folder.
    Create {
        /// Its name.
        name: String,
        /// The number of its content.
        inode: usize,
    },
    /// A file leaves the folder.
    Delete {
        /// Its name.
        name: String,
        /// Whether the folder is on the disk afterwards.
        durable: bool,
    },
    /// Bytes are written.
    Write {
        /// The content.
        inode: usize,
        /// Where.
        offset: usize,
        /// What.
        bytes: Vec<u8>,
    },
    /// The content gets another length.
    Truncate {
        /// The content.
        inode: usize,
        /// How long it is from now on.
        len: usize,
    },
    /// Everything written to the content is on the disk.
    Sync {
        /// The content.
        inode: usize,
        /// Whether the folder is on the disk as well.
        folder: bool,
    },
}

/// The content of a file.
#[derive(Debug, Default)]
pub(crate) struct Inode {
    pub(crate) bytes: Vec<u8>,
    /// As the operating systems do it for journals: the first sync writes the folder too.
    pub(crate) folder_sync_due: bool,
    pub(crate) locks: vfs::Locks,
}

/// What is on the disk.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) folder: BTreeMap<String, usize>,
    pub(crate) inodes: Vec<Inode>,
    pub(crate) log: Option<Vec<Event>>,
    pub(crate) faults: FaultPlan,
}

impl State {
    pub(crate) fn note(&mut self, event: Event) {
        if let Some(log) = &mut self.log {
            log.push(event);
        }
    }

    /// The call's fault, if it has one.
    pub(crate) fn pass(&mut self, call: Call) -> Result<(), i32> {
        self.faults.meet(call)
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Events are noted after their effect, in one step each, so a poisoned lock guards a sound disk.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk for SQLite files, gone with its last handle. SQLite finds it through [`Disk::path`] and
/// [`Disk::VFS`].
///
/// It behaves as SQLite expects of a file system whose writes touch no byte beside them, and of nothing more: what
/// was not synced may be lost in any part, and in any order.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mounted>);

#[derive(Debug)]
struct Mounted(Arc<Shared>);

impl Drop for Mounted {
    fn drop(&mut self) {
        vfs::unmount(&self.0.name);
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::holding(Image::default())
    }
}

impl Disk {
    /// A disk that holds these files, all of it synced.
    pub fn holding(image: Image) -> Self {
        static DISKS: AtomicU64 = AtomicU64::new(0);
        let mut state = State::default();
        for (name, bytes) in image.files {
            state.folder.insert(name, state.inodes.len());
            state.inodes.push(Inode {
                bytes,
                ..Inode::default()
            });
        }
        let shared = Arc::new(Shared {
            name: format!("disk{}", DISKS.fetch_add(1, Ordering::Relaxed)),
            state: Mutex::new(state),
        });
        vfs::mount(&shared.name, &shared);
        Self(Arc::new(Mounted(shared)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.state()
    }

    /// The name of the file system that knows the disks.
    pub const VFS: &str = vfs::NAME;

    /// The path of the store on this disk.
    pub fn path(&self) -> String {
        format!("{}/store.db", self.0.0.name)
    }

    /// The URL of the store on this disk.
    pub fn url(&self) -> String {
        format!("sqlite:{}?mode=rwc&vfs={}", self.path(), Self::VFS)
    }

    /// Remembers every event from now on.
    pub fn start_log(&self) {
        self.state().log = Some(Vec::new());
    }

    /// How many events there were since [`Disk::start_log`].
    pub fn position(&self) -> usize {
        self.state().log.as_ref().map_or(0, Vec::len)
    }

    /// The events since [`Disk::start_log`].
    pub fn take_log(&self) -> Vec<Event> {
        self.state().log.take().unwrap_or_default()
    }

    /// Lets calls fail from now on, or none.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.state().faults = plan;
    }

    /// Lets the test itself look at the disk: nothing fails and nothing is counted while `suspended`.
    pub fn suspend_faults(&self, suspended: bool) {
        self.state().faults.suspend(suspended);
    }

    /// How many calls there were that the plan counts, and whether one of them failed.
    pub fn fault_count(&self) -> (u64, bool) {
        let state = self.state();
        (state.faults.counted(), state.faults.struck())
    }

    /// What the disk holds, as after the end of the process.
    pub fn image(&self) -> Image {
        let state = self.state();
        let files = state
            .folder
            .iter()
            .map(|(name, inode)| (name.clone(), state.inodes[*inode].bytes.clone()))
            .collect();
        Image { files }
    }
}
