"""
A refusal where no adapter is at hand: of a pool, a buffer, a lock. The culprit is the driver whose handler runs on this thread.

Next: `vnic/ledger.py`, which refuses where an adapter is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vnic.context import OPEN, here
from vnic.status import OwnershipError
from vnic.steps import step
from vnic.text import escape
from vnic.verifier.levels import LEVELS
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from vnic.core import Packet
    from vnic.guard import Change
    from vnic.verifier.rules import Rule


def refused(rule: Rule, owner: str, detail: str, packet: Packet | None = None) -> OwnershipError:
    """
    Count and record a broken rule; the caller raises what this answers, or goes on.

    Args:
        rule: the rule.
        owner: whose fault it is if no driver's handler runs: the pool's name, or "the caller".
        detail: what happened.
        packet: the packet that it is about.

    Returns:
        The exception for the culprit.
    """
    context = here()
    binding = context.binding
    if binding is not None:
        return binding.broke(rule, detail, packet)
    return _write(rule, "the miniport" if context.of_miniport else owner, detail, packet, None)


def told_with(rule: Rule, owner: str, detail: str, more: dict[str, Any]) -> OwnershipError:
    """Count and record a broken rule that concerns no packet, with further keys for the record; as `refused` does."""
    context = here()
    binding = context.binding
    if binding is not None:
        return binding.broke(rule, detail, None, more)
    return _write(rule, "the miniport" if context.of_miniport else owner, detail, None, more)


def told_later(rule: Rule, culprit: str, detail: str, packet: Packet, change: Change) -> OwnershipError:
    """
    Count and record what a driver did earlier, and was found now, perhaps inside of another one's handler.

    Args:
        rule: the rule.
        culprit: who had the packet then: the name of a binding, or of a pool.
        detail: what was found.
        packet: the packet.
        change: what has changed of it.
    """
    more: dict[str, Any] = {"diff": change.told()}
    if packet.last is not None:
        # the last line that is known to have had the packet
        more["where"] = escape(packet.last.where)
    for binding in OPEN:
        if binding is not None and binding.name == culprit:
            return binding.broke(rule, detail, packet, more)
    return _write(rule, culprit, detail, packet, more)


def _write(rule: Rule, culprit: str, detail: str, packet: Packet | None, more: dict[str, Any] | None) -> OwnershipError:
    # a packet's module refuses, too, and so is not there yet when this one is read
    from vnic.facts import history_of

    error = OwnershipError(rule, culprit, detail, "" if packet is None else history_of(packet))
    error.reported = True
    told = LEVELS.process if packet is None else packet.pool.verifier_level
    if told:
        record = RECORDS.write(error, where=lambda: step("violation", culprit).where, packet=packet, more=more)
        if record is not None and RECORDS.listener is not None:
            RECORDS.listener(record)
    return error
