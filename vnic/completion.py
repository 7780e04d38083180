"""
One send: it is taken from its driver, refused or let through, shown to those who watch, and over exactly once.

Next: `vnic/backlog.py`, the sends that are not over at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.binding import Binding
from vnic.context import DISPATCH, WHAT, Context
from vnic.counters import COLUMN
from vnic.filters import PacketFilter
from vnic.ledger import Ledger
from vnic.offload import ChecksumRequest, ChecksumResult, Offload
from vnic.oob import Info
from vnic.packet import DONT_LOOPBACK, HEADER_SIZE, LOOPBACK, LOOPBACK_ONLY, Packet
from vnic.states import BROKEN, Event
from vnic.status import Status
from vnic.steps import Step
from vnic.verifier import rules
from vnic.virtio import Headers

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import _here
    from vnic.guard import changed
    from vnic.steps import _now, _step
    from vnic.virtio import NEEDS_CHECKSUM, NO_SUPERFRAME, Virtio

if cython.compiled:
    from cython.cimports.libc.string import memset

SUCCESS = Status.SUCCESS
TCP_IP_CHECKSUM, TCP_LARGE_SEND = int(Info.TCP_IP_CHECKSUM), int(Info.TCP_LARGE_SEND)
ASKED_TCP = int(ChecksumRequest.TCP)
ASKED_UDP = int(ChecksumRequest.UDP)
ASKED_IP = int(ChecksumRequest.IP)
PARTIAL = int(ChecksumResult.PARTIAL)
CHECKSUM, SEGMENTATION, UDP_SEGMENTATION = int(Offload.CHECKSUM), int(Offload.SEGMENTATION), int(Offload.UDP_SEGMENTATION)
LONGEST_IP = 65535
VLAN_SIZE = 4
SHORTEST = HEADER_SIZE
AT_DISPATCH = DISPATCH
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
WORD = 0xFFFFFFFF
DO_SEND = int(Event.SEND)
DO_COMPLETE = int(Event.COMPLETE)
TX_SUBMITTED = COLUMN["tx_submitted"]
TX_FRAMES = COLUMN["tx_frames"]
TX_SUPERFRAMES = COLUMN["tx_superframes"]
TX_DROPPED_OFFLOAD = COLUMN["tx_dropped_offload"]
TX_BYTES = COLUMN["tx_bytes"]
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


class Completion:
    """
    How each send of an adapter begins and ends, and what that depends on.

    Args:
        ledger: where sends are counted.
        mtu: largest payload of a frame.

    Attributes:
        link_up: while it is False, sends answer NO_CABLE.
        halted: once it is True, sends answer CLOSING.
        resetting: while it is True, sends answer RESET_IN_PROGRESS.
        pending: sends that are not over.
        completed_ns: when a pending send was last completed, on the monotonic clock.
        station: the adapter's address, as a number.
        bindings: those to whose filters a send is shown; whoever watches everything comes first.
        superframes: what the adapter has for offload, if a virtio header stands before each frame; else None.
    """

    def __init__(self, ledger: Ledger, mtu: int) -> None:
        self.link_up = True
        self.halted = False
        self.resetting = False
        self.pending = 0
        self.completed_ns = 0
        self.station = 0
        self.bindings: list[Binding] = []
        self.superframes = None
        self._ledger = ledger
        self._longest = mtu + HEADER_SIZE + VLAN_SIZE
        self._serial = None
        self._shown = {}

    @property
    def verifier_level(self) -> int:
        """How much is told of what the miniport does."""
        return self._ledger._level

    def _step_of(self, what: str, binding: Binding) -> Step | None:
        return _step(what, binding.name, binding.verifier_level, 0) if binding.verifier_level else None

    if not cython.compiled:
        # compiled, it stands in the .pxd file, where each caller has it for its own

        def _kind(self, destination: int) -> int:
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
            binding.sends_pending = binding.sends_pending + 1
        with cython.critical_section(packet, ledger):
            legal = packet._change(DO_SEND)
            if legal:
                packet._sender = binding
                packet._number = packet._number + 1
                self.pending = self.pending + 1
                ledger._counts[TX_SUBMITTED] = ledger._counts[TX_SUBMITTED] + 1
        if legal:
            packet._ordinary = False
            packet._sent = True
            if step is not None and packet._history is None:
                with cython.critical_section(packet):
                    packet.last = step
            elif step is not None:
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
            try:
                packet._seal_pieces()
            except ValueError as error:
                return self._wrong_length(packet, sender, str(error))
        if self.superframes is not None and self._leaves(packet, sender):
            # it is a superframe, or it cannot be what it asks for
            if packet._fault:
                return Status.INVALID_PACKET
        elif packet._length < SHORTEST or packet._length > self._longest:
            return self._wrong_length(packet, sender, repr(packet))
        if packet._flags & ONLY_LOOPED:
            return SUCCESS
        return None if self.link_up else Status.NO_CABLE

    def _wrong_length(self, packet: Packet, sender: Binding, what: str) -> Status:
        self._ledger._violation(rules.LENGTH_ILLEGAL, sender, packet, f"{what} is sent; {SHORTEST} to {self._longest} bytes go")
        return Status.INVALID_PACKET

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
        large = packet._information(TCP_LARGE_SEND) if sender._offload & SEGMENTATION else None
        word = packet._information(TCP_IP_CHECKSUM)
        if large is not None:
            if not isinstance(large, int) or not 0 < large <= LONGEST_IP:
                return True
            size = large
        if word is not None:
            if not isinstance(word, int) or not 0 <= word <= WORD:
                return True
            asked = word
        if type(word) is ChecksumResult and not asked & PARTIAL:
            # of a received packet, whose checksum is known to be there: nothing is asked for
            asked = 0
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

    def _loop_back(self, packet: Packet) -> None:
        """Show a sent frame to every binding that accepts it; they copy, the packet stays the sender's."""
        binding: Binding
        bindings: list
        with cython.critical_section(self):
            bindings = self.bindings
        if packet._flags & NOT_LOOPED:
            return
        if len(bindings) == 1:
            binding = bindings[0]
            if binding.no_loopback and binding is packet._sender:
                # nobody else is there, and it does not want to see what it sends
                return
        looped: cython.bint = False
        plain: list = None
        needed: cython.int = SEGMENTATION if packet._virtio.kind != NO_SUPERFRAME else CHECKSUM
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

    def give_back(self, packet: Packet, status: Status) -> None:
        """Complete a send through `send_complete`."""
        self._give_back(packet, status)

    def _give_back(self, packet: Packet, status: object) -> None:
        """Complete a send through `send_complete`; a driver without that handler gets its packet freed."""
        self.completed_ns = _now()
        self._hand_back(packet, status)

    def _hand_back(self, packet: Packet, status: object) -> None:
        sender: Binding = packet._sender
        here: Context
        before: cython.longlong
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
                ledger._counts[TX_BYTES] = ledger._counts[TX_BYTES] + packet._length
            ledger._counts[column] = ledger._counts[column] + 1
            self.pending = self.pending - 1
            if self._serial is not None:
                self._shown.pop(packet, None)
            packet._sender = None
            packet._completing = packet._submitted = False
            packet._status = 0
            packet._change(DO_COMPLETE)
        with cython.critical_section(sender):
            sender.sends_pending = sender.sends_pending - 1

    def _end_offload(self, packet: Packet, column: cython.int) -> cython.int:
        """A send is over of which something was left to the adapter; answers where it is counted."""
        if packet._fault:
            column = TX_DROPPED_OFFLOAD
        elif packet._virtio.kind != NO_SUPERFRAME and column == TX_FRAMES:
            with cython.critical_section(self._ledger):
                self._ledger._counts[TX_SUPERFRAMES] += 1
            # what a miniport says of it: bytes of payload that were sent
            if packet._info is not None and len(packet._info) > TCP_LARGE_SEND:
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
