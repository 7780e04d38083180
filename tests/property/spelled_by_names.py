"""
The second spelling of every operation: that of NDIS. What has no name there is done by the object.
"""

from __future__ import annotations

from property.spelled_by_objects import ENDS, MEMORY, SIZE, Objects

from vnic import Buffer, Packet, PacketPool, Status, ndis
from vnic.locks import Access, Irql, LockState
from vnic.request import Request
from vnic.timers import VirtualClock


class Names(Objects):
    """The same world."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        status, pool = ndis.NdisAllocatePacketPoolEx(SIZE, 1, 8)
        assert (status, type(pool)) == (Status.SUCCESS, PacketPool)
        self.lock = ndis.NdisAllocateSpinLock()
        self.shared = ndis.NdisInitializeReadWriteLock()
        self.entries = ndis.NdisInitializeListHead()
        self.event = ndis.NdisInitializeEvent()
        self.timer = ndis.NdisInitializeTimer(self.fire, None)

    # packets

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

    def usage(self) -> int:
        return ndis.NdisPacketPoolUsage(self.pool)

    def set_protocol_id(self, number: int) -> None:
        ndis.NdisSetPacketPoolProtocolId(self.pool, number % 20)

    def home(self, packet: Packet) -> bool:
        return ndis.NdisGetPoolFromPacket(packet) is self.pool

    def reinitialize(self, packet: Packet) -> None:
        ndis.NdisReinitializePacket(packet)

    def add_flags(self, packet: Packet, number: int) -> int:
        ndis.NdisSetPacketFlags(packet, 1 << number % 12)
        return ndis.NdisGetPacketFlags(packet)

    def clear_flags(self, packet: Packet, number: int) -> int:
        ndis.NdisClearPacketFlags(packet, 1 << number % 12)
        return ndis.NDIS_GET_PACKET_PROTOCOL_TYPE(packet)

    def set_status(self, packet: Packet, number: int) -> Status:
        ndis.NDIS_SET_PACKET_STATUS(packet, ndis.NDIS_STATUS_RESOURCES if number % 2 else ndis.NDIS_STATUS_SUCCESS)
        return ndis.NDIS_GET_PACKET_STATUS(packet)

    def set_times(self, packet: Packet, number: int) -> tuple[int, int]:
        ndis.NDIS_SET_PACKET_TIME_TO_SEND(packet, number)
        ndis.NDIS_SET_PACKET_TIME_RECEIVED(packet, number + 1)
        return ndis.NDIS_GET_PACKET_TIME_SENT(packet), ndis.NDIS_GET_PACKET_TIME_RECEIVED(packet)

    def set_header_size(self, packet: Packet, number: int) -> int:
        ndis.NDIS_SET_PACKET_HEADER_SIZE(packet, number)
        return ndis.NDIS_GET_PACKET_HEADER_SIZE(packet)

    def attach(self, packet: Packet, number: int) -> int:
        ndis.NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(packet, bytes(MEMORY), number)
        return ndis.NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(packet)[1]

    def detach(self, packet: Packet) -> None:
        ndis.NDIS_OOB_DATA_FROM_PACKET(packet).media_specific = None

    def set_cancel_id(self, packet: Packet, number: int) -> object:
        ndis.NDIS_SET_PACKET_CANCEL_ID(packet, number % 2)
        return ndis.NdisGetPacketCancelId(packet)

    def set_original(self, packet: Packet, other: Packet) -> int:
        ndis.NDIS_SET_ORIGINAL_PACKET(packet, other)
        return ndis.NDIS_GET_ORIGINAL_PACKET(packet).index

    def set_info(self, packet: Packet, number: int) -> object:
        ndis.NDIS_PACKET_EXTENSION_FROM_PACKET(packet)[number % 8] = None
        return ndis.NDIS_PER_PACKET_INFO_FROM_PACKET(packet, number % 8)

    # buffers

    def make_buffer(self, number: int) -> Status:
        return self.keep_buffers(*ndis.NdisAllocateBuffer(self.buffers, bytearray(range(MEMORY)), number))

    def copy_buffer(self, buffer: Buffer, number: int) -> Status:
        return self.keep_buffers(*ndis.NdisCopyBuffer(self.buffers, buffer, number % 7, number))

    def free_buffer(self, buffer: Buffer) -> None:
        ndis.NdisFreeBuffer(buffer)

    def adjust(self, buffer: Buffer, number: int) -> int:
        ndis.NdisAdjustBufferLength(buffer, number)
        return ndis.NdisBufferLength(buffer)

    def look(self, buffer: Buffer) -> tuple[bytes, int, int | None]:
        memory, length = ndis.NdisQueryBuffer(buffer)
        return bytes(memory), length, self.place(ndis.NdisGetNextBuffer(buffer))

    def chain_front(self, packet: Packet, buffer: Buffer) -> None:
        ndis.NdisChainBufferAtFront(packet, buffer)

    def chain_back(self, packet: Packet, buffer: Buffer) -> None:
        ndis.NdisChainBufferAtBack(packet, buffer)

    def unchain_front(self, packet: Packet) -> int | None:
        return self.place(ndis.NdisUnchainBufferAtFront(packet))

    def unchain_back(self, packet: Packet) -> int | None:
        return self.place(ndis.NdisUnchainBufferAtBack(packet))

    def recalculate(self, packet: Packet) -> tuple[bool, int]:
        ndis.NdisRecalculatePacketCounts(packet)
        return ndis.NDIS_PACKET_VALID_COUNTS(packet), ndis.NdisQueryPacketLength(packet)

    def query(self, packet: Packet) -> tuple[int, int | None, int]:
        _, count, first, length = ndis.NdisQueryPacket(packet)
        return count, self.place(first), length

    def ends(self, packet: Packet) -> tuple[int | None, int | None]:
        return self.place(ndis.NDIS_PACKET_FIRST_NDIS_BUFFER(packet)), self.place(ndis.NDIS_PACKET_LAST_NDIS_BUFFER(packet))

    def copy(self, packet: Packet, other: Packet, number: int) -> int:
        return ndis.NdisCopyFromPacketToPacket(packet, number % 7, number, other, number % 5)

    # locks, events, timers

    def acquire(self) -> None:
        ndis.NdisAcquireSpinLock(self.lock)

    def release(self) -> None:
        ndis.NdisReleaseSpinLock(self.lock)

    def acquire_dpr(self) -> None:
        ndis.NdisDprAcquireSpinLock(self.lock)

    def release_dpr(self) -> None:
        ndis.NdisDprReleaseSpinLock(self.lock)

    def free_lock(self) -> None:
        ndis.NdisFreeSpinLock(self.lock)

    def renew_lock(self) -> None:
        if self.lock.state is LockState.FREED:
            self.lock = ndis.NdisAllocateSpinLock()

    def share_lock(self, number: int) -> Access:
        self.accesses.append(ndis.NdisAcquireReadWriteLock(self.shared, number % 4 == 0))
        return self.accesses[-1]

    def unshare_lock(self, number: int) -> None:
        access = self.accesses.pop() if self.accesses else Access(bool(number % 2), Irql.DISPATCH)
        ndis.NdisReleaseReadWriteLock(self.shared, access)

    def increment(self) -> int:
        return ndis.NdisInterlockedIncrement(self.number)

    def decrement(self) -> int:
        return ndis.NdisInterlockedDecrement(self.number)

    def add(self, number: int) -> None:
        ndis.NdisInterlockedAddUlong(self.number, number, self.lock)

    def insert_head(self, number: int) -> int | None:
        return ndis.NdisInterlockedInsertHeadList(self.entries, number, self.lock)

    def insert_tail(self, number: int) -> int | None:
        return ndis.NdisInterlockedInsertTailList(self.entries, number, self.lock)

    def remove_head(self) -> int | None:
        return ndis.NdisInterlockedRemoveHeadList(self.entries, self.lock)

    def signal(self) -> bool:
        ndis.NdisSetEvent(self.event)
        return ndis.NdisWaitEvent(self.event, 1)

    def reset(self) -> None:
        ndis.NdisResetEvent(self.event)

    def set_timer(self, number: int) -> None:
        ndis.NdisSetTimer(self.timer, number)

    def cancel_timer(self) -> bool:
        return ndis.NdisCancelTimer(self.timer)

    # frames and requests

    def indicate(self, packet: Packet, other: Packet) -> None:
        ndis.NdisMIndicateReceivePacket(self.adapter, [packet, other], 2)

    def give_back(self, packet: Packet, other: Packet) -> None:
        ndis.NdisReturnPackets([packet, other], 2)

    def send(self, packet: Packet) -> Status:
        return ndis.NdisSend(self.binding, packet)

    def send_packets(self, packet: Packet, other: Packet) -> None:
        ndis.NdisSendPackets(self.binding, [packet, other], 2)

    def complete(self, packet: Packet, number: int) -> None:
        ndis.NdisMSendComplete(self.adapter, packet, ENDS[number % 4])

    def cancel_sends(self, number: int) -> None:
        ndis.NdisCancelSendPackets(self.binding, number % 2)

    def ask_for(self, request: Request) -> Status:
        return ndis.NdisRequest(self.binding, request)

    # the end

    def close_pools(self) -> None:
        ndis.NdisFreeBufferPool(self.buffers)
        ndis.NdisFreePacketPool(self.pool)
