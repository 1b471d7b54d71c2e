"""Threads, interrupts and collectors that meet in the engine in Python alone: each test is of one meeting, which it brings about."""

import contextlib
import dis
import logging
import sys
import threading

import pytest

import andiron
from andiron._pure import connection, flows, line, pool, streams, target
from andiron._pure.failure import Failure
from andiron._pure.line import ask
from andiron._pure.remote import Far
from andiron._pure.transport import channel

if andiron.engine != "pure":
    pytest.skip("about the pure engine", allow_module_level=True)


@pytest.fixture
def links():
    """Both ends of a connection within this process, which nobody reads."""
    near, far = channel.pair()
    both = [
        connection.link_over(end, initiator, "user", None, 10.0)
        for end, initiator in ((near, True), (far, False))
    ]
    while not all(link.ready for link in both):
        for link in both:
            link.step(0)
    yield both
    for link in both:
        link.close()


class Watched:
    """A session, of which it is told whether it was used with the lock."""

    def __init__(self, link, **other):
        self._link, self._session, self._other = link, link.session, other
        self.unlocked = []

    def __getattr__(self, name):
        if name in self._other:
            return self._other[name]
        if not self._link.lock.locked():
            self.unlocked.append(name)
        return getattr(self._session, name)


def elsewhere(work):
    """Runs it on another thread; whether that came to an end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


class Job:
    """Something to be run."""

    notify = False

    def __init__(self):
        self.ran = 0
        self.object = self

    def run(self, _call):
        self.ran += 1


class Never:
    ready = False


def test_the_times_of_calls_are_looked_at_under_the_lock(links):
    link = links[0]
    watched = link.session = Watched(link)
    link._ticks = True
    link.next_timeout()
    link.step(0)
    assert "poll_timeout" not in watched.unlocked
    assert "handle_timeout" not in watched.unlocked


def test_a_job_is_taken_under_the_lock(links):
    link = links[0]
    taken = []

    class Jobs(type(link.jobs)):
        def popleft(self):
            taken.append(link.lock.locked())
            return super().popleft()

    job = Job()
    link.jobs = Jobs([job])
    link.run_job()
    assert (job.ran, taken) == (1, [True])


def test_what_waits_is_run_though_its_connection_cannot_be_watched(links, monkeypatch):
    link = links[0]
    loop = pool.Pool()

    def closed(_link):
        raise OSError("it is closed")

    job = Job()
    link.jobs.append(job)
    monkeypatch.setattr(loop, "_watch", closed)
    loop.wants(link)
    with pytest.raises(OSError, match="it is closed"):
        loop.turn(0.0)
    loop.run_waiting()
    assert job.ran == 1
    loop.stop(0.0)


def test_who_wakes_the_loop_while_it_wakes_is_heard(links):
    loop = pool.Pool()

    class Here:
        def __init__(self, sock):
            self.sock = sock

        def recv(self, size):
            # Another one wakes it between its being woken and the end of that.
            elsewhere(lambda: loop.wants(links[0]))
            return self.sock.recv(size)

    loop._here = Here(loop._here)
    loop.wake()
    loop.step(0.0)
    loop._here = loop._here.sock
    assert not loop._noted
    elsewhere(loop.wake)
    assert loop._here.recv(16)
    loop.stop(0.0)


def test_a_timer_that_fails_takes_no_other_along():
    loop = pool.Pool()
    ran = []

    def fail():
        raise ValueError("this one")

    loop.at(0.0, fail)
    loop.at(0.0, lambda: ran.append(1))
    with pytest.raises(ValueError, match="this one"):
        loop.step(0.0)
    loop.step(0.0)
    assert ran == [1]
    loop.stop(0.0)


def test_a_job_that_is_interrupted_leaves_those_behind_it(links):
    link = links[0]
    loop = pool.Pool()

    class Interrupted(Job):
        def run(self, _call):
            raise KeyboardInterrupt

    job = Job()
    link.jobs.extend([Interrupted(), job])
    loop._waiting.append(link)
    with pytest.raises(KeyboardInterrupt):
        loop.run_waiting()
    loop.run_waiting()
    assert job.ran == 1
    loop.stop(0.0)


def test_the_other_end_of_a_wait_in_a_chain_goes_on_when_one_of_two_gives_up(links, monkeypatch):
    link = links[0]
    inside, go_on = threading.Event(), threading.Event()
    other = threading.Thread(target=link.wait, args=(Never(), 7), daemon=True)

    def wait(_thing, _chain, until):
        if until is not None:
            other.start()
            inside.wait(60)
        else:
            inside.set()
            go_on.wait(60)
        return False

    monkeypatch.setattr(link, "_wait", wait)
    assert not link.wait(Never(), 7, 0.0)
    assert link._chains == {7: 1}  # what is called back is still for the other one
    go_on.set()
    other.join(60)
    assert link._chains == {}


def test_what_is_to_be_done_is_done_though_a_ctrl_c_comes_between(links):
    done = []

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        links[0].do([(interrupted, ()), (done.append, (1,)), (done.append, (2,))])
    assert done == [1, 2]


def test_a_stream_waits_while_the_other_end_does_not_read(links):
    link = links[0]
    key = True, 1
    sending = streams.Sending(link, key, streams.Outflow(iter(range(3))))
    link._sendings[key] = sending
    session = link.session
    link.session = Watched(link, is_congested=True, stream_credit=lambda _: 3)
    link.more(sending)
    while link.run_job():
        assert not link.jobs
    sent = []
    link.session = Watched(
        link, is_congested=False, stream_credit=lambda _: 3, item=lambda *item: sent.append(item)
    )
    link.push()
    assert list(link.jobs) == [sending]
    link.session = session
    link._sendings.clear()


def test_a_stream_that_finds_nothing_behind_the_goodbye_ends(links):
    link = links[0]
    key = True, 1
    feed = streams.Feed(lambda: None, lambda: None)
    sending = streams.Sending(link, key, feed)
    link._sendings[key] = sending
    sending.busy = True  # a thread is at it, when the goodbye comes
    link._takes_no_calls = True
    assert link.rest(sending, True)
    assert key not in link._sendings


class Told:
    """A call as a session tells it."""

    id, target, promise, method, chain, deadline, annotations, notify, payload = (
        1,
        0,
        False,
        "x",
        0,
        None,
        None,
        False,
        None,
    )


def test_a_handler_that_is_collected_under_the_lock_fails_its_call_later(links):
    link = links[0]
    answered = []
    call = target.Call(link, Told)
    link.answer = lambda *answer: answered.append(answer)
    answers = [target.Answer(call)]

    def collect():
        with link.lock:
            answers.clear()

    assert elsewhere(collect)
    link.push()
    assert [failure.kind for _, _, _, failure in answered] == ["internal"]
    del link.answer


def test_a_stream_can_be_closed_under_the_lock(links):
    link = links[0]
    inflow = streams.Inflow(link, (True, 1))
    watched = link._inflows[True, 1] = flows._Watched(inflow, link._stream_dropped)
    watched.stream = True, 1

    def close():
        with link.lock:
            inflow.close()

    assert elsewhere(close)
    link.push()
    assert link._inflows == {}


def test_who_waits_for_an_item_hears_that_the_stream_was_closed_here(links):
    inflow = streams.Inflow(links[0], (True, 1))
    told = []
    assert not inflow.attend(lambda: told.append(1))
    inflow.close()
    assert told == [1]


def test_two_threads_that_find_a_connection_lost_have_one_made():
    class Lost:
        is_leaving = closed_here = True
        ended = None

        def check_fork(self):
            pass

        def on_end(self, _hook):
            pass

    first, made = Lost(), []

    def again(_timeout):
        made.append(Lost())
        return made[-1]

    one = line.Line(first, again, 10.0, "it")

    class Lock:
        """Between one's look at the connection and its turn, another one has made the next."""

        def __enter__(self):
            if not made:
                one.link = again(0.0)

        def __exit__(self, *_):
            pass

    one._lock = Lock()
    one.follow(first)
    assert [one.link] == made


def test_calls_begin_in_their_order_however_long_their_arguments_take_to_read(links):
    link = links[0]
    loop = pool.Pool(4)
    run = pool.Run(link)
    call = target.Call(link, Told)
    run.job, run.began = call, 0.0
    loop._runs[link] = [run]
    link.jobs.append(Job())
    loop.begin = lambda _run: None
    loop._look_after_long(1.0)
    assert loop._runs[link] == [run]
    call.begun = True
    loop._look_after_long(1.0)
    assert len(loop._runs[link]) == 2
    link.jobs.clear()
    loop.stop(0.0)


def test_a_call_asks_the_host_each_time_nothing_came(links, monkeypatch):
    link = links[0]
    reads = []

    def read(timeout):
        reads.append(timeout)
        link._reader = 0

    monkeypatch.setattr(link, "_read", read)
    andiron.abort_when(lambda: True)
    try:
        with pytest.raises(andiron.CancelledError):
            ask(Far(link, 0), "names", ())
    finally:
        andiron.abort_when(None)
    assert len(reads) == 1


def test_no_thread_hangs_wherever_a_ctrl_c_comes(home):
    """A tracing function raises at each place in turn at which a signal could: behind a call, and at the beginning of a function."""
    gate = threading.Event()
    objects = {
        "wait": lambda: gate.wait(60),
        "double": lambda x: 2 * x,
        "back": lambda call: call(3),
        "sum": sum,
    }
    with andiron.Server(objects, f"unix:{home}/socket", state=False, threads=4) as server:
        place, came = 0, True
        while came:
            place += 7  # a step that meets other places with each call
            gate.clear()
            with andiron.connect(server.addresses[0], pump=False) as hub:
                double, back, add, wait = hub["double"], hub["back"], hub["sum"], hub["wait"]
                other = threading.Thread(target=ignoring(wait), daemon=True)
                other.start()

                def work():
                    assert double(1) == 2  # noqa: B023
                    assert back(lambda x: x + 1) == 4  # noqa: B023
                    assert add(iter(range(3))) == 3  # noqa: B023

                came = interrupted_at(place, work)
                ignoring(double)(4)
                gate.set()
                other.join(60)
                assert not other.is_alive(), place


def ignoring(call):
    def work(*args):
        with contextlib.suppress(andiron.Error):
            call(*args)

    return work


def interrupted_at(place, work):
    """Whether it was interrupted at this place."""
    names = {}
    left = [place]
    before = {}
    checks = {
        "CALL",
        "CALL_FUNCTION",
        "CALL_METHOD",
        "CALL_FUNCTION_EX",
        "JUMP_BACKWARD",
        "JUMP_ABSOLUTE",
        "RESUME",
    }

    def at(frame, event, _):
        if event != "opcode":
            return at
        code = frame.f_code
        if code not in names:
            names[code] = {one.offset: one.opname for one in dis.get_instructions(code)}
        last, before[frame] = before.get(frame), names[code][frame.f_lasti]
        if last in checks and left[0] > 0:
            left[0] -= 1
            if not left[0]:
                sys.settrace(None)
                raise KeyboardInterrupt
        return at

    def begin(frame, _event, _):
        if not frame.f_code.co_filename.endswith(
            ("reading.py", "link.py", "flows.py", "streams.py", "remote.py")
        ):
            return None
        frame.f_trace_opcodes = True
        return at

    sys.settrace(begin)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return left[0] == 0


@pytest.mark.parametrize("ended", [True, False])
def test_a_refusal_is_told_of_though_the_server_stops_before_it_comes_to_that(home, caplog, ended):
    """Who was sent home by the stop was not refused."""
    server = andiron.Server({}, f"unix:{home}/socket", state=False, threads=1)
    why = Failure("authentication", "the secret is wrong")

    class Guest:
        label = "tcp 127.0.0.1:1"

    Guest.ended = why if ended else None
    guest = Guest()
    server._running._site._guests[guest] = None
    with caplog.at_level(logging.WARNING, "andiron"):
        server.stop()
        server._running._site._gone(guest, why)
    assert ["the secret is wrong" in record.getMessage() for record in caplog.records] == [True] * ended
