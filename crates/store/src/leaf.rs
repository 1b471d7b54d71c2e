//! A few entries that are neighbours in the order of their names, packed close together.

use crate::entry::{Stored, Written};
use crate::value::Value;

/// Entries in a leaf, and bytes of their names and packed values: one that would have more is split.
pub(crate) const MOST_RECORDS: usize = 64;
pub(crate) const MOST_BYTES: usize = 4096;
/// A value of so many bytes is packed between others. A longer one is kept beside them, so that what has to be moved for a write stays little.
pub(crate) const PACKED_UP_TO: usize = 128;
/// How many prints are looked at in one step.
const PRINTS_AT_ONCE: usize = 32;
/// Of a packed expiry.
const EXPIRY: usize = 8;

/// The entries of a leaf, sorted by name.
///
/// Names stand one behind the other in one text, and so do short values, each with the expiry of its entry behind it if it has one. The records say
/// where each ends. So an entry costs little more than its bytes: nothing is allocated for one entry alone, unless its value is long.
#[derive(Clone, Debug)]
pub(crate) struct Leaf<V> {
    records: Vec<Record>,
    /// A byte of each name's hash, by which one is found without reading the others.
    prints: Vec<u8>,
    names: String,
    bytes: Vec<u8>,
    /// The values that are not packed, in the order of their records.
    values: Vec<V>,
}

/// What is known about an entry besides its name and value.
#[derive(Clone, Copy, Debug)]
struct Record {
    version: u64,
    timestamp: f64,
    /// Where in `names` and `bytes` what belongs to it ends. It begins where that of the record before ends.
    name_end: u32,
    bytes_end: u32,
    codec: crate::op::Codec,
    /// Whether its value is in `bytes`, or else in `values`.
    packed: bool,
    expires: bool,
    persistent: bool,
    planned: bool,
}

impl<V> Default for Leaf<V> {
    fn default() -> Self {
        Leaf {
            records: Vec::new(),
            prints: Vec::new(),
            names: String::new(),
            bytes: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<V: Value> Leaf<V> {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// What counts for [`MOST_BYTES`].
    pub(crate) fn packed_bytes(&self) -> usize {
        self.names.len() + self.bytes.len()
    }

    /// The place of a name that is there.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let wanted = print_of(name);
        let chunks = (0..).step_by(PRINTS_AT_ONCE).zip(self.prints.chunks(PRINTS_AT_ONCE));
        // A processor looks at a chunk in one step.
        let chunks =
            chunks.filter(|(_, prints)| prints.iter().fold(false, |any, print| any | (*print == wanted)));
        chunks
            .flat_map(|(start, prints)| (start..).zip(prints).filter(|(_, print)| **print == wanted))
            .map(|(at, _)| at)
            .find(|at| self.name(*at) == name)
    }

    /// How many names are before this one.
    pub(crate) fn before(&self, name: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.name(middle) < name { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(crate) fn name(&self, at: usize) -> &str {
        let (start, _) = self.starts(at);
        &self.names[start..self.records[at].name_end as usize]
    }

    pub(crate) fn stored(&self, at: usize) -> Stored<'_, V> {
        let Record { version, timestamp, bytes_end, codec, packed, expires, persistent, planned, .. } =
            self.records[at];
        let bytes = &self.bytes[self.starts(at).1..bytes_end as usize];
        let (bytes, expiry) = if expires {
            let (bytes, expiry) =
                bytes.split_last_chunk::<EXPIRY>().expect("an expiry stands behind its value");
            (bytes, Some(u64::from_le_bytes(*expiry)))
        } else {
            (bytes, None)
        };
        let kept = if packed { None } else { Some(&self.values[self.kept_before(at)]) };
        let name = self.name(at);
        Stored { name, version, timestamp, codec, expiry, persistent, planned, packed: bytes, kept }
    }

    pub(crate) fn insert(&mut self, at: usize, name: &str, written: Written<V>) {
        let (name_start, bytes_start) = self.starts(at);
        make_room(&mut self.records, 1);
        let (length, room) = (name.len(), self.names.capacity() - self.names.len());
        if room < length {
            self.names.reserve_exact(length + self.names.len() / 8);
        }
        self.names.insert_str(name_start, name);
        let Written { version, timestamp, codec, persistent, .. } = written;
        // Ends where it begins until the value is there.
        let (name_end, bytes_end) = (end(name_start), end(bytes_start));
        let record = Record {
            version,
            timestamp,
            name_end,
            bytes_end,
            codec,
            packed: true,
            expires: false,
            persistent,
            planned: false,
        };
        self.records.insert(at, record);
        make_room(&mut self.prints, 1);
        self.prints.insert(at, print_of(name));
        for record in &mut self.records[at..] {
            record.name_end = end(record.name_end as usize + length);
        }
        self.fill(at, written);
    }

    /// Puts another value in the place of one. Gives the old one where it was not packed.
    pub(crate) fn replace(&mut self, at: usize, written: Written<V>) -> Option<V> {
        let kept = self.take_kept(at);
        self.fill(at, written);
        kept
    }

    /// Takes an entry out. Gives its value where it was not packed.
    pub(crate) fn remove(&mut self, at: usize) -> Option<V> {
        let kept = self.take_kept(at);
        let (name_start, bytes_start) = self.starts(at);
        let Record { name_end, bytes_end, .. } = self.records[at];
        let (name, bytes) = (name_start..name_end as usize, bytes_start..bytes_end as usize);
        self.records.remove(at);
        self.prints.remove(at);
        for record in &mut self.records[at..] {
            record.name_end -= end(name.len());
            record.bytes_end -= end(bytes.len());
        }
        self.names.replace_range(name, "");
        self.bytes.drain(bytes);
        self.give_back_most();
        kept
    }

    /// Says whether a disk has the entry as well, and whether a write of it is planned.
    pub(crate) fn mark(&mut self, at: usize, persistent: bool, planned: bool) {
        let record = &mut self.records[at];
        *record = Record { persistent, planned, ..*record };
    }

    /// Takes the entries from there on into a leaf of their own.
    pub(crate) fn split_off(&mut self, at: usize) -> Leaf<V> {
        let ((name_start, bytes_start), kept) = (self.starts(at), self.kept_before(at));
        let mut records = self.records.split_off(at);
        for record in &mut records {
            record.name_end -= end(name_start);
            record.bytes_end -= end(bytes_start);
        }
        let (prints, names) = (self.prints.split_off(at), self.names.split_off(name_start));
        let (bytes, values) = (self.bytes.split_off(bytes_start), self.values.split_off(kept));
        self.give_back_room();
        Leaf { records, prints, names, bytes, values }
    }

    /// Takes in the entries of the leaf that follows.
    pub(crate) fn append(&mut self, next: Leaf<V>) {
        let (name_start, bytes_start) = (self.names.len(), self.bytes.len());
        let moved = next.records.into_iter().map(|record| Record {
            name_end: end(record.name_end as usize + name_start),
            bytes_end: end(record.bytes_end as usize + bytes_start),
            ..record
        });
        self.records.extend(moved);
        self.prints.extend(next.prints);
        self.names.push_str(&next.names);
        self.bytes.extend(next.bytes);
        self.values.extend(next.values);
        self.give_back_room();
    }

    pub(crate) fn give_back_room(&mut self) {
        self.records.shrink_to_fit();
        self.prints.shrink_to_fit();
        self.names.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Bytes that it takes, besides what its values hold.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
            + self.names.capacity()
            + self.bytes.capacity()
            + self.values.capacity() * size_of::<V>()
    }

    /// Gives room back where more than half of it is not needed.
    fn give_back_most(&mut self) {
        let needless = |room: usize, used: usize, few: usize| room > 2 * used + few;
        if needless(self.records.capacity(), self.len(), 4)
            || needless(self.bytes.capacity(), self.bytes.len(), 256)
            || needless(self.values.capacity(), self.values.len(), 4)
        {
            self.give_back_room();
        }
    }

    /// Where the name and the bytes of a record begin.
    fn starts(&self, at: usize) -> (usize, usize) {
        match at.checked_sub(1) {
            None => (0, 0),
            Some(before) => {
                let Record { name_end, bytes_end, .. } = self.records[before];
                (name_end as usize, bytes_end as usize)
            }
        }
    }

    fn kept_before(&self, at: usize) -> usize {
        self.records[..at].iter().filter(|record| !record.packed).count()
    }

    fn take_kept(&mut self, at: usize) -> Option<V> {
        (!self.records[at].packed).then(|| {
            let kept = self.kept_before(at);
            self.records[at].packed = true;
            self.values.remove(kept)
        })
    }

    /// Writes what belongs to a record, whose value is not in `values`, over its bytes.
    fn fill(&mut self, at: usize, written: Written<V>) {
        let Written { version, timestamp, codec, expiry, persistent, value } = written;
        let expiry_bytes = expiry.map(u64::to_le_bytes);
        let expiry_bytes = expiry_bytes.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        let short = value.bytes().filter(|bytes| bytes.len() <= PACKED_UP_TO);
        let packed = short.is_some();
        let short = short.unwrap_or_default();
        let (start, length) = (self.starts(at).1, short.len() + expiry_bytes.len());
        let before = self.records[at].bytes_end as usize - start;
        if before == length {
            let place = &mut self.bytes[start..start + length];
            place[..short.len()].copy_from_slice(short);
            place[short.len()..].copy_from_slice(expiry_bytes);
        } else {
            make_room(&mut self.bytes, length.saturating_sub(before));
            let bytes = short.iter().chain(expiry_bytes).copied();
            self.bytes.splice(start..start + before, bytes);
            for record in &mut self.records[at..] {
                record.bytes_end = end(record.bytes_end as usize + length - before);
            }
        }
        let record = &mut self.records[at];
        let (expires, planned) = (expiry.is_some(), false);
        *record = Record { version, timestamp, codec, packed, expires, persistent, planned, ..*record };
        if !packed {
            let place = self.kept_before(at);
            make_room(&mut self.values, 1);
            self.values.insert(place, value);
        }
        self.give_back_most();
    }
}

/// The byte that stands for a name. Names that have the same one cost some time, and nothing else.
fn print_of(name: &str) -> u8 {
    let chunks = name.as_bytes().chunks(8).map(|chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(bytes)
    });
    let mix = |hash: u64, chunk: u64| (hash.rotate_left(5) ^ chunk).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [.., print] = chunks.fold(0, mix).to_le_bytes();
    print
}

/// A place in a leaf. A leaf has at most four names that are longer than [`MOST_BYTES`], each at most
/// [`LONGEST_KEY`](crate::limits::LONGEST_KEY) long.
fn end(place: usize) -> u32 {
    u32::try_from(place).expect("a leaf is shorter than 4 GiB")
}

/// Growing by an eighth, where a vector of its own doubles its room: there are many leaves, and what they do not use adds up.
fn make_room<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more + vec.len() / 8);
    }
}
