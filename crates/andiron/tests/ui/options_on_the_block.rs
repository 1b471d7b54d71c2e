#![allow(unused)]

struct Player;

#[andiron::expose(name = "player")]
impl Player {
    fn play(&self) {}
}

fn main() {}
