"""
A packet: a descriptor, a slot of bytes, a state, and who owes a return of it.

This and the modules that it names are plain Python, and compiled as they are by Cython; the C types stand in the `.pxd` file
beside each. `if cython.compiled:` marks the few places where C calls replace Python ones; everything else is one text with
one meaning. Critical sections cost nothing when compiled under the GIL, because no Python code runs inside them.

Next: `vnic/facts.py`, what is told of one, and `vnic/pool.py`, where packets come from.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vnic.buffer import Buffer, Viewed, chain_of, pieces
from vnic.chain import LONGEST, Chain
from vnic.context import Context
from vnic.offload import ChecksumResult
from vnic.oob import INFO_SLOTS, Info, OobData, ndis_time
from vnic.states import LEGAL, PacketState
from vnic.status import Status
from vnic.steps import HISTORY, Step
from vnic.verifier import rules
from vnic.verifier.refusal import refused

if TYPE_CHECKING:
    import cython

    from vnic.pool import PacketPool
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import _here
    from vnic.virtio import NEEDS_CHECKSUM, NO_SUPERFRAME, Virtio

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memmove

COMPILED = bool(cython.compiled)
MAX_BINDINGS = 128
"""Bindings open at one time in a process; each packet has one promised/returned pair for each."""
DONT_LOOPBACK = 0x80
"""Flag of a packet to send: do not show it to the bindings of the adapter. NDIS: NDIS_FLAGS_DONT_LOOPBACK; PKT-35, RX-65."""
LOOPBACK = 0x100
"""Flag of a frame that is one of the adapter's own sends, looped back. NDIS: NDIS_FLAGS_IS_LOOPBACK_PACKET; PKT-35, RX-66."""
LOOPBACK_ONLY = 0x200
"""Flag of a packet to send: show it to the bindings, and do not put it on the wire. NDIS: NDIS_FLAGS_LOOPBACK_ONLY; RX-65."""
HEADER_SIZE = 14

BINDING_NAMES: list[str | None] = [None] * MAX_BINDINGS
"""Which binding uses which column of every packet's promised/returned pairs."""

SUCCESS, PENDING, RESOURCES = Status.SUCCESS, Status.PENDING, Status.RESOURCES
UNSET = 0xFFFFFFFF

SHORTEST = HEADER_SIZE
FREE = int(PacketState.FREE)
OWNED = int(PacketState.OWNED)
INDICATED = int(PacketState.INDICATED)
SENDING = int(PacketState.SENDING)
TRANSFERRING = int(PacketState.TRANSFERRING)
QUARANTINED = int(PacketState.QUARANTINED)
ROW = 16

_TABLE = [LEGAL.get((state, event), -1) for state in PacketState for event in range(ROW)]
"""`vnic.states.LEGAL` flattened: the state after `event` in `state` is at 16 * state + event; -1, if that is not legal."""
if cython.compiled:
    for _i in range(len(_TABLE)):
        NEXT_STATE[_i] = _TABLE[_i]  # declared in packet.pxd
else:
    NEXT_STATE = _TABLE

TOUCHED = {
    PacketState.FREE: rules.USE_AFTER_RETURN,
    PacketState.QUARANTINED: rules.USE_AFTER_RETURN,
    PacketState.SENDING: rules.PENDING_TOUCHED,
    PacketState.TRANSFERRING: rules.PENDING_TOUCHED,
}
"""The rule that is broken by changing a packet that is not one's own; in every other state drivers hold it."""
RED_BYTES = bytes([0xA5]) * 16
"""Behind a reserved area from verifier level 3 on; see `vnic/guard.py`."""
TCP_IP_CHECKSUM, TCP_LARGE_SEND = int(Info.TCP_IP_CHECKSUM), int(Info.TCP_LARGE_SEND)
RIGHT_TCP, RIGHT_UDP = ChecksumResult.TCP_SUCCEEDED, ChecksumResult.UDP_SUCCEEDED
PARTIAL_TCP, PARTIAL_UDP = RIGHT_TCP | ChecksumResult.PARTIAL, RIGHT_UDP | ChecksumResult.PARTIAL
COUNTS_VIEWS = COMPILED or hasattr(memoryview, "__buffer__")


class Taker:
    """Who has packets back when their sends are over, in place of a driver's `send_complete`; see `vnic/replies.py`."""

    def _over(self, packet: Packet, status: object, at_once: cython.bint) -> None:
        """A send is over, inside of the call that sent it or later. The packet is the taker's own again."""


class Lender:
    """Whose large buffer a packet may have for a while; see `vnic/large.py`."""

    def _chained(self, packet: Packet) -> Chain:
        """Somebody looks at the buffers of a packet that has one; answers its chain."""
        return Chain(packet)

    def _take_back(self, packet: Packet) -> None:
        """The packet is free, and has no use for the buffer any more."""


class Owed:
    """
    How often a binding has promised to return a packet, and has; compiled it is a C struct with these names.

    Attributes:
        promised: by its answers for the frame at hand.
        returned: of those.
        replying: of those, not yet: each follows when a reply of `vnic.Replies` is over.
    """

    __slots__ = ("promised", "replying", "returned")

    def __init__(self) -> None:
        self.promised = self.returned = self.replying = 0


class OwedBySlot(dict[int, Owed]):
    """The same of each binding, by its slot, uncompiled: made when it is asked for, because there may be many packets."""

    def __missing__(self, slot: int) -> Owed:
        made = self[slot] = Owed()
        return made


class Packet(Viewed):
    """
    A descriptor and its slot: lent upward with a frame in it, or downward to be sent.

    Whoever does not own it sees it read-only. `memoryview(packet)`, which is what `data` gives, is counted: a packet freed
    while such a view (or a slice of one, at any depth) is alive is withheld until the last of them is gone, so that a forgotten
    view never reads the next frame. Before Python 3.12 the uncompiled core cannot count views.

    NDIS: NDIS_PACKET; PKT-17 to PKT-45.

    Attributes:
        pool: the pool that it is from and goes back to.
        index: its place in the pool.
        generation: how often it has been allocated.
        references: returns still owed, the library's own guard included while drivers are being asked.
        views: live views.
        time_received: nanoseconds since 1970 of the batch that brought it.
        made: by whom, where and when it was allocated, or its frame was read; None before, and at verifier level 0. So with the next two.
        shown: where and when it was last indicated.
        last: the last return, free, send or completion of it.
    """

    def __init__(self, pool: PacketPool, index: int) -> None:
        if getattr(self, "pool", None) is not None or type(pool).__module__ != "vnic.pool":
            raise TypeError("packets are made by pools, once")
        self.pool = pool
        self.index = index
        self.generation = 0
        self.references = 0
        self.views = 0
        self._ordinary = True
        self._flags = 0
        self.time_received = 0
        self._state = FREE
        self._status = 0
        self._length = 0
        self._slot_size = pool.slot_size
        self._asked = -1
        self._outcome = self._kind = self._seen_views = 0
        self._promises = 0
        self._completing = self._submitted = False
        self._number = 0
        self._told = 0
        self._suspect = None
        self._sender = None
        self._unlocked = self._stale = False
        self.made = self.shown = self.last = None
        self._history = None
        self._serial = self._sent = self._withheld = self._poisoned = self._kept = self._shadowed = False
        self._kept_chain = self._kept_beside = None
        self._chain = None
        self._scattered = self._sealed = False
        self._taker = None
        self._lender = None
        self._large = -1
        self._fault = 0
        self._segment = False
        self._slot_buffer = None
        self._frame_in = None
        self._retired = []
        self._oob = None
        self._info = None
        self._reserved = None
        if not cython.compiled:
            self._owed = OwedBySlot()
            self._virtio = Virtio()

    @property
    def state(self) -> PacketState:
        """Where the packet is."""
        return PacketState(self._state)

    @property
    def history(self) -> tuple[Step, ...]:
        """The last sixteen steps of the packet, the oldest first; from verifier level 3 on."""
        return () if self._history is None else tuple(self._history)

    @property
    def length(self) -> int:
        """
        Bytes of the frame. The owner may set it, from 0 to the slot's size; of a chain it is the sum over the buffers.

        Raises:
            OwnershipError: the packet is set by somebody who does not own it.
            ValueError: the slot is smaller.
        """
        if self._state == OWNED and self._chain is not None and not self._chain.valid:
            self._length = self._chain.total()
        self._stale = False
        return self._length

    @length.setter
    def length(self, value: int) -> None:
        self._require_owned("its length is set")
        self._require_unchained()
        if not 0 <= value <= self._slot_size:
            raise ValueError(f"length {value} is outside 0..{self._slot_size}, the slot of {self!r}")
        self._length = value

    @property
    def status(self) -> Status:
        """
        SUCCESS: drivers may keep the packet. RESOURCES: they must copy it during the call. The miniport sets it before indicating.

        A serialized miniport reads it when `indicate` has returned: PENDING, a driver keeps the packet; SUCCESS, it is the
        miniport's again. And it sets it, of each packet that its `send_packets` is shown.

        NDIS: NDIS_GET_PACKET_STATUS, NDIS_SET_PACKET_STATUS; RX-06, RX-16, RX-20, TX-13.
        """
        if self._state == INDICATED and self._asked < 0 and self.pool.verifier_level >= 2:
            self._read_too_late()
        if self._status == 0:
            return SUCCESS
        if self._status == 1:
            return RESOURCES
        return PENDING if self._status == UNSET else Status(self._status)

    @status.setter
    def status(self, value: Status) -> None:
        if self._submitted:
            self._status = 1 if value == RESOURCES else int(Status(value))
            return
        self._require_owned("its status is set")
        if value not in (SUCCESS, RESOURCES):
            raise ValueError(f"status {value!r} of a packet to indicate: SUCCESS or RESOURCES")
        self._status = 0 if value == SUCCESS else 1

    @property
    def flags(self) -> int:
        """
        LOOPBACK, or what the owner put there; the owner may set it.

        NDIS: NdisGetPacketFlags, NdisSetPacketFlags; PKT-35.
        """
        return self._flags

    @flags.setter
    def flags(self, value: int) -> None:
        self._require_owned("its flags are set")
        self._flags = value

    @property
    def oob(self) -> OobData:
        """
        The out-of-band block: times, header size, media-specific information.

        NDIS: NDIS_OOB_DATA_FROM_PACKET; PKT-40, S004-20.
        """
        self._require_out()
        if self._oob is None:
            self._ordinary = False
            self._oob = OobData(ndis_time(self.time_received) if self.time_received else 0)
        return self._oob

    @property
    def info(self) -> list[object]:
        """
        The per-packet information, one item for each `vnic.oob.Info`; an empty one is None.

        Of a frame received by a driver that has asked for offload, `Info.TCP_IP_CHECKSUM` has a `ChecksumResult`, and of a superframe
        `Info.TCP_LARGE_SEND` the bytes of payload of each of its segments.

        NDIS: NDIS_PER_PACKET_INFO_FROM_PACKET; PKT-44.
        """
        self._require_out()
        if self._info is None:
            self._ordinary = False
            self._info = [None] * INFO_SLOTS
            if self._virtio.flags and self._state != OWNED and self._state != SENDING:
                self._tell_of_offload()
        return self._info

    def _information(self, number: cython.int) -> object:
        """An item of the per-packet information, or None; the list is the driver's, who may have made it shorter."""
        if self._info is None or number >= len(self._info):
            return None
        return self._info[number]

    def _tell_of_offload(self) -> None:
        """Say in the per-packet information what stood in the virtio header of a received frame."""
        if not self._virtio.start:
            return
        tcp: cython.bint = self._virtio.offset == 16
        self._info[TCP_IP_CHECKSUM] = (PARTIAL_TCP if tcp else PARTIAL_UDP) if self._virtio.flags & NEEDS_CHECKSUM else (
            RIGHT_TCP if tcp else RIGHT_UDP
        )
        if self._virtio.kind != NO_SUPERFRAME:
            self._info[TCP_LARGE_SEND] = self._virtio.size

    @property
    def has_oob(self) -> bool:
        """Whether somebody has looked at `oob`; until then there is nothing in it to copy."""
        return self._oob is not None

    @property
    def has_info(self) -> bool:
        """Whether somebody has looked at `info`; until then there is nothing in it to copy."""
        return self._info is not None

    @property
    def protocol_reserved(self) -> memoryview:
        """
        The scratch bytes of the driver that allocated the packet, `pool.reserved_size` of them, zero when it is allocated.

        A binding that was lent the packet has its own: `binding.reserved(packet)`.

        NDIS: NDIS_PACKET.ProtocolReserved; PKT-04, PKT-33.
        """
        self._require_owned("its reserved area is touched")
        size = self.pool.reserved_size
        if self._reserved is None:
            self._ordinary = False
            self._reserved = bytearray(size)
            if self.pool.verifier_level >= 3:
                self._reserved += RED_BYTES
        return memoryview(self._reserved)[:size]

    @property
    def data(self) -> memoryview:
        """
        The frame, as a view: writable for the packet's owner, read-only for everybody else.

        Raises:
            OwnershipError: the packet is back in its pool (rule 07).
        """
        if COUNTS_VIEWS:
            return memoryview(self)
        return self._view()

    @property
    def ethertype(self) -> int:
        """
        Bytes 12 and 13 as a number: the EtherType, or the outer VLAN tag's; 0 if the frame is too short.

        Raises:
            OwnershipError: the packet is back in its pool (rule 07).
        """
        self._require_out()
        if self._chain is not None and self._state == OWNED:
            self._seal()
        if self._length < SHORTEST:
            return 0
        return (self._shared[12] << 8) | self._shared[13]

    def write(self, frame: object) -> None:
        """
        Copy a frame into the slot and set `length`. The packet must be the caller's own.

        Args:
            frame: anything with the buffer protocol, at most a slot long.

        Raises:
            OwnershipError: the caller does not own the packet.
            ValueError: the slot is smaller.
        """
        self._require_owned("it is written")
        self._require_unchained()
        if cython.compiled:
            view: cython.Py_buffer
            PyObject_GetBuffer(frame, cython.address(view), PyBUF_SIMPLE)
            size: cython.Py_ssize_t = view.len
            if size <= self._slot_size:
                # the frame may be a view of this very slot
                memmove(self._bytes, view.buf, size)
            PyBuffer_Release(cython.address(view))
        else:
            size = memoryview(frame).nbytes
            if size <= self._slot_size:
                self._bytes[:size] = memoryview(frame).cast("B")
        if size > self._slot_size:
            raise ValueError(f"a frame of {size} bytes does not fit the slot of {self._slot_size}")
        self._length = size

    def fill(self, offset: int, data: object) -> int:
        """
        Copy bytes into the packet: into its buffers, which are not extended, or into its slot, whose `length` then covers them.

        For the owner, and for a miniport that was asked to transfer data into the packet, until it completes that.

        Returns:
            Bytes copied: fewer than there are, if the packet ends before.

        Raises:
            OwnershipError: it is neither the caller's own nor to be filled.

        NDIS: what MiniportTransferData does with NdisQueryBuffer; RX-48, RX-52.
        """
        if self._state != TRANSFERRING:
            self._require_owned("it is filled")
        one: Buffer
        source = memoryview(data).cast("B")
        if offset < 0:
            raise ValueError(f"offset {offset} of {self!r}")
        if self._in_large():
            self._open_chain()
        if self._chain is None:
            source = source[: max(0, self._slot_size - offset)]
            if not source.nbytes:
                return 0
            self._write_slot(offset, source)
            self._length = max(self._length, offset + source.nbytes)
            return source.nbytes
        left = source
        for one in chain_of(self._chain.head):
            part = left[: max(0, one.length - offset)]
            if one is self._slot_buffer:
                self._write_slot(offset, part)
            elif part.nbytes:
                one.memory[offset : offset + part.nbytes] = part
            left = left[part.nbytes :]
            offset = max(0, offset - one.length)
        return source.nbytes - left.nbytes

    def _write_slot(self, offset: int, data: memoryview) -> None:
        """Write into the slot; the caller has looked whether it fits."""
        if cython.compiled:
            view: cython.Py_buffer
            PyObject_GetBuffer(data, cython.address(view), PyBUF_SIMPLE)
            memmove(self._bytes + cython.cast(cython.Py_ssize_t, offset), view.buf, view.len)
            PyBuffer_Release(cython.address(view))
        else:
            self._bytes[offset : offset + data.nbytes] = data

    # the chain

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """
        The buffers of the packet, in order; of a packet that was never chained to, its slot's. Nothing changes hands.

        NDIS: NDIS_PACKET_FIRST_NDIS_BUFFER, NdisGetNextBuffer.
        """
        self._require_out()
        return tuple(chain_of(self._open_chain().head))

    def chain_front(self, buffer: Buffer) -> None:
        """
        Put a buffer, and the chain behind it, in front of the packet's; they belong to the packet until they are unchained.

        Raises:
            OwnershipError: the packet is not the caller's own, or the buffer is chained already (rule 42).

        NDIS: NdisChainBufferAtFront.
        """
        self._require_owned("a buffer is chained to it")
        self._open_chain().front(buffer)

    def chain_back(self, buffer: Buffer) -> None:
        """
        Put a buffer, and the chain behind it, behind the packet's; they belong to the packet until they are unchained.

        Raises:
            OwnershipError: the packet is not the caller's own, or the buffer is chained already (rule 42).

        NDIS: NdisChainBufferAtBack.
        """
        self._require_owned("a buffer is chained to it")
        self._open_chain().back(buffer)

    def unchain_front(self) -> Buffer | None:
        """
        Take the first buffer off the packet; it is the caller's again, and its link is empty. None if there is none.

        NDIS: NdisUnchainBufferAtFront; BUF-10, BUF-12.
        """
        self._require_owned("a buffer is unchained from it")
        chain: Chain = self._open_chain()
        return chain.take(chain.head)

    def unchain_back(self) -> Buffer | None:
        """
        Take the last buffer off the packet; it is the caller's again. None if there is none.

        NDIS: NdisUnchainBufferAtBack; BUF-12.
        """
        self._require_owned("a buffer is unchained from it")
        chain: Chain = self._open_chain()
        return chain.take(chain.last())

    def share_chain(self, other: Packet) -> None:
        """
        Show another packet's buffers as this one's, without taking them over: they stay the other's, which must outlive this use.

        NDIS: setting NDIS_PACKET_FIRST_NDIS_BUFFER and NDIS_PACKET_LAST_NDIS_BUFFER; PKT-37, IM-05.
        """
        self._require_owned("it is given another's chain")
        self._require_bare(rules.BUFFER_CHAINED, "given another's chain")
        other._require_out()
        chain: Chain = self._open_chain()
        chain.head = other._first_buffer()
        chain.valid = False

    def reinitialize(self) -> None:
        """
        Make the packet ready for another use by the driver that allocated it: no buffers, counts to be computed anew.

        Nothing else is touched: flags, reserved areas, the out-of-band block and the per-packet information stay.

        Raises:
            OwnershipError: it is not the caller's own, has buffers of its own chained (rule 32), or media-specific information (33).

        NDIS: NdisReinitializePacket; PKT-26 to PKT-32.
        """
        self._require_owned("it is reinitialised")
        self._require_bare(rules.REINITIALIZE_CHAINED, "reinitialised")
        self._unlink()
        self._ordinary = False
        self._stale = True

    def recalculate_counts(self) -> None:
        """
        Compute the totals anew when next asked, after a change that the library did not see. The packet must be the caller's own.

        NDIS: NdisRecalculatePacketCounts; PKT-36.
        """
        self._require_owned("its buffers are changed")
        if self._chain is not None:
            self._chain.valid = False

    @property
    def valid_counts(self) -> bool:
        """Whether the totals are up to date. NDIS: NDIS_PACKET_VALID_COUNTS; PKT-36."""
        return not self._stale if self._chain is None else self._chain.valid

    def _open_chain(self) -> Chain:
        """The chain of the packet; a frame in the slot becomes a chain of one buffer."""
        if self._in_large():
            return self._lender._chained(self)
        if self._chain is None:
            first = self._first_buffer()
            self._ordinary = False
            self._chain = Chain(self)
            self._chain.head = first
        return self._chain

    def _first_buffer(self) -> Buffer | None:
        """The first buffer of the chain; of a packet without one, its slot's, and it stays without: it can be written to again."""
        slot: Buffer
        if self._in_large():
            self._open_chain()
        if self._chain is not None:
            return self._chain.head
        if not self._length:
            return None
        slot = self._open_slot()
        slot.length = self._length
        slot.packet = self
        slot.following = None
        return slot

    def _open_slot(self) -> Buffer:
        """The buffer of its slot, made once."""
        if self._slot_buffer is None:
            slot: Buffer = Buffer(None, self.pool._slot_view(self.index))
            slot._of = self
            self._slot_buffer = slot
        return self._slot_buffer

    def _require_bare(self, rule: object, what: str) -> None:
        if self._chain is not None and self._chain.owns_some():
            raise refused(rule, self.pool.name, f"{self!r} is {what} with buffers of its own chained", self)
        if self._oob is not None and self._oob.media_specific is not None:
            detail = f"{self!r} is {what} with media-specific information attached"
            raise refused(rules.OOB_NOT_RECLAIMED, self.pool.name, detail, self)

    def _require_unchained(self) -> None:
        if self._chain is not None or self._in_large():
            raise ValueError(f"{self!r} has a chain of buffers: adjust those, or reinitialize it")

    def _seal(self) -> None:
        """Before a packet with a chain is lent: find its frame in one piece; several pieces are gathered, a single one is not copied."""
        self._seal_pieces()
        if self._scattered:
            self._gather()

    def _seal_pieces(self) -> None:
        """Before a packet with a chain is sent: find its frame. Several pieces stay where they are, if the first of them has the header."""
        first: Buffer = None
        one: Buffer = self._chain.head
        length: cython.Py_ssize_t = 0
        pieces: cython.int = 0
        self._retire()
        while one is not None:
            if one.length:
                if first is None:
                    first = one
                pieces += 1
                length += one.length
            one = one.following
        if length > LONGEST:
            raise ValueError(f"a chain of {length} bytes is too long for a packet")
        self._chain.valid = True
        self._length = length
        self._scattered = pieces != 1
        if pieces == 1:
            self._frame_in = first
        if first is not None:
            self._shared = first._shared
        if pieces == 0 or (pieces > 1 and first.length < SHORTEST):
            self._gather()

    def _gather(self) -> None:
        """Somebody needs the whole frame in one piece, and it is in several."""
        one: Buffer
        size: cython.Py_ssize_t = self._length
        # a chain that is another packet's may have changed since, against the rules: the length has been told
        whole = b"".join([one._inner() for one in self._chain.used()])[:size].ljust(size, b"\0")
        if not self._scattered:
            # another thread was faster, and perhaps somebody has a view of what that one gathered
            return
        self._frame_in = whole
        if cython.compiled:
            self._shared = cython.cast(cython.p_uchar, PyBytes_AS_STRING(whole))
        else:
            self._shared = memoryview(whole)
        self._scattered = False

    def _retire(self) -> None:
        """Let go of what the last frame was in; not yet, if a view of it is alive."""
        if self._frame_in is not None:
            if self.views:
                self._retired.append(self._frame_in)
            self._frame_in = None

    def _unlink(self) -> None:
        """Forget the chain; the frame is in the slot again, and empty."""
        self._retire()
        if self._slot_buffer is not None:
            self._slot_buffer.packet = None
        self._chain = None
        self._scattered = self._sealed = False
        self._length = 0
        self._shared = self._slot_shared

    def __repr__(self) -> str:
        return f"<Packet {self.pool.name}[{self.index}].{self.generation} {self.state.name} {self._length} bytes>"

    def _read_too_late(self) -> None:
        """Whoever indicated the packet reads its status, and the call is over: no handler of a driver runs on this thread."""
        context: Context = _here()
        if self.shown is not None and self.shown.thread == context.ident and context._slot() < 0 and not self._serial:
            refused(rules.STATUS_READ, "the miniport", f"the status of {self!r} is read", self)

    def _mark(self, step: Step) -> None:
        """Note what was done to the packet."""
        with cython.critical_section(self):
            self.last = step
            if self._history is not None:
                self._history.append(step)

    def _remember(self, much: cython.bint) -> None:
        """Begin, or cease, to remember the steps of the packet."""
        if much and self._history is None:
            self._ordinary = False
            self._history = deque(maxlen=HISTORY)
        elif not much:
            self._history = None
            self._kept = self._poisoned = False

    if not cython.compiled:
        # compiled, they stand in the .pxd file, where each caller has them for its own

        def _change(self, event: int) -> bool:
            """Take one edge of the state table; False, and nothing changed, if there is no such edge."""
            after = NEXT_STATE[16 * self._state + event]
            if after < 0:
                return False
            self._state = after
            return True

        def _destination(self) -> int:
            """The first six bytes of a frame in one piece, as a number."""
            return int.from_bytes(self._shared[:6], "big")

        def _in_large(self) -> bool:
            """Whether its frame is in a large buffer, and nobody has asked for its buffers yet."""
            return self._lender is not None and self._chain is None and self._shared is not self._slot_shared

        def _forget_promises(self) -> None:
            """Before it is shown anew: who held the last frame in it no longer matters."""
            for slot in range(self._promises):
                self._owed[slot].promised = self._owed[slot].returned = self._owed[slot].replying = 0
            self._promises = 0

    def _require_owned(self, what: str) -> object:
        if self._state == OWNED:
            return None
        rule = TOUCHED.get(self.state, rules.FREE_WHILE_INDICATED)
        raise refused(rule, self.pool.name, f"{self!r} is not the caller's own, but {what}", self)

    def _require_out(self) -> object:
        if self._state == FREE or self._state == QUARANTINED:
            raise refused(rules.USE_AFTER_RETURN, "the caller", f"{self!r} is looked at", self)
        return None

    def _view(self) -> memoryview:
        self._require_out()
        if self._state == OWNED and self._chain is not None:
            self._seal()
        elif self._scattered:
            self._gather()
        if self._state == OWNED and self._chain is None and not self._in_large():
            return self._bytes[: self._length]
        return self._shared[: self._length].toreadonly()

    def _begin_view(self) -> object:
        """Somebody makes a view of it, or of a buffer that it has of itself."""
        self._require_out()
        self._count_view()
        return None

    def _count_view(self) -> None:
        with cython.critical_section(self):
            self.views = self.views + 1

    def _drop_view(self) -> None:
        """A view of it is gone."""
        last: cython.bint
        with cython.critical_section(self):
            self.views = self.views - 1
            last = self.views == 0
        # the collector of garbage may have taken the pool away from a packet that dies with it
        if last and self.pool is not None and self._retired is not None:
            if self._retired:
                self._retired.clear()
            if self._state == QUARANTINED:
                self.pool._release(self)

    if cython.compiled:

        def __getbuffer__(self, buffer: cython.pointer[cython.Py_buffer], flags: cython.int):
            self._require_out()
            if self._state == OWNED and self._chain is not None:
                self._seal()
            elif self._scattered:
                self._gather()
            if self._state == OWNED and self._chain is None and not self._in_large():
                PyBuffer_FillInfo(buffer, self, self._bytes, self._length, 0, flags)
            else:
                PyBuffer_FillInfo(buffer, self, self._shared, self._length, 1, flags)
            self._count_view()

        def __releasebuffer__(self, buffer: cython.pointer[cython.Py_buffer]):
            self._drop_view()

    else:

        def __buffer__(self, flags: int, /) -> memoryview:
            view = self._view()
            self._count_view()
            return view

        def __release_buffer__(self, view: memoryview, /) -> None:
            if not self.__dict__:
                # the collector of garbage has emptied a packet that dies with its views
                return
            view.release()
            self._drop_view()


def copy_packet(target: Packet, target_offset: int, length: int, source: Packet, source_offset: int) -> int:
    """
    Copy bytes from one packet to another, across the borders of buffers on both sides.

    The target must be the caller's own, or given to it to be filled.

    Out-of-band data, per-packet information and flags are not copied.

    Args:
        target: where to; its buffers (or its slot, up to `length`) are filled, never extended.
        target_offset: the first byte there.
        length: bytes to copy.
        source: where from.
        source_offset: the first byte there.

    Returns:
        Bytes copied: fewer than `length` if either packet ends before.

    Raises:
        OwnershipError: the target is neither.

    NDIS: NdisCopyFromPacketToPacket; BUF-18, BUF-19.
    """
    if target._state == TRANSFERRING and target_offset >= 0:
        return target.fill(target_offset, source.data[source_offset : source_offset + length])
    target._require_owned("it is copied to")
    data = source.data[source_offset : source_offset + length]
    if target._in_large():
        target._open_chain()
    if target._chain is None:
        room = target._length - target_offset
        copied = max(0, min(room, data.nbytes))
        target.data[target_offset : target_offset + copied] = data[:copied]
        return copied
    copied = 0
    for piece in pieces(target._chain.head, target_offset, data.nbytes):
        piece[:] = data[copied : copied + piece.nbytes]
        copied += piece.nbytes
    return copied
