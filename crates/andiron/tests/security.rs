//! Who may connect over a network, and who may not.

mod common;

use andiron::{Hosting, Result, Server};
use common::{Echo, Site, in_time};

fn echo(server: Server) -> Result<Server> {
    server.object("echo", Echo)
}

/// Small, in pieces of a frame, and beyond what any buffer holds.
const LENGTHS: [usize; 4] = [1, 10_000, 300_000, 5_000_000];

fn talks(transport: &'static str) {
    in_time(move || {
        let site = Site::at(transport, Hosting::default(), echo);
        let hub = site.hub();
        for length in LENGTHS {
            let text = "x".repeat(length);
            assert_eq!(hub.call::<String>("echo", "text", &(&text,)).unwrap(), text);
        }
        site.server.stop();
    });
}

#[test]
fn who_has_the_secret_is_served_over_tcp() {
    talks("tcp");
}

#[test]
fn who_has_the_secret_is_served_over_tls() {
    talks("tls");
}
