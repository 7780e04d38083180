"""
Replies without copying: a header of one's own, and behind it the rest of the frame that came, where it lies.

A received packet is never sent itself (rule 58). What is sent is a packet of the driver's, whose first buffer is its slot and whose
second describes a part of the received packet; that is held until the send is over. Descriptors are made once and used again and again.

Next: `vnic/lifecycle.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.binding import Binding
from vnic.buffer import Buffer, BufferPool
from vnic.ledger import Ledger
from vnic.packet import HEADER_SIZE, Packet, Taker
from vnic.pool import PacketPool
from vnic.send import SendPath
from vnic.states import PacketState
from vnic.status import Status
from vnic.steps import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.binding import is_packet
    from vnic.steps import _step

if cython.compiled:
    from cython.cimports.libc.string import memcpy

SUCCESS, PENDING = Status.SUCCESS, Status.PENDING
HEADER = HEADER_SIZE
INDICATED = int(PacketState.INDICATED)
SLOT_SIZE = 64
LONGEST = 1 << 30
"""An offset of so many bytes is behind the end of every frame."""
NOTHING = memoryview(b"")


class Replies(Taker):
    """
    Packets to reply with, for one binding, to be made in `bind_adapter` and closed in `unbind_adapter`.

    Their sends do not come back through `send_complete`: they come back here, and then the packet that was replied to is returned.

    NDIS: NdisCopyBuffer for the second buffer, NdisSendPackets, NdisReturnPackets; BUF-09, PKT-31, TX-06.

    Args:
        binding: whose replies they are.
        count: replies that may be under way at one time.
        header_size: bytes of the longest header.
        name: of the two pools.

    Attributes:
        binding: as given.
        pool: the packets.
        buffers: their second buffers.
        sent: replies that went out.
        dropped: packets that were not replied to: for lack of a reply, because they are too short, or because the send was refused.

    Raises:
        OSError: the memory cannot be had.
        ValueError: no header is so short.
    """

    def __init__(self, binding: Binding, count: int, *, header_size: int = HEADER_SIZE, name: str = "") -> None:
        packet: Packet
        if getattr(self, "pool", None) is not None:
            raise TypeError("replies are made once")
        if header_size < HEADER_SIZE:
            raise ValueError(f"headers of at most {header_size} bytes: a header has {HEADER_SIZE} at least")
        self.binding = binding
        name = name or f"{binding.name} replies"
        self._us = bytes(binding.address)
        self._closing = False
        self._step = None
        self.sent = self.dropped = 0
        self._idle = []
        self.buffers = BufferPool(count, name)
        try:
            self.pool = PacketPool(count, max(SLOT_SIZE, header_size), name=name)
        except OSError:
            self.buffers.close()
            raise
        for _ in range(count):
            packet = self.pool.allocate()
            rest = self.buffers.allocate(NOTHING)
            if packet is None or rest is None:
                # on purpose, at verifier level 4: there are less then
                if packet is not None:
                    self.pool.free(packet)
                if rest is not None:
                    self.buffers.free(rest)
                continue
            packet.write(bytes(header_size))
            packet.chain_back(rest)
            packet._taker = self
            self._idle.append(packet)
        self._made = self._ready = len(self._idle)

    def send(self, packets: Sequence[Packet], headers: Sequence[bytes] | None = None, offset: object = HEADER_SIZE) -> int:
        """
        Take over packets that the binding holds, and send a reply to each, in order; each is returned when its reply is over.

        A packet that gets no reply is returned at once, and counted in `dropped`.

        Args:
            packets: each with one return owed for it.
            headers: what each reply begins with, in place of the first `offset` bytes of the frame; by default, the header with which it
                goes back to where it came from: to its source, from the adapter's address, of the same type.
            offset: where the rest of each frame begins.

        Returns:
            Replies that were handed down; what became of them is counted in `sent` and `dropped`.

        Raises:
            OwnershipError: no return is owed for a packet, or it follows a reply already (rules 01 to 05); the first such is named, the
                others are replied to.
            ContractViolation: the binding is closed (rule 57), or a lock is held (rule 80).
            ValueError: there is not a header for each packet, or one has less than 14 bytes, or more than were asked for, or the offset
                is negative.
            TypeError: one of them is no packet, or no header, or the offset is no number. In these three nothing has changed hands.
        """
        received: Packet
        binding: Binding = self.binding
        ledger: Ledger = binding._ledger
        sends: SendPath = binding._sends
        first: object = None
        position: cython.Py_ssize_t
        replies: list = []
        unanswered: list = []
        packets = list(packets)
        pieces: list = self._checked(packets, headers, offset)
        binding._require_sends()
        step: Step = _step("return", binding.name, binding.verifier_level, 0) if binding.verifier_level else None
        with cython.critical_section(self):
            self._us = binding.address
            self._step = step
        behind: cython.int = min(offset, LONGEST)
        for position in range(len(packets)):
            received = cython.cast(Packet, packets[position])
            if not self._holds(received):
                broken = ledger._violation(binding._broken_return(received), binding, received, f"{received!r} is replied to")
                first = first or broken
            else:
                reply = self._reply(received, None if pieces is None else pieces[position], behind)
                (unanswered if reply is None else replies).append(received if reply is None else reply)
        for received in unanswered:
            broken = binding._take_back(received, step)
            first = first or broken
            if broken is None:
                with cython.critical_section(self):
                    self.dropped += 1
        if replies:
            sends.send_packets(binding, replies)
        if first is not None:
            raise first
        return len(replies)

    def close(self) -> Status:
        """
        Give the packets back to their pool and close it.

        Returns:
            SUCCESS; PENDING while replies are under way: with the last of them it is done, and the unbinding completed. So `unbind_adapter`
            answers what this answers.
        """
        with cython.critical_section(self):
            self._closing = True
            waits: cython.bint = self._ready < self._made
        if waits:
            return PENDING
        self._end()
        return SUCCESS

    def _checked(self, packets: list, headers: object, offset: object) -> list | None:
        """Refuse what is not as it must be, before anything changes hands; answers the headers, none of which can change any more."""
        for packet in packets:
            if not is_packet(packet):
                raise TypeError(f"a {type(packet).__name__} is replied to, and not a packet")
        if not isinstance(offset, int):
            raise TypeError(f"an offset is an int, not a {type(offset).__name__}")
        if offset < 0:
            raise ValueError(f"offset {offset} of the rest of a frame")
        if headers is None:
            return None
        longest = self.pool.slot_size
        pieces = [memoryview(header).cast("B") for header in headers]
        if len(pieces) != len(packets):
            raise ValueError(f"{len(pieces)} headers for {len(packets)} packets")
        for piece in pieces:
            if not HEADER <= piece.nbytes <= longest:
                raise ValueError(f"a header of {piece.nbytes} bytes: {HEADER} to {longest} are possible")
        return pieces

    def _holds(self, received: Packet) -> cython.bint:
        """Whether a return of a packet is owed that follows no reply yet."""
        binding: Binding = self.binding
        return not binding.closed and received._state == INDICATED and binding._owes_of(received)

    def _reply(self, received: Packet, header: object, offset: cython.int) -> object:
        """Make the reply to a packet; None if there is none."""
        reply: Packet
        if received._length < offset or (header is None and received._length < HEADER):
            return None
        if received._scattered:
            # the rest of a reply is one piece
            received._gather()
        with cython.critical_section(self):
            if self._closing or not self._ready:
                return None
            # what is behind the last one is older, and out; so the list never changes its size
            self._ready = self._ready - 1
            reply = self._idle[self._ready]
        self._write(reply, received, header)
        self._show_behind(reply, received, offset)
        return reply

    def _write(self, reply: Packet, received: Packet, header: object) -> None:
        """Write a header into the first buffer of a reply."""
        slot: Buffer = reply._slot_buffer
        if header is not None:
            reply._write_slot(0, header)
            slot.length = header.nbytes
        elif cython.compiled:
            us: cython.p_char = self._us
            memcpy(reply._bytes, received._shared + 6, 6)
            memcpy(reply._bytes + 6, us, 6)
            memcpy(reply._bytes + 12, received._shared + 12, 2)
            slot.length = 14
        else:
            reply._bytes[:14] = bytes(received._shared[6:12]) + self._us + bytes(received._shared[12:14])
            slot.length = 14

    def _show_behind(self, reply: Packet, received: Packet, offset: cython.int) -> None:
        """Let the second buffer of a reply describe the rest of a frame. That counts as a view of the packet, until it is let go."""
        slot: Buffer = reply._slot_buffer
        rest: Buffer = slot.following
        with cython.critical_section(received):
            received.views = received.views + 1
            received._owed[self.binding.slot].replying = received._owed[self.binding.slot].replying + 1
        rest._source = received
        rest._at = offset
        rest.size = rest.length = received._length - offset
        if cython.compiled:
            rest._bytes = rest._shared = received._shared + offset
        else:
            rest._memory = rest._bytes = rest._shared = received._shared[offset : received._length]
        # where the frame is: so nobody has to look
        reply._chain.valid = reply._sealed = True
        reply._length = slot.length + rest.length
        reply._shared = slot._shared
        reply._scattered = rest.length > 0
        if reply._frame_in is not None:
            reply._retire()

    def _let_go(self, reply: Packet) -> Packet | None:
        """The other way round: the reply shows nothing any more. Answers the packet that it was to."""
        rest: Buffer = reply._slot_buffer.following
        received: Packet = rest._source
        if received is None:
            return None
        rest._source = None
        rest.size = rest.length = 0
        if not cython.compiled:
            rest._memory = rest._bytes = rest._shared = NOTHING
        with cython.critical_section(received):
            # it may have been taken back by force, and lent again by a miniport of its own
            if received._owed[self.binding.slot].replying:
                received._owed[self.binding.slot].replying = received._owed[self.binding.slot].replying - 1
        received._drop_view()
        return received

    def _over(self, packet: Packet, status: object, at_once: cython.bint) -> None:
        """The send of a reply is over: the packet that it was to goes home."""
        binding: Binding = self.binding
        received: Packet = self._let_go(packet)
        step: Step
        last: cython.bint
        if received is None:
            # the driver has sent it itself, and that was not a reply
            return
        with cython.critical_section(self):
            step = self._step
        if not at_once and binding.verifier_level:
            step = _step("return", binding.name, binding.verifier_level, 0)
        # it is not owed any more if it was taken back by force meanwhile
        if self._holds(received):
            binding._take_back(received, step)
        with cython.critical_section(self):
            if status is SUCCESS:
                self.sent = self.sent + 1
            else:
                self.dropped += 1
            self._idle[self._ready] = packet
            self._ready = self._ready + 1
            last = self._closing and self._ready == self._made
        if last:
            try:
                try:
                    self._end()
                finally:
                    binding.complete_unbind()
            except BaseException as error:
                ledger: Ledger = binding._ledger
                ledger._failed(binding, "send_complete", error)

    def _end(self) -> None:
        idle, self._idle = self._idle, []
        self._made = self._ready = 0
        try:
            for packet in idle:
                self.buffers.free(packet.unchain_back())
                self.pool.free(packet)
            self.pool.close()
        finally:
            self.buffers.close()

    def __repr__(self) -> str:
        return f"<Replies of {self.binding.name}: {self._ready} of {self._made} idle>"
