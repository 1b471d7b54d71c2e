//! Two machines, as far as the kernel can play them: a daemon in one network namespace and its clients in another, with a cable between.
//!
//! Making namespaces needs root and the program `ip`; without them these tests say so and do nothing.

mod common;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use andiron::{Connector, Hub, Secret, SecretFile, Security, Signal};
use common::{Home, LONG, Process, Ran, role, say, skipped};

/// Two namespaces and the cable between them. They are gone with it.
struct Cable {
    near: String,
    far: String,
}

/// The daemon's addresses; the clients' end in 2.
const NEAR: &str = "10.99.0.1";
const NEAR_6: &str = "fd99::1";
const PORT: u16 = 9099;

impl Cable {
    /// `None` where this process may not make any.
    fn new() -> Option<Cable> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("andiron-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let cable = Cable { near: format!("{name}-near"), far: format!("{name}-far") };
        for namespace in [&cable.near, &cable.far] {
            match Command::new("ip").args(["netns", "add", namespace]).output() {
                Ok(made) if made.status.success() => {}
                Ok(made) => {
                    let why = String::from_utf8_lossy(&made.stderr);
                    skipped(&format!("no network namespaces can be made: {}", why.trim()));
                    return None;
                }
                Err(error) => {
                    skipped(&format!("`ip` cannot be run: {error}"));
                    return None;
                }
            }
        }
        let Cable { near, far } = &cable;
        ip(&format!("link add cable netns {near} type veth peer name cable netns {far}"));
        for (namespace, number) in [(near, 1), (far, 2)] {
            ip(&format!("-n {namespace} address add 10.99.0.{number}/24 dev cable"));
            ip(&format!("-n {namespace} address add fd99::{number}/64 dev cable nodad"));
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("-n {namespace} link set cable up"));
        }
        Some(cable)
    }

    /// Nothing comes through any more, and nobody is told.
    fn cut(&self) {
        ip(&format!("-n {} link set cable down", self.near));
    }

    fn mend(&self) {
        ip(&format!("-n {} link set cable up", self.near));
        ip(&format!("-n {} address replace {NEAR_6}/64 dev cable nodad", self.near));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).stderr(Stdio::null()).status();
        }
    }
}

fn ip(line: &str) {
    let done = Command::new("ip").args(line.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The same command in that namespace.
fn within(namespace: &str, command: &Command) -> Command {
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(key, value),
            None => inside.env_remove(key),
        };
    }
    inside
}

/// A daemon at the near end, and a home at the far one with nothing in it but the secret.
struct Scene {
    daemon: Process,
    near: Home,
    far: Home,
    cable: Cable,
}

impl Scene {
    fn new() -> Option<Scene> {
        let cable = Cable::new()?;
        let (near, far) = (Home::new(), Home::new());
        let secret = near.folder.path().join("secret");
        SecretFile::create(&secret, Secret::new().unwrap()).unwrap();
        let own = far.folder.path().join("config/andiron");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::copy(&secret, own.join("secret")).unwrap();

        let listen = [address(NEAR), address(NEAR_6)];
        let mut serve = near.andiron(&["serve", "--listen", &listen[0], "--listen", &listen[1]]);
        serve.arg("--secret-file").arg(&secret);
        let mut daemon = Process::start(within(&cable.near, &serve));
        daemon.wait_for(&format!("listening at {}", listen[1]));
        Some(Scene { daemon, near, far, cable })
    }

    /// Runs the program at the far end.
    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(within(&self.cable.far, &self.far.andiron(arguments)).stdin(Stdio::null()).output().unwrap())
    }

    /// Has this test binary play a role at the far end.
    fn play(&self, test: &str) -> Process {
        let mut player = Process::start(within(&self.cable.far, &self.far.player(test, &address(NEAR))));
        player.wait_for("ready");
        player
    }
}

fn address(host: &str) -> String {
    if host.contains(':') { format!("tls://[{host}]:{PORT}") } else { format!("tls://{host}:{PORT}") }
}

/// Of a provider, at whichever end.
struct Echo;

#[andiron::expose]
impl Echo {
    fn text(&self, text: String) -> String {
        text
    }

    /// Never comes back.
    fn wait(&self) {
        say("entered");
        loop {
            std::thread::park();
        }
    }
}

#[test]
fn a_client_needs_nothing_but_address_and_secret() {
    let Some(scene) = Scene::new() else { return };
    let hub = scene.near.hub();
    hub.register("echo", Echo).unwrap();
    let provider = hub.clone();
    let provider = std::thread::spawn(move || provider.run());

    for host in [NEAR, NEAR_6] {
        let address = address(host);
        let at = |arguments: &[&str]| scene.run(&[&["--address", &address], arguments].concat());
        at(&["set", "x", "20"]).printed();
        assert_eq!(at(&["get", "x"]).printed(), "20\n");
        assert_eq!(at(&["call", "echo", "text", "hello"]).printed(), "\"hello\"\n");
        assert!(at(&["describe", "echo"]).printed().contains("text(text: String) -> String"));
        assert!(at(&["doctor"]).printed().contains("by TLS"));
        let of_the_object = format!("{address}/echo");
        assert_eq!(scene.run(&["call", &of_the_object, "text", "hi"]).printed(), "\"hi\"\n");
    }

    // What is registered at the far end is called from the near one.
    let _client = scene.play("provider");
    assert_eq!(scene.near.run(&["call", "far", "text", "hello"]).printed(), "\"hello\"\n");

    hub.close();
    let _ = provider.join().unwrap();
}

/// Not a test of its own: a process at the far end that offers an object.
#[test]
fn provider() {
    let Some(address) = role() else { return };
    let hub = Hub::connect(&address).unwrap();
    hub.register("far", Echo).unwrap();
    say("ready");
    let _ = hub.run();
}

#[test]
fn who_lacks_the_secret_or_tls_is_refused() {
    let Some(mut scene) = Scene::new() else { return };
    let wrong = scene.far.folder.path().join("wrong");
    SecretFile::create(&wrong, Secret::new().unwrap()).unwrap();
    let tls = address(NEAR);
    let refused = scene.run(&["--address", &tls, "--secret-file", wrong.to_str().unwrap(), "ls"]);
    assert!(refused.failed(1).contains("the proof of the secret is wrong"), "{refused:?}");
    scene.daemon.wait_for("the proof of the secret is wrong");

    let plain = format!("tcp://{NEAR}:{PORT}");
    let refused = scene.run(&["--address", &plain, "ls"]);
    assert!(refused.failed(1).contains("--plain-tcp"), "{refused:?}");
    let refused = scene.run(&["--address", &plain, "--plain-tcp", "ls"]);
    assert!(refused.failed(1).contains("tls://"), "{refused:?}");

    let secret = scene.far.folder.path().join("config/andiron/secret");
    std::fs::remove_file(secret).unwrap();
    assert!(scene.run(&["--address", &tls, "ls"]).failed(1).contains("secret"));
    assert_eq!(scene.near.run(&["ls"]).printed(), "");
}

/// It takes half a minute: as long as a silent peer is believed to be there.
#[test]
fn a_cable_that_is_cut_is_noticed_at_both_ends_and_a_client_that_retries_is_back() {
    let Some(scene) = Scene::new() else { return };
    let mut provider = scene.near.play("waiting_provider", "near");
    let mut far_provider = scene.play("provider");
    let mut client = scene.play("retrying_client");
    provider.wait_for("entered");
    let mut caller = scene.near.andiron(&["call", "far", "wait"]);
    let caller = caller.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    far_provider.wait_for("entered");

    scene.cable.cut();
    let lost = client.wait_for("lost: ");
    assert!(lost.contains("nothing came from the other end"), "{lost}");
    client.wait_for("failed: Unknown");
    let left = Ran::of(caller.wait_with_output().unwrap());
    assert!(left.failed(1).contains("lost"), "{left:?}");
    assert_eq!(scene.near.run(&["call", "near", "text", "hello"]).printed(), "\"hello\"\n");

    client.wait_for("trying");
    scene.cable.mend();
    client.wait_for("connected again");
    client.wait_for("answered: hello");
}

/// Not a test of its own: the process whose object is called from the far end.
#[test]
fn waiting_provider() {
    if role().is_none() {
        return;
    }
    let hub = andiron::connect().unwrap();
    hub.register("near", Echo).unwrap();
    say("ready");
    let _ = hub.run();
}

/// Not a test of its own: a client at the far end whose connection is lost.
#[test]
fn retrying_client() {
    let Some(address) = role() else { return };
    let connector = Connector::new(&address).security(Security::default()).retry(LONG);
    let connector = connector.on_signal(|signal| match signal {
        Signal::Reconnected => say("connected again"),
        Signal::Disconnected(error) => say(&format!("lost: {error}")),
        _ => {}
    });
    let hub = connector.timeout(Duration::from_secs(2)).connect().unwrap();
    let near: EchoProxy = hub.object("near").unwrap();
    say("ready");
    let error = near.wait().unwrap_err();
    say(&format!("failed: {:?}: {error}", error.kind()));
    say("trying");
    say(&format!("answered: {}", near.text("hello".to_owned()).unwrap()));
}
