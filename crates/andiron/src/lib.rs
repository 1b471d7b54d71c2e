//! Processes share live objects and data: expose an object, call its methods from any other process.
#![forbid(unsafe_code)]

// `#[expose]` writes `::andiron`, in here too.
extern crate self as andiron;

mod arguments;
mod call;
mod context;
mod error;
mod expose;
mod hub;
mod interface;
mod link;
mod object;
mod pool;
mod proxy;
mod root;
mod server;
mod store;
mod sync;
mod target;
mod turnstile;

/// The address of the server where none is given.
pub const DEFAULT_ADDRESS: &str = "andiron";

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
pub use context::{Context, current};
pub use error::{Error, Result};
pub use expose::{Access, Expose};
pub use hub::{Batch, Hub, connect};
pub use interface::{Interface, Method, Parameter};
pub use proxy::{Pending, Proxy};
pub use server::{Running, Server};
pub use store::{Changed, Entry, Listed, Store};

#[doc(hidden)]
pub use server::Hosting;

#[doc(hidden)]
pub use expose::private as __private;
