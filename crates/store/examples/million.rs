//! What a million small entries cost: memory for each, and the time of sets and gets. `shuffled`: set in no order.

#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use andiron_store::{Codec, Discarded, Effects, KeyRef, Now, Op, Put, Store, StoreStart};
use bytes::Bytes;

const ENTRIES: u32 = 1_000_000;

fn main() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut order: Vec<u32> = (0..ENTRIES).collect();
    if std::env::args().any(|argument| argument == "shuffled") {
        rng.shuffle(&mut order);
    }
    let mut store: Store = Store::new(StoreStart::default());
    let (resident_before, mut worst) = (resident(), Duration::ZERO);
    let began = Instant::now();
    for &number in &order {
        let one = Instant::now();
        set(&mut store, number);
        worst = worst.max(one.elapsed());
    }
    let each = began.elapsed() / ENTRIES;
    let bytes = (resident() - resident_before) as f64 / f64::from(ENTRIES);
    println!("first set {each:?}, the worst {worst:?}; {bytes:.1} bytes of memory a key");

    let began = Instant::now();
    for _ in 0..ENTRIES {
        let name = name(rng.u32(..ENTRIES));
        let get = Op::Get { key: KeyRef::named(&name), known: None, hits: 0 };
        black_box(store.apply(get, Now::default(), &mut ())).expect("reads do not fail");
    }
    println!("get {:?}", began.elapsed() / ENTRIES);
    let began = Instant::now();
    for _ in 0..ENTRIES {
        set(&mut store, rng.u32(..ENTRIES));
    }
    println!("set again {:?}", began.elapsed() / ENTRIES);
    let (mut cleared, began) = (Cleared::default(), Instant::now());
    store.apply(Op::Clear { author: None }, Now::default(), &mut cleared).expect("there are versions left");
    let clear = began.elapsed();
    drop(cleared.discarded);
    println!("clear {clear:?}, told of {} keys; to free them {:?}", cleared.told, began.elapsed() - clear);
}

/// Hears of each key, and keeps what is to be freed.
#[derive(Default)]
struct Cleared {
    told: usize,
    discarded: Option<Discarded<Bytes>>,
}

impl Effects<Bytes> for Cleared {
    fn change(&mut self, key: KeyRef<'_>, _version: u64) {
        self.told += usize::from(!key.name.is_empty());
    }

    fn discard(&mut self, discarded: Discarded<Bytes>) {
        self.discarded = Some(discarded);
    }
}

fn name(number: u32) -> String {
    format!("key:{number:07}")
}

fn set(store: &mut Store, number: u32) {
    let (name, value) = (name(number), Bytes::from(format!("value:{number}")));
    let put = Put::new(KeyRef::named(&name), Codec(3), value);
    store.apply(Op::Set(put), Now::default(), &mut ()).expect("it is within the limits");
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number") * 4096
}
