//! The locks of a database file, and the memory that its connections share.

use std::collections::BTreeMap;

use libsqlite3_sys as sqlite;

/// Who holds what on one database file.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    /// The level of each connection's lock on the file; those without one are left out.
    levels: BTreeMap<u64, i32>,
    /// What each connection holds of the slots of shared memory.
    slots: BTreeMap<u64, Slots>,
    /// Words, for the alignment that SQLite expects.
    regions: Vec<Box<[u64]>>,
}

/// One bit for each slot.
#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    shared: u32,
    exclusive: u32,
}

impl Locks {
    fn others(&self, holder: u64) -> i32 {
        let others = self.levels.iter().filter(|(other, _)| **other != holder);
        others
            .map(|(_, level)| *level)
            .max()
            .unwrap_or(sqlite::SQLITE_LOCK_NONE)
    }

    /// Raises the lock of `holder` on the file.
    pub(super) fn raise(&mut self, holder: u64, level: i32) -> Result<(), i32> {
        let current = self
            .levels
            .get(&holder)
            .copied()
            .unwrap_or(sqlite::SQLITE_LOCK_NONE);
        if current >= level {
            return Ok(());
        }
        let others = self.others(holder);
        let granted = match level {
            sqlite::SQLITE_LOCK_SHARED => others < sqlite::SQLITE_LOCK_PENDING,
            sqlite::SQLITE_LOCK_RESERVED => others < sqlite::SQLITE_LOCK_RESERVED,
            _ => {
                if others >= sqlite::SQLITE_LOCK_RESERVED {
                    return Err(sqlite::SQLITE_BUSY);
                }
                // Keeps new readers out while the old ones leave.
                self.levels.insert(holder, sqlite::SQLITE_LOCK_PENDING);
                others < sqlite::SQLITE_LOCK_SHARED
            }
        };
        if !granted {
            return Err(sqlite::SQLITE_BUSY);
        }
        self.levels.insert(holder, level);
        Ok(())
    }

    /// Lowers the lock of `holder` on the file.
    pub(super) fn lower(&mut self, holder: u64, level: i32) {
        if level == sqlite::SQLITE_LOCK_NONE {
            self.levels.remove(&holder);
        } else {
            self.levels.insert(holder, level);
        }
    }

    /// Whether anybody is about to write in rollback mode.
    pub(super) fn is_reserved(&self) -> bool {
        self.levels
            .values()
            .any(|level| *level >= sqlite::SQLITE_LOCK_RESERVED)
    }

    /// Takes or gives back slots of shared memory.
    pub(super) fn lock_slots(&mut self, holder: u64, first: i32, count: i32, flags: i32) -> Result<(), i32> {
        let mask = ((1_u32 << count) - 1) << first;
        let exclusive = flags & sqlite::SQLITE_SHM_EXCLUSIVE != 0;
        if flags & sqlite::SQLITE_SHM_UNLOCK != 0 {
            let held = self.slots.entry(holder).or_default();
            if exclusive {
                held.exclusive &= !mask;
            } else {
                held.shared &= !mask;
            }
            return Ok(());
        }
        let others = self.slots.iter().filter(|(other, _)| **other != holder);
        let taken = others.fold(0, |taken, (_, slots)| {
            taken | slots.exclusive | if exclusive { slots.shared } else { 0 }
        });
        if taken & mask != 0 {
            return Err(sqlite::SQLITE_BUSY);
        }
        let held = self.slots.entry(holder).or_default();
        if exclusive {
            held.exclusive |= mask;
        } else {
            held.shared |= mask;
        }
        Ok(())
    }

    /// The place of a region of shared memory; `None` if it is not there and is not to be made. The memory stays
    /// where it is until every connection has called [`Locks::leave`].
    pub(super) fn region(
        &mut self,
        holder: u64,
        region: usize,
        bytes: usize,
        extend: bool,
    ) -> Option<*mut u64> {
        self.slots.entry(holder).or_default();
        while self.regions.len() <= region {
            if !extend {
                return None;
            }
            self.regions.push(vec![0; bytes.div_ceil(8)].into_boxed_slice());
        }
        Some(self.regions[region].as_mut_ptr())
    }

    /// The connection uses the shared memory no more.
    pub(super) fn leave(&mut self, holder: u64) {
        self.slots.remove(&holder);
        if self.slots.is_empty() {
            self.regions.clear();
        }
    }
}
