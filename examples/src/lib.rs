//! Facts about this machine: gathered from `/proc` once, read by many.
//!
//! The programs are `facts`, which gathers and answers, and `facts-watch`, which reads, asks and is called back. This library is what they
//! share: the types, and the object with its proxy.
#![forbid(unsafe_code)]

pub mod proc;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use andiron::{Proxy, Result};

use crate::proc::{Memory, Mount, Process};

/// The author of the facts in the store.
pub const AUTHOR: &str = "facts";

/// How long a watcher may take to hear of a change before it is forgotten.
const PATIENCE: Duration = Duration::from_secs(2);

/// The object `facts`. A clone is the same: the program keeps one to update it.
#[derive(Clone, Default)]
pub struct Facts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    now: Mutex<Snapshot>,
    watchers: Mutex<Vec<WatcherProxy>>,
}

/// Everything that was gathered at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// How memory is used.
    pub memory: Memory,
    /// The processes, by process id.
    pub processes: Vec<Process>,
    /// What is mounted where.
    pub mounts: Vec<Mount>,
}

/// Facts about this machine, gathered from /proc.
#[andiron::expose]
impl Facts {
    /// How memory is used.
    fn memory(&self) -> Memory {
        self.read(|facts| facts.memory.clone())
    }

    /// The processes that use the most memory, largest first.
    fn largest(&self, count: u32) -> Vec<Process> {
        let mut processes = self.read(|facts| facts.processes.clone());
        processes.sort_by_key(|process| std::cmp::Reverse(process.resident_kib));
        processes.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        processes
    }

    /// The processes with this name.
    fn find(&self, name: &str) -> Vec<Process> {
        self.read(|facts| facts.processes.iter().filter(|process| process.name == name).cloned().collect())
    }

    /// The file system that holds this absolute path.
    fn mount_of(&self, path: &str) -> Result<Mount, String> {
        let mounts = self.read(|facts| facts.mounts.clone());
        let holds = |mount: &&Mount| std::path::Path::new(path).starts_with(&mount.path);
        let found = mounts.iter().filter(holds).max_by_key(|mount| mount.path.len());
        found.cloned().ok_or_else(|| format!("`{path}` is no absolute path"))
    }

    /// Calls `watcher.changed(subject)` whenever something is new, until the watcher is gone.
    fn watch(&self, watcher: WatcherProxy) {
        let proxy: &Proxy = watcher.as_ref();
        let watcher = WatcherProxy::from(proxy.with_timeout(PATIENCE));
        lock(&self.0.watchers).push(watcher);
    }
}

impl Facts {
    /// Takes what was gathered, and tells the watchers which subjects it changed.
    pub fn update(&self, new: Snapshot) -> Vec<&'static str> {
        let old = std::mem::replace(&mut *lock(&self.0.now), new.clone());
        let mut changed = Vec::new();
        if old.memory != new.memory {
            changed.push("memory");
        }
        if old.processes != new.processes {
            changed.push("processes");
        }
        if old.mounts != new.mounts {
            changed.push("mounts");
        }
        changed
    }

    /// Calls the watchers. One that does not answer is forgotten.
    pub fn tell_watchers(&self, subject: &str) {
        let watchers = lock(&self.0.watchers).clone();
        for watcher in watchers {
            if watcher.changed(subject.to_owned()).is_err() {
                lock(&self.0.watchers).retain(|other| other.as_ref() != watcher.as_ref());
            }
        }
    }

    fn read<R>(&self, look: impl FnOnce(&Snapshot) -> R) -> R {
        look(&lock(&self.0.now))
    }
}

/// A thing that wants to know when facts change. Implemented by whoever watches.
pub struct Watcher(pub Box<dyn Fn(String) + Send + Sync>);

/// Is told what changed.
#[andiron::expose]
impl Watcher {
    /// The facts about `subject` are new.
    fn changed(&self, subject: String) {
        (self.0)(subject);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
