"""
THE table of OIDs: what can be asked of an adapter and told to it, in how many bytes, and who answers.

A value is little-endian. The library itself answers what belongs to one binding, such as its packet filter; the miniport answers the
rest. For a miniport that answers nothing itself, `answer_query` says what is true of a virtual 802.3 NIC.

Next: `vnic/requests.py`, which carries a request to the one who answers.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from vnic._version import __version__
from vnic.core import slot_size_for
from vnic.counters import TX_DROPS
from vnic.status import Status

if TYPE_CHECKING:
    from vnic.core import Adapter


class Oid(IntEnum):
    """
    Names of what can be asked or told, with their real numbers.

    NDIS: OID_GEN_* as GEN_*, OID_802_3_* as IEEE_802_3_*.
    """

    GEN_SUPPORTED_LIST = 0x00010101
    GEN_HARDWARE_STATUS = 0x00010102
    GEN_MEDIA_SUPPORTED = 0x00010103
    GEN_MEDIA_IN_USE = 0x00010104
    GEN_MAXIMUM_LOOKAHEAD = 0x00010105
    GEN_MAXIMUM_FRAME_SIZE = 0x00010106
    GEN_LINK_SPEED = 0x00010107
    GEN_TRANSMIT_BUFFER_SPACE = 0x00010108
    GEN_RECEIVE_BUFFER_SPACE = 0x00010109
    GEN_TRANSMIT_BLOCK_SIZE = 0x0001010A
    GEN_RECEIVE_BLOCK_SIZE = 0x0001010B
    GEN_VENDOR_ID = 0x0001010C
    GEN_VENDOR_DESCRIPTION = 0x0001010D
    GEN_CURRENT_PACKET_FILTER = 0x0001010E
    GEN_CURRENT_LOOKAHEAD = 0x0001010F
    GEN_DRIVER_VERSION = 0x00010110
    GEN_MAXIMUM_TOTAL_SIZE = 0x00010111
    GEN_PROTOCOL_OPTIONS = 0x00010112
    GEN_MAC_OPTIONS = 0x00010113
    GEN_MEDIA_CONNECT_STATUS = 0x00010114
    GEN_MAXIMUM_SEND_PACKETS = 0x00010115
    GEN_VENDOR_DRIVER_VERSION = 0x00010116
    GEN_SUPPORTED_GUIDS = 0x00010117
    GEN_NETWORK_LAYER_ADDRESSES = 0x00010118
    GEN_TRANSPORT_HEADER_OFFSET = 0x00010119
    GEN_PHYSICAL_MEDIUM = 0x00010202
    GEN_MACHINE_NAME = 0x0001021A
    GEN_VLAN_ID = 0x0001021C

    GEN_XMIT_OK = 0x00020101
    GEN_RCV_OK = 0x00020102
    GEN_XMIT_ERROR = 0x00020103
    GEN_RCV_ERROR = 0x00020104
    GEN_RCV_NO_BUFFER = 0x00020105
    GEN_DIRECTED_BYTES_XMIT = 0x00020201
    GEN_DIRECTED_FRAMES_XMIT = 0x00020202
    GEN_MULTICAST_BYTES_XMIT = 0x00020203
    GEN_MULTICAST_FRAMES_XMIT = 0x00020204
    GEN_BROADCAST_BYTES_XMIT = 0x00020205
    GEN_BROADCAST_FRAMES_XMIT = 0x00020206
    GEN_DIRECTED_BYTES_RCV = 0x00020207
    GEN_DIRECTED_FRAMES_RCV = 0x00020208
    GEN_MULTICAST_BYTES_RCV = 0x00020209
    GEN_MULTICAST_FRAMES_RCV = 0x0002020A
    GEN_BROADCAST_BYTES_RCV = 0x0002020B
    GEN_BROADCAST_FRAMES_RCV = 0x0002020C
    GEN_RCV_CRC_ERROR = 0x0002020D
    GEN_TRANSMIT_QUEUE_LENGTH = 0x0002020E

    IEEE_802_3_PERMANENT_ADDRESS = 0x01010101
    IEEE_802_3_CURRENT_ADDRESS = 0x01010102
    IEEE_802_3_MULTICAST_LIST = 0x01010103
    IEEE_802_3_MAXIMUM_LIST_SIZE = 0x01010104
    IEEE_802_3_MAC_OPTIONS = 0x01010105
    IEEE_802_3_RCV_ERROR_ALIGNMENT = 0x01020101
    IEEE_802_3_XMIT_ONE_COLLISION = 0x01020102
    IEEE_802_3_XMIT_MORE_COLLISIONS = 0x01020103
    IEEE_802_3_XMIT_DEFERRED = 0x01020201
    IEEE_802_3_XMIT_MAX_COLLISIONS = 0x01020202
    IEEE_802_3_RCV_OVERRUN = 0x01020203
    IEEE_802_3_XMIT_UNDERRUN = 0x01020204
    IEEE_802_3_XMIT_HEARTBEAT_FAILURE = 0x01020205
    IEEE_802_3_XMIT_TIMES_CRS_LOST = 0x01020206
    IEEE_802_3_XMIT_LATE_COLLISIONS = 0x01020207

    TCP_TASK_OFFLOAD = 0xFC010201


class OidRow(NamedTuple):
    """
    One row of the table.

    Attributes:
        oid: the name and the number.
        size: bytes of the value: "4", "2", "6", "4n" or "6n" (an array), "var", "4/8" (a counter: 8 if the buffer has room).
        query: "M" if every miniport must answer, "O" if it may, "-" if it cannot be asked.
        set: the same of being told.
        by: who answers: "ndis", the library, for each binding; or "miniport".
        meaning: what the value says.
    """

    oid: Oid
    size: str
    query: str
    set: str
    by: str
    meaning: str

    @property
    def name(self) -> str:
        """The name in NDIS: OID_..."""
        return "OID_" + self.oid.name.removeprefix("IEEE_")


OIDS: tuple[OidRow, ...] = (
    OidRow(Oid.GEN_SUPPORTED_LIST, "4n", "M", "-", "miniport", "every OID that is answered"),
    OidRow(Oid.GEN_HARDWARE_STATUS, "4", "M", "-", "miniport", "0 ready, 1 initializing, 2 reset, 3 closing, 4 not ready"),
    OidRow(Oid.GEN_MEDIA_SUPPORTED, "4n", "M", "-", "miniport", "0: 802.3"),
    OidRow(Oid.GEN_MEDIA_IN_USE, "4n", "M", "-", "miniport", "0: 802.3"),
    OidRow(Oid.GEN_MAXIMUM_LOOKAHEAD, "4", "M", "-", "miniport", "most bytes after the header that one indication shows"),
    OidRow(Oid.GEN_MAXIMUM_FRAME_SIZE, "4", "M", "-", "miniport", "largest payload, without the header"),
    OidRow(Oid.GEN_LINK_SPEED, "4", "M", "-", "miniport", "in units of 100 bit/s"),
    OidRow(Oid.GEN_TRANSMIT_BUFFER_SPACE, "4", "M", "-", "miniport", "bytes of memory for sends"),
    OidRow(Oid.GEN_RECEIVE_BUFFER_SPACE, "4", "M", "-", "miniport", "bytes of memory for received frames"),
    OidRow(Oid.GEN_TRANSMIT_BLOCK_SIZE, "4", "M", "-", "miniport", "bytes that one packet takes of it"),
    OidRow(Oid.GEN_RECEIVE_BLOCK_SIZE, "4", "M", "-", "miniport", "the same; the lookahead equals it: whole frames are shown"),
    OidRow(Oid.GEN_VENDOR_ID, "4", "M", "-", "miniport", "the vendor's 3-byte code and one byte more; 0xFFFFFF for none"),
    OidRow(Oid.GEN_VENDOR_DESCRIPTION, "var", "M", "-", "miniport", "text that ends with a zero byte"),
    OidRow(Oid.GEN_CURRENT_PACKET_FILTER, "4", "M", "M", "ndis", "which frames the binding is shown"),
    OidRow(Oid.GEN_CURRENT_LOOKAHEAD, "4", "M", "M", "ndis", "bytes after the header; the largest that a binding suggested"),
    OidRow(Oid.GEN_DRIVER_VERSION, "2", "M", "-", "miniport", "the NDIS version, major and minor in a byte each"),
    OidRow(Oid.GEN_MAXIMUM_TOTAL_SIZE, "4", "M", "-", "miniport", "largest frame, with the header"),
    OidRow(Oid.GEN_PROTOCOL_OPTIONS, "4", "-", "M", "ndis", "1 estimated length is enough, 2 no loopback, 4 no reserved area"),
    OidRow(Oid.GEN_MAC_OPTIONS, "4", "M", "-", "miniport", "what the miniport promises: the MAC_* flags below"),
    OidRow(Oid.GEN_MEDIA_CONNECT_STATUS, "4", "M", "-", "miniport", "0 the link is up, 1 it is down"),
    OidRow(Oid.GEN_MAXIMUM_SEND_PACKETS, "4", "M", "-", "miniport", "packets that one call of the miniport takes"),
    OidRow(Oid.GEN_VENDOR_DRIVER_VERSION, "4", "M", "-", "miniport", "the version of this library, major and minor in 16 bits each"),
    OidRow(Oid.GEN_SUPPORTED_GUIDS, "var", "O", "-", "miniport", "custom identifiers for management"),
    OidRow(Oid.GEN_NETWORK_LAYER_ADDRESSES, "var", "-", "O", "miniport", "the binding's layer-3 addresses"),
    OidRow(Oid.GEN_TRANSPORT_HEADER_OFFSET, "4", "-", "O", "miniport", "size of an additional header"),
    OidRow(Oid.GEN_PHYSICAL_MEDIUM, "4", "O", "-", "miniport", "what is below 802.3"),
    OidRow(Oid.GEN_MACHINE_NAME, "var", "O", "-", "miniport", "the system's name"),
    OidRow(Oid.GEN_VLAN_ID, "4", "O", "O", "miniport", "the VLAN of the NIC"),
    OidRow(Oid.GEN_XMIT_OK, "4/8", "M", "-", "miniport", "frames sent without error"),
    OidRow(Oid.GEN_RCV_OK, "4/8", "M", "-", "miniport", "frames received without error, and shown"),
    OidRow(Oid.GEN_XMIT_ERROR, "4/8", "M", "-", "miniport", "frames that were not sent"),
    OidRow(Oid.GEN_RCV_ERROR, "4/8", "M", "-", "miniport", "frames received with an error"),
    OidRow(Oid.GEN_RCV_NO_BUFFER, "4/8", "M", "-", "miniport", "frames lost because no packet was free"),
    OidRow(Oid.GEN_DIRECTED_BYTES_XMIT, "4/8", "O", "-", "miniport", "bytes sent to stations"),
    OidRow(Oid.GEN_DIRECTED_FRAMES_XMIT, "4/8", "O", "-", "miniport", "frames sent to stations"),
    OidRow(Oid.GEN_MULTICAST_BYTES_XMIT, "4/8", "O", "-", "miniport", "bytes sent to groups"),
    OidRow(Oid.GEN_MULTICAST_FRAMES_XMIT, "4/8", "O", "-", "miniport", "frames sent to groups"),
    OidRow(Oid.GEN_BROADCAST_BYTES_XMIT, "4/8", "O", "-", "miniport", "bytes sent to everybody"),
    OidRow(Oid.GEN_BROADCAST_FRAMES_XMIT, "4/8", "O", "-", "miniport", "frames sent to everybody"),
    OidRow(Oid.GEN_DIRECTED_BYTES_RCV, "4/8", "O", "-", "miniport", "bytes received for this station"),
    OidRow(Oid.GEN_DIRECTED_FRAMES_RCV, "4/8", "O", "-", "miniport", "frames received for this station"),
    OidRow(Oid.GEN_MULTICAST_BYTES_RCV, "4/8", "O", "-", "miniport", "bytes received for groups"),
    OidRow(Oid.GEN_MULTICAST_FRAMES_RCV, "4/8", "O", "-", "miniport", "frames received for groups"),
    OidRow(Oid.GEN_BROADCAST_BYTES_RCV, "4/8", "O", "-", "miniport", "bytes received for everybody"),
    OidRow(Oid.GEN_BROADCAST_FRAMES_RCV, "4/8", "O", "-", "miniport", "frames received for everybody"),
    OidRow(Oid.GEN_RCV_CRC_ERROR, "4/8", "O", "-", "miniport", "frames received with a bad checksum"),
    OidRow(Oid.GEN_TRANSMIT_QUEUE_LENGTH, "4/8", "O", "-", "miniport", "sends that wait now"),
    OidRow(Oid.IEEE_802_3_PERMANENT_ADDRESS, "6", "M", "-", "miniport", "the address the NIC was made with"),
    OidRow(Oid.IEEE_802_3_CURRENT_ADDRESS, "6", "M", "-", "miniport", "the station address in use"),
    OidRow(Oid.IEEE_802_3_MULTICAST_LIST, "6n", "M", "M", "ndis", "the binding's group addresses; asked, those of all bindings"),
    OidRow(Oid.IEEE_802_3_MAXIMUM_LIST_SIZE, "4", "M", "-", "miniport", "group addresses at most, shared by all bindings"),
    OidRow(Oid.IEEE_802_3_MAC_OPTIONS, "4", "O", "-", "miniport", "0"),
    OidRow(Oid.IEEE_802_3_RCV_ERROR_ALIGNMENT, "4", "M", "-", "miniport", "frames received with an odd number of bits"),
    OidRow(Oid.IEEE_802_3_XMIT_ONE_COLLISION, "4", "M", "-", "miniport", "frames sent after one collision"),
    OidRow(Oid.IEEE_802_3_XMIT_MORE_COLLISIONS, "4", "M", "-", "miniport", "frames sent after more of them"),
    OidRow(Oid.IEEE_802_3_XMIT_DEFERRED, "4", "O", "-", "miniport", "frames sent late because the cable was busy"),
    OidRow(Oid.IEEE_802_3_XMIT_MAX_COLLISIONS, "4", "O", "-", "miniport", "frames not sent for collisions"),
    OidRow(Oid.IEEE_802_3_RCV_OVERRUN, "4", "O", "-", "miniport", "frames lost because the NIC was overrun"),
    OidRow(Oid.IEEE_802_3_XMIT_UNDERRUN, "4", "O", "-", "miniport", "frames not sent because the NIC ran dry"),
    OidRow(Oid.IEEE_802_3_XMIT_HEARTBEAT_FAILURE, "4", "O", "-", "miniport", "frames sent without a heartbeat"),
    OidRow(Oid.IEEE_802_3_XMIT_TIMES_CRS_LOST, "4", "O", "-", "miniport", "times the carrier was lost in a send"),
    OidRow(Oid.IEEE_802_3_XMIT_LATE_COLLISIONS, "4", "O", "-", "miniport", "collisions after the window for them"),
    OidRow(Oid.TCP_TASK_OFFLOAD, "var", "O", "O", "ndis", "asked, what can be left to the adapter; set, what the binding leaves to it"),
)
"""Every OID of an 802.3 miniport, in the order of its number."""

ROW: dict[int, OidRow] = {row.oid: row for row in OIDS}

HEADER_SIZE = 14
LARGEST = 0xFFFFFFFF
MAC_COPY_LOOKAHEAD_DATA = 0x1
MAC_RECEIVE_SERIALIZED = 0x2
MAC_TRANSFERS_NOT_PEND = 0x4
MAC_NO_LOOPBACK = 0x8
# not RECEIVE_SERIALIZED: a looped frame is shown on the thread that sent it, perhaps in the middle of another indication
MAC_OPTIONS = MAC_COPY_LOOKAHEAD_DATA | MAC_TRANSFERS_NOT_PEND | MAC_NO_LOOPBACK


class NicValues(NamedTuple):
    """What an adapter does not know of itself: its speed in bit/s, and how many group addresses its bindings may list together."""

    link_speed: int = 10_000_000_000
    maximum_list_size: int = 32


VIRTUAL_NIC: NicValues = NicValues()
COUNTED_BY: dict[Oid, tuple[str, ...]] = {
    Oid.GEN_XMIT_OK: ("tx_frames",),
    Oid.GEN_RCV_OK: ("rx_delivered",),
    Oid.GEN_XMIT_ERROR: TX_DROPS,
    Oid.GEN_RCV_ERROR: ("rx_dropped_runt", "rx_dropped_truncated"),
    Oid.GEN_RCV_NO_BUFFER: ("rx_dropped_no_packet",),
    Oid.GEN_TRANSMIT_QUEUE_LENGTH: ("tx_pending",),
}
"""The counters of the adapter whose sum answers a statistic."""

# nothing collides, and nothing carries a checksum, on a cable of memory; RCV_OVERRUN is missing because there it could happen
ALWAYS_ZERO = {
    row.oid for row in OIDS if row.oid.name.startswith(("IEEE_802_3_XMIT_", "IEEE_802_3_RCV_ERROR_")) or row.oid == Oid.GEN_RCV_CRC_ERROR
} | {Oid.IEEE_802_3_MAC_OPTIONS, Oid.GEN_MEDIA_SUPPORTED, Oid.GEN_MEDIA_IN_USE}


def largest_lookahead(adapter: Adapter) -> int:
    """Most bytes after the header that one indication shows: whole frames, also where packets have no slots for them."""
    return adapter.pool.slot_size or slot_size_for(adapter.mtu)


NUMBERS: dict[Oid, Callable[[Adapter, NicValues], int]] = {
    Oid.GEN_HARDWARE_STATUS: lambda adapter, _: 3 if adapter.halted else 4 if adapter.fd < 0 else 0,
    Oid.GEN_MAXIMUM_LOOKAHEAD: lambda adapter, _: largest_lookahead(adapter),
    Oid.GEN_MAXIMUM_FRAME_SIZE: lambda adapter, _: adapter.mtu,
    Oid.GEN_LINK_SPEED: lambda _, values: values.link_speed // 100,
    Oid.GEN_TRANSMIT_BUFFER_SPACE: lambda adapter, _: adapter.pool.capacity * largest_lookahead(adapter),
    Oid.GEN_RECEIVE_BUFFER_SPACE: lambda adapter, _: adapter.pool.capacity * largest_lookahead(adapter),
    Oid.GEN_TRANSMIT_BLOCK_SIZE: lambda adapter, _: largest_lookahead(adapter),
    Oid.GEN_RECEIVE_BLOCK_SIZE: lambda adapter, _: largest_lookahead(adapter),
    Oid.GEN_VENDOR_ID: lambda *_: 0xFFFFFF,
    Oid.GEN_DRIVER_VERSION: lambda *_: 0x0501,
    Oid.GEN_MAXIMUM_TOTAL_SIZE: lambda adapter, _: adapter.mtu + HEADER_SIZE,
    Oid.GEN_MAC_OPTIONS: lambda *_: MAC_OPTIONS,
    Oid.GEN_MEDIA_CONNECT_STATUS: lambda adapter, _: int(not adapter.link_up),
    Oid.GEN_MAXIMUM_SEND_PACKETS: lambda *_: 1,
    Oid.GEN_VENDOR_DRIVER_VERSION: lambda *_: int(__version__.split(".")[0]) << 16 | int(__version__.split(".")[1]),
    Oid.IEEE_802_3_MAXIMUM_LIST_SIZE: lambda _, values: values.maximum_list_size,
}
TEXTS: dict[Oid, Callable[[Adapter], bytes]] = {
    Oid.GEN_SUPPORTED_LIST: lambda adapter: b"".join(oid.to_bytes(4, "little") for oid in supported_by(adapter)),
    Oid.GEN_VENDOR_DESCRIPTION: lambda _: b"vnic virtual Ethernet adapter\0",
    Oid.IEEE_802_3_PERMANENT_ADDRESS: lambda adapter: adapter.address,
    Oid.IEEE_802_3_CURRENT_ADDRESS: lambda adapter: adapter.address,
}
ANSWERED = COUNTED_BY.keys() | ALWAYS_ZERO | NUMBERS.keys() | TEXTS.keys()
SUPPORTED: tuple[Oid, ...] = tuple(
    row.oid for row in OIDS if (row.by == "ndis" and row.oid != Oid.TCP_TASK_OFFLOAD) or row.oid in ANSWERED
)
"""What every virtual NIC answers, the library's own part included."""


def supported_by(adapter: Adapter) -> tuple[Oid, ...]:
    """What this one answers: one that has offload can be asked about that, too."""
    return (*SUPPORTED, Oid.TCP_TASK_OFFLOAD) if adapter.offload else SUPPORTED


def answer_query(adapter: Adapter, oid: int, values: NicValues = VIRTUAL_NIC) -> bytes | None:
    """
    Say what is true of a virtual 802.3 NIC now.

    A number too large for its bytes is told as the largest that fits.

    Returns:
        The whole value, 8 bytes for a counter of 4 or 8; None if such a NIC does not answer this OID, or the library does it itself.
    """
    row = ROW.get(oid)
    if row is None:
        return None
    if row.oid in TEXTS:
        return TEXTS[row.oid](adapter)
    if row.oid in COUNTED_BY:
        counters = adapter.counters()
        return sum(counters[name] for name in COUNTED_BY[row.oid]).to_bytes(8, "little")
    if row.oid in ALWAYS_ZERO:
        return bytes(8 if row.size == "4/8" else 4)
    if row.oid in NUMBERS:
        return min(NUMBERS[row.oid](adapter, values), LARGEST).to_bytes(2 if row.size == "2" else 4, "little")
    return None


def fill(oid: int, answer: bytes, buffer: bytearray | memoryview) -> tuple[Status, int, int]:
    """
    Write an answer into a requester's buffer, if it fits; of a counter of 8 bytes, the low 4 if no more fit.

    Returns:
        SUCCESS or INVALID_LENGTH, the bytes written, and the bytes that are needed, if there were too few (else 0).

    NDIS: OID-07, OID-10.
    """
    needed = len(answer)
    if len(buffer) >= needed:
        buffer[:needed] = answer
        return Status.SUCCESS, needed, 0
    if oid in ROW and ROW[oid].size == "4/8" and len(buffer) >= 4:
        buffer[:4] = answer[:4]
        return Status.SUCCESS, 4, needed
    return Status.INVALID_LENGTH, 0, needed
