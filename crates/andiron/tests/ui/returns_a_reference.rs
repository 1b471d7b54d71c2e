#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    fn title(&self) -> &str {
        "Embers"
    }

    fn artist(&self) -> Option<&'static str> {
        None
    }

    fn album(&self) -> Result<std::borrow::Cow<'_, str>, String> {
        Ok("Embers".into())
    }
}

fn main() {}
