//! Time limits, and calls that nobody waits for any more.

use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use andiron::{ErrorKind, Proxy, current};

use crate::common::{Gate, next};
use crate::objects::{Endless, Fun, fun, is_over, out_of_time, run, slow};
use crate::scene::At;

everywhere! {
    a_call_that_takes_too_long_ends_and_so_does_its_method,
    a_callers_time_goes_on_in_the_calls_of_its_method,
    who_gives_up_ends_the_method_and_what_it_called,
    a_method_that_answers_in_time_is_not_disturbed,
}

fn a_call_that_takes_too_long_ends_and_so_does_its_method(at: At) {
    let (told, heard) = mpsc::channel();
    let site = at.serve(|server| server.object("endless", Endless(told)));
    let endless = site.object("endless");
    let waiting = endless.start_run(-1, &[]);
    assert_eq!(next(&heard), (-1, "begun"));
    let number = out_of_time(&endless, &[], &heard);
    is_over(&heard, number);
    waiting.cancel();
    is_over(&heard, -1);
}

fn a_callers_time_goes_on_in_the_calls_of_its_method(at: At) {
    let (left, wait_left) = mpsc::channel();
    let site = at.serve(|server| {
        let body = |_, others: Vec<Proxy>| async move {
            run(&others[0], 0, &[]).await?;
            Ok(current().unwrap().time_left().map_or(-1, |left| left.as_micros() as i64))
        };
        server.object("outer", fun(body))
    });
    let outer = site.object("outer");
    let inner = [Proxy::local(fun(move |_, _| {
        left.send(current().unwrap().time_left()).unwrap();
        async { Ok(0) }
    }))];
    assert_eq!(outer.run(0, &inner).unwrap(), -1, "no limit was set");
    assert_eq!(next(&wait_left), None);
    let limit = Duration::from_secs(3600);
    let of_outer = outer.with_timeout(limit).run(0, &inner).unwrap();
    let of_inner = next(&wait_left).unwrap();
    assert!(
        Duration::from_micros(of_outer as u64) < of_inner && of_inner < limit,
        "{of_inner:?} {of_outer:?}"
    );
}

/// Calls the first of the others and tells how that ended; it is not asked by whom.
fn asking(told: Sender<ErrorKind>) -> Fun {
    struct Tell(Sender<ErrorKind>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let cancelled = current().is_none_or(|call| call.is_cancelled());
            let _ = self.0.send(if cancelled { ErrorKind::Cancelled } else { ErrorKind::Unknown });
        }
    }
    fun(move |number, others| {
        let tell = Tell(told.clone());
        async move {
            let outcome = run(&others[0], number, &[]).await;
            drop(tell);
            outcome
        }
    })
}

fn who_gives_up_ends_the_method_and_what_it_called(at: At) {
    let ((told, heard), (asked, outcome)) = (mpsc::channel(), mpsc::channel());
    let site = at.serve(|server| server.object("asking", asking(asked)));
    let hub = site.hub();
    let asking = hub.object("asking").unwrap();
    let endless = [Proxy::local(Endless(told))];
    let runs = hub.clone();
    let running = std::thread::spawn(move || runs.run()); // where no thread waits none reads
    let started = asking.start_run(-1, &endless);
    assert_eq!(next(&heard), (-1, "begun"));
    started.cancel();
    assert_eq!(next(&outcome), ErrorKind::Cancelled);
    assert_eq!(next(&heard), (-1, "over"));
    // A limit does the same.
    let number = out_of_time(&asking, &endless, &heard);
    assert_eq!(next(&outcome), ErrorKind::Cancelled);
    is_over(&heard, number);
    hub.close();
    running.join().unwrap().unwrap();
}

fn a_method_that_answers_in_time_is_not_disturbed(at: At) {
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let of_server = slow(entered, &gate);
    let site = at.serve(|server| server.object("slow", of_server));
    let slow = site.object("slow").with_timeout(Duration::from_secs(3600));
    let started = slow.start_run(5, &[]);
    next(&wait_entered);
    gate.open();
    assert_eq!(started.wait().unwrap(), 5);
    assert_eq!(slow.run(6, &[]).unwrap(), 6);
}
