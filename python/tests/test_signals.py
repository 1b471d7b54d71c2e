"""Ctrl-C, in processes of their own."""

import os
import signal

import pytest

import andiron

#: What waits, in a program that has `hub` and `A`, the address.
WAITS = {
    "a call": "hub['hang']()",
    "a method": "hub['player'].wait()",
    "a future": "hub['player'].wait.start().result()",
    "a batch": "with hub.batch():\n    pending = hub['player'].wait.start()\npending.result()",
    "an item of a stream": "next(hub['player'].nothing())",
    "a change": "next(hub.store.watch('nothing'))",
    "a change in a loop": "for change in hub.store.watch('nothing'): pass",
    "run": "hub.run()",
    "run with an object": "hub.register('f', print); hub.run()",
    "poll": "hub.poll(1000)",
    "Server.wait": "andiron.Server({}, [], state=False).wait()",
    "a connection that is waited for": "andiron.connect('nobody', wait=1000)",
    "a name that is waited for": "andiron.connect(A, wait=1000)['nobody']",
    "a loop": "asyncio.run(task())",
    "aio.serve": "asyncio.run(aio.serve({'f': print}, f'unix:{sys.argv[2]}/other', state=False))",
}

#: What offers an object `f`, until Ctrl-C has it come back, and where.
SERVES = {
    "serve": ("andiron.serve({'f': print}, f'unix:{sys.argv[2]}/other', state=False)", "other"),
    "serve beside a server": ("andiron.serve({'f': print}, A)", "socket"),
}

CODE = """
import asyncio, sys, threading
import andiron
from andiron import aio

A = sys.argv[1]
hub = andiron.connect(A)

async def task():
    async with await aio.connect(A) as hub:
        await (await hub["hang"])()

{others}
print("begins", flush=True)
{what}
print("came back")
"""

#: Other threads that wait at the same connection, so that one of them reads.
OTHERS = """
for _ in range(3):
    threading.Thread(target=hub["hang"], daemon=True).start()
while hub["hung"]() < 3:
    pass
"""

SERVER = """
import sys, threading
import andiron

hung = 0

def hang():
    global hung
    hung += 1
    threading.Event().wait()

class Player:
    @andiron.expose
    def wait(self):
        threading.Event().wait()

    @andiron.expose
    def nothing(self):
        threading.Event().wait()
        yield

with andiron.Server({"hang": hang, "hung": lambda: hung, "player": Player()}, sys.argv[1], state=False) as server:
    print("up", flush=True)
    server.wait()
"""


@pytest.fixture
def server(processes, home):
    server = processes.python(SERVER, f"unix:{home}/socket")
    assert server.stdout.readline() == "up\n"
    return server


def interrupted(client):
    """Whether one Ctrl-C ends what it waits for, or is about to wait for."""
    client.send_signal(signal.SIGINT)
    out, err = client.communicate(timeout=60)
    # Where it came very early there is also a coroutine that was never awaited.
    ended = out == "" and "KeyboardInterrupt" in err.splitlines()
    assert ended, (out, err)  # what was said instead
    return ended


@pytest.mark.parametrize("others", ["", OTHERS], ids=["alone", "beside others"])
@pytest.mark.parametrize("what", WAITS)
def test_ctrl_c_ends_a_wait(processes, home, server, what, others):
    client = processes.python(CODE.format(what=WAITS[what], others=others), f"unix:{home}/socket", str(home))
    assert client.stdout.readline() == "begins\n"
    assert interrupted(client)


@pytest.mark.parametrize("others", ["", OTHERS], ids=["alone", "beside others"])
@pytest.mark.parametrize("what", SERVES)
def test_serve_comes_back_at_ctrl_c(processes, home, server, what, others):
    code, socket = SERVES[what]
    client = processes.python(CODE.format(what=code, others=others), f"unix:{home}/socket", str(home))
    with andiron.connect(f"unix:{home}/{socket}", wait=60) as hub:
        assert callable(hub["f"])
        client.send_signal(signal.SIGINT)
        assert client.communicate(timeout=60) == ("begins\ncame back\n", "")


@pytest.mark.parametrize(
    "what", ["hub['hang']", "hub.store['x']", "hub.store.set('x', 1)", "hub.store.watch()", "list(hub)"]
)
def test_ctrl_c_ends_a_wait_for_a_server_that_stands_still(processes, home, server, what):
    client = processes.python(
        CODE.format(what=f"sys.stdin.readline()\n{what}", others=""), f"unix:{home}/socket", str(home)
    )
    assert client.stdout.readline() == "begins\n"
    server.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, server.pid, os.WSTOPPED)  # until each of its threads stands still
    client.stdin.write("\n")
    client.stdin.flush()
    try:
        assert interrupted(client)
    finally:
        server.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("before", [False, True], ids=["first", "later"])
def test_a_time_limit_ends_a_question_to_a_store_that_stands_still(home, server, before):
    with andiron.connect(f"unix:{home}/socket") as hub:
        if before:
            hub.store["x"] = 1
        server.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, server.pid, os.WSTOPPED)
        try:
            for ask in (
                lambda: hub.store.get("y"),
                lambda: hub.store.set("x", 2),
                lambda: list(hub.store),
                lambda: hub.store.watch("x"),
            ):
                with pytest.raises(andiron.DeadlineError), andiron.timeout(0.1):
                    ask()
        finally:
            server.send_signal(signal.SIGCONT)
        hub.store["z"] = 3
        assert hub.store["z"] == 3


def test_a_handler_of_a_signal_that_raises_nothing_lets_a_wait_go_on(processes, home):
    code = """
        import signal, threading
        import andiron
        release = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: (print("heard", flush=True), release.set()))
        hub = andiron.connect(objects={"wait": release.wait})
        print("begins", flush=True)
        print(hub["wait"]())
    """
    client = processes.python(code)
    assert client.stdout.readline() == "begins\n"
    client.send_signal(signal.SIGUSR1)
    assert client.communicate(timeout=60) == ("heard\nTrue\n", "")


def test_a_call_that_ctrl_c_ended_is_cancelled_at_the_other_end_and_the_connection_goes_on(processes, home):
    code = """
        import threading
        import andiron
        began, cancelled = threading.Event(), threading.Event()
        def work():
            call = andiron.caller()
            began.set()
            while not call.cancelled:
                threading.Event().wait(0.01)
            cancelled.set()
        hub = andiron.connect(objects={"work": work, "double": lambda x: 2 * x})
        threading.Thread(target=lambda: (began.wait(), print("begins", flush=True))).start()
        try:
            hub["work"]()
        except KeyboardInterrupt:
            cancelled.wait()
            print(hub["double"](4))
    """
    client = processes.python(code)
    assert client.stdout.readline() == "begins\n"
    client.send_signal(signal.SIGINT)
    assert client.communicate(timeout=60) == ("8\n", "")


#: Runs callbacks, and hurts nobody when one of them fails.
CAREFUL = """
import contextlib, sys
import andiron

def each(call):
    for number in range(1000):
        with contextlib.suppress(Exception):
            call(number)
    return "finished"

with andiron.Server({"each": each}, sys.argv[1], state=False) as server:
    print("up", flush=True)
    server.wait()
"""


@pytest.mark.parametrize("how", ["each(tell)", "each.__call__.start(tell).result()"])
def test_ctrl_c_in_a_callback_is_that_of_its_own_process(processes, home, how):
    server = processes.python(CAREFUL, f"unix:{home}/socket")
    assert server.stdout.readline() == "up\n"
    code = f"""
        import sys, time
        import andiron

        def tell(number):
            if number == 0:
                print("begins", flush=True)
            time.sleep(0.01)

        each = andiron.connect(sys.argv[1])["each"]
        {how}
        print("came back")
    """
    client = processes.python(code, f"unix:{home}/socket")
    assert client.stdout.readline() == "begins\n"
    assert interrupted(client)
