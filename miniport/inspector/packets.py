"""
Views of one packet, and of what changed hands: `packet`, `log`.

Next: `miniport/inspector/decode.py`, the headers in words.
"""

from __future__ import annotations

import heapq
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from miniport.errors import Exit, Failure
from miniport.inspector.decode import decode_frame
from miniport.inspector.parameters import chosen
from miniport.inspector.places import kept_at
from miniport.log import escape, shown
from vnic import DONT_LOOPBACK, LOOPBACK, LOOPBACK_ONLY, PacketState
from vnic.status import VnicError

if TYPE_CHECKING:
    from miniport.inspector.subject import Subject
    from vnic import Packet, PacketPool
    from vnic.steps import Step

EVENTS = 200
MOST_EVENTS = 10_000
FLAGS = {DONT_LOOPBACK: "dont loopback", LOOPBACK: "loopback", LOOPBACK_ONLY: "loopback only"}


def packet(subject: Subject, *, number: str, pool: str | None = None, hex: bool = False, decode: bool = False) -> dict[str, Any]:  # noqa: A002
    """
    All about one packet: its state, who holds it, its steps; its bytes only if they are asked for.

    Args:
        subject: what is looked at.
        number: its index in the pool, or index.generation.
        pool: the pool's name; the interface's by default.
        hex: give the bytes.
        decode: give the headers in words.

    Raises:
        Failure: there is no such packet or pool, or the bytes are not for who asks.
    """
    found, generation = find(subject, number, pool)
    now = time.monotonic_ns()
    if (hex or decode) and not subject.bytes_allowed:
        raise Failure(Exit.PERMISSION, "the bytes of frames are not shown to you", "ask as the daemon's user, or as root")
    told: dict[str, Any] = {
        "name": subject.name,
        "pool": found.pool.name,
        "packet": found.index,
        "generation": found.generation,
        "same": generation in (None, found.generation),
        "state": found.state.name.lower(),
        "references": found.references,
        "views": found.views,
        "bytes": found.length,
        "flags": [name for bit, name in FLAGS.items() if found.flags & bit],
        "status": found.status.name,
        "received_s_ago": round((time.time_ns() - found.time_received) / 1e9, 3) if found.time_received else None,
        "holders": [
            {"driver": binding.name, "owed": owed, "kept_at": kept_at(binding, found)}
            for binding in subject.stack.bindings
            if (owed := binding.owed(found))
        ],
        "steps": [step_of(step, found, now) for step in steps_of(found)],
        "level": found.pool.verifier_level,
    }
    if hex or decode:
        frame = bytes_of(found)
        told["bytes_hex"] = frame.hex() if hex else None
        told["headers"] = decode_frame(frame) if decode else None
        told["time_received_ns"] = found.time_received
    return told


def log(subject: Subject, *, packet: int | None = None, driver: str | None = None, force: bool = False) -> dict[str, Any]:
    """
    The last changes of hands that packets remember, the newest last.

    Args:
        subject: what is looked at.
        packet: only of this packet of the interface's pool.
        driver: only by this driver, or pool's owner.
        force: the last 10,000, not the last 200.

    Raises:
        Failure: there is no such packet or driver.
    """
    if driver is not None:
        chosen("driver", driver, subject.bindings())
    packets = (
        [find(subject, str(packet), None)[0]] if packet is not None else [one for pool, _, _ in subject.pools() for one in pool.packets()]
    )
    found = [(int(step.ns), step, one) for one in packets for step in steps_of(one) if driver in (None, step.by)]
    now = time.monotonic_ns()
    # the lines of code are looked up for what is shown only
    kept = heapq.nlargest(MOST_EVENTS if force else EVENTS, found, key=lambda event: event[0])
    return {
        "name": subject.name,
        "asked_as": subject.asked_as,
        "level": subject.stack.adapter.verifier_level,
        "events": [step_of(step, one, now) for _, step, one in reversed(kept)],
        "left_out": len(found) - len(kept),
    }


def find(subject: Subject, number: str, pool: str | None) -> tuple[Packet, int | None]:
    """
    Find a packet by its index, or index.generation.

    Raises:
        Failure: there is none.
    """
    parts = re.fullmatch(r"(\d{1,9})(?:\.(\d{1,18}))?", number)
    if parts is None:
        raise Failure(Exit.USAGE, f"{shown(number)} is no packet", "give its number in the pool, or number.generation")
    pools: dict[str, PacketPool] = {found.name: found for found, _, _ in subject.pools()}
    home = subject.stack.adapter.pool if pool is None else chosen("pool", pool, pools)
    packets = {one.index: one for one in home.packets()}
    if (index := int(parts[1])) not in packets:
        raise Failure(Exit.USAGE, f"pool {escape(home.name)} has no packet {index}", f"it has {len(packets)}, from 0 on")
    return packets[index], int(parts[2]) if parts[2] else None


def steps_of(packet: Packet) -> list[Step]:
    """What a packet remembers, in the order of time, each step once."""
    known = {(step.ns, step.what): step for step in (packet.made, packet.shown, packet.last, *packet.history) if step is not None}
    return sorted(known.values(), key=lambda step: int(step.ns))


def step_of(step: Step, packet: Packet, now: int) -> dict[str, Any]:
    """One step, so long before now."""
    return {
        "pool": packet.pool.name,
        "packet": packet.index,
        "generation": packet.generation,
        "what": step.what,
        "by": step.by,
        "where": step.where,
        "age_s": round((now - step.ns) / 1e9, 6),
        "thread": step.thread,
        "stack": list(step.stack or ()),
    }


def bytes_of(packet: Packet) -> bytes:
    """
    Copy the frame of a packet that is out.

    Raises:
        Failure: it is in its pool, where it has no frame.
    """
    # looked at first, because to ask for the data of a free packet is rule 07, and would be written down
    if packet.state not in (PacketState.FREE, PacketState.QUARANTINED):
        with suppress(VnicError):
            return bytes(packet.data)
    what = f"packet {packet.index} is {packet.state.name.lower()}: it has no frame"
    raise Failure(Exit.USAGE, what, "ask for one that vnic pending names")
