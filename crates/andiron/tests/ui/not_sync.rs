#![allow(unused)]

struct Player {
    plays: std::cell::Cell<u64>,
}

#[andiron::expose]
impl Player {
    fn plays(&self) -> u64 {
        self.plays.get()
    }
}

fn main() {}
