//! Streams and promises over real connections, between threads, and through a server in between.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use andiron::{ErrorKind, Hub, Proxy, Server, Stream};
use common::{PATIENCE, Site, eventually, in_time, next};

/// Makes and takes streams.
#[derive(Default)]
struct Mill {
    /// How many numbers were made.
    made: Arc<AtomicUsize>,
}

#[andiron::expose]
impl Mill {
    fn count(&self, up_to: u64) -> Stream<u64> {
        let made = self.made.clone();
        Stream::iter((0..up_to).inspect(move |_| _ = made.fetch_add(1, Ordering::SeqCst)))
    }

    fn sum(&self, numbers: Stream<u64>) -> andiron::Result<u64> {
        numbers.into_iter().sum()
    }

    /// One item in, one item out.
    fn doubled(&self, numbers: Stream<u64>) -> Stream<u64> {
        Stream::try_iter(numbers.into_iter().map(|number| number.map(|number| number * 2)))
    }

    fn first(&self, numbers: Stream<u64>) -> andiron::Result<u64> {
        numbers.into_iter().next().unwrap_or(Ok(0))
    }

    fn blobs(&self, lengths: Vec<usize>) -> Stream<String> {
        Stream::iter(lengths.into_iter().map(|length| "x".repeat(length)))
    }

    fn fails_after(&self, good: u64) -> Stream<u64> {
        let error = || andiron::Error::new(ErrorKind::Quota, "the sack is empty");
        Stream::try_iter((0..=good).map(move |number| if number < good { Ok(number) } else { Err(error()) }))
    }

    fn panics(&self) -> Stream<u64> {
        Stream::iter((0..5).inspect(|number| assert!(*number < 3, "boom")))
    }

    fn mills(&self) -> Stream<MillProxy> {
        Stream::iter((0..3).map(|_| Mill::default().into()))
    }

    fn another(&self, fails: bool) -> Result<MillProxy, String> {
        if fails { Err("no other mill".to_owned()) } else { Ok(Mill { made: self.made.clone() }.into()) }
    }

    fn number(&self) -> u64 {
        7
    }
}

fn site() -> Site {
    Site::new(|server| server.object("mill", Mill::default()))
}

/// A mill that is registered at a server in between; and the one who registered it.
fn relayed(mill: Mill) -> (Site, Hub, thread::JoinHandle<()>) {
    let site = Site::open();
    let provider = site.hub();
    provider.register("mill", mill).unwrap();
    let runs = provider.clone();
    let thread = thread::spawn(move || drop(runs.run()));
    (site, provider, thread)
}

/// Does the same with a mill at the server and with one behind it.
fn near_and_far(test: impl Fn(MillProxy, Arc<AtomicUsize>)) {
    let mill = Mill::default();
    let made = mill.made.clone();
    let site = Site::new(|server| server.object("mill", mill));
    test(site.hub().object("mill").unwrap(), made);
    let mill = Mill::default();
    let made = mill.made.clone();
    let (site, provider, thread) = relayed(mill);
    test(site.hub().object("mill").unwrap(), made);
    provider.close();
    thread.join().unwrap();
}

#[test]
fn a_method_returns_a_stream_and_takes_one() {
    near_and_far(|mill, _| {
        let numbers: Vec<u64> = mill.count(10_000).unwrap().into_iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(numbers, (0..10_000).collect::<Vec<_>>());
        assert_eq!(mill.sum(Stream::iter(0..10_000)).unwrap(), 9999 * 5000);
        assert_eq!(mill.sum(Stream::iter([])).unwrap(), 0);
        assert_eq!(
            mill.sum(mill.count(1000).unwrap()).unwrap(),
            999 * 500,
            "passed on, from one call to the next"
        );
    });
}

#[test]
fn a_stream_may_go_in_while_another_comes_out() {
    near_and_far(|mill, _| {
        let (send, receive) = mpsc::channel();
        let doubled = mill.doubled(Stream::iter(receive)).unwrap();
        let mut doubled = doubled.into_iter();
        for number in 0..300 {
            send.send(number).unwrap();
            assert_eq!(doubled.next().unwrap().unwrap(), number * 2, "answered before the next is there");
        }
        drop(send);
        assert!(doubled.next().is_none());
    });
}

#[test]
fn no_more_is_made_than_the_receiver_has_room_for() {
    near_and_far(|mill, made| {
        let mut numbers = mill.count(1_000_000).unwrap().into_iter();
        assert_eq!(numbers.next().unwrap().unwrap(), 0);
        mill.number().unwrap();
        assert!(made.load(Ordering::SeqCst) < 2000, "{made:?}");
        drop(numbers);
        mill.number().unwrap();
        let after = made.load(Ordering::SeqCst);
        assert!(after < 3000, "{after}");
    });
}

#[test]
fn a_receiver_who_drops_a_stream_ends_its_iterator() {
    struct Told(mpsc::Sender<()>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    near_and_far(|mill, _| {
        let (ended, wait) = mpsc::channel();
        let told = Told(ended);
        // The method takes one item and answers.
        let endless = (1..).inspect(move |_| _ = &told);
        assert_eq!(mill.first(Stream::iter(endless)).unwrap(), 1);
        next(&wait);
    });
}

#[test]
fn an_error_is_the_last_item_and_a_panic_is_one() {
    near_and_far(|mill, _| {
        let items: Vec<_> = mill.fails_after(3).unwrap().into_iter().collect();
        assert_eq!(items.len(), 4);
        let error = items[3].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Quota, "the sack is empty"));
        assert_eq!(error.to_string(), "mill.fails_after: the sack is empty", "it says what was called");
        let items: Vec<_> = mill.panics().unwrap().into_iter().collect();
        assert_eq!(items.len(), 4);
        let error = items[3].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Internal, Some("mill.panics")));
        assert!(error.message().ends_with("panicked: boom"), "{error}");
        // And of a stream that goes in.
        let broken = Stream::try_iter((0..3).map(|number| match number {
            2 => Err(andiron::Error::new(ErrorKind::Quota, "no more grain")),
            number => Ok(number),
        }));
        let error = mill.sum(broken).unwrap_err();
        assert!(error.to_string().contains("no more grain"), "{error}");
    });
}

#[test]
fn items_may_be_long_and_hold_objects() {
    near_and_far(|mill, _| {
        let lengths = vec![1, 3 << 20, 0, 300_000, 70_000, 2];
        let came: Vec<usize> =
            mill.blobs(lengths.clone()).unwrap().into_iter().map(|blob| blob.unwrap().len()).collect();
        assert_eq!(came, lengths);
        for mill in mill.mills().unwrap() {
            assert_eq!(mill.unwrap().number().unwrap(), 7);
        }
    });
}

#[test]
fn many_streams_and_calls_share_a_connection() {
    near_and_far(|mill, _| {
        thread::scope(|scope| {
            for thread in 0..8u64 {
                let mill = mill.clone();
                scope.spawn(move || {
                    let mut streams: Vec<_> = (0..4).map(|_| mill.count(500).unwrap().into_iter()).collect();
                    for number in 0..500 {
                        for stream in &mut streams {
                            assert_eq!(stream.next().unwrap().unwrap(), number);
                        }
                        if number % 50 == thread {
                            assert_eq!(mill.number().unwrap(), 7);
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn a_slow_reader_of_a_stream_holds_up_no_call() {
    near_and_far(|mill, _| {
        let mut slow = mill.blobs(vec![1 << 20; 200]).unwrap().into_iter();
        slow.next().unwrap().unwrap();
        for _ in 0..50 {
            assert_eq!(mill.number().unwrap(), 7);
        }
        assert_eq!(slow.count(), 199);
    });
}

#[test]
fn a_lost_connection_is_an_error_as_the_last_item() {
    let site = site();
    let mill: MillProxy = site.hub().object("mill").unwrap();
    let mut numbers = mill.count(u64::MAX).unwrap().into_iter();
    numbers.next().unwrap().unwrap();
    let stopping = thread::spawn(move || site.server.stop());
    let error = in_time(move || numbers.find_map(|number| number.err())).expect("it ended without a word");
    assert!(matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Unavailable), "{error:?}");
    stopping.join().unwrap();
}

#[test]
fn a_stream_within_one_process_is_one_too() {
    let mill = MillProxy::from(Mill::default());
    assert_eq!(mill.sum(mill.doubled(Stream::iter(0..10)).unwrap()).unwrap(), 90);
}

#[test]
fn a_stream_is_passed_on_once_and_stands_alone() {
    let site = site();
    let mill: Proxy = site.hub().object("mill").unwrap();
    let two = (Stream::iter([1u64]), Stream::iter([2u64]));
    let error = mill.call::<u64>("sum", &two).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encoding);
    let one = (Stream::iter([5u64]),);
    assert_eq!(mill.call::<u64>("sum", &one).unwrap(), 5);
    assert_eq!(mill.call::<u64>("sum", &one).unwrap_err().kind(), ErrorKind::Encoding);
    let error = mill.notify("sum", &(Stream::iter([5u64]),)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(mill.call::<u64>("sum", &(5,)).unwrap_err().kind(), ErrorKind::BadArguments);
}

#[test]
fn what_a_call_will_give_can_be_called_before_it_is_there() {
    near_and_far(|mill, _| {
        let other = mill.start_another(false).unwrap().promise();
        let third = other.start_another(false).unwrap().promise();
        assert_eq!(third.number().unwrap(), 7);
        assert_eq!(other.number().unwrap(), 7, "the answer has come meanwhile");
        assert_eq!(third.sum(Stream::iter(0..5)).unwrap(), 10);
        // It is an object like any other once it is there.
        assert!(other.another(false).is_ok());
    });
}

#[test]
fn what_depends_on_a_failure_fails_with_it_and_did_not_run() {
    near_and_far(|mill, made| {
        let none = mill.start_another(true).unwrap().promise();
        let error = none.count(5).expect_err("there is no mill");
        assert!(error.to_string().contains("no other mill"), "{error}");
        let none: MillProxy =
            Proxy::from(mill.clone()).start::<Proxy>("number", &()).unwrap().promise().into();
        assert_eq!(none.number().unwrap_err().kind(), ErrorKind::BadArguments);
        assert_eq!(made.load(Ordering::SeqCst), 0);
        let mut deep = mill.start_another(false).unwrap().promise();
        let batch: Vec<MillProxy> = (0..40)
            .map(|_| {
                deep = deep.start_another(false).unwrap().promise();
                deep.clone()
            })
            .collect();
        // How many are open at once is a matter of time; none hangs, and a refused one did not run.
        for (number, mill) in batch.iter().enumerate() {
            if let Err(error) = mill.number() {
                assert_eq!(error.kind(), ErrorKind::Overloaded, "{error} {number}");
            }
        }
    });
}

/// Every call that is sent to what a call will give is sent before the answer is there: the method waits until it has seen the socket full.
#[test]
fn dependent_calls_do_not_wait_for_the_answer() {
    struct Gate {
        entered: Mutex<mpsc::Sender<()>>,
        open: Mutex<mpsc::Receiver<()>>,
    }
    #[andiron::expose]
    impl Gate {
        fn mill(&self) -> MillProxy {
            self.entered.lock().unwrap().send(()).unwrap();
            self.open.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            Mill::default().into()
        }
    }
    let (entered, wait_entered) = mpsc::channel();
    let (open, wait_open) = mpsc::channel();
    let gate = Gate { entered: Mutex::new(entered), open: Mutex::new(wait_open) };
    let site = Site::new(|server: Server| server.object("gate", gate));
    let gate: GateProxy = site.hub().object("gate").unwrap();
    let mill = gate.start_mill().unwrap().promise();
    let number = mill.start_number().unwrap();
    next(&wait_entered);
    open.send(()).unwrap();
    assert_eq!(in_time(move || number.wait()).unwrap(), 7);
}

#[test]
fn nothing_is_left_of_streams_that_were_dropped() {
    let made = Arc::new(AtomicUsize::new(0));
    let alive = Arc::new(());
    struct Source(Arc<()>);
    #[andiron::expose]
    impl Source {
        fn endless(&self) -> Stream<u64> {
            let alive = self.0.clone();
            Stream::iter((0..).inspect(move |_| drop(alive.clone())))
        }
    }
    let site = Site::new(|server| server.object("source", Source(alive.clone())));
    let hub = site.hub();
    let source: SourceProxy = hub.object("source").unwrap();
    for _ in 0..50 {
        let mut numbers = source.endless().unwrap().into_iter();
        numbers.next().unwrap().unwrap();
        made.fetch_add(1, Ordering::Relaxed);
    }
    hub.names().unwrap();
    eventually("all iterators are gone", || Arc::strong_count(&alive) == 2);
}
