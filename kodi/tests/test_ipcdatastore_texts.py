"""The texts of service.ipcdatastore, without a Kodi: each that is shown is there, and none that is not."""

import re
from pathlib import Path

ADDON = Path(__file__).parents[1] / "service.ipcdatastore"
STRINGS = "resources/language/resource.language.en_gb/strings.po"


def texts():
    """They themselves, by their numbers."""
    found = re.findall(r'msgctxt "#(\d+)"\nmsgid "(.+)"\nmsgstr ""\n', (ADDON / STRINGS).read_text())
    assert len(dict(found)) == len(found) > 50
    return {int(number): text for number, text in found}


def numbers():
    """Of the texts that the programs show."""
    source = (ADDON / "resources/lib/store_service/texts.py").read_text()
    return {name: int(number) for name, number in re.findall(r"(?m)^([A-Z_]+) = (\d+)$", source)}


def test_what_is_shown_is_there_and_what_is_there_is_shown():
    page = re.findall(r'"(32\d\d\d)"|>(32\d\d\d)<', (ADDON / "resources/settings.xml").read_text())
    used = {int(one or other) for one, other in page} | set(numbers().values())
    assert used == set(texts())


def test_each_text_is_used_and_counts_its_parts():
    programs = "".join(path.read_text() for path in ADDON.glob("resources/lib/store_service/*.py"))
    there = texts()
    for name, number in numbers().items():
        assert re.search(rf"texts\.{name}\b", programs), name
        parts = set(re.findall(r"{\d}", there[number]))
        assert parts == {f"{{{index}}}" for index in range(len(parts))}, name
