//! Objects that the behaviours are looked at with. What waits in them is asynchronous, so that a server of tasks can wait with it; a server of threads can
//! as well.

use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use andiron::{ErrorKind, Proxy, Result};

use crate::common::{Gate, next};
use crate::scene::Far;

type Body = dyn Fn(i64, Vec<Proxy>) -> Pin<Box<dyn Future<Output = Result<i64>> + Send>> + Send + Sync;

fn boxed<F: Future<Output = Result<i64>> + Send + 'static>(
    body: impl Fn(i64, Vec<Proxy>) -> F + Send + Sync + 'static,
) -> Box<Body> {
    Box::new(move |number, others| Box::pin(body(number, others)))
}

/// An object that does what the test says, with `&self`.
pub(crate) struct Fun(Box<Body>);

#[andiron::expose]
impl Fun {
    async fn run(&self, number: i64, others: Vec<Proxy>) -> Result<i64> {
        (self.0)(number, others).await
    }

    #[expose(oneway)]
    async fn tell(&self, number: i64, others: Vec<Proxy>) {
        let _ = (self.0)(number, others).await;
    }
}

pub(crate) fn fun<F: Future<Output = Result<i64>> + Send + 'static>(
    body: impl Fn(i64, Vec<Proxy>) -> F + Send + Sync + 'static,
) -> Fun {
    Fun(boxed(body))
}

/// The same with `&mut self`.
pub(crate) struct Turn(Box<Body>);

#[andiron::expose]
impl Turn {
    async fn run(&mut self, number: i64, others: Vec<Proxy>) -> Result<i64> {
        (self.0)(number, others).await
    }

    #[expose(oneway)]
    async fn tell(&mut self, number: i64, others: Vec<Proxy>) {
        let _ = (self.0)(number, others).await;
    }
}

pub(crate) fn turn<F: Future<Output = Result<i64>> + Send + 'static>(
    body: impl Fn(i64, Vec<Proxy>) -> F + Send + Sync + 'static,
) -> Turn {
    Turn(boxed(body))
}

/// Returns its number.
pub(crate) fn quick() -> Fun {
    fun(|number, _| async move { Ok(number) })
}

/// Tells its number when it begins, and returns it when the gate is open.
pub(crate) fn slow(entered: Sender<i64>, gate: &Gate) -> Fun {
    let gate = gate.clone();
    fun(move |number, _| {
        entered.send(number).unwrap();
        let gate = gate.clone();
        async move {
            gate.passed().await;
            Ok(number)
        }
    })
}

/// Calls `run`, in a handler.
pub(crate) async fn run(proxy: &Proxy, number: i64, others: &[Proxy]) -> Result<i64> {
    proxy.start("run", &(number, others))?.await
}

/// Calls the first of the others, with the rest.
pub(crate) fn passing() -> Fun {
    fun(|number, others| async move { run(&others[0], number, &others[1..]).await })
}

/// Its number, and what is to be told of it.
pub(crate) type Told = (i64, &'static str);

/// Tells when it begins, and when it is over without an answer.
pub(crate) struct Endless(pub(crate) Sender<Told>);

struct Over(Sender<Told>, i64);

impl Drop for Over {
    fn drop(&mut self) {
        let _ = self.0.send((self.1, "over"));
    }
}

#[andiron::expose]
impl Endless {
    async fn run(&self, number: i64, _others: Vec<Proxy>) -> i64 {
        let _over = Over(self.0.clone(), number);
        self.0.send((number, "begun")).unwrap();
        std::future::pending().await
    }
}

/// Calls it with longer and longer limits, until one is long enough for the method behind it to begin, however busy this machine is; gives the number of that
/// call. Those before it may begin later, and end.
pub(crate) fn out_of_time(far: &Far, others: &[Proxy], heard: &Receiver<Told>) -> i64 {
    let mut limit = Duration::from_millis(30);
    for number in 0.. {
        let error = far.with_timeout(limit).run(number, others).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
        if heard.try_iter().any(|told| told == (number, "begun")) {
            return number;
        }
        limit *= 2;
    }
    unreachable!("there are enough numbers")
}

/// Waits until it is heard that this one is over.
pub(crate) fn is_over(heard: &Receiver<Told>, number: i64) {
    while next(heard) != (number, "over") {}
}
