//! Objects of one connection that are shown to another.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use andiron::{ErrorKind, Hosting, Hub, Proxy, current};
use common::{Site, eventually, fun, in_time, run};

#[test]
fn an_object_of_a_connection_that_nobody_waits_at_is_called_through_another() {
    let far = Site::new(|server| server.object("fun", fun(|number, _| Ok(number + 1))));
    // Calls the object that it is given.
    let near =
        Site::new(|server| server.object("caller", fun(|number, others| run(&others[0], number, &[]))));
    let object = far.object("fun");
    let caller = near.object("caller");
    // This thread waits at `near`; the answer of `object` comes on a connection where nobody does.
    let result = in_time(move || run(&caller, 1, &[object]));
    assert_eq!(result.unwrap(), 2);
}

#[test]
fn calls_that_are_passed_on_by_a_client_are_answered_again_and_again() {
    let far = Site::new(|server| server.object("fun", fun(|number, _| Ok(number + 1))));
    let near =
        Site::new(|server| server.object("caller", fun(|number, others| run(&others[0], number, &[]))));
    let (object, caller) = (far.object("fun"), near.object("caller"));
    for round in 0..100 {
        let (object, caller) = (object.clone(), caller.clone());
        assert_eq!(in_time(move || run(&caller, round, &[object])).unwrap(), round + 1);
    }
}

#[test]
fn what_is_said_beside_a_call_goes_through_the_daemon_and_no_further() {
    let site = Site::hosted(Hosting { names: true, ..Hosting::default() }, Ok);
    let provider = site.hub();
    let said = || current().unwrap().annotation::<i64>("number");
    provider.register("tells", fun(move |_, _| Ok(said()?.unwrap_or(0)))).unwrap();
    provider.register("asks", fun(move |number, others| run(&others[0], number, &[]))).unwrap();
    let serving = std::thread::spawn({
        let provider = provider.clone();
        move || provider.run()
    });
    let hub = site.hub();
    let (tells, asks): (Proxy, Proxy) = (hub.object("tells").unwrap(), hub.object("asks").unwrap());
    let with = |proxy: &Proxy, number: i64| {
        proxy.with_annotations(&BTreeMap::from([("other", 1), ("number", number)])).unwrap()
    };
    assert_eq!(run(&with(&tells, 7), 0, &[]).unwrap(), 7);
    assert_eq!(run(&tells, 0, &[]).unwrap(), 0, "the proxy that it was made of says nothing");
    assert_eq!(
        run(&with(&asks, 7), 0, std::slice::from_ref(&tells)).unwrap(),
        0,
        "nor do calls of the method"
    );
    let text = tells.with_annotations(&BTreeMap::from([("number", "seven")])).unwrap();
    assert_eq!(run(&text, 0, &[]).unwrap_err().kind(), ErrorKind::BadArguments);
    let long = tells.with_annotations(&BTreeMap::from([("long", "x".repeat(9000))])).unwrap();
    assert_eq!(run(&long, 0, &[]).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(tells.with_annotations(&5).unwrap_err().kind(), ErrorKind::Encoding);
    provider.close();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_method_finds_what_its_caller_registered() {
    let hosting = Hosting { names: true, ..Hosting::default() };
    let site = Site::hosted(hosting, |server| {
        let asks = |number, _: Vec<Proxy>| {
            let hub = current().and_then(|call| call.hub()).unwrap();
            run(&hub.object::<Proxy>("own")?, number, &[])
        };
        server.object("asks", fun(asks))
    });
    let (hub, other) = (site.hub(), site.hub());
    hub.register("own", fun(|number, _| Ok(number + 1))).unwrap();
    let (asks, of_other): (Proxy, Proxy) = (hub.object("asks").unwrap(), other.object("asks").unwrap());
    assert_eq!(in_time(move || run(&asks, 1, &[])).unwrap(), 2);
    let error = in_time(move || run(&of_other, 1, &[])).unwrap_err();
    assert!(error.message().contains("no object is named 'own'"), "{error}");
}

#[test]
fn the_failure_of_a_one_way_call_comes_back_through_the_daemon() {
    let site = Site::hosted(Hosting { names: true, ..Hosting::default() }, Ok);
    let provider = site.hub();
    let failing = fun(|_, _| Err(andiron::Error::new(ErrorKind::Denied, "not today")));
    provider.register("failing", failing).unwrap();
    let serving = std::thread::spawn({
        let provider = provider.clone();
        move || provider.run()
    });
    let hub: Hub = site.hub();
    let failing: Proxy = hub.object("failing").unwrap();
    failing.notify("run", &(1, [(); 0])).unwrap();
    failing.notify("nosuch", &()).unwrap();
    eventually("the later failure is heard of", || {
        hub.poll(Duration::from_millis(1)).unwrap();
        hub.take_notify_error().is_some_and(|error| error.kind() == ErrorKind::NoMethod)
    });
    provider.close();
    serving.join().unwrap().unwrap();
}
