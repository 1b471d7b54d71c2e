//! Records as rows, wherever they are: in the store, in a snapshot, in a backup.

use std::io;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Params, Row, Statement};

use super::{BIG_VALUE, Loaded, Record, Unreadable, values};
use crate::key::KeyRef;
use crate::op::Codec;

/// The columns of a record, in the order in which [`visit`] reads them.
macro_rules! columns {
    () => {
        "author, name, version, timestamp, codec, expires_at, value, file, checksum"
    };
}
pub(super) use columns;

/// Where the values are that are not in their row.
#[derive(Clone, Copy, Debug)]
pub(super) enum BigValues<'a> {
    /// In files of this folder.
    Files(&'a Path),
    /// In pieces, in the database itself.
    Pieces(&'a Connection),
}

/// A piece of a big value in a backup.
pub(super) const PIECES: &str = "
    CREATE TABLE pieces (
        file INTEGER NOT NULL, piece INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (file, piece)
    ) STRICT;
";

impl BigValues<'_> {
    /// Reads a value over what is in the buffer. `Err` tells what is wrong with it.
    fn read(self, number: u64, buffer: &mut Vec<u8>) -> rusqlite::Result<Result<(), String>> {
        match self {
            BigValues::Files(folder) => Ok(match values::read(folder, number, buffer) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err("its file is not there".to_owned())
                }
                Err(error) => Err(format!("its file cannot be read: {error}")),
            }),
            BigValues::Pieces(connection) => {
                buffer.clear();
                let select = "SELECT bytes FROM pieces WHERE file = ? ORDER BY piece";
                let mut pieces = connection.prepare_cached(select)?;
                let mut pieces = pieces.query([number.cast_signed()])?;
                while let Some(piece) = pieces.next()? {
                    buffer.extend_from_slice(piece.get_ref(0)?.as_blob()?);
                }
                Ok(if buffer.is_empty() { Err("its value is not there".to_owned()) } else { Ok(()) })
            }
        }
    }
}

/// Gives each record of a query of [`columns!`].
pub(super) fn visit(
    statement: &mut Statement<'_>,
    parameters: impl Params,
    big: BigValues<'_>,
    each: &mut dyn FnMut(Record<'_>),
) -> rusqlite::Result<Loaded> {
    visit_rows(statement, parameters, big, |record, _| {
        each(record);
        Ok(())
    })
}

/// The same, with the row: what stands in it behind these columns is the caller's.
pub(super) fn visit_rows(
    statement: &mut Statement<'_>,
    parameters: impl Params,
    big: BigValues<'_>,
    mut each: impl FnMut(Record<'_>, &Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<Loaded> {
    let (mut loaded, mut buffer) = (Loaded::default(), Vec::new());
    let mut rows = statement.query(parameters)?;
    while let Some(row) = rows.next()? {
        let (mut record, file, checksum) = columns_of(row)?;
        let read = match file {
            Some(number) => big.read(number, &mut buffer)?,
            None => Ok(()),
        };
        if file.is_some() {
            record.value = &buffer;
        }
        let whole = read.and_then(|()| match checksum_of(&record) == checksum {
            true => Ok(()),
            false => Err("it is not as it was written".to_owned()),
        });
        match whole {
            Ok(()) => {
                loaded.records += 1;
                each(record, row)?;
            }
            Err(why) => loaded.unreadable.push(Unreadable { key: record.key.into(), why }),
        }
    }
    Ok(loaded)
}

fn columns_of<'r>(row: &'r Row<'_>) -> rusqlite::Result<(Record<'r>, Option<u64>, u64)> {
    let value = match row.get_ref(6)? {
        ValueRef::Null => &[],
        value => value.as_blob()?,
    };
    let record = Record {
        key: KeyRef::new(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?),
        version: row.get::<_, i64>(2)?.cast_unsigned(),
        timestamp: row.get(3)?,
        codec: Codec(row.get(4)?),
        expires_at: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
        value,
    };
    Ok((record, row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned), row.get::<_, i64>(8)?.cast_unsigned()))
}

/// Writes a record, in place of one with the same key, with a statement whose first nine parameters are [`columns!`].
/// `file` is where its value is, if that is big.
pub(super) fn put(
    statement: &mut Statement<'_>,
    record: &Record<'_>,
    file: Option<u64>,
) -> rusqlite::Result<()> {
    let KeyRef { author, name } = record.key;
    statement.raw_bind_parameter(1, author)?;
    statement.raw_bind_parameter(2, name)?;
    statement.raw_bind_parameter(3, record.version.cast_signed())?;
    statement.raw_bind_parameter(4, record.timestamp)?;
    statement.raw_bind_parameter(5, record.codec.0)?;
    statement.raw_bind_parameter(6, record.expires_at.map(u64::cast_signed))?;
    statement.raw_bind_parameter(7, file.is_none().then_some(record.value))?;
    statement.raw_bind_parameter(8, file.map(u64::cast_signed))?;
    statement.raw_bind_parameter(9, checksum_of(record).cast_signed())?;
    statement.raw_execute().map(drop)
}

pub(super) fn is_big(record: &Record<'_>) -> bool {
    record.value.len() >= BIG_VALUE
}

/// The one value of a query, if there is a row.
pub(super) fn number(connection: &Connection, select: &str) -> rusqlite::Result<u64> {
    let found = connection.query_row(select, [], |row| row.get::<_, i64>(0)).optional()?;
    Ok(found.unwrap_or(0).cast_unsigned())
}

/// What tells a record that was written from one that was damaged. Part of the format.
pub(super) fn checksum_of(record: &Record<'_>) -> u64 {
    let mut sum = Checksum::default();
    let KeyRef { author, name } = record.key;
    sum.add(author.as_bytes());
    sum.add(name.as_bytes());
    sum.mix(0, record.version);
    sum.mix(0, record.timestamp.to_bits());
    sum.mix(0, u64::from(record.codec.0));
    sum.mix(0, u64::from(record.expires_at.is_some()));
    sum.mix(0, record.expires_at.unwrap_or(0));
    sum.add(record.value);
    sum.finish()
}

/// A checksum of 64 bits. Four lanes, so that it is as fast as memory; each step can be undone, so a change of one word changes the sum.
#[derive(Default)]
pub(super) struct Checksum([u64; 4]);

impl Checksum {
    pub(super) fn mix(&mut self, lane: usize, word: u64) {
        let lane = &mut self.0[lane];
        *lane = (lane.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.mix(0, bytes.len() as u64);
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, word) in words.iter().enumerate() {
                self.mix(lane, u64::from_le_bytes(*word));
            }
        }
        for chunk in rest.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(0, u64::from_le_bytes(word));
        }
    }

    pub(super) fn finish(mut self) -> u64 {
        for lane in 1..4 {
            let word = self.0[lane];
            self.mix(0, word);
        }
        let sum = self.0[0];
        // The high bits have heard of every bit, the low ones have not.
        sum ^ (sum >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &[u8]) -> Record<'_> {
        Record {
            key: KeyRef::new("author", "name"),
            version: 1_700_000_000_000_001,
            timestamp: 1.7e9,
            codec: Codec(1),
            expires_at: None,
            value,
        }
    }

    #[test]
    fn each_bit_of_a_record_counts() {
        for length in [1, 8, 31, 32, 33, 100] {
            let mut value = vec![0; length];
            let sum = checksum_of(&record(&value));
            for bit in 0..length * 8 {
                value[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(checksum_of(&record(&value)), sum, "bit {bit} of {length} bytes");
                value[bit / 8] ^= 1 << (bit % 8);
            }
            value.push(0);
            assert_ne!(checksum_of(&record(&value)), sum, "a zero behind {length} bytes");
        }
        let (before, value) = (checksum_of(&record(b"v")), b"v");
        let others = [
            Record { key: KeyRef::new("authorn", "ame"), ..record(value) },
            Record { version: 1_700_000_000_000_002, ..record(value) },
            Record { timestamp: 1.7e9 + 1.0, ..record(value) },
            Record { codec: Codec(2), ..record(value) },
            Record { expires_at: Some(0), ..record(value) },
        ];
        others.iter().for_each(|other| assert_ne!(checksum_of(other), before, "{other:?}"));
    }
}
