//! A shared secret: who has it is let in over TCP and TLS, and nobody else, whatever they try.

mod common;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use andiron::{Connector, Error, ErrorKind, Hosting, Hub, Result, Secret, Security, Server};
use andiron_proto::{Auth, Role, binding};
use common::net::{
    Talk, by_key, certificate_of, connect, connect_tls, last_words, relay, relay_tls, server_showing,
    take_one,
};
use common::{Echo, Site, Who, in_time};

fn echo(server: Server) -> Result<Server> {
    server.object("echo", Echo)
}

fn site(transport: &str) -> Site {
    Site::at(transport, Hosting::default(), echo)
}

fn is_served(hub: &Hub) {
    assert_eq!(hub.call::<String>("echo", "text", &("hello",)).unwrap(), "hello");
}

/// Connects to this address with the secret of that site.
fn refused_at(address: &str, security: Security) -> Error {
    Connector::new(address).security(security).connect().map(|hub| hub.close()).unwrap_err()
}

#[track_caller]
fn is_authentication(error: &Error, part: &str) {
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(error.message().contains(part), "{error}");
}

/// Small, in pieces of a frame, and beyond what any buffer holds.
const LENGTHS: [usize; 4] = [1, 10_000, 300_000, 5_000_000];

fn talks(transport: &'static str) {
    in_time(move || {
        let site = site(transport);
        let hub = site.hub();
        for length in LENGTHS {
            let text = "x".repeat(length);
            assert_eq!(hub.call::<String>("echo", "text", &(&text,)).unwrap(), text);
        }
        site.server.stop();
    });
}

#[test]
fn who_has_the_secret_is_served_over_tcp() {
    talks("tcp");
}

#[test]
fn who_has_the_secret_is_served_over_tls() {
    talks("tls");
}

#[test]
fn a_wrong_secret_is_refused_at_once() {
    in_time(|| {
        for transport in ["tcp", "tls"] {
            let site = site(transport);
            let other = Security::default().secret(Secret::new().unwrap());
            is_authentication(&refused_at(&site.address, other), "the proof of the secret is wrong");
            is_served(&site.hub());
        }
    });
}

#[test]
fn a_man_in_the_middle_with_a_certificate_of_his_own_is_refused() {
    in_time(|| {
        let site = site("tls");
        let server = site.address.clone();
        let middle = take_one(move |client| relay_tls(client, server_showing(None), &server));
        let error = refused_at(&format!("tls://{middle}"), site.security.clone());
        is_authentication(&error, "the proof of the secret is wrong");
        is_served(&site.hub());
    });
}

#[test]
fn the_right_certificate_without_its_key_is_refused() {
    in_time(|| {
        let site = site("tls");
        let certificate = certificate_of(&connect_tls(&site.address));
        let config = server_showing(Some(certificate));
        let server = site.address.clone();
        let middle = take_one(move |client| relay_tls(client, config, &server));
        is_authentication(&refused_at(&format!("tls://{middle}"), site.security.clone()), "BadSignature");
    });
}

#[test]
fn a_handshake_that_was_overheard_is_of_no_use() {
    in_time(|| {
        let secret = Secret::new().unwrap();
        let security = Security::default().secret(secret.clone());
        let site = Site::with("tls", Hosting { security, ..Hosting::default() }, echo);
        let mut stream = connect_tls(&site.address);
        let bound = binding::tls(&certificate_of(&stream));
        let mut talk = Talk::new(Role::Initiator, by_key(secret.key(), 1), &bound);
        assert!(talk.open(&mut stream).is_none(), "with the key it is let in");
        // The same words again, to the same certificate: what the server says to them differs.
        let mut again = connect_tls(&site.address);
        again.write_all(&talk.said).unwrap();
        let answer = last_words(&mut again);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("the proof of the secret is wrong"), "{text}");
    });
}

#[test]
fn a_proof_that_is_reflected_is_refused() {
    in_time(|| {
        // Says the client's own words back to it: HELLO with the client's nonce, and the client's proof.
        let echoes = take_one(|mut client| {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = client.read(&mut buffer) {
                if client.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        });
        let security = Security::default().secret(Secret::new().unwrap());
        let error = refused_at(&format!("tcp://{echoes}"), security);
        is_authentication(&error, "the proof of the secret is wrong");
    });
}

#[test]
fn a_stranger_who_took_the_port_and_passes_everything_on_is_refused() {
    in_time(|| {
        let site = site("tcp");
        let server = connect(&site.address);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = heard.clone();
        let stranger = take_one(move |client| relay(client, server, &notes));
        let error = refused_at(&format!("tcp://{stranger}"), site.security.clone());
        is_authentication(&error, "the proof of the secret is wrong");
        assert!(heard.lock().unwrap().len() > 48, "the proof went through the stranger's hands");
        is_served(&site.hub());
    });
}

#[test]
fn nobody_is_talked_into_less_than_a_secret() {
    in_time(|| {
        for transport in ["tcp", "tls"] {
            let site = site(transport);
            for (auth, bound) in [(Auth::User, &b""[..]), (Auth::Certificate, b"")] {
                let mut talk = Talk::new(Role::Initiator, auth, bound);
                let failure = match transport {
                    "tcp" => talk.open(&mut connect(&site.address)),
                    _ => talk.open(&mut connect_tls(&site.address)),
                }
                .unwrap();
                assert_eq!(failure.kind, ErrorKind::Authentication);
                assert!(failure.to_string().contains("asks for a secret"), "{failure:?}");
            }
        }
        for auth in [Auth::User, Auth::Certificate] {
            let fake = take_one(move |mut client| {
                let mut talk = Talk::new(Role::Acceptor, auth, b"");
                let _ = talk.open(&mut client);
            });
            let security = Security::default().secret(Secret::new().unwrap());
            let error = refused_at(&format!("tcp://{fake}"), security);
            assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        }
    });
}

#[test]
fn plain_where_tls_is_spoken_and_the_other_way_round_are_told_apart() {
    in_time(|| {
        let (plain, encrypted) = (site("tcp"), site("tls"));
        let error = refused_at(&encrypted.address.replace("tls:", "tcp:"), encrypted.security.clone());
        assert!(error.message().contains("its address begins with `tls://`"), "{error}");
        let error = refused_at(&plain.address.replace("tcp:", "tls:"), plain.security.clone());
        assert!(error.message().contains("tcp://"), "{error}");
        is_served(&plain.hub());
        is_served(&encrypted.hub());
    });
}

#[test]
fn tls_of_an_older_version_is_refused() {
    in_time(|| {
        let site = site("tls");
        let mut stream = connect(&site.address);
        stream.write_all(&hello_of_tls_1_2()).unwrap();
        let answer = last_words(&mut stream);
        assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 70], "a fatal alert: protocol version");
        is_served(&site.hub());
    });
}

/// What a client says first that speaks TLS 1.2 and nothing newer.
fn hello_of_tls_1_2() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[7; 32]); // random
    hello.push(0); // no session
    hello.extend_from_slice(&[0, 2, 0xc0, 0x2b]); // ECDHE-ECDSA-AES128-GCM-SHA256
    hello.extend_from_slice(&[1, 0]); // no compression
    let groups = [0, 10, 0, 4, 0, 2, 0, 29];
    let signatures = [0, 13, 0, 4, 0, 2, 4, 3];
    hello.extend_from_slice(&((groups.len() + signatures.len()) as u16).to_be_bytes());
    hello.extend_from_slice(&groups);
    hello.extend_from_slice(&signatures);
    let mut message = vec![1, 0, 0, hello.len() as u8];
    message.extend_from_slice(&hello);
    let mut record = vec![0x16, 3, 1, 0, message.len() as u8];
    record.extend_from_slice(&message);
    record
}

#[test]
fn a_secret_that_was_replaced_holds_without_a_restart() {
    in_time(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let (before, after) = (Secret::new().unwrap(), Secret::new().unwrap());
        write_secret(&path, &before);
        let security = Security::default().secret_file(&path);
        let site = Site::with("tls", Hosting { security, ..Hosting::default() }, echo);
        let (old, new) = (Security::default().secret(before), Security::default().secret(after.clone()));
        let kept = Connector::new(&site.address).security(old.clone()).connect().unwrap();
        write_secret(&path, &after);
        is_served(&Connector::new(&site.address).security(new).connect().unwrap());
        is_authentication(&refused_at(&site.address, old), "the proof of the secret is wrong");
        is_served(&kept); // whoever is in stays in
    });
}

/// As a program would that replaces it: nobody ever finds half of one.
fn write_secret(path: &std::path::Path, secret: &Secret) {
    use std::os::unix::fs::OpenOptionsExt;
    let next = path.with_extension("next");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next).unwrap();
    writeln!(file, "{}", secret.text()).unwrap();
    std::fs::rename(next, path).unwrap();
}

#[test]
fn without_a_secret_or_an_authority_tls_is_refused_at_both_ends() {
    in_time(|| {
        let error = Server::bind_with("tls://127.0.0.1:0", Security::default()).unwrap_err();
        is_authentication(&error, "andiron secret new");
        let error = refused_at("tls://127.0.0.1:1", Security::default());
        is_authentication(&error, "andiron secret new");
    });
}

#[test]
fn plain_tcp_beyond_this_machine_is_refused_at_both_ends() {
    in_time(|| {
        let security = Security::default().secret(Secret::new().unwrap());
        for address in ["tcp://0.0.0.0:0", "tcp://[::]:0"] {
            let error = Server::bind_with(address, security.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.message().contains("tls://"), "{error}");
        }
        let error = refused_at("tcp://192.0.2.1", security);
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    });
}

#[test]
fn the_peer_is_named_at_both_ends() {
    in_time(|| {
        for transport in ["tcp", "tls"] {
            let secret = Secret::new().unwrap().with_name(Some("kodi"));
            let hosting = Hosting { security: Security::default().secret(secret), ..Hosting::default() };
            let site = Site::with(transport, hosting, |server| server.object("who", Who));
            let hub = site.hub();
            assert_eq!(hub.peer(), format!("'{}'", site.address));
            let peer: String = hub.call("who", "calls", &()).unwrap();
            assert!(peer.starts_with(&format!("{transport} 127.0.0.1:")), "{peer}");
            assert!(peer.ends_with(", secret 'kodi'"), "{peer}");
        }
    });
}
