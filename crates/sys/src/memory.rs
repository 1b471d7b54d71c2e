//! Big values by reference: memory that is filled, frozen, passed on as a descriptor, and mapped by whoever gets it.
//!
//! Frozen memory is a file without a name (`memfd_create(2)`) with seals, by which the kernel lets nobody change it or cut it short any
//! more, not even who made it. So a receiver may read it where it lies; nothing is copied, and it costs the same at any size. It is freed
//! when the last descriptor is closed and the last mapping is gone, wherever they are.
//!
//! [`Memory`] is built in place and then frozen, [`Sealed::copy_of`] copies what lies elsewhere. A descriptor that came from
//! another process becomes [`Sealed`] by [`Sealed::received`], which trusts nothing.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    FallocateFlags, FileType, MemfdFlags, OFlags, SealFlags, Stat, fallocate, fcntl_add_seals,
    fcntl_get_seals, fcntl_getfl, fstat, fstatfs, ftruncate, memfd_create, sendfile,
};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::mapping::{Mapping, make_private};

/// The file system of shared memory. That of huge pages is another one.
const TMPFS: i64 = 0x0102_1994;

/// In these units the system counts what a file takes.
const BLOCK: u64 = 512;

/// No single `sendfile` moves more.
const MAX_STEP: u64 = 0x7fff_f000;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// How often a seal is asked for: some seconds in all.
const SEALING: usize = 20;

/// What nobody can take back: the content is fixed, and so is the length.
const FROZEN: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// Why a descriptor that was received is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no memory: another kind of file, a socket, a pipe, or memory of huge pages, whose faults end in signals.
    #[error(
        "the descriptor received is no plain shared memory: its sender has to make it with memfd_create(2), without MFD_HUGETLB"
    )]
    NotMemory,
    /// It may not be read, or what lies behind its end may not be cut off.
    #[error(
        "the memory received is not open for reading and writing: its sender has to pass what memfd_create(2) gave it"
    )]
    Access,
    /// Its sender could change it, cut it short or lengthen it while it is read.
    #[error(
        "the memory received is not sealed (missing: {missing}): its sender could change it while it is read"
    )]
    Unsealed {
        /// The seals that it lacks.
        missing: String,
    },
    /// It is shorter than what was announced.
    #[error("the memory received has {size} bytes, and {announced} were announced")]
    Short {
        /// Its size in bytes.
        size: u64,
        /// How many bytes it should have at least.
        announced: u64,
    },
    /// Parts of it were never written, so that to read it would take new memory, which may not be there.
    #[error(
        "the memory received has holes: only {present} of its {size} bytes are there, its sender has to fill it before sealing"
    )]
    Holes {
        /// How many bytes are there.
        present: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// The system does not answer.
    #[error("the descriptor received cannot be looked at: {0}")]
    Os(#[from] io::Error),
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Self::Os(error.into())
    }
}

/// Memory that is filled in place, of a length that is chosen at the start, and then frozen.
///
/// ```
/// use andiron_sys::memory::{Memory, Sealed};
/// let mut memory = Memory::zeroed(3)?;
/// memory.copy_from_slice(b"abc");
/// let sealed = memory.freeze()?;
///
/// // What the other process makes of the descriptor that it gets.
/// let passed = sealed.as_fd().try_clone_to_owned()?;
/// # use std::os::fd::AsFd;
/// let received = Sealed::received(passed, 3)?;
/// let map = received.map()?;
/// drop((sealed, received));
/// assert_eq!(&*map, b"abc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Memory {
    file: OwnedFd,
    map: Mapping,
}

impl Memory {
    /// Makes `length` zeros. All of it is taken from the system here, so that writing to it never fails.
    ///
    /// # Errors
    /// No descriptor or no memory left; `OutOfMemory` for more than this machine has.
    pub fn zeroed(length: usize) -> io::Result<Self> {
        let file = make("andiron-value", length as u64)?;
        let map = Mapping::new(&file, length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)?;
        Ok(Self { file, map })
    }

    /// Fixes content and length for ever.
    ///
    /// Where somebody else has it mapped for writing, such as a child that was forked since, the content is copied once.
    ///
    /// # Errors
    /// No descriptor or no memory left for such a copy.
    pub fn freeze(self) -> io::Result<Sealed> {
        let Self { file, map } = self;
        let length = map.length() as u64;
        drop(map);
        match fcntl_add_seals(&file, FROZEN) {
            Ok(()) => Ok(Sealed::whole(file, length)),
            Err(Errno::BUSY) => copy_of_file(&file, length),
            Err(error) => Err(error.into()),
        }
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range is mapped and readable for as long as `self` is there, and all of the file was allocated, so no access faults.
        // Nobody writes to it meanwhile: the only way to it is through `self`, whose descriptor is given to nobody before it is frozen. A
        // forked child has a copy of `self` and could write; that two processes do not use one value at once is for them to see to, as
        // with every file.
        unsafe { std::slice::from_raw_parts(self.map.start(), self.map.length()) }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; it is mapped for writing, and `self` is borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.map.start(), self.map.length()) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("length", &self.map.length()).finish_non_exhaustive()
    }
}

/// Memory of zeros for who maps it, as the runtime of another language does, and fills it there, before it is frozen.
#[derive(Debug)]
pub struct Unmapped {
    file: OwnedFd,
    length: u64,
}

impl Unmapped {
    /// Makes `length` zeros. All of it is taken from the system here.
    ///
    /// # Errors
    /// As for [`Memory::zeroed`].
    pub fn zeroed(length: usize) -> io::Result<Self> {
        let length = length as u64;
        let file = make("andiron-value", length)?;
        // Who maps it relies on its pages.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(Self { file, length })
    }

    /// Fixes content and length for ever. Who has it mapped goes on with a copy of its own: what is written there later, nobody else sees.
    ///
    /// Nobody may unmap it meanwhile. Where it can be written by other ways, such as by a child that was forked since, the content is copied once.
    ///
    /// # Errors
    /// No descriptor or no memory left for such a copy.
    pub fn freeze(self) -> io::Result<Sealed> {
        let Self { file, length } = self;
        // Where it cannot be found out or done, the seal is refused, and the content copied.
        let _ = make_private(&file);
        match fcntl_add_seals(&file, FROZEN) {
            Ok(()) => Ok(Sealed::whole(file, length)),
            Err(Errno::BUSY) => copy_of_file(&file, length),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Unmapped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Frozen memory: a descriptor that may be given to anybody, and that many values and processes may have. A clone is the same descriptor.
///
/// Freeing it takes time that grows with its length, and is done by whoever closes the last descriptor or drops the last mapping.
#[derive(Clone, Debug)]
pub struct Sealed {
    file: Arc<OwnedFd>,
    length: u64,
    /// All that it takes.
    size: u64,
}

impl Sealed {
    fn whole(file: OwnedFd, length: u64) -> Self {
        Self { file: Arc::new(file), length, size: length }
    }

    /// Copies `pieces`, one behind the other, and freezes that. For what lies in ordinary memory this is the fast way, twice as fast as
    /// to copy it into a [`Memory`].
    ///
    /// # Errors
    /// No descriptor or no memory left.
    pub fn copy_of(pieces: &[&[u8]]) -> io::Result<Self> {
        let file = create("andiron-value")?;
        let mut length = 0;
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                match rustix::io::write(&file, rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            length += piece.len() as u64;
        }
        seal(&file)?;
        Ok(Self::whole(file, length))
    }

    /// Copies what lies at hand and then all that comes from `rest`, and freezes that: at no time is more of it in ordinary memory than a piece.
    ///
    /// # Errors
    /// Why `rest` could not be read, no descriptor or no memory left.
    pub fn read_from(at_hand: &[u8], rest: &mut impl io::Read) -> io::Result<Self> {
        let mut file = File::from(create("andiron-value")?);
        file.write_all(at_hand)?;
        let mut piece = vec![0; PIECE];
        let mut length = at_hand.len() as u64;
        loop {
            match rest.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => {
                    file.write_all(&piece[..count])?;
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        seal(&file)?;
        Ok(Self::whole(file.into(), length))
    }

    /// What `write` writes to the file, from its beginning on and without holes, frozen: for bytes that only somebody else can get at.
    ///
    /// # Errors
    /// Why `write` failed, no descriptor or no memory left.
    pub fn written(write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<Self> {
        let file = File::from(create("andiron-value")?);
        write(&file)?;
        seal(&file)?;
        // Whoever wrote is trusted no more than who sends.
        Self::received_whole(OwnedFd::from(file)).map_err(io::Error::other)
    }

    /// Takes a descriptor that another process sent, for a value of `announced` bytes. It needs no other one.
    ///
    /// Nothing that its sender did or does can then harm who reads it: the content stays as it is, and no access ends in a signal. What
    /// lies behind the announced bytes is not looked at.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn received(file: impl Into<Arc<OwnedFd>>, announced: u64) -> Result<Self, Refused> {
        let file = file.into();
        let size = check(&file, announced, FROZEN - SealFlags::SEAL)?;
        Ok(Self { file, length: announced, size })
    }

    /// The same for a value that is all there is.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn received_whole(file: impl Into<Arc<OwnedFd>>) -> Result<Self, Refused> {
        let file = file.into();
        let size = fstat(&file)?.st_size;
        Self::received(file, u64::try_from(size).map_err(|_| Refused::NotMemory)?)
    }

    /// Maps it for reading. The map stays when `self` is dropped.
    ///
    /// # Errors
    /// No memory left for the map itself, or too many maps.
    pub fn map(&self) -> io::Result<Mapped> {
        let length = usize::try_from(self.length).map_err(|_| Errno::NOMEM)?;
        Ok(Mapped(Mapping::new(&*self.file, length, ProtFlags::READ, MapFlags::PRIVATE)?))
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes of memory it keeps; more than its length where its sender announced less than it sent.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl AsFd for Sealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<Sealed> for Arc<OwnedFd> {
    fn from(sealed: Sealed) -> Self {
        sealed.file
    }
}

/// The bytes of frozen memory. They stay when every descriptor of it is closed and its maker is gone.
pub struct Mapped(Mapping);

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range is mapped and readable for as long as `self` is there. No byte changes: the file has the seal WRITE, which the
        // kernel gives only where nobody has it mapped for writing, and which nobody takes away. No access ends in SIGBUS: the file is as
        // long as the map, since the seal SHRINK keeps it so, and its pages are there, as was checked after the seals were; punching holes
        // is forbidden by WRITE. They are pages of tmpfs, which come back from swap and are not taken from a pool as huge ones are.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.length()) }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("length", &self.0.length()).finish_non_exhaustive()
    }
}

/// Makes a file of `length` zeros in memory that can be sealed. All its pages are there.
pub(crate) fn make(name: &str, length: u64) -> io::Result<OwnedFd> {
    // The kernel would try, and end processes, this one or others, to find what is not there.
    if length > memory_of_this_machine() {
        return Err(Errno::NOMEM.into());
    }
    let file = create(name)?;
    ftruncate(&file, length)?;
    if length > 0 {
        allocate(&file, length)?;
    }
    Ok(file)
}

fn memory_of_this_machine() -> u64 {
    let system = rustix::system::sysinfo();
    (system.totalram as u64 + system.totalswap as u64).saturating_mul(system.mem_unit.into())
}

fn allocate(file: &OwnedFd, length: u64) -> rustix::io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, length) {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

fn create(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know that memory can be made that nobody can execute.
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        answer => Ok(answer?),
    }
}

/// Checks that `file` is memory of at least `announced` bytes, all of them there, and has these seals. Gives its size.
pub(crate) fn check(file: &OwnedFd, announced: u64, seals: SealFlags) -> Result<u64, Refused> {
    let opened = fcntl_getfl(file)?;
    if opened.contains(OFlags::PATH) {
        return Err(Refused::Access);
    }
    // First the seals, which nobody takes away: what is seen after them stays true. And what has none is told without asking its file system, which may be a program that never
    // answers.
    let present = match fcntl_get_seals(file) {
        Err(Errno::INVAL) => return Err(Refused::NotMemory),
        answer => answer?,
    };
    if fstatfs(file)?.f_type as i64 != TMPFS {
        return Err(Refused::NotMemory);
    }
    if opened & OFlags::ACCMODE != OFlags::RDWR {
        return Err(Refused::Access);
    }
    if !present.contains(seals) {
        return Err(Refused::Unsealed { missing: names(seals - present) });
    }
    let found = fstat(file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Refused::NotMemory);
    }
    let size = found.st_size as u64;
    if size < announced {
        return Err(Refused::Short { size, announced });
    }
    has_no_holes(&found)?;
    // Pages that its sender put behind the end (FALLOC_FL_KEEP_SIZE) were counted as well, in place of some that are missing. To set the
    // length to what it is drops them, and the seal against growing keeps others from getting there.
    ftruncate(file, size)?;
    has_no_holes(&fstat(file)?)?;
    Ok(size)
}

/// Compares the length with the sum of the pages, which is there in an instant; to look at every page would take time that grows with
/// the length.
fn has_no_holes(found: &Stat) -> Result<(), Refused> {
    let (present, size) = ((found.st_blocks as u64).saturating_mul(BLOCK), found.st_size as u64);
    if present < size { Err(Refused::Holes { present, size }) } else { Ok(()) }
}

fn names(seals: SealFlags) -> String {
    let names: Vec<_> = seals.iter_names().map(|(name, _)| format!("F_SEAL_{name}")).collect();
    names.join(", ")
}

fn copy_of_file(file: &OwnedFd, length: u64) -> io::Result<Sealed> {
    let copy = create("andiron-value")?;
    let mut offset = 0;
    while offset < length {
        let step = (length - offset).min(MAX_STEP) as usize;
        match sendfile(&copy, file, Some(&mut offset), step) {
            // The file is as long as it was made: nobody else had its descriptor to shorten it.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    seal(&copy)?;
    Ok(Sealed::whole(copy, length))
}

/// Fixes content and length of what nobody has mapped.
///
/// The kernel itself may have a page in its hands for a moment, as when it moves pages together. It waits for that, 150 ms at most, and refuses then
/// (`memfd_wait_for_pins` in mm/memfd.c of Linux). So it is asked again.
fn seal(file: &impl AsFd) -> Result<(), Errno> {
    for _ in 1..SEALING {
        match fcntl_add_seals(file, FROZEN) {
            Err(Errno::BUSY) => {}
            done => return done,
        }
    }
    fcntl_add_seals(file, FROZEN)
}
