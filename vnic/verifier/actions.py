"""
What follows from a broken rule: the rule's own action, or another one that was set while everything runs.

Class A0 is refused whatever stands here: state is never left half changed.

Next: `vnic/verifier/records.py`, what is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.verifier.rules import RULES

if TYPE_CHECKING:
    from vnic.verifier.rules import Rule

ACTIONS: dict[str, str] = {
    "raise": "refuse the operation with an exception, and record it",
    "record": "record it, and go on",
    "count": "count it, and go on",
    "quarantine": "record it, and keep the packet from reuse until nobody refers to it",
    "unbind": "record it, and unbind the driver",
    "stop": "record it, and stop the process",
}
"""What can follow."""

_set: dict[str, str] = {}


def action_of(rule: Rule) -> str:
    """What follows when this rule is broken."""
    return _set.get(rule.id, rule.action)


def set_action(rule_id: str, action: str | None) -> None:
    """
    Change what follows when a rule is broken.

    Args:
        rule_id: the rule, by its id or its name.
        action: one of `ACTIONS`; None: the rule's own again.

    Raises:
        LookupError: there is no such rule.
        ValueError: there is no such action, or the rule is not refused where it is found, and so cannot be raised.
    """
    found = [rule for rule in RULES if rule_id in (rule.id, rule.name)]
    if not found:
        raise LookupError(f"there is no rule {rule_id}")
    if action is None:
        _set.pop(found[0].id, None)
        return
    if action not in ACTIONS:
        raise ValueError(f"action {action}: one of {', '.join(ACTIONS)}")
    if action == "raise" and found[0].action != "raise":
        raise ValueError(f"rule {found[0].id} is told of when it is too late to refuse: {', '.join(list(ACTIONS)[1:])}")
    _set[found[0].id] = action


def actions_set() -> dict[str, str]:
    """The rules whose action is not their own, by id."""
    return dict(_set)
