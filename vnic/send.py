"""
The way down: a driver's packet goes on the wire, or waits in order, and comes back exactly once.

Next: `miniport/tap.py`, what is below.
"""

from __future__ import annotations

import errno as errors
from typing import TYPE_CHECKING

from vnic import driver as contract
from vnic.binding import Binding
from vnic.context import DISPATCH, MINIPORT, WHAT, Context
from vnic.counters import COLUMN
from vnic.filters import PacketFilter
from vnic.lane import Lane
from vnic.ledger import Ledger
from vnic.offload import ChecksumRequest, ChecksumResult, Offload
from vnic.oob import Info
from vnic.packet import DONT_LOOPBACK, HEADER_SIZE, LOOPBACK, LOOPBACK_ONLY, Packet
from vnic.states import BROKEN, Event, PacketState
from vnic.status import Status
from vnic.steps import Step
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS
from vnic.virtio import Headers
from vnic.wire import Burst

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from vnic.driver import MiniportDriver
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import _here
    from vnic.guard import changed, keep
    from vnic.steps import _now, _step
    from vnic.virtio import NEEDS_CHECKSUM, NO_SUPERFRAME, Virtio
    from vnic.wire import FRAMES, put

if cython.compiled:
    from cython.cimports.libc.string import memset

SUCCESS, PENDING, RESOURCES = Status.SUCCESS, Status.PENDING, Status.RESOURCES
CANCEL_ID = int(Info.CANCEL_ID)
TCP_IP_CHECKSUM, TCP_LARGE_SEND = int(Info.TCP_IP_CHECKSUM), int(Info.TCP_LARGE_SEND)
ASKED_TCP = int(ChecksumRequest.TCP)
ASKED_UDP = int(ChecksumRequest.UDP)
ASKED_IP = int(ChecksumRequest.IP)
PARTIAL = int(ChecksumResult.PARTIAL)
CHECKSUM, SEGMENTATION, UDP_SEGMENTATION = int(Offload.CHECKSUM), int(Offload.SEGMENTATION), int(Offload.UDP_SEGMENTATION)
LONGEST_IP = 65535
PENDS = int(PENDING)
VLAN_SIZE = 4
SHORTEST = HEADER_SIZE
AT_DISPATCH, THE_MINIPORT = DISPATCH, MINIPORT
IN_SEND = WHAT["send"]
IN_SEND_PACKETS = WHAT["send_packets"]
IN_SEND_COMPLETE = WHAT["send_complete"]
DIRECTED = int(PacketFilter.DIRECTED)
ALL_MULTICAST = int(PacketFilter.ALL_MULTICAST)
BROADCAST = int(PacketFilter.BROADCAST)
BROADCAST_ADDRESS = 0xFFFFFFFFFFFF
GROUP_BIT = 1 << 40
NOT_LOOPED = DONT_LOOPBACK
ONLY_LOOPED = LOOPBACK_ONLY
MAX_NESTED = 16
"""Sends shown to drivers within each other; two drivers that answer all they see would go on until the stack is full."""
SENDING = int(PacketState.SENDING)
UNSET = 0xFFFFFFFF
"""In place of the status of a packet that a serialized miniport is shown, until it sets one."""
DO_SEND = int(Event.SEND)
DO_COMPLETE = int(Event.COMPLETE)
TX_SUBMITTED = COLUMN["tx_submitted"]
TX_FRAMES = COLUMN["tx_frames"]
TX_SUPERFRAMES = COLUMN["tx_superframes"]
TX_DROPPED_OFFLOAD = COLUMN["tx_dropped_offload"]
TX_BYTES = COLUMN["tx_bytes"]
TX_QUEUED = COLUMN["tx_queued"]
TX_LOOPED = COLUMN["tx_looped"]
TX_LOOPED_ONLY = COLUMN["tx_looped_only"]
TX_NOT_LOOPED = COLUMN["tx_not_looped"]
TX_DROPPED_ERROR = COLUMN["tx_dropped_error"]

DROP_OF: dict[Status, int] = {
    Status.INVALID_PACKET: COLUMN["tx_dropped_length"],
    Status.NO_CABLE: COLUMN["tx_dropped_link_down"],
    Status.RESOURCES: COLUMN["tx_dropped_queue_full"],
    Status.CLOSING: COLUMN["tx_dropped_halted"],
    Status.REQUEST_ABORTED: COLUMN["tx_dropped_halted"],
}
"""Under which reason a send that ended with a status is counted; every other status is an error."""
STATUS_OF: dict[int, Status] = {errors.EIO: Status.NO_CABLE, errors.EBADFD: Status.ADAPTER_REMOVED, errors.ENODEV: Status.ADAPTER_REMOVED}
"""What a failed write to a TAP means: EIO, it is down; EBADFD, it was deleted."""


class SendPath:
    """
    The send half of an adapter: what is written to, and the packets that wait for it, in order.

    With several queues a send goes out where the thread that sends reads: the kernel learns from that which queue a flow's frames belong
    to. Any other thread's goes out where the first queue is. Each has an order of its own.

    Args:
        ledger: where sends are counted.
        miniport: its `send` is called, if it has one of its own; otherwise packets are written to the descriptor.
        mtu: largest payload of a frame.
        limit: packets that may wait, for each descriptor.

    Attributes:
        lanes: the descriptors, that of the first queue first, and what waits for each.
        link_up: while it is False, sends answer NO_CABLE.
        halted: once it is True, sends answer CLOSING.
        resetting: while it is True, sends answer RESET_IN_PROGRESS.
        pending: sends that are not over.
        completed_ns: when a pending send was last completed, on the monotonic clock.
        station: the adapter's address, as a number.
        bindings: those to whose filters a send is shown; whoever watches everything comes first.
        on_blocked: called when a send has to wait.
        superframes: what the adapter has for offload, if a virtio header stands before each frame; else None.
    """

    def __init__(self, ledger: Ledger, miniport: MiniportDriver, mtu: int, limit: int) -> None:
        self._first = Lane(self, None, 0)
        self.lanes: list[Lane] = [self._first]
        self.link_up = True
        self.halted = False
        self.resetting = False
        self.pending = 0
        self.completed_ns = 0
        self.station = 0
        self.bindings: list[Binding] = []
        self.on_blocked: Callable[[], None] | None = None
        self.superframes = None
        self._ledger = ledger
        self._longest = mtu + HEADER_SIZE + VLAN_SIZE
        self._limit = limit
        self._pended = None
        self._below = contract.handler(miniport, contract.MiniportDriver, "send")
        self._below_many = contract.handler(miniport, contract.MiniportDriver, "send_packets")
        self._serial = None
        self._shown = {}
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
        """Send up to 64 to the descriptor: all are written in one loop, then each is looped back and completed, in order."""
        first: object = None
        packet: Packet
        status: object
        position: cython.Py_ssize_t
        burst: Burst = Burst(self.superframes is not None)
        lent: list = []
        statuses: list = []
        for packet in packets:
            broken = self._lend_down(binding, packet, step)
            if broken is not None:
                first = first or broken
                continue
            # nobody below has it at any time; a completion while those before it are shown to drivers is one too many
            packet._completing = True
            status = self._refusal(packet)
            lent.append(packet)
            statuses.append(status)
            if status is None:
                burst.add(packet)
        # what is refused is over, and not pended on purpose
        refused = [status is not None for status in statuses] if binding.verifier_level >= 4 else None
        self._write_burst(binding, burst, lent, statuses)
        self.completed_ns = _now()
        for position in range(len(lent)):
            packet, status = lent[position], statuses[position]
            if status is PENDING:
                continue
            if status is SUCCESS:
                self._loop_back(packet)
            if refused is not None and not refused[position] and self._pend(packet, status):
                continue
            self._hand_back(packet, status, True)
        return first

    def _write_burst(self, binding: Binding, burst: Burst, lent: list, statuses: list) -> None:
        """Write what has no status yet, and let what finds no room wait; afterwards every packet has a status."""
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
            for position in range(len(lent)):
                if statuses[position] is not None:
                    continue
                packet = lent[position]
                if behind:
                    failure = errors.EAGAIN
                else:
                    failure = burst.failure(nth)
                    nth += 1
                if failure == 0:
                    statuses[position] = SUCCESS
                elif failure != errors.EAGAIN:
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

    def complete(self, packet: Packet, status: Status) -> None:
        """What `Adapter.send_complete` does; there it is documented."""
        legal: cython.bint
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
            if legal:
                packet._completing = True
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

    def _step_of(self, what: str, binding: Binding) -> Step | None:
        return _step(what, binding.name, binding.verifier_level, 0) if binding.verifier_level else None

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
                    mark = packet._info[CANCEL_ID] if packet._sender is binding and packet._info is not None else None
                    (mine if type(mark) is int and mark == cancel_id else lane.waiting).append(packet)
        for packet in mine:
            self._give_back(packet, Status.REQUEST_ABORTED)
        if self._cancel_below is not None and self._serial is not None:
            self._serial.gate.do(lambda: self._tell_to_cancel(cancel_id))
        elif self._cancel_below is not None:
            self._tell_to_cancel(cancel_id)
        return len(mine)

    def _tell_to_cancel(self, cancel_id: object) -> None:
        try:
            self._cancel_below(cancel_id)
        except BaseException as error:
            self._ledger._failed(None, "cancel_sends", error)

    def _kind(self, destination: cython.ulonglong) -> cython.int:
        """The filter bit that a destination needs; 0 for another station's."""
        if destination & GROUP_BIT:
            return BROADCAST if destination == BROADCAST_ADDRESS else ALL_MULTICAST
        return DIRECTED if destination == self.station else 0

    def _lend_down(self, binding: Binding, packet: Packet, step: Step | None) -> object:
        """Take a packet from its driver for a send; answers the violation if it is not the driver's to give."""
        legal: cython.bint
        ledger: Ledger = self._ledger
        with cython.critical_section(binding):
            # first, so that the binding waits for it; not within the other: a thread that waits for an inner section leaves the outer one
            binding.sends_pending += 1
        with cython.critical_section(packet, ledger):
            legal = packet._change(DO_SEND)
            if legal:
                packet._sender = binding
                packet._number += 1
                self.pending += 1
                ledger._counts[TX_SUBMITTED] += 1
        if legal:
            packet._sent = True
            if step is not None:
                packet._mark(step)
            return None
        with cython.critical_section(binding):
            binding.sends_pending -= 1
        binding._came_back()
        return self._ledger._violation(BROKEN[packet.state, Event.SEND], binding, packet, f"{packet!r} is sent")

    def _refusal(self, packet: Packet) -> object:
        """The status of a send that is over before anybody below sees it; else None. SUCCESS: it is to be looped back only."""
        sender: Binding = packet._sender
        if self.halted or sender.closing:
            return Status.CLOSING
        if self.resetting:
            return Status.RESET_IN_PROGRESS
        if packet._sealed:
            packet._sealed = False
        elif packet._chain is not None:
            packet._seal_pieces()
        if self.superframes is not None and self._leaves(packet, sender):
            # it is a superframe, or it cannot be what it asks for
            if packet._fault:
                return Status.INVALID_PACKET
        elif packet._length < SHORTEST or packet._length > self._longest:
            detail = f"{packet!r} is sent; {SHORTEST} to {self._longest} bytes go"
            self._ledger._violation(rules.LENGTH_ILLEGAL, sender, packet, detail)
            return Status.INVALID_PACKET
        if packet._flags & ONLY_LOOPED:
            return SUCCESS
        return None if self.link_up else Status.NO_CABLE

    def _leaves(self, packet: Packet, sender: Binding) -> cython.bint:
        """
        Write the virtio header of a send: what its sender leaves to the adapter, and may.

        Answers whether it is a superframe, or `_fault` says that it cannot be what it asks for. Else it is an ordinary frame.
        """
        size: cython.longlong = 0
        asked: cython.longlong = 0
        packet._fault = 0
        if cython.compiled:
            memset(cython.address(packet._virtio), 0, cython.sizeof(packet._virtio))
        else:
            packet._virtio = Virtio()
        if packet._info is None or not sender._offload:
            return False
        packet._fault = TX_DROPPED_OFFLOAD
        large = packet._info[TCP_LARGE_SEND] if sender._offload & SEGMENTATION else None
        word = packet._info[TCP_IP_CHECKSUM]
        if large is not None:
            if not isinstance(large, int) or not 0 < large <= LONGEST_IP:
                return True
            size = large
        if word is not None:
            if not isinstance(word, int) or not 0 <= word <= UNSET:
                return True
            asked = word
        if asked & PARTIAL:
            asked = ASKED_TCP | ASKED_UDP
        elif asked & ASKED_IP:
            # it is nothing that was offered
            return True
        if not size and not asked & (ASKED_TCP | ASKED_UDP):
            packet._fault = 0
            return False
        return self._ask_below(packet, size, asked)

    def _ask_below(self, packet: Packet, size: cython.longlong, asked: cython.longlong) -> cython.bint:
        """The same, when it is clear that something is left to the adapter."""
        headers: Headers = Headers()
        sender: Binding = packet._sender
        first: cython.Py_ssize_t = packet._length
        if packet._length < SHORTEST:
            return True
        if packet._scattered:
            first = packet._chain.first_length()
        if not headers.find(packet._shared, first, packet._length):
            if not packet._scattered:
                return True
            # all headers together are found in one piece only
            packet._gather()
            if not headers.find(packet._shared, packet._length, packet._length):
                return True
        if asked and not asked & (ASKED_UDP if headers.udp else ASKED_TCP):
            return True
        packet._virtio.flags = NEEDS_CHECKSUM
        packet._virtio.start = headers.transport
        packet._virtio.offset = headers.offset()
        if size and packet._length - headers.payload > size:
            if headers.udp and not sender._offload & UDP_SEGMENTATION:
                return True
            if headers.end != packet._length or headers.payload + size > self._longest:
                return True
            packet._virtio.kind = headers.kind()
            packet._virtio.headers = headers.payload
            packet._virtio.size = size
            packet._fault = 0
            return True
        packet._fault = 0
        return False

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
        return [self._submitted(packet) for packet in packets]

    def _submitted(self, packet: Packet) -> object:
        """What the miniport made of a packet that it was shown; PENDING, if it has completed it meanwhile."""
        if not packet._submitted:
            return PENDING
        status = None if packet._status == UNSET else packet.status
        packet._submitted = False
        packet._status = 0
        if status is not PENDING and status is not RESOURCES:
            # it is over: a reset inside of whom it is shown to now must not fail it, too
            self._shown.pop(packet, None)
        if status is SUCCESS:
            self._loop_back(packet)
        return status

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

    def _ends(self, packet: Packet) -> cython.bint:
        """Whether the adapter, or a packet's sender, has closed: what waited has been aborted, and nobody would look at this one."""
        sender: Binding = packet._sender
        return sender is not None and (self.halted or sender.closing)

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

    def give_back(self, packet: Packet, status: Status) -> None:
        """Complete a send through `send_complete`."""
        self._give_back(packet, status)

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

    def _write(self, packet: Packet, lane: Lane) -> cython.int:
        """Write one frame; answers 0, or the errno."""
        return errors.EIO if lane.fd < 0 else put(lane.fd, packet, self.superframes is not None)

    def _finish(self, packet: Packet, status: object) -> None:
        """A send is over: count how it ended, and let the driver have its packet again."""
        ledger: Ledger = self._ledger
        sender: Binding = packet._sender
        column: cython.int = TX_FRAMES if status is SUCCESS else DROP_OF.get(status, TX_DROPPED_ERROR)
        if column == TX_FRAMES and packet._flags & ONLY_LOOPED:
            column = TX_LOOPED_ONLY
        if packet._virtio.flags or packet._fault:
            column = self._end_offload(packet, column)
        if packet._kept:
            self._look_for_change(packet, sender)
        with cython.critical_section(packet, ledger):
            if column == TX_FRAMES:
                ledger._counts[TX_BYTES] += packet._length
            ledger._counts[column] += 1
            self.pending -= 1
            if self._serial is not None:
                self._shown.pop(packet, None)
            packet._sender = None
            packet._completing = packet._submitted = False
            packet._status = 0
            packet._change(DO_COMPLETE)
        with cython.critical_section(sender):
            sender.sends_pending -= 1

    def _end_offload(self, packet: Packet, column: cython.int) -> cython.int:
        """A send is over of which something was left to the adapter; answers where it is counted."""
        if packet._fault:
            column = TX_DROPPED_OFFLOAD
        elif packet._virtio.kind != NO_SUPERFRAME and column == TX_FRAMES:
            with cython.critical_section(self._ledger):
                self._ledger._counts[TX_SUPERFRAMES] += 1
            # what a miniport says of it: bytes of payload that were sent
            packet._info[TCP_LARGE_SEND] = packet._length - packet._virtio.headers
        packet._fault = 0
        packet._virtio.flags = 0
        packet._virtio.kind = NO_SUPERFRAME
        return column

    def _look_for_change(self, packet: Packet, sender: Binding) -> None:
        """From verifier level 3 on: a packet that is sent must not change until it is complete."""
        found = changed(packet)
        packet._kept = False
        # beside the bytes a miniport says how the send went
        if found is not None and found.kind != "beside":
            detail = f"{found.kind} of {packet!r} changed while its send was pending"
            self._ledger._violation(rules.PENDING_TOUCHED, sender, packet, detail, {"diff": found.told()})

    def _give_back(self, packet: Packet, status: object) -> None:
        """Complete a send through `send_complete`; a driver without that handler gets its packet freed."""
        self.completed_ns = _now()
        self._hand_back(packet, status, False)

    def _hand_back(self, packet: Packet, status: object, at_once: cython.bint) -> None:
        """The same, inside of the call that sent it or later."""
        sender: Binding = packet._sender
        here: Context
        before: cython.longlong
        if packet._taker is not None and at_once:
            # the call that sent it keeps the binding
            self._finish(packet, status)
            packet._taker._over(packet, status, True)
            return
        sender._enter()
        self._finish(packet, status)
        if packet._taker is not None:
            packet._taker._over(packet, status, False)
            sender._leave()
            return
        here = _here()
        before = here._enter(sender.slot, IN_SEND_COMPLETE, AT_DISPATCH)
        try:
            if sender._send_complete is None:
                packet.pool.free(packet)
            else:
                sender._send_complete(packet, status)
        except BaseException as error:
            self._ledger._failed(sender, "send_complete", error)
        if here._leave(before):
            sender._left_unclean("send_complete", here, before)
        sender._leave()

    def _loop_back(self, packet: Packet) -> None:
        """Show a sent frame to every binding that accepts it; they copy, the packet stays the sender's."""
        binding: Binding
        bindings: list
        with cython.critical_section(self):
            bindings = self.bindings
        looped: cython.bint = False
        plain: list = None
        needed: cython.int = SEGMENTATION if packet._virtio.kind != NO_SUPERFRAME else CHECKSUM
        if packet._flags & NOT_LOOPED:
            return
        if len(bindings) == 1:
            binding = bindings[0]
            if binding.no_loopback and binding is packet._sender:
                # nobody else is there, and it does not want to see what it sends
                return
        destination: cython.ulonglong = packet._destination()
        kind: cython.int = self._kind(destination)
        here: Context = _here()
        if here.nested >= MAX_NESTED:
            with cython.critical_section(self._ledger):
                self._ledger._counts[TX_NOT_LOOPED] += 1
            return
        here.nested += 1
        for binding in bindings:
            if (binding is packet._sender and binding.no_loopback) or not binding._accepts(kind, destination):
                continue
            if not binding._enter_open():
                # this may be another thread than the one that closes it
                continue
            looped = True
            if packet._virtio.flags and not binding._offload & needed:
                binding._leave()
                plain = plain or []
                plain.append(binding)
                continue
            packet._flags |= LOOPBACK
            packet._status = 1
            binding._show_and_copy(packet, here)
            packet._status = 0
            packet._flags &= ~LOOPBACK
            with cython.critical_section(self._ledger):
                self._ledger._counts[TX_LOOPED] += 1
            binding._leave()
        if plain is not None:
            self.superframes._loop_plain(packet, plain, here)
        here.nested -= 1
        if looped and not self._ledger._indicating():
            for binding in bindings:
                binding._end_batch(here)
