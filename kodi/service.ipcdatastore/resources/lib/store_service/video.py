"""A demonstration: what is known of the video that plays, in the store."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Callable

import xbmc

#: The entry, of the author that is this add-on.
ENTRY = "videodata"

#: What is told some moments after the beginning.
_TOLD_LATE = "width", "fps", "video_codec", "decoder", "duration"
#: Seconds until then; what is not told by then never is, such as how long a live stream takes.
_ALL_TOLD = 5.0

_LABELS = {
    "width": "Player.Process(videowidth)",
    "height": "Player.Process(videoheight)",
    "dar": "Player.Process(videodar)",
    "fps": "Player.Process(videofps)",
    "decoder": "Player.Process(videodecoder)",
    "audio_decoder": "Player.Process(audiodecoder)",
    "video_codec": "VideoPlayer.VideoCodec",
    "audio_codec": "VideoPlayer.AudioCodec",
}


class Video(xbmc.Player):
    """Hears of what plays, and has it stored."""

    def __init__(
        self, store: Callable[[dict[str, Any] | None], None], wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """``wanted``: whether anybody wants it stored."""
        super().__init__()
        self._store = store
        self._wanted = wanted
        #: Until when more is waited for, while it is.
        self._until: float | None = None
        #: Whether the end of something was heard of. Another one may have begun before that.
        self._ended = False
        #: What is stored; `None` where it is that nothing plays.
        self._stored: dict[str, Any] | None = None

    def begin(self) -> None:
        """Stores what plays, if anything does."""
        self._ended = False
        if self._wanted():
            self._until = time.monotonic() + _ALL_TOLD
            self.turn()

    def begin_anew(self) -> None:
        """The same where there is another store, which may have something from before, so that nothing plays is stored as well."""
        self._stored = None
        if self._wanted() and not self.isPlayingVideo():
            self._store(None)
        self.begin()

    def turn(self) -> None:
        """Looks again, while not all is known that will be."""
        if self._ended and not self.isPlayingVideo():
            self.end()
        if self._until is None:
            return
        told = described(self) if self.isPlayingVideo() else None
        if told is None:
            self._until = None
        elif all(map(told.get, _TOLD_LATE)) or time.monotonic() > self._until:
            self._until = None
            if told != self._stored:  # who reads it hears of each once
                self._stored = told
                self._store(told)

    def end(self) -> None:
        """Stores that nothing plays any more."""
        self._ended = False
        self._until = None
        if self._stored is not None:
            self._stored = None
            self._store(None)

    def _end(self) -> None:
        self._ended = True
        self.turn()

    def onAVStarted(self) -> None:  # noqa: N802 - Kodi calls it so
        """Hears that a video, or music, has begun."""
        self.begin()

    def onAVChange(self) -> None:  # noqa: N802
        """Hears that another stream of it plays, or in another size."""
        if self._stored is not None:
            self.begin()

    def onPlayBackStopped(self) -> None:  # noqa: N802
        """Hears that somebody has stopped it."""
        self._end()

    def onPlayBackEnded(self) -> None:  # noqa: N802
        """Hears that it is over."""
        self._end()

    def onPlayBackError(self) -> None:  # noqa: N802
        """Hears that it cannot be played."""
        self._end()


def described(player: xbmc.Player) -> dict[str, Any] | None:
    """What is known of the video that plays; `None` where none does."""
    try:
        file, duration = player.getPlayingFile(), player.getTotalTime()
        title = player.getVideoInfoTag().getTitle() or xbmc.getInfoLabel("VideoPlayer.Title")
    except RuntimeError:  # it has ended meanwhile
        return None
    found = data({name: xbmc.getInfoLabel(label) for name, label in _LABELS.items()})
    found.update(file=file, title=title, duration=duration, **_streams())
    return found


def data(labels: dict[str, str]) -> dict[str, Any]:
    """What the labels say: numbers as such, and those that versions before this one stored, by their names.

    Those are of pixels (``pwidth``, ``pheight``, ``par``) and of the display (``dwidth``, ``dheight``, ``dar``).
    """
    found: dict[str, Any] = dict(labels)
    width, height = _whole(labels["width"]), _whole(labels["height"])
    dar, fps = _number(labels["dar"]), _number(labels["fps"])
    if not dar and width and height:
        dar = width / height
    found.update(width=width, height=height, dar=dar, fps=fps, pwidth=width, pheight=height)
    par = round(dar * height / width, 2) if dar and width and height else None
    found.update(par=par, dwidth=round(height * dar) if dar and height else None, dheight=height)
    return found


def _whole(label: str) -> int | None:
    """A whole number, which is written in the manner of the user's language, such as 1,920."""
    digits = re.sub(r"\D", "", label)
    return int(digits) if digits else None


def _number(label: str) -> float | None:
    found = re.search(r"\d+(?:[.,]\d+)?", label)
    return float(found.group().replace(",", ".")) if found else None


def _streams() -> dict[str, list[dict[str, Any]]]:
    """The audio and subtitle streams that there are, as Kodi tells them: language, name, codec and so on."""
    wanted = ["audiostreams", "subtitles"]
    request = {"jsonrpc": "2.0", "id": 1, "method": "Player.GetActivePlayers"}
    players = json.loads(xbmc.executeJSONRPC(json.dumps(request))).get("result") or []
    for player in players:
        if player.get("type") == "video":
            request.update(
                method="Player.GetProperties",
                params={"playerid": player["playerid"], "properties": wanted},
            )
            found = json.loads(xbmc.executeJSONRPC(json.dumps(request))).get("result") or {}
            return {name: found.get(name) or [] for name in wanted}
    return {name: [] for name in wanted}
