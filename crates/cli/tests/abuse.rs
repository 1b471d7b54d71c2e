//! Peers that misbehave: each is put out or put up with, and the daemon serves on.

#[path = "common/by_hand.rs"]
mod by_hand;
mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

use andiron::{ErrorKind, Hub, Value};
use andiron_proto::wire::{self, Kind, Reason};
use by_hand::{Site, Stream, WAYS, Way, call, call_of, frame, last_words};
use common::{Home, LONG, Process, is_other, role, say, server};

#[test]
fn what_does_not_speak_the_protocol_is_hung_up_on_without_a_word() {
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
    for way in WAYS {
        let site = Site::new(way);
        for opening in &openings {
            let mut stream = site.stream();
            // It may hang up while this is still being written.
            let _ = stream.write_all(opening);
            assert_eq!(last_words(&mut stream), b"", "{way:?}: {:x?}", &opening[..12]);
        }
        site.serves_on();
    }
}

#[test]
fn another_version_is_told_which_one_is_spoken_here() {
    for way in WAYS {
        let site = Site::new(way);
        let mut stream = site.stream();
        stream.write_all(&wire::preface(&(7..=9))).unwrap();
        assert_eq!(last_words(&mut stream), wire::preface(&wire::VERSIONS), "{way:?}");
        site.serves_on();
    }
}

/// So many descriptors does the daemon have open.
fn open_at(site: &Site) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", site.daemon.id())).unwrap().count()
}

/// Waits until it has no more open than this.
#[track_caller]
fn all_are_gone(site: &Site, before: usize) {
    common::until("the end of all connections", || (open_at(site) <= before + 1).then_some(()));
    site.serves_on();
}

#[test]
fn connections_that_end_early_are_forgotten() {
    for way in WAYS {
        let site = Site::new(way);
        site.serves_on();
        let before = open_at(&site);
        for end in 0.. {
            let mut stream = site.stream();
            let greeting = site.greeting(&stream);
            if end > greeting.len() {
                break;
            }
            stream.write_all(&greeting[..end]).unwrap();
        }
        let half_a_call = call(1, "lookup", &("store",));
        for end in 0..half_a_call.len() {
            site.session().write_all(&half_a_call[..end]).unwrap();
        }
        all_are_gone(&site, before);
    }
}

#[test]
fn connections_that_are_reset_in_the_middle_of_everything_are_forgotten() {
    for way in WAYS {
        let site = Site::new(way);
        site.home.hub().store().set_bytes("big", &[7; 1_000_000], 3).unwrap();
        let before = open_at(&site);
        let get = |id| call_of(1, id, "get", &("big",));
        for end in 0..get(3).len() {
            // In the middle of a call, with long answers under way and one of the two read.
            let mut stream = site.session();
            stream.write_all(&call(1, "lookup", &("store",))).unwrap();
            stream.next_frame();
            stream.write_all(&get(2)).unwrap();
            stream.write_all(&get(3)[..end]).unwrap();
            stream.reset();
        }
        if way != Way::Unix {
            for end in 0..site.greeting(&site.stream()).len() {
                let mut stream = site.bare_stream();
                let _ = stream.write_all(&vec![0x16; end + 12]); // in the middle of a handshake, or what looks like one
                let _ = stream.peek(&mut [0]);
            }
        }
        all_are_gone(&site, before);
    }
}

#[test]
fn who_breaks_the_rules_is_told_which_and_hung_up_on() {
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
    for way in WAYS {
        let site = Site::new(way);
        for (what, bytes) in &broken {
            let mut stream = site.session();
            stream.write_all(bytes).unwrap();
            let mut last = stream.next_frame();
            while last.0.kind != Kind::Goodbye {
                last = stream.next_frame(); // the answer to what was right before
            }
            let reason = Reason::from_number(u16::from_be_bytes([last.1[0], last.1[1]]));
            assert_eq!(reason, Reason::Protocol, "{way:?}: {what}");
            assert!(last.1.len() > 10, "{way:?}: {what}: the goodbye says what was wrong");
            assert_eq!(last_words(&mut stream), b"", "{way:?}: {what}");
            site.serves_on();
        }
    }
}

#[test]
fn calls_that_make_no_sense_are_answered_and_the_session_goes_on() {
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
    for way in WAYS {
        let site = Site::new(way);
        let mut stream = site.session();
        for (bytes, expected) in &calls {
            stream.write_all(bytes).unwrap();
            let (header, payload) = stream.next_frame();
            let kind = ErrorKind::from_number(u16::from_be_bytes([payload[0], payload[1]]));
            let text = String::from_utf8_lossy(&payload);
            assert_eq!((header.kind, kind), (Kind::Error, *expected), "{way:?}: {text}");
        }
        stream.write_all(&call(8, "names", &())).unwrap();
        let (header, payload) = stream.next_frame();
        assert_eq!((header.kind, &payload[..]), (Kind::Result, &b"\x01\x91\xa5store"[..]));
    }
}

#[test]
fn a_client_that_floods_and_never_reads_costs_bounded_memory_and_holds_up_nobody() {
    for way in WAYS {
        let site = Site::new(way);
        site.hub().store().set_bytes("big", &[7; 100_000], 3).unwrap();
        let before = site.daemon.memory();

        let mut flooder = site.session();
        flooder.write_all(&call(1, "lookup", &("store",))).unwrap();
        assert_eq!(flooder.next_frame().0.kind, Kind::Result);
        // Each answer is a hundred kilobytes. It goes on until it is not listened to any more, or hung up on, which is as good.
        flooder.set_nonblocking();
        let (mut id, mut stuck) = (2, 0);
        let mut rest: Vec<u8> = Vec::new();
        while stuck < 100 {
            if rest.is_empty() {
                rest.extend((id..id + 100).flat_map(|id| call_of(1, id, "get", &("big",))));
                id += 100;
                assert!(id < 10_000_000, "{way:?}: all of it is taken");
            }
            match flooder.write(&rest) {
                Ok(written) => {
                    rest.drain(..written);
                    stuck = 0;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    stuck += 1;
                    site.serves_on();
                }
                Err(_) => break,
            }
        }
        costs_at_most(100, &site, before);
    }
}

/// The daemon has grown by no more than so many MiB, and serves on.
#[track_caller]
fn costs_at_most(most: u64, site: &Site, before: u64) {
    site.serves_on();
    let grown = site.daemon.memory().saturating_sub(before) >> 20;
    assert!(grown < most, "the daemon has grown by {grown} MiB");
}

#[test]
fn a_client_that_announces_much_and_sends_little_costs_little() {
    for way in WAYS {
        let site = Site::new(way);
        site.serves_on();
        let before = site.daemon.memory();
        let mut silent = Vec::new();
        for _ in 0..50 {
            let mut stream = site.session();
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
        costs_at_most(100, &site, before);
    }
}

#[test]
fn a_flood_of_connections_without_a_handshake_costs_little_and_holds_up_nobody() {
    andiron_sys::limits::raise_descriptor_limit();
    for way in [Way::Tcp, Way::Tls] {
        let site = Site::new(way);
        let client = site.hub();
        site.serves_on();
        let before = site.daemon.memory();
        // The longest record that TLS has, most of it: it is kept until it is there or its time is over. Without TLS it is nonsense.
        let mut record = vec![0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3];
        record.resize(16_000, 7);
        let greeting = site.greeting(&site.stream());
        let says: [&[u8]; 4] = [b"", &record[..3], &record, &greeting[..greeting.len() / 2]];
        let mut flood = Vec::new();
        for number in 0..6000 {
            let mut stream = site.bare_stream();
            let _ = stream.write_all(says[number % says.len()]); // it may have been crowded out already
            flood.push(stream);
            if number % 1000 == 0 {
                site.serves_on();
            }
        }
        // Of those that wait there are a thousand; what each costs is for the language to say.
        costs_at_most(if is_other() { 250 } else { 50 }, &site, before);
        assert_eq!(client.store().get("alive").unwrap(), Some(1), "who was there before has noticed nothing");
    }
}

#[test]
fn without_descriptors_the_daemon_waits_and_does_not_spin() {
    let home = Home::new();
    let program = server().into_string().unwrap();
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
    last.write_all(&wire::preface(&wire::VERSIONS)).unwrap();
    last.write_all(&frame(Kind::Hello.number(), 0, 0, b"\x80")).unwrap();
    last.read_exact(&mut [0; wire::PREFACE_LEN]).unwrap();
    assert_eq!(Stream::Unix(last).next_frame().0.kind, Kind::Hello);
    assert_eq!(first.store().get("x").unwrap(), Some(20));
}

#[test]
fn hundreds_of_clients_at_once_are_served() {
    for way in WAYS {
        let site = Site::new(way);
        let hubs: Vec<Hub> = (0..300).map(|_| site.hub()).collect();
        for (number, hub) in hubs.iter().enumerate() {
            hub.store().set(&format!("n{number}"), &number).unwrap();
        }
        for (number, hub) in hubs.iter().enumerate().rev() {
            assert_eq!(hub.store().get(&format!("n{}", 299 - number)).unwrap(), Some(299 - number));
        }
    }
}

/// Ends its process in the middle of a call.
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
        home.run(&["ls"]).printed();
    }
}
