"""The session of the pure engine against the vectors of `spec/vectors`."""

import random

import pytest

from andiron._pure.failure import KINDS, Failure
from andiron._pure.session import Config, proof, wire
from andiron._pure.session.hello import LIMITS, Hello
from andiron._pure.session.proof import Transcript
from sessions import Lone, bulk, call_payload, descriptors, frame, frames_of, vectors

FRAMES = vectors("frames.json")
EXCHANGES = vectors("session.json")
NAMES = {name.upper(): kind for kind, name in wire.NAMES.items()}


def named(vector):
    return vector["name"]


def flag_names(kind, bits):
    first = "ABORT" if kind == wire.CHUNK else "LONG"
    names = [first, "REFS", "EXTRA", "PROMISE", "STREAM", "CALLEE", "PARTS"]
    return [name for bit, name in enumerate(names) if bits & 1 << bit]


def message_meaning(kind, flags, payload):
    message = wire.Message(kind, flags, payload, 0, len(payload))
    fields = {}
    if kind in (wire.CALL, wire.NOTIFY):
        fields = {name: getattr(message, name) for name in ("target", "chain", "timeout", "method")}
        if message.annotations:
            fields["annotations"] = message.annotations.hex()
    fields["error" if kind in (wire.ERROR, wire.END) else "codec"] = message.codec
    if flags & wire.REFS:
        fields["refs"] = [list(entry) for entry in message.refs]
    if flags & wire.LONG:
        fields["long"] = {"body": message.body, "total": message.length}
    if flags & wire.PARTS:
        fields["parts"] = list(message.parts)
    fields["body"] = bytes(message.beginning()).hex()
    return fields


def meaning(kind, flags, attached, number, payload):
    """A frame in the words of the vectors."""
    fields = {"kind": wire.NAMES.get(kind, "").upper(), "flags": flag_names(kind, flags)}
    fields.update(attachments=attached, id=number)
    if kind >= wire.OPTIONAL:
        fields.update(kind=kind, flags=flags, body=payload.hex())
    elif kind == wire.HELLO:
        hello = Hello.read(payload)
        fields.update(agent=hello.agent, auth=hello.auth, features=hello.features, limits=hello.limits)
        if hello.store is not None:
            fields["store"] = hello.store.hex()
    elif kind in (wire.CHUNK, wire.PING, wire.PONG):
        fields["body"] = payload.hex()
    elif kind == wire.CREDIT:
        fields["amount"] = int.from_bytes(payload, "big")
    elif kind == wire.RELEASE:
        fields["count"] = int.from_bytes(payload, "big")
    elif kind == wire.GOODBYE:
        fields.update(reason=int.from_bytes(payload[:2], "big"), text=payload[2:].decode())
    elif payload or kind not in (wire.CANCEL, wire.END):
        fields.update(message_meaning(kind, flags, payload))
    return fields


@pytest.mark.parametrize("vector", [vector for vector in FRAMES if "meaning" in vector], ids=named)
def test_good_frames_mean_what_they_say(vector):
    ((kind, *rest),) = frames_of(bytes.fromhex(vector["hex"]))
    expected = dict(vector["meaning"])
    if kind == wire.HELLO:
        known = {name: limit for name, (limit, _, _) in LIMITS.items()}
        expected["limits"] = {**known, **expected["limits"]}
    assert meaning(kind, *rest) == expected


@pytest.mark.parametrize("vector", [vector for vector in FRAMES if "bad" in vector], ids=named)
def test_bad_frames_end_an_open_session(vector):
    lone = Lone.open()
    lone.receive(bytes.fromhex(vector["hex"]))
    assert lone.violation()


def loopback(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


@pytest.mark.parametrize("vector", vectors("proofs.json"), ids=named)
def test_proofs_and_bindings_are_those_of_the_vectors(vector):
    channel = vector["channel"]
    if "certificate" in channel:
        binding = proof.of_certificate(bytes.fromhex(channel["certificate"]))
    elif "loopback" in channel:
        binding = proof.of_loopback(*map(loopback, channel["loopback"]))
    else:
        binding = proof.of_plain() if channel.get("plain") else proof.of_unix()
    assert binding.hex() == vector["binding"]
    key = bytes.fromhex(vector["key"])
    for own, peer in (("initiator", "acceptor"), ("acceptor", "initiator")):
        said = Transcript(own == "initiator")
        said.own, said.peer = bytes.fromhex(vector[own]), bytes.fromhex(vector[peer])
        said.binding = binding
        mine, theirs = (bytes.fromhex(vector[f"proof_of_{end}"]) for end in (own, peer))
        assert said.prove(key) == mine
        assert said.verify(key, theirs)
        assert not said.verify(key, mine)
        assert not said.verify(key, theirs[:31])


class Exchange:
    """One exchange, played against a session at one end."""

    def __init__(self, vector, pieces):
        self.vector = vector
        self.pieces = pieces
        features, limits = vector.get("features", ()), vector.get("limits")
        auth = [bytes.fromhex(vector["secret"])] if "secret" in vector else "user"
        config = Config(features=features, limits=limits, auth=auth)
        self.lone = Lone(vector["end"] == "initiator", config)
        self.lone.session.bind(proof.of_unix())
        self.happened = []
        #: What should have been sent since that was last compared.
        self.expected = b""

    def play(self):
        for step in self.vector["steps"]:
            if step.get("from") == self.vector["end"]:
                self.expected += bytes.fromhex(step["hex"])
            elif "from" in step:
                self.compare()
                self.feed(step)
            elif "do" in step:
                self.compare()
                self.act(step)
            else:
                self.happened += self.lone.events()
                assert self.happened, f"nothing happened: {step}"
                same_event(self.happened.pop(0), step)
        assert not self.happened + self.lone.events()
        self.compare(always=True)
        outcome = self.vector["outcome"]
        assert self.lone.session.is_open == outcome.get("open", False)
        assert self.lone.session.is_closed == ("closed" in outcome)

    def compare(self, always=False):
        """Compares what was sent, if something should have been."""
        if self.expected or always:
            assert significant(self.lone.output()) == significant(self.expected)
            self.expected = b""

    def feed(self, step):
        data = bytes.fromhex(step["hex"])
        numbers = descriptors(step.get("attachments", 0))
        if numbers:
            self.lone.receive(data, numbers)
        else:
            for piece in self.pieces(data):
                self.lone.receive(piece)

    def act(self, step):
        session, lone = self.lone.session, self.lone
        what, number = step["do"], step.get("id", 0)
        stream = (step.get("own", False), number)
        body = {"body": bytes.fromhex(step.get("body", "")), "codec": step.get("codec", 0)}
        body["refs"] = [tuple(entry) for entry in step.get("refs", ())]
        failure = Failure(KINDS[step["error"] - 1], "why") if "error" in step else None
        streams = {"stream": step.get("stream", False)}
        if what in ("call", "notify"):
            names = ("chain", "promise")
            more = {name: step[name] for name in names if name in step}
            if "timeout" in step:
                more["deadline"] = lone.now + step["timeout"] / 1e6
            if "annotations" in step:
                more["annotations"] = bytes.fromhex(step["annotations"])
            made = session.call(
                lone.now,
                step.get("target", 0),
                step["method"],
                notify=what == "notify",
                **body,
                **streams,
                **more,
            )
            assert made == number
        elif what == "reply":
            session.reply(number, **body, **streams)
        elif what == "fail":
            session.fail(number, failure)
        elif what == "cancel":
            session.cancel(number)
        elif what == "item":
            session.item(stream, **body)
        elif what == "end":
            session.end_stream(stream, failure)
        elif what == "want":
            session.want_items(stream, step.get("amount", 0))
        elif what == "stop":
            session.stop_stream(stream)
        elif what == "show":
            assert session.show() == step["object"]
        elif what == "release":
            session.release(step["object"], step["count"])
        elif what == "ping":
            session.ping(body["body"])
        elif what == "goodbye":
            session.goodbye(step.get("reason", 0), "")
        elif what == "wait":
            lone.now += step["milliseconds"] / 1e3
            session.handle_timeout(lone.now)
        else:
            assert what == "disconnect"
            session.disconnected("end of stream")


def significant(data):
    """Texts, and what a HELLO says, are each implementation's own; all else is given."""
    preface = len(data[: wire.PREFACE.size]) if data.startswith(wire.MAGIC) else 0
    frames = []
    for kind, flags, attached, number, payload in frames_of(data[preface:]):
        if kind in (wire.HELLO, wire.PROOF):
            payload = b""
        elif kind in (wire.ERROR, wire.GOODBYE, wire.END):
            payload = payload[:2]
        frames.append((kind, flags, attached, number, payload))
    return data[:preface], frames


def payload_fields(payload):
    assert not payload.parts
    return {
        "codec": payload.codec,
        "body": bytes(payload.body).hex(),
        "refs": [list(entry) for entry in payload.refs],
        "attachments": len(payload.attachments),
        "stream": payload.stream,
    }


def event_fields(event):
    """An event in the words of the vectors."""
    kind, *rest = event
    fields = {"event": kind}
    payload = failure = None
    if kind == "call":
        (call,) = rest
        payload = call.payload
        for name in ("id", "target", "chain", "method", "notify", "promise"):
            fields[name] = getattr(call, name)
        fields["annotations"] = (call.annotations or b"").hex()
    elif kind in ("item", "end", "credit", "stopped"):
        fields["own"], fields["id"] = rest[0]
        payload = rest[1] if kind == "item" else None
        failure = rest[1] if kind == "end" else None
    elif kind == "answer":
        fields["id"], payload, failure = rest
    elif kind == "notify_failed":
        fields["id"], failure = rest
    elif kind == "cancelled":
        fields["id"] = rest[0]
    elif kind == "released":
        fields["object"] = rest[0]
    elif kind == "pong":
        fields["body"] = rest[0].hex()
    elif kind == "goodbye":
        fields["reason"] = rest[0]
    elif kind == "closed":
        failure = rest[0]
    if payload is not None:
        fields.update(payload_fields(payload))
    if failure is not None:
        fields["error"] = KINDS.index(failure.kind) + 1
    return fields


def same_event(event, expected):
    """An event, by the fields that the vector names."""
    happened = event_fields(event)
    if "timeout" in expected:
        assert event[1].deadline is not None
        happened["timeout"] = expected["timeout"]
    assert ("error" in happened) == ("error" in expected), (happened, expected)
    assert {name: happened.get(name) for name in expected} == expected


def whole(data):
    return [data]


def one_by_one(data):
    return [data[at : at + 1] for at in range(len(data))]


def at_random(seed):
    rng = random.Random(seed)

    def pieces(data):
        cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randrange(6)))
        return [data[begins:ends] for begins, ends in zip([0, *cuts], [*cuts, len(data)])]

    return pieces


@pytest.mark.parametrize("vector", EXCHANGES, ids=named)
def test_exchanges_go_as_they_are_written_in_whatever_pieces_the_bytes_come(vector):
    for pieces in (whole, one_by_one, *map(at_random, range(8))):
        Exchange(vector, pieces).play()


# What the vectors leave to each implementation.


def test_a_frame_longer_than_the_limit_is_refused_also_where_it_is_here_whole():
    for length, is_open in ((10_000, True), (10_001, False)):
        lone = Lone.open(config=Config(limits={"frame": 10_000}))
        lone.receive(frame(wire.CALL, 0, 1, call_payload(0, "m", bytes(length - 27))))
        assert lone.session.is_open == is_open


def test_a_call_that_left_may_have_run_and_one_that_was_held_back_did_not():
    lone = Lone.open(True, limits={"calls": 1})
    ids = [lone.call() for _ in range(3)]
    lone.output()
    lone.receive(frame(wire.RESULT, 0, ids[0], b"\0"))
    lone.output()
    assert [event[1] for event in lone.events()] == ids[:1]
    lone.session.disconnected("it was cut")
    kinds = {event[1]: event[3].kind for event in lone.events() if event[0] == "answer"}
    assert kinds == {ids[1]: "unknown", ids[2]: "unavailable"}


def test_a_call_of_which_the_last_byte_was_not_sent_did_not_run():
    lone = Lone.open(True)
    lone.call(body=b"12345")
    (buffers, _) = lone.session.transmit()
    lone.session.transmitted(len(b"".join(buffers)) - 1)
    lone.session.disconnected("it was cut")
    assert lone.events()[0][3].kind == "unavailable"


def test_held_calls_and_notifies_go_in_order_and_without_those_that_were_given_up():
    lone = Lone.open(True, limits={"calls": 2})
    ids = [lone.call(notify=number % 5 == 0) for number in range(1, 301)]
    for number in ids[10:290]:
        if number % 5:
            lone.session.cancel(number)
    sent = []
    while frames := lone.frames():
        sent += [number for _, _, _, number, _ in frames]
        for kind, _, _, number, _ in frames:
            if kind == wire.CALL:
                lone.receive(frame(wire.RESULT, 0, number, b"\0"))
    assert sent == [*ids[:10], *[number for number in ids[10:290] if not number % 5], *ids[290:]]
    assert not lone.session.turns


def test_a_call_that_was_given_up_has_no_time_limit_any_more():
    lone = Lone.open(True)
    number = lone.call(deadline=lone.now + 5)
    assert lone.session.poll_timeout() == lone.now + 5
    lone.session.cancel(number)
    assert lone.session.poll_timeout() is None


def test_no_items_are_asked_of_the_user_while_a_long_one_is_under_way():
    features = ("streams",)
    lone = Lone.open(True, Config(features=features), features=features, limits={"frame": 4096, "window": 0})
    stream = (True, lone.call(stream=True))
    more = frame(wire.CREDIT, wire.STREAM | wire.CALLEE, stream[1], wire.U64.pack(1))
    lone.receive(more)
    assert lone.events() == [("credit", stream)]
    lone.session.item(stream, bytes(5000))
    lone.receive(more)
    assert (lone.events(), lone.session.stream_credit(stream)) == ([], 0)
    lone.receive(frame(wire.CREDIT, 0, 1, wire.U64.pack(5000)))
    lone.output()
    assert (lone.events(), lone.session.stream_credit(stream)) == ([("credit", stream)], 1)


def test_a_long_result_that_is_cancelled_on_its_way_opens_no_stream():
    features = ("streams",)
    lone = Lone.open(False, Config(features=features), features=features, limits={"frame": 4096, "window": 0})
    lone.receive(frame(wire.CALL, 0, 1, call_payload(0, "m")))
    lone.events()
    lone.session.reply(1, bytes(5000), stream=True)
    assert lone.session.is_streaming((False, 1))
    lone.receive(frame(wire.CANCEL, 0, 1))
    assert lone.events() == [("stopped", (False, 1))]
    assert [kind for kind, *_ in lone.frames()] == [wire.RESULT, wire.CHUNK, wire.ERROR]
    lone.session.leave()
    lone.output()
    assert lone.session.is_finished


@pytest.mark.parametrize("length", [0, 1, 16_383, 16_384, 200_000, 5_000_000])
def test_a_body_arrives_as_it_was_however_long_it_is(length):
    client, server = Lone(True), Lone()
    for _ in range(2):
        server.receive(client.output())
        client.receive(server.output())
    client.events()
    body = bulk(min(length, 70_000)) * (length // 70_000 or 1)
    client.call("echo", body)
    for _ in range(3):
        server.receive(client.output())
        client.receive(server.output())
    (call,) = [event[1] for event in server.events() if event[0] == "call"]
    assert call.payload.body == body
    server.session.reply(call.id, call.payload.body)
    for _ in range(3):
        client.receive(server.output())
        server.receive(client.output())
    ((_, _, payload, failure),) = client.events()
    assert failure is None
    assert payload.body == body
    assert memoryview(payload.body).readonly


def test_what_cannot_be_sent_is_said_at_once_and_nothing_is_sent():
    lone = Lone.open(True, limits={"frame": 4096, "message": 5000, "attachments": 0, "objects": 1})
    shown = lone.session.show()
    for words, more in (
        ("a message of 5001 bytes; the other end takes 5000", {"body": bytes(5001)}),
        ("a message with 400 references", {"refs": [(0, shown)] * 400}),
        ("1 descriptors; the other end takes 0", {"attachments": [None]}),
        ("65 big values in one message", {"parts": [0] * 65}),
        ("the root object cannot stand in a message", {"refs": [(0, 0)]}),
        ("the other end has released object 7", {"refs": [(0, 7)]}),
        ("annotations of 9000 bytes", {"annotations": bytes(9000)}),
        ("a one-way call cannot have a stream", {"stream": True, "notify": True}),
        ("the other end does not know streams", {"stream": True}),
        ("the other end does not know promises", {"promise": True}),
        ("a method name has 1 to 255 bytes", {"method": "m" * 256}),
        ("a method name has 1 to 255 bytes", {"method": ""}),
    ):
        with pytest.raises(Failure, match=words):
            lone.call(**more)
    with pytest.raises(Failure, match="drop some proxies there"):
        lone.session.show()
    assert (lone.output(), lone.events()) == (b"", [])
    lone.session.forget_unsent([(0, shown)])
    assert lone.events() == [("released", shown)]
    lone.session.leave()
    with pytest.raises(Failure, match="the session is being closed"):
        lone.call()
