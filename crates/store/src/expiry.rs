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
pub(crate) type Expiries = BTreeSet<Expiring>;

/// A time of the steady clock as expiries have it. What is beyond 584 years is the last one.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
