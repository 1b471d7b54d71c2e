//! A process that shows an object to others.

struct Player {
    position: f64,
}

/// Plays things.
#[andiron::expose]
impl Player {
    /// Moves to `seconds` from the beginning; returns how far that was.
    fn seek(&mut self, seconds: f64) -> f64 {
        let moved = seconds - self.position;
        self.position = seconds;
        moved
    }
}

fn main() -> andiron::Result<()> {
    andiron::connect()?.register("player", Player { position: 0.0 })?.run()
}
