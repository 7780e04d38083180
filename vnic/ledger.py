"""
The ledger: who holds which packet, since when, and what every change of ownership goes through.

Next: `vnic/binding.py`, the drivers that hold them.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from vnic import driver as contract
from vnic.context import MINIPORT as MINIPORT_SLOT
from vnic.context import WHAT, Context
from vnic.counters import COLUMN, COUNTED
from vnic.facts import history_of
from vnic.packet import Packet
from vnic.pool import PacketPool
from vnic.states import Event, PacketState
from vnic.status import ContractViolation, OwnershipError
from vnic.steps import LIBRARY
from vnic.verifier import rules
from vnic.verifier.actions import action_of
from vnic.verifier.faults import FAULTS
from vnic.verifier.levels import LEVELS
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any

    import cython

    from vnic.core import Adapter, Binding
    from vnic.verifier.rules import Rule
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import _here
    from vnic.guard import changed
    from vnic.steps import _step

INDICATED = int(PacketState.INDICATED)
SENDING = int(PacketState.SENDING)
DO_RECLAIM = int(Event.RECLAIM)
RETURNED = COLUMN["returned"]
DRIVER_ERRORS = COLUMN["driver_errors"]
VIOLATIONS = COLUMN["violations"]
REFUSED = COLUMN["violations_refused"]
ENTRIES = len(COUNTED)
MINIPORT = MINIPORT_SLOT
IN_RETURN_PACKET = WHAT["return_packet"]


class Ledger:
    """
    The counter block of one adapter, and what every change of ownership goes through.

    It knows how often each binding promised to return a packet and how often it did, when a packet has no holder left, and how
    a broken rule is counted and reported.
    """

    def __init__(self, name: str, report: Callable[[str, dict[str, Any]], None], reclaim: Callable[[Packet], None] | None) -> None:
        self.name = name
        self._report = report
        self._reclaim = reclaim
        self._miniport = None
        self._under_way = 0
        self._homeward = None
        self._level = 1
        if not cython.compiled:
            self._counts = [0] * ENTRIES

    def _begin(self) -> None:
        """An indication begins on this thread, perhaps inside of another one."""
        here: Context = _here()
        here.indicating.append(self)
        with cython.critical_section(self):
            self._under_way += 1

    def _end(self) -> None:
        here: Context = _here()
        if self._homeward:
            self._bring_home()
        here.indicating.pop()
        with cython.critical_section(self):
            self._under_way -= 1

    def _indicating(self) -> cython.bint:
        """Whether this thread is inside an indication."""
        here: Context = _here()
        return self in here.indicating

    def _copy(self, into: object) -> None:
        """Copy the counter block, in the order of `vnic.counters.COUNTED`; nothing here runs Python code."""
        index: cython.int
        for index in range(ENTRIES):
            into[index] = self._counts[index]

    if not cython.compiled:
        # compiled, it stands in the .pxd file, where each caller has it for its own

        def _home_plain(self, packet: Packet) -> bool:
            """Let a packet go home the short way, if nobody looks at it and nobody is to be told; answers whether that was so."""
            if packet.views or (not packet._ordinary and packet._kept) or self._level >= 4 or self._reclaim is not None:
                return False
            pool: PacketPool = packet.pool
            with cython.critical_section(pool, self):
                home = packet._change(DO_RECLAIM)
                if home:
                    self._counts[RETURNED] += 1
                    if not pool._free_plain(packet):
                        pool._put_back(packet)
            return home

    def _home(self, packet: Packet, binding: object) -> None:
        """Nobody holds the packet any more: hand it to the miniport, once."""
        if not self._reclaimed(packet, binding):
            return
        if self._level >= 4 and FAULTS.reorders() and self._indicating():
            with cython.critical_section(self):
                if self._homeward is None:
                    self._homeward = []
                self._homeward.append(packet)
            return
        self._hand_home(packet)

    def _bring_home(self) -> None:
        """An indication ends: the packets that came home in it follow now, in another order, on purpose."""
        with cython.critical_section(self):
            packets = self._homeward
            self._homeward = None
        # another thread may have been faster
        FAULTS.shuffle(packets or [])
        for packet in packets or []:
            self._hand_home(packet)

    def _hand_home(self, packet: Packet) -> None:
        if self._reclaim is None:
            pool: PacketPool = packet.pool
            with cython.critical_section(pool):
                pool._put_back(packet)
            return
        here: Context = _here()
        before: cython.longlong = here._enter(MINIPORT, IN_RETURN_PACKET, here.irql)
        try:
            self._reclaim(packet)
        except BaseException as error:
            self._failed(None, "return_packet", error)
        here._leave(before)

    def _reclaimed(self, packet: Packet, binding: object) -> cython.bint:
        """Make the packet the miniport's again, if it is not that already; answers whether it was made so."""
        with cython.critical_section(packet, self):
            if not packet._change(DO_RECLAIM):
                return False
            self._counts[RETURNED] += 1
        if packet._kept:
            self._look_for_change(packet, None)
            packet._kept = False
        if packet.views > packet._told:
            self._tell_of_views(packet, binding)
        return True

    def _look_for_change(self, packet: Packet, binding: object) -> None:
        """
        From verifier level 3 on: compare a packet with what it was when it was lent.

        If a binding was being shown it, that has changed it; otherwise nobody was, and it was the miniport, which still had a way to it.
        """
        found = changed(packet)
        if found is None:
            return
        if found.kind == "beside":
            rule, what = rules.OOB_TAMPERED, "what is beside the bytes"
        elif found.kind == "chain":
            rule, what = rules.CHAIN_CORRUPTED, "the length of its buffers"
        elif found.kind == "behind":
            rule, what = rules.OVERRUN, f"byte {found.runs[0][0]} of its slot, behind the {packet._length} of the frame,"
        else:
            rule, what = (rules.WRITTEN_WHILE_LENT if binding is None else rules.SHARED_MODIFIED), f"byte {found.runs[0][0]} of the frame"
        more = {"diff": found.told()}
        if binding is None and packet.shown is not None:
            # who wrote is gone; this is where the packet was given away
            more["where"] = packet.shown.where
        self._violation(rule, binding, packet, f"{what} of {packet!r} has changed", more)

    def _tell_of_views(self, packet: Packet, binding: object) -> None:
        """At its last return views of a packet are alive that nobody was told of: name who made one and answered 0, or else the last."""
        if packet._suspect is not None:
            self._violation(rules.RETAIN_UNDECLARED, packet._suspect, packet, f"it answered 0 and {packet.views} views are alive")
        elif binding is not None:
            self._violation(rules.RETAINED_VIEW, binding, packet, f"{packet.views} views of {packet!r} are alive at its last return")

    def _violation(self, rule: object, binding: object, packet: object, detail: str, more: dict | None = None) -> object:
        """Count and report a broken rule; answers the exception for the culprit."""
        culprit: str = "the miniport" if binding is None else binding.name
        error = OwnershipError(rule, culprit, detail, history_of(packet) if packet is not None and self._level else "")
        self._record(error, binding, packet, more)
        return error

    def _failed(self, binding: object, handler: str, error: object) -> None:
        """Count and report an exception that came out of a driver."""
        with cython.critical_section(self):
            self._counts[DRIVER_ERRORS] += 1
        if binding is not None:
            binding.errors += 1
        # a driver's own class of exception can be anything, and raise whatever is asked of it
        if type(error) in (ContractViolation, OwnershipError):
            if not error.reported:
                self._record(error, binding, None, {"where": line_raised(error)})
        else:
            self._record_error(binding, handler, error)
        self._tell("driver_error", {"binding": binding, "handler": handler, "error": error})

    def _record_error(self, binding: object, handler: str, error: object) -> None:
        """Write down that a handler raised; if it was because it took None for a packet, that is what is told of, and counted."""
        here: Context = _here()
        culprit: str = "the miniport" if binding is None else binding.name
        unmet = here.unmet
        if unmet is not None and type(error) in (AttributeError, TypeError) and "None" in str(error):
            detail = f"{handler} took None for a packet: pool {unmet} had none left"
            self._record(OwnershipError(rules.FAILURE_IGNORED, culprit, detail, ""), binding, None, {"where": line_raised(error)})
        if not self._level_of(binding):
            return
        told = OwnershipError(rules.HANDLER_RAISED, culprit, f"{handler} raised {type(error).__name__}", "")
        RECORDS.write(told, where=lambda: line_raised(error), binding=binding, adapter=self.name)

    def _level_of(self, binding: object) -> cython.int:
        return self._level if binding is None else binding.verifier_level

    def _record(self, error: object, binding: object, packet: object, more: dict | None) -> None:
        """Count a broken rule, once, and tell of it."""
        error.reported = True
        refused: cython.bint = error.rule.action == "raise"
        with cython.critical_section(self):
            self._counts[VIOLATIONS] += 1
            self._counts[REFUSED] += refused
        if binding is not None:
            binding.violations += 1
        action: str = action_of(error.rule)
        if action == "quarantine" and packet is not None:
            packet.pool.withhold(packet)
        if not self._level_of(binding) or action == "count":
            return
        record = RECORDS.write(
            error, where=lambda: line_of(binding, error), binding=binding, packet=packet, adapter=self.name, more=more
        )
        self._tell("violation", {"binding": binding, "error": error, "packet": packet, "record": record, "action": action})

    def _require_no_locks(self, binding: object, what: str) -> None:
        """From verifier level 2 on, rule 80: a driver that calls out of itself with a lock held may deadlock. SYN-09."""
        here: Context = _here()
        if here.held:
            held = ", ".join([repr(lock) for lock in here.held])
            raise self._violation(rules.LOCK_ACROSS_CALL, binding, None, f"{what} with {held} held")

    def place(self, handler: str) -> dict[str, str]:
        """For a record of what a handler of the miniport has done that has ended: the line where the handler is."""
        return {} if self._miniport is None else {"where": where(self._miniport, handler)}

    def violation(
        self, rule: Rule, binding: Binding | None, detail: str, packet: Any = None, more: dict[str, Any] | None = None
    ) -> ContractViolation:
        """Count and report a broken rule; answers the exception for the culprit. `more` are further keys of the record."""
        return self._violation(rule, binding, packet, detail, more)

    def failed(self, binding: object, handler: str, error: object) -> None:
        """Count and report an exception that came out of a driver."""
        self._failed(binding, handler, error)

    def _tell(self, event: str, fields: dict) -> None:
        try:
            self._report(event, fields)
        except BaseException as error:
            try:
                report_to_logging("report_failed", {"event": event, "error": error})
            except BaseException:
                # nobody is left to be told
                return


def report_to_logging(event: str, fields: dict[str, Any]) -> None:
    """Report to the standard `logging` module, under the name `vnic`: what an adapter does unless it is given another way."""
    import logging

    error = fields.get("error")
    logging.getLogger("vnic").error("%s: %s", event, error, exc_info=error if event == "driver_error" else None)


class Holding(NamedTuple):
    """One packet that a binding holds: returns owed, and nanoseconds since its frame came in."""

    binding: Binding
    packet: Packet
    owed: int
    age_ns: int


def holdings(adapter: Adapter) -> list[Holding]:
    """
    List every (binding, packet) pair with returns owed, the oldest first. Nothing changes hands.
    """
    now = time.time_ns()
    bindings = adapter.bindings
    found = [
        Holding(binding, packet, owed, now - packet.time_received)
        for packet in adapter.pool.packets()
        if packet.state is PacketState.INDICATED
        for binding in bindings
        if (owed := binding.owed(packet))
    ]
    return sorted(found, key=lambda holding: -holding.age_ns)


def line_of(binding: Binding | None, error: ContractViolation) -> str:
    """The line of whoever has just broken a rule on this thread: of the driver, or the innermost one outside the library."""
    if binding is None:
        return _step("violation", error.driver, 1, 0).where
    context = _here()
    return where(binding.driver, context.handler if context.binding is binding else asked_by(binding.driver))


def asked_by(driver: object) -> str:
    """The handler in which a driver is asked what it keeps."""
    return "receive_packet" if contract.handler(driver, contract.ProtocolDriver, "receive_packets") is None else "receive_packets"


def line_raised(error: BaseException) -> str:
    """The innermost line outside the library that an exception has passed."""
    found = "unknown"
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(LIBRARY):
            found = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def oldest_held(adapter: Adapter) -> dict[Binding, Packet]:
    """Of each binding that holds packets, the one that was shown to it longest ago. Nothing changes hands."""
    packet: Packet
    slot: cython.int
    found = {}
    bindings = {binding.slot: binding for binding in adapter.bindings}
    slots = list(bindings)
    for packet in adapter.packets():
        if packet._state != INDICATED or packet.shown is None:
            continue
        for slot in slots:
            if packet._owed[slot].promised > packet._owed[slot].returned:
                known = found.get(bindings[slot])
                if known is None or packet.shown.ns < known.shown.ns:
                    found[bindings[slot]] = packet
    return found


def oldest_sends(adapter: Adapter) -> dict[Binding, Packet]:
    """Of each binding with pending sends, the packet that was sent longest ago. Nothing changes hands."""
    packet: Packet
    found = {}
    for pool in LEVELS.all_pools():
        for packet in pool.packets():
            sender = packet._sender
            if packet._state != SENDING or sender is None or sender.adapter is not adapter or packet.last is None:
                continue
            known = found.get(sender)
            if known is None or packet.last.ns < known.last.ns:
                found[sender] = packet
    return found


def where(driver: object, handler: str = "receive_packet") -> str:
    """
    Find the line of a driver's own code that is running now, on the calling thread.

    Args:
        driver: the driver.
        handler: the handler that it was last called through.

    Returns:
        "file:line"; the line where the handler is defined, if nothing of the driver's file is on the stack.
    """
    own, defined = code_of(driver, handler)
    line = line_on_stack(sys._getframe(0), own)
    if line is None and defined is not None and defined.co_filename == own:
        line = defined.co_firstlineno
    return f"{own}:{line or 1}"


def code_of(driver: object, handler: str) -> tuple[str, CodeType | None]:
    """Find the file of a driver, and where in it a handler is defined: None, if it is not."""
    table = getattr(driver, "table", None)
    if hasattr(table, "MajorNdisVersion"):
        # a driver that is registered as in C
        name = "".join([word.capitalize() for word in handler.split("_")]) + "Handler"
        defined = getattr(getattr(table, name, None), "__code__", None)
        return ("unknown" if defined is None else defined.co_filename), defined
    codes = [code for value in vars(type(driver)).values() if (code := getattr(value, "__code__", None))]
    own = codes[0].co_filename if codes else getattr(sys.modules.get(type(driver).__module__), "__file__", None) or "unknown"
    return own, getattr(getattr(type(driver), handler, None), "__code__", None)


def line_on_stack(frame: FrameType | None, filename: str) -> int | None:
    """Find the innermost line of a file on a stack, given the stack's top frame."""
    while frame is not None:
        if frame.f_code.co_filename == filename:
            return frame.f_lineno
        frame = frame.f_back
    return None
