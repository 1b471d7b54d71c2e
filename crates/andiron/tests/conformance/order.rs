//! Which call runs when, where there are many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use andiron::ErrorKind;

use crate::common::{Gate, eventually, next};
use crate::objects::{fun, quick, slow, turn};
use crate::scene::{At, Driver};

everywhere! {
    methods_with_self_overlap,
    methods_with_mut_self_take_turns_in_the_order_sent,
    calls_and_one_way_calls_to_one_object_keep_their_order,
    a_slow_method_holds_up_nobody,
    thousands_of_calls_are_under_way_at_once,
    any_number_of_threads_share_a_connection,
    one_way_calls_are_heard_and_their_failure_can_be_learned,
    a_batch_goes_together_and_each_call_has_its_own_outcome,
}

fn methods_with_self_overlap(at: At) {
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let of_server = slow(entered, &gate);
    let site = at.serve(|server| server.object("slow", of_server));
    let slow = site.object("slow");
    let started: Vec<_> = (0..20).map(|number| slow.start_run(number, &[])).collect();
    // All are inside at once; between beginning and saying so another may overtake.
    let mut inside: Vec<i64> = (0..20).map(|_| next(&wait_entered)).collect();
    inside.sort_unstable();
    assert_eq!(inside, (0..20).collect::<Vec<_>>());
    gate.open();
    for (number, started) in started.into_iter().enumerate() {
        assert_eq!(started.wait().unwrap(), number as i64);
    }
}

fn methods_with_mut_self_take_turns_in_the_order_sent(at: At) {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (inside, note) = (Arc::new(AtomicUsize::new(0)), order.clone());
    let site = at.serve(|server| {
        let body = move |number, others: Vec<andiron::Proxy>| {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            note.lock().unwrap().push(number);
            let inside = inside.clone();
            async move {
                if let Some(other) = others.first() {
                    crate::objects::run(other, 0, &[]).await?; // it keeps its turn while it waits
                }
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok(number)
            }
        };
        server.object("turn", turn(body))
    });
    let turn = site.object("turn");
    let own = [andiron::Proxy::local(quick())];
    let others = |number: i64| if number % 50 == 0 { &own[..] } else { &[] };
    let started: Vec<_> = (0..500).map(|number| turn.start_run(number, others(number))).collect();
    for (number, started) in started.into_iter().enumerate() {
        assert_eq!(started.wait().unwrap(), number as i64);
    }
    assert_eq!(*order.lock().unwrap(), (0..500).collect::<Vec<_>>());
}

fn calls_and_one_way_calls_to_one_object_keep_their_order(at: At) {
    const CALLS: i64 = 2000;
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = order.clone();
    let site = at.serve(|server| {
        let body = move |number, _| {
            note.lock().unwrap().push(number);
            async move { Ok(number) }
        };
        server.object("list", turn(body))
    });
    let list = site.object("list");
    let mut started = Vec::new();
    for number in 0..CALLS {
        if number % 3 == 0 {
            list.notify("tell", &(number, [(); 0])).unwrap();
        } else {
            started.push(list.start_run(number, &[]));
        }
        if number % 97 == 0 {
            started.drain(..).for_each(|started| _ = started.wait().unwrap());
        }
    }
    started.into_iter().for_each(|started| _ = started.wait().unwrap());
    eventually("all have run", || order.lock().unwrap().len() == CALLS as usize);
    assert_eq!(*order.lock().unwrap(), (0..CALLS).collect::<Vec<_>>());
}

fn a_slow_method_holds_up_nobody(at: At) {
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let of_server = slow(entered, &gate);
    let site = at.serve(|server| server.object("slow", of_server)?.object("quick", quick()));
    let hub = site.hub();
    let (slow, quick) = (hub.object("slow").unwrap(), hub.object("quick").unwrap());
    let stuck: Vec<_> = (0..8).map(|number| slow.start_run(number, &[])).collect();
    for number in 0..50 {
        assert_eq!(quick.run(number, &[]).unwrap(), number, "over the same connection");
    }
    assert_eq!(site.object("quick").run(2, &[]).unwrap(), 2, "over another one");
    (0..8).for_each(|number| assert_eq!(next(&wait_entered), number));
    gate.open();
    for (number, stuck) in stuck.into_iter().enumerate() {
        assert_eq!(stuck.wait().unwrap(), number as i64);
    }
}

fn thousands_of_calls_are_under_way_at_once(at: At) {
    let site = at.serve(|server| server.object("quick", quick()));
    let quick = site.object("quick");
    let started: Vec<_> = (0..3000).map(|number| quick.start_run(number, &[])).collect();
    for (number, started) in started.into_iter().enumerate().rev() {
        assert_eq!(started.wait().unwrap(), number as i64);
    }
}

fn any_number_of_threads_share_a_connection(at: At) {
    let site = at.serve(|server| server.object("quick", quick()));
    let quick = site.object("quick");
    thread::scope(|scope| {
        for thread in 0..8 {
            let quick = quick.clone();
            scope.spawn(move || {
                for number in 0..50 {
                    let started = quick.start_run(number + 1, &[]);
                    assert_eq!(quick.run(thread * number, &[]).unwrap(), thread * number);
                    assert_eq!(started.wait().unwrap(), number + 1);
                }
            });
        }
    });
}

fn one_way_calls_are_heard_and_their_failure_can_be_learned(at: At) {
    let (told, heard) = mpsc::channel();
    let site = at.serve(|server| {
        let body = move |number, _| {
            told.send(number).unwrap();
            async { Ok(0) }
        };
        server.object("ear", fun(body))?.object("quick", quick())
    });
    let hub = site.hub();
    let (ear, quick) = (hub.object("ear").unwrap(), hub.object("quick").unwrap());
    for number in 0..100 {
        ear.notify("tell", &(number, [(); 0])).unwrap();
    }
    for number in 0..100 {
        assert_eq!(next(&heard), number, "although nobody waits");
    }
    assert!(hub.take_notify_error().is_none());
    ear.notify("nosuch", &()).unwrap();
    quick.run(1, &[]).unwrap();
    let error = hub.take_notify_error().expect("the failure came before the answer to the next call");
    assert_eq!(error.kind(), ErrorKind::NoMethod, "{error}");
    assert!(hub.take_notify_error().is_none(), "told once");
}

fn a_batch_goes_together_and_each_call_has_its_own_outcome(at: At) {
    let (told, heard) = mpsc::channel();
    let site = at.serve(|server| {
        let body = move |number, _| {
            told.send(number).unwrap();
            async move {
                if number % 3 == 0 {
                    Err(andiron::Error::new(ErrorKind::Quota, "no more"))
                } else {
                    Ok(number)
                }
            }
        };
        server.object("picky", fun(body))
    });
    let hub = site.hub();
    let picky = hub.object("picky").unwrap();
    let batch = hub.batch();
    let started: Vec<_> = (0..50).map(|number| picky.start_run(number, &[])).collect();
    if at.client == Driver::Threads {
        // The task of a connection may send what waits, while it sees to something else.
        assert!(heard.try_recv().is_err(), "held back");
    }
    drop(batch);
    for number in 0..50 {
        assert_eq!(next(&heard), number);
    }
    for (number, started) in started.into_iter().enumerate() {
        match started.wait() {
            Ok(back) => assert_eq!((back, number % 3 > 0), (number as i64, true)),
            Err(error) => assert_eq!((error.message(), number % 3), ("no more", 0)),
        }
    }
}
