//! What a process needs to host Andiron: objects of its own, objects that other processes register, and the datastore.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let address = format!("unix:{}/socket", folder.path().display());
//! let running = andiron_daemon::Daemon::bind(&address)?.start()?;
//!
//! let store = andiron::Hub::connect(&address)?.store();
//! store.set("x", &20)?;
//! assert_eq!(store.get::<i64>("x")?, Some(20));
//! running.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod answers;
mod archive;
mod daemon;
mod durable;
mod history;
mod housekeeper;
mod kept;
mod listing;
mod places;
mod shared;
mod stamps;
mod state;
mod store;
mod sync;
mod waiting;
mod watch;

pub use andiron_store::{Evict, Limits as StoreLimits};
pub use daemon::{Daemon, Options};
pub use state::state_folder;
