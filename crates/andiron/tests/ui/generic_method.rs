#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    fn play<T>(&self, track: T) {}

    fn queue<const N: usize>(&self, tracks: [u8; N]) {}

    fn rate(&self, stars: impl Into<u8>) {}

    fn tracks(&self) -> impl Iterator<Item = u8> {
        [].into_iter()
    }
}

fn main() {}
