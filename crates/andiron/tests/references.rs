//! Objects that travel: who holds them, when they are let go, and whether they are still themselves when they come home.

mod common;

use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread;

use andiron::{ErrorKind, Limits, Proxy};
use common::{Echo, PATIENCE, Site, fun, in_time, next, run};

/// Tells when it is dropped.
struct Tracked(Sender<&'static str>, &'static str);

#[andiron::expose]
impl Tracked {
    fn name(&self) -> String {
        self.1.to_owned()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

/// Hands out objects, and keeps what it is given.
struct Factory {
    dropped: Mutex<Sender<&'static str>>,
    kept: Mutex<Vec<Proxy>>,
}

#[andiron::expose]
impl Factory {
    fn make(&self) -> Proxy {
        Proxy::local(Tracked(self.dropped.lock().unwrap().clone(), "made"))
    }

    fn keep(&self, proxy: Proxy) {
        self.kept.lock().unwrap().push(proxy);
    }

    fn forget(&self) {
        self.kept.lock().unwrap().clear();
    }

    /// Calls `name` of all that it keeps.
    fn names(&self) -> andiron::Result<Vec<String>> {
        self.kept.lock().unwrap().iter().map(|proxy| proxy.call("name", &())).collect()
    }

    fn is_kept(&self, proxy: Proxy) -> bool {
        self.kept.lock().unwrap().contains(&proxy)
    }
}

fn factory() -> (Site, mpsc::Receiver<&'static str>) {
    let (dropped, wait_dropped) = mpsc::channel();
    let factory = Factory { dropped: Mutex::new(dropped), kept: Mutex::default() };
    (Site::new(|server| server.object("factory", factory)?.object("echo", Echo)), wait_dropped)
}

#[test]
fn an_object_is_dropped_when_the_last_proxy_of_the_other_end_is() {
    let (site, dropped) = factory();
    let hub = site.hub();
    let factory: FactoryProxy = hub.object("factory").unwrap();
    let made = factory.make().unwrap();
    let second = made.clone();
    assert_eq!(made.call::<String>("name", &()).unwrap(), "made");
    drop(made);
    hub.names().unwrap();
    assert!(dropped.try_recv().is_err(), "a proxy is left");
    drop(second);
    hub.names().unwrap(); // the release goes with the next message
    assert_eq!(next(&dropped), "made");
}

#[test]
fn an_object_is_dropped_when_the_connection_of_its_holder_ends() {
    let (site, dropped) = factory();
    let hub = site.hub();
    let factory: FactoryProxy = hub.object("factory").unwrap();
    let _made = factory.make().unwrap();
    hub.close();
    assert_eq!(next(&dropped), "made");
}

#[test]
fn a_callback_is_kept_as_long_as_the_server_keeps_it() {
    let (site, _) = factory();
    let hub = site.hub();
    let factory: FactoryProxy = hub.object("factory").unwrap();
    let (dropped, wait_dropped) = mpsc::channel();
    factory.keep(Proxy::local(Tracked(dropped, "callback"))).unwrap();
    assert_eq!(factory.names().unwrap(), ["callback"]);
    assert!(wait_dropped.try_recv().is_err());
    factory.forget().unwrap();
    hub.names().unwrap();
    assert_eq!(next(&wait_dropped), "callback");
}

#[test]
fn more_proxies_than_a_message_takes_are_refused_with_the_number_that_it_takes() {
    let (site, _) = factory();
    let echo = site.object("echo");
    let mine = Proxy::local(Echo);
    let send = |count: usize| echo.call::<()>("proxy", &(vec![mine.clone(); count],)).unwrap_err();
    let error = send(65536);
    assert_eq!(error.kind(), ErrorKind::Encoding);
    assert!(error.to_string().contains("can hold 65535 proxies"), "{error}");
    for count in [65535, 29_500] {
        let error = send(count);
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("the other end takes 290"), "{error}");
    }
    assert_eq!(send(29_000).kind(), ErrorKind::BadArguments, "this one arrives, and is no proxy");

    let error = site.hub().store().set("x", &mine).unwrap_err();
    assert!(error.to_string().contains("only in a call or its result"), "{error}");
}

#[test]
fn a_proxy_that_comes_home_is_the_object_itself() {
    let (site, _) = factory();
    let echo = site.object("echo");
    let mine = Proxy::local(Echo);
    let back: Proxy = echo.call("proxy", &(&mine,)).unwrap();
    assert_eq!(back, mine);
    assert_ne!(back, Proxy::local(Echo));
    // At the other end: the same object is the same proxy, however often it is sent.
    assert!(echo.call::<bool>("same", &(&mine, &mine)).unwrap());
    assert!(!echo.call::<bool>("same", &(&mine, &echo)).unwrap());
    assert!(echo.call::<bool>("same", &(&echo, &echo)).unwrap());
    assert_eq!(echo.call::<Proxy>("proxy", &(&echo,)).unwrap(), echo);
}

#[test]
fn an_object_registered_by_another_process_is_called_through_the_daemon() {
    let daemon = Site::open();
    let provider = daemon.hub();
    let (dropped, wait_dropped) = mpsc::channel();
    provider.register("tracked", Tracked(dropped, "registered")).unwrap();
    let error = provider.register("tracked", Echo).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let serving = {
        let hub = provider.clone();
        thread::spawn(move || hub.run())
    };
    let consumer = daemon.hub();
    assert_eq!(consumer.names().unwrap(), ["tracked"]);
    let tracked: TrackedProxy = consumer.object("tracked").unwrap();
    assert_eq!(tracked.name().unwrap(), "registered");
    assert!(
        Proxy::from(tracked.clone()).describe().unwrap().methods.iter().any(|method| method.name == "name")
    );
    provider.close();
    serving.join().unwrap().unwrap();
    let error = in_time(move || tracked.name()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(next(&wait_dropped), "registered");
    in_time(move || {
        while !consumer.names().unwrap().is_empty() {}
        assert_eq!(consumer.object::<Proxy>("tracked").unwrap_err().kind(), ErrorKind::NoObject);
    });
}

#[test]
fn a_call_under_way_through_the_daemon_ends_with_its_provider() {
    let daemon = Site::open();
    let provider = daemon.hub();
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let slow = fun(move |_, _| {
        entered.send(()).unwrap();
        let _ = wait_release.lock().unwrap().recv();
        Ok(0)
    });
    provider.register("slow", slow).unwrap();
    let serving = {
        let hub = provider.clone();
        thread::spawn(move || hub.run())
    };
    let slow = daemon.object("slow");
    let pending = slow.start::<i64>("run", &(0, [(); 0])).unwrap();
    next(&wait_entered);
    provider.close();
    let error = in_time(move || pending.wait()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown), "{error:?}");
    drop(release);
    serving.join().unwrap().unwrap();
}

#[test]
fn objects_pass_through_a_daemon_both_ways_and_come_home_as_themselves() {
    let daemon = Site::open();
    let provider = daemon.hub();
    let mine = Proxy::local(Echo);
    let () = provider.object::<Proxy>("nothing").err().map(drop).unwrap();
    provider.register("echo", Echo).unwrap();
    provider.register("caller", fun(|number, others| run(&others[0], number, &others[1..]))).unwrap();
    let serving = {
        let hub = provider.clone();
        thread::spawn(move || hub.run())
    };
    let consumer = daemon.hub();
    let echo: Proxy = consumer.object("echo").unwrap();
    // A consumer's own object to the provider and back.
    let own = Proxy::local(fun(|number, others| Ok(number + others.len() as i64)));
    assert_eq!(echo.call::<Proxy>("proxy", &(&own,)).unwrap(), own);
    // The provider's object comes home to it: it is the same as itself there, and not a proxy of a proxy.
    assert!(echo.call::<bool>("same", &(&echo, &echo)).unwrap());
    assert!(!echo.call::<bool>("same", &(&echo, &own)).unwrap());
    assert_eq!(echo.call::<Proxy>("proxy", &(&echo,)).unwrap(), echo);
    // A callback through the daemon runs on the thread that waits.
    let this = thread::current().id();
    let callback = Proxy::local(fun(move |number, _| {
        assert_eq!(thread::current().id(), this);
        Ok(number * 3)
    }));
    let caller: Proxy = consumer.object("caller").unwrap();
    assert_eq!(run(&caller, 5, &[callback, mine]).unwrap(), 15);
    provider.close();
    serving.join().unwrap().unwrap();
}

struct Home(Mutex<Option<Proxy>>);

#[andiron::expose]
impl Home {
    /// Tells whether this is the very object that was exposed here.
    fn is_mine(&self, proxy: Proxy) -> bool {
        self.0.lock().unwrap().as_ref() == Some(&proxy)
    }

    fn set(&self, proxy: Proxy) {
        *self.0.lock().unwrap() = Some(proxy);
    }
}

#[test]
fn a_providers_object_is_local_to_it_when_a_consumer_hands_it_back_through_the_daemon() {
    let daemon = Site::open();
    let (provider, consumer) = (daemon.hub(), daemon.hub());
    let home = Proxy::local(Home(Mutex::default()));
    let mine = Proxy::local(Echo);
    // Known here as what it is, without any connection between.
    home.call::<()>("set", &(&mine,)).unwrap();
    // What the consumer gets of it has passed the daemon.
    let shelf = Proxy::local(Shelf(Mutex::new(vec![home, mine])));
    provider.register("shelf", Fetch(shelf)).unwrap();
    let serving = {
        let hub = provider.clone();
        thread::spawn(move || hub.run())
    };
    let shelf: FetchProxy = consumer.object("shelf").unwrap();
    let (home, mine) = (shelf.fetch(0).unwrap(), shelf.fetch(1).unwrap());
    assert!(home.call::<bool>("is_mine", &(&mine,)).unwrap());
    assert!(!home.call::<bool>("is_mine", &(&home,)).unwrap());
    provider.close();
    serving.join().unwrap().unwrap();
}

struct Shelf(Mutex<Vec<Proxy>>);

#[andiron::expose]
impl Shelf {
    fn at(&self, index: usize) -> Option<Proxy> {
        self.0.lock().unwrap().get(index).cloned()
    }
}

struct Fetch(Proxy);

#[andiron::expose]
impl Fetch {
    fn fetch(&self, index: usize) -> andiron::Result<Proxy> {
        self.0
            .call::<Option<Proxy>>("at", &(index,))?
            .ok_or_else(|| andiron::Error::new(ErrorKind::Application, "none"))
    }
}

struct Bomb;

#[andiron::expose]
impl Bomb {
    fn tick(&self) {}
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("this panic belongs to the test");
    }
}

#[test]
fn a_panic_while_an_object_is_dropped_hurts_nobody_else() {
    let site = Site::new(|server| server.object("fun", fun(|number, _| Ok(number)))?.object("bombs", Bombs));
    let hub = site.hub();
    let (bombs, number) = (hub.object::<BombsProxy>("bombs").unwrap(), hub.object::<Proxy>("fun").unwrap());
    // At the server: for each of its threads more than once.
    for round in 0..6 {
        drop(bombs.make().unwrap());
        let number = number.clone();
        assert_eq!(in_time(move || run(&number, round, &[])).unwrap(), round);
    }
    // Here: while the answer to a call is read.
    let pending = number.start::<i64>("run", &(1, [Proxy::local(Bomb)])).unwrap();
    pending.wait().unwrap();
    let number = number.clone();
    assert_eq!(in_time(move || run(&number, 2, &[]).and_then(|_| run(&number, 3, &[]))).unwrap(), 3);
    // And with the connection.
    let _bomb = bombs.make().unwrap();
    hub.close();
    assert_eq!(in_time(move || run(&site.object("fun"), 4, &[])).unwrap(), 4);
}

struct Bombs;

#[andiron::expose]
impl Bombs {
    fn make(&self) -> Proxy {
        Proxy::local(Bomb)
    }
}

#[test]
fn what_was_in_a_message_that_could_not_be_sent_is_let_go() {
    let (dropped, wait_dropped) = mpsc::channel();
    let limits = Limits { message: 4096, ..Limits::default() };
    let hosting = andiron::Hosting { limits: limits.clone(), ..Default::default() };
    let of_server = Mutex::new(dropped.clone());
    let site = Site::hosted(hosting, |server| server.object("echo", Echo)?.object("large", Large(of_server)));
    let hub = andiron::Connector::new(&site.address).limits(limits).connect().unwrap();
    let echo: Proxy = hub.object("echo").unwrap();
    let text = "x".repeat(5000);
    let tracked = Proxy::local(Tracked(dropped.clone(), "argument"));
    let error = echo.call::<()>("text", &(&text, tracked)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(next(&wait_dropped), "argument");
    let tracked = Proxy::local(Tracked(dropped.clone(), "one way"));
    assert_eq!(echo.notify("text", &(&text, tracked)).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(next(&wait_dropped), "one way");
    let large: LargeProxy = hub.object("large").unwrap();
    let error = large.make().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(next(&wait_dropped), "result");
    hub.close();
    let tracked = Proxy::local(Tracked(dropped, "closed"));
    assert_eq!(echo.call::<Proxy>("proxy", &(tracked,)).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(next(&wait_dropped), "closed");
}

struct Large(Mutex<Sender<&'static str>>);

#[andiron::expose]
impl Large {
    fn make(&self) -> (Proxy, String) {
        (Proxy::local(Tracked(self.0.lock().unwrap().clone(), "result")), "x".repeat(5000))
    }
}

#[test]
fn a_peer_that_holds_too_many_objects_is_told_and_drops_run_without_locks() {
    let hosting =
        andiron::Hosting { limits: Limits { objects: 3, ..Limits::default() }, ..Default::default() };
    let site = Site::hosted(hosting, |server| server.object("fun", fun(|_, others| Ok(others.len() as i64))));
    let hub = site.hub();
    let count: Proxy = hub.object("fun").unwrap();
    // Each uses the connection when it is dropped.
    let chatty = || Proxy::local(Chatty(Mutex::new(hub.clone())));
    let error = {
        let (count, many) = (count.clone(), [chatty(), chatty(), chatty(), chatty()]);
        in_time(move || count.call::<i64>("run", &(0, many))).unwrap_err()
    };
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    let three = [chatty(), chatty(), chatty()];
    assert_eq!(in_time(move || count.call::<i64>("run", &(0, three))).unwrap(), 3);
}

struct Chatty(Mutex<andiron::Hub>);

#[andiron::expose]
impl Chatty {
    fn nothing(&self) {}
}

impl Drop for Chatty {
    fn drop(&mut self) {
        let _ = self.0.lock().unwrap().names();
    }
}

#[test]
fn a_proxy_is_no_value_of_its_own() {
    let (told, wait_told) = mpsc::channel();
    let site = Site::new(|server| {
        server.object(
            "fun",
            fun(move |_, others| {
                // Neither in a handler, whose arguments and result could be mistaken for it.
                told.send(andiron_proto::codec::to_vec(&others[0]).is_err()).unwrap();
                Ok(0)
            }),
        )
    });
    assert!(andiron_proto::codec::to_vec(&Proxy::local(Echo)).is_err());
    run(&site.object("fun"), 0, &[Proxy::local(Echo)]).unwrap();
    assert!(next(&wait_told));
}

#[test]
fn a_kept_callback_dies_with_its_process_and_says_so() {
    let (site, _) = factory();
    let keeper: FactoryProxy = site.hub().object("factory").unwrap();
    let hub = site.hub();
    let other: FactoryProxy = hub.object("factory").unwrap();
    let tracked = Proxy::local(Tracked(mpsc::channel().0, "gone"));
    other.keep(tracked.clone()).unwrap();
    assert!(other.is_kept(tracked).unwrap());
    hub.close();
    let error = in_time(move || keeper.with_timeout(PATIENCE).names()).unwrap_err();
    // The method of the keeper ran, so its error is its own, with the cause in its trace; or its callback may have run.
    assert!(matches!(error.kind(), ErrorKind::Application | ErrorKind::Unknown), "{error:?}");
    assert!(
        error.kind() == ErrorKind::Unknown || error.remote_trace()[0].contains("unavailable"),
        "{error:?}"
    );
}
