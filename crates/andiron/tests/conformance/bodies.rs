//! Arguments and results of any size.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use andiron::{ErrorKind, Hosting, Limits};

use crate::objects::quick;
use crate::scene::At;

everywhere! {
    bodies_of_any_size_go_both_ways,
    small_calls_go_on_beside_large_ones,
    what_is_larger_than_the_other_end_takes_is_refused,
}

struct Echo;

#[andiron::expose]
impl Echo {
    fn text(&self, text: String) -> String {
        text
    }

    async fn length(&self, text: String) -> usize {
        text.len()
    }

    fn make(&self, length: usize) -> String {
        "x".repeat(length)
    }
}

fn bodies_of_any_size_go_both_ways(at: At) {
    let site = at.serve(|server| server.object("echo", Echo));
    let echo = site.object("echo");
    for length in [0, 1, 4096, 65_000, 262_144, 300_000, 1 << 20] {
        let text = "abcdefgh".repeat(length / 8 + 1)[..length].to_owned();
        assert!(echo.call::<String>("text", &(&text,)).unwrap() == text, "{length}");
    }
    let large = "x".repeat(20 << 20);
    assert_eq!(echo.call::<usize>("length", &(&large,)).unwrap(), 20 << 20);
    assert_eq!(echo.call::<String>("make", &(20 << 20,)).unwrap().len(), 20 << 20);
}

fn small_calls_go_on_beside_large_ones(at: At) {
    let site = at.serve(|server| server.object("echo", Echo)?.object("quick", quick()));
    let hub = site.hub();
    let (echo, quick) = (hub.object("echo").unwrap(), hub.object("quick").unwrap());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..2 {
            let (echo, done) = (echo.clone(), &done);
            scope.spawn(move || {
                let text = "abcdefgh".repeat((1 << 18) + number);
                while !done.load(Ordering::SeqCst) {
                    assert!(echo.call::<String>("text", &(&text,)).unwrap() == text);
                }
            });
        }
        for number in 0..50 {
            assert_eq!(quick.run(number, &[]).unwrap(), number);
        }
        done.store(true, Ordering::SeqCst);
    });
}

fn what_is_larger_than_the_other_end_takes_is_refused(at: At) {
    let limits = Limits { message: 100_000, ..Limits::default() };
    let site = at.host(Hosting { limits, ..Hosting::default() }, |server| server.object("echo", Echo));
    let echo = site.object("echo");
    let error = echo.call::<usize>("length", &("x".repeat(200_000),)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(echo.call::<usize>("length", &("x".repeat(50_000),)).unwrap(), 50_000);
    assert_eq!(echo.call::<String>("make", &(200_000,)).unwrap().len(), 200_000, "here more is taken");
}
