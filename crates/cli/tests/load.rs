//! A daemon that is asked for too much: what one client costs is bounded, and the others do not notice.

#[path = "common/by_hand.rs"]
mod by_hand;
mod common;

use std::io::Write as _;
use std::process::Stdio;

use andiron::Stream;
use andiron_proto::wire::{Kind, flags};
use by_hand::{Site, WAYS, call, call_of, frame};
use common::{Ran, role, say};

/// Makes streams that have no end.
struct Spring;

#[andiron::expose]
impl Spring {
    fn flow(&self, length: usize) -> Stream<String> {
        Stream::iter(std::iter::repeat_with(move || "x".repeat(length)))
    }

    /// Never comes back.
    fn wait(&self) {
        say("entered");
        loop {
            std::thread::park();
        }
    }
}

/// Not a test of its own: the process of a provider.
#[test]
fn provider() {
    let Some(name) = role() else { return };
    let hub = andiron::connect().unwrap();
    hub.register(&name, Spring).unwrap();
    say("ready");
    let _ = hub.run();
}

#[test]
fn streams_that_are_wanted_whole_and_never_read_cost_bounded_memory_and_hold_up_nobody() {
    for way in WAYS {
        for (streams, length, most) in
            [(1, 1000, 50), (1, 100_000, 50), (1, 1_000_000, 50), (30, 1_000_000, 150)]
        {
            let site = Site::new(way);
            let provider = site.home.play("provider", "spring");
            site.serves_on();
            let before = [site.daemon.memory(), provider.memory()];

            let mut greedy = site.session();
            greedy.write_all(&call(1, "lookup", &("spring",))).unwrap();
            let (header, found) = greedy.next_frame();
            assert_eq!(header.kind, Kind::Result);
            // A codec, a table of one reference: its owner and its number.
            let spring = u64::from_be_bytes(found[4..12].try_into().unwrap());
            for id in 2..streams + 2 {
                greedy.write_all(&call_of(spring, id, "flow", &(length,))).unwrap();
                let (header, _) = greedy.next_frame();
                assert_eq!((header.kind, header.flags & flags::STREAM), (Kind::Result, flags::STREAM));
            }
            for id in 2..streams + 2 {
                let wanted = (1u64 << 40).to_be_bytes();
                greedy.write_all(&frame(Kind::Credit.number(), flags::STREAM, id, &wanted)).unwrap();
            }
            for _ in 0..100 {
                site.serves_on();
            }
            let after = [site.daemon.memory(), provider.memory()];
            let grown = [0, 1].map(|end| after[end].saturating_sub(before[end]) >> 20);
            let what = format!("{way:?}, {streams} streams of items of {length} bytes: {grown:?} MiB");
            assert!(grown.into_iter().all(|grown| grown < most), "{what}");
        }
    }
}

/// It takes the five seconds that a daemon waits.
#[test]
fn a_daemon_that_ends_waits_for_calls_under_way_and_not_for_ever() {
    let ends = WAYS.map(|way| {
        std::thread::spawn(move || {
            let mut site = Site::new(way);
            let mut provider = site.home.play("provider", "spring");
            let secret = site.home.folder.path().join("secret");
            let mut call = site.home.andiron(&["--address", &site.address, "call", "spring", "wait"]);
            call.arg("--secret-file").arg(secret);
            let call = call.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            provider.wait_for("entered");
            assert_eq!(site.daemon.terminate().code(), Some(0), "{way:?}");
            site.daemon.wait_for("some calls did not end in time");
            let unknown = Ran::of(call.wait_with_output().unwrap());
            assert!(unknown.failed(1).contains("lost"), "{way:?}: {unknown:?}");
        })
    });
    ends.into_iter().for_each(|end| end.join().unwrap());
}
