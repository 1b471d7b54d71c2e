"""service.ipcdatastore in a real Kodi, where no program has the store: it is in the service itself, or in a server that somebody else has started, here or on another machine."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from conftest import PROGRAM, TESTS, zip_of
from kodi import OTHER_HOST
from test_ipcdatastore import CLIENT, ID, WATCHER, begun, close, get, set_, shown


@pytest.fixture(scope="module")
def kodi(new_kodi, zips, tmp_path_factory):
    reader = tmp_path_factory.mktemp("addons") / "script.andiron.reader"
    shutil.copytree(TESTS, reader, ignore=shutil.ignore_patterns("__pycache__"))
    description = (reader / "addon.xml").read_text()
    description = description.replace("script.andiron.tests", reader.name).replace("script.module.ipc", ID)
    (reader / "addon.xml").write_text(description)
    kodi = new_kodi(zip_of(zips, "script.module.ipc"), zip_of(zips, ID), reader).start()
    begun(kodi)
    yield kodi
    kodi.kill()


def test_without_a_program_the_service_has_the_store_and_says_why(kodi):
    what, why, _ = begun(kodi)
    assert what == "This service"
    assert why == "There is no program andiron: not in this add-on, not on PATH, and the settings name none"
    kodi.until(lambda: shown(kodi)[3], "the page to tell of the test")
    assert shown(kodi)[:3] == [what, "PYRO:kodi-IPC@localhost:9099", why]


def test_an_add_on_that_requires_the_service_imports_its_modules(kodi):
    told = kodi.python(
        """
import datastore, ipcclientx, ipcclientxerrors
client = ipcclientx.IPCClientX(addon_id="service.ipcdatastore")
client.raise_exception = True
client.set("x", 20)
answer([client.addonname, client.get("x"), ipcclientxerrors.IPCERROR_NONSERIALIZABLE])
""",
        addon="script.andiron.reader",
    )
    assert told == ["script.andiron.reader", 20, 5]


def test_a_program_that_the_settings_name_has_the_store_from_then_on(kodi):
    if not PROGRAM.exists():
        pytest.skip("there is no target/debug/andiron (cargo build -p andiron-cli)")
    set_(kodi, "kept", 1, persist=True)
    _, _, since = begun(kodi)
    kodi.setting(ID, program=str(PROGRAM))
    what, why, since = begun(kodi, since)
    assert what.startswith("Program beside Kodi (andiron ")
    assert why == f"The program in the settings: {PROGRAM}"
    assert get(kodi, "kept") == 1
    kodi.setting(ID, program="/nowhere/andiron")
    what, why, since = begun(kodi, since)
    assert what == "This service"
    assert why.startswith("/nowhere/andiron cannot run here: ")
    assert get(kodi, "kept") == 1
    kodi.setting(ID, program="")
    begun(kodi, since)


def test_what_the_settings_name_and_is_not_the_program_does_not_hold_the_service_up(kodi, tmp_path):
    other = tmp_path / "other"
    other.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/left\necho something else\n")
    since = len(kodi.log())
    kodi.setting(ID, program=str(other))
    what, why, since = begun(kodi, since)
    os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)  # what it has started, and left behind
    assert (what, why) == (
        "This service",
        f"{other} cannot run here: `--version` says 'something else'",
    )
    kodi.setting(ID, program="")
    begun(kodi, since)


#: A script that has the modules of the service.
OF_SERVICE = """
import os, sys, xbmcaddon, xbmcvfs
sys.path.insert(0, xbmcvfs.translatePath(xbmcaddon.Addon("service.ipcdatastore").getAddonInfo("path")))
"""


def test_where_there_is_no_room_for_a_program_no_part_of_it_is_left(kodi):
    told = kodi.python(
        OF_SERVICE
        + """
from resources.lib.store_service import host, program

def full(source, copy):
    with open(copy, "wb") as file:
        file.write(b"a part of it")
    raise OSError(28, "No space left on device")

program.shutil.copyfile = full
try:
    program.found("/bin/sh")
except program.CannotRun as error:
    answer([str(error), os.listdir(host.folder("bin"))])
"""
    )
    assert told[0] == "/bin/sh cannot run here: [Errno 28] No space left on device"
    assert "andiron.new" not in told[1]


def test_results_of_the_tests_are_shown_also_where_no_file_can_have_them(kodi):
    (kodi.data(ID) / "selftest.log").mkdir()
    since = len(kodi.log())
    script = kodi.begin(
        OF_SERVICE
        + """
from resources.lib.store_service import actions, selftest
selftest.detailed = lambda settings: (part for part in [(1.0, "", selftest.Result("here", "A test.", 1.0, None))])
actions.run(["detailed"])
answer(True)
"""
    )
    kodi.wait_for_log("All 1 tests have passed.", since)
    close(kodi, "Text viewer")
    assert script.result()
    (kodi.data(ID) / "selftest.log").rmdir()


def test_the_simple_test_asks_once_where_nobody_answers(kodi, tmp_path):
    secret = new_secret(tmp_path)
    asked = []

    def hang_up():
        with contextlib.suppress(OSError):
            while True:
                asked.append(server.accept()[0].close())

    since = len(kodi.log())
    with socket.create_server((OTHER_HOST, 9150)) as server:
        thread = threading.Thread(target=hang_up)
        thread.start()
        kodi.setting(ID, startserver=False, host=OTHER_HOST, port=9150, secret=str(secret))
        kodi.wait_for_log(f"{ID}: Not wanted", since)
        kodi.rpc("Addons.ExecuteAddon", addonid=ID, params=["simple"])
        kodi.wait_for_log(f"{ID}: The store is not there", since)
        close(kodi, "OK dialog")
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(asked) == 1
    since = len(kodi.log())
    kodi.setting(ID, startserver=True, host="localhost", port=9099, secret="")
    begun(kodi, since)


def test_a_secret_that_is_none_is_told_in_the_words_of_the_settings_page(kodi):
    for settings, why in (
        ({"secret": "rubbish"}, "Secret is neither a secret nor the path of its file: "),
        ({"secret": "andiron1-rubbish"}, "`Secret`: this secret is damaged: "),
        ({"secret": "", "host": "0.0.0.0"}, "and give it to both ends by `Secret`"),
    ):
        kodi.setting(ID, **settings)
        kodi.until(lambda why=why: why in shown(kodi)[2], f"the page to tell {why!r}")
    since = len(kodi.log())
    kodi.setting(ID, host="localhost")
    begun(kodi, since)


def test_a_way_that_the_settings_ask_for_and_that_is_not_there_is_told_and_no_other_is_taken(kodi):
    for way, why in ((1, "There is no program andiron"), (2, "No server is at tcp://localhost:9099")):
        since = len(kodi.log())
        kodi.setting(ID, way=way)
        kodi.wait_for_log(f"{ID}: There is no store: ", since)
        kodi.until(lambda why=why: why in shown(kodi)[2], f"the page to tell {why!r}")
    since = len(kodi.log())
    kodi.setting(ID, way=0)
    begun(kodi, since)


#: A server that somebody else runs, until its input ends.
OUTSIDE = """
import sys, andiron
with andiron.Server({}, "tcp://localhost:9120", state=False, threads=4) as server:
    print("there", flush=True)
    sys.stdin.read()
"""


def test_a_server_that_runs_already_has_the_store_and_when_it_ends_another_one_is_begun(kodi):
    _, _, since = begun(kodi)
    with kodi.outside(OUTSIDE) as process:
        assert process.stdout.readline() == "there\n"
        kodi.setting(ID, port=9120)
        what, why, since = begun(kodi, since)
        assert (what, why) == ("Server that ran already", "A server was at localhost, port 9120, already")
        set_(kodi, "x", 20)
        told = kodi.python(
            "import andiron\nanswer(andiron.connect('tcp://localhost:9120').store.author('tests')['x'])"
        )
        assert told == 20
    what, _, since = begun(kodi, since)
    assert what == "This service"
    kodi.setting(ID, port=9099)
    begun(kodi, since)


#: One where another program than the service offers the object by which clients find the store, until it is told a line.
OFFERED = """
import sys, andiron

@andiron.expose
class Store:
    def beside(self):
        return None

with andiron.Server({}, "tcp://localhost:9121", state=False, threads=4) as server:
    with andiron.connect("tcp://localhost:9121", pump=True) as hub:
        hub.register("kodi-IPC", Store())
        print("there", flush=True)
        sys.stdin.readline()
    print("gone", flush=True)
    sys.stdin.read()
"""


def test_clients_find_the_store_of_a_server_also_when_another_kodi_that_offered_it_has_gone(kodi):
    available = "from ipc.ipcclient import IPCClient\nanswer(IPCClient(port=9121).server_available())"
    _, _, since = begun(kodi)
    with kodi.outside(OFFERED) as process:
        assert process.stdout.readline() == "there\n"
        kodi.setting(ID, port=9121)
        _, _, since = begun(kodi, since)
        set_(kodi, "x", 20)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "gone\n"
        kodi.until(lambda: kodi.python(available), "the object to be offered again")
        assert get(kodi, "x") == 20
    begun(kodi, since)
    since = len(kodi.log())
    kodi.setting(ID, port=9099)
    begun(kodi, since)


def new_secret(folder):
    """The file of a secret."""
    if not PROGRAM.exists():
        pytest.skip("there is no target/debug/andiron (cargo build -p andiron-cli)")
    secret = folder / "secret"
    subprocess.run([PROGRAM, "secret", "new", "--secret-file", secret], check=True, capture_output=True)
    return secret


def test_a_server_on_another_machine_has_the_store_and_who_has_no_secret_is_told(kodi, tmp_path):
    secret = new_secret(tmp_path)
    words = [
        "serve",
        "--no-local",
        "--listen",
        f"tls://{OTHER_HOST}:9130",
        "--secret-file",
        secret,
        "--exit-with-parent",
    ]
    with subprocess.Popen(
        [PROGRAM, *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr.readline().startswith("listening at ")
            _, _, since = begun(kodi)
            kodi.setting(ID, host=OTHER_HOST, port=9130)
            kodi.wait_for_log(f"{ID}: There is no store: ", since)
            kodi.until(lambda: "andiron secret new" in shown(kodi)[2], "the page to tell what is to be done")
            kodi.setting(ID, secret=str(secret))
            what, why, since = begun(kodi, since)
            assert what == "Server that ran already"
            assert why == f"The host in the settings is another machine: {OTHER_HOST}"
            set_(kodi, "x", 20)
            assert get(kodi, "x") == 20
            text = secret.read_text().split()[0]
            kodi.setting(ID, secret=text)
            begun(kodi, since)
            assert get(kodi, "x") == 20
        finally:
            server.stdin.close()
            server.wait(60)
    since = len(kodi.log())
    kodi.setting(ID, host="localhost", port=9099, secret="")
    begun(kodi, since)


def test_what_is_persistent_is_there_after_a_kodi_that_was_killed(kodi):
    set_(kodi, "x", {"y": (1, b"z")}, persist=True)
    kodi.kill()
    kodi.start()
    begun(kodi)
    assert kodi.python(f"{CLIENT}\nanswer(client.get('x', author='tests') == {{'y': (1, b'z')}})") is True


#: The detailed tests, with one that fails when Kodi ends, as any does that waits then.
TESTS_UNTIL_THE_END = (
    OF_SERVICE
    + """
import xbmc
from resources.lib.store_service import actions, selftest

def detailed(settings):
    answer("running")
    xbmc.Monitor().waitForAbort()
    yield 1.0, "", selftest.Result("here", "A test.", 1.0, "failed")

selftest.detailed = detailed
actions.run(["detailed"])
"""
)


def test_kodi_ends_in_time_though_a_client_waits_and_tests_run_which_have_not_failed_then(kodi, bare):
    kodi.begin(WATCHER).result()
    assert kodi.begin(TESTS_UNTIL_THE_END).result() == "running"
    assert kodi.quit() < bare.quit_seconds + 2
    kodi.held_up()
    assert "tests have failed" not in kodi.log()


def test_kodi_ends_in_time_though_the_service_waits_for_a_server_that_never_answers(kodi, bare, tmp_path):
    secret = new_secret(tmp_path)
    with socket.create_server((OTHER_HOST, 9140)) as silent:
        kodi.configure(ID, host=OTHER_HOST, port=9140, secret=str(secret)).start()
        silent.settimeout(60)
        with silent.accept()[0]:
            kodi.until(lambda: shown(kodi)[0] == "Begins", "the service to wait")
            assert kodi.quit() < bare.quit_seconds + 2
    assert kodi.held_up() < 2


def test_a_service_that_is_to_have_no_store_runs_and_ends_in_order(kodi):
    kodi.configure(ID, startserver=False).start()
    kodi.wait_for_log(f"{ID}: Not wanted: there is no store")
    kodi.quit()
    assert f"{ID}: the service has ended" in kodi.log()
    assert "EXCEPTION Thrown" not in kodi.log()
