//! Objects of one connection that are shown to another.

mod common;

use std::time::Duration;

use andiron::{ErrorKind, Hosting, Hub, Proxy};
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
