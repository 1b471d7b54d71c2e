//! What a caller is told when a call cannot be made as it was meant.

mod common;

use andiron::{Blob, ErrorKind, Proxy};
use common::{Echo, Site};
use serde::{Serialize, Serializer};

/// Cannot be encoded.
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it does not want to"))
    }
}

impl<'de> serde::Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Stubborn)
    }
}

struct Source;

#[andiron::expose]
impl Source {
    fn stubborn(&self) -> Stubborn {
        Stubborn
    }

    fn number(&self) -> i64 {
        7
    }

    fn optional(&self, number: Option<i64>) -> i64 {
        number.unwrap_or(1)
    }

    fn panics(&self) -> Panics {
        Panics
    }
}

/// Panics while it is encoded.
#[derive(serde::Deserialize)]
struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("this panic belongs to the test")
    }
}

#[test]
fn what_does_not_fit_is_named_and_the_connection_lives_on() {
    let site = Site::new(|server| server.object("echo", Echo)?.object("source", Source));
    let hub = site.hub();
    let (echo, source) = (hub.object::<Proxy>("echo").unwrap(), hub.object::<Proxy>("source").unwrap());
    let cases = [
        (hub.object::<Proxy>("nothing").map(drop), ErrorKind::NoObject, "nothing"),
        (echo.call("no_such", &()), ErrorKind::NoMethod, "no_such"),
        (echo.call("_hidden", &()), ErrorKind::NoMethod, "_hidden"),
        (echo.call("text", &(5,)), ErrorKind::BadArguments, "text"),
        (echo.call("text", &()), ErrorKind::BadArguments, "text"),
        (echo.call("text", &("a", "b")), ErrorKind::BadArguments, "takes 1 argument"),
        (echo.call("text", &(Stubborn,)), ErrorKind::Encoding, "the arguments cannot be encoded"),
        (source.call("stubborn", &()), ErrorKind::Encoding, "the result cannot be encoded"),
        (source.call::<String>("number", &()).map(drop), ErrorKind::Encoding, "another type"),
        (source.call("panics", &()), ErrorKind::Internal, "panicked"),
    ];
    for (outcome, kind, words) in cases {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(source.call::<i64>("optional", &()).unwrap(), 1);
    assert_eq!(source.call::<i64>("optional", &(3,)).unwrap(), 3);
}

#[test]
fn memory_that_nobody_can_have_is_not_to_be_asked_for_again() {
    let error = Blob::zeroed(1 << 50).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(!error.is_temporary());
}

#[test]
fn an_object_of_this_process_answers_like_one_of_another() {
    let site = Site::new(|server| server.object("source", Source));
    let (near, far) = (Proxy::local(Source), site.object("source"));
    for (method, text) in
        [("stubborn", "encoded"), ("number", "type"), ("gone", "gone"), ("panics", "panicked")]
    {
        let (near, far) =
            (near.call::<String>(method, &()).unwrap_err(), far.call::<String>(method, &()).unwrap_err());
        assert_eq!(near.kind(), far.kind(), "{method}");
        assert_eq!(near.message(), far.message(), "{method}");
        assert!(near.message().contains(text), "{near}");
    }
}
