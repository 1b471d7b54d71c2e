#![allow(unused)]

#[andiron::expose]
struct Player {
    position: f64,
}

#[andiron::expose]
fn seek(seconds: f64) -> f64 {
    seconds
}

#[andiron::expose]
trait Plays {
    fn play(&self);
}

fn main() {}
