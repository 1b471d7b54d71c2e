"""The other end of the tests between languages, as `examples/src/bin/peer.rs` is: an object, and who calls one that any language may have written."""

import sys
import threading

import andiron


@andiron.expose
class Ear:
    def hear(self, number: int) -> int:
        return 2 * number


@andiron.expose
class Peer:
    """What both ends have to be able to do."""

    def __init__(self):
        self._noted = []
        self._kept = None
        self._waiting = 0
        self._given_up = threading.Event()

    def add(self, a: int, b: "int | None" = None) -> int:
        return a + (1 if b is None else b)

    def fail(self, message: str):
        raise andiron.RemoteError(message)

    def count(self, up_to: int):
        yield from range(up_to)

    def total(self, numbers) -> int:
        return sum(numbers)

    def double(self, numbers):
        return (2 * number for number in numbers)

    def tell(self, ear, times: int):
        return [ear.hear(number) for number in range(times)]

    def call(self, function, number: int) -> int:
        return function(number)

    def note(self, word: str):
        self._noted.append(word)

    def noted(self):
        return self._noted

    def keep(self, thing):
        self._kept = thing

    def kept(self):
        return self._kept

    def wait(self):
        self._waiting += 1
        caller = andiron.caller()
        while not caller.cancelled:
            self._given_up.wait(0.001)
        self._given_up.set()
        raise andiron.CancelledError("given up")

    def waiting(self) -> int:
        return self._waiting

    def given_up(self) -> bool:
        given_up = self._given_up.is_set()
        self._given_up.clear()
        return given_up

    def time_left(self):
        return andiron.caller().time_left

    def said(self, name: str):
        return andiron.caller().annotations.get(name)

    def length(self, data) -> int:
        return len(data)

    def zeros(self, length: int):
        return bytearray(length)


def eventually(true):
    pause = threading.Event()
    return any(true() or pause.wait(0.001) for _ in range(60_000))


def kind_of(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except andiron.Error as error:
        return error.kind, error.message
    return None, None


def calls(peer):
    assert peer.add(1, 2) == 3
    assert peer.add(1) == 2
    assert peer.add(b=3, a=4) == 7


def errors(peer):
    assert kind_of(peer.fail, "no") == ("application", "no")
    assert kind_of(peer.add, 1, 2, 3)[0] == "bad arguments"
    assert kind_of(peer.add, c=1)[0] == "bad arguments"
    assert kind_of(lambda: peer.fale())[0] == "no method"


def streams_from_it(peer):
    assert list(peer.count(1000)) == list(range(1000))
    with peer.count(10**9) as numbers:
        assert next(numbers) == 0


def streams_to_it(peer):
    assert peer.total(iter(range(1000))) == 499_500


def streams_both_ways(peer):
    assert list(peer.double(iter(range(1000)))) == list(range(0, 2000, 2))


def callbacks(peer):
    assert peer.tell(Ear(), 3) == [0, 2, 4]
    assert peer.call(lambda number: number + 1, 4) == 5


def one_way_calls(peer):
    peer.note.notify("a")
    assert eventually(lambda: "a" in peer.noted())


def references(peer):
    own = Ear()
    peer.keep(own)
    assert peer.kept() is own
    peer.keep(peer)
    assert peer.kept() == peer
    peer.keep(None)
    assert peer.kept() is None


def cancelling(peer):
    before = peer.waiting()
    call = peer.wait.start()
    assert eventually(lambda: peer.waiting() > before)
    assert call.cancel()
    assert eventually(peer.given_up)


def deadlines(peer):
    with andiron.timeout(60):
        assert 0 < peer.time_left() <= 60
    wait, before, seconds = peer.wait, peer.waiting(), 0.02
    while peer.waiting() == before:  # a call whose time was over before it was there is not given up there
        with andiron.timeout(seconds):
            assert kind_of(wait)[0] == "deadline"
        seconds *= 2
    assert peer.time_left() is None
    assert eventually(peer.given_up)


def annotations(peer):
    with andiron.annotations(trace="abc"):
        assert peer.said("trace") == "abc"
    assert peer.said("trace") is None


def binary(peer):
    for data in (b"abc", bytearray(3 << 20), memoryview(bytes(3 << 20))):
        assert peer.length(data) == len(data)
    assert bytes(peer.zeros(3)) == bytes(3)
    assert bytes(peer.zeros(3 << 20)) == bytes(3 << 20)


BEHAVIOURS = {
    "calls": calls,
    "errors": errors,
    "streams from it": streams_from_it,
    "streams to it": streams_to_it,
    "streams both ways": streams_both_ways,
    "callbacks": callbacks,
    "one-way calls": one_way_calls,
    "references": references,
    "cancelling": cancelling,
    "deadlines": deadlines,
    "annotations": annotations,
    "bytes": binary,
}

if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        # At a server, or as one where none is there. The threads are for calls that wait for others; the pure engine has none without it.
        andiron.serve({"peer": Peer()}, threads=8, state=False)
    elif sys.argv[1:2] == ["host"]:
        with andiron.Server({"peer": Peer()}, sys.argv[2], threads=8, state=False) as server:
            print(server.addresses[0], flush=True)
            server.wait()
    else:
        hub = andiron.connect(wait=60)
        hub["peer"]  # is waited for too
        print(andiron.engine)
        for name, behaviour in BEHAVIOURS.items():
            behaviour(hub["peer"])
            print(name)
