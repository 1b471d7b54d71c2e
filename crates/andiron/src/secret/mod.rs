//! What both ends of a connection over a network hold, and prove to each other.

mod file;
mod rights;
mod text;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use andiron_proto::Key;
use andiron_proto::codec::{DateTime, Zone};
use sha2::{Digest, Sha256};

pub use self::file::SecretFile;
pub use self::rights::Rights;
use crate::{Error, ErrorKind, Result};

/// What every secret begins with: a program that looks for secrets where none should be can find it by this.
const PREFIX: &str = "andiron1-";
const KEY: usize = 32;
const CHECKSUM: usize = 4;

/// 256 random bits that both ends of a connection hold, and at a server what their holder may do. Never a password: one that is
/// made by a person can be guessed from what is said on the wire.
///
/// As text it is `andiron1-` and 58 characters, with a checksum, so that one that was mistyped is told as such. Neither `{:?}` nor an error shows it.
///
/// ```
/// let secret = andiron::Secret::new()?;
/// let copied: andiron::Secret = secret.text().parse()?;
/// assert_eq!(copied, secret);
/// assert!("open sesame".parse::<andiron::Secret>().is_err());
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    key: [u8; KEY],
    name: Option<String>,
    until: Option<SystemTime>,
    rights: Arc<Rights>,
}

impl Secret {
    /// A new one, with all rights and for ever.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> Result<Secret> {
        let mut key = [0; KEY];
        andiron_sys::random::fill(&mut key).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the system gives no random bytes: {error}"))
                .with_source(error)
        })?;
        Ok(Secret { key, name: None, until: None, rights: Arc::default() })
    }

    /// The same secret under a name, which a server tells in its log, where the secret itself never stands.
    pub fn with_name(self, name: Option<&str>) -> Secret {
        Secret { name: name.map(str::to_owned), ..self }
    }

    /// The same secret, of no use from that time on. Cut to seconds; a time beyond the year 9999 is no end.
    pub fn with_end(self, until: Option<SystemTime>) -> Secret {
        Secret { until: until.and_then(|until| whole_seconds(until).map(|(until, _)| until)), ..self }
    }

    /// The same secret for somebody who may do no more than this. It is the server's file that counts.
    pub fn with_rights(self, rights: Rights) -> Secret {
        Secret { rights: Arc::new(rights), ..self }
    }

    /// The secret itself, to be copied to where it is to be used: without name, end and rights.
    pub fn text(&self) -> String {
        let mut bytes = [0; KEY + CHECKSUM];
        bytes[..KEY].copy_from_slice(&self.key);
        bytes[KEY..].copy_from_slice(&checksum(&self.key));
        format!("{PREFIX}{}", text::to_base32(&bytes))
    }

    /// What is proven with it.
    pub fn key(&self) -> Key {
        Key::new(self.key)
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// When it ends, if it does.
    pub fn end(&self) -> Option<SystemTime> {
        self.until
    }

    /// True before its end.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// What its holder may do at the server in whose file it stands so.
    pub fn rights(&self) -> &Arc<Rights> {
        &self.rights
    }

    /// What both ends are told where somebody shows it after its end.
    pub(crate) fn obituary(&self) -> String {
        let name = self.name.as_ref().map_or_else(String::new, |name| format!(" named '{name}'"));
        let end =
            self.until.and_then(whole_seconds).map_or_else(String::new, |(_, end)| format!(" on {end}Z"));
        format!("the secret{name} ran out{end}: give the client the one that the server has now")
    }

    /// Its line in a file.
    fn line(&self) -> String {
        let mut line = self.text();
        if let Some(name) = &self.name {
            line += &format!(" name={}", text::encode(name));
        }
        if let Some((_, until)) = self.until.and_then(whole_seconds) {
            line += &format!(" until={until}Z");
        }
        line + &self.rights.to_string()
    }

    fn take_word(&mut self, word: &str, rights: &mut Rights) -> Result<()> {
        let unknown = || {
            let text = "behind a secret stand only `name=`, `until=`, `store=`, `authors=` and `objects=`, each at most once and with a value";
            Error::new(ErrorKind::Authentication, text)
        };
        let (key, value) = word.split_once('=').ok_or_else(unknown)?;
        match key {
            "name" => self.name = Some(text::decode(value)?),
            "until" => self.until = Some(read_time(value)?),
            _ => return rights.take_word(key, value).unwrap_or_else(|| Err(unknown())),
        }
        Ok(())
    }
}

/// Reads the text of a secret, or its line in a file, with the words behind it.
impl FromStr for Secret {
    type Err = Error;

    fn from_str(line: &str) -> Result<Secret> {
        let mut words = line.split_ascii_whitespace();
        let key = read_key(words.next().unwrap_or_default())?;
        let mut secret = Secret { key, name: None, until: None, rights: Arc::default() };
        let (mut rights, mut seen) = (Rights::default(), Vec::new());
        for word in words {
            secret.take_word(word, &mut rights)?;
            let kind = word.split('=').next();
            if seen.contains(&kind) {
                let text = "a word stands twice behind a secret";
                return Err(Error::new(ErrorKind::Authentication, text));
            }
            seen.push(kind);
        }
        Ok(secret.with_rights(rights))
    }
}

/// Without the secret itself.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("until", &self.until)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

fn read_key(text: &str) -> Result<[u8; KEY]> {
    let refused = |text| Err(Error::new(ErrorKind::Authentication, text));
    let Some(coded) = text.strip_prefix(PREFIX) else {
        return refused(
            "this is no secret: only what `andiron secret new` makes is one, because what people make up can be guessed",
        );
    };
    let Some(bytes) = text::from_base32::<{ KEY + CHECKSUM }>(coded) else {
        return refused(
            "this secret is damaged: it has other characters or another length than one that `andiron secret new` made; \
             copy it again from `andiron secret show`",
        );
    };
    let (key, sum) = bytes.split_first_chunk().expect("both lengths are constants");
    if sum != checksum(key) {
        return refused(
            "this secret is mistyped: its checksum is wrong; copy it again from `andiron secret show`",
        );
    }
    Ok(*key)
}

fn checksum(key: &[u8; KEY]) -> [u8; CHECKSUM] {
    let hash = Sha256::new().chain_update(PREFIX).chain_update(key).finalize();
    *hash.first_chunk().expect("a SHA-256 has 32 bytes")
}

fn read_time(text: &str) -> Result<SystemTime> {
    let wrong = || {
        let text =
            "`until=` is followed by a time with its offset from UTC, like `until=2026-12-01T00:00:00Z`";
        Error::new(ErrorKind::Authentication, text)
    };
    let time: DateTime = text.parse().map_err(|_| wrong())?;
    let offset = time.zone().map(Zone::offset).ok_or_else(wrong)?;
    let micros = u64::try_from(time.micros() - offset).map_err(|_| wrong())?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(micros / 1_000_000))
}

/// A time cut to seconds, and as text without its zone, which is UTC. `None` where no year of four digits has it.
fn whole_seconds(time: SystemTime) -> Option<(SystemTime, DateTime)> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    let text = DateTime::new(micros, false, None).ok()?;
    Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), text))
}

#[cfg(test)]
mod tests;
