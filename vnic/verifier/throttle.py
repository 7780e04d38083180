"""
Not too often: a few for each key and second, and a count of the others.

Next: `vnic/verifier/records.py`, which is written through one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

MAX_KEYS = 1024
OTHERS = "others"
"""The key that all keys past `MAX_KEYS` share."""


class Throttle:
    """
    Lets a few lines through for each key and second, and counts the others.

    Args:
        per_second: lines for each key.
        clock: seconds, monotonic.
    """

    def __init__(self, per_second: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._keys: dict[Hashable, list[float]] = {}
        # As in the log: a finaliser may come here while this thread is inside the lock.
        self._lock = threading.RLock()

    def allow(self, key: Hashable) -> int | None:
        """
        Ask whether a line may be written.

        Returns:
            How many were suppressed since the last allowed line of this key, or None if this one is to be suppressed.
        """
        with self._lock:
            if key not in self._keys and len(self._keys) >= MAX_KEYS:
                key = OTHERS
            now = self._clock()
            start, allowed, suppressed = self._keys.get(key, (now, 0, 0))
            if now - start >= 1:
                start, allowed = now, 0
            if allowed >= self._per_second:
                self._keys[key] = [start, allowed, suppressed + 1]
                return None
            self._keys[key] = [start, allowed + 1, 0]
            return int(suppressed)

    def drain(self) -> Iterator[tuple[Any, int]]:
        """Give, once, what was suppressed and not yet told: key and number."""
        with self._lock:
            keys, self._keys = self._keys, {}
        for key, (_, _, suppressed) in keys.items():
            if suppressed:
                yield key, int(suppressed)
