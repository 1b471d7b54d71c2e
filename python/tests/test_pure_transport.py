"""How the pure engine reaches servers, and lets others in: names and their files, secrets, TLS."""

import contextlib
import gc
import importlib
import os
import pathlib
import socket
import stat
import subprocess
import sys
import threading

import pytest

import andiron
from andiron import _engine
from andiron._pure import hooks, server
from andiron._pure.failure import Failure
from andiron._pure.transport import address, channel, connector, listener, names, runtime, secret
from conftest import environment

if not hasattr(socket, "AF_UNIX"):
    pytest.skip(
        "about Unix sockets too, which were taken away; `test_without.py` is about what is left",
        allow_module_level=True,
    )

if hooks.package is None:
    hooks.install(_engine.hooks)

try:
    _native = importlib.import_module("andiron._native")
except ImportError:
    _native = None


@pytest.fixture
def places(home, monkeypatch):
    """Nothing of this user is found."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.delenv("ANDIRON_SECRET_FILE", raising=False)
    monkeypatch.delenv("ANDIRON_CERTIFICATE_FILE", raising=False)
    return home


@pytest.fixture
def listen(places):
    """Listens, as long as the test goes on."""
    listening = []

    def start(text, **options):
        found = listener.listen(text, **options)
        listening.extend(found)
        return found[0]

    yield start
    for one in listening:
        one.shut()


@pytest.fixture
def keys(places):
    """A file with a secret."""
    return write_secret(places / "keys")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A file with a certificate and its key."""
    path = tmp_path_factory.mktemp("certificate") / "certificate.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=andiron"
    )
    try:
        subprocess.run(
            [*command.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", path],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl here to make a certificate")
    path.chmod(0o600)
    return str(path)


def write_secret(path, line=None):
    path.write_text((line or secret.Secret.new().text()) + "\n")
    path.chmod(0o600)
    return str(path)


def refused(function, *args, **options):
    with pytest.raises(Failure) as caught:
        function(*args, **options)
    return caught.value


def connect(text, **options):
    return connector.connect(text, 10.0, **options)


def ends(door, *args, **options):
    """A client and what the server has of it."""
    near, auth, binding = connect(*args, **options)
    guest = door.accept()
    while guest is None:
        channel.wait_at(door.sock, True, False, 10)
        guest = door.accept()
    return near, guest, auth, binding


def passed(near, far, data):
    """What comes of these bytes at the other end."""
    arrived, rest = b"", data
    while len(arrived) < len(data):
        for one in (near, far):
            try:
                got, descriptors, cut_off = one.recv()
                assert (list(descriptors), cut_off) == ([], False)
                assert got, one.end_of_stream
                arrived += got
            except BlockingIOError:
                one.flush()
        try:
            rest = rest[near.send([rest[:3], rest[3:]]) :] if rest else rest
        except BlockingIOError:
            far.wait(True, near.wants_write, 0.01)
    return arrived


# Addresses.

NO_ADDRESSES = (
    """|a b|.x|unix:|http://x|tcp:x|tcp://::1|tcp://[::1|tcp://[::1]9|tcp://[x]|tcp://x:|tcp://x:+1|tcp://x:65536|tcp://x:-1|tcp://x/y|tcp://a b|
tcp://u@h|tcp://-x|fd:|fd:x|fd:-1|tls://x:9:9|TCP://x|tcp://ü|fd:3|systemd|tcp://localhost:0|unix:/"""
    + "x" * 107
)


@pytest.mark.parametrize("text", NO_ADDRESSES.replace("\n", "").split("|"))
def test_what_is_no_address_is_refused_in_the_words_of_the_native_engine(places, text):
    failure = refused(connect, text)
    assert failure.kind == "bad arguments"
    if _native is not None and andiron.engine == "native":
        with pytest.raises(andiron.BadArgumentsError) as native:
            _native.connect(text)
        assert str(failure.exception()) == str(native.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tcp://", "tcp://localhost:9099"),
        ("tls://:1", "tls://localhost:1"),
        ("tcp://[::1]", "tcp://[::1]:9099"),
        ("unix:/tmp/a:b/c", "unix:/tmp/a:b/c"),
        ("andiron", "andiron"),
    ],
)
def test_what_an_address_does_not_say_has_a_default(text, shown):
    assert str(address.parse(text)) == shown


@pytest.mark.parametrize("text", ["nobody", "andiron", "unix:/nowhere/socket", "tcp://localhost:1"])
def test_where_no_server_is_the_words_are_those_of_the_native_engine(places, text):
    options = {"secret_file": write_secret(places / "keys")} if text.startswith("tcp") else {}
    failure = refused(connect, text, **options)
    assert failure.kind == "unavailable"
    if _native is not None and andiron.engine == "native":
        with pytest.raises(andiron.UnavailableError) as native:
            _native.connect(text, **options)
        assert str(failure.exception()) == str(native.value)


# Names.


def test_a_name_is_a_socket_that_only_this_user_can_use(listen):
    door = listen("desk")
    path = door.address[len("unix:") :]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    near, guest, auth, binding = ends(door, "desk")
    assert (auth, guest.auth, binding, guest.binding) == ("user", "user", None, None)
    assert guest.channel.label == f"process {os.getpid()}"
    assert passed(near, guest.channel, b"hello") == b"hello"


def test_a_name_is_taken_once(listen):
    listen("desk")
    failure = refused(listener.listen, "desk")
    assert failure.kind == "conflict"
    assert f"the name desk is taken by process {os.getpid()}" in failure.message


HOLDS = """
from andiron import _engine
from andiron._pure import hooks
from andiron._pure.transport import listener
hooks.package is None and hooks.install(_engine.hooks)
door, = listener.listen("desk")
print(door.address, flush=True)
input()
door.shut()
"""


def test_a_name_of_another_process_is_free_again_when_that_was_killed(processes, listen):
    other = processes.python(HOLDS)
    assert other.stdout.readline()
    assert f"is taken by process {other.pid}:" in refused(listener.listen, "desk").message
    other.kill()
    other.wait()
    assert refused(connect, "desk").message.startswith("no server at 'desk'")
    near, guest, *_ = ends(listen("desk"), "desk")
    assert passed(near, guest.channel, b"anew") == b"anew"


def test_a_server_takes_its_socket_away_and_leaves_the_lock(listen):
    door = listen("desk")
    door.shut()
    assert os.listdir(runtime.folder()) == ["desk.lock"]


def test_a_socket_that_somebody_removed_is_made_anew(listen):
    door = listen("desk")
    assert not door.tick()
    os.unlink(door.address[len("unix:") :])
    assert door.tick()
    near, guest, *_ = ends(door, "desk")
    assert passed(near, guest.channel, b"again") == b"again"


def test_a_folder_that_was_wiped_is_made_anew(listen, home):
    door = listen("desk")
    os.rename(runtime.folder(), home / "gone")
    assert door.tick()
    assert refused(listener.listen, "desk").kind == "conflict"


def test_a_folder_that_others_may_enter_is_not_used(listen):
    listen("desk").shut()
    os.chmod(runtime.folder(), 0o755)
    for function in (connect, listener.listen):
        failure = refused(function, "desk")
        assert (failure.kind, "run `chmod 700" in failure.message) == ("denied", True)


def test_a_folder_that_is_a_link_is_not_used(listen, home):
    os.mkdir(home / "other", 0o700)
    os.symlink(home / "other", runtime.folder())
    assert "must be a folder of its own but is a symbolic link" in refused(connect, "desk").message


def test_a_socket_that_a_killed_server_left_at_a_path_is_told_from_one_that_listens(listen, places):
    door = listen(f"unix:{places}/socket")
    assert "a server listens there" in refused(listener.listen, f"unix:{places}/socket").message
    door.sock.close()
    assert (
        "left by a server that was killed; remove it"
        in refused(listener.listen, f"unix:{places}/socket").message
    )
    (places / "file").touch()
    assert "is no socket" in refused(listener.listen, f"unix:{places}/file").message
    assert refused(connect, f"unix:{places}/file").kind == "bad arguments"


@pytest.fixture
def no_unix(monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX")


def test_without_unix_sockets_a_name_is_a_port_with_a_secret(listen, no_unix):
    door = listen("desk")
    path = os.path.join(runtime.folder(), "desk.addr")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    near, guest, auth, binding = ends(door, "desk")
    assert auth == guest.auth
    assert binding == guest.binding
    assert binding.startswith(b"tcp\0")
    assert passed(near, guest.channel, b"hello") == b"hello"
    assert refused(listener.listen, "desk").kind == "conflict"
    door.shut()
    assert not os.path.exists(path)


def test_a_port_that_nobody_listens_at_is_a_server_that_is_gone(listen, no_unix):
    listen("desk").sock.close()
    assert (
        refused(connect, "desk").message == "no server at 'desk': start one with `andiron serve --name desk`"
    )


def test_a_name_without_a_lock_is_kept_by_who_answers(listen, no_unix, monkeypatch):
    monkeypatch.setattr(names, "fcntl", None)
    listen("desk")
    names._held.clear()
    assert refused(listener.listen, "desk").kind == "conflict"


# Secrets.


def test_a_secret_is_read_as_it_was_written():
    made = secret.Secret.new()
    line = f"{made.text()} name=the%20desk until=2100-01-01T02:00:00+02:00 store=read-only authors=a,b%2Cc objects="
    read = secret.Secret.parse(line)
    assert (read.key, read.name, read.until) == (made.key, "the desk", 4102444800)
    assert read.rights.read_only_store
    assert read.rights.authors == {"a", "b,c"}
    assert not read.rights.may_call("x")
    assert not read.rights.are_full()
    assert made.rights.are_full()
    assert made.text() not in repr(made)


# The same in each process: tests are named by it.
GOOD = secret.Secret(bytes(range(32))).text()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("open sesame", "this is no secret"),
        (GOOD[:-1], "this secret is damaged"),
        (GOOD.upper().replace("ANDIRON1", "andiron1"), "this secret is damaged"),
        (GOOD[:20] + ("a" if GOOD[20] != "a" else "b") + GOOD[21:], "this secret is mistyped"),
        (f"{GOOD} name", "behind a secret stand only"),
        (f"{GOOD} name=x name=y", "a word stands twice"),
        (f"{GOOD} name=%zz", "a `%` in a name"),
        (f"{GOOD} until=tomorrow", "`until=` is followed by a time"),
        (f"{GOOD} until=2100-01-01T00:00:00", "`until=` is followed by a time"),
        (f"{GOOD} store=none", "`store=` can only be followed by"),
        (f"{GOOD} until=1999-01-01T00:00:00Z", "has ended: copy the line there"),
        (f"{GOOD}\n{GOOD}", "the same secret stands there twice"),
        ("# nothing", "has no secret in it"),
        ("\0" * (1 << 19), "is no file of secrets"),
    ],
)
def test_a_file_that_is_no_file_of_secrets_is_refused_in_the_words_of_the_native_engine(places, line, why):
    path = write_secret(places / "keys", line)
    failure = refused(connect, "tls://localhost:1", secret_file=path)
    assert failure.kind == "authentication"
    assert why in failure.message
    assert GOOD[len(secret.PREFIX) :] not in failure.message
    if _native is not None and andiron.engine == "native":
        with pytest.raises(andiron.AuthenticationError) as native:
            _native.connect("tls://localhost:1", secret_file=path)
        assert str(failure.exception()) == str(native.value)


def test_a_file_of_secrets_that_others_may_read_is_refused(keys):
    os.chmod(keys, 0o640)
    failure = refused(connect, "tls://localhost:1", secret_file=keys)
    assert failure.kind == "denied"
    assert "(mode 0640): run `chmod 600" in failure.message


def test_what_is_no_file_is_not_opened(places):
    os.mkfifo(places / "pipe", 0o600)
    assert "is no file" in refused(connect, "tls://localhost:1", secret_file=f"{places}/pipe").message


def test_a_server_looks_into_its_file_again_when_it_changed(keys):
    ring = secret.Keyring(keys)
    before = ring.first().key
    write_secret(pathlib.Path(keys), f"{secret.Secret.new().text()} name=longer")
    assert ring.first().name == "longer"
    assert ring.first().key != before


def test_secrets_that_ended_are_known_with_what_is_said_of_them(places):
    ended = secret.Secret.new().text()
    path = write_secret(places / "keys", f"{ended} name=old until=2020-01-01T00:00:00Z\n{GOOD}")
    taken = secret.Keyring(path).taken()
    ((key, told),) = taken.ended
    assert key == secret.Secret.parse(ended).key
    assert (
        told
        == "the secret named 'old' ran out on 2020-01-01T00:00:00Z: give the client the one that the server has now"
    )
    assert [one.text() for one in taken.valid] == [GOOD]


# TCP.


def test_a_server_on_loopback_makes_a_secret_that_its_clients_find(listen):
    door = listen("tcp://127.0.0.1:0")
    _, guest, auth, binding = ends(door, door.address)
    assert auth == guest.auth
    assert binding == guest.binding
    door.shut()
    assert os.listdir(runtime.folder()) == []


def test_a_stranger_who_took_the_port_cannot_pass_the_proof_on(listen):
    door = listen("tcp://127.0.0.1:0")
    thief = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(thief.getsockname())
    between, _ = thief.accept()
    onward = socket.create_connection(door.sock.getsockname())
    guest = door.accept()
    assert connector.plain_binding(near, True) != guest.binding
    for one in (thief, near, between, onward):
        one.close()


@pytest.mark.parametrize("text", ["tcp://192.0.2.1", "tcp://example.org", "tcp://0.0.0.0"])
def test_plain_tcp_beyond_this_machine_is_refused_before_anybody_is_asked(places, keys, text):
    assert refused(connect, text, secret_file=keys).kind == "denied"
    assert refused(listener.listen, text, secret_file=keys).kind == "denied"


def test_without_secret_and_authority_nobody_is_trusted(places):
    for function in (connect, listener.listen):
        failure = refused(function, "tls://localhost:1")
        assert failure.kind == "authentication"
        assert "there is neither a secret nor an authority" in failure.message


def test_a_port_that_is_taken_is_told(listen):
    door = listen("tcp://127.0.0.1:0")
    assert "is taken by another server" in refused(listener.listen, door.address).message


# TLS.


def test_a_server_without_a_certificate_says_how_to_make_one(places, keys):
    failure = refused(listener.listen, "tls://localhost:0", secret_file=keys)
    assert f"there is no certificate at {places}/config/andiron/certificate.pem" in failure.message
    assert "openssl req -x509" in failure.message


def test_both_ends_of_tls_are_bound_to_the_same_certificate(listen, keys, certificate):
    door = listen("tls://localhost:0", secret_file=keys, certificate=certificate)
    near, guest, auth, binding = ends(door, door.address, secret_file=keys)
    assert binding is None
    assert near.binding() is None
    text = os.urandom(300_000)
    assert passed(near, guest.channel, text) == text
    assert passed(guest.channel, near, text) == text
    assert near.binding() == guest.binding == guest.channel.binding()
    assert auth == guest.auth
    assert not near.passes_descriptors
    assert not near.is_local


def test_a_certificate_of_an_authority_is_checked(listen, keys, certificate):
    door = listen("tls://localhost:0", secret_file=keys, certificate=certificate)
    near, guest, *_ = ends(door, "tls://localhost:" + door.address.rpartition(":")[2], authority=certificate)
    assert passed(near, guest.channel, b"hello") == b"hello"


def test_a_certificate_for_another_host_is_refused(listen, keys, certificate):
    door = listen("tls://127.0.0.1:0", secret_file=keys, certificate=certificate)
    near, guest, *_ = ends(door, door.address, authority=certificate)
    with pytest.raises(Failure, match="certificate is refused"):
        passed(near, guest.channel, b"hello")
    with pytest.raises(ConnectionAbortedError):
        near.send([b"hello"])


def test_a_client_without_a_certificate_is_told_that_one_is_asked_for(listen, certificate):
    door = listen("tls://127.0.0.1:0", certificate=certificate, authority=certificate)
    path = door.address
    near, guest, *_ = ends(door, path.replace("127.0.0.1", "localhost"), authority=certificate)
    with pytest.raises(Failure) as caught:
        passed(guest.channel, near, b"hello")
    assert caught.value.kind == "authentication"


def test_clients_with_a_certificate_of_the_authority_are_known_by_its_name(listen, certificate):
    door = listen("tls://127.0.0.1:0", certificate=certificate, authority=certificate)
    where = door.address.replace("127.0.0.1", "localhost")
    near, guest, *_ = ends(door, where, authority=certificate, own=(certificate, certificate))
    assert passed(near, guest.channel, b"hello") == b"hello"
    assert guest.channel.client_name() == "andiron"


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"\xadIRON\r\n\x1a\0\1\0\1", b"\x16\x03\x01\0\5hello"]
)
def test_who_does_not_speak_tls_is_told_from_one_who_does(listen, keys, certificate, said):
    door = listen("tls://127.0.0.1:0", secret_file=keys, certificate=certificate)
    with socket.create_connection(door.sock.getsockname()) as near:
        guest = door.accept()
        near.sendall(said)
        assert guest.channel.wait(True, False, 10)[0]
        with pytest.raises(Failure) as caught:
            guest.channel.recv()
        assert caught.value.kind in ("protocol", "unsupported")


def test_tls_at_a_server_that_speaks_none_says_so(listen, keys):
    door = listen("tcp://127.0.0.1:0", secret_file=keys)
    near, guest, *_ = ends(door, door.address.replace("tcp", "tls"), secret_file=keys)
    guest.channel.close()
    near.wait(True, False, 10)
    data, _, _ = near.recv()
    assert data == b""
    assert "if it does not speak TLS, its address begins with `tcp://`" in near.end_of_stream


# Channels.


def test_descriptors_go_with_the_first_byte_and_close_on_exec():
    near, far = channel.pair()
    reader, writer = os.pipe()
    assert near.send([b"with ", b"one"], [writer]) == 8
    os.close(writer)
    data, (arrived,), cut_off = far.recv()
    assert (data, cut_off, os.get_inheritable(arrived)) == (b"with one", False, False)
    os.write(arrived, b"x")
    assert os.read(reader, 1) == b"x"
    channel.close_descriptors([reader, arrived])
    near.close()
    assert far.recv()[0] == b""


def test_a_channel_never_blocks_and_can_be_waited_for():
    near, far = channel.pair()
    with pytest.raises(BlockingIOError):
        near.recv()
    assert near.wait(True, True, 10) == (False, True)
    assert near.wait(True, False, 0) == (False, False)
    sent = 0
    while near.wait(False, True, 0)[1]:
        sent += near.send([b"x" * 100_000])
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += near.send([b"x" * 100_000])
    arrived = 0
    while arrived < sent:
        arrived += len(far.recv()[0])
    waits = threading.Thread(target=far.wait, args=(True, False, 10))
    waits.start()
    near.close()
    waits.join()
    assert far.recv()[0] == b""


def test_buffers_go_in_their_order_however_many_there_are():
    near, far = channel.pair()
    parts = [b"%d," % number for number in range(3000)]
    whole = b"".join(parts)
    sent = near.send(parts)
    arrived = b""
    while len(arrived) < sent:
        arrived += far.recv()[0]
    assert whole.startswith(arrived)
    assert bytes(channel.joined(parts)) == whole


# The first use needs no module that is not there.


def test_what_connects_can_be_imported_where_nothing_of_unix_is(processes):
    code = """
        import os, select, socket, sys
        gone = (
            (socket, "AF_UNIX SO_PEERCRED MSG_NOSIGNAL MSG_CMSG_CLOEXEC CMSG_LEN SCM_RIGHTS TCP_KEEPIDLE TCP_USER_TIMEOUT"),
            (os, "geteuid getuid fchmod uname O_CLOEXEC O_NOFOLLOW"),
            (select, "poll epoll"),
        )
        for module, names in gone:
            for name in names.split():
                if hasattr(module, name):
                    delattr(module, name)
        sys.modules["fcntl"] = None
        from andiron import _engine
        from andiron._pure import hooks
        from andiron._pure.transport import connector, listener
        hooks.package is None and hooks.install(_engine.hooks)
        door, = listener.listen("desk")
        near, auth, binding = connector.connect("desk", 10.0)
        guest = door.accept()
        assert guest.binding == binding
        near.send([b"hello"])
        assert guest.channel.wait(True, False, 10)[0]
        print(guest.channel.recv()[0])
    """
    out, err = processes.python(code, env=environment("pure")).communicate(timeout=60)
    assert (out, err) == ("b'hello'\n", "")


# Whole servers.

SERVES = """
import os, sys, threading
import andiron

class Sink:
    def __init__(self): self.got = []
    @andiron.expose
    def who(self): return andiron.caller().peer
    @andiron.expose
    def length(self, data): return len(data)
    @andiron.expose
    def items(self, count): yield from range(count)

addresses = sys.argv[1:]
server = andiron.Server({"sink": Sink(), "double": lambda x: 2 * x}, addresses, state=False, threads=4)
print(*server.addresses, flush=True)
sys.stdin.read()
print(server.stop())
"""

CALLS = """
import sys
import andiron

for address in sys.argv[1:]:
    try:
        hub = andiron.connect(address, timeout=20)
        print(hub["double"](21), hub["sink"].length(b"x" * 3_000_000), sum(hub["sink"].items(1000)), hub["sink"].who().split()[0])
        hub.store["x"] = bytes(2_000_000)
        print(len(hub.store["x"]), sorted(hub.store))
        hub.close()
    except andiron.Error as error:
        print(type(error).__name__, error)
"""

ENGINES = ["pure", "native"] if _native is not None else ["pure"]


def engines(test):
    """Each with each, but for the native one with itself."""
    pairs = [(server, client) for server in ENGINES for client in ENGINES if "pure" in (server, client)]
    return pytest.mark.parametrize(("server", "client"), pairs)(test)


@pytest.fixture
def configured(places, processes, certificate):
    """Starts servers, which have a certificate, and gives where they are."""

    def start(engine, *addresses, secret_file=None):
        env = {**environment(engine), "ANDIRON_CERTIFICATE_FILE": certificate}
        if secret_file is not None:
            env["ANDIRON_SECRET_FILE"] = secret_file
        process = processes.start(sys.executable, "-u", "-c", SERVES, *addresses, env=env)
        where = process.stdout.readline().split()
        assert where, process.communicate()[1]
        return process, where

    return start


def called(processes, engine, *addresses, secret_file=None):
    """What a client prints."""
    env = environment(engine)
    if secret_file is not None:
        env["ANDIRON_SECRET_FILE"] = secret_file
    out, err = processes.start(sys.executable, "-u", "-c", CALLS, *addresses, env=env).communicate(timeout=60)
    assert err == ""
    return out.splitlines()


def logged(process, count):
    """So many lines that a server has logged. They may come a moment behind what its client heard."""
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        return [process.stderr.readline().rstrip() for _ in range(count)]
    finally:
        timer.cancel()


def ended(process):
    """What a server that is told to end wrote, behind where it is."""
    out, err = process.communicate(timeout=60)
    return out.strip(), err


@engines
def test_both_engines_reach_each_other_in_all_ways(configured, processes, places, keys, server, client):
    process, where = configured(
        server, "desk", f"unix:{places}/socket", "tcp://127.0.0.1:0", "tls://127.0.0.1:0", secret_file=keys
    )
    for text, how in zip(["desk", *where[1:]], ["process", "process", "tcp", "tls"]):
        first, second = called(processes, client, text, secret_file=keys)
        assert first == f"42 3000000 499500 {how}", text
        assert second == "2000000 ['x']"
    assert ended(process) == ("True", "")
    assert os.listdir(runtime.folder()) == ["desk.lock"]


@engines
def test_without_a_secret_of_this_user_loopback_has_one_of_its_own(configured, processes, server, client):
    process, where = configured(server, "tcp://localhost:0")
    for text in where:
        assert called(processes, client, text)[0] == "42 3000000 499500 tcp"
    assert ended(process) == ("True", "")


@engines
@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_a_wrong_secret_is_an_error_at_both_ends(configured, processes, places, keys, scheme, server, client):
    process, (where,) = configured(server, f"{scheme}://127.0.0.1:0", secret_file=keys)
    other = write_secret(places / "other")
    (told,) = called(processes, client, where, secret_file=other)
    assert told.startswith("AuthenticationError connect: "), told
    assert "secret" in told
    (line,) = logged(process, 1)
    assert line.startswith(f"a connection was refused: {scheme} 127.0.0.1:")
    assert ended(process) == ("True", "")


@engines
def test_tls_and_plain_tcp_are_told_from_each_other(configured, processes, keys, server, client):
    process, (plain, encrypted) = configured(
        server, "tcp://127.0.0.1:0", "tls://127.0.0.1:0", secret_file=keys
    )
    swapped = plain.replace("tcp:", "tls:"), encrypted.replace("tls:", "tcp:")
    of_tls, of_plain = called(processes, client, *swapped, secret_file=keys)
    assert of_tls.startswith(
        "UnavailableError connect: the other end closed the connection during the handshake"
    )
    assert "if it does not speak TLS, its address begins with `tcp://`" in of_tls
    assert of_plain.startswith(
        "ProtocolError connect: this is not an Andiron stream; if it speaks TLS, its address begins with `tls://`"
    )
    first, second = logged(process, 2)
    assert first.endswith(": this is not an Andiron stream"), first
    assert "does not speak TLS" in second, second
    assert ended(process) == ("True", "")


@engines
def test_a_secret_that_ended_is_told_to_who_has_it(configured, processes, places, server, client):
    old = secret.Secret.new().text()
    path = write_secret(places / "server", f"{old} name=old until=2020-01-01T00:00:00Z\n{GOOD}")
    process, (where,) = configured(server, "tcp://127.0.0.1:0", secret_file=path)
    (told,) = called(processes, client, where, secret_file=write_secret(places / "client", old))
    assert told.startswith("AuthenticationError")
    assert "the secret named 'old' ran out on 2020-01-01T00:00:00Z" in told
    process.kill()


@engines
def test_rights_behind_a_secret_hold(configured, processes, places, server, client):
    path = write_secret(places / "keys", f"{GOOD} name=reader store=read-only authors=a objects=store,sink")
    _, (where,) = configured(server, "tcp://127.0.0.1:0", secret_file=path)
    code = """
        import sys, andiron
        hub = andiron.connect(sys.argv[1])
        print(sorted(hub), hub["sink"].who().partition(", ")[2])
        for what in (lambda: hub["double"], lambda: hub.store.get("x"), lambda: hub.store.author("a").get("x"), lambda: hub.register("x", print),
                     lambda: hub.store.author("a").update(x=1)):
            try:
                print(what())
            except andiron.Error as error:
                print(type(error).__name__)
    """
    env = {**environment(client), "ANDIRON_SECRET_FILE": write_secret(places / "client", GOOD)}
    out, err = processes.python(code, where, env=env).communicate(timeout=60)
    assert err == ""
    assert out.splitlines() == [
        "['sink', 'store'] secret 'reader'",
        "DeniedError",
        "DeniedError",
        "None",
        "DeniedError",
        "DeniedError",
    ]


@engines
def test_a_man_in_the_middle_of_tls_is_refused(
    configured, processes, listen, keys, certificate, server, client
):
    """He has a certificate of his own, decrypts and passes on what both ends say: the proof is of another certificate."""
    process, (where,) = configured(server, "tls://127.0.0.1:0", secret_file=keys)
    own = os.path.join(os.path.dirname(certificate), "other.pem")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=andiron"
    )
    subprocess.run([*command.split(), "-keyout", own, "-out", own], check=True, capture_output=True)
    door = listen("tls://127.0.0.1:0", secret_file=keys, certificate=own)
    told = []
    calling = threading.Thread(
        target=lambda: told.extend(called(processes, client, door.address, secret_file=keys))
    )
    calling.start()
    channel.wait_at(door.sock, True, False, 30)
    near = door.accept().channel
    far, *_ = connector.connect(where, 10.0, secret_file=keys)
    between(near, far, calling)
    assert told[0].startswith("AuthenticationError")
    process.kill()


def between(one, other, until):
    """Passes on what both ends say."""
    for each in (one, other):
        each.flush()
    waiting = {one: b"", other: b""}
    over = False
    while until.is_alive() and not over:
        for near, far in ((one, other), (other, one)):
            try:
                data = near.recv()[0]
                waiting[far] += data
                over = over or not data
            except BlockingIOError:
                near.flush()
            except Failure:
                over = True
            with contextlib.suppress(BlockingIOError):
                waiting[far] = waiting[far][far.send([waiting[far]]) :] if waiting[far] else b""
        one.wait(True, False, 0.01)
    one.close()
    other.close()
    until.join()


def test_many_who_say_nothing_do_not_keep_others_out(configured, processes, keys, monkeypatch):
    process, (where,) = configured("pure", "tcp://127.0.0.1:0", secret_file=keys)
    host, _, port = where[len("tcp://") :].rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(300)]
    assert called(processes, "pure", where, secret_file=keys)[0] == "42 3000000 499500 tcp"
    for one in silent:
        one.close()
    out, err = ended(process)
    assert out == "True"
    assert len(err.splitlines()) <= 2


def test_a_peer_that_never_says_who_it_is_has_to_go_when_there_are_too_many(places, keys, monkeypatch):
    monkeypatch.setattr(server, "_MOST_GUESTS", 3)
    running = server.serve(["tcp://127.0.0.1:0"], {}, secret_file=keys)
    where = running.addresses()[0].rpartition(":")[2]
    try:
        silent = [socket.create_connection(("127.0.0.1", int(where))) for _ in range(5)]
        while len(running._site._links) + len(running._site._guests) != 6:
            running.turn(0.01)
        for one in silent[:2]:
            assert one.recv(1) == b""
        silent[2].setblocking(False)
        with pytest.raises(BlockingIOError):
            silent[2].recv(1)
    finally:
        running.stop()
    for one in silent:
        one.close()


class Within:
    """Has a connection within this process, whose server serves only while somebody waits."""

    def __init__(self, objects):
        self.running = server.serve(
            [], {name: _engine.Target(call, {"$call": call}, None) for name, call in objects.items()}
        )
        self.connection = self.running.connect()

    def __enter__(self):
        return self.connection

    def __exit__(self, *_):
        self.connection.close()
        assert self.running.stop()


@pytest.fixture
def pure():
    if andiron.engine != "pure":
        pytest.skip("about servers of the pure engine in this process")


def test_who_waits_within_the_process_serves_meanwhile(pure):
    with Within(
        {"double": lambda x: 2 * x, "each": lambda call, count: [call(number) for number in range(count)]}
    ) as connection:
        assert connection.names() == ["double", "each", "store"]
        assert connection.lookup("double").method("$call")(21) == 42
        store = connection.store()
        store.set("x", [1])
        assert store.get("x") == [1]
        # The thread that waits is deep in the server when it is called back.
        assert connection.lookup("each").method("$call")(lambda number: number + 1, 5) == [1, 2, 3, 4, 5]


def test_one_thread_serves_those_that_wait(pure):
    with Within({"double": lambda x: 2 * x}) as connection:
        double = connection.lookup("double").method("$call")
        answers = []
        waiting = [
            threading.Thread(target=lambda: answers.extend(double(number) for number in range(50)))
            for _ in range(4)
        ]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join()
        assert sorted(answers) == sorted(2 * number for number in range(50) for _ in range(4))


def test_a_server_that_stopped_takes_nobody(pure):
    running = server.serve([], {})
    assert running.stop()
    assert running.stop()
    with pytest.raises(andiron.UnavailableError, match="the server has stopped"):
        running.connect()


def test_a_server_that_nobody_has_gives_its_name_back(pure, places):
    running = server.serve(["desk", "tcp://127.0.0.1:0"], {})
    assert len(os.listdir(runtime.folder())) == 3
    del running
    gc.collect()
    assert os.listdir(runtime.folder()) == ["desk.lock"]
    server.serve(["desk"], {}).stop()


def test_another_interpreter_of_the_process_does_not_take_a_name(listen):
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        pytest.skip("no interpreters to begin")
    door = listen("desk")
    code = f"""
import sys
sys.path[:] = {sys.path!r}
from andiron._pure.transport import listener
from andiron._pure.failure import Failure
try:
    listener.listen("desk")
except Failure as failure:
    told = failure.message
else:
    told = "it listens"
with open({os.environ["XDG_RUNTIME_DIR"]!r} + "/told", "w") as file:
    file.write(told)
"""
    isolation = {} if sys.version_info < (3, 9) else {"isolated": False}
    other = interpreters.create(**isolation)
    try:
        interpreters.run_string(other, code)
    finally:
        interpreters.destroy(other)
    with open(os.environ["XDG_RUNTIME_DIR"] + "/told") as file:
        assert file.read().startswith(f"the name desk is taken by process {os.getpid()}:")
    assert not door.tick()
    near, *_ = ends(door, "desk")
    near.close()
