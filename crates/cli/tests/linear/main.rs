//! Whatever processes do to the store at the same time, and whatever is done to them and to the daemon: each operation happens at one moment
//! between its begin and its answer, and everybody sees the same order. Nothing stale is read, nothing is lost or done twice, nothing comes back.
//!
//! Real processes ([`client`]) write down what they do ([`journal`]), and what they wrote is checked ([`checker`]) when a
//! scene is over ([`scenes`]). That the checker finds what is wrong is shown with histories that are ([`known`]), and with a store that writes
//! in the wrong order ([`mutation`]).
//!
//! `ANDIRON_LINEAR_SEED` repeats the choices of a scene; each prints its seed. `ANDIRON_LINEAR_ROUNDS` is how many things happen in a
//! scene (default 30).

#[path = "../common/mod.rs"]
mod common;

mod big;
mod checker;
mod client;
mod every_order;
mod history;
mod journal;
mod known;
mod line;
mod mutation;
mod scenes;
