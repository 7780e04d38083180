"""
NDIS for Linux user space: what a driver's author imports.

    from vnic import Packet, ProtocolDriver

Next: `vnic/driver.py`, the two driver contracts on one page.
"""

from vnic._version import __version__
from vnic.core import (
    COMPILED,
    DONT_LOOPBACK,
    LOOPBACK,
    LOOPBACK_ONLY,
    MAX_BINDINGS,
    PROTOCOL_RESERVED_SIZE_IN_PACKET,
    Adapter,
    Batch,
    Binding,
    Buffer,
    BufferPool,
    Packet,
    PacketPool,
    Replies,
    TypedDriver,
    copy_packet,
    slot_size_for,
)
from vnic.driver import MiniportDriver, ProtocolDriver
from vnic.filters import PacketFilter
from vnic.offload import ChecksumRequest, ChecksumResult, Offload
from vnic.oob import Info, OobData
from vnic.states import PacketState
from vnic.status import ContractViolation, OwnershipError, Status, VnicError

__all__ = [
    "COMPILED",
    "DONT_LOOPBACK",
    "LOOPBACK",
    "LOOPBACK_ONLY",
    "MAX_BINDINGS",
    "PROTOCOL_RESERVED_SIZE_IN_PACKET",
    "Adapter",
    "Batch",
    "Binding",
    "Buffer",
    "BufferPool",
    "ChecksumRequest",
    "ChecksumResult",
    "ContractViolation",
    "Info",
    "MiniportDriver",
    "Offload",
    "OobData",
    "OwnershipError",
    "Packet",
    "PacketFilter",
    "PacketPool",
    "PacketState",
    "ProtocolDriver",
    "Replies",
    "Status",
    "TypedDriver",
    "VnicError",
    "__version__",
    "copy_packet",
    "slot_size_for",
]
