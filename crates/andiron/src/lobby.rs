//! Connections that anybody may have made and that are not open yet: how many there may be, and what is said of those that are refused.
//!
//! Locking rule: the lock of a lobby may be taken under that of a link, so no link is locked or dropped under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::Error;
use crate::link::Link;
use crate::sync::lock;

/// So many connections may be unopened at once; one more, and the oldest of them has to go. Whoever means to connect is through long before.
const MOST_GUESTS: usize = 1024;

/// One line in this time is written about connections that were refused for the same reason.
const QUIET: Duration = Duration::from_secs(1);
/// And so many for different ones.
const MOST_LINES: usize = 8;

/// The connections of one server that are not open yet.
#[derive(Default)]
pub(crate) struct Lobby {
    guests: Mutex<Guests>,
    complaints: Complaints,
}

#[derive(Default)]
struct Guests {
    /// By age.
    waiting: BTreeMap<u64, Weak<Link>>,
    last: u64,
}

impl Lobby {
    /// Lets one in, and shows the oldest one out where there are too many.
    pub(crate) fn enter(self: &Arc<Self>, link: &Arc<Link>) -> Guest {
        let mut guests = lock(&self.guests);
        guests.last += 1;
        let number = guests.last;
        guests.waiting.insert(number, Arc::downgrade(link));
        let crowded_out = if guests.waiting.len() > MOST_GUESTS { guests.waiting.pop_first() } else { None };
        drop(guests);
        if let Some(oldest) = crowded_out.and_then(|(_, oldest)| oldest.upgrade()) {
            oldest.show_out("too many connections are being opened at once; try again");
        }
        Guest { lobby: self.clone(), number }
    }

    /// Says that a connection was refused.
    pub(crate) fn complain(&self, of: &str, error: &Error) {
        self.complaints.tell(of, error.message());
    }
}

/// A place in the lobby, given back when it is dropped.
pub(crate) struct Guest {
    lobby: Arc<Lobby>,
    number: u64,
}

impl Guest {
    /// The connection ended before it was open.
    pub(crate) fn refused(self, label: &str, error: &Error) {
        self.lobby.complain(label, error);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.lobby.guests).waiting.remove(&self.number);
    }
}

/// Lines about refused connections, limited in number: whoever can connect could otherwise fill a disk with them.
#[derive(Default)]
struct Complaints(Mutex<Told>);

#[derive(Default)]
struct Told {
    /// The reasons that were told within the last [`QUIET`], and when.
    latest: Vec<(String, Instant)>,
    untold: u64,
}

impl Complaints {
    fn tell(&self, of: &str, why: &str) {
        if let Some(untold) = self.untold(why, Instant::now()) {
            crate::engine::line(line(of, why, untold));
        }
    }

    /// How many were not told since the last line, if it is time for one with this reason.
    fn untold(&self, why: &str, now: Instant) -> Option<u64> {
        let mut told = lock(&self.0);
        told.latest.retain(|(_, at)| now.saturating_duration_since(*at) < QUIET);
        if told.latest.len() == MOST_LINES || told.latest.iter().any(|(other, _)| other == why) {
            told.untold += 1;
            return None;
        }
        told.latest.push((why.to_owned(), now));
        Some(std::mem::take(&mut told.untold))
    }
}

/// One line, whatever the peer put into its words.
fn line(of: &str, why: &str, untold: u64) -> String {
    let why: String = why.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if untold == 0 { String::new() } else { format!(" (and {untold} more before it)") };
    format!("a connection was refused: {of}: {why}{more}")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use andiron_proto::{Config, Event, Role, Session};

    use super::*;
    use crate::ErrorKind;
    use crate::link::Wire;

    #[test]
    fn who_is_crowded_out_is_told_so_where_it_has_said_who_it_is() {
        for (speaks, told) in [(true, ErrorKind::Overloaded), (false, ErrorKind::Unavailable)] {
            let (own, mut theirs) = UnixStream::pair().unwrap();
            let guest =
                Link::new(Role::Acceptor, Config::default(), Wire::local(own.into(), "it".to_owned()));
            guest.set_guest(Arc::new(Lobby::default()).enter(&guest));
            let mut session = Session::new(Role::Initiator, Config::default(), Instant::now());
            while let Some(transmit) = session.poll_transmit().filter(|_| speaks) {
                let count = theirs.write_vectored(transmit.slices()).unwrap();
                session.transmitted(count);
            }
            // Nobody has read any of it.
            guest.show_out("there are too many");
            let mut heard = Vec::new();
            let _ = theirs.read_to_end(&mut heard);
            session.receive(Instant::now(), &heard, Vec::new(), false);
            session.disconnected("it hung up");
            let events = std::iter::from_fn(|| session.poll_event()).collect::<Vec<_>>();
            let Some(Event::Closed(failure)) = events.last() else { panic!("{events:?}") };
            assert_eq!(failure.kind, told, "{failure}");
            assert_eq!(failure.to_string().contains("there are too many"), speaks, "{failure}");
        }
    }

    #[test]
    fn many_refusals_for_one_reason_are_one_line_a_second_with_their_number() {
        let complaints = Complaints::default();
        let start = Instant::now();
        assert_eq!(complaints.untold("wrong", start), Some(0));
        for _ in 0..1000 {
            assert_eq!(complaints.untold("wrong", start + QUIET / 2), None);
        }
        assert_eq!(complaints.untold("wrong", start + QUIET), Some(1000));
        assert_eq!(complaints.untold("wrong", start + QUIET * 2), Some(0));
    }

    #[test]
    fn another_reason_is_told_beside_and_there_are_not_many_of_these() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let told = |number: usize| complaints.untold(&format!("reason {number}"), start).is_some();
        assert_eq!((0..100).filter(|number| told(*number)).count(), MOST_LINES);
        assert_eq!(complaints.untold("reason 0", start + QUIET), Some(100 - MOST_LINES as u64));
    }

    #[test]
    fn a_peers_words_cannot_make_lines_of_their_own() {
        let line = line("tls 10.0.0.1:5", "bad\nandiron: all is well\x1b[2J", 3);
        assert_eq!(
            line,
            "a connection was refused: tls 10.0.0.1:5: bad andiron: all is well [2J (and 3 more before it)"
        );
    }
}
