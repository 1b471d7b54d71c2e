//! Descriptors that run out, at either end or on the way: the call that needed one is told, and everything else goes on.

#[path = "common/by_hand.rs"]
mod by_hand;
mod common;
#[path = "../../andiron/tests/common/memory.rs"]
#[allow(dead_code, unreachable_pub)]
mod memory;

use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use andiron::{Blob, Connector, ErrorKind, Hub, Proxy};
use andiron_proto::wire::{Kind, Reason};
use andiron_sys::socket;
use by_hand::{Site, Stream, Way, call, call_of};
use common::{Home, Process, role, say, until};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

const MIB: usize = 1 << 20;

/// So many descriptors does this process have open.
fn open_of(id: impl std::fmt::Display) -> u64 {
    std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64
}

/// So many maps of big values does this process have.
fn maps_of(id: impl std::fmt::Display) -> usize {
    std::fs::read_to_string(format!("/proc/{id}/maps")).unwrap().matches("memfd:andiron-value").count()
}

/// The limit by which it has so many descriptors left.
fn leaving(free: usize, id: impl std::fmt::Display) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<u64>().unwrap());
    let numbers: Vec<u64> = numbers.collect();
    (0..).filter(|number| !numbers.contains(number)).nth(free).unwrap()
}

fn limit(process: &Process, descriptors: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(descriptors), maximum };
    prlimit(Pid::from_raw(process.id() as i32), Resource::Nofile, limit).unwrap();
}

/// Leaves this process so many descriptors that it may open, as long as the result is there.
fn leave(free: usize) -> Vec<File> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // The folder that is looked through is open at that moment.
    let current = Some(leaving(free + 2, "self"));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.truncate(taken.len() - free);
    taken
}

fn unlimit_here() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

fn big(byte: u8) -> Blob {
    vec![byte; 2 * MIB][..].into()
}

/// Not a test of its own: a client that has no descriptor left, and then has.
#[test]
fn client() {
    let Some(what) = role() else { return };
    match &*what {
        "exhausted" => exhausted_client(&andiron::connect().unwrap()),
        "holder" => holder(&Connector::new("andiron").cache(0).connect().unwrap()),
        "passing" => passing(),
        other => panic!("nobody plays {other}"),
    }
    say("done");
}

fn exhausted_client(hub: &Hub) {
    let store = hub.store();
    let mut cell = store.cell("big");
    // From none that is free to some: wherever one is missing it is said to be that.
    for free in [0, 0, 1, 2, 3] {
        let taken = leave(free);
        for outcome in [store.entry("big").map(drop), cell.entry().map(drop)] {
            match outcome {
                Ok(()) => assert!(free > 0, "read without a descriptor"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Overloaded, "{free}: {error}"),
            }
        }
        assert_eq!(store.get::<i64>("small").unwrap(), Some(5), "the connection goes on");
        store.set("small", &5).unwrap();
        // What is too big for a message of its own kind is copied where no memory can be made.
        store.set_bytes("set", vec![1; 2 * MIB], 3).unwrap();
        unlimit_here();
        drop(taken);
        assert!(store.entry("big").unwrap().unwrap().bytes == big(7), "afterwards it is read");
        assert!(cell.entry().unwrap().unwrap().bytes == big(7));
        assert!(store.entry("set").unwrap().unwrap().bytes.len() == 2 * MIB);
        store.set_bytes("big", big(7), 3).unwrap(); // what was read is not current any more
    }
}

#[test]
fn a_client_without_a_descriptor_is_told_so_and_reads_when_it_has_one() {
    let home = Home::new();
    let daemon = home.serve();
    let store = home.hub().store();
    store.set_bytes("big", big(7), 3).unwrap();
    store.set("small", &5).unwrap();
    let mut client = Process::start(home.player("client", "exhausted"));
    client.wait_for("done");
    assert!(client.wait().success());
    assert!(store.entry("big").unwrap().unwrap().bytes == big(7));
    drop(daemon);
}

#[test]
fn a_daemon_without_a_descriptor_refuses_a_big_value_and_takes_it_when_it_has_one() {
    let home = Home::new();
    let daemon = home.serve();
    let (hub, other) = (home.hub(), home.hub());
    let store = hub.store();
    store.set("small", &5).unwrap();
    assert_eq!(other.store().get::<i64>("small").unwrap(), Some(5));
    let open = open_of(daemon.id());
    // What may be kept without a descriptor only needs one to come.
    let copies = common::is_other();
    for free in [0, 1, 2, 0] {
        // What was cleared is freed by a thread of its own.
        until("the end of the values before", || (open_of(daemon.id()) <= open).then_some(()));
        limit(&daemon, leaving(free, daemon.id()));
        let mut refused = 0;
        // Each that is taken needs one more.
        for number in 0..40 {
            match store.set_bytes(&format!("big{number}"), big(number), 3) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0 || (copies && free > 0), "with {free} free");
        assert_eq!(other.store().get::<i64>("small").unwrap(), Some(5), "others go on");
        store.set("small", &5).unwrap();
        limit(&daemon, 10_000);
        for number in 0..40 {
            store.set_bytes(&format!("big{number}"), big(number), 3).unwrap();
            assert!(other.store().entry(&format!("big{number}")).unwrap().unwrap().bytes == big(number));
        }
        store.clear().unwrap();
        store.set("small", &5).unwrap();
    }
}

/// Holds more big values than it may keep descriptors of.
fn holder(hub: &Hub) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(400), maximum }).unwrap();
    let store = hub.store();
    let (open, maps) = (open_of("self"), maps_of("self"));
    let held: Vec<Blob> =
        (0..2000).map(|number| store.entry(&format!("n{number}")).unwrap().unwrap().bytes).collect();
    let kept = open_of("self") - open;
    assert!(kept <= 100, "{kept} descriptors are kept");
    // Neighbours are one map to the system where they are the same part of the same file, which these are not.
    assert!(maps_of("self") - maps >= 1000, "{} maps", maps_of("self") - maps);
    assert!(held.iter().all(|blob| blob.len() == MIB && blob[MIB - 1] == 9));
    // Those without a descriptor are passed on too: as copies.
    let echo: Proxy = hub.object("echo").unwrap();
    for blob in [&held[0], &held[1999]] {
        assert!(echo.call::<Blob>("echo", &(blob,)).unwrap() == *blob);
        store.author("other").set_bytes("copy", blob, 3).unwrap();
        assert!(store.author("other").entry("copy").unwrap().unwrap().bytes == *blob);
    }
    store.author("other").delete("copy").unwrap();
    drop(held);
    assert_eq!((open_of("self"), maps_of("self")), (open, maps), "all of it is free again");
    // And there is room for others.
    let again: Vec<Blob> =
        (0..50).map(|number| store.entry(&format!("n{number}")).unwrap().unwrap().bytes).collect();
    assert!(open_of("self") - open >= 50);
    drop(again);
}

/// Gives back what it gets.
struct Echo;

#[andiron::expose]
impl Echo {
    fn echo(&self, blob: Blob) -> Blob {
        blob
    }
}

#[test]
fn two_thousand_big_values_are_held_with_few_descriptors_and_freed() {
    let home = Home::new();
    let _daemon = home.serve();
    let provider = home.hub();
    provider.register("echo", Echo).unwrap();
    std::thread::spawn(move || provider.run());
    let store = home.hub().store();
    // One piece of memory under all the names.
    let blob: Blob = vec![9; MIB][..].into();
    for number in 0..2000 {
        store.set_bytes(&format!("n{number}"), &blob, 3).unwrap();
    }
    let mut client = Process::start(home.player("client", "holder"));
    client.wait_for("done");
    assert!(client.wait().success());
}

/// What the system passes is exhausted by one reader that does not read.
fn passing() {
    let address = std::env::var("ANDIRON_TEST_SOCKET").unwrap();
    // Descriptors that are under way, and that nobody takes out: more than this process may open.
    let (here, _there) = socket::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let many = vec![file.as_fd(); socket::MAX_DESCRIPTORS];
    let mut refused = false;
    for _ in 0..100 {
        match socket::send(&here, &[IoSlice::new(b"x")], &many) {
            Ok(_) => {}
            Err(error) => {
                refused = error.raw_os_error() == Some(rustix::io::Errno::TOOMANYREFS.raw_os_error());
                break;
            }
        }
    }
    if !refused {
        return say("passing: skipped");
    }
    let hub = Connector::new(&address).connect().unwrap();
    let store = hub.store();
    let error = store.set_bytes("big", big(1), 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    store.set("small", &5).unwrap();
    assert_eq!(store.get::<i64>("small").unwrap(), Some(5), "the connection goes on");
    drop((here, _there));
    say("passing: refused");
    common::until("they are taken back", || store.set_bytes("big", big(2), 3).ok());
    assert!(store.entry("big").unwrap().unwrap().bytes == big(2));
}

#[test]
fn where_the_system_passes_no_more_descriptors_the_call_is_told_and_the_connection_goes_on() {
    if common::only_native("another program may need files that the other user may not read") {
        return;
    }
    if !rustix::process::getuid().is_root() {
        return common::skipped("only root can be another user, whose descriptors are counted");
    }
    // Root is not counted. The daemon and its client are both of another user, since a daemon takes none but its own.
    const OTHER: u32 = 64_123;
    let home = Home::new();
    let folder = home.folder.path();
    std::os::unix::fs::chown(folder, Some(OTHER), Some(OTHER)).unwrap();
    let as_other = |mut command: std::process::Command| {
        command.uid(OTHER).gid(OTHER);
        command
    };
    let program = copied(env!("CARGO_BIN_EXE_andiron").as_ref(), folder);
    let this = copied(&std::env::current_exe().unwrap(), folder);
    let mut command = std::process::Command::new(program);
    command.arg("serve");
    home.settle(&mut command);
    let mut daemon = Process::start(as_other(command));
    daemon.wait_for("listening at ");
    let mut command = std::process::Command::new("sh");
    let run = format!("ulimit -n 100; exec '{}' client --exact --nocapture --test-threads=1", this.display());
    command.args(["-c", &run]).env("ANDIRON_TEST_ROLE", "passing");
    home.settle(&mut command);
    command.env("ANDIRON_TEST_SOCKET", home.address("andiron"));
    let mut client = Process::start(as_other(command));
    if client.wait_for("passing: ").contains("skipped") {
        return common::skipped("this system lets everybody pass as many descriptors as they like");
    }
    client.wait_for("done");
    assert!(client.wait().success());
}

/// A copy that any user can run.
fn copied(program: &Path, folder: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let to = folder.join(format!("copy-of-{}", program.file_name().unwrap().display()));
    std::fs::copy(program, &to).unwrap();
    std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).unwrap();
    to
}

#[test]
fn more_descriptors_than_a_message_may_have_hurt_their_sender_only() {
    let site = Site::new(Way::Unix);
    site.serves_on();
    let before = open_of(site.daemon.id());
    let file = File::open("/dev/null").unwrap();
    // More than announced; more than there is room for, of which some are cut off; and as many as are announced.
    for (announced, sent, ends) in
        [(1, 2, true), (64, 60, true), (2, 70, true), (70, 70, true), (64, 64, false)]
    {
        let mut stream = site.session();
        let mut bytes = call(1, "names", &());
        bytes[7] = announced;
        let Stream::Unix(unix) = &stream else { unreachable!("of a Unix socket") };
        send_all(unix, &bytes, &vec![file.as_fd(); sent]);
        let (header, payload) = stream.next_frame();
        let what = format!("{announced} announced, {sent} sent: {header:?}");
        match header.kind {
            Kind::Goodbye => {
                assert!(ends, "{what}");
                let reason = Reason::from_number(u16::from_be_bytes([payload[0], payload[1]]));
                assert_eq!(reason, Reason::Protocol, "{what}");
            }
            Kind::Error => {
                let kind = ErrorKind::from_number(u16::from_be_bytes([payload[0], payload[1]]));
                assert_eq!(kind, ErrorKind::Overloaded, "{what}");
            }
            other => assert_eq!((other, ends), (Kind::Result, false), "{what}"),
        }
        site.serves_on();
    }
    common::until("all of them are closed", || (open_of(site.daemon.id()) <= before + 1).then_some(()));
}

/// Sends bytes with descriptors at the first of them, as many as the system takes.
fn send_all(stream: &std::os::unix::net::UnixStream, bytes: &[u8], fds: &[std::os::fd::BorrowedFd<'_>]) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let message = SendAncillaryMessage::ScmRights(fds);
    let mut space = vec![std::mem::MaybeUninit::uninit(); message.size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(message));
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}

#[test]
fn one_who_asks_for_big_values_and_does_not_read_costs_little_and_holds_up_nobody() {
    let site = Site::new(Way::Unix);
    let store = site.hub().store();
    for number in 0..4 {
        store.set_bytes(&format!("big{number}"), big(number), 3).unwrap();
    }
    site.serves_on();
    let (memory, open) = (site.daemon.memory(), open_of(site.daemon.id()));
    let mut slow: Vec<Stream> = Vec::new();
    for takes in [0, 0, 64, 64, 64, 64] {
        // One that takes bytes, and one that takes descriptors.
        let mut stream = site.session_taking(takes);
        stream.write_all(&call(1, "lookup", &("store",))).unwrap();
        stream.next_frame();
        stream.set_nonblocking();
        let asks: Vec<u8> =
            (2..3000u64).flat_map(|id| call_of(1, id, "get", &(format!("big{}", id % 4),))).collect();
        let mut rest = &asks[..];
        let mut stuck = 0;
        while !rest.is_empty() && stuck < 50 {
            match stream.write(rest) {
                Ok(written) => (rest, stuck) = (&rest[written..], 0),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
                    stuck += 1;
                    site.serves_on();
                }
            }
        }
        slow.push(stream);
        assert!(store.entry("big1").unwrap().unwrap().bytes == big(1));
        let other = site.hub().store();
        assert!(other.entry("big2").unwrap().unwrap().bytes == big(2), "others are served");
    }
    let grown = site.daemon.memory().saturating_sub(memory) >> 20;
    assert!(grown < 6 * 100, "{grown} MiB");
    let more = open_of(site.daemon.id()) - open;
    assert!(more < 20, "{more} descriptors");
    // Who begins to read gets what it asked for.
    let Stream::Unix(unix) = &slow[2] else { unreachable!("of a Unix socket") };
    unix.set_nonblocking(false).unwrap();
    let read_first = std::iter::repeat_with(|| slow[2].next_frame().0);
    // Those beyond the number of calls that may be under way were refused at once.
    let first = read_first.into_iter().find(|header| header.kind == Kind::Result).unwrap();
    assert_eq!((first.id, first.attachments), (2, 1));
    drop(slow);
    common::until("they are forgotten", || (open_of(site.daemon.id()) <= open + 4).then_some(()));
    site.serves_on();
}
