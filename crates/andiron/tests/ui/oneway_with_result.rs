#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    #[expose(oneway)]
    fn play(&self) {}

    #[expose(oneway)]
    fn stop(&self) -> Result<(), String> {
        Ok(())
    }

    #[expose(oneway)]
    fn seek(&self, seconds: f64) -> f64 {
        seconds
    }

    #[expose(oneway)]
    fn log(&self, line: String) -> Result<usize, String> {
        Ok(line.len())
    }
}

fn main() {}
