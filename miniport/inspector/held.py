"""
Views of the packets that are out: `pending`, `leaks`.

Next: `miniport/inspector/packets.py`, one packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniport.inspector.parameters import chosen
from miniport.inspector.places import Out, held, sending, withheld

if TYPE_CHECKING:
    from miniport.inspector.subject import Subject

TOP = 20
MOST = 1024
TOO_LONG_S = 5.0
MAX_GROUPS = 16
EXAMPLES = 5


def pending(subject: Subject, *, older_than: float = 0.0, top: int = TOP, driver: str | None = None) -> dict[str, Any]:
    """
    What is out: counts first, then by holder, then packet by packet, the oldest first.

    Args:
        subject: what is looked at.
        older_than: leave out what is held for less, in seconds.
        top: so many packets at most.
        driver: only what this one holds or sends.

    Raises:
        Failure: there is no driver of that name.
    """
    if driver is not None:
        chosen("driver", driver, subject.bindings())
    census = [pool.audit() for pool, _, _ in subject.pools()]
    everything = sorted(held(subject) + sending(subject), key=lambda out: -(out.age_s or 0.0))
    listed = [out for out in everything if (out.age_s or 0.0) >= older_than and driver in (None, out.driver)]
    by: dict[str, dict[str, Any]] = {}
    for out in listed:
        row = by.setdefault(out.by, {"by": out.by, "packets": 0, "owed": 0, "oldest_s": out.age_s})
        row["packets"] += 1
        row["owed"] += out.owed
    shown = listed[: min(top, MOST)]
    return {
        "name": subject.name,
        "pools": len(census),
        "free": sum(states[next(iter(states))] for states in census),
        "pending": len(everything),
        "total": sum(sum(states.values()) for states in census),
        "matching": len(listed),
        "by": sorted(by.values(), key=lambda row: -row["packets"]),
        "packets": [row_of(out) for out in shown],
        "more": len(listed) - len(shown),
    }


def leaks(subject: Subject, *, older_than: float = TOO_LONG_S) -> dict[str, Any]:
    """What is held too long, held by a binding that is going, or withheld because views of it live; grouped by line of code."""
    lost = [(out, why) for out in held(subject) if (why := reason(out, older_than))]
    lost += [(out, "a view of it lives") for out in withheld(subject)]
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for out, why in lost:
        key = (out.kept_at, out.driver, why)
        group = groups.setdefault(
            key, {"where": out.kept_at, "driver": out.driver, "why": why, "packets": 0, "oldest_s": out.age_s, "examples": []}
        )
        group["packets"] += 1
        if len(group["examples"]) < EXAMPLES:
            group["examples"].append(f"{out.packet.pool.name}[{out.packet.index}].{out.packet.generation}")
    ordered = sorted(groups.values(), key=lambda group: -group["packets"])
    skipped = ordered[MAX_GROUPS:]
    return {
        "name": subject.name,
        "older_than_s": older_than,
        "total": len(lost),
        "groups": ordered[:MAX_GROUPS],
        "skipped": {"groups": len(skipped), "packets": sum(group["packets"] for group in skipped)},
    }


def reason(out: Out, older_than: float) -> str:
    """Why a packet that is held counts as lost; empty if it does not."""
    if out.gone:
        return "its binding is going"
    return "held too long" if (out.age_s or 0.0) >= older_than else ""


def row_of(out: Out) -> dict[str, Any]:
    """One packet that is out."""
    packet = out.packet
    made = packet.made
    return {
        "pool": packet.pool.name,
        "packet": packet.index,
        "generation": packet.generation,
        "state": packet.state.name.lower(),
        "by": out.by,
        "driver": out.driver,
        "owed": out.owed,
        "age_s": out.age_s,
        "kept_at": out.kept_at,
        "made_at": made.where if made is not None else "",
        "bytes": packet.length,
    }
