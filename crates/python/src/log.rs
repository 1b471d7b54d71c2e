//! What nobody asked for and somebody should know: the package has it logged.

use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};

use andiron::Error;
use andiron::engine::{self, FailedNotify};
use pyo3::prelude::*;

use crate::ending::called;
use crate::error::to_python;
use crate::hooks;

/// What is told on a thread of its own: those who come upon it hold locks, or read a connection that a logger may want to use.
pub(crate) enum Note {
    Line(String),
    FailedNotify(FailedNotify),
    Lost(String, Error),
    Reconnected(String),
}

/// The thread that tells, from the first note on, and in which process it is.
static TELLER: Mutex<Option<(u32, SyncSender<Note>)>> = Mutex::new(None);

/// So many notes wait to be told; more are left out, as a peer could make any number.
const MOST_NOTES: usize = 1024;

/// Has the library's notes told.
pub(crate) fn install() {
    engine::tell_lines(|text| later(Note::Line(text)));
    engine::tell_failed_notifies(|failed| later(Note::FailedNotify(failed)));
}

/// Has it told, now or a little later. Takes no lock that anybody holds for long.
pub(crate) fn later(note: Note) {
    let Ok(mut teller) = TELLER.lock() else { return };
    let generation = andiron_sys::fork::generation();
    if teller.as_ref().is_none_or(|(of, _)| *of != generation) {
        let (sender, notes) = sync_channel::<Note>(MOST_NOTES);
        let tell = move || notes.iter().all(|note| Python::try_attach(|py| note.tell(py)).is_some());
        let thread = std::thread::Builder::new().name("andiron-log".to_owned());
        if thread.spawn(tell).is_err() {
            return; // there is no way left to tell anything
        }
        *teller = Some((generation, sender));
    }
    if let Some((_, sender)) = &*teller {
        let _ = sender.try_send(note); // where the interpreter ends nobody listens
    }
}

impl Note {
    fn tell(self, py: Python<'_>) {
        match self {
            Note::Line(text) => log(py, "warning", &text, None),
            Note::FailedNotify(FailedNotify { method, peer, error }) => {
                let what = if method == "$call" { String::new() } else { format!(" `{method}`") };
                let raised = to_python(py, &error);
                let text = format!("a one-way call{what} to {peer} failed: {error}");
                log(py, "warning", &text, (!error.remote_trace().is_empty()).then_some(&raised));
            }
            Note::Lost(peer, error) => {
                log(py, "warning", &format!("the connection to {peer} was lost: {error}"), None);
            }
            Note::Reconnected(peer) => log(py, "info", &format!("connected to {peer} again"), None),
        }
    }
}

/// Tells of an exception that nobody else hears of.
#[cold]
pub(crate) fn raised(py: Python<'_>, what: &str, error: &PyErr) {
    log(py, "error", what, Some(error));
}

fn log(py: Python<'_>, level: &str, text: &str, error: Option<&PyErr>) {
    let error = error.map(|error| error.clone_ref(py).into_value(py));
    let logged = hooks::hooks(py).and_then(|hooks| called(hooks.log.bind(py), (level, text, error)));
    if let Err(raised) = logged {
        raised.write_unraisable(py, None);
    }
}
