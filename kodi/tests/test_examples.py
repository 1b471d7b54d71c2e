"""The example add-ons, all of them in one Kodi with both add-ons of Andiron."""

import re

import pytest

from conftest import ROOT, zip_of

EXAMPLES = [
    "service.example.rain",
    "plugin.example.rain",
    "script.example.rain",
    "script.example.lamp",
    "service.example.library",
    "script.example.search",
]

#: A key that has no meaning in Kodi gets one.
KEYMAP = """<keymap><global><keyboard>
<f1>RunScript(script.example.lamp,on)</f1>
<f2>RunScript(script.example.lamp,off)</f2>
</keyboard></global></keymap>
"""


@pytest.fixture(scope="module")
def kodi(new_kodi, zips):
    addons = ["script.module.ipc", "service.ipcdatastore", *EXAMPLES]
    kodi = new_kodi(*(zip_of(zips, addon) for addon in addons))
    (kodi.root / "userdata/keymaps/lamp.xml").write_text(KEYMAP)
    yield kodi.start()
    kodi.kill()


def property_of_home(kodi, name):
    label = f"Window(home).Property({name})"
    return kodi.labels(label)[label]


def listed(kodi):
    told = kodi.rpc("Files.GetDirectory", directory="plugin://plugin.example.rain/", media="files")
    return [file["label"] for file in told["files"] or []]


def test_a_plugin_lists_at_once_what_a_service_gathers(kodi):
    labels = kodi.until(lambda: len(found := listed(kodi)) == 3 and found, "three towns")
    assert [label.split(":")[0] for label in labels] == ["Bergen", "Cardiff", "Lisbon"]
    assert all(label.endswith(" mm") for label in labels)


def test_another_reader_tells_of_the_same(kodi):
    kodi.until(lambda: listed(kodi), "the first town")
    kodi.rpc("Addons.ExecuteAddon", addonid="script.example.rain")
    kodi.until(
        lambda: kodi.rpc("XBMC.GetInfoBooleans", booleans=["Window.IsVisible(notification)"]).popitem()[1],
        "a notification",
    )


def test_a_key_tells_a_service_something(kodi):
    kodi.wait_for_log("service.ipcdatastore: the store is at")
    for key, state in (("f1", "on"), ("f2", "off"), ("f1", "on")):
        kodi.rpc("Input.ButtonEvent", button=key, keymap="KB")
        kodi.until(
            lambda state=state: property_of_home(kodi, "example.lamp") == state, f"the lamp to be {state}"
        )


def test_an_add_on_calls_the_object_of_another_which_calls_back(kodi):
    kodi.wait_for_log("IPC Server Started: PYRO:example.library")
    kodi.rpc("Addons.ExecuteAddon", addonid="script.example.search", params=["ember"])
    kodi.until(lambda: property_of_home(kodi, "example.search") == "Embers, The Last Ember", "both finds")


#: Has an object of its own, and meanwhile calls that of the other and shares values with it. Arguments: its name, and that of the other.
PARTNER = """
import xbmc
from andiron.compat.ipcdatastore import IPCClientX
from ipc.ipcclient import IPCClient
from ipc.ipcserver import IPCServer

mine, other = arguments
CALLS = 200

class Partner(object):
    def __init__(self):
        self.calls = 0

    def double(self, number, tell):
        self.calls += 1
        tell(2 * number)

partner = Partner()
server = IPCServer(partner, name=mine, port=None)
server.start()
client = IPCClient(name=other, port=None)
monitor = xbmc.Monitor()
while not client.server_available():
    assert not monitor.waitForAbort(0.01)
far, store, told = client.get_exposed_object(), IPCClientX(addon_id="service.ipcdatastore"), []
for number in range(CALLS):
    far.double(number, told.append)
    assert store.set("count", number, author=mine)
    assert store.get("count", author=mine) == number
while partner.calls < CALLS or store.get("count", author=other) != CALLS - 1:
    assert not monitor.waitForAbort(0.01)
answer(told == [2 * number for number in range(CALLS)])
while store.get("over", author="tests") is None:
    assert not monitor.waitForAbort(0.01)
server.stop()
"""


def test_two_scripts_share_values_and_call_each_others_objects_at_the_same_time(kodi):
    kodi.wait_for_log("service.ipcdatastore: the store is at")
    partners = [kodi.begin(PARTNER, "one", "two"), kodi.begin(PARTNER, "two", "one")]
    assert [partner.result(60) for partner in partners] == [True, True]
    since = len(kodi.log())
    kodi.python("""
from andiron.compat.ipcdatastore import IPCClientX
answer(IPCClientX(addon_id="service.ipcdatastore").set("over", True, author="tests"))
""")
    for name in ("one", "two"):
        kodi.wait_for_log(f"IPC Server Stopped: PYRO:{name}@", since)


def blocks_of_the_page():
    """The blocks of Python of docs/kodi.md, with the lines at which they begin."""
    text = (ROOT / "docs/kodi.md").read_text()
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        yield text[: block.start(1)].count("\n"), block[1]


def test_the_page_shows_the_example_add_ons():
    shown = {
        block.split("\n")[0][2:]: block
        for _, block in blocks_of_the_page()
        if block.startswith("# examples/")
    }
    for path, block in shown.items():
        assert block == f"# {path}\n" + (ROOT / path).read_text()
    assert {path.split("/")[2] for path in shown} == set(EXAMPLES)


def test_the_other_examples_of_the_page_run(kodi):
    kodi.wait_for_log("service.ipcdatastore: the store is at")
    program = [""] * 1000
    for line, block in blocks_of_the_page():
        if not block.startswith("# examples/"):
            lines = block.split("\n")
            program[line : line + len(lines)] = lines
    assert kodi.python("\n".join(program) + "\nanswer(True)")


def test_the_lamp_is_as_it_was_when_kodi_starts_again(kodi):
    """The last one: with all of them running Kodi ends in time, and none of them had an error."""
    kodi.quit()
    assert kodi.held_up() < 2
    assert "EXCEPTION Thrown" not in kodi.log()
    kodi.start()
    kodi.until(lambda: property_of_home(kodi, "example.lamp") == "on", "the lamp to be on")
    kodi.quit()
    assert "EXCEPTION Thrown" not in kodi.log()
