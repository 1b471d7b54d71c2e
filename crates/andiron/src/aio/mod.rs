//! The same for asynchronous programs: what waits elsewhere in this crate is awaited here. On [tokio](https://docs.rs/tokio), with the feature `tokio`.
//!
//! [`connect`], [`Hub`], [`Proxy`], [`Store`] and [`Server`] have the names and methods of their counterparts outside of this module. For a
//! `Player` that is [exposed](macro@crate::expose) there is a `PlayerProxyAsync` beside the `PlayerProxy`. Each connection is one task of the
//! runtime in which it was made; calls are sent by whoever makes them, without a way through that task. Methods of exposed objects run on
//! it too: an `async fn` is polled there once, and becomes a task of its own only if it has to wait; any other method should not block.
//!
//! ```
//! struct Adder;
//!
//! #[andiron::expose]
//! impl Adder {
//!     async fn add(&self, a: i64, b: i64) -> i64 {
//!         a + b
//!     }
//! }
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let address = &format!("unix:{}/socket", folder.path().display());
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let _server = andiron::aio::Server::bind(address)?.object("adder", Adder)?.start()?;
//!
//! let hub = andiron::aio::Hub::connect(address).await?;
//! let adder: AdderProxyAsync = hub.object("adder").await?;
//! assert_eq!(adder.add(1, 2).await?, 3);
//! # Ok::<(), andiron::Error>(())
//! # })?;
//! # Ok::<(), andiron::Error>(())
//! ```

mod again;
mod drive;
mod hub;
mod proxy;
mod server;
mod store;

pub(crate) use again::CallAgain;
pub use hub::{Hub, connect};
pub use proxy::Proxy;
pub use server::{Running, Server};
pub use store::Store;
