"""
Virtual connections whose binding ends before them, and what miniports say that cannot be.
"""

from __future__ import annotations

from typing import Any

import pytest
from unit.circuits import Circuit, Client
from unit.wire import violation

from vnic import Status, VnicError
from vnic.packet import BINDING_NAMES
from vnic.request import Request, RequestKind
from vnic.states import VcState
from vnic.vc import VirtualConnection

SUCCESS, PENDING, FAILURE = Status.SUCCESS, Status.PENDING, Status.FAILURE


class Forgetful(Client):
    """Leave every connection as it is."""

    def unbind_adapter(self) -> Any:
        """Forget them."""


def close(circuit: Circuit) -> Status:
    return circuit.adapter.close(circuit.binding)


# the binding below ends


def test_a_binding_with_a_busy_connection_is_closed_when_that_is_quiet() -> None:
    free = BINDING_NAMES.count(None)
    with Circuit() as circuit:
        vc = circuit.active()
        vc.send_packets([circuit.to_send()])
        assert (close(circuit), vc.state, circuit.binding.closed) == (PENDING, VcState.DEACTIVATING, False)
        circuit.miniport.complete()
        assert (vc.state, circuit.client.vcs, circuit.binding.closed) == (VcState.DELETED, (), True)
        assert circuit.client.told == [("deactivated", "a", SUCCESS)]
        assert circuit.miniport.calls[-1] == ("delete", "a")
        assert BINDING_NAMES.count(None) == free


def test_a_connection_that_is_forgotten_ends_and_nobody_is_told() -> None:
    with Circuit(Forgetful()) as circuit:
        made = [circuit.active("a"), circuit.create("b")]
        assert close(circuit) is SUCCESS
        assert ([vc.state for vc in made], circuit.client.told) == ([VcState.DELETED] * 2, [])
        assert circuit.miniport.calls[-3:] == [("deactivate", "a"), ("delete", "a"), ("delete", "b")]


def test_a_forgotten_connection_ends_with_the_return_of_its_last_packet() -> None:
    with Circuit(Forgetful(1)) as circuit:
        vc = circuit.active()
        vc.indicate([circuit.received(vc)])
        assert close(circuit) is PENDING
        circuit.client.give_back()
        assert (vc.state, circuit.binding.closed, circuit.client.told) == (VcState.DELETED, True, [])


def test_a_forgotten_connection_ends_when_what_its_miniport_does_has_ended() -> None:
    with Circuit(Forgetful()) as circuit:
        circuit.miniport.answers = {"activate": PENDING, "deactivate": PENDING}
        vc = circuit.create()
        vc.activate("one")
        assert (close(circuit), vc.state) == (PENDING, VcState.ACTIVATING)
        vc.activate_complete(SUCCESS)
        assert vc.state is VcState.DEACTIVATING
        vc.deactivate_complete(SUCCESS)
        assert (vc.state, circuit.binding.closed) == (VcState.DELETED, True)


def test_the_connections_of_a_driver_that_declines_end_with_its_bind() -> None:
    class Declining(Client):
        def bind_adapter(self) -> Any:
            assert VirtualConnection.create(self.binding)[0] is SUCCESS
            return FAILURE

    with Circuit() as circuit:
        free = BINDING_NAMES.count(None)
        with pytest.raises(VnicError, match="declined"):
            circuit.adapter.open(Declining(), "declining")
        assert BINDING_NAMES.count(None) == free
        assert [call for call, _ in circuit.miniport.calls] == ["create", "delete"]


def test_connections_outlive_a_bind_that_has_yet_to_be_completed() -> None:
    class Slow(Client):
        def bind_adapter(self) -> Any:
            assert VirtualConnection.create(self.binding)[0] is SUCCESS
            return PENDING

    with Circuit() as circuit:
        driver = Slow()
        binding = circuit.adapter.open(driver, "slow")
        vc = driver.vcs[0]
        assert circuit.adapter.close(binding) is PENDING
        assert vc.state is VcState.CREATED
        binding.complete_bind(SUCCESS)
        assert (vc.state, binding.closed) == (VcState.DELETED, True)


def test_nothing_is_asked_for_over_a_binding_that_closes_or_is_closed() -> None:
    seen: list[Any] = []

    class Late(Forgetful):
        def unbind_adapter(self) -> Any:
            seen.append(VirtualConnection.create(self.binding))
            seen.append(self.vcs[0].activate("late"))

    with Circuit(Late(1)) as circuit:
        circuit.create("idle")
        vc = circuit.active("busy")
        vc.indicate([circuit.received(vc)])
        assert close(circuit) is PENDING
        assert seen == [(Status.CLOSING, None), Status.CLOSING]
        packet = circuit.to_send()
        request = Request(RequestKind.QUERY, 0x00010101, memoryview(bytearray(4)))
        assert [
            violation(VirtualConnection.create, circuit.binding),
            violation(vc.activate, "again"),
            violation(vc.send_packets, [packet]),
            violation(vc.request, request),
        ] == ["98"] * 4
        circuit.expect(*[("98", "client")] * 4)
        circuit.own.free(packet)
        circuit.client.give_back()


def test_a_miniport_that_leaves_packets_out_when_a_forgotten_connection_ends_is_reported_and_holds_nothing_up() -> None:
    with Circuit(Forgetful()) as circuit:
        vc = circuit.active()
        left = circuit.received(vc)
        assert close(circuit) is SUCCESS
        assert (vc.state, circuit.binding.closed) == (VcState.DELETED, True)
        assert circuit.reports[-1] == ("co_delete_vc", "miniport")
        circuit.reports.clear()
        left.pool.free(left)


# what miniports say


def test_an_activation_that_is_completed_with_pending_has_failed() -> None:
    with Circuit() as circuit:
        circuit.miniport.answers["activate"] = PENDING
        vc = circuit.create()
        vc.activate("one")
        with pytest.raises(ValueError, match="junk"):
            vc.activate_complete("junk")
        assert (vc.state, circuit.client.told) == (VcState.ACTIVATING, [])
        vc.activate_complete(PENDING)
        assert (vc.state, circuit.client.told) == (VcState.CREATED, [("activated", "a", FAILURE)])


@pytest.mark.parametrize("other", ["adapter's", "none"])
def test_a_pool_that_a_connection_cannot_have_is_the_miniports_fault(other: str) -> None:
    with Circuit() as circuit:
        pool: Any = circuit.adapter.pool if other == "adapter's" else 5

        def take(vc: VirtualConnection) -> None:
            vc.pool = pool

        circuit.miniport.answers["create"] = take
        assert VirtualConnection.create(circuit.binding) == (Status.RESOURCES, None)
        assert circuit.miniport.calls == [("create", None), ("delete", None)]
        circuit.expect(("co_create_vc", "miniport"))
