//! Claiming a server's name: while one process holds it, no other gets it, and its socket is where callers look.
//!
//! The claim is an `fcntl` record lock on `NAME.lock`: the kernel gives it back the moment its process ends,
//! however it ends, and a forked child does not inherit it. The lock file itself stays for good: to remove it
//! would let two processes lock two files of one name. The socket is bound under the temporary name `.NAME` and
//! renamed over `NAME.sock`, so callers find a socket that listens or a dead one, but never half of one. Both
//! names are touched by the holder of the lock only.
//!
//! Record locks belong to the process: they do not keep two threads apart, and closing *any* descriptor of the
//! file gives the lock back. So the locks that this process holds are known to it (`HELD`), and a file locked
//! here is never opened again here. No other code of the process may open it either.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::runtime::{Name, RuntimeDir, RuntimeDirError};
use crate::socket::{self, PathTooLong};

/// How often a claim begins anew because its files changed under it. Each time somebody removed or replaced one
/// within microseconds, or a holder ended just then.
const ATTEMPTS: usize = 100;

/// Why a name could not be claimed or renewed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A server of this name runs.
    #[error("the name {name} is taken by {}: end that server or choose another name", holder(*.pid))]
    Taken {
        /// The name.
        name: Name,
        /// The process that holds it; `None` if it cannot be seen from here.
        pid: Option<i32>,
    },
    /// The path of its socket does not fit.
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    /// The runtime folder cannot be trusted or made.
    #[error(transparent)]
    Folder(#[from] RuntimeDirError),
    /// Something cannot be made in the runtime folder: read-only, full, no descriptors left.
    #[error("cannot {doing} {}: {source}{}", path.display(), remedy(source))]
    Os {
        /// What failed, for the message.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody removes or replaces the files all the time.
    #[error("{} was removed or replaced again and again: something cleans that folder up", .0.display())]
    Unstable(PathBuf),
    /// This process is a forked child: the name is its parent's.
    #[error("the name {0} was claimed before this process was forked and belongs to the parent")]
    Inherited(Name),
}

/// A name that this process holds until the claim is dropped or the process ends.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("andiron");
/// use andiron_sys::{names::Claim, runtime::RuntimeDir, socket};
/// let (dir, name) = (RuntimeDir::at(path)?, "player".parse()?);
/// let (claim, listener) = Claim::new(&dir, &name)?;
/// let client = socket::connect(&dir.socket_path(&name), None)?;
/// let served = socket::accept(&listener)?.expect("the client is connected");
/// assert_eq!(socket::peer_credentials(&served)?.pid, Some(std::process::id() as i32));
/// # drop((claim, client));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Claim {
    dir: RuntimeDir,
    name: Name,
    lock: Lock,
    socket: Option<Inode>,
}

impl Claim {
    /// Claims `name` and answers the claim and its socket, which listens and does not block: see
    /// [`socket::accept`]. Makes the folder if need be, and replaces what an ended server left.
    ///
    /// # Errors
    /// [`ClaimError::Taken`] if a server of this name runs, in this process or another; for the others see
    /// [`ClaimError`].
    pub fn new(dir: &RuntimeDir, name: &Name) -> Result<(Self, OwnedFd), ClaimError> {
        // Before anything is made.
        socket::address(&dir.socket_path(name))?;
        let lock = until_stable(&dir.lock_path(name), || {
            dir.ensure()?;
            Lock::take(dir, name)
        })?;
        let mut claim = Self { dir: dir.clone(), name: name.clone(), lock, socket: None };
        let listener = claim.renew()?;
        Ok((claim, listener))
    }

    /// Whether name and socket are still ours: nobody wiped the folder or put another socket there. Cheap enough
    /// to ask now and then; if the answer is no, [`Claim::renew`]. Always false in a forked child.
    pub fn still_mine(&self) -> bool {
        self.lock.is_at(&self.dir.lock_path(&self.name)) && self.socket_is_mine()
    }

    /// Makes folder and lock anew where they are gone, then a new socket, and answers it. Callers who are
    /// connected are not touched; the socket of before gets no new ones.
    ///
    /// # Errors
    /// [`ClaimError::Taken`] if another process claimed the name after the files were wiped: it has it now.
    /// [`ClaimError::Inherited`] in a forked child. For the others see [`ClaimError`].
    pub fn renew(&mut self) -> Result<OwnedFd, ClaimError> {
        if !self.lock.is_this_process() {
            return Err(ClaimError::Inherited(self.name.clone()));
        }
        let lock_path = self.dir.lock_path(&self.name);
        until_stable(&lock_path, || {
            self.dir.ensure()?;
            if !self.lock.is_at(&lock_path) {
                // The old lock is of another file, which nobody finds any more: to let it go gives up nothing.
                self.lock = Lock::take(&self.dir, &self.name)?;
            }
            let listener = self.publish()?;
            if self.still_mine() { Ok(listener) } else { Err(Interrupted::Changed) }
        })
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Where the socket is.
    pub fn socket_path(&self) -> PathBuf {
        self.dir.socket_path(&self.name)
    }

    /// Puts a new listening socket in its place. Only the holder of the lock does this.
    fn publish(&mut self) -> Result<OwnedFd, Interrupted> {
        let (path, temporary) = (self.socket_path(), self.dir.path().join(format!(".{}", self.name)));
        let failed = |doing| {
            let path = path.clone();
            move |source: io::Error| Interrupted::of(doing, path, source)
        };
        // Left behind by a holder that was killed right here.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace")(error)),
            _ => {}
        }
        let listener = socket::listen(&temporary).map_err(failed("make the socket"))?;
        let inode = Inode::at(&temporary).ok_or(Interrupted::Changed)?;
        fs::rename(&temporary, &path).map_err(failed("make the socket"))?;
        self.socket = Some(inode);
        Ok(listener)
    }

    fn socket_is_mine(&self) -> bool {
        self.socket.is_some() && self.socket == Inode::at(&self.socket_path())
    }
}

impl Drop for Claim {
    /// Removes the socket and gives the name back; in a forked child it does nothing.
    fn drop(&mut self) {
        if self.still_mine() {
            // While the lock is ours nobody else puts a socket there. What cannot be removed is a dead socket,
            // which the next server replaces.
            let _ = fs::remove_file(self.socket_path());
        }
    }
}

/// Who holds a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// No server of this name runs.
    Nobody,
    /// The process with this id.
    Process(i32),
    /// A process that cannot be seen from here.
    Unseen,
}

/// Who holds `name`: asked without claiming it.
///
/// # Errors
/// The lock file is there and cannot be opened.
pub fn lock_holder(dir: &RuntimeDir, name: &Name) -> io::Result<Holder> {
    let path = dir.lock_path(name);
    // Until the file is closed again no thread may lock it, for the closing would give that lock back.
    let held = held();
    if Inode::at(&path).is_some_and(|inode| is_held_here(&held, inode)) {
        return Ok(Holder::Process(this_process()));
    }
    let file =
        match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Holder::Nobody),
            Err(error) => return Err(error.into()),
        };
    Ok(holder_of(&file)?)
}

/// The locks that this process holds, with its id: in a forked child those of the parent are of no account.
///
/// Locked while a lock file is opened, locked or closed, so that no thread closes a file that another locks.
static HELD: Mutex<Option<HashMap<Inode, i32>>> = Mutex::new(None);

type Held = Option<HashMap<Inode, i32>>;

fn held() -> MutexGuard<'static, Held> {
    // Every change is a single insert or remove, so there is nothing half-done to fear.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_held_here(held: &Held, inode: Inode) -> bool {
    held.as_ref().and_then(|held| held.get(&inode)) == Some(&this_process())
}

fn this_process() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// A lock file that this process has locked.
#[derive(Debug)]
struct Lock {
    /// Taken out only by drop.
    file: Option<OwnedFd>,
    /// Of the open file, so the number is not given to another one.
    inode: Inode,
    pid: i32,
}

impl Lock {
    /// Locks the lock file of `name`, which is made if it is not there.
    fn take(dir: &RuntimeDir, name: &Name) -> Result<Self, Interrupted> {
        let path = dir.lock_path(name);
        let failed = |doing| {
            let path = &path;
            move |error: Errno| Interrupted::of(doing, path.clone(), error.into())
        };
        let taken = |pid| Interrupted::Failed(ClaimError::Taken { name: name.clone(), pid });
        let pid = this_process();

        let mut held = held();
        if Inode::at(&path).is_some_and(|inode| is_held_here(&held, inode)) {
            return Err(taken(Some(pid)));
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(failed("open"))?;
        let inode = Inode::of(&file).map_err(failed("lock"))?;
        if is_held_here(&held, inode) {
            // Moved there since we looked. To close it would give our lock back.
            let _ = file.into_raw_fd();
            return Err(taken(Some(pid)));
        }
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                return Err(match holder_of(&file).map_err(failed("lock"))? {
                    Holder::Process(pid) => taken(Some(pid)),
                    Holder::Unseen => taken(None),
                    // It ended just now.
                    Holder::Nobody => Interrupted::Changed,
                });
            }
            Err(error) => return Err(failed("lock")(error)),
        }
        // The file may have been removed between opening and locking, and then its lock protects nothing.
        if Inode::at(&path) != Some(inode) {
            return Err(Interrupted::Changed);
        }
        held.get_or_insert_default().insert(inode, pid);
        Ok(Self { file: Some(file), inode, pid })
    }

    fn is_this_process(&self) -> bool {
        self.pid == this_process()
    }

    /// Whether the file at `path` is the one that this process has locked.
    fn is_at(&self, path: &Path) -> bool {
        self.is_this_process() && Inode::at(path) == Some(self.inode)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if !self.is_this_process() {
            // A forked child has no lock here, but it may have claimed the name itself since its parent ended.
            // To close the file would give that claim back, so a descriptor is left open instead.
            let _ = file.into_raw_fd();
            return;
        }
        let mut held = held();
        drop(file);
        held.get_or_insert_default().remove(&self.inode);
    }
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// What is at `path`, not following a symbolic link; `None` if nothing is or it cannot be seen.
    fn at(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self { device: found.dev(), number: found.ino() })
    }

    fn of(file: &OwnedFd) -> Result<Self, Errno> {
        let found = rustix::fs::fstat(file)?;
        Ok(Self { device: found.st_dev, number: found.st_ino })
    }
}

/// Why a step of a claim did not come to its end.
enum Interrupted {
    /// The files changed meanwhile: begin anew.
    Changed,
    Failed(ClaimError),
}

impl Interrupted {
    /// A file that is gone means that the folder was wiped meanwhile, since all here are made in it.
    fn of(doing: &'static str, path: PathBuf, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            Self::Changed
        } else {
            Self::Failed(ClaimError::Os { doing, path, source })
        }
    }
}

impl<E: Into<ClaimError>> From<E> for Interrupted {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Repeats `step` for as long as the files change under it, within reason.
fn until_stable<T>(path: &Path, mut step: impl FnMut() -> Result<T, Interrupted>) -> Result<T, ClaimError> {
    for _ in 0..ATTEMPTS {
        match step() {
            Ok(done) => return Ok(done),
            Err(Interrupted::Failed(error)) => return Err(error),
            Err(Interrupted::Changed) => {}
        }
    }
    Err(ClaimError::Unstable(path.into()))
}

fn holder_of(file: impl AsFd) -> Result<Holder, Errno> {
    Ok(match fcntl_getlk(file, &Flock::from(FlockType::WriteLock))? {
        None => Holder::Nobody,
        Some(lock) => match lock.pid.map(|pid| pid.as_raw_pid()) {
            Some(pid) if pid > 0 => Holder::Process(pid),
            _ => Holder::Unseen,
        },
    })
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ": make the folder writable for this user, or set XDG_RUNTIME_DIR to one that is"
        }
        _ => "",
    }
}

fn holder(pid: Option<i32>) -> String {
    pid.map_or_else(|| "a process that cannot be seen from here".into(), |pid| format!("process {pid}"))
}
