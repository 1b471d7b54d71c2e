//! Forks, limits, the clock and random bytes.
#![allow(unsafe_code)] // To fork for real.

mod common;

use std::io::{Read, Write};

use andiron_sys::{clock, fork, limits, random};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Forks, runs `child` in the child and answers the number that it made.
fn in_forked_child(child: impl FnOnce() -> u32) -> u32 {
    let (mut read, mut write) = std::io::pipe().unwrap();
    // SAFETY: the child runs only `child` and a write, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let answer = child();
        let _ = write.write_all(&answer.to_ne_bytes());
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    drop(write);
    let mut answer = [0; 4];
    read.read_exact(&mut answer).unwrap();
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
    u32::from_ne_bytes(answer)
}

#[test]
fn every_fork_is_another_generation() {
    common::in_own_process("every_fork_is_another_generation", || {
        fork::watch();
        fork::watch();
        let own = fork::generation();
        assert_eq!(in_forked_child(fork::generation), own + 1);
        assert_eq!(in_forked_child(|| in_forked_child(fork::generation)), own + 2);
        assert_eq!(fork::generation(), own);
    });
}

#[test]
fn a_fork_is_noticed_when_only_generations_were_asked_for() {
    common::in_own_process("a_fork_is_noticed_when_only_generations_were_asked_for", || {
        let own = fork::generation();
        assert_ne!(in_forked_child(fork::generation), own);
    });
}

#[test]
fn the_descriptor_limit_is_raised_to_what_is_allowed_and_enough() {
    common::in_own_process("the_descriptor_limit_is_raised_to_what_is_allowed_and_enough", || {
        let allowed = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: allowed }).unwrap();
        let raised = limits::raise_descriptor_limit();
        assert_eq!(raised, allowed.unwrap_or(u64::MAX).min(1_048_576));
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: Some(raised), maximum: allowed });

        setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(100) }).unwrap();
        assert_eq!(limits::raise_descriptor_limit(), 100);
        assert_eq!(limits::raise_descriptor_limit(), 100);
    });
}

#[test]
fn random_bytes_fill_all_of_a_buffer_and_differ() {
    let mut bytes = vec![0; 1 << 16];
    random::fill(&mut bytes).unwrap();
    let mut pieces: Vec<_> = bytes.chunks(16).collect();
    pieces.sort_unstable();
    pieces.dedup();
    assert_eq!(pieces.len(), bytes.len() / 16, "128 bits do not come twice");
    random::fill(&mut []).unwrap();
}

#[test]
fn the_clock_is_that_of_the_machine_and_never_goes_back() {
    let uptime = || -> f64 {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let (before, now, after) = (uptime(), clock::since_boot().as_secs_f64(), uptime());
    // It is told in hundredths, the rest cut off.
    assert!(before <= now && now < after + 0.01, "{before} {now} {after}");
    let mut last = clock::since_boot();
    for _ in 0..10_000 {
        let next = clock::since_boot();
        assert!(next >= last);
        last = next;
    }
}
