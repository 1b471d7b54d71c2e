#![allow(unused)]

struct Player;

#[andiron::expose]
impl Player {
    fn play(&self) {}

    #[expose(name = "play")]
    fn start(&self) {}

    #[expose(name = "")]
    fn pause(&self) {}

    #[expose(name = "_stop")]
    fn stop(&self) {}

    #[expose(name = "$describe")]
    fn describe(&self) {}

    #[expose(name = "longlonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglong")]
    fn long(&self) {}

    #[expose(name = "reset")]
    fn _reset(&self) {}
}

fn main() {}
