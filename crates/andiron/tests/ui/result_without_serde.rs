#![allow(unused)]

struct Player;

struct Track;

#[andiron::expose]
impl Player {
    fn current(&self) -> Result<Track, String> {
        Ok(Track)
    }
}

fn main() {}
