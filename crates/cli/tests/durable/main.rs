//! What was acknowledged as persistent is there, whatever dies: real daemons on real files, and what is done to both.
//!
//! The daemon is killed at any moment ([`kill`]), with clients whose deeds and knowledge are [`model`]; its disk is full ([`full`]), or its files are taken away,
//! damaged, somebody else's or in use ([`bad`]). What went wrong in the stores before this one has a test each ([`faults`]).
//!
//! `ANDIRON_KILL_ROUNDS` is how often it is killed (default 200), `ANDIRON_FUZZ_SEED` repeats what is done and, as far as that can be, when the kill comes.

#[path = "../common/mod.rs"]
mod common;

mod bad;
mod faults;
mod full;
mod kill;
mod model;
