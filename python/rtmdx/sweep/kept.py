"""Values kept by key within a bound of memory, made once however many threads ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

__all__ = ["Kept"]

_T = TypeVar("_T")


class Kept:
    """A least-recently-used store of values.

    Parameters
    ----------
    limit : float
        Bytes held at most, as `size` of `get` counts them. A value larger than that is made and not kept.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.held = 0.0
        self.hits = self.misses = 0
        self._values: OrderedDict[Hashable, tuple[Any, float]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _T], size: Callable[[_T], float]) -> _T:
        """Return the value of `key`; the first thread to ask makes it, others wait. An error is raised, not kept."""
        while True:
            with self._lock:
                found = self._values.get(key)
                if found is not None:
                    self._values.move_to_end(key)
                    self.hits += 1
                    value: _T = found[0]
                    return value
                turn = self._making.setdefault(key, threading.Lock())
            with turn:
                with self._lock:
                    if key in self._values or self._making.get(key) is not turn:
                        continue  # made by another thread meanwhile, or given up by it
                    self.misses += 1
                try:
                    value = make()
                    self._keep(key, value, size(value))
                finally:
                    with self._lock:
                        del self._making[key]
                return value

    def _keep(self, key: Hashable, value: Any, size: float) -> None:
        with self._lock:
            if size > self.limit:
                return
            self._values[key] = (value, size)
            self.held += size
            while self.held > self.limit:
                _, (_, freed) = self._values.popitem(last=False)
                self.held -= freed
