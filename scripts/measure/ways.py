"""
Ways to use packets again and again, and ways to take them from a pool, for `packets.py` to time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from vnic import Buffer, BufferPool, Packet, PacketPool
from vnic.locks import SpinLock

Use = Callable[[Packet], object]
Way = Callable[[int], object]

PACKETS = 64
STEP = 64
"""Packets under one hold of a lock."""


class Kit:
    """What a driver sends with. Counting, it notes every allocation, and is slower."""

    def __init__(self, size: int) -> None:
        self.pool = PacketPool(PACKETS, 0, name="own")
        self.buffers = BufferPool(PACKETS)
        self.size = size
        self.allocated = Counter[str]()
        self.take_packet: Callable[[], Any] = self.pool.allocate
        self.take_buffer: Callable[[bytearray], Any] = self.buffers.allocate
        self.take_memory: Callable[[int], bytearray] = bytearray

    def count(self) -> None:
        """Count from now on."""
        for name in ("packet", "buffer", "memory"):
            setattr(self, f"take_{name}", partial(self._counted, name, getattr(self, f"take_{name}")))

    def _counted(self, name: str, take: Callable[..., object], *arguments: object) -> object:
        self.allocated[name] += 1
        return take(*arguments)

    def chained(self) -> tuple[Packet, Buffer]:
        """A packet with one buffer."""
        packet, buffer = self.take_packet(), self.take_buffer(self.take_memory(self.size))
        packet.chain_back(buffer)
        return packet, buffer


# ways to use a packet again and again


def free_everything(kit: Kit, use: Use, count: int) -> None:
    """Memory, buffer and packet are allocated for each use, and freed after it."""
    for _ in range(count):
        packet, buffer = kit.take_packet(), kit.take_buffer(kit.take_memory(kit.size))
        packet.chain_back(buffer)
        use(packet)
        kit.buffers.free(packet.unchain_front())
        kit.pool.free(packet)


def keep_memory(kit: Kit, use: Use, count: int) -> None:
    """The memory is kept; the two descriptors are freed."""
    memory = kit.take_memory(kit.size)
    for _ in range(count):
        packet, buffer = kit.take_packet(), kit.take_buffer(memory)
        packet.chain_back(buffer)
        use(packet)
        kit.buffers.free(packet.unchain_front())
        kit.pool.free(packet)


def keep_buffer(kit: Kit, use: Use, count: int) -> None:
    """The buffer and its memory are kept; the packet is freed."""
    buffer = kit.take_buffer(kit.take_memory(kit.size))
    for _ in range(count):
        packet = kit.take_packet()
        packet.chain_back(buffer)
        use(packet)
        packet.unchain_front()
        kit.pool.free(packet)
    kit.buffers.free(buffer)


def reinitialize(kit: Kit, use: Use, count: int) -> None:
    """Everything is kept: the buffer is unchained, the packet reinitialised, the buffer chained again."""
    packet, buffer = kit.chained()
    for _ in range(count):
        use(packet)
        packet.unchain_front()
        packet.reinitialize()
        packet.chain_back(buffer)
    keep_nothing(kit, packet)


def leave_chained(kit: Kit, use: Use, count: int) -> None:
    """Everything is kept, and the buffer stays where it is."""
    packet, _ = kit.chained()
    for _ in range(count):
        use(packet)
    keep_nothing(kit, packet)


def keep_nothing(kit: Kit, packet: Packet) -> None:
    buffer = packet.unchain_front()
    assert buffer is not None
    kit.buffers.free(buffer)
    kit.pool.free(packet)


WAYS = {
    "free and allocate everything": free_everything,
    "keep the memory": keep_memory,
    "keep buffer and memory": keep_buffer,
    "keep all, reinitialise": reinitialize,
    "keep all, leave it chained": leave_chained,
}


def bare_free(pool: PacketPool, count: int) -> None:
    """A descriptor without buffers, freed and allocated."""
    packet: Any = pool.allocate()
    for _ in range(count):
        pool.free(packet)
        packet = pool.allocate()
    pool.free(packet)


def bare_reinitialize(pool: PacketPool, count: int) -> None:
    """A descriptor without buffers, reinitialised."""
    packet: Any = pool.allocate()
    for _ in range(count):
        packet.reinitialize()
    pool.free(packet)


def slot_free(pool: PacketPool, use: Use, frame: bytes, count: int) -> None:
    """A packet with a slot, allocated and written for each use, and freed after it."""
    for _ in range(count):
        packet: Any = pool.allocate()
        packet.write(frame)
        use(packet)
        pool.free(packet)


def slot_keep(pool: PacketPool, use: Use, frame: bytes, count: int) -> None:
    """A packet with a slot, written for each use."""
    packet: Any = pool.allocate()
    for _ in range(count):
        packet.write(frame)
        use(packet)
    pool.free(packet)


# with a lock, and without


def pairs(take: Callable[[], Any], give: Callable[[Packet], object], count: int) -> None:
    for _ in range(count):
        give(take())


def locked_pairs(lock: SpinLock, take: Callable[[], Any], give: Callable[[Packet], object], count: int) -> None:
    for _ in range(count):
        with lock:
            packet = take()
        with lock:
            give(packet)


def locked_steps(lock: SpinLock, take: Callable[[], Any], give: Callable[[Packet], object], count: int) -> None:
    for _ in range(0, count, STEP):
        with lock:
            packets = [take() for _ in range(STEP)]
        with lock:
            for packet in packets:
                give(packet)


def shared_out(ways: list[Way]) -> Way:
    """Share the work out, one thread for each way."""

    def work(count: int) -> None:
        threads = [threading.Thread(target=way, args=(count // len(ways),)) for way in ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return ways[0] if len(ways) == 1 else work


def lock_ways(threads: int) -> dict[str, Way]:
    """Ways to take packets from a pool and to give them back, which so many threads share."""
    pool = PacketPool(2 * STEP * threads, 0)
    ways: dict[str, Way] = {"interlocked, one pool, no lock": shared_out([partial(pairs, pool.allocate, pool.free)] * threads)}
    for kind, suffix in (("interlocked", ""), ("NonInterlocked", "_unlocked")):
        lock = SpinLock()
        pools = [PacketPool(2 * STEP * threads, 0, lock=lock), *(PacketPool(2 * STEP, 0) for _ in range(threads))]
        (take, give), *own = [(getattr(pool, "allocate" + suffix), getattr(pool, "free" + suffix)) for pool in pools]
        kinds: dict[str, list[Way]] = {
            "a pool for each thread, no lock": [partial(pairs, *calls) for calls in own],
            "one pool, a lock around each call": [partial(locked_pairs, lock, take, give)] * threads,
            f"one pool, a lock around {STEP} calls": [partial(locked_steps, lock, take, give)] * threads,
        }
        ways |= {f"{kind}, {name}": shared_out(each) for name, each in kinds.items()}
    return ways
