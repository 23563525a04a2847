//! The disks as a file system of SQLite.
//!
//! [`ffi`] is the thin C side; everything that decides is safe code in [`file`] and [`locks`].

mod ffi;
mod file;
mod locks;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::disk::Shared;

pub(crate) use locks::Locks;

/// What SQLite calls this file system.
pub(crate) const NAME: &str = "crash-ring";

/// The disks by name. SQLite knows paths only.
static DISKS: Mutex<BTreeMap<String, Weak<Shared>>> = Mutex::new(BTreeMap::new());

/// Makes the disk known as the folder `name`.
pub(crate) fn mount(name: &str, disk: &Arc<Shared>) {
    ffi::register();
    let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.insert(name.to_owned(), Arc::downgrade(disk));
}

/// Forgets the folder. Files that are open stay usable.
pub(crate) fn unmount(name: &str) {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
}

/// The disk of a path, and the file's name on it.
fn find(path: &str) -> Option<(Arc<Shared>, &str)> {
    let (folder, name) = path.split_once('/')?;
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = disks.get(folder)?.upgrade()?;
    Some((disk, name))
}
