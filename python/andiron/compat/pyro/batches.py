"""Many calls of one object in one message."""

from __future__ import annotations

from andiron.compat.pyro import futures
from andiron.compat.pyro.errors import PyroError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Call = tuple[str, tuple[Any, ...], dict[str, Any]]

__all__ = ["BatchProxy", "batch"]


class _Collected:
    """A method whose calls are collected."""

    def __init__(self, calls: list[Call], name: str) -> None:
        self._calls = calls
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self._calls.append((self._name, args, kwargs))


class BatchProxy:
    """Collects calls of a proxy's object, and makes them all when it is called itself, in their order, up to the first that fails.

    That gives a generator of their results, which raises the error in its turn, and the batch is empty again::

        batch = BatchProxy(proxy)
        batch.add(1, 2)
        batch.add(3, 4)
        first, second = batch()

    With ``oneway`` nobody waits for them, and nothing is given. With ``asynchronous`` they go on meanwhile, and what is given is a `FutureResult` with the generator.
    """

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy
        self._calls: list[Call] = []

    def __getattr__(self, name: str) -> _Collected:
        if name[:2] == "__" == name[-2:]:
            raise AttributeError(name)  # what Python asks for, and nobody calls
        return _Collected(self._calls, name)

    def __call__(self, oneway: bool = False, asynchronous: bool = False) -> Any:
        """Makes the calls."""
        if oneway and asynchronous:
            raise PyroError("async oneway calls make no sense")
        proxy, calls = self._proxy, self._calls[:]
        self._calls.clear()
        if asynchronous:
            return futures.begun(lambda: _results(proxy._pyroInvokeBatch(calls, False)))
        results = proxy._pyroInvokeBatch(calls, oneway)
        return None if oneway else _results(results)

    def __enter__(self) -> BatchProxy:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __copy__(self) -> BatchProxy:
        copy = type(self)(self._proxy)
        copy._calls.extend(self._calls)
        return copy


def batch(proxy: Any) -> BatchProxy:
    """A `BatchProxy` of a proxy."""
    return BatchProxy(proxy)


def _results(answer: tuple[list[Any], BaseException | None]) -> Iterator[Any]:
    results, error = answer
    yield from results
    if error is not None:
        raise error
