//! Calls of the file system that fail.

use libsqlite3_sys as sqlite;

/// A call of SQLite to the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Delete,
    Access,
    Read,
    Write,
    Truncate,
    Sync,
    Size,
    Lock,
    MapSharedMemory,
    LockSharedMemory,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The device refuses: any call.
    #[default]
    Io,
    /// The disk is full: what makes files larger.
    Full,
    /// Somebody else holds the lock: locks.
    Busy,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Io, Self::Full, Self::Busy];

    /// The code that SQLite gets; `None` if the call cannot fail like this.
    fn code(self, call: Call) -> Option<i32> {
        match (self, call) {
            (Self::Io, Call::Open) => Some(sqlite::SQLITE_CANTOPEN),
            (Self::Io, Call::Delete) => Some(sqlite::SQLITE_IOERR_DELETE),
            (Self::Io, Call::Access) => Some(sqlite::SQLITE_IOERR_ACCESS),
            (Self::Io, Call::Read) => Some(sqlite::SQLITE_IOERR_READ),
            (Self::Io, Call::Write) => Some(sqlite::SQLITE_IOERR_WRITE),
            (Self::Io, Call::Truncate) => Some(sqlite::SQLITE_IOERR_TRUNCATE),
            (Self::Io, Call::Sync) => Some(sqlite::SQLITE_IOERR_FSYNC),
            (Self::Io, Call::Size) => Some(sqlite::SQLITE_IOERR_FSTAT),
            (Self::Io, Call::Lock) => Some(sqlite::SQLITE_IOERR_LOCK),
            (Self::Io, Call::MapSharedMemory) => Some(sqlite::SQLITE_IOERR_SHMMAP),
            (Self::Io, Call::LockSharedMemory) => Some(sqlite::SQLITE_IOERR_SHMLOCK),
            (Self::Full, Call::Write | Call::Sync) => Some(sqlite::SQLITE_FULL),
            (Self::Busy, Call::Lock | Call::LockSharedMemory) => Some(sqlite::SQLITE_BUSY),
            _ => None,
        }
    }
}

/// Which calls fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultPlan {
    kind: FaultKind,
    /// The first call that fails, counted from 1 among those that can; 0 = none.
    at: u64,
    sticky: bool,
    suspended: bool,
    counted: u64,
    struck: bool,
}

impl FaultPlan {
    /// Nothing fails; calls that could fail like this are counted.
    pub fn counting(kind: FaultKind) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// The call `at` fails, counted from 1; with `sticky` all later ones too.
    pub fn failing(kind: FaultKind, at: u64, sticky: bool) -> Self {
        Self {
            at,
            sticky,
            ..Self::counting(kind)
        }
    }

    pub(crate) fn meet(&mut self, call: Call) -> Result<(), i32> {
        if self.suspended {
            return Ok(());
        }
        let Some(code) = self.kind.code(call) else {
            return Ok(());
        };
        self.counted += 1;
        let fails = self.counted == self.at || (self.sticky && self.at > 0 && self.counted > self.at);
        self.struck |= fails;
        if fails { Err(code) } else { Ok(()) }
    }

    pub(crate) fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    pub(crate) fn counted(&self) -> u64 {
        self.counted
    }

    pub(crate) fn struck(&self) -> bool {
        self.struck
    }
}
