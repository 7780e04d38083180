"""
Connection-oriented NDIS: the two driver contracts, and nothing that is not real.

Data flow on virtual connections (VCs), each with one owner. A VC is made by a protocol driver over its binding to an adapter whose
miniport is a `CoMiniportDriver`. There are no address families, SAPs and calls: whoever makes a VC activates it.

Next: `vnic/vc.py`, the connection itself, and `protocol/vlan.py`, where a VC is a VLAN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vnic.driver import MiniportDriver, ProtocolDriver
from vnic.filters import PacketFilter
from vnic.status import Status

if TYPE_CHECKING:
    from vnic.core import Adapter, Packet
    from vnic.request import Request
    from vnic.vc import VirtualConnection


class CoProtocolDriver(ProtocolDriver):
    """
    Base of a protocol driver that uses VCs; frames that belong to none still come through `receive_packet`, if there are any.

    Attributes:
        vcs: its VCs, kept by the library.

    NDIS: the connection-oriented part of NDIS_PROTOCOL_CHARACTERISTICS.
    """

    vcs: tuple[VirtualConnection, ...] = ()

    def co_receive_packet(self, vc: VirtualConnection, packet: Packet) -> int:
        """
        Look at a packet of a VC; answer how many references are kept, each given up later by `vc.return_packets`.

        With `packet.status` RESOURCES copy it and answer 0: there is no other handler for such packets.

        NDIS: ProtocolCoReceivePacket; CO-04, RX-20.
        """
        return 0

    def co_send_complete(self, vc: VirtualConnection, packet: Packet, status: Status) -> None:
        """
        Take a packet back that was sent on a VC; called exactly once for each. Left alone, it frees the packet.

        NDIS: ProtocolCoSendComplete; CO-03.
        """
        packet.pool.free(packet)

    def co_status(self, vc: VirtualConnection | None, status: Status, buffer: bytes) -> None:
        """
        Learn of a change: of one VC, or (None) of the adapter.

        NDIS: ProtocolCoStatus; CO-06.
        """

    def co_activate_vc_complete(self, vc: VirtualConnection, status: Status) -> None:
        """
        Learn how an activation ended that had been PENDING.

        NDIS: ProtocolCmActivateVcComplete; CO-01.
        """

    def co_deactivate_vc_complete(self, vc: VirtualConnection, status: Status) -> None:
        """
        Learn that a VC is quiet whose deactivation had been PENDING: nothing of it is held or pending any more.

        NDIS: ProtocolCmDeactivateVcComplete; CO-02.
        """

    def status(self, status: Status, buffer: bytes = b"") -> None:
        """What the adapter itself indicates comes to `co_status` too."""
        self.co_status(None, status, buffer)

    def unbind_adapter(self) -> None:
        """Deactivate and delete every VC. A driver that keeps packets returns them first, and then calls this."""
        for vc in self.vcs:
            vc.deactivate()
            vc.delete()


class CoMiniportDriver(MiniportDriver):
    """
    Base of a miniport with VCs. `return_packet` is called for the packets of every VC.

    A handler that raises is counted and reported, and FAILURE is taken for its answer.

    Attributes:
        vc_packets: packets of each VC's pool, if the miniport sets none of its own.

    NDIS: the connection-oriented part of NDIS_MINIPORT_CHARACTERISTICS.
    """

    vc_packets: int = 64

    def send(self, packet: Packet) -> Status:
        """Refuse: frames go out on VCs."""
        return Status.NOT_SUPPORTED

    def co_create_vc(self, vc: VirtualConnection) -> Status | None:
        """
        Take what a VC needs. What is indicated on it comes from `vc.pool`: one is made, unless this sets it to a pool that no adapter has.

        Returns:
            SUCCESS (or None); anything else declines.

        NDIS: MiniportCoCreateVc; CO-01.
        """
        return None

    def co_activate_vc(self, vc: VirtualConnection, parameters: Any) -> Status | None:
        """
        Prepare a VC for frames, or change its parameters while they flow.

        Returns:
            SUCCESS (or None), an error, or PENDING: then `vc.activate_complete` follows.

        NDIS: MiniportCoActivateVc; CO-01, CO-02.
        """
        return None

    def co_send_packets(self, vc: VirtualConnection, packets: Sequence[Packet]) -> None:
        """
        Send packets, in order; each is completed by one `vc.send_complete`, now or later.

        NDIS: MiniportCoSendPackets; CO-03.
        """
        for packet in packets:
            vc.send_complete(packet, Status.FAILURE)

    def co_deactivate_vc(self, vc: VirtualConnection) -> Status | None:
        """
        Stop the traffic of a VC: indicate nothing more, complete every send.

        The VC is inactive when this is done, every send has been completed, and its client has returned every packet.

        Returns:
            SUCCESS (or None), or PENDING: then `vc.deactivate_complete` follows.

        NDIS: MiniportCoDeactivateVc; CO-02.
        """
        return None

    def co_delete_vc(self, vc: VirtualConnection) -> None:
        """
        Give back what `co_create_vc` took, and free every packet of `vc.pool`.

        NDIS: MiniportCoDeleteVc; CO-01.
        """


class Above(ProtocolDriver):
    """The client's end of a VC, as the core sees it."""

    packet_filter = PacketFilter.NONE

    def __init__(self, vc: VirtualConnection) -> None:
        self.vc = vc
        self.early_returns = vc.driver.early_returns

    def receive_packet(self, packet: Packet) -> int:
        """Show the client a packet, whatever its status."""
        self.vc.seen = True
        return self.vc.driver.co_receive_packet(self.vc, packet)

    def send_complete(self, packet: Packet, status: Status) -> None:
        """Give the client a packet back."""
        try:
            self.vc.driver.co_send_complete(self.vc, packet, status)
        finally:
            self.vc.settle()

    def request_complete(self, request: Request, status: Status) -> None:
        """Give the client a request back."""
        self.vc.driver.request_complete(request, status)

    def status(self, status: Status, buffer: bytes = b"") -> None:
        """Tell the client about its VC."""
        self.vc.driver.co_status(self.vc, status, buffer)


class Below(MiniportDriver):
    """The miniport's end of a VC, as the core sees it."""

    def __init__(self, vc: VirtualConnection) -> None:
        self.vc = vc

    def return_packet(self, packet: Packet) -> None:
        """Give the miniport a packet back."""
        try:
            self.vc.miniport.return_packet(packet)
        finally:
            self.vc.settle()

    def send(self, packet: Packet) -> Status:
        """Let the miniport send a packet, if frames flow."""
        if not self.vc.active:
            return Status.VC_NOT_ACTIVATED
        self.vc.miniport.co_send_packets(self.vc, [packet])
        return Status.PENDING


def receive_complete(adapter: Adapter) -> None:
    """
    Call `receive_complete` of every driver that has been shown a packet on one of its VCs since this was last called.

    NDIS: NdisMCoReceiveComplete; CO-05.
    """
    for binding in adapter.bindings:
        driver = binding.driver
        if binding.closing or not isinstance(driver, CoProtocolDriver):
            continue
        seen = [vc for vc in driver.vcs if vc.seen]
        for vc in seen:
            vc.seen = False
        if not seen:
            continue
        try:
            driver.receive_complete()
        except BaseException as error:
            adapter.failed(binding, "receive_complete", error)
