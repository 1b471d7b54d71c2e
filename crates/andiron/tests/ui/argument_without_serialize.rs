#![allow(unused)]

struct Player;

#[derive(serde::Deserialize)]
struct Track;

#[andiron::expose]
impl Player {
    fn play(&self, track: Track) {}
}

fn main() {}
