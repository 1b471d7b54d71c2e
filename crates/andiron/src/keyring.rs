//! The secrets that an end has: one that it was given, or those of a file, which may change while it runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use andiron_proto::{Auth, Key};

use crate::sync::lock;
use crate::{Error, ErrorKind, Result, Secret, SecretFile};

/// The secrets of one end.
pub(crate) enum Keyring {
    Given(Secret),
    File(Mutex<SecretFile>),
}

impl Keyring {
    /// The secrets in this file.
    pub(crate) fn open(path: PathBuf) -> Result<Keyring> {
        Ok(Keyring::File(Mutex::new(SecretFile::load(path)?)))
    }

    /// Those that a server takes now. Looks into the file again where it has changed.
    pub(crate) fn valid(&self) -> Result<Arc<[Secret]>> {
        let now = SystemTime::now();
        match self {
            Keyring::Given(secret) => {
                Ok([secret.clone()].into_iter().filter(|secret| secret.is_valid(now)).collect())
            }
            Keyring::File(file) => {
                let mut file = lock(file);
                if file.changed() {
                    *file = SecretFile::load(file.path())?;
                }
                Ok(file.valid(now).cloned().collect())
            }
        }
    }

    /// The one that a client proves to have.
    pub(crate) fn first(&self) -> Result<Arc<[Secret]>> {
        let now = SystemTime::now();
        match self {
            Keyring::Given(secret) if secret.is_valid(now) => Ok([secret.clone()].into()),
            Keyring::Given(_) => Err(Error::new(ErrorKind::Authentication, "the secret has ended")),
            Keyring::File(file) => Ok([lock(file).first_valid(now)?.clone()].into()),
        }
    }
}

/// How to prove to have one of these.
pub(crate) fn proof_of(secrets: &[Secret]) -> Result<Auth> {
    let mut nonce = [0; 32];
    andiron_sys::random::fill(&mut nonce).map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("the system gives no random bytes: {error}"))
            .with_source(error)
    })?;
    let keys: Vec<Key> = secrets.iter().map(Secret::key).collect();
    Ok(Auth::Secret { keys: keys.into(), nonce })
}
