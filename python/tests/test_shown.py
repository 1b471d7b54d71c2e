"""What is told of objects, and what is refused where nothing could be called or sent."""

import collections
import functools
import gc
import inspect
import io
import pathlib
import types
import weakref

import pytest

import andiron
from andiron import _expose
from conftest import named


def described(value):
    return {method["name"]: method for method in _expose.methods_of(value)["$describe"]()["methods"]}


def test_what_a_method_gives_is_told_and_may_be_anything_where_it_does_not_say():
    @andiron.expose
    class Shelf:
        def says_nothing(self):
            raise AssertionError

        def gives_nothing(self) -> None:
            raise AssertionError

        def gives_nothing_in_words(self) -> "None":
            raise AssertionError

        def gives_a_number(self) -> int:
            raise AssertionError

        @property
        def size(self):
            raise AssertionError

        def __len__(self):
            raise AssertionError

        def __contains__(self, item):
            raise AssertionError

        def __getitem__(self, key):
            raise AssertionError

        def __setitem__(self, key, value):
            raise AssertionError

    assert {name: told["returns"] for name, told in described(Shelf()).items()} == {
        "says_nothing": "Any",
        "gives_nothing": "",
        "gives_nothing_in_words": "",
        "gives_a_number": "int",
        "size": "Any",
        "$len": "int",
        "$contains": "bool",
        "$item": "Any",
        "$set_item": "",
    }


def test_the_signature_of_a_method_is_read_once_for_all_instances(monkeypatch):
    @andiron.expose
    class Player:
        def seek(self, seconds: float) -> float:
            raise AssertionError

    read = []
    signature = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda function: read.append(function) or signature(function))
    assert described(Player()) == described(Player())
    assert read == [Player.seek]
    Player.seek = lambda self: None
    assert described(Player())["seek"]["parameters"] == []


def test_what_is_told_of_a_method_does_not_keep_its_class():
    @andiron.expose
    class Player:
        def seek(self, seconds):
            return super().seek(seconds)

    described(Player())
    gone = weakref.ref(Player)
    del Player
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (5, "int has nothing that could be called"),
        (None, "NoneType has nothing"),
        ([], "list has nothing"),
        (types.SimpleNamespace(), "SimpleNamespace has nothing"),
        (functools.cached_property(len), "a cached_property cannot be exposed"),
        (functools.partialmethod(print, 1), "a partialmethod cannot be exposed"),
    ],
    ids=named,
)
def test_to_expose_what_shows_nothing_is_refused(value, why):
    with pytest.raises(TypeError, match=why):
        andiron.expose(value)
    assert not _expose.is_exposed(value)


@pytest.mark.parametrize("kind", [lambda method: method, property, staticmethod, classmethod])
def test_to_expose_a_method_whose_name_is_private_is_refused(kind):
    with pytest.raises(TypeError, match="`_seek` cannot be exposed: names that begin with `_` never are"):

        class Player:
            @andiron.expose
            @kind
            def _seek(self):
                raise AssertionError


def test_a_method_whose_decorator_has_a_private_name_is_exposed(serve):
    def unnamed(method):
        def _wrapper(self):
            return method(self)

        return _wrapper

    class Player:
        @andiron.expose
        @unnamed
        def seek(self):
            return 1

    assert serve({"player": Player()})["player"].seek() == 1


def test_what_shows_nothing_is_given_no_name(serve):
    hub = serve({})
    for nothing in None, 5, object():
        with pytest.raises(
            andiron.BadArgumentsError, match="shows nothing that could be called as 'nothing'"
        ):
            hub.register("nothing", nothing)
        with pytest.raises(
            andiron.BadArgumentsError, match="shows nothing that could be called as 'nothing'"
        ):
            andiron.Server({"nothing": nothing}, [], state=False)


def test_a_property_is_exposed_in_either_order(serve):
    class Radio:
        def __init__(self):
            self._volume = 5

        @property
        @andiron.expose
        def volume(self):
            return self._volume

        @volume.setter
        def volume(self, volume):
            self._volume = volume

    far = serve({"radio": Radio()})["radio"]
    far.volume += 1
    assert far.volume == 6


def test_a_file_is_no_stream(serve, tmp_path):
    path = tmp_path / "file"
    path.write_text("a\nb\n")
    with path.open() as file, path.open("rb") as binary:
        hub = serve({"echo": lambda lines: list(lines), "file": lambda: file})
        for it in file, binary, io.BytesIO(b"a"), io.StringIO("a"):
            assert not andiron.can_send(it)
            with pytest.raises(
                andiron.EncodingError, match="is a file, and no value that travels: send what"
            ):
                hub["echo"](it)
        with pytest.raises(andiron.EncodingError, match="is a file"):
            hub["file"]()
        assert hub["echo"](line for line in file) == ["a\n", "b\n"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (dict, "the class dict is no value that travels; send an instance"),
        (slice(1), "slice is no value that travels; send a list, tuple, dict"),
        (range(3), "range is no value that travels; send a list, tuple, dict"),
        (collections.deque(), "collections.deque is no value that travels; send a list, tuple, dict"),
        (pathlib.Path("/"), "Path is no value that travels; send a list, tuple, dict, str"),
    ],
    ids=named,
)
def test_what_does_not_travel_says_what_to_send_in_its_place(value, why):
    with pytest.raises(andiron.EncodingError, match=why):
        andiron.encode(value)
