//! Where a server is, parsed once from text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use andiron_sys::runtime::Name;
use andiron_sys::socket::MAX_PATH;
use andiron_sys::tcp;

use crate::{Error, ErrorKind, Result};

/// The port where none is given.
pub const DEFAULT_PORT: u16 = 9099;

/// The longest text that is quoted whole in an error.
const QUOTED: usize = 100;

const EXPECTED: &str = "expected a server's name, unix:PATH, tcp://HOST[:PORT] or tls://HOST[:PORT], an IPv6 address in brackets";

/// Where a server is.
///
/// | Text | means |
/// | --- | --- |
/// | `NAME` | the server of this user with that name, on this machine |
/// | `unix:PATH` | the Unix socket at that path |
/// | `tcp://HOST[:PORT]` | TCP, without encryption: for this machine |
/// | `tls://HOST[:PORT]` | TLS 1.3 |
/// | `fd:NUMBER` | for listening only: a socket that the parent process handed over |
/// | `systemd` | for listening only: all sockets that systemd handed over |
///
/// An IPv6 address stands in brackets; without a host it is `localhost`, without a port 9099. A server that listens at port 0 takes a free one.
///
/// ```
/// use andiron::Address;
/// let address: Address = "tls://[::1]".parse()?;
/// assert_eq!(address.to_string(), "tls://[::1]:9099");
/// assert!("http://example.org".parse::<Address>().is_err());
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A name, whose socket lies in the runtime folder of this user.
    Name(Name),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(Endpoint),
    /// TLS over TCP.
    Tls(Endpoint),
    /// A listening socket that the parent process handed over, by its number.
    Descriptor(i32),
    /// The listening sockets that systemd handed over.
    Systemd,
}

/// A host and a port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port; 0 only for listening.
    pub port: u16,
}

impl Endpoint {
    /// True where nothing from outside of this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        tcp::is_loopback(&self.host)
    }
}

impl Address {
    /// Refuses what no client can connect to: port 0, what is for listening only, and a path that no socket can have.
    ///
    /// ```
    /// use andiron::Address;
    /// let address: Address = "tcp://127.0.0.1:0".parse()?;
    /// assert!(address.check_reachable().is_err());
    /// # Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// `BadArguments`, with what to give in its place.
    pub fn check_reachable(&self) -> Result<()> {
        match self {
            Address::Unix(path) if path.as_os_str().len() > MAX_PATH => Err(bad(format!(
                "the path of the socket has {} bytes, and {MAX_PATH} is the limit: choose a shorter one, or a name in place of a path",
                path.as_os_str().len()
            ))),
            Address::Tcp(Endpoint { port: 0, .. }) | Address::Tls(Endpoint { port: 0, .. }) => {
                Err(bad(format!(
                    "{self} can be listened at only, where port 0 stands for a free one: give the port that the server took"
                )))
            }
            Address::Descriptor(_) | Address::Systemd => Err(bad(format!(
                "'{self}' is an address for listening only: give the one by which the socket is reached"
            ))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Name(name) => name.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(endpoint) => write!(f, "tcp://{endpoint}"),
            Address::Tls(endpoint) => write!(f, "tls://{endpoint}"),
            Address::Descriptor(number) => write!(f, "fd:{number}"),
            Address::Systemd => f.write_str("systemd"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// # Errors
    /// `BadArguments`: the text is no address, and what was expected.
    fn from_str(text: &str) -> Result<Address> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(bad("`unix:` is to be followed by the path of a socket".to_owned()));
            }
            return Ok(Address::Unix(path.into()));
        }
        if let Some(rest) = text.strip_prefix("tcp://") {
            return endpoint(text, rest).map(Address::Tcp);
        }
        if let Some(rest) = text.strip_prefix("tls://") {
            return endpoint(text, rest).map(Address::Tls);
        }
        if let Some(number) = text.strip_prefix("fd:") {
            let number = decimal(number).ok_or_else(|| {
                bad(format!(
                    "{} is no address: `fd:` is to be followed by the number of a descriptor",
                    quoted(text)
                ))
            })?;
            return Ok(Address::Descriptor(number));
        }
        if text == "systemd" {
            return Ok(Address::Systemd);
        }
        if text.contains([':', '/']) {
            return Err(bad(format!("{} is no address; {EXPECTED}", quoted(text))));
        }
        text.parse().map(Address::Name).map_err(|error: andiron_sys::runtime::NameError| {
            Error::new(ErrorKind::BadArguments, error.to_string()).with_source(error)
        })
    }
}

/// `HOST[:PORT]`, with defaults for what is not there.
fn endpoint(text: &str, rest: &str) -> Result<Endpoint> {
    let refused = |why: &str| bad(format!("{} is no address: {why}; {EXPECTED}", quoted(text)));
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or_else(|| refused("a bracket is open"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(refused("what is in brackets is no IPv6 address"));
            }
            let port = match behind.strip_prefix(':') {
                None if !behind.is_empty() => {
                    return Err(refused("a bracket is followed by nothing but a port"));
                }
                port => port,
            };
            (host, port)
        }
        None => match rest.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(refused("an IPv6 address stands in brackets"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if !host.bytes().all(allowed) || host.starts_with('-') || host.len() > 253 {
        return Err(refused("the host is neither a name nor an IP address"));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => decimal(port).ok_or_else(|| refused("the port is no number from 0 to 65535"))?,
    };
    let host = if host.is_empty() { "localhost" } else { host };
    Ok(Endpoint { host: host.to_owned(), port })
}

/// A number in digits alone: the standard library takes a sign as well.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

fn bad(text: String) -> Error {
    Error::new(ErrorKind::BadArguments, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Address>().unwrap().to_string()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        assert_eq!(shown("tcp://"), "tcp://localhost:9099");
        assert_eq!(shown("tls://:1"), "tls://localhost:1");
        assert_eq!(shown("tls://example.org"), "tls://example.org:9099");
        assert_eq!(shown("tcp://[::1]"), "tcp://[::1]:9099");
        assert_eq!(shown("tcp://[::]:0"), "tcp://[::]:0");
        assert_eq!(shown("tcp://127.0.0.1:65535"), "tcp://127.0.0.1:65535");
    }

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        for text in ["andiron", "unix:/tmp/a:b/c", "fd:3", "systemd", "tls://h:9", "tcp://[2001:db8::1]:9"] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_expected() {
        let bad = [
            "",
            "a b",
            ".x",
            "unix:",
            "http://x",
            "tcp:x",
            "tcp://::1",
            "tcp://[::1",
            "tcp://[::1]9",
            "tcp://[x]",
            "tcp://x:",
            "tcp://x:+1",
            "tcp://x:65536",
            "tcp://x:-1",
            "tcp://x/y",
            "tcp://a b",
            "tcp://u@h",
            "tcp://-x",
            "fd:",
            "fd:x",
            "fd:-1",
            "tls://x:9:9",
            "TCP://x",
            "tcp://\u{fc}",
        ];
        for text in bad {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadArguments, "{text}");
            let told =
                ["expected", "use 1 to 64", "followed by"].iter().any(|part| error.message().contains(part));
            assert!(told, "{text}: {}", error.message());
        }
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_with_what_helps() {
        let path = |length: usize| {
            let address: Address = format!("unix:/{}", "x".repeat(length - 1)).parse().unwrap();
            address.check_reachable()
        };
        assert!(path(107).is_ok());
        let error = path(108).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArguments);
        let text = error.message();
        assert!(text.contains("108 bytes, and 107 is the limit: choose a shorter one"), "{text}");
        assert!(!text.contains("XDG_RUNTIME_DIR"), "{text}");
    }

    #[test]
    fn a_long_text_is_not_quoted_whole() {
        let error = format!("tcp://{}", "x".repeat(100_000)).parse::<Address>().unwrap_err();
        assert!(error.message().len() < 400);
    }
}
