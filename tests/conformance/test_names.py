"""
The names of NDIS: the table has each of them, `vnic.ndis` defines what the table says, and each does what its C form does.
"""

from __future__ import annotations

import ast
import inspect
import mmap
import re
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from conformance.facade import buffer_of, buffers_of, chain, packet_of, pool_of, strip
from unit.wire import Bench, Driver, Sender, frame, violation

import vnic
from vnic import Info, Packet, PacketFilter, PacketPool, PacketState, Status, ndis
from vnic.interrupt import Interrupt, Phase
from vnic.locks import Interlocked, Irql, at_irql, current_irql
from vnic.names import NAMES
from vnic.oids import OIDS, Oid
from vnic.request import RequestKind
from vnic.reset import Attributes
from vnic.timers import VirtualClock, system_timers, work_items

TREE = Path(__file__).parents[2]
HERE = {row.name: row for row in NAMES if row.by and row.area != "handler"}


def defined() -> set[str]:
    """What the rooms of `vnic/ndis5` themselves define, for others to use."""
    found: set[str] = set()
    rooms = [path for path in (TREE / "vnic/ndis5").glob("*.py") if path.stem != "checks"]
    for node in [node for path in rooms for node in ast.parse(path.read_text()).body]:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in found if not name.startswith("_")} - {"P", "R", "T"}


def expanded() -> set[str]:
    """The names that the table says are here, one for each member where it has a star."""
    members = {"NDIS_STATUS_*": Status, "NDIS_PACKET_TYPE_*": PacketFilter, "NDIS_ATTRIBUTE_*": Attributes}
    stars = {name.removesuffix("*") + member.name for name, kinds in members.items() for member in kinds}
    stars -= {"NDIS_PACKET_TYPE_NONE", "NDIS_ATTRIBUTE_NONE"}
    return {name for name in HERE if not name.endswith("*")} | stars | {row.name for row in OIDS}


# the table


def test_the_table_names_what_is_defined_and_nothing_else() -> None:
    assert defined() == expanded()
    assert [name for name in defined() if not hasattr(ndis, name)] == []


def test_every_name_stands_once_in_the_table_and_is_here_or_absent_for_a_reason() -> None:
    assert len({row.name for row in NAMES}) == len(NAMES)
    assert [row.name for row in NAMES if bool(row.by) == bool(row.absent)] == []


@pytest.mark.parametrize("row", [row for row in NAMES if row.by], ids=lambda row: row.name)
def test_what_does_the_work_exists(row: Any) -> None:
    module, *path = row.by.split(".")
    __import__(f"vnic.{module}")
    holder: object = getattr(vnic, module)
    for step in path:
        # an attribute that only instances have stands in the documentation of its class
        documented = f"{step}:" in str(getattr(holder, "__doc__", "")) or step in getattr(holder, "__annotations__", {})
        assert hasattr(holder, step) or documented or step in (TREE / "vnic/core.pyi").read_text(), step
        holder = getattr(holder, step, None)


def test_nothing_in_the_project_uses_the_second_spelling() -> None:
    paths = [path for folder in ("vnic", "miniport", "protocol") for path in (TREE / folder).rglob("*.py")]
    others = [path for path in paths if path.parent.name != "ndis5" and path.name != "ndis.py"]
    assert [path for path in others if re.search(r"^ *(import|from) .*\bndis5?\b", path.read_text(), re.MULTILINE)] == []


def test_the_status_codes_and_filters_have_their_real_names() -> None:
    for status in Status:
        assert getattr(ndis, f"NDIS_STATUS_{status.name}") is status
    for kind in PacketFilter:
        if kind:
            assert getattr(ndis, f"NDIS_PACKET_TYPE_{kind.name}") is kind


IN_ONLY = """
NdisAllocatePacketPool(NumberOfDescriptors, ProtocolReservedLength)
NdisAllocatePacketPoolEx(NumberOfDescriptors, NumberOfOverflowDescriptors, ProtocolReservedLength)
NdisFreePacketPool(PoolHandle)
NdisPacketPoolUsage(PoolHandle)
NdisSetPacketPoolProtocolId(PacketPoolHandle, ProtocolId)
NdisAllocatePacket(PoolHandle)
NdisDprAllocatePacket(PoolHandle)
NdisDprAllocatePacketNonInterlocked(PoolHandle)
NdisFreePacket(Packet)
NdisDprFreePacket(Packet)
NdisDprFreePacketNonInterlocked(Packet)
NdisReinitializePacket(Packet)
NdisGetPoolFromPacket(Packet)
NdisSetPacketFlags(Packet, Flags)
NdisClearPacketFlags(Packet, Flags)
NdisGetPacketFlags(Packet)
NDIS_GET_PACKET_PROTOCOL_TYPE(Packet)
NDIS_GET_PACKET_STATUS(Packet)
NDIS_SET_PACKET_STATUS(Packet, Status)
NDIS_OOB_DATA_FROM_PACKET(Packet)
NDIS_GET_PACKET_HEADER_SIZE(Packet)
NDIS_SET_PACKET_HEADER_SIZE(Packet, HdrSize)
NDIS_GET_PACKET_TIME_TO_SEND(Packet)
NDIS_SET_PACKET_TIME_TO_SEND(Packet, TimeToSend)
NDIS_GET_PACKET_TIME_SENT(Packet)
NDIS_SET_PACKET_TIME_SENT(Packet, TimeSent)
NDIS_GET_PACKET_TIME_RECEIVED(Packet)
NDIS_SET_PACKET_TIME_RECEIVED(Packet, TimeReceived)
NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(Packet)
NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(Packet, MediaSpecificInfo, SizeMediaSpecificInfo)
NDIS_PACKET_EXTENSION_FROM_PACKET(Packet)
NDIS_PER_PACKET_INFO_FROM_PACKET(Packet, Id)
NDIS_GET_ORIGINAL_PACKET(Packet)
NDIS_SET_ORIGINAL_PACKET(Packet, OriginalPacket)
NDIS_GET_PACKET_CANCEL_ID(Packet)
NDIS_SET_PACKET_CANCEL_ID(Packet, CancelId)
NdisGetPacketCancelId(Packet)
NdisSetPacketCancelId(Packet, CancelId)
NdisAllocateBufferPool(NumberOfDescriptors)
NdisFreeBufferPool(PoolHandle)
NdisAllocateBuffer(PoolHandle, VirtualAddress, Length)
NdisCopyBuffer(PoolHandle, MemoryDescriptor, Offset, Length)
NdisFreeBuffer(Buffer)
NdisFlushBuffer(Buffer, WriteToDevice)
NdisChainBufferAtFront(Packet, Buffer)
NdisChainBufferAtBack(Packet, Buffer)
NdisUnchainBufferAtFront(Packet)
NdisUnchainBufferAtBack(Packet)
NdisGetNextBuffer(CurrentBuffer)
NDIS_BUFFER_LINKAGE(Buffer)
NDIS_PACKET_FIRST_NDIS_BUFFER(Packet)
NDIS_PACKET_LAST_NDIS_BUFFER(Packet)
NDIS_PACKET_VALID_COUNTS(Packet)
NdisRecalculatePacketCounts(Packet)
NDIS_BUFFER_TO_SPAN_PAGES(Buffer)
NdisQueryPacket(Packet)
NdisQueryPacketLength(Packet)
NdisQueryBuffer(Buffer)
NdisQueryBufferSafe(Buffer, Priority)
NdisGetFirstBufferFromPacket(Packet)
NdisGetFirstBufferFromPacketSafe(Packet, Priority)
NdisBufferLength(Buffer)
NdisBufferVirtualAddress(Buffer)
NdisBufferVirtualAddressSafe(Buffer, Priority)
NdisAdjustBufferLength(Buffer, Length)
NdisCopyFromPacketToPacket(Destination, DestinationOffset, BytesToCopy, Source, SourceOffset)
NdisCopyFromPacketToPacketSafe(Destination, DestinationOffset, BytesToCopy, Source, SourceOffset, Priority)
NdisAllocateSpinLock()
NdisFreeSpinLock(SpinLock)
NdisAcquireSpinLock(SpinLock)
NdisReleaseSpinLock(SpinLock)
NdisDprAcquireSpinLock(SpinLock)
NdisDprReleaseSpinLock(SpinLock)
NdisInitializeReadWriteLock()
NdisAcquireReadWriteLock(Lock, fWrite)
NdisReleaseReadWriteLock(Lock, LockState)
NdisInterlockedIncrement(Addend)
NdisInterlockedDecrement(Addend)
NdisInterlockedAddUlong(Addend, Increment, SpinLock)
NdisInitializeListHead()
NdisInterlockedInsertHeadList(ListHead, ListEntry, SpinLock)
NdisInterlockedInsertTailList(ListHead, ListEntry, SpinLock)
NdisInterlockedRemoveHeadList(ListHead, SpinLock)
NdisGetCurrentSystemTime()
NdisStallExecution(MicrosecondsToStall)
NdisMSleep(MicrosecondsToSleep)
NdisInitializeEvent()
NdisSetEvent(Event)
NdisResetEvent(Event)
NdisWaitEvent(Event, MsToWait)
NdisInitializeTimer(TimerFunction, FunctionContext)
NdisSetTimer(Timer, MillisecondsToDelay)
NdisCancelTimer(Timer)
NdisInitializeWorkItem(Routine, Context)
NdisScheduleWorkItem(WorkItem)
NdisMDeregisterInterrupt(Interrupt)
NdisMSynchronizeWithInterrupt(Interrupt, SynchronizeFunction, SynchronizeContext)
NdisMIndicateReceivePacket(MiniportAdapterHandle, ReceivePackets, NumberOfPackets)
NdisReturnPackets(PacketsToReturn, NumberOfPackets)
TdiReturnChainedReceives(TsduDescriptors, NumberOfTsdus)
NdisSend(NdisBindingHandle, Packet)
NdisSendPackets(NdisBindingHandle, PacketArray, NumberOfPackets)
NdisCancelSendPackets(NdisBindingHandle, CancelId)
NdisRequest(NdisBindingHandle, NdisRequest)
NdisMSendComplete(MiniportAdapterHandle, Packet, Status)
NdisMSendResourcesAvailable(MiniportAdapterHandle)
NdisGeneratePartialCancelId()
NdisMEthIndicateReceive(MiniportAdapterHandle, MiniportReceiveContext, HeaderBuffer, HeaderBufferSize, LookaheadBuffer, \
LookaheadBufferSize, PacketSize)
NdisMEthIndicateReceiveComplete(MiniportAdapterHandle)
NdisTransferData(NdisBindingHandle, MacReceiveContext, ByteOffset, BytesToTransfer, Packet)
NdisMTransferDataComplete(MiniportAdapterHandle, Packet, Status, BytesTransferred)
NdisGetReceivedPacket(NdisBindingHandle, MacContext)
NdisCopyLookaheadData(Destination, Source, Length, ReceiveFlags)
NdisMQueryInformationComplete(MiniportAdapterHandle, Status, BytesWritten, BytesNeeded)
NdisMSetInformationComplete(MiniportAdapterHandle, Status, BytesRead, BytesNeeded)
NdisRegisterProtocol(ProtocolCharacteristics, CharacteristicsLength)
NdisDeregisterProtocol(NdisProtocolHandle)
NdisOpenAdapter(MediumArray, MediumArraySize, NdisProtocolHandle, ProtocolBindingContext, AdapterName, OpenOptions, AddressingInformation)
NdisCloseAdapter(NdisBindingHandle)
NdisCompleteBindAdapter(BindAdapterContext, Status, OpenStatus)
NdisCompleteUnbindAdapter(UnbindAdapterContext, Status)
NdisReEnumerateProtocolBindings(NdisProtocolHandle)
NdisQueryAdapterInstanceName(NdisBindingHandle)
NdisOpenConfiguration(WrapperConfigurationContext)
NdisReadConfiguration(ConfigurationHandle, Keyword, ParameterType)
NdisReadNetworkAddress(ConfigurationHandle)
NdisCloseConfiguration(ConfigurationHandle)
NdisMInitializeWrapper(SystemSpecific1, SystemSpecific2, SystemSpecific3)
NdisTerminateWrapper(NdisWrapperHandle, SystemSpecific)
NdisMRegisterMiniport(NdisWrapperHandle, MiniportCharacteristics, CharacteristicsLength)
NdisMRegisterUnloadHandler(NdisWrapperHandle, UnloadHandler)
NdisMSetAttributes(MiniportAdapterHandle, MiniportAdapterContext, BusMaster, AdapterType)
NdisMSetAttributesEx(MiniportAdapterHandle, MiniportAdapterContext, CheckForHangTimeInSeconds, AttributeFlags, AdapterType)
NdisMRegisterAdapterShutdownHandler(MiniportHandle, ShutdownContext, ShutdownHandler)
NdisMDeregisterAdapterShutdownHandler(MiniportHandle)
NdisMRemoveMiniport(MiniportHandle)
NdisMRegisterInterrupt(MiniportAdapterHandle, InterruptVector, InterruptLevel, RequestIsr, SharedInterrupt, InterruptMode)
NdisMInitializeTimer(MiniportAdapterHandle, TimerFunction, FunctionContext)
NdisMSetTimer(Timer, MillisecondsToDelay)
NdisMSetPeriodicTimer(Timer, MillisecondPeriod)
NdisMCancelTimer(Timer)
NdisMIndicateStatus(MiniportAdapterHandle, GeneralStatus, StatusBuffer, StatusBufferSize)
NdisMIndicateStatusComplete(MiniportAdapterHandle)
NdisReset(NdisBindingHandle)
NdisMResetComplete(MiniportAdapterHandle, Status, AddressingReset)
NdisCompletePnPEvent(Status, NdisBindingHandle, NetPnPEvent)
NdisQueryPendingIOCount(NdisBindingHandle)
NdisIMRegisterLayeredMiniport(NdisWrapperHandle, MiniportCharacteristics, CharacteristicsLength)
NdisIMDeregisterLayeredMiniport(DriverHandle)
NdisIMAssociateMiniport(DriverHandle, ProtocolHandle)
NdisIMInitializeDeviceInstanceEx(DriverHandle, DriverInstance, DeviceContext)
NdisIMCancelInitializeDeviceInstance(DriverHandle, DeviceInstance)
NdisIMDeInitializeDeviceInstance(NdisMiniportHandle)
NdisIMGetDeviceContext(MiniportAdapterHandle)
NdisIMNotifyPnPEvent(MiniportHandle, NetPnPEvent)
NdisIMGetCurrentPacketStack(Packet)
NdisIMCopySendPerPacketInfo(DstPacket, SrcPacket)
NdisIMCopySendCompletePerPacketInfo(DstPacket, SrcPacket)
NdisCoCreateVc(NdisBindingHandle, NdisAfHandle, ProtocolVcContext)
NdisCmActivateVc(NdisVcHandle, CallParameters)
NdisCmDeactivateVc(NdisVcHandle)
NdisCoDeleteVc(NdisVcHandle)
NdisCoSendPackets(NdisVcHandle, PacketArray, NumberOfPackets)
NdisMCoSendComplete(Status, NdisVcHandle, Packet)
NdisMCoIndicateReceivePacket(NdisVcHandle, PacketArray, NumberOfPackets)
NdisMCoReceiveComplete(MiniportAdapterHandle)
NdisMCoActivateVcComplete(Status, NdisVcHandle, CallParameters)
NdisMCoDeactivateVcComplete(Status, NdisVcHandle)
NdisMCoIndicateStatus(MiniportAdapterHandle, NdisVcHandle, GeneralStatus, StatusBuffer, StatusBufferSize)
NdisCoRequest(NdisBindingHandle, NdisAfHandle, NdisVcHandle, NdisPartyHandle, NdisRequest)
"""
"""The C forms, without what comes out."""


def test_parameters_have_their_c_names_in_their_c_order() -> None:
    found = {name: ", ".join(inspect.signature(value).parameters) for name in defined() if inspect.isfunction(value := getattr(ndis, name))}
    assert found == dict(re.findall(r"^(\w+)\((.*)\)$", IN_ONLY, re.MULTILINE))


def test_the_page_of_conformance_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, TREE / "scripts/conformance", "--check"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_call_of_the_contract_that_has_no_row_is_a_fault() -> None:
    callers_part = runpy.run_path(str(TREE / "scripts/conformance"))["callers_part"]
    callers = runpy.run_path(str(TREE / "tests/conformance/callers.py"))
    assert {name for call in callers["CALLS"] for name in call.callers.split()} == callers["DRIVERS"].keys()
    assert callers_part(NAMES, callers)[1] == []
    fewer = [name for name in NAMES if name.name != "NdisSendPackets"]
    assert callers_part(fewer, callers)[1] == ["NdisSendPackets is called by ndisprot, and has no row in vnic/names.py"]


# pools


def test_pkt_07_more_than_65535_packets_answer_resources() -> None:
    assert ndis.NdisAllocatePacketPoolEx(0x10000, 0, 0) == (Status.RESOURCES, None)


def test_pkt_08_pkt_10_more_overflow_than_fits_is_silently_reduced() -> None:
    status, pool = ndis.NdisAllocatePacketPoolEx(0xFFFE, 0xFFFF, 0)
    assert status is Status.SUCCESS
    assert pool is not None
    packets = [packet_of(pool) for _ in range(0xFFFF)]
    assert ndis.NdisAllocatePacket(pool) == (Status.RESOURCES, None)
    assert ndis.NdisPacketPoolUsage(pool) == 0xFFFF
    for packet in packets:
        ndis.NdisFreePacket(packet)


def test_pkt_09_overflow_packets_are_made_when_all_others_are_out_and_go_when_they_are_freed() -> None:
    status, pool = ndis.NdisAllocatePacketPoolEx(1, 1, 0)
    assert status is Status.SUCCESS
    assert pool is not None
    assert len(pool.packets()) == 1
    base, extra = packet_of(pool), packet_of(pool)
    assert (len(pool.packets()), ndis.NdisAllocatePacket(pool)) == (2, (Status.RESOURCES, None))
    assert (bytes(base.data), bytes(extra.data), extra.ethertype) == (b"", b"", 0)
    ndis.NdisFreePacket(extra)
    ndis.NdisFreePacket(base)
    assert (len(pool.packets()), ndis.NdisPacketPoolUsage(pool)) == (1, 0)


def test_pkt_13_a_protocol_id_is_on_every_packet_and_set_before_the_first() -> None:
    pool = pool_of(2)
    ndis.NdisSetPacketPoolProtocolId(pool, ndis.NDIS_PROTOCOL_ID_TCP_IP)
    for _ in range(2):
        packet = packet_of(pool)
        assert ndis.NDIS_GET_PACKET_PROTOCOL_TYPE(packet) == ndis.NDIS_PROTOCOL_ID_TCP_IP
        ndis.NdisSetPacketFlags(packet, 0x40)
        assert ndis.NDIS_GET_PACKET_PROTOCOL_TYPE(packet) == ndis.NDIS_PROTOCOL_ID_TCP_IP
        ndis.NdisFreePacket(packet)
    with pytest.raises(ValueError, match="before the first packet"):
        ndis.NdisSetPacketPoolProtocolId(pool, ndis.NDIS_PROTOCOL_ID_IPX)
    with pytest.raises(ValueError, match="0 to 15"):
        ndis.NdisSetPacketPoolProtocolId(pool_of(1), 16)
    ids = ndis.NDIS_PROTOCOL_ID_DEFAULT, ndis.NDIS_PROTOCOL_ID_TCP_IP, ndis.NDIS_PROTOCOL_ID_IPX, ndis.NDIS_PROTOCOL_ID_NBF
    assert ids == (0, 2, 6, 7)


# packets


def test_pkt_35_flags_are_added_and_survive_reinitialisation() -> None:
    packet = packet_of(pool_of(1))
    ndis.NdisSetPacketFlags(packet, 0x10)
    ndis.NdisSetPacketFlags(packet, 0x20)
    ndis.NdisReinitializePacket(packet)
    assert ndis.NdisGetPacketFlags(packet) == 0x30
    ndis.NdisClearPacketFlags(packet, 0x10)
    assert ndis.NdisGetPacketFlags(packet) == 0x20
    flags = ndis.NDIS_FLAGS_DONT_LOOPBACK, ndis.NDIS_FLAGS_IS_LOOPBACK_PACKET, ndis.NDIS_FLAGS_LOOPBACK_ONLY
    assert flags == (0x80, 0x100, 0x200)


def test_pkt_40_the_out_of_band_block_is_read_and_written_member_by_member() -> None:
    packet = packet_of(pool_of(1))
    ndis.NDIS_SET_PACKET_TIME_TO_SEND(packet, 11)
    assert (ndis.NDIS_GET_PACKET_TIME_TO_SEND(packet), ndis.NDIS_GET_PACKET_TIME_SENT(packet)) == (11, 11)
    ndis.NDIS_SET_PACKET_TIME_SENT(packet, 12)
    assert ndis.NDIS_GET_PACKET_TIME_TO_SEND(packet) == 12
    ndis.NDIS_SET_PACKET_TIME_RECEIVED(packet, 13)
    assert ndis.NDIS_GET_PACKET_TIME_RECEIVED(packet) == 13
    assert ndis.NDIS_GET_PACKET_HEADER_SIZE(packet) == 14
    ndis.NDIS_SET_PACKET_HEADER_SIZE(packet, 18)
    assert ndis.NDIS_GET_PACKET_HEADER_SIZE(packet) == 18
    assert ndis.NDIS_GET_PACKET_STATUS(packet) is Status.SUCCESS
    ndis.NDIS_SET_PACKET_STATUS(packet, ndis.NDIS_STATUS_RESOURCES)
    assert ndis.NDIS_GET_PACKET_STATUS(packet) is Status.RESOURCES


def test_pkt_42_media_specific_information_is_a_pointer_and_a_size_or_neither() -> None:
    packet, memory = packet_of(pool_of(1)), bytearray(b"0123456789")
    assert ndis.NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(packet) == (None, 0)
    ndis.NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(packet, memory, 4)
    info, size = ndis.NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(packet)
    assert (bytes(info), size, info.obj) == (b"0123", 4, memory)
    with pytest.raises(TypeError):
        ndis.NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(packet, None, 4)
    ndis.NDIS_OOB_DATA_FROM_PACKET(packet).media_specific = None


SLOTS = [
    ndis.TcpIpChecksumPacketInfo,
    ndis.IpSecPacketInfo,
    ndis.TcpLargeSendPacketInfo,
    ndis.ClassificationHandlePacketInfo,
    ndis.ScatterGatherListPacketInfo,
    ndis.Ieee8021QInfo,
    ndis.OriginalPacketInfo,
    ndis.PacketCancelId,
]


def test_pkt_44_per_packet_information_is_an_array_of_slots_empty_at_first() -> None:
    packet = packet_of(pool_of(1))
    assert set(SLOTS) == set(Info)
    for slot in SLOTS:
        assert ndis.NDIS_PER_PACKET_INFO_FROM_PACKET(packet, slot) is None
        ndis.NDIS_PACKET_EXTENSION_FROM_PACKET(packet)[slot] = f"of {slot}"
        assert ndis.NDIS_PER_PACKET_INFO_FROM_PACKET(packet, slot) == f"of {slot}"
    ndis.NDIS_SET_PACKET_CANCEL_ID(packet, 7)
    assert ndis.NdisGetPacketCancelId(packet) == 7
    ndis.NdisSetPacketCancelId(packet, 8)
    assert ndis.NDIS_GET_PACKET_CANCEL_ID(packet) == 8


def test_pkt_45_the_original_of_a_packet_is_itself_until_another_is_named() -> None:
    pool = pool_of(2)
    mine, original = packet_of(pool), packet_of(pool)
    assert ndis.NDIS_GET_ORIGINAL_PACKET(mine) is mine
    ndis.NDIS_SET_ORIGINAL_PACKET(mine, original)
    assert ndis.NDIS_GET_ORIGINAL_PACKET(mine) is original


# buffers


def test_buf_02_a_pool_gives_as_many_buffers_as_it_says_and_then_failure() -> None:
    buffers = buffers_of(2)
    first = buffer_of(buffers, b"one")
    buffer_of(buffers, b"two")
    assert ndis.NdisAllocateBuffer(buffers, b"three", 5) == (Status.FAILURE, None)
    ndis.NdisFreeBuffer(first)
    assert ndis.NdisAllocateBuffer(buffers, b"three", 5)[0] is Status.SUCCESS


def test_buf_04_every_buffer_is_freed_before_its_pool() -> None:
    buffers = buffers_of(1)
    buffer = buffer_of(buffers, b"one")
    assert violation(ndis.NdisFreeBufferPool, buffers) == "39"
    ndis.NdisFreeBuffer(buffer)
    ndis.NdisFreeBufferPool(buffers)
    assert violation(ndis.NdisAllocateBuffer, buffers, b"two", 3) == "40"


def test_buf_07_a_chained_buffer_is_not_freed_and_the_one_of_a_slot_never() -> None:
    packet, buffers = packet_of(pool_of(1)), buffers_of(1)
    (buffer,) = chain(packet, buffers, b"one")
    assert violation(ndis.NdisFreeBuffer, buffer) == "42"
    strip(packet)
    slots = PacketPool(1, 64)
    received = packet_of(slots)
    received.write(b"frame")
    slot = ndis.NDIS_PACKET_FIRST_NDIS_BUFFER(received)
    assert slot is not None
    with pytest.raises(ValueError, match="own slot"):
        ndis.NdisFreeBuffer(slot)
    ndis.NdisFreePacket(received)
    ndis.NdisFreePacketPool(slots)


@pytest.mark.parametrize("write_to_device", [True, False])
def test_a_buffer_that_is_flushed_is_as_it_was(write_to_device: bool) -> None:
    packet, buffers = packet_of(pool_of(1)), buffers_of(1)
    (buffer,) = chain(packet, buffers, b"one")
    ndis.NdisFlushBuffer(buffer, write_to_device)
    assert (bytes(buffer.data), strip(packet)) == (b"one", [buffer])


def test_oid_01_requests_and_oids_have_their_real_names_and_numbers() -> None:
    kinds = [ndis.NdisRequestQueryInformation, ndis.NdisRequestSetInformation, ndis.NdisRequestQueryStatistics]
    assert kinds == [RequestKind.QUERY, RequestKind.SET, RequestKind.STATISTICS] == [0, 1, 2]
    assert {row.name: getattr(ndis, row.name) for row in OIDS} == {row.name: row.oid for row in OIDS}
    assert (ndis.OID_GEN_CURRENT_PACKET_FILTER, ndis.OID_802_3_CURRENT_ADDRESS) == (0x0001010E, 0x01010102)


def test_settings_are_read_with_their_types() -> None:
    given = {"Speed": 100, "Name": "eth", "Groups": ["a", "b"], "NetworkAddress": bytes(6)}
    status, handle = ndis.NdisOpenConfiguration(given)
    assert status is Status.SUCCESS
    for keyword, kind in (
        ("Speed", ndis.NdisParameterInteger),
        ("Speed", ndis.NdisParameterHexInteger),
        ("Name", ndis.NdisParameterString),
        ("Groups", ndis.NdisParameterMultiString),
        ("NetworkAddress", ndis.NdisParameterBinary),
    ):
        assert ndis.NdisReadConfiguration(handle, keyword, kind) == (Status.SUCCESS, given[keyword])
    assert ndis.NdisReadConfiguration(handle, "Speed", ndis.NdisParameterString) == (Status.FAILURE, None)
    assert ndis.NdisReadConfiguration(handle, "Duplex", ndis.NdisParameterInteger) == (Status.FAILURE, None)
    assert ndis.NdisReadNetworkAddress(handle) == (Status.SUCCESS, bytes(6), 6)
    assert ndis.NdisReadNetworkAddress({}) == (Status.FAILURE, None, 0)
    ndis.NdisCloseConfiguration(handle)


def test_buf_09_a_copy_of_a_buffer_describes_the_same_bytes() -> None:
    buffers, memory = buffers_of(4), bytearray(b"0123456789")
    source = buffer_of(buffers, memory)
    status, copy = ndis.NdisCopyBuffer(buffers, source, 2, 3)
    assert status is Status.SUCCESS
    assert copy is not None
    memory[2:5] = b"abc"
    assert bytes(copy.data) == b"abc"
    assert ndis.NdisCopyBuffer(buffers, source, 8, 3) == (Status.FAILURE, None)
    assert ndis.NdisCopyBuffer(buffers_of(1), source, 0, 10)[0] is Status.SUCCESS
    full = buffers_of(1)
    buffer_of(full, b"x")
    assert ndis.NdisCopyBuffer(full, source, 0, 10) == (Status.FAILURE, None)


def test_buf_10_buf_12_a_chain_is_walked_and_taken_apart_in_order() -> None:
    def links(*of: Any) -> list[Any]:
        return [ndis.NdisGetNextBuffer(buffer) for buffer in of]

    packet, buffers = packet_of(pool_of(1)), buffers_of(3)
    assert (ndis.NDIS_PACKET_FIRST_NDIS_BUFFER(packet), ndis.NDIS_PACKET_LAST_NDIS_BUFFER(packet)) == (None, None)
    second, third = chain(packet, buffers, b"22", b"333")
    first = buffer_of(buffers, b"1")
    ndis.NdisChainBufferAtFront(packet, first)
    assert (ndis.NDIS_PACKET_FIRST_NDIS_BUFFER(packet), ndis.NDIS_PACKET_LAST_NDIS_BUFFER(packet)) == (first, third)
    assert links(first, second, third) == [second, third, None]
    assert ndis.NDIS_BUFFER_LINKAGE(second) is third
    assert ndis.NdisQueryPacket(packet) == (3, 3, first, 6)
    assert [ndis.NdisUnchainBufferAtBack(packet), ndis.NdisUnchainBufferAtFront(packet)] == [third, first]
    assert links(first, third) == [None, None]
    assert strip(packet) == [second]
    assert (ndis.NdisUnchainBufferAtBack(packet), ndis.NdisQueryPacket(packet)) == (None, (0, 0, None, 0))


@pytest.mark.parametrize("priority", [ndis.LowPagePriority, ndis.NormalPagePriority, ndis.HighPagePriority])
def test_buf_13_the_safe_forms_answer_what_the_plain_ones_do(priority: int) -> None:
    packet, buffers = packet_of(pool_of(1)), buffers_of(2)
    assert ndis.NdisGetFirstBufferFromPacketSafe(packet, priority) == (None, None, 0, 0)
    first, _ = chain(packet, buffers, b"one", b"three")
    found = ndis.NdisGetFirstBufferFromPacketSafe(packet, priority)
    assert found == ndis.NdisGetFirstBufferFromPacket(packet) == (first, first.memory, 3, 8)
    assert ndis.NdisQueryBufferSafe(first, priority) == ndis.NdisQueryBuffer(first) == (first.memory, 3)
    assert ndis.NdisBufferVirtualAddressSafe(first, priority) is ndis.NdisBufferVirtualAddress(first)
    assert ndis.NdisBufferLength(first) == 3
    strip(packet)


def test_buf_16_buf_17_pkt_36_a_buffer_is_shortened_and_the_totals_follow() -> None:
    packet, buffers = packet_of(pool_of(1)), buffers_of(1)
    (buffer,) = chain(packet, buffers, b"0123456789")
    assert not ndis.NDIS_PACKET_VALID_COUNTS(packet)
    assert ndis.NdisQueryPacketLength(packet) == 10
    assert ndis.NDIS_PACKET_VALID_COUNTS(packet)
    ndis.NdisAdjustBufferLength(buffer, 4)
    assert not ndis.NDIS_PACKET_VALID_COUNTS(packet)
    assert ndis.NdisQueryPacketLength(packet) == 4
    ndis.NdisRecalculatePacketCounts(packet)
    assert (ndis.NDIS_PACKET_VALID_COUNTS(packet), ndis.NdisQueryPacketLength(packet)) == (False, 4)
    with pytest.raises(ValueError, match="length 11"):
        ndis.NdisAdjustBufferLength(buffer, 11)
    strip(packet)


@pytest.mark.parametrize(("size", "pages"), [(0, 1), (1, 1), (mmap.PAGESIZE, 1), (mmap.PAGESIZE + 1, 2)])
def test_a_buffer_spans_the_pages_that_hold_its_bytes(size: int, pages: int) -> None:
    assert ndis.NDIS_BUFFER_TO_SPAN_PAGES(buffer_of(buffers_of(1), bytes(size))) == pages


@pytest.mark.parametrize("safe", [False, True])
def test_buf_18_buf_19_bytes_are_copied_between_packets_across_buffers(safe: bool) -> None:
    def copy(*given: Any) -> int:
        call: Callable[..., int] = ndis.NdisCopyFromPacketToPacketSafe if safe else ndis.NdisCopyFromPacketToPacket
        return call(*given, ndis.NormalPagePriority) if safe else call(*given)

    pool, buffers = pool_of(2), buffers_of(4)
    source, target = packet_of(pool), packet_of(pool)
    chain(source, buffers, b"0123", b"456789")
    memory = bytearray(3), bytearray(4)
    for part in memory:
        ndis.NdisChainBufferAtBack(target, buffer_of(buffers, part))
    ndis.NdisSetPacketFlags(source, 0x40)
    assert copy(target, 1, 5, source, 2) == 5
    assert (bytes(memory[0]), bytes(memory[1])) == (b"\x0023", b"456\x00")
    assert copy(target, 4, 9, source, 0) == 3
    assert copy(target, 0, 9, source, 8) == 2
    assert ndis.NdisGetPacketFlags(target) == 0
    strip(source)
    strip(target)


# levels

UP_TO_DISPATCH: list[Callable[[], object]] = [
    lambda: ndis.NdisAllocatePacketPoolEx(1, 0, 0),
    lambda: ndis.NdisAllocateBufferPool(1),
    lambda: ndis.NdisAllocatePacket(pool_of(1)),
    lambda: ndis.NdisReturnPackets([], 0),
]


@pytest.mark.parametrize("call", UP_TO_DISPATCH)
def test_a_call_above_dispatch_is_refused_at_verifier_level_2(call: Callable[[], object], strict: None) -> None:
    call()
    with at_irql(Irql.DISPATCH):
        call()
    with at_irql(Irql.DIRQL):
        assert violation(call) == "70"


# locks and time


def test_syn_06_spin_locks() -> None:
    lock = ndis.NdisAllocateSpinLock()
    assert type(lock) is ndis.NDIS_SPIN_LOCK
    ndis.NdisAcquireSpinLock(lock)
    assert (lock.held, current_irql()) == (True, Irql.DISPATCH)
    ndis.NdisReleaseSpinLock(lock)
    with at_irql(Irql.DISPATCH):
        ndis.NdisDprAcquireSpinLock(lock)
        assert violation(ndis.NdisReleaseSpinLock, lock) == "74b"
        ndis.NdisDprReleaseSpinLock(lock)
    ndis.NdisFreeSpinLock(lock)
    assert violation(ndis.NdisAcquireSpinLock, lock) == "76"


def test_syn_20_read_write_locks() -> None:
    lock = ndis.NdisInitializeReadWriteLock()
    assert type(lock) is ndis.NDIS_RW_LOCK
    first = ndis.NdisAcquireReadWriteLock(lock, False)
    second = ndis.NdisAcquireReadWriteLock(lock, False)
    assert (type(first), current_irql()) == (ndis.LOCK_STATE, Irql.DISPATCH)
    ndis.NdisReleaseReadWriteLock(lock, second)
    ndis.NdisReleaseReadWriteLock(lock, first)
    writing = ndis.NdisAcquireReadWriteLock(lock, True)
    assert violation(ndis.NdisAcquireReadWriteLock, lock, False) == "73"
    ndis.NdisReleaseReadWriteLock(lock, writing)


def test_syn_19_interlocked_numbers_and_lists() -> None:
    number, lock, entries = Interlocked(), ndis.NdisAllocateSpinLock(), ndis.NdisInitializeListHead()
    assert [ndis.NdisInterlockedIncrement(number) for _ in range(2)] == [1, 2]
    assert ndis.NdisInterlockedDecrement(number) == 1
    ndis.NdisInterlockedAddUlong(number, 40, lock)
    assert number.value == 41
    assert type(entries) is ndis.LIST_ENTRY
    assert ndis.NdisInterlockedInsertHeadList(entries, "b", lock) is None
    assert ndis.NdisInterlockedInsertHeadList(entries, "a", lock) == "b"
    assert ndis.NdisInterlockedInsertTailList(entries, "c", lock) == "b"
    assert [ndis.NdisInterlockedRemoveHeadList(entries, lock) for _ in range(4)] == ["a", "b", "c", None]


def test_syn_17_events() -> None:
    event = ndis.NdisInitializeEvent()
    assert type(event) is ndis.NDIS_EVENT
    assert not ndis.NdisWaitEvent(event, 1)
    ndis.NdisSetEvent(event)
    assert (ndis.NdisWaitEvent(event, 1), ndis.NdisWaitEvent(event, 0)) == (True, True)
    ndis.NdisResetEvent(event)
    assert not ndis.NdisWaitEvent(event, 1)


def test_syn_14_syn_15_timers_call_a_function_of_the_c_form(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = VirtualClock(), list[tuple[Any, ...]]()
    monkeypatch.setattr(system_timers, "clock", clock)
    timer = ndis.NdisInitializeTimer(lambda *arguments: calls.append((*arguments, current_irql())), "context")
    assert type(timer) is ndis.NDIS_TIMER
    ndis.NdisSetTimer(timer, 5)
    clock.advance(4, system_timers)
    assert calls == []
    clock.advance(1, system_timers)
    assert calls == [(None, "context", None, None, Irql.DISPATCH)]
    assert not ndis.NdisCancelTimer(timer)
    ndis.NdisSetTimer(timer, 5)
    assert ndis.NdisCancelTimer(timer)


def test_syn_18_work_items() -> None:
    ran: list[object] = []
    item = ndis.NdisInitializeWorkItem(lambda item, context: ran.extend([item, context, threading.current_thread()]), "context")
    assert type(item) is ndis.NDIS_WORK_ITEM
    assert ndis.NdisScheduleWorkItem(item) is ndis.NDIS_STATUS_SUCCESS
    assert work_items.drain(10_000)
    assert ran[:2] == [item, "context"]
    assert ran[2] is not threading.current_thread()


def test_the_time_is_told_and_passes(strict: None) -> None:
    before = ndis.NdisGetCurrentSystemTime()
    ndis.NdisStallExecution(50)
    ndis.NdisMSleep(1_000)
    assert ndis.NdisGetCurrentSystemTime() - before >= 10_500
    assert abs(before / 10_000_000 - 11_644_473_600 - time.time()) < 60
    with at_irql(Irql.DISPATCH):
        assert violation(ndis.NdisMSleep, 1) == "70"


class Card:
    def isr(self) -> tuple[bool, bool]:
        return True, True

    def handle_interrupt(self) -> None: ...


def test_syn_13_a_function_is_synchronised_with_the_interrupt() -> None:
    interrupt = Interrupt(Card())
    interrupt.phase = Phase.RUNNING
    assert type(interrupt) is ndis.NDIS_MINIPORT_INTERRUPT
    assert ndis.NdisMSynchronizeWithInterrupt(interrupt, lambda context: (context, current_irql()) == (5, Irql.DIRQL), 5)
    assert not ndis.NdisMSynchronizeWithInterrupt(interrupt, lambda _: 0, None)
    ndis.NdisMDeregisterInterrupt(interrupt)
    assert violation(ndis.NdisMSynchronizeWithInterrupt, interrupt, bool, None) == "66"


def test_rx_57_a_filter_is_set_by_its_real_names() -> None:
    with Bench() as bench:
        driver = Driver()
        binding = bench.bind(driver)
        binding.packet_filter = reduce(lambda one, other: one | other, [ndis.NDIS_PACKET_TYPE_DIRECTED, ndis.NDIS_PACKET_TYPE_BROADCAST])
        bench.give(frame(1), frame(2, to=b"\x01\0\0\0\0\0"))
        assert driver.frames == [frame(1)]


def test_oid_02_a_request_is_made_of_the_adapter() -> None:
    with Bench() as bench:
        request = ndis.NDIS_REQUEST(RequestKind.QUERY, Oid.GEN_MAXIMUM_FRAME_SIZE, bytearray(4))
        assert ndis.NdisRequest(bench.bind(Driver()), request) is Status.SUCCESS
        assert (int.from_bytes(request.information_buffer, "little"), request.bytes_written) == (1500, 4)


def test_tx_28_waiting_sends_of_an_id_are_cancelled() -> None:
    driver = Sender()
    with Bench() as bench:
        binding = bench.bind(driver)
        bench.fill_cable(binding)
        for mark in (7, 8):
            packet = bench.owned(frame(mark), bench.own)
            ndis.NDIS_SET_PACKET_CANCEL_ID(packet, mark)
            assert ndis.NdisSend(binding, packet) is Status.PENDING
        ndis.NdisCancelSendPackets(binding, 8)
        assert driver.completed == [(frame(8), Status.REQUEST_ABORTED)]
        bench.adapter.close(binding)


def test_the_types_are_those_of_the_object_api() -> None:
    assert [Packet, Status, vnic.Buffer] == [ndis.NDIS_PACKET, ndis.NDIS_STATUS, ndis.NDIS_BUFFER]
    assert packet_of(pool_of(1)).state is PacketState.OWNED
