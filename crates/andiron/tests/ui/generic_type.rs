#![allow(unused)]

struct Player;

struct Queue<T>(T);

#[andiron::expose]
impl<T> Queue<T> {
    fn length(&self) -> usize {
        0
    }
}

#[andiron::expose]
impl Queue<u8> {
    fn first(&self) -> u8 {
        self.0
    }
}

#[andiron::expose]
impl [Player] {
    fn count(&self) -> usize {
        self.len()
    }
}

fn main() {}
