"""Programs of Pyro, and what they call."""

import copy
import functools
import gc
import logging
import pickle
import re
import threading
import uuid

import pytest

import andiron
import andiron.compat.pyro as Pyro5
import pyro_parts
from andiron.compat.pyro import errors
from conftest import ROOT
from pyro_parts import Radio, Track, proxy_of

pyro_settings, loops, daemon, threaded, hooks = pyro_parts.FIXTURES


# Calls.


def test_what_is_exposed_is_called(daemon):
    with proxy_of(daemon, Radio()) as radio:
        assert radio.tune(96.5) == "96.5 MHz"
        assert radio.tune(1, unit="kHz") == "1 kHz"
        assert (radio.double(2), radio.half(2), radio.called()) == (4, 1.0, "Radio")
        assert radio._pyroMethods >= {"tune", "hear", "__len__", "__call__"}
        assert radio._pyroAttrs == {"volume"}
        assert radio._pyroOneway == {"hear"}


def test_what_is_not_exposed_is_not_called(daemon):
    radio = proxy_of(daemon, Radio())
    for name in (
        "explode",
        "plain",
        "stations",
        "_volume",
        "nothing",
        "__init__",
        "__dict__",
        "__class_getitem__",
    ):
        with pytest.raises(AttributeError):
            radio._pyroInvoke(name, (), {})
    for name in ("explode", "plain", "stations", "nothing"):
        assert not hasattr(radio, name)
    with pytest.raises(
        AttributeError, match=r"remote object 'PYRO:.*' has no exposed attribute or method 'explode'"
    ):
        radio.explode()
    with pytest.raises(AttributeError):
        radio._pyroInvoke("tune.__func__", (), {})
    radio._pyroRelease()


def test_attributes_are_read_and_set(daemon):
    radio = proxy_of(daemon, Radio())
    radio.volume += 1
    assert radio.volume == 6
    with pytest.raises(AttributeError):
        radio.plain = 2
    with pytest.raises(AttributeError):
        radio._pyroInvoke("__setattr__", ("tune", 2), None)
    assert {"tune", "volume", "_pyroBind"} <= set(dir(radio))


def test_what_makes_a_container_is_called(daemon):
    radio = proxy_of(daemon, Radio())
    assert (len(radio), radio[1], list(radio), "two" in radio, radio(1)) == (
        3,
        "two",
        ["one", "two", "three"],
        True,
        2,
    )
    with pytest.raises(IndexError):
        radio[3]
    with pytest.raises(AttributeError):
        del radio[0]
    assert bool(radio)


@Pyro5.expose
class Shelf:
    def __init__(self):
        self.books = {}

    def __setitem__(self, name, book):
        self.books[name] = book

    def __getitem__(self, name):
        return self.books[name]

    def __delitem__(self, name):
        del self.books[name]

    def __iter__(self):
        return iter(self.books)

    def __contains__(self, name):
        return name in self.books

    def __len__(self):
        return len(self.books)


def test_a_marked_class_shows_all_of_it(daemon):
    with proxy_of(daemon, Shelf()) as shelf:
        shelf["a"] = (1, {2})
        shelf["b"] = b"x"
        assert shelf["a"] == (1, {2})
        del shelf["a"]
        assert (list(shelf), "a" in shelf, "b" in shelf, len(shelf)) == (["b"], False, True, 1)


def test_a_marked_class_shows_no_more_than_it_defines():
    class Base:
        def inherited(self):
            pass

    @Pyro5.expose
    class Own(Base):
        def own(self):
            pass

        @functools.lru_cache(maxsize=None)  # noqa: B019 - as programs have it
        def kept(self):
            pass

        def _hidden(self):
            pass

    class Below(Own):
        def added(self):
            pass

    with Pyro5.Daemon() as daemon, proxy_of(daemon, Below()) as below:
        below._pyroBind()
        assert below._pyroMethods == {"own", "kept"}


def test_what_makes_and_ends_an_object_is_never_called():
    @Pyro5.expose
    class Held:
        def __init__(self):
            self.calls = []

        def __enter__(self):
            self.calls.append("enter")

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

        def __reduce__(self):
            return "x"

        def __reversed__(self):
            return reversed([1, 2])

    with Pyro5.Daemon() as daemon, proxy_of(daemon, Held()) as held:
        held._pyroBind()
        assert held._pyroMethods == {"__reversed__"}
        for name in ("__init__", "__enter__", "__eq__", "__reduce__"):
            with pytest.raises(AttributeError, match="unexposed or unknown"):
                held._pyroInvoke(name, (), {})


def test_without_the_rule_all_that_is_public_is_called():
    Pyro5.config.REQUIRE_EXPOSE = False
    with Pyro5.Daemon() as daemon, proxy_of(daemon, Radio()) as radio:
        assert radio.explode() is None
        with pytest.raises(AttributeError):
            radio._pyroInvoke("_volume", (), {})


def test_names_that_are_private_are_refused_where_they_are_marked():
    with pytest.raises(AttributeError, match="never are"):

        @Pyro5.expose
        def _hidden(self):
            pass

    with pytest.raises(ValueError, match="no instance mode 'once'"):
        Pyro5.behavior(instance_mode="once")
    with pytest.raises(SyntaxError):
        Pyro5.behavior(Radio)
    with pytest.raises(TypeError):
        Pyro5.behavior()(len)


def test_one_way_calls_are_not_waited_for_and_their_errors_are_told(threaded, caplog):
    failed = []
    done = threading.Event()

    def handle(daemon, address, method, args, kwargs, error):
        failed.append((daemon is threaded, method.__name__, args, kwargs, type(error)))
        done.set()

    threaded.methodcall_error_handler = handle
    radio = proxy_of(threaded, Radio())
    assert radio.hear("a") is None
    assert radio.hear("fail") is None
    assert done.wait(60)
    assert failed == [(True, "hear", ("fail",), {}, ValueError)]
    assert sorted(radio.told()) == ["a", "fail"]  # they overlap


def test_callbacks_log_what_they_raise(threaded, caplog):
    class Called:
        @Pyro5.expose
        @Pyro5.callback
        def back(self):
            raise ValueError("here too")

    with pytest.raises(ValueError, match="here too"), caplog.at_level(logging.WARNING, "andiron"):
        proxy_of(threaded, Called()).back()
    assert any("`back`" in record.getMessage() for record in caplog.records)


def test_a_proxy_is_for_any_thread(daemon):
    radio = proxy_of(daemon, Radio())
    radio._pyroClaimOwnership()
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(radio.double(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [2 * n for n in range(8)]


# Proxies.


def test_a_proxy_connects_when_it_is_used():
    proxy = Pyro5.Proxy("PYRO:nobody@localhost:1")
    assert proxy._pyroConnection is None
    assert "not connected" in repr(proxy)
    with pytest.raises(errors.CommunicationError, match="localhost:1"):
        proxy._pyroBind()
    with pytest.raises(TypeError):
        Pyro5.Proxy(5)
    with pytest.raises(errors.PyroError):
        Pyro5.Proxy("nothing")


def test_a_proxy_is_bound_and_released(daemon):
    radio = proxy_of(daemon, Radio())
    assert radio._pyroBind() is True
    assert radio._pyroBind() is False
    assert radio._pyroConnection is not None
    radio._pyroRelease()
    assert radio._pyroConnection is None
    assert radio.double(1) == 2
    radio._pyroRelease()
    radio._pyroReconnect(tries=1)
    assert radio._pyroConnection is not None


def test_proxies_are_equal_by_their_address_and_are_copied(daemon):
    radio = proxy_of(daemon, Radio(), "radio")
    radio._pyroTimeout = 7
    radio._pyroHandshake = "me"
    for other in (copy.copy(radio), copy.deepcopy(radio), pickle.loads(pickle.dumps(radio))):
        assert other == radio
        assert hash(other) == hash(radio)
        assert (other._pyroTimeout, other._pyroHandshake) == (7, "me")
        assert other._pyroConnection is None
        assert other.double(1) == 2
    assert radio != Pyro5.Proxy("PYRO:other@localhost:1")
    assert radio != "radio"


def test_the_address_is_an_object(daemon):
    uri = daemon.register(Radio(), "radio")
    assert isinstance(uri, Pyro5.URI)
    assert str(uri) == f"PYRO:radio@{daemon.locationStr}"
    assert Pyro5.Proxy(str(uri))._pyroUri == uri == Pyro5.URI(uri)
    assert daemon.uriFor("radio") == uri
    assert daemon.proxyFor("radio") == Pyro5.Proxy(uri)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("PYRO:a@host:1", ("PYRO", "a", "host", 1, None, "host:1")),
        ("pyro:a.b-c@[::1]:1", ("PYRO", "a.b-c", "::1", 1, None, "[::1]:1")),
        ("PYRO:a@./u:/tmp/x y", ("PYRO", "a", None, None, "/tmp/x y", "./u:/tmp/x y")),
        ("PYRONAME:a", ("PYRONAME", "a", None, None, None, None)),
        ("PYRONAME:a@host", ("PYRONAME", "a", "host", 9090, None, "host:9090")),
        ("PYROMETA:x, y@host:7".replace(" ", ""), ("PYROMETA", {"x", "y"}, "host", 7, None, "host:7")),
    ],
)
def test_addresses_are_read(text, parts):
    uri = Pyro5.URI(text)
    assert (uri.protocol, uri.object, uri.host, uri.port, uri.sockname, uri.location) == parts
    assert Pyro5.URI(str(uri)) == uri
    assert hash(Pyro5.URI(str(uri))) == hash(uri)
    assert pickle.loads(pickle.dumps(uri)) == copy.copy(uri) == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PYRO:",
        "PYRO:a",
        "PYRO:a@host",
        "PYRO:a@[[::1]]:1",
        "PYRO:a b@host:1",
        "HTTP:a@host:1",
        "PYRO:a@host:x",
        "PYRO:a@./u:",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(errors.PyroError, match="invalid"):
        Pyro5.URI(text)


def test_an_address_of_nobody_is_refused(daemon):
    proxy = Pyro5.Proxy(f"PYRO:nobody@{daemon.locationStr}")
    with pytest.raises(errors.CommunicationError, match="rejected: unknown object"):
        proxy._pyroBind()
    with pytest.raises(errors.DaemonError, match="isn't registered"):
        daemon.uriFor(Radio())


def test_objects_are_registered_by_one_name_each(daemon):
    radio = Radio()
    uri = daemon.register(radio)
    assert uri.object.startswith("obj_")
    assert len(uri.object) == 36
    assert (radio._pyroId, radio._pyroDaemon) == (uri.object, daemon)
    assert daemon.objectsById[uri.object] is radio
    with pytest.raises(errors.DaemonError, match="already has a Pyro id"):
        daemon.register(radio)
    with pytest.raises(errors.DaemonError, match="already registered"):
        daemon.register(Radio(), uri.object)
    other = daemon.register(radio, "radio", force=True)
    with Pyro5.Proxy(other) as proxy:
        assert proxy.double(1) == 2
        daemon.unregister(radio)
        daemon.unregister("radio")
        with pytest.raises(errors.DaemonError, match="unknown object"):
            proxy.double(1)
    assert not hasattr(radio, "_pyroId")
    assert "radio" not in daemon.objectsById
    daemon.register(radio, "radio")


def test_an_object_that_is_not_kept_is_gone_with_its_last_user(daemon):
    radio = Radio()
    uri = daemon.register(radio, "radio", weak=True)
    assert Pyro5.Proxy(uri).double(1) == 2
    del radio
    gc.collect()
    assert "radio" not in daemon.objectsById
    with pytest.raises(errors.CommunicationError, match="unknown object"):
        Pyro5.Proxy(uri)._pyroBind()


def test_the_daemon_has_an_object_of_its_own(daemon):
    daemon.register(Radio(), "radio")
    with Pyro5.Proxy(f"PYRO:Pyro.Daemon@{daemon.locationStr}") as own:
        assert own.registered() == ["Pyro.Daemon", "radio"]
        assert own.ping() is None
        assert daemon.locationStr in own.info()
        assert own.get_metadata("radio")["attrs"] == {"volume"}
    with Pyro5.Proxy(f"PYRO:radio@{daemon.locationStr}") as radio:
        assert radio._pyroInvoke("registered", (), {}, objectId="Pyro.Daemon") == ["Pyro.Daemon", "radio"]
        radio._pyroGetMetadata()
        assert radio._pyroAttrs == {"volume"}


# Instances.


class Counter:
    made = 0

    def __init__(self):
        type(self).made += 1
        self.number = 0

    def __len__(self):
        return 0  # so an instance is false

    @Pyro5.expose
    def step(self):
        self.number += 1
        return self.number


def counted(daemon, mode, creator=None):
    cls = type("Counting", (Counter,), {"made": 0})
    uri = daemon.register(Pyro5.behavior(mode, creator)(cls))
    steps = []
    for _ in range(2):
        with Pyro5.Proxy(uri) as counter:
            steps += [counter.step(), counter.step()]
    return steps, cls.made


def test_instances_are_made_as_their_class_says(daemon):
    assert counted(daemon, "session") == ([1, 2, 1, 2], 2)
    assert counted(daemon, "single") == ([1, 2, 3, 4], 1)
    assert counted(daemon, "percall") == ([1, 1, 1, 1], 4)
    assert counted(daemon, "session", lambda cls: cls()) == ([1, 2, 1, 2], 2)
    with pytest.raises(TypeError, match="instance creator returned"):
        counted(daemon, "single", lambda cls: 5)


def test_a_class_that_says_nothing_has_an_instance_for_each_connection(daemon):
    cls = type("Plain", (Counter,), {"made": 0})
    uri = daemon.register(cls, "plain")
    assert [Pyro5.Proxy(uri).step() for _ in range(2)] == [1, 1]
    assert cls._pyroId == "plain"


# Values.


def test_values_arrive_as_what_they_are(daemon):
    class Echo:
        @Pyro5.expose
        def echo(self, value):
            return value

    echo = proxy_of(daemon, Echo()).echo
    for value in (
        set(),
        b"ab",
        (1, [2]),
        {1: "a"},
        {"__class__": "x"},
        1j,
        uuid.UUID(int=1),
        2**70,
        float("inf"),
    ):
        assert echo(value) == value
        assert type(echo(value)) is type(value)


def test_registered_objects_go_as_proxies(daemon):
    class Factory:
        def __init__(self):
            self.made = Radio()

        @Pyro5.expose
        def radio(self):
            if not hasattr(self.made, "_pyroDaemon"):
                self._pyroDaemon.register(self.made)
            return self.made

        @Pyro5.expose
        def same(self, other):
            return other == Pyro5.Proxy(self._pyroDaemon.uriFor(self.made))

    factory = proxy_of(daemon, Factory())
    for serializer in ("serpent", "marshal", "json"):
        Pyro5.config.SERIALIZER = serializer
        radio = factory.radio()
        assert isinstance(radio, Pyro5.Proxy)
        assert radio.double(4) == 8
        assert factory.same(radio)
    Pyro5.config.AUTOPROXY = False
    with pytest.raises(errors.PyroError):
        factory.radio()


def test_objects_of_a_client_are_called_back(daemon, loops):
    class Listener:
        def __init__(self):
            self.heard = []

        @Pyro5.expose
        @Pyro5.callback
        def hear(self, word):
            self.heard.append(word)

    class Speaker:
        @Pyro5.expose
        def speak(self, listener, function):
            listener.hear("hello")
            return function(1)

    listener = Listener()
    own = loops(Pyro5.Daemon())
    own.register(listener)
    assert proxy_of(daemon, Speaker()).speak(listener, lambda x: x + 1) == 2
    assert listener.heard == ["hello"]


def test_a_timeout_below_nothing_is_refused(daemon):
    radio = proxy_of(daemon, Radio())
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="_pyroTimeout"):
            radio._pyroTimeout = seconds
    assert radio._pyroTimeout is None
    assert radio.double(1) == 2


def test_classes_travel_as_their_hooks_say(daemon, hooks):
    class Echo:
        @Pyro5.expose
        def echo(self, value):
            return value

    echo = proxy_of(daemon, Echo())
    with pytest.raises(errors.SerializeError, match="Track is no value that travels"):
        echo.echo(Track("Embers"))
    hooks.register_class_to_dict(Track, lambda track: {"__class__": "Track", "title": track.title})
    assert echo.echo(Track("Embers")) == andiron.Record("Track", {"title": "Embers"})
    seen = []
    hooks.register_dict_to_class(
        "Track", lambda name, fields: seen.append((name, fields)) or Track(fields["title"])
    )
    assert echo.echo([Track("Embers")]) == [Track("Embers")]
    assert seen[0] == ("Track", {"__class__": "Track", "title": "Embers"})


def test_a_blob_is_read_by_who_wants_it(daemon):
    class Relay:
        @Pyro5.expose
        def pass_on(self, blob):
            assert isinstance(blob._data, bytes)
            return blob.info, blob.deserialized()

        @Pyro5.expose
        def said(self):
            return Pyro5.current_context.annotations

    relay = proxy_of(daemon, Relay())
    assert relay.pass_on(Pyro5.SerializedBlob("topic", {"a": (1, 2)})) == ("topic", {"a": (1, 2)})
    assert relay.said() == {}


def test_the_examples_of_the_page_run():
    page = ROOT / "docs" / "moving" / "pyro.md"
    text = page.read_text()
    names = {"__name__": "page"}
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        lines = text[: block.start(1)].count("\n")
        exec(compile("\n" * lines + block[1], str(page), "exec"), names)


def test_the_page_tells_of_every_setting():
    text = (ROOT / "docs" / "moving" / "pyro.md").read_text()
    told = {name for row in re.findall(r"`([A-Z_]+)(?: = [^`]*)?`", text) for name in [row]}
    missing = {name for name in Pyro5.config.as_dict() if name not in told and not name.startswith("SSL_")}
    assert missing == set()
