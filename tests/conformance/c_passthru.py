"""
An intermediate driver in the C manner, beside the drivers of `c_drivers.py`: what comes up goes up, what goes down goes down.

What C saves in a packet's reserved area, which is another packet, stands in a table here: the area has bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vnic.ndis import (
    NDIS_ATTRIBUTE_DESERIALIZE,
    NDIS_ATTRIBUTE_IGNORE_PACKET_TIMEOUT,
    NDIS_ATTRIBUTE_IGNORE_REQUEST_TIMEOUT,
    NDIS_ATTRIBUTE_INTERMEDIATE_DRIVER,
    NDIS_ATTRIBUTE_NO_HALT_ON_SUSPEND,
    NDIS_GET_ORIGINAL_PACKET,
    NDIS_GET_PACKET_HEADER_SIZE,
    NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO,
    NDIS_GET_PACKET_STATUS,
    NDIS_GET_PACKET_TIME_TO_SEND,
    NDIS_MINIPORT_CHARACTERISTICS,
    NDIS_OOB_DATA_FROM_PACKET,
    NDIS_PACKET,
    NDIS_PROTOCOL_CHARACTERISTICS,
    NDIS_REQUEST,
    NDIS_SET_ORIGINAL_PACKET,
    NDIS_SET_PACKET_HEADER_SIZE,
    NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO,
    NDIS_SET_PACKET_STATUS,
    NDIS_SET_PACKET_TIME_TO_SEND,
    NDIS_STATUS,
    NDIS_STATUS_FAILURE,
    NDIS_STATUS_PENDING,
    NDIS_STATUS_RESOURCES,
    NDIS_STATUS_SUCCESS,
    NDIS_STATUS_UNSUPPORTED_MEDIA,
    NdisAllocateBuffer,
    NdisAllocateBufferPool,
    NdisAllocatePacket,
    NdisAllocatePacketPool,
    NdisCancelSendPackets,
    NdisChainBufferAtFront,
    NdisCloseAdapter,
    NdisCompleteUnbindAdapter,
    NdisCopyFromPacketToPacket,
    NdisDeregisterProtocol,
    NdisFreeBuffer,
    NdisFreeBufferPool,
    NdisFreePacket,
    NdisFreePacketPool,
    NdisGetPacketFlags,
    NdisGetReceivedPacket,
    NdisIMAssociateMiniport,
    NdisIMCancelInitializeDeviceInstance,
    NdisIMCopySendCompletePerPacketInfo,
    NdisIMCopySendPerPacketInfo,
    NdisIMDeInitializeDeviceInstance,
    NdisIMDeregisterLayeredMiniport,
    NdisIMGetDeviceContext,
    NdisIMInitializeDeviceInstanceEx,
    NdisIMNotifyPnPEvent,
    NdisIMRegisterLayeredMiniport,
    NdisInterfaceInternal,
    NdisMedium802_3,
    NdisMEthIndicateReceive,
    NdisMEthIndicateReceiveComplete,
    NdisMIndicateReceivePacket,
    NdisMIndicateStatus,
    NdisMIndicateStatusComplete,
    NdisMInitializeWrapper,
    NdisMQueryInformationComplete,
    NdisMRegisterUnloadHandler,
    NdisMSendComplete,
    NdisMSetAttributesEx,
    NdisMSetInformationComplete,
    NdisMTransferDataComplete,
    NdisOpenAdapter,
    NdisRegisterProtocol,
    NdisRequest,
    NdisRequestQueryInformation,
    NdisRequestSetInformation,
    NdisReturnPackets,
    NdisSend,
    NdisSetPacketFlags,
    NdisTerminateWrapper,
    NdisTransferData,
    NdisUnchainBufferAtFront,
)

PACKETS = 8


class Adapt:
    """What the driver knows of one binding, and of the virtual NIC above it."""

    def __init__(self, DeviceName: str, UpperName: str) -> None:
        self.DeviceName, self.UpperName = DeviceName, UpperName
        self.BindingHandle: Any = None
        self.MiniportHandle: Any = None
        self.UnbindContext: Any = None
        self.RecvPool: Any
        self.SendPool: Any
        _, self.RecvPool = NdisAllocatePacketPool(PACKETS, 16)
        _, self.SendPool = NdisAllocatePacketPool(PACKETS, 16)
        self.BufferPool: Any
        _, self.BufferPool = NdisAllocateBufferPool(PACKETS)
        self.Saved: dict[NDIS_PACKET, NDIS_PACKET] = {}
        self.IndicateRcvComplete = False

    def free(self) -> None:
        """Every packet is back, or this is refused."""
        NdisFreePacketPool(self.RecvPool)
        NdisFreePacketPool(self.SendPool)
        NdisFreeBufferPool(self.BufferPool)


class SamplePassthru:
    """
    A virtual NIC over every adapter that is offered.

    Attributes:
        Adapts: the bindings, by the lower adapter's name.
        Log: what has happened to virtual NICs.
    """

    def __init__(self, Name: str = "pt") -> None:
        self.Name = Name
        self.Adapts: dict[str, Adapt] = {}
        self.Log: list[str] = []
        self.NdisWrapperHandle: Any = None
        self.DriverHandle: Any = None
        self.ProtHandle: Any = None
        self.Flags = (
            NDIS_ATTRIBUTE_IGNORE_PACKET_TIMEOUT
            | NDIS_ATTRIBUTE_IGNORE_REQUEST_TIMEOUT
            | NDIS_ATTRIBUTE_INTERMEDIATE_DRIVER
            | NDIS_ATTRIBUTE_DESERIALIZE
            | NDIS_ATTRIBUTE_NO_HALT_ON_SUSPEND
        )
        self.MChars = NDIS_MINIPORT_CHARACTERISTICS(
            MajorNdisVersion=5,
            MinorNdisVersion=1,
            InitializeHandler=self.Initialize,
            HaltHandler=self.Halt,
            ResetHandler=self.Reset,
            QueryInformationHandler=self.QueryInformation,
            SetInformationHandler=self.SetInformation,
            SendPacketsHandler=self.SendPackets,
            ReturnPacketHandler=self.ReturnPacket,
            TransferDataHandler=self.TransferData,
            CancelSendPacketsHandler=self.CancelSendPackets,
            PnPEventNotifyHandler=self.PnPEventNotify,
            AdapterShutdownHandler=self.Shutdown,
        )
        self.PChars = NDIS_PROTOCOL_CHARACTERISTICS(
            MajorNdisVersion=5,
            MinorNdisVersion=0,
            Name=Name,
            OpenAdapterCompleteHandler=self.OpenAdapterComplete,
            CloseAdapterCompleteHandler=self.CloseAdapterComplete,
            SendCompleteHandler=self.SendComplete,
            TransferDataCompleteHandler=self.TransferDataComplete,
            ResetCompleteHandler=self.ResetComplete,
            RequestCompleteHandler=self.RequestComplete,
            ReceiveHandler=self.Receive,
            ReceiveCompleteHandler=self.ReceiveComplete,
            StatusHandler=self.Status,
            StatusCompleteHandler=self.StatusComplete,
            ReceivePacketHandler=self.ReceivePacket,
            BindAdapterHandler=self.BindAdapter,
            UnbindAdapterHandler=self.UnbindAdapter,
            PnPEventHandler=self.PnPEvent,
        )

    def DriverEntry(self) -> NDIS_STATUS:
        """Register both edges, then say that they belong together."""
        self.NdisWrapperHandle = NdisMInitializeWrapper(self.Name, None, None)
        Status, self.DriverHandle = NdisIMRegisterLayeredMiniport(self.NdisWrapperHandle, self.MChars, len(self.MChars))
        if Status != NDIS_STATUS_SUCCESS:
            NdisTerminateWrapper(self.NdisWrapperHandle, None)
            return Status
        NdisMRegisterUnloadHandler(self.NdisWrapperHandle, self.Unload)
        Status, self.ProtHandle = NdisRegisterProtocol(self.PChars, len(self.PChars))
        if Status != NDIS_STATUS_SUCCESS:
            NdisIMDeregisterLayeredMiniport(self.DriverHandle)
            return Status
        NdisIMAssociateMiniport(self.DriverHandle, self.ProtHandle)
        return Status

    def Unload(self, DriverObject: Any) -> None:
        """Deregister both."""
        NdisDeregisterProtocol(self.ProtHandle)
        NdisIMDeregisterLayeredMiniport(self.DriverHandle)

    # the lower edge: bindings

    def BindAdapter(self, BindContext: Any, DeviceName: str, SystemSpecific1: Any, SystemSpecific2: Any) -> NDIS_STATUS:
        """Open the adapter, then ask for a virtual NIC above it."""
        Self = Adapt(DeviceName, f"{self.Name}-{DeviceName}")
        Status, _, Self.BindingHandle, _ = NdisOpenAdapter([NdisMedium802_3], 1, BindContext.NdisProtocolHandle, Self, DeviceName, 0, None)
        if Status != NDIS_STATUS_SUCCESS:
            Self.free()
            return Status
        self.Adapts[DeviceName] = Self
        Status = NdisIMInitializeDeviceInstanceEx(self.DriverHandle, Self.UpperName, Self)
        if Status != NDIS_STATUS_SUCCESS:
            self.CloseBinding(Self)
        return Status

    def UnbindAdapter(self, ProtocolBindingContext: Adapt, UnbindContext: Any) -> NDIS_STATUS:
        """The virtual NIC ends first; its Halt closes the binding, at once or when those above have their packets."""
        Self = ProtocolBindingContext
        if NdisIMCancelInitializeDeviceInstance(self.DriverHandle, Self.UpperName) == NDIS_STATUS_SUCCESS:
            self.Log.append(f"cancelled {Self.UpperName}")
            self.CloseBinding(Self)
            return NDIS_STATUS_SUCCESS
        Self.UnbindContext = UnbindContext
        Status = NdisIMDeInitializeDeviceInstance(Self.MiniportHandle)
        self.Log.append(f"deinitialized {Self.UpperName}: {Status.name}")
        return NDIS_STATUS_PENDING

    def CloseBinding(self, Self: Adapt) -> None:
        """Close it once."""
        BindingHandle, Self.BindingHandle = Self.BindingHandle, None
        if BindingHandle is not None and NdisCloseAdapter(BindingHandle) == NDIS_STATUS_SUCCESS:
            self.CloseAdapterComplete(Self, NDIS_STATUS_SUCCESS)

    def OpenAdapterComplete(self, ProtocolBindingContext: Adapt, Status: NDIS_STATUS, OpenErrorStatus: NDIS_STATUS) -> None:
        """Never."""
        raise AssertionError

    def CloseAdapterComplete(self, ProtocolBindingContext: Adapt, Status: NDIS_STATUS) -> None:
        """Nothing of it is left below."""
        ProtocolBindingContext.free()
        del self.Adapts[ProtocolBindingContext.DeviceName]

    # the lower edge: what comes up

    def Wrap(self, Self: Adapt, Packet: NDIS_PACKET, Status: NDIS_STATUS) -> NDIS_PACKET | None:
        """A packet of the driver's own over the same buffers."""
        Allocated, MyPacket = NdisAllocatePacket(Self.RecvPool)
        if Allocated != NDIS_STATUS_SUCCESS or MyPacket is None:
            return None
        Self.Saved[MyPacket] = Packet
        MyPacket.share_chain(Packet)  # in C: NDIS_PACKET_FIRST_NDIS_BUFFER(MyPacket) = NDIS_PACKET_FIRST_NDIS_BUFFER(Packet), and the last
        NDIS_SET_ORIGINAL_PACKET(MyPacket, NDIS_GET_ORIGINAL_PACKET(Packet))
        NdisSetPacketFlags(MyPacket, NdisGetPacketFlags(Packet))
        NDIS_SET_PACKET_HEADER_SIZE(MyPacket, NDIS_GET_PACKET_HEADER_SIZE(Packet))
        NDIS_SET_PACKET_STATUS(MyPacket, Status)
        return MyPacket

    def ReceivePacket(self, ProtocolBindingContext: Adapt, Packet: NDIS_PACKET) -> int:
        """Show it above; it is kept until it is back from there, which may be already."""
        Self = ProtocolBindingContext
        Status = NDIS_GET_PACKET_STATUS(Packet)
        MyPacket = self.Wrap(Self, Packet, Status) if Self.MiniportHandle is not None else None
        if MyPacket is None:
            return 0
        NdisMIndicateReceivePacket(Self.MiniportHandle, [MyPacket], 1)
        if Status != NDIS_STATUS_RESOURCES:
            return 1
        del Self.Saved[MyPacket]
        NdisFreePacket(MyPacket)
        return 0

    def Receive(
        self,
        ProtocolBindingContext: Adapt,
        MacReceiveContext: Any,
        HeaderBuffer: memoryview,
        HeaderBufferSize: int,
        LookAheadBuffer: memoryview,
        LookaheadBufferSize: int,
        PacketSize: int,
    ) -> NDIS_STATUS:
        """Show what cannot be kept: in a packet that cannot be kept either, or its beginning."""
        Self = ProtocolBindingContext
        if Self.MiniportHandle is None:
            return NDIS_STATUS_FAILURE
        Packet = NdisGetReceivedPacket(Self.BindingHandle, MacReceiveContext)
        MyPacket = self.Wrap(Self, Packet, NDIS_STATUS_RESOURCES) if Packet is not None else None
        if MyPacket is not None:
            NdisMIndicateReceivePacket(Self.MiniportHandle, [MyPacket], 1)
            del Self.Saved[MyPacket]
            NdisFreePacket(MyPacket)
            return NDIS_STATUS_SUCCESS
        Self.IndicateRcvComplete = True
        NdisMEthIndicateReceive(
            Self.MiniportHandle, MacReceiveContext, HeaderBuffer, HeaderBufferSize, LookAheadBuffer, LookaheadBufferSize, PacketSize
        )
        return NDIS_STATUS_SUCCESS

    def ReceiveComplete(self, ProtocolBindingContext: Adapt) -> None:
        """The end of a batch of beginnings."""
        Self = ProtocolBindingContext
        if Self.MiniportHandle is not None and Self.IndicateRcvComplete:
            Self.IndicateRcvComplete = False
            NdisMEthIndicateReceiveComplete(Self.MiniportHandle)

    def ReturnPacket(self, MiniportAdapterContext: Adapt, Packet: NDIS_PACKET) -> None:
        """It is back from above: so is the one below."""
        Below = MiniportAdapterContext.Saved.pop(Packet)
        NdisFreePacket(Packet)
        NdisReturnPackets([Below], 1)

    def TransferData(
        self, Packet: NDIS_PACKET, MiniportAdapterContext: Adapt, MiniportReceiveContext: Any, ByteOffset: int, BytesToTransfer: int
    ) -> tuple[NDIS_STATUS, int]:
        """The rest of a frame, through a packet of the driver's own: the one from above is lent to the virtual NIC only."""
        Self = MiniportAdapterContext
        Status, MyPacket = NdisAllocatePacket(Self.SendPool)
        if Status != NDIS_STATUS_SUCCESS or MyPacket is None:
            return Status, 0
        Status, Buffer = NdisAllocateBuffer(Self.BufferPool, bytearray(BytesToTransfer), BytesToTransfer)
        assert Buffer is not None
        NdisChainBufferAtFront(MyPacket, Buffer)
        Self.Saved[MyPacket] = Packet
        Status, BytesTransferred = NdisTransferData(Self.BindingHandle, MiniportReceiveContext, ByteOffset, BytesToTransfer, MyPacket)
        if Status != NDIS_STATUS_PENDING:
            self.Transferred(Self, MyPacket, BytesTransferred)
        return Status, BytesTransferred

    def Transferred(self, Self: Adapt, MyPacket: NDIS_PACKET, BytesTransferred: int) -> NDIS_PACKET:
        """Copy it to where it was asked for."""
        Packet = Self.Saved.pop(MyPacket)
        NdisCopyFromPacketToPacket(Packet, 0, BytesTransferred, MyPacket, 0)
        Buffer = NdisUnchainBufferAtFront(MyPacket)
        assert Buffer is not None
        NdisFreeBuffer(Buffer)
        NdisFreePacket(MyPacket)
        return Packet

    def TransferDataComplete(
        self, ProtocolBindingContext: Adapt, Packet: NDIS_PACKET, Status: NDIS_STATUS, BytesTransferred: int
    ) -> None:
        """A transfer was pending below."""
        Self = ProtocolBindingContext
        NdisMTransferDataComplete(Self.MiniportHandle, self.Transferred(Self, Packet, BytesTransferred), Status, BytesTransferred)

    def Status(self, ProtocolBindingContext: Adapt, GeneralStatus: NDIS_STATUS, StatusBuffer: bytes, StatusBufferSize: int) -> None:
        """It is the same above."""
        if ProtocolBindingContext.MiniportHandle is not None:
            NdisMIndicateStatus(ProtocolBindingContext.MiniportHandle, GeneralStatus, StatusBuffer, StatusBufferSize)

    def StatusComplete(self, ProtocolBindingContext: Adapt) -> None:
        """It is the same above."""
        if ProtocolBindingContext.MiniportHandle is not None:
            NdisMIndicateStatusComplete(ProtocolBindingContext.MiniportHandle)

    def PnPEvent(self, ProtocolBindingContext: Adapt, NetPnPEvent: Any) -> NDIS_STATUS:
        """It is the same above."""
        if ProtocolBindingContext.MiniportHandle is None:
            return NDIS_STATUS_SUCCESS
        return NdisIMNotifyPnPEvent(ProtocolBindingContext.MiniportHandle, NetPnPEvent)

    def ResetComplete(self, ProtocolBindingContext: Adapt, Status: NDIS_STATUS) -> None:
        """Never: it asks for none."""
        raise AssertionError

    # the upper edge: the virtual NIC

    def Initialize(
        self, MediumArray: Any, MediumArraySize: int, MiniportAdapterHandle: Any, WrapperConfigurationContext: Any
    ) -> tuple[NDIS_STATUS, NDIS_STATUS, int]:
        """The virtual NIC is there."""
        Self = NdisIMGetDeviceContext(MiniportAdapterHandle)
        if NdisMedium802_3 not in MediumArray[:MediumArraySize]:
            return NDIS_STATUS_UNSUPPORTED_MEDIA, NDIS_STATUS_UNSUPPORTED_MEDIA, 0
        NdisMSetAttributesEx(MiniportAdapterHandle, Self, 0, self.Flags, NdisInterfaceInternal)
        Self.MiniportHandle = MiniportAdapterHandle
        self.Log.append(f"initialized {Self.UpperName}")
        return NDIS_STATUS_SUCCESS, NDIS_STATUS_SUCCESS, MediumArray.index(NdisMedium802_3)

    def Halt(self, MiniportAdapterContext: Adapt) -> None:
        """Nobody is above any more: nothing is needed from below either."""
        Self = MiniportAdapterContext
        self.Log.append(f"halted {Self.UpperName}")
        Self.MiniportHandle = None
        self.CloseBinding(Self)
        if Self.UnbindContext is not None:
            NdisCompleteUnbindAdapter(Self.UnbindContext, NDIS_STATUS_SUCCESS)

    def Reset(self, MiniportAdapterContext: Adapt) -> tuple[NDIS_STATUS, bool]:
        """There is nothing to reset."""
        return NDIS_STATUS_SUCCESS, False

    def PnPEventNotify(self, MiniportAdapterContext: Adapt, PnPEvent: Any, InformationBuffer: Any, InformationBufferLength: int) -> None:
        """There is nothing to do."""

    def Shutdown(self, ShutdownContext: Adapt) -> None:
        """There is nothing to do."""

    # the upper edge: what goes down

    def SendPackets(self, MiniportAdapterContext: Adapt, PacketArray: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
        """Send each below, in order, in a packet of the driver's own."""
        Self = MiniportAdapterContext
        for Packet in PacketArray[:NumberOfPackets]:
            Status, MyPacket = NdisAllocatePacket(Self.SendPool)
            if MyPacket is None:
                NdisMSendComplete(Self.MiniportHandle, Packet, Status)
                continue
            Self.Saved[MyPacket] = Packet
            MyPacket.share_chain(Packet)
            NdisSetPacketFlags(MyPacket, NdisGetPacketFlags(Packet))
            NDIS_SET_PACKET_HEADER_SIZE(MyPacket, NDIS_GET_PACKET_HEADER_SIZE(Packet))
            NDIS_SET_PACKET_TIME_TO_SEND(MyPacket, NDIS_GET_PACKET_TIME_TO_SEND(Packet))
            Info, Size = NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(Packet)
            if Size:
                NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(MyPacket, Info, Size)
            NdisIMCopySendPerPacketInfo(MyPacket, Packet)
            Status = NdisSend(Self.BindingHandle, MyPacket)
            if Status != NDIS_STATUS_PENDING:
                self.SendComplete(Self, MyPacket, Status)

    def SendComplete(self, ProtocolBindingContext: Adapt, Packet: NDIS_PACKET, Status: NDIS_STATUS) -> None:
        """It is over below: so it is above."""
        Self = ProtocolBindingContext
        Above = Self.Saved.pop(Packet)
        NdisIMCopySendCompletePerPacketInfo(Above, Packet)
        NDIS_OOB_DATA_FROM_PACKET(Packet).media_specific = None
        NdisFreePacket(Packet)
        NdisMSendComplete(Self.MiniportHandle, Above, Status)

    def CancelSendPackets(self, MiniportAdapterContext: Adapt, CancelId: Any) -> None:
        """They may wait below."""
        NdisCancelSendPackets(MiniportAdapterContext.BindingHandle, CancelId)

    def QueryInformation(
        self, MiniportAdapterContext: Adapt, Oid: int, InformationBuffer: memoryview, InformationBufferLength: int
    ) -> tuple[NDIS_STATUS, int, int]:
        """Ask below."""
        Request = NDIS_REQUEST(NdisRequestQueryInformation, Oid, InformationBuffer[:InformationBufferLength])
        return NdisRequest(MiniportAdapterContext.BindingHandle, Request), Request.bytes_written, Request.bytes_needed

    def SetInformation(
        self, MiniportAdapterContext: Adapt, Oid: int, InformationBuffer: bytes, InformationBufferLength: int
    ) -> tuple[NDIS_STATUS, int, int]:
        """Tell below."""
        Request = NDIS_REQUEST(NdisRequestSetInformation, Oid, bytearray(InformationBuffer[:InformationBufferLength]))
        return NdisRequest(MiniportAdapterContext.BindingHandle, Request), Request.bytes_read, Request.bytes_needed

    def RequestComplete(self, ProtocolBindingContext: Adapt, NdisRequest: NDIS_REQUEST, Status: NDIS_STATUS) -> None:
        """It was pending below, and so above."""
        MiniportHandle = ProtocolBindingContext.MiniportHandle
        if MiniportHandle is None:
            return
        if NdisRequest.kind == NdisRequestSetInformation:
            NdisMSetInformationComplete(MiniportHandle, Status, NdisRequest.bytes_read, NdisRequest.bytes_needed)
        else:
            NdisMQueryInformationComplete(MiniportHandle, Status, NdisRequest.bytes_written, NdisRequest.bytes_needed)
