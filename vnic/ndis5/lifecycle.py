"""
Drivers are registered, devices initialised and halted, bindings opened and closed; status, reset and PnP events.

Handlers stand in a table and follow the convention of the names: what comes out of a C handler is its answer, `Status` first.

    InitializeHandler(MediumArray, MediumArraySize, MiniportAdapterHandle, WrapperConfigurationContext)
        -> Status, OpenErrorStatus, SelectedMediumIndex
    QueryInformationHandler(MiniportAdapterContext, Oid, InformationBuffer, InformationBufferLength)
        -> Status, BytesWritten, BytesNeeded

`WrapperConfigurationContext` is a mapping with the device's settings. `CharacteristicsLength` is `len(Characteristics)`.

Next: `requests.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vnic import binder
from vnic.binder import BindContext, Protocol, UnbindContext
from vnic.characteristics import MiniportCharacteristics, ProtocolCharacteristics
from vnic.core import Adapter, Binding
from vnic.device import Wrapper
from vnic.locks import require_no_locks
from vnic.ndis5.checks import at_passive, details, up_to_dispatch
from vnic.ndis5.constants import NDIS_MINIPORT_INTERRUPT, NDIS_STATUS, NDIS_TIMER
from vnic.registration import registry
from vnic.reset import Attributes
from vnic.status import Status

NDIS_PROTOCOL_CHARACTERISTICS = ProtocolCharacteristics
NDIS_MINIPORT_CHARACTERISTICS = MiniportCharacteristics
NDIS_MINIPORT_TIMER = NDIS_TIMER

NdisMedium802_3 = 0
NdisInterfaceInternal = 0
NdisInterruptLevelSensitive = 0
NdisInterruptLatched = 1

NDIS_ATTRIBUTE_IGNORE_PACKET_TIMEOUT = Attributes.IGNORE_PACKET_TIMEOUT
NDIS_ATTRIBUTE_IGNORE_REQUEST_TIMEOUT = Attributes.IGNORE_REQUEST_TIMEOUT
NDIS_ATTRIBUTE_BUS_MASTER = Attributes.BUS_MASTER
NDIS_ATTRIBUTE_INTERMEDIATE_DRIVER = Attributes.INTERMEDIATE_DRIVER
NDIS_ATTRIBUTE_DESERIALIZE = Attributes.DESERIALIZE
NDIS_ATTRIBUTE_NO_HALT_ON_SUSPEND = Attributes.NO_HALT_ON_SUSPEND
NDIS_ATTRIBUTE_SURPRISE_REMOVE_OK = Attributes.SURPRISE_REMOVE_OK
NDIS_ATTRIBUTE_NOT_CO_NDIS = Attributes.NOT_CO_NDIS
NDIS_ATTRIBUTE_USES_SAFE_BUFFER_APIS = Attributes.USES_SAFE_BUFFER_APIS
NDIS_ATTRIBUTE_MINIPORT_PADS_SHORT_PACKETS = Attributes.MINIPORT_PADS_SHORT_PACKETS

# protocols


@at_passive
def NdisRegisterProtocol(
    ProtocolCharacteristics: NDIS_PROTOCOL_CHARACTERISTICS, CharacteristicsLength: int
) -> tuple[Status, Protocol | None]:
    """ProtocolBindAdapter may be called before this answers: the handle is `BindContext.NdisProtocolHandle` then."""
    return registry.register_protocol(ProtocolCharacteristics, CharacteristicsLength)


@at_passive
def NdisDeregisterProtocol(NdisProtocolHandle: Protocol) -> Status:
    """PENDING: a ProtocolUnbindAdapter of it is; the rest follows its completion."""
    return registry.deregister_protocol(NdisProtocolHandle)


@at_passive
def NdisOpenAdapter(
    MediumArray: Sequence[int],
    MediumArraySize: int,
    NdisProtocolHandle: Protocol,
    ProtocolBindingContext: Any,
    AdapterName: str,
    OpenOptions: int,
    AddressingInformation: Any,
) -> tuple[Status, Status, Binding | None, int]:
    """Never PENDING. OpenErrorStatus says nothing that Status does not."""
    media = MediumArray[:MediumArraySize]
    status, binding = registry.open(NdisProtocolHandle, ProtocolBindingContext, AdapterName, media)
    return status, status, binding, media.index(NdisMedium802_3) if binding is not None else 0


@at_passive
def NdisCloseAdapter(NdisBindingHandle: Binding) -> Status:
    return binder.close(NdisBindingHandle)


@at_passive
def NdisCompleteBindAdapter(BindAdapterContext: BindContext, Status: NDIS_STATUS, OpenStatus: NDIS_STATUS) -> None:
    BindAdapterContext.complete(Status)


@at_passive
def NdisCompleteUnbindAdapter(UnbindAdapterContext: UnbindContext, Status: NDIS_STATUS) -> None:
    UnbindAdapterContext.complete()


@at_passive
def NdisReEnumerateProtocolBindings(NdisProtocolHandle: Protocol) -> None:
    registry.enumerate(NdisProtocolHandle)


@at_passive
def NdisQueryAdapterInstanceName(NdisBindingHandle: Binding) -> tuple[Status, str]:
    return Status.SUCCESS, NdisBindingHandle.adapter.name


# miniport drivers


@at_passive
def NdisMInitializeWrapper(SystemSpecific1: Any, SystemSpecific2: Any, SystemSpecific3: Any) -> Wrapper:
    return Wrapper(SystemSpecific1)


@at_passive
def NdisTerminateWrapper(NdisWrapperHandle: Wrapper, SystemSpecific: Any) -> None:
    NdisWrapperHandle.terminate()


@at_passive
def NdisMRegisterMiniport(
    NdisWrapperHandle: Wrapper, MiniportCharacteristics: NDIS_MINIPORT_CHARACTERISTICS, CharacteristicsLength: int
) -> Status:
    """Its devices come by `vnic.registration.registry.add_device(NdisWrapperHandle, ...)`."""
    return NdisWrapperHandle.register(MiniportCharacteristics, CharacteristicsLength)


@at_passive
def NdisMRegisterUnloadHandler(NdisWrapperHandle: Wrapper, UnloadHandler: Callable[[Any], object]) -> None:
    NdisWrapperHandle.unload = UnloadHandler


# devices


@at_passive
def NdisMSetAttributes(MiniportAdapterHandle: Adapter, MiniportAdapterContext: Any, BusMaster: bool, AdapterType: int) -> None:
    flags = NDIS_ATTRIBUTE_BUS_MASTER if BusMaster else Attributes.NONE
    registry.device(MiniportAdapterHandle).set_attributes(MiniportAdapterContext, 0, flags)


@at_passive
def NdisMSetAttributesEx(
    MiniportAdapterHandle: Adapter, MiniportAdapterContext: Any, CheckForHangTimeInSeconds: int, AttributeFlags: int, AdapterType: int
) -> None:
    registry.device(MiniportAdapterHandle).set_attributes(MiniportAdapterContext, CheckForHangTimeInSeconds, AttributeFlags)


@at_passive
def NdisMRegisterAdapterShutdownHandler(MiniportHandle: Adapter, ShutdownContext: Any, ShutdownHandler: Callable[[Any], object]) -> None:
    registry.device(MiniportHandle).shutdown = ShutdownHandler, ShutdownContext


@at_passive
def NdisMDeregisterAdapterShutdownHandler(MiniportHandle: Adapter) -> None:
    registry.device(MiniportHandle).shutdown = None


@at_passive
def NdisMRemoveMiniport(MiniportHandle: Adapter) -> Status:
    """The device goes later, as any device that goes: bindings first, MiniportHalt last."""
    return registry.lose_device(MiniportHandle)


@at_passive
def NdisMRegisterInterrupt(
    MiniportAdapterHandle: Adapter,
    InterruptVector: int,
    InterruptLevel: int,
    RequestIsr: bool,
    SharedInterrupt: bool,
    InterruptMode: int,
) -> tuple[Status, NDIS_MINIPORT_INTERRUPT | None]:
    """Vector, level and mode say nothing here: whoever polls for the device calls `Interrupt.fire()`, then `run_deferred()`."""
    return registry.device(MiniportAdapterHandle).register_interrupt(request_isr=RequestIsr, shared=SharedInterrupt)


def NdisMInitializeTimer(
    MiniportAdapterHandle: Adapter, TimerFunction: Callable[[Any, Any, Any, Any], object], FunctionContext: Any
) -> NDIS_MINIPORT_TIMER:
    """The function is called as that of `NdisInitializeTimer`."""
    return registry.device(MiniportAdapterHandle).timer(TimerFunction, FunctionContext)


def NdisMSetTimer(Timer: NDIS_MINIPORT_TIMER, MillisecondsToDelay: int) -> None:
    Timer.set(MillisecondsToDelay)


def NdisMSetPeriodicTimer(Timer: NDIS_MINIPORT_TIMER, MillisecondPeriod: int) -> None:
    Timer.set_periodic(MillisecondPeriod)


def NdisMCancelTimer(Timer: NDIS_MINIPORT_TIMER) -> bool:
    return Timer.cancel()


# status, reset, events


@up_to_dispatch
def NdisMIndicateStatus(
    MiniportAdapterHandle: Adapter, GeneralStatus: NDIS_STATUS, StatusBuffer: bytes | bytearray | memoryview | None, StatusBufferSize: int
) -> None:
    require_no_locks("NdisMIndicateStatus")
    MiniportAdapterHandle.indicate_status(GeneralStatus, details(StatusBuffer, StatusBufferSize))


@up_to_dispatch
def NdisMIndicateStatusComplete(MiniportAdapterHandle: Adapter) -> None:
    require_no_locks("NdisMIndicateStatusComplete")
    MiniportAdapterHandle.indicate_status_complete()


@up_to_dispatch
def NdisReset(NdisBindingHandle: Binding) -> Status:
    return NdisBindingHandle.reset()


@up_to_dispatch
def NdisMResetComplete(MiniportAdapterHandle: Adapter, Status: NDIS_STATUS, AddressingReset: bool) -> None:
    require_no_locks("NdisMResetComplete")
    MiniportAdapterHandle.reset_complete(Status, AddressingReset)


@at_passive
def NdisCompletePnPEvent(Status: NDIS_STATUS, NdisBindingHandle: Binding, NetPnPEvent: Any) -> None:
    NdisBindingHandle.complete_pnp_event(NetPnPEvent, Status)


@up_to_dispatch
def NdisQueryPendingIOCount(NdisBindingHandle: Binding) -> tuple[Status, int]:
    return Status.SUCCESS, NdisBindingHandle.pending_io
