//! A store of a later version says more than this one knows.

use andiron::{Server, Value};

/// Answers as version 1 does, and then says more.
struct Store;

fn more(known: &[Value]) -> Value {
    Value::Array([known, &[Value::Str("more".into()), Value::Nil]].concat())
}

#[andiron::expose]
impl Store {
    fn get(&self, _name: String, _known: Option<u64>, _author: Option<String>, _hits: Option<u64>) -> Value {
        let value = Value::Bytes(vec![7]);
        more(&[1.into(), 5.into(), Value::Nil, 0.into(), 0.into(), 1.5.into(), 1.into(), value])
    }

    fn set(
        &self,
        _name: String,
        _value: Value,
        _codec: u8,
        _author: Option<String>,
        _ttl: Value,
        _version: Value,
    ) -> Value {
        more(&[5.into(), 1.5.into()])
    }

    fn incr(&self, _name: String, _by: i64, _author: Option<String>) -> Value {
        more(&[5.into(), 1.5.into(), 9.into()])
    }

    fn stats(&self) -> Value {
        more(&[1.into(), 2.into(), 3.into(), 4.into(), 5.into(), 6.into()])
    }

    fn list(&self, _author: Option<String>, _after: Value) -> Value {
        let (author, name) = (Value::Str("a".into()), Value::Str("x".into()));
        let row = more(&[author, name, 5.into(), 1.5.into(), 1.into(), true.into()]);
        more(&[false.into(), Value::Array(vec![row])])
    }
}

#[test]
fn what_it_says_more_is_skipped() {
    let server = Server::new().unwrap().object("store", Store).unwrap().start().unwrap();
    let store = server.connect().unwrap().store();
    let entry = store.entry("x").unwrap().unwrap();
    assert_eq!((entry.value::<i32>().unwrap(), entry.version), (7, 5));
    assert_eq!(store.set("x", &1).unwrap(), 5);
    assert_eq!(store.incr("x", 1).unwrap(), 9);
    assert_eq!(store.stats().unwrap().questions, 5);
    let listed: Vec<String> = store.list().map(|listed| listed.unwrap().name).collect();
    assert_eq!(listed, ["x"]);
}
