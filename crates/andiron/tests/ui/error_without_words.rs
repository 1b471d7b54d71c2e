#![allow(unused)]

struct Player;

struct Jammed;

#[andiron::expose]
impl Player {
    fn eject(&self) -> Result<(), Jammed> {
        Err(Jammed)
    }
}

fn main() {}
