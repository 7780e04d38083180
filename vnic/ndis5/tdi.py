"""
The upper edge of a transport: clients return what they keep.

Next: `requests.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from vnic import tdi
from vnic.ndis5.checks import array, up_to_dispatch
from vnic.ndis5.constants import NDIS_PACKET
from vnic.status import Status

TDI_SUCCESS = Status.SUCCESS
TDI_PENDING = Status.PENDING
TDI_NOT_ACCEPTED = Status.NOT_ACCEPTED


@up_to_dispatch
def TdiReturnChainedReceives(TsduDescriptors: Sequence[NDIS_PACKET], NumberOfTsdus: int) -> None:
    """
    It names no client: see `vnic.tdi.return_chained_receives` for which transport is charged.

    A descriptor is the packet itself. Where clients of several transports keep one, `client.return_chained` is exact.
    """
    tdi.return_chained_receives(array(TsduDescriptors, NumberOfTsdus))
