"""Random sequences of operations of two sessions against a model: whatever they do and however it ends, each call is answered once.

``ANDIRON_FUZZ_ITERATIONS`` says how many sequences each test tries, ``ANDIRON_FUZZ_SEED`` where their seeds begin: with a seed that a failure
printed and one iteration it is repeated.
"""

import collections
import contextlib
import os
import random

import pytest

from andiron._pure.failure import Failure
from andiron._pure.session import Descriptor, wire
from sessions import CLIENT, SERVER, Pair, descriptors, frame

FIRST_REFERENCE = b"\xd5\x0d\x00\x00"


@contextlib.contextmanager
def named(seed):
    """Tells a failure's seed."""
    try:
        yield random.Random(seed)
    except BaseException:
        print("the seed was", seed)
        raise


def seeds(default):
    first = int(os.environ.get("ANDIRON_FUZZ_SEED", 0))
    return range(first, first + int(os.environ.get("ANDIRON_FUZZ_ITERATIONS", default)))


def tight(rng, **more):
    """Limits so tight that everything happens."""
    return {
        "frame": 4096,
        "message": rng.randrange(9000, 30_000),
        "calls": rng.randrange(1, 9),
        "objects": rng.randrange(20),
        "buffer": rng.randrange(4096, 60_000),
        "window": rng.choice((0, 1, 500, 4096, 50_000)),
        "attachments": rng.randrange(4),
        **more,
    }


def echo(body):
    """What a handler makes of a body: an answer can be told from the answer to something else."""
    return bytes(byte ^ 0x55 for byte in body)


def whole(payload):
    """The body with the parts that were taken out of it."""
    return b"".join([payload.body, *payload.attachments]) if payload.parts else bytes(payload.body)


class Model:
    """What one end of the pair should see."""

    def __init__(self):
        #: Calls of the peer that this end handles.
        self.running = []
        #: Objects that this end showed and that were not given back.
        self.shown = set()
        #: References to the peer's objects, and how often they came.
        self.held = collections.Counter()
        self.cancelled = set()
        #: Serial numbers of the messages of this end, and that of the last short call that came from the peer.
        self.sent = self.last_short = 0
        #: The body of each own call that waits.
        self.bodies = {}


class Play:
    """Calls, notifies, references, descriptors and parts."""

    def __init__(self, seed, rng):
        self.rng = rng
        self.pair = Pair.open(rng, tight(rng), tight(rng))
        self.pair.most_piece = (3, 200, 100_000)[seed % 3]
        self.models = [Model(), Model()]

    def act(self):
        """One random thing at one end."""
        end = self.rng.randrange(2)
        what = self.rng.randrange(256)
        if what < 30:
            self.start(end)
        elif what < 80:
            self.answer(end)
        elif what < 100:
            self.release(end)
        elif what < 106:
            if self.pair.ends[end].outstanding:
                self.pair.session(end).cancel(self.rng.choice(sorted(self.pair.ends[end].outstanding)))
        elif what < 110:
            self.pair.advance(self.rng.random() / 200)
        elif what < 112:
            self.pair.session(end).ping(b"?")
        else:
            self.pair.step()
        self.look(CLIENT)
        self.look(SERVER)

    def refs(self, end):
        """A table of own objects, new and old, and of the peer's."""
        model, session, refs = self.models[end], self.pair.session(end), []
        for _ in range(self.rng.randrange(4)):
            what = self.rng.randrange(3)
            if what == 0:
                with contextlib.suppress(Failure):
                    number = session.show()
                    assert number not in model.shown, "a number was used twice"
                    model.shown.add(number)
                    refs.append((0, number))
            elif what == 1 and model.shown:
                refs.append((0, self.rng.choice(sorted(model.shown))))
            elif what == 2 and model.held:
                refs.append((1, self.rng.choice(sorted(model.held))))
        return refs

    def beside(self, length):
        """Descriptors, or parts at the end of a body of this length."""
        if self.rng.random() < 0.5:
            return {"attachments": [Descriptor(number) for number in descriptors(self.rng.randrange(4))]}
        parts = []
        for _ in range(self.rng.randrange(5)):
            parts.append(self.rng.randint(0, length - sum(parts)))
        return {"parts": parts}

    def length(self):
        what = self.rng.randrange(256)
        if what < 200:
            return self.rng.randrange(9, 60)
        return self.rng.randrange(3000, 4500) if what < 230 else self.rng.randrange(4500, 12_000)

    def start(self, end):
        model, length = self.models[end], self.length()
        notify = self.rng.random() < 0.5
        serial = model.sent + 1
        body = bytes([length < 3000]) + serial.to_bytes(8, "big") + bytes([serial & 0xFF]) * (length - 9)
        refs = self.refs(end)
        deadline = self.pair.now + self.rng.random() / 50 if self.rng.random() < 0.25 else None
        more = {"refs": refs, "chain": serial, "deadline": deadline, "notify": notify, **self.beside(length)}
        given = body
        if self.rng.random() < 0.5:  # it does not matter how many pieces it is in, nor of which type
            at = self.rng.randrange(length)
            given = [memoryview(body)[:at], b"", bytearray(body[at:])]
        try:
            number = self.pair.call(end, 0, "echo", given, **more)
        except Failure as failure:
            assert failure.kind == "too large"  # noqa: PT017 - sometimes
            self.pair.session(end).forget_unsent(refs)
            return
        model.sent = serial
        if not notify:
            model.bodies[number] = body

    def answer(self, end):
        model, session = self.models[end], self.pair.session(end)
        if not model.running:
            return
        call = model.running.pop(self.rng.randrange(len(model.running)))
        what = self.rng.randrange(6)
        if what == 0:
            session.fail(call.id, Failure("application", "no"))
        elif what == 1 and call.notify:
            session.done(call.id)
        else:
            body = echo(whole(call.payload))
            # As a relay passes it on: parts as they are, and descriptors too, as far as the other end takes them.
            beside = call.payload.attachments
            more = {"attachments": beside[: session.peer.limits["attachments"]]}
            if call.payload.parts:
                more = {"parts": [len(part) for part in beside]}
            session.reply(call.id, body, refs=self.refs(end), **more)

    def release(self, end):
        held = self.models[end].held
        if held:
            number = self.rng.choice(sorted(held))
            self.give_back(end, number, self.rng.randint(1, held[number]))

    def give_back(self, end, number, count):
        self.pair.session(end).release(number, count)
        self.models[end].held -= collections.Counter({number: count})

    def look(self, end):
        """Checks what happened at one end."""
        model = self.models[end]
        for event in self.pair.events(end):
            kind = event[0]
            if kind == "call":
                self.check_call(end, event[1])
            elif kind == "answer":
                self.check_answer(end, *event[1:])
            elif kind == "cancelled":
                assert event[1] not in model.cancelled
                model.cancelled.add(event[1])
                assert any(call.id == event[1] and not call.notify for call in model.running)
            elif kind == "notify_failed":
                assert event[2].kind in ("overloaded", "application")
            elif kind == "released":
                model.shown.remove(event[1])
            else:
                assert kind == "pong"

    def hold(self, end, payload):
        for owner, number in payload.refs:
            assert number > 0
            if not owner:
                self.models[end].held[number] += 1

    def check_call(self, end, call):
        model, body = self.models[end], whole(call.payload)
        serial = int.from_bytes(body[1:9], "big")
        assert call.chain == serial
        assert body[9:] == bytes([serial & 0xFF]) * (len(body) - 9)
        if body[0]:
            assert serial > model.last_short, "out of order"
            model.last_short = serial
        self.hold(end, call.payload)
        model.running.append(call)
        running = [call for call in model.running if not call.notify]
        assert len(running) <= self.pair.session(end).limits["calls"]

    def check_answer(self, end, number, payload, failure):
        body = self.models[end].bodies.pop(number)
        if failure is None:
            assert whole(payload) == echo(body), "the answer to another call"
            self.hold(end, payload)
        else:
            kinds = ("cancelled", "deadline", "overloaded", "application", "too large")
            assert failure.kind in kinds, failure.message

    def settle(self):
        """Answers everything and gives everything back: nothing may be left."""
        quiet = False
        while not quiet:
            self.pair.run()
            quiet = True
            for end in (CLIENT, SERVER):
                self.look(end)
                model = self.models[end]
                running, model.running = model.running, []
                quiet = quiet and not running and not model.held
                for call in running:
                    self.pair.session(end).reply(call.id, echo(whole(call.payload)))
                for number, count in list(model.held.items()):
                    self.give_back(end, number, count)
        for end in (CLIENT, SERVER):
            session = self.pair.session(end)
            assert not self.pair.ends[end].outstanding
            assert not self.models[end].shown, "objects that nobody gave back"
            assert not session.is_congested
            assert session.poll_timeout() is None
            empty(session)
        part(self.pair)


def empty(session):
    """Nothing is left of what was done."""
    left = {
        name: getattr(session, name) for name in ("own", "theirs", "backlog", "sent", "received", "early")
    }
    assert not any(left.values()), left
    assert (session.in_flight, session.their_calls, session.buffered, session.answering) == (0, 0, 0, 0)
    assert not session.bodies.receiving
    assert not session.bodies.waiting
    assert (session.outbox.answers, session.outbox.answer_bytes, session.queued) == (0, 0, 0)
    assert not session.outbox.bodies
    assert not session.outbox.ready
    assert not session.references.held


def part(pair):
    """One end leaves, with nothing outstanding: both are finished, and the other one knows why."""
    leaver = pair.rng.randrange(2)
    pair.session(leaver).leave()
    pair.run()
    assert [event[0] for event in pair.events(1 - leaver)] == ["goodbye"]
    assert all(end.session.is_finished for end in pair.ends)


def test_two_honest_ends_agree_whatever_they_do():
    for seed in seeds(15):
        with named(seed) as rng:
            play = Play(seed, rng)
            for _ in range(600):
                play.act()
            play.settle()


def test_every_call_is_answered_once_however_the_session_ends():
    for seed in seeds(100):
        with named(seed) as rng:
            play = Play(seed, rng)
            for _ in range(rng.randrange(300)):
                play.act()
            session = play.pair.session(rng.randrange(2))
            what = rng.randrange(4)
            if what == 1:
                session.leave()
            elif what == 2:
                session.goodbye(wire.OVERLOADED, "enough")
            elif what == 3:
                session.receive(play.pair.now, frame(wire.PROOF, 0, 0))
            for _ in range(rng.randrange(200)):
                play.pair.step()
            play.pair.cut()
            for end in (CLIENT, SERVER):
                assert play.pair.events(end)[-1][0] == "closed"
                assert not play.pair.ends[end].outstanding


class Made:
    """What was made of a stream by its sender."""

    def __init__(self):
        self.items = 0
        #: How it was ended, if it was.
        self.end = None


class StreamModel:
    """What one end has to do with streams."""

    def __init__(self):
        #: Calls of the peer that this end handles.
        self.running = []
        #: Streams that this end sends, and was not told to stop.
        self.sends = set()
        #: Streams that this end receives: items that it asked for, and that came.
        self.receives = {}
        #: What the answers of this end gave: their object, or nothing that could be called.
        self.gave = {}
        #: What own calls depend on.
        self.depends = {}
        #: References to give back.
        self.held = []


def item_body(name, number, length):
    """The items of a stream can be told from those of another, and from each other."""
    maker, call, sender = name
    head = call.to_bytes(8, "big") + number.to_bytes(8, "big") + bytes([maker * 2 + sender])
    return head + bytes([number & 0xFF]) * (length - 17)


def name_of(end, stream, sender):
    """A stream as both ends can name it: who made the call, its number, and who sends the items."""
    return (end if stream[0] else 1 - end, stream[1], sender)


class StreamPlay:
    """Calls with streams, and calls of what others will give."""

    def __init__(self, seed, rng):
        self.rng = rng
        client, server = tight(rng, attachments=0), tight(rng, attachments=0)
        self.pair = Pair.open(rng, client, server, ("streams", "promises"))
        self.pair.most_piece = (3, 200, 100_000)[seed % 3]
        self.models = [StreamModel(), StreamModel()]
        self.made = {}

    def act(self):
        """One random thing at one end."""
        end = self.rng.randrange(2)
        model, session = self.models[end], self.pair.session(end)
        what = self.rng.randrange(256)
        if what < 25:
            self.start(end)
        elif what < 50:
            self.answer(end)
        elif what < 90:
            self.send(end)
        elif what < 94:
            if model.sends:
                self.finish(end, self.rng.choice(sorted(model.sends)), self.rng.random() < 0.5)
        elif what < 115:
            if model.receives:
                stream, more = self.rng.choice(sorted(model.receives)), self.rng.randrange(5)
                model.receives[stream][0] += more
                session.want_items(stream, more)
        elif what < 119:
            if model.receives:
                stream = self.rng.choice(sorted(model.receives))
                del model.receives[stream]
                session.stop_stream(stream)
        elif what < 124:
            if self.pair.ends[end].outstanding:
                session.cancel(self.rng.choice(sorted(self.pair.ends[end].outstanding)))
        elif what < 128:
            self.pair.advance(self.rng.random() / 200)
        elif what < 135:
            self.give_back(end)
        else:
            self.pair.step()
        self.look(CLIENT)
        self.look(SERVER)

    def length(self):
        return self.rng.randrange(17, 60) if self.rng.randrange(256) < 200 else self.rng.randrange(3000, 9000)

    def start(self, end):
        stream = self.rng.random() < 0.5
        outstanding = sorted(self.pair.ends[end].outstanding)
        of = self.rng.choice(outstanding) if outstanding and self.rng.random() < 0.4 else None
        deadline = self.pair.now + self.rng.random() / 50 if self.rng.random() < 0.15 else None
        more = {"stream": stream, "deadline": deadline, "promise": of is not None}
        number = self.pair.call(end, of or 0, "mill", b"\1" * self.length(), **more)
        if of is not None:
            self.models[end].depends[number] = of
        if stream:
            self.opened(end, (True, number))

    def opened(self, end, stream):
        """This end sends a stream from now on."""
        assert self.pair.session(end).is_streaming(stream)
        self.models[end].sends.add(stream)
        self.made[name_of(end, stream, end)] = Made()

    def answer(self, end):
        """Answers a call that can be answered: not one of what is not known yet."""
        model, session = self.models[end], self.pair.session(end)
        ready = [call for call in model.running if not call.promise or call.target in model.gave]
        if not ready:
            return
        call = self.rng.choice(ready)
        model.running.remove(call)
        promised = model.gave[call.target] if call.promise else 0
        shown = None
        if promised is not None and self.rng.random() < 0.25:
            with contextlib.suppress(Failure):
                shown = session.show()
        model.gave[call.id] = shown
        if shown is not None:
            session.reply(call.id, FIRST_REFERENCE, refs=[(0, shown)])
        elif promised is None or self.rng.random() < 0.25:
            session.fail(call.id, Failure("application", "no"))
        else:
            streaming = self.rng.random() < 0.5
            session.reply(call.id, b"\2" * self.length(), stream=streaming)
            if streaming and session.is_streaming((False, call.id)):
                self.opened(end, (False, call.id))

    def send(self, end):
        model, session = self.models[end], self.pair.session(end)
        if not model.sends:
            return
        stream = self.rng.choice(sorted(model.sends))
        assert session.is_streaming(stream)
        if not session.stream_credit(stream):
            return
        name = name_of(end, stream, end)
        body = item_body(name, self.made[name].items, self.length())
        self.made[name].items += 1
        refs = []
        with contextlib.suppress(Failure):
            refs.append((0, session.show()))
        session.item(stream, body, refs=refs)

    def finish(self, end, stream, good):
        self.models[end].sends.remove(stream)
        self.made[name_of(end, stream, end)].end = good
        self.pair.session(end).end_stream(stream, None if good else Failure("quota", "empty"))

    def give_back(self, end):
        if self.models[end].held:
            self.pair.session(end).release(self.models[end].held.pop(), 1)

    def hold(self, end, payload):
        assert not any(owner for owner, _ in payload.refs), "nobody handed anything back"
        self.models[end].held += [number for _, number in payload.refs]

    def look(self, end):
        """Checks what happened at one end."""
        model = self.models[end]
        for event in self.pair.events(end):
            kind = event[0]
            if kind == "call":
                self.check_call(end, event[1])
            elif kind == "answer":
                self.check_answer(end, *event[1:])
            elif kind == "item":
                self.check_item(end, *event[1:])
            elif kind == "end":
                self.check_end(end, *event[1:])
            elif kind == "credit":
                assert event[1] in model.sends
            elif kind == "stopped":
                model.sends.remove(event[1])
            elif kind == "cancelled":
                assert any(call.id == event[1] for call in model.running)
                assert (False, event[1]) not in model.receives
            else:
                assert kind == "released"

    def receives(self, end, stream, payload):
        if payload.stream:
            assert stream not in self.models[end].receives
            self.models[end].receives[stream] = [0, 0]

    def check_call(self, end, call):
        of = self.models[1 - end].depends.get(call.id)
        if call.promise:
            assert call.target == of
            assert any(earlier.id == of for earlier in self.models[end].running)
        elif of is not None:
            assert self.models[end].gave[of] == call.target, "another object"
        else:
            assert call.target == 0
        self.receives(end, (False, call.id), call.payload)
        self.models[end].running.append(call)

    def check_answer(self, end, number, payload, failure):
        model = self.models[end]
        streams = payload is not None and payload.stream
        assert streams or (True, number) not in model.sends, "items go on behind the answer"
        if failure is None:
            if number in model.depends:
                assert self.models[1 - end].gave[model.depends[number]] is not None
            self.receives(end, (True, number), payload)
            self.hold(end, payload)
        elif failure.kind == "bad arguments":
            assert number in model.depends
        else:
            kinds = ("cancelled", "deadline", "overloaded", "application", "too large")
            assert failure.kind in kinds, failure.message

    def check_item(self, end, stream, payload):
        asked, came = self.models[end].receives[stream]
        self.models[end].receives[stream][1] += 1
        assert came < asked, "more items than were asked for"
        name = name_of(end, stream, 1 - end)
        assert payload.body == item_body(name, came, len(payload.body)), "another item"
        self.hold(end, payload)

    def check_end(self, end, stream, failure):
        _, came = self.models[end].receives.pop(stream)
        made = self.made[name_of(end, stream, 1 - end)]
        if failure is None:
            assert (made.end, made.items) == (True, came), "items are missing"
        elif failure.kind == "quota":
            assert (made.end, made.items) == (False, came)
        else:
            assert failure.kind in ("cancelled", "deadline")

    def settle(self):
        """Answers, ends and gives back everything: nothing may be left."""
        quiet = False
        while not quiet:
            self.pair.run()
            self.look(CLIENT)
            self.look(SERVER)
            quiet = True
            for end in (CLIENT, SERVER):
                model = self.models[end]
                quiet = quiet and not (model.running or model.sends or model.held)
                while model.running:
                    self.answer(end)
                for stream in sorted(model.sends):
                    self.finish(end, stream, True)
                while model.held:
                    self.give_back(end)
        for end in (CLIENT, SERVER):
            assert not self.pair.ends[end].outstanding
            assert not self.models[end].receives, "streams without an end"
            assert self.pair.session(end).poll_timeout() is None
            empty(self.pair.session(end))
        part(self.pair)


def test_two_honest_ends_agree_on_streams_and_promises_whatever_they_do():
    for seed in seeds(15):
        with named(seed) as rng:
            play = StreamPlay(seed, rng)
            for _ in range(600):
                play.act()
            play.settle()


def test_every_stream_ends_once_however_the_session_does():
    for seed in seeds(80):
        with named(seed) as rng:
            play = StreamPlay(seed, rng)
            for _ in range(rng.randrange(400)):
                play.act()
            if rng.random() < 0.5:
                play.pair.session(rng.randrange(2)).leave()
            for _ in range(rng.randrange(100)):
                play.pair.step()
            play.pair.cut()
            for end in (CLIENT, SERVER):
                model = play.models[end]
                for event in play.pair.events(end):
                    if event[0] == "end":
                        del model.receives[event[1]]
                    elif event[0] == "stopped":
                        model.sends.remove(event[1])
                    elif event[0] == "call":
                        play.receives(end, (False, event[1].id), event[1].payload)
                    elif event[0] == "answer" and event[2] is not None:
                        play.receives(end, (True, event[1]), event[2])
                assert not model.receives
                assert not model.sends


@pytest.mark.parametrize("most_piece", [1, 1000, 1 << 20])
def test_long_bodies_go_both_ways_beside_small_calls(most_piece):
    rng = random.Random(most_piece)
    pair = Pair.open(rng, {"frame": 4096, "window": 5000}, {"frame": 4096, "window": 0})
    pair.most_piece = most_piece
    size = 20_000 if most_piece == 1 else 500_000
    long, small = rng.getrandbits(8 * size).to_bytes(size, "big"), b"small"
    ids = [
        pair.call(CLIENT, 0, "echo", body) for body in (long, small, [long[:7], memoryview(long)[7:]], small)
    ]
    arrived = []
    while pair.step():
        for event in pair.events(SERVER):
            arrived.append(event[1].id)
            pair.session(SERVER).reply(event[1].id, event[1].payload.body)
    assert arrived[:2] == [ids[1], ids[3]], "small calls wait for nobody"
    answers = {event[1]: bytes(event[2].body) for event in pair.events(CLIENT)}
    assert [answers[number] for number in ids] == [long, small, long, small]
