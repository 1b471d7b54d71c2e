"""The zips, as the repository of Kodi checks them: with its own program, but for what that asks of a network."""

import argparse
import zipfile

import pytest

#: Of the versions of Kodi: the oldest one that the add-ons are for.
BRANCH = "nexus"

#: What it warns of that is as it should be.
WELL_KNOWN = (
    "This module isn't required by any add-on.",  # in an empty repository
    "is not available in current repository",
    "it is advised to set xbmc.python version to 3.0.1",  # 3.0.0 is in all that have Python 3
    "No PO files found.",  # where there is nothing to translate
)


class Empty:
    """A repository with nothing in it."""

    def __contains__(self, name):
        return False

    def find(self, name):
        return None

    def rdepends(self, name):
        return []


@pytest.fixture(scope="module")
def check():
    checker = pytest.importorskip(
        "kodi_addon_checker", reason="kodi-addon-checker is not installed (kodi/tests/requirements.txt)"
    )
    from kodi_addon_checker import check_addon, common, config, reporter

    common.load_plugins()
    options = argparse.Namespace(
        branch=BRANCH,
        PR=False,
        allow_folder_id_mismatch=False,
        skip_dependency_checks=False,
        reporter=["array"],
        check_license_file_exists=True,
        check_kodi_leia_deprecations=True,
    )
    repositories = {branch: Empty() for branch in checker.ValidKodiVersions}

    def check(folder):
        settings = config.Config(None, options)
        config.ConfigManager.process_config(settings)
        found = reporter.ReportManager.getEnabledReporters()[0].reports
        found.clear()
        check_addon.start(f"{folder}/", options, repositories, settings)
        return [str(record) for record in found if record.log_level != "INFO"]

    return check


def test_the_repository_takes_the_add_ons(check, zips, tmp_path):
    told = {}
    for path in sorted(zips.glob("*.zip")):
        with zipfile.ZipFile(path) as file:
            name = file.namelist()[0].split("/")[0]
            file.extractall(tmp_path)
        told[name] = [
            line for line in check(tmp_path / name) if not any(known in line for known in WELL_KNOWN)
        ]
    assert not any(told.values()), told
    assert "script.module.ipc" in told


def test_the_check_finds_what_is_wrong(check, zips, tmp_path):
    """Else the test above would say nothing."""
    with zipfile.ZipFile(next(zips.glob("script.module.ipc-*.zip"))) as file:
        file.extractall(tmp_path)
    folder = tmp_path / "script.module.ipc"
    (folder / "LICENSE.txt").unlink()
    (folder / "resources/icon.png").unlink()
    (folder / "lib/program").write_bytes(b"")
    (folder / "lib/program").chmod(0o755)
    told = "\n".join(check(folder))
    for what in ("LICENSE", "icon", "stand-alone executable"):
        assert what in told


def test_nothing_is_compiled_in_the_zips_without_a_program(zips):
    for path in zips.glob("*.zip"):
        with zipfile.ZipFile(path) as file:
            for name in file.namelist():
                assert name.rpartition(".")[2] in ("py", "xml", "txt", "png", "po", "json"), name
                assert b"\x7fELF" not in file.read(name)[:4]


def test_the_same_sources_make_the_same_zips(zips, tmp_path):
    import subprocess
    import sys

    from conftest import ROOT

    subprocess.run([sys.executable, ROOT / "kodi/build", "--out", tmp_path], check=True)
    for path in zips.glob("*.zip"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
