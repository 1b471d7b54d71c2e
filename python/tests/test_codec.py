"""Values that nobody thought of, between this codec and that of Rust."""

import datetime
import json
import subprocess

import hypothesis
import pytest
from hypothesis import strategies

import andiron
from conftest import ROOT
from test_values import meant, same

#: Keys of dicts: what can be one, and is another one on the wire where it is another one here.
keys = (
    strategies.text("ab")
    | strategies.integers()
    | strategies.binary()
    | strategies.tuples(strategies.text("ab"), strategies.integers())
)

plain = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False)
    | strategies.complex_numbers(allow_nan=False)
    | strategies.text(strategies.characters(exclude_categories=("Cs",)))
    | strategies.binary()
    | strategies.decimals(allow_nan=False)
    | strategies.datetimes(timezones=strategies.none() | strategies.just(datetime.timezone.utc))
    | strategies.dates()
    | strategies.times()
    | strategies.timedeltas()
    | strategies.uuids(),
    lambda inner: (
        strategies.lists(inner)
        | strategies.dictionaries(keys, inner)
        | strategies.tuples(inner, inner)
        | strategies.sets(strategies.integers())
        | strategies.frozensets(strategies.binary())
    ),
)


def cut_and_changed(data):
    """The same bytes, of which some at the end are missing and one is another."""
    return strategies.tuples(
        strategies.integers(0, len(data)), strategies.integers(0, len(data)), strategies.integers(0, 255)
    ).map(lambda cut: data[: cut[0]] + bytes([cut[2]]) * (cut[1] < len(data)) + data[cut[0] + 1 :])


@pytest.fixture(scope="module")
def rust():
    """The codec in Rust: what it makes of bytes, or `None` and why it refuses them."""
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "-p", "andiron-proto", "--example", "rewrite"],
        cwd=ROOT,
        check=True,
    )
    program = subprocess.Popen(
        [ROOT / "target" / "debug" / "examples" / "rewrite"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )

    def rewritten(data):
        program.stdin.write(data.hex() + "\n")
        program.stdin.flush()
        written, _, told = program.stdout.readline().rstrip("\n").partition(" ")
        return (None, told) if written == "-" else (bytes.fromhex(written), json.loads(told))

    with program:
        yield rewritten
        program.stdin.close()


@hypothesis.given(plain)
def test_any_plain_value_comes_back_equal(value):
    found = andiron.decode(andiron.encode(value))
    assert found == value
    assert type(found) is type(value)


@hypothesis.given(value=plain)
def test_any_plain_value_is_the_same_value_in_rust(rust, value):
    data = andiron.encode(value)
    written, form = rust(data)
    assert written is not None, form
    assert same(andiron.decode(written), value)
    try:
        understood = meant(form)
    except (LookupError, TypeError):
        return  # a moment of time, or a dict with other keys than texts: JSON says it in words of its own
    assert understood == value


@hypothesis.given(data=strategies.binary() | plain.map(andiron.encode).flatmap(cut_and_changed))
def test_any_bytes_are_read_as_in_rust_or_refused(rust, data):
    written, why = rust(data)
    try:
        value = andiron.decode(data)
    except andiron.EncodingError as error:
        # What is a value of the codec is one here, but for what Python has not.
        only_here = (
            "cannot be",
            "beyond what this Python",
            "names an object",
            "object reference",
            "not in the message",
        )
        assert written is None or any(text in str(error) for text in only_here), (why, error)  # noqa: PT017
        return
    assert written is not None, why
    assert same(andiron.decode(andiron.encode(value)), value)
