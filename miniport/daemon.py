"""
The composition root: configuration -> interface -> adapter -> filters -> drivers -> data threads -> ready; and all the way back.

Frames are the data threads'. Here, on asyncio in the main thread, are the signals, the link's events and the log: they answer even
while a driver hangs.

Next: `miniport/stack.py`, then `miniport/adapter.py` and `miniport/data_thread.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import TYPE_CHECKING, Any

from miniport.adapter import TapMiniport
from miniport.carrier import LinkWatch, set_up_link
from miniport.data_thread import DataThreads
from miniport.errors import Exit
from miniport.inspection import Inspection
from miniport.inspector.subject import PATIENCE, Inspector
from miniport.log import EventLog, escape, exception_fields
from miniport.posts import Posts
from miniport.reload import Reload
from miniport.reports import Reports
from miniport.runtime_dir import socket_path
from miniport.show import show_bindings, show_counters, show_holders
from miniport.stack import Stack, forget_unbound, load_drivers, load_filters
from miniport.stop import name_the_hanging, taken_back, unaccounted, unbind_all
from miniport.strays import catch_strays, left_behind
from miniport.supervisor import StopSignals, forget_signals, notify_manager, tell_ready, watch_signals
from miniport.tap import adopt_tap, open_tap
from miniport.verifier import set_verifier
from vnic import COMPILED, PacketState, __version__
from vnic.verifier.watch import Watch

if TYPE_CHECKING:
    from miniport.config import Config
    from miniport.link import LinkState
    from vnic import Binding
    from vnic.verifier.rules import Rule

FORGET_TRIES, FORGET_SECONDS = 10, 0.2
"""How often, and after how long each time, is looked whether nothing refers to an unbound driver any more."""


def run(load_config: Callable[[], Config], *, tap_fd: int | None = None, ready_fd: int | None = None) -> int:
    """
    Run the daemon until a signal ends it.

    Args:
        load_config: makes the configuration; called again on SIGHUP.
        tap_fd: an open TAP descriptor to use instead of opening one.
        ready_fd: where to write a line when ready.

    Returns:
        The exit status, from `miniport.errors.Exit`.

    Raises:
        Failure: the daemon could not start; nothing is left behind.
    """
    return asyncio.run(Daemon(load_config).run(tap_fd, ready_fd))


class Daemon:
    """One interface, its drivers, and everything around them, from start to stop."""

    def __init__(self, load_config: Callable[[], Config]) -> None:
        self.load_config = load_config
        self.config = load_config()
        self.log = EventLog(2, self.config.log.format)
        self._post = Posts(lambda error: self.reports.stray("control", error))
        self.reports = Reports(self.log, self._post, self._act)
        self.watch = Watch()
        self.gone: BaseException | None = None
        self.broken: Rule | None = None
        self.ended = False

    async def run(self, tap_fd: int | None, ready_fd: int | None) -> int:
        """Start, serve until told to stop, stop."""
        self.loop = self._post.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        config, adapter = self.config, self.config.adapter
        set_verifier(config.verifier)
        socket_path(adapter.name, config.control.path)
        self.output = catch_strays(self.loop, self.log, self.reports, self._post)
        filters, drivers = load_filters(config.filter), load_drivers(config.protocol)
        with contextlib.ExitStack() as undo:
            queues, offload = config.loop.queues, adapter.offload
            tap = open_tap(adapter.name, queues, offload=offload) if tap_fd is None else adopt_tap(tap_fd, queues, offload=offload)
            undo.callback(tap.close)
            self.miniport = TapMiniport(tap, config, self.reports)
            self.stack = Stack(self.miniport.adapter, config.pool.quota)
            undo.callback(self.stack.close)
            # what is unbound later must not be referred to from here
            while filters:
                self.stack.open_filter(*filters.pop(0))
            while drivers:
                self.stack.open(drivers.pop(0))
            link = set_up_link(self.miniport, config)
            core = "compiled" if COMPILED else "uncompiled"
            self.log.event("starting", version=__version__, core=core, adapter=adapter.name, mtu=adapter.mtu, pid=os.getpid())
            self.threads = DataThreads(self.miniport.adapter, config.loop.budget, self._on_gone, config.loop.busy_poll_us, queues)
            seen = Inspector(self.stack, self.threads, self._by_adapter, self.watch.hanging, raised=self.reports.raised)
            self.inspection = Inspection(adapter.name, config.control.path, seen, self.log)
            undo.callback(self.inspection.close)
            await self.inspection.start()
            reader_why = self.miniport.choose_reader(config.loop.reader)
            undo.callback(self.miniport.close_rings)
            self._obey_signals()
            os.register_at_fork(after_in_child=self._in_child)
            watching = self._task(LinkWatch(self.miniport, self.log, self._do).run())
            await asyncio.sleep(0)
            gc.collect()
            # what is alive now lives to the end: the collector need not look at it again
            gc.freeze()
            self.threads.start(tap.fds, self.miniport.rings)
            self.reports.listen()
            self.watch.start()
            undo.pop_all()
        self._ready(link, reader_why)
        tell_ready(ready_fd)
        tasks = [watching, self._task(self._count()), self._task(self.inspection.run())]
        try:
            await self.stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await self._stop()

    # start

    def _obey_signals(self) -> None:
        self.reload = Reload(
            self.config,
            self.load_config,
            stack=self.stack,
            threads=self.threads,
            log=self.log,
            stopping=self.stopping,
            post=self._post,
            forget=self._forget_unbound,
            on_done=self._on_done,
        )
        self.stop_signals = StopSignals(self.stopping.set)
        watch_signals(self.loop, stop=self.stop_signals, reload=self.reload, show=self._show, rotate=self._rotate)

    def _in_child(self) -> None:
        """A driver has forked: the child is no daemon. The parent's signals, its log and its interface are none of the child's."""
        if self.ended:
            return
        forget_signals()
        self.inspection.abandon()
        self.threads.abandon()
        self.miniport.abandon()

    def _ready(self, link: LinkState, reader_why: str) -> None:
        adapter = self.miniport.adapter
        self.log.event(
            "ready",
            adapter=adapter.name,
            link="up" if link.up else "down",
            ephemeral=self.miniport.tap.ephemeral,
            mac=adapter.address.hex(":"),
            mtu=adapter.mtu,
            packets=adapter.pool.capacity,
            queues=len(self.miniport.tap.fds),
            reader=adapter.reader,
            reader_why=reader_why,
            offload=[flag.name.lower() for flag in self.miniport.tap.offload if flag.name],
            filters=[binding.name for binding in self.stack.filters],
            drivers=[bound.binding.name for bound in self.stack.drivers],
        )

    # serve

    def _task(self, job: Any) -> asyncio.Task[None]:
        """Start a job that is meant to go on to the end."""
        task: asyncio.Task[None] = asyncio.create_task(job)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """Neither the counting nor the watching may end silently."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.reports.stray("control", error)
            # without it the daemon would run on half blind
            self._on_gone(error)

    def _do(self, job: Callable[[], None]) -> None:
        """Have a data thread do something; nobody waits for it, but a failure is told."""
        self.threads.call(job).add_done_callback(self._on_done)

    def _on_done(self, future: Future[None]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self.reports.stray("control", error)

    async def _count(self) -> None:
        """Log the counters at every interval, at once another one after a reload; what was late is not caught up."""
        shown = self.loop.time()
        while True:
            due = shown + self.reload.config.log.stats_interval
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self.reload.happened.wait()
            self.reload.happened.clear()
            if self.loop.time() >= due:
                self._show_counters()
                shown = self.loop.time()

    def _counters(self) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
        """The counters of the interface's adapter, and those of the virtual ones, by name."""
        return self.miniport.counters(), {adapter.name: adapter.counters() for adapter in self.stack.virtual}

    def _by_adapter(self) -> dict[str, dict[str, int]]:
        """The counters of every adapter by its name."""
        own, virtual = self._counters()
        return {self.miniport.adapter.name: own, **virtual}

    def _show_counters(self) -> None:
        # between two batches the interface's counters agree with ours; behind a hanging driver they are better than nothing
        future = self.threads.call(self._counters)
        try:
            values = future.result(PATIENCE)
        except NotInTime:
            future.cancel()
            values = self._counters()
        show_counters(self.log, *values)

    def _show(self) -> None:
        """SIGUSR1: counters, bindings, and who holds what since when."""
        self._show_counters()
        show_bindings(self.log, self.stack)
        show_holders(self.log, self.stack)

    def _rotate(self) -> None:
        """SIGUSR2: drivers that write a file start a new one."""

        def rotate() -> None:
            for binding in self.stack.bindings:
                try:
                    binding.driver.rotate()
                except BaseException as error:
                    self.reports("driver_error", {"binding": binding, "handler": "rotate", "error": error})

        self._do(rotate)

    def _act(self, action: str, binding: Binding | None, rule: Rule) -> None:
        """A rule was broken, and more is to follow than that it is told; from any thread."""
        if action == "stop":
            self._post(lambda: self._stop_for(rule))
        elif binding is not None:
            self._post(lambda: self._drop(binding))

    def _stop_for(self, rule: Rule) -> None:
        """A rule was broken whose action is stop; what is broken when the end has begun is not its reason."""
        if not self.stopping.is_set():
            self.broken = rule
            self.stopping.set()

    def _drop(self, binding: Binding) -> None:
        """Unbind a driver between two batches."""

        def drop() -> None:
            if self.stack.drop(binding):
                self.log.event("unbound", "warning", driver=binding.name, reason="a rule was broken whose action is unbind")
                self._post(self._forget_unbound)

        self._do(drop)

    def _forget_unbound(self, again: int = FORGET_TRIES) -> None:
        """Have what an unbound driver kept come home, when nothing refers to the driver any more: now, or a little later."""
        self.reports.forget(self.stack.bindings)
        forget_unbound()
        if again and any(pool.audit()[PacketState.QUARANTINED] for adapter in self.stack.adapters for pool in adapter.pools):
            self.loop.call_later(FORGET_SECONDS, self._forget_unbound, again - 1)

    def _on_gone(self, error: BaseException) -> None:
        """On a data thread: the interface was deleted under us, or, which should not be, the library failed."""

        def stop() -> None:
            self.gone = error
            if isinstance(error, OSError):
                self.log.event("link", "error", adapter=self.miniport.adapter.name, state="deleted", error=error.strerror)
            else:
                self.log.event("driver_error", "error", driver="vnic", handler="receive_batch", **exception_fields(error))
            self.stopping.set()

        self._post(stop)

    # stop

    async def _stop(self) -> int:
        """Stop reading, unbind, wait for held packets, count, and say how it went."""
        self.log.event("stopping", reason=self._reason(), adapter=self.miniport.adapter.name)
        notify_manager("STOPPING=1")
        self.watch.stop()
        self.inspection.keep()
        await unbind_all(self.stack, self.threads, self.reload.config.loop.drain_timeout, self.inspection.keep)
        hangs = not self.threads.end(1)
        if hangs:
            name_the_hanging(self.log, self.stack, self.threads)
        counters, virtual = self._counters()
        self.miniport.adapter.halt()
        # a binding whose driver hangs is never gone
        self.miniport.halt()
        self.output.drain()
        # what was posted from other threads belongs before the last lines
        self._post.do()
        self.reports.drain()
        show_bindings(self.log, self.stack)
        show_counters(self.log, counters, virtual)
        status, why = self._verdict([(self.miniport.adapter.name, counters), *virtual.items()], hangs)
        # the interpreter would wait for a thread or a child of a driver that does not end
        left = left_behind()
        for name in left:
            told = {"handler": "unbind_adapter", "type": "LeftBehind", "message": escape(name)}
            self.log.event("driver_error", "error", driver="unknown", **told)
        self.inspection.end(self._reason(), status, why)
        told = {"why": why} if why else {}
        self.log.event("stopped", "info" if status is Exit.OK else "error", status=int(status), **told, lost_log_lines=self.log.lost)
        self.ended = True
        if left or hangs:
            os._exit(status)
        return status

    def _reason(self) -> str:
        if self.broken is not None:
            return f"rule {self.broken.id} {self.broken.name}"
        return self.stop_signals.first or ("interface deleted" if isinstance(self.gone, OSError) else "failure")

    def _verdict(self, counters: list[tuple[str, dict[str, int]]], hangs: bool) -> tuple[Exit, str]:
        """Is every frame and every packet accounted for, on every adapter? The exit status, and in words why it is not 0."""
        why = [taken_back(self.stack.leaked)] if self.stack.leaked else []
        why += [what for name, values in counters for what in unaccounted(self.log, name, values)]
        if hangs:
            why.append("a driver does not return")
        if self.broken is not None:
            why.append(f"rule {self.broken.id} {self.broken.name} was broken, whose action is stop")
        if why:
            return Exit.VIOLATION, "; ".join(why)
        if isinstance(self.gone, OSError):
            return Exit.UNAVAILABLE, "the interface was deleted"
        if self.gone is not None:
            return Exit.VIOLATION, f"the library failed: {escape(type(self.gone).__name__)}"
        return Exit.OK, ""
