"""
Hold: keep each packet for a while and return it from another thread, as a slow protocol would. It exists to be tested with.

Packets are collected in `receive_packet` and handed to the worker in `receive_complete`: before the answer they are not ours to
hand on. The worker takes them by the time they are due.

Next: `docs/tour.md`, or a driver of your own.
"""

from __future__ import annotations

import time
from heapq import heappop, heappush
from itertools import count as count_up
from random import Random
from threading import Condition, Thread, get_ident

from vnic import Packet, ProtocolDriver, Status

LONGEST_MS = 1e9
JOIN_SECONDS = 5.0


class Hold(ProtocolDriver):
    """
    Keep packets, return them when they are due.

    Attributes:
        held: packets kept now.
        passed: packets not kept: as many as `count` were held already, or packets were low.
    """

    def __init__(self, *, hold_ms: float = 10, count: int = 256, copies: int = 1, random: bool = False, seed: int = 0) -> None:
        """
        Check the options.

        Args:
            hold_ms: how long to keep a packet.
            count: how many packets to keep at a time, at most.
            copies: references to keep of each packet; they are returned one by one.
            random: keep each packet for a random time between 0 and `hold_ms`.
            seed: of the random times.

        Raises:
            ValueError: an option is out of its range.
        """
        if not 0 <= hold_ms <= LONGEST_MS:
            raise ValueError(f"hold_ms {hold_ms} is outside 0..{LONGEST_MS:.0f}")
        if not 1 <= count <= 0xFFFF:
            raise ValueError(f"count {count} is outside 1..65535")
        if not 1 <= copies <= 0xFFFF:
            raise ValueError(f"copies {copies} is outside 1..65535")
        self.hold_ns, self.count, self.copies = int(hold_ms * 1_000_000), count, copies
        # as long as it was told to, and a second for the worker
        self.hold_limit = hold_ms / 1000 + 1
        self.random = Random(seed) if random else None
        self.held = self.passed = 0
        self.sequence = count_up()
        # each queue has a thread, whose packets may be returned when its batch is over
        self.collected: dict[int, list[tuple[int, int, Packet]]] = {}
        self.waiting: list[tuple[int, int, Packet]] = []
        self.changed = Condition()
        self.stopping = False

    def bind_adapter(self) -> None:
        """Start the worker."""
        self.stopping = False
        self.worker = Thread(target=self.work, name=f"hold-{self.binding.name}", daemon=True)
        self.worker.start()

    def unbind_adapter(self) -> None:
        """Stop the worker, and return every packet that is still held."""
        with self.changed:
            self.stopping = True
            self.changed.notify()
        self.worker.join(JOIN_SECONDS)
        with self.changed:
            left = sorted(self.waiting + [entry for entries in self.collected.values() for entry in entries])
            self.waiting, self.collected = [], {}
        for _, _, packet in left:
            self.give_back(packet)

    def receive_packet(self, packet: Packet) -> int:
        """Keep `copies` references of the packet, or none if it cannot be kept."""
        with self.changed:
            if packet.status == Status.RESOURCES or self.held >= self.count:
                self.passed += 1
                return 0
            self.held += 1
        wait_ns = self.random.randint(0, self.hold_ns) if self.random else self.hold_ns
        self.collected.setdefault(get_ident(), []).append((time.monotonic_ns() + wait_ns, next(self.sequence), packet))
        return self.copies

    def receive_complete(self) -> None:
        """Hand the packets that were collected on this thread to the worker."""
        with self.changed:
            for entry in self.collected.pop(get_ident(), ()):
                heappush(self.waiting, entry)
            self.changed.notify()

    def work(self) -> None:
        """Return each packet when it is due, until the driver is unbound."""
        while (packet := self.next_due()) is not None:
            self.give_back(packet)

    def next_due(self) -> Packet | None:
        """Wait for the next packet that is due, and take it; None when the driver is unbound."""
        with self.changed:
            while not self.stopping:
                wait_ns = self.waiting[0][0] - time.monotonic_ns() if self.waiting else None
                if wait_ns is not None and wait_ns <= 0:
                    return heappop(self.waiting)[2]
                self.changed.wait(None if wait_ns is None else wait_ns / 1e9)
        return None

    def give_back(self, packet: Packet) -> None:
        """Return every reference of a packet, one by one."""
        for _ in range(self.copies):
            self.binding.return_packets([packet])
        with self.changed:
            self.held -= 1
