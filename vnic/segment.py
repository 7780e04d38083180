"""
Segmentation in software: a superframe cut into the ordinary frames that a NIC would have made of it.

Every segment has the headers of the superframe, with what differs put right: lengths, the identification of IPv4, the sequence number and
the flags of TCP, and checksums. What the kernel does in `tcp_gso_segment` and `__udp_gso_segment` is done here, bit by bit.

Next: `vnic/receive.py`, which shows segments to those who did not ask for superframes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.virtio import HEADER, Headers, Virtio

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.virtio import ECN, added, checked, complete, folded, number, put_number

if cython.compiled:
    from cython.cimports.libc.string import memcpy

FIN, PSH, CWR = 0x01, 0x08, 0x80


class Cut:
    """
    How one superframe is cut. It is lent to this until it is cut; nothing is kept of it.

    Attributes:
        count: segments that it makes.
        size: bytes of payload of each but the last.
        longest: bytes of the longest segment.
    """

    def __init__(self) -> None:
        self.count = self.size = self.longest = 0
        self._headers = Headers()
        self._length = 0
        if cython.compiled:
            self._p = cython.NULL

    def begin(
        self,
        virtio: cython.pointer[vnic_virtio],
        p: cython.p_uchar,
        first: cython.Py_ssize_t,
        length: cython.Py_ssize_t,
    ) -> cython.bint:
        """
        Look at a superframe.

        Args:
            virtio: its virtio header; what it says is compared with what the headers of the frame say.
            p: its bytes.
            first: in how many of them, from the beginning, all headers are.
            length: how many there are.

        Returns:
            Whether it can be cut; if not, something in its headers is wrong.
        """
        headers: Headers = self._headers
        kind: cython.int = virtio.kind & ~ECN
        if first > length:
            first = length
        if not virtio.size or not headers.find(p, first, length) or headers.kind() != kind:
            return False
        if headers.end != length or headers.payload >= length:
            return False
        if virtio.start != headers.transport or virtio.offset != headers.offset():
            return False
        self.size = virtio.size
        self.count = (length - headers.payload + self.size - 1) // self.size
        self.longest = min(length, headers.payload + self.size)
        self._p, self._length = p, length
        return True

    def write(self, nth: cython.Py_ssize_t, into: cython.p_uchar) -> cython.Py_ssize_t:
        """Write one segment, which has room there; answers its length."""
        headers: Headers = self._headers
        payload: cython.Py_ssize_t = headers.payload
        start: cython.Py_ssize_t = payload + nth * self.size
        end: cython.Py_ssize_t = min(start + self.size, self._length)
        length: cython.Py_ssize_t = payload + end - start
        if cython.compiled:
            memcpy(into, self._p, payload)
            memcpy(into + payload, self._p + start, end - start)
        else:
            into[:payload] = self._p[:payload]
            into[payload:length] = self._p[start:end]
        self._mend(nth, into, length)
        return length

    def _mend(self, nth: cython.Py_ssize_t, into: cython.p_uchar, length: cython.Py_ssize_t) -> None:
        """Put right in a segment what is not as in the superframe."""
        headers: Headers = self._headers
        network: cython.Py_ssize_t = headers.network
        transport: cython.Py_ssize_t = headers.transport
        place: cython.Py_ssize_t = transport + headers.offset()
        if headers.version == 4:
            put_number(into, network + 2, length - network)
            put_number(into, network + 4, number(into, network + 4) + nth)
            put_number(into, network + 10, 0)
            put_number(into, network + 10, added(into, network, network + (into[network] & 15) * 4) ^ 0xFFFF)
        else:
            put_number(into, network + 4, length - network - 40)
        # the sum of the pseudo-header, the length in it exchanged: what else is in that sum, such as the last of several destinations,
        # only the sender knows
        put_number(into, place, folded(number(into, place) + ((self._length - transport) ^ 0xFFFF) + length - transport))
        if headers.udp:
            put_number(into, transport + 4, length - transport)
        else:
            self._mend_tcp(nth, into, transport)
        complete(into, length, transport, headers.offset())

    def _mend_tcp(self, nth: cython.Py_ssize_t, into: cython.p_uchar, at: cython.Py_ssize_t) -> None:
        sequence: cython.ulonglong = (number(into, at + 4) << 16) + number(into, at + 6)
        sequence += nth * self.size
        put_number(into, at + 4, (sequence >> 16) & 0xFFFF)
        put_number(into, at + 6, sequence & 0xFFFF)
        if nth:
            into[at + 13] &= ~CWR & 0xFF
        if nth != self.count - 1:
            into[at + 13] &= ~(FIN | PSH) & 0xFF


def segments(virtio: bytes, frame: bytes, first: int | None = None) -> list[bytes]:
    """
    Cut a superframe that is all there.

    Args:
        virtio: its virtio header, 10 bytes in the order of this machine.
        frame: its bytes.
        first: in how many bytes from the beginning all headers are; in all of them, if it is not said.

    Returns:
        The frames, in order; those who had only the superframe would have sent these.

    Raises:
        ValueError: the two do not fit each other, or it is no superframe.
    """
    first = len(frame) if first is None else first
    if len(virtio) != HEADER or not 0 <= first <= len(frame):
        raise ValueError(f"{len(virtio)} bytes of a virtio header, {first} of {len(frame)} bytes of a superframe")
    return _segments(bytes(virtio), bytes(frame), first)


def _segments(virtio: bytes, frame: bytes, first: cython.Py_ssize_t) -> list:
    made: list = []
    cut: Cut = Cut()
    nth: cython.Py_ssize_t
    length: cython.Py_ssize_t = len(frame)
    if cython.compiled:
        header: vnic_virtio
        whole: cython.p_uchar = frame
        packed: cython.p_uchar = virtio
        memcpy(cython.address(header), packed, cython.sizeof(header))
        right: cython.bint = checked(cython.address(header), length) == 0 and cut.begin(cython.address(header), whole, first, length)
    else:
        header = Virtio(virtio)
        right = checked(header, length) == 0 and cut.begin(header, memoryview(frame), first, length)
    if not right:
        raise ValueError(f"no superframe: {virtio.hex()} before {length} bytes")
    for nth in range(cut.count):
        segment = bytearray(min(cut.longest, length))
        if cython.compiled:
            target: bytearray = segment
            length_now: cython.Py_ssize_t = cut.write(nth, target)
        else:
            length_now = cut.write(nth, segment)
        made.append(bytes(segment[:length_now]))
    return made
