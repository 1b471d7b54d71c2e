"""One session whose peer is the test, or two and the stream between them. Nothing here waits: time is a number."""

import json
import os
from collections import deque

from andiron._pure.session import Config, Session, wire
from andiron._pure.session.hello import Hello
from conftest import ROOT

CLIENT, SERVER = 0, 1


def vectors(name):
    return json.loads((ROOT / "spec" / "vectors" / name).read_text())


def frame(kind, flags, number, payload=b"", attached=0):
    """A frame by hand."""
    return wire.HEADER.pack(len(payload), kind, flags, attached, number) + payload


def call_payload(target, method, tail=b"", timeout=0):
    """The payload of a call by hand."""
    return wire.CALL_HEAD.pack(target, 0, timeout, 1, len(method)) + method.encode() + tail


def long_tail(body, total, beginning=b""):
    """The part of a tail that says that a body is long, and its beginning."""
    return wire.TWO_U64.pack(body, total) + beginning


def frames_of(data):
    """Takes bytes apart that begin with a frame: kind, flags, number of descriptors, id, payload."""
    frames = []
    at = 0
    while at < len(data):
        length, kind, flags, attached, number = wire.HEADER.unpack_from(data, at)
        wire.check_header(kind, flags, attached, length, 1 << 32)
        at += 16
        assert at + length <= len(data), "half a frame was sent"
        frames.append((kind, flags, attached, number, data[at : at + length]))
        at += length
    return frames


def descriptors(count):
    """So many descriptors of their own."""
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]


def bulk(length):
    """Bytes that tell a misplaced one."""
    return bytes((index * 7 + index // 251) & 0xFF for index in range(length))


class Lone:
    """One session; its peer is the test."""

    def __init__(self, initiator=False, config=None):
        self.now = 1000.0
        self.session = Session(initiator, config or Config(), self.now)

    @classmethod
    def open(cls, initiator=False, config=None, **hello):
        """An open session whose peer said this."""
        lone = cls(initiator, config)
        lone.receive(wire.PREFACE.pack(wire.MAGIC, 1, 1) + frame(wire.HELLO, 0, 0, Hello(**hello).written()))
        assert [event[0] for event in lone.events()] == ["opened"]
        lone.output()
        return lone

    def receive(self, data, numbers=(), cut_off=False):
        self.session.receive(self.now, data, numbers, cut_off)

    def call(self, method="m", body=b"", **more):
        return self.session.call(self.now, more.pop("target", 0), method, body, **more)

    def events(self):
        """What happened since this was last asked."""
        events = list(self.session.events)
        self.session.events.clear()
        return events

    def output(self):
        """The bytes that the session sent since this was last asked."""
        output = b""
        while (transmit := self.session.transmit()) is not None:
            data = b"".join(transmit[0])
            assert data
            output += data
            self.session.transmitted(len(data))
        return output

    def frames(self):
        return frames_of(self.output())

    def violation(self):
        """The words with which the session ended for a violation of its peer."""
        kind, failure = self.events()[-1]
        assert (kind, failure.kind, self.session.is_closed) == ("closed", "protocol", True)
        last = self.frames()[-1]
        assert (last[0], last[4][:2]) == (wire.GOODBYE, b"\0\1")
        assert last[4][2:].decode() == failure.message
        return failure.message


class End:
    """One end of a `Pair` and what it had to say."""

    def __init__(self, session):
        self.session = session
        #: What happened and was not looked at yet.
        self.events = []
        #: On its way to this end: bytes, what came with the first of them, when they arrive.
        self.incoming = deque()
        self.stopped = False
        self.outstanding = set()
        self.closed = False


class Pair:
    """Two sessions over a stream that cuts, delays and joins what it carries as a socket may."""

    def __init__(self, rng, client, server):
        self.now = 1000.0
        self.rng = rng
        self.most_piece = 100_000
        self.ends = [End(Session(True, client, self.now)), End(Session(False, server, self.now))]
        for end in self.ends:
            end.session.bind(b"unx\0")

    @classmethod
    def open(cls, rng, client=None, server=None, features=()):
        """An open pair with these limits."""
        pair = cls(rng, Config(features=features, limits=client), Config(features=features, limits=server))
        pair.run()
        for end in (CLIENT, SERVER):
            assert [event[0] for event in pair.events(end)] == ["opened"]
        return pair

    def session(self, end):
        return self.ends[end].session

    def call(self, end, *arguments, **more):
        """Calls, and counts the call as one that wants an answer."""
        number = self.session(end).call(self.now, *arguments, **more)
        if not more.get("notify"):
            assert number not in self.ends[end].outstanding
            self.ends[end].outstanding.add(number)
        return number

    def run(self):
        """Moves bytes until nothing moves any more. Time goes on with them, but only until they have arrived."""
        while self.step():
            pass

    def step(self):
        """Moves some bytes somewhere; false if there are none to move."""
        moves = []
        for number, end in enumerate(self.ends):
            self.collect(number)
            if end.session.want_write:
                moves.append((self.write, number))
            if end.incoming and not end.stopped:
                moves.append((self.read, number))
        if not moves:
            return False
        move, number = self.rng.choice(moves)
        move(number)
        return True

    def write(self, number):
        session = self.session(number)
        transmit = session.transmit()
        if transmit is None:
            return
        data = b"".join(transmit[0])
        count = self.rng.randint(1, min(len(data), self.most_piece))
        incoming = self.ends[1 - number].incoming
        arrives = max(self.now, incoming[-1][2] if incoming else 0) + self.rng.random() / 5000
        own = [os.dup(attachment.fileno()) for attachment in transmit[1]]
        incoming.append([data[:count], own, arrives])
        session.transmitted(count)
        self.collect(number)

    def read(self, number):
        """One read: descriptors come with their byte, and nothing comes behind their segment."""
        most = self.rng.randint(1, self.most_piece)
        incoming = self.ends[number].incoming
        self.now = max(self.now, incoming[0][2])
        data, numbers = b"", []
        while incoming and len(data) < most and not numbers and incoming[0][2] <= self.now:
            segment = incoming[0]
            taken = segment[0][: most - len(data)]
            data += taken
            segment[0] = segment[0][len(taken) :]
            numbers, segment[1] = segment[1], []
            if not segment[0]:
                incoming.popleft()
        self.session(number).receive(self.now, data, numbers)
        self.collect(number)

    def advance(self, seconds):
        """Lets time pass at both ends, without moving any bytes."""
        self.now += seconds
        for number, end in enumerate(self.ends):
            end.session.handle_timeout(self.now)
            self.collect(number)
            due = end.session.poll_timeout()
            assert due is None or due > self.now, "a timeout was not handled"

    def spoil(self):
        """Changes a byte that is under way."""
        incoming = self.rng.choice(self.ends).incoming
        if incoming:
            data = bytearray(incoming[-1][0])
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
            incoming[-1][0] = bytes(data)

    def cut(self):
        """The stream is cut: what is under way is lost."""
        for number, end in enumerate(self.ends):
            for _, numbers, _ in end.incoming:
                for one in numbers:
                    os.close(one)
            end.incoming.clear()
            end.session.disconnected("the cable was cut")
            self.collect(number)

    def collect(self, number):
        """Takes the session's events, and checks what holds of all events."""
        end = self.ends[number]
        while end.session.events:
            event = end.session.events.popleft()
            assert not end.closed, f"an event behind the last one: {event}"
            if event[0] == "answer":
                assert (event[2] is None) != (event[3] is None)
                assert event[1] in end.outstanding, f"a second answer: {event}"
                end.outstanding.remove(event[1])
            elif event[0] == "closed":
                end.closed = True
                assert not end.outstanding, f"calls without an answer: {end.outstanding}"
            end.events.append(event)

    def events(self, number):
        """All that happened at this end since this was last asked."""
        self.collect(number)
        events = self.ends[number].events
        self.ends[number].events = []
        return events
