//! Servers that are asked for more than they can do, over each kind of connection, by threads and by tasks.

mod common;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use andiron::{Connector, ErrorKind, Hosting, Hub, Limits, Secret, Security};
use andiron_proto::wire::{Kind, codecs};
use andiron_proto::{Auth, CallRequest, Event, Outgoing, Ref, Role, binding, codec};
use common::net::{Talk, by_key, certificate_of, connect, connect_tls};
use common::{Echo, PATIENCE, Site, eventually, fun, in_time};

const TRANSPORTS: [&str; 3] = ["unix", "tcp", "tls"];

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// A client by hand, whose session is open.
struct Peer {
    stream: Box<dyn Duplex>,
    talk: Talk,
}

impl Peer {
    fn new(address: &str, secret: &Secret) -> Peer {
        let (mut stream, auth, binding): (Box<dyn Duplex>, _, _) = match address.split_once(':').unwrap() {
            ("unix", path) => {
                let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                (Box::new(stream), Auth::User, binding::unix())
            }
            ("tcp", _) => {
                let stream = connect(address);
                let binding = binding::loopback(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
                (Box::new(stream), by_key(secret.key(), 1), binding)
            }
            _ => {
                let stream = connect_tls(address);
                let binding = binding::tls(&certificate_of(&stream));
                (Box::new(stream), by_key(secret.key(), 1), binding)
            }
        };
        let mut talk = Talk::new(Role::Initiator, auth, &binding);
        assert_eq!(talk.open(&mut stream), None);
        Peer { stream, talk }
    }

    fn call(&mut self, target: u64, method: &str, arguments: &impl serde::Serialize) -> u64 {
        let mut body = Vec::new();
        codec::encode_args(arguments, &mut body).unwrap();
        let arguments = Outgoing::native(&body);
        let request = CallRequest { target, method, arguments, ..CallRequest::default() };
        let id = self.talk.session.call(Instant::now(), request).unwrap();
        self.talk.send(&mut self.stream);
        id
    }

    fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.talk.session.poll_event() {
                return event;
            }
            self.talk.send(&mut self.stream);
            let mut buffer = [0; 1 << 16];
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "it hung up");
            self.talk.session.receive(Instant::now(), &buffer[..count], Vec::new(), false);
        }
    }

    /// The number of a named object.
    fn look_up(&mut self, name: &str) -> u64 {
        let call = self.call(0, "lookup", &(name,));
        match self.event() {
            Event::Answer { id, outcome } if id == call => match outcome.unwrap().refs[..] {
                [Ref::Remote(object)] => object,
                ref other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

fn is_served(hub: &Hub) {
    assert_eq!(hub.call::<String>("echo", "text", &("hello",)).unwrap(), "hello");
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

/// A peer asks for much and does not read: others are served meanwhile, and in the end it gets all of it.
fn reads_slowly(address: &str, secret: &Secret, asked: &AtomicUsize) {
    const CALLS: usize = 500;
    const LENGTH: usize = 200_000;
    let connector = Connector::new(address).security(Security::default().secret(secret.clone()));
    let before = connector.connect().unwrap();
    let asked_before = asked.load(Ordering::SeqCst);
    let mut slow = Peer::new(address, secret);
    let texts = slow.look_up("texts");
    for _ in 0..CALLS {
        slow.call(texts, "make", &(LENGTH,));
    }
    let made = || asked.load(Ordering::SeqCst) - asked_before;
    eventually("it is served as long as it may", || made() * LENGTH > 8 << 20);
    for _ in 0..20 {
        is_served(&before);
        is_served(&connector.connect().unwrap());
    }
    assert!(made() * LENGTH < 40 << 20, "{address}: {} answers wait", made());
    for _ in 0..CALLS {
        match slow.event() {
            Event::Answer { outcome, .. } => assert!(outcome.unwrap().body.len() > LENGTH),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_that_reads_slowly_slows_nobody_else_and_gets_everything() {
    in_time(|| {
        for transport in TRANSPORTS {
            let (secret, asked) = (Secret::new().unwrap(), Arc::new(AtomicUsize::new(0)));
            let security = Security::default().secret(secret.clone());
            let site = Site::with(transport, Hosting { security, ..Hosting::default() }, |server| {
                server.object("echo", Echo)?.object("texts", Texts(asked.clone()))
            });
            reads_slowly(&site.address, &secret, &asked);
        }
    });
}

/// Floods an object `slow` with calls, of which `limit` are taken; those beyond are refused, and did not run.
fn is_refused_beyond(limit: usize, address: &str, secret: &Secret, entered: &AtomicUsize) {
    const BEYOND: usize = 500;
    let mut peer = Peer::new(address, secret);
    let slow = peer.look_up("slow");
    // By hand: a session would hold back what is too much.
    let mut payload = slow.to_be_bytes().to_vec();
    payload.extend([0; 16]);
    payload.extend([codecs::NATIVE, 3]);
    payload.extend(b"run");
    codec::encode_args(&(1, [(); 0]), &mut payload).unwrap();
    let mut flood = Vec::new();
    for id in 2..2 + (limit + BEYOND) as u64 {
        flood.extend((payload.len() as u32).to_be_bytes());
        flood.extend([Kind::Call.number(), 0, 0, 0]);
        flood.extend(id.to_be_bytes());
        flood.extend(&payload);
    }
    peer.stream.write_all(&flood).unwrap();
    for _ in 0..BEYOND {
        let mut header = [0; 16];
        peer.stream.read_exact(&mut header).unwrap();
        let mut payload = vec![0; u32::from_be_bytes(header[..4].try_into().unwrap()) as usize];
        peer.stream.read_exact(&mut payload).unwrap();
        let overloaded = ErrorKind::Overloaded.number().to_be_bytes();
        assert_eq!((header[4], &payload[..2]), (Kind::Error.number(), &overloaded[..]), "{address}");
    }
    eventually("those within the limit run", || entered.load(Ordering::SeqCst) == limit);
}

#[test]
fn calls_beyond_the_limit_are_refused_over_a_network_too_and_did_not_run() {
    const LIMIT: usize = 16;
    in_time(|| {
        for transport in TRANSPORTS {
            let (secret, entered) = (Secret::new().unwrap(), Arc::new(AtomicUsize::new(0)));
            let (release, wait) = mpsc::channel::<()>();
            let (wait, counted) = (Mutex::new(wait), entered.clone());
            let hosting = Hosting {
                limits: Limits { calls: LIMIT as u32, ..Limits::default() },
                security: Security::default().secret(secret.clone()),
                ..Hosting::default()
            };
            let slow = fun(move |number, _| {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = wait.lock().unwrap().recv();
                Ok(number)
            });
            let site =
                Site::with(transport, hosting, |server| server.object("echo", Echo)?.object("slow", slow));
            is_refused_beyond(LIMIT, &site.address, &secret, &entered);
            is_served(&site.hub());
            drop(release);
        }
    });
}

#[cfg(feature = "tokio")]
mod tasks {
    use andiron::{Proxy, aio};
    use tokio::sync::Notify;

    use super::*;

    /// Serves by tasks, on two threads of a runtime, at all kinds of addresses.
    fn serve(
        secret: &Secret,
        fill: impl FnOnce(aio::Server) -> andiron::Result<aio::Server>,
        test: impl FnOnce(Vec<String>) + Send + 'static,
    ) -> bool {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let local = format!("unix:{}/s", folder.path().display());
            let server = aio::Server::bind_with(&local, Security::default().secret(secret.clone())).unwrap();
            let server = server.listen("tcp://127.0.0.1:0").unwrap().listen("tls://127.0.0.1:0").unwrap();
            let server = fill(server.object("echo", Echo).unwrap()).unwrap().start().unwrap();
            let addresses = server.addresses();
            tokio::task::spawn_blocking(move || in_time(move || test(addresses))).await.unwrap();
            server.stop().await
        })
    }

    #[test]
    fn a_client_that_reads_slowly_slows_no_task_and_gets_everything() {
        let (secret, asked) = (Secret::new().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (key, texts) = (secret.clone(), Texts(asked.clone()));
        let fill = |server: aio::Server| server.object("texts", texts);
        serve(&secret, fill, move |addresses| {
            addresses.iter().for_each(|address| reads_slowly(address, &key, &asked));
        });
    }

    /// Waits until it is told.
    struct Slow {
        entered: Arc<AtomicUsize>,
        go_on: Arc<Notify>,
    }

    #[andiron::expose]
    impl Slow {
        async fn run(&self, number: i64, _others: Vec<Proxy>) -> i64 {
            self.entered.fetch_add(1, Ordering::SeqCst);
            self.go_on.notified().await;
            number
        }
    }

    #[test]
    fn calls_beyond_the_limit_are_refused_by_tasks_too_and_did_not_run() {
        let (secret, entered, go_on) =
            (Secret::new().unwrap(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (key, slow) = (secret.clone(), Slow { entered: entered.clone(), go_on: go_on.clone() });
        serve(
            &secret,
            |server| server.object("slow", slow),
            move |addresses| {
                for address in &addresses {
                    let limit = Limits::default().calls as usize;
                    entered.store(0, Ordering::SeqCst);
                    is_refused_beyond(limit, address, &key, &entered);
                    go_on.notify_waiters();
                }
            },
        );
    }

    #[test]
    fn a_server_of_tasks_that_stops_waits_for_calls_under_way_and_not_for_ever() {
        for finishes in [true, false] {
            let (secret, entered, go_on) =
                (Secret::new().unwrap(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
            let slow = Slow { entered: entered.clone(), go_on: go_on.clone() };
            let (key, callers) = (secret.clone(), Arc::new(Mutex::new(Vec::new())));
            let calling = callers.clone();
            let drained = serve(
                &secret,
                |server| server.object("slow", slow),
                move |addresses| {
                    for address in addresses {
                        let security = Security::default().secret(key.clone());
                        let hub = Connector::new(address).security(security).connect().unwrap();
                        let idle = hub.clone();
                        calling
                            .lock()
                            .unwrap()
                            .push(std::thread::spawn(move || hub.call::<i64>("slow", "run", &(5, [(); 0]))));
                        let go_on = go_on.clone();
                        if finishes {
                            // Once the server takes no calls any more.
                            std::thread::spawn(move || {
                                eventually("it stops", || idle.names().is_err());
                                go_on.notify_one();
                            });
                        }
                    }
                    eventually("all are under way", || entered.load(Ordering::SeqCst) == 3);
                },
            );
            assert_eq!(drained, finishes);
            for caller in callers.lock().unwrap().drain(..) {
                let outcome = caller.join().unwrap();
                assert_eq!(
                    outcome.map_err(|error| error.kind()),
                    if finishes { Ok(5) } else { Err(ErrorKind::Unknown) }
                );
            }
        }
    }
}
