"""
Status codes and the errors that name a rule.

A full pool, a full queue, a missing cable are values (`None`, a `Status`): they are normal. A broken rule of the packet
contract raises a `ContractViolation`, which names the rule, whose fault it is, and what happened to the packet before.

Next: `vnic/states.py`, the life of a packet.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vnic.verifier.rules import Rule


class Status(IntEnum):
    """
    The NDIS status codes that this library uses, with their real values.

    NDIS: NDIS_STATUS_*. RESOURCES has a meaning by position: an empty pool (allocation), "copy now, I keep it" (a received
    packet), "failed for lack of room" (a send).
    """

    SUCCESS = 0x00000000
    PENDING = 0x00000103
    NOT_RECOGNIZED = 0x00010001
    NOT_COPIED = 0x00010002
    NOT_ACCEPTED = 0x00010003
    RESET_START = 0x40010004
    RESET_END = 0x40010005
    CLOSED = 0x40010007
    MEDIA_CONNECT = 0x4001000B
    MEDIA_DISCONNECT = 0x4001000C
    LINK_SPEED_CHANGE = 0x40010013
    NOT_RESETTABLE = 0x80010001
    SOFT_ERRORS = 0x80010003
    HARD_ERRORS = 0x80010004
    FAILURE = 0xC0000001
    RESOURCES = 0xC000009A
    NOT_SUPPORTED = 0xC00000BB
    CLOSING = 0xC0010002
    BAD_VERSION = 0xC0010004
    BAD_CHARACTERISTICS = 0xC0010005
    ADAPTER_NOT_FOUND = 0xC0010006
    OPEN_FAILED = 0xC0010007
    DEVICE_FAILED = 0xC0010008
    MULTICAST_FULL = 0xC0010009
    MULTICAST_EXISTS = 0xC001000A
    MULTICAST_NOT_FOUND = 0xC001000B
    REQUEST_ABORTED = 0xC001000C
    RESET_IN_PROGRESS = 0xC001000D
    CLOSING_INDICATING = 0xC001000E
    INVALID_PACKET = 0xC001000F
    OPEN_LIST_FULL = 0xC0010010
    ADAPTER_NOT_READY = 0xC0010011
    ADAPTER_NOT_OPEN = 0xC0010012
    NOT_INDICATING = 0xC0010013
    INVALID_LENGTH = 0xC0010014
    INVALID_DATA = 0xC0010015
    BUFFER_TOO_SHORT = 0xC0010016
    INVALID_OID = 0xC0010017
    ADAPTER_REMOVED = 0xC0010018
    UNSUPPORTED_MEDIA = 0xC0010019
    RESOURCE_CONFLICT = 0xC001001E
    NO_CABLE = 0xC001001F
    INVALID_SAP = 0xC0010020
    SAP_IN_USE = 0xC0010021
    INVALID_ADDRESS = 0xC0010022
    VC_NOT_ACTIVATED = 0xC0010023
    VC_NOT_AVAILABLE = 0xC0010025


class VnicError(Exception):
    """Base of every error that this library raises on purpose."""


class ContractViolation(VnicError):
    """
    A rule of the packet contract was broken; the operation was refused and no state was changed.

    Attributes:
        rule: the rule, from `vnic.verifier.rules`.
        driver: name of the culprit: a binding, or the pool's owner.
        history: what is known of the packet: pool, index, generation, state, references, holders.
        reported: whether an adapter has already counted and reported it.
    """

    def __init__(self, rule: Rule, driver: str, detail: str, history: str = "") -> None:
        self.rule = rule
        self.driver = driver
        self.detail = detail
        self.history = history
        self.reported = False
        super().__init__(f"rule {rule.id} {rule.name} broken by {driver}: {detail}{f' [{history}]' if history else ''}; {rule.remedy}")


class OwnershipError(ContractViolation):
    """A packet was used by somebody who does not own it at that moment."""
