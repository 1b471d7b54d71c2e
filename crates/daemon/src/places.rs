//! How much of what takes long may be under way at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andiron::{Error, ErrorKind, Result};

use crate::shared::steady;
use crate::sync::lock;

/// So long a client may stand still when others want its place.
const STANDSTILL: Duration = Duration::from_secs(60);

/// How many may be under way at a time. Who stands still for a while gives way to others.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: Mutex<Vec<Arc<Place>>>,
}

/// A place is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// When something moved last, by the steady clock.
    moved: Mutex<Duration>,
    is_lost: AtomicBool,
}

impl Places {
    pub(crate) fn new(most: usize) -> Places {
        Places { most, taken: Mutex::default() }
    }

    /// `None`: all are taken, by who moves.
    pub(crate) fn take(&self) -> Option<Arc<Place>> {
        let mut taken = lock(&self.taken);
        taken.retain(|place| Arc::strong_count(place) > 1);
        if taken.len() >= self.most {
            let stands = |place: &Arc<Place>| steady().saturating_sub(*lock(&place.moved)) >= STANDSTILL;
            let index = taken.iter().position(stands)?;
            taken.swap_remove(index).is_lost.store(true, Ordering::SeqCst);
        }
        let place = Arc::new(Place { moved: Mutex::new(steady()), is_lost: AtomicBool::new(false) });
        taken.push(place.clone());
        Some(place)
    }
}

impl Place {
    /// Something moves.
    pub(crate) fn moves(&self) -> Result<()> {
        *lock(&self.moved) = steady();
        if self.is_lost.load(Ordering::SeqCst) {
            let text = format!("nothing of it moved for {} s, and another one came", STANDSTILL.as_secs());
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        Ok(())
    }
}
