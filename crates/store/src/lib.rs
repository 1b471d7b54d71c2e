//! The Andiron datastore engine: versioned entries by author and name, in memory, and the [`disk`] that keeps them for the time after.
//!
//! A [`Store`] is plain state behind one door: [`Store::apply`] takes an [`Op`] and the time, and gives a
//! [`Reply`] or a [`StoreError`]. It has no clock, no lock, no thread and no I/O: its owner locks it and says
//! what time it is. It never looks inside a value, with one exception: [`Op::Increment`] reads a number and writes another.
//!
//! - A key is an author and a name, any Unicode; no character or word is reserved ([`KeyRef`]).
//! - Every write takes the next 64-bit version of the store. Versions are never reused: they order writes, even
//!   when the clock is set back. A read that names the version it has is answered [`Reply::NotModified`] while
//!   that is current, so the store keeps nothing for each reader. A write may be tied to the version that it replaces ([`Put::if_version`]).
//! - A missing entry is [`Reply::Missing`], never an empty value; an error is never a value.
//! - An entry may expire ([`Put::ttl`]), by a clock that nobody sets. From then on it is missing. That is a write as well.
//! - What an operation changes is told before it can be seen ([`Effects`]), and what it removes is handed out to be freed elsewhere.
//! - What would pass a limit, of the store or of one author, is refused and changes nothing; or the oldest entries make room for it ([`Limits`]).
//! - A value is bytes, or whatever its owner keeps in their place ([`Value`]).
//!
//! Store and disk know nothing of each other: their owner asks the one and tells the other.
//!
//! ```
//! use andiron_store::{Codec, KeyRef, Now, Op, Put, Reply, Store, StoreStart};
//! use std::time::Duration;
//!
//! let wall = Duration::from_secs(1_700_000_000); // since the Unix epoch
//! let now = Now { wall, steady: Duration::from_secs(5) };
//! let mut store = Store::new(StoreStart { now: wall, incarnation: [7; 16], ..StoreStart::default() });
//!
//! let key = KeyRef::named("volume");
//! let set = Op::Set(Put::new(key, Codec(1), bytes::Bytes::from("20")));
//! let Reply::Set { version, timestamp } = store.apply(set, now, &mut ())? else { unreachable!() };
//! assert_eq!(timestamp, 1_700_000_000.0);
//!
//! let get = Op::Get { key, known: None, hits: 0 };
//! let Reply::Found(entry) = store.apply(get, now, &mut ())? else { unreachable!() };
//! assert_eq!((&entry.value[..], entry.version), (&b"20"[..], version));
//!
//! // Who has the current version is told so, and no value travels.
//! let get = Op::Get { key, known: Some(version), hits: 0 };
//! assert_eq!(store.apply(get, now, &mut ())?, Reply::NotModified { version, ttl_left: None });
//! # Ok::<(), andiron_store::StoreError>(())
//! ```
#![forbid(unsafe_code)]

mod ages;
mod counter;
pub mod disk;
mod effects;
mod entry;
mod error;
mod expiry;
mod key;
mod leaf;
mod limits;
mod op;
mod plan;
mod reserved;
mod room;
mod shelf;
mod store;
mod value;
mod view;
mod write;

pub use effects::{Discarded, Effects};
pub use entry::Entry;
pub use error::{Resource, StoreError};
pub use key::{DEFAULT_AUTHOR, Key, KeyRef};
pub use limits::{AUTHOR_OVERHEAD, ENTRY_OVERHEAD, Evict, Limits, TTL_OVERHEAD};
pub use op::{Codec, Listed, Now, Op, Page, Put, Reply};
pub use plan::{Plan, ToDisk};
pub use store::{Stats, Store, StoreStart};
pub use value::Value;
pub use view::View;
