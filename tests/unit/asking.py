"""
A bench where drivers ask: a queue of requests on a real adapter, a driver that remembers what it is told, a miniport with a script.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unit.wire import Bench, Driver

from vnic import Binding, MiniportDriver, Status
from vnic.oids import VIRTUAL_NIC, NicValues, Oid
from vnic.request import Request, RequestKind
from vnic.requests import RequestQueue

LIBRARYS_OWN = (Oid.GEN_CURRENT_PACKET_FILTER, Oid.GEN_CURRENT_LOOKAHEAD, Oid.IEEE_802_3_MULTICAST_LIST)
PENDING = (Status.PENDING, 0, 0)


class Asker(Driver):
    """Remember every completion, and do something in each."""

    def __init__(self, then: Callable[[Request, Status], object] | None = None) -> None:
        super().__init__()
        self.then = then
        self.completed: list[tuple[Request, Status]] = []

    def request_complete(self, request: Request, status: Status) -> None:
        """A request is over."""
        self.completed.append((request, status))
        if self.then is not None:
            self.then(request, status)


class Scripted(MiniportDriver):
    """
    Answer by a script: one answer for each call, or a function that gives it; the last one again and again.

    Attributes:
        asked: (OID, bytes of the buffer or what is set) of each call.
    """

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[tuple[int, int | bytes]] = []
        self.buffer = memoryview(b"")

    def query_information(self, oid: int, buffer: memoryview) -> Any:
        """Answer a query."""
        self.asked.append((oid, len(buffer)))
        self.buffer = buffer
        return self.next(oid)

    def set_information(self, oid: int, data: bytes) -> Any:
        """Answer a set; the library's own, of what all bindings want to see, is taken without a word."""
        if oid in LIBRARYS_OWN:
            return Status.SUCCESS, len(data), 0
        self.asked.append((oid, data))
        return self.next(oid)

    def next(self, oid: int) -> Any:
        """Take the next line of the script."""
        line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return line(oid) if callable(line) else line


class Desk(Bench):
    """An adapter on a cable, and its queue of requests."""

    def __init__(self, miniport: MiniportDriver | None = None, values: NicValues = VIRTUAL_NIC, packets: int = 8) -> None:
        super().__init__(packets=packets, miniport=miniport)
        self.queue = RequestQueue(self.adapter, self.adapter.requests.ledger, values)

    def query(self, binding: Binding, oid: int, size: int = 4) -> tuple[Request, Status]:
        """Ask, with a buffer of so many bytes, each 0xEE."""
        request = Request(RequestKind.QUERY, oid, bytearray(b"\xee" * size))
        return request, self.queue.request(binding, request)

    def set(self, binding: Binding, oid: int, data: bytes) -> tuple[Request, Status]:
        """Tell."""
        request = Request(RequestKind.SET, oid, bytearray(data))
        return request, self.queue.request(binding, request)

    def value(self, binding: Binding, oid: int, size: int = 1024) -> bytes:
        """Ask for what is expected to be answered."""
        request, status = self.query(binding, oid, size)
        assert (status, request.bytes_needed) == (Status.SUCCESS, 0)
        return bytes(request.information_buffer[: request.bytes_written])

    def number(self, binding: Binding, oid: int) -> int:
        """Ask for a number."""
        return int.from_bytes(self.value(binding, oid), "little")
