"""
The names of NDIS 5, for whoever ports a driver or reads its documents. Each does what the object API does, and nothing else.

    Status, PoolHandle = NdisAllocatePacketPool(64, PROTOCOL_RESERVED_SIZE_IN_PACKET)
    Status, Packet = NdisAllocatePacket(PoolHandle)

One convention: parameters that go in keep their C names and their order; those that come out leave the argument list, and are the
answer, in their C order, `Status` first. VOID without one of those answers None. An array is a sequence and a count. A handle is
the object itself, an address a memoryview, and what C writes through a macro (`NDIS_PACKET_FIRST_NDIS_BUFFER(Packet) = ...`) is
written through the object. Exhaustion is a status; a broken rule raises a `ContractViolation`.

A call above the level that it allows, or a Dpr form at another one than DISPATCH, is counted, and refused from verifier level 2 on.

A name that could not do all of its work is not here.

Next: `vnic/names.py`, which says of every name where it is, or why it is not.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from vnic import core, locks, timers
from vnic.core import Adapter, Binding, BufferPool, PacketPool
from vnic.filters import PacketFilter
from vnic.interrupt import Interrupt
from vnic.locks import Irql, require_irql, require_no_locks
from vnic.oob import Info, OobData
from vnic.request import Request
from vnic.status import Status

# types

NDIS_STATUS = Status
NDIS_PACKET = core.Packet
NDIS_PACKET_OOB_DATA = OobData
NDIS_BUFFER = core.Buffer
NDIS_SPIN_LOCK = locks.SpinLock
NDIS_RW_LOCK = locks.ReadWriteLock
LOCK_STATE = locks.Access
LIST_ENTRY = locks.InterlockedList
NDIS_EVENT = timers.Event
NDIS_TIMER = timers.Timer
NDIS_WORK_ITEM = timers.WorkItem
NDIS_MINIPORT_INTERRUPT = Interrupt
NDIS_REQUEST = Request

# constants

NDIS_STATUS_SUCCESS = Status.SUCCESS
NDIS_STATUS_PENDING = Status.PENDING
NDIS_STATUS_NOT_RECOGNIZED = Status.NOT_RECOGNIZED
NDIS_STATUS_NOT_COPIED = Status.NOT_COPIED
NDIS_STATUS_NOT_ACCEPTED = Status.NOT_ACCEPTED
NDIS_STATUS_RESET_START = Status.RESET_START
NDIS_STATUS_RESET_END = Status.RESET_END
NDIS_STATUS_CLOSED = Status.CLOSED
NDIS_STATUS_MEDIA_CONNECT = Status.MEDIA_CONNECT
NDIS_STATUS_MEDIA_DISCONNECT = Status.MEDIA_DISCONNECT
NDIS_STATUS_LINK_SPEED_CHANGE = Status.LINK_SPEED_CHANGE
NDIS_STATUS_NOT_RESETTABLE = Status.NOT_RESETTABLE
NDIS_STATUS_SOFT_ERRORS = Status.SOFT_ERRORS
NDIS_STATUS_HARD_ERRORS = Status.HARD_ERRORS
NDIS_STATUS_FAILURE = Status.FAILURE
NDIS_STATUS_RESOURCES = Status.RESOURCES
NDIS_STATUS_NOT_SUPPORTED = Status.NOT_SUPPORTED
NDIS_STATUS_CLOSING = Status.CLOSING
NDIS_STATUS_BAD_VERSION = Status.BAD_VERSION
NDIS_STATUS_BAD_CHARACTERISTICS = Status.BAD_CHARACTERISTICS
NDIS_STATUS_ADAPTER_NOT_FOUND = Status.ADAPTER_NOT_FOUND
NDIS_STATUS_OPEN_FAILED = Status.OPEN_FAILED
NDIS_STATUS_DEVICE_FAILED = Status.DEVICE_FAILED
NDIS_STATUS_MULTICAST_FULL = Status.MULTICAST_FULL
NDIS_STATUS_MULTICAST_EXISTS = Status.MULTICAST_EXISTS
NDIS_STATUS_MULTICAST_NOT_FOUND = Status.MULTICAST_NOT_FOUND
NDIS_STATUS_REQUEST_ABORTED = Status.REQUEST_ABORTED
NDIS_STATUS_RESET_IN_PROGRESS = Status.RESET_IN_PROGRESS
NDIS_STATUS_CLOSING_INDICATING = Status.CLOSING_INDICATING
NDIS_STATUS_INVALID_PACKET = Status.INVALID_PACKET
NDIS_STATUS_OPEN_LIST_FULL = Status.OPEN_LIST_FULL
NDIS_STATUS_ADAPTER_NOT_READY = Status.ADAPTER_NOT_READY
NDIS_STATUS_ADAPTER_NOT_OPEN = Status.ADAPTER_NOT_OPEN
NDIS_STATUS_NOT_INDICATING = Status.NOT_INDICATING
NDIS_STATUS_INVALID_LENGTH = Status.INVALID_LENGTH
NDIS_STATUS_INVALID_DATA = Status.INVALID_DATA
NDIS_STATUS_BUFFER_TOO_SHORT = Status.BUFFER_TOO_SHORT
NDIS_STATUS_INVALID_OID = Status.INVALID_OID
NDIS_STATUS_ADAPTER_REMOVED = Status.ADAPTER_REMOVED
NDIS_STATUS_UNSUPPORTED_MEDIA = Status.UNSUPPORTED_MEDIA
NDIS_STATUS_RESOURCE_CONFLICT = Status.RESOURCE_CONFLICT
NDIS_STATUS_NO_CABLE = Status.NO_CABLE
NDIS_STATUS_INVALID_SAP = Status.INVALID_SAP
NDIS_STATUS_SAP_IN_USE = Status.SAP_IN_USE
NDIS_STATUS_INVALID_ADDRESS = Status.INVALID_ADDRESS
NDIS_STATUS_VC_NOT_ACTIVATED = Status.VC_NOT_ACTIVATED
NDIS_STATUS_VC_NOT_AVAILABLE = Status.VC_NOT_AVAILABLE

PROTOCOL_RESERVED_SIZE_IN_PACKET = core.PROTOCOL_RESERVED_SIZE_IN_PACKET
NDIS_FLAGS_DONT_LOOPBACK = core.DONT_LOOPBACK
NDIS_FLAGS_IS_LOOPBACK_PACKET = core.LOOPBACK
NDIS_FLAGS_LOOPBACK_ONLY = core.LOOPBACK_ONLY
NDIS_PROTOCOL_ID_DEFAULT = 0x00
NDIS_PROTOCOL_ID_TCP_IP = 0x02
NDIS_PROTOCOL_ID_IPX = 0x06
NDIS_PROTOCOL_ID_NBF = 0x07

NDIS_PACKET_TYPE_DIRECTED = PacketFilter.DIRECTED
NDIS_PACKET_TYPE_MULTICAST = PacketFilter.MULTICAST
NDIS_PACKET_TYPE_ALL_MULTICAST = PacketFilter.ALL_MULTICAST
NDIS_PACKET_TYPE_BROADCAST = PacketFilter.BROADCAST
NDIS_PACKET_TYPE_PROMISCUOUS = PacketFilter.PROMISCUOUS
NDIS_PACKET_TYPE_ALL_LOCAL = PacketFilter.ALL_LOCAL

TcpIpChecksumPacketInfo = Info.TCP_IP_CHECKSUM
IpSecPacketInfo = Info.IP_SEC
TcpLargeSendPacketInfo = Info.TCP_LARGE_SEND
ClassificationHandlePacketInfo = Info.CLASSIFICATION_HANDLE
ScatterGatherListPacketInfo = Info.SCATTER_GATHER_LIST
Ieee8021QInfo = Info.IEEE_8021Q
OriginalPacketInfo = Info.ORIGINAL_PACKET
PacketCancelId = Info.CANCEL_ID

LowPagePriority, NormalPagePriority, HighPagePriority = 0, 16, 32

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _up_to_dispatch(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        require_irql(maximum=Irql.DISPATCH, what=function.__name__)
        return function(*arguments, **named)

    return checked


def _at_dispatch(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        require_irql(exactly=Irql.DISPATCH, what=function.__name__)
        return function(*arguments, **named)

    return checked


def _answer(found: T | None, otherwise: Status) -> tuple[Status, T | None]:
    return (otherwise if found is None else Status.SUCCESS), found


def _array(items: Sequence[T], count: int) -> Sequence[T]:
    if not 0 <= count <= len(items):
        raise ValueError(f"a count of {count} for an array of {len(items)}")
    return items[:count]


# packet pools


def NdisAllocatePacketPool(NumberOfDescriptors: int, ProtocolReservedLength: int) -> tuple[Status, PacketPool | None]:
    return NdisAllocatePacketPoolEx(NumberOfDescriptors, 0, ProtocolReservedLength)


@_up_to_dispatch
def NdisAllocatePacketPoolEx(
    NumberOfDescriptors: int, NumberOfOverflowDescriptors: int, ProtocolReservedLength: int
) -> tuple[Status, PacketPool | None]:
    """The packets have no slot: chain buffers to them. More than 65,535, or no memory: RESOURCES. More overflow: as much as fits."""
    if NumberOfDescriptors > core.MAX_PACKETS:
        return Status.RESOURCES, None
    try:
        return Status.SUCCESS, PacketPool(
            NumberOfDescriptors, 0, reserved_size=ProtocolReservedLength, overflow=NumberOfOverflowDescriptors
        )
    except (OSError, MemoryError):
        return Status.RESOURCES, None


@_up_to_dispatch
def NdisFreePacketPool(PoolHandle: PacketPool) -> None:
    PoolHandle.close()


@_up_to_dispatch
def NdisPacketPoolUsage(PoolHandle: PacketPool) -> int:
    return PoolHandle.usage


@_up_to_dispatch
def NdisSetPacketPoolProtocolId(PacketPoolHandle: PacketPool, ProtocolId: int) -> None:
    PacketPoolHandle.protocol_id = ProtocolId


# packets


@_up_to_dispatch
def NdisAllocatePacket(PoolHandle: PacketPool) -> tuple[Status, NDIS_PACKET | None]:
    return _answer(PoolHandle.allocate(), Status.RESOURCES)


@_at_dispatch
def NdisDprAllocatePacket(PoolHandle: PacketPool) -> tuple[Status, NDIS_PACKET | None]:
    return _answer(PoolHandle.allocate(), Status.RESOURCES)


@_at_dispatch
def NdisDprAllocatePacketNonInterlocked(PoolHandle: PacketPool) -> tuple[Status, NDIS_PACKET | None]:
    """The driver holds its own lock around it, which it may name: `PoolHandle.lock = SpinLock`."""
    return _answer(PoolHandle.allocate_unlocked(), Status.RESOURCES)


@_up_to_dispatch
def NdisFreePacket(Packet: NDIS_PACKET) -> None:
    Packet.pool.free(Packet)


@_at_dispatch
def NdisDprFreePacket(Packet: NDIS_PACKET) -> None:
    Packet.pool.free(Packet)


@_at_dispatch
def NdisDprFreePacketNonInterlocked(Packet: NDIS_PACKET) -> None:
    Packet.pool.free_unlocked(Packet)


def NdisReinitializePacket(Packet: NDIS_PACKET) -> None:
    Packet.reinitialize()


@_up_to_dispatch
def NdisGetPoolFromPacket(Packet: NDIS_PACKET) -> PacketPool:
    return Packet.pool


@_up_to_dispatch
def NdisSetPacketFlags(Packet: NDIS_PACKET, Flags: int) -> None:
    """Adds to the flags that are there (AMB-18)."""
    Packet.flags |= Flags


def NdisClearPacketFlags(Packet: NDIS_PACKET, Flags: int) -> None:
    Packet.flags &= ~Flags


def NdisGetPacketFlags(Packet: NDIS_PACKET) -> int:
    return Packet.flags


def NDIS_GET_PACKET_PROTOCOL_TYPE(Packet: NDIS_PACKET) -> int:
    return Packet.flags & 0xF


@_up_to_dispatch
def NDIS_GET_PACKET_STATUS(Packet: NDIS_PACKET) -> Status:
    return Packet.status


@_up_to_dispatch
def NDIS_SET_PACKET_STATUS(Packet: NDIS_PACKET, Status: NDIS_STATUS) -> None:
    Packet.status = Status


def NDIS_OOB_DATA_FROM_PACKET(Packet: NDIS_PACKET) -> OobData:
    return Packet.oob


def NDIS_GET_PACKET_HEADER_SIZE(Packet: NDIS_PACKET) -> int:
    return Packet.oob.header_size


def NDIS_SET_PACKET_HEADER_SIZE(Packet: NDIS_PACKET, HdrSize: int) -> None:
    Packet.oob.header_size = HdrSize


def NDIS_GET_PACKET_TIME_TO_SEND(Packet: NDIS_PACKET) -> int:
    return Packet.oob.time


def NDIS_SET_PACKET_TIME_TO_SEND(Packet: NDIS_PACKET, TimeToSend: int) -> None:
    Packet.oob.time = TimeToSend


def NDIS_GET_PACKET_TIME_SENT(Packet: NDIS_PACKET) -> int:
    return Packet.oob.time


def NDIS_SET_PACKET_TIME_SENT(Packet: NDIS_PACKET, TimeSent: int) -> None:
    Packet.oob.time = TimeSent


def NDIS_GET_PACKET_TIME_RECEIVED(Packet: NDIS_PACKET) -> int:
    return Packet.oob.time_received


def NDIS_SET_PACKET_TIME_RECEIVED(Packet: NDIS_PACKET, TimeReceived: int) -> None:
    Packet.oob.time_received = TimeReceived


def NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(Packet: NDIS_PACKET) -> tuple[Any, int]:
    info = Packet.oob.media_specific
    return (None, 0) if info is None else (info, len(info))


def NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(Packet: NDIS_PACKET, MediaSpecificInfo: Any, SizeMediaSpecificInfo: int) -> None:
    """Reclaimed by `NDIS_OOB_DATA_FROM_PACKET(Packet).media_specific = None`."""
    Packet.oob.media_specific = memoryview(MediaSpecificInfo)[:SizeMediaSpecificInfo]


def NDIS_PACKET_EXTENSION_FROM_PACKET(Packet: NDIS_PACKET) -> list[Any]:
    """The whole array, to be read and written by index."""
    return Packet.info


def NDIS_PER_PACKET_INFO_FROM_PACKET(Packet: NDIS_PACKET, Id: int) -> Any:
    """To write one: `NDIS_PACKET_EXTENSION_FROM_PACKET(Packet)[Id] = ...`."""
    return Packet.info[Id]


def NDIS_GET_ORIGINAL_PACKET(Packet: NDIS_PACKET) -> NDIS_PACKET:
    """The packet itself, if nobody named another one (AMB-19)."""
    original: NDIS_PACKET | None = Packet.info[Info.ORIGINAL_PACKET]
    return original or Packet


def NDIS_SET_ORIGINAL_PACKET(Packet: NDIS_PACKET, OriginalPacket: NDIS_PACKET) -> None:
    Packet.info[Info.ORIGINAL_PACKET] = OriginalPacket


def NDIS_GET_PACKET_CANCEL_ID(Packet: NDIS_PACKET) -> Any:
    return Packet.info[Info.CANCEL_ID]


def NDIS_SET_PACKET_CANCEL_ID(Packet: NDIS_PACKET, CancelId: Any) -> None:
    Packet.info[Info.CANCEL_ID] = CancelId


def NdisGetPacketCancelId(Packet: NDIS_PACKET) -> Any:
    return NDIS_GET_PACKET_CANCEL_ID(Packet)


def NdisSetPacketCancelId(Packet: NDIS_PACKET, CancelId: Any) -> None:
    NDIS_SET_PACKET_CANCEL_ID(Packet, CancelId)


# buffers


@_up_to_dispatch
def NdisAllocateBufferPool(NumberOfDescriptors: int) -> tuple[Status, BufferPool]:
    return Status.SUCCESS, BufferPool(NumberOfDescriptors)


@_up_to_dispatch
def NdisFreeBufferPool(PoolHandle: BufferPool) -> None:
    PoolHandle.close()


@_up_to_dispatch
def NdisAllocateBuffer(
    PoolHandle: BufferPool, VirtualAddress: bytes | bytearray | memoryview, Length: int
) -> tuple[Status, NDIS_BUFFER | None]:
    return _answer(PoolHandle.allocate(VirtualAddress, Length), Status.FAILURE)


@_up_to_dispatch
def NdisCopyBuffer(PoolHandle: BufferPool, MemoryDescriptor: NDIS_BUFFER, Offset: int, Length: int) -> tuple[Status, NDIS_BUFFER | None]:
    """A new descriptor, of the same bytes."""
    try:
        return _answer(PoolHandle.copy(MemoryDescriptor, Offset, Length), Status.FAILURE)
    except ValueError:
        return Status.FAILURE, None


@_up_to_dispatch
def NdisFreeBuffer(Buffer: NDIS_BUFFER) -> None:
    if Buffer.pool is None:
        raise ValueError("the buffer of a packet's own slot is freed with the packet")
    Buffer.pool.free(Buffer)


def NdisChainBufferAtFront(Packet: NDIS_PACKET, Buffer: NDIS_BUFFER) -> None:
    Packet.chain_front(Buffer)


def NdisChainBufferAtBack(Packet: NDIS_PACKET, Buffer: NDIS_BUFFER) -> None:
    Packet.chain_back(Buffer)


def NdisUnchainBufferAtFront(Packet: NDIS_PACKET) -> NDIS_BUFFER | None:
    return Packet.unchain_front()


def NdisUnchainBufferAtBack(Packet: NDIS_PACKET) -> NDIS_BUFFER | None:
    return Packet.unchain_back()


def NdisGetNextBuffer(CurrentBuffer: NDIS_BUFFER) -> NDIS_BUFFER | None:
    return CurrentBuffer.following


def NDIS_BUFFER_LINKAGE(Buffer: NDIS_BUFFER) -> NDIS_BUFFER | None:
    return Buffer.following


def NDIS_PACKET_FIRST_NDIS_BUFFER(Packet: NDIS_PACKET) -> NDIS_BUFFER | None:
    """To show another packet's chain: `Packet.share_chain(other)`."""
    return next(iter(Packet.buffers), None)


def NDIS_PACKET_LAST_NDIS_BUFFER(Packet: NDIS_PACKET) -> NDIS_BUFFER | None:
    return next(reversed(Packet.buffers), None)


def NDIS_PACKET_VALID_COUNTS(Packet: NDIS_PACKET) -> bool:
    """To clear it: `NdisRecalculatePacketCounts(Packet)`."""
    return Packet.valid_counts


def NdisRecalculatePacketCounts(Packet: NDIS_PACKET) -> None:
    Packet.recalculate_counts()


def NDIS_BUFFER_TO_SPAN_PAGES(Buffer: NDIS_BUFFER) -> int:
    """Pages that hold so many bytes, if the first begins one: where it really begins is not seen here, and no device is told."""
    return max(1, -(-Buffer.length // mmap.PAGESIZE))


def NdisQueryPacket(Packet: NDIS_PACKET) -> tuple[int, int, NDIS_BUFFER | None, int]:
    """Pages, buffers, the first of them, and bytes in all."""
    buffers = Packet.buffers
    return sum(map(NDIS_BUFFER_TO_SPAN_PAGES, buffers)), len(buffers), next(iter(buffers), None), Packet.length


def NdisQueryPacketLength(Packet: NDIS_PACKET) -> int:
    return Packet.length


@_up_to_dispatch
def NdisQueryBuffer(Buffer: NDIS_BUFFER) -> tuple[memoryview, int]:
    return Buffer.memory, Buffer.length


@_up_to_dispatch
def NdisQueryBufferSafe(Buffer: NDIS_BUFFER, Priority: int) -> tuple[memoryview, int]:
    """What is described is mapped already, so there is always an address, whatever the priority."""
    return Buffer.memory, Buffer.length


@_up_to_dispatch
def NdisGetFirstBufferFromPacket(Packet: NDIS_PACKET) -> tuple[NDIS_BUFFER | None, memoryview | None, int, int]:
    first = NDIS_PACKET_FIRST_NDIS_BUFFER(Packet)
    return (None, None, 0, 0) if first is None else (first, first.memory, first.length, Packet.length)


def NdisGetFirstBufferFromPacketSafe(Packet: NDIS_PACKET, Priority: int) -> tuple[NDIS_BUFFER | None, memoryview | None, int, int]:
    return NdisGetFirstBufferFromPacket(Packet)


@_up_to_dispatch
def NdisBufferLength(Buffer: NDIS_BUFFER) -> int:
    return Buffer.length


@_up_to_dispatch
def NdisBufferVirtualAddress(Buffer: NDIS_BUFFER) -> memoryview:
    return Buffer.memory


@_up_to_dispatch
def NdisBufferVirtualAddressSafe(Buffer: NDIS_BUFFER, Priority: int) -> memoryview:
    return Buffer.memory


def NdisAdjustBufferLength(Buffer: NDIS_BUFFER, Length: int) -> None:
    Buffer.adjust(Length)


@_up_to_dispatch
def NdisCopyFromPacketToPacket(
    Destination: NDIS_PACKET, DestinationOffset: int, BytesToCopy: int, Source: NDIS_PACKET, SourceOffset: int
) -> int:
    return core.copy_packet(Destination, DestinationOffset, BytesToCopy, Source, SourceOffset)


def NdisCopyFromPacketToPacketSafe(
    Destination: NDIS_PACKET, DestinationOffset: int, BytesToCopy: int, Source: NDIS_PACKET, SourceOffset: int, Priority: int
) -> int:
    return NdisCopyFromPacketToPacket(Destination, DestinationOffset, BytesToCopy, Source, SourceOffset)


# locks


def NdisAllocateSpinLock() -> NDIS_SPIN_LOCK:
    return NDIS_SPIN_LOCK()


def NdisFreeSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.free()


def NdisAcquireSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.acquire()


def NdisReleaseSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.release()


def NdisDprAcquireSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.dpr_acquire()


def NdisDprReleaseSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.dpr_release()


def NdisInitializeReadWriteLock() -> NDIS_RW_LOCK:
    return NDIS_RW_LOCK()


def NdisAcquireReadWriteLock(Lock: NDIS_RW_LOCK, fWrite: bool) -> LOCK_STATE:
    return Lock.acquire(write=fWrite)


def NdisReleaseReadWriteLock(Lock: NDIS_RW_LOCK, LockState: LOCK_STATE) -> None:
    Lock.release(LockState)


def NdisInterlockedIncrement(Addend: locks.Interlocked) -> int:
    return locks.interlocked_increment(Addend)


def NdisInterlockedDecrement(Addend: locks.Interlocked) -> int:
    return locks.interlocked_decrement(Addend)


def NdisInterlockedAddUlong(Addend: locks.Interlocked, Increment: int, SpinLock: NDIS_SPIN_LOCK) -> None:
    locks.interlocked_add(Addend, Increment, SpinLock)


def NdisInitializeListHead() -> LIST_ENTRY[Any]:
    return LIST_ENTRY()


def NdisInterlockedInsertHeadList(ListHead: LIST_ENTRY[T], ListEntry: T, SpinLock: NDIS_SPIN_LOCK) -> T | None:
    return ListHead.insert_head(ListEntry, SpinLock)


def NdisInterlockedInsertTailList(ListHead: LIST_ENTRY[T], ListEntry: T, SpinLock: NDIS_SPIN_LOCK) -> T | None:
    return ListHead.insert_tail(ListEntry, SpinLock)


def NdisInterlockedRemoveHeadList(ListHead: LIST_ENTRY[T], SpinLock: NDIS_SPIN_LOCK) -> T | None:
    return ListHead.remove_head(SpinLock)


# time, events, work items, interrupts


def NdisGetCurrentSystemTime() -> int:
    return timers.current_system_time()


def NdisStallExecution(MicrosecondsToStall: int) -> None:
    timers.stall_execution(MicrosecondsToStall)


def NdisMSleep(MicrosecondsToSleep: int) -> None:
    require_irql(maximum=Irql.PASSIVE, what="NdisMSleep")
    time.sleep(MicrosecondsToSleep / 1_000_000)


def NdisInitializeEvent() -> NDIS_EVENT:
    return NDIS_EVENT()


def NdisSetEvent(Event: NDIS_EVENT) -> None:
    Event.set()


def NdisResetEvent(Event: NDIS_EVENT) -> None:
    Event.reset()


def NdisWaitEvent(Event: NDIS_EVENT, MsToWait: int) -> bool:
    return Event.wait(MsToWait)


def NdisInitializeTimer(TimerFunction: Callable[[Any, Any, Any, Any], object], FunctionContext: Any) -> NDIS_TIMER:
    """The function is called as in C: with `FunctionContext` second, and nothing in the system's three places."""

    def run(context: Any) -> None:
        TimerFunction(None, context, None, None)

    return NDIS_TIMER(run, FunctionContext)


def NdisSetTimer(Timer: NDIS_TIMER, MillisecondsToDelay: int) -> None:
    Timer.set(MillisecondsToDelay)


def NdisCancelTimer(Timer: NDIS_TIMER) -> bool:
    return Timer.cancel()


def NdisInitializeWorkItem(Routine: Callable[[NDIS_WORK_ITEM, Any], None], Context: Any) -> NDIS_WORK_ITEM:
    return NDIS_WORK_ITEM(Routine, Context)


def NdisScheduleWorkItem(WorkItem: NDIS_WORK_ITEM) -> Status:
    return WorkItem.schedule()


def NdisMSynchronizeWithInterrupt(
    Interrupt: NDIS_MINIPORT_INTERRUPT, SynchronizeFunction: Callable[[Any], object], SynchronizeContext: Any
) -> bool:
    return Interrupt.synchronize(SynchronizeFunction, SynchronizeContext)


def NdisMDeregisterInterrupt(Interrupt: NDIS_MINIPORT_INTERRUPT) -> None:
    Interrupt.deregister()


# receive, send, requests


@_up_to_dispatch
def NdisMIndicateReceivePacket(MiniportAdapterHandle: Adapter, ReceivePackets: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    require_no_locks("NdisMIndicateReceivePacket")
    MiniportAdapterHandle.indicate(_array(ReceivePackets, NumberOfPackets))


@_up_to_dispatch
def NdisReturnPackets(PacketsToReturn: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    """
    It names no binding: see `vnic.core.return_packets` for whose return it is.

    Where several bindings keep one packet, and each must answer for itself, `binding.return_packets` is exact.
    """
    core.return_packets(_array(PacketsToReturn, NumberOfPackets))


@_up_to_dispatch
def NdisSend(NdisBindingHandle: Binding, Packet: NDIS_PACKET) -> Status:
    return NdisBindingHandle.send(Packet)


@_up_to_dispatch
def NdisSendPackets(NdisBindingHandle: Binding, PacketArray: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    NdisBindingHandle.send_packets(_array(PacketArray, NumberOfPackets))


@_up_to_dispatch
def NdisCancelSendPackets(NdisBindingHandle: Binding, CancelId: int) -> None:
    NdisBindingHandle.cancel_sends(CancelId)


@_up_to_dispatch
def NdisRequest(NdisBindingHandle: Binding, NdisRequest: NDIS_REQUEST) -> Status:
    return NdisBindingHandle.request(NdisRequest)


@_up_to_dispatch
def NdisMSendComplete(MiniportAdapterHandle: Adapter, Packet: NDIS_PACKET, Status: NDIS_STATUS) -> None:
    require_no_locks("NdisMSendComplete")
    MiniportAdapterHandle.send_complete(Packet, Status)
