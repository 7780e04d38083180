"""
The way up: packets are shown, and come back.

Next: `send.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from vnic import core
from vnic.core import Adapter
from vnic.locks import require_no_locks
from vnic.ndis5.checks import array, up_to_dispatch
from vnic.ndis5.constants import NDIS_PACKET


@up_to_dispatch
def NdisMIndicateReceivePacket(MiniportAdapterHandle: Adapter, ReceivePackets: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    require_no_locks("NdisMIndicateReceivePacket")
    MiniportAdapterHandle.indicate(array(ReceivePackets, NumberOfPackets))


@up_to_dispatch
def NdisReturnPackets(PacketsToReturn: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    """
    It names no binding: see `vnic.core.return_packets` for whose return it is.

    Where several bindings keep one packet, and each must answer for itself, `binding.return_packets` is exact.
    """
    core.return_packets(array(PacketsToReturn, NumberOfPackets))
