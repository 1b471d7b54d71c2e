//! What `/proc` tells, as values. See proc(5).

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// How memory is used, in KiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub total_kib: u64,
    /// What programs could still get without swapping.
    pub available_kib: u64,
    /// Swap space in use.
    pub swapped_kib: u64,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name of its program, at most 15 bytes of it.
    pub name: String,
    /// What it does: R runs, S sleeps, Z ended, and so on.
    pub state: String,
    /// Memory that it occupies, in KiB.
    pub resident_kib: u64,
    /// How many threads it has.
    pub threads: u32,
}

/// One mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub device: String,
    /// Where.
    pub path: String,
    /// The kind of file system.
    pub kind: String,
    /// Whether nothing can be written there.
    pub read_only: bool,
}

/// Reads `/proc/meminfo`.
///
/// # Errors
/// Without `/proc`.
pub fn memory() -> io::Result<Memory> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let swapped = field(&text, "SwapTotal").saturating_sub(field(&text, "SwapFree"));
    Ok(Memory {
        total_kib: field(&text, "MemTotal"),
        available_kib: field(&text, "MemAvailable"),
        swapped_kib: swapped,
    })
}

/// Reads `/proc/PID/status` of all processes, by process id. Those that end meanwhile are left out.
///
/// # Errors
/// Without `/proc`.
pub fn processes() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        processes.push(Process {
            pid,
            name: word(&status, "Name").to_owned(),
            state: word(&status, "State").chars().take(1).collect(),
            resident_kib: field(&status, "VmRSS"),
            threads: u32::try_from(field(&status, "Threads")).unwrap_or(u32::MAX),
        });
    }
    processes.sort_by_key(|process| process.pid);
    Ok(processes)
}

/// Reads `/proc/self/mounts`.
///
/// # Errors
/// Without `/proc`.
pub fn mounts() -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mounts")?;
    let mounts = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, path) = (fields.next()?, fields.next()?);
        let (kind, options) = (fields.next()?, fields.next()?);
        Some(Mount {
            device: unescaped(device),
            path: unescaped(path),
            kind: kind.to_owned(),
            read_only: options.split(',').any(|option| option == "ro"),
        })
    });
    Ok(mounts.collect())
}

/// The rest of the line `name: ...`.
fn word<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// The number in the line `name: 123 kB`; 0 where there is none, as for a kernel thread.
fn field(text: &str, name: &str) -> u64 {
    word(text, name).split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A path with its spaces and the like, which stand as `\040` there.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'\\').then(|| tail.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_the_processes() {
        let own = std::process::id();
        let processes = processes().unwrap();
        let found = processes.iter().find(|process| process.pid == own).expect("it runs");
        assert!(found.resident_kib > 0 && found.threads > 0 && !found.name.is_empty());
    }

    #[test]
    fn memory_adds_up_and_the_root_is_mounted() {
        let memory = memory().unwrap();
        assert!(memory.available_kib <= memory.total_kib && memory.total_kib > 0);
        assert!(mounts().unwrap().iter().any(|mount| mount.path == "/"));
    }

    #[test]
    fn escaped_paths_are_readable() {
        assert_eq!(unescaped(r"/mnt/my\040disk\011a\134"), "/mnt/my disk\ta\\");
        assert_eq!(unescaped(r"odd\9"), r"odd\9");
    }
}
