"""
A registered driver, as the core sees it: each handler of the core calls the C handler of the driver's table.

In-parameters are handed over as in C, out-parameters are the answer. A handler that the table leaves out is left alone here too.

Next: `vnic/driver.py`, the handlers of the core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vnic.driver import MiniportDriver, ProtocolDriver
from vnic.filters import PacketFilter
from vnic.status import Status

if TYPE_CHECKING:
    from vnic.binder import Protocol
    from vnic.core import Packet
    from vnic.device import Device
    from vnic.pnp import DeviceEvent, PnpEvent
    from vnic.request import Request

FORWARDED = {
    "SendCompleteHandler": "send_complete",
    "TransferDataCompleteHandler": "transfer_data_complete",
    "ReceivePacketHandler": "receive_packet",
    "PnPEventHandler": "pnp_event",
    "CheckForHangHandler": "check_for_hang",
    "DisableInterruptHandler": "disable_interrupt",
    "EnableInterruptHandler": "enable_interrupt",
    "SendHandler": "send",
    "SendPacketsHandler": "send_packets",
    "TransferDataHandler": "transfer_data",
    "ReturnPacketHandler": "return_packet",
    "CancelSendPacketsHandler": "cancel_sends",
    "PnPEventNotifyHandler": "pnp_event_notify",
}
"""What may be missing in a table, and the handler that is then left alone."""


def _leave_alone(driver: object, table: object) -> None:
    for member, method in FORWARDED.items():
        if hasattr(table, member) and getattr(table, member) is None:
            setattr(driver, method, None)


class RegisteredProtocol(ProtocolDriver):
    """
    One open binding of a registered protocol.

    Attributes:
        protocol: whose binding it is.
        context: what the protocol calls its binding. NDIS: ProtocolBindingContext.
        closing: it is closed, by the protocol itself, or for it.
        forgotten: for it.
        unwanted: its end was asked for while it was being bound.
    """

    packet_filter = PacketFilter.NONE

    def __init__(self, protocol: Protocol, context: Any) -> None:
        super().__init__()
        self.protocol = protocol
        self.early_returns = self.no_loopback = protocol.layered
        self.context = context
        self.closing = self.forgotten = self.unwanted = False
        self.table: Any = protocol.characteristics
        _leave_alone(self, self.table)

    def unbind_adapter(self) -> Status | None:
        """The binding closes; if that is not the protocol's doing, it is told now, or (PENDING) when its bind is over."""
        if self.closing:
            return None
        self.protocol.unbind(self)
        return Status.PENDING if self.unwanted else None

    def close_complete(self) -> None:
        """A close that was PENDING is over. NDIS: ProtocolCloseAdapterComplete."""
        if not self.forgotten:
            self.table.CloseAdapterCompleteHandler(self.context, Status.SUCCESS)
        self.protocol.registry.advance_soon()

    def receive_packet(self, packet: Packet) -> int:
        """NDIS: ProtocolReceivePacket."""
        kept: int = self.table.ReceivePacketHandler(self.context, packet)
        return kept

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> Status:
        """NDIS: ProtocolReceive."""
        status: Status = self.table.ReceiveHandler(self.context, context, header, len(header), lookahead, len(lookahead), packet_size)
        return status

    def receive_complete(self) -> None:
        """NDIS: ProtocolReceiveComplete."""
        self.table.ReceiveCompleteHandler(self.context)

    def transfer_data_complete(self, packet: Packet, status: Status, transferred: int) -> None:
        """NDIS: ProtocolTransferDataComplete."""
        self.table.TransferDataCompleteHandler(self.context, packet, status, transferred)

    def send_complete(self, packet: Packet, status: Status) -> None:
        """NDIS: ProtocolSendComplete."""
        self.table.SendCompleteHandler(self.context, packet, status)

    def request_complete(self, request: Request, status: Status) -> None:
        """NDIS: ProtocolRequestComplete."""
        self.table.RequestCompleteHandler(self.context, request, status)

    def status(self, status: Status, buffer: bytes) -> None:
        """NDIS: ProtocolStatus."""
        self.table.StatusHandler(self.context, status, buffer, len(buffer))

    def status_complete(self) -> None:
        """NDIS: ProtocolStatusComplete."""
        self.table.StatusCompleteHandler(self.context)

    def reset_complete(self, status: Status) -> None:
        """NDIS: ProtocolResetComplete."""
        self.table.ResetCompleteHandler(self.context, status)

    def pnp_event(self, event: PnpEvent) -> Status:
        """NDIS: ProtocolPnPEvent."""
        status: Status = self.table.PnPEventHandler(self.context, event)
        return status


class RegisteredMiniport(MiniportDriver):
    """
    The miniport of one device.

    Attributes:
        device: the device, which knows what the driver calls it. NDIS: MiniportAdapterContext.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.table: Any = device.driver.characteristics
        _leave_alone(self, self.table)

    def halt(self) -> None:
        """NDIS: MiniportHalt."""
        self.table.HaltHandler(self.device.context)

    def reset(self) -> tuple[Status, bool]:
        """NDIS: MiniportReset."""
        answer: tuple[Status, bool] = self.table.ResetHandler(self.device.context)
        return answer

    def check_for_hang(self) -> bool:
        """NDIS: MiniportCheckForHang."""
        return bool(self.table.CheckForHangHandler(self.device.context))

    def shutdown(self) -> None:
        """NDIS: MiniportShutdown."""
        if self.device.shutdown is not None:
            handler, context = self.device.shutdown
            handler(context)
        elif self.table.AdapterShutdownHandler is not None:
            self.table.AdapterShutdownHandler(self.device.context)

    def pnp_event_notify(self, event: DeviceEvent) -> None:
        """NDIS: MiniportPnPEventNotify."""
        self.table.PnPEventNotifyHandler(self.device.context, event, None, 0)

    def return_packet(self, packet: Packet) -> None:
        """NDIS: MiniportReturnPacket."""
        self.table.ReturnPacketHandler(self.device.context, packet)

    def transfer_data(self, packet: Packet, context: Any, offset: int, length: int) -> tuple[Status, int]:
        """NDIS: MiniportTransferData."""
        answer: tuple[Status, int] = self.table.TransferDataHandler(packet, self.device.context, context, offset, length)
        return answer

    def send(self, packet: Packet) -> Status:
        """NDIS: MiniportSend."""
        status: Status = self.table.SendHandler(self.device.context, packet, packet.flags)
        return status

    def send_packets(self, packets: list[Packet]) -> None:
        """NDIS: MiniportSendPackets."""
        self.table.SendPacketsHandler(self.device.context, packets, len(packets))

    def cancel_sends(self, cancel_id: object) -> None:
        """NDIS: MiniportCancelSendPackets."""
        self.table.CancelSendPacketsHandler(self.device.context, cancel_id)

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        """NDIS: MiniportQueryInformation."""
        answer: tuple[Status, int, int] = self.table.QueryInformationHandler(self.device.context, oid, buffer, len(buffer))
        return answer

    def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        """NDIS: MiniportSetInformation."""
        answer: tuple[Status, int, int] = self.table.SetInformationHandler(self.device.context, oid, data, len(data))
        return answer

    def isr(self) -> tuple[bool, bool]:
        """NDIS: MiniportISR. One that raises, or answers something else, has not recognised the interrupt."""
        try:
            recognized, queue_handler = self.table.ISRHandler(self.device.context)
        except BaseException as error:
            self.device.adapter.failed(None, "isr", error)
            return False, False
        return recognized, queue_handler

    def handle_interrupt(self) -> None:
        """NDIS: MiniportHandleInterrupt."""
        try:
            self.device.adapter._call_below(self.table.HandleInterruptHandler, self.device.context)
        except BaseException as error:
            self.device.adapter.failed(None, "handle_interrupt", error)

    def disable_interrupt(self) -> None:
        """NDIS: MiniportDisableInterrupt."""
        self.table.DisableInterruptHandler(self.device.context)

    def enable_interrupt(self) -> None:
        """NDIS: MiniportEnableInterrupt."""
        self.table.EnableInterruptHandler(self.device.context)
