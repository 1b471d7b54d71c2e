//! Time limits, and calls that nobody waits for any more.

mod common;

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use andiron::{ErrorKind, Proxy, current};
use common::{Fun, PATIENCE, Site, eventually, fun, in_time, next, run};

/// Tells that it began, runs until its call is cancelled, tells that, and answers only when it is let go.
fn endless(began: Sender<()>, ended: Sender<()>, hold: Receiver<()>) -> Fun {
    let hold = Mutex::new(hold);
    fun(move |_, _| {
        began.send(()).unwrap();
        eventually("the handler learns that its call is cancelled", || current().unwrap().is_cancelled());
        let _ = ended.send(());
        let _ = hold.lock().unwrap().recv();
        Ok(0)
    })
}

/// Calls it with longer and longer limits, until one is long enough for its method to begin, however busy this machine is.
fn out_of_time(endless: &Proxy, began: &Receiver<()>) {
    let mut limit = Duration::from_millis(50);
    while began.try_recv().is_err() {
        let limited = endless.with_timeout(limit);
        let error = in_time(move || run(&limited, 0, &[])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
        limit *= 2;
    }
}

#[test]
fn a_call_that_takes_too_long_ends_and_its_handler_learns_it() {
    let ((began, wait_began), (ended, wait_ended), (release, hold)) =
        (mpsc::channel(), mpsc::channel(), mpsc::channel());
    let site = Site::new(|server| server.object("endless", endless(began, ended, hold)));
    out_of_time(&site.object("endless"), &wait_began);
    next(&wait_ended);
    drop(release);
}

#[test]
fn a_time_limit_ends_a_call_also_while_another_thread_reads() {
    let ((began, wait_began), (ended, wait_ended), (release, hold)) =
        (mpsc::channel(), mpsc::channel(), mpsc::channel());
    let site = Site::new(|server| server.object("endless", endless(began, ended, hold)));
    let endless = site.object("endless");
    let hub = site.hub();
    let unlimited = hub.object::<Proxy>("endless").unwrap();
    let limited = unlimited.clone();
    let reading = std::thread::spawn(move || run(&unlimited, 0, &[]));
    next(&wait_began);
    out_of_time(&limited, &wait_began);
    next(&wait_ended);
    drop(release);
    hub.close();
    assert_eq!(
        reading.join().unwrap().unwrap_err().kind(),
        ErrorKind::Unknown,
        "it began, and nobody will know how it ended"
    );
    drop(endless);
}

#[test]
fn a_handler_and_the_calls_it_makes_have_what_is_left_of_the_time() {
    let (left, wait_left) = mpsc::channel();
    let site = Site::new(|server| {
        server.object(
            "outer",
            fun(move |_, others| {
                let mine = current().unwrap().time_left();
                run(&others[0], 0, &[])?;
                left.send(mine).unwrap();
                Ok(0)
            }),
        )
    });
    let outer = site.object("outer");
    let (inner_left, wait_inner) = mpsc::channel();
    let inner = Proxy::local(fun(move |_, _| {
        inner_left.send(current().unwrap().time_left()).unwrap();
        Ok(0)
    }));
    run(&outer, 0, std::slice::from_ref(&inner)).unwrap();
    assert_eq!((next(&wait_left), next(&wait_inner)), (None, None), "no limit was set");
    run(&outer.with_timeout(PATIENCE), 0, &[inner]).unwrap();
    let (of_outer, of_inner) = (next(&wait_left).unwrap(), next(&wait_inner).unwrap());
    assert!(of_inner < of_outer && of_outer < PATIENCE, "{of_inner:?} {of_outer:?}");
}

#[test]
fn dropping_a_pending_call_cancels_it_and_what_it_called() {
    // Client -> relay -> endless, two servers.
    let ((began, wait_began), (ended, wait_ended), (release, hold)) =
        (mpsc::channel(), mpsc::channel(), mpsc::channel());
    let far = Site::new(|server| server.object("endless", endless(began, ended, hold)));
    let endless = far.object("endless");
    let (outcome, wait_outcome) = mpsc::channel();
    let near = Site::new(|server| {
        server.object(
            "relay",
            fun(move |_, _| {
                outcome.send(run(&endless, 0, &[]).map_err(|error| error.kind())).unwrap();
                Ok(0)
            }),
        )
    });
    let relay = near.object("relay");
    let pending = relay.start::<i64>("run", &(0, [(); 0])).unwrap();
    next(&wait_began);
    pending.cancel();
    next(&wait_ended);
    drop(release);
    assert_eq!(next(&wait_outcome), Err(ErrorKind::Cancelled));
}

#[test]
fn a_handler_whose_caller_gave_up_cannot_call_back() {
    let (began, wait_began) = mpsc::channel();
    let (outcome, wait_outcome) = mpsc::channel();
    let site = Site::new(|server| {
        server.object(
            "late",
            fun(move |_, others| {
                began.send(()).unwrap();
                eventually("cancelled", || current().unwrap().is_cancelled());
                outcome.send(run(&others[0], 0, &[]).map_err(|error| error.kind())).unwrap();
                Ok(0)
            }),
        )
    });
    let late = site.object("late");
    let callback = Proxy::local(fun(|_, _| panic!("nobody may call this")));
    let pending = late.start::<i64>("run", &(0, [callback])).unwrap();
    next(&wait_began);
    drop(pending);
    assert_eq!(next(&wait_outcome), Err(ErrorKind::Cancelled));
}

#[test]
fn the_end_of_a_connection_cancels_its_calls() {
    let ((began, wait_began), (ended, wait_ended), (release, hold)) =
        (mpsc::channel(), mpsc::channel(), mpsc::channel());
    let site = Site::new(|server| server.object("endless", endless(began, ended, hold)));
    let hub = site.hub();
    let endless: Proxy = hub.object("endless").unwrap();
    let pending = endless.start::<i64>("run", &(0, [(); 0])).unwrap();
    next(&wait_began);
    hub.close();
    next(&wait_ended);
    drop(release);
    assert!(pending.wait().is_err());
}

#[test]
fn a_cancelled_call_that_waits_for_its_turn_never_runs() {
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let site = Site::new(|server| {
        server.object(
            "turn",
            common::turn(move |number, _| {
                entered.send(number).unwrap();
                if number == 1 {
                    next(&wait_release.lock().unwrap());
                }
                Ok(number)
            }),
        )
    });
    let hub = site.hub();
    let turn: Proxy = hub.object("turn").unwrap();
    let first = turn.start::<i64>("run", &(1, [(); 0])).unwrap();
    assert_eq!(next(&wait_entered), 1);
    let second = turn.start::<i64>("run", &(2, [(); 0])).unwrap();
    let third = turn.start::<i64>("run", &(3, [(); 0])).unwrap();
    drop(second);
    assert_eq!(hub.names().unwrap(), ["turn"], "the cancel has arrived");
    release.send(()).unwrap();
    assert_eq!((first.wait().unwrap(), third.wait().unwrap()), (1, 3));
    assert_eq!(next(&wait_entered), 3);
}
