//! Peers that break the rules, byte by byte. After each the server serves on, and nothing of the peer is left.

mod common;

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use andiron::{ErrorKind, Hosting, Hub, Limits, Proxy};
use andiron_proto::wire::{Header, Kind, codecs};
use andiron_proto::{CallRequest, Config, Event, Failure, Outgoing, Payload, Ref, Role, Session, codec};
use common::{Echo, PATIENCE, Site, alone, eventually, fun, in_time, next, open_descriptors, run};

struct Scene {
    site: Site,
    good: Hub,
    before: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    fn new() -> Scene {
        Scene::hosted(Hosting::default())
    }

    fn hosted(hosting: Hosting) -> Scene {
        let alone = alone();
        let site = Site::hosted(hosting, |server| {
            server.object("echo", Echo)?.object("fun", fun(|number, _| Ok(number)))
        });
        Scene::at(site, alone)
    }

    fn at(site: Site, alone: MutexGuard<'static, ()>) -> Scene {
        let good = site.hub();
        good.names().unwrap();
        Scene { site, good, before: open_descriptors(), _alone: alone }
    }

    fn stranger(&self) -> UnixStream {
        let stream = UnixStream::connect(self.site.folder.path().join("s")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn peer(&self) -> Peer {
        self.peer_with(Config::default())
    }

    fn peer_with(&self, config: Config) -> Peer {
        let session = Session::new(Role::Initiator, config, Instant::now());
        let mut peer = Peer { stream: self.stranger(), session };
        while !peer.session.is_open() {
            peer.send();
            assert!(peer.receive(), "the handshake failed");
        }
        while peer.session.poll_event().is_some() {}
        peer
    }

    /// Others are served, over old connections and new ones.
    fn serves(&self) {
        for hub in [self.good.clone(), self.site.hub()] {
            in_time(move || {
                let echo: Proxy = hub.object("echo").unwrap();
                assert_eq!(echo.call::<String>("text", &("hello",)).unwrap(), "hello");
            });
        }
    }

    /// The hostile ones are gone: nothing of them is left.
    fn is_clean(&self) {
        self.serves();
        eventually("their descriptors are closed", || open_descriptors() == self.before);
    }
}

/// Speaks the protocol, as far as the test wants.
struct Peer {
    stream: UnixStream,
    session: Session,
}

impl Peer {
    fn send(&mut self) {
        while let Some(transmit) = self.session.poll_transmit() {
            let bytes: Vec<u8> = transmit.slices().iter().flat_map(|slice| slice.to_vec()).collect();
            self.stream.write_all(&bytes).unwrap();
            self.session.transmitted(bytes.len());
        }
    }

    /// Reads once; false at the end of the stream.
    fn receive(&mut self) -> bool {
        let mut buffer = vec![0; 1 << 16];
        let count = match self.stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        };
        if count > 0 {
            self.session.receive(Instant::now(), &buffer[..count], Vec::new(), false);
        }
        count > 0
    }

    fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.session.poll_event() {
                return event;
            }
            self.send();
            assert!(self.receive(), "the connection was closed");
        }
    }

    fn call(&mut self, target: u64, method: &str, body: &[u8]) -> u64 {
        let arguments = Outgoing::native(body);
        let request = CallRequest { target, method, arguments, ..CallRequest::default() };
        let id = self.session.call(Instant::now(), request).unwrap();
        self.send();
        id
    }

    fn answer(&mut self, call: u64) -> Result<Payload, Failure> {
        loop {
            if let Event::Answer { id, outcome } = self.event()
                && id == call
            {
                return outcome;
            }
        }
    }

    /// The number of a named object.
    fn look_up(&mut self, name: &str) -> u64 {
        let call = self.call(0, "lookup", &args(&(name,)));
        match self.answer(call).unwrap().refs[..] {
            [Ref::Remote(id)] => id,
            ref other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn write_with(&mut self, bytes: &[u8], descriptors: usize) {
        let open: Vec<OwnedFd> =
            (0..descriptors).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
        let fds: Vec<_> = open.iter().map(AsFd::as_fd).collect();
        assert_eq!(
            andiron_sys::socket::send(&self.stream, &[IoSlice::new(bytes)], &fds).unwrap(),
            bytes.len()
        );
    }

    /// Reads on until the server closes, and gives its reason.
    fn thrown_out(mut self) -> Failure {
        while self.receive() {}
        loop {
            match self.session.poll_event() {
                Some(Event::Closed(failure)) => return failure,
                Some(_) => {}
                None => panic!("closed without a word"),
            }
        }
    }
}

fn args(args: &impl serde::Serialize) -> Vec<u8> {
    let mut body = Vec::new();
    codec::encode_args(args, &mut body).unwrap();
    body
}

fn frame(kind: u8, flags: u8, attachments: u16, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, flags, attachments, id, payload.len() as u32);
    bytes.extend_from_slice(payload);
    bytes
}

fn header(kind: u8, flags: u8, attachments: u16, id: u64, length: u32) -> Vec<u8> {
    let mut bytes = Header { length, kind: Kind::Ping, flags, attachments, id }.to_bytes().to_vec();
    bytes[4] = kind;
    bytes
}

fn call_payload(target: u64, method: &str, body: &[u8]) -> Vec<u8> {
    let mut payload = target.to_be_bytes().to_vec();
    payload.extend_from_slice(&[0; 16]); // no chain, no time limit
    payload.extend_from_slice(&[codecs::NATIVE, method.len() as u8]);
    payload.extend_from_slice(method.as_bytes());
    payload.extend_from_slice(body);
    payload
}

const CALL: u8 = 0x10;

#[test]
fn no_body_at_all_is_no_arguments_and_other_codecs_are_refused() {
    let scene = Scene::new();
    let mut peer = scene.peer();
    for (codec, body, refused) in [
        (codecs::NONE, &b""[..], None),
        (codecs::NONE, b"x", Some(ErrorKind::Unsupported)),
        (codecs::JSON, b"[]", Some(ErrorKind::Unsupported)),
    ] {
        let arguments = Outgoing { codec, ..Outgoing::native(body) };
        let request = CallRequest { target: 0, method: "names", arguments, ..CallRequest::default() };
        let call = peer.session.call(Instant::now(), request).unwrap();
        peer.send();
        assert_eq!(peer.answer(call).err().map(|failure| failure.kind), refused);
    }
    drop(peer);
    scene.is_clean();
}

#[test]
fn garbage_instead_of_a_preface_is_cut_off() {
    let scene = Scene::new();
    for garbage in
        [&b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"[..], &[0; 100], &[0xad; 12], b"\xadIRON\r\n\x1a\0\0\0\0"]
    {
        let mut stream = scene.stranger();
        stream.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(
            ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
    scene.is_clean();
}

#[test]
fn strangers_who_fall_silent_in_the_handshake_hold_up_nobody() {
    let scene = Scene::new();
    let preface = andiron_proto::wire::preface(&andiron_proto::wire::VERSIONS);
    let silent: Vec<_> = (0..60)
        .map(|length| {
            let mut stream = scene.stranger();
            stream.write_all(&preface[..length % 13]).unwrap();
            stream
        })
        .collect();
    scene.serves();
    drop(silent);
    scene.is_clean();
}

#[test]
fn frames_that_break_the_rules_end_their_session_with_a_reason() {
    let scene = Scene::new();
    let hopeless: [(&str, Vec<u8>); 9] = [
        ("longer than the limit", header(CALL, 0, 0, 1, (256 << 10) + 1)),
        ("as long as can be said", header(CALL, 0, 0, 1, u32::MAX)),
        ("of an unknown kind", frame(0x7f, 0, 0, 1, b"")),
        ("with unknown flags", frame(CALL, 0x80, 0, 1, &call_payload(0, "names", &[0x90]))),
        ("shorter than its fields", frame(CALL, 0, 0, 1, b"short")),
        ("a second hello", frame(0x01, 0, 0, 0, &[0x80])),
        ("an answer to a call never made", frame(0x12, 0, 0, 77, &[codecs::NATIVE, 0xc0])),
        ("a release of what was never shown", frame(0x40, 0, 0, 5, &1u64.to_be_bytes())),
        ("a chunk of no body", frame(0x30, 0, 0, 9, b"abc")),
    ];
    for (what, bytes) in hopeless {
        let mut peer = scene.peer();
        peer.write(&bytes);
        let failure = peer.thrown_out();
        assert_eq!(failure.kind, ErrorKind::Protocol, "{what}: {failure:?}");
    }
    scene.is_clean();
}

#[test]
fn peers_that_die_in_the_middle_leave_nothing() {
    let scene = Scene::new();
    let whole = frame(CALL, 0, 0, 1, &call_payload(0, "lookup", &args(&("echo",))));
    for length in 0..=whole.len() {
        let mut peer = scene.peer();
        peer.write(&whole[..length]);
    }
    // In the middle of a long body.
    let mut peer = scene.peer();
    let echo = peer.look_up("echo");
    let body = args(&("x".repeat(4 << 20),));
    let request = CallRequest {
        target: echo,
        method: "text",
        arguments: Outgoing::native(&body),
        ..CallRequest::default()
    };
    peer.session.call(Instant::now(), request).unwrap();
    peer.send();
    drop(peer);
    scene.is_clean();
}

#[test]
fn descriptors_nobody_asked_for_are_closed() {
    let scene = Scene::new();
    // Announced, so they belong to the call; its method does not want them.
    let mut peer = scene.peer();
    let call = peer.call(0, "names", &[0x90]);
    peer.answer(call).unwrap();
    peer.write_with(&frame(CALL, 0, 3, 2, &call_payload(0, "names", &[0x90])), 3);
    assert!(peer.receive());
    // Not announced.
    peer.write_with(&frame(CALL, 0, 0, 3, &call_payload(0, "names", &[0x90])), 2);
    while peer.receive() {}
    drop(peer);
    // Announced and not there.
    let mut peer = scene.peer();
    peer.write(&frame(CALL, 0, 2, 1, &call_payload(0, "names", &[0x90])));
    while peer.receive() {}
    drop(peer);
    // Half a frame, and then a descriptor.
    let mut peer = scene.peer();
    let bytes = frame(CALL, 0, 0, 1, &call_payload(0, "names", &[0x90]));
    peer.write(&bytes[..20]);
    peer.write_with(&bytes[20..], 1);
    while peer.receive() {}
    drop(peer);
    // As soon as one speaks at all.
    let mut peer = Peer {
        stream: scene.stranger(),
        session: Session::new(Role::Initiator, Config::default(), Instant::now()),
    };
    peer.write_with(b"\xad", 60);
    drop(peer);
    scene.is_clean();
}

/// A text of the length asked for; counts how often it was asked.
struct Texts(Arc<AtomicUsize>);

#[andiron::expose]
impl Texts {
    fn make(&self, length: usize) -> String {
        self.0.fetch_add(1, Ordering::SeqCst);
        "x".repeat(length)
    }
}

#[test]
fn a_peer_that_does_not_read_stops_its_own_calls_only_and_gets_all_answers_in_the_end() {
    const CALLS: usize = 900;
    const LENGTH: usize = 200_000;
    for name in ["texts", "inline"] {
        let alone = alone();
        let asked = Arc::new(AtomicUsize::new(0));
        let site = Site::new(|server| {
            let server = server.object("echo", Echo)?.object("texts", Texts(asked.clone()))?;
            server.inline_object("inline", Texts(asked.clone()))
        });
        let scene = Scene::at(site, alone);
        let mut peer = scene.peer();
        let texts = peer.look_up(name);
        let body = args(&(LENGTH,));
        let request = || CallRequest {
            target: texts,
            method: "make",
            arguments: Outgoing::native(&body),
            ..CallRequest::default()
        };
        for _ in 0..CALLS {
            peer.session.call(Instant::now(), request()).unwrap();
        }
        peer.send();
        eventually("it is served as long as it may", || asked.load(Ordering::SeqCst) * LENGTH > 8 << 20);
        for _ in 0..20 {
            scene.serves();
        }
        let asked = asked.load(Ordering::SeqCst);
        assert!(asked * LENGTH < 40 << 20, "{name}: {asked} answers wait");
        let mut answers = 0;
        while answers < CALLS {
            if let Event::Answer { outcome, .. } = peer.event() {
                assert!(outcome.unwrap().body.len() > LENGTH);
                answers += 1;
            }
        }
        drop(peer);
        scene.is_clean();
    }
}

#[test]
fn a_peer_that_dies_with_answers_unread_leaves_nothing() {
    let scene = Scene::new();
    let mut peer = scene.peer();
    let echo = peer.look_up("echo");
    for _ in 0..100 {
        peer.call(echo, "make", &args(&(1_000_000,)));
    }
    assert!(peer.receive());
    drop(peer);
    scene.is_clean();
}

#[test]
fn calls_beyond_the_limit_are_refused_and_others_served() {
    let alone = alone();
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let hosting = Hosting { limits: Limits { calls: 16, ..Limits::default() }, ..Hosting::default() };
    let site = Site::hosted(hosting, |server| {
        server.object("echo", Echo)?.object(
            "slow",
            fun(move |number, _| {
                entered.send(()).unwrap();
                let _ = wait_release.lock().unwrap().recv();
                Ok(number)
            }),
        )
    });
    let scene = Scene::at(site, alone);
    let mut peer = scene.peer();
    let slow = peer.look_up("slow");
    // By hand: a session would hold back what is too much.
    let payload = call_payload(slow, "run", &args(&(1, [(); 0])));
    let many: Vec<u8> = (2..1002).flat_map(|id| frame(CALL, 0, 0, id, &payload)).collect();
    peer.write(&many);
    let mut stream = peer.stream.try_clone().unwrap();
    let mut refused = 0;
    while refused < 1000 - 16 {
        let mut start = [0; 16];
        stream.read_exact(&mut start).unwrap();
        let mut rest = vec![0; u32::from_be_bytes(start[..4].try_into().unwrap()) as usize];
        stream.read_exact(&mut rest).unwrap();
        assert_eq!((start[4], &rest[..2]), (0x13, &ErrorKind::Overloaded.number().to_be_bytes()[..]));
        refused += 1;
    }
    scene.serves();
    drop(release);
    (0..16).for_each(|_| next(&wait_entered));
    drop((peer, stream));
    scene.is_clean();
}

#[test]
fn cancels_of_what_is_done_and_second_releases_are_judged_rightly() {
    let scene = Scene::new();
    let mut peer = scene.peer();
    let fun = peer.look_up("fun");
    let call = peer.call(fun, "run", &args(&(4, [(); 0])));
    peer.answer(call).unwrap();
    for _ in 0..3 {
        peer.write(&frame(0x14, 0, 0, call, b"")); // late, not wrong
    }
    let call = peer.call(fun, "run", &args(&(5, [(); 0])));
    assert_eq!(codec::from_slice::<i64>(&peer.answer(call).unwrap().body).unwrap(), 5);
    peer.write(&frame(0x40, 0, 0, fun, &1u64.to_be_bytes()));
    let call = peer.call(fun, "run", &args(&(6, [(); 0])));
    assert_eq!(peer.answer(call).unwrap_err().kind, ErrorKind::NoObject, "a call after the release");
    peer.write(&frame(0x40, 0, 0, fun, &1u64.to_be_bytes()));
    assert_eq!(peer.thrown_out().kind, ErrorKind::Protocol);
    scene.is_clean();
}

#[test]
fn hopeless_arguments_and_hidden_methods_are_answered_with_errors() {
    let scene = Scene::new();
    let mut peer = scene.peer();
    let echo = peer.look_up("echo");
    let deep = |count: usize| [vec![0x91; count], vec![0xc0]].concat();
    let cases: [(&str, Vec<u8>, ErrorKind); 11] = [
        ("text", deep(10_000), ErrorKind::BadArguments),
        ("text", vec![0x91, 0xdd, 0xff, 0xff, 0xff, 0xff], ErrorKind::BadArguments),
        ("text", vec![0x91, 0xdb, 0xff, 0xff, 0xff, 0xff], ErrorKind::BadArguments),
        ("text", vec![], ErrorKind::BadArguments),
        ("text", vec![0xc1], ErrorKind::BadArguments),
        ("text", args(&(5,)), ErrorKind::BadArguments),
        ("text", args(&("a", "b")), ErrorKind::BadArguments),
        ("text", args(&[(); 0]), ErrorKind::BadArguments),
        ("_text", args(&("a",)), ErrorKind::NoMethod),
        ("$x", args(&[(); 0]), ErrorKind::NoMethod),
        ("no such", args(&[(); 0]), ErrorKind::NoMethod),
    ];
    for (method, body, kind) in cases {
        let call = peer.call(echo, method, &body);
        let failure = peer.answer(call).unwrap_err();
        assert_eq!(failure.kind, kind, "{method}: {failure:?}");
    }
    for target in [0, 4711] {
        let call = peer.call(target, "_hidden", &[0x90]);
        let kind = if target == 0 { ErrorKind::NoMethod } else { ErrorKind::NoObject };
        assert_eq!(peer.answer(call).unwrap_err().kind, kind);
    }
    // A reference that the message does not have.
    let call = peer.call(echo, "proxy", &args(&(codec::Ref(7),)));
    assert_eq!(peer.answer(call).unwrap_err().kind, ErrorKind::BadArguments);
    let call = peer.call(echo, "text", &args(&("still here",)));
    peer.answer(call).unwrap();
    drop(peer);
    scene.is_clean();
}

#[test]
fn one_way_calls_to_a_provider_that_does_not_read_are_refused_before_they_fill_the_daemon() {
    let alone = alone();
    let site =
        Site::hosted(Hosting { names: true, ..Hosting::default() }, |server| server.object("echo", Echo));
    let scene = Scene::at(site, alone);
    let mut peer = scene.peer();
    let shown = peer.session.show().unwrap();
    let body = args(&("stalled", codec::Ref(0)));
    let arguments = Outgoing { refs: vec![Ref::Local(shown)], ..Outgoing::native(&body) };
    let request = CallRequest { method: "register", arguments, ..CallRequest::default() };
    let call = peer.session.call(Instant::now(), request).unwrap();
    peer.send();
    peer.answer(call).unwrap();
    let hub = scene.site.hub();
    let stalled: Proxy = hub.object("stalled").unwrap();
    let text = "x".repeat(100_000);
    let error = in_time(move || {
        loop {
            stalled.notify("hear", &(&text,)).unwrap();
            hub.names().unwrap(); // what was refused before is known now
            if let Some(error) = hub.take_notify_error() {
                break error;
            }
        }
    });
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    drop(peer);
    scene.is_clean();
}

#[test]
fn a_hostile_client_cannot_fill_a_servers_stack() {
    // It answers each callback with another call of the same chain.
    let alone = alone();
    let site = Site::new(|server| {
        server.object("echo", Echo)?.object("caller", fun(|_, others| run(&others[0], 0, &[])))
    });
    let scene = Scene::at(site, alone);
    let mut peer = scene.peer();
    let caller = peer.look_up("caller");
    let shown = peer.session.show().unwrap();
    let body = args(&(0, [codec::Ref(0)]));
    let again = |peer: &mut Peer| {
        let arguments = Outgoing { refs: vec![Ref::Local(shown)], ..Outgoing::native(&body) };
        let request =
            CallRequest { target: caller, method: "run", chain: 99, arguments, ..CallRequest::default() };
        peer.session.call(Instant::now(), request).unwrap();
        peer.send();
    };
    again(&mut peer);
    let mut depth = 0;
    let refused = loop {
        match peer.event() {
            Event::Call(_) => {
                depth += 1;
                assert!(depth < 100_000);
                again(&mut peer);
            }
            Event::Answer { outcome, .. } => break outcome.unwrap_err(),
            _ => {}
        }
    };
    assert_eq!(refused.kind, ErrorKind::Overloaded, "{refused:?}");
    drop(peer);
    scene.is_clean();
}

#[test]
fn a_session_that_says_goodbye_and_stays_is_closed() {
    let scene = Scene::new();
    let mut peer = scene.peer();
    peer.session.leave();
    peer.send();
    while peer.receive() {}
    drop(peer);
    scene.is_clean();
}
