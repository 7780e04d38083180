"""
THE table of statements: what five pages of the NDIS documents say, in our words, and why some have no test.

S000 NdisDprFreePacketNonInterlocked (Windows CE), S001 NdisDprAllocatePacketNonInterlocked (Windows CE), S002 NdisAllocatePacketPool,
S003 NdisReturnPackets, S004 Packet Reuse in a Protocol Driver. A test carries the ids that it shows in its name.
"""

from __future__ import annotations

from typing import NamedTuple


class Statement(NamedTuple):
    """
    One row.

    Attributes:
        id: the page, and the number of the statement on it.
        says: what it says.
        open: why no test shows it: it begins with "documentation", "benchmark" or "not yet".
    """

    id: str
    says: str
    open: str = ""


BACKGROUND = "documentation: background, nothing to show"
MEASURED = "benchmark: `scripts/bench packets`, with its figures in docs/packets.md; never asserted in an ordinary test"

STATEMENTS: tuple[Statement, ...] = (
    Statement("S000-01", "the call releases a packet of the driver's own"),
    Statement("S000-02", "the packet goes back on the free list of its pool"),
    Statement("S000-03", "it is for callers that synchronise the pool themselves"),
    Statement("S000-04", "Windows CE has no DPC level"),
    Statement("S000-05", "so there each Dpr form behaves as its plain form"),
    Statement("S000-06", "it answers nothing"),
    Statement("S000-07", "before it, every chained buffer is freed"),
    Statement("S000-08", "or every chained buffer is unchained and saved"),
    Statement("S000-09", "one of the two is a must"),
    Statement("S000-10", "otherwise the chained buffers are lost to the driver"),
    Statement("S000-11", "whoever uses the pair synchronises every access to the pool"),
    Statement("S000-12", "the pool is one that the driver allocated"),
    Statement("S000-13", "usually one spin lock of the driver protects it"),
    Statement("S000-14", "the lock is acquired first"),
    Statement("S000-15", "the call is made with the pool locked"),
    Statement("S000-16", "then the lock is released"),
    Statement("S000-17", "a driver that does not synchronise uses the plain pair"),
    Statement("S000-18", "or the Dpr pair"),
    Statement("S000-19", "it is there from Windows CE .NET 4.0 on"),
    Statement("S000-20", "the packet must be from the non-interlocked allocator"),
    Statement("S001-01", "the call allocates a packet and initialises it"),
    Statement("S001-02", "under Windows CE the Dpr form behaves as the plain one"),
    Statement("S001-03", "a pool goes in, a status and a packet come out"),
    Statement("S001-04", "the status is final, never pending"),
    Statement("S001-05", "the packet is one of the pool"),
    Statement("S001-06", "the pool is one that was allocated"),
    Statement("S001-07", "SUCCESS: the packet can be used"),
    Statement("S001-08", "RESOURCES: the free list is empty now"),
    Statement("S001-09", "a later free puts a packet back, and then the call succeeds"),
    Statement("S001-10", "with RESOURCES the packet is null"),
    Statement("S001-11", "whoever uses the pair synchronises for itself"),
    Statement("S001-12", "what it synchronises is its pool", "documentation: the sentence is garbled; S001-11 says what it means"),
    Statement("S001-13", "usually a spin lock protects the pool"),
    Statement("S001-14", "the call is made with the pool locked"),
    Statement("S001-15", "then the lock is released"),
    Statement("S001-16", "the packet is freed by the non-interlocked partner"),
    Statement("S001-17", "freeing it with the Dpr form is an error"),
    Statement("S001-18", "freeing it with the plain form is an error"),
    Statement("S001-19", "such a mixture may lead to races"),
    Statement("S001-20", "just before unloading it may be allowed"),
    Statement("S001-21", "a driver that does not synchronise uses NdisAllocatePacket"),
    Statement("S001-22", "or NdisDprAllocatePacket"),
    Statement("S001-23", "the lock is held around the free too"),
    Statement("S001-24", "it is there from Windows CE .NET 4.0 on"),
    Statement("S002-01", "NDIS 5 has been succeeded by NDIS 6", BACKGROUND),
    Statement("S002-02", "the call allocates and initialises a pool of packets"),
    Statement("S002-03", "two numbers go in, a status and a handle come out"),
    Statement("S002-04", "the status is SUCCESS or RESOURCES"),
    Statement("S002-05", "SUCCESS: packets can be allocated"),
    Statement("S002-06", "to be indicated up"),
    Statement("S002-07", "or to be sent down"),
    Statement("S002-08", "RESOURCES: no memory for the pool"),
    Statement("S002-09", "a later call may succeed"),
    Statement("S002-10", "a smaller request may be made at once"),
    Statement("S002-11", "the handle is what the other packet calls need"),
    Statement("S002-12", "the first number is how many packets the pool holds"),
    Statement("S002-13", "the second is the size of each packet's reserved area"),
    Statement("S002-14", "a miniport's receive pool asks for the recommended size"),
    Statement("S002-15", "that is 16 bytes with 32-bit pointers", "documentation: vnic runs on 64-bit systems"),
    Statement("S002-16", "and 32 bytes with 64-bit pointers"),
    Statement("S002-17", "the caller saves the handle", "documentation: advice to the caller"),
    Statement("S002-18", "the next step is to allocate packets"),
    Statement("S002-19", "the number limits how many can be out before one is freed"),
    Statement("S002-20", "a freed packet is on the free list again"),
    Statement("S002-21", "what was sent or indicated comes back to its allocator"),
    Statement("S002-22", "which reinitialises it, chains buffers, and uses it again"),
    Statement("S002-23", "or frees it"),
    Statement("S002-24", "reuse is far faster than freeing and allocating", MEASURED),
    Statement("S002-25", "before it reinitialises, it saves the chained buffers"),
    Statement("S002-26", "because the chain is empty afterwards"),
    Statement("S002-27", "a pool that is needed no more is freed, and its storage with it"),
    Statement("S002-28", "NdisAllocatePacketPoolEx is to be preferred"),
    Statement("S002-29", "it may be called up to DISPATCH"),
    Statement("S002-30", "it is declared in the common header"),
    Statement("S003-01", "the call gives up ownership of packets whose data was consumed"),
    Statement("S003-02", "an array and a count go in, nothing comes out"),
    Statement("S003-03", "each packet goes to the driver that allocated it"),
    Statement("S003-04", "the count says how many of the array"),
    Statement("S003-05", "an intermediate driver returns packets as soon as it can"),
    Statement("S003-06", "delay degrades the miniport and the protocol"),
    Statement("S003-07", "a miniport can be low on packets"),
    Statement("S003-08", "or the card on receive buffers", "documentation: the slot of a packet is its receive buffer, so both run out together"),
    Statement("S003-09", "then it makes every binding be called through ProtocolReceive"),
    Statement("S003-10", "with one packet at a time"),
    Statement("S003-11", "until it has its packets again"),
    Statement("S003-12", "ProtocolReceive delivers to clients only from ProtocolReceiveComplete on"),
    Statement("S003-13", "ProtocolReceivePacket may deliver to clients at once"),
    Statement("S003-14", "because the protocol decides how long it keeps the packet"),
    Statement("S003-15", "it may mark the range of interest to a client"),
    Statement("S003-16", "and forward the same descriptor to several clients"),
    Statement("S003-17", "ProtocolReceivePacket answers a count of references"),
    Statement("S003-18", "whoever answers more than 0 must return the packet"),
    Statement("S003-19", "after as many returns as were promised the miniport has it"),
    Statement("S003-20", "packets that clients keep are returned by the clients"),
    Statement("S003-21", "the library keeps the count, not the protocol"),
    Statement("S003-22", "the count begins with the answers"),
    Statement("S003-23", "at zero MiniportReturnPacket is called with the packet"),
    Statement("S003-24", "the call is not made from within ProtocolReceivePacket"),
    Statement("S003-25", "it may be called up to DISPATCH"),
    Statement("S003-26", "a miniport may indicate several packets at a time"),
    Statement("S004-01", "NDIS 5 has been succeeded by NDIS 6", BACKGROUND),
    Statement("S004-02", "with NdisSend the packet is the protocol's again when the call completes"),
    Statement("S004-03", "it completes with any status but PENDING"),
    Statement("S004-04", "or with ProtocolSendComplete"),
    Statement("S004-05", "then the packet can be sent again"),
    Statement("S004-06", "or take a copy of received data"),
    Statement("S004-07", "with NdisSendPackets too"),
    Statement("S004-08", "with NdisCoSendPackets too"),
    Statement("S004-09", "NdisSendPackets completes by one ProtocolSendComplete for each packet"),
    Statement("S004-10", "NdisCoSendPackets by one ProtocolCoSendComplete for each"),
    Statement("S004-11", "reusing packets and buffers is cheaper for sends", MEASURED),
    Statement("S004-12", "and for transfers of data", MEASURED),
    Statement("S004-13", "keeping buffers for reuse is usually faster than freeing them", MEASURED),
    Statement("S004-14", "NdisReinitializePacket makes a packet ready for reuse"),
    Statement("S004-15", "first every chained buffer is unchained"),
    Statement("S004-16", "which saves buffers and their memory for reuse"),
    Statement("S004-17", "reinitialising sets the first buffer to null"),
    Statement("S004-18", "without unchaining first, memory leaks"),
    Statement("S004-19", "what the out-of-band block refers to is reclaimed first"),
    Statement("S004-20", "every packet has an out-of-band block"),
)
