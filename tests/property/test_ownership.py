"""
Any sequence of actions, legal or not, leaves the library where the model is.

A failure is shrunk by Hypothesis to the shortest sequence. Long random runs, with many packets, are in `test_random_walk.py`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from property.model import Broken, Model, ModelPacket
from unit.wire import COUNTS_VIEWS, Bench, frame, is_what_it_says

from vnic import LOOPBACK, ContractViolation, MiniportDriver, Packet, PacketFilter, PacketState, ProtocolDriver, Status
from vnic.verifier.rules import Rule

PACKETS, BINDINGS = 4, 3
OPERATIONS = 100_000
"""Actions at least that an ordinary run takes and compares."""
indices = st.integers(0, PACKETS - 1)
bindings = st.integers(0, BINDINGS - 1)
answers = st.lists(st.integers(0, 2), min_size=BINDINGS, max_size=BINDINGS)


def refusal(action: Callable[[], object]) -> Rule | None:
    """Act; answers the rule that it broke, or None."""
    try:
        action()
    except (Broken, ContractViolation) as broken:
        return broken.rule
    return None


class Scripted(ProtocolDriver):
    """Answer what the script says next."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self) -> None:
        self.answer = 0
        self.shown = 0
        self.completed: list[int] = []

    def receive_packet(self, packet: Packet) -> int:
        if packet.flags & LOOPBACK:
            return 0
        self.shown += 1
        return self.answer

    def send_complete(self, packet: Packet, status: Status) -> None:
        self.completed.append(packet.index)


class Holder(MiniportDriver):
    """Keep what comes back, and every send."""

    def __init__(self) -> None:
        self.came_back: list[int] = []

    def return_packet(self, packet: Packet) -> None:
        self.came_back.append(packet.index)

    def send(self, packet: Packet) -> Status:
        return Status.PENDING


class Ownership(RuleBasedStateMachine):
    """
    Four packets, three bindings; any of them may do anything at any time.

    Attributes:
        operations: actions taken and compared, by all machines of this process.
    """

    operations = 0

    @initialize()
    def start(self) -> None:
        self.model = Model(PACKETS, BINDINGS)
        self.miniport = Holder()
        self.bench = Bench(packets=PACKETS, miniport=self.miniport)
        self.adapter, self.pool = self.bench.adapter, self.bench.pool
        self.drivers = [Scripted() for _ in range(BINDINGS)]
        self.bindings = [self.bench.bind(driver, f"d{index}") for index, driver in enumerate(self.drivers)]
        self.packets = self.pool.packets()
        self.views: list[tuple[int, memoryview, bytes]] = []
        self.marks = 0

    def both(self, real: Callable[[], object], model: Callable[[], object], *, reported: bool = True) -> bool:
        """Do it here and there: both do it, or both refuse it by the same rule. Answers whether it was done."""
        refused = refusal(model)
        before = self.pool.audit()
        assert refusal(real) == refused
        if refused:
            assert self.pool.audit() == before
            self.model.violations += reported
        return refused is None

    def script(self, answers: list[int]) -> None:
        for driver, answer in zip(self.drivers, answers, strict=True):
            driver.answer = answer

    @rule()
    def allocate(self) -> None:
        expected = self.model.allocate()
        packet = self.pool.allocate()
        assert (packet and packet.index) == (expected and expected.index)
        if packet is not None and expected is not None:
            self.marks += 1
            expected.frame = frame(self.marks)
            packet.write(expected.frame)

    @rule(index=indices)
    def free(self, index: int) -> None:
        packet, expected = self.packets[index], self.model.packets[index]
        self.both(lambda: self.pool.free(packet), lambda: self.model.free(expected), reported=False)

    @rule(index=indices, answers=answers, resources=st.booleans())
    def indicate(self, index: int, answers: list[int], resources: bool) -> None:
        packet, expected = self.packets[index], self.model.packets[index]
        self.script(answers)
        if expected.state is PacketState.OWNED:
            packet.status = Status.RESOURCES if resources else Status.SUCCESS
        action = self.model.lend if resources else self.model.indicate
        shown = [driver.shown for driver in self.drivers]
        done = self.both(lambda: self.adapter.indicate([packet]), lambda: action(expected, answers))
        assert [driver.shown for driver in self.drivers] == [count + done for count in shown]

    @rule(answers=answers, count=st.integers(1, 3))
    def receive(self, answers: list[int], count: int) -> None:
        self.script(answers)
        expected = [self.model.allocate() for _ in range(min(count, len(self.model.stack)))]
        frames = []
        for packet in expected:
            assert packet is not None
            self.marks += 1
            packet.frame = frame(self.marks)
            frames.append(packet.frame)
            self.model.indicate(packet, answers)
        assert self.bench.give(*frames) == len(frames) if frames else True

    @rule(binding=bindings, chosen=st.lists(indices, max_size=4))
    def give_back(self, binding: int, chosen: list[int]) -> None:
        refused = [refusal(partial(self.model.give_back, binding, self.model.packets[index])) for index in chosen]
        broken = [rule for rule in refused if rule]
        self.model.violations += len(broken)
        found = refusal(lambda: self.bindings[binding].return_packets([self.packets[index] for index in chosen]))
        assert found == (broken[0] if broken else None)

    @rule(data=st.data(), count=st.integers(1, 6))
    @precondition(lambda self: any(self.owed()))
    def give_back_what_is_owed(self, data: Any, count: int) -> None:
        for _ in range(count):
            if any(self.owed()):
                binding, index = data.draw(st.sampled_from(self.owed()))
                self.give_back(binding, [index])

    def owed(self) -> list[tuple[int, int]]:
        return [(binding, packet.index) for packet in self.model.packets for binding in range(BINDINGS) if packet.owed(binding)]

    @rule(index=indices, binding=bindings)
    def send(self, index: int, binding: int) -> None:
        packet, expected = self.packets[index], self.model.packets[index]
        self.both(lambda: self.bindings[binding].send(packet), lambda: self.model.send(expected))

    @rule()
    def complete_all(self) -> None:
        for expected in self.model.packets:
            if expected.state is PacketState.SENDING:
                self.complete(expected.index)

    @rule(index=indices)
    def complete(self, index: int) -> None:
        packet, expected = self.packets[index], self.model.packets[index]
        self.both(lambda: self.adapter.send_complete(packet, Status.SUCCESS), lambda: self.model.complete(expected))

    @rule(script=st.binary(min_size=300, max_size=500))
    def burst(self, script: bytes) -> None:
        """Many actions in a row, two bytes for each, compared after each; zeros, to which a failure is shrunk, do nothing."""
        for what, how in zip(script[::2], script[1::2], strict=False):
            action, index = divmod(what, PACKETS)
            binding, answers = how % BINDINGS, [how % 3, how // 3 % 3, how // 9 % 3]
            actions: list[Callable[[], object]] = [
                self.allocate,
                partial(self.free, index),
                partial(self.indicate, index, answers, how > 200),
                partial(self.indicate, index, answers, False),
                partial(self.send, index, binding),
                partial(self.complete, index),
                partial(self.give_back, binding, [index]),
                partial(self.give_back, binding, [index, index]),
                partial(self.give_back, how % 2, [index]),
                partial(self.receive, answers, 1 + how % 3),
            ]
            if what:
                actions[action % len(actions)]()
                self.the_library_is_where_the_model_is()

    @rule(index=indices, slices=st.integers(0, 2))
    @precondition(lambda _self: COUNTS_VIEWS)
    def view(self, index: int, slices: int) -> None:
        packet, expected = self.packets[index], self.model.packets[index]
        if expected.state in (PacketState.FREE, PacketState.QUARANTINED):
            with pytest.raises(Exception, match="rule 07"):
                memoryview(packet)
            return
        view = packet.data
        assert view.readonly == (expected.state is not PacketState.OWNED)
        for _ in range(slices):
            view = view[1:]
        self.views.append((index, view, expected.frame[slices:]))
        expected.views += 1

    @rule(data=st.data())
    @precondition(lambda self: self.views)
    def drop(self, data: Any) -> None:
        index, view, _ = self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))
        del view
        self.model.drop_view(self.model.packets[index])

    @invariant()
    def the_library_is_where_the_model_is(self) -> None:
        Ownership.operations += 1
        for packet, expected in zip(self.packets, self.model.packets, strict=True):
            self.compare(packet, expected)
            assert is_what_it_says(packet)
        assert self.pool.audit() == self.model.audit()
        assert self.miniport.came_back == self.model.came_back
        assert [(binding.promised, binding.returned) for binding in self.bindings] == list(
            zip(self.model.promised, self.model.given_back, strict=True)
        )
        assert sum(len(driver.completed) for driver in self.drivers) == self.model.completed
        for _, view, seen in self.views:
            assert bytes(view) == seen

    def compare(self, packet: Packet, expected: ModelPacket) -> None:
        assert (packet.state, packet.generation, packet.references, packet.views) == (
            expected.state,
            expected.generation,
            expected.references,
            expected.views,
        )
        assert [binding.owed(packet) for binding in self.bindings] == [expected.owed(binding) for binding in range(BINDINGS)]
        if expected.state not in (PacketState.FREE, PacketState.QUARANTINED):
            assert bytes(packet.data) == expected.frame

    @invariant()
    def every_sum_comes_out_and_every_count_is_the_models(self) -> None:
        values = self.adapter.counters()
        model = self.model
        assert (values["indicated"], values["returned"]) == (model.indicated, model.returned)
        assert (values["tx_submitted"], values["tx_pending"]) == (model.submitted, model.submitted - model.completed)
        assert values["violations"] == model.violations
        assert values["driver_errors"] == 0

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.views.clear()
        for index, packet in enumerate(self.packets):
            if packet.state is PacketState.SENDING:
                self.adapter.send_complete(packet, Status.SUCCESS)
            for binding in self.bindings:
                binding.return_packets([packet] * binding.owed(packet))
            if self.packets[index].state is PacketState.OWNED:
                self.pool.free(packet)
        self.bench.reports.clear()
        self.bench.__exit__(None, None, None)
        self.bench.pool.close()
        self.bench.own.close()
        gc.collect(0)


MANY = settings(
    max_examples=250, stateful_step_count=50, deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.timeout(600)
def test_any_sequence_of_actions_leaves_the_library_where_the_model_is() -> None:
    before = Ownership.operations
    run_state_machine_as_test(Ownership, settings=MANY)
    assert Ownership.operations - before >= OPERATIONS
