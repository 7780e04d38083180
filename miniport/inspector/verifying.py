"""
Views of the verifier, and what can be changed of it: `violations`, `violation`, `verify show|set|rule|inject|audit`.

Next: `vnic/verifier/records.py`, what is written down when a rule is broken.
"""

from __future__ import annotations

import time
from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING, Any

from miniport.errors import Exit, Failure
from miniport.inspector.parameters import chosen, near, whole
from miniport.log import escape, shown
from vnic.verifier.actions import ACTIONS, action_of, actions_set, set_action
from vnic.verifier.audit import audit
from vnic.verifier.faults import FAULTS, MODES
from vnic.verifier.levels import level_table, set_level
from vnic.verifier.records import RECORDS
from vnic.verifier.rules import RULES, Rule

if TYPE_CHECKING:
    from miniport.inspector.subject import Subject

MOST = 200
LEVELS = (
    "safety only: what is refused is refused, nobody is told of it",
    "holder and time of each packet; broken rules are written down",
    "and timed scans, locks, interrupt levels, watchdogs",
    "and the last 16 steps of each packet, poison, signatures",
    "and stacks; faults may be provoked",
)
"""What each level adds to the one before."""


def violations(subject: Subject, *, rule: str | None = None, since: float | None = None) -> dict[str, Any]:
    """
    The rules that were broken, a line for each record, the newest last.

    Args:
        subject: what is looked at.
        rule: only this one, by id or name.
        since: only of the last so many seconds.

    Raises:
        Failure: there is no rule of that name.
    """
    wanted = rule_of(rule).id if rule is not None else None
    after = time.time() - since if since is not None else 0.0
    records = [dict(record) for record in RECORDS.all()]
    found = [record for record in records if wanted in (None, record.get("id")) and record.get("t_wall", 0.0) >= after]
    return {
        "name": subject.name,
        "as_of": time.time(),
        "counted": sum(values["violations"] for values in subject.counters.values()),
        "suppressed": RECORDS.suppressed,
        "kept": len(records),
        "records": found[-MOST:],
        "left_out": max(0, len(found) - MOST),
        "level": subject.stack.adapter.verifier_level,
    }


def violation(subject: Subject, *, seq: str) -> dict[str, Any]:
    """
    One record, whole.

    Raises:
        Failure: there is no record of that number.
    """
    record = RECORDS.find(whole("violation", seq))
    if record is None:
        raise near("violation", seq, [str(kept.get("seq")) for kept in RECORDS.all()])
    return {"name": subject.name, "record": dict(record)}


def verify_show(subject: Subject) -> dict[str, Any]:
    """The levels, what happens for each rule, and which faults are provoked."""
    return {
        "name": subject.name,
        "levels": level_table(),
        "meaning": list(LEVELS),
        "adapters": {adapter.name: adapter.verifier_level for adapter in subject.stack.adapters},
        "bindings": {name: binding.verifier_level for name, binding in subject.bindings().items()},
        "pools": {pool.name: pool.verifier_level for pool, _, _ in subject.pools()},
        "actions": actions_set(),
        "rules": [
            {"id": rule.id, "rule": rule.name, "class": rule.cls, "action": action_of(rule), "catches": rule.catches} for rule in RULES
        ],
        "faults": FAULTS.show(),
        "modes": [
            {"mode": one.name, "does": one.help, "settings": [knob.name for knob in one.knobs], "absent": one.absent} for one in MODES
        ],
    }


def verify_set(subject: Subject, *, level: str, driver: str | None = None, pool: str | None = None) -> dict[str, Any]:
    """
    Set the level of the process, of a driver, or of a pool.

    Raises:
        Failure: there is no such level, driver or pool.
    """
    number = whole("level", level)
    if number >= len(LEVELS):
        raise Failure(Exit.USAGE, f"there is no level {number}", f"give 0 to {len(LEVELS) - 1}: {'; '.join(LEVELS)}")
    if driver is not None:
        chosen("driver", driver, subject.bindings())
    if pool is not None:
        chosen("pool", pool, {found.name: found for found, _, _ in subject.pools()})
    set_level(number, driver=driver, pool=pool)
    whose = f"driver {driver}" if driver is not None else f"pool {pool}" if pool is not None else "everything"
    return {"name": subject.name, "changed": f"level {number} for {escape(whose)}: {LEVELS[number]}"}


def verify_rule(subject: Subject, *, rule: str, action: str) -> dict[str, Any]:
    """
    Choose what happens when a rule is broken.

    Raises:
        Failure: there is no such rule or action.
    """
    found = rule_of(rule)
    if action not in ACTIONS:
        raise near("action", action, ACTIONS)
    try:
        set_action(found.id, action)
    except ValueError as error:
        raise Failure(Exit.USAGE, f"rule {found.id}", escape(str(error))) from None
    return {"name": subject.name, "changed": f"rule {found.id} {found.name}: {action}"}


def verify_inject(subject: Subject, *, mode: str, settings: dict[str, Any] | None = None, off: bool = False) -> dict[str, Any]:
    """
    Start a fault mode, or end it.

    Raises:
        Failure: there is no such mode, a setting does not fit, or the level is too low.
    """
    if mode not in (names := [one.name for one in MODES]):
        raise near("fault mode", mode, names)
    try:
        if off:
            FAULTS.stop(mode)
        else:
            FAULTS.start(mode, **{key: number_of(value) for key, value in (settings or {}).items()})
    except ValueError as error:
        raise Failure(Exit.USAGE, f"fault mode {mode}", escape(str(error))) from None
    changed = f"fault mode {mode} {'ended' if off else 'started'}"
    if not off and not any(binding.verifier_level == len(LEVELS) - 1 for binding in subject.stack.bindings):
        changed += f"; it strikes at level {len(LEVELS) - 1} only: vnic verify set {escape(subject.asked_as)} {len(LEVELS) - 1}"
    return {"name": subject.name, "changed": changed, "faults": FAULTS.show()}


def verify_audit(subject: Subject) -> dict[str, Any]:
    """Walk through everything; to be called between two batches, or packets that are being shown look wrong."""
    wrong = [line for adapter in subject.stack.adapters for line in audit(adapter)]
    packets = sum(len(pool.packets()) for pool, _, _ in subject.pools())
    return {"name": subject.name, "answers": subject.answers, "packets": packets, "wrong": wrong}


def rule_of(text: str) -> Rule:
    """
    Find a rule by its id or name.

    Raises:
        Failure: there is none.
    """
    for rule in RULES:
        if text in (rule.id, rule.name) or text.lstrip("0") == rule.id.lstrip("0"):
            return rule
    raise near("rule", text, [name for rule in RULES for name in (rule.id, rule.name)])


def number_of(value: Any) -> Any:
    """
    Text that is a number, as one.

    Raises:
        ValueError: it is infinite, or no number at all.
    """
    number = value
    for kind in (float, int) if isinstance(value, str) else ():
        with suppress(ValueError):
            number = kind(value)
    if isinstance(number, float) and not isfinite(number):
        raise ValueError(f"{shown(value)} is no number that ends")
    return number
