"""
What is known of a packet, for whoever reports or inspects; nothing changes hands here, and no state is touched.

Next: `vnic/guard.py`, what changed that should not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.packet import BINDING_NAMES, MAX_BINDINGS, Packet

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython


def history_of(packet: Packet) -> str:
    """Tell what is known of a packet, for a violation: state, references, and who promised and returned how often."""
    holders = [
        f"{BINDING_NAMES[slot]} returned {packet._owed[slot].returned} of {packet._owed[slot].promised}"
        for slot in range(MAX_BINDINGS)
        if packet._owed[slot].promised and BINDING_NAMES[slot]
    ]
    return f"{packet.state.name}, references {packet.references}, views {packet.views}" + "".join(f", {line}" for line in holders)


def facts_of(packet: Packet) -> dict[str, object]:
    """The numbers of a packet, as a record has them."""
    return {
        "index": packet.index,
        "generation": packet.generation,
        "state": packet.state.name,
        "refs": packet.references,
        "views": packet.views,
        "len": packet._length,
    }


def holders_of(packet: Packet) -> list[tuple[str, int]]:
    """Who owes returns of a packet, and how many, by slot."""
    slot: cython.int
    found = []
    if packet.state.name != "INDICATED":
        return found
    for slot in range(MAX_BINDINGS):
        owed = packet._owed[slot].promised - packet._owed[slot].returned
        if owed > 0 and BINDING_NAMES[slot] is not None:
            found.append((BINDING_NAMES[slot], owed))
    return found


def first_bytes_of(packet: Packet, count: int) -> bytes:
    """The first bytes of a frame, by copy; none of a packet that is back in its pool, and none of one that is being changed."""
    count = min(count, packet._length)
    if packet.state.name in ("FREE", "QUARANTINED") or count <= 0 or (packet._chain is not None and packet.state.name == "OWNED"):
        return b""
    if packet._scattered:
        packet._gather()
    return bytes([packet._shared[position] for position in range(count)])
