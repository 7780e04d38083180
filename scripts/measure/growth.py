"""
What grows, and what must not: the cost of a frame with more bindings and with a larger pool, and memory with a million frames.

Next: `live.py`, with a sender that does not wait.
"""

from __future__ import annotations

import ctypes
import gc
import sys

from contest import Found, Setting, contest
from readers import Counter, Keeper, Reader
from taps import Tap

BINDINGS = (1, 2, 4, 8, 16, 32, 64)
POOLS = (64, 1024, 8192, 65_535)
MILLION = 1_000_000


def bindings(setting: Setting) -> list[Found]:
    """
    One Python driver, and up to 64 of them.

    Returns:
        The ratio is that of a further binding's cost between 1 and 8 to that between 8 and 64: 1 is a straight line.
    """
    tap = Tap(64, setting.warm, clock=setting.clock)
    readers = {str(count): Reader(tap.fd, [Counter() for _ in range(count)], clock=setting.clock) for count in BINDINGS}
    found = contest(
        tap,
        tap.drain,
        {name: reader.drain for name, reader in readers.items()},
        rounds=setting.rounds,
        frames=max(setting.warm, setting.frames),
        burst=setting.warm,
        tolerance=setting.tolerance,
    )
    for reader in readers.values():
        reader.close()
    tap.close()
    first = found["1"]
    answer = Found("bindings 1 to 64", rounds=first.rounds, discarded=first.discarded, noise=first.noise, why=first.why)
    cost = {int(name): figure.us for name, figure in found.items() if figure.us is not None}
    if len(cost) < len(BINDINGS):
        answer.why = next(figure.why for figure in found.values() if not figure.judged)
        return [answer]
    few, many = (cost[8] - cost[1]) / 7, (cost[64] - cost[8]) / 56
    answer.judged, answer.ratio, answer.us, answer.reference_us = True, round(few / many, 3), round(many, 3), first.reference_us
    answer.more = {"us": {str(count): us for count, us in cost.items()}}
    return [answer]


def pools(setting: Setting) -> list[Found]:
    """Pools of more and more packets, against the smallest."""
    tap = Tap(64, setting.warm, clock=setting.clock)
    readers = {
        str(packets): Reader(tap.fd, [Counter(), Counter()], packets=packets, low_water=0, clock=setting.clock) for packets in POOLS
    }
    reference = readers.pop(str(POOLS[0]))
    found = contest(
        tap,
        reference.drain,
        {name: reader.drain for name, reader in readers.items()},
        rounds=setting.rounds,
        frames=max(setting.warm, setting.frames // 2),
        burst=setting.warm,
        tolerance=setting.tolerance,
    )
    for reader in (reference, *readers.values()):
        reader.close()
    tap.close()
    answer = found[str(POOLS[-1])]
    answer.name = "pool 64 to 65,535"
    answer.more = {"ratio": {name: figure.ratio for name, figure in found.items()}}
    return [answer]


class _Heap(ctypes.Structure):
    """What glibc's mallinfo2() answers."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


# once: to open it makes a class, which is garbage of some KiB when it is closed
LIBC = ctypes.CDLL(None)
LIBC.mallinfo2.restype = _Heap


def in_use() -> int:
    """Bytes that the C library has given out; Python's small objects live in blocks that it has mapped itself."""
    heap = LIBC.mallinfo2()
    return int(heap.uordblks + heap.hblkhd)


def memory(setting: Setting) -> list[Found]:
    """A million frames, one driver of two keeps and returns each."""
    tap = Tap(64, setting.warm, clock=setting.clock)
    reader = Reader(tap.fd, [Counter(), Keeper()], clock=setting.clock)
    frames = min(MILLION, 50 * setting.frames)

    def take(count: int) -> None:
        while count > 0:
            count -= tap.fill(min(count, setting.warm))
            reader.drain(setting.warm)

    take(50 * setting.warm)
    gc.collect()
    in_use()
    bytes_before, blocks_before = in_use(), sys.getallocatedblocks()
    take(frames // setting.warm * setting.warm)
    gc.collect()
    blocks_after, bytes_after = sys.getallocatedblocks(), in_use()
    reader.close()
    tap.close()
    more = {"frames": frames, "bytes": bytes_after - bytes_before, "python_blocks": blocks_after - blocks_before}
    return [Found("memory per million frames", judged=True, rounds=1, more=more)]
