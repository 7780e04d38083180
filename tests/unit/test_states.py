"""
Every legal change of state happens through the real pool and adapter; every other one is refused, and nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from unit.wire import COUNTS_VIEWS, Bench, Driver, Sender, counts_views, frame

from vnic import ContractViolation, MiniportDriver, Packet, PacketState, ProtocolDriver, Status
from vnic.states import BROKEN, LEGAL, Event
from vnic.verifier.rules import FREE_WHILE_INDICATED, NOT_SENT, PENDING_TOUCHED, RULES, USE_AFTER_RETURN

S, E = PacketState, Event

ACTIONS: dict[Event, Callable[[Bench, Packet], object]] = {
    E.FREE: lambda _bench, packet: packet.pool.free(packet),
    E.INDICATE: lambda bench, packet: bench.adapter.indicate([packet]),
    E.SEND: lambda bench, packet: bench.adapter.bindings[0].send(packet),
    E.COMPLETE: lambda bench, packet: bench.adapter.send_complete(packet, Status.SUCCESS),
    E.TRANSFERRED: lambda bench, packet: bench.adapter.transfer_data_complete(packet, Status.SUCCESS, 0),
}
REFUSED = [
    (state, event, sent)
    for state in S
    for event in ACTIONS
    for sent in (False, True)
    if (state, event) in BROKEN and (event is E.COMPLETE or not sent)
]
"""With, of a completion, whether the packet was sent before since it was allocated."""


class Below(MiniportDriver):
    """Keep what is to be filled."""

    def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
        return Status.PENDING, 0


class Recorder(Below):
    """Note in which state a packet is when it comes back, and when it is sent."""

    def __init__(self) -> None:
        self.states: list[PacketState] = []

    def return_packet(self, packet: Packet) -> None:
        self.states.append(packet.state)

    def send(self, packet: Packet) -> Status:
        self.states.append(packet.state)
        return Status.SUCCESS


class Asker(ProtocolDriver):
    """Have a packet filled."""

    def __init__(self, packet: Packet) -> None:
        self.packet = packet

    def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        assert self.binding.transfer_data(context, 0, 4, self.packet) == (Status.PENDING, 0)


def transfer(bench: Bench, packet: Packet, act: Callable[[Packet], object]) -> None:
    """Have a packet filled, and act while it is."""
    binding = bench.bind(Asker(packet), "asker")
    bench.adapter.indicate_lookahead("frame", frame()[:14], b"", 4)
    act(packet)
    bench.adapter.transfer_data_complete(packet, Status.SUCCESS, 4)
    assert bench.adapter.close(binding) is Status.SUCCESS


@counts_views
def test_every_legal_edge_is_taken_and_no_other() -> None:
    miniport = Recorder()
    walked: list[PacketState] = []
    with Bench(packets=1, miniport=miniport) as bench:
        driver = Driver(look=lambda packet: walked.append(packet.state))
        binding = bench.bind(driver)
        walked.append(bench.pool.packets()[0].state)
        packet = bench.owned()
        walked.append(packet.state)
        bench.adapter.indicate([packet])
        walked += miniport.states
        packet.status = Status.RESOURCES
        bench.adapter.indicate([packet])
        walked.append(packet.state)
        miniport.states.clear()
        assert binding.send(packet) is Status.SUCCESS
        walked += [*miniport.states, packet.state]
        transfer(bench, packet, lambda packet: walked.append(packet.state))
        walked.append(packet.state)
        bench.pool.free(packet)
        walked.append(packet.state)
        packet = bench.owned()
        walked.append(packet.state)
        view = packet.data
        bench.pool.free(packet)
        walked.append(packet.state)
        view.release()
        walked.append(packet.state)
    assert set(pairwise(walked)) == {(edge[0], after) for edge, after in LEGAL.items()}
    assert walked == [
        *(S.FREE, S.OWNED, S.INDICATED, S.OWNED, S.LENT, S.OWNED, S.SENDING, S.OWNED, S.TRANSFERRING, S.OWNED, S.FREE),
        *(S.OWNED, S.QUARANTINED, S.FREE),
    ]


def test_what_a_driver_can_ask_for_is_either_legal_or_names_a_rule() -> None:
    asked = {E.FREE, E.INDICATE, E.LEND, E.SEND, E.COMPLETE, E.TRANSFER, E.TRANSFERRED}
    assert set(LEGAL).isdisjoint(BROKEN)
    assert {(state, event) for state in S for event in asked} - set(LEGAL) == set(BROKEN)
    assert set(BROKEN.values()) <= set(RULES)


def in_state(bench: Bench, state: PacketState, act: Callable[[Packet], None], *, sent: bool = False) -> None:
    """Bring a packet into a state, act, and bring it home again; if asked, send it once before, so that the send is over."""
    driver = bench.adapter.bindings[0].driver
    assert isinstance(driver, Sender)
    packet = bench.owned()
    if sent:
        assert bench.adapter.bindings[0].send(packet) is Status.SUCCESS
        assert bench.taken() == [frame()]
    if state is S.FREE:
        bench.pool.free(packet)
        act(packet)
    elif state is S.OWNED:
        act(packet)
        bench.pool.free(packet)
    elif state is S.INDICATED:
        driver.answer = 1
        bench.adapter.indicate([packet])
        act(packet)
        driver.give_back()
    elif state is S.LENT:
        driver.look = act
        packet.status = Status.RESOURCES
        bench.adapter.indicate([packet])
        bench.pool.free(packet)
    elif state is S.SENDING:
        bench.fill_cable(bench.adapter.bindings[0])
        assert bench.adapter.bindings[0].send(packet) is Status.PENDING
        act(packet)
        bench.taken()
        assert bench.adapter.flush() == 0
    elif state is S.TRANSFERRING:
        transfer(bench, packet, act)
        bench.pool.free(packet)
    else:
        view = packet.data
        bench.pool.free(packet)
        act(packet)
        view.release()


def everything(bench: Bench, packet: Packet) -> object:
    """What an illegal action must leave as it is."""
    counters = {name: value for name, value in bench.adapter.counters().items() if not name.startswith("violations")}
    return bench.pool.audit(), counters, packet.state, packet.generation, packet.references, packet.length, packet.views


@pytest.mark.parametrize(("state", "event", "sent"), REFUSED, ids=lambda value: getattr(value, "name", "sent" if value is True else "new"))
def test_an_illegal_action_is_refused_by_its_rule_and_changes_nothing(state: PacketState, event: Event, sent: bool) -> None:
    if state is S.QUARANTINED and not COUNTS_VIEWS:
        pytest.skip("views are counted by the compiled core, or from Python 3.12 on")
    refused: list[str] = []

    with Bench(packets=2, miniport=Below()) as bench:
        bench.bind(Sender())

        def act(packet: Packet) -> None:
            assert packet.state is state
            before = everything(bench, packet)
            with pytest.raises(ContractViolation) as caught:
                ACTIONS[event](bench, packet)
            refused.append(caught.value.rule.id)
            assert everything(bench, packet) == before
            assert packet.state.name in caught.value.history

        in_state(bench, state, act, sent=sent)
        bench.reports.clear()
    assert refused == [(NOT_SENT if event is E.COMPLETE and not sent else BROKEN[state, event]).id]


OWNERS_ONLY = {
    S.FREE: USE_AFTER_RETURN,
    S.INDICATED: FREE_WHILE_INDICATED,
    S.LENT: FREE_WHILE_INDICATED,
    S.SENDING: PENDING_TOUCHED,
    S.TRANSFERRING: PENDING_TOUCHED,
}


@pytest.mark.parametrize("state", OWNERS_ONLY, ids=lambda state: state.name)
def test_only_the_owner_writes_a_packet_and_sets_its_length_and_status(state: PacketState) -> None:
    refused: list[str] = []

    def act(packet: Packet) -> None:
        before = everything(bench, packet)
        for change in (
            lambda: packet.write(b"other"),
            lambda: setattr(packet, "length", 20),
            lambda: setattr(packet, "status", Status.SUCCESS),
        ):
            with pytest.raises(ContractViolation) as caught:
                change()
            refused.append(caught.value.rule.id)
        assert everything(bench, packet) == before
        if state is not S.FREE:
            assert bytes(packet.data) == frame()

    with Bench(packets=2, miniport=Below()) as bench:
        bench.bind(Sender())
        in_state(bench, state, act)
        # only what a driver's handler does can be told of in its name
        bench.expect(*[(OWNERS_ONLY[state].id, "a")] * (3 if state is S.LENT else 0))
    assert refused == [OWNERS_ONLY[state].id] * 3


def test_a_violation_tells_rule_culprit_history_and_remedy() -> None:
    with Bench(packets=1) as bench:
        driver = Driver(1)
        binding = bench.bind(driver, "keeper")
        bench.adapter.indicate([bench.owned()])
        packet = driver.kept[0]
        with pytest.raises(ContractViolation) as caught:
            bench.pool.free(packet)
        driver.give_back()
    error = caught.value
    assert error.rule is FREE_WHILE_INDICATED
    assert error.driver == "receive"
    assert "INDICATED, references 1" in error.history
    assert "keeper returned 0 of 1" in error.history
    assert str(error).startswith("rule 34 FreeWhileIndicated broken by receive: <Packet receive[0].1 INDICATED 60 bytes> is freed")
    assert str(error).endswith(error.rule.remedy)
    assert binding.violations == 0
