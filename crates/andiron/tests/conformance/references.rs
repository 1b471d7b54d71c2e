//! Objects that travel.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

use andiron::{ErrorKind, Proxy};

use crate::common::next;
use crate::scene::{At, Site};

everywhere! {
    a_proxy_that_comes_home_is_the_object_itself,
    an_object_is_let_go_with_the_last_proxy_of_the_other_end,
    an_object_is_let_go_with_the_connection,
    a_callback_is_kept_as_long_as_the_server_keeps_it,
    a_reference_is_dead_behind_the_end_of_its_connection,
}

/// Tells when it is dropped.
struct Tracked(Sender<&'static str>, &'static str);

#[andiron::expose]
impl Tracked {
    async fn name(&self) -> String {
        self.1.to_owned()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

/// Hands out objects, and keeps what it is given.
struct Shelf {
    dropped: Sender<&'static str>,
    kept: Mutex<Vec<Proxy>>,
}

#[andiron::expose]
impl Shelf {
    fn make(&self) -> Proxy {
        Proxy::local(Tracked(self.dropped.clone(), "made"))
    }

    fn back(&self, proxy: Proxy) -> Proxy {
        proxy
    }

    fn same(&self, a: Proxy, b: Proxy) -> bool {
        a == b
    }

    fn keep(&self, proxy: Proxy) {
        self.kept.lock().unwrap().push(proxy);
    }

    fn forget(&self) {
        self.kept.lock().unwrap().clear();
    }

    /// Asks what it keeps for its name.
    async fn name(&self) -> andiron::Result<String> {
        let kept = self.kept.lock().unwrap()[0].clone();
        kept.start("name", &())?.await
    }
}

fn shelf(at: At) -> (Site, Receiver<&'static str>) {
    let (dropped, wait_dropped) = mpsc::channel();
    let shelf = Shelf { dropped, kept: Mutex::default() };
    (at.serve(|server| server.object("shelf", shelf)), wait_dropped)
}

fn tracked(name: &'static str) -> (Proxy, Receiver<&'static str>) {
    let (dropped, wait_dropped) = mpsc::channel();
    (Proxy::local(Tracked(dropped, name)), wait_dropped)
}

fn a_proxy_that_comes_home_is_the_object_itself(at: At) {
    let (site, _) = shelf(at);
    let shelf = site.object("shelf");
    let (mine, _) = tracked("mine");
    let back: Proxy = shelf.call("back", &(&mine,)).unwrap();
    assert_eq!(back, mine);
    assert_eq!(shelf.call::<Proxy>("back", &(&shelf.proxy,)).unwrap(), shelf.proxy);
    assert!(shelf.call::<bool>("same", &(&mine, &mine)).unwrap());
    assert!(shelf.call::<bool>("same", &(&shelf.proxy, &shelf.proxy)).unwrap());
    assert!(!shelf.call::<bool>("same", &(&mine, &shelf.proxy)).unwrap());
}

fn an_object_is_let_go_with_the_last_proxy_of_the_other_end(at: At) {
    let (site, dropped) = shelf(at);
    let hub = site.hub();
    let shelf = hub.object("shelf").unwrap();
    let made: Proxy = shelf.call("make", &()).unwrap();
    let second = made.clone();
    assert_eq!(hub.far(made).call::<String>("name", &()).unwrap(), "made");
    hub.names().unwrap();
    assert!(dropped.try_recv().is_err(), "a proxy is left");
    drop(second);
    hub.names().unwrap(); // the release goes with the next message
    assert_eq!(next(&dropped), "made");
}

fn an_object_is_let_go_with_the_connection(at: At) {
    let (site, dropped) = shelf(at);
    let hub = site.hub();
    let _made: Proxy = hub.object("shelf").unwrap().call("make", &()).unwrap();
    hub.close();
    assert_eq!(next(&dropped), "made");
}

fn a_callback_is_kept_as_long_as_the_server_keeps_it(at: At) {
    let (site, _) = shelf(at);
    let hub = site.hub();
    let shelf = hub.object("shelf").unwrap();
    let (mine, dropped) = tracked("mine");
    shelf.call::<()>("keep", &(mine,)).unwrap();
    assert_eq!(shelf.call::<String>("name", &()).unwrap(), "mine");
    assert!(dropped.try_recv().is_err());
    shelf.call::<()>("forget", &()).unwrap();
    hub.names().unwrap();
    assert_eq!(next(&dropped), "mine");
}

fn a_reference_is_dead_behind_the_end_of_its_connection(at: At) {
    let (site, _) = shelf(at);
    let (hub, other) = (site.hub(), site.object("shelf"));
    let shelf = hub.object("shelf").unwrap();
    let (mine, dropped) = tracked("mine");
    let made = hub.far(shelf.call("make", &()).unwrap());
    shelf.call::<()>("keep", &(mine,)).unwrap();
    hub.close();
    assert_eq!(next(&dropped), "mine", "nobody can call it any more");
    assert_eq!(made.call::<String>("name", &()).unwrap_err().kind(), ErrorKind::Unavailable);
    let error = other.call::<String>("name", &()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Application, "the method called, and passed the failure on: {error}");
}
