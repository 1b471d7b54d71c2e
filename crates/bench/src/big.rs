//! What memory itself takes, for what Andiron does with big values.

use std::hint::black_box;

use andiron_bench::{Client, Laps, Workload};
use anyhow::{Result, bail};

/// Copies or reads memory of this process that was touched before.
pub(crate) struct Memory {
    workload: Workload,
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Memory {
    pub(crate) fn new(workload: Workload) -> Memory {
        Memory { workload, from: vec![1; workload.length()], to: vec![2; workload.length()] }
    }
}

impl Client for Memory {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        match self.workload {
            Workload::SetCopy(_) => {
                while laps.next() {
                    self.to.copy_from_slice(black_box(&self.from));
                    black_box(&mut self.to);
                }
            }
            Workload::ReadAll(_) | Workload::ReadAgain(_) => {
                while laps.next() {
                    black_box(sum(black_box(&self.from)));
                }
            }
            other => bail!("no part in {}", other.name()),
        }
        Ok(())
    }
}

/// Reads every byte.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let rest = rest.iter().fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    words.iter().fold(rest, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)))
}
