//! Processes share live objects and data: expose an object, call its methods from any other process; put a value into the store, read it
//! from any other.
//!
//! | To | use |
//! | --- | --- |
//! | say which methods others may call | [`#[expose]`](macro@expose) on an `impl` block; it makes a typed proxy, `PlayerProxy` for `Player` |
//! | reach a server | [`connect`], or [`Hub::connect`] with an address: a [`Hub`] is one connection |
//! | call an object | [`Hub::object`] and its proxy; [`Hub::call`] without types; `start_…` methods and [`Pending`] to wait later |
//! | offer an object at a daemon | [`Hub::register`], then [`Hub::run`] |
//! | offer objects without a daemon | [`Server`] |
//! | test objects as others will call them, without an address | [`Server::new`] and [`Running::connect`] |
//! | be called back | pass a proxy of an own object as an argument: `PlayerProxy::from(player)` |
//! | know who calls, and whether anybody still waits | [`current`] in a handler |
//! | share values | [`Hub::store`] |
//! | know what went wrong | [`Error::kind`] |
//!
//! A server and its client, here in one process:
//!
//! ```
//! struct Adder;
//!
//! #[andiron::expose]
//! impl Adder {
//!     fn add(&self, a: i64, b: i64) -> i64 {
//!         a + b
//!     }
//! }
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let address = &format!("unix:{}/socket", folder.path().display());
//! let _server = andiron::Server::bind(address)?.object("adder", Adder)?.start()?;
//!
//! let adder: AdderProxy = andiron::Hub::connect(address)?.object("adder")?;
//! assert_eq!(adder.add(1, 2)?, 3);
//! # Ok::<(), andiron::Error>(())
//! ```
#![forbid(unsafe_code)]

// `#[expose]` writes `::andiron`, in here too.
extern crate self as andiron;

mod address;
#[cfg(feature = "tokio")]
pub mod aio;
mod arguments;
mod blob;
mod call;
mod connector;
mod context;
#[doc(hidden)]
pub mod engine;
mod error;
mod expose;
mod hub;
mod interface;
mod keyring;
mod line;
mod link;
mod listener;
mod lobby;
mod object;
mod pending;
mod pool;
mod proxy;
mod root;
mod secret;
mod security;
mod server;
mod store;
mod stream;
mod sync;
mod target;
mod task;
mod tls;
mod turnstile;

/// The address of the server where none is given.
pub const DEFAULT_ADDRESS: &str = "andiron";

pub use address::{Address, DEFAULT_PORT, Endpoint};
/// ```
/// struct Player {
///     position: f64,
/// }
///
/// /// Plays things.
/// #[andiron::expose]
/// impl Player {
///     // Without `self`: not exposed.
///     pub fn new() -> Self {
///         Player { position: 0.0 }
///     }
///
///     /// Moves to `seconds`; returns the new position.
///     fn seek(&mut self, seconds: f64) -> Result<f64, String> {
///         if seconds < 0.0 {
///             return Err("the beginning is at 0".into());
///         }
///         self.position = seconds;
///         Ok(self.position)
///     }
///
///     #[expose(oneway)]
///     fn log(&self, line: String) {
///         println!("{line}");
///     }
///
///     #[expose(skip)]
///     fn helper(&self) {}
/// }
///
/// let player = PlayerProxy::from(Player::new());
/// assert_eq!(player.seek(12.5)?, 12.5);
/// assert_eq!(player.seek(-1.0).unwrap_err().message(), "the beginning is at 0");
/// # Ok::<(), andiron::Error>(())
/// ```
pub use andiron_macros::expose;
pub use andiron_proto::codec::Value;
pub use andiron_proto::{ErrorKind, Limits};
pub use arguments::{Arguments, Reply};
pub use blob::{Blob, BlobMut};
pub use connector::Connector;
pub use context::{Context, current};
pub use error::{Error, Result};
pub use expose::{Access, Answering, Expose};
pub use hub::{Batch, Hub, connect};
pub use interface::{Interface, Method, Parameter};
pub use line::Signal;
pub use pending::Pending;
pub use proxy::Proxy;
pub use secret::{Rights, Secret, SecretFile};
pub use security::Security;
pub use server::{Running, Server};
pub use store::{Change, Changed, Durability, Entry, Listed, Put, Snapshot, Stats, Store, StoreCell, Watch};
pub use stream::{Stream, StreamIter};

#[doc(hidden)]
pub use blob::PassedDescriptor;
#[doc(hidden)]
pub use server::Hosting;
#[doc(hidden)]
pub use store::{Asking, Looking};

#[doc(hidden)]
pub use expose::private as __private;
