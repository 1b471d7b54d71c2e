"""The example add-ons, all of them in one Kodi with both add-ons of Andiron."""

import pytest

from conftest import zip_of

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


def test_the_lamp_is_as_it_was_when_kodi_starts_again(kodi):
    """The last one: with all of them running Kodi ends in time, and none of them had an error."""
    kodi.quit()
    assert kodi.held_up() < 2
    assert "EXCEPTION Thrown" not in kodi.log()
    kodi.start()
    kodi.until(lambda: property_of_home(kodi, "example.lamp") == "on", "the lamp to be on")
    kodi.quit()
    assert "EXCEPTION Thrown" not in kodi.log()
