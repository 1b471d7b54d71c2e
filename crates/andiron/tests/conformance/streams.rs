//! Items one after the other, and objects that are called before they are there.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};

use andiron::{ErrorKind, Proxy, Stream};

use crate::common::{Gate, next};
use crate::scene::{At, Far};

everywhere! {
    a_method_returns_a_stream_and_takes_one,
    one_goes_in_while_another_comes_out,
    who_takes_no_more_ends_the_source,
    no_more_is_made_than_there_is_room_for,
    an_error_is_the_last_item,
    the_end_of_the_connection_is_the_last_item,
    items_may_be_large_and_hold_objects,
    what_a_call_will_give_is_called_before_it_is_there,
    what_depends_on_a_failure_fails_with_it,
}

/// Makes and takes streams.
#[derive(Default)]
pub(crate) struct Mill {
    /// How many numbers were made.
    pub(crate) made: Arc<AtomicU64>,
    pub(crate) gate: Gate,
}

/// The items of the one, as the other.
struct Doubled(Stream<u64>);

impl futures_core::Stream for Doubled {
    type Item = andiron::Result<u64>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = Pin::new(&mut self.0).poll_next(context);
        item.map(|item| item.map(|number| number.map(|number| number * 2)))
    }
}

async fn next_of(numbers: &mut Stream<u64>) -> Option<andiron::Result<u64>> {
    std::future::poll_fn(|context| futures_core::Stream::poll_next(Pin::new(numbers), context)).await
}

#[andiron::expose]
impl Mill {
    fn count(&self, up_to: u64) -> Stream<u64> {
        let made = self.made.clone();
        Stream::iter((0..up_to).inspect(move |_| _ = made.fetch_add(1, Ordering::SeqCst)))
    }

    async fn sum(&self, mut numbers: Stream<u64>) -> andiron::Result<u64> {
        let mut sum = 0;
        while let Some(number) = next_of(&mut numbers).await {
            sum += number?;
        }
        Ok(sum)
    }

    /// One item in, one item out.
    fn doubled(&self, numbers: Stream<u64>) -> Stream<u64> {
        Stream::wrap(Doubled(numbers))
    }

    async fn first(&self, mut numbers: Stream<u64>) -> andiron::Result<u64> {
        next_of(&mut numbers).await.unwrap_or(Ok(0))
    }

    fn texts(&self, lengths: Vec<usize>) -> Stream<String> {
        Stream::iter(lengths.into_iter().map(|length| "x".repeat(length)))
    }

    fn fails_after(&self, good: u64) -> Stream<u64> {
        let error = || andiron::Error::new(ErrorKind::Quota, "the sack is empty");
        Stream::try_iter((0..=good).map(move |number| if number < good { Ok(number) } else { Err(error()) }))
    }

    fn panics(&self) -> Stream<u64> {
        Stream::iter((0..5).inspect(|number| assert!(*number < 3, "this panic belongs to the test")))
    }

    fn mills(&self) -> Stream<MillProxy> {
        Stream::iter((0..3).map(|_| Mill::default().into()))
    }

    async fn another(&self, fails: bool) -> Result<MillProxy, String> {
        if fails {
            return Err("no other mill".to_owned());
        }
        Ok(Mill { made: self.made.clone(), gate: self.gate.clone() }.into())
    }

    /// The same when the gate is open.
    async fn later(&self, fails: bool) -> Result<MillProxy, String> {
        self.gate.passed().await;
        self.another(fails).await
    }

    async fn number(&self) -> u64 {
        self.made.fetch_add(1, Ordering::SeqCst);
        7
    }
}

/// A mill at a server of its own.
fn with_mill(at: At, test: impl FnOnce(Far, &Mill)) {
    let mill = Mill::default();
    let handles = Mill { made: mill.made.clone(), gate: mill.gate.clone() };
    let site = at.serve(|server| server.object("mill", mill));
    test(site.object("mill"), &handles);
}

fn a_method_returns_a_stream_and_takes_one(at: At) {
    with_mill(at, |mill, _| {
        let numbers: Vec<u64> = mill.stream("count", &(3000,)).unwrap().map(Result::unwrap).collect();
        assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
        assert_eq!(mill.call::<u64>("sum", &(Stream::iter(0..3000u64),)).unwrap(), 2999 * 1500);
        assert_eq!(mill.call::<u64>("sum", &(Stream::iter([0u64; 0]),)).unwrap(), 0);
        let passed_on: Stream<u64> = mill.call("count", &(1000,)).unwrap();
        assert_eq!(mill.call::<u64>("sum", &(passed_on,)).unwrap(), 999 * 500);
    });
}

/// Numbers that come one by one.
struct Received(tokio::sync::mpsc::Receiver<u64>);

impl futures_core::Stream for Received {
    type Item = andiron::Result<u64>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|number| number.map(Ok))
    }
}

fn one_goes_in_while_another_comes_out(at: At) {
    with_mill(at, |mill, _| {
        let (send, receive) = tokio::sync::mpsc::channel(10);
        let mut doubled = mill.stream::<u64>("doubled", &(Stream::wrap(Received(receive)),)).unwrap();
        for number in 0..100 {
            send.blocking_send(number).unwrap();
            assert_eq!(doubled.next().unwrap().unwrap(), number * 2, "answered before the next is there");
        }
        drop(send);
        assert!(doubled.next().is_none());
    });
}

struct Told(mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn who_takes_no_more_ends_the_source(at: At) {
    with_mill(at, |mill, handles| {
        let (ended, wait) = mpsc::channel();
        let told = Told(ended);
        let endless = (1u64..).inspect(move |_| _ = &told);
        assert_eq!(mill.call::<u64>("first", &(Stream::iter(endless),)).unwrap(), 1);
        next(&wait);
        let mut numbers = mill.stream::<u64>("count", &(u64::MAX,)).unwrap();
        assert_eq!(numbers.next().unwrap().unwrap(), 0);
        drop(numbers);
        mill.call::<u64>("number", &()).unwrap();
        let made = handles.made.load(Ordering::SeqCst);
        assert!(made < 5000, "{made}");
    });
}

fn no_more_is_made_than_there_is_room_for(at: At) {
    with_mill(at, |mill, handles| {
        let mut numbers = mill.stream::<u64>("count", &(100_000,)).unwrap();
        assert_eq!(numbers.next().unwrap().unwrap(), 0);
        for _ in 0..20 {
            assert_eq!(
                mill.call::<u64>("number", &()).unwrap(),
                7,
                "a stream that nobody reads holds up no call"
            );
        }
        let made = handles.made.load(Ordering::SeqCst);
        assert!(made < 5000, "{made}");
        assert_eq!(numbers.take(5000).count(), 5000);
    });
}

fn an_error_is_the_last_item(at: At) {
    with_mill(at, |mill, _| {
        let items: Vec<_> = mill.stream::<u64>("fails_after", &(3,)).unwrap().collect();
        assert_eq!(items.len(), 4);
        let error = items[3].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Quota, "the sack is empty"));
        let items: Vec<_> = mill.stream::<u64>("panics", &()).unwrap().collect();
        assert_eq!((items.len(), items[3].as_ref().unwrap_err().kind()), (4, ErrorKind::Internal));
        let broken = Stream::try_iter((0..3u64).map(|number| match number {
            2 => Err(andiron::Error::new(ErrorKind::Quota, "no more grain")),
            number => Ok(number),
        }));
        let error = mill.call::<u64>("sum", &(broken,)).unwrap_err();
        assert!(error.to_string().contains("no more grain"), "{error}");
    });
}

fn the_end_of_the_connection_is_the_last_item(at: At) {
    let site = at.serve(|server| server.object("mill", Mill::default()));
    let hub = site.hub();
    let mill = hub.object("mill").unwrap();
    let mut numbers = mill.stream::<u64>("count", &(u64::MAX,)).unwrap();
    numbers.next().unwrap().unwrap();
    hub.close();
    let error = numbers.find_map(Result::err).expect("it ended without a word");
    assert!(matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Unavailable), "{error:?}");
}

fn items_may_be_large_and_hold_objects(at: At) {
    with_mill(at, |mill, _| {
        let lengths = vec![1, 1 << 20, 0, 300_000, 70_000, 2];
        let texts = mill.stream::<String>("texts", &(&lengths,)).unwrap();
        assert_eq!(texts.map(|text| text.unwrap().len()).collect::<Vec<_>>(), lengths);
        for other in mill.stream::<Proxy>("mills", &()).unwrap() {
            assert_eq!(mill.far(other.unwrap()).call::<u64>("number", &()).unwrap(), 7);
        }
    });
}

fn what_a_call_will_give_is_called_before_it_is_there(at: At) {
    with_mill(at, |mill, handles| {
        let other = mill.start::<Proxy>("later", &(false,)).promise();
        let third = other.start::<Proxy>("another", &(false,)).promise();
        let number = third.start::<u64>("number", &());
        assert_eq!(handles.made.load(Ordering::SeqCst), 0, "nothing ran before the gate is open");
        handles.gate.open();
        assert_eq!(number.wait().unwrap(), 7);
        assert_eq!(other.call::<u64>("number", &()).unwrap(), 7, "the answer has come meanwhile");
        assert_eq!(third.call::<u64>("sum", &(Stream::iter(0..5u64),)).unwrap(), 10);
    });
}

fn what_depends_on_a_failure_fails_with_it(at: At) {
    with_mill(at, |mill, handles| {
        let none = mill.start::<Proxy>("later", &(true,)).promise();
        let number = none.start::<u64>("number", &());
        handles.gate.open();
        let error = number.wait().unwrap_err();
        assert!(error.to_string().contains("no other mill"), "{error}");
        assert_eq!(handles.made.load(Ordering::SeqCst), 0, "it did not run");
        let no_object = mill.start::<Proxy>("number", &()).promise();
        assert_eq!(no_object.call::<u64>("number", &()).unwrap_err().kind(), ErrorKind::BadArguments);
    });
}
