//! When entries expire.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// An entry with an expiry, in nanoseconds of the steady clock, sorted by that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiring {
    pub(crate) expiry: u64,
    pub(crate) author: Arc<str>,
    pub(crate) name: Box<str>,
}

/// The entries that expire, the next one first. The rest of them need no place here.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    /// Those that are taken out when their time is over.
    volatile: BTreeSet<Expiring>,
    /// Those that a disk has to forget first.
    persistent: BTreeSet<Expiring>,
}

impl Expiries {
    pub(crate) fn is_empty(&self) -> bool {
        self.volatile.is_empty() && self.persistent.is_empty()
    }

    pub(crate) fn insert(&mut self, expiring: Expiring, persistent: bool) {
        self.of(persistent).insert(expiring);
    }

    pub(crate) fn remove(&mut self, expiring: &Expiring, persistent: bool) {
        self.of(persistent).remove(expiring);
    }

    /// The next one that no disk knows, where its time is over.
    pub(crate) fn due(&self, now: u64) -> Option<&Expiring> {
        self.volatile.first().filter(|first| first.expiry <= now)
    }

    /// Those that a disk has to forget and whose time is over.
    pub(crate) fn due_on_disk(&self, now: u64) -> impl Iterator<Item = &Expiring> {
        self.persistent.iter().take_while(move |expiring| expiring.expiry <= now)
    }

    /// All whose time is over.
    pub(crate) fn all_due(&self, now: u64) -> impl Iterator<Item = &Expiring> {
        let volatile = self.volatile.iter().take_while(move |expiring| expiring.expiry <= now);
        volatile.chain(self.due_on_disk(now))
    }

    /// When the next one expires, without those that wait for a disk.
    pub(crate) fn next(&self, now: u64) -> Option<u64> {
        let behind = Expiring { expiry: now.saturating_add(1), author: "".into(), name: "".into() };
        let (a, b) = (self.volatile.first(), self.persistent.range(behind..).next());
        a.into_iter().chain(b).map(|expiring| expiring.expiry).min()
    }

    fn of(&mut self, persistent: bool) -> &mut BTreeSet<Expiring> {
        if persistent { &mut self.persistent } else { &mut self.volatile }
    }
}

/// A time of the steady clock as expiries have it. What is beyond 584 years is the last one.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
