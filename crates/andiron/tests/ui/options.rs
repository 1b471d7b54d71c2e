#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    #[expose(one_way)]
    fn play(&self) {}

    #[expose(name)]
    fn stop(&self) {}

    #[expose(name = 7)]
    fn seek(&self) {}

    #[expose]
    fn pause(&self) {}

    #[expose(skip, oneway)]
    fn helper(&self) {}

    #[expose(oneway, idempotent)]
    fn log(&self, line: String) {}

    #[expose(oneway)]
    fn new() -> Self {
        Player
    }

    #[expose(skip)]
    const EARLIEST: f64 = 0.0;
}

fn main() {}
