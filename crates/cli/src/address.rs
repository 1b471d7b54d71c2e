//! Addresses as the command line takes them.

use andiron::{DEFAULT_ADDRESS, Hub};
use andiron_sys::runtime::Name;

use crate::failure::Failure;

/// The address that was chosen, or the default one.
///
/// # Errors
/// It can be no address of a server.
pub(crate) fn chosen(address: Option<&str>) -> Result<&str, Failure> {
    let address = address.filter(|address| !address.is_empty()).unwrap_or(DEFAULT_ADDRESS);
    match address.strip_prefix("unix:") {
        Some("") => Err(Failure::Usage("`unix:` is to be followed by the path of a socket".to_owned())),
        Some(_) => Ok(address),
        None => {
            address.parse::<Name>().map_err(|error| Failure::Usage(error.to_string()))?;
            Ok(address)
        }
    }
}

/// Connects to the server that was chosen.
pub(crate) fn connect(address: Option<&str>) -> Result<Hub, Failure> {
    Ok(Hub::connect(chosen(address)?)?)
}

/// Connects to the server of `[ADDRESS/]OBJECT`; gives the object's name with it.
pub(crate) fn connect_to<'a>(address: Option<&str>, object: &'a str) -> Result<(Hub, &'a str), Failure> {
    let server = server_of(address, object)?;
    Ok((Hub::connect(server)?, split(object).1))
}

/// The address of the server of `[ADDRESS/]OBJECT`.
pub(crate) fn server_of<'a>(address: Option<&'a str>, object: &'a str) -> Result<&'a str, Failure> {
    chosen(split(object).0.or(address))
}

/// `[ADDRESS/]OBJECT` in its parts. A server's name has no `/` in it, an object's name may; a path has more of them, so there the last one counts.
fn split(object: &str) -> (Option<&str>, &str) {
    let parts = if object.starts_with("unix:") { object.rsplit_once('/') } else { object.split_once('/') };
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
        assert_eq!(server_of(Some("other"), "kodi/player").ok(), Some("kodi"));
        assert_eq!(server_of(Some("other"), "player").ok(), Some("other"));
        assert_eq!(server_of(None, "player").ok(), Some("andiron"));
    }

    #[test]
    fn what_can_be_no_address_is_refused() {
        for bad in ["a b", "../x", "unix:", ".hidden"] {
            assert!(matches!(chosen(Some(bad)), Err(Failure::Usage(_))), "{bad}");
        }
        assert_eq!(chosen(Some("")).ok(), Some("andiron"), "as an empty environment variable");
        assert_eq!(chosen(Some("unix:/x")).ok(), Some("unix:/x"));
    }
}
