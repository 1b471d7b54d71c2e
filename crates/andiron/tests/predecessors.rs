//! Faults of the systems that this one succeeds; see `docs/findings.md`.

use andiron::{Error, ErrorKind, Hub, Server};

struct Adder;

#[andiron::expose]
impl Adder {
    fn add(&self, cmd: i64, kwargs: i64) -> i64 {
        cmd + kwargs
    }
}

fn address(folder: &tempfile::TempDir) -> String {
    format!("unix:{}/s", folder.path().display())
}

#[test]
fn idle_clients_block_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::bind(&address(&folder)).unwrap().object("adder", Adder).unwrap().start().unwrap();
    let idle: Vec<Hub> = (0..100).map(|_| Hub::connect(&address(&folder)).unwrap()).collect();
    let silent: Vec<_> =
        (0..100).map(|_| std::os::unix::net::UnixStream::connect(folder.path().join("s")).unwrap()).collect();
    let last: AdderProxy = Hub::connect(&address(&folder)).unwrap().object("adder").unwrap();
    assert_eq!(last.add(1, 2).unwrap(), 3);
    // And they were served all along.
    assert_eq!(idle[50].object::<AdderProxy>("adder").unwrap().add(2, 3).unwrap(), 5);
    drop(silent);
}

#[test]
fn an_object_is_served_again_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let server =
            Server::bind(&address(&folder)).unwrap().object("adder", Adder).unwrap().start().unwrap();
        let adder: AdderProxy = Hub::connect(&address(&folder)).unwrap().object("adder").unwrap();
        assert_eq!(adder.add(1, 2).unwrap(), 3);
        assert!(server.stop());
        assert!(adder.add(1, 2).is_err());
    }
}

#[test]
fn arguments_may_have_any_name() {
    // `cmd` and the like are names of the wrapper's own arguments elsewhere.
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::bind(&address(&folder)).unwrap().object("adder", Adder).unwrap().start().unwrap();
    let adder: AdderProxy = Hub::connect(&address(&folder)).unwrap().object("adder").unwrap();
    assert_eq!(adder.add(1, 2).unwrap(), 3);
}

#[test]
fn an_object_that_is_registered_late_is_found_by_open_connections() {
    let folder = tempfile::tempdir().unwrap();
    let hosting = andiron::Hosting { names: true, ..andiron::Hosting::default() };
    let _server = Server::host(&address(&folder), hosting).unwrap().start().unwrap();
    let early = Hub::connect(&address(&folder)).unwrap();
    assert!(early.object::<AdderProxy>("adder").is_err());
    let provider = Hub::connect(&address(&folder)).unwrap();
    provider.register("adder", Adder).unwrap();
    let serving = std::thread::spawn({
        let provider = provider.clone();
        move || provider.run()
    });
    assert_eq!(early.object::<AdderProxy>("adder").unwrap().add(1, 2).unwrap(), 3);
    provider.close();
    serving.join().unwrap().unwrap();
}

/// Fails with what it is told, if that is anything.
struct Complainer;

#[andiron::expose]
impl Complainer {
    fn complain(&self, of: String) -> andiron::Result<usize> {
        match of.len() {
            0 => Ok(0),
            _ => Err(Error::new(ErrorKind::Conflict, format!("no {of}")).with_context("of", &of)),
        }
    }
}

#[test]
fn nothing_of_one_answer_is_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::bind(&address(&folder)).unwrap().object("complainer", Complainer).unwrap();
    let _server = server.start().unwrap();
    let clients: Vec<ComplainerProxy> =
        (0..3).map(|_| Hub::connect(&address(&folder)).unwrap().object("complainer").unwrap()).collect();
    let words = ["tea", "coffee", "milk"];
    for round in 0..30 {
        let (client, word) = (&clients[round % 3], words[round / 3 % 3]);
        let error = client.complain(word.to_owned()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(error.message().contains(&format!("no {word}")), "{text}");
        assert!(words.iter().all(|other| *other == word || !text.contains(other)), "{text}");
        assert_eq!(clients[(round + 1) % 3].complain(String::new()).unwrap(), 0);
    }
}
