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
    NOT_ACCEPTED = 0x00010003
    MEDIA_CONNECT = 0x4001000B
    MEDIA_DISCONNECT = 0x4001000C
    FAILURE = 0xC0000001
    RESOURCES = 0xC000009A
    CLOSING = 0xC0010002
    REQUEST_ABORTED = 0xC001000C
    INVALID_PACKET = 0xC001000F
    ADAPTER_REMOVED = 0xC0010018
    NO_CABLE = 0xC001001F


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
