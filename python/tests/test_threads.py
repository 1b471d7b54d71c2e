"""Many threads at the same hub."""

import threading

import pytest

import andiron

THREADS, ROUNDS = 16, 100


def together(work, threads=THREADS):
    """Runs it on so many threads at once, each with its number; raises what one of them raised."""
    failed = []
    begin = threading.Barrier(threads)

    def run(number):
        try:
            begin.wait()
            work(number)
        except BaseException as error:
            failed.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failed:
        raise failed[0]


@andiron.expose
class Player:
    def __init__(self):
        self.position = 0

    def seek(self, seconds, done=None):
        return seconds if done is None else done(seconds)

    def count(self, up_to):
        yield from range(up_to)

    def total(self, items):
        return sum(items)

    def fail(self, number):
        raise KeyError(number)

    def itself(self):
        return self


@pytest.fixture(params=["unix", "tcp", "memory"])
def hub(request, home):
    objects = {"player": Player(), "double": lambda x: 2 * x}
    if request.param == "memory":
        with andiron.connect(objects=objects) as hub:
            yield hub
        return
    address = f"unix:{home}/socket" if request.param == "unix" else "tcp://127.0.0.1:0"
    with andiron.Server(objects, address, state=False) as server, andiron.connect(server.addresses[0]) as hub:
        yield hub


def test_all_threads_use_one_hub_its_proxies_and_its_store(hub):
    player, double, store = hub["player"], hub["double"], hub.store

    def work(number):
        mine = f"of {number}"
        for step in range(ROUNDS):
            value = number * 1000 + step
            assert player.seek(value) == value
            assert player.seek(value, lambda seconds: seconds + 1) == value + 1
            assert double(value) == 2 * value
            store[mine] = value
            assert store[mine] == value
            store.incr("all")
            with pytest.raises(KeyError, match=str(value)):
                player.fail(value)
            if step % 10 == 0:
                assert list(player.count(50)) == list(range(50))
                assert player.total(iter(range(20))) == 190
                assert hub["player"] == player.itself()
                pending = [player.seek.start(index) for index in range(20)]
                assert [call.result() for call in pending] == list(range(20))
                with hub.batch():
                    pending = [player.seek.start(index) for index in range(20)]
                assert [call.result() for call in pending] == list(range(20))
                with andiron.timeout(50):
                    assert player.seek(1) == 1

    together(work)
    assert store["all"] == THREADS * ROUNDS


def test_each_thread_makes_and_drops_hubs_of_its_own(home):
    with andiron.Server({"player": Player()}, f"unix:{home}/socket", state=False) as server:

        def work(number):
            for _ in range(10):
                with andiron.connect(server.addresses[0]) as hub:
                    assert hub["player"].seek(number, lambda seconds: seconds) == number
                    hub.store["x"] = number
                    hub.register(f"of {number}", Player())
                    assert hub[f"of {number}"].seek(1) == 1

        together(work)


def test_each_change_is_told_to_every_watcher(hub):
    store = hub.store

    def work(number):
        if number:
            store.set(f"from {number}", number)
            return
        seen = set()
        for change in store.watch("from *"):
            seen.add(change.entry.value)
            if len(seen) == THREADS - 1:
                return

    together(work)


def test_compare_and_set_loses_nothing(hub):
    store = hub.store
    store["list"] = []

    def work(number):
        for step in range(10):
            store.change("list", lambda numbers: [*numbers, (number, step)])  # noqa: B023

    together(work, 4)
    assert sorted(store["list"]) == [(number, step) for number in range(4) for step in range(10)]


def test_another_thread_goes_on_while_one_waits(serve):
    began, release = threading.Event(), threading.Event()

    def wait():
        began.set()
        assert release.wait(60)

    hub = serve({"wait": wait, "double": lambda x: 2 * x})
    waits = [
        hub["wait"],
        lambda: next(hub.store.watch("released")),
        lambda: hub["wait"].__call__(),
    ]
    threads = [threading.Thread(target=wait) for wait in waits]
    for thread in threads:
        thread.start()
    assert began.wait(60)
    # Python itself, and calls over the same connection.
    assert sum(range(100_000)) == 4_999_950_000
    assert hub["double"](2) == 4
    hub.store["released"] = True
    release.set()
    for thread in threads:
        thread.join()


def test_one_thread_at_a_time_waits_for_an_item(serve):
    begin = threading.Event()

    def numbers():
        begin.wait(60)
        yield 1

    hub = serve({"numbers": numbers})
    for items, release in (
        (hub["numbers"](), begin.set),
        (hub.store.watch("begins"), lambda: hub.store.set("begins", 1)),
    ):
        taken, heard = [], []

        def take(items=items, taken=taken, heard=heard):
            try:
                taken.append(next(items))
            except RuntimeError as error:
                heard.append(str(error))

        threads = [threading.Thread(target=take) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not heard:
            pass
        release()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        assert ["another thread waits for the next item" in text for text in heard] == [True]


def test_closing_a_hub_ends_what_other_threads_wait_for(serve):
    began = threading.Semaphore(0)

    def wait():
        began.release()
        threading.Event().wait(0.5)

    hub = serve({"wait": wait})
    wait_there = hub["wait"]

    def work(number):
        if number == 0:
            for _ in range(7):
                assert began.acquire(timeout=60)
            hub.close()
        while True:
            wait_there()

    with pytest.raises(ConnectionError):
        together(work, 8)
