"""
Requests by OID.

Next: `oids.py`, their names.
"""

from __future__ import annotations

from vnic.core import Adapter, Binding
from vnic.locks import require_no_locks
from vnic.ndis5.checks import up_to_dispatch
from vnic.ndis5.constants import NDIS_REQUEST, NDIS_STATUS
from vnic.request import RequestKind
from vnic.status import Status

NdisRequestQueryInformation = RequestKind.QUERY
NdisRequestSetInformation = RequestKind.SET
NdisRequestQueryStatistics = RequestKind.STATISTICS


@up_to_dispatch
def NdisRequest(NdisBindingHandle: Binding, NdisRequest: NDIS_REQUEST) -> Status:
    return NdisBindingHandle.request(NdisRequest)


@up_to_dispatch
def NdisMQueryInformationComplete(MiniportAdapterHandle: Adapter, Status: NDIS_STATUS, BytesWritten: int, BytesNeeded: int) -> None:
    """In C the counts are written through the handler's pointers before this call; here they go in with it."""
    require_no_locks("NdisMQueryInformationComplete")
    MiniportAdapterHandle.requests.query_complete(Status, BytesWritten, BytesNeeded)


@up_to_dispatch
def NdisMSetInformationComplete(MiniportAdapterHandle: Adapter, Status: NDIS_STATUS, BytesRead: int, BytesNeeded: int) -> None:
    """The counts go in with it, as in `NdisMQueryInformationComplete`."""
    require_no_locks("NdisMSetInformationComplete")
    MiniportAdapterHandle.requests.set_complete(Status, BytesRead, BytesNeeded)
