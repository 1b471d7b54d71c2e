//! Being told of changes.

use std::sync::Arc;

use super::Store;
use crate::{Change, Error, ErrorKind, Result, StreamIter};

/// See [`Store::watch`]. Ends behind the first error.
pub struct Watch {
    pub(super) store: Store,
    pub(super) author: Option<Arc<str>>,
    pub(super) pattern: String,
    pub(super) rows: Option<StreamIter<Change>>,
}

impl Watch {
    /// The same watch over the next connection, where this one was lost and the hub retries.
    fn begin_anew(&mut self, lost: &Error) -> Option<Result<()>> {
        let is_lost = matches!(lost.kind(), ErrorKind::Unknown | ErrorKind::Unavailable);
        if !is_lost || !self.store.hub.retries() {
            return None;
        }
        let anew = self.store.watch_from(&self.pattern, self.author.clone(), true);
        Some(anew.map(|watch| self.rows = watch.rows))
    }
}

impl Iterator for Watch {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Result<Change>> {
        loop {
            match self.rows.as_mut()?.next() {
                Some(Ok(change)) => return Some(Ok(change)),
                Some(Err(error)) => match self.begin_anew(&error) {
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
