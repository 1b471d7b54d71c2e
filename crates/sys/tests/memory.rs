//! Memory by reference: from process to process, and what is refused of what a process sends.
#![allow(unsafe_code)] // To fork for real, and to map memory in ways that are to be refused.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::ptr;

use andiron_sys::memory::{Mapped, Memory, Refused, Sealed, Unmapped};
use andiron_sys::socket;
use common::Talking;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Resource, Rlimit, setrlimit};

const MIB: usize = 1 << 20;

/// Bytes that differ from page to page.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 8 % 251) as u8).collect()
}

/// Sends the memory through a socket, and takes what arrives there for `announced` bytes.
fn passed(sealed: &Sealed, announced: u64) -> Sealed {
    let (here, there) = socket::pair().unwrap();
    assert_eq!(socket::send(&here, &[IoSlice::new(b"m")], &[sealed.as_fd()]).unwrap(), 1);
    let mut fds = Vec::new();
    socket::recv(&there, &mut [0; 1], false, &mut fds).unwrap();
    Sealed::received(fds.pop().unwrap(), announced).unwrap()
}

#[test]
fn a_big_value_arrives_through_a_socket_as_it_was() {
    let bytes = pattern(64 * MIB);
    let mut memory = Memory::zeroed(bytes.len()).unwrap();
    assert!(memory.iter().all(|&byte| byte == 0));
    memory.copy_from_slice(&bytes);
    let built = memory.freeze().unwrap();
    let (front, back) = bytes.split_at(12_345_678);
    let copied = Sealed::copy_of(&[front, b"", back]).unwrap();
    for sealed in [built, copied] {
        assert_eq!(sealed.len(), bytes.len() as u64);
        let received = passed(&sealed, sealed.len());
        // Passed on once more, by who has not looked at it.
        let again = passed(&received, sealed.len()).clone();
        let map = again.map().unwrap();
        drop((sealed, received, again));
        assert!(*map == *bytes);
    }
}

#[test]
fn what_is_read_from_a_stream_is_frozen_as_it_came() {
    /// Gives it in odd pieces.
    struct Trickle<'a>(&'a [u8], usize);
    impl io::Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 * 7 % 300_007 + 1;
            let count = self.1.min(buffer.len()).min(self.0.len());
            if self.1.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let bytes = pattern(3 * MIB + 5);
    for at_hand in [0, 1, MIB] {
        let (at_hand, rest) = bytes.split_at(at_hand);
        let sealed = Sealed::read_from(at_hand, &mut Trickle(rest, 1)).unwrap();
        assert_eq!(sealed.size(), bytes.len() as u64);
        assert!(*passed(&sealed, sealed.len()).map().unwrap() == *bytes);
    }
    let broken = Sealed::read_from(b"x", &mut File::open("/").unwrap()).unwrap_err();
    assert_eq!(broken.kind(), io::ErrorKind::IsADirectory);
}

#[test]
fn any_length_is_mapped_as_long_as_it_is() {
    for length in [0, 1, 4095, 4096, 4097, MIB + 1] {
        let bytes = pattern(length);
        let mut memory = Memory::zeroed(length).unwrap();
        memory.copy_from_slice(&bytes);
        for sealed in [memory.freeze().unwrap(), Sealed::copy_of(&[&bytes]).unwrap()] {
            assert_eq!(sealed.is_empty(), length == 0);
            assert_eq!(*sealed.map().unwrap(), *bytes);
            // Less may be announced than was sent.
            let shorter = Sealed::received(sealed, length as u64 / 2).unwrap();
            assert_eq!(*shorter.map().unwrap(), bytes[..length / 2]);
        }
    }
    assert!(Sealed::copy_of(&[]).unwrap().is_empty());
}

#[test]
fn more_memory_than_there_is_is_an_error() {
    common::in_own_process("more_memory_than_there_is_is_an_error", || {
        // Whatever goes wrong here, the machine is not to suffer from it.
        let limit = Some(1 << 30);
        setrlimit(Resource::Fsize, Rlimit { current: limit, maximum: limit }).unwrap();
        for length in [usize::MAX, usize::MAX / 2, 1 << 60, 1 << 50] {
            assert_eq!(Memory::zeroed(length).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        }
    });
}

/// No test by itself: makes a value, sends it and waits.
#[test]
fn sending_child() {
    let Some(path) = common::role() else { return };
    let connection = socket::connect(path.as_ref(), None).unwrap();
    let sealed = Sealed::copy_of(&[&pattern(8 * MIB)]).unwrap();
    assert_eq!(socket::send(&connection, &[IoSlice::new(b"m")], &[sealed.as_fd()]).unwrap(), 1);
    common::hear();
}

#[test]
fn a_value_outlives_the_process_that_made_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = socket::listen(&path).unwrap();
    let child = Talking::start(common::command("sending_child", path.to_str().unwrap()));
    let connection = loop {
        andiron_sys::poll::wait(&listener, true, false, None).unwrap();
        if let Some(connection) = socket::accept(&listener).unwrap() {
            break connection;
        }
    };
    let mut fds = Vec::new();
    socket::recv(&connection, &mut [0; 1], false, &mut fds).unwrap();
    let map = Sealed::received(fds.pop().unwrap(), 8 * MIB as u64).unwrap().map().unwrap();
    let bytes = pattern(8 * MIB);
    // Some is read before it is gone, some for the first time after.
    assert!(map[..MIB] == bytes[..MIB]);
    child.kill();
    assert!(*map == *bytes);
}

#[test]
fn a_map_is_shared_by_threads_while_its_maker_lets_it_go() {
    let bytes = pattern(16 * MIB);
    let sealed = Sealed::copy_of(&[&bytes]).unwrap();
    let map = sealed.map().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(*map == *bytes));
        }
        drop(sealed);
    });
    fn is_static(_: impl AsRef<[u8]> + Send + Sync + 'static) {}
    is_static(map);
}

#[test]
fn frozen_memory_cannot_be_changed_by_who_made_it() {
    let bytes = pattern(MIB);
    let mut memory = Memory::zeroed(MIB).unwrap();
    memory.copy_from_slice(&bytes);
    let built = memory.freeze().unwrap();
    for sealed in [built, Sealed::copy_of(&[&bytes]).unwrap()] {
        let map = sealed.map().unwrap();
        let path = format!("/proc/self/fd/{}", sealed.as_fd().as_raw_fd());
        let again = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for fd in [sealed.as_fd(), again.as_fd()] {
            assert!(rustix::io::pwrite(fd, b"x", 0).is_err());
            assert!(rustix::fs::ftruncate(fd, 0).is_err());
            assert!(rustix::fs::ftruncate(fd, 2 * MIB as u64).is_err());
            assert!(rustix::fs::fallocate(fd, punch, 0, 4096).is_err());
            assert!(rustix::fs::fcntl_add_seals(fd, SealFlags::FUTURE_WRITE).is_err());
            let write = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: the kernel chooses a free range, if any.
            let shared = unsafe { rustix::mm::mmap(ptr::null_mut(), MIB, write, MapFlags::SHARED, fd, 0) };
            assert!(shared.is_err());
        }
        assert!(*map == *bytes);
    }
}

#[test]
fn memory_that_a_forked_child_still_writes_to_is_frozen_all_the_same() {
    let test = "memory_that_a_forked_child_still_writes_to_is_frozen_all_the_same";
    common::in_own_process(test, || {
        let mut memory = Memory::zeroed(3 * MIB).unwrap();
        memory.copy_from_slice(&pattern(3 * MIB));
        let (told, tell) = io::pipe().unwrap();
        let (answer, answers) = io::pipe().unwrap();
        // SAFETY: the child runs only the lines below and leaves by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(tell);
            let _ = io::copy(&mut &told, &mut io::sink());
            memory.fill(1);
            let _ = (&answers).write_all(b"x");
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        drop(answers);
        let sealed = memory.freeze().unwrap();
        let map = sealed.map().unwrap();
        drop(tell);
        assert_eq!(io::copy(&mut &answer, &mut io::sink()).unwrap(), 1, "the child has written");
        assert!(*map == *pattern(3 * MIB));
        Sealed::received(sealed, 3 * MIB as u64).unwrap();
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, ptr::null_mut(), 0) }, child);
    });
}

#[test]
fn what_is_written_to_a_map_of_memory_that_was_frozen_nobody_else_sees() {
    let memory = Unmapped::zeroed(3 * MIB).unwrap();
    for length in [0, 4 * MIB as u64] {
        let refused = rustix::fs::ftruncate(&memory, length).unwrap_err();
        assert_eq!(refused, rustix::io::Errno::PERM, "its pages are there as long as it is mapped");
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let fd = memory.as_fd().as_raw_fd();
    let map = |offset: usize, length: usize| {
        // SAFETY: the kernel chooses a free range.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, fd, offset as libc::off_t)
        };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: it stays mapped to the end of the test, and is referred to by nobody else in this process but the other map, of which no byte is read while this one is written.
        unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), length) }
    };
    let (whole, end) = (map(0, 3 * MIB), map(2 * MIB, MIB));
    whole.copy_from_slice(&pattern(3 * MIB));

    let sealed = memory.freeze().unwrap();
    assert!(*whole == *pattern(3 * MIB) && *end == pattern(3 * MIB)[2 * MIB..], "what was there is there");
    whole.fill(1);
    end.fill(2);
    assert_eq!((whole[3 * MIB - 1], end[MIB - 1]), (1, 2), "each map has a copy");
    let sealed = passed(&sealed, 3 * MIB as u64);
    assert!(*sealed.map().unwrap() == *pattern(3 * MIB));
    for (start, length) in [(whole.as_mut_ptr(), whole.len()), (end.as_mut_ptr(), end.len())] {
        // SAFETY: mapped above, and not referred to any more.
        assert_eq!(unsafe { libc::munmap(start.cast(), length) }, 0);
    }
}

#[test]
fn what_somebody_writes_to_a_file_is_frozen_unless_that_fails_or_leaves_holes() {
    let written = Sealed::written(|mut file| file.write_all(&pattern(MIB))).unwrap();
    assert!(*written.map().unwrap() == *pattern(MIB));
    let refused = |write: fn(&File) -> io::Result<()>| Sealed::written(write).unwrap_err().kind();
    assert_eq!(refused(|_| Err(io::ErrorKind::BrokenPipe.into())), io::ErrorKind::BrokenPipe);
    assert_eq!(refused(|file| file.set_len(MIB as u64)), io::ErrorKind::Other);
}

/// Puts the first page of a file into a pipe, as it is: until it is read there, the kernel has it in its hands.
fn into_pipe(file: &File, pipe: &io::PipeWriter) {
    let mut offset = 0;
    // SAFETY: both descriptors are open, and the offset is written to while it is there.
    let moved = unsafe {
        libc::splice(file.as_raw_fd(), &raw mut offset, pipe.as_raw_fd(), ptr::null_mut(), 4096, 0)
    };
    assert_eq!(moved, 4096, "{}", io::Error::last_os_error());
}

#[test]
fn a_page_that_the_kernel_has_in_its_hands_keeps_no_memory_from_being_frozen() {
    let (mut read, write) = io::pipe().unwrap();
    let mut drain = None;
    let sealed = Sealed::written(|mut file| {
        file.write_all(&pattern(MIB))?;
        into_pipe(file, &write);
        drain = Some(std::thread::spawn(move || {
            let (_read, write) = io::pipe().unwrap();
            let other = File::from(memory(&pattern(MIB), MIB as u64, SealFlags::empty()));
            into_pipe(&other, &write);
            for _ in 0..2 {
                let refused = rustix::fs::fcntl_add_seals(&other, SealFlags::WRITE).unwrap_err();
                assert_eq!(refused, rustix::io::Errno::BUSY, "as long as the kernel waits for it");
            }
            read.read_exact(&mut [0; 4096]).unwrap();
        }));
        Ok(())
    });
    drain.unwrap().join().unwrap();
    assert!(*sealed.unwrap().map().unwrap() == *pattern(MIB));
}

/// Memory of `length` bytes, of which these are written, with these seals.
fn memory(bytes: &[u8], length: u64, seals: SealFlags) -> OwnedFd {
    let file = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(file);
    file.write_all(bytes).unwrap();
    file.set_len(length).unwrap();
    seal(&file, seals);
    file.into()
}

/// Seals what nobody has mapped, also where the kernel itself has one of its pages in its hands for a moment.
fn seal(file: &impl AsFd, seals: SealFlags) {
    while let Err(error) = rustix::fs::fcntl_add_seals(file, seals) {
        assert_eq!(error, rustix::io::Errno::BUSY);
    }
}

const FROZEN: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// What is said of a descriptor that is to be refused.
fn refused(fd: impl Into<OwnedFd>, announced: u64) -> (Refused, String) {
    let why = Sealed::received(fd.into(), announced).unwrap_err();
    let text = why.to_string();
    (why, text)
}

#[test]
fn memory_that_could_still_change_is_refused() {
    let page = [7; 4096];
    for (missing, told) in [
        (FROZEN, "(missing: F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE)"),
        (SealFlags::WRITE, "(missing: F_SEAL_WRITE)"),
        (SealFlags::SHRINK, "(missing: F_SEAL_SHRINK)"),
        (SealFlags::GROW, "(missing: F_SEAL_GROW)"),
    ] {
        for more in [SealFlags::empty(), SealFlags::FUTURE_WRITE | SealFlags::SEAL] {
            let (why, text) = refused(memory(&page, 4096, (FROZEN - missing) | more), 4096);
            assert!(matches!(why, Refused::Unsealed { .. }), "{why:?}");
            assert!(text.contains(told), "{text}");
        }
    }
    Sealed::received(memory(&page, 4096, FROZEN), 4096).unwrap();
}

#[test]
fn memory_that_is_shorter_than_announced_is_refused() {
    for (length, announced) in [(4096, 4097), (4096, u64::MAX), (0, 1)] {
        let (why, text) = refused(memory(&vec![7; length], length as u64, FROZEN), announced);
        assert!(matches!(why, Refused::Short { .. }), "{why:?}");
        assert!(text.contains(&format!("has {length} bytes, and {announced} were announced")), "{text}");
    }
}

#[test]
fn memory_with_holes_is_refused_however_long_it_is() {
    for (written, length) in [(0, 1), (0, 1 << 40), (4096, 8192), (4096, 4097), (MIB, MIB as u64 * 2)] {
        for announced in [1, length] {
            let (why, text) = refused(memory(&vec![7; written], length, FROZEN), announced);
            assert!(matches!(why, Refused::Holes { .. }), "{why:?}");
            assert!(text.contains(&format!("only {written} of its {length} bytes")), "{text}");
        }
    }
}

#[test]
fn holes_that_are_hidden_by_pages_behind_the_end_are_found() {
    let file = memory(&[7; 4096], 2 * MIB as u64, SealFlags::empty());
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 2 * MIB as u64, 4 * MIB as u64).unwrap();
    seal(&file, FROZEN);
    let counted = File::from(file.try_clone().unwrap()).metadata().unwrap();
    assert!(counted.blocks() * 512 > counted.len());
    let (why, text) = refused(file, 2 * MIB as u64);
    assert!(matches!(why, Refused::Holes { present: 4096, .. }), "{text}");

    // Who has everything where it belongs may have more behind it.
    let file = memory(&pattern(MIB), MIB as u64, SealFlags::empty());
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, MIB as u64, MIB as u64).unwrap();
    seal(&file, FROZEN);
    let received = Sealed::received(file, MIB as u64).unwrap();
    assert!(*received.map().unwrap() == *pattern(MIB));
}

#[test]
fn memory_of_huge_pages_is_refused() {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
    let made = rustix::fs::memfd_create("test", flags).and_then(|file| {
        // One page of any size that is usual. It need not be there: what it is made of is looked at first.
        rustix::fs::ftruncate(&file, 1 << 30)?;
        rustix::fs::fcntl_add_seals(&file, FROZEN)?;
        Ok(file)
    });
    match made {
        Ok(file) => {
            let (why, text) = refused(file, 4096);
            assert!(matches!(why, Refused::NotMemory) && text.contains("MFD_HUGETLB"), "{text}");
        }
        Err(error) => println!("skipped: this system makes no memory of huge pages: {error}"),
    }
}

#[test]
fn what_is_no_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, [7; 4096]).unwrap();
    let (reader, writer) = io::pipe().unwrap();
    let (socket, _other) = socket::pair().unwrap();
    let open = |path: &str| OwnedFd::from(OpenOptions::new().read(true).write(true).open(path).unwrap());
    let strangers = [
        ("a file", open(path.to_str().unwrap())),
        ("a folder", File::open(folder.path()).unwrap().into()),
        ("a pipe to read from", reader.into()),
        ("a pipe to write to", writer.into()),
        ("a socket", socket),
        ("a device", open("/dev/zero")),
        ("a file of the kernel", File::open("/proc/self/maps").unwrap().into()),
        ("an event", rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap()),
    ];
    // Files of this machine may lie in memory, and then they are refused for what else is wrong with them.
    let in_memory = rustix::fs::statfs(folder.path()).unwrap().f_type as i64 == 0x0102_1994;
    for (what, fd) in strangers {
        let (why, text) = refused(fd, 1);
        assert!(matches!(why, Refused::NotMemory) || in_memory, "{what}: {text}");
    }
    if let Ok(file) = tempfile::tempfile_in("/dev/shm") {
        file.write_all_at(&[7; 4096], 0).unwrap();
        let (why, _) = refused(file, 1);
        assert!(matches!(why, Refused::Unsealed { .. }), "{why:?}");
    }
}

#[test]
fn memory_that_may_not_be_read_or_not_be_written_is_refused() {
    let sealed = memory(&[7; 4096], 4096, FROZEN);
    let path = format!("/proc/self/fd/{}", sealed.as_raw_fd());
    let opened = |options: &OpenOptions| refused(options.open(&path).unwrap(), 4096);
    for options in [
        OpenOptions::new().read(true),
        OpenOptions::new().write(true),
        OpenOptions::new().read(true).custom_flags(libc::O_PATH),
    ] {
        let (why, text) = opened(options);
        assert!(matches!(why, Refused::Access) && text.contains("for reading and writing"), "{text}");
    }
    let again = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    Sealed::received(OwnedFd::from(again), 4096).unwrap();
}

#[test]
fn nothing_stays_open_or_mapped() {
    common::in_own_process("nothing_stays_open_or_mapped", || {
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let maps = || fs::read_to_string("/proc/self/maps").unwrap().matches("andiron-value").count();
        let before = (open(), maps());
        let mut kept: Vec<Mapped> = Vec::new();
        for _ in 0..10 {
            drop(Memory::zeroed(MIB).unwrap());
            let sealed = Memory::zeroed(MIB).unwrap().freeze().unwrap();
            kept.push(sealed.map().unwrap());
            refused(memory(&[], 4096, FROZEN), 1);
            refused(memory(&[7], 1, SealFlags::empty()), 1);
            refused(io::pipe().unwrap().0, 1);
        }
        assert_eq!((open(), maps()), (before.0, before.1 + 10), "a map needs no descriptor");
        drop(kept);
        assert_eq!((open(), maps()), before);
    });
}
