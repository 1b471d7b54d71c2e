//! The Andiron datastore engine.
#![forbid(unsafe_code)]
