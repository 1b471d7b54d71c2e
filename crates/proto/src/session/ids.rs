//! Maps keyed by numbers that count upwards.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map from call, body or object ids, which are hashed at almost no cost.
pub type IdMap<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

/// Spreads consecutive numbers. A peer that chooses its ids badly slows its own session only.
#[derive(Clone, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}
