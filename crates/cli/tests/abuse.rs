//! Peers that misbehave: each is put out or put up with, and the daemon serves on.

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

use andiron::{ErrorKind, Hub, Value};
use andiron_proto::codec;
use andiron_proto::wire::{self, Header, Kind, Reason};
use andiron_proto::{Hello, Limits};
use common::{Home, LONG, Process, read_to_end, role, say};

/// The daemon still does what it is for.
#[track_caller]
fn serves_on(home: &Home) {
    let store = home.hub().store();
    store.set("alive", &1).unwrap();
    assert_eq!(store.get("alive").unwrap(), Some(1));
}

fn frame(kind: u8, flags: u8, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.extend([kind, flags, 0, 0]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn greeting() -> Vec<u8> {
    let hello = Hello { auth: vec!["user".to_owned()], limits: Limits::default(), ..Hello::default() };
    let mut bytes = wire::preface(&wire::VERSIONS).to_vec();
    bytes.extend(frame(Kind::Hello.number(), 0, 0, &hello.to_bytes()));
    bytes
}

/// A CALL of the root object.
fn call(id: u64, method: &str, arguments: &impl serde::Serialize) -> Vec<u8> {
    let mut payload = vec![0; 24];
    payload.extend([1, method.len() as u8]);
    payload.extend(method.as_bytes());
    codec::encode_args(arguments, &mut payload).unwrap();
    frame(Kind::Call.number(), 0, id, &payload)
}

/// A stream with an open session on it.
fn session(home: &Home) -> UnixStream {
    let mut stream = home.stream();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(&greeting()).unwrap();
    stream.read_exact(&mut [0; wire::PREFACE_LEN]).unwrap();
    assert_eq!(next_frame(&mut stream).0.kind, Kind::Hello);
    stream
}

fn next_frame(stream: &mut UnixStream) -> (Header, Vec<u8>) {
    let mut header = [0; wire::HEADER_LEN];
    stream.read_exact(&mut header).unwrap();
    let header = Header::parse(&header).unwrap();
    let mut payload = vec![0; header.length as usize];
    stream.read_exact(&mut payload).unwrap();
    (header, payload)
}

#[test]
fn what_does_not_speak_the_protocol_is_hung_up_on_without_a_word() {
    let home = Home::new();
    let daemon = home.serve();
    let mut noise = fastrand::Rng::with_seed(7);
    let mut openings: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"PYRO\x01\xf6\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00".to_vec(),
        b"hello\n\n\n\n\n\n\n\n".to_vec(),
        b"\xadIRON\n\x1a\x00\x01\x00\x01\x00\x00".to_vec(), // converted as text
        vec![0; 5000],
        vec![0xff; 200_000],
        b"\xadIRON\r\n\x1a\x00\x00\x00\x00".to_vec(),
        b"\xadIRON\r\n\x1a\x00\x02\x00\x01".to_vec(),
    ];
    openings.extend((0..20).map(|_| (0..noise.usize(12..4000)).map(|_| noise.u8(..)).collect()));
    for opening in openings {
        let mut stream = home.stream();
        // It may hang up while this is still being written.
        let _ = stream.write_all(&opening);
        assert_eq!(read_to_end(&mut stream), b"", "{:x?}", &opening[..12]);
    }
    serves_on(&home);
    drop(daemon);
}

#[test]
fn another_version_is_told_which_one_is_spoken_here() {
    let home = Home::new();
    let _daemon = home.serve();
    let mut stream = home.stream();
    stream.write_all(&wire::preface(&(7..=9))).unwrap();
    assert_eq!(read_to_end(&mut stream), wire::preface(&wire::VERSIONS));
    serves_on(&home);
}

#[test]
fn connections_that_end_early_are_forgotten() {
    let home = Home::new();
    let daemon = home.serve();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().count();
    serves_on(&home);
    let before = open();
    let greeting = greeting();
    for end in 0..greeting.len() {
        home.stream().write_all(&greeting[..end]).unwrap();
    }
    let half_a_call = call(1, "lookup", &("store",));
    for end in 0..half_a_call.len() {
        session(&home).write_all(&half_a_call[..end]).unwrap();
    }
    common::until("the end of all connections", || (open() <= before + 1).then_some(()));
    serves_on(&home);
}

#[test]
fn who_breaks_the_rules_is_told_which_and_hung_up_on() {
    let home = Home::new();
    let _daemon = home.serve();
    let too_long = {
        let mut bytes = frame(Kind::Call.number(), 0, 1, b"");
        bytes[..4].copy_from_slice(&(300_000_u32).to_be_bytes());
        bytes
    };
    let endless = {
        let mut bytes = frame(Kind::Call.number(), 0, 1, b"");
        bytes[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        bytes
    };
    let descriptors = {
        let mut bytes = call(1, "names", &());
        bytes[7] = 3;
        bytes
    };
    let second = [call(5, "names", &()), call(5, "names", &())].concat();
    let broken: Vec<(&str, Vec<u8>)> = vec![
        ("a frame beyond the limit", too_long),
        ("a frame of four gigabytes", endless),
        ("an unknown kind", frame(0x7f, 0, 1, b"")),
        ("an unknown flag", frame(Kind::Call.number(), 0x80, 1, b"")),
        ("a call without a head", frame(Kind::Call.number(), 0, 1, b"short")),
        ("an id used twice", second),
        ("an answer to nothing", frame(Kind::Result.number(), 0, 1, b"\x01\xc0")),
        ("a cancel of nothing", frame(Kind::Cancel.number(), 0, 9, b"")),
        ("a release of nothing", frame(Kind::Release.number(), 0, 9, &1u64.to_be_bytes())),
        ("a release of the root", frame(Kind::Release.number(), 0, 0, &1u64.to_be_bytes())),
        ("a second hello", frame(Kind::Hello.number(), 0, 0, b"\x80")),
        ("descriptors that do not come", descriptors),
    ];
    for (what, bytes) in broken {
        let mut stream = session(&home);
        stream.write_all(&bytes).unwrap();
        let mut last = next_frame(&mut stream);
        while last.0.kind != Kind::Goodbye {
            last = next_frame(&mut stream); // the answer to what was right before
        }
        let reason = Reason::from_number(u16::from_be_bytes([last.1[0], last.1[1]]));
        assert_eq!(reason, Reason::Protocol, "{what}");
        assert!(last.1.len() > 10, "{what}: the goodbye says what was wrong");
        assert_eq!(read_to_end(&mut stream), b"", "{what}");
        serves_on(&home);
    }
}

#[test]
fn calls_that_make_no_sense_are_answered_and_the_session_goes_on() {
    let home = Home::new();
    let _daemon = home.serve();
    let deep = (0..99).fold(Value::Nil, |inner, _| Value::Array(vec![inner]));
    let mut too_deep = call(4, "lookup", &());
    too_deep.extend([0x91; 5000]);
    let length = (too_deep.len() - wire::HEADER_LEN) as u32;
    too_deep[..4].copy_from_slice(&length.to_be_bytes());
    let calls = [
        (call(1, "nothing", &()), ErrorKind::NoMethod),
        (call(2, "lookup", &(5,)), ErrorKind::BadArguments),
        (call(3, "lookup", &("store", deep)), ErrorKind::BadArguments),
        (too_deep, ErrorKind::BadArguments),
        (call(5, "lookup", &("nobody",)), ErrorKind::NoObject),
        (call(6, "register", &("x", 5)), ErrorKind::BadArguments),
        (call(7, "unregister", &("store",)), ErrorKind::NoObject),
    ];
    let mut stream = session(&home);
    for (bytes, expected) in calls {
        stream.write_all(&bytes).unwrap();
        let (header, payload) = next_frame(&mut stream);
        let kind = ErrorKind::from_number(u16::from_be_bytes([payload[0], payload[1]]));
        assert_eq!((header.kind, kind), (Kind::Error, expected), "{}", String::from_utf8_lossy(&payload));
    }
    stream.write_all(&call(8, "names", &())).unwrap();
    let (header, payload) = next_frame(&mut stream);
    assert_eq!((header.kind, &payload[..]), (Kind::Result, &b"\x01\x91\xa5store"[..]));
}

#[test]
fn a_client_that_floods_and_never_reads_costs_bounded_memory_and_holds_up_nobody() {
    let home = Home::new();
    let daemon = home.serve();
    serves_on(&home);
    home.hub().store().set_bytes("big", &[7; 100_000], 3).unwrap();
    let before = daemon.memory();

    let mut flooder = session(&home);
    flooder.write_all(&call(1, "lookup", &("store",))).unwrap();
    let (header, _) = next_frame(&mut flooder);
    assert_eq!(header.kind, Kind::Result);
    // Each answer is a hundred kilobytes: a gigabyte in all.
    flooder.set_nonblocking(true).unwrap();
    let (mut id, mut stuck) = (2, 0);
    let mut rest: Vec<u8> = Vec::new();
    while id < 10_000 && stuck < 200 {
        if rest.is_empty() {
            let mut bytes = call(id, "get", &("big",));
            bytes[16..24].copy_from_slice(&1u64.to_be_bytes()); // the store
            rest = bytes;
            id += 1;
        }
        match flooder.write(&rest) {
            Ok(written) => {
                rest.drain(..written);
                stuck = 0;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                stuck += 1;
                serves_on(&home);
            }
            Err(_) => break, // it was hung up on, which is as good
        }
    }
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 300 << 20, "the daemon has grown by {} MiB", grown >> 20);
    serves_on(&home);
}

#[test]
fn a_client_that_announces_much_and_sends_little_costs_little() {
    let home = Home::new();
    let daemon = home.serve();
    serves_on(&home);
    let before = daemon.memory();
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut stream = session(&home);
        // A body of almost a gigabyte, of which the first byte comes.
        let mut payload = vec![0; 24];
        payload.extend([1, 5]);
        payload.extend(b"names");
        payload.extend(1u64.to_be_bytes());
        payload.extend((1_000_000_000_u64).to_be_bytes());
        payload.push(0x90);
        stream.write_all(&frame(Kind::Call.number(), wire::flags::LONG, 1, &payload)).unwrap();
        silent.push(stream);
    }
    serves_on(&home);
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 100 << 20, "the daemon has grown by {} MiB", grown >> 20);
}

#[test]
fn without_descriptors_the_daemon_waits_and_does_not_spin() {
    let home = Home::new();
    let program = env!("CARGO_BIN_EXE_andiron");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n 24; exec '{program}' serve")]);
    home.settle(&mut command);
    let mut daemon = Process::start(command);
    daemon.wait_for("listening at ");

    let first = home.hub();
    let mut clients: Vec<UnixStream> = (0..30).map(|_| home.stream()).collect();
    daemon.wait_for("no descriptors");
    let (ticks, begun) = (daemon.ticks(), Instant::now());
    daemon.wait_for("no descriptors");
    daemon.wait_for("no descriptors");
    let (used, passed) = ((daemon.ticks() - ticks) * 10, begun.elapsed().as_millis() as u64);
    assert!(used * 4 < passed, "{used} ms of processor time in {passed} ms of waiting");
    first.store().set("x", &20).unwrap();

    // Those who wait in the queue are served when others leave.
    let mut last = clients.pop().unwrap();
    drop(clients);
    last.set_read_timeout(Some(LONG)).unwrap();
    last.write_all(&greeting()).unwrap();
    last.read_exact(&mut [0; wire::PREFACE_LEN]).unwrap();
    assert_eq!(next_frame(&mut last).0.kind, Kind::Hello);
    assert_eq!(first.store().get("x").unwrap(), Some(20));
    serves_on(&home);
}

#[test]
fn hundreds_of_clients_at_once_are_served() {
    let home = Home::new();
    let _daemon = home.serve();
    let hubs: Vec<Hub> = (0..300).map(|_| home.hub()).collect();
    for (number, hub) in hubs.iter().enumerate() {
        hub.store().set(&format!("n{number}"), &number).unwrap();
    }
    for (number, hub) in hubs.iter().enumerate().rev() {
        assert_eq!(hub.store().get(&format!("n{}", 299 - number)).unwrap(), Some(299 - number));
    }
}

/// Panics and gives nonsense.
struct Rude;

#[andiron::expose]
impl Rude {
    fn end(&self) {
        std::process::abort();
    }
}

/// Not a test of its own: the process of a provider.
#[test]
fn provider() {
    let Some(name) = role() else { return };
    let hub = andiron::connect().unwrap();
    hub.register(&name, Rude).unwrap();
    say("ready");
    let _ = hub.run();
}

#[test]
fn a_provider_that_dies_of_a_call_takes_nobody_with_it() {
    let home = Home::new();
    let _daemon = home.serve();
    for _ in 0..5 {
        let _provider = home.play("provider", "rude");
        let failed = home.run(&["call", "rude", "end"]);
        assert!(failed.failed(1).contains("lost"), "{failed:?}");
        home.run(&["call", "rude", "end"]).failed(3);
        serves_on(&home);
    }
}
