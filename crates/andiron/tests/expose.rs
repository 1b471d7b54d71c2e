//! What `#[expose]` makes of an `impl` block.
#![warn(missing_docs)]

use std::borrow::Cow;
use std::path::Path;

use andiron::{Access, Arguments, Error, ErrorKind, Expose, Result};
use serde::Serialize;

/// Fails to do what a player does.
#[derive(Debug)]
struct PlayerError(&'static str);

impl std::fmt::Display for PlayerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for PlayerError {}

#[derive(Default)]
struct Player {
    position: f64,
}

/// Plays things.
///
/// One at a time.
#[andiron::expose]
impl Player {
    fn new() -> Self {
        Player::default()
    }

    /// Moves to `seconds`; returns the new position.
    fn seek(&mut self, seconds: f64) -> f64 {
        self.position = seconds.max(Self::EARLIEST);
        self.position
    }

    fn title(&self, prefix: &str) -> std::result::Result<String, PlayerError> {
        match prefix {
            "" => Err(PlayerError("no such track")),
            prefix => Ok(format!("{prefix} Embers")),
        }
    }

    #[expose(oneway)]
    fn log(&self, _line: String) {
        self.helper();
    }

    #[expose(name = "stop_now")]
    fn stop(&mut self) -> Result<()> {
        Err(Error::new(ErrorKind::Conflict, "stopped already"))
    }

    #[expose(skip)]
    fn helper(&self) {}

    fn _private(&self) {
        self.helper();
    }

    const EARLIEST: f64 = 0.0;
}

/// All that a parameter or a result may look like.
struct Forms;

#[andiron::expose]
#[allow(clippy::too_many_arguments, clippy::needless_arbitrary_self_type, clippy::boxed_local)]
impl Forms {
    fn held(&self, a: Option<&[u8]>, b: Box<[u8]>, c: Cow<'_, [u8]>) -> Option<Vec<u8>> {
        a.map(|a| [a, &*b, &*c].concat())
    }
    fn lent<'a>(&'a self, text: &'a str, bytes: &'a [u8], path: &Path, list: &[u16], number: &u8) -> String {
        format!("{text} {bytes:?} {} {list:?} {number}", path.display())
    }
    fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
    fn r#type(&self, r#match: bool) -> bool {
        !r#match
    }
    fn names(&self, method: u8, arguments: u8, result: u8) -> (u8, u8, u8) {
        (method, arguments, result)
    }
    fn optional(&self, first: Option<u8>, second: Option<String>) -> (Option<u8>, Option<String>) {
        (first, second)
    }
    fn many(
        &self,
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: u8,
        m: u8,
        n: u8,
        o: u8,
        p: u8,
    ) -> Vec<u32> {
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p].map(u32::from).into()
    }
    fn callback(&self, player: PlayerProxy) -> Result<f64> {
        player.seek(1.0)
    }
    fn pinned(self: &Self) -> std::fmt::Result {
        Ok(())
    }
    fn with_timeout(&self, mut seconds: u64) -> u64 {
        seconds += 1;
        seconds
    }
    fn start_bytes(&self) -> u8 {
        7
    }
    #[cfg(not(test))]
    fn platform(&self) -> u8 {
        0
    }
    #[cfg(test)]
    fn platform(&self) -> u8 {
        1
    }
}

fn call_any<T: Expose>(object: &mut T, method: &str, body: &[u8]) -> Result<Vec<u8>> {
    let mut arguments = Arguments::new(body, "test")?;
    let reply = match T::access(method) {
        Some(Access::Exclusive) => object.call_exclusive(method, &mut arguments),
        _ => object.call_shared(method, &mut arguments),
    };
    reply.map(andiron::Reply::into_bytes)
}

fn call<R: for<'de> serde::Deserialize<'de>>(
    object: &mut impl Expose,
    method: &str,
    arguments: impl Serialize,
) -> Result<R> {
    let mut body = Vec::new();
    andiron_proto::codec::encode_args(&arguments, &mut body).unwrap();
    call_any(object, method, &body).map(|reply| andiron_proto::codec::from_slice(&reply).unwrap())
}

#[test]
fn methods_are_reached_by_their_names() {
    let player = &mut Player::new();
    assert_eq!(call::<f64>(player, "seek", (12.5,)).unwrap(), 12.5);
    assert_eq!(player.position, 12.5);
    assert_eq!(call::<String>(player, "title", ("The",)).unwrap(), "The Embers");
    call::<()>(player, "log", ("a line",)).unwrap();
}

#[test]
fn only_methods_with_self_that_are_not_left_out_are_exposed() {
    assert_eq!(Player::access("seek"), Some(Access::Exclusive));
    assert_eq!(Player::access("title"), Some(Access::Shared));
    assert_eq!(Player::access("stop_now"), Some(Access::Exclusive));
    for hidden in ["new", "helper", "_private", "stop", "EARLIEST", "", "call_shared"] {
        assert_eq!(Player::access(hidden), None, "{hidden}");
        let error = call::<()>(&mut Player::new(), hidden, ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoMethod);
    }
    let error = call::<()>(&mut Player::new(), "helper", ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`Player` has no method `helper`: it has `seek`, `title`, `log`, `stop_now`"
    );
    Player::new()._private();
}

#[test]
fn a_shared_call_never_runs_an_exclusive_method() {
    let mut arguments = Arguments::new(&[0x90], "test").unwrap();
    let error = Player::new().call_shared("stop_now", &mut arguments).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn the_error_of_a_method_arrives_as_one_of_the_application() {
    let error = call::<String>(&mut Player::new(), "title", ("",)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Application);
    assert_eq!(error.remote_type(), Some("expose::PlayerError"));
    assert_eq!(error.during("player.title").to_string(), "player.title: PlayerError: no such track");
}

#[test]
fn an_error_of_andiron_is_passed_on_as_it_is() {
    let error = call::<()>(&mut Player::new(), "stop_now", ()).unwrap_err();
    assert_eq!(
        (error.kind(), error.message(), error.remote_type()),
        (ErrorKind::Conflict, "stopped already", None)
    );
}

#[test]
fn wrong_arguments_do_not_run_the_method() {
    let player = &mut Player::new();
    let error = call::<f64>(player, "seek", ("far",)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments);
    assert_eq!(error.message(), "argument `seconds`: expected f64, found string \"far\"");
    let error = call::<f64>(player, "seek", (1.0, 2.0)).unwrap_err();
    assert_eq!(error.message(), "takes 1 argument, found 2");
    assert_eq!(player.position, 0.0);
}

#[test]
fn the_interface_tells_signatures_and_docs() {
    assert_eq!(
        Player::interface().to_string(),
        "Player: Plays things.\n\n    One at a time.\n  seek(seconds: f64) -> f64\n      Moves to `seconds`; returns the \
         new position.\n  title(prefix: &str) -> String\n  log(line: String)  [one-way]\n  stop_now()\n"
    );
    let seek = Player::interface().method("seek").unwrap();
    assert!(seek.exclusive && !seek.oneway);
    let encoded = andiron_proto::codec::to_vec(Player::interface()).unwrap();
    let decoded: andiron::Interface = andiron_proto::codec::from_slice(&encoded).unwrap();
    assert_eq!(&decoded, Player::interface());
}

#[test]
fn every_form_of_parameter_arrives() {
    let proxy = FormsProxy::from(Forms);
    let lent = proxy.lent("a", &[1, 2], Path::new("/b"), &[300], &4).unwrap();
    assert_eq!(lent, "a [1, 2] /b [300] 4");
    assert_eq!(proxy.bytes(vec![1, 200]).unwrap(), [1, 200]);
    assert_eq!(proxy.held(Some(&[1]), Box::new([2]), Cow::Borrowed(&[3])).unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(proxy.held(None, Box::new([2]), Cow::Owned(vec![3])).unwrap(), None);
    assert!(proxy.r#type(false).unwrap());
    assert!(proxy.start_type(false).unwrap().wait().unwrap());
    assert_eq!(proxy.names(1, 2, 3).unwrap(), (1, 2, 3));
    assert_eq!(proxy.optional(Some(1), None).unwrap(), (Some(1), None));
    assert_eq!(
        proxy.many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16).unwrap(),
        (1..=16).collect::<Vec<_>>()
    );
    proxy.pinned().unwrap();
    assert_eq!(proxy.platform().unwrap(), 1);
    let names = Forms::interface().methods.iter().filter(|method| method.name == "platform");
    assert_eq!(names.count(), 1);
}

#[test]
fn a_method_of_the_object_wins_over_a_generated_one() {
    let proxy = FormsProxy::from(Forms);
    assert_eq!(proxy.with_timeout(1).unwrap(), 2);
    assert_eq!(proxy.start_bytes().unwrap(), 7);
}

#[test]
fn bytes_travel_as_bytes() {
    let mut body = vec![0x91, 0xc4, 2, 1, 200];
    assert_eq!(call_any(&mut Forms, "bytes", &body).unwrap(), [0xc4, 2, 1, 200]);
    body = vec![0x91, 0x92, 1, 0xcc, 200];
    assert_eq!(call_any(&mut Forms, "bytes", &body).unwrap(), [0xc4, 2, 1, 200], "a list of numbers will do");
}

#[test]
fn optional_arguments_may_be_left_out() {
    type Both = (Option<u8>, Option<String>);
    assert_eq!(call::<Both>(&mut Forms, "optional", (5,)).unwrap(), (Some(5), None));
    assert_eq!(call::<Both>(&mut Forms, "optional", ()).unwrap(), (None, None));
}

#[test]
fn a_typed_proxy_calls_waits_and_notifies() {
    let player = PlayerProxy::from(Player::new());
    assert_eq!(player.seek(2.0).unwrap(), 2.0);
    assert_eq!(player.start_title("The").unwrap().wait().unwrap(), "The Embers");
    player.log("a line".into()).unwrap();
    assert_eq!(player.stop().unwrap_err().kind(), ErrorKind::Conflict);
    let untyped = andiron::Proxy::from(player.with_timeout(std::time::Duration::from_secs(9)));
    assert_eq!(PlayerProxy::from(untyped).as_ref().call::<f64>("seek", &(3.0,)).unwrap(), 3.0);
}
