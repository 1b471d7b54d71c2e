//! Calls that go to and fro: which thread runs them, and who is told instead of waiting for itself.

mod common;

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use andiron::{ErrorKind, Proxy};
use common::{Fun, Site, fun, in_time, next, run, turn};

/// Notes its thread and calls the other end back, until the number is 0: `others` are the called object and the caller's.
fn ping(threads: Arc<Mutex<Vec<ThreadId>>>) -> Fun {
    fun(move |number, others| {
        threads.lock().unwrap().push(thread::current().id());
        match &others[..] {
            [this, that] if number > 0 => {
                run(that, number - 1, &[that.clone(), this.clone()]).map(|sum| sum + number)
            }
            _ => Ok(0),
        }
    })
}

#[test]
fn nested_calls_both_ways_stay_on_the_threads_that_wait() {
    let (here, there) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let of_server = there.clone();
    let site = Site::new(|server| server.object("ping", ping(of_server)));
    let far = site.object("ping");
    let near = Proxy::local(ping(here.clone()));
    assert_eq!(run(&far, 20, &[far.clone(), near]).unwrap(), 210);
    assert_eq!(*here.lock().unwrap(), vec![thread::current().id(); 10]);
    let there = there.lock().unwrap();
    assert_eq!(there.len(), 11);
    assert!(there.iter().all(|thread| thread == &there[0] && thread != &thread::current().id()), "{there:?}");
}

#[test]
fn calls_nested_without_end_are_refused_and_the_server_serves_on() {
    let threads = Arc::<Mutex<Vec<_>>>::default();
    let of_server = threads.clone();
    let site = Site::new(|server| server.object("ping", ping(of_server)));
    let far = site.object("ping");
    let near = Proxy::local(ping(threads.clone()));
    let others = [far.clone(), near];
    let error = in_time(move || run(&others[0].clone(), 1_000_000, &others)).unwrap_err();
    // The innermost call did not run; those around it did.
    assert_eq!(error.kind(), ErrorKind::Application, "{error}");
    assert!(error.to_string().contains("nested too deep"), "{error}");
    assert_eq!(run(&far, 0, &[]).unwrap(), 0);
}

#[test]
fn a_chain_that_comes_back_by_another_connection_is_told_that_it_is_reentrant() {
    // Client -> A.x -> B.y -> A.x, where B is connected to A as a client of its own.
    let (give, take) = mpsc::channel::<Proxy>();
    let take = Mutex::new(take);
    let b =
        Site::new(|server| server.object("y", fun(move |_, _| run(&next(&take.lock().unwrap()), 0, &[]))));
    let y = b.object("y");
    let a = Site::new(|server| {
        server.object("x", turn(move |number, _| if number == 0 { Ok(0) } else { run(&y, 0, &[]) }))
    });
    give.send(a.object("x")).unwrap();
    let x = a.object("x");
    let error = in_time(move || run(&x, 1, &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
}

#[test]
fn a_method_with_mut_self_is_not_entered_twice_by_its_own_chain_but_one_with_self_is() {
    let site = Site::new(|server| {
        let body = |number: i64, others: Vec<Proxy>| {
            if number == 0 { Ok(7) } else { run(&others[0], 0, &others[1..]) }
        };
        server.object("turn", turn(body))?.object("fun", fun(body))
    });
    let back = |to: Proxy| Proxy::local(fun(move |number, _| run(&to, number, &[])));
    let (turn, fun) = (site.object("turn"), site.object("fun"));
    let error = run(&turn, 1, &[back(turn.clone())]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    assert_eq!(run(&turn, 0, &[]).unwrap(), 7, "the turn was given back");
    assert_eq!(run(&fun, 1, &[back(fun.clone())]).unwrap(), 7);
}

#[test]
fn other_chains_wait_for_their_turn_instead() {
    let (entered, wait_entered) = mpsc::channel();
    let (leave, wait_leave) = mpsc::channel::<()>();
    let wait_leave = Mutex::new(wait_leave);
    let site = Site::new(|server| {
        server.object(
            "turn",
            turn(move |number, _| {
                entered.send(number).unwrap();
                if number == 1 {
                    next(&wait_leave.lock().unwrap());
                }
                Ok(number)
            }),
        )
    });
    let turn = site.object("turn");
    let first = turn.start::<i64>("run", &(1, [(); 0])).unwrap();
    assert_eq!(next(&wait_entered), 1);
    let second = turn.start::<i64>("run", &(2, [(); 0])).unwrap();
    leave.send(()).unwrap();
    assert_eq!((first.wait().unwrap(), second.wait().unwrap()), (1, 2));
}

#[test]
fn what_a_handler_says_before_its_answer_was_heard_when_the_call_returns() {
    let site = Site::new(|server| {
        server.object(
            "worker",
            fun(|steps, others| {
                for step in 0..steps {
                    others[0].notify("tell", &(step, [(); 0]))?;
                }
                Ok(steps)
            }),
        )
    });
    let worker = site.object("worker");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let listener = Proxy::local(fun(move |step, _| {
        ear.lock().unwrap().push((step, thread::current().id()));
        Ok(0)
    }));
    assert_eq!(run(&worker, 100, &[listener]).unwrap(), 100);
    let expected: Vec<_> = (0..100).map(|step| (step, thread::current().id())).collect();
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn a_call_that_its_caller_did_not_wait_for_is_answered_all_the_same() {
    let (keep, kept) = mpsc::channel();
    let site = Site::new(|server| {
        server.object(
            "starter",
            fun(move |_, others| {
                keep.send(others[0].start::<i64>("run", &(5, [(); 0]))?).unwrap();
                Ok(0)
            }),
        )
    });
    let starter = site.object("starter");
    run(&starter, 0, &[Proxy::local(fun(|number, _| Ok(number + 1)))]).unwrap();
    assert_eq!(in_time(move || next(&kept).wait()).unwrap(), 6);
}

#[test]
fn a_thread_that_waits_elsewhere_is_not_given_calls_it_cannot_run() {
    // A -> B -> A.first -> C -> B -> A.second: while A's thread waits at C, its own chain calls A by way of B once more.
    let (to_b, b_for_c) = mpsc::channel::<Proxy>();
    let b_for_c = Mutex::new(b_for_c);
    let c = Site::new(|server| {
        server.object("c", fun(move |_, others| run(&next(&b_for_c.lock().unwrap()), 0, &others)))
    });
    // Calls the first of the others, with the rest.
    let b = Site::new(|server| server.object("b", fun(|_, others| run(&others[0], 0, &others[1..]))));
    to_b.send(b.object("b")).unwrap();
    let c = c.object("c");
    let hub = b.hub();
    let serving = {
        let hub = hub.clone();
        thread::spawn(move || hub.run())
    };
    let second = Proxy::local(fun(|_, _| Ok(42)));
    let first = Proxy::local(fun(move |_, others| run(&c, 0, &others)));
    let at_b: Proxy = hub.object("b").unwrap();
    assert_eq!(in_time(move || run(&at_b, 0, &[first, second])).unwrap(), 42);
    hub.close();
    serving.join().unwrap().unwrap();
}

/// Calls, from a thread of its own, what it is given; tells what came of it.
fn outsider(done: Sender<i64>) -> Fun {
    fun(move |number, others| {
        let done = done.clone();
        thread::spawn(move || done.send(run(&others[0], number, &[]).unwrap()));
        Ok(0)
    })
}

#[test]
fn calls_of_other_chains_run_on_the_handler_thread_while_a_call_waits() {
    let (done, wait_done) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let site = Site::new(|server| {
        server.object("outsider", outsider(done))?.object(
            "slow",
            fun(move |_, _| {
                next(&wait_release.lock().unwrap());
                Ok(1)
            }),
        )
    });
    let hub = site.hub();
    let (outsider, slow) = (hub.object::<Proxy>("outsider").unwrap(), hub.object::<Proxy>("slow").unwrap());
    let (on, wait_on) = mpsc::channel();
    let callback = Proxy::local(fun(move |number, _| {
        on.send(thread::current().name().map(str::to_owned)).unwrap();
        Ok(number)
    }));
    run(&outsider, 3, &[callback]).unwrap();
    let waiting = thread::spawn(move || run(&slow, 0, &[]));
    assert_eq!(next(&wait_on).as_deref(), Some("andiron-handler"));
    assert_eq!(next(&wait_done), 3);
    release.send(()).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), 1);
}

#[test]
fn poll_runs_calls_on_its_own_thread_and_tells_when_the_connection_is_over() {
    let (done, wait_done) = mpsc::channel();
    let site = Site::new(|server| server.object("outsider", outsider(done)));
    let hub = site.hub();
    let outsider: Proxy = hub.object("outsider").unwrap();
    let ran = Arc::new(Mutex::new(None));
    let note = ran.clone();
    let callback = Proxy::local(fun(move |number, _| {
        *note.lock().unwrap() = Some(thread::current().id());
        Ok(number)
    }));
    assert!(!hub.poll(Duration::ZERO).unwrap(), "nothing is there yet");
    // The callback may come with the answer, and is the handler thread's then: so the outsider starts when this thread polls.
    outsider.notify("tell", &(9, [callback])).unwrap();
    assert!(hub.poll(common::PATIENCE).unwrap());
    assert_eq!(*ran.lock().unwrap(), Some(thread::current().id()));
    assert_eq!(next(&wait_done), 9);
    site.server.stop();
    let error = in_time(move || {
        loop {
            if let Err(error) = hub.poll(common::PATIENCE) {
                break error;
            }
        }
    });
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn others_are_read_for_while_poll_runs_a_call() {
    let (done, wait_done) = mpsc::channel();
    let site = Site::new(|server| {
        server.object("outsider", outsider(done))?.object("fun", fun(|number, _| Ok(number)))
    });
    let hub = site.hub();
    let (outsider, quick) = (hub.object::<Proxy>("outsider").unwrap(), hub.object::<Proxy>("fun").unwrap());
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let slow = Proxy::local(fun(move |number, _| {
        entered.send(()).unwrap();
        next(&wait_release.lock().unwrap());
        Ok(number)
    }));
    outsider.notify("tell", &(4, [slow])).unwrap();
    let polling = thread::spawn(move || hub.poll(common::PATIENCE));
    next(&wait_entered);
    assert_eq!(in_time(move || run(&quick, 8, &[])).unwrap(), 8);
    release.send(()).unwrap();
    assert!(polling.join().unwrap().unwrap());
    assert_eq!(next(&wait_done), 4);
}

#[test]
fn run_serves_until_the_connection_is_closed_or_lost() {
    let (done, wait_done) = mpsc::channel();
    let site = Site::new(|server| server.object("outsider", outsider(done)));
    for closed_here in [true, false] {
        let hub = site.hub();
        let outsider: Proxy = hub.object("outsider").unwrap();
        let runs: Vec<_> = (0..2)
            .map(|_| {
                let hub = hub.clone();
                thread::spawn(move || hub.run())
            })
            .collect();
        run(&outsider, 1, &[Proxy::local(fun(|number, _| Ok(number + 1)))]).unwrap();
        assert_eq!(next(&wait_done), 2);
        if closed_here {
            hub.close();
        } else {
            site.server.stop();
        }
        for run in runs {
            let ended = in_time(move || run.join().unwrap());
            assert_eq!(
                ended.map_err(|error| error.kind()),
                if closed_here { Ok(()) } else { Err(ErrorKind::Unavailable) }
            );
        }
    }
}

struct Gate {
    meeting: Barrier,
    hold: Mutex<mpsc::Receiver<()>>,
    held: Sender<()>,
}

#[andiron::expose]
impl Gate {
    fn hold(&mut self) {
        self.held.send(()).unwrap();
        next(&self.hold.lock().unwrap());
    }

    fn meet(&self) -> bool {
        self.meeting.wait();
        true
    }
}

#[test]
fn calls_that_waited_for_the_same_turn_run_at_the_same_time() {
    let (release, hold) = mpsc::channel();
    let (held, wait_held) = mpsc::channel();
    let gate = Gate { meeting: Barrier::new(3), hold: Mutex::new(hold), held };
    let site = Site::new(|server| server.object("gate", gate));
    let holding = {
        let gate: GateProxy = site.hub().object("gate").unwrap();
        thread::spawn(move || gate.hold())
    };
    next(&wait_held);
    let hub = site.hub();
    let gate: GateProxy = hub.object("gate").unwrap();
    let mut meeting: Vec<_> = (0..2).map(|_| gate.start_meet().unwrap()).collect();
    let other: GateProxy = site.hub().object("gate").unwrap();
    meeting.push(other.start_meet().unwrap());
    assert_eq!(hub.names().unwrap(), ["gate"], "what was sent before has arrived");
    release.send(()).unwrap();
    holding.join().unwrap().unwrap();
    for meeting in meeting {
        assert!(in_time(move || meeting.wait()).unwrap());
    }
}

#[test]
fn a_waiting_caller_runs_nobody_elses_calls() {
    // The client's object is held in a call of its own chain when a call of another chain arrives for it.
    let (done, wait_done) = mpsc::channel();
    let site = Site::new(|server| {
        server
            .object("outsider", outsider(done))?
            .object("caller", fun(|number, others| run(&others[0], number, &others[1..])))
    });
    let hub = site.hub();
    let (outsider, caller) =
        (hub.object::<Proxy>("outsider").unwrap(), hub.object::<Proxy>("caller").unwrap());
    let ran = Arc::new(Mutex::new(Vec::new()));
    let note = ran.clone();
    let held = Proxy::local(turn(move |number, others| {
        note.lock().unwrap().push((number, thread::current().id()));
        if number == 1 {
            run(&outsider, 2, &others)?; // from another thread the server calls the object that is held here
        }
        Ok(number)
    }));
    run(&caller, 1, &[held.clone(), held]).unwrap();
    // It runs when somebody reads: while this thread waits for something else.
    let quick = hub.object::<Proxy>("caller").unwrap();
    in_time(move || {
        while wait_done.try_recv().is_err() {
            run(&quick, 0, &[Proxy::local(fun(|number, _| Ok(number)))]).unwrap();
        }
    });
    let ran = ran.lock().unwrap();
    assert_eq!(ran[0], (1, thread::current().id()));
    assert!(ran[1].0 == 2 && ran[1].1 != thread::current().id(), "{ran:?}");
}
