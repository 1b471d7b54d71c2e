"""What is shown to others, in all the ways in which classes are written, and what arguments may be."""

import abc
import dataclasses
import functools
import gc
import operator
import threading
import types
import weakref

import pytest

import andiron


def shown(proxy):
    return dir(proxy)


def doubled(method):
    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        return 2 * method(*args, **kwargs)

    return wrapper


class Methods:
    @andiron.expose
    def plain(self, a, b=2):
        return a, b

    @andiron.expose
    @classmethod
    def of_class(cls):
        return cls.__name__

    @classmethod
    @andiron.expose
    def of_class_too(cls):
        return cls.__name__

    @andiron.expose
    @staticmethod
    def static(x):
        return x

    @andiron.expose
    @property
    def read(self):
        return "read"

    @andiron.expose
    @doubled
    def decorated(self, number: int, *, plus: int = 0) -> int:
        """Doubles."""
        return number + plus

    @doubled
    @andiron.expose
    def decorated_too(self, number):
        return number

    def hidden(self):
        raise AssertionError

    @property
    def hidden_property(self):
        raise AssertionError


def test_methods_are_marked_one_by_one(serve):
    far = serve({"far": Methods()})["far"]
    assert shown(far) == [
        "decorated",
        "decorated_too",
        "of_class",
        "of_class_too",
        "plain",
        "read",
        "static",
    ]
    assert far.plain(1) == (1, 2)
    assert far.plain(b=1, a=2) == (2, 1)
    assert far.of_class() == far.of_class_too() == "Methods"
    assert far.static(3) == 3
    assert far.read == "read"
    assert far.decorated(2, plus=1) == 6
    assert far.decorated_too(2) == 4
    for name in ("hidden", "hidden_property"):
        with pytest.raises(AttributeError, match="no method"):
            getattr(far, name)
        with pytest.raises(andiron.NoMethodError):
            object.__getattribute__(far, "_andiron").method(name)()
    with pytest.raises(AttributeError):
        far.read = 1


@andiron.expose
class Base:
    def first(self):
        return "base"

    def second(self):
        return "base"

    def third(self):
        return "base"

    class Inner:
        pass

    constant = 3


class Derived(Base):
    second = None

    def first(self):
        return "derived"

    def own(self):
        raise AssertionError


class Further(Derived):
    @andiron.expose
    def own(self):
        return "further"


def test_what_is_inherited_stays_shown_and_what_is_overridden_too(serve):
    hub = serve({"base": Base(), "derived": Derived(), "further": Further()})
    assert shown(hub["base"]) == ["first", "second", "third"]
    assert shown(hub["derived"]) == ["first", "third"]
    assert hub["derived"].first() == "derived"
    assert hub["derived"].third() == "base"
    assert shown(hub["further"]) == ["first", "own", "third"]
    assert hub["further"].own() == "further"


class Mixin(abc.ABC):
    @andiron.expose
    @abc.abstractmethod
    def needed(self):
        raise AssertionError


class Mixed(Mixin, Methods):
    def needed(self):
        return "here"

    def hidden(self):
        raise AssertionError


def test_an_abstract_method_that_is_shown_is_so_in_who_has_it(serve):
    far = serve({"far": Mixed()})["far"]
    assert far.needed() == "here"
    assert far.static(1) == 1
    assert "hidden" not in shown(far)


@andiron.expose
@dataclasses.dataclass
class Slotted:
    __slots__ = ("number",)
    number: int

    def next(self):
        self.number += 1
        return self.number


@dataclasses.dataclass(frozen=True)
class Frozen:
    __slots__ = ("number",)
    number: int

    def double(self):
        return 2 * self.number


def test_dataclasses_and_slots_are_objects_where_they_are_shown(serve):
    frozen, other = andiron.expose(Frozen(4)), Frozen(5)
    slotted = Slotted(1)
    hub = serve(
        {"slotted": slotted, "frozen": frozen, "give": lambda: slotted, "same": lambda x: x is slotted}
    )
    assert hub["slotted"].next() == 2
    assert hub["frozen"].double() == 8
    assert shown(hub["frozen"]) == ["double"]
    given = hub["give"]()
    assert given.next() == 3, "and no copy"
    assert hub["same"](given)
    with pytest.raises(andiron.BadArgumentsError, match="shows nothing"):
        serve({"other": other})


def test_one_instance_may_be_shown_and_another_not(serve):
    class Plain:
        def say(self):
            return "plain"

        def _secret(self):
            raise AssertionError

    one = andiron.expose(Plain())
    assert shown(serve({"one": one})["one"]) == ["say"]
    assert not andiron.can_send(Plain())


class Meta(type):
    def of_meta(cls):
        raise AssertionError


def test_names_of_the_machinery_are_never_shown(serve):
    @andiron.expose
    class Odd(metaclass=Meta):
        def _private(self):
            raise AssertionError

        def __mangled(self):
            raise AssertionError

        def __enter__(self):
            raise AssertionError

        def __getattr__(self, name):
            raise AttributeError(name)

        def fine(self):
            return 1

    far = serve({"far": Odd()})["far"]
    assert shown(far) == ["fine"]
    method = object.__getattribute__(far, "_andiron").method
    for name in (
        "_private",
        "_Odd__mangled",
        "__enter__",
        "__init__",
        "__class__",
        "of_meta",
        "__dict__",
        "mro",
    ):
        with pytest.raises(andiron.NoMethodError):
            method(name)()
        with pytest.raises(andiron.NoMethodError):
            method("$set")(name, 1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda far: far.plain(), "missing a required argument: 'a'"),
        (lambda far: far.plain(1, 2, 3), "too many positional arguments"),
        (lambda far: far.plain(1, c=3), "unexpected keyword argument 'c'"),
        (lambda far: far.plain(1, a=3), "multiple values for argument 'a'"),
        (lambda far: far.static(), "missing a required argument: 'x'"),
        (lambda far: far.decorated(1, minus=2), "unexpected keyword argument 'minus'"),
        (lambda far: far.decorated(), "missing a required argument: 'number'"),
    ],
)
def test_wrong_arguments_are_refused_by_what_the_signature_is(serve, call, words):
    far = serve({"far": Methods()})["far"]
    with pytest.raises(andiron.BadArgumentsError) as raised:
        call(far)
    assert words in str(raised.value)
    assert "it takes (" in str(raised.value)
    assert raised.value.__cause__ is None, "nothing of the method ran"


def test_a_method_is_not_begun_with_wrong_arguments(serve):
    ran = []

    def decorator(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            ran.append(args)
            return function(*args, **kwargs)

        return wrapper

    @decorator
    def function(x):
        return x

    class Shown:
        @andiron.expose
        @decorator
        def method(self, x):
            return x

    hub = serve({"function": function, "shown": Shown()})
    for far in (hub["function"], hub["shown"].method):
        with pytest.raises(andiron.BadArgumentsError, match=r"it takes \(x\)"):
            far(1, 2)
    assert ran == []
    assert hub["function"](1) == hub["shown"].method(1) == 1


def test_a_type_error_in_the_body_is_the_bodys(serve):
    def inner(x):
        return x

    def wrong():
        return inner()

    def add(a, b):
        return a + b

    hub = serve({"wrong": wrong, "add": add, "len": len, "sort": lambda key: sorted([1], key=key)})
    for call in (lambda: hub["wrong"](), lambda: hub["add"](1, "x"), lambda: hub["len"](3)):
        with pytest.raises(TypeError) as raised:
            call()
        assert type(raised.value) is TypeError
        assert raised.value.__cause__ is not None


def test_every_kind_of_function_is_a_callback(serve):
    class Self:
        def method(self, x):
            return x

        @classmethod
        def of_class(cls, x):
            return x

        @staticmethod
        def static(x):
            return x

    @functools.lru_cache
    def cached(x):
        return x

    call = serve({"call": lambda function, *args: function(*args)})["call"]
    same = [lambda x: x, Self().method, Self.of_class, Self.static, cached, functools.partial(cached)]
    assert [call(function, 7) for function in same] == [7] * len(same)
    assert call(len, [1, 2]) == 2
    assert call(str.upper, "x") == "X"
    assert call([].append, 1) is None
    assert call({"a": 1}.get, "a") == 1
    assert call(functools.partial(operator.add, 1), 2) == 3
    assert call((3).__add__, 4) == 7
    far = serve({"far": Methods(), "double": lambda x: 2 * x})
    assert call(far["far"].static, 5) == 5, "a method of another process is one as well"
    assert call(far["double"], 5) == call(far["double"].__call__, 5) == 10
    with pytest.raises(TypeError, match="expose it"):
        call(Self, 1)
    with pytest.raises(TypeError):
        call(types, 1)


def test_items_go_both_ways_at_once(serve):
    def double(items):
        for item in items:
            yield 2 * item

    taken = []

    def numbers():
        for number in range(100_000):
            taken.append(number)
            yield number

    doubled = serve({"double": double})["double"](numbers())
    for number in range(10):
        assert next(doubled) == 2 * number
    assert len(taken) < 100_000, "no more than has room between the two"
    doubled.close()
    assert list(serve({"double": double})["double"](iter(range(1000)))) == list(range(0, 2000, 2))


def test_closing_at_either_end_reaches_the_generator(serve):
    ended = threading.Semaphore(0)

    def endless():
        try:
            while True:
                yield 1
        finally:
            ended.release()

    def take_one(items):
        return next(items)

    def take_one_and_drop(items):
        for item in items:
            return item
        return None

    hub = serve({"endless": endless, "take_one": take_one, "take": take_one_and_drop})
    with hub["endless"]() as items:
        next(items)
    assert ended.acquire(timeout=60), "closed by who takes them"
    items = hub["endless"]()
    next(items)
    del items
    assert ended.acquire(timeout=60), "dropped by who takes them"
    for name in ("take_one", "take"):
        assert hub[name](endless()) == 1
        assert ended.acquire(timeout=60), "the method that took them is over"


def test_an_object_is_the_same_wherever_it_comes_home(serve):
    @andiron.expose
    class Box:
        def __init__(self):
            self.kept = None

        def keep(self, thing):
            self.kept = thing

        def give(self):
            return self.kept

        def holds(self, thing):
            return self.kept == thing

        def is_itself(self, thing):
            return thing is self

    box = Box()
    hub = serve({"box": box, "box again": box})
    far = hub["box"]
    assert far == hub["box"] == hub["box again"]
    assert far.is_itself(far)
    assert far.is_itself(hub["box again"])
    assert far is not hub["box again"]
    assert hash(far) == hash(hub["box again"])
    mine, function = Box(), lambda: 1
    for thing in (mine, function, mine.keep):
        far.keep(thing)
        assert far.holds(thing)
        assert far.give() == thing
    far.keep(mine)
    assert far.give() is mine
    far.keep(function)
    assert far.give() is function
    far.keep(far)
    assert box.kept is box
    far.keep([{"deep": (mine, far)}])
    assert far.give()[0]["deep"][0] is mine
    assert far.give()[0]["deep"][1] == far
    mine.keep(far)
    far.keep(None)
    assert mine.kept is far


def until(true, hub):
    """Waits, with calls that tell the other end what was dropped."""
    for _ in range(10_000):
        gc.collect()
        if true():
            return True
        list(hub)
    return False


@pytest.mark.usefixtures("directly")
def test_who_is_held_by_nobody_any_more_is_given_free(serve):
    @andiron.expose
    class Thing:
        def name(self):
            return "thing"

    made = []

    def make():
        thing = Thing()
        made.append(weakref.ref(thing))
        return thing

    hub = serve({"make": make, "hear": lambda callback: callback()})
    things = [hub["make"]() for _ in range(10)]
    assert [thing.name() for thing in things] == ["thing"] * 10
    kept = things.pop()
    things.clear()
    assert until(lambda: sum(ref() is not None for ref in made) == 1, hub)
    assert kept.name() == "thing"
    method = kept.name
    del kept
    assert method() == "thing", "a method of it keeps it"
    del method
    assert until(lambda: all(ref() is None for ref in made), hub)

    class Callback:
        def hear(self):
            return "heard"

    callback = Callback()
    ref = weakref.ref(callback)
    assert hub["hear"](callback.hear) == "heard"
    del callback
    assert until(lambda: ref() is None, hub), "what was only passed is not kept by it"


@pytest.mark.usefixtures("directly")
def test_what_a_connection_held_is_given_free_with_it(serve):
    class Thing:
        def name(self):
            return "thing"

    thing = andiron.expose(Thing())
    ref = weakref.ref(thing)
    things = [thing]
    hub = serve({"give": lambda: things.pop()})
    proxy = hub["give"]()
    del thing
    gc.collect()
    assert ref() is not None
    hub.close()
    gc.collect()
    other = andiron.connect(hub.peer.strip("'"))
    assert until(lambda: ref() is None, other)
    with pytest.raises(ConnectionError):
        dir(proxy)


def test_ten_thousand_proxies_come_and_go(serve):
    @andiron.expose
    class Thing:
        __slots__ = ("__weakref__", "number")

        def __init__(self, number):
            self.number = number

        def tell(self):
            return self.number

    refs = []

    def make(count):
        things = [Thing(number) for number in range(count)]
        refs.extend(map(weakref.ref, things))
        return things

    hub = serve({"make": make})
    proxies = hub["make"](10_000)
    assert len(set(proxies)) == 10_000
    assert [proxies[number].tell() for number in (0, 5_000, 9_999)] == [0, 5_000, 9_999]
    del proxies
    assert until(lambda: not any(ref() for ref in refs), hub)


def test_an_async_method_of_a_server_without_a_loop_says_what_to_do(serve):
    class Later:
        @andiron.expose
        async def soon(self):
            raise AssertionError

    with pytest.raises(NotImplementedError, match=r"serve it by `andiron\.aio`"):
        serve({"later": Later()})["later"].soon()


def test_the_prompt_completes_methods_of_a_proxy(serve):
    import rlcompleter

    hub = serve({"far": Methods()})
    completer = rlcompleter.Completer({"far": hub["far"]})
    completions = iter(lambda: completer.complete("far.de", len(seen)), None)
    seen = []
    for completion in completions:
        seen.append(completion)
    assert [one.rstrip("()") for one in seen] == ["far.decorated", "far.decorated_too"]


def test_names_complete_and_hints_are_near(serve):
    hub = serve({"player": Methods(), "plain": print})
    assert shown(hub["player"]) == [name for name in shown(hub["player"]) if not name.startswith("_")]
    assert hub._ipython_key_completions_() == ["plain", "player", "store"]
    with pytest.raises(KeyError, match="do you mean `player`"):
        hub["playr"]
    with pytest.raises(KeyError, match="there are `plain`, `player`, `store`"):
        hub["xyzzy"]
    with pytest.raises(AttributeError, match="do you mean `static`"):
        hub["player"].statik
    with pytest.raises(AttributeError, match="it has `plain`"):
        hub["player"].xyzzy
    with pytest.raises(andiron.NoMethodError, match="do you mean `static`"):
        object.__getattribute__(hub["player"], "_andiron").method("statik")()
    with pytest.raises(AttributeError, match="begin with `_`"):
        hub["player"]._private
    with pytest.raises(AttributeError, match="begin with `_`"):
        hub["player"]._private = 1
