"""
A request, and what is known of it while it is on its way.

Next: `vnic/requests.py`, the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from vnic.oids import ROW
from vnic.status import Status

if TYPE_CHECKING:
    from vnic.core import Binding


class RequestKind(IntEnum):
    """What a request is. NDIS: NDIS_REQUEST_TYPE."""

    QUERY = 0
    SET = 1
    STATISTICS = 2


@dataclass(slots=True, eq=False)
class Request:
    """
    One question or order. The buffer is lent until the request is over, and cannot be resized until then.

    NDIS: NDIS_REQUEST; OID-01.

    Attributes:
        kind: query, set, or statistics (which is a query).
        oid: what is asked or told.
        information_buffer: where a query is answered, or what is set.
        bytes_written: bytes of the buffer that a query filled.
        bytes_read: bytes of the buffer that a set took.
        bytes_needed: the size that the buffer should have, if it was too small or of the wrong length.
    """

    kind: RequestKind
    oid: int
    information_buffer: bytearray | memoryview
    bytes_written: int = 0
    bytes_read: int = 0
    bytes_needed: int = 0

    def __str__(self) -> str:
        kind = RequestKind(self.kind).name.lower()
        return f"{kind} of {ROW[self.oid].name if self.oid in ROW else f'OID {self.oid:#010x}'}"


@dataclass(slots=True, eq=False)
class Entry:
    """
    A request on its way. The miniport works on a buffer of its own, so that the requester's can be given back before it is done.

    Attributes:
        binding: who asks; None: the library itself.
        request: what is asked.
        lent: the requester's buffer; released when the request is over.
        work: the miniport's buffer; what it is handed is a view of it, which it may release.
        since_ns: when the miniport was asked, by `time.monotonic_ns`.
        overdue: it was reported as being below for too long.
        over: the requester knows the end of it, or is about to be told.
        reset: a reset ended it, perhaps while the miniport was about to answer.
    """

    binding: Binding | None
    request: Request
    lent: memoryview
    work: bytearray = field(init=False)
    since_ns: int = 0
    overdue: bool = False
    over: bool = False
    reset: bool = False

    def __post_init__(self) -> None:
        self.work = bytearray(self.lent)

    def finish(self, status: Status, moved: int = 0, needed: int = 0) -> bool:
        """Give the buffer back, filled; answers False, nothing done, if that was done before. The caller holds the queue's lock."""
        if self.over:
            return False
        self.over = True
        if status is Status.SUCCESS and self.request.kind == RequestKind.SET:
            self.request.bytes_read = moved
        elif status is Status.SUCCESS:
            self.lent[:moved] = self.work[:moved]
            self.request.bytes_written = moved
        self.request.bytes_needed = needed
        self.lent.release()
        return True
