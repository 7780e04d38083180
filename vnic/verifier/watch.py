"""
A thread that looks at what nobody calls for: handlers that do not return, packets that are held, sends that never end.

It looks ten times a second and touches nothing. What it finds is told of once for each case; where the driver's level asks for more
than level 1, more is looked for.

Next: `vnic/verifier/audit.py`, which looks at everything at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from vnic import driver
from vnic.context import Context, contexts
from vnic.counters import broken_sums
from vnic.ledger import code_of, line_on_stack, oldest_held, oldest_sends, where
from vnic.steps import DEEPEST, LIBRARY, now_ns
from vnic.text import escape
from vnic.verifier import rules
from vnic.verifier.levels import LEVELS
from vnic.verifier.refusal import told_with

if TYPE_CHECKING:
    from types import FrameType

    from vnic.core import Adapter, Binding, Packet

SECOND = 1_000_000_000
LOOK_SECONDS = 0.1
SCAN_NS = SECOND // 4
HANG_NS = SECOND // 2
CALL_NS = 10 * SECOND
HELD_ERROR = 30
"""A packet that is held for this many times its driver's hold_limit is an error, and no warning any more."""
SEND_NS = 30 * SECOND
NO_SEND_NS = 22 * SECOND
GREEDY = 0.9
AT_PASSIVE = ("bind_adapter", "unbind_adapter", "initialize", "halt")


class Running(NamedTuple):
    """A handler that was running when last looked at."""

    calls: int
    since_ns: int
    told: bool


class Busy(NamedTuple):
    """How long the handlers of a binding had run, when."""

    busy_ns: int
    at_ns: int


class Watch:
    """
    Looks at the adapters of this process, from a thread of its own or when told to.

    Args:
        clock: nanoseconds, monotonic; a test gives another.
    """

    def __init__(self, clock: Callable[[], int] = now_ns) -> None:
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._running: dict[int, Running] = {}
        self._busy: dict[Binding, Busy] = {}
        self._told: dict[tuple[object, ...], int] = {}
        self._scanned_ns = 0

    def start(self) -> None:
        """Look until told to stop."""
        self._thread = threading.Thread(target=self._run, name="vnic watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Look once at the handlers that run, and, four times a second, at all the rest."""
        now = self._clock()
        self._look_at_handlers(now)
        if now - self._scanned_ns < SCAN_NS:
            return
        self._scanned_ns = now
        for adapter in LEVELS.all_adapters():
            if not adapter.halted:
                self._scan(adapter, now)
        for pool in LEVELS.all_pools():
            pool.release_withheld()
        # what is told of once is forgotten when it is over
        self._told = {key: last for key, last in self._told.items() if last == now}

    # handlers

    def _look_at_handlers(self, now: int) -> None:
        running: dict[int, Running] = {}
        for context in contexts():
            if context.handler is None:
                continue
            before = self._running.get(context.ident)
            if before is None or before.calls != context.calls:
                running[context.ident] = Running(context.calls, now, False)
                continue
            limit = CALL_NS if context.handler in AT_PASSIVE else HANG_NS
            told = before.told or (now - before.since_ns >= limit and self._tell_of_hang(context, now - before.since_ns))
            running[context.ident] = before._replace(told=told)
        self._running = running

    def hanging(self) -> dict[int, int]:
        """The threads whose handler has not returned for longer than it may, and for how many nanoseconds."""
        now = self._clock()
        return {ident: now - running.since_ns for ident, running in self._running.items() if running.told}

    def _tell_of_hang(self, context: Context, ns: int) -> bool:
        binding, handler = context.binding, context.handler
        if level_of(binding) < 1:
            return True
        stack = stack_of(context.ident)
        rule = rules.CALL_TIMED_OUT if handler in AT_PASSIVE else rules.HANDLER_HANGS
        more: dict[str, object] = {"where": line_of_thread(context), "stack": stack, "handler": handler, "age_ns": ns, "severity": "error"}
        tell(rule, binding, f"{handler} has not returned for {ns / SECOND:.1f} s, on thread {context.name}", None, more)
        return True

    # packets, sends, time

    def _scan(self, adapter: Adapter, now: int) -> None:
        held: dict[Binding, Any] = oldest_held(adapter) if any(binding.held for binding in adapter.bindings) else {}
        for binding in adapter.bindings:
            if binding.verifier_level >= 1 and binding in held:
                self._look_at_held(binding, held[binding], now)
            for handler, call in binding._calls.items():
                if call.pending and now - call.since_ns > CALL_NS and self._once(now, binding, handler):
                    detail = f"{handler} has been PENDING for {(now - call.since_ns) / SECOND:.0f} s"
                    tell(rules.CALL_TIMED_OUT, binding, detail, None, {"where": where(binding.driver, handler)})
            if binding.verifier_level >= 2:
                self._look_at_time(binding, now)
        if adapter.pending_sends:
            self._look_at_sends(adapter, now)
        adapter.tell_of_late_request()
        if adapter.verifier_level >= 2:
            for line in broken_sums(adapter.counters()):
                if self._once(now, adapter, "sums"):
                    adapter.broke(rules.CONSERVATION, line)

    def _look_at_held(self, binding: Binding, packet: Packet, now: int) -> None:
        """Rule 25, for the packet that the binding has held longest."""
        shown = packet.shown
        limit = binding.driver.hold_limit * SECOND
        if shown is None or now - shown.ns < limit:
            return
        age = now - shown.ns
        late = age >= limit * HELD_ERROR and binding.verifier_level >= 2
        if self._once(now, binding, packet.index, packet.generation, late):
            detail = f"{packet!r} is held for {age / SECOND:.1f} s, {binding.held} returns are owed in all"
            tell(rules.HELD_TOO_LONG, binding, detail, packet, {"severity": "error"} if late else {})

    def _look_at_sends(self, adapter: Adapter, now: int) -> None:
        """Rules 51 and 52."""
        oldest: dict[Binding, Any] = oldest_sends(adapter)
        for binding, packet in oldest.items():
            sent = packet.last
            if sent is None or binding.verifier_level < 2 or now - sent.ns <= SEND_NS:
                continue
            if self._once(now, binding, "send", packet.index, packet.generation):
                detail = f"a send of {packet!r} by {escape(binding.name)} has been pending for {(now - sent.ns) / SECOND:.0f} s"
                adapter.broke(rules.SEND_TIMED_OUT, detail, packet, sends_of(adapter, packet))
        begun = min((packet.last.ns for packet in oldest.values() if packet.last is not None), default=now)
        quiet = now - max(begun, adapter.send_completed_ns)
        if quiet > NO_SEND_NS and self._once(now, adapter, "sends"):
            first: Any = next(iter(oldest.values()), None)
            detail = f"{adapter.pending_sends} sends are pending on {escape(adapter.name)}, none has completed for {quiet / SECOND:.0f} s"
            adapter.broke(rules.SEND_HANG, detail, first, sends_of(adapter, first))

    def _look_at_time(self, binding: Binding, now: int) -> None:
        """Rule 82: the handlers of one driver have taken nearly all of a second."""
        before = self._busy.get(binding)
        if before is None:
            self._busy[binding] = Busy(binding.busy_ns, now)
            return
        if now - before.at_ns < SECOND:
            return
        share = (binding.busy_ns - before.busy_ns) / (now - before.at_ns)
        self._busy[binding] = Busy(binding.busy_ns, now)
        if binding.closed:
            del self._busy[binding]
        elif share > GREEDY:
            detail = f"its handlers took {share:.0%} of the last {(now - before.at_ns) / SECOND:.1f} s"
            tell(rules.HANDLERS_GREEDY, binding, detail, None, {})

    def _once(self, now: int, *key: object) -> bool:
        """Whether something that goes on is seen for the first time."""
        first = key not in self._told
        self._told[key] = now
        return first


def level_of(binding: Binding | None) -> int:
    """The level that counts: of a miniport, the process's."""
    return LEVELS.process if binding is None else binding.verifier_level


def tell(rule: rules.Rule, binding: Binding | None, detail: str, packet: Packet | None, more: dict[str, object]) -> None:
    """Count and record what was found, in the name of a driver or of the miniport."""
    if binding is not None:
        binding.broke(rule, detail, packet, dict(more))
    else:
        told_with(rule, "the miniport", detail, dict(more))


def sends_of(adapter: Adapter, packet: Packet | None) -> dict[str, object]:
    """Where the miniport takes sends; if it leaves that to the library, the line that has sent the packet."""
    for name in ("send_packets", "send"):
        if driver.handler(adapter.miniport, driver.MiniportDriver, name) is not None:
            return {"where": where(adapter.miniport, name)}
    return {} if packet is None or packet.last is None else {"where": packet.last.where}


def line_of_thread(context: Context) -> str:
    """The line of the driver in which a thread is now; of the miniport, the innermost one outside of the library."""
    binding, handler = context.binding, context.handler or ""
    frame = sys._current_frames().get(context.ident)
    if binding is not None:
        own, defined = code_of(binding.driver, handler)
        line = line_on_stack(frame, own)
        return f"{own}:{line or (1 if defined is None else defined.co_firstlineno)}"
    while frame is not None:
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown"


def stack_of(ident: int) -> list[str]:
    """The lines in which a thread is now, outside of the library, the innermost first."""
    frame: FrameType | None = sys._current_frames().get(ident)
    lines: list[str] = []
    while frame is not None and len(lines) < DEEPEST:
        if not frame.f_code.co_filename.startswith(LIBRARY):
            lines.append(escape(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"))
        frame = frame.f_back
    return lines
