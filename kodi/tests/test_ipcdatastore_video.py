"""What the video demonstration makes of what the player says, without a Kodi."""

import sys
import types
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "service.ipcdatastore/resources/lib"

LABELS = {
    "Player.Process(videowidth)": "1,920",
    "Player.Process(videoheight)": "1.080",
    "Player.Process(videodar)": "2,40",
    "Player.Process(videofps)": "23.976",
    "Player.Process(videodecoder)": "ff-h264",
    "VideoPlayer.VideoCodec": "h264",
}


class Player:
    """A player that plays a film."""

    playing = True

    def isPlayingVideo(self):  # noqa: N802 - as Kodi calls it
        return self.playing

    def getPlayingFile(self):  # noqa: N802
        return "/films/Embers.mkv"

    def getTotalTime(self):  # noqa: N802
        return 5400.0

    def getVideoInfoTag(self):  # noqa: N802
        return self

    def getTitle(self):  # noqa: N802
        return "Embers"


@pytest.fixture
def labels():
    return dict(LABELS)


@pytest.fixture
def video(labels, monkeypatch):
    xbmc = types.ModuleType("xbmc")
    xbmc.Player = Player
    xbmc.getInfoLabel = lambda name: labels.get(name, "")
    xbmc.executeJSONRPC = lambda request: '{"result": []}'
    monkeypatch.setitem(sys.modules, "xbmc", xbmc)
    monkeypatch.syspath_prepend(str(LIB))
    for name in ("store_service", "store_service.video"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from store_service import video

    yield video
    sys.modules.pop("store_service.video")


def test_numbers_are_read_in_the_manner_of_any_language(video):
    stored = []
    video.Video(stored.append).onAVStarted()
    found = stored.pop()
    assert (found["width"], found["height"], found["dar"], found["fps"]) == (1920, 1080, 2.4, 23.976)
    assert (found["pwidth"], found["par"], found["dwidth"], found["dheight"]) == (1920, 1.35, 2592, 1080)
    assert (found["file"], found["title"], found["duration"]) == ("/films/Embers.mkv", "Embers", 5400.0)


def test_what_the_player_tells_late_is_waited_for_and_what_it_never_tells_is_not(video, labels, monkeypatch):
    """Versions before waited for ever where nothing came."""
    now, stored = [100.0], []
    monkeypatch.setattr(video.time, "monotonic", lambda: now[0])
    del labels["Player.Process(videofps)"]
    playing = video.Video(stored.append)
    playing.onAVStarted()
    assert stored == []
    labels["Player.Process(videofps)"] = "25"
    playing.turn()
    assert stored.pop()["fps"] == 25.0
    labels.clear()
    playing.onAVStarted()
    now[0] += 4.9
    playing.turn()
    assert stored == []
    now[0] += 0.2
    playing.turn()
    found = stored.pop()
    assert (found["fps"], found["width"], found["par"], found["video_codec"]) == (None, None, None, "")
    playing.turn()
    assert stored == []


def test_another_size_is_stored_as_well(video, labels):
    stored = []
    playing = video.Video(stored.append)
    playing.onAVChange()
    playing.onAVStarted()
    playing.onAVChange()
    labels["Player.Process(videowidth)"] = "1280"
    playing.onAVChange()
    assert [found["width"] for found in stored] == [1920, 1280]


def test_the_end_of_one_that_is_heard_of_when_another_plays_is_not_the_end_of_that(video):
    stored = []
    playing = video.Video(stored.append)
    playing.onAVStarted()
    playing.onPlayBackStopped()
    assert len(stored) == 1
    playing.playing = False
    playing.turn()
    playing.turn()
    assert stored[1:] == [None]


def test_what_was_never_stored_has_no_end(video):
    stored = []
    video.Video(stored.append).onPlayBackEnded()
    assert stored == []


def test_what_nobody_wants_is_not_stored(video):
    stored, wanted = [], []
    playing = video.Video(stored.append, lambda: bool(wanted))
    playing.onAVStarted()
    assert stored == []
    wanted.append(True)
    playing.begin()
    playing.onAVStarted()
    assert [found["title"] for found in stored] == ["Embers"]
