//! The protocol by hand, over each kind of connection that a daemon takes.
#![allow(dead_code)] // each test binary uses its part

#[path = "../../../andiron/tests/common/net.rs"]
#[allow(dead_code, unreachable_pub)]
mod net;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use andiron::{Connector, Hub, Secret, SecretFile, Security};
use andiron_proto::wire::{self, Header, Kind};
use andiron_proto::{Auth, Config, Limits, Role, Session, binding, codec};

#[allow(unused_imports)] // as above
pub(crate) use self::net::last_words;
use self::net::{Encrypted, Talk};
use crate::common::{Home, LONG as PATIENCE, Process};

/// How a daemon is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    Unix,
    Tcp,
    Tls,
}

pub(crate) const WAYS: [Way; 3] = [Way::Unix, Way::Tcp, Way::Tls];

/// A daemon, and one of the ways to it.
pub(crate) struct Site {
    pub(crate) daemon: Process,
    pub(crate) address: String,
    pub(crate) home: Home,
    way: Way,
    secret: Secret,
}

impl Site {
    pub(crate) fn new(way: Way) -> Site {
        let (home, secret) = (Home::new(), Secret::new().unwrap());
        let file = home.folder.path().join("secret");
        SecretFile::create(&file, secret.clone()).unwrap();
        let listen = match way {
            Way::Unix => Vec::new(),
            Way::Tcp => vec!["--listen", "tcp://127.0.0.1:0"],
            Way::Tls => vec!["--listen", "tls://127.0.0.1:0"],
        };
        let arguments = [&["serve", "--secret-file", file.to_str().unwrap()], &listen[..]].concat();
        let mut daemon = Process::start(home.andiron(&arguments));
        let address = match way {
            Way::Unix => daemon.wait_for("listening at unix:"),
            Way::Tcp | Way::Tls => daemon.wait_for("://"),
        };
        let address = address.strip_prefix("listening at ").unwrap().to_owned();
        Site { daemon, address, home, way, secret }
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector::new(&self.address).security(Security::default().secret(self.secret.clone()))
    }

    pub(crate) fn hub(&self) -> Hub {
        self.connector().connect().unwrap()
    }

    /// The daemon still does what it is for.
    #[track_caller]
    pub(crate) fn serves_on(&self) {
        let store = self.hub().store();
        store.set("alive", &1).unwrap();
        assert_eq!(store.get("alive").unwrap(), Some(1));
    }

    /// A connection, with nothing said on it that is Andiron's.
    pub(crate) fn stream(&self) -> Stream {
        match self.way {
            Way::Unix => {
                let stream = UnixStream::connect(self.home.socket("andiron")).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Stream::Unix(stream)
            }
            Way::Tcp => Stream::Tcp(net::connect(&self.address)),
            Way::Tls => Stream::Tls(Box::new(net::connect_tls(&self.address))),
        }
    }

    /// A connection over which no byte was said at all; not for Unix sockets.
    pub(crate) fn bare_stream(&self) -> TcpStream {
        net::connect(&self.address)
    }

    /// A connection with an open session on it.
    pub(crate) fn session(&self) -> Stream {
        let mut stream = self.stream();
        assert_eq!(self.talk(&stream).open(&mut stream), None);
        stream
    }

    /// The same over a Unix socket, for so many descriptors on one message.
    pub(crate) fn session_taking(&self, attachments: u16) -> Stream {
        let mut stream = self.stream();
        let mut talk = self.talk(&stream);
        let limits = Limits { attachments, ..Limits::default() };
        talk.session = Session::new(Role::Initiator, Config { limits, ..Config::default() }, Instant::now());
        assert_eq!(talk.open(&mut stream), None);
        stream
    }

    /// What a client says first.
    pub(crate) fn greeting(&self, stream: &Stream) -> Vec<u8> {
        let mut talk = self.talk(stream);
        let mut said = Vec::new();
        while let Some(transmit) = talk.session.poll_transmit() {
            let bytes: Vec<u8> = transmit.slices().iter().flat_map(|slice| slice.to_vec()).collect();
            talk.session.transmitted(bytes.len());
            said.extend(bytes);
        }
        said
    }

    fn talk(&self, stream: &Stream) -> Talk {
        let binding = match stream {
            Stream::Unix(_) => binding::unix(),
            Stream::Tcp(tcp) => binding::loopback(tcp.local_addr().unwrap(), tcp.peer_addr().unwrap()),
            Stream::Tls(tls) => binding::tls(&net::certificate_of(tls)),
        };
        let auth = match self.way {
            Way::Unix => Auth::User,
            Way::Tcp | Way::Tls => net::by_key(self.secret.key(), fastrand::u8(..)),
        };
        Talk::new(Role::Initiator, auth, &binding)
    }
}

/// A connection of any kind.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<Encrypted>),
}

impl Stream {
    pub(crate) fn set_nonblocking(&self) {
        match self {
            Stream::Unix(stream) => stream.set_nonblocking(true),
            Stream::Tcp(stream) => stream.set_nonblocking(true),
            Stream::Tls(stream) => stream.sock.set_nonblocking(true),
        }
        .unwrap();
    }

    /// Hangs up with something unread, which resets the connection.
    pub(crate) fn reset(mut self) {
        match &mut self {
            // Nobody can look without reading: of two answers one is left.
            Stream::Unix(stream) => stream.read(&mut [0]),
            Stream::Tcp(stream) => stream.peek(&mut [0]),
            Stream::Tls(stream) => stream.sock.peek(&mut [0]),
        }
        .unwrap();
    }

    pub(crate) fn next_frame(&mut self) -> (Header, Vec<u8>) {
        let mut header = [0; wire::HEADER_LEN];
        self.read_exact(&mut header).unwrap();
        let header = Header::parse(&header).unwrap();
        let mut payload = vec![0; header.length as usize];
        self.read_exact(&mut payload).unwrap();
        (header, payload)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.flush(),
            Stream::Tcp(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

pub(crate) fn frame(kind: u8, flags: u8, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.extend([kind, flags, 0, 0]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A CALL of this object, the root being 0.
pub(crate) fn call_of(target: u64, id: u64, method: &str, arguments: &impl serde::Serialize) -> Vec<u8> {
    let mut payload = target.to_be_bytes().to_vec();
    payload.extend([0; 16]);
    payload.extend([1, method.len() as u8]);
    payload.extend(method.as_bytes());
    codec::encode_args(arguments, &mut payload).unwrap();
    frame(Kind::Call.number(), 0, id, &payload)
}

/// A CALL of the root object.
pub(crate) fn call(id: u64, method: &str, arguments: &impl serde::Serialize) -> Vec<u8> {
    call_of(0, id, method, arguments)
}
