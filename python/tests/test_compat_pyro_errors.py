"""Errors of programs of Pyro: what they are, and where they were raised."""

import threading
import time

import pytest

import andiron
import andiron.compat.pyro as Pyro5
import pyro_parts
from andiron.compat.pyro import errors
from conftest import free_port
from peer import eventually
from pyro_parts import Radio, TrackError, proxy_of

pyro_settings, loops, daemon, threaded, hooks = pyro_parts.FIXTURES


# Errors.


def test_errors_arrive_as_what_they_are_with_where_they_were_raised(daemon):
    radio = proxy_of(daemon, Radio())
    error = KeyError("x")
    error.code = 42
    with pytest.raises(KeyError) as caught:
        radio.fail(error)
    assert (caught.value.args, caught.value.code) == (("x",), 42)
    assert any("in fail" in line for line in caught.value._pyroTraceback)
    lines = "".join(errors.get_pyro_traceback(caught.type, caught.value, caught.tb))
    assert "in test_errors_arrive" in lines
    assert "Remote traceback:" in lines
    assert "in fail" in lines
    assert Pyro5.util.getPyroTraceback(caught.value) == errors.get_pyro_traceback(caught.value)
    with pytest.raises(errors.NamingError, match="no such name"):
        radio.fail(errors.NamingError("no such name"))
    with pytest.raises(TypeError):
        radio.tune()


def test_errors_of_classes_that_are_not_known_say_which(daemon, hooks):
    class Failing:
        @Pyro5.expose
        def fail(self):
            raise TrackError("Embers", 7)

    failing = proxy_of(daemon, Failing())
    with pytest.raises(errors.RemoteError, match="TrackError") as caught:
        failing.fail()
    assert isinstance(caught.value, errors.PyroError)
    assert (caught.value.remote_args, caught.value.code) == (("Embers", 7), 7)
    name = caught.value.type_name
    hooks.register_dict_to_class(name, lambda _, fields: TrackError(*fields["args"]))
    with pytest.raises(TrackError) as caught:
        failing.fail()
    assert caught.value.code == 7
    assert any("in fail" in line for line in caught.value._pyroTraceback)
    hooks.unregister_dict_to_class(name)
    hooks.register_class_to_dict(TrackError, lambda error: {"__class__": "TrackError", "code": error.code})
    hooks.register_dict_to_class("TrackError", lambda _, fields: TrackError("?", fields["code"]))
    with pytest.raises(TrackError) as caught:
        failing.fail()
    assert caught.value.args == ("?", 7)
    assert any("in fail" in line for line in caught.value._pyroTraceback)


def test_the_excepthook_prints_both_tracebacks(threaded, capsys):
    with pytest.raises(ValueError, match="told") as caught:
        proxy_of(threaded, Radio()).fail(ValueError("told"))
    errors.excepthook(caught.type, caught.value, caught.tb)
    assert "Remote traceback:" in capsys.readouterr().err


def test_the_errors_are_a_family():
    for below, above in [
        (errors.CommunicationError, errors.PyroError),
        (errors.ConnectionClosedError, errors.CommunicationError),
        (errors.TimeoutError, errors.CommunicationError),
        (errors.ProtocolError, errors.CommunicationError),
        (errors.MessageTooLargeError, errors.ProtocolError),
        (errors.SerializeError, errors.ProtocolError),
        (errors.NamingError, errors.PyroError),
        (errors.DaemonError, errors.PyroError),
        (errors.SecurityError, errors.PyroError),
    ]:
        assert issubclass(below, above)


def test_a_method_that_exits_ends_nothing_but_itself(daemon):
    radio = proxy_of(daemon, Radio())
    for _ in range(3):
        with pytest.raises(errors.RemoteError, match="SystemExit"):
            radio.leave()
    assert radio.double(1) == 2
    assert Pyro5.Proxy(radio._pyroUri).double(1) == 2


def test_what_would_mean_something_else_to_the_caller_is_an_error_of_the_other_end(threaded):
    class Ending:
        @Pyro5.expose
        def next(self):
            raise StopIteration(5)

    with pytest.raises(errors.RemoteError) as raised:
        proxy_of(threaded, Ending()).next()
    assert (raised.value.type_name, raised.value.remote_args) == ("StopIteration", (5,))


def test_a_call_that_takes_too_long_is_made_once_and_is_told_to_end(threaded):
    ran = []
    told, release = threading.Event(), threading.Event()

    class Slow:
        @Pyro5.expose
        def wait(self, attempt):
            ran.append(attempt)
            if eventually(lambda: andiron.caller().cancelled):
                told.set()
            release.wait(60)  # it may know that before its caller does

    slow = proxy_of(threaded, Slow())
    slow._pyroBind()
    slow._pyroMaxRetries = 3
    attempt = 0
    while attempt not in ran:  # until its time is long enough for it to begin, however busy this machine is
        attempt += 1
        slow._pyroTimeout = 0.02 * 2**attempt
        with pytest.raises(errors.TimeoutError):
            slow.wait(attempt)
    assert told.wait(60)
    release.set()
    assert ran.count(attempt) == 1


def test_a_server_that_is_gone_is_told_and_found_again(loops):
    daemon = loops(Pyro5.Daemon(port=free_port()))
    uri = daemon.register(Radio(), "radio")
    radio = Pyro5.Proxy(uri)
    assert radio.double(1) == 2
    daemon.shutdown()
    with pytest.raises(errors.CommunicationError):
        radio.double(1)
    with pytest.raises(errors.ConnectionClosedError, match="failed to reconnect"):
        radio._pyroReconnect(tries=1)
    again = loops(Pyro5.Daemon(port=uri.port))
    again.register(Radio(), "radio")
    radio._pyroReconnect()
    assert radio.double(1) == 2
    assert radio._pyroUri == uri


def test_who_has_left_is_told_as_a_connection_that_was_closed(loops):
    daemon = loops(Pyro5.Daemon())
    listener = Pyro5.Proxy(daemon.register(Radio(), "listener"))
    assert listener.double(1) == 2
    listener._pyroOneway = {"double"}
    daemon.shutdown()

    def tell():  # of a one-way call it is known from a later one on
        for _ in range(1000):
            listener.double(1)
            time.sleep(0.01)

    with pytest.raises(errors.ConnectionClosedError):
        tell()
    with pytest.raises(errors.CommunicationError) as caught:
        listener.double(1)
    assert (
        type(caught.value) is errors.CommunicationError
    )  # nothing is connected now that could have been closed


def test_a_call_that_cannot_have_run_is_made_again(loops):
    daemon = loops(Pyro5.Daemon(port=free_port()))
    uri = daemon.register(Radio(), "radio")
    radio = Pyro5.Proxy(uri)
    radio._pyroMaxRetries = 1
    radio._pyroBind()
    daemon.shutdown()
    again = loops(Pyro5.Daemon(port=uri.port))
    again.register(Radio(), "radio")
    assert radio.double(1) == 2


def test_what_a_method_could_not_reach_is_told_once(threaded):
    ran = []

    class Asking:
        @Pyro5.expose
        def ask(self):
            ran.append(1)
            raise andiron.UnavailableError("nobody is there")

    asking = proxy_of(threaded, Asking())
    asking._pyroMaxRetries = 3
    with pytest.raises(errors.CommunicationError, match="nobody is there"):
        asking.ask()
    assert ran == [1]


def test_a_port_that_is_taken_is_an_error_at_once(threaded):
    with pytest.raises(OSError, match="Address already in use"):
        Pyro5.Daemon(port=int(threaded.locationStr.rpartition(":")[2]))


def test_a_password_is_refused_where_it_is_given(threaded):
    for which in (Pyro5.Proxy("PYRO:a@localhost:1"), threaded):
        assert which._pyroHmacKey is None
        which._pyroHmacKey = None
        with pytest.raises(NotImplementedError, match="andiron secret new"):
            which._pyroHmacKey = b"key"
