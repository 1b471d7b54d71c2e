//! Addresses as the command line takes them.

use std::env;

use andiron::{Address, Connector, DEFAULT_ADDRESS, Hub, Security};

use crate::failure::Failure;

/// How addresses begin that are no names.
const SCHEMES: [&str; 3] = ["unix:", "tcp://", "tls://"];

/// The server that was chosen, and how to prove oneself to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) address: Option<String>,
    pub(crate) security: Security,
}

impl Chosen {
    /// The address that was chosen, or the default one.
    ///
    /// # Errors
    /// It can be no address of a server.
    pub(crate) fn address(&self) -> Result<&str, Failure> {
        checked(self.address.as_deref())
    }

    /// Connects to the server that was chosen.
    pub(crate) fn connect(&self) -> Result<Hub, Failure> {
        self.connect_at(self.address()?)
    }

    /// Connects to the server of `[ADDRESS/]OBJECT`; gives the object's name with it.
    pub(crate) fn connect_to<'a>(&self, object: &'a str) -> Result<(Hub, &'a str), Failure> {
        Ok((self.connect_at(self.server_of(object)?)?, split(object).1))
    }

    /// The address of the server of `[ADDRESS/]OBJECT`.
    ///
    /// # Errors
    /// It can be no address of a server, or there is nothing but an address.
    pub(crate) fn server_of<'a>(&'a self, object: &'a str) -> Result<&'a str, Failure> {
        let (address, name) = split(object);
        let is_address = address.is_none() && SCHEMES.iter().any(|scheme| object.starts_with(scheme));
        if is_address || name.is_empty() {
            let address = object.trim_end_matches('/');
            return Err(Failure::Usage(format!(
                "'{object}' names no object: write {address}/OBJECT; `andiron describe --address {address}` tells which there are"
            )));
        }
        checked(address.or(self.address.as_deref()))
    }

    fn connect_at(&self, address: &str) -> Result<Hub, Failure> {
        reachable(address)?;
        Ok(Connector::new(address).security(self.security.clone()).connect()?)
    }
}

/// The address that `ANDIRON_ADDRESS` names.
pub(crate) fn of_environment() -> Result<Option<String>, Failure> {
    let Some(address) = env::var_os("ANDIRON_ADDRESS") else { return Ok(None) };
    let unreadable = |_| Failure::Usage("ANDIRON_ADDRESS is no text in UTF-8".to_owned());
    address.into_string().map(Some).map_err(unreadable)
}

/// An address, or the default one where there is none.
pub(crate) fn checked(address: Option<&str>) -> Result<&str, Failure> {
    let address = address.filter(|address| !address.is_empty()).unwrap_or(DEFAULT_ADDRESS);
    address.parse::<Address>().map_err(|error| Failure::Usage(error.message().to_owned()))?;
    Ok(address)
}

/// Refuses an address to which nobody can connect.
pub(crate) fn reachable(address: &str) -> Result<(), Failure> {
    let reachable = address.parse().and_then(|address: Address| address.check_reachable());
    reachable.map_err(|error| Failure::Usage(error.message().to_owned()))
}

/// Refuses an address that can be no address of a server, or a path that no socket can have.
pub(crate) fn listenable(address: Option<&str>) -> Result<&str, Failure> {
    let address = checked(address)?;
    if address.starts_with("unix:") {
        reachable(address)?;
    }
    Ok(address)
}

/// `[ADDRESS/]OBJECT` in its parts. Neither a server's name nor a host has a `/` in it, an object's name may; a path has more of them, so there the last
/// one counts.
fn split(object: &str) -> (Option<&str>, &str) {
    let scheme = object.find("://").map_or(0, |index| index + "://".len());
    let parts = if object.starts_with("unix:") {
        object.rsplit_once('/')
    } else {
        object[scheme..].find('/').map(|index| (&object[..scheme + index], &object[scheme + index + 1..]))
    };
    match parts {
        None => (None, object),
        Some(("", object)) => (None, object),
        Some((address, object)) => (Some(address), object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_may_stand_behind_its_servers_address() {
        assert_eq!(split("player"), (None, "player"));
        assert_eq!(split("kodi/player"), (Some("kodi"), "player"));
        assert_eq!(split("kodi/a/b"), (Some("kodi"), "a/b"));
        assert_eq!(split("/a/b"), (None, "a/b"));
        assert_eq!(split("unix:/tmp/s/player"), (Some("unix:/tmp/s"), "player"));
        assert_eq!(split("tls://[::1]:9/a/b"), (Some("tls://[::1]:9"), "a/b"));
        assert_eq!(split("tcp://host"), (None, "tcp://host"));
        let other = Chosen { address: Some("other".to_owned()), ..Chosen::default() };
        assert_eq!(other.server_of("kodi/player").ok(), Some("kodi"));
        assert_eq!(other.server_of("player").ok(), Some("other"));
        assert_eq!(Chosen::default().server_of("player").ok(), Some("andiron"));
        for address in ["tls://127.0.0.1:19443", "tls://h/", "tcp://", "unix:s", "unix:/tmp/", "kodi/", ""] {
            let told = other.server_of(address);
            assert!(matches!(told, Err(Failure::Usage(text)) if text.contains("/OBJECT")), "{address}");
        }
    }

    #[test]
    fn what_can_be_no_address_is_refused() {
        for bad in ["a b", "../x", "unix:", ".hidden", "tcp://[", "http://x"] {
            assert!(matches!(checked(Some(bad)), Err(Failure::Usage(_))), "{bad}");
        }
        assert_eq!(checked(Some("")).ok(), Some("andiron"), "as an empty environment variable");
        for good in ["unix:/x", "tcp://localhost", "tls://[::1]:1"] {
            assert_eq!(checked(Some(good)).ok(), Some(good));
        }
    }
}
