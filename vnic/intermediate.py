"""
Intermediate drivers: a protocol driver below, and above it the miniports of virtual adapters that other drivers bind to.

Next: `vnic/virtual.py`, the upper edge; `protocol/passthru.py`, the shortest one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.driver import ProtocolDriver
from vnic.filters import PacketFilter
from vnic.pnp import PnpEvent, pass_up
from vnic.request import Request, RequestKind
from vnic.status import Status

if TYPE_CHECKING:
    from vnic.core import Adapter, Packet
    from vnic.virtual import VirtualMiniport


class IntermediateDriver(ProtocolDriver):
    """
    Base of every intermediate driver: its lower edge, and what both edges share.

    A driver says in `bind_adapter` which virtual adapters there are (`add`), and in `receive_packet` which of them a frame is for.

    NDIS: IM-01 to IM-19.
    """

    early_returns = True
    packet_filter = PacketFilter.NONE
    """Nothing, until somebody is bound above who wants to see something."""

    virtuals: tuple[VirtualMiniport, ...] = ()

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The virtual adapters, between the end of `bind_adapter` and that of `unbind_adapter`."""
        return tuple(virtual.adapter for virtual in self.virtuals)

    def start(self, *virtuals: VirtualMiniport) -> None:
        """Make virtual adapters the driver's: to be called once, in `bind_adapter`."""
        self.virtuals = virtuals
        self._of_pool = {virtual.sent: virtual for virtual in virtuals}
        self._asked: dict[Request, VirtualMiniport] = {}

    def ask_for_frames(self) -> None:
        """Set the packet filter below to all that is wanted above."""
        wanted = PacketFilter.NONE
        for virtual in self.virtuals:
            wanted |= virtual.wanted
        self.binding.multicast_list = tuple({group for virtual in self.virtuals for group in virtual.groups})
        self.binding.packet_filter = wanted

    def unbind_adapter(self) -> None:
        """Halt the virtual adapters; whatever they hold of the adapter below is returned."""
        for virtual in self.virtuals:
            virtual.close()
        self.virtuals = ()

    def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> Status:
        """Find the packet behind the frame, which says that nothing of it can be kept; without one, its beginning goes up (IM-08)."""
        packet = self.binding.received_packet(context)
        if packet is not None:
            self.receive_packet(packet)
        else:
            self.receive_lookahead(context, header, lookahead, packet_size)
        return Status.SUCCESS

    def receive_lookahead(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        """Choose the virtual adapter for a frame that is in no packet, and `pass_lookahead`. Here: the first one."""
        self.virtuals[0].pass_lookahead(context, header, lookahead, packet_size)

    def receive_complete(self) -> None:
        """End the batch above, as far as it has not ended with each packet."""
        for virtual in self.virtuals:
            virtual.end_batch()

    def transfer_data_complete(self, packet: Packet, status: Status, transferred: int) -> None:
        """Complete the transfer above that this one was made for."""
        virtual = self._of_pool[packet.pool]
        above, filled = virtual.transferred(packet, transferred)
        virtual.adapter.transfer_data_complete(above, status if filled else Status.FAILURE, transferred if filled else 0)

    def send_complete(self, packet: Packet, status: Status) -> None:
        """Complete the send above that this one was made for (IM-17)."""
        virtual = self._of_pool[packet.pool]
        virtual.adapter.send_complete(virtual.take_back(packet), status)

    def ask(self, virtual: VirtualMiniport, request: Request) -> tuple[Status, int, int]:
        """
        Make a request of a virtual adapter's below; an adapter has one at a time at its miniport (IM-19).

        Returns:
            What `query_information` and `set_information` answer.
        """
        # it may be complete before the call returns
        self._asked[request] = virtual
        status = Status.FAILURE
        try:
            status = self.binding.request(request)
        finally:
            if status != Status.PENDING:
                del self._asked[request]
        return status, request.bytes_read or request.bytes_written, request.bytes_needed

    def request_complete(self, request: Request, status: Status) -> None:
        """Pass an answer up."""
        requests = self._asked.pop(request).adapter.requests
        if request.kind == RequestKind.SET:
            requests.set_complete(status, request.bytes_read, request.bytes_needed)
        else:
            requests.query_complete(status, request.bytes_written, request.bytes_needed)

    def status(self, status: Status, buffer: bytes) -> None:
        """Pass it up."""
        for virtual in self.virtuals:
            virtual.adapter.indicate_status(status, buffer)

    def status_complete(self) -> None:
        """Pass it up."""
        for virtual in self.virtuals:
            virtual.adapter.indicate_status_complete()

    def pnp_event(self, event: PnpEvent) -> Status:
        """
        Pass it up.

        Returns:
            SUCCESS; why a removal is refused above. Who answers PENDING above is not waited for: what it does, it must do below, too.
        """
        answers = [pass_up(event, virtual.adapter) for virtual in self.virtuals]
        return next((answer for answer in answers if answer not in (Status.SUCCESS, Status.PENDING)), Status.SUCCESS)
