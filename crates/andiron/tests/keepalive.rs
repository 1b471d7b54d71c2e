//! A peer that is gone without a word, and for which nobody waits, is found out by the kernel: what it is told of each connection over TCP.

mod common;

use std::os::fd::OwnedFd;
use std::time::Duration;

use andiron::Hosting;
use andiron_sys::tcp;
use common::{Echo, Site, in_time};
use rustix::net::sockopt;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The connections of this process with this port at either end: those of both sides, since both are in this process.
fn connections(port: u16) -> Vec<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let copies = numbers.filter_map(|number| pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok());
    let is_ours = |socket: &OwnedFd| {
        let ends = tcp::local_address(socket).and_then(|own| Ok([own, tcp::peer_address(socket)?]));
        ends.is_ok_and(|ends| ends.iter().any(|end| end.port() == port))
    };
    copies.filter(is_ours).collect()
}

fn is_kept_alive(transport: &str, connect: impl FnOnce(&Site)) {
    let site = Site::at(transport, Hosting::default(), |server| server.object("echo", Echo));
    connect(&site);
    let port = common::net::place(&site.address).port();
    let both = connections(port);
    assert_eq!(both.len(), 2, "{transport}: one end that connected, one that was accepted");
    for socket in both {
        assert!(sockopt::socket_keepalive(&socket).unwrap(), "{transport}");
        let idle = sockopt::tcp_keepidle(&socket).unwrap();
        let rest = sockopt::tcp_keepintvl(&socket).unwrap() * sockopt::tcp_keepcnt(&socket).unwrap();
        assert!(idle + rest <= Duration::from_secs(150), "{transport}: {idle:?} and {rest:?}");
        // For what was sent and is not confirmed, keepalive is silent.
        let unconfirmed = sockopt::tcp_user_timeout(&socket).unwrap();
        assert!((1..=150_000).contains(&unconfirmed), "{transport}: {unconfirmed}");
    }
}

// One test, since it looks at all connections of this process.
#[test]
fn both_ends_of_a_connection_are_kept_alive_by_the_kernel() {
    in_time(|| {
        for transport in ["tcp", "tls"] {
            is_kept_alive(transport, |site| std::mem::forget(site.hub()));
            #[cfg(feature = "tokio")]
            is_kept_alive(transport, |site| {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
                let hub = runtime.block_on(andiron::aio::Hub::connect_with(site.connector())).unwrap();
                std::mem::forget((runtime, hub));
            });
        }
    });
}
