"""
Requests by OID.
"""

from __future__ import annotations

from vnic.core import Binding
from vnic.ndis5.checks import up_to_dispatch
from vnic.ndis5.constants import NDIS_REQUEST
from vnic.status import Status


@up_to_dispatch
def NdisRequest(NdisBindingHandle: Binding, NdisRequest: NDIS_REQUEST) -> Status:
    return NdisBindingHandle.request(NdisRequest)
