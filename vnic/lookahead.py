"""
Frames that are in no packet: a miniport shows their beginning, and fills a driver's packet with the rest if it is asked to.

Next: `vnic/binding.py`, `transfer_data`.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from vnic.binding import Binding
from vnic.chain import LONGEST
from vnic.context import MINIPORT, WHAT, Context
from vnic.counters import COLUMN
from vnic.indicate import Indicating
from vnic.ledger import Ledger
from vnic.packet import HEADER_SIZE, Packet
from vnic.states import Event, PacketState
from vnic.status import Status, VnicError
from vnic.verifier import rules

if TYPE_CHECKING:
    from typing import SupportsIndex

    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, it comes with the C types
    from vnic.context import _here

PENDING = Status.PENDING
DO_TRANSFER = int(Event.TRANSFER)
DO_TRANSFERRED = int(Event.TRANSFERRED)
TRANSFERRING = int(PacketState.TRANSFERRING)
THE_MINIPORT = MINIPORT
IN_TRANSFER_DATA = WHAT["transfer_data"]
RX_FRAMES = COLUMN["rx_frames"]
RX_BYTES = COLUMN["rx_bytes"]
RX_DELIVERED = COLUMN["rx_delivered"]
RX_FILTERED = COLUMN["rx_filtered"]
RX_DROPPED_RUNT = COLUMN["rx_dropped_runt"]
RX_DROPPED_NO_DRIVER = COLUMN["rx_dropped_no_driver"]
RX_DROPPED_NO_RECEIVE = COLUMN["rx_dropped_no_receive"]


class LookingAhead(Indicating):
    """The part of an adapter that shows lookaheads; `Adapter` says what the rest is."""

    def indicate_lookahead(self, context: object, header: object, lookahead: object, packet_size: SupportsIndex) -> None:
        """
        Show the beginning of a frame that is in no packet to every binding whose filter accepts it, through its `receive`.

        Nothing is kept: drivers copy, and ask for the rest by `binding.transfer_data`, which the miniport's `transfer_data` answers.
        A batch of these ends with `indicate_lookahead_complete`.

        Args:
            context: the miniport's name for the frame.
            header: the 14 bytes of the Ethernet header.
            lookahead: the bytes after it, or the first of them.
            packet_size: bytes of the frame after the header.

        Raises:
            VnicError: a transfer is pending; it must be completed first.
            ValueError: the frame has fewer bytes than the lookahead, or more than a packet could have.
            TypeError: the header or the lookahead is no bytes, or the size no integer.

        NDIS: NdisMEthIndicateReceive; RX-39 to RX-43, RX-53.
        """
        self._may_indicate()
        if self._transfers:
            raise VnicError("a transfer is pending: complete it before the next frame is indicated")
        size = index(packet_size)
        header, lookahead = bytes(memoryview(header)), bytes(memoryview(lookahead))
        if not len(lookahead) <= size <= LONGEST:
            raise ValueError(f"a lookahead of {len(lookahead)} bytes in a frame of {size}")
        self._call_below(self._indicate_lookahead, context, header, lookahead, size)

    def _indicate_lookahead(self, context: object, header: bytes, lookahead: bytes, packet_size: object) -> None:
        ledger: Ledger = self._ledger
        outcome: cython.int
        ledger._begin()
        try:
            outcome = self._look_ahead(context, header, lookahead, packet_size)
            self._batch_open = True
        finally:
            self._end_indication()
        with cython.critical_section(ledger):
            ledger._counts[RX_FRAMES] += 1
            ledger._counts[RX_BYTES] += len(header) + packet_size
            ledger._counts[outcome] += 1

    def _look_ahead(self, context: object, header: bytes, lookahead: bytes, packet_size: object) -> cython.int:
        """Show a frame's beginning; answers the counter that says what became of it."""
        binding: Binding
        bindings: list = self._bound(False)
        outcome: cython.int = RX_FILTERED
        if len(header) != HEADER_SIZE:
            return RX_DROPPED_RUNT
        if not bindings:
            return RX_DROPPED_NO_DRIVER
        destination: cython.ulonglong = int.from_bytes(header[:6], "big")
        kind: cython.int = self._sends._kind(destination)
        for binding in bindings:
            if not binding._accepts(kind, destination):
                continue
            if binding._receive is not None:
                outcome = RX_DELIVERED
                binding._look_ahead(context, header, lookahead, packet_size)
            elif outcome != RX_DELIVERED:
                outcome = RX_DROPPED_NO_RECEIVE
        return outcome

    def indicate_lookahead_complete(self) -> None:
        """
        End a batch: every binding that was shown a frame of it is told by `receive_complete`.

        NDIS: NdisMEthIndicateReceiveComplete; RX-44.
        """
        self._batch_open = False
        self._end_batch(_here())

    def _transfer(self, binding: Binding, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
        """Have the miniport fill a packet of a driver's; what `Binding.transfer_data` does for a frame in no packet."""
        if self._transfer_data is None:
            return Status.FAILURE, 0
        with cython.critical_section(packet, self):
            packet._change(DO_TRANSFER)
            packet._sender = binding
            binding.transfers_pending += 1
            self._transfers += 1
        here: Context = _here()
        before: cython.longlong = here._enter(THE_MINIPORT, IN_TRANSFER_DATA, here.irql)
        try:
            status, moved = self._call_below(self._transfer_data, packet, context, offset, length)
            status, moved = Status(status), int(moved)
        except BaseException as error:
            self._ledger._failed(None, "transfer_data", error)
            status, moved = Status.FAILURE, 0
        here._leave(before)
        if status is PENDING:
            return PENDING, 0
        if not self._end_transfer(packet):
            detail = f"transfer_data answered {status.name} after transfer_data_complete"
            self._ledger._violation(rules.WRONG_CHANNEL, None, packet, detail, self._ledger.place("transfer_data"))
            return PENDING, 0
        binding._came_back()
        return status, moved

    def _end_transfer(self, packet: Packet) -> cython.bint:
        binding: Binding = packet._sender
        with cython.critical_section(packet, self):
            if not packet._change(DO_TRANSFERRED):
                return False
            packet._sender = None
            binding.transfers_pending -= 1
            self._transfers -= 1
        return True

    def transfer_data_complete(self, packet: Packet, status: Status, transferred: int) -> None:
        """
        Give a packet back that the miniport was asked to fill, and had answered PENDING.

        Raises:
            OwnershipError: no transfer into this packet is pending (rule 50).

        NDIS: NdisMTransferDataComplete; RX-51, RX-53.
        """
        status = Status(status)
        binding: Binding = packet._sender
        if binding is not None and binding.adapter is self:
            binding._enter()
        else:
            binding = None
        if binding is None or packet._state != TRANSFERRING or not self._end_transfer(packet):
            if binding is not None:
                binding._leave()
            raise self._ledger._violation(rules.COMPLETED_TWICE, None, packet, f"a transfer into {packet!r} is completed")
        self._ask(binding, "transfer_data_complete", packet, Status.FAILURE if status is PENDING else status, transferred)
        binding._leave()
