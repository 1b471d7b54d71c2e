//! All entries of an author as they are at one moment, some at a time.
//!
//! What is written meanwhile is there twice until the reader has passed it, so only so many readers may be under way, and who stands still gives way.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::{mem, pin::Pin};

use andiron::{Error, ErrorKind, Result, Stream};
use andiron_store::View;

use crate::answers::Named;
use crate::housekeeper::Housekeeper;
use crate::kept::Kept;
use crate::places::{Place, Places};

/// Listings that are more than one message and under way at a time.
pub(crate) const MOST_LISTINGS: usize = 32;
/// Entries and bytes of them that go together: no more but for the last of them, so that a big value goes beside a message that is short.
const PAGE: usize = 1000;
const PAGE_BYTES: usize = 1 << 18;

/// What is still to be told.
pub(crate) struct Listing {
    view: std::iter::Peekable<View<Kept>>,
    values: bool,
    housekeeper: Arc<Housekeeper>,
    /// Taken where it takes more than one message.
    place: Option<Arc<Place>>,
}

impl Listing {
    /// `values`: with the values, not the names alone.
    pub(crate) fn new(view: View<Kept>, values: bool, housekeeper: &Arc<Housekeeper>) -> Listing {
        Listing { view: view.peekable(), values, housekeeper: housekeeper.clone(), place: None }
    }

    /// What goes in the next message.
    pub(crate) fn page(&mut self) -> Vec<Named> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < PAGE
            && bytes < PAGE_BYTES
            && let Some((name, entry)) = self.view.next()
        {
            let named = Named::of(name, entry, self.values);
            bytes += named.size();
            page.push(named);
        }
        page
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.view.peek().is_none()
    }

    /// The messages that follow.
    pub(crate) fn stream(mut self, places: &Places) -> Result<Stream<Vec<Named>>> {
        let place = places.take().ok_or_else(|| {
            let text = format!(
                "{MOST_LISTINGS} long listings are under way at this daemon: try again a little later"
            );
            Error::new(ErrorKind::Overloaded, text)
        })?;
        self.place = Some(place);
        Ok(Stream::wrap(Messages(Some(self))))
    }
}

/// What many values are freed with takes long, and it may be the last that has them.
impl Drop for Listing {
    fn drop(&mut self) {
        if self.place.is_some() && !self.is_over() {
            let nothing = View::default().peekable();
            self.housekeeper.free(mem::replace(&mut self.view, nothing));
        }
    }
}

struct Messages(Option<Listing>);

impl futures_core::Stream for Messages {
    type Item = Result<Vec<Named>>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(listing) = &mut self.0 else { return Poll::Ready(None) };
        let moved = listing.place.as_ref().map_or(Ok(()), |place| place.moves());
        let page = match moved {
            Ok(()) => Ok(listing.page()),
            Err(error) => Err(error),
        };
        if page.is_err() || listing.is_over() {
            self.0 = None; // with its place, before that is told
        }
        Poll::Ready(Some(page))
    }
}
