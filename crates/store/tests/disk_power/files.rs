//! The calls that change files, as this test program makes them: noted, and made to fail.
//!
//! The functions of the C library that SQLite and the standard library write files with are defined here once more, and so are called in its place. Each
//! does what it always did, but first it is asked whether it should fail, and then what it did to a file in the watched folder is noted. From the notes
//! [`Notes::after_power_cut`] makes what a disk may have when the power goes after any of them.

#![allow(unsafe_code, reason = "functions of the C library are called and defined")]

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{mode_t, off_t, size_t, ssize_t};

/// Something that was done to a file or folder. Files are numbered in the order in which they were first seen.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    Made {
        path: PathBuf,
        file: usize,
    },
    MadeFolder(PathBuf),
    Wrote {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: usize,
        length: usize,
    },
    Synced(usize),
    SyncedFolder(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Removed(PathBuf),
    /// The test says so: a commit of this number was acknowledged, and it was to be safe from a power cut.
    Acknowledged {
        commit: u64,
        sync: bool,
    },
}

/// Which calls fail: the one of this number, or from there on some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    pub(crate) from: u64,
    pub(crate) which: Which,
    pub(crate) errno: c_int,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Which {
    One,
    All,
    Syncs,
}

struct Watch {
    folder: PathBuf,
    notes: Vec<Note>,
    names: HashMap<PathBuf, usize>,
    files: usize,
    open: HashMap<c_int, Open>,
    calls: u64,
    failed: u64,
    failing: Option<Failing>,
}

#[derive(Clone)]
enum Open {
    File(usize),
    Folder(PathBuf),
}

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn watch() -> MutexGuard<'static, Option<Watch>> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time in which a folder is watched. It is empty at the beginning.
pub(crate) struct Watching(#[expect(dead_code, reason = "it is held")] MutexGuard<'static, ()>);

impl Watching {
    pub(crate) fn begin(folder: &Path) -> Self {
        let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (names, open) = (HashMap::new(), HashMap::new());
        let (notes, folder) = (Vec::new(), folder.into());
        *watch() = Some(Watch { folder, notes, names, files: 0, open, calls: 0, failed: 0, failing: None });
        Watching(one)
    }

    pub(crate) fn acknowledged(&self, commit: u64, sync: bool) {
        watch().as_mut().unwrap().notes.push(Note::Acknowledged { commit, sync });
    }

    pub(crate) fn fail(&self, failing: Option<Failing>) {
        watch().as_mut().unwrap().failing = failing;
    }

    /// Does something of which nothing fails or counts.
    pub(crate) fn quietly<T>(&self, something: impl FnOnce() -> T) -> T {
        let (calls, failing) = watch().as_mut().map(|watch| (watch.calls, watch.failing.take())).unwrap();
        let done = something();
        if let Some(watch) = watch().as_mut() {
            (watch.calls, watch.failing) = (calls, failing);
        }
        done
    }

    /// How many calls failed.
    pub(crate) fn failed(&self) -> u64 {
        watch().as_ref().unwrap().failed
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        std::mem::take(&mut watch().as_mut().unwrap().notes)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        *watch() = None;
    }
}

impl Watch {
    fn path(&self, path: *const c_char) -> Option<PathBuf> {
        // SAFETY: who calls one of these functions gives a text that ends with a zero.
        let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
        Path::new(path).starts_with(&self.folder).then(|| path.into())
    }

    /// Counts a call, and tells whether it has to fail.
    fn fails(&mut self, is_sync: bool) -> Option<c_int> {
        self.calls += 1;
        let Failing { from, which, errno } = self.failing?;
        let fails = match which {
            Which::One => self.calls == from,
            Which::All => self.calls >= from,
            Which::Syncs => self.calls >= from && is_sync,
        };
        self.failed += u64::from(fails);
        fails.then_some(errno)
    }

    fn opened(&mut self, path: PathBuf, fd: c_int, is_folder: bool, is_new: bool) {
        if is_folder {
            self.open.insert(fd, Open::Folder(path));
            return;
        }
        if is_new || !self.names.contains_key(&path) {
            self.names.insert(path.clone(), self.files);
            self.notes.push(Note::Made { path: path.clone(), file: self.files });
            self.files += 1;
        }
        self.open.insert(fd, Open::File(self.names[&path]));
    }
}

fn fail(errno: c_int) -> c_int {
    // SAFETY: the place of this thread's error is always there.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Makes a system call of the watched folder's, unless it has to fail, and notes it if it succeeded.
fn call_on_path(
    path: *const c_char,
    call: impl FnOnce() -> c_int,
    note: impl FnOnce(&mut Watch, PathBuf),
) -> c_int {
    let mut watch = watch();
    let Some((watch, path)) = watch.as_mut().and_then(|watch| watch.path(path).map(|path| (watch, path)))
    else {
        return call();
    };
    if let Some(errno) = watch.fails(false) {
        return fail(errno);
    }
    let result = call();
    if result >= 0 {
        note(watch, path);
    }
    result
}

/// The same for an open file or folder.
fn call_on_file(
    fd: c_int,
    is_sync: bool,
    call: impl FnOnce() -> ssize_t,
    note: impl FnOnce(&mut Watch, Open, ssize_t),
) -> ssize_t {
    let mut watch = watch();
    let Some((watch, open)) =
        watch.as_mut().and_then(|watch| watch.open.get(&fd).cloned().map(|open| (watch, open)))
    else {
        return call();
    };
    if let Some(errno) = watch.fails(is_sync) {
        return fail(errno) as ssize_t;
    }
    let result = call();
    if result >= 0 {
        note(watch, open, result);
    }
    result
}

fn open_file(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the arguments are those that the C library's `open` is called with.
    let open = || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int };
    let mut is_there = false;
    let mut fd = -1;
    call_on_path(
        path,
        || {
            // SAFETY: as above.
            is_there = unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK) } == 0;
            fd = open();
            fd
        },
        |_, _| {},
    );
    if fd < 0 {
        return -1;
    }
    let mut watch = watch();
    if let Some(watch) = watch.as_mut()
        && let Some(path) = watch.path(path)
    {
        watch.opened(path.clone(), fd, path.is_dir(), !is_there);
    }
    fd
}

/// Defined in place of the C library's, which takes the mode as a variable argument: on Linux that is passed as a third one is.
// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_file(path, flags, mode)
}

// SAFETY: as `open`.
#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_file(path, flags, mode)
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    if let Some(watch) = watch().as_mut() {
        watch.open.remove(&fd);
    }
    // SAFETY: a plain system call; whose descriptor it is is the caller's affair.
    unsafe { libc::syscall(libc::SYS_close, fd) as c_int }
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the arguments are those that the C library's is called with.
    let call = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) as c_int };
    call_on_path(path, call, |watch, path| watch.notes.push(Note::MadeFolder(path)))
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the arguments are those that the C library's is called with.
    let call = || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int };
    call_on_path(path, call, |watch, path| {
        watch.names.remove(&path);
        watch.notes.push(Note::Removed(path));
    })
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let (at, none) = (libc::AT_FDCWD, 0);
    // SAFETY: the arguments are those that the C library's is called with.
    let call = || unsafe { libc::syscall(libc::SYS_renameat2, at, from, at, to, none) as c_int };
    call_on_path(from, call, |watch, from| {
        let Some(to) = watch.path(to) else { panic!("a file is moved out of the watched folder") };
        if let Some(file) = watch.names.remove(&from) {
            watch.names.insert(to.clone(), file);
        }
        watch.notes.push(Note::Renamed { from, to });
    })
}

fn note_write(watch: &mut Watch, open: Open, at: off_t, from: *const c_void, length: ssize_t) {
    // SAFETY: so many bytes were just written from there.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length as usize) }.to_vec();
    if let Open::File(file) = open {
        watch.notes.push(Note::Wrote { file, at: at as usize, bytes });
    }
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, from: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: plain system calls, with the arguments that the C library's is called with.
    let call = || unsafe { libc::syscall(libc::SYS_write, fd, from, length) as ssize_t };
    call_on_file(fd, false, call, |watch, open, written| {
        // SAFETY: as above.
        let end = unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) };
        note_write(watch, open, end - written as off_t, from, written);
    })
}

fn write_at(fd: c_int, from: *const c_void, length: size_t, at: off_t) -> ssize_t {
    // SAFETY: a plain system call, with the arguments that the C library's is called with.
    let call = || unsafe { libc::syscall(libc::SYS_pwrite64, fd, from, length, at) as ssize_t };
    call_on_file(fd, false, call, |watch, open, written| note_write(watch, open, at, from, written))
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn pwrite(fd: c_int, from: *const c_void, length: size_t, at: off_t) -> ssize_t {
    write_at(fd, from, length, at)
}

// SAFETY: as `pwrite`.
#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: c_int, from: *const c_void, length: size_t, at: off_t) -> ssize_t {
    write_at(fd, from, length, at)
}

fn cut(fd: c_int, length: off_t) -> c_int {
    // SAFETY: a plain system call, with the arguments that the C library's is called with.
    let call = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as ssize_t };
    call_on_file(fd, false, call, |watch, open, _| {
        if let Open::File(file) = open {
            watch.notes.push(Note::Cut { file, length: length as usize });
        }
    }) as c_int
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    cut(fd, length)
}

// SAFETY: as `ftruncate`.
#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    cut(fd, length)
}

/// Nothing that this program writes has to be on the real disk, which takes long: the notes are what counts.
fn synced(fd: c_int) -> c_int {
    call_on_file(
        fd,
        true,
        || 0,
        |watch, open, _| {
            watch.notes.push(match open {
                Open::File(file) => Note::Synced(file),
                Open::Folder(path) => Note::SyncedFolder(path),
            });
        },
    ) as c_int
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    synced(fd)
}

// SAFETY: same name, arguments and result as the function that it stands for.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(fd)
}
