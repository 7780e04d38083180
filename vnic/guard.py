"""
What is watched from verifier level 3 on: poison in free slots, and a copy of each packet that is lent, to compare it with.

A copy and a comparison of a whole slot cost less than a signature of it, and tell which bytes have changed, from what, to what.

Next: `vnic/ledger.py`, which asks, and names the culprit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.buffer import Buffer
from vnic.packet import Packet

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if cython.compiled:
    from cython.cimports.libc.string import memcmp, memcpy, memset

POISON = 0x6B
"""What is in the slot of a free packet."""
RED_ZONE = 16
RED = 0xA5
MOST_RUNS = 8
LONGEST_RUN = 16


class Change:
    """
    What has changed of a packet since it was lent.

    Attributes:
        kind: "bytes" of the frame, bytes "behind" it, its "chain", or what is "beside" it: out-of-band data and per-packet information.
        runs: the first stretches that differ: offset, bytes before, bytes now.
    """

    __slots__ = ("kind", "runs")

    def __init__(self, kind: str, runs: list[tuple[int, bytes, bytes]]) -> None:
        self.kind = kind
        self.runs = runs

    def told(self) -> list[dict[str, object]]:
        """The stretches, as a record has them."""
        return [{"off": offset, "old": old.hex(), "new": new.hex()} for offset, old, new in self.runs]


def poison(packet: Packet) -> None:
    """Fill the slot of a packet that is being freed."""
    size: cython.Py_ssize_t = packet._slot_size
    if size == 0:
        return
    if cython.compiled:
        memset(packet._bytes, POISON, size)
    else:
        packet._bytes[:] = bytes([POISON]) * size
    packet._poisoned = True


def spoiled(packet: Packet) -> object:
    """What somebody wrote into the slot of a free packet: a `Change`, or None. To be asked before anybody may write there again."""
    size: cython.Py_ssize_t = packet._slot_size
    position: cython.Py_ssize_t
    if not packet._poisoned:
        return None
    packet._poisoned = False
    if cython.compiled:
        # the first byte is poison, and each is like the one before
        if packet._bytes[0] == POISON and memcmp(packet._bytes, packet._bytes + 1, size - 1) == 0:
            return None
        now = bytes([packet._bytes[position] for position in range(size)])
    else:
        now = bytes(packet._bytes)
        if now == bytes([POISON]) * size:
            return None
    return Change("bytes", differences(bytes([POISON]) * size, now))


def keep(packet: Packet) -> None:
    """Remember a packet that is being lent: its bytes, and what is beside them."""
    size: cython.Py_ssize_t = packet._slot_size
    packet._kept_chain = None
    packet._kept_beside = beside(packet) if packet._oob is not None or packet._info is not None else None
    if packet._in_large():
        packet._open_chain()
    if packet._chain is not None:
        packet._kept_chain = gathered(packet)
    elif size and packet._shadowed:
        if cython.compiled:
            memcpy(packet._shadow, packet._bytes, size)
        else:
            packet._shadow[:] = packet._bytes
    else:
        return
    packet._ordinary = False
    packet._kept = True


def changed(packet: Packet) -> object:
    """
    Compare a packet with what was remembered: a `Change`, or None.

    What is found is remembered anew, so that it is told of once.
    """
    size: cython.Py_ssize_t = packet._slot_size
    position: cython.Py_ssize_t
    if not packet._kept:
        return None
    if packet._oob is not None or packet._info is not None or packet._kept_beside is not None:
        now = beside(packet)
        was = packet._kept_beside
        if was is not None and was != now:
            packet._kept_beside = now
            return Change("beside", [])
        packet._kept_beside = now
    if packet._kept_chain is not None:
        return changed_chain(packet)
    # a chain that somebody has opened since only shows the slot in another way
    if not size:
        return None
    if cython.compiled:
        if memcmp(packet._shadow, packet._bytes, size) == 0:
            return None
        old = bytes([packet._shadow[position] for position in range(size)])
        new = bytes([packet._bytes[position] for position in range(size)])
        memcpy(packet._shadow, packet._bytes, size)
    else:
        old, new = bytes(packet._shadow), bytes(packet._bytes)
        if old == new:
            return None
        packet._shadow[:] = new
    runs = differences(old, new)
    return Change("bytes" if runs[0][0] < packet._length else "behind", runs)


def changed_chain(packet: Packet) -> object:
    """The same for a packet whose frame is in buffers."""
    old, new = packet._kept_chain, gathered(packet)
    if old == new:
        return None
    packet._kept_chain = new
    return Change("chain" if len(old) != len(new) else "bytes", differences(old, new))


def gathered(packet: Packet) -> bytes:
    """The bytes of a chain as they are now; nothing if it has been taken apart."""
    one: Buffer
    if packet._chain is None:
        return b""
    return b"".join([bytes(one._inner()) for one in packet._chain.used()])


def beside(packet: Packet) -> tuple[object, ...]:
    """What travels with the bytes, to be compared: identities, for a driver's own objects may compare as they like."""
    oob = packet._oob
    info = None if packet._info is None else tuple([id(item) for item in packet._info])
    times = None if oob is None else (oob.time, oob.time_received, oob.header_size, id(oob.media_specific))
    return (times, info)


def differences(old: bytes, new: bytes) -> list[tuple[int, bytes, bytes]]:
    """The stretches in which two blocks of bytes differ: the first eight, sixteen bytes of each."""
    runs: list[tuple[int, bytes, bytes]] = []
    position, end = 0, max(len(old), len(new))
    while position < end and len(runs) < MOST_RUNS:
        if old[position : position + 1] == new[position : position + 1]:
            position += 1
            continue
        start = position
        while position < end and position - start < LONGEST_RUN and old[position : position + 1] != new[position : position + 1]:
            position += 1
        runs.append((start, old[start:position], new[start:position]))
    return runs


def overrun(reserved: bytearray | None, size: int) -> object:
    """Whether bytes behind a reserved area have changed, which is made with a red zone from level 3 on: a `Change`, or None."""
    if reserved is None or len(reserved) != size + RED_ZONE or reserved[size:] == bytes([RED]) * RED_ZONE:
        return None
    found = Change("behind", differences(bytes([RED]) * RED_ZONE, bytes(reserved[size:])))
    reserved[size:] = bytes([RED]) * RED_ZONE
    return found
