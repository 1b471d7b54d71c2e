//! The other end of the tests between languages: `peer serve` shows an object, `peer check` calls one that any language may have written and says what it saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use andiron::{Blob, Error, ErrorKind, Hub, Proxy, Result, Stream};

/// Hears numbers.
struct Ear;

#[andiron::expose]
impl Ear {
    fn hear(&self, number: i64) -> i64 {
        2 * number
    }
}

#[derive(Default)]
struct Peer {
    noted: Mutex<Vec<String>>,
    kept: Mutex<Option<Proxy>>,
    waiting: AtomicU32,
    given_up: AtomicBool,
}

/// What both ends have to be able to do.
#[andiron::expose]
impl Peer {
    fn add(&self, a: i64, b: Option<i64>) -> i64 {
        a + b.unwrap_or(1)
    }

    fn fail(&self, message: String) -> std::result::Result<(), String> {
        Err(message)
    }

    fn count(&self, up_to: i64) -> Stream<i64> {
        Stream::iter(0..up_to)
    }

    fn total(&self, numbers: Stream<i64>) -> Result<i64> {
        numbers.into_iter().sum()
    }

    fn double(&self, numbers: Stream<i64>) -> Stream<i64> {
        Stream::try_iter(numbers.into_iter().map(|number| Ok(2 * number?)))
    }

    /// Has an object hear numbers.
    fn tell(&self, ear: EarProxy, times: i64) -> Result<Vec<i64>> {
        (0..times).map(|number| ear.hear(number)).collect()
    }

    /// Calls a function, or what is one in another language.
    fn call(&self, function: Proxy, number: i64) -> Result<i64> {
        function.call("$call", &(number,))
    }

    #[expose(oneway)]
    fn note(&self, word: String) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).push(word);
    }

    fn noted(&self) -> Vec<String> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, object: Option<Proxy>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = object;
    }

    fn kept(&self) -> Option<Proxy> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nobody waits for it any more.
    fn wait(&self) -> Result<()> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while !andiron::current().is_some_and(|call| call.is_cancelled()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.given_up.store(true, Ordering::SeqCst);
        Err(Error::new(ErrorKind::Cancelled, "given up"))
    }

    fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    fn given_up(&self) -> bool {
        self.given_up.swap(false, Ordering::SeqCst)
    }

    /// Seconds that are left for the call.
    fn time_left(&self) -> Option<f64> {
        andiron::current()?.time_left().map(|left| left.as_secs_f64())
    }

    /// What is said beside the call under this name.
    fn said(&self, name: &str) -> Option<String> {
        andiron::current()?.annotation(name).ok()?
    }

    fn length(&self, bytes: Blob) -> usize {
        bytes.len()
    }

    fn zeros(&self, length: usize) -> Result<Blob> {
        Blob::zeroed(length)?.freeze()
    }
}

fn main() -> Result<()> {
    let hub = andiron::connect()?;
    match std::env::args().nth(1).as_deref() {
        Some("serve") => hub.register("peer", Peer::default())?.run(),
        _ => check(&hub),
    }
}

/// Looks at one behaviour after the other, and says which ones are there.
fn check(hub: &Hub) -> Result<()> {
    let proxy: Proxy = hub.object("peer")?;
    let peer = PeerProxy::from(proxy.clone());
    let behaviours: [(&str, &dyn Fn() -> Result<bool>); 12] = [
        ("calls", &|| Ok(peer.add(1, Some(2))? == 3 && peer.add(1, None)? == 2)),
        ("errors", &|| {
            let failed = peer.fail("no".to_owned()).expect_err("it fails");
            let missing = proxy.call::<()>("fale", &()).expect_err("there is no such method");
            let wrong = proxy.call::<()>("add", &(1, 2, 3)).expect_err("it has two parameters");
            Ok(failed.kind() == ErrorKind::Application
                && failed.message() == "no"
                && missing.kind() == ErrorKind::NoMethod
                && wrong.kind() == ErrorKind::BadArguments)
        }),
        ("streams from it", &|| Ok(peer.count(1000)?.into_iter().sum::<Result<i64>>()? == 499_500)),
        ("streams to it", &|| Ok(peer.total(Stream::iter(0..1000))? == 499_500)),
        ("streams both ways", &|| {
            let doubled = peer.double(Stream::iter(0..1000))?;
            Ok(doubled.into_iter().sum::<Result<i64>>()? == 999_000)
        }),
        ("callbacks", &|| Ok(peer.tell(EarProxy::from(Ear), 3)? == [0, 2, 4])),
        ("one-way calls", &|| {
            peer.note("a".to_owned())?;
            eventually(|| Ok(peer.noted()?.contains(&"a".to_owned())))
        }),
        ("references", &|| {
            let own = Proxy::local(Ear);
            peer.keep(Some(own.clone()))?;
            let same = peer.kept()?.as_ref() == Some(&own);
            peer.keep(Some(proxy.clone()))?;
            let theirs = peer.kept()?.as_ref() == Some(&proxy);
            peer.keep(None)?;
            Ok(same && theirs && peer.kept()?.is_none())
        }),
        ("cancelling", &|| {
            let before = peer.waiting()?;
            let call = peer.start_wait()?;
            eventually(|| Ok(peer.waiting()? > before))?;
            call.cancel();
            eventually(|| peer.given_up())
        }),
        ("deadlines", &|| {
            let patient = PeerProxy::from(proxy.with_timeout(Duration::from_secs(60)));
            let left = patient.time_left()?.is_some_and(|left| left > 0.0 && left <= 60.0);
            let hasty = PeerProxy::from(proxy.with_timeout(Duration::from_millis(20)));
            let late = hasty.wait().expect_err("it waits for ever").kind() == ErrorKind::Deadline;
            Ok(left && late && peer.time_left()?.is_none() && eventually(|| peer.given_up())?)
        }),
        ("annotations", &|| {
            let said = PeerProxy::from(proxy.with_annotations(&BTreeMap::from([("trace", "abc")]))?);
            Ok(said.said("trace")?.as_deref() == Some("abc") && peer.said("trace")?.is_none())
        }),
        ("bytes", &|| {
            let big = Blob::zeroed(3 << 20)?.freeze()?;
            let there = peer.length(b"abc".into())? == 3 && peer.length(big)? == 3 << 20;
            Ok(there && peer.zeros(3)?.len() == 3 && peer.zeros(3 << 20)?.len() == 3 << 20)
        }),
    ];
    for (name, behaviour) in behaviours {
        if !behaviour()? {
            return Err(Error::new(ErrorKind::Application, format!("{name}: not as it should be")));
        }
        println!("{name}");
    }
    Ok(())
}

/// Asks again and again, for a minute at most.
fn eventually(ask: impl Fn() -> Result<bool>) -> Result<bool> {
    for _ in 0..60_000 {
        if ask()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}
