//! What whoever holds a secret may do.

use std::collections::BTreeSet;
use std::fmt;

use super::text;
use crate::{Error, ErrorKind, Result};

/// What a peer may do at this end: everything, unless the line of its secret in the server's [`SecretFile`](crate::SecretFile) says less. A
/// Unix socket gives all rights.
///
/// ```
/// let mut rights = andiron::Rights::default();
/// assert!(rights.is_full() && rights.may_call("player"));
/// rights.objects = Some(["facts".to_owned()].into());
/// assert!(!rights.may_call("player"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rights {
    /// The store may be read, and not written.
    pub read_only_store: bool,
    /// The authors whose entries of the store may be read and written; `None`: of all.
    pub authors: Option<BTreeSet<String>>,
    /// The names of the objects that may be found, of which the store is one; `None`: all. What a method of theirs returns may be called too, as
    /// ever. Where this is set, no objects can be registered.
    pub objects: Option<BTreeSet<String>>,
}

impl Rights {
    pub(crate) fn full() -> &'static Rights {
        static FULL: Rights = Rights { read_only_store: false, authors: None, objects: None };
        &FULL
    }

    /// True where nothing is forbidden.
    pub fn is_full(&self) -> bool {
        self == Rights::full()
    }

    /// True where the object of this name may be found.
    pub fn may_call(&self, object: &str) -> bool {
        self.objects.as_ref().is_none_or(|objects| objects.contains(object))
    }

    /// True where entries of this author may be read and, unless the store is read-only, written.
    pub fn may_use(&self, author: &str) -> bool {
        self.authors.as_ref().is_none_or(|authors| authors.contains(author))
    }

    /// Takes one of the words that stand behind a secret. `None` where it is another kind of word.
    pub(super) fn take_word(&mut self, key: &str, value: &str) -> Option<Result<()>> {
        let list = match key {
            "store" if value == "read-only" => {
                self.read_only_store = true;
                return Some(Ok(()));
            }
            "store" => {
                let text = "`store=` can only be followed by `read-only`";
                return Some(Err(Error::new(ErrorKind::Authentication, text)));
            }
            "authors" => &mut self.authors,
            "objects" => &mut self.objects,
            _ => return None,
        };
        if value.is_empty() {
            *list = Some(BTreeSet::new());
            return Some(Ok(()));
        }
        Some(value.split(',').map(text::decode).collect::<Result<_>>().map(|read| *list = Some(read)))
    }
}

/// The words that say so in a file, each with a space before it.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.read_only_store {
            f.write_str(" store=read-only")?;
        }
        for (key, names) in [("authors", &self.authors), ("objects", &self.objects)] {
            let Some(names) = names else { continue };
            let encoded: Vec<String> = names.iter().map(|name| text::encode(name)).collect();
            // Nothing behind the `=` means nobody, so the name that is empty stands there twice where it is alone.
            let list = if encoded == [""] { ",".to_owned() } else { encoded.join(",") };
            write!(f, " {key}={list}")?;
        }
        Ok(())
    }
}
