//! Who reads a big value has it as it was, whatever becomes of the entry, of its writer and of the daemon: nobody is ended by a signal, and
//! no byte changes.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use andiron::{Blob, Entry, ErrorKind, Store};

use crate::common::{Home, role, say};
use crate::line::{Line, WELL, until_told};

const NAME: &str = "big";

/// The codec of bytes as they are.
const RAW: u8 = 3;

/// How many values a reader holds while it reads on.
const HELD: usize = 3;

/// What a reader says: that it has read another value, and that no daemon is there and all that it has is whole.
const SAW: &str = "saw another one";
const ALONE: &str = "alone with what it has";

#[test]
fn a_value_that_is_read_stays_whole_when_it_is_deleted_and_replaced_and_when_writer_and_daemon_are_killed() {
    let home = Home::new();
    let mut daemon = home.serve();
    let mut writer = home.play("big::writer", "writer");
    let mut readers = [(); 2].map(|()| home.play("big::reader", "reader"));
    for _ in 0..3 {
        for reader in &mut readers {
            (0..4).for_each(|_| drop(reader.wait_for_next(SAW)));
        }
        daemon.kill();
        readers.iter_mut().for_each(|reader| drop(reader.wait_for(ALONE)));
        daemon = home.serve();
        readers.iter_mut().for_each(|reader| drop(reader.wait_for_next(SAW)));
        writer.kill();
        writer = home.play("big::writer", "writer");
    }
    for process in readers.iter_mut().chain([&mut writer]) {
        process.tell("end");
        process.wait_for(WELL);
        assert_eq!(process.wait().code(), Some(0));
    }
}

/// Not a test of its own: a process that replaces the value, with and without deleting it before.
#[test]
fn writer() {
    if role().is_none() {
        return;
    }
    until_told(|over| {
        let mut line = Line::default();
        for tag in (1..=u8::MAX).cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
            said(&mut line, |_, store| {
                if tag % 3 == 0 {
                    store.delete(NAME)?;
                }
                store.set_bytes(NAME, value(tag), RAW)
            });
        }
    });
}

/// In ordinary memory, or made in memory that is passed on.
fn value(tag: u8) -> Blob {
    if tag.is_multiple_of(2) {
        return vec![tag; length(tag)].into();
    }
    let mut memory = Blob::zeroed(length(tag)).unwrap();
    memory.fill(tag);
    memory.freeze().unwrap()
}

/// Not a test of its own: a process that reads the value again and again, and looks whether what it has is still what it was.
#[test]
fn reader() {
    if role().is_none() {
        return;
    }
    until_told(|over| {
        let mut line = Line::default();
        let mut held: VecDeque<Entry> = VecDeque::new();
        let mut alone = false;
        while !over.load(Ordering::Relaxed) {
            let read = said(&mut line, |line, store| line.entry(store, NAME));
            let (was_alone, last) = (alone, held.back().map(|entry| entry.version));
            alone = read.is_none();
            held.extend(read.flatten().filter(|entry| last != Some(entry.version)));
            held.drain(..held.len().saturating_sub(HELD));
            held.iter().for_each(is_whole);
            if alone && !was_alone {
                say(ALONE);
            }
            if held.back().map(|entry| entry.version) != last {
                say(SAW);
            }
        }
    });
}

/// All bytes of a value are its tag, which also says how many they are.
fn is_whole(entry: &Entry) {
    let bytes = &entry.bytes[..];
    let tag = bytes[0];
    assert_eq!(bytes.len(), length(tag), "version {}", entry.version);
    assert!(bytes[1..] == bytes[..bytes.len() - 1], "version {} is torn", entry.version);
}

/// Some megabytes, and not whole pages.
fn length(tag: u8) -> usize {
    ((1 + usize::from(tag) % 5) << 20) + usize::from(tag)
}

/// What the store said; `None`: it is not there, or was lost.
fn said<T>(line: &mut Line, act: impl FnOnce(&mut Line, &Store) -> andiron::Result<T>) -> Option<T> {
    let store = line.store()?;
    match act(line, &store) {
        Ok(said) => Some(said),
        Err(error) if error.is_temporary() || error.kind() == ErrorKind::Unknown => {
            line.lost();
            None
        }
        Err(error) => panic!("the store failed: {error:?}"),
    }
}
