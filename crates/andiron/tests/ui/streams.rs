#![allow(unused)]

use andiron::Stream;

struct Mixer;

#[andiron::expose]
impl Mixer {
    fn one(&self, notes: Stream<u8>) -> Stream<u8> {
        notes
    }

    fn two(&self, left: Stream<u8>, right: Stream<u8>) {}

    fn both(&self, pair: (Stream<u8>, Option<andiron::Stream<u8>>)) {}

    fn split(&self) -> Result<(Stream<u8>, Stream<u8>), String> {
        Err("no".to_owned())
    }

    #[expose(oneway)]
    fn play(&self, volume: u8, notes: Stream<u8>) {}
}

fn main() {}
