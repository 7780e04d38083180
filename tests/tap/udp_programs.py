"""
A transport with programs of its own, for the tests: UDP with a client that keeps what it gets. Loaded as `path/udp_programs.py`.
"""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from threading import Condition, Thread
from zlib import crc32

from protocol.udp import Source, Udp
from vnic import Packet, Status
from vnic.tdi import Client

PORT = 4242


class Keeper(Client):
    """Keep every datagram; a thread answers with its checksum and returns it, some datagrams late."""

    def __init__(self, udp: Udp, behind: int) -> None:
        self.udp = udp
        self.behind = behind
        self.kept: deque[tuple[Packet, int, int, Source]] = deque()
        self.changed = Condition()
        self.ending = False
        self.most = 0
        self.thread = Thread(target=self.work, name="keeper", daemon=True)
        self.thread.start()

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Source) -> Status:
        with self.changed:
            self.kept.append((tsdu, offset, length, source))
            self.most = max(self.most, len(self.kept))
            self.changed.notify()
        return Status.PENDING

    def receive(self, data: bytes, source: Source) -> Status:
        self.answer(data, source)
        return Status.SUCCESS

    def answer(self, data: bytes | memoryview, source: Source) -> None:
        self.udp.send_to(source.address, source.port, crc32(data).to_bytes(4) + bytes(data[:4]), PORT)

    def work(self) -> None:
        late: deque[Packet] = deque()
        while (found := self.take()) is not None:
            packet, offset, length, source = found
            with packet.data[offset : offset + length] as data:
                self.answer(data, source)
            late.append(packet)
            if len(late) > self.behind:
                self.return_chained([late.popleft()])
        self.return_chained(late)

    def take(self) -> tuple[Packet, int, int, Source] | None:
        with self.changed:
            self.changed.wait_for(lambda: self.kept or self.ending)
            return self.kept.popleft() if self.kept else None

    def closing(self) -> None:
        with self.changed:
            self.ending = True
            self.changed.notify()
        self.thread.join(5)


class Leaker(Client):
    """Keep every datagram, return none."""

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Source) -> Status:
        return Status.PENDING


class Bad(Client):
    """Raise."""

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Source) -> Status:
        raise RuntimeError("no more today")


class Programs(Udp):
    """UDP with these clients; its counters are written beside this file's copy when it ends."""

    def __init__(self, *, report: Path, behind: int = 40, leak: bool = False) -> None:
        super().__init__(echo=7, discard=9)
        self.report = report
        self.keeper = Keeper(self, behind)
        self.open(PORT, self.keeper)
        self.open(PORT + 1, Leaker() if leak else Bad())

    def unbind_adapter(self) -> Status:
        status = super().unbind_adapter()
        self.report.write_text(json.dumps(self.counters() | {"most_kept": self.keeper.most}))
        return status
