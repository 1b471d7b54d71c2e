#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    fn eject(self) {}

    fn share(self: std::sync::Arc<Self>) {}
}

fn main() {}
