//! Objects that one client registers and another calls, through the server.

use std::sync::mpsc;

use andiron::{ErrorKind, Proxy, Stream};

use crate::common::{Gate, eventually, next};
use crate::objects::{Endless, fun, is_over, out_of_time, passing, quick, slow};
use crate::scene::{At, Hub, Site};
use crate::streams::Mill;

everywhere! {
    an_object_is_registered_and_called_through_the_server,
    objects_pass_both_ways_and_come_home_as_themselves,
    streams_and_promises_go_through,
    who_gives_up_is_heard_by_the_provider,
    a_one_way_calls_failure_comes_back,
    a_call_under_way_ends_with_its_provider,
    names_go_with_their_provider,
}

/// A server, a provider and a consumer.
fn three(at: At) -> (Site, Hub, Hub) {
    let site = at.open();
    let (provider, consumer) = (site.hub(), site.hub());
    (site, provider, consumer)
}

fn an_object_is_registered_and_called_through_the_server(at: At) {
    let (_site, provider, consumer) = three(at);
    let serving = provider.provide("quick", quick()).unwrap();
    let error = consumer.provide("quick", quick()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(consumer.names().unwrap(), ["quick"]);
    let far = consumer.object("quick").unwrap();
    let started: Vec<_> = (0..500).map(|number| far.start_run(number, &[])).collect();
    for (number, started) in started.into_iter().enumerate() {
        assert_eq!(started.wait().unwrap(), number as i64);
    }
    assert_eq!(far.call::<()>("nosuch", &()).unwrap_err().kind(), ErrorKind::NoMethod);
    provider.close();
    serving.join().unwrap().unwrap();
}

fn objects_pass_both_ways_and_come_home_as_themselves(at: At) {
    let (_site, provider, consumer) = three(at);
    let _serving = provider.provide("passing", passing()).unwrap();
    let passing = consumer.object("passing").unwrap();
    let own = Proxy::local(fun(|number, others| async move { Ok(number * 3 + others.len() as i64) }));
    assert_eq!(passing.run(5, &[own.clone(), own.clone()]).unwrap(), 16, "a callback through the server");
    let (told, heard) = mpsc::channel();
    let expected = own.clone();
    let looks = Proxy::local(fun(move |_, others| {
        told.send(others[0] == expected).unwrap();
        async { Ok(0) }
    }));
    passing.run(0, &[looks, own]).unwrap();
    assert!(next(&heard), "home again, and not a proxy of a proxy");
    provider.close();
}

fn streams_and_promises_go_through(at: At) {
    let (_site, provider, consumer) = three(at);
    let _serving = provider.provide("mill", Mill::default()).unwrap();
    let mill = consumer.object("mill").unwrap();
    let numbers: Vec<u64> = mill.stream("count", &(1000,)).unwrap().map(Result::unwrap).collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    assert_eq!(mill.call::<u64>("sum", &(Stream::iter(0..1000u64),)).unwrap(), 999 * 500);
    let doubled = mill.stream::<u64>("doubled", &(Stream::iter(0..100u64),)).unwrap();
    assert_eq!(doubled.map(Result::unwrap).sum::<u64>(), 99 * 100);
    assert_eq!(mill.stream::<u64>("fails_after", &(2,)).unwrap().filter(Result::is_err).count(), 1);
    for _ in 0..20 {
        // Whether the answer is there already when the next call comes is a matter of time.
        let other = mill.start::<Proxy>("another", &(false,)).promise();
        let third = other.start::<Proxy>("another", &(false,)).promise();
        assert_eq!(third.call::<u64>("number", &()).unwrap(), 7);
    }
    let none = mill.start::<Proxy>("another", &(true,)).promise();
    assert!(none.call::<u64>("number", &()).unwrap_err().to_string().contains("no other mill"));
    provider.close();
}

fn who_gives_up_is_heard_by_the_provider(at: At) {
    let (_site, provider, consumer) = three(at);
    let (told, heard) = mpsc::channel();
    let _serving = provider.provide("endless", Endless(told)).unwrap();
    let endless = consumer.object("endless").unwrap();
    let started = endless.start_run(-1, &[]);
    assert_eq!(next(&heard), (-1, "begun"));
    started.cancel();
    assert_eq!(next(&heard), (-1, "over"));
    let number = out_of_time(&endless, &[], &heard);
    is_over(&heard, number);
    let started = endless.start_run(-2, &[]);
    while next(&heard) != (-2, "begun") {}
    consumer.close();
    is_over(&heard, -2);
    drop(started);
    provider.close();
}

fn a_one_way_calls_failure_comes_back(at: At) {
    let (_site, provider, consumer) = three(at);
    let _serving = provider.provide("quick", quick()).unwrap();
    let quick = consumer.object("quick").unwrap();
    quick.notify("nosuch", &()).unwrap();
    eventually("the failure is heard of", || {
        quick.run(1, &[]).unwrap();
        consumer.take_notify_error().is_some_and(|error| error.kind() == ErrorKind::NoMethod)
    });
    provider.close();
}

fn a_call_under_way_ends_with_its_provider(at: At) {
    let (_site, provider, consumer) = three(at);
    let (gate, (entered, wait_entered)) = (Gate::default(), mpsc::channel());
    let _serving = provider.provide("slow", slow(entered, &gate)).unwrap();
    let started = consumer.object("slow").unwrap().start_run(0, &[]);
    next(&wait_entered);
    provider.close();
    let error = started.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    gate.open();
}

fn names_go_with_their_provider(at: At) {
    let (_site, provider, consumer) = three(at);
    let serving = provider.provide("quick", quick()).unwrap();
    let quick = consumer.object("quick").unwrap();
    provider.close();
    serving.join().unwrap().unwrap();
    eventually("the name is gone", || consumer.names().unwrap().is_empty());
    assert_eq!(quick.run(0, &[]).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(consumer.object("quick").map(drop).unwrap_err().kind(), ErrorKind::NoObject);
    let again = consumer.provide("quick", crate::objects::quick()).unwrap();
    consumer.close();
    again.join().unwrap().unwrap();
}
