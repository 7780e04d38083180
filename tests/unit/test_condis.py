"""
Virtual connections: their life, and what crosses them.
"""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from unit.circuits import Circuit, Client
from unit.wire import Bench, Driver, frame, violation

from vnic import MAX_BINDINGS, PacketPool, PacketState, Status, VnicError
from vnic.condis import CoMiniportDriver, CoProtocolDriver, receive_complete
from vnic.oids import Oid
from vnic.request import Request, RequestKind
from vnic.states import VC_LEGAL, VC_REFUSED, VcEvent, VcState
from vnic.vc import VirtualConnection

ASKED = (VcEvent.CREATE, VcEvent.ACTIVATE, VcEvent.DEACTIVATE, VcEvent.DELETE)
RESOURCES, SUCCESS, PENDING = Status.RESOURCES, Status.SUCCESS, Status.PENDING


def test_every_change_a_client_can_ask_for_is_either_legal_or_refused_with_an_error() -> None:
    for state in VcState:
        for event in ASKED:
            assert ((state, event) in VC_LEGAL) != ((state, event) in VC_REFUSED)
    assert not {SUCCESS, PENDING} & set(VC_REFUSED.values())


def test_a_connection_is_created_activated_deactivated_and_deleted_in_that_order() -> None:
    with Circuit() as circuit:
        vc = circuit.create("mine")
        assert (vc.state, vc.active, vc.context, circuit.client.vcs) == (VcState.CREATED, False, "mine", (vc,))
        assert vc.activate("parameters") is SUCCESS
        assert (vc.state, vc.active, vc.parameters) == (VcState.ACTIVE, True, "parameters")
        assert vc.deactivate() is SUCCESS
        assert vc.state is VcState.CREATED
        assert vc.delete() is SUCCESS
        assert (vc.state, circuit.client.vcs) == (VcState.DELETED, ())
        assert [call for call, _ in circuit.miniport.calls] == ["create", "activate", "deactivate", "delete"]
        assert circuit.client.told == []


def test_a_connection_can_be_activated_again_after_it_was_deactivated() -> None:
    with Circuit() as circuit:
        vc = circuit.active()
        assert (vc.deactivate(), vc.activate("again"), vc.parameters) == (SUCCESS, SUCCESS, "again")


def test_there_is_no_connection_without_a_driver_and_a_miniport_that_know_them() -> None:
    with Bench() as bench:
        assert VirtualConnection.create(bench.bind(Driver())) == (Status.NOT_SUPPORTED, None)
        assert VirtualConnection.create(bench.bind(Client())) == (Status.NOT_SUPPORTED, None)
    with Circuit() as circuit:
        plain = circuit.adapter.open(Driver(), "plain")
        assert VirtualConnection.create(plain) == (Status.NOT_SUPPORTED, None)
        assert circuit.adapter.close(plain) is SUCCESS


@pytest.mark.parametrize("answer", [RESOURCES, Status.FAILURE])
def test_a_miniport_can_decline_a_connection(answer: Status) -> None:
    with Circuit() as circuit:
        circuit.miniport.answers["create"] = answer
        assert VirtualConnection.create(circuit.binding) == (answer, None)
        assert circuit.client.vcs == ()


def test_a_handler_of_the_miniport_that_raises_is_reported_and_taken_for_a_failure() -> None:
    with Circuit() as circuit:
        circuit.miniport.answers["create"] = OSError()
        assert VirtualConnection.create(circuit.binding) == (Status.FAILURE, None)
        circuit.expect(("co_create_vc", "miniport"))
        circuit.miniport.answers.clear()
        vc = circuit.create()
        circuit.miniport.answers["activate"] = OSError()
        assert (vc.activate(1), vc.state) == (Status.FAILURE, VcState.CREATED)
        circuit.expect(("co_activate_vc", "miniport"))
        circuit.miniport.answers.clear()
        assert vc.activate(1) is SUCCESS
        circuit.miniport.answers["deactivate"] = OSError()
        assert (vc.deactivate(), vc.state) == (SUCCESS, VcState.CREATED)
        circuit.expect(("co_deactivate_vc", "miniport"))
        circuit.miniport.answers["delete"] = OSError()
        assert vc.delete() is SUCCESS
        circuit.expect(("co_delete_vc", "miniport"))
        assert circuit.adapter.counters()["driver_errors"] == 4


def test_when_no_binding_is_free_there_is_no_connection_and_the_miniport_is_told() -> None:
    with Circuit() as circuit:
        found = [VirtualConnection.create(circuit.binding) for _ in range(MAX_BINDINGS)]
        made = [vc for _, vc in found if vc is not None]
        assert found[-1] == (Status.VC_NOT_AVAILABLE, None)
        assert circuit.miniport.calls[-2:] == [("create", None), ("delete", None)]
        assert made
        assert [vc.delete() for vc in made] == [SUCCESS] * len(made)


def test_a_pending_activation_ends_with_its_completion() -> None:
    with Circuit() as circuit:
        circuit.miniport.answers["activate"] = PENDING
        vc = circuit.create()
        assert (vc.activate("one"), vc.state, vc.active, vc.parameters) == (PENDING, VcState.ACTIVATING, False, None)
        vc.activate_complete(SUCCESS)
        assert (vc.state, vc.parameters, circuit.client.told) == (VcState.ACTIVE, "one", [("activated", "a", SUCCESS)])
        with pytest.raises(VnicError, match="no activation is pending"):
            vc.activate_complete(SUCCESS)


def test_a_pending_activation_that_fails_leaves_the_connection_as_it_was() -> None:
    with Circuit() as circuit:
        vc = circuit.create()
        circuit.miniport.answers["activate"] = PENDING
        vc.activate("one")
        vc.activate_complete(RESOURCES)
        assert (vc.state, vc.parameters, circuit.client.told.pop()) == (VcState.CREATED, None, ("activated", "a", RESOURCES))
        vc.activate("two")
        vc.activate_complete(SUCCESS)
        vc.activate("three")
        assert (vc.state, vc.active) == (VcState.CHANGING, True)
        vc.activate_complete(Status.FAILURE)
        assert (vc.state, vc.active, vc.parameters) == (VcState.ACTIVE, True, "two")


def test_an_activation_completed_twice_by_answer_and_by_completion_is_reported() -> None:
    with Circuit() as circuit:
        vc = circuit.create()

        def both(vc: VirtualConnection) -> Status:
            vc.activate_complete(SUCCESS)
            return SUCCESS

        circuit.miniport.answers["activate"] = both
        assert (vc.activate(1), vc.state) == (PENDING, VcState.ACTIVE)
        circuit.expect(("co_activate_vc", "miniport"))


def test_a_connection_that_changes_its_parameters_goes_on_carrying_frames() -> None:
    with Circuit(Client(0)) as circuit:
        vc = circuit.active()
        circuit.miniport.answers["activate"] = PENDING
        assert vc.activate("other") is PENDING
        assert vc.indicate([circuit.received(vc, 1)]) is SUCCESS
        vc.send_packets([circuit.to_send(2)])
        assert len(circuit.miniport.pending) == 1
        circuit.miniport.complete()
        assert (vc.deactivate(), vc.delete()) == (Status.NOT_ACCEPTED, Status.NOT_ACCEPTED)
        vc.activate_complete(SUCCESS)
        assert [seen for _, seen, _ in circuit.client.frames] == [frame(1)]


@pytest.mark.parametrize("answer", [0, 1, 3])
def test_a_packet_that_is_shown_goes_home_with_its_last_return(answer: int) -> None:
    with Circuit(Client(answer)) as circuit:
        vc = circuit.active()
        packet = circuit.received(vc, 7)
        assert vc.indicate([packet]) is SUCCESS
        assert (vc.binding.held, len(circuit.miniport.returned)) == (answer, answer == 0)
        for index, (_, kept) in enumerate(circuit.client.kept):
            assert packet.state is PacketState.INDICATED
            vc.return_packets([kept])
            assert len(circuit.miniport.returned) == (index == answer - 1)
        circuit.client.kept.clear()
        assert (circuit.miniport.returned, packet.state) == ([packet], PacketState.FREE)


def test_a_packet_with_status_resources_comes_to_the_same_handler_and_cannot_be_kept() -> None:
    with Circuit(Client(0)) as circuit:
        vc = circuit.active()
        packet = circuit.received(vc, 1, RESOURCES)
        vc.indicate([packet])
        assert (circuit.client.frames, packet.state, circuit.miniport.returned) == ([("a", frame(1), RESOURCES)], PacketState.OWNED, [])
        circuit.client.answer = 1
        vc.indicate([packet])
        circuit.expect(("10", "client"))
        assert (packet.state, vc.binding.held) == (PacketState.OWNED, 0)
        packet.pool.free(packet)


def test_every_packet_behind_one_with_status_resources_is_copied_too() -> None:
    with Circuit(Client(0)) as circuit:
        vc = circuit.active()
        packets = [circuit.received(vc, 0), circuit.received(vc, 1, RESOURCES), circuit.received(vc, 2)]
        vc.indicate(packets)
        assert [status for _, _, status in circuit.client.frames] == [SUCCESS, RESOURCES, RESOURCES]
        assert circuit.miniport.returned == [packets[0], packets[2]]
        packets[1].pool.free(packets[1])


def test_on_a_connection_that_is_not_active_nothing_is_shown_and_ownership_is_the_same() -> None:
    with Circuit(Client(1)) as circuit:
        vc = circuit.create()
        first, second = circuit.received(vc), circuit.received(vc, 1, RESOURCES)
        assert vc.indicate([first, second]) is Status.VC_NOT_ACTIVATED
        assert circuit.early == 1
        assert (circuit.client.frames, circuit.miniport.returned, second.state) == ([], [first], PacketState.OWNED)
        second.pool.free(second)


def test_every_send_comes_back_once_with_the_status_that_the_miniport_gave() -> None:
    with Circuit() as circuit:
        vc = circuit.active()
        packets = [circuit.to_send(mark) for mark in range(3)]
        vc.send_packets(packets)
        assert circuit.client.completed == []
        assert {packet.state for packet in packets} == {PacketState.SENDING}
        for status in (SUCCESS, Status.FAILURE, RESOURCES):
            below, packet = circuit.miniport.pending.pop(0)
            below.send_complete(packet, status)
        assert circuit.client.completed == list(zip("aaa", packets, (SUCCESS, Status.FAILURE, RESOURCES), strict=True))
        assert (vc.binding.sends_pending, vc.adapter.counters()["tx_frames"]) == (0, 1)


def test_on_a_connection_that_is_not_active_a_send_completes_and_says_so() -> None:
    with Circuit() as circuit:
        vc = circuit.create()
        vc.send_packets([circuit.to_send(), circuit.to_send()])
        assert [status for _, _, status in circuit.client.completed] == [Status.VC_NOT_ACTIVATED] * 2
        assert circuit.miniport.calls == [("create", "a")]


def test_a_send_that_is_too_short_or_long_completes_too() -> None:
    with Circuit() as circuit:
        vc = circuit.active()
        long = circuit.own.allocate()
        assert long is not None
        long.write(bytes(1519))
        vc.send_packets([circuit.to_send(size=13), long])
        assert [status for _, _, status in circuit.client.completed] == [Status.INVALID_PACKET] * 2
        circuit.expect(("59", "client"), ("59", "client"))


def test_a_second_completion_of_a_send_is_refused() -> None:
    with Circuit(Client(frees=False)) as circuit:
        vc = circuit.active()
        packet = circuit.to_send()
        vc.send_packets([packet])
        circuit.miniport.complete()
        assert violation(vc.send_complete, packet, SUCCESS) == "50"
        circuit.expect(("50", "miniport"))
        circuit.own.free(packet)


def test_a_miniport_that_fails_at_a_send_loses_no_packet() -> None:
    with Circuit() as circuit:
        vc = circuit.active()
        circuit.miniport.answers["send"] = OSError()
        vc.send_packets([circuit.to_send()])
        circuit.miniport.pending.clear()
        assert [status for _, _, status in circuit.client.completed] == [Status.FAILURE]
        assert [name for name, _ in circuit.reports] == ["send"]
        circuit.reports.clear()


def test_a_miniport_without_a_send_handler_fails_every_send() -> None:
    with Circuit(miniport=CoMiniportDriver()) as circuit:
        vc = circuit.active()
        vc.send_packets([circuit.to_send()])
        assert [status for _, _, status in circuit.client.completed] == [Status.FAILURE]


def test_a_frame_is_not_sent_without_a_connection() -> None:
    with Circuit() as circuit:
        packet = circuit.to_send()
        assert circuit.binding.send(packet) is Status.NOT_SUPPORTED
        circuit.own.free(packet)


def test_a_driver_that_leaves_the_handlers_alone_keeps_nothing_and_frees_its_sends() -> None:
    with Circuit() as circuit:
        quiet = CoProtocolDriver()
        binding = circuit.adapter.open(quiet, "quiet")
        _, vc = VirtualConnection.create(binding)
        assert vc is not None
        circuit.made.append(vc)
        vc.activate(None)
        vc.indicate([circuit.received(vc)])
        vc.send_packets([circuit.to_send()])
        circuit.miniport.complete()
        assert vc.deactivate() is SUCCESS
        assert circuit.adapter.close(binding) is SUCCESS


def test_a_deactivation_waits_for_held_packets_and_pending_sends_and_then_says_so_once() -> None:
    with Circuit(Client(2)) as circuit:
        vc = circuit.active()
        vc.indicate([circuit.received(vc)])
        vc.send_packets([circuit.to_send()])
        assert (vc.deactivate(), vc.state) == (PENDING, VcState.DEACTIVATING)
        vc.send_packets([circuit.to_send()])
        assert circuit.client.completed[0][2] is Status.VC_NOT_ACTIVATED
        assert vc.indicate([circuit.received(vc)]) is Status.VC_NOT_ACTIVATED
        circuit.miniport.complete(Status.REQUEST_ABORTED)
        (_, packet), (_, same) = circuit.client.kept
        vc.return_packets([packet])
        assert circuit.client.told == []
        vc.return_packets([same])
        circuit.client.kept.clear()
        assert (vc.state, circuit.client.told) == (VcState.CREATED, [("deactivated", "a", SUCCESS)])


def test_a_deactivation_waits_for_the_miniport_too() -> None:
    with Circuit(Client(1)) as circuit:
        vc = circuit.active()
        vc.indicate([circuit.received(vc)])
        circuit.miniport.answers["deactivate"] = PENDING
        assert vc.deactivate() is PENDING
        circuit.client.give_back()
        assert (vc.state, circuit.client.told) == (VcState.DEACTIVATING, [])
        vc.deactivate_complete(SUCCESS)
        assert (vc.state, circuit.client.told) == (VcState.CREATED, [("deactivated", "a", SUCCESS)])
        with pytest.raises(VnicError, match="no deactivation is pending"):
            vc.deactivate_complete(SUCCESS)


def test_a_deactivation_from_inside_the_receive_handler_ends_when_the_indication_does() -> None:
    with Circuit() as circuit:
        vc = circuit.active()
        answers: list[Any] = []

        def stop(vc: VirtualConnection, packet: object) -> int:
            answers.append(vc.deactivate())
            return 0

        circuit.client.answer = stop
        vc.indicate([circuit.received(vc), circuit.received(vc)])
        assert (answers, len(circuit.client.frames)) == ([PENDING], 1)
        assert (vc.state, circuit.client.told) == (VcState.CREATED, [("deactivated", "a", SUCCESS)])


def test_a_connection_is_deactivated_once() -> None:
    with Circuit(Client(1)) as circuit:
        vc = circuit.active()
        vc.indicate([circuit.received(vc)])
        assert [vc.deactivate(), vc.deactivate()] == [PENDING, Status.VC_NOT_ACTIVATED]
        circuit.client.give_back()
        assert vc.deactivate() is Status.VC_NOT_ACTIVATED
        assert [call for call, _ in circuit.miniport.calls].count("deactivate") == 1


def test_a_connection_in_use_is_not_deleted() -> None:
    with Circuit(Client(1)) as circuit:
        vc = circuit.active()
        assert vc.delete() is Status.NOT_ACCEPTED
        vc.indicate([circuit.received(vc)])
        vc.deactivate()
        assert vc.delete() is Status.NOT_ACCEPTED
        circuit.client.give_back()
        assert (vc.delete(), vc.delete()) == (SUCCESS, Status.VC_NOT_AVAILABLE)
        assert (vc.activate(1), vc.deactivate()) == (Status.VC_NOT_AVAILABLE, Status.VC_NOT_AVAILABLE)


def test_after_its_end_a_connection_refuses_sends() -> None:
    with Circuit() as circuit:
        vc = circuit.create()
        vc.delete()
        packet = circuit.to_send()
        assert violation(vc.send_packets, [packet]) == "57"
        circuit.expect(("57", "client"))
        circuit.own.free(packet)


def test_a_connection_whose_miniport_keeps_a_packet_is_deleted_and_the_pool_is_named() -> None:
    with Circuit() as circuit:
        vc = circuit.create()
        packet = circuit.received(vc)
        assert violation(vc.delete) == "39"
        assert (vc.state, circuit.client.vcs) == (VcState.DELETED, ())
        packet.pool.free(packet)


def test_packets_that_a_client_never_returns_can_be_taken_back_by_force() -> None:
    with Circuit(Client(2)) as circuit:
        vc = circuit.active()
        vc.indicate([circuit.received(vc), circuit.received(vc)])
        assert vc.reclaim() == 0
        vc.deactivate()
        assert (vc.reclaim(), vc.state, len(circuit.miniport.returned)) == (2, VcState.CREATED, 2)
        circuit.expect(("60", "client"))
        circuit.client.kept.clear()
        assert vc.delete() is SUCCESS


def test_a_driver_that_is_unbound_leaves_no_connection() -> None:
    with Circuit() as circuit:
        made = [circuit.active(), circuit.create(), circuit.active()]
        assert circuit.adapter.close(circuit.binding) is SUCCESS
        assert [vc.state for vc in made] == [VcState.DELETED] * 3


def test_a_miniport_can_bring_a_pool_of_its_own() -> None:
    pool = PacketPool(2, 1600)
    with Circuit(Client(0)) as circuit:

        def bring(vc: VirtualConnection) -> None:
            vc.pool = pool

        circuit.miniport.answers["create"] = bring
        vc = circuit.active()
        vc.indicate([circuit.received(vc)])
        assert (vc.pool, len(circuit.client.frames)) == (pool, 1)
        vc.deactivate()
        vc.delete()
        assert pool.available == 2
        circuit.made.clear()
        vc = circuit.create()
        vc.delete()
    pool.close()


def test_two_connections_of_one_driver_share_nothing() -> None:
    with Circuit(Client(1)) as circuit:
        first, second = circuit.active("first"), circuit.active("second")
        first.indicate([circuit.received(first, 1)])
        second.indicate([circuit.received(second, 2)])
        assert [(context, seen) for context, seen, _ in circuit.client.frames] == [("first", frame(1)), ("second", frame(2))]
        (_, packet), _ = circuit.client.kept
        assert violation(second.return_packets, [packet]) == "04"
        circuit.expect(("04", "client"))
        with pytest.raises(ValueError, match="not from the adapter's pool"):
            second.indicate([stray := circuit.received(first)])
        stray.pool.free(stray)
        assert first.deactivate() is PENDING
        assert second.active
        circuit.client.give_back()


def test_the_end_of_a_batch_is_told_once_to_those_who_saw_a_frame() -> None:
    with Circuit() as circuit:
        first, second = circuit.active("first"), circuit.active("second")
        other = Client()
        idle = circuit.adapter.open(other, "idle")
        receive_complete(circuit.adapter)
        assert circuit.client.batches == 0
        for vc in (first, second, first):
            vc.indicate([circuit.received(vc)])
        assert circuit.client.batches == 0
        receive_complete(circuit.adapter)
        receive_complete(circuit.adapter)
        assert (circuit.client.batches, other.batches) == (1, 0)
        circuit.adapter.close(idle)


def test_an_exception_of_a_client_is_reported_and_loses_nothing() -> None:
    class Broken(Client):
        def receive_complete(self) -> None:
            raise OSError

        def co_activate_vc_complete(self, vc: VirtualConnection, status: Status) -> None:
            raise OSError

        def co_deactivate_vc_complete(self, vc: VirtualConnection, status: Status) -> None:
            raise OSError

        def co_send_complete(self, vc: VirtualConnection, packet: Any, status: Status) -> None:
            packet.pool.free(packet)
            raise OSError

    def fail(vc: VirtualConnection, packet: object) -> int:
        raise OSError

    with Circuit(Broken(fail)) as circuit:
        vc = circuit.create()
        circuit.miniport.answers["activate"] = PENDING
        vc.activate(1)
        vc.activate_complete(SUCCESS)
        circuit.expect(("co_activate_vc_complete", "client"))
        vc.indicate([circuit.received(vc)])
        circuit.expect(("receive_packet", "client"))
        receive_complete(circuit.adapter)
        circuit.expect(("receive_complete", "client"))
        vc.send_packets([circuit.to_send()])
        vc.deactivate()
        circuit.miniport.complete()
        circuit.expect(("co_deactivate_vc_complete", "client"), ("send_complete", "client"))
        assert vc.state is VcState.CREATED


def test_a_status_of_the_adapter_or_of_one_connection_comes_to_the_same_handler() -> None:
    with Circuit() as circuit:
        vc = circuit.active()
        circuit.adapter.indicate_status(Status.MEDIA_CONNECT)
        vc.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        assert circuit.client.told == [("status", None, Status.MEDIA_CONNECT), ("status", "a", Status.MEDIA_DISCONNECT)]
        vc.send_packets([circuit.to_send()])
        assert circuit.client.completed[0][2] is Status.NO_CABLE


def test_a_question_about_a_connection_is_answered() -> None:
    with Circuit() as circuit:
        request = Request(RequestKind.QUERY, Oid.GEN_MAXIMUM_FRAME_SIZE, bytearray(4))
        assert circuit.create().request(request) is SUCCESS
        assert int.from_bytes(request.information_buffer, "little") == 1500


@pytest.mark.parametrize("seed", range(4))
def test_returns_completions_and_the_deactivation_may_come_from_any_thread(seed: int) -> None:
    print(f"seed {seed}")
    choose = random.Random(seed)
    for _ in range(20):
        with Circuit(Client(2)) as circuit:
            vc = circuit.active()
            for _ in range(4):
                vc.indicate([circuit.received(vc)])
                vc.send_packets([circuit.to_send()])
            jobs = [lambda kept=kept: kept[0].return_packets([kept[1]]) for kept in circuit.client.kept]
            jobs += [lambda sent=sent: sent[0].send_complete(sent[1], SUCCESS) for sent in circuit.miniport.pending]
            choose.shuffle(jobs)
            circuit.client.kept.clear()
            circuit.miniport.pending.clear()
            threads = [threading.Thread(target=lambda part=part: [job() for job in part]) for part in (jobs[::3], jobs[1::3], jobs[2::3])]
            for thread in threads:
                thread.start()
            ended = vc.deactivate()
            for thread in threads:
                thread.join(10)
            assert vc.state is VcState.CREATED
            assert len(circuit.client.told) == (ended is PENDING)
