//! What the threads of a process did, written down so that whatever ends the process, what it had begun is known.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use andiron::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::history::{Answer, End, Event, Op, now};

/// The journal of one thread. What changes something is written before it begins; of reads one after the other with the same answer only the
/// first and the last are: what is there now and later was there meanwhile.
pub(crate) struct Journal {
    file: File,
    by: (u32, u32),
    /// How many writes were begun.
    begun: u64,
    reads: HashMap<(u32, Op), Run>,
}

/// Reads of an entry that had one answer, with no write of this thread between them.
struct Run {
    answer: Answer,
    last: Option<Event>,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Did(Event),
    /// The number of a write, and how it stands until it ends.
    Begun(u64, Event),
    /// `None`: it did not happen.
    Ended(u64, Option<End>),
}

impl Journal {
    pub(crate) fn new(folder: &Path, by: (u32, u32)) -> Journal {
        let path = folder.join(format!("{}-{}.journal", by.0, by.1));
        let file = OpenOptions::new().append(true).create_new(true).open(path).unwrap();
        Journal { file, by, begun: 0, reads: HashMap::new() }
    }

    /// Does one operation and writes it down. Gives what it was answered; `None`: there was no answer.
    ///
    /// An error that is neither a conflict nor the loss of the daemon is a fault.
    pub(crate) fn act(
        &mut self,
        key: u32,
        op: Op,
        act: impl FnOnce() -> andiron::Result<Answer>,
    ) -> Option<Answer> {
        let mut event = Event { by: self.by, key, op, begun: now(), end: End::Lost { at: u64::MAX } };
        if !op.is_read() {
            self.end_runs(Some(key));
            self.begun += 1;
            self.write(&Line::Begun(self.begun, event));
        }
        let end = ended(act());
        if !op.is_read() {
            self.write(&Line::Ended(self.begun, end));
        }
        let Some(End::Answered { answer, .. }) = end else { return None };
        if op.is_read() {
            event.end = end?;
            self.read(event, answer);
        }
        Some(answer)
    }

    fn read(&mut self, event: Event, answer: Answer) {
        match self.reads.get_mut(&(event.key, event.op)) {
            Some(run) if run.answer == answer => run.last = Some(event),
            _ => {
                let before = self.reads.insert((event.key, event.op), Run { answer, last: None });
                before.and_then(|run| run.last).iter().for_each(|last| self.write(&Line::Did(*last)));
                self.write(&Line::Did(event));
            }
        }
    }

    /// Those of this entry, or all.
    fn end_runs(&mut self, key: Option<u32>) {
        let runs = self.reads.extract_if(|(of, _), _| key.is_none_or(|key| key == *of));
        let last: Vec<Event> = runs.filter_map(|(_, run)| run.last).collect();
        last.into_iter().for_each(|event| self.write(&Line::Did(event)));
    }

    fn write(&mut self, line: &Line) {
        let mut text = serde_json::to_vec(line).unwrap();
        text.push(b'\n');
        self.file.write_all(&text).unwrap();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end_runs(None);
    }
}

/// How an operation ended now; `None`: it did not happen.
fn ended(result: andiron::Result<Answer>) -> Option<End> {
    match result {
        Ok(answer) => Some(End::Answered { at: now(), answer }),
        Err(error) if error.kind() == ErrorKind::Conflict => {
            Some(End::Answered { at: now(), answer: Answer::Conflict })
        }
        Err(error) if error.kind() == ErrorKind::Unknown => Some(End::Lost { at: now() }),
        Err(error) if error.is_temporary() => None,
        Err(error) => panic!("an operation failed: {error:?}"),
    }
}

/// What the journals of a folder tell. `gone` has the times at which processes that were killed were gone.
pub(crate) fn collect(folder: &Path, gone: &HashMap<u32, u64>) -> Vec<Event> {
    let mut events = Vec::new();
    for path in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(path.unwrap().path()).unwrap();
        let mut open: BTreeMap<u64, Event> = BTreeMap::new();
        for line in text.lines() {
            match serde_json::from_str(line).unwrap() {
                Line::Did(event) => events.push(event),
                Line::Begun(number, event) => drop(open.insert(number, event)),
                Line::Ended(number, end) => {
                    let event = open.remove(&number).expect("what ends has begun");
                    events.extend(end.map(|end| Event { end, ..event }));
                }
            }
        }
        events.extend(open.into_values().map(|event| {
            let at = gone.get(&event.by.0).expect("only who is killed leaves something open");
            Event { end: End::Lost { at: *at }, ..event }
        }));
    }
    events
}
