//! What goes in and what comes out.

use std::collections::BTreeMap;
use std::fmt;

use andiron::{ErrorKind, Proxy, aio};
use serde::{Deserialize, Serialize};

use crate::objects::quick;
use crate::scene::{At, Hub};

everywhere! {
    values_of_every_kind_go_to_and_fro,
    typed_proxies_are_checked_by_the_compiler,
    an_error_of_the_application_comes_with_its_type_and_its_causes,
    a_panic_is_an_error_and_hurts_nobody,
    what_is_not_there_or_does_not_fit_is_named,
    an_object_describes_itself,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Box { width: u32, height: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct All {
    flag: bool,
    small: (i8, u8, i16, u16, i32, u32),
    large: (i64, u64, i128),
    real: (f32, f64, f64),
    letter: char,
    text: String,
    some: Option<String>,
    none: Option<String>,
    list: Vec<Vec<i32>>,
    map: BTreeMap<String, Option<Shape>>,
    numbered: BTreeMap<i32, ()>,
    shapes: Vec<Shape>,
}

fn all() -> All {
    All {
        flag: true,
        small: (i8::MIN, u8::MAX, i16::MIN, u16::MAX, i32::MIN, u32::MAX),
        large: (i64::MIN, u64::MAX, i128::MIN),
        real: (1.5, f64::NEG_INFINITY, -0.1),
        letter: '🦀',
        text: "ä\0\"\n".repeat(1000),
        some: Some(String::new()),
        none: None,
        list: vec![vec![], vec![1, -1, 1 << 30]],
        map: [("a".to_owned(), None), ("b".to_owned(), Some(Shape::Point))].into(),
        numbered: [(-5, ()), (500, ())].into(),
        shapes: vec![Shape::Circle(0.25), Shape::Box { width: 1, height: 70_000 }],
    }
}

/// Returns what it gets, or fails.
struct Mirror;

/// An error with a cause.
#[derive(Debug)]
struct Broken(std::num::ParseIntError);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the mirror is broken")
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Shows what stands before it.
#[andiron::expose]
impl Mirror {
    fn all(&self, all: All) -> All {
        all
    }

    async fn awaited(&self, all: All) -> All {
        all
    }

    fn many(
        &self,
        flag: bool,
        number: i64,
        real: f64,
        text: &str,
        list: Vec<u8>,
    ) -> (bool, i64, f64, usize, Vec<u8>) {
        (flag, number, real, text.len(), list)
    }

    fn nothing(&self) {}

    fn optional(&self, number: Option<i64>) -> i64 {
        number.unwrap_or(1)
    }

    fn breaks(&self) -> Result<(), Broken> {
        "x".parse::<i32>().map(drop).map_err(Broken)
    }

    async fn says_no(&self, why: String) -> Result<(), String> {
        Err(why)
    }

    fn explodes(&self) {
        panic!("this panic belongs to the test")
    }

    async fn explodes_later(&self, other: Proxy) {
        let _ = other.start::<i64>("run", &(1, [(); 0])).unwrap().await;
        panic!("this panic belongs to the test")
    }
}

fn values_of_every_kind_go_to_and_fro(at: At) {
    let site = at.serve(|server| server.object("mirror", Mirror));
    let mirror = site.object("mirror");
    assert_eq!(mirror.call::<All>("all", &(all(),)).unwrap(), all());
    assert_eq!(mirror.call::<All>("awaited", &(all(),)).unwrap(), all());
    let many: (bool, i64, f64, usize, Vec<u8>) =
        mirror.call("many", &(false, -1, 0.5, "text", vec![0u8, 255])).unwrap();
    assert_eq!(many, (false, -1, 0.5, 4, vec![0, 255]));
    mirror.call::<()>("nothing", &()).unwrap();
    assert_eq!(mirror.call::<i64>("optional", &()).unwrap(), 1);
    assert_eq!(mirror.call::<i64>("optional", &(None::<i64>,)).unwrap(), 1);
    assert_eq!(mirror.call::<i64>("optional", &(3,)).unwrap(), 3);
    let value: andiron::Value = mirror.call("all", &(all(),)).unwrap();
    assert_eq!(mirror.call::<All>("all", &(value,)).unwrap(), all(), "also without knowing what it is");
}

fn typed_proxies_are_checked_by_the_compiler(at: At) {
    let site = at.serve(|server| server.object("mirror", Mirror));
    match site.hub() {
        Hub::Threads(hub) => {
            let mirror: MirrorProxy = hub.object("mirror").unwrap();
            assert_eq!(mirror.all(all()).unwrap(), all());
            assert_eq!(mirror.many(true, 1, 2.0, "x", vec![1]).unwrap(), (true, 1, 2.0, 1, vec![1]));
            assert_eq!(mirror.start_awaited(all()).unwrap().wait().unwrap(), all());
            assert_eq!(mirror.says_no("no".into()).unwrap_err().message(), "no");
        }
        Hub::Tasks(hub, tasks) => tasks.wait(async {
            let mirror: MirrorProxyAsync = hub.object("mirror").await.unwrap();
            assert_eq!(mirror.all(all()).await.unwrap(), all());
            assert_eq!(mirror.many(true, 1, 2.0, "x", vec![1]).await.unwrap(), (true, 1, 2.0, 1, vec![1]));
            assert_eq!(mirror.awaited(all()).await.unwrap(), all());
            assert_eq!(mirror.says_no("no".into()).await.unwrap_err().message(), "no");
        }),
    }
}

fn an_error_of_the_application_comes_with_its_type_and_its_causes(at: At) {
    let site = at.serve(|server| server.object("mirror", Mirror));
    let mirror = site.object("mirror");
    let error = mirror.call::<()>("breaks", &()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Application, "the mirror is broken"));
    assert!(error.remote_type().is_some_and(|of| of.ends_with("Broken")), "{:?}", error.remote_type());
    assert_eq!(error.remote_trace(), ["invalid digit found in string"]);
    assert_eq!(error.operation(), Some("mirror.breaks"));
    let error = mirror.call::<()>("says_no", &("ä".repeat(100_000),)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Application);
    assert!(error.message().starts_with("äää"), "shortened, but readable");
}

fn a_panic_is_an_error_and_hurts_nobody(at: At) {
    let site = at.serve(|server| server.object("mirror", Mirror)?.object("quick", quick()));
    let mirror = site.object("mirror");
    let own = Proxy::local(quick());
    for _ in 0..5 {
        for error in [
            mirror.call::<()>("explodes", &()).unwrap_err(),
            mirror.call::<()>("explodes_later", &(&own,)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert!(error.message().contains("this panic belongs to the test"), "{error}");
        }
        assert_eq!(site.object("quick").run(1, &[]).unwrap(), 1);
        assert_eq!(mirror.call::<i64>("optional", &()).unwrap(), 1);
    }
}

fn what_is_not_there_or_does_not_fit_is_named(at: At) {
    let site = at.serve(|server| server.object("mirror", Mirror));
    let (hub, mirror) = (site.hub(), site.object("mirror"));
    let cases = [
        (hub.object("nothing").map(drop), ErrorKind::NoObject, "nothing"),
        (mirror.call("nosuch", &()), ErrorKind::NoMethod, "nosuch"),
        (mirror.call("_hidden", &()), ErrorKind::NoMethod, "_hidden"),
        (mirror.call("many", &(1, 2, 3, 4, 5)), ErrorKind::BadArguments, "many"),
        (mirror.call("optional", &("a",)), ErrorKind::BadArguments, "optional"),
        (mirror.call("nothing", &(1, 2)), ErrorKind::BadArguments, "takes 0 arguments"),
        (mirror.call::<String>("optional", &()).map(drop), ErrorKind::Encoding, "another type"),
    ];
    for (outcome, kind, words) in cases {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(mirror.call::<i64>("optional", &(2,)).unwrap(), 2, "the connection lives on");
    assert_eq!(hub.names().unwrap(), ["mirror"]);
}

fn an_object_describes_itself(at: At) {
    let site = at.serve(|server| server.object("mirror", Mirror));
    let mirror = site.object("mirror");
    let described = match &mirror.tasks() {
        None => mirror.proxy.describe(),
        Some(tasks) => tasks.wait(aio::Proxy::from(mirror.proxy.clone()).describe()),
    };
    let described = described.unwrap();
    assert_eq!((&*described.name, &*described.doc), ("Mirror", "Shows what stands before it."));
    assert!(described.methods.iter().any(|method| method.name == "many" && method.parameters.len() == 5));
}
