"""
Any sequence of operations on a virtual connection, legal or not, leaves it where the table of its states says.

The model is the table, and three plain counts: references held, sends pending, and whether the miniport is busy.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.circuits import Circuit, Client

from vnic import Status, VnicError
from vnic.counters import broken_sums
from vnic.states import VC_LEGAL, VC_REFUSED, VcEvent, VcState

SUCCESS, PENDING = Status.SUCCESS, Status.PENDING
outcomes = st.sampled_from([SUCCESS, PENDING, Status.FAILURE])


class Connection(RuleBasedStateMachine):
    """One connection, one client, one miniport."""

    @initialize()
    def start(self) -> None:
        self.client = Client(0)
        self.circuit = Circuit(self.client)
        self.miniport = self.circuit.miniport
        self.vc = self.circuit.create()
        self.state = VcState.CREATED
        self.held = self.pending = self.shown = self.completed = self.told = 0
        self.busy = False

    @property
    def flows(self) -> bool:
        return self.state in (VcState.ACTIVE, VcState.CHANGING)

    def step(self, event: VcEvent) -> Status | None:
        """Take an edge of the table; answers the refusal if there is none."""
        if (self.state, event) not in VC_LEGAL:
            return VC_REFUSED[self.state, event]
        self.state = VC_LEGAL[self.state, event]
        return None

    def settle(self) -> bool:
        """The end of a deactivation, if nothing is left."""
        if self.state is not VcState.DEACTIVATING or self.held or self.pending or self.busy:
            return False
        self.step(VcEvent.DEACTIVATED)
        return True

    @rule(outcome=outcomes)
    def activate(self, outcome: Status) -> None:
        self.miniport.answers["activate"] = outcome
        expected = self.step(VcEvent.ACTIVATE)
        if expected is None:
            expected = outcome
            if outcome is not PENDING:
                self.step(VcEvent.ACTIVATED if outcome is SUCCESS else VcEvent.REFUSED)
        assert self.vc.activate("parameters") is expected

    @rule(status=st.sampled_from([SUCCESS, Status.RESOURCES]))
    def activate_complete(self, status: Status) -> None:
        if self.state not in (VcState.ACTIVATING, VcState.CHANGING):
            with pytest.raises(VnicError):
                self.vc.activate_complete(status)
            return
        self.vc.activate_complete(status)
        self.step(VcEvent.ACTIVATED if status is SUCCESS else VcEvent.REFUSED)
        self.told += 1

    @rule(outcome=st.sampled_from([SUCCESS, PENDING]))
    def deactivate(self, outcome: Status) -> None:
        self.miniport.answers["deactivate"] = outcome
        expected = self.step(VcEvent.DEACTIVATE)
        if expected is None:
            self.busy = outcome is PENDING
            expected = SUCCESS if self.settle() else PENDING
        assert self.vc.deactivate() is expected

    @rule()
    def deactivate_complete(self) -> None:
        if not self.busy:
            with pytest.raises(VnicError):
                self.vc.deactivate_complete(SUCCESS)
            return
        self.busy = False
        self.vc.deactivate_complete(SUCCESS)
        self.told += self.settle()

    @rule(references=st.integers(0, 2), resources=st.booleans())
    @precondition(lambda self: self.state is not VcState.DELETED)
    def indicate(self, references: int, resources: bool) -> None:
        pool = self.vc.pool
        if pool is None or not pool.available:
            return
        self.client.answer = 0 if resources else references
        packet = self.circuit.received(self.vc, self.shown, Status.RESOURCES if resources else SUCCESS)
        assert self.vc.indicate([packet]) is (SUCCESS if self.flows else Status.VC_NOT_ACTIVATED)
        if resources:
            pool.free(packet)
        self.shown += self.flows
        self.held += self.client.answer if self.flows else 0

    @rule(data=st.data())
    @precondition(lambda self: self.client.kept)
    def give_back(self, data: Any) -> None:
        _, packet = self.client.kept.pop(data.draw(st.integers(0, len(self.client.kept) - 1)))
        self.held -= 1
        self.vc.return_packets([packet])
        self.told += self.settle()

    @rule(count=st.integers(1, 3))
    @precondition(lambda self: self.state is not VcState.DELETED)
    def send(self, count: int) -> None:
        packets = [self.circuit.to_send(mark) for mark in range(min(count, self.circuit.own.available))]
        self.vc.send_packets(packets)
        if self.flows:
            self.pending += len(packets)
        else:
            self.completed += len(packets)

    @rule()
    @precondition(lambda self: self.miniport.pending)
    def complete(self) -> None:
        vc, packet = self.miniport.pending.pop(0)
        self.pending -= 1
        self.completed += 1
        vc.send_complete(packet, SUCCESS)
        self.told += self.settle()

    @rule()
    def delete(self) -> None:
        assert self.vc.delete() is (self.step(VcEvent.DELETE) or SUCCESS)

    @rule()
    @precondition(lambda self: self.state is VcState.DELETED)
    def create(self) -> None:
        # another one, in whose place the model goes on
        self.vc = self.circuit.create()
        self.step(VcEvent.CREATE)

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        assert (self.vc.state, self.vc.active) == (self.state, self.flows)
        assert (self.vc.binding.held, self.vc.binding.sends_pending) == (self.held, self.pending)
        assert (len(self.client.frames), len(self.client.completed)) == (self.shown, self.completed)
        assert len(self.client.told) == self.told
        assert self.circuit.reports == []
        if self.state is not VcState.DELETED:
            assert list(broken_sums(self.vc.adapter.counters())) == []

    def teardown(self) -> None:
        if not hasattr(self, "circuit"):
            return
        if self.state in (VcState.ACTIVATING, VcState.CHANGING):
            self.vc.activate_complete(SUCCESS)
        if self.busy:
            self.vc.deactivate_complete(SUCCESS)
        self.client.give_back()
        self.miniport.complete()
        self.circuit.__exit__(None, None, None)


Connection.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
test_any_sequence_of_operations_leaves_a_connection_where_the_table_says = Connection.TestCase
