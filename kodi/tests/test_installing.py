"""The zips, as a user installs them: by "Install from zip file", one after the other."""

import shutil

import pytest

from conftest import zip_of

ADDONS = ["script.module.ipc", "service.ipcdatastore"]

SOURCES = """<sources><files><default pathversion="1"></default>
<source><name>zips</name><path pathversion="1">{}/</path><allowsharing>true</allowsharing></source>
</files></sources>
"""


@pytest.fixture(scope="module")
def kodi(new_kodi, zips):
    kodi = new_kodi()
    folder = kodi.home / "zips"
    folder.mkdir()
    for addon in ADDONS:
        shutil.copy(zip_of(zips, addon), folder)
    (kodi.root / "userdata/sources.xml").write_text(SOURCES.format(folder))
    yield kodi.start()
    kodi.kill()


def choose(kodi, wanted):
    """Goes down a list to the row with this label, and selects it."""

    def label():
        return kodi.labels("ListItem.Label")["ListItem.Label"]

    for _ in range(20):
        seen = label()
        if seen == wanted:
            kodi.rpc("Input.Select")
            kodi.until(lambda: label() != wanted, f"{wanted} to be selected")
            return
        kodi.rpc("Input.Down")
        kodi.until(lambda seen=seen: label() != seen, f"the row below {seen}")
    raise AssertionError(f"there is no {wanted}")


def installed(kodi):
    told = kodi.rpc("Addons.GetAddons", enabled=True, installed=True)
    return {addon["addonid"] for addon in told["addons"]}


def test_a_user_installs_both_zips_and_the_store_is_there(kodi):
    for addon in ADDONS:
        kodi.begin('import xbmc\nxbmc.executebuiltin("InstallFromZip")\nanswer(None)').result()
        kodi.until(
            lambda: kodi.rpc("XBMC.GetInfoBooleans", booleans=["Window.IsActive(filebrowser)"]).popitem()[1],
            "the list of files",
        )
        choose(kodi, "zips")
        choose(kodi, f"{addon}-1.0.0.zip")
        kodi.until(lambda addon=addon: addon in installed(kodi), f"{addon} to be installed")
    kodi.wait_for_log("service.ipcdatastore: the store is at")
    told = kodi.python("""
from andiron.compat.ipcdatastore import IPCClientX
store = IPCClientX(addon_id="service.ipcdatastore")
store.set("x", 20, persist=True)
answer(store.get("x"))
""")
    assert told == 20


def test_what_was_kept_is_there_when_kodi_starts_again(kodi):
    kodi.quit()
    kodi.start()
    kodi.wait_for_log("service.ipcdatastore: the store is at")
    told = kodi.python("""
from andiron.compat.ipcdatastore import IPCClientX
answer(IPCClientX(addon_id="service.ipcdatastore").get("x"))
""")
    assert told == 20
    kodi.quit()
