"""
The two driver contracts on one page: what a driver is called with, and what it may do then.

A protocol driver is a class with one method, `receive_packet`. Every other handler is optional and is called only if the class
defines it. All handlers of a binding are called on the adapter's data thread, except `send_complete` and looped-back frames,
which come on the thread that sent. A handler that raises loses its answer (0 is taken), is counted and reported; the other
drivers do not notice.

Next: `vnic/core.py` for what happens around these calls, `protocol/sink.py` for the shortest real driver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vnic.filters import PacketFilter
from vnic.offload import Offload
from vnic.status import Status

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vnic.core import Batch, Binding, Packet
    from vnic.pnp import DeviceEvent, PnpEvent
    from vnic.request import Request


class ProtocolDriver:
    """
    Base of every protocol driver.

    `binding` is set before `bind_adapter`. Options (`key=value` on the command line, keys in the file) arrive as keyword
    arguments of `__init__`; annotate them and they arrive converted. `packet_filter` is set, as the last step of binding,
    unless `bind_adapter` set `binding.packet_filter` itself.

    What a driver sends is shown to every other binding of the adapter whose filter accepts it. With `no_loopback = False` also to
    the driver itself, as NDIS has it until a driver sets its option; one that answers what it sees then answers itself.
    With `early_returns = True` a packet may be returned from inside the `receive_packet` that is asked for it, as an intermediate
    driver does when nobody above keeps it; the library has it until the answer.
    `hold_limit` says for how many seconds a packet may be held before that is told of (rule 25), `quota` how many returns may be owed
    at one time; 0 leaves that to whoever binds the driver.
    `offload` is what the driver would leave to the adapter; `binding.offload` says what it then may. Without it every frame is an
    ordinary one with its checksums, whatever the adapter has below.

    NDIS: NDIS_PROTOCOL_CHARACTERISTICS; LC-23, LC-25; OID_GEN_PROTOCOL_OPTIONS, RX-64, RX-65; AMB-3.
    """

    binding: Binding
    packet_filter: PacketFilter = PacketFilter.DIRECTED | PacketFilter.BROADCAST | PacketFilter.ALL_MULTICAST
    no_loopback: bool = True
    early_returns: bool = False
    hold_limit: float = 1.0
    quota: int = 0
    offload: Offload = Offload.NONE

    def __init__(self, **options: Any) -> None:
        if options:
            raise TypeError(f"{type(self).__name__} has no option {next(iter(options))!r}")

    def bind_adapter(self) -> Status | None:
        """
        Take what the driver needs: pools, threads, files. Anything but SUCCESS (or None) declines the binding.

        With PENDING it goes on elsewhere: `binding.complete_bind(status)` ends it, and only then frames are shown.

        NDIS: ProtocolBindAdapter; LC-24, LC-25.
        """
        return None

    def unbind_adapter(self) -> Status | None:
        """
        Give everything back: return every held packet, stop own threads, free own packets, close own files.

        No packet is indicated any more once this is called; sends are refused. After it the binding may be used only to return packets.
        With PENDING it goes on elsewhere, until `binding.complete_unbind()`.

        NDIS: ProtocolUnbindAdapter; LC-28, LC-30.
        """
        return None

    def close_complete(self) -> None:
        """
        Forget the binding: the last packet, send and request of it is over. Called only if that was not so when `unbind_adapter` ended.

        NDIS: ProtocolCloseAdapterComplete; LC-27, LC-29.
        """

    def receive_packet(self, packet: Packet) -> int:
        """
        Look at a packet; answer how many references are kept: 0, or n for n later returns of it by `binding.return_packets`.

        The packet is read-only and borrowed. With 0 it must not be touched after this call, nor any view of it. When
        `packet.status` is RESOURCES nothing can be kept: copy and answer 0 (or define `receive`, and such packets go there).
        Do not return it from inside this call, nor hand it to another thread before the answer: `receive_complete` is
        the place for that.

        NDIS: ProtocolReceivePacket; RX-20 to RX-26.
        """
        return 0

    def receive_packets(self, batch: Batch) -> int | Sequence[int] | Buffer:
        """
        Look at all packets of an indication at once; answer how many references are kept: one number, of each packet that many, or one
        number for each: a list, a tuple, or a buffer of integers.

        Of each packet the same is true as in `receive_packet`, which is not called for a driver that defines this. What the packet filter
        lets through is in the batch. With `batch.status` RESOURCES nothing in it can be kept (or define `receive`, and such frames go
        there, one by one); what is looped back comes so, in a batch of one.

        NDIS: ProtocolReceivePacket, for the whole array of NdisMIndicateReceivePacket; RX-01, RX-20 to RX-26.
        """
        return 0

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> Status | None:
        """
        Copy a frame while packets are low, or one that is in no packet. The views are closed when this returns; nothing can be kept.

        A driver that defines this and not `receive_packet` is shown every frame so.

        Args:
            context: names the frame during this call.
            header: the 14 bytes of the Ethernet header.
            lookahead: the bytes after it; all of them, so `len(lookahead) == packet_size`, unless the miniport shows only the
                beginning: then `binding.transfer_data` has the rest.
            packet_size: bytes after the header.

        Returns:
            SUCCESS (or None) if the frame was taken, NOT_ACCEPTED if it is of no interest.

        NDIS: ProtocolReceive; RX-12, RX-13, RX-39 to RX-45.
        """
        return None

    def receive_complete(self) -> None:
        """
        Do what can wait until a batch is over: deliver, return packets, hand packets to other threads.

        Called once for each batch of which the binding saw a frame.

        NDIS: ProtocolReceiveComplete; RX-44 to RX-46.
        """

    def send_complete(self, packet: Packet, status: Status) -> None:
        """
        Take a packet back: it belongs to the driver again, to be reused or freed.

        Called exactly once for each packet of `binding.send_packets`, and for each `binding.send` that answered PENDING.

        NDIS: ProtocolSendComplete; TX-02, TX-06, TX-26.
        """

    def transfer_data_complete(self, packet: Packet, status: Status, transferred: int) -> None:
        """
        Take a packet back that `binding.transfer_data` had answered with PENDING: it is the driver's, with so many bytes filled.

        NDIS: ProtocolTransferDataComplete; RX-51.
        """

    def request_complete(self, request: Request, status: Status) -> None:
        """
        Take a request back that `binding.request` had answered with PENDING: its buffer and its byte counts are the driver's again.

        NDIS: ProtocolRequestComplete; OID-02.
        """

    def status(self, status: Status, buffer: bytes) -> None:
        """
        Learn what happened: MEDIA_CONNECT or MEDIA_DISCONNECT, the link came up or went down; RESET_START or RESET_END, in between
        sends and requests are refused; or anything else that a miniport tells, with its details in the buffer.

        NDIS: ProtocolStatus; LC-32 to LC-34.
        """

    def status_complete(self) -> None:
        """
        Act on the statuses up to now: no more of them belong together.

        NDIS: ProtocolStatusComplete; LC-32.
        """

    def reset_complete(self, status: Status) -> None:
        """
        Learn how the reset went that `binding.reset` had answered with PENDING.

        NDIS: ProtocolResetComplete; LC-17.
        """

    def pnp_event(self, event: PnpEvent) -> Status | None:
        """
        Learn of a change of the machine; `binding.adapter.power` is the power that there still is.

        Before a loss of power, wait until `binding.pending_io` is 0.

        Returns:
            SUCCESS (or None), always, except to QUERY_REMOVE_DEVICE, which may be refused; PENDING: `binding.complete_pnp_event` follows.
            A driver that answers SET_POWER with NOT_SUPPORTED is unbound.

        NDIS: ProtocolPnPEvent; LC-35, LC-36.
        """
        return None

    def rotate(self) -> None:
        """
        Start a new output file, if the driver writes one: the operator asked for it (SIGUSR2).
        """


class MiniportDriver:
    """
    Base of every miniport: the owner of the packets that an adapter indicates.

    Each handler left alone is done by the library itself, compiled: a returned packet is freed to its pool, a send is written
    to the adapter's file descriptor, a query is answered for a virtual 802.3 NIC.

    NDIS: NDIS_MINIPORT_CHARACTERISTICS.
    """

    def return_packet(self, packet: Packet) -> None:
        """
        Take a packet back that was indicated with SUCCESS; called exactly once for each, when nobody holds it any more.

        Own it from here on: free it to its pool, or indicate it again.

        NDIS: MiniportReturnPacket; RX-34 to RX-37.
        """
        packet.pool.free(packet)

    def transfer_data(self, packet: Packet, context: Any, offset: int, length: int) -> tuple[Status, int]:
        """
        Fill a driver's packet (`packet.fill`) with a part of a frame shown by `adapter.indicate_lookahead`. It is lent until this is over.

        Returns:
            The status and the bytes filled; with PENDING, `adapter.transfer_data_complete` follows, or has come already.

        NDIS: MiniportTransferData; RX-52, RX-53.
        """
        return Status.FAILURE, 0

    def send(self, packet: Packet) -> Status:
        """
        Put a packet on the wire and answer SUCCESS or an error, or keep it, answer PENDING and call `adapter.send_complete` later.

        RESOURCES: of a serialized miniport, the packet waits and is the next one shown; of another one, the send has failed.

        NDIS: MiniportSend; TX-18 to TX-21.
        """
        return Status.FAILURE

    def send_packets(self, packets: list[Packet]) -> None:
        """
        Put several packets on the wire, in order. A miniport that defines this is given every send so, and never by `send`.

        Deserialized: each is completed by `adapter.send_complete`, perhaps before this returns. Serialized: set `packet.status` of
        each before this returns: SUCCESS or an error, it is over; PENDING, `adapter.send_complete` follows; RESOURCES, it and all
        behind it are untouched, and are shown again when a send completes or `adapter.send_resources_available` is called.

        NDIS: MiniportSendPackets; TX-12 to TX-20.
        """

    def cancel_sends(self, cancel_id: object) -> None:
        """
        Complete every packet that waits here and carries this cancel id, aborted.

        NDIS: MiniportCancelSendPackets; TX-29, TX-31.
        """

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        """
        Answer a query: fill the buffer, which is lent until the request is over.

        Returns:
            The status, the bytes written, the bytes needed; with PENDING, `adapter.requests.query_complete` follows later.

        NDIS: MiniportQueryInformation; OID-07, OID-08.
        """
        return Status.NOT_SUPPORTED, 0, 0

    def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        """
        Take what is set, after checking it.

        Returns:
            The status, the bytes read, the bytes needed; with PENDING, `adapter.requests.set_complete` follows later.

        What all bindings together want to see is told here too: GEN_CURRENT_PACKET_FILTER, GEN_CURRENT_LOOKAHEAD and
        IEEE_802_3_MULTICAST_LIST, whenever it has changed.

        NDIS: MiniportSetInformation; OID-06 to OID-08, RX-56.
        """
        return Status.NOT_SUPPORTED, 0, 0

    def initialize(self) -> Status:
        """
        Start the NIC, on `adapter.initialize()`; anything but SUCCESS means that everything taken is given back already.

        NDIS: MiniportInitialize; LC-05 to LC-09.
        """
        return Status.SUCCESS

    def halt(self) -> None:
        """
        Undo `initialize`, in reverse: every binding is gone, every indicated packet is back, no request comes any more. Complete every
        send that is held; tell no status.

        NDIS: MiniportHalt; LC-18 to LC-22.
        """

    def reset(self) -> tuple[Status, bool]:
        """
        Reset the NIC, and complete every pending send before the end of it.

        Returns:
            The status, and whether filter, multicast list and lookahead are to be told again; with PENDING, `adapter.reset_complete`
            follows, once.

        NDIS: MiniportReset; LC-13 to LC-16.
        """
        return Status.NOT_RESETTABLE, False

    def check_for_hang(self) -> bool:
        """
        Look whether the NIC hangs, and do nothing else; if it does it is reset.

        NDIS: MiniportCheckForHang; LC-11, LC-17.
        """
        return False

    def shutdown(self) -> None:
        """
        Leave the NIC as it was found: the machine goes down. Call nothing of the library.

        NDIS: MiniportShutdown.
        """

    def pnp_event_notify(self, event: DeviceEvent) -> None:
        """
        Learn that the NIC was removed, or that the power profile has changed.

        NDIS: MiniportPnPEventNotify.
        """


def handler(driver: object, base: type, name: str) -> Callable[..., Any] | None:
    """
    Find a handler that a driver defines itself.

    Args:
        driver: the driver.
        base: `ProtocolDriver` or `MiniportDriver`.
        name: the handler's name.

    Returns:
        The bound method, or None if the driver leaves this handler alone.
    """
    found: Callable[..., Any] | None = getattr(driver, name, None)
    if not callable(found) or getattr(found, "__func__", found) is getattr(base, name):
        return None
    return found
