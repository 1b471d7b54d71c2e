"""Objects that are called from elsewhere."""

import gc
import threading

import pytest

import andiron


@andiron.expose
class Player:
    """Plays things."""

    def __init__(self):
        self._volume = 10
        self.tracks = ["Embers"]

    def seek(self, seconds: float, done=None) -> float:
        """Moves to `seconds`."""
        if done is not None:
            done("ok")
        return seconds

    @property
    def volume(self) -> int:
        return self._volume

    @volume.setter
    def volume(self, volume):
        self._volume = volume

    @property
    def length(self):
        return 3.5

    @staticmethod
    def kind():
        return "player"

    def fail(self, error):
        raise error

    def count(self, up_to):
        yield from range(up_to)

    def total(self, numbers):
        return sum(numbers)

    def itself(self):
        return self

    def is_itself(self, other):
        return other is self

    def _private(self):
        raise AssertionError("never called from elsewhere")

    def __len__(self):
        return len(self.tracks)

    def __getitem__(self, index):
        return self.tracks[index]

    def __contains__(self, track):
        return track in self.tracks

    def __iter__(self):
        return iter(self.tracks)

    def __setitem__(self, index, track):
        self.tracks[index] = track


@pytest.fixture
def hub(serve):
    return serve({"player": Player(), "double": lambda x: 2 * x})


@pytest.fixture
def player(hub):
    return hub["player"]


def test_a_method_is_called_with_positional_and_keyword_arguments(player):
    assert player.seek(1.5) == 1.5
    assert player.seek(seconds=2) == 2
    assert player.kind() == "player"


def test_a_function_is_an_object_and_a_callback(hub, player):
    assert hub["double"](21) == 42
    heard = []
    assert player.seek(1, heard.append) == 1
    assert heard == ["ok"]


def test_a_callback_that_is_kept_is_called_later_on_a_thread_of_its_own(serve):
    kept = []
    hub = serve({"keep": kept.append})
    heard = threading.Event()
    hub["keep"](heard.set)
    kept[0]()
    assert heard.wait(60)


def test_a_property_is_read_and_set(player):
    assert player.volume == 10
    player.volume = 11
    assert player.volume == 11
    with pytest.raises(AttributeError, match="cannot be set"):
        player.length = 1
    with pytest.raises(AttributeError, match="cannot be set"):
        player.seek = 1


def test_a_container_is_one_from_afar(player):
    assert len(player) == 1
    assert player[0] == "Embers"
    assert "Embers" in player
    assert "Ashes" not in player
    assert list(player) == ["Embers"]
    player[0] = "Ashes"
    assert player[0] == "Ashes"
    with pytest.raises(IndexError):
        player[5]
    assert player, "whatever its length is"


def test_what_is_not_exposed_is_not_there(player):
    with pytest.raises(AttributeError, match="do you mean `seek`"):
        player.seak(1)
    with pytest.raises(andiron.NoMethodError, match="begin with `_`"):
        player._private()
    with pytest.raises(AttributeError):
        player.tracks
    method = object.__getattribute__(player, "_andiron").method
    for name in ("_private", "__init__", "__class__", "tracks"):
        with pytest.raises(andiron.NoMethodError):
            method(name)()


def test_only_what_is_marked_is_exposed(serve):
    class Base:
        @andiron.expose
        def shown(self):
            return "shown"

        def hidden(self):
            raise AssertionError

    class Derived(Base):
        def shown(self):
            return "derived"

        def more(self):
            raise AssertionError

    @andiron.expose
    class Whole(Derived):
        def whole(self):
            return "whole"

    instance = andiron.expose(Derived())
    hub = serve({"derived": Derived(), "whole": Whole(), "instance": instance})
    assert dir(hub["derived"]) == ["shown"]
    assert hub["derived"].shown() == "derived"
    assert dir(hub["whole"]) == ["shown", "whole"]
    assert dir(hub["instance"]) == ["hidden", "more", "shown"]
    with pytest.raises(andiron.BadArgumentsError, match="shows nothing"):
        serve({"nothing": object()})


def test_wrong_arguments_are_refused_before_the_method_runs(player):
    with pytest.raises(andiron.BadArgumentsError, match="positional"):
        player.seek(1, 2, 3)
    with pytest.raises(andiron.BadArgumentsError, match="unexpected keyword"):
        player.seek(1, sped=2)
    with pytest.raises(TypeError) as raised:
        player.fail(TypeError("of the method"))
    assert type(raised.value) is TypeError


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ValueError("far", 2),
        OSError(2, "gone", "file"),
        ZeroDivisionError(),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_builtin_exception_arrives_as_its_class_with_the_remote_traceback(player, error):
    with pytest.raises(type(error)) as raised:
        player.fail(error)
    assert raised.value.args == error.args
    assert type(raised.value) is type(error)
    assert isinstance(raised.value.__cause__, andiron.RemoteTraceback)
    assert "in fail" in str(raised.value.__cause__)


class OwnError(Exception):
    pass


@pytest.mark.parametrize(
    "error", [OwnError("x", 1), StopIteration(3), KeyboardInterrupt(), SystemExit(2)], ids=repr
)
def test_what_would_mean_something_else_here_arrives_as_a_remote_error(hub, serve, error):
    def fail():
        raise error

    with pytest.raises(andiron.RemoteError) as raised:
        serve({"fail": fail})["fail"]()
    assert raised.value.type_name.endswith(type(error).__name__)
    assert raised.value.remote_args == error.args


def test_a_registered_exception_arrives_as_itself(serve):
    andiron.register(OwnError)

    def fail():
        raise OwnError("x", {"deep": (1,)})

    try:
        with pytest.raises(OwnError) as raised:
            serve({"fail": fail})["fail"]()
        assert raised.value.args == ("x", {"deep": (1,)})
    finally:
        for known in (andiron._errors.registered, andiron._values._classes):
            del known["OwnError"]
        del andiron._values._names[OwnError]


def test_a_stream_goes_either_way(player):
    assert list(player.count(1000)) == list(range(1000))
    assert player.total(iter(range(1000))) == 499500
    assert player.total(number * 2 for number in range(10)) == 90


def test_a_stream_that_is_closed_ends_its_generator(serve):
    ended = threading.Event()

    def endless():
        try:
            while True:
                yield "more"
        finally:
            ended.set()

    with serve({"endless": endless})["endless"]() as items:
        assert next(items) == "more"
    assert ended.wait(60)
    assert list(items) == []


def test_a_stream_that_fails_raises_as_a_call_does(serve):
    def failing():
        yield 1
        raise KeyError("x")

    items = serve({"failing": failing})["failing"]()
    assert next(items) == 1
    with pytest.raises(KeyError):
        next(items)


def test_an_object_comes_home_as_itself(serve):
    player, heard = Player(), []
    hub = serve({"player": player, "hear": heard.append})
    far = hub["player"]
    assert far.is_itself(far)
    assert far.itself() == far
    assert len({far.itself(), far}) == 1
    mine = Player()
    hub["hear"](mine)
    assert hub["hear"] is not None
    assert heard[0].volume == 10


def test_a_started_call_is_waited_for_later_and_again(player):
    started = player.seek.start(1.0)
    assert started.result() == 1.0
    assert started.result() == 1.0
    failing = player.fail.start(KeyError("x"))
    for _ in range(2):
        with pytest.raises(KeyError):
            failing.result()


def test_calls_of_a_batch_are_answered_in_order(hub, player):
    with hub.batch():
        started = [player.seek.start(number) for number in range(1000)]
    assert [call.result() for call in started] == list(range(1000))


def test_a_timeout_holds_for_the_block_and_is_inherited(serve):
    release = threading.Event()
    lefts = []

    def left():
        lefts.append(andiron.caller().time_left)

    hub = serve({"hang": release.wait, "left": left})
    try:
        with andiron.timeout(60):
            hub["left"]()
        hub["left"]()
        assert 0 < lefts[0] <= 60
        assert lefts[1] is None
        with andiron.timeout(0.05), pytest.raises(TimeoutError) as raised:
            hub["hang"]()
        assert raised.value.kind == "deadline"
    finally:
        release.set()


def test_a_method_calls_its_caller_back(serve):
    def ask():
        return andiron.caller()["answer"]() + 1

    hub = serve({"ask": ask})
    hub.register("answer", lambda: 41)
    assert hub["ask"]() == 42
    assert andiron.caller() is None


def test_calls_go_to_and_fro_in_one_chain(serve):
    def down(depth, up):
        return depth if depth == 0 else up(depth - 1, down)

    far = serve({"down": down})["down"]
    for _ in range(50):
        assert far(20, down) == 0


def test_one_way_calls_do_not_wait(serve):
    heard = threading.Event()
    hub = serve({"hear": heard.set})
    assert hub["hear"].__call__ is not None
    object.__getattribute__(hub["hear"], "_andiron").method("$call").notify()
    assert heard.wait(60)


def test_a_hub_is_a_mapping(hub):
    assert sorted(hub) == ["double", "player", "store"]
    assert len(hub) == 3
    assert "double" in hub
    assert hub.get("nobody") is None
    with pytest.raises(KeyError, match="no object is named 'nobody'"):
        hub["nobody"]


def test_a_closed_hub_says_so(hub, player):
    hub.close()
    with pytest.raises(ConnectionError) as raised:
        player.seek(1)
    assert raised.value.is_temporary()
    assert hub.fileno() == -1


def test_nobody_listens(home):
    with pytest.raises(ConnectionError, match="no server at 'andiron': start one with `andiron serve`"):
        andiron.connect()


def test_any_thread_uses_any_proxy_at_once(player):
    results = []

    def work(number):
        results.extend(player.seek(number) for _ in range(50))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(list(range(8)) * 50)


def test_a_dropped_proxy_is_given_back(serve):
    objects = []

    def make():
        objects.append(andiron.expose(Player()))
        return objects[-1]

    hub = serve({"make": make})
    proxies = [hub["make"]() for _ in range(100)]
    assert {proxy.volume for proxy in proxies} == {10}
    del proxies
    gc.collect()
    assert hub["make"]().volume == 10


@pytest.mark.usefixtures("directly")
def test_a_class_has_an_instance_for_each_connection_which_ends_with_it(serve):
    ended = threading.Event()

    @andiron.expose
    class Counter:
        def __init__(self):
            self.count = 0
            andiron.caller().on_end(ended.set)

        def next(self, by=1):
            self.count += by
            return self.count

    hub = serve({"counter": Counter})
    with andiron.connect(hub.peer.strip("'")) as other:
        assert [hub["counter"].next(), hub["counter"].next(), other["counter"].next()] == [1, 2, 1]
        with pytest.raises(andiron.BadArgumentsError):
            other["counter"].next(1, 2)
        with pytest.raises(andiron.NoMethodError):
            other["counter"].previous()
        assert not ended.is_set()
    assert ended.wait(60)
    assert hub["counter"].next() == 3


def test_an_instance_that_is_false_is_kept_all_the_same(serve):
    @andiron.expose
    class Basket:
        def __init__(self):
            self.things = []

        def __len__(self):
            return len(self.things)

        def put(self, thing):
            self.things.append(thing)

    basket = serve({"basket": Basket})["basket"]
    assert len(basket) == 0
    basket.put("apple")
    basket.put("pear")
    assert len(basket) == 2


def test_a_hub_and_a_proxy_are_pickled_as_where_they_are_found(hub):
    import pickle

    double = pickle.loads(pickle.dumps(hub["double"]))
    assert double(2) == 4
    assert pickle.loads(pickle.dumps(hub))["double"](3) == 6
    with pytest.raises(TypeError, match="by its name"):
        pickle.dumps(hub["player"].itself())


def test_what_can_be_sent_can_be_asked(hub):
    assert andiron.can_send({"a": [1, Player(), hub["double"], hub["double"].__call__]})
    assert not andiron.can_send([threading.Lock()])
    assert andiron.can_send(iter([1]))


def test_a_hub_of_this_process_needs_no_address(home):
    with andiron.connect(objects={"double": lambda x: 2 * x}) as hub:
        assert hub["double"](21) == 42
        hub.store["x"] = 1
        assert dict(hub.store) == {"x": 1}
        folder = hub.peer
    with pytest.raises(ConnectionError):
        hub["double"]
    assert not list(home.glob("andiron*")), folder


def test_an_object_of_a_hub_in_memory_is_there_as_long_as_its_proxy():
    double = andiron.connect(objects={"double": lambda x: 2 * x})["double"]
    gc.collect()
    assert double(21) == 42


def test_an_object_of_a_hub_in_memory_ends_when_that_is_closed():
    with andiron.connect(objects={"double": lambda x: 2 * x}) as hub:
        double = hub["double"]
    with pytest.raises(ConnectionError):
        double(21)


def test_an_argument_by_name_may_be_as_deep_as_one_by_position(serve):
    deep = andiron.decode(b"\x91" * 100 + b"\xc0")
    echo = serve({"echo": lambda value: value})["echo"]
    assert echo(deep) == echo(value=deep) == deep
