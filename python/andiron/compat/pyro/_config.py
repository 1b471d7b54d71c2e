"""What is set for the whole process."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Those that do something here, with what they are without being set.
_USED: dict[str, Any] = {
    "HOST": "localhost",
    "NS_HOST": "localhost",
    "NS_PORT": 9090,
    "NS_AUTOCLEAN": 0.0,
    "NS_LOOKUP_DELAY": 0.0,
    "NATHOST": None,
    "NATPORT": 0,
    "SERVERTYPE": "thread",
    "COMMTIMEOUT": 0.0,
    "POLLTIMEOUT": 2.0,
    "MAX_RETRIES": 0,
    "THREADPOOL_SIZE": 80,
    "SERIALIZER": "serpent",
    "SSL": False,
    "ITER_STREAMING": True,
    "ITER_STREAM_LIFETIME": 0.0,
    "REQUIRE_EXPOSE": True,
    "AUTOPROXY": True,
    "SECRET": "",
}

#: Those that are accepted and change nothing, since what they chose is otherwise, or not, in Andiron.
_UNUSED: dict[str, Any] = {
    "NS_BCPORT": 9091,
    "NS_BCHOST": None,
    "BROADCAST_ADDRS": "<broadcast>, 0.0.0.0",
    "COMPRESSION": False,
    "SOCK_REUSE": True,
    "SOCK_NODELAY": False,
    "DETAILED_TRACEBACK": False,
    "THREADPOOL_SIZE_MIN": 4,
    "MAX_MESSAGE_SIZE": 1024 * 1024 * 1024,
    "PREFER_IP_VERSION": 0,
    "SERPENT_BYTES_REPR": False,
    "ITER_STREAM_LINGER": 30.0,
    "LOGFILE": "",
    "LOGLEVEL": "",
    "LOGWIRE": False,
    "SSL_SERVERCERT": "",
    "SSL_SERVERKEY": "",
    "SSL_SERVERKEYPASSWD": "",
    "SSL_REQUIRECLIENTCERT": False,
    "SSL_CLIENTCERT": "",
    "SSL_CLIENTKEY": "",
    "SSL_CLIENTKEYPASSWD": "",
    "SSL_CACERTS": "",
    "SERIALIZERS_ACCEPTED": frozenset(["serpent", "json", "marshal", "msgpack"]),
    "METADATA": True,
    "ONEWAY_THREADED": True,
    "USE_MSG_WAITALL": False,
    "JSON_MODULE": "json",
    "PICKLE_PROTOCOL_VERSION": 4,
    "DILL_PROTOCOL_VERSION": 4,
    "FLAME_ENABLED": False,
}

_ITEMS = {**_USED, **_UNUSED}

SERVER_TYPES = ("thread", "multiplex")


class Configuration:
    """What is set for the whole process, by its attributes or by the environment (``PYRO_COMMTIMEOUT=5``). Other names than these are refused.

    >>> config = Configuration()
    >>> config.COMMTIMEOUT = 2.5
    >>> config.copy().COMMTIMEOUT
    2.5
    >>> config.COMTIMEOUT = 2.5
    Traceback (most recent call last):
    ...
    AttributeError: 'Configuration' object has no attribute 'COMTIMEOUT'
    """

    __slots__ = tuple(_ITEMS)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        self.reset()

    def reset(self, use_environment: bool = True) -> None:
        """Sets all to what they are without being set, or as the environment says."""
        for name, value in _ITEMS.items():
            setattr(self, name, set(value) if isinstance(value, frozenset) else value)
        if use_environment:
            for variable, text in os.environ.items():
                if variable.startswith("PYRO_"):
                    self._take(variable, text)

    def _take(self, variable: str, text: str) -> None:
        name = variable[len("PYRO_") :]
        if name not in _ITEMS:
            raise ValueError(f"the environment has {variable}, and there is no setting {name}")
        usual = _ITEMS[name]
        setattr(self, name, _read(variable, text, usual))

    def copy(self) -> Configuration:
        """One like this."""
        other = object.__new__(Configuration)
        for name, value in self.as_dict().items():
            setattr(other, name, value)
        return other

    def as_dict(self) -> dict[str, Any]:
        """All settings by their names."""
        taken = {name: getattr(self, name) for name in _ITEMS}
        return {name: set(value) if isinstance(value, set) else value for name, value in taken.items()}

    asDict = as_dict

    def dump(self) -> str:
        """All settings, one a line, but for the secret."""
        shown = {**self.as_dict(), "SECRET": "(set)" if self.SECRET else ""}
        return "\n".join(f"{name} = {shown[name]!r}" for name in sorted(shown))


def _read(variable: str, text: str, usual: Any) -> Any:
    """What a text of the environment means, for a setting that is usually this."""
    if isinstance(usual, bool):
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{variable}={text!r}: it is true or false")
        return _BOOLEANS[text.lower()]
    if isinstance(usual, frozenset):
        return {part.strip() for part in text.split(",") if part.strip()}
    if isinstance(usual, (int, float)):
        try:
            return type(usual)(text)
        except ValueError:
            raise ValueError(f"{variable}={text!r}: it is a number") from None
    return text


_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off", ""), False),
}

config = Configuration()
