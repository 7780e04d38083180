"""
What the views look at: one daemon at one moment. Nothing of it is changed by looking.

The counters are taken by a data thread, between two batches of all of them, where they agree with the interface's own. Nobody waits long
for that: after `PATIENCE` seconds they are read behind their backs, and the answer says so.

Next: `miniport/inspector/overview.py`, the first views.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from vnic import COMPILED, Adapter, Binding, PacketPool, __version__
from vnic.context import contexts
from vnic.verifier.levels import LEVELS

if TYPE_CHECKING:
    from miniport.data_thread import DataThreads
    from miniport.stack import Stack

PATIENCE = 0.05
"""Seconds that a question waits for the data threads, one of which may be stuck in a driver."""
TOO_LONG = 0.5
"""Seconds after which a data thread does not answer, even if it calls handlers: one of them may call others without end."""

T = TypeVar("T")
Counters = dict[str, dict[str, int]]
Rates = dict[str, dict[str, float]]


def attribute(driver: object, name: str, default: Any) -> Any:
    """An attribute of a driver, which can raise anything when it is asked for."""
    try:
        return getattr(driver, name, default)
    except BaseException:
        return default


class Raised(NamedTuple):
    """
    Exceptions of drivers that were no refusals.

    Attributes:
        by: how many came out of each binding, by its `id`.
        strays: how many nobody caught, in threads of drivers and in finalisers.
        last: the last of those, in words.
    """

    by: Mapping[int, int]
    strays: int = 0
    last: str = ""


class Subject(NamedTuple):
    """
    One daemon at one moment.

    Attributes:
        stack: its adapters and bindings.
        counters: of each adapter, by name.
        rates: frames per second of each adapter.
        about: the process: pid, version, when it was started.
        answers: whether a data thread took the counters itself.
        seen: of each thread, the handler calls when it was last looked at, and since when they have not grown.
        hanging: of each thread whose handler has not returned for longer than it may, for how many nanoseconds.
        data_threads: the numbers of the data threads, in the order of their queues.
        late: those of them that do not answer, nor call handlers.
        bytes_allowed: whether who asks may see the bytes of frames.
        memo: what was found out already, by looking at every packet.
        asked_as: the interface's name when the daemon began: its socket has that name still.
        raised: the exceptions of drivers.
    """

    stack: Stack
    counters: Mapping[str, Mapping[str, int]]
    rates: Mapping[str, Mapping[str, float]]
    about: Mapping[str, Any]
    answers: bool
    seen: Mapping[int, tuple[int, float]]
    hanging: Mapping[int, int]
    data_threads: tuple[int, ...]
    late: tuple[int, ...]
    bytes_allowed: bool
    memo: dict[str, Any]
    asked_as: str
    raised: Raised

    @property
    def name(self) -> str:
        """The interface's."""
        return self.stack.adapter.name

    def pools(self) -> Iterator[tuple[PacketPool, str, Adapter | None]]:
        """Every pool that lives: those of adapters, those that are attributes of drivers, and others; with whose it is."""
        found: set[int] = set()
        for adapter in self.stack.adapters:
            if id(adapter.pool) not in found:
                found.add(id(adapter.pool))
                yield adapter.pool, f"adapter {adapter.name}", adapter
        for binding in self.stack.bindings:
            for value in list(attribute(binding.driver, "__dict__", {}).values()):
                if type(value) is PacketPool and id(value) not in found:
                    found.add(id(value))
                    yield value, f"driver {binding.name}", None
        yield from ((pool, "others", None) for pool in LEVELS.all_pools() if id(pool) not in found and pool.packets())

    def bindings(self) -> dict[str, Binding]:
        """Every binding by its name, from the bottom to the top."""
        return {binding.name: binding for binding in self.stack.bindings}


class Inspector:
    """
    Knows one daemon over time: how fast frames come, since when each thread is where it is.

    Args:
        stack: what is bound.
        threads: the data threads; None while there are none.
        take: takes the counters; of all adapters by default.
        hanging: says which threads hang; the watch does.
        clock: seconds, monotonic.
        raised: says how many exceptions there were; by default they are what is left of the bindings' own counts.
    """

    def __init__(
        self,
        stack: Stack,
        threads: DataThreads | None = None,
        take: Callable[[], Counters] | None = None,
        hanging: Callable[[], dict[int, int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        raised: Callable[[], Raised] | None = None,
    ) -> None:
        self.stack = stack
        self._threads = threads
        self._take = take or self._counters
        self._hanging = hanging or dict
        self._clock = clock
        self._raised = raised or self._not_refused
        self._name = stack.adapter.name
        self._begun = clock()
        self._started = time.time()
        self._last: tuple[float, Counters] = (self._begun, {})
        self._rates: Rates = {}
        self._seen: dict[int, tuple[int, float]] = {}
        self._probe: Future[None] | None = None
        self._probed = 0.0

    def tick(self) -> Subject:
        """Look without waiting; called once a second, so that rates are of the last second."""
        counters, now = self._take(), self._clock()
        before, old = self._last
        if now > before:
            self._rates = {
                name: {key: round((values[key] - old.get(name, values)[key]) / (now - before), 1) for key in ("rx_frames", "tx_frames")}
                for name, values in counters.items()
            }
        self._last = (now, counters)
        self._notice_threads(now)
        return self._subject(counters, self._answered())

    async def look(self) -> Subject:
        """Take the counters on a data thread, if they answer in time."""
        self._notice_threads(self._clock())
        before = {context.ident: context.calls for context in contexts()}
        counters, answers = await self.between_batches(self._take)
        waits = self._probe is not None and not self._probe.done() and self._clock() - self._probed > TOO_LONG
        # one that has called handlers meanwhile only has much to do
        moving = () if waits else (context.ident for context in contexts() if before.get(context.ident) != context.calls)
        return self._subject(counters, answers, frozenset(moving))

    async def between_batches(self, job: Callable[[], T]) -> tuple[T, bool]:
        """
        Call something on a data thread, or here if they do not answer in time.

        Args:
            job: what to call.

        Returns:
            Its result, and whether nothing was going on meanwhile: a data thread called it, or all have ended.
        """
        if self._threads is None:
            return job(), True
        future = self._threads.call(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE), True
        except (TimeoutError, asyncio.CancelledError):
            return job(), self._threads.ended

    def _answered(self) -> bool:
        """Whether the data threads have done what they were given at the last tick; give them something for the next."""
        answers = self._probe is None or self._probe.done()
        if answers and self._threads is not None:
            self._probe, self._probed = self._threads.call(lambda: None), self._clock()
        return answers

    def _counters(self) -> Counters:
        return {adapter.name: adapter.counters() for adapter in self.stack.adapters}

    def _not_refused(self) -> Raised:
        return Raised({id(binding): binding.errors - binding.violations for binding in self.stack.bindings})

    def _notice_threads(self, now: float) -> None:
        """Remember since when a thread is in one and the same call of a handler."""
        busy = {context.ident: context.calls for context in contexts() if context.handler is not None}
        known = self._seen
        self._seen = {ident: known[ident] if ident in known and known[ident][0] == calls else (calls, now) for ident, calls in busy.items()}

    def _subject(self, counters: Counters, answers: bool, moving: frozenset[int] = frozenset()) -> Subject:
        if any(adapter.name not in counters for adapter in self.stack.adapters):
            # it was renamed meanwhile
            counters = self._take()
        about = {
            "pid": os.getpid(),
            "version": __version__,
            "core": "compiled" if COMPILED else "uncompiled",
            "started": round(self._started, 3),
            "uptime_s": round(self._clock() - self._begun, 3),
            "as_of": round(time.time(), 3),
        }
        all_of_them = tuple(self._threads.idents()) if self._threads is not None else ()
        late = [ident for ident in self._threads.late() if ident not in moving] if self._threads is not None and not answers else []
        return Subject(
            stack=self.stack,
            counters=counters,
            rates=self._rates,
            about=about,
            answers=answers,
            seen=self._seen,
            hanging=self._hanging(),
            data_threads=all_of_them,
            late=tuple(late),
            bytes_allowed=True,
            memo={},
            asked_as=self._name,
            raised=self._raised(),
        )
