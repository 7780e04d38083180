"""
A device's settings, out of the mapping that it was added with.

Next: `lifecycle.py`, `NdisMSetAttributesEx`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnic.ndis5.checks import at_passive
from vnic.ndis5.constants import NDIS_STATUS_FAILURE, NDIS_STATUS_SUCCESS
from vnic.status import Status

NdisParameterInteger = 0
NdisParameterHexInteger = 1
NdisParameterString = 2
NdisParameterMultiString = 3
NdisParameterBinary = 4
_TYPES: tuple[type | tuple[type, ...], ...] = (int, int, str, (list, tuple), bytes)


@at_passive
def NdisOpenConfiguration(WrapperConfigurationContext: Mapping[str, Any]) -> tuple[Status, Mapping[str, Any]]:
    return NDIS_STATUS_SUCCESS, WrapperConfigurationContext


@at_passive
def NdisReadConfiguration(ConfigurationHandle: Mapping[str, Any], Keyword: str, ParameterType: int) -> tuple[Status, Any]:
    """ParameterValue is the value itself. FAILURE: there is none, or it is of another type."""
    value = ConfigurationHandle.get(Keyword)
    return (NDIS_STATUS_SUCCESS, value) if isinstance(value, _TYPES[ParameterType]) else (NDIS_STATUS_FAILURE, None)


@at_passive
def NdisReadNetworkAddress(ConfigurationHandle: Mapping[str, Any]) -> tuple[Status, bytes | None, int]:
    """The setting NetworkAddress, which is bytes."""
    status, address = NdisReadConfiguration(ConfigurationHandle, "NetworkAddress", NdisParameterBinary)
    return status, address, len(address or b"")


@at_passive
def NdisCloseConfiguration(ConfigurationHandle: Mapping[str, Any]) -> None:
    """There is nothing to close."""
