//! Beginnings and ends: connecting, closing, stopping, forking, and what is left afterwards.
#![allow(unsafe_code)] // forks

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use andiron::{Connector, ErrorKind, Hub, Proxy, Server};
use common::{Echo, Site, alone, eventually, fun, in_time, library_threads, next, open_descriptors, run};

fn echoing() -> Site {
    Site::new(|server| server.object("echo", Echo)?.object("fun", fun(|number, _| Ok(number))))
}

#[test]
fn a_connection_lives_as_long_as_its_last_proxy_and_no_longer() {
    let _alone = alone();
    let site = echoing();
    let before = open_descriptors();
    let hub = site.hub();
    let echo: Proxy = hub.object("echo").unwrap();
    // A shown object, for which a handler thread was started, keeps nothing open.
    let mine = Proxy::local(Echo);
    assert_eq!(echo.call::<Proxy>("proxy", &(&mine,)).unwrap(), mine);
    let pending = echo.start::<String>("text", &("x",)).unwrap();
    drop(hub);
    assert_eq!(pending.wait().unwrap(), "x");
    assert_eq!(echo.call::<String>("text", &("y",)).unwrap(), "y");
    drop(echo);
    eventually("both ends are closed", || open_descriptors() == before);
    eventually("the handler thread has ended", || library_threads() == 3);
}

#[test]
fn a_server_that_is_dropped_leaves_no_descriptor_thread_or_file() {
    let _alone = alone();
    let before = open_descriptors();
    let site = echoing();
    let hub = site.hub();
    run(&hub.object("fun").unwrap(), 0, &[Proxy::local(Echo)]).unwrap();
    let path = site.socket();
    assert!(path.exists());
    drop(site);
    assert!(!path.exists());
    drop(hub);
    eventually("all is closed", || open_descriptors() == before && library_threads() == 0);
}

#[test]
fn a_client_that_runs_leaves_nothing_when_its_connection_ends() {
    let _alone = alone();
    let site = Site::open();
    eventually("all threads have their names", || library_threads() == 3);
    let before = (open_descriptors(), library_threads());
    for _ in 0..3 {
        let hub = site.hub();
        hub.register("echo", Echo).unwrap();
        let serving = {
            let hub = hub.clone();
            thread::spawn(move || hub.run())
        };
        let echo = site.object("echo");
        assert_eq!(echo.call::<String>("text", &("x",)).unwrap(), "x");
        drop(echo);
        hub.close();
        serving.join().unwrap().unwrap();
        drop(hub);
        eventually("all is as before", || (open_descriptors(), library_threads()) == before);
    }
}

#[test]
fn threads_that_were_added_for_slow_handlers_do_not_keep_a_server_alive() {
    let _alone = alone();
    let before = open_descriptors();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let site = Site::new(|server| {
        server
            .object(
                "slow",
                fun(move |number, _| {
                    let _ = wait_release.lock().unwrap().recv();
                    Ok(number)
                }),
            )?
            .object("fun", fun(|number, _| Ok(number)))
    });
    let hub = site.hub();
    let (slow, quick) = (hub.object::<Proxy>("slow").unwrap(), hub.object::<Proxy>("fun").unwrap());
    let pending: Vec<_> =
        (0..6).map(|number| slow.start::<i64>("run", &(number, [(); 0])).unwrap()).collect();
    in_time(move || run(&quick, 1, &[])).unwrap();
    drop(release);
    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    drop((site, hub, slow));
    eventually("all is closed", || open_descriptors() == before && library_threads() == 0);
}

#[test]
fn a_stopping_server_finishes_what_is_under_way_and_takes_nothing_new() {
    let _alone = alone();
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let site = Site::new(|server| {
        server.object(
            "slow",
            fun(move |number, _| {
                entered.send(()).unwrap();
                next(&wait_release.lock().unwrap());
                Ok(number)
            }),
        )
    });
    let hub = site.hub();
    let idle = site.hub();
    let slow: Proxy = hub.object("slow").unwrap();
    let other = slow.clone();
    let waiting = thread::spawn(move || run(&slow, 5, &[]));
    next(&wait_entered);
    let stopping = thread::spawn(move || site.server.stop());
    // An idle client learns at its next call what was said to it.
    eventually("the server takes no calls", || idle.names().is_err() && hub.names().is_err());
    let error = in_time(move || run(&other, 6, &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    release.send(()).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), 5);
    assert!(in_time(move || stopping.join().unwrap()), "all was finished in time");
    assert_eq!(idle.names().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn an_idle_client_of_a_server_that_stopped_is_told_that_its_call_did_not_run() {
    let _alone = alone();
    for wait in [true, false] {
        let site = echoing();
        let hub = site.hub();
        let echo: Proxy = hub.object("echo").unwrap();
        assert!(site.server.stop());
        let error = if wait {
            in_time(move || echo.call::<String>("text", &("x",))).unwrap_err()
        } else {
            echo.notify("text", &("x",)).unwrap_err()
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let error = hub.names().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[test]
fn a_server_that_goes_away_ends_its_calls_at_once() {
    let _alone = alone();
    let (entered, wait_entered) = mpsc::channel();
    let site = Site::new(|server| {
        server.object(
            "slow",
            fun(move |number, _| {
                entered.send(andiron::current().unwrap().hub().unwrap()).unwrap();
                eventually("the connection ends", || andiron::current().unwrap().is_cancelled());
                Ok(number)
            }),
        )
    });
    let hub = site.hub();
    let slow: Proxy = hub.object("slow").unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|number| {
            let slow = slow.clone();
            thread::spawn(move || run(&slow, number, &[]))
        })
        .collect();
    next(&wait_entered).close();
    for waiting in waiting {
        let error = in_time(move || waiting.join().unwrap()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Unavailable), "{error:?}");
    }
    assert_eq!(run(&slow, 0, &[]).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(hub.as_raw_fd(), -1);
}

#[test]
fn one_way_calls_that_arrived_run_although_their_caller_is_gone() {
    let _alone = alone();
    let (entered, wait_entered) = mpsc::channel();
    let (heard, wait_heard) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let site = Site::new(|server| {
        server.object(
            "turn",
            common::turn(move |number, _| {
                if number == 0 {
                    entered.send(()).unwrap();
                    next(&wait_release.lock().unwrap());
                }
                heard.send(number).unwrap();
                Ok(0)
            }),
        )
    });
    let hub = site.hub();
    let turn: Proxy = hub.object("turn").unwrap();
    for number in 0..20 {
        turn.notify("tell", &(number, [(); 0])).unwrap();
    }
    next(&wait_entered);
    drop((hub, turn));
    release.send(()).unwrap();
    assert_eq!((0..20).map(|_| next(&wait_heard)).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

#[test]
fn no_time_is_too_long() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}/socket", folder.path().display());
    for address in [&unix, "tcp://127.0.0.1:0"] {
        let server = Server::bind(address).unwrap().object("echo", Echo).unwrap().start().unwrap();
        let connector = Connector::new(server.addresses().remove(0));
        let hub = connector.timeout(Duration::MAX).retry(Duration::MAX).connect().unwrap();
        let echo: Proxy = hub.object("echo").unwrap();
        let echo = echo.with_timeout(Duration::MAX);
        assert_eq!(echo.call::<String>("text", &("x",)).unwrap(), "x");
        hub.close();
        assert!(server.stop());
    }
}

#[test]
fn connecting_says_what_is_wrong() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("unix:{}/{name}", folder.path().display());
    let error = Hub::connect(&at("nobody")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no server at"), "{error}");
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("dead")).unwrap());
    let error = Hub::connect(&at("dead")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = Hub::connect(&at(&"x".repeat(200))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
    for name in ["", "a/b", "..", "a b", &"x".repeat(200)] {
        assert_eq!(Hub::connect(name).unwrap_err().kind(), ErrorKind::BadArguments, "{name}");
        assert_eq!(Server::bind(name).unwrap_err().kind(), ErrorKind::BadArguments, "{name}");
    }
    // Somebody else listens there.
    let listener = std::os::unix::net::UnixListener::bind(folder.path().join("other")).unwrap();
    let other = thread::spawn(move || drop(listener.accept().unwrap()));
    let error = Hub::connect(&at("other")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    other.join().unwrap();
    let taken = Server::bind(&at("taken")).unwrap();
    assert_eq!(Server::bind(&at("taken")).unwrap_err().kind(), ErrorKind::Conflict);
    drop(taken);
    Server::bind(&at("taken")).unwrap();
    let error = Server::bind(&at("no/such/folder")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn a_socket_without_permission_is_denied() {
    let _alone = alone();
    let site = echoing();
    std::fs::set_permissions(site.socket(), std::fs::Permissions::from_mode(0o000)).unwrap();
    match Hub::connect(&site.address) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Denied, "{error}"),
        Ok(_) => assert_eq!(andiron_sys::runtime::Places::of_this_process().uid, 0, "only root may do that"),
    }
}

#[test]
fn a_forked_child_cannot_use_or_harm_what_belongs_to_its_parent() {
    let _alone = alone();
    // Forks in a process of its own: the other tests have threads.
    let this = std::env::current_exe().unwrap();
    let run = Command::new(this).args(["--exact", "forks", "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && text.contains("the parent is well"),
        "{text}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn forks() {
    let site = echoing();
    let hub = site.hub();
    let echo: Proxy = hub.object("echo").unwrap();
    let pending = echo.start::<String>("text", &("x",)).unwrap();
    // Servers whose threads have ended: the child has their handles, and no memory of them.
    let over: Vec<_> = (0..40).map(|_| echoing()).collect();
    over.iter().for_each(|site| assert!(site.server.stop()));
    // SAFETY: the child runs only what this test is about, and ends without returning from here.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let error = echo.call::<String>("text", &("y",)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("forked"), "{error}");
            assert!(echo.notify("text", &("y",)).is_err());
            assert!(hub.poll(std::time::Duration::ZERO).is_err() && hub.run().is_err());
            assert_eq!(hub.as_raw_fd(), -1);
            drop(hub.batch());
            drop(pending);
            hub.close();
            assert!(site.server.stop());
            drop((echo, hub, site.server));
            drop(over);
        }));
        // SAFETY: ends the child at once, without the destructors of its parent's things.
        unsafe { libc::_exit(i32::from(result.is_err())) }
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just made; `status` is a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
    assert_eq!(pending.wait().unwrap(), "x");
    assert_eq!(echo.call::<String>("text", &("z",)).unwrap(), "z");
    assert_eq!(site.object("echo").call::<String>("text", &("new",)).unwrap(), "new");
    println!("the parent is well");
}
