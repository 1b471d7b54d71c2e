//! Objects that the behaviours are looked at with. What waits in them is asynchronous, so that a server of tasks can wait with it; a server of threads can
//! as well.

use std::pin::Pin;
use std::sync::mpsc::Sender;

use andiron::{Proxy, Result};

use crate::common::Gate;

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
