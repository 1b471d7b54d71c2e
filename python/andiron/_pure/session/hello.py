"""What the two ends tell each other at the start (``spec/PROTOCOL.md``, section 2)."""

from __future__ import annotations

from andiron._pure.codec import encode
from andiron._pure.session import maps
from andiron._pure.session.wire import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, Sequence

_MOST = (1 << 64) - 1
#: What an end accepts from the other one: by name what holds where nothing is said, the least, and the most that is made use of.
LIMITS = {
    "frame": (262144, 4096, 16 << 20),
    "message": (1 << 30, 4096, _MOST),
    "calls": (1024, 1, (1 << 32) - 1),
    "objects": (65536, 0, (1 << 32) - 1),
    "buffer": (64 << 20, 4096, _MOST),
    "window": (262144, 0, (1 << 32) - 1),
    "attachments": (0, 0, 64),
    "nesting": (100, 16, 100),
}
#: Characters of the agent that are sent and kept.
_MOST_AGENT = 200
_KEYS = ("agent", "auth", "nonce", "features", "limits", "store")


def clamped(limits: Mapping[str, int]) -> dict[str, int]:
    """All limits, each moved into its range."""
    whole = {
        name: min(max(limits.get(name, default), least), most)
        for name, (default, least, most) in LIMITS.items()
    }
    whole["buffer"] = max(whole["buffer"], whole["frame"])
    return whole


class Hello:
    """The content of a HELLO."""

    __slots__ = ("agent", "auth", "features", "limits", "nonce", "store")

    #: Program and version, for people.
    agent: str
    #: Methods of authentication: offered by the initiator, the chosen one from the acceptor.
    auth: list[str]
    #: What the sender can do.
    features: list[str]
    #: What the sender accepts: all limits by name.
    limits: dict[str, int]
    #: The incarnation of the acceptor's store.
    store: bytes | None
    #: Where a secret is to be proved: random bytes.
    nonce: bytes | None

    def __init__(
        self,
        agent: str = "",
        auth: Sequence[str] = ("user",),
        features: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
        store: bytes | None = None,
        nonce: bytes | None = None,
    ) -> None:
        self.agent = agent[:_MOST_AGENT]
        self.auth = list(auth)
        self.features = list(features)
        self.limits = clamped(limits or {})
        self.store = store
        self.nonce = nonce

    def written(self) -> bytes:
        """The payload of the frame."""
        said: dict[str, object] = {name: getattr(self, name) for name in _KEYS}
        said["agent"] = maps.sound(self.agent)
        return encode({name: value for name, value in said.items() if value is not None})

    @staticmethod
    def read(payload: bytes) -> Hello:
        """What a payload says."""
        try:
            return _read(maps.fields(payload, _KEYS))
        except maps.Unreadable as error:
            raise Violation(f"unreadable HELLO: {error}") from None


def _read(said: dict[str, bytes]) -> Hello:
    store = nonce = None
    if "store" in said and not maps.is_nothing(said["store"]):
        store = maps.binary(said["store"])
        if store is None or len(store) != 16:
            raise Violation("a store incarnation has 16 bytes")
    if "nonce" in said:
        nonce = maps.binary(said["nonce"])
        if nonce is not None and len(nonce) != 32:
            nonce = None  # looked at only where a secret is to be proved, and then it is missed
    return Hello(
        maps.text(said["agent"]) if "agent" in said else "",
        maps.texts(said["auth"]) if "auth" in said else ("user",),
        maps.texts(said["features"]) if "features" in said else (),
        maps.numbers(said["limits"]) if "limits" in said else None,
        store,
        nonce,
    )
