"""
Intermediate drivers: both edges and their virtual NICs, and what is copied between the packets of two levels.

`DriverHandle` is the wrapper handle that was registered, and `MiniportInitialize` gets no settings: a driver has them in its context.

Next: `vnic/layered.py`, and `vnic/virtual.py`, the same in objects.
"""

from __future__ import annotations

from typing import Any

from vnic import oob, pnp
from vnic.binder import Protocol
from vnic.core import Adapter
from vnic.device import Wrapper
from vnic.ndis5.checks import at_passive, up_to_dispatch
from vnic.ndis5.constants import NDIS_PACKET
from vnic.ndis5.lifecycle import NDIS_MINIPORT_CHARACTERISTICS
from vnic.pnp import PnpEvent
from vnic.registration import registry
from vnic.status import Status


@at_passive
def NdisIMRegisterLayeredMiniport(
    NdisWrapperHandle: Wrapper, MiniportCharacteristics: NDIS_MINIPORT_CHARACTERISTICS, CharacteristicsLength: int
) -> tuple[Status, Wrapper | None]:
    status = NdisWrapperHandle.register(MiniportCharacteristics, CharacteristicsLength, layered=True)
    return status, NdisWrapperHandle if status is Status.SUCCESS else None


@at_passive
def NdisIMDeregisterLayeredMiniport(DriverHandle: Wrapper) -> None:
    """What it has left initialised is removed."""
    registry.layers.deregister(DriverHandle)


@at_passive
def NdisIMAssociateMiniport(DriverHandle: Wrapper, ProtocolHandle: Protocol) -> None:
    """Virtual NICs that were asked for before are initialised now: `NdisRegisterProtocol` binds what there is at once."""
    registry.layers.associate(DriverHandle, ProtocolHandle)


@at_passive
def NdisIMInitializeDeviceInstanceEx(DriverHandle: Wrapper, DriverInstance: str, DeviceContext: Any) -> Status:
    """MiniportInitialize comes before this returns; or later, or never, with `vnic.registration.registry.layers.at_once = False`."""
    return registry.layers.ask(DriverHandle, DriverInstance, DeviceContext)


@at_passive
def NdisIMCancelInitializeDeviceInstance(DriverHandle: Wrapper, DeviceInstance: str) -> Status:
    return registry.layers.cancel(DriverHandle, DeviceInstance)


@at_passive
def NdisIMDeInitializeDeviceInstance(NdisMiniportHandle: Adapter) -> Status:
    """PENDING: a driver above waits for its packets; MiniportHalt follows when it has closed."""
    return registry.layers.end(NdisMiniportHandle)


def NdisIMGetDeviceContext(MiniportAdapterHandle: Adapter) -> Any:
    return registry.layers.context(MiniportAdapterHandle)


@at_passive
def NdisIMNotifyPnPEvent(MiniportHandle: Adapter, NetPnPEvent: PnpEvent) -> Status:
    return pnp.pass_up(NetPnPEvent, MiniportHandle)


@up_to_dispatch
def NdisIMGetCurrentPacketStack(Packet: NDIS_PACKET) -> tuple[None, bool]:
    """StacksRemaining is False, always: a packet goes through one adapter, and is wrapped for the next (IM-12)."""
    return None, False


@up_to_dispatch
def NdisIMCopySendPerPacketInfo(DstPacket: NDIS_PACKET, SrcPacket: NDIS_PACKET) -> None:
    oob.copy_send_info(DstPacket, SrcPacket)


@up_to_dispatch
def NdisIMCopySendCompletePerPacketInfo(DstPacket: NDIS_PACKET, SrcPacket: NDIS_PACKET) -> None:
    oob.copy_send_complete_info(DstPacket, SrcPacket)
