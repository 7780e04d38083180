"""
The life of a packet: every legal change of state, in one table.

    FREE --allocate--> OWNED --indicate--> INDICATED --reclaim--> OWNED --free--> FREE      received, a driver may keep it
                       OWNED --lend------> LENT -----reclaim--> OWNED                       received, copy now
                       OWNED --send------> SENDING --complete-> OWNED                       sent
                       OWNED --transfer--> TRANSFERRING --transferred-> OWNED               being filled with the rest of a frame
                       OWNED --quarantine-> QUARANTINED --release-> FREE                    freed while a view of it lives

Anything else is a broken rule; `BROKEN` says which one. OWNED always means: by the driver that allocated the packet.

At the end stands the life of a virtual connection, as a table of the same kind.

Next: `vnic/core.py`, which walks the first table, and `vnic/vc.py`, which walks the second.
"""

from __future__ import annotations

from enum import IntEnum

from vnic.status import Status
from vnic.verifier import rules


class PacketState(IntEnum):
    """Where a packet is."""

    FREE = 0
    OWNED = 1
    INDICATED = 2
    LENT = 3
    SENDING = 4
    QUARANTINED = 5
    TRANSFERRING = 6


class Event(IntEnum):
    """What can happen to a packet."""

    ALLOCATE = 0
    FREE = 1
    QUARANTINE = 2
    RELEASE = 3
    INDICATE = 4
    LEND = 5
    RECLAIM = 6
    SEND = 7
    COMPLETE = 8
    TRANSFER = 9
    TRANSFERRED = 10


S, E = PacketState, Event

LEGAL: dict[tuple[PacketState, Event], PacketState] = {
    (S.FREE, E.ALLOCATE): S.OWNED,
    (S.OWNED, E.FREE): S.FREE,
    (S.OWNED, E.QUARANTINE): S.QUARANTINED,
    (S.QUARANTINED, E.RELEASE): S.FREE,
    (S.OWNED, E.INDICATE): S.INDICATED,
    (S.INDICATED, E.RECLAIM): S.OWNED,
    (S.OWNED, E.LEND): S.LENT,
    (S.LENT, E.RECLAIM): S.OWNED,
    (S.OWNED, E.SEND): S.SENDING,
    (S.SENDING, E.COMPLETE): S.OWNED,
    (S.OWNED, E.TRANSFER): S.TRANSFERRING,
    (S.TRANSFERRING, E.TRANSFERRED): S.OWNED,
}

BELOW = (S.FREE, S.QUARANTINED, S.SENDING, S.TRANSFERRING)
BROKEN: dict[tuple[PacketState, Event], rules.Rule] = {
    (S.FREE, E.FREE): rules.DOUBLE_FREE,
    (S.QUARANTINED, E.FREE): rules.DOUBLE_FREE,
    (S.INDICATED, E.FREE): rules.FREE_WHILE_INDICATED,
    (S.LENT, E.FREE): rules.FREE_WHILE_INDICATED,
    (S.SENDING, E.FREE): rules.PENDING_TOUCHED,
    (S.TRANSFERRING, E.FREE): rules.PENDING_TOUCHED,
    **{(state, event): rules.INDICATED_IN_USE for event in (E.INDICATE, E.LEND) for state in S if state is not S.OWNED},
    **{(state, event): rules.SENT_WHILE_BELOW for event in (E.SEND, E.TRANSFER) for state in BELOW},
    **{(state, event): rules.RECEIVED_SENT for event in (E.SEND, E.TRANSFER) for state in (S.INDICATED, S.LENT)},
    **{(state, E.COMPLETE): rules.COMPLETED_TWICE for state in S if state is not S.SENDING},
    **{(state, E.TRANSFERRED): rules.COMPLETED_TWICE for state in S if state is not S.TRANSFERRING},
}
"""The rule that a driver breaks by asking for a change that is not legal. Events that only the library makes are not here."""


class VcState(IntEnum):
    """Where a virtual connection is."""

    DELETED = 0
    CREATED = 1
    ACTIVATING = 2
    ACTIVE = 3
    CHANGING = 4
    DEACTIVATING = 5


class VcEvent(IntEnum):
    """What can happen to a virtual connection. The first four are asked for by its client."""

    CREATE = 0
    ACTIVATE = 1
    DEACTIVATE = 2
    DELETE = 3
    ACTIVATED = 4
    REFUSED = 5
    DEACTIVATED = 6


V, W = VcState, VcEvent

VC_LEGAL: dict[tuple[VcState, VcEvent], VcState] = {
    (V.DELETED, W.CREATE): V.CREATED,
    (V.CREATED, W.ACTIVATE): V.ACTIVATING,
    (V.ACTIVATING, W.ACTIVATED): V.ACTIVE,
    (V.ACTIVATING, W.REFUSED): V.CREATED,
    (V.ACTIVE, W.ACTIVATE): V.CHANGING,
    (V.CHANGING, W.ACTIVATED): V.ACTIVE,
    (V.CHANGING, W.REFUSED): V.ACTIVE,
    (V.ACTIVE, W.DEACTIVATE): V.DEACTIVATING,
    (V.DEACTIVATING, W.DEACTIVATED): V.CREATED,
    (V.CREATED, W.DELETE): V.DELETED,
}
"""The life of a virtual connection. Frames flow while it is ACTIVE, or CHANGING its parameters; CO-01, CO-02."""

VC_REFUSED: dict[tuple[VcState, VcEvent], Status] = {
    **{(state, W.CREATE): Status.NOT_ACCEPTED for state in V if state is not V.DELETED},
    **{(state, W.ACTIVATE): Status.NOT_ACCEPTED for state in (V.ACTIVATING, V.CHANGING, V.DEACTIVATING)},
    **{(state, W.DEACTIVATE): Status.VC_NOT_ACTIVATED for state in (V.CREATED, V.ACTIVATING, V.DEACTIVATING)},
    (V.CHANGING, W.DEACTIVATE): Status.NOT_ACCEPTED,
    **{(state, W.DELETE): Status.NOT_ACCEPTED for state in V if state not in (V.DELETED, V.CREATED)},
    **{(V.DELETED, event): Status.VC_NOT_AVAILABLE for event in (W.ACTIVATE, W.DEACTIVATE, W.DELETE)},
}
"""What a client is answered that asks for a change that is not legal."""
