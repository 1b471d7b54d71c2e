"""service.ipcdatastore in a real Kodi: the store in a program beside it, the settings page, the demonstrations."""

import functools
import http.server
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from conftest import PROGRAM, platform, zip_of
from kodi import OTHER_HOST, until

ID = "service.ipcdatastore"

#: Of the place that the settings of the service say, in a script.
CLIENT = """
from andiron.compat.ipcdatastore import IPCClientX
client = IPCClientX(addon_id="service.ipcdatastore")
client.raise_exception = True
"""


@pytest.fixture(scope="module")
def kodi(new_kodi, zips, zip_with_program):
    kodi = new_kodi(zip_of(zips, "script.module.ipc"), zip_with_program)
    kodi.configure(ID, showdata=True).start()
    begun(kodi)
    yield kodi
    kodi.kill()


def begun(kodi, since=0):
    """Waits until the store is there and has been tested, behind so many characters of the log. Gives which way the last one is, why, and how long the log is then."""
    kodi.wait_for_log(f"{ID}: Passed, in", kodi.wait_for_log(f"{ID}: the store is at", since))
    log = kodi.log()
    what, why = re.findall(rf"{ID}: the store is at \S+ after \S+ s\. (.*?): (.*)", log)[-1]
    return what, why, len(log)


def process(what):
    """That of the program that has the store."""
    return int(re.search(r"process (\d+)", what).group(1))


def runs(number):
    return os.path.exists(f"/proc/{number}")


def shown(kodi):
    """What the settings page shows of the store: what it is, where, why, and how the test went."""
    labels = [f"Window(home).Property({ID}.{name})" for name in ("status", "at", "why", "test")]
    return list(map(kodi.labels(*labels).get, labels))


def get(kodi, name, author="tests"):
    return kodi.python(f"{CLIENT}\nanswer(client.get({name!r}, author={author!r}))")


def set_(kodi, name, value, **options):
    kodi.python(f"{CLIENT}\nanswer(client.set({name!r}, {value!r}, author='tests', **{options!r}))")


def test_the_store_is_in_the_program_of_the_add_on_and_the_settings_page_says_so(kodi):
    what, why, _ = begun(kodi)
    assert why == "This add-on brings the program"
    tested = re.compile(r"Passed, in [\d.]+ ms").fullmatch
    kodi.until(lambda: tested(shown(kodi)[3]), "the page to tell of the test")
    assert shown(kodi)[:3] == [what, "PYRO:kodi-IPC@localhost:9099", why]
    copy = kodi.data(ID) / "bin/andiron"
    assert Path(f"/proc/{process(what)}/exe").resolve() == copy
    assert not os.access(kodi.root / "addons" / ID / "bin" / platform() / "andiron", os.X_OK)


#: It has an object, and calls that of the other one; both use the same values.
PARTNER = (
    CLIENT
    + """
import time, xbmc
from ipc.ipcclient import IPCClient
from ipc.ipcserver import IPCServer

me, other = arguments

class Partner(object):
    def greet(self, name, tell):
        tell("welcome " + name)
        return me

server = IPCServer(Partner(), name=me, port=None)
server.start()
partner = IPCClient(name=other, port=None)
monitor = xbmc.Monitor()
while not partner.server_available() and not monitor.waitForAbort(0.01):
    pass
told = []
names = [partner.get_exposed_object().greet(me, told.append) for _ in range(20)]
with client._connected() as hub:
    for _ in range(20):
        hub.store.author("tests").incr("greetings")
    client.set(me, "done", author="tests")
    while client.get_data_list("tests").get("tests", []).count(other) == 0 and not monitor.waitForAbort(0.01):
        pass
server.stop()
answer([set(names) == {other}, set(told) == {"welcome " + me}, client.get("greetings", author="tests")])
"""
)


def test_add_ons_share_values_and_call_each_others_objects_at_the_same_time(kodi):
    both = [kodi.begin(PARTNER, "first", "second"), kodi.begin(PARTNER, "second", "first")]
    assert [script.result() for script in both] == [[True, True, 40]] * 2


def test_a_plugin_reads_what_it_has_read_before_without_a_question(kodi):
    set_(kodi, "rain", [1, 2])
    told = kodi.python(
        CLIENT
        + """
first = client.get("rain", author="tests", return_tuple=True)
second = client.get("rain", author="tests", return_tuple=True)
hub = client._connected()
before = hub.store.stats().questions
for _ in range(100):
    client.get("rain", author="tests")
answer([first.value, first.cached, second.value, second.cached, hub.store.stats().questions - before])
"""
    )
    assert told == [[1, 2], False, [1, 2], True, 0]


def test_the_modules_are_there_by_their_old_names(kodi):
    told = kodi.python("""
import os, sys, xbmcaddon, xbmcvfs
folder = xbmcvfs.translatePath(xbmcaddon.Addon("service.ipcdatastore").getAddonInfo("path"))
sys.path[:0] = [folder, os.path.join(folder, "resources", "lib")]
from resources.lib.ipcclientx import IPCClientX
from resources.lib.datastore import DataObjects
import resources.lib.ipcclientxerrors as errors
import ipcclientx, ipcclientxerrors, datastore
client = IPCClientX(addon_id="service.ipcdatastore")
client.raise_exception = True
try:
    client.get("nothing", author="tests")
except errors.VarNotFoundError as error:
    told = error.errno == errors.IPCERROR_NO_VALUE_FOUND
answer([told, client.addonname, ipcclientx.IPCClientX is IPCClientX, datastore.DataObjects is DataObjects])
""")
    assert told == [True, "script.andiron.tests", True, True]


def test_the_simple_test_says_how_it_went(kodi):
    since = len(kodi.log())
    press(kodi, "Simple test")
    kodi.wait_for_log("The store at PYRO:kodi-IPC@localhost:9099 has kept a value and given it back", since)
    close(kodi, "OK dialog")
    close(kodi, PAGE)


PAGE = "Add-on settings"


def press(kodi, button):
    """Presses a button of the settings page, as a user does."""
    kodi.begin(f"import xbmc\nxbmc.executebuiltin('Addon.OpenSettings({ID})')")
    reached(kodi, f"Store: {shown(kodi)[0]}")
    for key, control in (("Left", "Store"), ("Down", "Tests"), ("Right", "Simple test")):
        kodi.rpc(f"Input.{key}")
        reached(kodi, control)
    if button != "Simple test":
        kodi.rpc("Input.Down")
        reached(kodi, button)
    kodi.rpc("Input.Select")


def reached(kodi, control):
    current = "System.CurrentControl"
    kodi.until(lambda: kodi.labels(current)[current] == control, f"the control {control!r}")


def close(kodi, label):
    """Waits for a window, and closes it."""
    current = "System.CurrentWindow"
    kodi.until(lambda: kodi.labels(current)[current] == label, f"the window {label!r}")
    kodi.rpc("Input.Back")
    kodi.until(lambda: kodi.labels(current)[current] != label, f"the end of the window {label!r}")


def test_the_page_shows_what_has_the_store_and_a_dialog_all_of_it(kodi):
    kodi.begin(f"import xbmc\nxbmc.executebuiltin('Addon.OpenSettings({ID})')")
    reached(kodi, f"Store: {shown(kodi)[0]}")
    kodi.rpc("Input.Select")
    close(kodi, "Text viewer")
    close(kodi, PAGE)


def test_the_detailed_tests_pass_and_leave_the_values_of_add_ons_alone(kodi):
    set_(kodi, "mine", "precious", persist=True)
    listed = f"{CLIENT}\nanswer(client.get_data_list())"
    before, since = kodi.python(listed), len(kodi.log())
    press(kodi, "Detailed self-tests")
    kodi.wait_for_log("tests have", since, seconds=60)
    results = (kodi.data(ID) / "selftest.log").read_text()
    assert re.search(r"All \d+ tests have passed\.", results), results
    lines = [line for line in results.splitlines() if line.startswith(("passed", "FAILED"))]
    assert len(lines) == 24
    assert [
        sum(part in line for line in lines) for part in ("passed", "in this service", "in a program")
    ] == [24, 12, 12]
    close(kodi, "Text viewer")
    close(kodi, PAGE)
    assert kodi.python(listed) == before
    assert get(kodi, "mine") == "precious"
    assert not (kodi.data(ID) / "selftest").exists()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A video of ten seconds, with sound and subtitles."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nhello\n")
    words = (
        "-f lavfi -i testsrc=size=320x180:rate=25:duration=10 -f lavfi -i sine=duration=10 -i words.srt -map 0 -map 1 -map 2"
        " -c:v mpeg4 -c:a aac -c:s srt -metadata:s:a:0 language=eng -metadata:s:s:0 language=ger clip.mkv"
    )
    subprocess.run(
        ["ffmpeg", "-v", "error", *words.split()], cwd=folder, check=True, stdin=subprocess.DEVNULL
    )
    return folder / "clip.mkv"


@pytest.fixture(scope="module")
def web(clip):
    """The address of a web server that has it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(clip.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{clip.name}"
        server.shutdown()
        thread.join()


def test_what_plays_is_stored_and_shown_and_none_when_it_stops(kodi, clip, web):
    since = len(kodi.log())
    kodi.setting(ID, servevideo=True)
    for file in (str(clip), web):
        kodi.rpc("Player.Open", item={"file": file})
        since = kodi.wait_for_log("notification: clip.mkv: 320 x 180 at 25 fps, mpeg4", since)
        found = get(kodi, "videodata", ID)
        assert {"language": "eng", "codec": "aac", "channels": 1}.items() <= found.pop("audiostreams")[
            0
        ].items()
        assert found.pop("subtitles")[0]["language"] == "ger"
        assert found.pop("duration") == pytest.approx(10, abs=0.1)
        assert found == {
            "file": file,
            "title": "clip.mkv",
            "width": 320,
            "height": 180,
            "dar": 1.78,
            "fps": 25.0,
            "video_codec": "mpeg4",
            "audio_codec": "aac",
            "decoder": "ff-mpeg4",
            "audio_decoder": "ff-aac",
            "pwidth": 320,
            "pheight": 180,
            "par": 1.0,
            "dwidth": 320,
            "dheight": 180,
        }
        kodi.rpc("Player.Stop", playerid=1)
        kodi.until(lambda: get(kodi, "videodata", ID) is None, "the end of it in the store")


def test_the_video_demonstration_begins_and_ends_with_its_setting(kodi, clip):
    kodi.setting(ID, servevideo=False)
    kodi.rpc("Player.Open", item={"file": str(clip)})
    kodi.until(lambda: kodi.labels("Player.Process(videofps)")["Player.Process(videofps)"], "it to play")
    assert get(kodi, "videodata", ID) is None
    kodi.setting(ID, servevideo=True)
    kodi.until(lambda: (get(kodi, "videodata", ID) or {}).get("width") == 320, "it in the store")
    kodi.setting(ID, servevideo=False)
    kodi.until(lambda: get(kodi, "videodata", ID) is None, "the end of it in the store")
    kodi.rpc("Player.Stop", playerid=1)


def test_a_change_of_the_settings_takes_effect_at_once(kodi):
    set_(kodi, "kept", 1, persist=True)
    for changed, uri in (
        ({"port": 9110}, "PYRO:kodi-IPC@localhost:9110"),
        ({"data_name": "other"}, "PYRO:other@localhost:9110"),
        ({"way": 3}, "PYRO:other@localhost:9110"),
        ({"way": 0, "data_name": "kodi-IPC", "port": 9099}, "PYRO:kodi-IPC@localhost:9099"),
    ):
        since = len(kodi.log())
        kodi.setting(ID, **changed)
        what, why, _ = begun(kodi, since)
        if "way" in changed:
            assert (what, why) == ("This service", "The settings ask for it") or not changed["way"]
        assert kodi.python(f"{CLIENT}\nanswer([client.uri, client.get('kept', author='tests')])") == [uri, 1]
    kodi.setting(ID, startserver=False)
    kodi.until(lambda: shown(kodi) == ["Not wanted: there is no store", "", "", ""], "the page to tell that")
    assert kodi.python("from ipc.ipcclient import IPCClient\nanswer(IPCClient().server_available())") is False
    since = len(kodi.log())
    kodi.setting(ID, startserver=True)
    begun(kodi, since)
    assert get(kodi, "kept") == 1


def test_without_persistence_nothing_is_kept(kodi):
    set_(kodi, "kept", 1, persist=True)
    since = len(kodi.log())
    kodi.setting(ID, persistence=False)
    begun(kodi, since)
    told = kodi.python(
        CLIENT
        + """
from andiron.compat.ipcdatastore import SaveFailedError
try:
    client.set("x", 1, author="tests", persist=True)
except SaveFailedError as error:
    answer([str(error)[:11], client.get_data_list("tests")])
"""
    )
    assert told == ["Save failed", {}]
    since = len(kodi.log())
    kodi.setting(ID, persistence=True)
    begun(kodi, since)
    assert get(kodi, "kept") == 1


def test_a_port_that_is_taken_is_told_and_tried_again(kodi):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        since = len(kodi.log())
        kodi.setting(ID, port=port)
        kodi.wait_for_log(f"{ID}: There is no store: ", since)
        kodi.until(lambda: shown(kodi)[0] == "There is no store", "the page to tell that")
        assert "It is tried again in" in shown(kodi)[2]
    begun(kodi, since)
    since = len(kodi.log())
    kodi.setting(ID, port=9099)
    begun(kodi, since)


def test_who_has_the_secret_uses_this_store_from_another_machine(kodi, tmp_path):
    secret = tmp_path / "secret"

    def andiron(*words):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        return subprocess.run([PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=60)

    assert andiron("secret", "new", "--secret-file", secret).returncode == 0
    since = len(kodi.log())
    kodi.setting(ID, host="0.0.0.0", secret=secret.read_text().split()[0])
    what, _, since = begun(kodi, since)
    assert what.startswith("Program beside Kodi")
    set_(kodi, "x", 20)
    asked = ["get", "x", "--author", "tests", "--address", f"tls://{OTHER_HOST}:9099"]
    assert andiron(*asked, "--secret-file", secret).stdout == "20\n"
    assert "andiron secret new" in andiron(*asked).stderr
    kodi.setting(ID, host="localhost", secret="")
    begun(kodi, since)


#: Sets values and remembers which are set, until it is told to end.
WRITER = (
    CLIENT
    + """
import xbmc
client.raise_exception = False
client.num_of_server_retries = 100
monitor, last = xbmc.Monitor(), 0
while client.get("end", author="tests") is None and not monitor.abortRequested():
    if client.set("number", last + 1, author="tests", persist=True):
        last += 1
    if last == 10:
        client.set("begun", True, author="tests")
answer([last > 10, client.get("number", author="tests") - last])
"""
)


def test_a_killed_program_is_started_again_and_lost_nothing(kodi):
    what, _, since = begun(kodi)
    writer = kodi.begin(WRITER)
    kodi.until(lambda: get_or_none(kodi, "begun"), "the first values")
    os.kill(process(what), signal.SIGKILL)
    again, _, _ = begun(kodi, since)
    assert process(again) != process(what)
    set_(kodi, "end", True)
    assert writer.result() == [True, 0]
    kodi.python(f"{CLIENT}\nclient.delete('end', author='tests')\nanswer(None)")


def get_or_none(kodi, name):
    return kodi.python(
        f"{CLIENT}\nclient.raise_exception = False\nanswer(client.get({name!r}, author='tests'))"
    )


def test_another_version_of_the_program_takes_the_place_of_the_one_that_runs(kodi):
    set_(kodi, "kept", 1, persist=True)
    what, _, since = begun(kodi)
    installed = kodi.root / "addons" / ID / "bin" / platform() / "andiron"
    shutil.copy(installed, f"{installed}.new")
    with open(f"{installed}.new", "ab") as file:
        file.write(b"another version")
    os.replace(f"{installed}.new", installed)
    kodi.wait_for_log("there is another version of the program", since)
    again, _, _ = begun(kodi, since)
    assert not runs(process(what))
    copy = Path(f"/proc/{process(again)}/exe").resolve()
    assert copy.read_bytes().endswith(b"another version")
    assert get(kodi, "kept") == 1


def test_the_program_ends_where_the_add_on_is_disabled_and_is_there_when_it_is_enabled(kodi):
    set_(kodi, "kept", 1, persist=True)
    what, _, since = begun(kodi)
    kodi.rpc("Addons.SetAddonEnabled", addonid=ID, enabled=False)
    kodi.until(lambda: not runs(process(what)), "the end of the program")
    kodi.rpc("Addons.SetAddonEnabled", addonid=ID, enabled=True)
    begun(kodi, since)
    assert get(kodi, "kept") == 1


def test_the_program_ends_with_a_kodi_that_is_killed_and_what_is_persistent_is_there_again(kodi):
    what, _, _ = begun(kodi)
    set_(kodi, "x", {"y": (1, b"z")}, persist=True)
    set_(kodi, "plain", 1)
    kodi.kill()
    until(lambda: not runs(process(what)), "the end of the program")
    kodi.start()
    begun(kodi)
    told = kodi.python(
        f"{CLIENT}\nanswer([client.get('x', author='tests') == {{'y': (1, b'z')}}, client.get_data_list('tests')])"
    )
    assert told[0] is True
    assert "plain" not in told[1]["tests"]


WATCHER = (
    CLIENT
    + """
watch = client._connected().store.author("tests").watch("nothing")
answer(None)
next(watch)
"""
)


def test_kodi_ends_in_time_and_the_program_with_it(kodi, bare):
    """Though a client waits. What is persistent is there at the next start."""
    set_(kodi, "kept", 1, persist=True)
    what, _, _ = begun(kodi)
    kodi.begin(WATCHER).result()
    assert kodi.quit() < bare.quit_seconds + 2
    kodi.held_up()
    until(lambda: not runs(process(what)), "the end of the program")
    kodi.start()
    begun(kodi)
    assert get(kodi, "kept") == 1
