"""What went wrong with Pyro does not come back, and what a daemon has to bear."""

import os
import select
import signal
import socket
import threading

import pytest

import andiron.compat.pyro as Pyro5
import pyro_parts
from andiron.compat.pyro import errors
from conftest import free_port
from pyro_parts import Radio, proxy_of

pyro_settings, loops, daemon, threaded, hooks = pyro_parts.FIXTURES


# What must not come back.


def test_connections_take_no_threads(loops):
    Pyro5.config.THREADPOOL_SIZE = 2
    daemon = loops(Pyro5.Daemon())
    uri = daemon.register(Radio(), "radio")
    proxies = [Pyro5.Proxy(uri) for _ in range(6)]
    with socket.create_connection(("127.0.0.1", uri.port)):  # which says nothing
        assert [proxy.double(1) for proxy in proxies] == [2] * 6
        assert [proxy.double(2) for proxy in proxies] == [4] * 6


def test_methods_run_at_once(threaded):
    both = threading.Barrier(2, timeout=60)

    class Meeting:
        @Pyro5.expose
        def meet(self):
            return both.wait() in (0, 1)

    meeting = proxy_of(threaded, Meeting())
    pending = meeting._pyroStart("meet", (), {})
    with Pyro5.Proxy(meeting._pyroUri) as other:
        assert other.meet()
    assert pending.result(30)


def test_a_part_of_a_message_holds_up_nobody(daemon):
    uri = daemon.register(Radio(), "radio")
    with socket.create_connection(("127.0.0.1", uri.port)) as stranger:
        stranger.sendall(b"PYRO\x01\xf6")
        assert Pyro5.Proxy(uri).double(1) == 2


def test_what_others_return_stays_what_it_is(daemon):
    class Same:
        @Pyro5.expose
        def me(self):
            return self

    same = Same()
    proxy = proxy_of(daemon, same)
    for serializer in ("marshal", "json", "serpent"):
        Pyro5.config.SERIALIZER = serializer
        with Pyro5.Proxy(proxy._pyroUri) as other:
            assert other.me() == proxy
        assert same._pyroDaemon is daemon


def test_a_batch_keeps_what_its_errors_have(daemon):
    radio = proxy_of(daemon, Radio())
    error = ValueError("no")
    error.code = 42
    calls = [("double", (1,), {}), ("fail", (error,), {}), ("double", (2,), {})]
    results, raised = radio._pyroInvokeBatch(calls)
    assert results == [2]
    assert (type(raised), raised.args, raised.code) == (ValueError, ("no",), 42)
    assert any("in fail" in line for line in raised._pyroTraceback)
    assert radio._pyroInvokeBatch(calls[:1], oneway=True) == ([], None)


def test_a_call_is_begun_and_waited_for_later(daemon):
    radio = proxy_of(daemon, Radio())
    pending = radio._pyroStart("double", (4,), {})
    assert pending.result(30) == 8
    assert pending.done()
    with pytest.raises(KeyError):
        radio._pyroStart("fail", (KeyError("x"),), {}).result(30)


def test_one_of_two_daemons_with_one_loop_ends_by_itself(loops):
    Pyro5.config.SERVERTYPE = "multiplex"
    daemon, other, third = Pyro5.Daemon(), Pyro5.Daemon(), Pyro5.Daemon()
    other.combine(third)
    daemon.combine(other)
    loops(daemon)
    radio, gone, last = proxy_of(daemon, Radio()), proxy_of(other, Radio()), proxy_of(third, Radio())
    assert [proxy.double(1) for proxy in (radio, gone, last)] == [2, 2, 2]
    other.close()
    with pytest.raises(errors.CommunicationError):
        gone.double(1)
    assert [proxy.double(2) for proxy in (radio, last)] == [4, 4]
    third.close()


def test_what_waits_for_a_loop_is_refused_at_its_end():
    Pyro5.config.SERVERTYPE = "multiplex"
    going = [True]
    daemon = Pyro5.Daemon()
    radio = proxy_of(daemon, Radio())
    loop = threading.Thread(target=daemon.requestLoop, args=(lambda: going,))
    loop.start()
    radio._pyroBind()
    going.clear()
    daemon._loop.wake()
    loop.join(60)
    pending = radio._pyroStart("double", (1,), {})
    assert select.select(daemon.sockets, [], [], 60)[0]  # it has come, and nobody runs it
    daemon.close()
    with pytest.raises(errors.CommunicationError, match="closing"):
        pending.result(30)


def test_a_connection_may_be_ended_by_its_method(threaded):
    class Ending:
        @Pyro5.expose
        def end(self):
            Pyro5.current_context.client.close()

    ending = proxy_of(threaded, Ending())
    with pytest.raises(errors.CommunicationError):
        ending.end()
    assert ending._pyroConnection is None
    ending._pyroBind()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_a_connection_of_its_own(processes):
    program = processes.python(
        """
        import os
        import andiron.compat.pyro as Pyro5

        class Knower:
            @Pyro5.expose
            def who(self):
                return Pyro5.current_context.client_sock_addr

        with Pyro5.Daemon() as daemon, Pyro5.Proxy(daemon.register(Knower())) as knower:
            mine = knower.who()
            child = os.fork()
            if child == 0:
                os._exit(0 if knower.who() != mine else 1)
            print(os.waitpid(child, 0)[1], knower.who() == mine)
        """,
        flags=("-W", "ignore::DeprecationWarning"),  # of Python 3.12 and later, that there are threads
    )
    assert program.communicate(timeout=60) == ("0 True\n", "")


@pytest.mark.skipif(not hasattr(select, "poll"), reason="nobody tells of an end here")
def test_the_first_call_behind_a_crash_of_the_daemon_reaches_the_next_one(processes):
    program = """
        import os, sys
        import andiron.compat.pyro as Pyro5

        class Who:
            @Pyro5.expose
            def pid(self):
                return os.getpid()

        with Pyro5.Daemon(port=int(sys.argv[1])) as daemon:
            print(daemon.register(Who(), "who"), flush=True)
            daemon.requestLoop()
    """
    port = free_port()
    who = Pyro5.Proxy(f"PYRO:who@localhost:{port}")
    for _ in range(3):
        daemon = processes.python(program, str(port))
        assert daemon.stdout.readline().startswith("PYRO:who@"), daemon.stderr.read()
        assert who.pid() == daemon.pid
        daemon.kill()
        daemon.communicate()


def test_a_program_ends_by_ctrl_c(processes):
    server = processes.python(
        """
        import andiron.compat.pyro as Pyro5

        class Radio:
            @Pyro5.expose
            def tune(self, frequency):
                return frequency

        try:
            with Pyro5.Daemon() as daemon:
                print(daemon.register(Radio()), flush=True)
                daemon.requestLoop()
        except KeyboardInterrupt:
            print("ended", flush=True)
        """
    )
    with Pyro5.Proxy(server.stdout.readline().strip()) as radio:
        assert radio.tune(1) == 1
        server.send_signal(signal.SIGINT)
        said, failed = server.communicate(timeout=60)
        assert (said, failed) == ("ended\n", "")
