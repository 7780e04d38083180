"""
A whole life in any order, with calls back from inside every handler: each completion comes once, none too late, all packets go home.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from unit.wire import BROADCAST, US, frame

from vnic import Adapter, Binding, MiniportDriver, Packet, PacketFilter, PacketPool, ProtocolDriver, Status
from vnic.counters import broken_sums
from vnic.request import Request, RequestKind
from vnic.status import VnicError

SUCCESS, PENDING, RESOURCES, FAILURE = Status.SUCCESS, Status.PENDING, Status.RESOURCES, Status.FAILURE
PACKETS, DRIVERS = 6, 3
ASKED_PENDING = 0x77
drivers = st.integers(0, DRIVERS - 1)
answers = st.sampled_from([None, PENDING])
tricks = st.sampled_from(["close", "send", "send many", "return", "request", "reset", "indicate", "complete", "raise", "halt", "open"])


class Deliberate(Exception):
    """What a handler of the test raises."""


class Life(ProtocolDriver):
    """One binding's driver: it answers by a script, writes down what is wrong, and once does a trick inside of its next handler."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, world: World, name: str, bind: Status | None, unbind: Status | None) -> None:
        self.world, self.name, self.bind, self.unbind = world, name, bind, unbind
        self.keep = 0
        self.trick: str | None = None
        self.kept: list[Packet] = []
        self.out: Counter[int] = Counter()
        self.asked: list[Request] = []
        self.resets = 0
        self.ends = 0
        self.unbinding = self.over = False

    def called(self, handler: str) -> None:
        """Every handler begins here."""
        if self.over:
            self.world.wrong.append(f"{handler} of {self.name} after its end")
        trick, self.trick = self.trick, None
        if trick is not None:
            self.world.do(self, trick)

    def bind_adapter(self) -> Status | None:
        self.called("bind_adapter")
        return self.bind

    def unbind_adapter(self) -> Status | None:
        if self.unbinding:
            self.world.wrong.append(f"{self.name} is unbound twice")
        self.unbinding = True
        self.called("unbind_adapter")
        return self.unbind

    def close_complete(self) -> None:
        self.called("close_complete")
        self.over = True

    def receive_packet(self, packet: Packet) -> int:
        if self.unbinding:
            self.world.wrong.append(f"{self.name} is shown a packet after unbind_adapter")
        self.called("receive_packet")
        keep = self.keep if packet.status is SUCCESS and not self.binding.closed else 0
        self.kept += [packet] * keep
        return keep

    def receive_complete(self) -> None:
        if self.unbinding:
            self.world.wrong.append(f"{self.name} has a batch ended after unbind_adapter")
        self.called("receive_complete")

    def send_complete(self, packet: Packet, status: Status) -> None:
        if not self.out[packet.index]:
            self.world.wrong.append(f"{self.name} has a send completed that is not out")
        self.out[packet.index] -= 1
        self.world.own.free(packet)
        self.called("send_complete")

    def request_complete(self, request: Request, status: Status) -> None:
        if request not in self.asked:
            self.world.wrong.append(f"{self.name} has a request completed that is not out")
        else:
            self.asked.remove(request)
        self.called("request_complete")

    def reset_complete(self, status: Status) -> None:
        if not self.resets:
            self.world.wrong.append(f"{self.name} has a reset completed that it did not ask for")
        self.resets -= 1
        self.called("reset_complete")

    def status(self, status: Status, buffer: bytes) -> None:
        self.called("status")


class Card(MiniportDriver):
    """The miniport: it answers by a script, keeps what is pending, and checks that nothing comes after its halt."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answer = SUCCESS
        self.reset_answer = SUCCESS
        self.sending: list[Packet] = []
        self.asked = self.resetting = False
        self.halts = self.inside = self.resets = 0
        self.trick: str | None = None

    def called(self, handler: str) -> None:
        """Every handler begins here."""
        if self.halts:
            self.world.wrong.append(f"{handler} after halt")
        trick, self.trick = self.trick, None
        if trick is not None:
            self.world.do(None, trick)

    def halt(self) -> None:
        self.called("halt")
        self.halts += 1

    def return_packet(self, packet: Packet) -> None:
        packet.pool.free(packet)
        self.called("return_packet")

    def send(self, packet: Packet) -> Status:
        if self.answer is PENDING:
            self.sending.append(packet)
        answer, resets = self.answer, self.resets
        try:
            self.called("send")
        except Deliberate:
            # a send that raises has failed, and is over
            self.sending = [other for other in self.sending if other is not packet]
            raise
        if self.world.serialized and self.resets != resets:
            # it was reset meanwhile, and so the library has failed it
            self.sending = [other for other in self.sending if other is not packet]
            return PENDING
        return answer if answer is not PENDING or packet in self.sending else PENDING

    def reset(self) -> tuple[Status, bool]:
        # whatever model: a miniport completes its own sends
        while self.sending:
            self.world.adapter.send_complete(self.sending.pop(0), FAILURE)
        answer = self.reset_answer
        self.resetting = answer is PENDING
        try:
            self.called("reset")
        except Deliberate:
            self.resetting = False
            self.resets += 1
            raise
        self.resets += answer is SUCCESS
        return answer, True

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        self.asked = oid == ASKED_PENDING
        self.called("query_information")
        return (PENDING if oid == ASKED_PENDING else SUCCESS), 0, 0

    def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        self.called("set_information")
        return SUCCESS, len(data), 0


class World(RuleBasedStateMachine):
    """An adapter and up to three drivers on it."""

    serialized = False

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.depth = 0
        self.raised = 0
        self.marks = 0
        self.pool = PacketPool(PACKETS, 256, name="life")
        self.own = PacketPool(64, 256, name="life own")
        self.card = Card(self)
        self.adapter = Adapter(self.pool, self.card, name="life0", address=US, mtu=100, serialized=self.serialized, report=self.report)
        self.adapter.initialize()
        self.alive: list[Life | None] = [None] * DRIVERS
        self.lives: list[Life] = []

    def report(self, event: str, fields: dict[str, Any]) -> None:
        error = fields["error"]
        if isinstance(error, Deliberate):
            return
        # an indication is refused after halt, and told of while nobody listens; what is still below at halt is reported
        if event == "violation" and error.rule.id in ("21", "61", "93"):
            return
        if event == "violation" and error.rule.id == "69" and self.leaves_something(fields["binding"]):
            return
        self.wrong.append(f"{event}: {fields.get('handler')} {error!r}")

    def leaves_something(self, binding: Binding) -> bool:
        """Whether a driver that closes has sends that are not over, or a request at the miniport: to the driver that is aborted."""
        driver = next(one for one in self.lives if one.binding is binding)
        below = self.adapter.requests.below
        return driver.out.total() > 0 or (below is not None and below.binding is binding)

    # what can be done, from outside or from inside of a handler

    def do(self, driver: Life | None, trick: str) -> None:
        """Do a trick inside of a handler; no deeper than three."""
        if self.depth >= 3:
            return
        self.depth += 1
        try:
            driver = driver or next((one for one in self.lives if not one.over), None)
            self.act(driver, trick)
        finally:
            self.depth -= 1

    def act(self, driver: Life | None, trick: str) -> None:
        """Do one thing, for a driver if it takes one."""
        if trick == "raise":
            raise Deliberate
        if trick == "indicate":
            self.show(1, False)
        elif trick == "complete":
            self.complete()
        elif trick == "halt":
            self.adapter.halt()
        elif trick == "open":
            self.begin(0, None, None)
        elif driver is not None and not driver.binding.closed:
            {
                "close": self.end,
                "send": self.send_one,
                "send many": self.send_many,
                "return": self.give_back,
                "request": self.ask,
                "reset": self.ask_for_reset,
            }[trick](driver)

    def begin(self, index: int, bind: Status | None, unbind: Status | None) -> None:
        if self.alive[index] is not None or self.adapter.halted:
            return
        self.alive[index] = driver = Life(self, f"{index}.{len(self.lives)}", bind, unbind)
        self.lives.append(driver)
        try:
            self.adapter.open(driver, driver.name)
        except (Deliberate, VnicError):
            driver.over = driver.binding.closed

    def end(self, driver: Life) -> None:
        if self.adapter.close(driver.binding) is SUCCESS:
            driver.over = True

    def packet(self) -> Packet | None:
        packet = self.own.allocate()
        if packet is not None:
            self.marks += 1
            packet.write(frame(self.marks, to=BROADCAST if self.marks % 2 else US))
        return packet

    def send_one(self, driver: Life) -> None:
        packet = None if driver.binding.dead else self.packet()
        if packet is None:
            return
        driver.out[packet.index] += 1
        if driver.binding.send(packet) is not PENDING:
            driver.out[packet.index] -= 1
            self.own.free(packet)

    def send_many(self, driver: Life) -> None:
        if driver.binding.dead:
            return
        packets = [packet for packet in (self.packet(), self.packet()) if packet is not None]
        driver.out.update(packet.index for packet in packets)
        driver.binding.send_packets(packets)

    def give_back(self, driver: Life) -> None:
        # what is being shown now is not the driver's to return yet
        kept = [packet for packet in driver.kept if driver.binding.owed(packet) >= driver.kept.count(packet)]
        driver.kept = [packet for packet in driver.kept if packet not in kept]
        driver.binding.return_packets(kept)

    def ask(self, driver: Life) -> None:
        if driver.binding.dead:
            return
        request = Request(RequestKind.QUERY, ASKED_PENDING, bytearray(8))
        driver.asked.append(request)
        if driver.binding.request(request) is not PENDING:
            driver.asked.remove(request)

    def ask_for_reset(self, driver: Life) -> None:
        if driver.binding.dead:
            return
        driver.resets += 1
        if driver.binding.reset() is not PENDING:
            driver.resets -= 1

    def show(self, count: int, low: bool) -> None:
        if self.adapter.halted:
            return
        packets = [packet for packet in (self.pool.allocate() for _ in range(count)) if packet is not None]
        for packet in packets:
            packet.write(frame(1))
        if packets and low:
            packets[-1].status = RESOURCES
        saved = [packet.status for packet in packets]
        self.adapter.indicate(packets)
        for packet, status in zip(packets, saved, strict=True):
            if status is RESOURCES or (self.serialized and packet.state == 1 and packet.status is SUCCESS):
                self.pool.free(packet)

    def complete(self) -> None:
        if self.card.sending:
            self.adapter.send_complete(self.card.sending.pop(0), SUCCESS)

    # rules

    @initialize(keeps=st.tuples(*[st.integers(0, 2)] * DRIVERS), unbinds=st.tuples(*[answers] * DRIVERS))
    def everybody_comes(self, keeps: tuple[int, ...], unbinds: tuple[Status | None, ...]) -> None:
        for index, (keep, unbind) in enumerate(zip(keeps, unbinds, strict=True)):
            self.begin(index, None, unbind)
            self.lives[-1].keep = keep

    @rule(index=drivers, bind=answers, unbind=answers)
    def open(self, index: int, bind: Status | None, unbind: Status | None) -> None:
        self.begin(index, bind, unbind)

    def each(self, index: int) -> Life | None:
        driver = self.alive[index]
        return None if driver is None or driver.over or driver.binding.closed else driver

    @rule(index=drivers, trick=st.sampled_from(["close", "send", "send many", "return", "request", "reset"]))
    def driver_acts(self, index: int, trick: str) -> None:
        if (driver := self.each(index)) is not None:
            self.act(driver, trick)
        self.forget()

    @rule(index=drivers, status=st.sampled_from([SUCCESS, FAILURE]))
    def complete_bind(self, index: int, status: Status) -> None:
        driver = self.each(index)
        if driver is not None and driver.binding._calls["bind_adapter"].pending:
            driver.binding.complete_bind(status)
            driver.over = driver.binding.closed
        self.forget()

    @rule(index=drivers)
    def complete_unbind(self, index: int) -> None:
        driver = self.each(index)
        if driver is not None and driver.binding._calls["unbind_adapter"].pending:
            driver.binding.complete_unbind()
        self.forget()

    @rule(index=drivers, keep=st.integers(0, 2), trick=tricks)
    def prepare(self, index: int, keep: int, trick: str) -> None:
        if (driver := self.each(index)) is not None:
            driver.keep, driver.trick = keep, trick

    @rule(answer=st.sampled_from([SUCCESS, PENDING, FAILURE]), reset=st.sampled_from([SUCCESS, PENDING]), trick=st.none() | tricks)
    def prepare_below(self, answer: Status, reset: Status, trick: str | None) -> None:
        self.card.answer, self.card.reset_answer, self.card.trick = answer, reset, trick

    @precondition(lambda self: self.serialized)
    @rule()
    def block(self) -> None:
        self.card.answer = RESOURCES

    @precondition(lambda self: self.serialized and not self.adapter.halted)
    @rule()
    def unblock(self) -> None:
        self.card.answer = PENDING
        self.adapter.send_resources_available()

    @rule(count=st.integers(1, 3), low=st.booleans())
    def indicate(self, count: int, low: bool) -> None:
        self.show(count, low)
        self.forget()

    @rule()
    def complete_send(self) -> None:
        self.complete()
        self.forget()

    @rule()
    def complete_query(self) -> None:
        below = self.adapter.requests.below
        if below is not None and below.request.kind == RequestKind.QUERY:
            self.adapter.requests.query_complete(SUCCESS, 0)
        self.forget()

    @rule()
    def complete_reset(self) -> None:
        if self.card.resetting:
            self.card.resetting = False
            if self.serialized:
                # what came down while it was reset, of an array of sends, is failed for it
                self.card.sending.clear()
            self.adapter.reset_complete(SUCCESS, True)
        self.forget()

    @precondition(lambda self: len(self.lives) > DRIVERS + 1)
    @rule()
    def halt(self) -> None:
        self.adapter.halt()
        self.forget()

    def forget(self) -> None:
        """After each step nothing is wrong, and whoever has ended owes nothing."""
        assert self.wrong == []
        assert list(broken_sums(self.adapter.counters())) == []
        for index, driver in enumerate(self.alive):
            if driver is not None and driver.binding.closed:
                assert (driver.out.total(), driver.asked) == (0, []), f"{driver.name} has ended, and not all of it came back"
                driver.over = True
                self.alive[index] = None

    def quietly(self, action: Callable[[], object]) -> None:
        self.card.trick = None
        self.card.answer = SUCCESS
        for driver in self.lives:
            driver.trick, driver.keep = None, 0
        action()

    def teardown(self) -> None:
        """Whatever is out comes back, and then everything ends."""
        try:
            self.end_everything()
        finally:
            # an example that fails must not keep the bindings that the next one needs
            for binding in self.adapter.bindings:
                self.adapter.close(binding)
                self.adapter.reclaim(binding)

    def end_everything(self) -> None:
        self.quietly(lambda: None)
        for _ in range(4):
            self.complete_reset()
            while self.card.sending:
                self.complete()
            if self.serialized:
                self.adapter.send_resources_available()
            for _ in range(200):
                if self.adapter.requests.below is None:
                    break
                self.complete_query()
            for index in range(DRIVERS):
                driver = self.each(index)
                if driver is None:
                    continue
                self.complete_bind(index, SUCCESS)
                if driver.binding.closed:
                    continue
                self.give_back(driver)
                self.end(driver)
                self.complete_unbind(index)
            self.forget()
        self.adapter.halt()
        assert self.adapter.bindings == (), "a binding never ends"
        assert (self.card.halts, self.pool.usage, self.own.usage) == (1, 0, 0)
        assert self.adapter.counters()["tx_pending"] == 0
        assert self.wrong == []


class SerializedWorld(World):
    """The same with one handler of the miniport at a time, and sends that the library queues."""

    serialized = True


@pytest.mark.parametrize("world", [World, SerializedWorld], ids=["deserialized", "serialized"])
def test_any_life_ends_with_everything_home_and_told_once(world: type[World]) -> None:
    run_state_machine_as_test(
        world,
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
