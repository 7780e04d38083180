"""
A small world, and every operation of it in the first spelling: that of the objects.

Next: `spelled_by_names.py`, the second one.
"""

from __future__ import annotations

from unit.wire import Driver, Miniport

from vnic import Adapter, Buffer, BufferPool, Info, Packet, PacketPool, PacketState, Status, copy_packet
from vnic.core import return_packets
from vnic.locks import (
    Access,
    Interlocked,
    InterlockedList,
    Irql,
    LockState,
    ReadWriteLock,
    SpinLock,
    current_irql,
    held_locks,
    interlocked_add,
    interlocked_decrement,
    interlocked_increment,
)
from vnic.oids import Oid
from vnic.request import Request, RequestKind
from vnic.timers import Event, Timer, VirtualClock, system_timers

SIZE = 3
MEMORY = 64
OIDS = [
    Oid.GEN_CURRENT_PACKET_FILTER,
    Oid.GEN_CURRENT_LOOKAHEAD,
    Oid.GEN_LINK_SPEED,
    Oid.GEN_RCV_OK,
    Oid.GEN_PROTOCOL_OPTIONS,
    Oid.IEEE_802_3_MULTICAST_LIST,
    *[Oid.GEN_VENDOR_ID] * 3,
]
ENDS = [Status.SUCCESS, Status.FAILURE, Status.RESOURCES, Status.PENDING]


class Below(Miniport):
    """A miniport that keeps what comes back, some of the sends, and some of the requests."""

    def __init__(self) -> None:
        super().__init__(frees=False)
        self.cancelled: list[object] = []

    def send(self, packet: Packet) -> Status:
        return Status.PENDING if packet.generation % 2 else ENDS[packet.flags % 2]

    def cancel_sends(self, cancel_id: object) -> None:
        self.cancelled.append(cancel_id)

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        if oid == Oid.GEN_VENDOR_ID:
            return Status.PENDING, 0, 0
        buffer[:4] = bytes(4)
        return Status.SUCCESS, 4, 0

    def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        return (Status.PENDING if oid == Oid.GEN_VENDOR_ID else Status.NOT_SUPPORTED), 0, len(data) % 5


class Above(Driver):
    """A driver that remembers how its sends and requests end."""

    def __init__(self) -> None:
        super().__init__(lambda packet: 1 + packet.index % 2)
        self.completed: list[tuple[object, ...]] = []

    def send_complete(self, packet: Packet, status: Status) -> None:
        self.completed.append((packet.index, status))

    def request_complete(self, request: Request, status: Status) -> None:
        self.completed.append((request.oid, status, request.bytes_written, request.bytes_read, request.bytes_needed))


class Objects:
    """A pool, buffers, locks, a timer, and an adapter with two drivers. Statuses are written as the second spelling answers them."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.pool = PacketPool(SIZE, 0, reserved_size=8, overflow=1, name="both")
        self.buffers = BufferPool(SIZE)
        self.lock = SpinLock()
        self.shared = ReadWriteLock()
        self.number, self.entries = Interlocked(), InterlockedList[int]()
        self.event = Event()
        self.timer: Timer = Timer(self.fire)
        self.fired = 0
        self.miniport = Below()
        self.driver = Above()
        self.adapter = Adapter(self.pool, self.miniport, name="both0", report=lambda *_: None)
        self.binding = self.adapter.open(self.driver, "both")
        self.watcher = self.adapter.open(Driver(), "watcher")
        self.packets: list[Packet] = []
        self.made: list[Buffer] = []
        self.accesses: list[Access] = []

    def fire(self, *_: object) -> None:
        self.fired += 1

    def keep(self, status: Status, packet: Packet | None) -> Status:
        if packet is not None:
            self.packets.append(packet)
        return status

    def keep_buffers(self, status: Status, first: Buffer | None) -> Status:
        while first is not None:
            self.made.append(first)
            first = first.following
        return status

    def place(self, buffer: Buffer | None) -> int | None:
        return None if buffer is None else self.made.index(buffer)

    # packets

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

    def usage(self) -> int:
        return self.pool.usage

    def set_protocol_id(self, number: int) -> None:
        self.pool.protocol_id = number % 20

    def home(self, packet: Packet) -> bool:
        return packet.pool is self.pool

    def reinitialize(self, packet: Packet) -> None:
        packet.reinitialize()

    def add_flags(self, packet: Packet, number: int) -> int:
        packet.flags |= 1 << number % 12
        return packet.flags

    def clear_flags(self, packet: Packet, number: int) -> int:
        packet.flags &= ~(1 << number % 12)
        return packet.flags & 0xF

    def set_status(self, packet: Packet, number: int) -> Status:
        packet.status = Status.RESOURCES if number % 2 else Status.SUCCESS
        return packet.status

    def set_times(self, packet: Packet, number: int) -> tuple[int, int]:
        packet.oob.time, packet.oob.time_received = number, number + 1
        return packet.oob.time, packet.oob.time_received

    def set_header_size(self, packet: Packet, number: int) -> int:
        packet.oob.header_size = number
        return packet.oob.header_size

    def attach(self, packet: Packet, number: int) -> int:
        packet.oob.media_specific = memoryview(bytes(MEMORY))[:number]
        return len(packet.oob.media_specific)

    def detach(self, packet: Packet) -> None:
        packet.oob.media_specific = None

    def set_cancel_id(self, packet: Packet, number: int) -> object:
        packet.info[Info.CANCEL_ID] = number % 2
        return packet.info[Info.CANCEL_ID]

    def set_original(self, packet: Packet, other: Packet) -> int:
        packet.info[Info.ORIGINAL_PACKET] = other
        return int(packet.info[Info.ORIGINAL_PACKET].index)

    def set_info(self, packet: Packet, number: int) -> object:
        packet.info[number % 8] = None
        return packet.info[number % 8]

    # buffers

    def make_buffer(self, number: int) -> Status:
        buffer = self.buffers.allocate(bytearray(range(MEMORY)), number)
        return self.keep_buffers(Status.FAILURE if buffer is None else Status.SUCCESS, buffer)

    def copy_buffer(self, buffer: Buffer, number: int) -> Status:
        try:
            first = self.buffers.copy(buffer, number % 7, number)
        except ValueError:
            return Status.FAILURE
        return self.keep_buffers(Status.FAILURE if first is None else Status.SUCCESS, first)

    def free_buffer(self, buffer: Buffer) -> None:
        self.buffers.free(buffer)

    def adjust(self, buffer: Buffer, number: int) -> int:
        buffer.adjust(number)
        return buffer.length

    def look(self, buffer: Buffer) -> tuple[bytes, int, int | None]:
        return bytes(buffer.memory), buffer.length, self.place(buffer.following)

    def chain_front(self, packet: Packet, buffer: Buffer) -> None:
        packet.chain_front(buffer)

    def chain_back(self, packet: Packet, buffer: Buffer) -> None:
        packet.chain_back(buffer)

    def unchain_front(self, packet: Packet) -> int | None:
        return self.place(packet.unchain_front())

    def unchain_back(self, packet: Packet) -> int | None:
        return self.place(packet.unchain_back())

    def share(self, packet: Packet, other: Packet) -> None:
        packet.share_chain(other)

    def recalculate(self, packet: Packet) -> tuple[bool, int]:
        packet.recalculate_counts()
        return packet.valid_counts, packet.length

    def query(self, packet: Packet) -> tuple[int, int | None, int]:
        first = packet.buffers[0] if packet.buffers else None
        return len(packet.buffers), self.place(first), packet.length

    def ends(self, packet: Packet) -> tuple[int | None, int | None]:
        first, last = (packet.buffers[0], packet.buffers[-1]) if packet.buffers else (None, None)
        return self.place(first), self.place(last)

    def copy(self, packet: Packet, other: Packet, number: int) -> int:
        return copy_packet(packet, number % 7, number, other, number % 5)

    # locks, events, timers

    def acquire(self) -> None:
        self.lock.acquire()

    def release(self) -> None:
        self.lock.release()

    def acquire_dpr(self) -> None:
        self.lock.dpr_acquire()

    def release_dpr(self) -> None:
        self.lock.dpr_release()

    def free_lock(self) -> None:
        self.lock.free()

    def renew_lock(self) -> None:
        if self.lock.state is LockState.FREED:
            self.lock = SpinLock()

    def share_lock(self, number: int) -> Access:
        self.accesses.append(self.shared.acquire(write=number % 4 == 0))
        return self.accesses[-1]

    def unshare_lock(self, number: int) -> None:
        self.shared.release(self.accesses.pop() if self.accesses else Access(bool(number % 2), Irql.DISPATCH))

    def increment(self) -> int:
        return interlocked_increment(self.number)

    def decrement(self) -> int:
        return interlocked_decrement(self.number)

    def add(self, number: int) -> None:
        interlocked_add(self.number, number, self.lock)

    def insert_head(self, number: int) -> int | None:
        return self.entries.insert_head(number, self.lock)

    def insert_tail(self, number: int) -> int | None:
        return self.entries.insert_tail(number, self.lock)

    def remove_head(self) -> int | None:
        return self.entries.remove_head(self.lock)

    def signal(self) -> bool:
        self.event.set()
        return self.event.wait(1)

    def reset(self) -> None:
        self.event.reset()

    def set_timer(self, number: int) -> None:
        self.timer.set(number)

    def cancel_timer(self) -> bool:
        return self.timer.cancel()

    def advance(self, number: int) -> None:
        self.clock.advance(number // 2, system_timers)

    # frames and requests

    def indicate(self, packet: Packet, other: Packet) -> None:
        self.adapter.indicate([packet, other])

    def give_back(self, packet: Packet, other: Packet) -> None:
        return_packets([packet, other])

    def send(self, packet: Packet) -> Status:
        return self.binding.send(packet)

    def send_packets(self, packet: Packet, other: Packet) -> None:
        self.binding.send_packets([packet, other])

    def complete(self, packet: Packet, number: int) -> None:
        self.adapter.send_complete(packet, ENDS[number % 4])

    def cancel_sends(self, number: int) -> None:
        self.binding.cancel_sends(number % 2)

    def ask(self, number: int) -> tuple[object, ...]:
        request = Request(RequestKind(number % 2), OIDS[number % len(OIDS)], bytearray(number % 11))
        return self.ask_for(request), request.bytes_written, request.bytes_read, request.bytes_needed, bytes(request.information_buffer)

    def ask_for(self, request: Request) -> Status:
        return self.binding.request(request)

    def answer(self, number: int) -> None:
        requests = self.adapter.requests
        (requests.query_complete if number % 2 else requests.set_complete)(ENDS[number % 4], number % 9)

    # the end

    def close_pools(self) -> None:
        self.buffers.close()
        self.pool.close()

    def state(self) -> tuple[object, ...]:
        """Everything that can be told apart."""
        pool, binding = self.pool, self.binding
        packets = [(packet.state, packet.generation, packet.references, packet.flags) for packet in self.packets]
        figures = pool.usage, pool.available, pool.low_water, pool.allocations, pool.exhausted, pool.mixed, pool.audit(), self.buffers.usage
        owed = binding.promised, binding.returned, binding.delivered, binding.resources, binding.sends_pending, binding.packet_filter
        known = len(self.miniport.returned), self.miniport.cancelled, self.driver.completed
        chained = [(buffer.length, buffer.packet is not None, self.place(buffer.following)) for buffer in self.made]
        counters = {name: value for name, value in self.adapter.counters().items() if not name.startswith("violations")}
        locks = self.lock.state, self.lock.held, len(held_locks()), current_irql(), self.number.value, list(self.entries.entries)
        return packets, figures, owed, known, chained, counters, locks, self.fired, self.timer in system_timers.queued

    def close(self) -> None:
        """Give back what a script left: locks, the timer, the bindings' names in this process, and every buffer."""
        while self.accesses:
            self.shared.release(self.accesses.pop())
        if self.lock.held:
            (self.lock.dpr_release if self.lock._dpr else self.lock.release)()
        self.timer.cancel()
        for binding in (self.binding, self.watcher):
            self.adapter.close(binding)
            self.adapter.reclaim(binding)
        for packet in self.packets:
            if packet.state is PacketState.SENDING:
                self.adapter.send_complete(packet, Status.FAILURE)
        assert [self.adapter.close(binding) for binding in (self.binding, self.watcher)] == [Status.SUCCESS] * 2
        for packet in self.packets:
            while packet.state is PacketState.OWNED and packet.unchain_front() is not None:
                pass
