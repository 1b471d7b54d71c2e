#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    fn seek(&self, (minutes, seconds): (u8, u8)) {}

    fn rate(&self, _: u8) {}

    fn tune(&self, volume: &mut f64) {}

    fn name(&self, name: &'static str) {}
}

fn main() {}
