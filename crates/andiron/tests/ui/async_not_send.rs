#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    async fn play(&self) {
        let kept = std::rc::Rc::new(5);
        std::future::ready(()).await;
        drop(kept);
    }
}

fn main() {}
