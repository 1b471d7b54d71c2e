//! The secret that both ends of a connection have.

use std::fmt;
use std::str::FromStr;

use andiron_proto::Key;

use crate::{Error, ErrorKind, Result};

const PREFIX: &str = "andiron-secret-";

/// 256 random bits that both ends of a connection have.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random() -> Result<Secret> {
        let mut bytes = [0; 32];
        andiron_sys::random::fill(&mut bytes).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the system gives no random bytes: {error}"))
        })?;
        Ok(Secret(bytes))
    }

    pub(crate) fn key(&self) -> Key {
        Key::new(self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// As it stands in a file.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Secret {
    type Err = Error;

    fn from_str(text: &str) -> Result<Secret> {
        let refused =
            || Error::new(ErrorKind::BadArguments, "this is no secret; make one with `andiron secret new`");
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64).ok_or_else(refused)?;
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(2 * index..2 * index + 2).ok_or_else(refused)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refused())?;
        }
        Ok(Secret(bytes))
    }
}
