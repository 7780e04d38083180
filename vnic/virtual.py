"""
The upper edge of an intermediate driver: the miniport of a virtual adapter, and how packets of two levels stand for each other.

What comes up as packet P is shown by the virtual adapter as its own packet M, over the same bytes; P is held below until M has come
back. What goes down as P is sent below as M, and P is completed when M is. M and P find each other in a table.

There is no packet stack (IM-12): one adapter counts who owes the return of a packet. So it never travels through two adapters itself.

Next: `protocol/passthru.py`, the shortest intermediate driver.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from vnic.core import Adapter, BufferPool, PacketPool
from vnic.driver import MiniportDriver
from vnic.filters import PacketFilter
from vnic.oids import Oid
from vnic.oob import Info, copy_oob, copy_send_complete_info, copy_send_info, information
from vnic.pnp import PowerState
from vnic.request import Request, RequestKind
from vnic.states import PacketState
from vnic.status import Status

if TYPE_CHECKING:
    from vnic.core import Binding, Buffer, Packet
    from vnic.intermediate import IntermediateDriver

# numbers, because to index by a member of an enum takes twice as long
ORIGINAL = int(Info.ORIGINAL_PACKET)


class Withheld(NamedTuple):
    """A view of a packet below, kept for as long as views live of the packet above that shows the same bytes."""

    shown: Packet
    generation: int
    view: memoryview


class Looked(NamedTuple):
    """A frame that is in no packet: what it is called below, and how many bytes after its header are not shown above."""

    context: object
    skipped: int


class Transfer(NamedTuple):
    """A packet above that is being filled, and the memory that the rest of its frame is transferred to below."""

    packet: Packet
    buffer: Buffer


class VirtualMiniport(MiniportDriver):
    """
    The upper edge of an intermediate driver: the miniport of one virtual adapter, with separate pools for both directions (IM-04).

    Args:
        driver: the intermediate driver.
        name: of the virtual adapter.
        packets: how many packets each pool has.
        slot_size: of each of them; 0 if nothing is ever copied.

    Attributes:
        adapter: the virtual adapter.
        dropped: frames that were not shown above, for lack of a packet.
        wanted: what those above want to see.
        groups: the groups of which they do.
    """

    def __init__(self, driver: IntermediateDriver, name: str, packets: int, slot_size: int = 0) -> None:
        lower = driver.binding.adapter
        self.driver = driver
        self.wanted = PacketFilter.NONE
        self.groups: tuple[bytes, ...] = ()
        self.binding: Binding = driver.binding
        self.received = PacketPool(packets, slot_size, name=f"{name} receive")
        self.sent = PacketPool(packets, slot_size, name=f"{name} send")
        self.rests = BufferPool(packets, f"{name} transfer")
        self.adapter = Adapter(
            self.received,
            self,
            name=name,
            address=lower.address,
            mtu=lower.mtu,
            network_addresses=lower.network_addresses,
            verifier_level=lower.verifier_level,
            report=lower.report,
        )
        if not lower.link_up:
            self.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        self.dropped = 0
        self._shows: dict[Packet, Packet] = {}
        self._sends: dict[Packet, Packet] = {}
        self._transfers: dict[Packet, Transfer] = {}
        self._withheld: list[Withheld] = []
        self._looked = False
        self._lock = Lock()

    # up

    def pass_up(self, packet: Packet) -> int:
        """
        Show a packet above, over the same bytes. It is held until that has come back, which may be before this returns.

        Returns:
            The references that are kept of it: 1; 0 if it has status RESOURCES, or no packet is free to show it with.

        NDIS: IM-05, IM-06, IM-08.
        """
        low = packet.status is Status.RESOURCES
        shown = self.allocate() if not self.adapter.halted else None
        if shown is None:
            return 0
        self._shows[shown] = packet
        try:
            shown.share_chain(packet)
            shown.flags = packet.flags
            if packet.has_info:
                copy_send_info(shown, packet)
                shown.info[ORIGINAL] = information(packet, Info.ORIGINAL_PACKET) or packet
            else:
                shown.info[ORIGINAL] = packet
            if packet.has_oob:
                shown.oob.header_size = packet.oob.header_size
            if low:
                shown.status = Status.RESOURCES
            self.adapter.indicate((shown,))
        except BaseException:
            if shown.state is PacketState.OWNED and shown in self._shows:
                # it was not shown: whoever halts the virtual adapter on another thread was faster
                self._release(shown)
            raise
        if low:
            self._release(shown)
        return int(not low)

    def allocate(self) -> Packet | None:
        """Allocate a packet to show; None, and the frame is counted as dropped, if there is none."""
        packet = self.received.allocate()
        if packet is None:
            with self._lock:
                self.dropped += 1
        return packet

    def pass_lookahead(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int, skipped: int = 0) -> None:
        """
        Show the beginning of a frame that is in no packet.

        Args:
            context: what it is called below.
            header: the 14 bytes of the header, as shown above.
            lookahead: the bytes after it.
            packet_size: bytes of the frame after the header.
            skipped: bytes that the frame has between the two below, and not above.

        NDIS: NdisMEthIndicateReceive; IM-08.
        """
        self._looked = True
        self.adapter.indicate_lookahead(Looked(context, skipped), header, lookahead, packet_size)

    def transfer_data(self, packet: Packet, context: Looked, offset: int, length: int) -> tuple[Status, int]:
        """Have the rest of the frame transferred below, into memory of our own; the packet is lent to the virtual adapter only."""
        buffer = self.rests.allocate(bytearray(length))
        if buffer is None:
            return Status.RESOURCES, 0
        below = self.sent.allocate()
        if below is None:
            self.rests.free(buffer)
            return Status.RESOURCES, 0
        below.chain_back(buffer)
        self._transfers[below] = Transfer(packet, buffer)
        status, moved = Status.FAILURE, 0
        try:
            status, moved = self.binding.transfer_data(context.context, context.skipped + offset, length, below)
        finally:
            if status != Status.PENDING and not self.transferred(below, moved)[1]:
                status, moved = Status.FAILURE, 0
        return status, moved

    def transferred(self, below: Packet, moved: int) -> tuple[Packet, bool]:
        """Free a packet that was filled below, and fill the one that it was for; answers that, and whether it could be written to."""
        packet, buffer = self._transfers.pop(below)
        below.unchain_front()
        self.sent.free(below)
        filled = False
        with suppress(TypeError):
            # whoever is above may have brought memory that is read-only
            packet.fill(0, buffer.data[:moved])
            filled = True
        self.rests.free(buffer)
        return packet, filled

    def return_packet(self, packet: Packet) -> None:
        """Free a packet that was shown, and give up the one below."""
        below = self._release(packet)
        if below is not None:
            self.binding.return_packets((below,))

    def _release(self, shown: Packet) -> Packet | None:
        """Free a packet that was shown; answers the one whose bytes those were, if they were not its own."""
        below = self._shows.pop(shown, None)
        if shown.views and below is not None:
            # somebody above has forgotten a view of the bytes below: they must not be read into again while it lives
            with self._lock:
                self._withheld.append(Withheld(shown, shown.generation, below.data))
        self.received.free(shown)
        if self._withheld:
            self._let_go()
        return below

    def _let_go(self) -> None:
        """Let go of bytes below that nobody above sees any more."""
        with self._lock:
            self._withheld = [one for one in self._withheld if one.shown.generation == one.generation and one.shown.views]

    def end_batch(self) -> None:
        """End a batch of lookaheads above, and let go of bytes below that nobody above sees any more."""
        if self._looked:
            self._looked = False
            self.adapter.indicate_lookahead_complete()
        if self._withheld:
            self._let_go()

    # down

    def send_packets(self, packets: list[Packet]) -> None:
        """Send packets below, in order (IM-18); each that is not left pending there is completed now."""
        for packet in packets:
            status = self.send(packet)
            if status is not Status.PENDING:
                self.adapter.send_complete(packet, status)

    def send(self, packet: Packet) -> Status:
        """Send a packet's bytes below, in a packet of our own; without one, or without power, that is the end of it (IM-15 to IM-18)."""
        if self.binding.dead or self.binding.adapter.power is not PowerState.D0:
            return Status.FAILURE
        below = self.sent.allocate()
        if below is None:
            return Status.RESOURCES
        status = Status.FAILURE
        try:
            status = self.fill(below, packet)
        finally:
            if status is not Status.SUCCESS:
                self.sent.free(below)
        if status is not Status.SUCCESS:
            return status
        below.flags = packet.flags
        if packet.has_info:
            copy_send_info(below, packet)
        if packet.has_oob:
            copy_oob(below, packet)
        self._sends[below] = packet
        try:
            status = self.binding.send(below)
        except BaseException:
            self.take_back(below)
            raise
        if status is not Status.PENDING:
            self.take_back(below)
        return status

    def fill(self, below: Packet, packet: Packet) -> Status:
        """Make the frame to send below, from the one to send; anything but SUCCESS refuses it. Here: the same bytes."""
        below.share_chain(packet)
        return Status.SUCCESS

    def take_back(self, below: Packet) -> Packet:
        """Free a packet that was sent below; answers the one that it was sent for, with what the miniport below wrote about it."""
        packet = self._sends.pop(below)
        try:
            if below.has_info:
                copy_send_complete_info(packet, below)
            if below.has_oob:
                below.oob.media_specific = None
        finally:
            self.sent.free(below)
        return packet

    def cancel_sends(self, cancel_id: object) -> None:
        """Cancel below what carries this id. An id must be no other driver's above: below, all sends are ours."""
        self.binding.cancel_sends(cancel_id)

    # requests

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        """Ask below."""
        return self.driver.ask(self, Request(RequestKind.QUERY, oid, buffer))

    def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        """Tell below; what those above want to see, together with all other virtual adapters of the driver."""
        if oid == Oid.GEN_CURRENT_PACKET_FILTER:
            self.wanted = PacketFilter(int.from_bytes(data, "little"))
        elif oid == Oid.IEEE_802_3_MULTICAST_LIST:
            self.groups = tuple(data[start : start + 6] for start in range(0, len(data), 6))
        else:
            return self.driver.ask(self, Request(RequestKind.SET, oid, memoryview(data)))
        self.driver.ask_for_frames()
        return Status.SUCCESS, len(data), 0

    def close(self) -> None:
        """
        Unbind whoever is still bound above, taking back by force what they hold, and halt the virtual adapter.

        NDIS: NdisIMDeInitializeDeviceInstance; IM-03.
        """
        for binding in self.adapter.bindings:
            if self.adapter.close(binding) == Status.PENDING:
                self.adapter.reclaim(binding)
        self.adapter.halt()
        self._let_go()
