//! Connections that are lost and made anew, and who is told.

mod common;

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use andiron::{Connector, Error, ErrorKind, Hosting, Hub, Proxy, Running, Server, Signal};
use common::{PATIENCE, eventually, in_time, next};

/// A place for servers that come and go.
struct Place {
    _folder: tempfile::TempDir,
    address: String,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix:{}/s", folder.path().display());
        Place { _folder: folder, address }
    }

    fn serve(&self, counter: &Arc<Counter>) -> Running {
        let server = Server::host(&self.address, Hosting { names: true, ..Default::default() }).unwrap();
        server.object("counter", Counting(counter.clone())).unwrap().start().unwrap()
    }

    fn connector(&self) -> Connector {
        Connector::new(&self.address).retry(PATIENCE)
    }
}

/// What a method did, over all servers.
#[derive(Default)]
struct Counter {
    calls: AtomicUsize,
    /// Where a call waits to be let go.
    gate: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

struct Counting(Arc<Counter>);

#[andiron::expose]
impl Counting {
    fn count(&self) -> usize {
        self.0.calls.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Counts, and then waits if there is a gate. Not marked, so nobody may repeat it.
    fn enter(&self) -> usize {
        let count = self.count();
        let gate = self.0.gate.lock().unwrap().take();
        if let Some((entered, wait)) = gate {
            let _ = entered.send(());
            let _ = wait.recv();
        }
        count
    }

    /// Counts, and fails with an error of its own.
    fn refuse(&self) -> andiron::Result<()> {
        self.count();
        Err(Error::new(ErrorKind::Unavailable, "not today"))
    }

    fn itself(&self) -> CountingProxy {
        Counting(self.0.clone()).into()
    }
}

/// A gate at which the next call of `enter` tells that it is there.
fn gate(counter: &Counter) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((entered, wait_entered), (open, wait_open)) = (mpsc::channel(), mpsc::channel());
    *counter.gate.lock().unwrap() = Some((entered, wait_open));
    (wait_entered, open)
}

#[test]
fn a_proxy_by_name_finds_its_object_at_the_next_server() {
    let (place, counter) = (Place::new(), Arc::default());
    let first = place.serve(&counter);
    let (told, signals) = mpsc::channel();
    let hub = place
        .connector()
        .on_signal(move |signal| drop(told.send(format!("{signal:?}").split('(').next().unwrap().to_owned())))
        .connect()
        .unwrap();
    let counting: CountingProxy = hub.object("counter").unwrap();
    assert_eq!(counting.count().unwrap(), 1);
    first.stop();
    drop(first);
    let second = place.serve(&counter);
    assert_eq!(in_time(move || counting.count()).unwrap(), 2);
    assert_eq!(hub.names().unwrap(), ["counter"]);
    let signals: Vec<String> = (0..3).map(|_| next(&signals)).collect();
    assert_eq!(signals, ["Connected", "Disconnected", "Reconnected"]);
    drop(second);
}

#[test]
fn a_call_waits_for_the_next_server_as_long_as_it_may() {
    let (place, counter) = (Place::new(), Arc::default());
    let first = place.serve(&counter);
    let hub = place.connector().connect().unwrap();
    let counting: CountingProxy = hub.object("counter").unwrap();
    first.stop();
    drop(first);
    let error = counting.with_timeout(Duration::from_millis(100)).count().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("no server"), "{error}");
    let waiting = thread::spawn(move || counting.count());
    let second = place.serve(&counter);
    assert_eq!(in_time(move || waiting.join().unwrap()).unwrap(), 1);
    drop(second);
}

#[test]
fn a_call_that_may_have_run_is_not_repeated() {
    let (place, counter) = (Place::new(), Arc::<Counter>::default());
    let first = place.serve(&counter);
    let hub = place.connector().connect().unwrap();
    let counting: CountingProxy = hub.object("counter").unwrap();
    let (entered, open) = gate(&counter);
    let calling = thread::spawn(move || counting.enter());
    next(&entered);
    sever(&first);
    let second = place.serve(&counter);
    let error = in_time(move || calling.join().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert_eq!(counter.calls.load(Ordering::SeqCst), 1);
    drop(open);
    drop(second);
}

#[test]
fn a_call_that_is_idempotent_is_repeated_until_it_is_answered() {
    let (place, counter) = (Place::new(), Arc::<Counter>::default());
    let first = place.serve(&counter);
    let hub = place.connector().connect().unwrap();
    let counting = hub.object::<Proxy>("counter").unwrap().idempotent();
    let (entered, open) = gate(&counter);
    let calling = thread::spawn(move || counting.call::<usize>("enter", &()));
    next(&entered);
    sever(&first);
    let second = place.serve(&counter);
    assert_eq!(in_time(move || calling.join().unwrap()).unwrap(), 2);
    drop(open);
    drop(second);
}

/// Ends a server at once, without waiting for calls under way.
fn sever(server: &Running) {
    thread::scope(|scope| {
        scope.spawn(|| server.stop()); // which waits for five seconds, and then lets go
    });
}

#[test]
fn registered_objects_are_there_again_and_served() {
    struct Echo;
    #[andiron::expose]
    impl Echo {
        fn echo(&self, text: String) -> String {
            text
        }
    }
    let (place, counter) = (Place::new(), Arc::default());
    let first = place.serve(&counter);
    let provider = place.connector().connect().unwrap();
    provider.register("echo", Echo).unwrap();
    let runs = provider.clone();
    let running = thread::spawn(move || runs.run());
    for _ in 0..3 {
        let server = place.serve_after(&first, &counter);
        let caller = Hub::connect(&place.address).unwrap();
        eventually("it is registered again", || caller.names().unwrap().contains(&"echo".to_owned()));
        let echo: EchoProxy = caller.object("echo").unwrap();
        assert_eq!(in_time(move || echo.echo("hello".into())).unwrap(), "hello");
        server.stop();
    }
    // Also while there is no server to connect to.
    provider.close();
    in_time(move || running.join().unwrap()).unwrap();
}

impl Place {
    fn serve_after(&self, before: &Running, counter: &Arc<Counter>) -> Running {
        before.stop();
        self.serve(counter)
    }
}

#[test]
fn a_closed_hub_stays_closed() {
    let (place, counter) = (Place::new(), Arc::default());
    let server = place.serve(&counter);
    let hub = place.connector().connect().unwrap();
    let counting: CountingProxy = hub.object("counter").unwrap();
    hub.close();
    let error = in_time(move || counting.count()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("closed here"), "{error}");
    assert!(hub.names().is_err());
    // Who waits for the next connection is let go.
    let hub = place.connector().connect().unwrap();
    let counting: CountingProxy = hub.object("counter").unwrap();
    server.stop();
    let calling = thread::spawn(move || counting.count());
    eventually("it has noticed", || hub.names_at_once().is_err());
    hub.close();
    assert_eq!(in_time(move || calling.join().unwrap()).unwrap_err().kind(), ErrorKind::Unavailable);
}

trait AtOnce {
    fn names_at_once(&self) -> andiron::Result<Vec<String>>;
}

impl AtOnce for Hub {
    fn names_at_once(&self) -> andiron::Result<Vec<String>> {
        self.poll(Duration::ZERO).map(|_| Vec::new())
    }
}

#[test]
fn a_reference_that_came_in_a_result_is_dead_and_says_so() {
    let (place, counter) = (Place::new(), Arc::default());
    let first = place.serve(&counter);
    let hub = place.connector().connect().unwrap();
    let counting: CountingProxy = hub.object("counter").unwrap();
    let inner = counting.itself().unwrap();
    assert_eq!(inner.count().unwrap(), 1);
    let second = place.serve_after(&first, &counter);
    assert_eq!(counting.count().unwrap(), 2);
    let error = inner.count().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(second);
}

#[test]
fn what_waiting_will_not_change_is_told_at_once() {
    let (place, counter) = (Place::new(), Arc::default());
    let server = place.serve(&counter);
    let hub = place.connector().connect().unwrap();
    let error = in_time(move || hub.object::<Proxy>("nothing")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoObject, "{error}");
    // A method's own error is not taken for the loss of its object.
    let hub = place.connector().connect().unwrap();
    let counting: CountingProxy = hub.object("counter").unwrap();
    let error = in_time(move || counting.refuse()).unwrap_err();
    assert_eq!((error.kind(), counter.calls.load(Ordering::SeqCst)), (ErrorKind::Unavailable, 1), "{error}");
    drop(server);
}

#[test]
fn a_proxy_by_name_waits_for_a_provider_that_comes_back_over_a_connection_that_lives() {
    let (place, counter) = (Place::new(), Arc::<Counter>::default());
    let _server =
        Server::host(&place.address, Hosting { names: true, ..Default::default() }).unwrap().start().unwrap();
    let provide = || provide(Connector::new(&place.address), &counter);
    let first = provide();
    let hub = place.connector().connect().unwrap();
    let counting: CountingProxy = hub.object("counting").unwrap();
    assert_eq!(counting.count().unwrap(), 1);
    // It is there again when it is called.
    first.close();
    let second = provide();
    let (calls, again) = (counting.clone(), counting.clone());
    assert_eq!(in_time(move || calls.count()).unwrap(), 2);
    // It comes back while somebody calls; until then it is looked for as long as the call may take.
    second.close();
    let error = counting.with_timeout(Duration::from_millis(80)).count().unwrap_err();
    // Its time may be over before it was looked up once.
    assert!(matches!(error.kind(), ErrorKind::NoObject | ErrorKind::Deadline), "{error}");
    let calling = thread::spawn(move || again.count());
    let third = provide();
    assert_eq!(in_time(move || calling.join().unwrap()).unwrap(), 3);
    third.close();
}

#[test]
fn what_is_asked_of_the_server_itself_finds_the_next_one_too() {
    let (place, counter) = (Place::new(), Arc::<Counter>::default());
    let mut server = place.serve(&counter);
    let hub = place.connector().connect().unwrap();
    // Each is the first that is asked since the server was another.
    type Asks = fn(&Hub) -> andiron::Result<()>;
    let asks: [Asks; 4] = [
        |hub| hub.call::<usize>("counter", "count", &()).map(drop),
        |hub| hub.object::<Proxy>("counter").map(drop),
        |hub| hub.names().map(drop),
        |hub| hub.register("mine", Counting(Arc::default())).map(drop),
    ];
    for ask in asks {
        server = place.serve_after(&server, &counter);
        let hub = hub.clone();
        in_time(move || ask(&hub)).unwrap();
    }
    drop(server);
}

#[test]
fn a_proxy_by_name_waits_for_its_provider_behind_a_new_server() {
    let (place, counter) = (Place::new(), Arc::<Counter>::default());
    let first = place.serve(&Arc::default());
    let provider = provide(place.connector(), &counter);
    let hub = place.connector().connect().unwrap();
    let counting: CountingProxy = hub.object("counting").unwrap();
    assert_eq!(counting.count().unwrap(), 1);
    let second = place.serve_after(&first, &Arc::default());
    assert_eq!(in_time(move || counting.count()).unwrap(), 2);
    provider.close();
    drop(second);
}

#[test]
fn a_try_to_connect_goes_on_for_others_when_who_began_it_gives_up() {
    let (place, counter) = (Place::new(), Arc::default());
    let first = place.serve(&counter);
    let hub = place.connector().timeout(10 * PATIENCE).connect().unwrap();
    let counting: CountingProxy = hub.object("counter").unwrap();
    first.stop();
    // It takes connections, and says nothing before it is told to.
    let silent = UnixListener::bind(place.address.trim_start_matches("unix:")).unwrap();
    let hasty = counting.with_timeout(Duration::from_millis(50));
    let error = in_time(move || hasty.count()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let waiting = thread::spawn(move || counting.count());
    let (stream, _) = silent.accept().unwrap();
    let elsewhere = Place::new();
    let _second = elsewhere.serve(&counter);
    let server = UnixStream::connect(elsewhere.address.trim_start_matches("unix:")).unwrap();
    for (mut from, mut to) in [
        (stream.try_clone().unwrap(), server.try_clone().unwrap()),
        (server.try_clone().unwrap(), stream.try_clone().unwrap()),
    ] {
        thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
    assert_eq!(in_time(move || waiting.join().unwrap()).unwrap(), 1);
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_err(), "nobody connected a second time");
}

/// Provides `counting` over a connection of its own, until that is closed.
fn provide(connector: Connector, counter: &Arc<Counter>) -> Hub {
    let provider = connector.connect().unwrap();
    provider.register("counting", Counting(counter.clone())).unwrap();
    let runs = provider.clone();
    thread::spawn(move || runs.run());
    provider
}

#[test]
fn a_server_learns_who_comes_and_who_goes_and_why() {
    let place = Place::new();
    let (told, signals) = mpsc::channel();
    let server = Server::bind(&place.address)
        .unwrap()
        .on_signal(move |hub, signal| {
            let line = match signal {
                Signal::Connected => format!("+ {}", hub.peer()),
                Signal::Disconnected(why) => format!("- {} {why}", hub.peer()),
                _ => "?".to_owned(),
            };
            told.send(line).unwrap();
        })
        .start()
        .unwrap();
    let own = format!("process {}", std::process::id());
    let hub = Hub::connect(&place.address).unwrap();
    assert_eq!(next(&signals), format!("+ {own}"));
    hub.close();
    assert!(next(&signals).starts_with(&format!("- {own} ")));
    // Who never says a word is nobody.
    drop(std::os::unix::net::UnixStream::connect(place.address.trim_start_matches("unix:")).unwrap());
    let hub = Hub::connect(&place.address).unwrap();
    assert_eq!(next(&signals), format!("+ {own}"));
    drop(hub);
    assert!(next(&signals).starts_with(&format!("- {own} ")));
    drop(server);
}

#[cfg(feature = "tokio")]
mod asynchronous {
    use super::*;
    use andiron::aio;

    fn run<R>(test: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("it hangs") })
    }

    #[test]
    fn tasks_find_their_objects_at_the_next_server_too() {
        let (place, counter) = (Place::new(), Arc::default());
        let first = place.serve(&counter);
        run(async {
            let hub = aio::Hub::connect_with(place.connector()).await.unwrap();
            let counting: aio::Proxy = hub.object("counter").await.unwrap();
            assert_eq!(counting.call::<usize>("count", &()).await.unwrap(), 1);
            let second = place.serve_after(&first, &counter);
            assert_eq!(counting.call::<usize>("count", &()).await.unwrap(), 2);
            assert_eq!(hub.names().await.unwrap(), ["counter"]);
            drop(second);
        });
    }

    #[test]
    fn tasks_find_the_next_provider_over_a_connection_that_lives() {
        let (place, counter) = (Place::new(), Arc::<Counter>::default());
        let hosting = Hosting { names: true, ..Default::default() };
        let _server = Server::host(&place.address, hosting).unwrap().start().unwrap();
        let first = provide(Connector::new(&place.address), &counter);
        run(async {
            let hub = aio::Hub::connect_with(place.connector()).await.unwrap();
            let counting: CountingProxyAsync = hub.object("counting").await.unwrap();
            assert_eq!(counting.count().await.unwrap(), 1);
            first.close();
            let called = counting.count(); // sent at once, and looked for again
            let second = provide(Connector::new(&place.address), &counter);
            assert_eq!(called.await.unwrap(), 2);
            second.close();
        });
    }

    #[test]
    fn promises_are_built_upon_over_a_connection_that_retries() {
        let (place, counter) = (Place::new(), Arc::default());
        let server = place.serve(&counter);
        run(async {
            let hub = aio::Hub::connect_with(place.connector()).await.unwrap();
            let counting: CountingProxyAsync = hub.object("counter").await.unwrap();
            let itself: CountingProxyAsync = counting.itself().promise().into();
            assert_eq!(itself.count().await.unwrap(), 1);
        });
        drop(server);
    }

    #[test]
    fn a_connection_whose_runtime_has_ended_is_over() {
        let (place, counter) = (Place::new(), Arc::<Counter>::default());
        let server = place.serve(&counter);
        let (entered, open) = gate(&counter);
        let (counting, under_way) = run(async {
            let hub = aio::Hub::connect(&place.address).await.unwrap();
            let counting: CountingProxyAsync = hub.object("counter").await.unwrap();
            let under_way = counting.enter();
            tokio::task::spawn_blocking(move || next(&entered)).await.unwrap();
            (counting, under_way)
        });
        // What was under way may have run; what comes now did not.
        let error = run(under_way).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        let error = run(counting.count()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("runtime"), "{error}");
        drop(open);
        drop(server);
    }

    #[test]
    fn what_tasks_ask_of_the_server_itself_finds_the_next_one_too() {
        let (place, counter) = (Place::new(), Arc::<Counter>::default());
        let server = place.serve(&counter);
        run(async {
            let hub = aio::Hub::connect_with(place.connector()).await.unwrap();
            let server = place.serve_after(&server, &counter);
            assert_eq!(hub.call::<usize>("counter", "count", &()).await.unwrap(), 1);
            let server = place.serve_after(&server, &counter);
            assert_eq!(hub.names().await.unwrap(), ["counter"]);
            let server = place.serve_after(&server, &counter);
            hub.register("mine", Counting(Arc::default())).await.unwrap();
            drop(server);
        });
    }

    #[test]
    fn an_asynchronous_provider_is_there_again() {
        struct Two;
        #[andiron::expose]
        impl Two {
            fn two(&self) -> i32 {
                2
            }
        }
        let (place, counter) = (Place::new(), Arc::default());
        let first = place.serve(&counter);
        let address = place.address.clone();
        run(async {
            let provider = aio::Hub::connect_with(place.connector()).await.unwrap();
            provider.register("two", Two).await.unwrap();
            let runs = provider.clone();
            let running = tokio::spawn(async move { runs.run().await });
            let second = place.serve_after(&first, &counter);
            let two = tokio::task::spawn_blocking(move || {
                let caller = Hub::connect(&address).unwrap();
                eventually("it is registered again", || caller.names().unwrap().contains(&"two".to_owned()));
                caller.object::<TwoProxy>("two").unwrap().two().unwrap()
            });
            assert_eq!(two.await.unwrap(), 2);
            provider.close();
            running.await.unwrap().unwrap();
            drop(second);
        });
    }
}
