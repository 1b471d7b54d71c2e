//! How connections begin and end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use andiron::{ErrorKind, Signal};

use crate::common::net::last_words;
use crate::common::{Gate, PATIENCE, eventually, net, next};
use crate::objects::{fun, quick, slow};
use crate::scene::{At, Hub};

everywhere! {
    a_server_that_stops_finishes_what_is_under_way_and_takes_nothing_new,
    a_closed_hub_stays_closed_and_its_calls_fail,
    a_connection_lives_as_long_as_its_last_proxy,
    both_sides_are_told_of_the_beginning_and_the_end,
    who_comes_after_the_end_is_told_so,
}

over! {
    { unix tcp tls }
    a_hub_that_retries_finds_its_objects_at_the_next_server,
    a_hub_that_retries_goes_on_at_the_next_server_while_the_last_one_finishes,
    registered_objects_are_there_again,
    a_call_that_may_have_run_is_not_repeated_unless_it_is_idempotent,
    a_call_ends_when_its_time_is_over_though_the_next_server_says_nothing,
}

over! { { unix tcp } garbage_ends_the_connection_that_it_came_on }

fn a_server_that_stops_finishes_what_is_under_way_and_takes_nothing_new(at: At) {
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let of_server = slow(entered, &gate);
    let site = at.serve(|server| server.object("slow", of_server));
    let (hub, idle) = (site.hub(), site.hub());
    let slow = hub.object("slow").unwrap();
    let started = slow.start_run(5, &[]);
    next(&wait_entered);
    let stopping = thread::spawn(move || site.stop());
    eventually("the server takes no calls", || idle.names().is_err() && hub.names().is_err());
    let error = slow.run(6, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    gate.open();
    assert_eq!(started.wait().unwrap(), 5);
    drop((slow, hub));
    assert!(stopping.join().unwrap(), "all was finished in time");
    assert_eq!(idle.names().unwrap_err().kind(), ErrorKind::Unavailable);
}

fn a_closed_hub_stays_closed_and_its_calls_fail(at: At) {
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let of_server = slow(entered, &gate);
    let site = at.serve(|server| server.object("slow", of_server));
    let hub = site.hub();
    let slow = hub.object("slow").unwrap();
    let started = slow.start_run(1, &[]);
    next(&wait_entered);
    let runs = hub.clone();
    let running = thread::spawn(move || runs.run());
    hub.close();
    assert_eq!(started.wait().unwrap_err().kind(), ErrorKind::Unknown, "it may have run");
    assert_eq!(slow.run(2, &[]).unwrap_err().kind(), ErrorKind::Unavailable);
    running.join().unwrap().unwrap();
    assert!(site.stop());
}

fn a_connection_lives_as_long_as_its_last_proxy(at: At) {
    let (told, heard) = mpsc::channel();
    let site = at.serve(|server| {
        let tell =
            move |_: &andiron::Hub, signal: Signal<'_>| _ = told.send(matches!(signal, Signal::Connected));
        server.on_signal(tell).object("quick", quick())
    });
    let hub = site.hub();
    assert!(next(&heard));
    let quick = hub.object("quick").unwrap();
    let started = quick.start_run(1, &[]);
    drop(hub);
    assert_eq!(started.wait().unwrap(), 1);
    assert_eq!(quick.run(2, &[]).unwrap(), 2);
    assert!(heard.try_recv().is_err());
    drop(quick);
    assert!(!next(&heard), "the server is told");
}

fn both_sides_are_told_of_the_beginning_and_the_end(at: At) {
    let ((told, at_server), (tell, at_client)) = (mpsc::channel(), mpsc::channel());
    let site = at.serve(|server| {
        let listen = move |_: &andiron::Hub, signal: Signal<'_>| {
            let _ = told.send(match signal {
                Signal::Connected => "connected".to_owned(),
                Signal::Disconnected(why) => why.message().to_owned(),
                other => format!("{other:?}"),
            });
        };
        server.on_signal(listen).object("quick", quick())
    });
    let connector = site.connector.clone().on_signal(move |signal| {
        let _ = tell.send(match signal {
            Signal::Connected => None,
            Signal::Disconnected(why) => Some(why.message().to_owned()),
            other => Some(format!("{other:?}")),
        });
    });
    let hub = Hub::connect(at.client, connector).unwrap();
    assert_eq!((next(&at_server), next(&at_client)), ("connected".to_owned(), None));
    hub.close();
    assert!(next(&at_client).is_some());
    assert_ne!(next(&at_server), "connected");
    // The other way round.
    let other = site.hub();
    assert_eq!(next(&at_server), "connected");
    let runs = thread::spawn(move || other.run());
    site.stop();
    assert_ne!(next(&at_server), "connected");
    assert!(runs.join().unwrap().is_err(), "the client did not want it");
}

fn who_comes_after_the_end_is_told_so(at: At) {
    let site = at.serve(|server| server.object("quick", quick()));
    let connector = site.connector.clone().timeout(PATIENCE);
    assert!(site.stop());
    let error = Hub::connect(at.client, connector).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(error.operation(), Some("connect"));
}

fn a_hub_that_retries_finds_its_objects_at_the_next_server(at: At) {
    let number = |number: i64| fun(move |_, _| async move { Ok(number) });
    let site = at.serve(|server| server.object("number", number(1)));
    let hub = Hub::connect(at.client, site.connector.clone().retry(PATIENCE)).unwrap();
    let far = hub.object("number").unwrap();
    assert_eq!(far.run(0, &[]).unwrap(), 1);
    let site = site.restart(|server| server.object("number", number(2)));
    assert_eq!(far.run(0, &[]).unwrap(), 2);
    assert_eq!(hub.names().unwrap(), ["number"]);
    hub.close();
    assert_eq!(far.run(0, &[]).unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(site.stop());
}

fn a_hub_that_retries_goes_on_at_the_next_server_while_the_last_one_finishes(at: At) {
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let first = slow(entered, &gate);
    let site = at.serve(|server| server.object("number", first));
    let hub = Hub::connect(at.client, site.connector.clone().retry(PATIENCE)).unwrap();
    let number = hub.object("number").unwrap();
    let far = number.clone();
    let waiting = thread::spawn(move || far.run(1, &[]));
    next(&wait_entered);
    let (site, stopping) = site.relieve(|server| server.object("number", quick()));
    assert_eq!(number.run(2, &[]).unwrap(), 2);
    gate.open();
    assert_eq!(waiting.join().unwrap().unwrap(), 1, "what was under way is finished");
    assert!(stopping.join().unwrap());
    assert_eq!(number.run(3, &[]).unwrap(), 3);
    assert!(site.stop());
}

fn registered_objects_are_there_again(at: At) {
    let site = at.open();
    let provider = Hub::connect(at.client, site.connector.clone().retry(PATIENCE)).unwrap();
    let serving = provider.provide("quick", quick()).unwrap();
    let site = site.restart(Ok);
    let consumer = site.hub();
    eventually("it is registered again", || consumer.names().unwrap() == ["quick"]);
    assert_eq!(consumer.object("quick").unwrap().run(3, &[]).unwrap(), 3);
    provider.close();
    serving.join().unwrap().unwrap();
}

fn a_call_that_may_have_run_is_not_repeated_unless_it_is_idempotent(at: At) {
    for idempotent in [false, true] {
        let begun = Arc::new(AtomicUsize::new(0));
        // Ends the connection of who calls, twice.
        let ending = || {
            let begun = begun.clone();
            fun(move |number, _| {
                if begun.fetch_add(1, Ordering::SeqCst) < 2 {
                    andiron::current().unwrap().hub().unwrap().close();
                }
                async move { Ok(number) }
            })
        };
        let site = at.serve(|server| server.object("ending", ending()));
        let hub = Hub::connect(at.client, site.connector.clone().retry(PATIENCE)).unwrap();
        let ending = hub.object("ending").unwrap();
        let ending = if idempotent { ending.idempotent() } else { ending };
        if idempotent {
            assert_eq!(ending.run(7, &[]).unwrap(), 7, "until it is answered");
            assert_eq!(begun.load(Ordering::SeqCst), 3);
        } else {
            let error = ending.run(7, &[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
            assert_eq!(begun.swap(2, Ordering::SeqCst), 1);
        }
        assert_eq!(ending.run(0, &[]).unwrap(), 0, "there is another connection");
    }
}

fn a_call_ends_when_its_time_is_over_though_the_next_server_says_nothing(at: At) {
    let site = at.serve(|server| server.object("quick", quick()));
    let brief = Duration::from_millis(50);
    // Connecting itself may take for ever.
    let connector = site.connector.clone().timeout(100 * PATIENCE);
    let hub = |patience| Hub::connect(at.client, connector.clone().retry(patience)).unwrap();
    let (patient, impatient) = (hub(100 * PATIENCE), hub(brief));
    let limited = patient.object("quick").unwrap().with_timeout(brief);
    let unlimited = impatient.object("quick").unwrap();
    let silent = site.fall_silent();
    for quick in [&limited, &unlimited, &limited] {
        let error = quick.run(1, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "it did not run: {error}");
    }
    let error = impatient.names().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(silent);
}

trait Line: Read + Write + Send {}
impl<T: Read + Write + Send> Line for T {}

fn garbage_ends_the_connection_that_it_came_on(at: At) {
    let site = at.serve(|server| server.object("quick", quick()));
    let good = site.object("quick");
    let address = site.address();
    let stranger = || -> Box<dyn Line> {
        match address.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            None => Box::new(net::connect(&address)),
        }
    };
    let preface = b"\xad\x49\x52\x4f\x4e\x0d\x0a\x1a\x00\x01\x00\x01";
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xad\x49\x52\x4f\x4e\x0d\x0a\x1a\x00\x00\x00\x00",
        &[preface, &[0xff; 100][..]].concat(),
        // A call before the greeting.
        &[preface, &b"\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"[..]].concat(),
        &[0; 5000],
    ];
    for bytes in garbage {
        let mut line = stranger();
        line.write_all(bytes).unwrap();
        last_words(&mut line); // it is hung up on
        assert_eq!(good.run(1, &[]).unwrap(), 1);
    }
    let mut silent = stranger();
    silent.write_all(&preface[..5]).unwrap();
    assert_eq!(site.object("quick").run(2, &[]).unwrap(), 2, "new ones come in beside it");
}
