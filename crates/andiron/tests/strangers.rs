//! Whoever can reach the port: those who say nothing, or too slowly, hold nobody up and cost little; and where a server listens.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use andiron::{Connector, ErrorKind, Hosting, Hub, Result, Secret, Security, Server};
use andiron_proto::{Event, Role};
use common::net::{Talk, by_key, connect, connect_tls, last_words, place};
use common::{Echo, PATIENCE, Site, alone, eventually, in_time, open_descriptors};

fn echo(server: Server) -> Result<Server> {
    server.object("echo", Echo)
}

fn is_served(hub: &Hub) {
    assert_eq!(hub.call::<String>("echo", "text", &("hello",)).unwrap(), "hello");
}

fn secret() -> Security {
    Security::default().secret(Secret::new().unwrap())
}

/// A server whose handshakes may take this long.
fn patient(transport: &str, handshake: Duration) -> Site {
    Site::at(transport, Hosting { handshake: Some(handshake), ..Hosting::default() }, echo)
}

#[test]
fn a_handshake_that_does_not_end_is_ended_and_holds_nobody_up() {
    let _alone = alone();
    in_time(|| {
        for transport in ["tcp", "tls"] {
            let site = patient(transport, Duration::from_millis(300));
            let mut silent = connect(&site.address);
            let mut half = connect(&site.address);
            half.write_all(&[0x16, 3, 1, 0x40, 0]).unwrap(); // a record of 16 KiB is to follow; or, without TLS, nonsense
            is_served(&site.hub());
            last_words(&mut silent);
            last_words(&mut half);
            is_served(&site.hub());
        }
    });
}

#[test]
fn a_tls_handshake_of_one_byte_at_a_time_is_ended_as_well() {
    let _alone = alone();
    in_time(|| {
        let site = patient("tls", Duration::from_millis(300));
        // The head of a long record of a handshake, and then its content: at this pace it would take minutes.
        let mut said = vec![0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3];
        said.resize(16_000, 7);
        drips(&mut connect(&site.address), &said, |stream| stream);
        is_served(&site.hub());
    });
}

#[test]
fn a_handshake_of_one_byte_at_a_time_behind_that_of_tls_is_ended_as_well() {
    let _alone = alone();
    in_time(|| {
        for transport in ["tcp", "tls"] {
            let site = patient(transport, Duration::from_millis(300));
            // The right words, at a pace at which they would take seconds.
            let mut said = andiron_proto::wire::preface(&andiron_proto::wire::VERSIONS).to_vec();
            said.extend([0, 0, 1, 0, 1, 0, 0, 0]);
            said.resize(280, 0);
            if transport == "tcp" {
                drips(&mut connect(&site.address), &said, |stream| stream);
            } else {
                drips(&mut connect_tls(&site.address), &said, |stream| &stream.sock);
            }
            is_served(&site.hub());
        }
    });
}

/// Says this byte by byte, until the other end hangs up; it has to before all is said.
fn drips<S: Read + Write>(stream: &mut S, said: &[u8], socket: impl Fn(&S) -> &TcpStream) {
    socket(stream).set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let ended = said.chunks(1).any(|byte| {
        let sent = stream.write_all(byte).and_then(|()| stream.flush());
        let heard = stream.read(&mut [0; 16]);
        sent.is_err() || matches!(&heard, Ok(0)) || heard.is_err_and(|error| !common::net::is_patient(&error))
    });
    assert!(ended, "it may go on for ever");
}

#[test]
fn nonsense_ends_the_connection_that_it_came_on_and_nothing_else() {
    let _alone = alone();
    in_time(|| {
        let mut random = fastrand::Rng::with_seed(1);
        for transport in ["tcp", "tls"] {
            let site = patient(transport, Duration::from_millis(300));
            let hub = site.hub();
            for round in 0..300 {
                let mut nonsense = vec![0; random.usize(1..2000)];
                random.fill(&mut nonsense);
                // Some of it looks like the beginning of what is expected.
                let begin: &[u8] = match round % 4 {
                    0 => &[],
                    1 => &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3],
                    2 => &[0x16, 3, 3],
                    _ => &[0xad, 0x49, 0x52, 0x4f, 0x4e, 0x0d, 0x0a, 0x1a, 0, 1, 0, 1],
                };
                nonsense.splice(..0, begin.iter().copied());
                let mut stream = connect(&site.address);
                let _ = stream.write_all(&nonsense); // it may be found out before its end
                if round % 10 == 0 {
                    last_words(&mut stream);
                }
            }
            is_served(&hub);
            is_served(&site.hub());
        }
    });
}

#[test]
fn those_who_say_nothing_cannot_crowd_out_others() {
    let _alone = alone();
    in_time(|| {
        andiron_sys::limits::raise_descriptor_limit();
        for transport in ["tcp", "tls"] {
            let before = open_descriptors();
            let site = patient(transport, Duration::from_secs(600));
            let hub = site.hub();
            let mut silent: Vec<TcpStream> = (0..1100).map(|_| connect(&site.address)).collect();
            is_served(&hub);
            is_served(&site.hub());
            // The first to come have to go; those who came last have time.
            for stream in &mut silent[..70] {
                last_words(stream);
            }
            silent[1099].set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            assert!(silent[1099].read(&mut [0]).is_err_and(|error| common::net::is_patient(&error)));
            drop(silent);
            drop(hub);
            is_served(&site.hub());
            drop(site);
            eventually("their descriptors are closed", || open_descriptors() <= before);
        }
    });
}

#[test]
fn who_is_crowded_out_in_the_middle_of_its_handshake_is_told_to_try_again() {
    let _alone = alone();
    in_time(|| {
        andiron_sys::limits::raise_descriptor_limit();
        let site = patient("tcp", Duration::from_secs(600));
        let mut stream = connect(&site.address);
        let mut talk = Talk::new(Role::Initiator, by_key(Secret::new().unwrap().key(), 1), b"any");
        talk.send(&mut stream);
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap(); // it is awaited now what proves that it may come in
        let others: Vec<TcpStream> = (0..1100).map(|_| connect(&site.address)).collect();
        talk.session.receive(std::time::Instant::now(), &answer, Vec::new(), false);
        let rest = last_words(&mut stream);
        let text = String::from_utf8_lossy(&rest);
        assert!(text.contains("too many connections are being opened"), "{text}");
        talk.session.receive(std::time::Instant::now(), &rest, Vec::new(), false);
        let events: Vec<_> = std::iter::from_fn(|| talk.session.poll_event()).collect();
        let Some(Event::Closed(failure)) = events.last() else { panic!("{events:?}") };
        assert_eq!(failure.kind, ErrorKind::Overloaded);
        drop(others);
    });
}

/// Answers when the server has begun to stop.
struct Late {
    begun: Mutex<mpsc::Sender<()>>,
    stopping: Mutex<mpsc::Receiver<()>>,
}

#[andiron::expose]
impl Late {
    fn make(&self, length: usize) -> String {
        self.begun.lock().unwrap().send(()).unwrap();
        let _ = self.stopping.lock().unwrap().recv_timeout(PATIENCE);
        "x".repeat(length)
    }
}

#[test]
fn the_last_answer_of_a_server_that_stops_arrives_whole() {
    const LENGTH: usize = 30_000_000;
    for transport in ["unix", "tcp", "tls"] {
        in_time(move || {
            let ((begun, has_begun), (stop, stopping)) = (mpsc::channel(), mpsc::channel());
            let late = Late { begun: Mutex::new(begun), stopping: Mutex::new(stopping) };
            let site = Site::at(transport, Hosting::default(), |server| server.object("late", late));
            let (hub, other) = (site.hub(), site.hub());
            let call = std::thread::spawn(move || hub.call::<String>("late", "make", &(LENGTH,)));
            has_begun.recv_timeout(PATIENCE).unwrap();
            let server = site.server;
            let stopped = std::thread::spawn(move || server.stop());
            eventually("it takes no calls any more", || other.names().is_err());
            stop.send(()).unwrap();
            let answer = call.join().unwrap();
            assert_eq!(answer.map(|text| text.len()).ok(), Some(LENGTH), "{transport}");
            assert!(stopped.join().unwrap(), "{transport}");
        });
    }
}

#[test]
fn a_taken_port_is_an_error_at_once() {
    let site = Site::at("tcp", Hosting::default(), echo);
    for scheme in ["tcp", "tls"] {
        let error = Server::bind_with(&format!("{scheme}://{}", place(&site.address)), secret()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("taken"), "{error}");
    }
}

#[test]
fn localhost_is_served_by_ipv4_and_ipv6() {
    in_time(|| {
        let security = secret();
        let server = Server::bind_with("tls://:0", security.clone()).unwrap();
        let server = echo(server).unwrap().start().unwrap();
        let addresses = server.addresses();
        let six = TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(addresses.len(), if six { 2 } else { 1 }, "{addresses:?}");
        let port = place(&addresses[0]).port();
        for address in addresses.into_iter().chain([format!("tls://localhost:{port}")]) {
            is_served(&Connector::new(address).security(security.clone()).connect().unwrap());
        }
    });
}

#[test]
fn one_server_listens_at_several_addresses_and_tells_them() {
    in_time(|| {
        let folder = tempfile::tempdir().unwrap();
        let (security, local) = (secret(), format!("unix:{}/s", folder.path().display()));
        let server = Server::bind_with(&local, security.clone()).unwrap();
        let server = server.listen("tcp://127.0.0.1:0").unwrap().listen("tls://127.0.0.1:0").unwrap();
        let server = server.advertise("tls://kodi.example.org").unwrap();
        let server = echo(server).unwrap().start().unwrap();
        let addresses = server.addresses();
        assert_eq!(addresses.len(), 4);
        assert_eq!(addresses[..2], ["tls://kodi.example.org:9099".to_owned(), local]);
        for address in &addresses[1..] {
            let hub = Connector::new(address).security(security.clone()).connect().unwrap();
            is_served(&hub);
        }
        server.stop();
        for address in &addresses[1..] {
            let error = Connector::new(address).security(security.clone()).connect().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.message().contains("no server at"), "{error}");
        }
    });
}

#[test]
fn a_socket_that_was_handed_over_is_served() {
    let _alone = alone();
    in_time(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let security = secret();
        let number = listener.into_raw_fd(); // the server's from here on
        let server = Server::bind_with(&format!("fd:{number}"), security.clone()).unwrap();
        let server = echo(server).unwrap().start().unwrap();
        assert_eq!(server.addresses(), std::slice::from_ref(&address));
        is_served(&Connector::new(address).security(security).connect().unwrap());
        let error = Server::bind("fd:0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
    });
}

#[test]
fn addresses_for_listening_only_are_not_connected_to() {
    for address in ["fd:3", "systemd"] {
        let error = Hub::connect(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArguments);
        assert!(error.message().contains("listening only"), "{error}");
    }
    let error = Connector::new("tcp://localhost:0").security(secret()).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments);
    // Nor told to others.
    for address in ["fd:3", "systemd", "tcp://1.2.3.4:0", "tls://example.org:0"] {
        let error = Server::new().unwrap().advertise(address).unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::BadArguments, Some("advertise")),
            "{error}"
        );
    }
}
