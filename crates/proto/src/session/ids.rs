//! Maps keyed by the numbers of calls, bodies and objects.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A map from call, body or object ids, which are hashed at almost no cost.
pub type IdMap<T> = HashMap<u64, T, IdHashing>;

/// Many of the numbers are the peer's choice: the seed keeps it from choosing ones that collide.
#[derive(Clone, Debug)]
pub struct IdHashing(u64);

impl Default for IdHashing {
    fn default() -> IdHashing {
        IdHashing(RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for IdHashing {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(self.0)
    }
}

/// One multiplication for each number.
#[derive(Clone, Debug)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, id: u64) {
        let product = u128::from(self.0 ^ id) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}
