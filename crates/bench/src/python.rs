//! The contestants of the Python package, which are programs in `python/bench`, and what is promised of them.

use std::path::{Path, PathBuf};

use andiron_bench::{Python, Workload};

use crate::report::{Peer, Target, target};

/// Those of Andiron.
pub(crate) const OWN: [&str; 6] = [
    "andiron-python",
    "andiron-python-aio",
    "andiron-python-rust",
    "andiron-pure",
    "andiron-pure-native",
    "andiron-native-pure",
];

/// What calls objects.
const CALLS: &[Workload] = &[of(Python::Call), of(Python::Batch), of(Python::Stream)];
/// What keeps small values for others.
const SMALL: &[Workload] = &[of(Python::Get), of(Python::Set)];
/// What a file gives, which is as fast whether a value has changed or not.
const FILE: &[Workload] = &[
    of(Python::Get),
    of(Python::CachedInt),
    of(Python::CachedDict),
    of(Python::ChangedGet),
    of(Python::Set),
    of(Python::GetBig),
    of(Python::SetBig),
];

const fn of(workload: Python) -> Workload {
    Workload::Python(workload)
}

const fn peer(name: &'static str, transport: &'static str, takes_part: &'static [Workload]) -> Peer {
    Peer { name, floor: "floor-python", transport, takes_part }
}

pub(crate) const PEERS: [Peer; 21] = [
    peer(
        "floor-python",
        "unix",
        &[
            of(Python::Call),
            of(Python::Get),
            of(Python::Set),
            of(Python::Echo),
            of(Python::EchoInPlace),
            of(Python::Import),
        ],
    ),
    peer(
        "andiron-python",
        "unix",
        &[
            of(Python::Call),
            of(Python::Batch),
            of(Python::Stream),
            of(Python::Get),
            of(Python::CachedInt),
            of(Python::CachedDict),
            of(Python::ChangedGet),
            of(Python::Set),
            of(Python::GetBig),
            of(Python::SetBig),
            of(Python::Echo),
            of(Python::EchoInPlace),
            of(Python::Import),
        ],
    ),
    peer("andiron-python-rust", "unix", &[of(Python::Call)]),
    // The engine in Python alone at both ends, at that of the client, and at that of the server.
    peer(
        "andiron-pure",
        "unix",
        &[
            of(Python::Call),
            of(Python::Batch),
            of(Python::Stream),
            of(Python::Get),
            of(Python::Set),
            of(Python::GetBig),
            of(Python::SetBig),
            of(Python::Echo),
            of(Python::EchoInPlace),
            of(Python::Import),
        ],
    ),
    peer(
        "andiron-pure-native",
        "unix",
        &[
            of(Python::Call),
            of(Python::Get),
            of(Python::CachedInt),
            of(Python::CachedDict),
            of(Python::ChangedGet),
            of(Python::Set),
        ],
    ),
    peer("andiron-native-pure", "unix", &[of(Python::Call), of(Python::Get), of(Python::Set)]),
    peer(
        "connection",
        "unix",
        &[of(Python::Call), of(Python::Batch), of(Python::Stream), of(Python::Echo), of(Python::EchoInPlace)],
    ),
    peer(
        "managers",
        "unix",
        &[
            of(Python::Call),
            of(Python::Stream),
            of(Python::Get),
            of(Python::CachedDict),
            of(Python::Set),
            of(Python::GetBig),
            of(Python::SetBig),
            of(Python::Echo),
            of(Python::EchoInPlace),
            of(Python::Import),
        ],
    ),
    peer(
        "pyro5-msgpack",
        "unix",
        &[
            of(Python::Call),
            of(Python::Batch),
            of(Python::Stream),
            of(Python::Get),
            of(Python::Set),
            of(Python::GetBig),
            of(Python::SetBig),
            of(Python::Echo),
            of(Python::EchoInPlace),
            of(Python::Import),
        ],
    ),
    peer("pyro5-serpent", "unix", &[of(Python::Call), of(Python::Batch), of(Python::Get), of(Python::Set)]),
    peer(
        "pyro4-pickle",
        "unix",
        &[
            of(Python::Call),
            of(Python::Batch),
            of(Python::Stream),
            of(Python::Get),
            of(Python::Set),
            of(Python::GetBig),
            of(Python::SetBig),
            of(Python::Echo),
            of(Python::EchoInPlace),
        ],
    ),
    peer("ipcdatastore", "tcp", SMALL),
    peer("rpyc", "unix", CALLS),
    peer(
        "redis-py",
        "unix",
        &[
            of(Python::Call),
            of(Python::Batch),
            of(Python::Get),
            of(Python::Set),
            of(Python::GetBig),
            of(Python::SetBig),
            of(Python::Import),
        ],
    ),
    peer("redis-py-cache", "unix", &[of(Python::CachedInt), of(Python::CachedDict), of(Python::ChangedGet)]),
    peer("lmdb", "memory", FILE),
    peer("diskcache", "disk", FILE),
    peer("sqlite3", "disk", FILE),
    peer(
        "ray",
        "memory",
        &[
            of(Python::CachedInt),
            of(Python::CachedDict),
            of(Python::Get),
            of(Python::Set),
            of(Python::GetBig),
            of(Python::SetBig),
        ],
    ),
    Peer {
        name: "floor-python-aio",
        floor: "floor-python-aio",
        transport: "unix",
        takes_part: &[of(Python::AsyncioCall)],
    },
    Peer {
        name: "andiron-python-aio",
        floor: "floor-python-aio",
        transport: "unix",
        takes_part: &[of(Python::AsyncioCall)],
    },
];

const OWN_NAME: &str = OWN[0];

/// The engine in Python alone, with itself and with a server in Rust.
const PURE: [&str; 2] = [OWN[3], OWN[4]];

pub(crate) const TARGETS: [Target; 19] = [
    target(of(Python::Call), OWN_NAME, "floor-python", 1.3),
    target(of(Python::Call), OWN_NAME, "pyro5-msgpack", 1.0 / 3.0),
    target(of(Python::Call), OWN_NAME, "managers", 1.0 / 2.0),
    target(of(Python::Call), PURE[0], "pyro5-msgpack", 1.0),
    target(of(Python::Call), PURE[0], "managers", 1.0),
    target(of(Python::AsyncioCall), OWN[1], "floor-python-aio", 1.2),
    target(of(Python::Get), OWN_NAME, "floor-python", 1.2),
    target(of(Python::CachedInt), OWN_NAME, "lmdb", 1.0 / 5.0),
    target(of(Python::CachedDict), OWN_NAME, "lmdb", 1.0 / 5.0),
    target(of(Python::CachedInt), OWN_NAME, "redis-py-cache", 1.0 / 20.0),
    target(of(Python::CachedDict), OWN_NAME, "redis-py-cache", 1.0 / 20.0),
    target(of(Python::CachedDict), OWN_NAME, "diskcache", 1.0 / 20.0),
    target(of(Python::CachedDict), OWN_NAME, "sqlite3", 1.0 / 20.0),
    target(of(Python::CachedDict), OWN_NAME, "managers", 1.0 / 20.0),
    target(of(Python::CachedDict), OWN_NAME, "ray", 1.0 / 20.0),
    target(of(Python::Echo), OWN_NAME, "floor-python", 1.0),
    target(of(Python::EchoInPlace), OWN_NAME, "connection", 1.0 / 10.0),
    target(of(Python::EchoInPlace), OWN_NAME, "pyro4-pickle", 1.0 / 10.0),
    target(of(Python::EchoInPlace), OWN_NAME, "managers", 1.0 / 10.0),
];

/// In nanoseconds.
pub(crate) const TIMES: [(Workload, &str, f64); 5] = [
    (of(Python::CachedInt), OWN_NAME, 250.0),
    (of(Python::CachedDict), OWN_NAME, 1000.0),
    (of(Python::GetBig), OWN_NAME, 100e3),
    (of(Python::CachedInt), PURE[1], 1000.0),
    (of(Python::CachedDict), PURE[1], 2000.0),
];

/// How much longer than the bare start of an interpreter one may take that imports the package, in nanoseconds.
pub(crate) const MOST_TO_IMPORT: f64 = 10e6;

/// The program of a contestant and its first argument, where it is one of these.
pub(crate) fn program(root: &Path, name: &str) -> Option<Vec<PathBuf>> {
    let interpreter = root.join("target/bench-venv/bin/python");
    PEERS.iter().any(|peer| peer.name == name).then(|| vec![interpreter, root.join("python/bench")])
}
