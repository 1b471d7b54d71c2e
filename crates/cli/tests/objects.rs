//! What the shell makes of objects: those that methods give, and what methods say of themselves.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::{Mutex, mpsc};

use andiron::{Blob, ErrorKind, Hub, Stream};
use common::{Home, until};

struct Book;

#[andiron::expose]
impl Book {
    fn title(&self) -> String {
        "on fire".to_owned()
    }
}

/// Lends books.
struct Library {
    /// Nothing ever comes of it.
    more: Mutex<Option<mpsc::Receiver<u32>>>,
}

#[andiron::expose]
impl Library {
    fn book(&self, _shelf: u32) -> BookProxy {
        Book.into()
    }

    fn books(&self) -> Vec<Option<BookProxy>> {
        vec![Some(Book.into()), None, Some(Book.into())]
    }

    fn pictures(&self) -> Vec<Blob> {
        let mut frozen = Blob::zeroed(3).unwrap();
        frozen.copy_from_slice(b"abc");
        vec![frozen.freeze().unwrap(), b"abc".into()]
    }

    fn store(&self, picture: Blob) -> usize {
        picture.len()
    }

    fn torn(&self) -> Stream<u32> {
        let error = || andiron::Error::new(ErrorKind::Application, "third");
        Stream::try_iter((1..4).map(move |page| if page < 3 { Ok(page) } else { Err(error()) }))
    }

    fn give_back(&self, book: BookProxy) -> andiron::Result<String> {
        book.title()
    }

    fn readers(&self) -> andiron::Result<Stream<u32>> {
        let more = self.more.lock().unwrap().take();
        let more = more.ok_or_else(|| andiron::Error::new(ErrorKind::Application, "asked before"))?;
        Ok(Stream::iter([1].into_iter().chain(more)))
    }
}

/// A library at the daemon; what is dropped last ends its stream.
fn library(home: &Home) -> (Hub, mpsc::Sender<u32>) {
    let (sender, more) = mpsc::channel();
    let hub = home.hub();
    hub.register("library", Library { more: Mutex::new(Some(more)) }).unwrap();
    let served = hub.clone();
    std::thread::spawn(move || served.run());
    (hub, sender)
}

#[test]
fn for_an_object_that_a_method_gives_stands_what_it_is() {
    let home = Home::new();
    let _daemon = home.serve();
    let _library = library(&home);
    assert_eq!(home.run(&["call", "library", "book", "1"]).printed(), "\"<object Book>\"\n");
    let books = home.run(&["call", "library", "books"]);
    assert_eq!(books.printed(), "[\"<object Book>\",null,\"<object Book>\"]\n");
}

#[test]
fn the_bytes_of_big_values_are_printed_wherever_they_came() {
    let home = Home::new();
    let _daemon = home.serve();
    let _library = library(&home);
    let printed = "[{\"$bytes\":\"YWJj\"},{\"$bytes\":\"YWJj\"}]\n";
    assert_eq!(home.run(&["call", "library", "pictures"]).printed(), printed);
}

#[test]
fn bytes_are_asked_for_in_the_form_that_the_shell_has() {
    let home = Home::new();
    let _daemon = home.serve();
    let _library = library(&home);
    assert_eq!(home.run(&["call", "library", "store", "{\"$bytes\":\"YWJj\"}"]).printed(), "3\n");
    let refused = home.run(&["call", "library", "store", "[1,2]"]);
    let error = refused.failed(1);
    assert!(error.contains("expected bytes, found an array"), "{error}");
    assert!(error.contains("{\"$bytes\": \"base64\"}"), "{error}");
}

#[test]
fn an_error_among_the_items_says_what_was_called() {
    let home = Home::new();
    let _daemon = home.serve();
    let _library = library(&home);
    let torn = home.run(&["call", "library", "torn"]);
    assert_eq!((torn.text(), torn.code), ("1\n2\n", Some(1)));
    assert_eq!(torn.err, "andiron: library.torn: third\n");
}

#[test]
fn interfaces_are_described_in_words_of_no_language() {
    let home = Home::new();
    let _daemon = home.serve();
    let _library = library(&home);
    let told = home.run(&["describe", "library"]);
    for line in ["  book(shelf: u32) -> object<Book>", "  give_back(book: object<Book>) -> String"] {
        assert!(told.printed().lines().any(|told| told == line), "{told:?}");
    }
    assert!(!told.text().contains("Proxy"), "{told:?}");
}

#[test]
fn a_reader_that_leaves_ends_a_stream_that_says_nothing_more() {
    let home = Home::new();
    let _daemon = home.serve();
    let (_hub, _more) = library(&home);
    home.run(&["set", "x", "1"]).printed();
    for (arguments, first) in
        [(&["watch", "--present"][..], "default x = 1"), (&["call", "library", "readers"], "1")]
    {
        let mut command = home.andiron(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), first);
        assert!(child.try_wait().unwrap().is_none(), "somebody reads, so it goes on");
        drop(lines);
        until("its end", || child.try_wait().unwrap());
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]), "{arguments:?}");
    }
}
