//! Many threads at one connection, and the threads of a server.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;

use andiron::{ErrorKind, Hosting, Pending, Proxy};
use common::{Echo, Fun, PATIENCE, Site, eventually, fun, in_time, next, run, turn};

/// A handler that tells that it began and waits to be let go.
fn slow() -> (Fun, Receiver<i64>, Sender<()>) {
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let slow = fun(move |number, _| {
        let _ = entered.send(number);
        let _ = wait_release.lock().unwrap().recv();
        Ok(number)
    });
    (slow, wait_entered, release)
}

#[test]
fn fifty_threads_share_a_connection_while_each_is_called_back() {
    let site =
        Site::new(|server| server.object("caller", fun(|number, others| run(&others[0], number, &[]))));
    let caller = site.object("caller");
    in_time(move || {
        thread::scope(|scope| {
            for own in 0..50 {
                let caller = caller.clone();
                scope.spawn(move || {
                    let this = thread::current().id();
                    let callback = Proxy::local(fun(move |number, _| {
                        assert_eq!(thread::current().id(), this);
                        Ok(number * 2)
                    }));
                    for number in 0..40 {
                        assert_eq!(
                            run(&caller, own * number, std::slice::from_ref(&callback)).unwrap(),
                            own * number * 2
                        );
                    }
                });
            }
        });
    });
}

#[test]
fn slow_handlers_hold_up_nobody_else() {
    let (slow, entered, release) = slow();
    let site = Site::new(|server| server.object("slow", slow)?.object("quick", fun(|number, _| Ok(number))));
    let hub = site.hub();
    let (slow, quick) = (hub.object::<Proxy>("slow").unwrap(), hub.object::<Proxy>("quick").unwrap());
    // More than the threads that are there from the start, and all of one connection.
    let stuck: Vec<_> = (0..8).map(|number| slow.start::<i64>("run", &(number, [(); 0])).unwrap()).collect();
    let same = quick.start::<i64>("run", &(1, [(); 0])).unwrap();
    assert_eq!(in_time(move || same.wait()).unwrap(), 1);
    let other = site.object("quick");
    assert_eq!(in_time(move || run(&other, 2, &[])).unwrap(), 2);
    let mut began: Vec<_> = (0..8).map(|_| next(&entered)).collect();
    began.sort_unstable();
    assert_eq!(began, (0..8).collect::<Vec<_>>());
    drop(release);
    for (number, stuck) in stuck.into_iter().enumerate() {
        assert_eq!(in_time(move || stuck.wait()).unwrap(), number as i64);
    }
}

#[test]
fn as_many_handlers_run_as_a_server_is_told_and_the_others_wait() {
    for threads in [1, 3] {
        let (slow, entered, release) = slow();
        let hosting = Hosting { threads: Some(threads), ..Hosting::default() };
        let site = Site::hosted(hosting, |server| {
            server
                .object("slow", slow)?
                .inline_object("echo", Echo)?
                .object("quick", fun(|number, _| Ok(number)))
        });
        let objects: Vec<Proxy> = (0..3).map(|_| site.object("slow")).collect();
        let start = |number: usize| objects[number % 3].start::<i64>("run", &(number, [(); 0])).unwrap();
        let started: Vec<_> = (0..9).map(start).collect();
        let quick = site.object("quick").start::<i64>("run", &(5, [(); 0])).unwrap();
        for _ in 0..threads {
            next(&entered);
        }
        let echo = site.object("echo");
        in_time(move || echo.call::<String>("text", &("beside them",))).unwrap();
        assert!(entered.try_recv().is_err(), "no other began");
        for number in 0..9 {
            release.send(()).unwrap();
            if number + threads < 9 {
                next(&entered);
            }
        }
        for (number, started) in started.into_iter().enumerate() {
            assert_eq!(in_time(move || started.wait()).unwrap(), number as i64);
        }
        assert_eq!(in_time(move || quick.wait()).unwrap(), 5);
    }
}

#[test]
fn an_answer_is_not_held_back_by_the_call_behind_it() {
    let (slow, entered, release) = slow();
    let site = Site::new(|server| server.object("slow", slow)?.object("quick", fun(|number, _| Ok(number))));
    let hub = site.hub();
    let (slow, quick) = (hub.object::<Proxy>("slow").unwrap(), hub.object::<Proxy>("quick").unwrap());
    let batch = hub.batch();
    let first = quick.start::<i64>("run", &(1, [(); 0])).unwrap();
    let second = slow.start::<i64>("run", &(2, [(); 0])).unwrap();
    drop(batch);
    assert_eq!(in_time(move || first.wait()).unwrap(), 1);
    next(&entered);
    drop(release);
    assert_eq!(second.wait().unwrap(), 2);
}

#[test]
fn beyond_the_limit_of_handlers_a_call_is_refused_and_did_not_run() {
    let (slow, entered, release) = slow();
    let site = Site::new(|server| server.object("slow", slow)?.object("quick", fun(|number, _| Ok(number))));
    let hub = site.hub();
    let slow: Proxy = hub.object("slow").unwrap();
    let mut stuck: Vec<Pending<i64>> = Vec::new();
    // One after the other, each begun before the next comes.
    for number in 0..256 {
        stuck.push(slow.start("run", &(number, [(); 0])).unwrap());
        assert_eq!(next(&entered), number);
    }
    let quick = hub.object::<Proxy>("quick").unwrap();
    let error = in_time(move || run(&quick, 1, &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert!(error.is_temporary());
    drop(release);
    for stuck in stuck {
        in_time(move || stuck.wait()).unwrap();
    }
    let quick = hub.object::<Proxy>("quick").unwrap();
    assert_eq!(run(&quick, 1, &[]).unwrap(), 1);
}

/// What was read of [`Noted`], in its order.
static READ: Mutex<Vec<i64>> = Mutex::new(Vec::new());
static READ_ON: Condvar = Condvar::new();

/// An argument that notes when it is read: there a call begins. What its method then does may be overtaken, for methods with `&self` overlap.
struct Noted(i64);

impl<'de> serde::Deserialize<'de> for Noted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Noted, D::Error> {
        let number = i64::deserialize(deserializer)?;
        READ.lock().unwrap().push(number);
        READ_ON.notify_all();
        Ok(Noted(number))
    }
}

impl serde::Serialize for Noted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

struct Reader;

#[andiron::expose]
impl Reader {
    fn read(&self, number: Noted) {
        if number.0 % 500 == 1 && number.0 % 7 != 0 {
            // A slow one: others begin while it lasts.
            let read = READ.lock().unwrap();
            let later = |read: &mut Vec<i64>| !read.iter().any(|&read| read > number.0 + 10);
            let (read, late) = READ_ON.wait_timeout_while(read, PATIENCE, later).unwrap();
            drop(read);
            assert!(!late.timed_out(), "nothing begins beside {}", number.0);
        }
    }
}

#[test]
fn calls_to_one_object_start_in_the_order_sent() {
    const CALLS: i64 = 5000;
    let site = Site::new(|server| server.object("reader", Reader));
    let reader = site.object("reader");
    for number in 0..CALLS {
        if number % 3 == 0 {
            reader.notify("read", &(number,)).unwrap();
            continue;
        }
        let started = reader.start::<()>("read", &(number,)).unwrap();
        if number % 7 == 0 {
            started.wait().unwrap();
        } else {
            std::mem::forget(started);
        }
    }
    eventually("all calls ran", || READ.lock().unwrap().len() == CALLS as usize);
    assert_eq!(*READ.lock().unwrap(), (0..CALLS).collect::<Vec<_>>());
}

#[test]
fn calls_with_mut_self_take_turns_in_the_order_sent() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (inside, note) = (AtomicUsize::new(0), order.clone());
    let site = Site::new(|server| {
        server.object(
            "list",
            turn(move |number, _| {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                note.lock().unwrap().push(number);
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok(number)
            }),
        )
    });
    let list = site.object("list");
    let pending: Vec<_> =
        (0..2000).map(|number| list.start::<i64>("run", &(number, [(); 0])).unwrap()).collect();
    for (number, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.wait().unwrap(), number as i64);
    }
    assert_eq!(*order.lock().unwrap(), (0..2000).collect::<Vec<_>>());
}

#[test]
fn calls_with_self_overlap() {
    let meeting = Barrier::new(4);
    let site = Site::new(|server| {
        server.object(
            "gate",
            fun(move |number, _| {
                meeting.wait();
                Ok(number)
            }),
        )
    });
    let gate = site.object("gate");
    let pending: Vec<_> =
        (0..4).map(|number| gate.start::<i64>("run", &(number, [(); 0])).unwrap()).collect();
    for pending in pending {
        in_time(move || pending.wait()).unwrap();
    }
}

#[test]
fn large_arguments_and_results_go_both_ways_at_once() {
    let site = Site::new(|server| server.object("echo", Echo));
    let echo = site.object("echo");
    in_time(move || {
        thread::scope(|scope| {
            for thread in 0..4 {
                let echo = echo.clone();
                scope.spawn(move || {
                    let text = "abcdefgh".repeat((600_000 + thread) as usize);
                    for _ in 0..3 {
                        let back: String = echo.call("text", &(&text,)).unwrap();
                        assert!(back == text);
                    }
                });
            }
        });
    });
}

/// Calls, from a thread of its own, the echo that it is given for a long text; tells the text's length.
fn outsider(done: Sender<usize>) -> Fun {
    fun(move |length, others| {
        let done = done.clone();
        thread::spawn(move || done.send(others[0].call::<String>("make", &(length,)).unwrap().len()));
        Ok(0)
    })
}

#[test]
fn a_long_answer_goes_out_while_another_thread_sleeps_in_a_read() {
    let (done, wait_done) = mpsc::channel();
    let (slow, entered, release) = slow();
    let site = Site::new(|server| server.object("outsider", outsider(done))?.object("slow", slow));
    let hub = site.hub();
    let (outsider, slow) = (hub.object::<Proxy>("outsider").unwrap(), hub.object::<Proxy>("slow").unwrap());
    let waiting = thread::spawn(move || run(&slow, 0, &[]));
    next(&entered);
    // Below the window of a long body nothing comes back that could wake the reader.
    for length in [250 << 10, 3 << 20, 250 << 10] {
        run(&outsider, length, &[Proxy::local(Echo)]).unwrap();
        assert_eq!(next(&wait_done), length as usize);
    }
    drop(release);
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_long_answer_goes_out_while_a_server_thread_sleeps_in_a_read() {
    let site = Site::new(|server| {
        server.object("caller", fun(|number, others| run(&others[0], number, &[])))?.object("echo", Echo)
    });
    let hub = site.hub();
    let (caller, echo) = (hub.object::<Proxy>("caller").unwrap(), hub.object::<Proxy>("echo").unwrap());
    // The server's thread waits for this callback, which only another call of the same connection ends.
    let callback = Proxy::local(fun(move |_, _| {
        let lengths = thread::scope(|scope| {
            let calls: Vec<_> = [200 << 10, 5 << 20, 200 << 10]
                .into_iter()
                .map(|length: usize| {
                    let echo = echo.clone();
                    scope.spawn(move || echo.call::<String>("make", &(length,)).unwrap().len())
                })
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).sum::<usize>()
        });
        Ok(lengths as i64)
    }));
    let total = in_time(move || run(&caller, 0, &[callback])).unwrap();
    assert_eq!(total, (400 << 10) + (5 << 20));
}

#[test]
fn batched_calls_go_together_and_guards_may_end_in_any_order() {
    let sites = [0, 1].map(|_| Site::new(|server| server.object("echo", Echo)));
    let hubs = sites.each_ref().map(Site::hub);
    let echo: Proxy = hubs[0].object("echo").unwrap();
    let (first, second) = (hubs[0].batch(), hubs[1].batch());
    let pending: Vec<_> = (0..10).map(|n| echo.start::<String>("make", &(n,)).unwrap()).collect();
    drop(first);
    drop(second);
    for (length, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.wait().unwrap().len(), length);
    }
    // Nothing is held back any more: this is heard although nobody waits.
    let (told, wait_told) = mpsc::channel();
    let site = Site::new(|server| {
        server.object("ear", fun(move |number, _| Ok(told.send(number).map(|()| 0).unwrap())))
    });
    let ear = site.object("ear");
    for hub in &hubs {
        drop(hub.batch());
    }
    ear.notify("tell", &(3, [(); 0])).unwrap();
    assert_eq!(next(&wait_told), 3);
}

#[test]
fn a_batch_of_two_connections_ended_in_the_wrong_order_holds_nothing_back() {
    let (told, wait_told) = mpsc::channel();
    let site = Site::new(|server| {
        server.object("ear", fun(move |number, _| Ok(told.send(number).map(|()| 0).unwrap())))
    });
    let (one, two) = (site.hub(), site.hub());
    let ears = [one.object::<Proxy>("ear").unwrap(), two.object::<Proxy>("ear").unwrap()];
    let (first, second) = (one.batch(), two.batch());
    drop(first);
    drop(second);
    for ear in &ears {
        ear.notify("tell", &(1, [(); 0])).unwrap();
        assert_eq!(next(&wait_told), 1);
    }
}

#[test]
fn one_way_calls_are_heard_and_their_failure_can_be_learned() {
    let site = Site::new(|server| server.object("echo", Echo));
    let hub = site.hub();
    let echo: Proxy = hub.object("echo").unwrap();
    assert!(hub.take_notify_error().is_none());
    echo.notify("make", &("not a number",)).unwrap();
    let text: String = echo.call("make", &(2,)).unwrap();
    assert_eq!(text, "xx");
    let error = hub.take_notify_error().expect("the failure came before the answer to the next call");
    assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
    assert!(hub.take_notify_error().is_none(), "told once");
}

#[test]
fn more_one_way_calls_than_fit_anywhere_wait_and_all_arrive() {
    let heard = Arc::new(AtomicUsize::new(0));
    let ear = heard.clone();
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let site = Site::new(|server| {
        server
            .object(
                "first",
                fun(move |_, _| {
                    entered.send(()).unwrap();
                    let _ = wait_release.lock().unwrap().recv();
                    Ok(0)
                }),
            )?
            .object("ear", Ear(ear))
    });
    let hub = site.hub();
    let (first, ear) = (hub.object::<Proxy>("first").unwrap(), hub.object::<Proxy>("ear").unwrap());
    let first = first.start::<i64>("run", &(0, [(); 0])).unwrap();
    next(&wait_entered);
    drop(release);
    let text = "x".repeat(100_000);
    in_time(move || {
        for _ in 0..500 {
            ear.notify("hear", &(&text,)).unwrap();
        }
        first.wait().unwrap();
        drop(hub);
    });
    eventually("all were heard", || heard.load(Ordering::SeqCst) == 500 * 100_000);
}

struct Ear(Arc<AtomicUsize>);

#[andiron::expose]
impl Ear {
    #[expose(oneway)]
    fn hear(&self, text: &str) {
        self.0.fetch_add(text.len(), Ordering::SeqCst);
    }
}
