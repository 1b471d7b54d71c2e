"""What both ends of a connection over a network hold, and prove to each other: secrets, and the file that they stand in."""

from __future__ import annotations

import os
import re
import stat
import time

from andiron._pure.failure import Failure
from andiron._pure.transport import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: What every secret begins with: a program that looks for secrets where none should be can find it by this.
PREFIX = "andiron1-"
#: The longest file, in bytes.
_LONGEST = 1 << 18

_MISTYPED = "; copy it again from `andiron secret show`"
_WORDS = "behind a secret stand only `name=`, `until=`, `store=`, `authors=` and `objects=`, each at most once and with a value"

_is_percent = re.compile(r"%[0-9A-Fa-f]{2}", re.ASCII).match
_is_time = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
).fullmatch


class Rights:
    """What a peer may do at this end: everything, unless the line of its secret in the server's file says less."""

    __slots__ = "authors", "objects", "read_only_store"

    def __init__(self) -> None:
        #: The store may be read, and not written.
        self.read_only_store = False
        #: The authors whose entries of the store may be read and written; `None`: of all.
        self.authors: frozenset[str] | None = None
        #: The names of the objects that may be found; `None`: all. Where this is set, no objects can be registered.
        self.objects: frozenset[str] | None = None

    def are_full(self) -> bool:
        """True where nothing is forbidden."""
        return not self.read_only_store and self.authors is None and self.objects is None

    def may_call(self, name: str) -> bool:
        """True where the object of this name may be found."""
        return self.objects is None or name in self.objects


class Secret:
    """256 random bits that both ends of a connection hold, and at a server what their holder may do. Never a password: one that is made by a person can be guessed.

    >>> Secret.new().text() == Secret.new().text()
    False
    """

    __slots__ = "key", "name", "rights", "until"

    def __init__(self, key: bytes) -> None:
        self.key = key
        #: A server tells it in its log, where the secret itself never stands.
        self.name: str | None = None
        #: Seconds since 1970 from which on it is of no use; `None`: for ever.
        self.until: int | None = None
        self.rights = Rights()

    @staticmethod
    def new() -> Secret:
        """A new one, with all rights and for ever."""
        return Secret(os.urandom(32))

    @staticmethod
    def parse(line: str) -> Secret:
        """The text of a secret, or its line in a file, with the words behind it."""
        first, *words = line.split()
        secret = Secret(_key(first))
        seen = set()
        for word in words:
            kind, equals, value = word.partition("=")
            if not equals:
                raise _refused(_WORDS)
            secret._take(kind, value)
            if kind in seen:
                raise _refused("a word stands twice behind a secret")
            seen.add(kind)
        return secret

    def text(self) -> str:
        """The secret itself, to be copied to where it is to be used: without name, end and rights."""
        return PREFIX + _base32(self.key + _checksum(self.key))

    def is_valid(self, now: float) -> bool:
        """True before its end."""
        return self.until is None or now < self.until

    def obituary(self) -> str:
        """What both ends are told where somebody shows it after its end."""
        name = f" named '{self.name}'" if self.name is not None else ""
        end = time.strftime(" on %Y-%m-%dT%H:%M:%SZ", time.gmtime(self.until)) if self.until else ""
        return f"the secret{name} ran out{end}: give the client the one that the server has now"

    def __repr__(self) -> str:
        return f"<Secret {self.name or ''}>"

    def _take(self, kind: str, value: str) -> None:
        """One of the words that stand behind it."""
        if kind == "name":
            self.name = _decoded(value)
        elif kind == "until":
            self.until = _time(value)
        elif kind == "store":
            if value != "read-only":
                raise _refused("`store=` can only be followed by `read-only`")
            self.rights.read_only_store = True
        elif kind in ("authors", "objects"):
            names = frozenset(map(_decoded, value.split(","))) if value else frozenset()
            setattr(self.rights, kind, names)
        else:
            raise _refused(_WORDS)


class Taken:
    """The secrets that an end takes at one moment."""

    __slots__ = "ended", "valid"

    def __init__(self, valid: Iterable[Secret], ended: Iterable[Secret] = ()) -> None:
        self.valid = list(valid)
        #: The keys of those that it takes no more, each with what is said to who has one.
        self.ended = [(secret.key, secret.obituary()) for secret in ended]


class Keyring:
    """The secrets that an end has: one that it was given, or those of a file, which may change while it runs."""

    def __init__(self, path: str | None = None, secret: Secret | None = None) -> None:
        """Those in the file at ``path``, of which one at least is valid, or the ``secret``."""
        self._path = path
        self._given = secret
        if path is not None:
            self._read(time.time())

    def taken(self) -> Taken:
        """Those that a server takes now. Looks into the file again where it has changed."""
        now = time.time()
        if self._given is not None:
            if not self._given.is_valid(now):
                raise _refused("the secret has ended")
            return Taken([self._given])
        if self._until <= now or self._stamp != _stamp_at(self._path):
            self._read(now)
        return self._taken

    def first(self) -> Secret:
        """The one that a client proves to have."""
        return self.taken().valid[0]

    def _read(self, now: float) -> None:
        path = self._path
        assert path is not None
        secrets, stamp = _load(path)
        valid = [secret for secret in secrets if secret.is_valid(now)]
        if not valid:
            if secrets:
                raise _refused(
                    f"every secret in {path} has ended: copy the line there that the server has now"
                )
            raise _refused(
                f"{path} has no secret in it: copy the server's line there, or make one with `andiron secret new --add`"
            )
        self._taken = Taken(valid, (secret for secret in secrets if not secret.is_valid(now)))
        self._stamp = stamp
        self._until = min(
            (secret.until for secret in valid if secret.until is not None), default=float("inf")
        )


def own_folder() -> str | None:
    """Andiron's folder among what this user has configured."""
    config = os.environ.get("XDG_CONFIG_HOME")
    if not config or not os.path.isabs(config):
        home = os.environ.get("HOME") or (os.environ.get("USERPROFILE") if os.name == "nt" else None)
        if not home:
            return None
        config = os.path.join(home, ".config")
    return os.path.join(config, "andiron")


def keyring(secret_file: str | None, has_authority: bool = False) -> Keyring | None:
    """The secrets for an end that is given none for just this address.

    They are those in ``secret_file``, else in what ``ANDIRON_SECRET_FILE`` names, else, where no authority is given either, in the usual place, if something is there.
    """
    path = secret_file or os.environ.get("ANDIRON_SECRET_FILE")
    if path:
        return Keyring(path)
    place = own_folder()
    if has_authority or place is None:
        return None
    path = os.path.join(place, "secret")
    return Keyring(path) if os.path.exists(path) else None


def read_private(path: str, what: str = "secret") -> tuple[bytes, tuple[int, ...]]:
    """What a file says, once it is known that only this user can read it."""
    try:
        # Before it is opened: opening what is no file may wait for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _denied(f"{path} is no file, so it can hold no {what}")
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            _check_owner(path, found)
            return file.read(_LONGEST + 1), _stamp(found)
    except FileNotFoundError as error:
        raise Failure(
            "no object",
            f"there is no secret at {path}: copy the server's there, or make one with `andiron secret new`",
        ) from error
    except PermissionError as error:
        raise _denied(f"cannot read {path}: {runtime.reason(error)}") from error
    except OSError as error:
        raise Failure("unavailable", f"cannot read {path}: {runtime.reason(error)}") from error


def _check_owner(path: str, found: os.stat_result) -> None:
    if runtime.user is None:
        return
    user, owner = runtime.user(), found.st_uid
    if owner not in (user, 0):
        raise _denied(
            f"{path} belongs to the user with id {owner}, who knows the secrets in it: make one of your own"
        )
    # What root hands to a service is often readable by the group of that service.
    if found.st_mode & (0o037 if owner == 0 and user != 0 else 0o077):
        mode = found.st_mode & 0o7777
        raise _denied(
            f"{path} is open to other users (mode {mode:04o}): run `chmod 600 {path}`, and make new secrets if others were there"
        )


def _load(path: str) -> tuple[list[Secret], tuple[int, ...]]:
    """The secrets in a file, in their order, and what is different when it was written or replaced."""
    data, stamp = read_private(path)
    try:
        text = None if len(data) > _LONGEST else data.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise _refused(f"{path} is no file of secrets: they are lines of text, and at most {_LONGEST} bytes")
    secrets: list[Secret] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        at = f"line {number} of {path}: "
        try:
            secret = Secret.parse(line)
        except Failure as failure:
            raise _refused(at + failure.message) from None
        if any(other.key == secret.key for other in secrets):
            raise _refused(
                at + "the same secret stands there twice, so nobody can tell what its holder may do"
            )
        secrets.append(secret)
    return secrets, stamp


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _stamp_at(path: str | None) -> tuple[int, ...] | None:
    try:
        return None if path is None else _stamp(os.stat(path))
    except OSError:
        return None


def _base32(data: bytes) -> str:
    from base64 import b32encode

    return b32encode(data).decode().rstrip("=").lower()


def _key(text: str) -> bytes:
    from base64 import b32decode

    if not text.startswith(PREFIX):
        raise _refused(
            "this is no secret: only what `andiron secret new` makes is one, because what people make up can be guessed"
        )
    coded = text[len(PREFIX) :]
    try:
        data = b32decode(coded.upper().encode() + b"=" * (-len(coded) % 8))
    except ValueError:
        data = b""
    # Written anew it has to be the same: no capital letters, and nothing in the bits that fill up the last character.
    if len(data) != 36 or _base32(data) != coded:
        raise _refused(
            "this secret is damaged: it has other characters or another length than one that `andiron secret new` made"
            + _MISTYPED
        )
    if data[32:] != _checksum(data[:32]):
        raise _refused("this secret is mistyped: its checksum is wrong" + _MISTYPED)
    return data[:32]


def _checksum(key: bytes) -> bytes:
    from hashlib import sha256

    return sha256(PREFIX.encode() + key).digest()[:4]


def _time(text: str) -> int:
    """A time with its offset from UTC, in seconds since 1970."""
    from datetime import datetime, timezone

    found = _is_time(text)
    try:
        if found is None:
            raise ValueError
        day, clock, sign, hours, minutes = found.groups()
        seconds = int(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=timezone.utc).timestamp())
        if sign:
            seconds -= int(sign + "1") * (int(hours) * 3600 + int(minutes) * 60)
        if seconds < 0:
            raise ValueError
    except ValueError:
        raise _refused(
            "`until=` is followed by a time with its offset from UTC, like `until=2026-12-01T00:00:00Z`"
        ) from None
    return seconds


def _decoded(text: str) -> str:
    """A name, in which what has a meaning of its own is ``%`` and two digits for each of its bytes."""
    from urllib.parse import unquote_to_bytes

    try:
        if any(not _is_percent(text, at) for at, char in enumerate(text) if char == "%"):
            raise ValueError
        return unquote_to_bytes(text).decode()
    except ValueError:
        raise _refused(
            "a `%` in a name stands before two hexadecimal digits, and together they are UTF-8: `%25` is `%` itself"
        ) from None


def _refused(text: str) -> Failure:
    return Failure("authentication", text)


def _denied(text: str) -> Failure:
    return Failure("denied", text)
