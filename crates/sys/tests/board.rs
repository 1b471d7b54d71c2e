//! The version board between processes: what ends it, who reads it, and that no client writes it.
#![allow(unsafe_code)] // To fork for real, and to map memory in ways that are to be refused.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use andiron_sys::board::{Board, BoardView, NEVER, STAMPS, Slot, ViewError};
use andiron_sys::memory::Refused;
use andiron_sys::names::{Claim, ClaimError};
use andiron_sys::runtime::{Name, RuntimeDir};
use andiron_sys::socket;
use common::Talking;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, setrlimit};
use serde_json::Value;

const INCARNATION: [u8; 16] = *b"one of the store";

/// How long a board is, as the specification has it.
const LENGTH: usize = 1_052_672;

/// The seals of a board.
const SEALS: SealFlags =
    SealFlags::FUTURE_WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

fn slot(index: u32) -> Slot {
    Slot::new(index).unwrap()
}

fn folder() -> (tempfile::TempDir, RuntimeDir) {
    let base = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(base.path().join("andiron")).unwrap();
    (base, dir)
}

/// No test by itself: a daemon, which keeps a board and its name and does what it is told.
#[test]
fn keeping_child() {
    let Some(path) = common::role() else { return };
    let dir = RuntimeDir::at(path).unwrap();
    let (_claim, listener) = Claim::new(&dir, &"n".parse().unwrap()).unwrap();
    let board = Board::new(INCARNATION).unwrap();
    common::say("ready");
    while let Some(line) = common::hear() {
        match *line.split(' ').collect::<Vec<_>>() {
            ["pass"] => {
                let client = socket::accept(&listener).unwrap().unwrap();
                assert_eq!(socket::send(&client, &[IoSlice::new(b"b")], &[board.as_fd()]).unwrap(), 1);
            }
            ["bump", index, version] => {
                board.bump(slot(index.parse().unwrap()), version.parse().unwrap());
            }
            ["close"] => board.close(),
            ["exit"] => std::process::exit(0),
            // Becomes another program, which says so and lives until the parent hangs up.
            ["exec"] => {
                let script = r"printf '\nchild says: hello\n'; exec cat";
                panic!("{}", Command::new("sh").args(["-c", script]).exec());
            }
            _ => panic!("not known: {line}"),
        }
        common::say("done");
    }
}

/// A daemon, and the descriptor of its board.
struct Daemon {
    child: Talking,
    passed: OwnedFd,
}

impl Daemon {
    fn start(dir: &RuntimeDir) -> Self {
        Self::start_by(dir, common::command("keeping_child", dir.path().to_str().unwrap()))
    }

    fn start_by(dir: &RuntimeDir, command: Command) -> Self {
        let mut child = Talking::start(command);
        assert_eq!(child.listen(), "ready");
        let connection = socket::connect(&dir.socket_path(&"n".parse().unwrap()), None).unwrap();
        child.tell("pass");
        let mut fds = Vec::new();
        socket::recv(&connection, &mut [0; 1], false, &mut fds).unwrap();
        assert_eq!(child.listen(), "done");
        Self { child, passed: fds.pop().unwrap() }
    }

    fn view(&self) -> BoardView {
        BoardView::open(self.passed.try_clone().unwrap(), INCARNATION).unwrap()
    }

    fn told(&mut self, what: &str) {
        self.child.tell(what);
        assert_eq!(self.child.listen(), "done");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.pid()).unwrap()
    }
}

#[test]
fn a_bump_is_seen_by_another_process_in_its_slot_alone() {
    let (_base, dir) = folder();
    let mut daemon = Daemon::start(&dir);
    let view = daemon.view();
    assert!(view.is_live());
    for (index, version) in [(0, 1_u64 << 63), (STAMPS - 1, 7), (0, 3)] {
        let others = [1, STAMPS - 2].map(slot);
        let known = view.stamp(slot(index));
        daemon.told(&format!("bump {index} {version}"));
        assert!(!view.is_current(slot(index), known) && view.is_current(slot(index), version));
        assert_eq!(view.stamp(slot(index)), version);
        assert!(others.iter().all(|&other| view.is_current(other, 0)));
    }
    daemon.child.finish();
}

#[test]
fn a_board_is_dead_before_the_name_of_its_killed_daemon_can_be_taken() {
    let (_base, dir) = folder();
    let name = "n".parse().unwrap();
    for round in 0..30 {
        let daemon = Daemon::start(&dir);
        let view = daemon.view();
        assert!(view.is_live());
        rustix::process::kill_process(daemon.pid(), Signal::KILL).unwrap();
        // It is not waited for, only its name is: that is all that the next daemon can do.
        let claim = when_free(&dir, &name);
        assert!(!view.is_live(), "alive in round {round}, while its name is free");
        drop(claim);
        daemon.child.kill();
    }
}

fn when_free(dir: &RuntimeDir, name: &Name) -> (Claim, OwnedFd) {
    loop {
        match Claim::new(dir, name) {
            Err(ClaimError::Taken { .. }) => std::thread::yield_now(),
            answer => return answer.unwrap(),
        }
    }
}

#[test]
fn the_end_of_a_daemon_with_another_numbering_of_processes_is_noticed() {
    let within = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
        command
    };
    if !within().arg("true").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: this system lets nobody make a namespace of processes");
        return;
    }
    let (_base, dir) = folder();
    let child = common::command("keeping_child", dir.path().to_str().unwrap());
    let mut command = within();
    command.arg(std::env::current_exe().unwrap()).args(child.get_args());
    command.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut daemon = Daemon::start_by(&dir, command);
    let view = daemon.view();
    daemon.told("bump 5 50");
    assert!(view.is_current(slot(5), 50));
    // The daemon is killed with it.
    rustix::process::kill_process(daemon.pid(), Signal::KILL).unwrap();
    let _claim = when_free(&dir, &"n".parse().unwrap());
    assert!(!view.is_live());
    daemon.child.kill();
}

#[test]
fn a_board_of_a_stopped_daemon_is_alive_and_goes_on_with_it() {
    let (_base, dir) = folder();
    let mut daemon = Daemon::start(&dir);
    let view = daemon.view();
    daemon.told("bump 5 50");
    rustix::process::kill_process(daemon.pid(), Signal::STOP).unwrap();
    let (_, status) = rustix::process::waitpid(Some(daemon.pid()), WaitOptions::UNTRACED)
        .unwrap()
        .expect("it was waited for");
    assert!(status.stopped());
    assert!(view.is_current(slot(5), 50), "a daemon that is stopped answers no writes");
    rustix::process::kill_process(daemon.pid(), Signal::CONT).unwrap();
    daemon.told("bump 5 51");
    assert!(!view.is_current(slot(5), 50) && view.is_current(slot(5), 51));
    daemon.child.finish();
}

#[test]
fn a_board_is_dead_however_its_daemon_ends() {
    let (_base, dir) = folder();
    for end in ["drop", "exit", "exec", "close"] {
        let mut daemon = Daemon::start(&dir);
        let view = daemon.view();
        daemon.told("bump 5 50");
        assert!(view.is_current(slot(5), 50));
        let Daemon { mut child, passed } = daemon;
        match end {
            "drop" => child.finish(),
            "close" => {
                child.tell(end);
                assert_eq!(child.listen(), "done");
                assert!(!view.is_live(), "closed while its daemon goes on");
                child.finish();
            }
            "exec" => {
                child.tell(end);
                assert_eq!(child.listen(), "hello");
                assert!(!view.is_live(), "alive, and its daemon is another program");
                child.finish();
            }
            _ => {
                child.tell(end);
                child.finish();
            }
        }
        assert!(!view.is_live() && !view.is_current(slot(5), 50), "alive after {end}");
        // Who comes late finds it dead.
        assert!(!BoardView::open(passed, INCARNATION).unwrap().is_live());
    }
}

#[test]
fn a_board_is_dead_once_it_is_closed_or_dropped() {
    let board = Board::new(INCARNATION).unwrap();
    let view = BoardView::open(board.as_fd().try_clone_to_owned().unwrap(), INCARNATION).unwrap();
    assert!(view.is_live());
    board.close();
    board.bump(slot(1), 9);
    assert!(!view.is_live() && !view.is_current(slot(1), 9));
    board.close();
    drop(board);
    assert!(!view.is_live());
    assert_eq!(view.stamp(slot(1)), 9, "the view is mapped as before");
}

/// Forks, and answers what `child` says of itself.
fn in_forked_child(child: impl FnOnce() -> bool) -> bool {
    let (mut read, mut write) = io::pipe().unwrap();
    // SAFETY: the child runs only `child` and a write, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let _ = write.write_all(&[u8::from(child())]);
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    drop(write);
    let mut answer = [0];
    read.read_exact(&mut answer).unwrap();
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, ptr::null_mut(), 0) }, pid);
    answer == [1]
}

#[test]
fn a_forked_child_goes_on_reading() {
    common::in_own_process("a_forked_child_goes_on_reading", || {
        let (_base, dir) = folder();
        let mut daemon = Daemon::start(&dir);
        let view = daemon.view();
        let (mut begun, mut begin) = io::pipe().unwrap();
        std::thread::scope(|scope| {
            let bumping = scope.spawn(|| {
                begun.read_exact(&mut [0]).unwrap();
                daemon.told("bump 5 50");
            });
            let seen = in_forked_child(|| {
                let before = view.is_current(slot(5), 0);
                let _ = begin.write_all(b"x");
                while !view.is_current(slot(5), 50) {
                    std::thread::yield_now();
                }
                before
            });
            assert!(seen);
            bumping.join().unwrap();
        });
        assert!(view.is_current(slot(5), 50));
        daemon.child.finish();
    });
}

#[test]
fn a_forked_child_of_the_daemon_does_not_have_its_board() {
    common::in_own_process("a_forked_child_of_the_daemon_does_not_have_its_board", || {
        let board = Board::new(INCARNATION).unwrap();
        let view = BoardView::open(board.as_fd().try_clone_to_owned().unwrap(), INCARNATION).unwrap();
        board.bump(slot(5), 50);
        let mut inherited = Some(board);
        let harmless = in_forked_child(|| {
            let board = inherited.take().unwrap();
            board.bump(slot(5), 51);
            board.close();
            let nothing = board.stamp(slot(5)) == NEVER;
            drop(board);
            nothing
        });
        assert!(harmless);
        assert!(
            view.is_current(slot(5), 50),
            "neither written, nor closed, nor marked by the end of the child"
        );
        let board = inherited.unwrap();
        board.bump(slot(5), 52);
        assert!(view.is_current(slot(5), 52));
    });
}

/// Maps all of a board.
fn map(fd: impl AsFd, access: ProtFlags, flags: MapFlags) -> Result<*mut libc::c_void, Errno> {
    // SAFETY: the kernel chooses a free range.
    unsafe { rustix::mm::mmap(ptr::null_mut(), LENGTH, access, flags, fd, 0) }
}

/// Every way to change a file by its descriptor, each of which is to fail.
fn assert_cannot_change(fd: BorrowedFd<'_>) {
    let write = ProtFlags::READ | ProtFlags::WRITE;
    let source = tempfile::tempfile().unwrap();
    source.set_len(4096).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let whole = LENGTH as u64;
    let tries = [
        ("map", map(fd, write, MapFlags::SHARED).map(drop)),
        ("map to write only", map(fd, ProtFlags::WRITE, MapFlags::SHARED).map(drop)),
        ("write", rustix::io::write(fd, &[1; 8]).map(drop)),
        ("pwrite", rustix::io::pwrite(fd, &[1; 8], 4096).map(drop)),
        ("sendfile", rustix::fs::sendfile(fd, &source, None, 4096).map(drop)),
        (
            "copy_file_range",
            rustix::fs::copy_file_range(&source, Some(&mut 0), fd, Some(&mut 0), 8).map(drop),
        ),
        ("shorten", rustix::fs::ftruncate(fd, 4096)),
        ("lengthen", rustix::fs::ftruncate(fd, whole + 4096)),
        ("punch", rustix::fs::fallocate(fd, punch, 0, 8192)),
        ("zero", rustix::fs::fallocate(fd, FallocateFlags::ZERO_RANGE, 0, 8192)),
        ("allocate behind", rustix::fs::fallocate(fd, FallocateFlags::empty(), whole, 4096)),
        ("seal", rustix::fs::fcntl_add_seals(fd, SealFlags::WRITE)),
    ];
    for (way, answer) in tries {
        assert!(answer.is_err(), "{way} was allowed");
    }
}

#[test]
fn a_client_cannot_write_the_board_by_any_way() {
    let (_base, dir) = folder();
    let mut daemon = Daemon::start(&dir);
    daemon.told("bump 0 50");
    let view = daemon.view();
    let fd = daemon.passed.as_fd();
    assert_cannot_change(fd);

    let by_path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let again = OpenOptions::new().read(true).write(true).open(&by_path).unwrap();
    assert_cannot_change(again.as_fd());
    assert!(OpenOptions::new().write(true).truncate(true).open(&by_path).is_err());
    let appending = OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(&by_path).unwrap();
    assert!((&appending).write(&[1; 8]).is_err());

    // A map for reading stays one.
    let reading = map(fd, ProtFlags::READ, MapFlags::SHARED).unwrap();
    let write = MprotectFlags::READ | MprotectFlags::WRITE;
    // SAFETY: the range was mapped here, and is used by nothing else.
    unsafe {
        assert!(rustix::mm::mprotect(reading, LENGTH, write).is_err());
        assert!(rustix::mm::madvise(reading, LENGTH, Advice::LinuxRemove).is_err());
    }
    let own_memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
    assert!(own_memory.write_at(&[1; 8], reading as u64 + 4096).is_err());
    let piece = IoSliceMut::new(&mut [0; 8]).len();
    let (local, remote) = (
        libc::iovec { iov_base: [1_u8; 8].as_mut_ptr().cast(), iov_len: piece },
        libc::iovec { iov_base: reading.wrapping_byte_add(4096), iov_len: piece },
    );
    // SAFETY: both ranges are there; the kernel refuses what cannot be written.
    assert_eq!(unsafe { libc::process_vm_writev(libc::getpid(), &local, 1, &remote, 1, 0) }, -1);

    // A private map may be written; that is a copy.
    let copy = map(fd, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE).unwrap();
    // SAFETY: the range was mapped here, for writing.
    unsafe { copy.cast::<u8>().add(4096).write_bytes(1, 8) };

    assert!(view.is_current(slot(0), 50));
    daemon.told("bump 0 51");
    assert!(view.is_current(slot(0), 51), "the daemon writes as before");
    for range in [reading, copy] {
        // SAFETY: the range was mapped here, and nothing refers to it any more.
        unsafe { rustix::mm::munmap(range, LENGTH).unwrap() };
    }
    daemon.child.finish();
}

/// Memory with these bytes and seals.
fn memory(bytes: &[u8], length: usize, seals: SealFlags) -> OwnedFd {
    let file = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(file);
    file.write_all(bytes).unwrap();
    file.set_len(length as u64).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file.into()
}

/// The bytes of a board that nobody keeps, as the specification has them.
fn bytes() -> Vec<u8> {
    let mut bytes = b"\xadBOARD\r\n\x01\0\0\0\0\0\x02\0".to_vec();
    bytes.extend(INCARNATION);
    bytes.resize(LENGTH, 0);
    bytes
}

fn refused(fd: OwnedFd) -> ViewError {
    BoardView::open(fd, INCARNATION).unwrap_err()
}

#[test]
fn boards_are_read_as_the_vectors_say() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../spec/vectors/board.json")).unwrap();
    for vector in &vectors {
        let name = vector["name"].as_str().unwrap();
        let mut bytes = from_hex(&vector["hex"]);
        bytes.resize(LENGTH, 0);
        let stamps = vector["stamps"].as_array().into_iter().flatten();
        for (index, stamp) in stamps.map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap())) {
            bytes[4096 + 8 * index as usize..][..8].copy_from_slice(&stamp.to_le_bytes());
        }
        bytes.truncate(vector["length"].as_u64().map_or(LENGTH, |length| length as usize));
        let fd = memory(&bytes, bytes.len(), SEALS);
        let opened = BoardView::open(fd, from_hex(&vector["incarnation"]).try_into().unwrap());
        let Some(bad) = vector["bad"].as_str() else {
            let view = opened.unwrap();
            assert_eq!(view.is_live(), vector["live"].as_bool().unwrap(), "{name}");
            for told in vector["current"].as_array().unwrap() {
                let (slot, stamp) = (slot(told[0].as_u64().unwrap() as u32), told[1].as_u64().unwrap());
                assert_eq!(view.is_current(slot, stamp), told[2].as_bool().unwrap(), "{name}: {told}");
            }
            continue;
        };
        let found = match opened.expect_err(name) {
            ViewError::Foreign => "foreign",
            ViewError::Layout { .. } => "layout",
            ViewError::OtherStore => "store",
            ViewError::Memory(Refused::Short { .. }) => "short",
            other => panic!("{name}: {other}"),
        };
        assert_eq!(found, bad, "{name}");
    }
}

fn from_hex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_board_is_made_as_the_specification_says() {
    let board = Board::new(INCARNATION).unwrap();
    board.bump(slot(3), 0x0102_0304_0506_0708);
    let mut made = vec![0; LENGTH + 1];
    let file = File::from(board.as_fd().try_clone_to_owned().unwrap());
    assert_eq!(file.read_at(&mut made, 0).unwrap(), LENGTH);
    made.truncate(LENGTH);
    assert_ne!(made[64..68], [0; 4]);
    made[64..68].fill(0);
    let mut expected = bytes();
    expected[4096 + 8 * 3..][..8].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
    assert!(made == expected);
}

#[test]
fn what_is_no_board_is_refused() {
    let good = bytes();
    let mut later = good.clone();
    later[8] = 2;
    let text = refused(memory(&later, LENGTH, SEALS)).to_string();
    assert!(text.contains("layout 2") && text.contains("use the same release"), "{text}");

    let memory_refused = |fd, expected: fn(&Refused) -> bool| match refused(fd) {
        ViewError::Memory(why) => assert!(expected(&why), "{why}"),
        other => panic!("{other}"),
    };
    memory_refused(memory(&good[..4096], LENGTH, SEALS), |why| matches!(why, Refused::Holes { .. }));
    for missing in [SealFlags::FUTURE_WRITE, SealFlags::SHRINK, SealFlags::GROW] {
        let seals = SEALS - missing - SealFlags::SEAL;
        memory_refused(memory(&good, LENGTH, seals), |why| matches!(why, Refused::Unsealed { .. }));
    }
    memory_refused(memory(&good, LENGTH, SealFlags::empty()), |why| matches!(why, Refused::Unsealed { .. }));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &good).unwrap();
    assert!(matches!(refused(File::open(file.path()).unwrap().into()), ViewError::Memory(_)));
    memory_refused(io::pipe().unwrap().0.into(), |why| matches!(why, Refused::NotMemory));
    memory_refused(socket::pair().unwrap().0, |why| matches!(why, Refused::NotMemory));

    BoardView::open(memory(&good, LENGTH + 4096, SEALS - SealFlags::SEAL), INCARNATION)
        .expect_err("longer than what is there of it");
    let mut longer = good.clone();
    longer.resize(LENGTH + 4096, 1);
    BoardView::open(memory(&longer, LENGTH + 4096, SEALS), INCARNATION)
        .expect("what is behind is not looked at");
}

#[test]
fn an_index_that_no_board_has_is_no_slot() {
    assert_eq!(Slot::new(STAMPS), None);
    assert_eq!(Slot::new(u32::MAX), None);
    for hash in [0, 1, u64::from(STAMPS), u64::MAX] {
        let slot = Slot::of_hash(hash);
        assert_eq!(Slot::new(slot.index()), Some(slot));
    }
    assert_eq!(Slot::of_hash(u64::from(STAMPS) + 3).index(), 3);
}

#[test]
fn ten_thousand_views_keep_no_descriptor_and_see_one_board() {
    common::in_own_process("ten_thousand_views_keep_no_descriptor_and_see_one_board", || {
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let resident = || -> u64 {
            let status = fs::read_to_string("/proc/self/statm").unwrap();
            status.split(' ').nth(1).unwrap().parse().unwrap()
        };
        let board = Board::new(INCARNATION).unwrap();
        let before = (open(), resident());
        let view = || BoardView::open(board.as_fd().try_clone_to_owned().unwrap(), INCARNATION).unwrap();
        let views: Vec<_> = (0..10_000).map(|_| view()).collect();
        assert_eq!(open(), before.0);
        let pages = resident() - before.1;
        assert!(pages < 2 * 10_000, "a view that was not looked at takes {pages} / 10,000 pages");
        board.bump(slot(9), 90);
        assert!(views.iter().all(|view| view.is_current(slot(9), 90)));
        drop(board);
        assert!(views.iter().all(|view| !view.is_live()));

        // A descriptor that is refused is closed as well.
        let _ = refused(memory(&[], 0, SEALS));
        drop(views);
        assert_eq!(open(), before.0 - 1);
    });
}

#[test]
fn a_board_that_is_dropped_leaves_no_descriptor_thread_or_map() {
    common::in_own_process("a_board_that_is_dropped_leaves_no_descriptor_thread_or_map", || {
        let count = |folder| fs::read_dir(folder).unwrap().count();
        let maps = || fs::read_to_string("/proc/self/maps").unwrap().matches("andiron-board").count();
        let used = || (count("/proc/self/fd"), count("/proc/self/task"), maps());
        drop(Board::new(INCARNATION).unwrap());
        let before = used();
        for _ in 0..100 {
            drop(Board::new(INCARNATION).unwrap());
        }
        assert_eq!(used(), before);

        // One that cannot be made, since no descriptor is left, leaves nothing either.
        let allowed = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: allowed.maximum }).unwrap();
        let error = Board::new(INCARNATION).unwrap_err();
        setrlimit(Resource::Nofile, allowed).unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert_eq!(used(), before);
    });
}
