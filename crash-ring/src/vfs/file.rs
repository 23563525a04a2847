//! One open file.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use libsqlite3_sys as sqlite;

use crate::{
    disk::{Event, Inode, Shared, State},
    faults::Call,
};

/// The code of a call that failed.
type Answer<T = ()> = Result<T, i32>;

/// A file that SQLite has opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    disk: Arc<Shared>,
    inode: usize,
    /// Tells this handle from others of the same file.
    holder: u64,
    /// Removed when it is closed.
    temporary: Option<String>,
}

impl OpenFile {
    pub(super) fn open(path: &str, flags: i32) -> Answer<Self> {
        static HOLDERS: AtomicU64 = AtomicU64::new(0);
        let (disk, name) = super::find(path).ok_or(sqlite::SQLITE_CANTOPEN)?;
        let inode = {
            let mut state = disk.state();
            state.pass(Call::Open)?;
            find_or_create(&mut state, name, flags)?
        };
        let temporary = (flags & sqlite::SQLITE_OPEN_DELETEONCLOSE != 0).then(|| name.to_owned());
        Ok(Self {
            disk,
            inode,
            holder: HOLDERS.fetch_add(1, Ordering::Relaxed),
            temporary,
        })
    }

    /// Reads into the buffer, and returns how many bytes there were.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> Answer<usize> {
        let mut state = self.disk.state();
        state.pass(Call::Read)?;
        let bytes = &state.inodes[self.inode].bytes;
        let there = bytes.get(offset..).unwrap_or_default();
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        Ok(length)
    }

    pub(super) fn write(&self, offset: usize, new: &[u8]) -> Answer {
        let mut state = self.disk.state();
        state.pass(Call::Write)?;
        let bytes = &mut state.inodes[self.inode].bytes;
        let end = offset + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(new);
        state.note(Event::Write {
            inode: self.inode,
            offset,
            bytes: new.to_vec(),
        });
        Ok(())
    }

    pub(super) fn truncate(&self, len: usize) -> Answer {
        let mut state = self.disk.state();
        state.pass(Call::Truncate)?;
        state.inodes[self.inode].bytes.resize(len, 0);
        state.note(Event::Truncate {
            inode: self.inode,
            len,
        });
        Ok(())
    }

    pub(super) fn sync(&self) -> Answer {
        let mut state = self.disk.state();
        state.pass(Call::Sync)?;
        let folder = std::mem::take(&mut state.inodes[self.inode].folder_sync_due);
        state.note(Event::Sync {
            inode: self.inode,
            folder,
        });
        Ok(())
    }

    pub(super) fn size(&self) -> Answer<usize> {
        let mut state = self.disk.state();
        state.pass(Call::Size)?;
        Ok(state.inodes[self.inode].bytes.len())
    }

    pub(super) fn lock(&self, level: i32) -> Answer {
        let mut state = self.disk.state();
        state.pass(Call::Lock)?;
        state.inodes[self.inode].locks.raise(self.holder, level)
    }

    pub(super) fn unlock(&self, level: i32) {
        self.disk.state().inodes[self.inode]
            .locks
            .lower(self.holder, level);
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.disk.state().inodes[self.inode].locks.is_reserved()
    }

    pub(super) fn map_shared_memory(
        &self,
        region: usize,
        bytes: usize,
        extend: bool,
    ) -> Answer<Option<*mut u64>> {
        let mut state = self.disk.state();
        state.pass(Call::MapSharedMemory)?;
        let locks = &mut state.inodes[self.inode].locks;
        Ok(locks.region(self.holder, region, bytes, extend))
    }

    pub(super) fn lock_shared_memory(&self, first: i32, count: i32, flags: i32) -> Answer {
        let mut state = self.disk.state();
        if flags & sqlite::SQLITE_SHM_LOCK != 0 {
            state.pass(Call::LockSharedMemory)?;
        }
        let locks = &mut state.inodes[self.inode].locks;
        locks.lock_slots(self.holder, first, count, flags)
    }

    pub(super) fn unmap_shared_memory(&self) {
        self.disk.state().inodes[self.inode].locks.leave(self.holder);
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        let locks = &mut state.inodes[self.inode].locks;
        locks.lower(self.holder, sqlite::SQLITE_LOCK_NONE);
        locks.leave(self.holder);
        if let Some(name) = &self.temporary {
            state.folder.remove(name);
        }
    }
}

fn find_or_create(state: &mut State, name: &str, flags: i32) -> Answer<usize> {
    if let Some(inode) = state.folder.get(name) {
        return Ok(*inode);
    }
    if flags & sqlite::SQLITE_OPEN_CREATE == 0 {
        return Err(sqlite::SQLITE_CANTOPEN);
    }
    let journal =
        sqlite::SQLITE_OPEN_MAIN_JOURNAL | sqlite::SQLITE_OPEN_SUPER_JOURNAL | sqlite::SQLITE_OPEN_WAL;
    let inode = state.inodes.len();
    state.inodes.push(Inode {
        folder_sync_due: flags & journal != 0,
        ..Inode::default()
    });
    state.folder.insert(name.to_owned(), inode);
    state.note(Event::Create {
        name: name.to_owned(),
        inode,
    });
    Ok(inode)
}

/// Removes a file from its folder. Handles that are open keep its content.
pub(super) fn delete(path: &str, durable: bool) -> Answer {
    let (disk, name) = super::find(path).ok_or(sqlite::SQLITE_IOERR_DELETE_NOENT)?;
    let mut state = disk.state();
    state.pass(Call::Delete)?;
    state
        .folder
        .remove(name)
        .ok_or(sqlite::SQLITE_IOERR_DELETE_NOENT)?;
    state.note(Event::Delete {
        name: name.to_owned(),
        durable,
    });
    Ok(())
}

pub(super) fn exists(path: &str) -> Answer<bool> {
    let Some((disk, name)) = super::find(path) else {
        return Ok(false);
    };
    let mut state = disk.state();
    state.pass(Call::Access)?;
    Ok(state.folder.contains_key(name))
}
