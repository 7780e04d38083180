"""
SIGHUP: the configuration is read again. Drivers that changed are exchanged, the others do not notice.

What cannot follow while frames flow is named in the log as needing a restart; an invalid configuration changes nothing.

Next: `miniport/stack.py`, where the drivers are exchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from miniport.errors import Exit, Failure
from miniport.log import exception_fields
from miniport.stack import Bound, load_drivers
from miniport.verifier import set_verifier

if TYPE_CHECKING:
    from miniport.config import Config
    from miniport.data_thread import DataThreads
    from miniport.log import EventLog
    from miniport.stack import Stack

RESTART = ("adapter", "pool", "filter", "control")
"""Sections that are only read at the start."""
RESTART_LOOP = ("queues", "reader")
"""Keys of the section `loop` that are only read at the start."""


class Reload:
    """
    The configuration as it is now, and how it changes. Called on the main thread.

    Args:
        config: what the daemon was started with.
        load: makes the configuration anew.
        stack: whose drivers are exchanged, by a data thread.
        threads: the data threads.
        log: where to say how it went.
        stopping: once it is set, nothing is reloaded any more.
        post: runs a function soon on the main thread.
        forget: called, on the main thread, when drivers have been unbound.
        on_done: called, on a data thread, with the exchange that is over.

    Attributes:
        config: the configuration.
        happened: set whenever the configuration is another one; whoever waits for it clears it.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        *,
        stack: Stack,
        threads: DataThreads,
        log: EventLog,
        stopping: asyncio.Event,
        post: Callable[[Callable[[], None]], None],
        forget: Callable[[], None],
        on_done: Callable[[Future[None]], None],
    ) -> None:
        self.config = self._started = config
        self.happened = asyncio.Event()
        self._load = load
        self._stack = stack
        self._threads = threads
        self._log = log
        self._stopping = stopping
        self._post = post
        self._forget = forget
        self._on_done = on_done
        self._running = self._again = False

    def __call__(self) -> None:
        """Read the configuration, follow what can be followed at once, and have the drivers exchanged."""
        if self._stopping.is_set():
            return
        if self._running:
            self._again = True
            return
        try:
            fresh = self._load()
            missing = list(fresh.protocol)
            surplus: list[Bound] = []
            for bound in self._stack.drivers:
                if bound.table in missing:
                    missing.remove(bound.table)
                else:
                    surplus.append(bound)
            drivers = load_drivers(missing)
            for loaded in drivers:
                self._stack.adapter_for(loaded)
        except Failure as failure:
            self._failed(failure)
            return
        except KeyboardInterrupt as error:
            # SIGINT is not what raises it while the loop runs: it is a driver's, like any other exception
            told = exception_fields(error)
            self._failed(Failure(Exit.CONFIG, f"a driver: KeyboardInterrupt: {told['message']} ({told['where']})", "mend the driver"))
            return
        needs_restart = self._needs_restart(fresh)
        self._threads.budget, self._threads.busy_poll_us = fresh.loop.budget, fresh.loop.busy_poll_us
        if fresh.verifier != self.config.verifier:
            # what was set by command since then stays, unless the file has changed
            set_verifier(fresh.verifier)
        self.config = fresh
        self.happened.set()
        self._running = True
        exchange = self._threads.call(
            lambda: self._stack.exchange(surplus, drivers, lambda failure: self._post(partial(self._failed, failure)))
        )
        exchange.add_done_callback(self._on_done)
        exchange.add_done_callback(lambda _: self._post(partial(self._exchanged, needs_restart)))

    def _needs_restart(self, fresh: Config) -> list[str]:
        """What is other than at the start, and will be until the next one."""
        names = [name for name in RESTART if getattr(fresh, name) != getattr(self._started, name)]
        if fresh.log.format != self._started.log.format:
            names.append("log.format")
        return names + [f"loop.{key}" for key in RESTART_LOOP if getattr(fresh.loop, key) != getattr(self._started.loop, key)]

    def _exchanged(self, needs_restart: list[str]) -> None:
        """The drivers have been exchanged: say which are bound now; a signal that came meanwhile is obeyed now."""
        self._running = False
        self._forget()
        self._log.event("reload", drivers=[bound.binding.name for bound in self._stack.drivers], needs_restart=needs_restart)
        if self._again:
            self._again = False
            self()

    def _failed(self, failure: Failure) -> None:
        self._log.event("reload", "error", status=int(failure.status), error=failure.what, remedy=failure.remedy)
