//! Being told of changes.

use std::sync::Arc;

use super::Store;
use crate::{Change, Error, ErrorKind, Result, StreamIter};

/// With what a watch begins.
pub(super) enum Beginning {
    /// The entries that are there.
    Present,
    /// What changes from now on.
    Now,
    /// What changed after this version.
    Since(u64),
}

/// See [`Store::watch`]. Ends behind the first error.
pub struct Watch {
    pub(super) store: Store,
    pub(super) author: Option<Arc<str>>,
    pub(super) pattern: String,
    pub(super) rows: Option<StreamIter<Change>>,
    /// All changes up to this version were given out.
    pub(super) resume_from: Option<u64>,
}

impl Watch {
    /// The same watch over the next connection, where this one was lost and the hub retries.
    fn go_on(&mut self, lost: &Error) -> Option<Result<()>> {
        let is_lost = matches!(lost.kind(), ErrorKind::Unknown | ErrorKind::Unavailable);
        if !is_lost || !self.store.hub.retries() {
            return None;
        }
        let watch = |beginning| self.store.watch_from(&self.pattern, self.author.clone(), beginning);
        let resumed = match self.resume_from.map(|version| watch(Beginning::Since(version))) {
            Some(Err(error)) if error.kind() == ErrorKind::Conflict => None, // too long ago, or of another daemon
            resumed => resumed,
        };
        let next = resumed.unwrap_or_else(|| watch(Beginning::Present));
        Some(next.map(|next| *self = next))
    }
}

impl Iterator for Watch {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Result<Change>> {
        loop {
            match self.rows.as_mut()?.next() {
                Some(Ok(change)) => {
                    self.resume_from = change.resume_from;
                    return Some(Ok(change));
                }
                Some(Err(error)) => match self.go_on(&error) {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        self.rows = None;
                        return Some(Err(error));
                    }
                    None => {
                        self.rows = None;
                        return Some(Err(error.during("watch")));
                    }
                },
                None => {
                    self.rows = None;
                    return None;
                }
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch({})", self.pattern)
    }
}
