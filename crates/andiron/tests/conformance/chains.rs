//! Calls that go to and fro over one connection.

use std::sync::{Arc, Mutex, mpsc};

use andiron::{ErrorKind, Proxy};

use crate::common::{Gate, eventually, next};
use crate::objects::{Fun, fun, passing, quick, run, slow, turn};
use crate::scene::{At, Driver};

everywhere! {
    a_callback_goes_over_the_connection_of_the_call,
    calls_nest_to_and_fro,
    who_comes_back_into_what_it_holds_is_told_at_once,
    other_chains_wait_for_their_turn,
    what_a_handler_says_before_its_answer_is_heard_in_order,
    a_callback_that_was_kept_is_called_later,
}

fn a_callback_goes_over_the_connection_of_the_call(at: At) {
    let site = at.serve(|server| server.object("passing", passing()));
    let passing = site.object("passing");
    let doubled = Proxy::local(fun(|number, _| async move { Ok(number * 2) }));
    for number in 0..100 {
        assert_eq!(passing.run(number, std::slice::from_ref(&doubled)).unwrap(), number * 2);
    }
    let failing = Proxy::local(fun(|_, _| async { Err(andiron::Error::new(ErrorKind::Quota, "no more")) }));
    let error = passing.run(1, &[failing]).unwrap_err();
    assert!(error.to_string().contains("no more"), "{error}");
}

/// Calls the other end back until the number is 0: `others` are this object and the caller's.
fn ping() -> Fun {
    fun(|number, others| async move {
        match &others[..] {
            [this, that] if number > 0 => {
                Ok(number + run(that, number - 1, &[that.clone(), this.clone()]).await?)
            }
            _ => Ok(0),
        }
    })
}

fn calls_nest_to_and_fro(at: At) {
    let site = at.serve(|server| server.object("ping", ping()));
    let far = site.object("ping");
    let near = Proxy::local(ping());
    for depth in [1, 2, 20] {
        let sum = far.run(depth, &[far.proxy.clone(), near.clone()]).unwrap();
        assert_eq!(sum, depth * (depth + 1) / 2);
    }
}

fn who_comes_back_into_what_it_holds_is_told_at_once(at: At) {
    let site = at.serve(|server| {
        let body = |number: i64, others: Vec<Proxy>| async move {
            if number == 0 { Ok(7) } else { run(&others[0], 0, &others[1..]).await }
        };
        server.object("turn", turn(body))?.object("fun", fun(body))
    });
    let hub = site.hub();
    let (turn, free) = (hub.object("turn").unwrap(), hub.object("fun").unwrap());
    let back = |to: Proxy| {
        Proxy::local(fun(move |number, _| {
            let to = to.clone();
            async move { run(&to, number, &[]).await }
        }))
    };
    let error = turn.run(1, &[back(turn.proxy.clone())]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    assert_eq!(turn.run(0, &[]).unwrap(), 7, "the turn was given back");
    assert_eq!(free.run(1, &[back(free.proxy.clone())]).unwrap(), 7);
}

fn other_chains_wait_for_their_turn(at: At) {
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let of_server = gate.clone();
    let site = at.serve(|server| {
        let body = move |number, _| {
            entered.send(number).unwrap();
            let gate = of_server.clone();
            async move {
                gate.passed().await;
                Ok(number)
            }
        };
        server.object("turn", turn(body))
    });
    let hub = site.hub();
    let (one, other) = (hub.object("turn").unwrap(), site.object("turn"));
    let first = one.start_run(1, &[]);
    assert_eq!(next(&wait_entered), 1);
    let (second, third) = (one.start_run(2, &[]), other.start_run(3, &[]));
    hub.names().unwrap(); // what was sent before has come
    assert!(wait_entered.try_recv().is_err(), "one at a time");
    gate.open();
    for (number, started) in [first, second, third].into_iter().enumerate() {
        assert_eq!(started.wait().unwrap(), number as i64 + 1);
    }
}

fn what_a_handler_says_before_its_answer_is_heard_in_order(at: At) {
    let site = at.serve(|server| {
        let tell = |steps, others: Vec<Proxy>| async move {
            for step in 0..steps {
                others[0].notify("tell", &(step, [(); 0]))?;
            }
            Ok(steps)
        };
        server.object("worker", fun(tell))
    });
    let worker = site.object("worker");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let listener = Proxy::local(fun(move |step, _| {
        ear.lock().unwrap().push(step);
        async { Ok(0) }
    }));
    assert_eq!(worker.run(100, &[listener]).unwrap(), 100);
    if at.client == Driver::Tasks {
        // There it is heard by the connection's task, which the caller may overtake.
        eventually("all was heard", || heard.lock().unwrap().len() == 100);
    }
    assert_eq!(*heard.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

fn a_callback_that_was_kept_is_called_later(at: At) {
    let kept = Arc::new(Mutex::new(None::<Proxy>));
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let (keep, of_slow) = (kept.clone(), slow(entered, &gate));
    let site = at.serve(|server| {
        let keep = move |_, others: Vec<Proxy>| {
            *keep.lock().unwrap() = others.into_iter().next();
            async { Ok(0) }
        };
        server.object("keeper", fun(keep))?.object("slow", of_slow)
    });
    let hub = site.hub();
    hub.object("keeper").unwrap().run(0, &[Proxy::local(quick())]).unwrap();
    // While the client waits for something else; the server calls on a thread of its own.
    let waiting = hub.object("slow").unwrap().start_run(1, &[]);
    next(&wait_entered);
    let waiting = std::thread::spawn(move || waiting.wait());
    let kept = kept.lock().unwrap().take().unwrap();
    assert_eq!(kept.call::<i64>("run", &(5, [(); 0])).unwrap(), 5);
    gate.open();
    assert_eq!(waiting.join().unwrap().unwrap(), 1);
}
