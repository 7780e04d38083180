"""
A batch: the packets of one indication, for a driver that looks at them all at once, in `receive_packets`.

Each packet of a batch is promised, returned, counted and watched as if it had been shown alone. What a driver may still have after the
call - lengths, headers - are copies, so that an array that is kept never reads the next frame; views of whole frames are those of the
packets, and counted.

Next: `vnic/receive.py`, which makes indications, and `protocol/classify.py`, a driver that is shown batches.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vnic.asking import shown
from vnic.binding import Binding
from vnic.context import Context
from vnic.counters import COLUMN
from vnic.filters import SUPERFRAME_AMONG, PacketFilter
from vnic.lifecycle import Lifecycle
from vnic.offload import Offload
from vnic.packet import Packet
from vnic.status import Status
from vnic.verifier import rules
from vnic.verifier.refusal import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    import ctypes

    # compiled, they come with the C types
    from vnic.asking import counted
    from vnic.steps import _now

    def items_of(packets: list) -> list:
        """The items of a list, for a loop that takes no reference to each; the list may not change meanwhile."""
        return packets

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize

HEADER = 64
"""Bytes of each frame that `Batch.headers` has: Ethernet, two VLAN tags, and IPv4 or IPv6 with nearly all of what is behind."""
MANY = sys.maxsize
EVERYTHING = int(PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL)
SEGMENTATION = int(Offload.SEGMENTATION)
AMONG = SUPERFRAME_AMONG
RX_DELIVERED = COLUMN["rx_delivered"]
RX_FILTERED = COLUMN["rx_filtered"]
SUCCESS, RESOURCES = Status.SUCCESS, Status.RESOURCES


class Batch:
    """
    Packets that are shown together, in order. They are borrowed, as in `receive_packet`, until the handler answers.

    `lengths` and `headers` have the buffer protocol: `numpy.asarray(batch.headers)` copies nothing. They stay as they are when the
    packets are gone. The rest of a frame is in `packet.data`.

    NDIS: the packet array of ProtocolReceivePacket's caller, NdisMIndicateReceivePacket; RX-01.

    Attributes:
        status: SUCCESS: packets may be kept; RESOURCES: all of them must be copied.
    """

    def __init__(self) -> None:
        raise TypeError("batches are made by adapters")

    @property
    def packets(self) -> tuple[Packet, ...]:
        """The packets."""
        if self._tuple is None:
            self._tuple = tuple(self._packets)
        return self._tuple

    def __len__(self) -> int:
        return len(self._packets)

    def __getitem__(self, position: int, /) -> Packet:
        return self.packets[position]

    def __iter__(self) -> Iterator[Packet]:
        return iter(self.packets)

    @property
    def lengths(self) -> memoryview:
        """
        The length of each frame: 32-bit numbers, one for each packet.

        Raises:
            OwnershipError: the handler has answered (rule 07).
        """
        if self._lengths is None:
            self._lengths = memoryview(self._gather_lengths()).cast("i")
        return self._lengths

    @property
    def headers(self) -> memoryview:
        """
        The first 64 bytes of each frame, one row for each packet; behind the end of a shorter frame there are zeros.

        Raises:
            OwnershipError: the handler has answered (rule 07).
        """
        if self._headers is None:
            self._headers = memoryview(self._gather_headers()).cast("B", (len(self._packets), HEADER))
        return self._headers

    def gather(self, into: object, row: int = 0, first: int = 0, size: int = HEADER) -> None:
        """
        Copy the same bytes of each frame into an array of the driver's own: for a driver that counts thousands of frames at a time.

        Behind the end of a shorter frame there are zeros. `batch.gather(column, row, 12, 2)` appends the EtherTypes to a column.

        Args:
            into: a writable buffer in one piece, in which each row has `size` bytes: a bytearray, an array of numpy.
            row: where the first frame's bytes go.
            first: the first of the bytes.
            size: how many.

        Raises:
            OwnershipError: the handler has answered (rule 07).
            ValueError: the bytes are not among the first 64, or the array has too few rows.
            BufferError: it is not writable, or not in one piece.
        """
        self._require_shown("bytes")
        at: cython.Py_ssize_t = number_of(row)
        begin: cython.Py_ssize_t = number_of(first)
        width: cython.Py_ssize_t = number_of(size)
        if not 0 <= begin < HEADER or not 1 <= width <= HEADER - begin:
            raise ValueError(f"bytes {first} to {first + size} of each frame: only those from 0 to {HEADER} are gathered")
        count: cython.Py_ssize_t = len(self._packets)
        fits: cython.bint
        if cython.compiled:
            target: cython.Py_buffer
            PyObject_GetBuffer(into, cython.address(target), PyBUF_WRITABLE)
            # to have the buffer may have been to run code of the driver's
            fits = self._shown and 0 <= at <= target.len // width - count
            if fits:
                gather_rows(self._packets, cython.cast(cython.p_char, target.buf) + at * width, begin, width)
            PyBuffer_Release(cython.address(target))
        else:
            with memoryview(into) as view:
                if view.readonly or not view.c_contiguous:
                    raise BufferError("the array is read-only, or not in one piece")
                fits = self._shown and 0 <= at <= view.nbytes // width - count
                if fits:
                    # whatever its items are
                    whole = (ctypes.c_char * view.nbytes).from_buffer(into)
                    whole[at * width : (at + count) * width] = gather_rows(self._packets, None, begin, width)
        self._require_shown("bytes")
        if not fits:
            raise ValueError(f"{count} rows of {size} bytes from row {row} on do not fit into the array")

    def _gather_lengths(self) -> bytes:
        packet: Packet
        self._require_shown("lengths")
        if cython.compiled:
            block: bytes = PyBytes_FromStringAndSize(cython.NULL, len(self._packets) * cython.sizeof(cython.int))
            number: cython.p_int = cython.cast(cython.p_int, PyBytes_AS_STRING(block))
            for packet in self._packets:
                number[0] = packet._length
                number += 1
            return block
        else:
            return b"".join([packet._length.to_bytes(4, sys.byteorder) for packet in self._packets])

    def _gather_headers(self) -> bytes:
        self._require_shown("headers")
        if cython.compiled:
            block: bytes = PyBytes_FromStringAndSize(cython.NULL, len(self._packets) * 64)
            gather_rows(self._packets, PyBytes_AS_STRING(block), 0, 64)
            return block
        else:
            return gather_rows(self._packets, None, 0, HEADER)

    def _begin_to_ask(self, packet: Packet, slot: cython.int) -> None:
        """A driver is about to be shown a packet."""
        packet._outcome = RX_DELIVERED
        packet._seen_views = packet.views
        packet._asked = slot

    def _has_changed(self, packet: Packet) -> cython.bint:
        """A driver has been shown a packet, and keeps nothing of it: does that have to be looked at?"""
        packet._asked = -1
        return packet.views > packet._seen_views or (not packet._ordinary and packet._kept)

    def _require_shown(self, what: str) -> object:
        if not self._shown:
            raise refused(rules.USE_AFTER_RETURN, "the caller", f"{what} of a batch are asked for after the answer")
        return None

    def __repr__(self) -> str:
        return f"<Batch of {len(self._packets)} packets, {self.status.name}>"


def number_of(asked: object) -> cython.Py_ssize_t:
    """A number of rows or bytes, or -1: one for which no array is large enough is as wrong as one below 0."""
    return asked if 0 <= asked <= MANY else -1


def gather_rows(packets: list, into: cython.p_char, first: cython.Py_ssize_t, size: cython.Py_ssize_t) -> bytes:
    """Copy the same bytes of each frame, one after another; uncompiled, answer them."""
    if cython.compiled:
        place: cython.Py_ssize_t
        items: cython.pp_void = items_of(packets)
        for place in range(len(packets)):
            copy_bytes(cython.cast(Packet, items[place]), into, first, size)
            into += size
        return None
    else:
        frames = [bytes(packet._shared[first : min(first + size, packet._length)]) for packet in packets]
        return b"".join([frame.ljust(size, b"\0") for frame in frames])


def batch_of(packets: list, status: object) -> Batch:
    """Make one, not through `__init__`, whose arguments would have to be packed."""
    batch: Batch = Batch.__new__(Batch)
    batch._packets = packets
    batch._tuple = batch._lengths = batch._headers = None
    batch.status = status
    batch._shown = True
    return batch


def show_batches(adapter: Lifecycle, bound: list, binding: Binding, packets: list, kinds: cython.int, here: Context) -> None:
    """
    Show a binding those packets of an indication that it accepts, in order.

    That is one batch, unless packets run low or it may hold no more in the middle: what must be copied is shown after what may be kept,
    and through `receive` if the driver has that.

    Args:
        adapter: the one that indicates.
        bound: who was bound to it when the indication began.
        binding: it has `receive_packets`.
        packets: begun; `_outcome` says which of them can be shown, and learns of it.
        kinds: the filter bits of all frames, and whether a superframe is among them, if each can be shown and kept; else -1.
        here: this thread.
    """
    packet: Packet
    part: list
    lent: cython.bint = False
    over: cython.bint = False
    room: cython.longlong
    position: cython.Py_ssize_t = 0
    count: cython.Py_ssize_t = len(packets)
    if adapter._bound(False) is not bound and binding not in adapter._bound(False):
        return
    room = binding.quota - (binding.promised - binding.returned) if binding.quota else count
    # a handler before may have changed what this one has asked for
    asked: cython.bint = (binding._offload & SEGMENTATION) != 0
    bits: cython.int = kinds & ~AMONG if asked else kinds
    if kinds >= 0 and bits < AMONG and room >= count and (binding._filter & EVERYTHING or not bits & ~binding._filter):
        # nearly always: all of them
        show_part(binding, packets, False, False, here)
        return
    while position < count and binding in adapter._bound(False):
        part = []
        room = count
        if binding.quota:
            room = binding.quota - (binding.promised - binding.returned)
            over = room <= 0
        while position < count:
            packet = packets[position]
            if packet._outcome != RX_FILTERED and packet._outcome != RX_DELIVERED:
                position += 1
                continue
            if not binding._filter & (packet._kind | EVERYTHING) and not binding._accepts(packet._kind, packet._destination()):
                position += 1
                continue
            if not asked and packet._virtio.kind:
                position += 1
                continue
            if not part:
                lent = packet._status != 0
            elif lent != (packet._status != 0) or (not (lent or over) and len(part) >= room):
                break
            part.append(packet)
            position += 1
        if part:
            show_part(binding, part, over and not lent, lent or over, here)


def show_one(binding: Binding, packet: Packet, here: Context) -> None:
    """Show one packet by itself: it is looped back, or the driver was bound in the middle of its indication."""
    lent: cython.bint = packet._status != 0
    over: cython.bint = not lent and binding.quota != 0 and binding.promised - binding.returned >= binding.quota
    if packet._scattered and packet._chain.first_length() < HEADER:
        # the headers of a batch are taken from one piece
        packet._gather()
    show_part(binding, [packet], over, lent or over, here)


def show_part(binding: Binding, part: list, over: cython.bint, lent: cython.bint, here: Context) -> None:
    """Show packets of which all may be kept, or none: because packets are low, or (over) this driver holds as many as it may."""
    packet: Packet
    if over:
        for packet in part:
            packet._status = 1
        binding.over_quota += len(part)
    if not lent:
        ask(binding, part, SUCCESS, here)
    elif binding._receive is None:
        ask(binding, part, RESOURCES, here)
    else:
        for packet in part:
            packet._outcome = RX_DELIVERED
            binding._show_and_copy(packet, here)
    if over:
        # to the others they are as they were
        for packet in part:
            packet._status = 0


def ask(binding: Binding, part: list, status: Status, here: Context) -> None:
    """Call `receive_packets`, and write down for each packet how many references are kept of it."""
    packet: Packet
    position: cython.Py_ssize_t = 0
    place: cython.Py_ssize_t
    one: cython.int
    answers: list = None
    size: cython.Py_ssize_t = len(part)
    batch: Batch = batch_of(part, status)
    started: cython.longlong = _now() if binding.verifier_level >= 2 else 0
    items: cython.pp_void = items_of(part)
    for place in range(size):
        batch._begin_to_ask(cython.cast(Packet, items[place]), binding.slot)
    with cython.critical_section(binding):
        binding.delivered += size
        if status is RESOURCES:
            binding.resources += size
    here._saw[binding.slot] = True
    before: cython.longlong = here._enter_at(binding._in_receive_packets)
    try:
        answer = binding._receive_packets(batch)
        one = counted(answer)
        if one < 0:
            # to read it may be to call the driver's code: it is being asked still
            answers = listed(answer, size)
    except BaseException as error:
        binding._ledger._failed(binding, "receive_packets", error)
        answer, one = 0, 0
    batch._shown = False
    if here._leave(before):
        binding._left_unclean("receive_packets", here, before)
    if started:
        binding._timed("receive_packets", started, None)
    if one < 0 and answers is None:
        detail = f"receive_packets answered {shown(answer)} to {size} packets"
        binding._ledger._violation(rules.ILLEGAL_ANSWER, binding, None, detail)
        one = 0
    if one == 0 and answers is None and status is SUCCESS and not binding.early_returns:
        # nearly always
        for place in range(size):
            if batch._has_changed(cython.cast(Packet, items[place])):
                packet = part[place]
                if not packet._ordinary and packet._kept:
                    binding._ledger._look_for_change(packet, binding)
                if packet.views > packet._seen_views:
                    binding._tell_of_views(packet, packet._seen_views)
        return
    for packet in part:
        if not packet._ordinary and packet._kept:
            binding._ledger._look_for_change(packet, binding)
        if answers is not None:
            answer = answers[position]
            one = counted(answer)
            position += 1
        if status is RESOURCES:
            end_copy(binding, packet, one, answer)
        elif one == 0 and not binding.early_returns:
            packet._asked = -1
            if packet.views > packet._seen_views:
                binding._tell_of_views(packet, packet._seen_views)
        elif one != 1 or not packet._ordinary or binding.early_returns or not binding._keep_one(packet):
            binding._promise(packet, one, answer, packet._seen_views, "receive_packets")


def end_copy(binding: Binding, packet: Packet, count: cython.int, answer: object) -> None:
    """A packet that could not be kept was shown: was it kept all the same?"""
    packet._asked = -1
    if count != 0:
        detail = f"receive_packets answered {shown(answer)} to status RESOURCES"
        binding._ledger._violation(rules.RETAIN_ON_RESOURCES, binding, packet, detail)
    elif packet.views > packet._seen_views:
        binding._tell_of_kept_views(packet, packet._seen_views)


def listed(answer: object, count: int) -> list | None:
    """The counts of an answer for each packet: a list or a tuple, or a buffer of numbers in one dimension. None: it is none of so many."""
    if type(answer) is list or type(answer) is tuple:
        found = list(answer)
    else:
        try:
            with memoryview(answer) as view:
                found = view.tolist() if view.ndim == 1 else []
        except (TypeError, NotImplementedError, BufferError):
            # no buffer, or numbers in a form that Python cannot read: that of another machine
            return None
    return found if len(found) == count else None
