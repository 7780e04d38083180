"""
How one driver is asked about a packet, and what becomes of its answer: the part of a binding that a frame goes through.

Each thread that shows frames has a context of its own; what is counted here is counted in the binding's critical section.

Next: `vnic/ledger.py`, what follows from an answer, and `vnic/binding.py`, what a driver can do with what it has kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.context import DISPATCH, WHAT, Context
from vnic.filters import PacketFilter
from vnic.ledger import where
from vnic.packet import HEADER_SIZE, Packet
from vnic.states import PacketState
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS

if TYPE_CHECKING:
    import cython

    from vnic.verifier.rules import Rule
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import _here
    from vnic.steps import _cpu, _now, answer_of

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_Occurred
    from cython.cimports.cpython.long import PyLong_AsLongAndOverflow
    from cython.cimports.cpython.object import PyObject

INDICATED = int(PacketState.INDICATED)
MULTICAST = int(PacketFilter.MULTICAST)
ALL_MULTICAST = int(PacketFilter.ALL_MULTICAST)
EVERYTHING = int(PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL)
MAX_REFERENCES = 0xFFFF
NONE_KEPT: object = 0
ONE_KEPT: object = 1
AT_DISPATCH = DISPATCH
IN_RECEIVE_PACKET = WHAT["receive_packet"]
IN_RECEIVE = WHAT["receive"]
IN_RECEIVE_COMPLETE = WHAT["receive_complete"]
SLOW_NS, TOO_SLOW_NS = 10_000_000, 500_000_000
"""From when on a handler is slow, and from when on it is too slow."""


class Look:
    """One call of a `receive` handler: what is behind it while it lasts, and whether the data have been transferred."""

    __slots__ = ("context", "packet", "size", "transferred")

    def __init__(self, context: object, packet: Packet | None, size: int) -> None:
        self.context = context
        self.packet = packet
        self.size = size
        self.transferred = False


class Asking:
    """The part of a binding that shows frames to its driver; `Binding` says what the rest is."""

    def _accepts(self, kind: cython.int, destination: cython.ulonglong) -> cython.bint:
        """Whether the filter lets a frame through, given the filter bit that its destination needs."""
        if self._filter & (kind | EVERYTHING):
            return True
        return self._filter & MULTICAST and kind == ALL_MULTICAST and destination in self._multicast

    def _show(self, packet: Packet, here: Context) -> cython.int:
        """Ask one driver how many references it keeps, and write its promise down."""
        views: cython.int = packet.views
        started: cython.longlong = 0
        if self._receive_packet is None or (self.quota and self.promised - self.returned >= self.quota):
            self._show_otherwise(packet, here)
            return 0
        with cython.critical_section(self):
            self.delivered = self.delivered + 1
        here._saw[self.slot] = True
        packet._asked = self.slot
        if self.verifier_level >= 2:
            started = _now()
        before: cython.longlong = here._enter_at(self._in_receive_packet)
        if cython.compiled:
            # without a `try`, which makes this function half as long again
            if self._typed is not None:
                count: cython.int = vnic_ask(self._typed, packet)
                answer: object = NONE_KEPT
                if count:
                    answer = self._raised("receive_packet") if count == -2 and PyErr_Occurred() != cython.NULL else count
            else:
                given: cython.pointer(PyObject) = vnic_call(self._receive_packet, packet)
                answer = vnic_own(given) if given != cython.NULL else self._raised("receive_packet")
        else:
            try:
                answer = self._receive_packet(packet)
            except BaseException as error:
                self._ledger._failed(self, "receive_packet", error)
                answer = NONE_KEPT
        if here._leave(before):
            self._left_unclean("receive_packet", here, before)
        if started:
            self._timed("receive_packet", started, packet)
        if not packet._ordinary and packet._kept:
            self._ledger._look_for_change(packet, self)
        if answer is NONE_KEPT and not self.early_returns:
            # nearly always: there is one 0 in an interpreter
            packet._asked = -1
            if packet.views > views:
                self._tell_of_views(packet, views)
        elif answer is ONE_KEPT and packet._ordinary and not self.early_returns and self._keep_one(packet):
            # nearly always, when a driver keeps one
            return 0
        else:
            self._promise(packet, counted(answer), answer, views, "receive_packet")
        return 0

    def _keep_one(self, packet: Packet) -> cython.bint:
        """Write down that a driver keeps one reference, as `_promise` does; answers whether it may."""
        kept: cython.bint
        with cython.critical_section(packet, self):
            kept = not self.closed
            if kept:
                packet._asked = -1
                packet._promises = max(packet._promises, self.slot + 1)
                packet._owed[self.slot].promised = 1
                packet.references = packet.references + 1
                self.promised = self.promised + 1
        return kept

    def _raised(self, handler: str) -> object:
        """A handler that was called from C has raised: report what, and keep nothing."""
        if cython.compiled:
            try:
                vnic_own(cython.NULL)
            except BaseException as error:
                self._ledger._failed(self, handler, error)
        return NONE_KEPT

    def _show_otherwise(self, packet: Packet, here: Context) -> None:
        """Show a packet to a driver without `receive_packet`, or to one that holds as much as it may."""
        if self._receive_packets is not None:
            show_alone(self, packet, here)
        elif self._receive_packet is None:
            self._show_and_copy(packet, here)
        else:
            self._show_over_quota(packet, here)

    def _promise(self, packet: Packet, count: cython.int, answer: object, views: cython.int, handler: str) -> None:
        """Write down how many references of a packet a driver keeps; a count of -1 is an answer that is none."""
        early: cython.int = 0
        kept: cython.int
        with cython.critical_section(packet, self):
            # what is returned from here on is counted against the answer; what was before, by a driver that may, is known now
            packet._asked = -1
            if packet._promises > self.slot:
                early = packet._owed[self.slot].returned
            kept = max(count, early)
            if kept > 0 and not self.closed:
                packet._promises = max(packet._promises, self.slot + 1)
                packet._owed[self.slot].promised = kept
                packet.references = packet.references + (kept - early)
                self.promised = self.promised + kept
                self.returned = self.returned + early
        if packet._history is not None and kept > 0:
            packet._history.append(answer_of(self.name, self._receive_code, kept))
        if count < 0:
            self._ledger._violation(rules.ILLEGAL_ANSWER, self, packet, f"{handler} answered {shown(answer)}")
        elif count < early:
            self._ledger._violation(rules.DOUBLE_RETURN, self, packet, f"it answered {count} and has returned {early}")
        if kept > 0 and self.closed:
            self._ledger._violation(rules.CLOSED_BINDING, self, packet, "it closed its binding and then kept a packet")
        elif kept <= 0 and packet.views > views:
            self._tell_of_views(packet, views)

    def _show_over_quota(self, packet: Packet, here: Context) -> None:
        """The driver holds as much as it may: this one it has to copy. To the others the packet is as it was."""
        self.over_quota += 1
        packet._status = 1
        self._show_and_copy(packet, here)
        packet._status = 0

    def _timed(self, handler: str, started: cython.longlong, packet: object) -> None:
        """From verifier level 2 on: how long a handler took."""
        took: cython.longlong = _now() - started
        paused: cython.longlong = 0
        if self.verifier_level >= 4:
            took -= FAULTS.delayed_since(started)
        if took > SLOW_NS:
            paused = _here().paused_since(started)
        took -= paused
        self.busy_ns += took
        # a thread that had to wait for the processor, or for another thread of the interpreter, is not a slow driver: what counts
        # is for how long it has run at least, if in its batch it had run all the time until the handler began
        if took > TOO_SLOW_NS or (took > SLOW_NS and _cpu() - (started - _here().idle_ns) - paused > SLOW_NS):
            severity = "error" if took > TOO_SLOW_NS else "warning"
            more = {"severity": severity, "took_ns": took, "where": where(self.driver, handler)}
            self._ledger._violation(rules.HANDLER_SLOW, self, packet, f"{handler} took {took // 1_000_000} ms", more)

    def _left_unclean(self, handler: str, here: Context, before: cython.longlong) -> None:
        """A handler has ended at another level than it began at, or with another number of locks; the level is as before already."""
        held: cython.int = before & 65535
        locks = here.held[held:]
        if locks:
            rule, what = rules.LOCK_HELD_AT_EXIT, f"holds {', '.join([repr(lock) for lock in locks])}"
        else:
            rule, what = rules.IRQL_NOT_RESTORED, "at another level, or without a lock that it began with"
        count_flag(rule)
        if self.verifier_level >= 2:
            detail = f"{handler} ends and {what}" if locks else f"{handler} ends {what}"
            self._ledger._violation(rule, self, None, detail, {"where": where(self.driver, handler)})

    def _tell_of_views(self, packet: Packet, views: cython.int) -> None:
        """There are more views than before a handler that keeps nothing was asked."""
        if packet.references == 1:
            packet._told = packet.views
            self._ledger._violation(rules.RETAIN_UNDECLARED, self, packet, f"it answered 0 and keeps {packet.views - views} views")
        else:
            # it may have been a holder on another thread: wait whether the view outlives the packet's last return
            packet._ordinary = False
            packet._suspect = self

    def _look(self, context: object, packet: object, header: object, lookahead: object, size: object) -> None:
        """Call `receive` with views that are closed when it returns, whatever it does."""
        look = Look(context, packet, size)
        self._looks.append(look)
        here: Context = _here()
        started: cython.longlong = _now() if self.verifier_level >= 2 else 0
        before: cython.longlong = here._enter(self.slot, IN_RECEIVE, AT_DISPATCH)
        try:
            self._receive(context, header, lookahead, size)
        finally:
            if here._leave(before):
                self._left_unclean("receive", here, before)
            if started:
                self._timed("receive", started, packet)
            self._looks.remove(look)
            for view in (header, lookahead):
                try:
                    view.release()
                except BufferError:
                    # the driver made something else of it that is still alive: the count of views tells
                    pass

    def _look_ahead(self, context: object, header: object, lookahead: object, size: object) -> None:
        """Show the beginning of a frame that is in no packet."""
        self.delivered += 1
        # such a batch is ended by a call of its own, from whatever thread
        self._looked = True
        try:
            self._look(context, None, memoryview(header).toreadonly(), memoryview(lookahead).toreadonly(), size)
        except BaseException as error:
            self._ledger._failed(self, "receive", error)

    def _looking_at(self, context: object, what: str) -> object:
        for look in reversed(self._looks):
            if look.context is context:
                return look
        raise self._ledger._violation(rules.LOOKAHEAD_OVER, self, None, f"a frame is {what} that receive is not being shown")

    def _show_and_copy(self, packet: Packet, here: Context) -> None:
        """Show a packet that the driver may not keep: through `receive` if it has that, else as any other."""
        if self._receive is None and self._receive_packets is not None:
            show_alone(self, packet, here)
            return
        views: cython.int = packet.views
        started: cython.longlong = _now() if self.verifier_level >= 2 and self._receive is None else 0
        before: cython.longlong = here._enter(self.slot, IN_RECEIVE_PACKET, AT_DISPATCH)
        answer: object = 0
        with cython.critical_section(self):
            self.delivered = self.delivered + 1
            self.resources += packet._status != 0
        here._saw[self.slot] = True
        packet._asked = self.slot
        try:
            if self._receive is not None:
                show_lookahead(self, packet)
            else:
                answer = self._receive_packet(packet)
        except BaseException as error:
            self._ledger._failed(self, "receive" if self._receive is not None else "receive_packet", error)
        packet._asked = -1
        if here._leave(before):
            self._left_unclean("receive_packet", here, before)
        if started:
            self._timed("receive_packet", started, packet)
        if packet._kept:
            self._ledger._look_for_change(packet, self)
        if packet._status == 0:
            # others may keep it, and look at it now
            return
        if type(answer) is not int or answer != 0:
            self._ledger._violation(rules.RETAIN_ON_RESOURCES, self, packet, f"receive_packet answered {shown(answer)} to status RESOURCES")
        elif packet.views > views:
            self._tell_of_kept_views(packet, views)

    def _tell_of_kept_views(self, packet: Packet, views: cython.int) -> None:
        """There are more views than before a handler that had to copy was asked."""
        if packet._state == INDICATED and packet.references > 1:
            # it holds as much as it may, and the packet is another's, too, who may look at it at any time
            self._tell_of_views(packet, views)
        else:
            self._ledger._violation(rules.RETAIN_ON_RESOURCES, self, packet, f"it keeps {packet.views - views} views")

    def _end_batch(self, here: Context) -> None:
        """Call `receive_complete`, if the binding saw a frame of the batch: on this thread, others have batches of their own."""
        if not (here._saw[self.slot] or self._looked):
            return
        here._saw[self.slot] = False
        self._looked = False
        if self._receive_complete is None or self.closing:
            return
        started: cython.longlong = _now() if self.verifier_level >= 2 else 0
        before: cython.longlong = here._enter(self.slot, IN_RECEIVE_COMPLETE, AT_DISPATCH)
        try:
            self._receive_complete()
        except BaseException as error:
            self._ledger._failed(self, "receive_complete", error)
        if here._leave(before):
            self._left_unclean("receive_complete", here, before)
        if started:
            self._timed("receive_complete", started, None)


def count_flag(rule: Rule) -> None:
    """Count what is only told of from verifier level 2 on, where locks count such things."""
    # locks refuse, and what refuses asks bindings
    from vnic.locks import counted as flags

    flags[rule.id] += 1


def counted(answer: object) -> cython.int:
    """The count that a handler answered; -1 if it is none."""
    if type(answer) is not int:
        return -1
    if cython.compiled:
        overflow: cython.int = 0
        value: cython.long = PyLong_AsLongAndOverflow(answer, cython.address(overflow))
        return cython.cast(cython.int, value) if overflow == 0 and 0 <= value <= MAX_REFERENCES else -1
    else:
        return answer if 0 <= answer <= MAX_REFERENCES else -1


def shown(answer: object) -> str:
    """An answer as it is told of: anything but a plain value might raise when asked for its looks."""
    if type(answer) is int and answer.bit_length() > 64:
        return f"a number of {answer.bit_length()} bits"
    return repr(answer)[:100] if type(answer) in (int, bool, float, str, bytes, type(None)) else f"a {type(answer).__name__}"


def show_alone(binding: Asking, packet: Packet, here: Context) -> object:
    """Show one packet to a driver that is shown batches: looped back, or indicated while the driver was being bound."""
    # that module's batches are shown to bindings
    from vnic.batch import show_one

    show_one(binding, packet, here)
    return None


def show_lookahead(binding: Asking, packet: Packet) -> object:
    """Show the whole frame of a packet through `receive`."""
    frame = packet.data
    try:
        binding._look(packet, packet, frame[:HEADER_SIZE], frame[HEADER_SIZE:], len(frame) - HEADER_SIZE)
    finally:
        try:
            frame.release()
        except BufferError:
            # as above
            pass
    return None
