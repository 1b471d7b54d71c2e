//! Waiting for descriptors, through signals and wake-ups.
#![allow(unsafe_code)] // To send signals to a thread.

mod common;

use std::io::{ErrorKind, IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use andiron_sys::epoll::{Event, Interest, Poller, Ready, Waker};
use andiron_sys::poll::wait;
use andiron_sys::socket::{pair, recv, send};

const READABLE: Ready = Ready { readable: true, writable: false, hangup: false };
const WRITABLE: Ready = Ready { readable: false, writable: true, hangup: false };

fn put(socket: &OwnedFd, bytes: &[u8]) {
    assert_eq!(send(socket, &[IoSlice::new(bytes)], &[]).unwrap(), bytes.len());
}

#[test]
fn poll_tells_reading_writing_and_hangup_apart() {
    // No other test may start a process meanwhile, which has a copy of every descriptor until it is another program.
    common::in_own_process("poll_tells_reading_writing_and_hangup_apart", || {
        let (here, there) = pair().unwrap();
        assert_eq!(wait(&here, false, true, None).unwrap(), WRITABLE);
        assert!(wait(&here, true, false, Some(Duration::ZERO)).unwrap().is_none());
        put(&there, b"x");
        assert_eq!(wait(&here, true, false, None).unwrap(), READABLE);
        drop(there);
        let gone = wait(&here, true, true, None).unwrap();
        assert!(gone.hangup && gone.readable, "what was sent before can still be read: {gone:?}");
        assert!(wait(&here, false, false, None).unwrap().hangup);
    });
}

#[test]
fn poll_waits_as_long_as_it_was_told() {
    let (here, _there) = pair().unwrap();
    for time in [Duration::from_micros(300), Duration::from_millis(5)] {
        let start = Instant::now();
        assert!(wait(&here, true, false, Some(time)).unwrap().is_none());
        assert!(start.elapsed() >= time);
    }
}

#[test]
fn a_time_beyond_all_bounds_is_no_limit() {
    let (here, there) = pair().unwrap();
    put(&there, b"x");
    assert_eq!(wait(&here, true, false, Some(Duration::MAX)).unwrap(), READABLE);
    let poller = Poller::new().unwrap();
    poller.add(&here, 1, Interest::READ).unwrap();
    assert_eq!(poller.wait_one(Some(Duration::MAX)).unwrap(), Some((1, READABLE)));
}

#[test]
fn a_level_triggered_descriptor_is_reported_while_it_is_ready() {
    let (here, there) = pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(&here, 42, Interest::READ).unwrap();
    assert_eq!(poller.wait_one(Some(Duration::ZERO)).unwrap(), None);
    put(&there, b"x");
    for _ in 0..2 {
        assert_eq!(poller.wait_one(None).unwrap(), Some((42, READABLE)));
    }
    recv(&here, &mut [0; 8], true, &mut Vec::new()).unwrap();
    assert_eq!(poller.wait_one(Some(Duration::ZERO)).unwrap(), None);
}

#[test]
fn a_one_shot_descriptor_is_silent_until_armed_again() {
    let (here, there) = pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(&here, 1, Interest::READ | Interest::ONE_SHOT).unwrap();
    put(&there, b"x");
    assert_eq!(poller.wait_one(None).unwrap(), Some((1, READABLE)));
    put(&there, b"y");
    assert_eq!(poller.wait_one(Some(Duration::ZERO)).unwrap(), None);
    poller.modify(&here, 2, Interest::READ | Interest::ONE_SHOT).unwrap();
    assert_eq!(poller.wait_one(None).unwrap(), Some((2, READABLE)));
    assert_eq!(poller.wait_one(Some(Duration::ZERO)).unwrap(), None);
}

#[test]
fn interests_can_be_joined_changed_and_removed() {
    let (here, there) = pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(&here, 1, Interest::READ | Interest::WRITE).unwrap();
    put(&there, b"x");
    let both = Ready { readable: true, writable: true, hangup: false };
    assert_eq!(poller.wait_one(None).unwrap(), Some((1, both)));
    poller.modify(&here, 1, Interest::WRITE).unwrap();
    assert_eq!(poller.wait_one(None).unwrap(), Some((1, WRITABLE)));
    poller.modify(&here, 1, Interest::NONE).unwrap();
    assert_eq!(poller.wait_one(Some(Duration::ZERO)).unwrap(), None);
    drop(there);
    assert!(poller.wait_one(None).unwrap().unwrap().1.hangup);
    poller.remove(&here).unwrap();
    assert_eq!(poller.wait_one(Some(Duration::ZERO)).unwrap(), None);
}

#[test]
fn a_descriptor_is_in_the_set_once_or_not_at_all() {
    let (here, _there) = pair().unwrap();
    let poller = Poller::new().unwrap();
    assert_eq!(poller.modify(&here, 1, Interest::READ).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(poller.remove(&here).unwrap_err().kind(), ErrorKind::NotFound);
    poller.add(&here, 1, Interest::READ).unwrap();
    assert_eq!(poller.add(&here, 2, Interest::READ).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn several_events_come_at_once_up_to_the_room_given() {
    let pairs: Vec<_> = (0..100).map(|_| pair().unwrap()).collect();
    let poller = Poller::new().unwrap();
    for (token, (here, there)) in pairs.iter().enumerate() {
        poller.add(here, token as u64, Interest::READ | Interest::ONE_SHOT).unwrap();
        put(there, b"x");
    }
    let mut tokens = Vec::new();
    for room in [3, 200, 200] {
        let mut events = vec![Event::default(); room];
        let taken = poller.wait(&mut events, None).unwrap();
        assert!((1..=room.min(64)).contains(&taken), "{taken} of {room}");
        tokens.extend(events[..taken].iter().map(|event| event.token));
    }
    tokens.sort_unstable();
    assert_eq!(tokens, Vec::from_iter(0..100));
    assert_eq!(poller.wait(&mut [Event::default()], Some(Duration::ZERO)).unwrap(), 0);
    assert_eq!(poller.wait(&mut [], Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_waker_wakes_a_waiting_thread_until_it_is_cleared() {
    let (poller, waker) = (Poller::new().unwrap(), Waker::new().unwrap());
    poller.add(&waker, 9, Interest::READ).unwrap();
    assert!(!waker.clear());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| poller.wait_one(None).unwrap());
        waker.wake();
        waker.wake();
        assert_eq!(waiting.join().unwrap(), Some((9, READABLE)));
    });
    assert_eq!(poller.wait_one(None).unwrap(), Some((9, READABLE)));
    assert!(waker.clear());
    assert!(!waker.clear());
    assert_eq!(poller.wait_one(Some(Duration::ZERO)).unwrap(), None);
}

/// Where the signal handler writes that it ran.
static ACKNOWLEDGE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn acknowledge(_signal: libc::c_int) {
    // SAFETY: write is allowed in a signal handler; the byte lives as long as the call.
    unsafe { libc::write(ACKNOWLEDGE.load(Ordering::Relaxed), c"x".as_ptr().cast(), 1) };
}

/// Runs `blocked` and interrupts it by signals, each sent when the one before was handled, as long as `go_on` says.
fn interrupt(mut go_on: impl FnMut() -> bool + Send, blocked: impl FnOnce()) {
    let (mut handled, handler) = std::io::pipe().unwrap();
    ACKNOWLEDGE.store(handler.as_raw_fd(), Ordering::Relaxed);
    // SAFETY: a zeroed action is a valid one, and the handler is of the type that it has without SA_SIGINFO.
    // Without SA_RESTART calls are interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = acknowledge as extern "C" fn(libc::c_int) as libc::sighandler_t;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    // SAFETY: asks for this thread's own id.
    let target = unsafe { libc::pthread_self() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while go_on() {
                // SAFETY: the target thread outlives this scope.
                assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR1) }, 0);
                handled.read_exact(&mut [0]).unwrap();
            }
        });
        blocked();
    });
}

/// Interrupts `blocked` by a hundred signals, then sends a byte to the socket that it waits for.
fn through_signals(test: &str, blocked: impl FnOnce(&OwnedFd)) {
    common::in_own_process(test, || {
        let (here, there) = pair().unwrap();
        let mut count = 0;
        let go_on = || {
            count += 1;
            if count > 100 {
                put(&there, b"x");
            }
            count <= 100
        };
        interrupt(go_on, || blocked(&here));
    });
}

#[test]
fn signals_do_not_make_a_wait_longer() {
    common::in_own_process("signals_do_not_make_a_wait_longer", || {
        let (here, _there) = pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&here, 1, Interest::READ).unwrap();
        let (time, over) = (Some(Duration::from_millis(5)), AtomicBool::new(false));
        // They come for as long as it waits: if one made it wait anew, it would not end.
        interrupt(
            || !over.load(Ordering::Relaxed),
            || {
                assert!(wait(&here, true, false, time).unwrap().is_none());
                assert_eq!(poller.wait_one(time).unwrap(), None);
                over.store(true, Ordering::Relaxed);
            },
        );
    });
}

#[test]
fn receiving_goes_on_through_signals() {
    through_signals("receiving_goes_on_through_signals", |socket| {
        assert_eq!(recv(socket, &mut [0; 8], false, &mut Vec::new()).unwrap().bytes, 1);
    });
}

#[test]
fn polling_goes_on_through_signals() {
    through_signals("polling_goes_on_through_signals", |socket| {
        assert_eq!(wait(socket, true, false, None).unwrap(), READABLE);
    });
}

#[test]
fn polling_with_a_limit_goes_on_through_signals() {
    through_signals("polling_with_a_limit_goes_on_through_signals", |socket| {
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(wait(socket, true, false, hour).unwrap(), READABLE);
    });
}

#[test]
fn a_poller_goes_on_through_signals() {
    through_signals("a_poller_goes_on_through_signals", |socket| {
        let poller = Poller::new().unwrap();
        poller.add(socket, 5, Interest::READ).unwrap();
        assert_eq!(poller.wait_one(None).unwrap(), Some((5, READABLE)));
    });
}

#[test]
fn a_poller_can_be_polled() {
    let (poller, waker) = (Poller::new().unwrap(), Waker::new().unwrap());
    poller.add(&waker, 0, Interest::READ).unwrap();
    assert!(wait(poller.as_fd(), true, false, Some(Duration::ZERO)).unwrap().is_none());
    waker.wake();
    assert_eq!(wait(poller.as_fd(), true, false, None).unwrap(), READABLE);
}
