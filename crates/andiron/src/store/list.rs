//! Listings, page by page.

use std::sync::Arc;

use super::Store;
use super::wire::Open;
use crate::{Listed, Result};

/// Author, name, version, timestamp, size, and whether a disk has it.
#[derive(serde::Deserialize)]
struct Row(String, String, u64, f64, u64, #[serde(default)] bool);

pub(super) struct Pages {
    store: Store,
    /// `None`: all of them.
    author: Option<Arc<str>>,
    page: std::vec::IntoIter<Open<Row>>,
    after: Option<(String, String)>,
    more: bool,
}

impl Pages {
    pub(super) fn new(store: Store, author: Option<Arc<str>>) -> Pages {
        Pages { store, author, page: Vec::new().into_iter(), after: None, more: true }
    }
}

impl Iterator for Pages {
    type Item = Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(Open(Row(author, name, version, timestamp, size, persistent))) = self.page.next() {
                self.after = Some((author.clone(), name.clone()));
                return Some(Ok(Listed { author, name, version, timestamp, size, persistent }));
            }
            if !self.more {
                return None;
            }
            let page: Result<Open<(bool, Vec<Open<Row>>)>> =
                self.store.read("list", &(self.author.as_deref(), &self.after));
            match page {
                Ok(Open((more, rows))) => {
                    self.more = more && !rows.is_empty();
                    self.page = rows.into_iter();
                }
                Err(error) => {
                    self.more = false;
                    return Some(Err(error));
                }
            }
        }
    }
}
