"""
The composition root: configuration -> interface -> adapter -> drivers -> data thread -> ready; and all the way back.

Frames are the data thread's. Here, on asyncio in the main thread, are the signals, the link's events and the log: they answer even
while a driver hangs.

Next: `miniport/adapter.py` and `miniport/data_thread.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from miniport.adapter import TapMiniport, station_address
from miniport.data_thread import DataThread
from miniport.drivers import binding_names, file_of, load_driver
from miniport.errors import Exit, Failure
from miniport.log import EventLog, escape, exception_fields
from miniport.reports import Output, Reports
from miniport.tap import adopt_tap, open_tap
from vnic import COMPILED, Binding, ProtocolDriver, Status, VnicError, __version__
from vnic.counters import broken_sums
from vnic.ledger import holdings, line_on_stack

if TYPE_CHECKING:
    from miniport.config import Config, ProtocolConfig
    from miniport.link import LinkState

T = TypeVar("T")
ANSWER_TIMEOUT = 0.2
"""Seconds that the control plane waits for the data thread, which may be stuck in a driver."""
MAX_HOLDERS_SHOWN = 20
OUT_OF_SIGHT = 0.2
"""Seconds between two looks for an interface that has left the network namespace."""


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
        self.reports = Reports(self.log, self._post)
        self.bindings: list[tuple[ProtocolConfig, Binding]] = []
        self.gone: BaseException | None = None
        self.signals: list[int] = []
        self.leaked = 0
        self.ended = False
        self.reloading: Future[None] | None = None
        self.reload_again = False

    async def run(self, tap_fd: int | None, ready_fd: int | None) -> int:
        """Start, serve until told to stop, stop."""
        self.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        adapter = self.config.adapter
        self._catch_strays()
        drivers = self._load(self.config.protocol)
        with contextlib.ExitStack() as undo:
            tap = open_tap(adapter.name) if tap_fd is None else adopt_tap(tap_fd)
            undo.callback(tap.close)
            self.miniport = TapMiniport(tap, self.config, self.reports)
            undo.callback(self._unbind_at_once)
            for protocol, name, driver in drivers:
                self._bind(protocol, name, driver)
            link = self._set_up_link()
            core = "compiled" if COMPILED else "uncompiled"
            self.log.event("starting", version=__version__, core=core, adapter=adapter.name, mtu=adapter.mtu, pid=os.getpid())
            self.thread = DataThread(self.miniport.adapter, self.config.loop.budget, self._on_gone)
            self._watch_signals()
            os.register_at_fork(after_in_child=self._in_child)
            watching = asyncio.create_task(self._watch_link())
            watching.add_done_callback(self._on_task_done)
            await asyncio.sleep(0)
            gc.collect()
            # what is alive now lives to the end: the collector need not look at it again
            gc.freeze()
            self.thread.start(tap.fd)
            undo.pop_all()
        self._ready(link, ready_fd)
        counting = asyncio.create_task(self._count())
        counting.add_done_callback(self._on_task_done)
        try:
            await self.stopping.wait()
        finally:
            counting.cancel()
            watching.cancel()
            await asyncio.gather(counting, watching, return_exceptions=True)
        return await self._stop()

    # start

    def _load(self, protocols: tuple[ProtocolConfig, ...]) -> list[tuple[ProtocolConfig, str, ProtocolDriver]]:
        loaded = [load_driver(protocol.driver, protocol.options) for protocol in protocols]
        names = binding_names(name for name, _ in loaded)
        return [(protocol, name, driver) for protocol, name, (_, driver) in zip(protocols, names, loaded, strict=True)]

    def _bind(self, protocol: ProtocolConfig, name: str, driver: ProtocolDriver) -> None:
        try:
            self.bindings.append((protocol, self.miniport.adapter.open(driver, name)))
        except VnicError as error:
            raise Failure(Exit.CONFIG, f"driver {name} could not be bound: {error}", "change its options, or leave it out") from None
        except BaseException as error:
            told = exception_fields(error, file_of(type(driver)))
            what = f"driver {name} could not be bound: {told['type']}: {told['message']} ({told['where']})"
            raise Failure(Exit.CONFIG, what, "change its options, or mend it") from None

    def _unbind_at_once(self) -> None:
        for _, binding in reversed(self.bindings):
            self.miniport.adapter.close(binding)

    def _set_up_link(self) -> LinkState:
        """Make an interface that we created usable; check one that somebody else made."""
        from miniport import link

        tap, config = self.miniport.tap, self.config.adapter
        if tap.ephemeral:
            # the kernel's end of the wire is another station than ours
            link.configure(tap.index, mtu=config.mtu, mac=neighbour_of(station_address(self.config)), up=True)
        state = link.read_link(tap.index)
        if state is None:
            raise Failure(Exit.UNAVAILABLE, f"interface {tap.name} disappeared during the start", "start vnic again")
        if state.mtu > config.mtu:
            what = f"interface {tap.name} has MTU {state.mtu}, vnic was told {config.mtu}: its frames would be cut"
            raise Failure(Exit.CONFIG, what, f"run vnic with --mtu {state.mtu}, or ip link set {tap.name} mtu {config.mtu}")
        if state.mac == station_address(self.config):
            what = f"interface {tap.name} itself has the address {state.mac.hex(':')}"
            raise Failure(Exit.CONFIG, what, "give vnic another one with --mac")
        self.miniport.adapter.indicate_status(Status.MEDIA_CONNECT if state.up else Status.MEDIA_DISCONNECT)
        return state

    def _ready(self, link: LinkState, ready_fd: int | None) -> None:
        adapter = self.miniport.adapter
        self.log.event(
            "ready",
            adapter=adapter.name,
            link="up" if link.up else "down",
            ephemeral=self.miniport.tap.ephemeral,
            mac=adapter.address.hex(":"),
            mtu=adapter.mtu,
            packets=adapter.pool.capacity,
            drivers=[binding.name for _, binding in self.bindings],
        )
        if ready_fd is not None:
            with contextlib.suppress(OSError):
                os.set_blocking(ready_fd, False)
                os.write(ready_fd, b"READY=1\n")
            if ready_fd > 2:
                # a standard stream stays: its number would become the next file's that is opened
                os.close(ready_fd)
        notify_manager(f"READY=1\nMAINPID={os.getpid()}")

    def _watch_signals(self) -> None:
        actions: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._on_stop_signal(signal.SIGTERM),
            signal.SIGINT: lambda: self._on_stop_signal(signal.SIGINT),
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: self._dump,
            signal.SIGUSR2: self._rotate,
        }
        signal.pthread_sigmask(signal.SIG_UNBLOCK, actions)
        for number, action in actions.items():
            self.loop.add_signal_handler(number, action)

    def _in_child(self) -> None:
        """A driver has forked: the child is no daemon. The parent's signals, its log and its interface are none of the child's."""
        if self.ended:
            return
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
        self.thread.abandon()
        self.miniport.tap.close()

    def _catch_strays(self) -> None:
        """An exception that nobody caught, in a driver's thread or finaliser, is a line in the log and not a traceback on it."""

        threading.excepthook = lambda args: self._stray(f"thread {args.thread.name if args.thread else 'unknown'}", args.exc_value)
        sys.unraisablehook = lambda args: self._stray("finaliser", args.exc_value)
        self.loop.set_exception_handler(lambda _, context: self._stray("control", context.get("exception")))
        if self.log.form == "json":
            sys.stderr = Output(self.log, self._post)

    def _stray(self, handler: str, error: BaseException | None) -> None:
        if error is not None:
            self.reports("driver_error", {"driver": "unknown", "handler": handler, "error": error})

    # serve

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """Neither the counting nor the watching may end silently."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stray("control", error)
            # without it the daemon would run on half blind
            self._on_gone(error)

    def _post(self, job: Callable[[], None]) -> None:
        """Run a job on the main thread soon, or at once when its loop is over."""
        try:
            self.loop.call_soon_threadsafe(job)
        except (RuntimeError, AttributeError):
            job()

    def _do(self, job: Callable[[], None]) -> None:
        """Have the data thread do something; nobody waits for it, but a failure is told."""
        self.thread.call(job).add_done_callback(self._on_done)

    def _on_done(self, future: Future[None]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._stray("control", error)

    def _ask(self, job: Callable[[], T], timeout: float = ANSWER_TIMEOUT) -> T | None:
        """Have the data thread do something between two batches; None if it does not come to it in time."""
        future = self.thread.call(job)
        try:
            return future.result(timeout)
        except NotInTime:
            future.cancel()
            return None

    async def _count(self) -> None:
        """Log the counters at every interval; what was late is not caught up."""
        while True:
            await asyncio.sleep(self.config.log.stats_interval)
            self._log_counters()

    def _log_counters(self) -> None:
        # between two batches the interface's counters agree with ours; behind a hanging driver they are better than nothing
        values: dict[str, Any] = self._ask(self.miniport.counters) or self.miniport.counters()
        self.log.event("counters", **values)

    def _dump(self) -> None:
        """SIGUSR1: counters, bindings, and who holds what since when."""
        self._log_counters()
        self._log_bindings()
        held = holdings(self.miniport.adapter)
        for holding in held[:MAX_HOLDERS_SHOWN]:
            self.log.event(
                "holder",
                driver=holding.binding.name,
                packet=holding.packet.index,
                generation=holding.packet.generation,
                owed=holding.owed,
                age_ms=round(holding.age_ns / 1e6, 3),
                bytes=holding.packet.length,
            )
        if len(held) > MAX_HOLDERS_SHOWN:
            self.log.event("holder", more=len(held) - MAX_HOLDERS_SHOWN)

    def _log_bindings(self) -> None:
        for _, binding in self.bindings:
            self.log.event(
                "binding",
                driver=binding.name,
                delivered=binding.delivered,
                resources=binding.resources,
                promised=binding.promised,
                returned=binding.returned,
                held=binding.held,
                errors=binding.errors,
                violations=binding.violations,
                sends_pending=binding.sends_pending,
            )

    def _rotate(self) -> None:
        """SIGUSR2: drivers that write a file start a new one."""

        def rotate() -> None:
            for _, binding in self.bindings:
                try:
                    binding.driver.rotate()
                except BaseException as error:
                    self.reports("driver_error", {"binding": binding, "handler": "rotate", "error": error})

        self._do(rotate)

    async def _watch_link(self) -> None:
        from miniport import link

        while True:
            await link.watch(self.miniport.tap.index, self._on_link)
            if not self.miniport.attached():
                return
            await asyncio.sleep(OUT_OF_SIGHT)

    def _on_link(self, state: LinkState | None) -> None:
        adapter = self.miniport.adapter
        was_here, self.miniport.here = self.miniport.here, state is not None
        if state is None:
            # a deleted interface is the data thread's to notice; one in another namespace goes on as it is, only out of sight
            if was_here and self.miniport.attached():
                self.log.event("link", "warning", adapter=adapter.name, state="moved")
            return
        if not was_here:
            self.log.event("link", adapter=adapter.name, state="back")
        if state.name != adapter.name:
            self.log.event("link", adapter=state.name, state="renamed", before=adapter.name)
            self.miniport.rename()
        if state.mtu > adapter.mtu:
            self.log.event("link", "warning", adapter=adapter.name, state="mtu", mtu=state.mtu, configured=adapter.mtu)
        if state.up != adapter.link_up:
            self.log.event("link", adapter=adapter.name, state="up" if state.up else "down")
            self._tell_link(state.up)

    def _tell_link(self, up: bool) -> None:
        status = Status.MEDIA_CONNECT if up else Status.MEDIA_DISCONNECT
        self._do(lambda: self.miniport.adapter.indicate_status(status))

    def _on_gone(self, error: BaseException) -> None:
        """On the data thread: the interface was deleted under us, or, which should not be, the library failed."""

        def stop() -> None:
            self.gone = error
            if isinstance(error, OSError):
                self.log.event("link", "error", adapter=self.miniport.adapter.name, state="deleted", error=error.strerror)
            else:
                self.log.event("driver_error", "error", driver="vnic", handler="receive_batch", **exception_fields(error))
            self.stopping.set()

        self._post(stop)

    def _reload(self) -> None:
        """SIGHUP: read the configuration again; what cannot follow at once needs a restart, and is named."""
        if self.stopping.is_set():
            return
        if self.reloading is not None:
            self.reload_again = True
            return
        missing, surplus = [], []
        try:
            fresh = self.load_config()
            missing = list(fresh.protocol)
            for pair in self.bindings:
                if pair[0] in missing:
                    missing.remove(pair[0])
                else:
                    surplus.append(pair)
            drivers = self._load(tuple(missing))
        except Failure as failure:
            self._reload_failed(failure)
            return
        needs_restart = [name for name in ("adapter", "pool") if getattr(fresh, name) != getattr(self.config, name)]
        if fresh.log.format != self.config.log.format:
            needs_restart.append("log.format")
        self.thread.budget = fresh.loop.budget
        self.miniport.adapter.verifier_level = fresh.verifier.level
        self.config = fresh
        self.reloading = self.thread.call(lambda: self._exchange(surplus, drivers))
        self.reloading.add_done_callback(self._on_done)
        self.reloading.add_done_callback(lambda _: self._post(partial(self._reloaded, needs_restart)))

    def _reloaded(self, needs_restart: list[str]) -> None:
        """The drivers have been exchanged: say which are bound now; a signal that came meanwhile is obeyed now."""
        self.reloading = None
        self.log.event("reload", drivers=[binding.name for _, binding in self.bindings], needs_restart=needs_restart)
        if self.reload_again:
            self.reload_again = False
            self._reload()

    def _reload_failed(self, failure: Failure) -> None:
        self.log.event("reload", "error", status=int(failure.status), error=failure.what, remedy=failure.remedy)

    def _exchange(self, old: list[tuple[ProtocolConfig, Binding]], new: list[tuple[ProtocolConfig, str, ProtocolDriver]]) -> None:
        """On the data thread: unbind what is no longer wanted, bind what is new."""
        adapter = self.miniport.adapter
        for pair in old:
            self.bindings.remove(pair)
            if adapter.close(pair[1]) is Status.PENDING:
                self.leaked += adapter.reclaim(pair[1])
        taken = {binding.name for _, binding in self.bindings}
        for protocol, name, driver in new:
            free = next(one for one in (name, *(f"{name}-{number}" for number in range(2, 256))) if one not in taken)
            try:
                self._bind(protocol, free, driver)
                taken.add(free)
            except Failure as failure:
                self._post(partial(self._reload_failed, failure))

    # stop

    def _on_stop_signal(self, number: signal.Signals) -> None:
        """The first one asks politely; the second one ends the process at once."""
        if self.signals:
            os._exit(Exit.KILLED_INT if number == signal.SIGINT else Exit.KILLED_TERM)
        self.signals.append(number)
        self.stopping.set()

    async def _stop(self) -> int:
        """Stop reading, unbind, wait for held packets, count, and say how it went."""
        self.log.event("stopping", reason=self._reason(), adapter=self.miniport.adapter.name)
        notify_manager("STOPPING=1")
        deadline = time.monotonic() + self.config.loop.drain_timeout
        closed = False
        while not closed and await self._wait_for(self.thread.call(self._unbind), max(deadline - time.monotonic(), 0) + 1) is not None:
            closed = all(binding.closed for _, binding in self.bindings)
            if not closed and time.monotonic() >= deadline:
                self.leaked += await self._wait_for(self.thread.call(self._reclaim), 1) or 0
                break
            await asyncio.sleep(0.005)
        hangs = not self.thread.end(1)
        if hangs:
            self._name_the_hanging()
        counters: dict[str, Any] = self.miniport.counters()
        self.miniport.adapter.halt()
        # a binding whose driver hangs is never gone
        self.miniport.halt()
        # what was posted from other threads belongs before the last lines
        await asyncio.sleep(0)
        self.reports.drain()
        self._log_bindings()
        self.log.event("counters", **counters)
        status = self._verdict(counters, hangs)
        # the interpreter would wait for a thread or a child of a driver that does not end
        at_once = self._kept_by_strangers() or hangs
        self.log.event("stopped", "info" if status is Exit.OK else "error", status=int(status), lost_log_lines=self.log.lost)
        self.ended = True
        if at_once:
            os._exit(status)
        return status

    def _kept_by_strangers(self) -> bool:
        """Whether a driver has left a thread or a child behind that the interpreter would wait for."""
        mine = (threading.main_thread(), threading.current_thread())
        left = [thread.name for thread in threading.enumerate() if thread not in mine and not thread.daemon]
        children = sys.modules.get("multiprocessing.process")
        left += [child.name for child in children.active_children()] if children is not None else []
        for name in left:
            told = {"handler": "unbind_adapter", "type": "LeftBehind", "message": escape(name)}
            self.log.event("driver_error", "error", driver="unknown", **told)
        return bool(left)

    def _reason(self) -> str:
        if self.signals:
            return signal.Signals(self.signals[0]).name
        return "interface deleted" if isinstance(self.gone, OSError) else "failure"

    async def _wait_for(self, future: Future[T], seconds: float) -> T | None:
        """Wait for the data thread, with the loop running; None if it did not answer in time."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            return None

    def _unbind(self) -> bool:
        """On the data thread: close every binding, the last one first; those that hold packets are asked again."""
        self.thread.stop_reading()
        for _, binding in reversed(self.bindings):
            self.miniport.adapter.close(binding)
        return True

    def _reclaim(self) -> int:
        return sum(self.miniport.adapter.reclaim(binding) for _, binding in self.bindings if not binding.closed)

    def _name_the_hanging(self) -> None:
        stack = self.thread.stack()
        for _, binding in self.bindings:
            file = file_of(type(binding.driver))
            line = line_on_stack(stack, file) if file else None
            if line is not None:
                told = {"handler": "unknown", "type": "Hang", "message": "does not return", "where": f"{file}:{line}"}
                self.log.event("driver_error", "error", driver=binding.name, **told)

    def _verdict(self, counters: dict[str, int], hangs: bool) -> Exit:
        """Is every frame and every packet accounted for?"""
        for broken in broken_sums(counters):
            self.log.event("violation", "error", driver="vnic", rule="48", name="PoolConservationBroken", detail=broken)
            return Exit.VIOLATION
        if self.gone is not None and not isinstance(self.gone, OSError):
            return Exit.VIOLATION
        if counters["violations_refused"] or self.leaked or hangs or counters["pool_free"] != counters["pool_capacity"]:
            return Exit.VIOLATION
        return Exit.UNAVAILABLE if self.gone else Exit.OK


def neighbour_of(address: bytes) -> bytes:
    """The station address that the kernel's end of our own interface gets: ours, but for the last bit."""
    return address[:5] + bytes([address[5] ^ 1])


def notify_manager(message: str) -> None:
    """Tell a service manager, if there is one, how things stand (the datagram protocol of NOTIFY_SOCKET)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    import socket

    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect("\0" + path[1:] if path.startswith("@") else path)
        manager.send(message.encode())
