#![allow(unused)]

struct Player;

#[andiron::expose]
impl Iterator for Player {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        None
    }
}

fn main() {}
