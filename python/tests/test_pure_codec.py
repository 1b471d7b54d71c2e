"""The codec of the pure engine, where it is another one than in Rust. It is tested by itself, whichever engine runs the tests; the native one beside it, where it is there."""

import json
import sys

import hypothesis
import pytest
from hypothesis import strategies

import andiron
from andiron import _choice, _engine
from andiron._pure import codec, encoder, hooks, memory
from andiron._pure.failure import Failure
from conftest import ROOT
from test_codec import cut_and_changed, plain
from test_values import same

hooks.install(_engine.hooks)

VECTORS = json.loads((ROOT / "spec" / "vectors" / "codec.json").read_text())
MIB = 1 << 20


@codec.by_reference
class Object:
    """In place of an object that others call."""


@codec.as_stream
class Stream:
    """In place of a stream of items."""


@pytest.fixture(scope="module")
def native():
    engine, why = _choice.native()
    if engine is None:
        pytest.skip(why)
    engine.install(_engine.hooks)
    return engine


def outcome(function, value):
    """What a function gives, or `None` and why it does not."""
    try:
        return function(value), None
    except andiron.EncodingError as error:
        return None, str(error)


@hypothesis.given(value=plain)
def test_both_engines_write_the_same(native, value):
    assert outcome(codec.encode, value) == outcome(native.encode, value)


@hypothesis.given(data=strategies.binary() | plain.map(codec.encode).flatmap(cut_and_changed))
def test_both_engines_read_the_same_or_refuse_it(native, data):
    check_that_both_read(native, data)


@pytest.mark.parametrize("vector", VECTORS["good"] + VECTORS["bad"], ids=lambda vector: vector["name"])
def test_both_engines_read_each_changed_vector_alike(native, vector):
    data = bytes.fromhex(vector["hex"])[:400]
    for at in range(len(data)):
        for byte in (0, 0x7F, 0x91, 0xC0, 0xC1, 0xC7, 0xFF, data[at] ^ 1):
            check_that_both_read(native, data[:at] + bytes([byte]) + data[at + 1 :])


def check_that_both_read(native, data):
    value, why = outcome(codec.decode, data)
    other, native_why = outcome(native.decode, data)
    assert (why is None) == (native_why is None), (why, native_why)
    assert same(value, other)


@pytest.mark.parametrize("extra", [{}, {"mode": "x", "deep": [1]}], ids=repr)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 70_000])
def test_arguments_arrive_as_they_were_given(count, extra):
    args = tuple(range(count))
    encoded = codec.encode_arguments(args, extra)
    assert codec.decode_arguments(encoded.body) == (args, extra)
    assert codec.decode_arguments(memoryview(bytearray(encoded.body))) == (args, extra)
    assert not encoded.refs
    assert not encoded.memories
    assert encoded.stream is None


def test_nothing_at_all_is_a_call_without_arguments_and_no_value():
    for body in (b"", b"\xc0", b"\x90"):
        assert codec.decode_arguments(body) == ((), {})
    assert codec.decode_message(b"") is None


@pytest.mark.parametrize(
    "body",
    [
        b"\x80",
        b"\xc1",
        b"\x05",
        b"\x91",
        b"\x91\xc1",
        b"\x91\x05\x05",
        b"\x91\x05\x81",
        b"\x91\x05\xde\x00",
        b"\xdd\xff\xff\xff\xff\x05",
        b"\x91\x05\x81\x01\x01",
        b"\x91\x05\x80\x01",
        b"\x91\xd5\x0d\x00\x00",
        b"\x90\x81\x90\x01",
    ],
    ids=bytes.hex,
)
def test_malformed_arguments_are_the_callers_fault(body):
    with pytest.raises(Failure, match=r"^malformed arguments: ") as raised:
        codec.decode_arguments(body)
    assert raised.value.kind == "bad arguments"


def test_the_list_of_arguments_is_no_level_of_its_own():
    deepest = []
    for _ in range(99):
        deepest = [deepest]
    assert codec.decode_arguments(codec.encode_arguments((deepest,), {"a": deepest}).body)[0] == (deepest,)
    for args, kwargs in ((([deepest],), {}), ((), {"a": [deepest]})):
        with pytest.raises(andiron.EncodingError, match="nested more than 100 deep"):
            codec.encode_arguments(args, kwargs)
    body = codec.encode_arguments((deepest,), {}).body
    with pytest.raises(Failure, match="nested more than 100 deep"):
        codec.decode_arguments(b"\x91\x91" + body[1:])


def test_what_cannot_be_an_argument_says_which_one():
    for args, kwargs, place in (
        ((1, [range(3)]), {}, r"at argument 2\[0\]: range"),
        ((), {"mode": range(3)}, "at argument `mode`: range"),
        ((), {"\ud800": 1}, "an argument cannot be sent: a str that holds half"),
    ):
        with pytest.raises(andiron.EncodingError, match=place):
            codec.encode_arguments(args, kwargs)


@pytest.mark.parametrize("deep", [0, 30, 100])
def test_a_stack_that_is_nearly_full_is_no_reason_to_fail_otherwise(deep):
    value = 5
    for _ in range(deep):
        value = [value]
    data = codec.encode(value)

    def at(depth):
        if depth:
            return at(depth - 1)
        return outcome(codec.encode, value), outcome(codec.decode, data)

    frames = len(list(frames_of(sys._getframe())))
    for room in range(40, 60):
        (written, why), (read, _) = at(sys.getrecursionlimit() - frames - room)
        assert written == data or "than the stack of this thread has room for" in why
        assert read == value


def frames_of(frame):
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_objects_are_named_by_their_positions():
    first, second = Object(), Object()
    encoded = codec.encode_result({"a": first, "b": [second, first]})
    assert list(encoded.refs) == [first, second, first]
    read = codec.decode_message(encoded.body, encoded.refs.__getitem__)
    assert read == {"a": first, "b": [second, first]}
    codec.check([first])
    for refused in (codec.encode, codec.encode_stored):
        with pytest.raises(andiron.EncodingError, match=r"at \[0\]: what others call"):
            refused([first])
    with pytest.raises(andiron.EncodingError, match="not in the message"):
        codec.decode(encoded.body)


def test_a_reference_that_is_not_there_is_what_the_connection_says():
    body = codec.encode_result(Object()).body

    def ref(position):
        raise Failure("encoding", f"there is no object {position}")

    with pytest.raises(andiron.EncodingError, match="no object 0"):
        codec.decode_message(body, ref)
    with pytest.raises(Failure, match="no object 0"):
        codec.decode_arguments(b"\x91" + body, ref)


def test_what_making_a_value_raises_is_not_taken_for_the_end_of_the_data():
    def ref(position):
        return [][position]

    with pytest.raises(IndexError):
        codec.decode_message(b"\xd5\x0d\x00\x00", ref)


def test_a_stream_stands_where_nil_does():
    stream = Stream()
    encoded = codec.encode_result([stream, None])
    assert encoded.stream is stream
    assert codec.decode_message(encoded.body, stream=lambda: stream) == [stream, None]
    for value, why in (
        ([None, stream], "behind a None"),
        ([1, Stream(), Stream()], "behind a None|one stream"),
    ):
        with pytest.raises(andiron.EncodingError, match=why):
            codec.encode_result(value)
    with pytest.raises(andiron.EncodingError, match="only in a call"):
        codec.encode(stream)


def test_big_bytes_are_not_copied_to_be_sent():
    big = bytes(3 * MIB)
    value = [1, big, "a", (big, 5), big]
    encoded = codec.encode_result(value)
    assert [part for part in encoded.body if part is big] == [big] * 3
    assert b"".join(encoded.body) == codec.encode(value)
    assert codec.decode_message(b"".join(encoded.body)) == value


def test_a_value_whose_parts_are_shared_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(encoder, "LONGEST", MIB)
    value = ["x" * 1000]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(andiron.EncodingError, match="longer than 1 GiB"):
        codec.encode(value)


def test_keys_that_programs_make_without_end_are_not_kept():
    for number in range(5000):
        codec.encode({f"key {number}": 1, "x" * 10_000 + str(number): 2})
    assert len(encoder._known_keys) <= 1000
    assert all(len(key) < 100 for key in encoder._known_keys)


def test_more_big_buffers_than_go_beside_a_value_stand_in_it():
    value = [memoryview(bytes([number]) * MIB) for number in range(66)]
    encoded = codec.encode_result(value)
    assert len(encoded.memories) == 64
    assert codec.decode_message(b"".join(encoded.body), memories=encoded.memories) == value


def test_without_memory_that_can_be_passed_on_bytes_go_in_its_place(monkeypatch):
    monkeypatch.setattr(memory, "SHARED", False)
    encoded = codec.encode_result([memoryview(b"a" * MIB)])
    [part] = encoded.memories
    assert (part.place(), part.buffer()) == (None, b"a" * MIB)
    assert codec.decode_message(encoded.body, memories=[part]) == [b"a" * MIB]
    assert codec.decode(codec.encode_stored([bytes(MIB)])) == [bytes(MIB)]
    with pytest.raises(OSError, match="no memory that can be passed on"):
        memory.Room(5)
