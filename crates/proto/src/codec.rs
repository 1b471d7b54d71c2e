//! The native codec.
