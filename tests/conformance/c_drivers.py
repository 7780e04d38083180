"""
A protocol and a miniport in the C manner: tables of handlers, contexts, and nothing but names of NDIS.

Two cards of one miniport make a cable: what one sends, the other indicates, as packets or by its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnic.ndis import (
    NDIS_ATTRIBUTE_BUS_MASTER,
    NDIS_ATTRIBUTE_DESERIALIZE,
    NDIS_ATTRIBUTE_IGNORE_PACKET_TIMEOUT,
    NDIS_ATTRIBUTE_IGNORE_REQUEST_TIMEOUT,
    NDIS_GET_PACKET_STATUS,
    NDIS_MINIPORT_CHARACTERISTICS,
    NDIS_PACKET,
    NDIS_PACKET_TYPE_BROADCAST,
    NDIS_PACKET_TYPE_DIRECTED,
    NDIS_PROTOCOL_CHARACTERISTICS,
    NDIS_REQUEST,
    NDIS_SET_PACKET_HEADER_SIZE,
    NDIS_SET_PACKET_STATUS,
    NDIS_STATUS,
    NDIS_STATUS_FAILURE,
    NDIS_STATUS_MEDIA_CONNECT,
    NDIS_STATUS_NOT_SUPPORTED,
    NDIS_STATUS_PENDING,
    NDIS_STATUS_SUCCESS,
    NDIS_STATUS_UNSUPPORTED_MEDIA,
    OID_802_3_CURRENT_ADDRESS,
    OID_802_3_MAXIMUM_LIST_SIZE,
    OID_GEN_CURRENT_PACKET_FILTER,
    OID_GEN_LINK_SPEED,
    OID_GEN_MAC_OPTIONS,
    OID_GEN_MACHINE_NAME,
    OID_GEN_MAXIMUM_LOOKAHEAD,
    NdisAllocateBuffer,
    NdisAllocateBufferPool,
    NdisAllocatePacket,
    NdisAllocatePacketPool,
    NdisChainBufferAtFront,
    NdisCloseAdapter,
    NdisCloseConfiguration,
    NdisCopyFromPacketToPacket,
    NdisCopyLookaheadData,
    NdisDeregisterProtocol,
    NdisFreeBuffer,
    NdisFreeBufferPool,
    NdisFreePacket,
    NdisFreePacketPool,
    NdisGetFirstBufferFromPacket,
    NdisGetNextBuffer,
    NdisInterfaceInternal,
    NdisMCancelTimer,
    NdisMDeregisterAdapterShutdownHandler,
    NdisMedium802_3,
    NdisMEthIndicateReceive,
    NdisMEthIndicateReceiveComplete,
    NdisMIndicateReceivePacket,
    NdisMIndicateStatus,
    NdisMIndicateStatusComplete,
    NdisMInitializeTimer,
    NdisMInitializeWrapper,
    NdisMRegisterAdapterShutdownHandler,
    NdisMRegisterMiniport,
    NdisMRegisterUnloadHandler,
    NdisMSetAttributesEx,
    NdisMSetTimer,
    NdisOpenAdapter,
    NdisOpenConfiguration,
    NdisQueryBuffer,
    NdisReadNetworkAddress,
    NdisRegisterProtocol,
    NdisRequest,
    NdisRequestSetInformation,
    NdisReturnPackets,
    NdisSend,
    NdisTransferData,
    NdisUnchainBufferAtFront,
)

HEADER_SIZE = 14
FRAMES = 8


def bytes_of(Packet: NDIS_PACKET) -> bytes:
    """What a packet's chain of buffers describes."""
    Buffer, _, _, _ = NdisGetFirstBufferFromPacket(Packet)
    found = b""
    while Buffer is not None:
        Memory, Length = NdisQueryBuffer(Buffer)
        found += bytes(Memory[:Length])
        Buffer = NdisGetNextBuffer(Buffer)
    return found


class OpenContext:
    """What the protocol knows of one binding."""

    def __init__(self, AdapterName: str) -> None:
        self.AdapterName = AdapterName
        self.NdisBindingHandle: Any = None
        self.PacketPool: Any
        self.BufferPool: Any
        _, self.PacketPool = NdisAllocatePacketPool(FRAMES, 16)
        _, self.BufferPool = NdisAllocateBufferPool(FRAMES)
        self.Held: list[NDIS_PACKET] = []
        self.Received: list[bytes] = []
        self.Completed: list[NDIS_STATUS] = []
        self.Statuses: list[Any] = []
        self.Closed = False

    def allocate(self, Memory: bytes | bytearray) -> NDIS_PACKET:
        """A packet of the protocol's own over some memory."""
        Status, Packet = NdisAllocatePacket(self.PacketPool)
        assert Status == NDIS_STATUS_SUCCESS
        assert Packet is not None
        Status, Buffer = NdisAllocateBuffer(self.BufferPool, Memory, len(Memory))
        assert Buffer is not None
        NdisChainBufferAtFront(Packet, Buffer)
        return Packet

    def free(self, Packet: NDIS_PACKET) -> None:
        """The end of such a packet."""
        Buffer = NdisUnchainBufferAtFront(Packet)
        assert Buffer is not None
        NdisFreeBuffer(Buffer)
        NdisFreePacket(Packet)


class SampleProtocol:
    """
    A protocol that keeps every packet until ReceiveComplete, and copies what it may not keep.

    Attributes:
        Contexts: its bindings, by the adapter's name.
        Held: packets stay held until `give_back`.
    """

    def __init__(self, *, Name: str = "sample", ByPackets: bool = True) -> None:
        self.Contexts: dict[str, OpenContext] = {}
        self.Hold = False
        self.NdisProtocolHandle: Any = None
        self.Pnp: list[Any] = []
        self.Characteristics = NDIS_PROTOCOL_CHARACTERISTICS(
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
            ReceivePacketHandler=self.ReceivePacket if ByPackets else None,
            BindAdapterHandler=self.BindAdapter,
            UnbindAdapterHandler=self.UnbindAdapter,
            PnPEventHandler=self.PnPEvent,
        )

    def DriverEntry(self) -> NDIS_STATUS:
        """Register."""
        Status, self.NdisProtocolHandle = NdisRegisterProtocol(self.Characteristics, len(self.Characteristics))
        return Status

    def Unload(self) -> NDIS_STATUS:
        """Deregister."""
        return NdisDeregisterProtocol(self.NdisProtocolHandle)

    # bindings

    def BindAdapter(self, BindContext: Any, DeviceName: str, SystemSpecific1: Any, SystemSpecific2: Any) -> NDIS_STATUS:
        """Open the adapter, then ask for frames."""
        Context = OpenContext(DeviceName)
        Status, _, Context.NdisBindingHandle, _ = NdisOpenAdapter(
            [NdisMedium802_3], 1, BindContext.NdisProtocolHandle, Context, DeviceName, 0, None
        )
        if Status != NDIS_STATUS_SUCCESS:
            return Status
        self.Contexts[DeviceName] = Context
        return self.SetFilter(Context, NDIS_PACKET_TYPE_DIRECTED | NDIS_PACKET_TYPE_BROADCAST)

    def SetFilter(self, Context: OpenContext, Filter: int) -> NDIS_STATUS:
        """Ask for frames, or for none."""
        Request = NDIS_REQUEST(NdisRequestSetInformation, OID_GEN_CURRENT_PACKET_FILTER, bytearray(int(Filter).to_bytes(4, "little")))
        return NdisRequest(Context.NdisBindingHandle, Request)

    def UnbindAdapter(self, ProtocolBindingContext: OpenContext, UnbindContext: Any) -> NDIS_STATUS:
        """No more frames, everything returned, closed."""
        self.SetFilter(ProtocolBindingContext, 0)
        self.GiveBack(ProtocolBindingContext)
        Status = NdisCloseAdapter(ProtocolBindingContext.NdisBindingHandle)
        if Status == NDIS_STATUS_SUCCESS:
            self.Forget(ProtocolBindingContext)
        return NDIS_STATUS_SUCCESS

    def Forget(self, Context: OpenContext) -> None:
        """Give up what the binding had."""
        NdisFreePacketPool(Context.PacketPool)
        NdisFreeBufferPool(Context.BufferPool)
        Context.Closed = True

    def OpenAdapterComplete(self, ProtocolBindingContext: OpenContext, Status: NDIS_STATUS, OpenErrorStatus: NDIS_STATUS) -> None:
        """Never."""
        raise AssertionError

    def CloseAdapterComplete(self, ProtocolBindingContext: OpenContext, Status: NDIS_STATUS) -> None:
        """What was held is back."""
        assert Status == NDIS_STATUS_SUCCESS
        self.Forget(ProtocolBindingContext)

    # receive

    def ReceivePacket(self, ProtocolBindingContext: OpenContext, Packet: NDIS_PACKET) -> int:
        """Keep it."""
        ProtocolBindingContext.Received.append(bytes_of(Packet))
        ProtocolBindingContext.Held.append(Packet)
        return 1

    def Receive(
        self,
        ProtocolBindingContext: OpenContext,
        MacReceiveContext: Any,
        HeaderBuffer: memoryview,
        HeaderBufferSize: int,
        LookAheadBuffer: memoryview,
        LookaheadBufferSize: int,
        PacketSize: int,
    ) -> NDIS_STATUS:
        """Copy it: the beginning from here, the rest by a transfer."""
        Memory = bytearray(HeaderBufferSize + LookaheadBufferSize)
        NdisCopyLookaheadData(memoryview(Memory), HeaderBuffer, HeaderBufferSize, 0)
        NdisCopyLookaheadData(memoryview(Memory)[HeaderBufferSize:], LookAheadBuffer, LookaheadBufferSize, 0)
        Rest = PacketSize - LookaheadBufferSize
        if Rest:
            Packet = ProtocolBindingContext.allocate(bytearray(Rest))
            ProtocolBindingContext.Received.append(bytes(Memory))
            Status, BytesTransferred = NdisTransferData(
                ProtocolBindingContext.NdisBindingHandle, MacReceiveContext, LookaheadBufferSize, Rest, Packet
            )
            if Status != NDIS_STATUS_PENDING:
                self.TransferDataComplete(ProtocolBindingContext, Packet, Status, BytesTransferred)
        else:
            ProtocolBindingContext.Received.append(bytes(Memory))
        return NDIS_STATUS_SUCCESS

    def TransferDataComplete(
        self, ProtocolBindingContext: OpenContext, Packet: NDIS_PACKET, Status: NDIS_STATUS, BytesTransferred: int
    ) -> None:
        """The rest of a frame is there."""
        assert Status == NDIS_STATUS_SUCCESS
        ProtocolBindingContext.Received[-1] += bytes_of(Packet)[:BytesTransferred]
        ProtocolBindingContext.free(Packet)

    def ReceiveComplete(self, ProtocolBindingContext: OpenContext) -> None:
        """The batch is over: what was kept goes back."""
        if not self.Hold:
            self.GiveBack(ProtocolBindingContext)

    def GiveBack(self, Context: OpenContext) -> None:
        """Return every packet."""
        Packets, Context.Held = Context.Held, []
        NdisReturnPackets(Packets, len(Packets))

    # send

    def Send(self, AdapterName: str, Frame: bytes) -> NDIS_STATUS:
        """Send one frame."""
        Context = self.Contexts[AdapterName]
        Packet = Context.allocate(Frame)
        Status = NdisSend(Context.NdisBindingHandle, Packet)
        if Status != NDIS_STATUS_PENDING:
            self.SendComplete(Context, Packet, Status)
        return Status

    def SendComplete(self, ProtocolBindingContext: OpenContext, Packet: NDIS_PACKET, Status: NDIS_STATUS) -> None:
        """The packet is the protocol's again."""
        ProtocolBindingContext.Completed.append(Status)
        ProtocolBindingContext.free(Packet)

    # what happens

    def RequestComplete(self, ProtocolBindingContext: OpenContext, NdisRequest: NDIS_REQUEST, Status: NDIS_STATUS) -> None:
        """A request is over."""
        ProtocolBindingContext.Statuses.append(("request", NdisRequest.oid, Status, NdisRequest.bytes_written))

    def ResetComplete(self, ProtocolBindingContext: OpenContext, Status: NDIS_STATUS) -> None:
        """A reset is over."""
        ProtocolBindingContext.Statuses.append(("reset", Status))

    def Status(self, ProtocolBindingContext: OpenContext, GeneralStatus: NDIS_STATUS, StatusBuffer: bytes, StatusBufferSize: int) -> None:
        """Something has happened."""
        ProtocolBindingContext.Statuses.append((GeneralStatus, bytes(StatusBuffer[:StatusBufferSize])))

    def StatusComplete(self, ProtocolBindingContext: OpenContext) -> None:
        """... and that was it."""
        ProtocolBindingContext.Statuses.append("complete")

    def PnPEvent(self, ProtocolBindingContext: OpenContext, NetPnPEvent: Any) -> NDIS_STATUS:
        """The machine changes."""
        self.Pnp.append(NetPnPEvent)
        return NDIS_STATUS_SUCCESS


class Card:
    """What the miniport knows of one device."""

    def __init__(self, MiniportAdapterHandle: Any, Configuration: Mapping[str, Any]) -> None:
        self.MiniportAdapterHandle = MiniportAdapterHandle
        self.Address: Any
        _, ConfigurationHandle = NdisOpenConfiguration(Configuration)
        _, self.Address, _ = NdisReadNetworkAddress(ConfigurationHandle)
        NdisCloseConfiguration(ConfigurationHandle)
        self.Peer: Card | None = None
        self.Alive = False
        self.ByLookahead = 0
        self.Filter = 0
        self.Log: list[Any] = []
        self.Frame: NDIS_PACKET | None = None
        self.Timer: Any = None
        self.Poll: Any = None
        self.Waiting: list[bytes] = []
        self.PacketPool: Any = None
        self.BufferPool: Any = None


class SampleMiniport:
    """
    A miniport of cards that are joined in pairs; deserialized, or serialized: then a timer looks for frames.

    Attributes:
        Cards: the devices that it has initialised, by address.
        Wrong: a step that initialize leaves out or does wrongly.
    """

    def __init__(self, *, Deserialize: bool = True, Wrong: str = "") -> None:
        self.Cards: dict[bytes, Card] = {}
        self.Wrong = Wrong
        self.Serialized = not Deserialize
        self.Unloaded: list[Any] = []
        self.Flags = NDIS_ATTRIBUTE_BUS_MASTER | NDIS_ATTRIBUTE_IGNORE_PACKET_TIMEOUT | NDIS_ATTRIBUTE_IGNORE_REQUEST_TIMEOUT
        if Deserialize:
            self.Flags |= NDIS_ATTRIBUTE_DESERIALIZE
        self.Characteristics = NDIS_MINIPORT_CHARACTERISTICS(
            MajorNdisVersion=5,
            MinorNdisVersion=1,
            InitializeHandler=self.Initialize,
            HaltHandler=self.Halt,
            ResetHandler=self.Reset,
            CheckForHangHandler=self.CheckForHang,
            QueryInformationHandler=self.QueryInformation,
            SetInformationHandler=self.SetInformation,
            SendHandler=self.Send,
            ReturnPacketHandler=self.ReturnPacket,
            TransferDataHandler=self.TransferData,
            CancelSendPacketsHandler=self.CancelSendPackets,
            PnPEventNotifyHandler=self.PnPEventNotify,
            AdapterShutdownHandler=self.Shutdown,
        )
        self.NdisWrapperHandle: Any = None

    def DriverEntry(self) -> NDIS_STATUS:
        """Register."""
        self.NdisWrapperHandle = NdisMInitializeWrapper("sample driver", None, None)
        Status = NdisMRegisterMiniport(self.NdisWrapperHandle, self.Characteristics, len(self.Characteristics))
        if Status == NDIS_STATUS_SUCCESS:
            NdisMRegisterUnloadHandler(self.NdisWrapperHandle, self.Unloaded.append)
        return Status

    def Initialize(
        self, MediumArray: Any, MediumArraySize: int, MiniportAdapterHandle: Any, WrapperConfigurationContext: Mapping[str, Any]
    ) -> tuple[NDIS_STATUS, NDIS_STATUS, int]:
        """Everything that a card needs."""
        if NdisMedium802_3 not in MediumArray[:MediumArraySize]:
            return NDIS_STATUS_UNSUPPORTED_MEDIA, NDIS_STATUS_UNSUPPORTED_MEDIA, 0
        Self = Card(MiniportAdapterHandle, WrapperConfigurationContext)
        if self.Wrong == "timer first":
            NdisMInitializeTimer(MiniportAdapterHandle, self.OnTimer, Self)
        if self.Wrong != "no attributes":
            NdisMSetAttributesEx(MiniportAdapterHandle, Self, 3, self.Flags, NdisInterfaceInternal)
        if self.Wrong == "no attributes":
            return NDIS_STATUS_SUCCESS, NDIS_STATUS_SUCCESS, 0
        _, Self.PacketPool = NdisAllocatePacketPool(FRAMES, 16)
        _, Self.BufferPool = NdisAllocateBufferPool(FRAMES)
        Self.Timer = NdisMInitializeTimer(MiniportAdapterHandle, self.OnTimer, Self)
        Self.Poll = NdisMInitializeTimer(MiniportAdapterHandle, self.OnPoll, Self)
        self.Cards[Self.Address] = Self
        for Other in self.Cards.values():
            if Other is not Self and Other.Peer is None:
                Self.Peer, Other.Peer = Other, Self
                break
        NdisMRegisterAdapterShutdownHandler(MiniportAdapterHandle, Self, self.Shutdown)
        if self.Wrong == "leaves all":
            Self.Timer.set(1000)
            return NDIS_STATUS_FAILURE, NDIS_STATUS_FAILURE, 0
        Self.Alive = True
        return NDIS_STATUS_SUCCESS, NDIS_STATUS_SUCCESS, 0

    def Halt(self, MiniportAdapterContext: Card) -> None:
        """Undo it, in reverse."""
        Self = MiniportAdapterContext
        Self.Log.append("halt")
        Self.Alive = False
        if self.Wrong == "halt forgets":
            return
        NdisMDeregisterAdapterShutdownHandler(Self.MiniportAdapterHandle)
        if Self.Peer is not None:
            Self.Peer.Peer = None
        del self.Cards[Self.Address]
        NdisMCancelTimer(Self.Timer)
        NdisMCancelTimer(Self.Poll)
        NdisFreePacketPool(Self.PacketPool)
        NdisFreeBufferPool(Self.BufferPool)

    # frames

    def Send(self, MiniportAdapterContext: Card, Packet: NDIS_PACKET, Flags: int) -> NDIS_STATUS:
        """To the other end of the cable."""
        Peer = MiniportAdapterContext.Peer
        if Peer is not None and Peer.Alive and self.Serialized:
            Peer.Waiting.append(bytes_of(Packet))
            NdisMSetTimer(Peer.Poll, 1)
        elif Peer is not None and Peer.Alive:
            self.Arrive(Peer, bytes_of(Packet))
        return NDIS_STATUS_SUCCESS

    def Arrive(self, Self: Card, Frame: bytes, Status: NDIS_STATUS = NDIS_STATUS_SUCCESS) -> None:
        """A frame comes in; it is put into a packet, and that is shown, or its beginning."""
        _, Packet = NdisAllocatePacket(Self.PacketPool)
        _, Buffer = NdisAllocateBuffer(Self.BufferPool, Frame, len(Frame))
        assert Packet is not None
        assert Buffer is not None
        NdisChainBufferAtFront(Packet, Buffer)
        NDIS_SET_PACKET_HEADER_SIZE(Packet, HEADER_SIZE)
        NDIS_SET_PACKET_STATUS(Packet, Status)
        if not Self.ByLookahead:
            NdisMIndicateReceivePacket(Self.MiniportAdapterHandle, [Packet], 1)
            Kept = NDIS_GET_PACKET_STATUS(Packet) == NDIS_STATUS_PENDING if self.Serialized else Status == NDIS_STATUS_SUCCESS
            if not Kept:
                self.ReturnPacket(Self, Packet)
            return
        Self.Frame = Packet
        Shown = Frame[HEADER_SIZE : HEADER_SIZE + Self.ByLookahead]
        NdisMEthIndicateReceive(
            Self.MiniportAdapterHandle, Packet, Frame[:HEADER_SIZE], HEADER_SIZE, Shown, len(Shown), len(Frame) - HEADER_SIZE
        )
        NdisMEthIndicateReceiveComplete(Self.MiniportAdapterHandle)
        self.ReturnPacket(Self, Packet)

    def TransferData(
        self, Packet: NDIS_PACKET, MiniportAdapterContext: Card, MiniportReceiveContext: NDIS_PACKET, ByteOffset: int, BytesToTransfer: int
    ) -> tuple[NDIS_STATUS, int]:
        """The rest of the frame."""
        return NDIS_STATUS_SUCCESS, NdisCopyFromPacketToPacket(Packet, 0, BytesToTransfer, MiniportReceiveContext, HEADER_SIZE + ByteOffset)

    def ReturnPacket(self, MiniportAdapterContext: Card, Packet: NDIS_PACKET) -> None:
        """Nobody has it any more."""
        Buffer = NdisUnchainBufferAtFront(Packet)
        assert Buffer is not None
        NdisFreeBuffer(Buffer)
        NdisFreePacket(Packet)

    def CancelSendPackets(self, MiniportAdapterContext: Card, CancelId: Any) -> None:
        """No send waits here."""
        MiniportAdapterContext.Log.append(("cancel", CancelId))

    # questions

    def QueryInformation(
        self, MiniportAdapterContext: Card, Oid: int, InformationBuffer: memoryview, InformationBufferLength: int
    ) -> tuple[NDIS_STATUS, int, int]:
        """What a card must answer."""
        if self.Wrong == "answers nothing":
            return NDIS_STATUS_NOT_SUPPORTED, 0, 0
        Values: dict[int, bytes] = {
            OID_GEN_MAXIMUM_LOOKAHEAD: (1500).to_bytes(4, "little"),
            OID_GEN_MAC_OPTIONS: (0x9).to_bytes(4, "little"),
            OID_802_3_CURRENT_ADDRESS: MiniportAdapterContext.Address,
            OID_802_3_MAXIMUM_LIST_SIZE: (8).to_bytes(4, "little"),
        }
        if Oid == OID_GEN_LINK_SPEED:
            MiniportAdapterContext.Log.append(InformationBuffer)
            return NDIS_STATUS_PENDING, 0, 0
        if Oid not in Values:
            return NDIS_STATUS_NOT_SUPPORTED, 0, 0
        Value = Values[Oid]
        InformationBuffer[: len(Value)] = Value
        return NDIS_STATUS_SUCCESS, len(Value), 0

    def SetInformation(
        self, MiniportAdapterContext: Card, Oid: int, InformationBuffer: bytes, InformationBufferLength: int
    ) -> tuple[NDIS_STATUS, int, int]:
        """What all bindings together want to see."""
        if Oid == OID_GEN_MACHINE_NAME:
            return NDIS_STATUS_PENDING, 0, 0
        if Oid == OID_GEN_CURRENT_PACKET_FILTER:
            MiniportAdapterContext.Filter = int.from_bytes(InformationBuffer[:InformationBufferLength], "little")
        return NDIS_STATUS_SUCCESS, InformationBufferLength, 0

    # what happens

    def Reset(self, MiniportAdapterContext: Card) -> tuple[NDIS_STATUS, bool]:
        """It is done later."""
        MiniportAdapterContext.Log.append("reset")
        return NDIS_STATUS_PENDING, False

    def CheckForHang(self, MiniportAdapterContext: Card) -> bool:
        """It does not hang."""
        MiniportAdapterContext.Log.append("hangs?")
        return False

    def OnTimer(self, SystemSpecific1: Any, FunctionContext: Card, SystemSpecific2: Any, SystemSpecific3: Any) -> None:
        """The cable was plugged in."""
        NdisMIndicateStatus(FunctionContext.MiniportAdapterHandle, NDIS_STATUS_MEDIA_CONNECT, b"1 Gbit/s and more", 8)
        NdisMIndicateStatusComplete(FunctionContext.MiniportAdapterHandle)

    def OnPoll(self, SystemSpecific1: Any, FunctionContext: Card, SystemSpecific2: Any, SystemSpecific3: Any) -> None:
        """Frames have come."""
        Frames, FunctionContext.Waiting = FunctionContext.Waiting, []
        for Frame in Frames:
            self.Arrive(FunctionContext, Frame)

    def PnPEventNotify(self, MiniportAdapterContext: Card, PnPEvent: Any, InformationBuffer: Any, InformationBufferLength: int) -> None:
        """The machine changes."""
        MiniportAdapterContext.Log.append(PnPEvent)

    def Shutdown(self, ShutdownContext: Card) -> None:
        """The machine goes down."""
        ShutdownContext.Log.append("shutdown")
