"""Proxies, which stand for objects of other processes."""

from __future__ import annotations

import threading
import time
from itertools import count

import andiron
from andiron import _errors, _host, _values
from andiron._proxy import SPECIAL, Stream
from andiron._values import Record
from andiron.compat.pyro import errors, serializers
from andiron.compat.pyro._calls import Raised, Reply
from andiron.compat.pyro._config import config
from andiron.compat.pyro._link import Link, connected, not_connected, refuse_key
from andiron.compat.pyro.core import DAEMON_NAME, URI, current_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from andiron._engine import Pending

__all__ = ["Proxy", "SerializedBlob"]

#: The pauses between tries to connect again, in seconds: the first, and the longest.
_PAUSES = 0.05, 2.0


class Proxy:
    """Stands for an object of another process: its methods are called there, its attributes read and set there.

    It connects when it is used first, and again when it is used after the connection ended. Any thread may use it. Its own attributes begin with ``_pyro``.
    """

    _pyroUri: URI
    _pyroMethods: set[str]
    _pyroAttrs: set[str]
    _pyroOneway: set[str]

    def __init__(self, uri: str | URI, connected_socket: Any = None) -> None:
        if connected_socket is not None:
            raise NotImplementedError("a proxy connects by itself: give it the address of the object")
        if isinstance(uri, str):
            uri = URI(uri)
        if not isinstance(uri, URI):
            raise TypeError(f"a proxy is made of a URI, not of {uri!r}")
        serializers.check_serializer(config.SERIALIZER)
        self._pyroUri = uri
        #: What is told to the daemon when it is connected to: see `Daemon.validateHandshake`.
        self._pyroHandshake: Any = "hello"
        #: How often a call that cannot have run is made again on another connection.
        self._pyroMaxRetries = config.MAX_RETRIES
        self._pyroSerializer: str | None = None
        #: Its text, or the path of its file; without it `config.SECRET` is taken. It does not go with a proxy that is sent.
        self._pyroSecret: Any = None
        self._pyroAsynchronous = False
        self._pyroRawWireResponse = False
        self._pyroSetup()
        self._pyroTimeout = config.COMMTIMEOUT

    def _pyroSetup(self) -> None:
        self._pyroLink: Link | None = None
        self._pyroLock = threading.RLock()
        self._pyroNumbers = count(1)
        self._pyroSeq = 0
        self._pyroMethods, self._pyroAttrs, self._pyroOneway = set(), set(), set()

    # How it is connected.

    @property
    def _pyroTimeout(self) -> float | None:
        """Seconds that a call may take, and so may connecting; `None`: any time."""
        seconds: float | None = self._pyroSeconds
        return seconds

    @_pyroTimeout.setter
    def _pyroTimeout(self, seconds: float | None) -> None:
        checked = _errors.check_seconds("_pyroTimeout", seconds or 0)
        if not checked >= 0:
            raise ValueError(f"_pyroTimeout is a number of seconds, or None for any time, not {seconds!r}")
        self._pyroSeconds = checked or None

    @property
    def _pyroHmacKey(self) -> None:
        """There is none: a secret proves who connects."""
        return

    @_pyroHmacKey.setter
    def _pyroHmacKey(self, key: object) -> None:
        refuse_key(key)

    @property
    def _pyroConnection(self) -> Link | None:
        """Something, while it is connected."""
        link = self._pyroLink
        return None if link is None or link.is_over() else link

    @property
    def _pyroLocalSocket(self) -> Any:
        """Who is at the other end of the connection."""
        link = self._pyroConnection
        return None if link is None else link.hub.peer

    def _pyroBind(self) -> bool:
        """Connects now. Whether that was necessary."""
        with self._pyroLock:
            if self._pyroConnection is not None:
                return False
            self._pyroUri = self._pyroConnect().uri
            return True

    def _pyroConnect(self) -> Link:
        self._pyroRelease()
        uri = self._pyroUri
        if uri.protocol != "PYRO":
            from andiron.compat.pyro.names import resolve

            uri = resolve(uri, secret=self._pyroSecret)
        try:
            hub = connected(uri, self._pyroTimeout, self._pyroSecret or config.SECRET)
        except _errors.Error as error:
            raise not_connected(uri, "cannot connect to", error) from error
        try:
            if self._pyroTimeout is None:
                link, told = self._pyroOpen(hub, uri)
            else:
                with andiron.timeout(self._pyroTimeout):
                    link, told = self._pyroOpen(hub, uri)
            self._pyroValidateHandshake(told["handshake"])
        except (KeyError, _errors.NoObjectError) as error:
            hub.close()
            raise errors.CommunicationError(
                f"no daemon of andiron.compat.pyro is at {uri.location}: something else of Andiron listens there"
            ) from error
        except Exception as error:
            hub.close()
            raise not_connected(uri, "rejected by", error) from error
        except BaseException:
            hub.close()
            raise
        meta = told["meta"]
        self._pyroMethods, self._pyroAttrs = set(meta["methods"]), set(meta["attrs"])
        self._pyroOneway = set(meta["oneway"])
        self._pyroLink = link
        return link

    def _pyroOpen(self, hub: Any, uri: URI) -> tuple[Link, dict[str, Any]]:
        link = Link(hub, uri)
        return link, link.open(self._pyroHandshake)

    def _pyroLinked(self) -> Link:
        """The connection; made where there is none."""
        link = self._pyroLink
        if link is not None and not link.is_over():
            return link
        with self._pyroLock:
            had = self._pyroLink is not None
            try:
                return self._pyroConnection or self._pyroConnect()
            except errors.CommunicationError as error:
                if not had or type(error) is not errors.CommunicationError:
                    raise
                # The other end is gone since the last call: programs look for this error to forget who has left.
                raise errors.ConnectionClosedError(str(error)) from error

    def _pyroRelease(self) -> None:
        """Ends the connection. The next use makes another one."""
        with self._pyroLock:
            link, self._pyroLink = self._pyroLink, None
            if link is not None:
                link.close()

    def _pyroReconnect(self, tries: int = 100000000) -> None:
        """Connects anew, and tries so many times, with pauses that grow to 2 seconds.

        It is ended by Ctrl-C, by the host of this program (`andiron.abort_when`), and by what waiting will not change.
        """
        self._pyroRelease()
        pause = _PAUSES[0]
        for left in range(tries - 1, -1, -1):
            try:
                self._pyroLinked()  # a name stays one, so an object that has moved is found
                return
            except errors.CommunicationError as error:
                if not left:
                    raise errors.ConnectionClosedError(
                        f"failed to reconnect to {self._pyroUri}: {error}"
                    ) from error
            _host.check()
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])

    def _pyroValidateHandshake(self, response: Any) -> None:
        """What the daemon answered when it was connected to. To be overridden: an error ends the connection."""

    def _pyroClaimOwnership(self) -> None:
        """Nothing has to be claimed: any thread may use a proxy."""

    def _pyroGetMetadata(self, objectId: str | None = None, known_metadata: Any = None) -> None:  # noqa: ARG002 - as it is named there
        """Asks anew what the object has."""
        meta = self._pyroInvoke(
            "get_metadata", (objectId or self._pyroLinked().uri.object,), {}, 0, DAEMON_NAME
        )
        self._pyroMethods, self._pyroAttrs = set(meta["methods"]), set(meta["attrs"])
        self._pyroOneway = set(meta["oneway"])

    def _pyroAnnotations(self) -> dict[str, Any]:
        """What is said beside each call. To be overridden; `current_context.annotations` go as well."""
        return {}

    def _pyroResponseAnnotations(self, annotations: dict[str, Any], msgtype: int) -> None:
        """What was said beside a result. To be overridden; it is in `current_context.response_annotations` as well."""

    # Calls.

    def _pyroInvoke(
        self,
        methodname: str,
        vargs: Any,
        kwargs: dict[str, Any] | None,
        flags: int = 0,  # noqa: ARG002 - as it is named there
        objectId: str | None = None,
    ) -> Any:
        """One call, and its result."""
        if methodname == "__getattr__":
            methodname, vargs = vargs[0], ()
        elif methodname == "__setattr__":
            methodname = "$set"
        args, kwargs = tuple(vargs), dict(kwargs or {})

        def invoke(link: Link) -> Any:
            method = link.of(objectId, SPECIAL.get(methodname, methodname))
            if objectId is None and methodname in self._pyroOneway:
                method.notify(*args, **kwargs)
                return None
            return method(*args, **kwargs)

        return self._pyroResult(self._pyroTry(invoke))

    def _pyroInvokeBatch(
        self, calls: list[tuple[str, Any, dict[str, Any]]], oneway: bool = False
    ) -> tuple[list[Any], BaseException | None]:
        """Calls one after the other, in one message: the results up to the first that fails, and its error."""
        told = [(name, list(args), dict(kwargs or {})) for name, args, kwargs in calls]

        def invoke(link: Link) -> Any:
            method = link.method("$batch")
            if oneway:
                method.notify(told)
                return [], None
            return method(told)

        results, error = self._pyroResult(self._pyroTry(invoke))
        if isinstance(error, Exception):
            lines = getattr(error, "_pyroTraceback", None)
            error = serializers.remade(errors.as_here(error))
            if lines is not None:
                error._pyroTraceback = lines  # type: ignore[attr-defined]
        return results, error

    def _pyroStart(self, methodname: str, vargs: Any, kwargs: dict[str, Any]) -> Call:
        """Begins a call, and does not wait for it."""

        def invoke(link: Link) -> Pending:
            return link.method(SPECIAL.get(methodname, methodname)).start(*vargs, **kwargs)

        return Call(self, self._pyroTry(invoke))

    def _pyroTry(self, invoke: Callable[[Link], Any]) -> Any:
        """What it gives; again where the connection ended and it cannot have run."""
        left = self._pyroMaxRetries
        if current_context.client is None:
            current_context.response_annotations = {}
        while True:
            link = self._pyroLinked()
            self._pyroSeq = next(self._pyroNumbers) & 0xFFFF
            try:
                return self._pyroWithin(invoke, link)
            except _errors.UnavailableError as error:  # it did not run
                self._pyroHear(link)
                if not left or not link.is_over():
                    raise errors.as_here(error) from error
                left -= 1
            except Exception as error:
                self._pyroHear(link)
                raise self._pyroMapped(error) from error.__cause__

    def _pyroWithin(self, invoke: Callable[[Link], Any], link: Link) -> Any:
        """Has the calls that are made in it take their time, and say what is to be said."""
        said = {**current_context.annotations, **self._pyroAnnotations()}
        if current_context.correlation_id is not None:
            said["correlation_id"] = current_context.correlation_id
        seconds = self._pyroSeconds
        if seconds is None and not said:
            return invoke(link)
        if seconds is None:
            with andiron.annotations(**said):
                return invoke(link)
        with andiron.timeout(seconds):
            if not said:
                return invoke(link)
            with andiron.annotations(**said):
                return invoke(link)

    def _pyroHear(self, link: Link) -> None:
        """Lets go of a connection that has ended."""
        if link.is_over() and self._pyroLink is link:
            self._pyroRelease()

    def _pyroMapped(self, error: Exception) -> Exception:
        """The error as it is raised here."""
        made = serializers.remade(error)
        if made is error and isinstance(error, (_errors.NoMethodError, _errors.BadArgumentsError)):
            return error
        return errors.as_here(made)

    def _pyroResult(self, answer: Any) -> Any:
        """What an answer says."""
        said: dict[str, Any] = {}
        if type(answer) is Raised:
            raise answer.error
        if type(answer) is Reply:
            answer, said = answer.value, answer.annotations
            self._pyroResponseAnnotations(said, 0)
        if current_context.client is None:
            current_context.response_annotations = said
        return Items(answer, self) if isinstance(answer, Stream) else answer

    def _pyroBatch(self) -> Any:
        """A batch of calls: see `BatchProxy`."""
        from andiron.compat.pyro.batches import BatchProxy

        return BatchProxy(self)

    def _pyroAsync(self, asynchronous: bool = True) -> None:
        """Has calls give something that the result is asked of later."""
        self._pyroAsynchronous = asynchronous

    # What it is to Python.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_pyro") or (name.startswith("__") and self._pyroConnection is None):
            raise AttributeError(name)
        if not self._pyroMethods and not self._pyroAttrs:
            self._pyroLinked()
        if name in self._pyroAttrs:
            return self._pyroInvoke("__getattr__", (name,), None)
        if name not in self._pyroMethods:
            raise AttributeError(
                f"remote object '{self._pyroUri}' has no exposed attribute or method '{name}'"
            )
        return RemoteMethod(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if not self._pyroMethods and not self._pyroAttrs:
            self._pyroLinked()
        if name not in self._pyroAttrs:
            raise AttributeError(f"remote object '{self._pyroUri}' has no exposed attribute '{name}'")
        self._pyroInvoke("__setattr__", (name, value), None)

    def __dir__(self) -> list[str]:
        if not self._pyroMethods and not self._pyroAttrs:
            self._pyroLinked()
        return sorted({*object.__dir__(self), *self._pyroMethods, *self._pyroAttrs})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the object itself, where it can be called."""
        self._pyroLinked()
        return self.__getattr__("__call__")(*args, **kwargs)

    def __len__(self) -> int:
        length: int = self._pyroInvoke("__len__", (), {})
        return length

    def __getitem__(self, key: Any) -> Any:
        return self._pyroInvoke("__getitem__", (key,), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        self._pyroInvoke("__setitem__", (key, value), {})

    def __delitem__(self, key: Any) -> None:
        self._pyroInvoke("__delitem__", (key,), {})

    def __contains__(self, item: Any) -> bool:
        self._pyroLinked()
        if "__contains__" in self._pyroMethods:
            return bool(self._pyroInvoke("__contains__", (item,), {}))
        return any(other is item or other == item for other in self)

    def __iter__(self) -> Iterator[Any]:
        self._pyroLinked()
        if "__iter__" in self._pyroMethods:
            yield from self._pyroInvoke("__iter__", (), {})
            return
        for index in count():
            try:
                item = self[index]
            except IndexError:
                return
            yield item

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return other is self or (isinstance(other, Proxy) and other._pyroUri == self._pyroUri)

    def __hash__(self) -> int:
        return hash(self._pyroUri)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._pyroRelease()

    def __repr__(self) -> str:
        state = "not connected" if self._pyroConnection is None else "connected"
        cls = type(self)
        return f"<{cls.__module__}.{cls.__name__} at 0x{id(self):x}; {state}; for {self._pyroUri}>"

    def __str__(self) -> str:
        return repr(self)

    def __getstate__(self) -> tuple[Any, ...]:
        return str(self._pyroUri), self._pyroHandshake, self._pyroSeconds, self._pyroMaxRetries

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        uri, handshake, seconds, retries = state
        Proxy.__init__(self, uri)
        self._pyroHandshake, self._pyroSeconds, self._pyroMaxRetries = handshake, seconds, retries

    def __copy__(self) -> Proxy:
        other = object.__new__(type(self))
        other.__setstate__(self.__getstate__())
        own = {name: value for name, value in vars(self).items() if name not in vars(other)}
        vars(other).update(own)
        other._pyroSecret, other._pyroAsynchronous = self._pyroSecret, self._pyroAsynchronous
        return other

    def __deepcopy__(self, _: object) -> Proxy:
        return self.__copy__()


class RemoteMethod:
    """A method of the object of a proxy."""

    def __init__(self, proxy: Proxy, name: str) -> None:
        self._proxy = proxy
        self._name = name
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        proxy = self._proxy
        if proxy._pyroAsynchronous:
            from andiron.compat.pyro import futures

            return futures.start(proxy, self._name, args, kwargs)
        return proxy._pyroInvoke(self._name, args, kwargs)

    def __repr__(self) -> str:
        return f"<remote method {self._name} of {self._proxy._pyroUri}>"


class Call:
    """A call under way; as `andiron.Pending`, with the errors of this package."""

    def __init__(self, proxy: Proxy, pending: Pending) -> None:
        self._proxy = proxy
        self._pending = pending

    def result(self, timeout: float | None = None) -> Any:
        """What it gives, or raises; `TimeoutError` where it is not there in so many seconds."""
        try:
            answer = self._pending.result(timeout)
        except Exception as error:
            raise self._proxy._pyroMapped(error) from error.__cause__
        return self._proxy._pyroResult(answer)

    def done(self) -> bool:
        """Whether it has ended."""
        return self._pending.done()

    def cancel(self) -> bool:
        """Gives it up."""
        return self._pending.cancel()

    def add_done_callback(self, callback: Callable[[Call], object]) -> None:
        """Has this called when it has ended."""
        self._pending.add_done_callback(lambda _: callback(self))


class Items:
    """Items that a method gives one by one: iterate over it once."""

    def __init__(self, items: Any, proxy: Proxy) -> None:
        self._items = items
        self._proxy = proxy

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:
            raise self._proxy._pyroMapped(error) from error.__cause__

    def close(self) -> None:
        """Wants no more items."""
        self._items.close()

    def __enter__(self) -> Items:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SerializedBlob:
    """Data that is not read on its way: who gets it as the only argument of a method passes it on as it is, or reads it by `deserialized`.

    ``info`` is read with each call.
    """

    def __init__(self, info: Any, data: Any, is_blob: bool = False) -> None:
        self.info = info
        self._data = data
        self._encoded = is_blob

    def deserialized(self) -> Any:
        """The data."""
        return andiron.decode(self._data) if self._encoded else self._data


def record_of(proxy: Proxy) -> Record:
    """A proxy as it travels: where its object is, and nothing that is secret."""
    return Record("Pyro5.client.Proxy", {"uri": str(proxy._pyroUri), "handshake": proxy._pyroHandshake})


def _proxy_of(fields: dict[str, Any]) -> Proxy:
    proxy = Proxy(str(fields["uri"]))
    proxy._pyroHandshake = fields["handshake"]
    return proxy


def _record_of_blob(blob: SerializedBlob) -> Record:
    data = blob._data if blob._encoded else andiron.encode(blob._data)
    return Record("Pyro5.client.SerializedBlob", {"info": blob.info, "data": data})


def _blob_of(fields: dict[str, Any]) -> SerializedBlob:
    return SerializedBlob(fields["info"], fields["data"], is_blob=True)


_values.converters[Proxy] = record_of
_values.converters[SerializedBlob] = _record_of_blob
_values.makers["Pyro5.client.Proxy"] = _proxy_of
_values.makers["Pyro5.client.SerializedBlob"] = _blob_of


def __getattr__(name: str) -> Any:
    """`BatchProxy`, which is in another module here, and is loaded when it is asked for."""
    if name != "BatchProxy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from andiron.compat.pyro.batches import BatchProxy

    return BatchProxy
