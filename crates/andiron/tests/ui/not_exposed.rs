#![allow(unused)]

struct Player;

fn offer<T: andiron::Expose>(_: T) {}

fn try_it() {
    offer(Player);
}

fn main() {}
