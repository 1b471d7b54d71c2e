//! The vectors of `spec/vectors`: whole exchanges, and single frames that end a session.

use std::time::Duration;

use andiron_proto::codec::{self, Value as Native};
use andiron_proto::wire::{HEADER_LEN, Header, Kind, MAGIC, PREFACE_LEN, Reason};
use andiron_proto::{
    Auth, CallRequest, Config, ErrorKind, Event, Failure, Key, Limits, Outgoing, Payload, Ref, Role,
    StreamId, binding,
};
use serde_json::{Value, json};

use crate::support::*;

fn vectors(name: &str) -> Vec<Value> {
    let path = format!("{}/../../spec/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii());
    (0..text.len()).step_by(2).map(|index| u8::from_str_radix(&text[index..index + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn limits(given: &Value) -> Limits {
    let mut limits = Limits::default();
    for (name, value) in given.as_object().into_iter().flatten() {
        let number = value.as_u64().unwrap();
        match name.as_str() {
            "calls" => limits.calls = number as u32,
            "objects" => limits.objects = number as u32,
            "window" => limits.window = number as u32,
            "message" => limits.message = number,
            "attachments" => limits.attachments = number as u16,
            other => panic!("no limit is called {other}"),
        }
    }
    limits
}

#[test]
fn bad_frames_end_an_open_session() {
    for vector in vectors("frames.json").iter().filter(|vector| vector["bad"].is_string()) {
        let mut lone = Lone::new();
        lone.receive(&unhex(vector["hex"].as_str().unwrap()));
        assert!(lone.session.is_closed(), "{}", vector["name"]);
        lone.expect_violation("");
    }
}

#[test]
fn good_frames_of_the_handshake_mean_what_they_say() {
    for vector in vectors("frames.json").iter().filter(|vector| vector["meaning"]["kind"] == "HELLO") {
        let bytes = unhex(vector["hex"].as_str().unwrap());
        let hello = andiron_proto::Hello::parse(&bytes[HEADER_LEN..]).unwrap();
        let meaning = &vector["meaning"];
        assert_eq!(json!(hello.agent), meaning["agent"]);
        assert_eq!(json!(hello.auth), meaning["auth"]);
        assert_eq!(json!(hello.features), meaning["features"]);
        assert_eq!(json!(hello.store.map(|store| hex(&store))), meaning["store"]);
        let mut expected = Limits::default();
        for (name, value) in meaning["limits"].as_object().unwrap() {
            match name.as_str() {
                "frame" => expected.frame = value.as_u64().unwrap() as u32,
                "calls" => expected.calls = value.as_u64().unwrap() as u32,
                other => panic!("no limit is called {other}"),
            }
        }
        assert_eq!(hello.limits, expected);
    }
}

#[test]
fn exchanges_go_as_they_are_written() {
    for vector in vectors("session.json") {
        for whole in [true, false] {
            Exchange::new(&vector, whole).play();
        }
    }
}

/// One exchange, played against a session at one end.
struct Exchange<'a> {
    vector: &'a Value,
    lone: Lone,
    /// Bytes come at once, or one by one.
    whole: bool,
    /// What should have been sent since that was last compared.
    expected: Vec<u8>,
}

impl<'a> Exchange<'a> {
    fn new(vector: &'a Value, whole: bool) -> Exchange<'a> {
        let role = match vector["end"].as_str() {
            Some("initiator") => Role::Initiator,
            Some("acceptor") => Role::Acceptor,
            other => panic!("no end is called {other:?}"),
        };
        let features = vector["features"].as_array().into_iter().flatten();
        let features = features.map(|feature| feature.as_str().unwrap().to_owned()).collect();
        let auth = match vector["secret"].as_str() {
            Some(key) => {
                let key = Key::new(unhex(key).try_into().unwrap());
                Auth::Secret { keys: [key].into(), ended: [].into(), nonce: [1; 32] }
            }
            None => Auth::User,
        };
        let config = Config { limits: limits(&vector["limits"]), features, auth, ..Config::default() };
        let mut lone = Lone::unopened(role, config);
        lone.session.bind(&binding::unix());
        Exchange { vector, lone, whole, expected: Vec::new() }
    }

    fn play(&mut self) {
        for (number, step) in self.vector["steps"].as_array().unwrap().iter().enumerate() {
            let place = format!("{}, step {}: {step}", self.vector["name"], number + 1);
            if step["from"] == self.vector["end"] {
                self.expected.extend(unhex(step["hex"].as_str().unwrap()));
            } else if step["from"].is_string() {
                self.compare(&place);
                self.feed(step);
            } else if let Some(what) = step["do"].as_str() {
                self.compare(&place);
                self.act(what, step);
            } else {
                let event =
                    self.lone.session.poll_event().unwrap_or_else(|| panic!("nothing happened: {place}"));
                same_event(event, step, &place);
            }
        }
        let name = &self.vector["name"];
        assert!(self.lone.session.poll_event().is_none(), "something else happened: {name}");
        same_bytes(&self.lone.output(), &self.expected, &format!("{name}, at its end"));
        assert_eq!(self.lone.session.is_open(), self.vector["outcome"]["open"] == true, "{name}");
        assert_eq!(self.lone.session.is_closed(), self.vector["outcome"]["closed"].is_u64(), "{name}");
    }

    /// Compares what was sent, if something should have been.
    fn compare(&mut self, place: &str) {
        if !self.expected.is_empty() {
            same_bytes(&self.lone.output(), &std::mem::take(&mut self.expected), &format!("before {place}"));
        }
    }

    fn feed(&mut self, step: &Value) {
        let bytes = unhex(step["hex"].as_str().unwrap());
        let attachments: Vec<u32> = (0..step["attachments"].as_u64().unwrap_or(0) as u32).collect();
        if self.whole || !attachments.is_empty() {
            self.lone.receive_with(&bytes, &attachments);
        } else {
            bytes.iter().for_each(|byte| self.lone.receive(&[*byte]));
        }
    }

    fn act(&mut self, what: &str, step: &Value) {
        let number = |name: &str| step[name].as_u64().unwrap_or(0);
        let body = unhex(step["body"].as_str().unwrap_or(""));
        let refs = refs(&step["refs"]);
        let (session, now) = (&mut self.lone.session, self.lone.now);
        let stream = StreamId { own: step["own"] == true, call: number("id") };
        let outgoing = Outgoing {
            codec: number("codec") as u8,
            refs,
            stream: step["stream"] == true,
            ..Outgoing::native(&body)
        };
        match what {
            "call" | "notify" => {
                let deadline = step["timeout"].as_u64().map(|micros| now + Duration::from_micros(micros));
                let (target, chain) = (number("target"), number("chain"));
                let method = step["method"].as_str().unwrap();
                let promise = step["promise"].as_bool().unwrap_or(false);
                let annotations = step["annotations"].as_str().map(|hex| unhex(hex).into());
                let request = CallRequest {
                    target,
                    promise,
                    method,
                    chain,
                    deadline,
                    annotations,
                    arguments: outgoing,
                };
                let made =
                    if what == "call" { session.call(now, request) } else { session.notify(now, request) };
                assert_eq!(made.unwrap(), number("id"));
            }
            "reply" => session.reply(number("id"), outgoing),
            "fail" => {
                let kind = ErrorKind::from_number(number("error") as u16);
                session.fail(number("id"), &Failure::new(kind, "why"));
            }
            "cancel" => session.cancel(number("id")),
            "item" => session.item(stream, outgoing).unwrap(),
            "end" => {
                let failure = |kind: u64| Failure::new(ErrorKind::from_number(kind as u16), "why");
                session.end_stream(stream, step["error"].as_u64().map_or(Ok(()), |kind| Err(failure(kind))));
            }
            "want" => session.want_items(stream, number("amount")),
            "stop" => session.stop_stream(stream),
            "show" => assert_eq!(session.show().unwrap(), number("object")),
            "release" => session.release(number("object"), number("count")),
            "ping" => session.ping(&body),
            "goodbye" => session.goodbye(Reason::from_number(number("reason") as u16), ""),
            "wait" => {
                self.lone.now += millis(number("milliseconds"));
                self.lone.session.handle_timeout(self.lone.now);
            }
            "disconnect" => session.disconnected("end of stream"),
            other => panic!("nobody can {other}"),
        }
    }
}

/// Entries as the vectors write them: owner as the *peer's* frame says it when it comes, as the own frame does when it goes.
fn refs(given: &Value) -> Vec<Ref> {
    let entry = |pair: &Value| match (pair[0].as_u64(), pair[1].as_u64().unwrap()) {
        (Some(0), id) => Ref::Local(id),
        (Some(1), id) => Ref::Remote(id),
        other => panic!("no entry: {other:?}"),
    };
    given.as_array().into_iter().flatten().map(entry).collect()
}

/// Texts, and what a HELLO says, are each implementation's own; all else is given.
fn same_bytes(sent: &[u8], expected: &[u8], place: &str) {
    let split = |bytes: &[u8]| {
        let preface = if bytes.starts_with(&MAGIC) { PREFACE_LEN } else { 0 };
        let significant = |(header, mut payload): (Header, Vec<u8>)| {
            match header.kind {
                Kind::Hello => payload.clear(),
                Kind::Proof => payload.fill(0), // it is over the HELLO
                Kind::Error | Kind::Goodbye | Kind::End => payload.truncate(2),
                _ => {}
            }
            (header.kind, header.flags, header.attachments, header.id, hex(&payload))
        };
        let frames: Vec<_> = split_frames(&bytes[preface..]).into_iter().map(significant).collect();
        (hex(&bytes[..preface]), frames)
    };
    assert_eq!(split(sent), split(expected), "{place}");
}

/// An event, by the fields that the vector names.
fn same_event(event: Event, expected: &Value, place: &str) {
    let payload = |payload: &Payload| {
        let entry = |entry: &Ref| match *entry {
            Ref::Remote(id) => [0, id],
            Ref::Local(id) => [1, id],
        };
        let refs: Vec<_> = payload.refs.iter().map(entry).collect();
        json!({
            "codec": payload.codec,
            "body": hex(&payload.body),
            "refs": refs,
            "attachments": payload.attachments.descriptors().len(),
            "stream": payload.stream,
        })
    };
    let mut happened = match &event {
        Event::Opened(_) => json!({ "event": "opened" }),
        Event::Call(call) => {
            let mut fields = payload(&call.payload);
            fields["event"] = json!("call");
            fields["id"] = json!(call.id);
            fields["target"] = json!(call.target);
            fields["chain"] = json!(call.chain);
            fields["method"] = json!(call.method);
            fields["notify"] = json!(call.notify);
            fields["promise"] = json!(call.promise);
            fields["annotations"] = json!(hex(call.annotations.as_deref().unwrap_or_default()));
            fields
        }
        Event::Cancelled { id } => json!({ "event": "cancelled", "id": id }),
        Event::Answer { id, outcome: Ok(answer) } => {
            let mut fields = payload(answer);
            fields["event"] = json!("answer");
            fields["id"] = json!(id);
            fields
        }
        Event::Answer { id, outcome: Err(failure) } => {
            json!({ "event": "answer", "id": id, "error": failure.kind.number() })
        }
        Event::NotifyFailed { id, failure } => {
            json!({ "event": "notify_failed", "id": id, "error": failure.kind.number() })
        }
        Event::Item { stream, payload: item } => {
            let mut fields = payload(item);
            fields["event"] = json!("item");
            fields["own"] = json!(stream.own);
            fields["id"] = json!(stream.call);
            fields
        }
        Event::End { stream, outcome: Ok(()) } => {
            json!({ "event": "end", "own": stream.own, "id": stream.call })
        }
        Event::End { stream, outcome: Err(failure) } => {
            json!({ "event": "end", "own": stream.own, "id": stream.call, "error": failure.kind.number() })
        }
        Event::Credit { stream } => json!({ "event": "credit", "own": stream.own, "id": stream.call }),
        Event::Stopped { stream } => json!({ "event": "stopped", "own": stream.own, "id": stream.call }),
        Event::Released { object } => json!({ "event": "released", "object": object }),
        Event::Pong(bytes) => json!({ "event": "pong", "body": hex(bytes) }),
        Event::Goodbye { reason, .. } => json!({ "event": "goodbye", "reason": reason.number() }),
        Event::Closed(failure) => json!({ "event": "closed", "error": failure.kind.number() }),
    };
    if let (Event::Call(call), Some(timeout)) = (&event, expected["timeout"].as_u64()) {
        assert!(call.deadline.is_some(), "{place}");
        happened["timeout"] = json!(timeout);
    }
    let failed = happened["error"].is_u64();
    assert_eq!(failed, expected["error"].is_u64(), "{happened}: {place}");
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&happened[name], value, "{name}: {place}");
    }
}

/// What a goodbye and an error may say differs, but that they are readable does not.
#[test]
fn errors_of_the_vectors_are_readable() {
    for vector in vectors("frames.json").iter().filter(|vector| vector["meaning"]["error"].is_u64()) {
        let body = unhex(vector["meaning"]["body"].as_str().unwrap());
        assert!(matches!(codec::from_slice(&body), Ok(Native::Map(_))), "{}", vector["name"]);
    }
}
