#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    async fn play(&self) {}

    unsafe fn eject(&self) {}
}

fn main() {}
