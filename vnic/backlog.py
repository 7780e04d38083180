"""
Sends that are not over at once: they wait for room below, in order, or are pended; they go on, are cancelled, or aborted.

Next: `vnic/send.py`, the calls that send.
"""

from __future__ import annotations

import errno as errors
from typing import TYPE_CHECKING

from vnic import driver as contract
from vnic.binding import Binding
from vnic.completion import Completion
from vnic.context import MINIPORT, WHAT, Context
from vnic.counters import COLUMN
from vnic.lane import Lane
from vnic.oob import Info
from vnic.packet import Packet
from vnic.states import PacketState
from vnic.status import Status
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from vnic.driver import MiniportDriver
    from vnic.ledger import Ledger
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import _here
    from vnic.guard import keep
    from vnic.steps import _step
    from vnic.wire import put

SUCCESS, PENDING = Status.SUCCESS, Status.PENDING
CANCEL_ID = int(Info.CANCEL_ID)
PENDS = int(PENDING)
SENDING = int(PacketState.SENDING)
THE_MINIPORT = MINIPORT
IN_CANCEL_SENDS = WHAT["cancel_sends"]
UNSET = 0xFFFFFFFF
"""In place of the status of a packet that a serialized miniport is shown, until it sets one."""
TX_QUEUED = COLUMN["tx_queued"]

STATUS_OF: dict[int, Status] = {errors.EIO: Status.NO_CABLE, errors.EBADFD: Status.ADAPTER_REMOVED, errors.ENODEV: Status.ADAPTER_REMOVED}
"""What a failed write to a TAP means: EIO, it is down; EBADFD, it was deleted."""


class Backlog(Completion):
    """
    The sends of an adapter that wait, for each descriptor in order, and those that are pended.

    With several queues a send goes out where the thread that sends reads: the kernel learns from that which queue a flow's frames belong
    to. Any other thread's goes out where the first queue is. Each has an order of its own.

    Args:
        ledger, mtu: as `Completion` has them.
        miniport: its `cancel_sends` is called, if it has one.
        limit: packets that may wait, for each descriptor.

    Attributes:
        lanes: the descriptors, that of the first queue first, and what waits for each.
        on_blocked: called when a send has to wait.
    """

    def __init__(self, ledger: Ledger, miniport: MiniportDriver, mtu: int, limit: int) -> None:
        super().__init__(ledger, mtu)
        self._first = Lane(self, None, 0)
        self.lanes: list[Lane] = [self._first]
        self.on_blocked: Callable[[], None] | None = None
        self._limit = limit
        self._pended = None
        self._cancel_below = contract.handler(miniport, contract.MiniportDriver, "cancel_sends")

    @property
    def fd(self) -> int:
        """The descriptor of the first queue; -1 before there is one."""
        return self._first.fd

    def _lane(self) -> Lane:
        """Where what this thread sends goes out."""
        here: Context
        if len(self.lanes) > 1:
            here = _here()
            if here.lane is not None and here.lane.sends is self:
                return here.lane
        return self._first

    def _write(self, packet: Packet, lane: Lane) -> cython.int:
        """Write one frame; answers 0, or the errno."""
        return errors.EIO if lane.fd < 0 else put(lane.fd, packet, self.superframes is not None)

    def _wait(self, packet: Packet, lane: Lane) -> None:
        """A packet waits for room below, behind all others; the caller holds the critical section."""
        packet._completing = False
        lane.waiting.append(packet)
        self._ledger._counts[TX_QUEUED] += 1
        if packet._history is not None:
            keep(packet)

    def _tell_of_waiting(self) -> None:
        if self.on_blocked is None:
            return
        try:
            self.on_blocked()
        except BaseException as error:
            self._ledger._failed(None, "on_blocked", error)

    def flush(self, queue: int = -1) -> int:
        """What `Adapter.flush` does; there it is documented. A queue of -1 is all of them."""
        lane: Lane
        before: Lane
        if self._serial is not None:
            return self.waiting(queue)
        here: Context = _here()
        for lane in list(self.lanes):
            if queue >= 0 and queue != lane.number:
                continue
            before = here.lane
            # what is sent again when it is complete goes out there, too
            here.lane = lane
            try:
                self._flush(lane)
            finally:
                here.lane = before
        return self.waiting(queue)

    def _flush(self, lane: Lane) -> None:
        packet: Packet
        failure: cython.int
        # no more than wait now: a driver that sends again in send_complete must not keep the caller here
        for _ in range(len(lane.waiting)):
            with cython.critical_section(self):
                if not lane.waiting:
                    break
                packet = lane.waiting[0]
                failure = self._write(packet, lane)
                if failure == errors.EAGAIN:
                    break
                lane.waiting.popleft()
            if failure == 0:
                self._loop_back(packet)
            self._give_back(packet, SUCCESS if failure == 0 else STATUS_OF.get(failure, Status.FAILURE))

    def waiting(self, queue: int = -1) -> int:
        """How many packets wait for room below a queue; -1: below all of them."""
        return sum([len(lane.waiting) for lane in self.lanes if queue < 0 or queue == lane.number])

    def _waits(self, packet: Packet) -> cython.bint:
        """Whether a packet waits for room below."""
        lane: Lane
        for lane in self.lanes:  # noqa: SIM110 - a generator has no types
            if packet in lane.waiting:
                return True
        return False

    def complete(self, packet: Packet, status: Status) -> None:
        """What `Adapter.send_complete` does; there it is documented."""
        legal: cython.bint
        answered: cython.bint
        sender: Binding
        try:
            status = Status(status)
        except ValueError:
            status = PENDING
        with cython.critical_section(packet):
            sender = packet._sender
            # while it is shown to those who watch, its send is over already; while it waits here, nobody below has it
            legal = packet._state == SENDING and sender is not None and packet._asked < 0 and not packet._completing
            legal = legal and sender._sends is self and not self._waits(packet)
            # in an array that send_packets has not given back yet, its status was its completion
            answered = legal and packet._submitted and packet._status != UNSET and packet._status != PENDS
            if legal and not answered:
                packet._completing = True
        if answered:
            detail = f"{packet!r} is completed in send_packets, which has set its status"
            raise self._ledger._violation(rules.WRONG_CHANNEL, None, packet, detail)
        if not legal:
            rule = rules.COMPLETED_TWICE if packet._sent else rules.NOT_SENT
            raise self._ledger._violation(rule, None, packet, f"{packet!r} is completed")
        if status is PENDING:
            packet._completing = False
            raise self._ledger._violation(rules.ILLEGAL_STATUS, None, packet, f"{packet!r} is completed with PENDING, or with no status")
        if self._ledger._level:
            packet._mark(_step("complete", self._ledger.name, self._ledger._level, 0))
        if status is SUCCESS:
            self._loop_back(packet)
        self._give_back(packet, status)
        if self._serial is not None:
            self._serial.resources_available()

    def _pend(self, packet: Packet, status: object) -> cython.bint:
        """At verifier level 4 a send that is over may stay pending, on purpose: `complete_pended` follows, or `abort`."""
        sender: Binding = packet._sender
        if not FAULTS.pends(sender.name):
            return False
        if packet._history is not None and not packet._kept:
            keep(packet)
        with cython.critical_section(self):
            if self.halted or sender.closing:
                return False
            # from here on a completion by the miniport is one too many
            packet._completing = True
            if self._pended is None:
                self._pended = {}
            self._pended[packet] = status
        FAULTS.complete_later(self, packet)
        return True

    def complete_pended(self, packet: Packet) -> None:
        """Complete a send that was pended, unless that was done meanwhile."""
        with cython.critical_section(self):
            status = self._pended.pop(packet, None)
        if status is not None:
            self._give_back(packet, status)

    def _complete_all_pended(self, binding: Binding | None) -> None:
        """Complete what was pended, before anybody is told of an end: one binding's, or all."""
        packet: Packet
        ended = []
        with cython.critical_section(self):
            for packet in list(self._pended):
                if binding is None or packet._sender is binding:
                    ended.append(packet)  # noqa: PERF401 - a comprehension has no types
        for packet in ended:
            self.complete_pended(packet)
        FAULTS.wait_for(self)

    def abort(self, binding: Binding | None) -> None:
        """Give waiting packets back to their drivers, aborted: one binding's, or all."""
        packet: Packet
        lane: Lane
        aborted = []
        if self._pended is not None:
            self._complete_all_pended(binding)
        with cython.critical_section(self):
            for lane in self.lanes:
                for _ in range(len(lane.waiting)):
                    packet = lane.waiting.popleft()
                    (aborted if binding is None or packet._sender is binding else lane.waiting).append(packet)
        for packet in aborted:
            self._give_back(packet, Status.REQUEST_ABORTED)

    def cancel(self, binding: Binding, cancel_id: object) -> int:
        """What `Adapter.cancel_sends` does; there it is documented."""
        packet: Packet
        lane: Lane
        mine = []
        if type(cancel_id) is not int:
            raise TypeError(f"a cancel id is an int, not a {type(cancel_id).__name__}")
        with cython.critical_section(self):
            for lane in self.lanes:
                for _ in range(len(lane.waiting)):
                    packet = lane.waiting.popleft()
                    mark = packet._information(CANCEL_ID) if packet._sender is binding else None
                    (mine if type(mark) is int and mark == cancel_id else lane.waiting).append(packet)
        for packet in mine:
            self._give_back(packet, Status.REQUEST_ABORTED)
        if self._cancel_below is not None and self._serial is not None:
            self._serial.gate.do(lambda: self._tell_to_cancel(cancel_id))
        elif self._cancel_below is not None:
            self._tell_to_cancel(cancel_id)
        return len(mine)

    def _tell_to_cancel(self, cancel_id: object) -> None:
        here: Context = _here()
        before: cython.longlong = here._enter(THE_MINIPORT, IN_CANCEL_SENDS, here.irql)
        try:
            self._cancel_below(cancel_id)
        except BaseException as error:
            self._ledger._failed(None, "cancel_sends", error)
        here._leave(before)

    def take_waiting(self) -> list[Packet]:
        """Take all packets that wait, in order."""
        with cython.critical_section(self):
            packets = list(self._first.waiting)
            self._first.waiting.clear()
        return packets

    def wait_first(self, packets: list[Packet]) -> None:
        """Let packets wait in front of all others; whatever has been completed meanwhile does not."""
        packet: Packet
        aborted = []
        with cython.critical_section(self):
            for packet in reversed(packets):
                self._shown.pop(packet, None)
                if self._ends(packet):
                    aborted.append(packet)
                elif packet._sender is not None:
                    self._first.waiting.appendleft(packet)
        for packet in reversed(aborted):
            self._give_back(packet, Status.REQUEST_ABORTED)

    def wait_last(self, packets: list[Packet]) -> None:
        """Let packets wait behind all others."""
        packet: Packet
        aborted = []
        with cython.critical_section(self):
            for packet in packets:
                if self._ends(packet):
                    aborted.append(packet)
                else:
                    self._first.waiting.append(packet)
                    self._ledger._counts[TX_QUEUED] += 1
        for packet in aborted:
            self._give_back(packet, Status.REQUEST_ABORTED)

    def fail_shown(self) -> None:
        """Give back, aborted, what a serialized miniport has not ended."""
        packet: Packet
        failed = []
        with cython.critical_section(self):
            for packet in self._shown:
                # what has a status other than PENDING in an array is over, though that is not read yet
                over: cython.bint = packet._submitted and packet._status != UNSET and packet._status != PENDS
                if not packet._completing and not over:
                    packet._completing = True
                    failed.append(packet)
        for packet in failed:
            self._give_back(packet, Status.REQUEST_ABORTED)

    def _ends(self, packet: Packet) -> cython.bint:
        """Whether the adapter, or a packet's sender, has closed: what waited has been aborted, and nobody would look at this one."""
        sender: Binding = packet._sender
        return sender is not None and (self.halted or sender.closing)
