"""
Sixteen threads return packets and complete sends in any legal order while one indicates: each packet goes home once, every sum comes out.

Each thread draws what it does, and where it pauses, from a generator of its own; the seed repeats the draws, if not what the system
makes of them. `scripts/long threads` does more of the same.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from property.scale import scale, seed_of
from unit.wire import Bench, frame

from vnic import LOOPBACK, Binding, MiniportDriver, Packet, PacketFilter, ProtocolDriver, Status
from vnic.counters import broken_sums

THREADS, PACKETS, BINDINGS = 16, 32, 5
OPERATIONS = scale("threads", compiled=60_000, uncompiled=20_000, long=3_000_000)
"""Returns, sends and completions at least, by all threads together."""
ENOUGH = 40
"""So much to choose from before a thread begins, unless no packet is free."""
PATIENCE = 60
"""Seconds for which a thread waits for something to do, before that counts as a hang."""


class Books:
    """
    What the contract says of every packet and send, kept under one lock.

    Attributes:
        owed: returns of each packet that have not begun.
        asked: how many bindings have answered for it.
        home: how often it came home.
        todo: what any thread may do now: returns and completions.
        starved: no packet is free.
        wrong: whatever was not as it should be.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.owed = [0] * PACKETS
        self.asked = [0] * PACKETS
        self.home = self.done = self.sent = self.completed = 0
        self.promised = [0] * BINDINGS
        self.todo: list[tuple[Binding | None, Packet]] = []
        self.wrong: list[str] = []
        self.over = self.starved = False

    def add(self, *jobs: tuple[Binding | None, Packet]) -> None:
        """Something can be done now: a return by this binding, or, with None, a completion."""
        with self.changed:
            self.todo += jobs
            self.changed.notify(len(jobs))

    def take(self, draw: random.Random) -> tuple[Binding | None, Packet] | None:
        """Take any of it, and say so in the books before it is done; None when all is over."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.todo) > ENOUGH or self.over or (self.todo and self.starved), PATIENCE):
                self.wrong.append("a thread has waited in vain")
            if not self.todo:
                return None
            index = int(draw.random() * len(self.todo))
            self.todo[index], self.todo[-1] = self.todo[-1], self.todo[index]
            binding, packet = self.todo.pop()
            self.done += 1
            if binding is not None:
                self.owed[packet.index] -= 1
            return binding, packet


class Below(MiniportDriver):
    """Free what comes home; keep what is sent until some thread completes it."""

    def __init__(self, books: Books) -> None:
        self.books = books

    def return_packet(self, packet: Packet) -> None:
        books = self.books
        with books.changed:
            if books.owed[packet.index] or books.asked[packet.index] != BINDINGS:
                books.wrong.append(f"{packet!r} came home, {books.owed[packet.index]} owed, {books.asked[packet.index]} answered")
            books.asked[packet.index] = 0
            books.home += 1
        packet.pool.free(packet)
        with books.changed:
            books.changed.notify_all()

    def send(self, packet: Packet) -> Status:
        self.books.add((None, packet))
        return Status.PENDING


class Keeper(ProtocolDriver):
    """Answer 0, 1 or 2; the returns are due from when the next handler begins, not before: rule 03."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, number: int, crowd: Crowd) -> None:
        self.number = number
        self.crowd = crowd

    def receive_packet(self, packet: Packet) -> int:
        crowd, books = self.crowd, self.crowd.books
        if packet.flags & LOOPBACK:
            return 0
        crowd.publish()
        answer = int(crowd.random.random() * 3)
        with books.changed:
            books.owed[packet.index] += answer
            books.asked[packet.index] += 1
            books.promised[self.number] += answer
        crowd.due += [(self.binding, packet)] * answer
        return answer

    def send_complete(self, packet: Packet, status: Status) -> None:
        with self.crowd.books.changed:
            self.crowd.books.completed += 1
        packet.pool.free(packet)


class Crowd:
    """
    One thread that indicates, and sixteen that do the rest.

    Attributes:
        due: returns that will be due when the next handler begins.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seeds = [self.random.getrandbits(32) for _ in range(THREADS)]
        self.books = Books()
        self.bench = Bench(packets=PACKETS, miniport=Below(self.books))
        self.bindings = [self.bench.bind(Keeper(number, self), f"d{number}") for number in range(BINDINGS)]
        self.due: list[tuple[Binding | None, Packet]] = []
        self.threads = [threading.Thread(target=self.work, args=(seed,)) for seed in self.seeds]

    def publish(self) -> None:
        """What was answered up to here is written down: anybody may return it."""
        due, self.due = self.due, []
        if due:
            self.books.add(*due)

    def work(self, seed: int) -> None:
        """One thread: return, complete, send, pause."""
        draw = random.Random(seed)
        while (job := self.books.take(draw)) is not None:
            binding, packet = job
            try:
                pause(draw)
                if binding is not None:
                    binding.return_packets([packet])
                else:
                    self.bench.adapter.send_complete(packet, draw.choice((Status.SUCCESS, Status.FAILURE)))
                pause(draw)
                if draw.random() < 0.3 and not self.books.over:
                    self.send(self.bindings[int(draw.random() * BINDINGS)])
            except BaseException as error:
                with self.books.changed:
                    self.books.wrong.append(f"{job}: {error!r}")

    def send(self, binding: Binding) -> None:
        packet = self.bench.own.allocate()
        if packet is None:
            return
        packet.write(frame())
        with self.books.changed:
            self.books.sent += 1
            self.books.done += 1
        if binding.send(packet) is not Status.PENDING:
            with self.books.changed:
                self.books.wrong.append(f"{packet!r} was not kept below")

    def indicate(self) -> None:
        """Show as many packets together as there are, up to four."""
        books, packets = self.books, []
        with books.changed:
            books.starved = not self.bench.pool.available
            books.changed.notify_all()
            assert books.changed.wait_for(lambda: self.bench.pool.available > 0, PATIENCE), "no packet comes home"
            books.starved = False
        for _ in range(1 + int(self.random.random() * 4)):
            packet = self.bench.pool.allocate()
            if packet is not None:
                packet.write(frame())
                packets.append(packet)
        self.bench.adapter.indicate(packets)
        self.publish()

    def run(self) -> None:
        """Go on until enough was done; then let everything come home."""
        for thread in self.threads:
            thread.start()
        try:
            while self.books.done < OPERATIONS and not self.books.wrong:
                self.indicate()
        finally:
            self.books.over = True
            with self.books.changed:
                self.books.changed.notify_all()
            for thread in self.threads:
                thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self.threads)


def pause(draw: random.Random) -> None:
    """Before and behind a call, one time in four: let others run, or sleep for up to 100 microseconds."""
    chance = draw.random()
    if chance < 0.2:
        time.sleep(0)
    elif chance < 0.25:
        time.sleep(draw.random() * 1e-4)


@pytest.fixture
def restless() -> Iterator[None]:
    """Have the interpreter change threads a hundred times more often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("restless")
def test_sixteen_threads_return_and_complete_in_any_order_and_every_sum_comes_out() -> None:
    crowd = Crowd(seed_of("threads"))
    books, bench = crowd.books, crowd.bench
    crowd.run()
    assert books.wrong == []
    assert bench.reports == []
    assert books.todo == []
    counters = bench.adapter.counters()
    print(f"{books.done} returns, sends and completions by {THREADS} threads; {books.home} packets came home")
    assert books.done >= OPERATIONS
    assert counters["indicated"] == counters["returned"] == books.home
    assert counters["tx_submitted"] == books.sent == books.completed
    assert [binding.promised for binding in crowd.bindings] == [binding.returned for binding in crowd.bindings] == books.promised
    assert books.done == sum(books.promised) + 2 * books.sent
    assert list(broken_sums(counters)) == []
    bench.__exit__(None, None, None)


def test_the_books_find_a_packet_that_comes_home_too_early() -> None:
    books = Books()
    bench = Bench(packets=1, miniport=Below(books))
    packet = bench.owned()
    books.owed[0], books.asked[0] = 1, BINDINGS
    come_home: Callable[[Packet], None] = bench.adapter.miniport.return_packet
    come_home(packet)
    assert [line.partition(" came")[2] for line in books.wrong] == [f" home, 1 owed, {BINDINGS} answered"]
    bench.__exit__(None, None, None)
