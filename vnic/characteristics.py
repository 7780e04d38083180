"""
The two tables of handlers that a driver registers with, under their C names, and what each version of NDIS asks of them.

Next: `vnic/registered.py`, what is done with a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from vnic.status import Status

Handler = Callable[..., Any] | None
Version = tuple[int, int]


@dataclass
class _Characteristics:
    """
    What both tables begin with. `len` counts the members: it stands for the C size of the structure.
    """

    MajorNdisVersion: int = 0
    MinorNdisVersion: int = 0

    def __len__(self) -> int:
        return len(fields(self))


@dataclass
class ProtocolCharacteristics(_Characteristics):
    """
    The handlers of a protocol. Parameters that go in come as in C, those that come out are the answer, `Status` first.

    NDIS: NDIS_PROTOCOL_CHARACTERISTICS.
    """

    Name: str = ""
    OpenAdapterCompleteHandler: Handler = None
    CloseAdapterCompleteHandler: Handler = None
    SendCompleteHandler: Handler = None
    TransferDataCompleteHandler: Handler = None
    ResetCompleteHandler: Handler = None
    RequestCompleteHandler: Handler = None
    ReceiveHandler: Handler = None
    ReceiveCompleteHandler: Handler = None
    StatusHandler: Handler = None
    StatusCompleteHandler: Handler = None
    ReceivePacketHandler: Handler = None
    BindAdapterHandler: Handler = None
    UnbindAdapterHandler: Handler = None
    PnPEventHandler: Handler = None
    UnloadHandler: Handler = None


@dataclass
class MiniportCharacteristics(_Characteristics):
    """
    The handlers of a miniport driver. NDIS never calls ReconfigureHandler, and AllocateCompleteHandler only for memory of a bus.

    NDIS: NDIS_MINIPORT_CHARACTERISTICS.
    """

    CheckForHangHandler: Handler = None
    DisableInterruptHandler: Handler = None
    EnableInterruptHandler: Handler = None
    HaltHandler: Handler = None
    HandleInterruptHandler: Handler = None
    InitializeHandler: Handler = None
    ISRHandler: Handler = None
    QueryInformationHandler: Handler = None
    ReconfigureHandler: Handler = None
    ResetHandler: Handler = None
    SendHandler: Handler = None
    SetInformationHandler: Handler = None
    TransferDataHandler: Handler = None
    ReturnPacketHandler: Handler = None
    SendPacketsHandler: Handler = None
    AllocateCompleteHandler: Handler = None
    CancelSendPacketsHandler: Handler = None
    PnPEventNotifyHandler: Handler = None
    AdapterShutdownHandler: Handler = None


class Added(NamedTuple):
    """
    What a version adds to the one before.

    Attributes:
        version: major, minor.
        needed: members that must be there; of several in one place, one.
        members: members that may be there and could not before; in the lowest version, all but those that later ones add.
    """

    version: Version
    needed: tuple[tuple[str, ...], ...] = ()
    members: tuple[str, ...] = ()


PROTOCOL: tuple[Added, ...] = (
    Added(
        (4, 0),
        needed=(
            ("OpenAdapterCompleteHandler",),
            ("CloseAdapterCompleteHandler",),
            ("ResetCompleteHandler",),
            ("RequestCompleteHandler",),
            ("ReceiveHandler",),
            ("ReceiveCompleteHandler",),
            ("StatusHandler",),
            ("StatusCompleteHandler",),
            ("BindAdapterHandler",),
            ("UnbindAdapterHandler",),
        ),
    ),
    Added((5, 0)),
    Added((5, 1)),
)
"""NDIS: LC-23. ReceiveHandler is needed beside ReceivePacketHandler too: it takes what may not be kept."""

MINIPORT: tuple[Added, ...] = (
    Added(
        (3, 0),
        needed=(
            ("InitializeHandler",),
            ("HaltHandler",),
            ("ResetHandler",),
            ("QueryInformationHandler",),
            ("SetInformationHandler",),
            ("SendHandler", "SendPacketsHandler"),
            ("TransferDataHandler", "ReturnPacketHandler"),
        ),
    ),
    Added((4, 0), members=("ReturnPacketHandler", "SendPacketsHandler", "AllocateCompleteHandler")),
    Added((5, 0)),
    Added(
        (5, 1),
        needed=(("PnPEventNotifyHandler",), ("AdapterShutdownHandler",)),
        members=("CancelSendPacketsHandler", "PnPEventNotifyHandler", "AdapterShutdownHandler"),
    ),
)
"""NDIS: LC-01 to LC-03, but for the handlers of connection-oriented drivers."""

LAYERED_NEEDED = ("SendPacketsHandler", "ReturnPacketHandler")
LAYERED_EMPTY = ("ISRHandler", "HandleInterruptHandler", "DisableInterruptHandler", "EnableInterruptHandler")
"""NDIS: IM-01 and IM-02, for the upper edge of an intermediate driver: it has no interrupt, and takes and gives back packets."""


def check_layered(characteristics: MiniportCharacteristics, length: int) -> Status:
    """As `check`; BAD_CHARACTERISTICS too if an intermediate driver must not have what is there, or must have what is not."""
    status = check(characteristics, length)
    if not all(_has(characteristics, name) for name in LAYERED_NEEDED) or any(_has(characteristics, name) for name in LAYERED_EMPTY):
        return Status.BAD_CHARACTERISTICS if status is Status.SUCCESS else status
    return status


def check(characteristics: ProtocolCharacteristics | MiniportCharacteristics, length: int) -> Status:
    """
    Compare a table with what its version asks for.

    Args:
        characteristics: the table.
        length: how many members of it count, from the front.

    Returns:
        SUCCESS; BAD_VERSION: there is none of that number; BAD_CHARACTERISTICS: the table is too short for its version, a handler
        is missing, or one is there that the version does not know.
    """
    versions = PROTOCOL if isinstance(characteristics, ProtocolCharacteristics) else MINIPORT
    version = (characteristics.MajorNdisVersion, characteristics.MinorNdisVersion)
    if version not in [row.version for row in versions]:
        return Status.BAD_VERSION
    unknown = [member for row in versions if row.version > version for member in row.members]
    needed = [names for row in versions if row.version <= version for names in row.needed]
    missing = [names for names in needed if not any(_has(characteristics, name) for name in names)]
    if missing or length < len(characteristics) - len(unknown) or any(_has(characteristics, name) for name in unknown):
        return Status.BAD_CHARACTERISTICS
    return Status.SUCCESS


def _has(characteristics: object, member: str) -> bool:
    return callable(getattr(characteristics, member))
