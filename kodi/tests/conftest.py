"""The add-ons as zips, and Kodis that have them."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import kodi as harness

#: The add-on is no module of the tests.
collect_ignore = ["script.andiron.tests"]

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parent / "script.andiron.tests"

#: Which a zip of service.ipcdatastore brings.
PROGRAM = ROOT / "target/debug/andiron"

_missing = harness.missing()
if _missing is None:
    try:
        harness.own_network()
    except OSError as error:
        _missing = error.strerror


def pytest_collection_modifyitems(items):
    """Tests that want a Kodi are skipped where there is none."""
    if _missing is not None:
        for item in items:
            if "display" in item.fixturenames:
                item.add_marker(pytest.mark.skip(reason=_missing))


@pytest.fixture(scope="session")
def zips(tmp_path_factory):
    """The folder with the zips, which `kodi/build` has made just now."""
    folder = tmp_path_factory.mktemp("zips")
    subprocess.run([sys.executable, ROOT / "kodi/build", "--out", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def zip_with_program(tmp_path_factory):
    """The zip of service.ipcdatastore for this machine."""
    if not PROGRAM.exists():
        pytest.skip("there is no target/debug/andiron (cargo build -p andiron-cli)")
    folder = tmp_path_factory.mktemp("program")
    program = f"{platform()}={PROGRAM}"
    subprocess.run([sys.executable, ROOT / "kodi/build", "--out", folder, "--program", program], check=True)
    return next(folder.glob(f"*+{platform()}.zip"))


def platform():
    """What kind of machine this is, as zips are called."""
    found = os.uname()
    return f"{found.sysname}-{found.machine}".lower()


@pytest.fixture(scope="session")
def display():
    with harness.Display() as display:
        yield display


@pytest.fixture(scope="session")
def bare(display):
    """A Kodi that has run once, without add-ons, for others to copy its profile; `bare.quit_seconds`: how long its end took."""
    home = Path(tempfile.mkdtemp(prefix="kodi-"))  # short, since sockets have paths of 108 bytes at most
    kodi = harness.Kodi(home, display)
    try:
        kodi.quit_seconds = kodi.bare()
        yield kodi
    finally:
        kodi.kill()
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def new_kodi(bare, display):
    """Makes Kodis in fresh profiles, with these add-ons and that of the tests. They run when they are started, and are ended behind the last test at the latest."""
    made = []

    def make(*addons):
        kodi = harness.Kodi(tempfile.mkdtemp(prefix="kodi-"), display).profile_of(bare)
        made.append(kodi)
        return kodi.install(*addons, TESTS)

    yield make
    for kodi in made:
        kodi.kill()
        shutil.rmtree(kodi.home)


def zip_of(zips, addon):
    """The zip of an add-on, without a program in it."""
    found = list(zips.glob(f"{addon}-*.zip"))
    assert len(found) == 1, f"{addon}: {found}"
    return found[0]
