//! Counting stale reads: one process writes numbers, another one reads them through its cache, and both look at a file in which the writer notes
//! what was acknowledged.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::say_ready;

/// Reads in which the last number has to come once it is acknowledged, else it never will: a cache that missed a write does not notice.
const IN_THE_END: u32 = 100_000;

/// A number in a store.
pub trait Register {
    /// Sets it. When this returns the store has acknowledged it.
    ///
    /// # Errors
    /// A call that failed.
    fn set(&mut self, number: u64) -> Result<()>;

    /// Reads it, from memory as far as the store's client thinks that it may.
    ///
    /// # Errors
    /// A call that failed.
    fn get(&mut self) -> Result<u64>;
}

/// Writes as many numbers as the line says that comes, one after the other.
///
/// # Errors
/// A call that failed, or no file.
pub fn write_numbers(register: &mut impl Register, socket: &Path) -> Result<()> {
    let acknowledged = File::create(noted(socket))?;
    let mut write = |number: u64| -> Result<()> {
        register.set(number)?;
        Ok(acknowledged.write_all_at(&number.to_ne_bytes(), 0)?)
    };
    write(0)?;
    say_ready()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    (1..=line.trim().parse()?).try_for_each(&mut write)
}

/// Reads until the number was written that the line says, and answers with how many reads there were, how many were older than what had been
/// acknowledged before they began, and whether the last number came in the end (1) or not (0).
///
/// # Errors
/// A call that failed, or no file.
pub fn read_numbers(register: &mut impl Register, socket: &Path) -> Result<()> {
    let acknowledged = File::open(noted(socket))?;
    register.get()?;
    say_ready()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let last: u64 = line.trim().parse()?;
    let (mut reads, mut stale) = (0_u64, 0_u64);
    loop {
        let before = noted_number(&acknowledged)?;
        let number = register.get()?;
        reads += 1;
        stale += u64::from(number < before);
        if before == last {
            break;
        }
    }
    let mut came = false;
    for _ in 0..IN_THE_END {
        came = came || register.get()? == last;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{reads} {stale} {}", u8::from(came))?;
    Ok(out.flush()?)
}

/// Twice, since the writer may be just writing it.
fn noted_number(file: &File) -> Result<u64> {
    let read = || -> Result<u64> {
        let mut number = [0; 8];
        file.read_exact_at(&mut number, 0).context("nothing was written")?;
        Ok(u64::from_ne_bytes(number))
    };
    loop {
        let number = read()?;
        if number == read()? {
            return Ok(number);
        }
    }
}

fn noted(socket: &Path) -> PathBuf {
    socket.with_extension("acknowledged")
}
