#![allow(unused)]

struct Player;

struct Track;

#[andiron::expose]
impl Player {
    fn play(&self, track: Track) {}
}

fn main() {}
