"""
From the configuration to the verifier: levels, actions, and whether records may have bytes of frames.

Next: `vnic/verifier/levels.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.verifier.actions import ACTIONS, actions_set, set_action
from vnic.verifier.levels import LEVELS, set_level
from vnic.verifier.records import RECORDS
from vnic.verifier.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miniport.config import VerifierConfig


def set_verifier(config: VerifierConfig) -> None:
    """Follow the configuration; what was set by command before is forgotten."""
    LEVELS.drivers.clear()
    LEVELS.drivers |= config.drivers
    set_level(config.level)
    for rule in actions_set():
        set_action(rule, None)
    for rule, action in config.actions.items():
        set_action(rule, action)
    RECORDS.show_bytes = config.bytes


def verifier_problems(config: VerifierConfig) -> Iterable[tuple[str, str, str]]:
    """Check what types cannot say; yields path, problem and remedy."""
    rules = {rule.id: rule for rule in RULES}
    for rule, action in config.actions.items():
        path = f"$.verifier.actions.{rule}"
        if rule not in rules:
            yield path, "there is no such rule", "give the id of a rule, such as 09"
        elif action not in ACTIONS:
            yield path, f"{action!r} is no action", f"give {', '.join(ACTIONS)}"
        elif action == "raise" and rules[rule].action != "raise":
            yield path, "too late to refuse", f"give {', '.join(list(ACTIONS)[1:])}"

