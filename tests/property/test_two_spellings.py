"""
Any script of operations, legal or not, has the same statuses, states and counters in both spellings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit.wire import Driver, Miniport

from vnic import Adapter, Buffer, BufferPool, ContractViolation, Packet, PacketPool, PacketState, Status, copy_packet, ndis
from vnic.locks import Irql, SpinLock, at_irql, current_irql

SIZE = 3
MEMORY = 64


class Objects:
    """The first spelling. Statuses are written as the second one answers them."""

    def __init__(self) -> None:
        self.pool = PacketPool(SIZE, 0, reserved_size=8, overflow=1, name="both")
        self.buffers = BufferPool(SIZE)
        self.lock = SpinLock()
        self.miniport = Miniport(frees=False)
        self.driver = Driver(lambda packet: 1 + packet.index % 2)
        self.adapter = Adapter(self.pool, self.miniport, name="both0", report=lambda *_: None)
        self.binding = self.adapter.open(self.driver, "both")
        self.packets: list[Packet] = []
        self.made: list[Buffer] = []

    def keep(self, status: Status, packet: Packet | None) -> Status:
        if packet is not None:
            self.packets.append(packet)
        return status

    def keep_buffer(self, status: Status, buffer: Buffer | None) -> Status:
        if buffer is not None:
            self.made.append(buffer)
        return status

    def place(self, buffer: Buffer | None) -> int | None:
        return None if buffer is None else self.made.index(buffer)

    def allocate(self) -> Status:
        packet = self.pool.allocate()
        return self.keep(Status.RESOURCES if packet is None else Status.SUCCESS, packet)

    allocate_dpr = allocate

    def allocate_unlocked(self) -> Status:
        packet = self.pool.allocate_unlocked()
        return self.keep(Status.RESOURCES if packet is None else Status.SUCCESS, packet)

    def free(self, packet: Packet) -> None:
        packet.pool.free(packet)

    free_dpr = free

    def free_unlocked(self, packet: Packet) -> None:
        packet.pool.free_unlocked(packet)

    def reinitialize(self, packet: Packet) -> None:
        packet.reinitialize()

    def add_flags(self, packet: Packet, number: int) -> int:
        packet.flags |= number
        return packet.flags

    def set_status(self, packet: Packet, number: int) -> Status:
        packet.status = Status.RESOURCES if number % 2 else Status.SUCCESS
        return packet.status

    def attach(self, packet: Packet, number: int) -> int:
        packet.oob.media_specific = memoryview(bytes(MEMORY))[:number]
        return len(packet.oob.media_specific)

    def make_buffer(self, number: int) -> Status:
        buffer = self.buffers.allocate(bytearray(range(MEMORY)), number)
        return self.keep_buffer(Status.FAILURE if buffer is None else Status.SUCCESS, buffer)

    def free_buffer(self, buffer: Buffer) -> None:
        self.buffers.free(buffer)

    def adjust(self, buffer: Buffer, number: int) -> int:
        buffer.adjust(number)
        return buffer.length

    def chain_front(self, packet: Packet, buffer: Buffer) -> None:
        packet.chain_front(buffer)

    def chain_back(self, packet: Packet, buffer: Buffer) -> None:
        packet.chain_back(buffer)

    def unchain_front(self, packet: Packet) -> int | None:
        return self.place(packet.unchain_front())

    def unchain_back(self, packet: Packet) -> int | None:
        return self.place(packet.unchain_back())

    def query(self, packet: Packet) -> tuple[int, int | None, int]:
        first = packet.buffers[0] if packet.buffers else None
        return len(packet.buffers), self.place(first), packet.length

    def copy(self, packet: Packet, other: Packet, number: int) -> int:
        return copy_packet(packet, number % 7, number, other, number % 5)

    def acquire(self) -> None:
        self.lock.acquire()

    def release(self) -> None:
        self.lock.release()

    def acquire_dpr(self) -> None:
        self.lock.dpr_acquire()

    def release_dpr(self) -> None:
        self.lock.dpr_release()

    def indicate(self, packet: Packet, other: Packet) -> None:
        self.adapter.indicate([packet, other])

    def give_back(self, packet: Packet, other: Packet) -> None:
        self.binding.return_packets([packet, other])

    def send(self, packet: Packet) -> Status:
        return self.binding.send(packet)

    def state(self) -> tuple[object, ...]:
        """Everything that can be told apart."""
        pool, binding = self.pool, self.binding
        packets = [(packet.state, packet.generation, packet.references, packet.flags) for packet in self.packets]
        figures = pool.usage, pool.available, pool.low_water, pool.allocations, pool.exhausted, pool.mixed, pool.audit(), self.buffers.usage
        owed = binding.promised, binding.returned, binding.delivered, binding.resources, len(self.miniport.returned)
        chained = [(buffer.length, buffer.packet is not None, self.place(buffer.following)) for buffer in self.made]
        counters = {name: value for name, value in self.adapter.counters().items() if not name.startswith("violations")}
        return packets, figures, owed, chained, counters, self.lock.held, current_irql()

    def close(self) -> None:
        """Give back what a script left: the lock, the binding's name in this process, and every buffer."""
        if self.lock.held:
            (self.lock.dpr_release if self.lock._dpr else self.lock.release)()
        self.adapter.close(self.binding)
        self.adapter.reclaim(self.binding)
        for packet in self.packets:
            while packet.state is PacketState.OWNED and packet.unchain_front() is not None:
                pass


class Names(Objects):
    """The second spelling."""

    def __init__(self) -> None:
        super().__init__()
        status, pool = ndis.NdisAllocatePacketPoolEx(SIZE, 1, 8)
        assert (status, type(pool)) == (Status.SUCCESS, PacketPool)

    def allocate(self) -> Status:
        return self.keep(*ndis.NdisAllocatePacket(self.pool))

    def allocate_dpr(self) -> Status:
        return self.keep(*ndis.NdisDprAllocatePacket(self.pool))

    def allocate_unlocked(self) -> Status:
        return self.keep(*ndis.NdisDprAllocatePacketNonInterlocked(self.pool))

    def free(self, packet: Packet) -> None:
        ndis.NdisFreePacket(packet)

    def free_dpr(self, packet: Packet) -> None:
        ndis.NdisDprFreePacket(packet)

    def free_unlocked(self, packet: Packet) -> None:
        ndis.NdisDprFreePacketNonInterlocked(packet)

    def reinitialize(self, packet: Packet) -> None:
        ndis.NdisReinitializePacket(packet)

    def add_flags(self, packet: Packet, number: int) -> int:
        ndis.NdisSetPacketFlags(packet, number)
        return ndis.NdisGetPacketFlags(packet)

    def set_status(self, packet: Packet, number: int) -> Status:
        ndis.NDIS_SET_PACKET_STATUS(packet, ndis.NDIS_STATUS_RESOURCES if number % 2 else ndis.NDIS_STATUS_SUCCESS)
        return ndis.NDIS_GET_PACKET_STATUS(packet)

    def attach(self, packet: Packet, number: int) -> int:
        ndis.NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(packet, bytes(MEMORY), number)
        return ndis.NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(packet)[1]

    def make_buffer(self, number: int) -> Status:
        return self.keep_buffer(*ndis.NdisAllocateBuffer(self.buffers, bytearray(range(MEMORY)), number))

    def free_buffer(self, buffer: Buffer) -> None:
        ndis.NdisFreeBuffer(buffer)

    def adjust(self, buffer: Buffer, number: int) -> int:
        ndis.NdisAdjustBufferLength(buffer, number)
        return ndis.NdisBufferLength(buffer)

    def chain_front(self, packet: Packet, buffer: Buffer) -> None:
        ndis.NdisChainBufferAtFront(packet, buffer)

    def chain_back(self, packet: Packet, buffer: Buffer) -> None:
        ndis.NdisChainBufferAtBack(packet, buffer)

    def unchain_front(self, packet: Packet) -> int | None:
        return self.place(ndis.NdisUnchainBufferAtFront(packet))

    def unchain_back(self, packet: Packet) -> int | None:
        return self.place(ndis.NdisUnchainBufferAtBack(packet))

    def query(self, packet: Packet) -> tuple[int, int | None, int]:
        _, count, first, length = ndis.NdisQueryPacket(packet)
        return count, self.place(first), length

    def copy(self, packet: Packet, other: Packet, number: int) -> int:
        return ndis.NdisCopyFromPacketToPacket(packet, number % 7, number, other, number % 5)

    def acquire(self) -> None:
        ndis.NdisAcquireSpinLock(self.lock)

    def release(self) -> None:
        ndis.NdisReleaseSpinLock(self.lock)

    def acquire_dpr(self) -> None:
        ndis.NdisDprAcquireSpinLock(self.lock)

    def release_dpr(self) -> None:
        ndis.NdisDprReleaseSpinLock(self.lock)

    def indicate(self, packet: Packet, other: Packet) -> None:
        ndis.NdisMIndicateReceivePacket(self.adapter, [packet, other], 2)

    def give_back(self, packet: Packet, other: Packet) -> None:
        ndis.NdisReturnPackets([packet, other], 2)

    def send(self, packet: Packet) -> Status:
        return ndis.NdisSend(self.binding, packet)


ARGUMENTS = {
    "": ["allocate", "allocate_dpr", "allocate_unlocked", "acquire", "release", "acquire_dpr", "release_dpr"],
    "p": ["free", "free_dpr", "free_unlocked", "reinitialize", "unchain_front", "unchain_back", "query", "send"],
    "pn": ["add_flags", "set_status", "attach"],
    "n": ["make_buffer"],
    "b": ["free_buffer"],
    "bn": ["adjust"],
    "pb": ["chain_front", "chain_back"],
    "pq": ["indicate", "give_back"],
    "pqn": ["copy"],
}
KINDS = {name: kinds for kinds, names in ARGUMENTS.items() for name in names}
places = st.integers(0, 5)
steps = st.tuples(st.sampled_from(sorted(KINDS)), places, places, places, st.integers(0, MEMORY + 4))
FULL = [
    *[("allocate", 0, 0, 0, 0)] * 2,
    *[("make_buffer", 0, 0, 0, size) for size in (60, 14)],
    *[("chain_back", place, 0, place, 0) for place in (0, 1)],
]
"""Two packets that can be indicated and sent."""


@contextmanager
def both() -> Iterator[tuple[Objects, Names]]:
    """Two worlds that know nothing of each other."""
    worlds = Objects(), Names()
    with at_irql(Irql.DISPATCH):
        try:
            yield worlds
        finally:
            for world in worlds:
                world.close()


def outcome(world: Objects, step: tuple[str, int, int, int, int]) -> object:
    """Take one step; answers what it answered, or the rule that it broke."""
    name, packet, other, buffer, number = step
    given: dict[str, Callable[[], Any]] = {
        "p": lambda: world.packets[packet % len(world.packets)],
        "q": lambda: world.packets[other % len(world.packets)],
        "b": lambda: world.made[buffer % len(world.made)],
        "n": lambda: number,
    }
    try:
        arguments = [given[kind]() for kind in KINDS[name]]
    except ZeroDivisionError:
        return "there is none yet"
    try:
        return getattr(world, name)(*arguments)
    except ContractViolation as error:
        return error.rule.id
    except (ValueError, TypeError) as error:
        return type(error)


@settings(max_examples=150, deadline=None)
@given(st.builds(list.__add__, st.sampled_from([[], FULL]), st.lists(steps, max_size=40)))
@example([*FULL, ("indicate", 0, 1, 0, 0), ("give_back", 0, 1, 0, 0), ("give_back", 1, 1, 0, 0), ("give_back", 1, 0, 0, 0)])
@example([*FULL, ("copy", 0, 1, 0, 30), ("send", 0, 0, 0, 0), ("free", 0, 0, 0, 0), ("attach", 1, 0, 0, 4), ("reinitialize", 1, 0, 0, 0)])
@example([("acquire", 0, 0, 0, 0), ("acquire_dpr", 0, 0, 0, 0), ("release_dpr", 0, 0, 0, 0), ("release", 0, 0, 0, 0)])
def test_a_script_played_in_both_spellings_ends_the_same(script: list[tuple[str, int, int, int, int]]) -> None:
    with both() as (objects, names):
        for step in script:
            assert outcome(objects, step) == outcome(names, step), step
            assert objects.state() == names.state(), step


def test_the_examples_reach_what_they_are_for() -> None:
    with both() as worlds:
        for world in worlds:
            assert [outcome(world, step) for step in FULL] == [Status.SUCCESS] * 4 + [None] * 2
            assert outcome(world, ("indicate", 0, 1, 0, 0)) is None
            assert [packet.state for packet in world.packets] == [PacketState.INDICATED] * 2
            assert [packet.references for packet in world.packets] == [1, 2]
