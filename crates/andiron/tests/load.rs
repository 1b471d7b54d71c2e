//! Limits that hold for all clients of a server together.

mod common;

use std::sync::{Mutex, mpsc};

use andiron::{ErrorKind, Hosting, Hub, Pending, Proxy};
use common::{Site, eventually, fun, in_time, next, run};

#[test]
fn who_comes_when_there_is_no_room_is_told_so_and_comes_in_when_there_is() {
    for transport in ["unix", "tcp", "tls"] {
        let hosting = Hosting { connections: Some(3), ..Hosting::default() };
        let site = Site::at(transport, hosting, |server| server.object("echo", fun(|number, _| Ok(number))));
        let connect = || site.connector().connect();
        let inside: Vec<Hub> = (0..3).map(|_| connect().unwrap()).collect();
        let error = connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{transport}: {error}");
        assert!(error.is_temporary() && error.to_string().contains("3 connections"), "{error}");
        for hub in &inside {
            assert_eq!(run(&hub.object("echo").unwrap(), 7, &[]).unwrap(), 7);
        }
        drop(inside);
        eventually("there is room again", || connect().is_ok());
    }
}

#[test]
fn what_all_clients_have_under_way_together_is_bounded() {
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let (entered, wait_release) = (Mutex::new(entered), Mutex::new(wait_release));
    struct Hold(Box<dyn Fn() + Send + Sync>);
    #[andiron::expose]
    impl Hold {
        fn hold(&self, text: String) -> usize {
            (self.0)();
            text.len()
        }
    }
    let hold = Hold(Box::new(move || {
        entered.lock().unwrap().send(()).unwrap();
        let _ = wait_release.lock().unwrap().recv();
    }));
    let hosting = Hosting { bytes: Some(8 << 20), ..Hosting::default() };
    let site = Site::hosted(hosting, |server| server.object("hold", hold));
    let text = "x".repeat(3 << 20);
    let hubs: Vec<Hub> = (0..3).map(|_| site.hub()).collect();
    let proxies: Vec<Proxy> = hubs.iter().map(|hub| hub.object("hold").unwrap()).collect();
    let held: Vec<Pending<usize>> =
        proxies[..2].iter().map(|proxy| proxy.start("hold", &(&text,)).unwrap()).collect();
    // Whoever waits for its answer sends the rest of its text.
    let held: Vec<_> = held.into_iter().map(|pending| std::thread::spawn(move || pending.wait())).collect();
    next(&wait_entered);
    next(&wait_entered);
    let third = proxies[2].clone();
    let refused = in_time({
        let text = text.clone();
        move || third.call::<usize>("hold", &(&text,))
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Overloaded);
    drop(release);
    for held in held {
        assert_eq!(in_time(move || held.join().unwrap()).unwrap(), 3 << 20);
    }
    let third = proxies[2].clone();
    assert_eq!(
        in_time(move || third.call::<usize>("hold", &(&text,))).unwrap(),
        3 << 20,
        "there is room again"
    );
}
