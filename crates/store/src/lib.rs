//! The Andiron datastore engine: versioned entries by author and name, in memory.
//!
//! A [`Store`] is plain state behind one door: [`Store::apply`] takes an [`Op`] and the time, and gives a
//! [`Reply`] or a [`StoreError`]. It has no clock, no lock, no thread and no I/O: its owner locks it and says
//! what time it is. It never looks inside a value.
//!
//! - A key is an author and a name, any Unicode; no character or word is reserved ([`KeyRef`]).
//! - Every write takes the next 64-bit version of the store. Versions are never reused: they order writes, even
//!   when the clock is set back. A read that names the version it has is answered [`Reply::NotModified`] while
//!   that is current, so the store keeps nothing for each reader.
//! - A missing entry is [`Reply::Missing`], never an empty value; an error is never a value.
//! - What would pass a limit is refused and changes nothing ([`Limits`]).
//!
//! ```
//! use andiron_store::{Codec, KeyRef, Op, Reply, Store, StoreStart};
//! use std::time::Duration;
//!
//! let now = Duration::from_secs(1_700_000_000); // since the Unix epoch
//! let mut store = Store::new(StoreStart { now, incarnation: [7; 16], ..StoreStart::default() });
//!
//! let key = KeyRef::named("volume");
//! let set = Op::Set { key, codec: Codec(1), value: "20".into() };
//! let Reply::Set { version, timestamp } = store.apply(set, now)? else { unreachable!() };
//! assert_eq!(timestamp, 1_700_000_000.0);
//!
//! let Reply::Found(entry) = store.apply(Op::Get { key, known: None }, now)? else { unreachable!() };
//! assert_eq!((&entry.value[..], entry.version), (&b"20"[..], version));
//!
//! // Who has the current version is told so, and no value travels.
//! let again = store.apply(Op::Get { key, known: Some(version) }, now)?;
//! assert_eq!(again, Reply::NotModified { version });
//! # Ok::<(), andiron_store::StoreError>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod key;
mod limits;
mod op;
mod shelf;
mod store;

pub use error::{Resource, StoreError};
pub use key::{DEFAULT_AUTHOR, Key, KeyRef};
pub use limits::{AUTHOR_OVERHEAD, ENTRY_OVERHEAD, Limits};
pub use op::{Codec, Entry, Listed, Op, Page, Reply};
pub use store::{COPIED_UP_TO, Store, StoreStart};
