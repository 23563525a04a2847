//! The C functions that SQLite calls.
//!
//! Each turns raw pointers into what [`OpenFile`] takes, and its answer into a result code. That is all the unsafe
//! code of the workspace: SQLite offers no other way to put a file system under it, and the crates that wrap this
//! interface generate their bindings with a C compiler's library that is not everywhere.

#![allow(
    unsafe_code,
    reason = "SQLite takes its file system as a table of C functions"
)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    mem::{size_of, zeroed},
    ptr,
    sync::{Once, atomic},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use libsqlite3_sys::{self as sqlite, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use super::{
    NAME,
    file::{self, OpenFile},
};

/// What SQLite keeps for each open file. The first field must be SQLite's own.
#[repr(C)]
struct Handle {
    base: sqlite3_file,
    file: *mut OpenFile,
}

/// The longest path SQLite may use.
const MAX_PATH: c_int = 255;

const LONGEST_SLEEP_MICROS: u32 = 200;

/// The milliseconds from the epoch of Julian days to that of Unix.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // Without memory-mapped files, whose writes nobody would see.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes the file system known to SQLite, once.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let name = CString::new(NAME).expect("the name has no NUL");
        // SAFETY: all-zero bytes are a valid sqlite3_vfs: numbers, null pointers and absent functions.
        let mut vfs: sqlite3_vfs = unsafe { zeroed() };
        vfs.iVersion = 2;
        vfs.szOsFile = size_of::<Handle>() as c_int;
        vfs.mxPathname = MAX_PATH;
        // SQLite keeps both for the life of the process.
        vfs.zName = name.into_raw();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        vfs.xAccess = Some(access);
        vfs.xFullPathname = Some(full_pathname);
        vfs.xRandomness = Some(randomness);
        vfs.xSleep = Some(sleep);
        vfs.xCurrentTime = Some(current_time);
        vfs.xCurrentTimeInt64 = Some(current_time_int64);
        let vfs = Box::leak(Box::new(vfs));
        // SAFETY: the table lives for ever, and every function in it keeps to SQLite's contract.
        let code = unsafe { sqlite::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, sqlite::SQLITE_OK, "SQLite took the file system");
    });
}

fn code(answer: Result<(), c_int>) -> c_int {
    answer.err().unwrap_or(sqlite::SQLITE_OK)
}

/// # Safety
/// `path` is a C string.
unsafe fn text<'a>(path: *const c_char) -> Option<&'a str> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(path) }.to_str().ok()
}

/// # Safety
/// `handle` was filled by [`open`] and not closed since.
unsafe fn opened<'a>(handle: *mut sqlite3_file) -> &'a OpenFile {
    // SAFETY: SQLite passes back the memory that `open` filled, whose file lives until `close`.
    unsafe { &*(*handle.cast::<Handle>()).file }
}

fn offset(offset: sqlite3_int64) -> Result<usize, c_int> {
    usize::try_from(offset).map_err(|_| sqlite::SQLITE_IOERR)
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    path: *const c_char,
    handle: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let handle = handle.cast::<Handle>();
    // SAFETY: SQLite gives `szOsFile` bytes, and a null method table tells it not to close the file.
    unsafe { (*handle).base.pMethods = ptr::null() };
    // SAFETY: SQLite passes a C string, or null for a temporary file, which the store keeps in memory.
    let Some(path) = (unsafe { text(path) }) else {
        return sqlite::SQLITE_CANTOPEN;
    };
    match OpenFile::open(path, flags) {
        Ok(file) => {
            // SAFETY: as above; `out_flags` may be null.
            unsafe {
                (*handle).file = Box::into_raw(Box::new(file));
                (*handle).base.pMethods = &raw const METHODS;
                if !out_flags.is_null() {
                    *out_flags = flags;
                }
            }
            sqlite::SQLITE_OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn close(handle: *mut sqlite3_file) -> c_int {
    // SAFETY: made by `open`, and SQLite closes once.
    drop(unsafe { Box::from_raw((*handle.cast::<Handle>()).file) });
    sqlite::SQLITE_OK
}

unsafe extern "C" fn read(
    handle: *mut sqlite3_file,
    to: *mut c_void,
    len: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's buffer has `len` bytes.
    let buffer = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), len as usize) };
    // SAFETY: see `opened`.
    let file = unsafe { opened(handle) };
    match offset(at).and_then(|at| file.read(at, buffer)) {
        Ok(length) if length == buffer.len() => sqlite::SQLITE_OK,
        Ok(length) => {
            buffer[length..].fill(0);
            sqlite::SQLITE_IOERR_SHORT_READ
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn write(
    handle: *mut sqlite3_file,
    from: *const c_void,
    len: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's buffer has `len` bytes.
    let buffer = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len as usize) };
    // SAFETY: see `opened`.
    let file = unsafe { opened(handle) };
    code(offset(at).and_then(|at| file.write(at, buffer)))
}

unsafe extern "C" fn truncate(handle: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: see `opened`.
    let file = unsafe { opened(handle) };
    code(offset(size).and_then(|size| file.truncate(size)))
}

unsafe extern "C" fn sync(handle: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: see `opened`.
    code(unsafe { opened(handle) }.sync())
}

unsafe extern "C" fn file_size(handle: *mut sqlite3_file, out: *mut sqlite3_int64) -> c_int {
    // SAFETY: see `opened`.
    match unsafe { opened(handle) }.size() {
        Ok(size) => {
            // SAFETY: SQLite's own variable.
            unsafe { *out = size as sqlite3_int64 };
            sqlite::SQLITE_OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn lock(handle: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see `opened`.
    code(unsafe { opened(handle) }.lock(level))
}

unsafe extern "C" fn unlock(handle: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see `opened`.
    unsafe { opened(handle) }.unlock(level);
    sqlite::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(handle: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: see `opened`; `out` is SQLite's own variable.
    unsafe { *out = opened(handle).is_reserved().into() };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    sqlite::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut sqlite3_file) -> c_int {
    512
}

/// A file system that claims more lets SQLite leave out syncs, and then a crash proves nothing.
unsafe extern "C" fn device_characteristics(_: *mut sqlite3_file) -> c_int {
    sqlite::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    handle: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: see `opened`.
    let file = unsafe { opened(handle) };
    match file.map_shared_memory(region as usize, size as usize, extend != 0) {
        Ok(place) => {
            // SAFETY: SQLite's own variable.
            unsafe { *out = place.map_or(ptr::null_mut(), <*mut u64>::cast) };
            sqlite::SQLITE_OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn shm_lock(handle: *mut sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: see `opened`.
    code(unsafe { opened(handle) }.lock_shared_memory(first, count, flags))
}

unsafe extern "C" fn shm_barrier(_: *mut sqlite3_file) {
    atomic::fence(atomic::Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(handle: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: see `opened`.
    unsafe { opened(handle) }.unmap_shared_memory();
    sqlite::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, path: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: SQLite passes a C string.
    match unsafe { text(path) } {
        Some(path) => code(file::delete(path, sync_folder != 0)),
        None => sqlite::SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn access(_: *mut sqlite3_vfs, path: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a C string.
    match unsafe { text(path) }.map_or(Ok(false), file::exists) {
        Ok(exists) => {
            // SAFETY: SQLite's own variable.
            unsafe { *out = exists.into() };
            sqlite::SQLITE_OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn full_pathname(
    _: *mut sqlite3_vfs,
    path: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a C string and a buffer of `size` bytes; both differ.
    unsafe {
        let bytes = CStr::from_ptr(path).to_bytes_with_nul();
        if bytes.len() > size as usize {
            return sqlite::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast::<u8>(), bytes.len());
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite's buffer has `len` bytes.
    let buffer = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), len as usize) };
    rand::fill(buffer);
    len
}

/// Shorter than it says: SQLite counts its waits instead of looking at a clock, so that a lock which is never
/// given up is not waited for in full.
unsafe extern "C" fn sleep(_: *mut sqlite3_vfs, micros: c_int) -> c_int {
    thread::sleep(Duration::from_micros(
        micros.unsigned_abs().min(LONGEST_SLEEP_MICROS).into(),
    ));
    micros
}

fn julian_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH_JULIAN_MS + i64::try_from(since.as_millis()).unwrap_or(0)
}

unsafe extern "C" fn current_time(_: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite's own variable.
    unsafe { *out = julian_ms() as f64 / 86_400_000.0 };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_: *mut sqlite3_vfs, out: *mut sqlite3_int64) -> c_int {
    // SAFETY: SQLite's own variable.
    unsafe { *out = julian_ms() };
    sqlite::SQLITE_OK
}
