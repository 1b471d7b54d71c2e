//! The engine: all entries, their versions and their limits.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Resource, StoreError};
use crate::key::{Key, KeyRef};
use crate::limits::{Limits, author_cost, entry_cost};
use crate::op::{Codec, Entry, Listed, Op, Page, Reply};
use crate::shelf::Shelf;

/// Values up to this many bytes are copied into a buffer of their own when they are set. They come as slices of
/// receive buffers, and a short value must not keep a whole receive buffer in memory. Longer values are shared as
/// they are.
pub const COPIED_UP_TO: usize = 16 << 10;

/// What a store starts with.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreStart {
    /// Random bytes that name this life of the store. Who cached something under another incarnation drops it.
    pub incarnation: [u8; 16],
    /// A version that no earlier life of the store went beyond; zero where nothing is kept.
    pub high_water: u64,
    /// The time, since the Unix epoch.
    pub now: Duration,
    /// How much the store may hold.
    pub limits: Limits,
}

/// All entries, in memory. See the [crate documentation](crate).
///
/// Every operation costs at most the logarithm of the number of entries, on average over many, except that a
/// listing also costs the length of its page and a clear the number of entries it removes. "On average", because a
/// hash table now and then moves: the one set that doubles the room of an author with a million entries takes some
/// hundred milliseconds.
#[derive(Debug)]
pub struct Store {
    /// Only authors who have entries.
    shelves: BTreeMap<Arc<str>, Shelf>,
    /// The version of the last write, or where counting started.
    version: u64,
    /// The sum over all shelves; never above the limit. So is `bytes`.
    len: usize,
    bytes: u64,
    incarnation: [u8; 16],
    limits: Limits,
}

impl Store {
    /// An empty store. Its first version is above both the high-water mark and the time in microseconds.
    pub fn new(start: StoreStart) -> Self {
        let micros = u64::try_from(start.now.as_micros()).unwrap_or(u64::MAX);
        Self {
            shelves: BTreeMap::new(),
            version: start.high_water.max(micros),
            len: 0,
            bytes: 0,
            incarnation: start.incarnation,
            limits: start.limits,
        }
    }

    /// Does one operation, all of it or nothing. `now` is the time since the Unix epoch; it may be behind an
    /// earlier one.
    ///
    /// # Errors
    ///
    /// [`StoreError`], if a set would pass a limit, or a write finds no version left. Reads do not fail.
    pub fn apply(&mut self, op: Op<'_>, now: Duration) -> Result<Reply, StoreError> {
        match op {
            Op::Get { key, known } => Ok(self.get(key, known)),
            Op::Set { key, codec, value } => self.set(key, codec, value, now),
            Op::Delete { key } => self.delete(key),
            Op::List { author, after, limit } => Ok(Reply::Listed(self.list(author, after, limit))),
            Op::Clear { author } => self.clear(author),
        }
    }

    /// The version of the last write; before the first one, where counting started.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The random bytes that name this life of the store.
    pub fn incarnation(&self) -> [u8; 16] {
        self.incarnation
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How much of [`Limits::max_bytes`] is taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much the store may hold.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn get(&self, key: KeyRef<'_>, known: Option<u64>) -> Reply {
        match self.entry(key) {
            None => Reply::Missing,
            Some(entry) if known == Some(entry.version) => Reply::NotModified { version: entry.version },
            Some(entry) => Reply::Found(entry.clone()),
        }
    }

    // A write first finds out, changing nothing, whether it may happen and under which version. From there on it
    // cannot fail. What must happen between the two (making it durable) has its place there.

    fn set(
        &mut self,
        key: KeyRef<'_>,
        codec: Codec,
        value: Bytes,
        now: Duration,
    ) -> Result<Reply, StoreError> {
        self.admit(key, value.len())?;
        let version = self.next_version()?;
        let timestamp = now.as_secs_f64();
        self.version = version;
        self.put(key, Entry { value: with_own_buffer(value), codec, version, timestamp });
        Ok(Reply::Set { version, timestamp })
    }

    fn delete(&mut self, key: KeyRef<'_>) -> Result<Reply, StoreError> {
        if self.entry(key).is_none() {
            return Ok(Reply::Deleted(None));
        }
        self.version = self.next_version()?;
        Ok(Reply::Deleted(self.remove(key)))
    }

    fn clear(&mut self, author: Option<&str>) -> Result<Reply, StoreError> {
        let (count, bytes) = match author {
            None => (self.len, self.bytes),
            Some(author) => self.shelves.get(author).map_or((0, 0), |shelf| (shelf.len(), shelf.bytes())),
        };
        if count == 0 {
            return Ok(Reply::Cleared { count });
        }
        self.version = self.next_version()?;
        match author {
            None => self.shelves.clear(),
            Some(author) => drop(self.shelves.remove(author)),
        }
        self.len -= count;
        self.bytes -= bytes;
        Ok(Reply::Cleared { count })
    }

    fn list(&self, author: Option<&str>, after: Option<KeyRef<'_>>, limit: usize) -> Page {
        let limit = limit.min(self.limits.max_page_entries);
        let mut page = Page::default();
        let mut key_bytes = 0;
        for (author, name, entry) in self.entries_after(author, after) {
            key_bytes += author.len() + name.len();
            let too_long = key_bytes > self.limits.max_page_bytes && !page.entries.is_empty();
            if page.entries.len() == limit || too_long {
                page.more = true;
                break;
            }
            page.entries.push(Listed {
                key: Key { author: Arc::clone(author), name: Arc::clone(name) },
                version: entry.version,
                timestamp: entry.timestamp,
                size: entry.value.len(),
            });
        }
        page
    }

    fn entry(&self, key: KeyRef<'_>) -> Option<&Entry> {
        self.shelves.get(key.author)?.entry(key.name)
    }

    /// The entries of one author, or of all, behind `after`, in the order of their keys.
    fn entries_after<'s>(
        &'s self,
        author: Option<&'s str>,
        after: Option<KeyRef<'s>>,
    ) -> impl Iterator<Item = (&'s Arc<str>, &'s Arc<str>, &'s Entry)> {
        let first = author.max(after.map(|after| after.author));
        // A range that ends before it starts would panic: `after` may lie behind all of the author's entries.
        let some_may_follow = author.is_none() || first == author;
        let start = first.map_or(Bound::Unbounded, Bound::Included);
        let end = author.map_or(Bound::Unbounded, Bound::Included);
        some_may_follow.then(|| self.shelves.range::<str, _>((start, end))).into_iter().flatten().flat_map(
            move |(author, shelf)| {
                let after = after.filter(|after| *after.author == **author).map(|after| after.name);
                shelf.entries_after(after).map(move |(name, entry)| (author, name, entry))
            },
        )
    }

    /// Whether the limits allow a value of this length under this key.
    fn admit(&self, key: KeyRef<'_>, value_len: usize) -> Result<(), StoreError> {
        let Limits { max_entries, max_bytes, max_key_bytes, .. } = self.limits;
        if key.len() > max_key_bytes {
            return Err(StoreError::KeyTooLong { bytes: key.len(), max: max_key_bytes });
        }
        let (author, entry) = (author_cost(key.author), entry_cost(key.name, value_len));
        if author + entry > max_bytes {
            return Err(StoreError::EntryTooLarge { bytes: author + entry, max: max_bytes });
        }
        let shelf = self.shelves.get(key.author);
        let old = shelf.and_then(|shelf| shelf.entry(key.name));
        if old.is_none() && self.len >= max_entries {
            return Err(StoreError::Full { resource: Resource::Entries, max: max_entries as u64 });
        }
        let freed = old.map_or(0, |old| entry_cost(key.name, old.value.len()));
        let added = if shelf.is_some() { entry } else { author + entry };
        // `bytes` and `added` are each at most `max_bytes`, which may be u64::MAX.
        if added > max_bytes - (self.bytes - freed) {
            return Err(StoreError::Full { resource: Resource::Bytes, max: max_bytes });
        }
        Ok(())
    }

    fn next_version(&self) -> Result<u64, StoreError> {
        self.version.checked_add(1).ok_or(StoreError::VersionsExhausted)
    }

    fn put(&mut self, key: KeyRef<'_>, entry: Entry) {
        let (shelf, bytes_before) = match self.shelves.get_mut(key.author) {
            Some(shelf) => {
                let bytes = shelf.bytes();
                (shelf, bytes)
            }
            None => {
                let place = self.shelves.entry(key.author.into());
                (place.or_insert_with(|| Shelf::new(key.author)), 0)
            }
        };
        if shelf.put(key.name, entry).is_none() {
            self.len += 1;
        }
        self.bytes = self.bytes - bytes_before + shelf.bytes();
    }

    fn remove(&mut self, key: KeyRef<'_>) -> Option<Entry> {
        let shelf = self.shelves.get_mut(key.author)?;
        let bytes_before = shelf.bytes();
        let entry = shelf.remove(key.name)?;
        let mut bytes_after = shelf.bytes();
        if shelf.len() == 0 {
            self.shelves.remove(key.author);
            bytes_after = 0;
        }
        self.len -= 1;
        self.bytes = self.bytes - bytes_before + bytes_after;
        Some(entry)
    }
}

fn with_own_buffer(value: Bytes) -> Bytes {
    if value.len() <= COPIED_UP_TO { Bytes::copy_from_slice(&value) } else { value }
}
