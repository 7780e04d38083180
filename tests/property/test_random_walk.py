"""
A long random walk: 64 packets, 10 bindings, any legal action or an illegal one, each compared with the model.

The model is that of `model.py`, written from the contract only. After each action the packet that it was about is compared, and every
packet and every sum now and then. `scripts/long random` makes ten million actions.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest
from property.model import Model, ModelPacket
from property.scale import scale, seed_of
from property.test_ownership import Holder, Scripted, refusal
from unit.wire import Bench, frame

from vnic import DONT_LOOPBACK, Packet, PacketState, Status
from vnic.counters import broken_sums

PACKETS, BINDINGS = 64, 10
OPERATIONS = scale("random", compiled=200_000, uncompiled=100_000, long=10_000_000)
EVERYTHING = 1_000
"""After so many actions everything is compared."""
S = PacketState


class Walk:
    """The real thing and the model, both taking the same random steps."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.model = Model(PACKETS, BINDINGS)
        self.miniport = Holder()
        self.bench = Bench(packets=PACKETS, miniport=self.miniport)
        self.drivers = [Scripted() for _ in range(BINDINGS)]
        self.bindings = [self.bench.bind(driver, f"d{number}") for number, driver in enumerate(self.drivers)]
        self.packets = self.bench.pool.packets()
        self.marks = 0
        self.refused = 0

    def step(self) -> None:
        """Do something legal with some packet, or, one time in five, anything with it."""
        index = int(self.random.random() * PACKETS)
        expected, packet = self.model.packets[index], self.packets[index]
        if self.random.random() < 0.2:
            self.anything(expected, packet)
        elif expected.state is S.FREE:
            self.allocate()
        elif expected.state is S.SENDING:
            self.complete(expected, packet)
        elif expected.state is S.INDICATED:
            owing = [binding for binding in expected.promised if expected.owed(binding)]
            self.give_back(self.random.choice(owing), expected, packet)
        else:
            self.use(expected, packet)
        self.compare(expected, packet)

    def use(self, expected: ModelPacket, packet: Packet) -> None:
        """What the owner may do."""
        choice = self.random.random()
        if choice < 0.6:
            self.indicate(expected, packet)
        elif choice < 0.9:
            self.send(expected, packet)
        else:
            self.free(expected, packet)

    def anything(self, expected: ModelPacket, packet: Packet) -> None:
        """Whatever comes to mind, legal or not."""
        actions: tuple[Callable[..., None], ...] = (
            self.free,
            self.indicate,
            self.send,
            self.complete,
            partial(self.give_back, int(self.random.random() * BINDINGS)),
        )
        self.random.choice(actions)(expected, packet)

    def both(self, real: Callable[[], object], model: Callable[[], object]) -> bool:
        """Both do it, or both refuse it by the same rule. Answers whether it was done."""
        expected = refusal(model)
        assert refusal(real) is expected
        self.refused += expected is not None
        return expected is None

    def allocate(self) -> None:
        expected, packet = self.model.allocate(), self.bench.pool.allocate()
        assert expected is not None
        assert packet is self.packets[expected.index]
        self.marks += 1
        expected.frame = frame(self.marks & 0xFFFFFFFF)
        packet.write(expected.frame)
        self.compare(expected, packet)

    def free(self, expected: ModelPacket, packet: Packet) -> None:
        self.both(lambda: self.bench.pool.free(packet), lambda: self.model.free(expected))

    def indicate(self, expected: ModelPacket, packet: Packet) -> None:
        """One time in ten the packet must be copied; each binding keeps it 0 to 3 times, but most do not keep it."""
        answers = [0] * BINDINGS
        for _ in range(int(self.random.random() * 4)):
            answers[int(self.random.random() * BINDINGS)] = int(self.random.random() * 4)
        for driver, answer in zip(self.drivers, answers, strict=True):
            driver.answer = answer
        resources = self.random.random() < 0.1
        if expected.state is S.OWNED:
            packet.status = Status.RESOURCES if resources else Status.SUCCESS
        shown = [driver.shown for driver in self.drivers]
        action = self.model.lend if resources else self.model.indicate
        done = self.both(lambda: self.bench.adapter.indicate([packet]), lambda: action(expected, answers))
        assert [driver.shown for driver in self.drivers] == [count + done for count in shown]

    def give_back(self, binding: int, expected: ModelPacket, packet: Packet) -> None:
        self.both(lambda: self.bindings[binding].return_packets([packet]), lambda: self.model.give_back(binding, expected))

    def send(self, expected: ModelPacket, packet: Packet) -> None:
        """Every other one is not looped back, so that the walk is not about that only."""
        if expected.state is S.OWNED:
            packet.flags = DONT_LOOPBACK if self.random.random() < 0.5 else 0
        binding = self.bindings[int(self.random.random() * BINDINGS)]
        self.both(lambda: binding.send(packet), lambda: self.model.send(expected))

    def complete(self, expected: ModelPacket, packet: Packet) -> None:
        self.both(lambda: self.bench.adapter.send_complete(packet, Status.SUCCESS), lambda: self.model.complete(expected))

    def compare(self, expected: ModelPacket, packet: Packet) -> None:
        """One packet is where the model is."""
        assert (packet.state, packet.generation, packet.references) == (expected.state, expected.generation, expected.references)

    def compare_everything(self) -> None:
        """Every packet, every binding and every sum is where the model is."""
        model, counters = self.model, self.bench.adapter.counters()
        for expected, packet in zip(model.packets, self.packets, strict=True):
            self.compare(expected, packet)
            assert [binding.owed(packet) for binding in self.bindings] == [expected.owed(number) for number in range(BINDINGS)]
            if expected.state is not S.FREE:
                assert bytes(packet.data) == expected.frame
        assert self.bench.pool.audit() == model.audit()
        assert self.miniport.came_back == model.came_back
        assert [binding.promised for binding in self.bindings] == model.promised
        assert [binding.returned for binding in self.bindings] == model.given_back
        assert sum(len(driver.completed) for driver in self.drivers) == model.completed
        assert (counters["indicated"], counters["returned"], counters["driver_errors"]) == (model.indicated, model.returned, 0)
        assert (counters["tx_submitted"], counters["tx_pending"]) == (model.submitted, model.submitted - model.completed)
        assert list(broken_sums(counters)) == []
        # what was compared is forgotten, or ten million of them would fill the memory
        self.miniport.came_back.clear()
        model.came_back.clear()
        self.bench.reports.clear()

    def go_home(self) -> None:
        """Return, complete and free everything."""
        for expected, packet in zip(self.model.packets, self.packets, strict=True):
            if expected.state is S.SENDING:
                self.complete(expected, packet)
            for binding in range(BINDINGS):
                for _ in range(expected.owed(binding)):
                    self.give_back(binding, expected, packet)
            if expected.state is S.OWNED:
                self.free(expected, packet)
        self.compare_everything()
        assert self.bench.pool.usage == 0
        self.bench.__exit__(None, None, None)


@pytest.mark.timeout(7200)
def test_a_long_random_walk_leaves_the_library_where_the_model_is() -> None:
    walk = Walk(seed_of("random walk"))
    for count in range(OPERATIONS):
        walk.step()
        if count % EVERYTHING == 0:
            walk.compare_everything()
    walk.go_home()
    print(f"{OPERATIONS} actions, {walk.refused} refused, {walk.model.indicated} indications, {walk.model.completed} sends")
    assert walk.refused > OPERATIONS // 20
    assert min(walk.model.indicated, walk.model.completed) > OPERATIONS // 50
