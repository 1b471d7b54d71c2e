"""Several interpreters of one process at once, as Kodi has one for each script: the engine in each of them is the pure one."""

import sys
import textwrap
import threading

import pytest

import andiron
from conftest import ROOT, needs_unix

try:
    import _interpreters as interpreters
except ImportError:  # before 3.13
    interpreters = pytest.importorskip("_xxsubinterpreters")

pytestmark = needs_unix


def created(kind):
    """One as a program that embeds Python makes it, with the lock and the modules of the others; or `isolated`, with a lock of its own from Python 3.12 on, and threads hardly."""
    if kind == "isolated" or sys.version_info < (3, 9):
        return interpreters.create()
    if interpreters.__name__ == "_interpreters":
        return interpreters.create("legacy")
    return interpreters.create(isolated=False)


class Inside:
    """Code that runs in an interpreter of its own, on a thread of its own."""

    def __init__(self, folder, code, kind="embedded", **names):
        self._kind = kind
        self._out = folder / f"out{id(self)}"
        self._wrong = None
        preparation = f"""
            import sys
            sys.path[:] = {[str(ROOT / "python"), *sys.path]!r}

            def tell(*words, out={str(self._out)!r}):
                with open(out, "a") as file:
                    print(*words, file=file)
        """
        given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        self._code = textwrap.dedent(preparation) + given + textwrap.dedent(code)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        interpreter = created(self._kind)
        try:
            self._wrong = interpreters.run_string(interpreter, self._code)
        except Exception as error:  # before 3.13 it is raised
            self._wrong = error
        finally:
            interpreters.destroy(interpreter)

    def told(self):
        """What it told, when it is at its end."""
        self._thread.join(timeout=120)
        assert not self._thread.is_alive()
        assert self._wrong is None, self._wrong
        return self._out.read_text().splitlines()


SERVES = """
    import andiron

    class Desk:
        def __init__(self):
            self._over = False

        @andiron.expose
        def double(self, number):
            return 2 * number

        @andiron.expose
        def each(self, numbers, call):
            return [call(number) for number in numbers]

        @andiron.expose
        def end(self):
            self._over = True

    desk = Desk()
    with andiron.Server({"desk": desk}, address, state=False) as server:
        while not desk._over:
            server.wait(0.01)
    tell(andiron.engine, "served")
"""

CALLS = """
    import andiron

    with andiron.connect(address, wait=60) as hub:
        desk = hub["desk"]
        tell(andiron.engine, desk.double(21))
        tell(desk.each(iter([1, 2, 3]), lambda number: number + 1))
        hub.store[name] = {"a": [1, 2.5, None, b"x"]}
        tell(hub.store[name], hub.store.get("nothing"))
        tell(hub.store.incr("count") > 0)
"""
TOLD = ["pure 42", "[2, 3, 4]", "{'a': [1, 2.5, None, b'x']} None", "True"]


@pytest.fixture
def address(home):
    return f"unix:{home}/socket"


def test_the_engine_of_a_sub_interpreter_is_pure_and_that_of_the_main_one_stays(tmp_path):
    inside = Inside(
        tmp_path, "import andiron; tell(andiron.engine, andiron.decode(andiron.encode([1, 'a'])))"
    )
    assert inside.told() == ["pure [1, 'a']"]
    assert andiron.decode(andiron.encode("the main one works")) == "the main one works"


def test_the_command_is_refused_there_in_words(tmp_path):
    code = """
        from andiron import _choice
        tell(*_choice.native())
    """
    (told,) = Inside(tmp_path, code).told()
    assert told.startswith("None the native engine of andiron works in the main interpreter")


def test_several_call_a_server_of_the_main_interpreter(tmp_path, address):
    class Desk:
        @andiron.expose
        def double(self, number):
            return 2 * number

        @andiron.expose
        def each(self, numbers, call):
            return [call(number) for number in numbers]

    with andiron.Server({"desk": Desk()}, address, state=False) as server:
        inside = [Inside(tmp_path, CALLS, address=address, name=f"name{at}") for at in range(3)]
        for one in inside:
            assert one.told() == TOLD
        assert server.connect().store["count"] == 3


@pytest.mark.parametrize("kind", ["embedded", "isolated"])
def test_one_serves_and_several_and_the_main_one_call_it(tmp_path, address, kind):
    server = Inside(tmp_path, SERVES, kind, address=address)
    inside = [Inside(tmp_path, CALLS, kind, address=address, name=f"name{at}") for at in range(3)]
    for one in inside:
        assert one.told() == TOLD
    with andiron.connect(address, wait=60) as hub:
        assert hub["desk"].each([1, 2], lambda number: number * 10) == [10, 20]
        assert hub.store["count"] == 3
        hub["desk"].end()
    assert server.told() == ["pure served"]


def test_several_serve_at_once_and_each_has_its_own(tmp_path, home):
    addresses = [f"unix:{home}/socket{at}" for at in range(3)]
    servers = [Inside(tmp_path, SERVES, address=address) for address in addresses]
    for at, address in enumerate(addresses):
        with andiron.connect(address, wait=60) as hub:
            assert hub["desk"].double(at) == 2 * at
            hub["desk"].end()
    for server in servers:
        assert server.told() == ["pure served"]


LEFT = """
import sys
import {interpreters} as interpreters
sys.path.insert(0, {path!r})
one = interpreters.{create}
wrong = interpreters.run_string(one, '''
import sys
sys.path[:] = {path!r},  *sys.path
import andiron
server = andiron.Server({{"double": lambda x: 2 * x}}, "left", state=False, threads=2)
hub = andiron.connect("left", pump=True, retry=60)
hub.register("triple", lambda x: 3 * x)
inside = andiron.connect(objects={{"double": lambda x: 2 * x}})
assert (hub["double"](2), inside["double"](2)) == (4, 4)
''')
assert wrong is None, wrong.formatted
interpreters.destroy(one)
print("ended")
"""


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="before Python 3.12 one with threads is not asked to end"
)
def test_one_ends_whatever_was_left_open_in_it(processes):
    """With a thread left in it Python would end the whole process."""
    create = 'create("legacy")' if interpreters.__name__ == "_interpreters" else "create(isolated=False)"
    code = LEFT.format(interpreters=interpreters.__name__, create=create, path=str(ROOT / "python"))
    assert processes.python(code).communicate(timeout=60)[0] == "ended\n"
