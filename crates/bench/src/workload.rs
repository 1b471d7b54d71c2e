//! What is measured.

use anyhow::{Context, Result};

use crate::{IN_FLIGHT, Order};

/// What is measured. Small values have 24 bytes, big ones so many MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// `add(1, 2)`, one call after the other.
    SmallCall,
    /// The same, [`IN_FLIGHT`] calls on their way.
    Pipelined,
    /// The same on each of eight connections.
    Eight,
    /// To the bytes of small values that were read before, of a hundred keys in turn; of one by a handle.
    CachedGet,
    /// Whether a value that was read is current.
    Check,
    /// A small value that is not cached.
    Get,
    /// Setting a small value.
    Set,
    /// Setting a small value that outlives the daemon.
    Relaxed,
    /// Setting a small value that survives a power cut.
    Sync,
    /// The same by [`WRITERS`] at once, each with an entry of its own.
    SyncMany,
    /// To the first byte of a big value that is not cached.
    First(u16),
    /// Setting a big value that is frozen already.
    SetFrozen(u16),
    /// Filling a big value in place, and freezing it.
    Freeze(u16),
    /// Freezing a copy of what lies in ordinary memory.
    FreezeCopy(u16),
    /// Setting a big value from ordinary memory.
    SetCopy(u16),
    /// Every byte of a big value that is not cached.
    ReadAll(u16),
    /// Every byte of a big value that is here and was read before.
    ReadAgain(u16),
    /// What a [`Register`](crate::Register) gives back.
    Stale,
    /// What programs in Python do.
    Python(Python),
}

/// What programs in Python do. Small values are a dict of two entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Python {
    /// `add(1, 2)`, one call after the other.
    Call,
    /// The same of a task of `asyncio`.
    AsyncioCall,
    /// The same, ten thousand calls together.
    Batch,
    /// One item of a stream of numbers.
    Stream,
    /// A small value that is not cached.
    Get,
    /// A number that was read before.
    CachedInt,
    /// A small value that was read before, as the caller's own.
    CachedDict,
    /// A small value that was read before and has changed.
    ChangedGet,
    /// Setting a small value.
    Set,
    /// To the array of 64 MiB that is not cached.
    GetBig,
    /// Setting such an array from ordinary memory.
    SetBig,
    /// Sending such an array there and back.
    Echo,
    /// The same of one that was built where it can be passed on.
    EchoInPlace,
    /// A new interpreter.
    Import,
}

/// Calls of a batch.
const BATCH: usize = 10_000;

/// Items of a stream, at most.
const ITEMS: usize = 1_000_000;

impl Python {
    /// All of it.
    pub const ALL: [Python; 14] = [
        Python::Call,
        Python::AsyncioCall,
        Python::Batch,
        Python::Stream,
        Python::Get,
        Python::CachedInt,
        Python::CachedDict,
        Python::ChangedGet,
        Python::Set,
        Python::GetBig,
        Python::SetBig,
        Python::Echo,
        Python::EchoInPlace,
        Python::Import,
    ];

    fn name(self) -> &'static str {
        match self {
            Python::Call => "python call",
            Python::AsyncioCall => "python asyncio call",
            Python::Batch => "python batch",
            Python::Stream => "python stream",
            Python::Get => "python get",
            Python::CachedInt => "python cached get, int",
            Python::CachedDict => "python cached get, dict",
            Python::ChangedGet => "python changed get",
            Python::Set => "python set",
            Python::GetBig => "python get, 64 MiB",
            Python::SetBig => "python set, 64 MiB",
            Python::Echo => "python echo, 64 MiB",
            Python::EchoInPlace => "python echo in place, 64 MiB",
            Python::Import => "python import",
        }
    }

    /// Whether there is more to it than to wake another process.
    pub fn is_alone(self) -> bool {
        !matches!(self, Python::Call | Python::AsyncioCall | Python::Get | Python::Set)
    }

    /// Whether one takes so long that fewer are measured.
    pub fn is_long(self) -> bool {
        matches!(self, Python::Batch | Python::Stream | Python::Import) || self.is_big()
    }

    fn is_big(self) -> bool {
        matches!(self, Python::GetBig | Python::SetBig | Python::Echo | Python::EchoInPlace)
    }

    fn order(self, calls: usize) -> Order {
        match self {
            Python::AsyncioCall | Python::CachedInt | Python::CachedDict => Order::Looped(calls),
            Python::Batch => Order::Looped(calls.next_multiple_of(BATCH)),
            Python::Stream => Order::Looped(calls.min(ITEMS)),
            _ => Order::Sequential(calls),
        }
    }
}

/// Who write at once in [`Workload::SyncMany`].
pub const WRITERS: usize = 16;

/// Commits after which a log that is moved to its place now and then has its full length, so that no more room has to be found for it.
pub const LOG_FILLED: usize = 3000;

/// The size of a big value where there is only one, in MiB.
const BIG: u16 = 64;

impl Workload {
    /// All of which times are taken.
    pub const ALL: [Workload; 20] = [
        Workload::SmallCall,
        Workload::Pipelined,
        Workload::Eight,
        Workload::CachedGet,
        Workload::Check,
        Workload::Get,
        Workload::Set,
        Workload::Relaxed,
        Workload::Sync,
        Workload::SyncMany,
        Workload::First(1),
        Workload::First(8),
        Workload::First(BIG),
        Workload::First(512),
        Workload::SetFrozen(BIG),
        Workload::Freeze(BIG),
        Workload::FreezeCopy(BIG),
        Workload::SetCopy(BIG),
        Workload::ReadAll(BIG),
        Workload::ReadAgain(BIG),
    ];

    /// The one of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn of(name: &str) -> Result<Workload> {
        let python = Python::ALL.into_iter().map(Workload::Python);
        let mut all = Workload::ALL.into_iter().chain([Workload::Stale]).chain(python);
        all.find(|workload| workload.name() == name).with_context(|| format!("no workload {name}"))
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Workload::SmallCall => "small call".to_owned(),
            Workload::Pipelined => "pipelined".to_owned(),
            Workload::Eight => "pipelined x8".to_owned(),
            Workload::CachedGet => "cached get".to_owned(),
            Workload::Check => "check".to_owned(),
            Workload::Get => "get".to_owned(),
            Workload::Set => "set".to_owned(),
            Workload::Relaxed => "durable set, relaxed".to_owned(),
            Workload::Sync => "durable set, sync".to_owned(),
            Workload::SyncMany => format!("durable set, sync x{WRITERS}"),
            Workload::First(mib) => format!("first byte, {mib} MiB"),
            Workload::SetFrozen(mib) => format!("set frozen, {mib} MiB"),
            Workload::Freeze(mib) => format!("fill and freeze, {mib} MiB"),
            Workload::FreezeCopy(mib) => format!("freeze a copy, {mib} MiB"),
            Workload::SetCopy(mib) => format!("set copied, {mib} MiB"),
            Workload::ReadAll(mib) => format!("get all bytes, {mib} MiB"),
            Workload::ReadAgain(mib) => format!("read again, {mib} MiB"),
            Workload::Stale => "stale reads".to_owned(),
            Workload::Python(python) => python.name().to_owned(),
        }
    }

    /// The bytes of its values.
    pub fn length(self) -> usize {
        match self {
            Workload::First(mib)
            | Workload::SetFrozen(mib)
            | Workload::Freeze(mib)
            | Workload::FreezeCopy(mib)
            | Workload::SetCopy(mib)
            | Workload::ReadAll(mib)
            | Workload::ReadAgain(mib) => usize::from(mib) << 20,
            Workload::Python(python) if python.is_big() => usize::from(BIG) << 20,
            _ => 24,
        }
    }

    /// Whether a store answers it, and not an object.
    pub fn is_of_the_store(self) -> bool {
        !matches!(self, Workload::SmallCall | Workload::Pipelined | Workload::Eight)
    }

    /// Whether its values are big.
    pub fn is_big(self) -> bool {
        self.length() > 24
    }

    /// Whether a disk has to know of its values.
    pub fn is_durable(self) -> bool {
        matches!(self, Workload::Relaxed | Workload::Sync | Workload::SyncMany)
    }

    /// Whether they survive a power cut.
    pub fn is_synced(self) -> bool {
        matches!(self, Workload::Sync | Workload::SyncMany)
    }

    /// What a client is told to do so many calls.
    pub fn order(self, calls: usize) -> Order {
        match self {
            Workload::Pipelined => Order::Pipelined(1, calls),
            Workload::Eight => Order::Pipelined(8, calls.next_multiple_of(8)),
            Workload::SyncMany => Order::Pipelined(WRITERS, calls.next_multiple_of(WRITERS)),
            Workload::CachedGet | Workload::Check => Order::Looped(calls),
            Workload::Python(python) => python.order(calls),
            _ => Order::Sequential(calls),
        }
    }

    /// Calls of a first turn, to learn how many fill a turn.
    pub fn first_turn(self) -> usize {
        if self.is_big() || self == Workload::Python(Python::Import) { 2 } else { 16 * IN_FLIGHT }
    }
}
