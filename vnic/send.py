"""
The way down: a driver's packet goes on the wire, or to the miniport, or waits in order, and comes back exactly once.

Next: `miniport/tap.py`, what is below.
"""

from __future__ import annotations

import errno as errors
from typing import TYPE_CHECKING

from vnic import driver as contract
from vnic.backlog import STATUS_OF, Backlog
from vnic.binding import Binding
from vnic.context import DISPATCH, MINIPORT, WHAT, Context
from vnic.lane import Lane
from vnic.packet import Packet
from vnic.status import Status
from vnic.steps import Step
from vnic.verifier import rules
from vnic.wire import Burst

if TYPE_CHECKING:
    import cython

    from vnic.driver import MiniportDriver
    from vnic.ledger import Ledger
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.backlog import UNSET
    from vnic.context import _here
    from vnic.guard import keep
    from vnic.steps import _now
    from vnic.wire import FRAMES

SUCCESS, PENDING, RESOURCES = Status.SUCCESS, Status.PENDING, Status.RESOURCES
AT_DISPATCH, THE_MINIPORT = DISPATCH, MINIPORT
IN_SEND = WHAT["send"]
IN_SEND_PACKETS = WHAT["send_packets"]


class SendPath(Backlog):
    """
    The send half of an adapter, as it is called.

    Args:
        ledger, mtu, limit: as `Backlog` has them.
        miniport: its `send` or `send_packets` is called, if it has one of its own; otherwise packets are written to the descriptor.
    """

    def __init__(self, ledger: Ledger, miniport: MiniportDriver, mtu: int, limit: int) -> None:
        super().__init__(ledger, miniport, mtu, limit)
        self._below = contract.handler(miniport, contract.MiniportDriver, "send")
        self._below_many = contract.handler(miniport, contract.MiniportDriver, "send_packets")

    def send(self, binding: Binding, packet: Packet) -> Status:
        """What `Binding.send` does; there it is documented."""
        broken = self._lend_down(binding, packet, self._step_of("send", binding))
        if broken is not None:
            raise broken
        status = self._refusal(packet)
        if status is SUCCESS:
            self._loop_back(packet)
        elif status is None:
            status = self._put(packet)
            if binding.verifier_level >= 4 and status is not PENDING and self._pend(packet, status):
                return PENDING
        if status is not PENDING:
            self._finish(packet, status)
            binding._came_back()
        return status

    def send_packets(self, binding: Binding, packets: list[Packet]) -> None:
        """What `Binding.send_packets` does; there it is documented."""
        # if the first send ends the binding, the others must be over before it is gone
        binding._enter()
        try:
            first = self._send_each(binding, packets)
        finally:
            binding._leave()
        if first is not None:
            raise first

    def _send_each(self, binding: Binding, packets: list) -> object:
        """Send several; answers the first violation."""
        first: object = None
        packet: Packet
        start: cython.Py_ssize_t
        together = []
        step: Step = self._step_of("send", binding)
        if self._below is None and self._below_many is None:
            for start in range(0, len(packets), FRAMES):
                broken = self._send_burst(binding, packets[start : start + FRAMES], step)
                first = first or broken
            return first
        for packet in packets:
            broken = self._lend_down(binding, packet, step)
            if broken is not None:
                first = first or broken
                continue
            status = self._refusal(packet)
            if status is None and (self._serial is not None or self._below_many is not None):
                together.append(packet)
                continue
            if status is SUCCESS:
                self._loop_back(packet)
            elif status is None:
                status = self._put(packet)
                if binding.verifier_level >= 4 and status is not PENDING and self._pend(packet, status):
                    continue
            if status is not PENDING:
                self._give_back(packet, status)
        if together and self._serial is not None:
            self._serial.send_packets(together)
        elif together:
            self._put_many(together)
        return first

    def _send_burst(self, binding: Binding, packets: list, step: Step | None) -> object:
        """Send up to 128 to the descriptor: all are written in one loop, then each is looped back and completed, in order."""
        first: object = None
        packet: Packet
        status: object
        position: cython.Py_ssize_t
        shown_to: list = None
        alone: cython.bint = False
        burst: Burst = Burst(self.superframes is not None)
        statuses: list = [None] * len(packets)
        for position in range(len(packets)):
            packet = cython.cast(Packet, packets[position])
            broken = self._lend_down(binding, packet, step)
            if broken is not None:
                first = first or broken
                # there is nothing to complete
                statuses[position] = PENDING
                continue
            # nobody below has it at any time; a completion while those before it are shown to drivers is one too many
            packet._completing = True
            status = self._refusal(packet)
            if status is None:
                burst.add(packet)
            else:
                statuses[position] = status
        # what is refused is over, and not pended on purpose
        refused = [status is not None for status in statuses] if binding.verifier_level >= 4 else None
        self._write_burst(binding, burst, packets, statuses)
        self.completed_ns = _now()
        for position in range(len(packets)):
            packet = cython.cast(Packet, packets[position])
            status = statuses[position]
            if status is PENDING:
                continue
            if status is None:
                status = SUCCESS
            if status is SUCCESS:
                if self.bindings is not shown_to:
                    # a handler may have bound a driver since
                    shown_to = self.bindings
                    alone = len(shown_to) == 1 and shown_to[0] is binding
                if not (alone and binding.no_loopback):
                    self._loop_back(packet)
            if refused is not None and not refused[position] and self._pend(packet, status):
                continue
            if packet._taker is not None:
                # the call that sent it keeps the binding
                self._finish(packet, status)
                packet._taker._over(packet, status, True)
            else:
                self._hand_back(packet, status)
        return first

    def _write_burst(self, binding: Binding, burst: Burst, packets: list, statuses: list) -> None:
        """Write what has no status yet, and let what finds no room wait. What has no status afterwards has been written."""
        packet: Packet
        position: cython.Py_ssize_t
        nth: cython.int = 0
        failure: cython.int
        over: cython.bint
        behind: cython.bint
        blocked: cython.bint = False
        lane: Lane = self._lane()
        with cython.critical_section(self):
            # as with a single one; while it is written others run, who may end the adapter, or send
            over = self.halted or binding.closing
            behind = over or len(lane.waiting) > 0
            if not behind:
                if lane.fd >= 0:
                    burst.write(lane.fd)
                over = self.halted or binding.closing
            first: cython.bint = not lane.waiting
            for position in range(0 if burst.complete() else len(packets)):
                if statuses[position] is not None:
                    continue
                packet = cython.cast(Packet, packets[position])
                if behind:
                    failure = errors.EAGAIN
                else:
                    failure = burst.failure(nth)
                    nth += 1
                if failure == 0:
                    continue
                if failure != errors.EAGAIN:
                    statuses[position] = STATUS_OF.get(failure, Status.FAILURE)
                elif over:
                    statuses[position] = Status.CLOSING
                elif len(lane.waiting) >= self._limit:
                    statuses[position] = RESOURCES
                else:
                    statuses[position] = PENDING
                    blocked = True
                    self._wait(packet, lane)
        if blocked and first:
            self._tell_of_waiting()

    def _put(self, packet: Packet) -> object:
        """Hand one packet to the miniport, or put it on the wire, or in the queue; answers its status."""
        if self._serial is not None:
            return self._serial.send(packet)
        if self._below_many is not None:
            self._put_many([packet])
            return PENDING
        if self._below is not None:
            status = self._put_below(packet)
            if status is Status.RESOURCES:
                detail = f"send answered RESOURCES for {packet!r}"
                self._ledger._violation(rules.RESOURCES_FROM_DESERIALIZED, None, packet, detail, self._ledger.place("send"))
            return status
        failure: cython.int
        blocked: cython.bint
        first: cython.bint
        over: cython.bint
        sender: Binding = packet._sender
        lane: Lane = self._lane()
        with cython.critical_section(self):
            # it may have closed since its send began: then the queue has been emptied for the last time
            over = self.halted or sender.closing
            failure = errors.EAGAIN if over or lane.waiting else self._write(packet, lane)
            blocked = not over and failure == errors.EAGAIN and len(lane.waiting) < self._limit
            first = not lane.waiting
            if blocked:
                self._wait(packet, lane)
        if failure == 0:
            self._loop_back(packet)
            return SUCCESS
        if blocked:
            if first:
                self._tell_of_waiting()
            return PENDING
        if over:
            return Status.CLOSING
        if failure == errors.EAGAIN:
            return Status.RESOURCES
        return STATUS_OF.get(failure, Status.FAILURE)

    def _put_many(self, packets: list) -> None:
        """Let the miniport send several; each completes later, unless the miniport fails."""
        packet: Packet
        numbers = [packet._number for packet in packets]
        self._keep_pending(packets)
        here: Context = _here()
        before: cython.longlong = here._enter(THE_MINIPORT, IN_SEND_PACKETS, AT_DISPATCH)
        try:
            self._below_many(list(packets))
        except BaseException as error:
            here._leave(before)
            self._ledger._failed(None, "send_packets", error)
            for packet, number in zip(packets, numbers, strict=True):
                if packet._sender is not None and packet._number == number:
                    self._give_back(packet, Status.FAILURE)
        else:
            here._leave(before)

    def _keep_pending(self, packets: list) -> None:
        """From verifier level 3 on: what is sent is compared when it is complete."""
        packet: Packet
        for packet in packets:
            if packet._history is not None:
                keep(packet)

    def submit(self, packets: list[Packet]) -> list[Status | None]:
        """Show packets to a serialized miniport; answers what it made of each: None if it did not say, RESOURCES for all behind one."""
        packet: Packet
        statuses = []
        if self._below_many is None:
            for packet in packets:
                if Status.RESOURCES in statuses:
                    statuses.append(Status.RESOURCES)
                    continue
                self._shown[packet] = None
                statuses.append(self._put_below(packet))
            return statuses
        for packet in packets:
            packet._submitted = True
            packet._status = UNSET
            self._shown[packet] = None
        self._keep_pending(packets)
        here: Context = _here()
        before: cython.longlong = here._enter(THE_MINIPORT, IN_SEND_PACKETS, AT_DISPATCH)
        try:
            self._below_many(list(packets))
        except BaseException as error:
            self._ledger._failed(None, "send_packets", error)
            for packet in packets:
                if packet._submitted and packet._status == UNSET:
                    packet._status = Status.FAILURE
        here._leave(before)
        for packet in packets:
            statuses.append(self._submitted(packet, RESOURCES in statuses))
        return statuses

    def _submitted(self, packet: Packet, behind: cython.bint) -> object:
        """What the miniport made of a packet that it was shown; PENDING, if it has completed it; RESOURCES, if it stands behind one."""
        if not packet._submitted:
            return PENDING
        status = None if packet._status == UNSET else packet.status
        packet._submitted = False
        packet._status = 0
        if behind:
            if status is not None and status is not RESOURCES:
                # it is shown again, whatever the miniport has done with it
                detail = f"send_packets has set {status.name} on {packet!r}, which stands behind one with RESOURCES"
                self._ledger._violation(rules.SEND_STATUS_MISSING, None, packet, detail, self._ledger.place("send_packets"))
            return RESOURCES
        if status is not PENDING and status is not RESOURCES:
            # it is over: a reset inside of whom it is shown to now must not fail it, too
            self._shown.pop(packet, None)
        if status is SUCCESS:
            self._loop_back(packet)
        return status

    def _put_below(self, packet: Packet) -> object:
        """Let the miniport send; if it has completed the packet before it answers, that was the completion."""
        number: cython.uint = packet._number
        here: Context = _here()
        before: cython.longlong
        if packet._history is not None:
            keep(packet)
        before = here._enter(THE_MINIPORT, IN_SEND, AT_DISPATCH)
        try:
            status = Status(self._below(packet))
        except BaseException as error:
            self._ledger._failed(None, "send", error)
            status = Status.FAILURE
        here._leave(before)
        if packet._sender is None or packet._number != number:
            # it has been completed, and may have been sent anew since
            if status is not PENDING:
                detail = f"send answered {status.name} after send_complete"
                self._ledger._violation(rules.WRONG_CHANNEL, None, packet, detail, self._ledger.place("send"))
            return PENDING
        if self._shown and status is not PENDING and status is not RESOURCES:
            self._shown.pop(packet, None)
        if status is SUCCESS:
            self._loop_back(packet)
        return status
