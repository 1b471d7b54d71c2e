//! Big values, by reference where that can be.

use andiron::{Blob, Proxy, Stream};
use serde::{Deserialize, Serialize};

use crate::scene::At;

everywhere! {
    big_values_go_both_ways,
    big_values_stand_in_other_values,
    more_of_them_than_descriptors_on_a_message_go_all_the_same,
    big_values_are_items_of_streams,
    big_values_go_through_a_server_to_a_provider,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Picture {
    name: String,
    layers: Vec<Blob>,
}

struct Gallery;

#[andiron::expose]
impl Gallery {
    fn echo(&self, blob: Blob) -> Blob {
        blob
    }

    async fn turn(&self, mut picture: Picture) -> Picture {
        picture.layers.reverse();
        picture
    }

    fn sizes(&self, blobs: Vec<Blob>, last: Blob) -> Vec<usize> {
        blobs.iter().chain([&last]).map(|blob| blob.len()).collect()
    }

    fn doubled(&self, blobs: Stream<Blob>) -> Stream<Blob> {
        Stream::try_iter(blobs.into_iter().flat_map(|blob| {
            let blob = blob.unwrap();
            [Ok(blob.clone()), Ok(blob)]
        }))
    }

    fn itself(&self) -> Proxy {
        Proxy::local(Gallery)
    }
}

/// Memory that can be passed on, with something in it.
fn frozen(length: usize) -> Blob {
    let mut blob = Blob::zeroed(length).unwrap();
    for (index, byte) in blob.iter_mut().enumerate() {
        *byte = (index % 251) as u8;
    }
    blob.freeze().unwrap()
}

fn big_values_go_both_ways(at: At) {
    let site = at.serve(|server| server.object("gallery", Gallery));
    let gallery = site.object("gallery");
    for length in [0, 1, 4096, 300_000, (1 << 20) + 1, 9 << 20] {
        let blob = frozen(length);
        let back: Blob = gallery.call("echo", &(&blob,)).unwrap();
        assert!(back == blob, "{length} bytes by reference");
        assert!(gallery.call::<Blob>("echo", &(&back,)).unwrap() == blob, "what came goes on");
        let ordinary = Blob::from(blob.to_vec());
        assert!(gallery.call::<Blob>("echo", &(&ordinary,)).unwrap() == blob, "{length} ordinary bytes");
    }
    let error = gallery.call::<Blob>("echo", &("no bytes",)).unwrap_err();
    assert!(error.to_string().contains("expected bytes, found a string"), "{error}");
    let error = gallery.call::<Blob>("echo", &([1, 2].as_slice(),)).unwrap_err();
    assert!(error.to_string().contains("expected bytes, found an array"), "{error}");
}

fn big_values_stand_in_other_values(at: At) {
    let site = at.serve(|server| server.object("gallery", Gallery));
    let gallery = site.object("gallery");
    let layers = vec![frozen(2 << 20), b"small".into(), frozen(0), Blob::from(vec![7; 3 << 20])];
    let picture = Picture { name: "sea".to_owned(), layers };
    let mut turned: Picture = gallery.call("turn", &(&picture,)).unwrap();
    turned.layers.reverse();
    assert!(turned == picture);
}

fn more_of_them_than_descriptors_on_a_message_go_all_the_same(at: At) {
    let site = at.serve(|server| server.object("gallery", Gallery));
    let gallery = site.object("gallery");
    let blobs: Vec<Blob> = (0..100).map(|number| frozen(1000 + number)).collect();
    let sizes: Vec<usize> = gallery.call("sizes", &(&blobs, Blob::default())).unwrap();
    assert_eq!(sizes, (1000..1100).chain([0]).collect::<Vec<_>>());
}

fn big_values_are_items_of_streams(at: At) {
    let site = at.serve(|server| server.object("gallery", Gallery));
    let gallery = site.object("gallery");
    let blobs: Vec<Blob> = (0..5).map(|number| frozen((1 << 20) * number)).collect();
    let sent = Stream::iter(blobs.clone());
    let got: Vec<Blob> = gallery.stream("doubled", &(sent,)).unwrap().map(Result::unwrap).collect();
    assert_eq!(got.len(), 10);
    assert!(got.chunks(2).zip(&blobs).all(|(pair, blob)| pair[0] == *blob && pair[1] == *blob));
}

fn big_values_go_through_a_server_to_a_provider(at: At) {
    let site = at.open();
    let provider = site.hub();
    let _serving = provider.provide("gallery", Gallery).unwrap();
    let gallery = site.object("gallery");
    let blob = frozen(3 << 20);
    for _ in 0..3 {
        assert!(gallery.call::<Blob>("echo", &(&blob,)).unwrap() == blob);
    }
    let other = gallery.start::<Proxy>("itself", &()).promise();
    assert!(other.call::<Blob>("echo", &(&blob,)).unwrap() == blob, "a call of a promise");
    provider.close();
}
