"""
The inspector's views: what they say of a stack of drivers, and that looking changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from unit.inspecting import FRAME, HOSTILE, Breaker, Keeper, Waiter, bind, stack_on
from unit.supers import superframe
from unit.wire import Bench

from miniport.data_thread import DataThreads
from miniport.errors import Exit, Failure
from miniport.inspector import overview_text
from miniport.inspector.doctor import doctor
from miniport.inspector.held import leaks, pending
from miniport.inspector.overview import bindings, pools, show, stats
from miniport.inspector.packets import log, packet
from miniport.inspector.report import PARTS, report
from miniport.inspector.running import locks, threads
from miniport.inspector.subject import Inspector, Subject
from miniport.inspector.text import Paint
from miniport.inspector.verifying import verify_audit, verify_inject, verify_rule, verify_set, verify_show, violation, violations
from miniport.log import EventLog
from miniport.reports import Reports
from miniport.stack import Stack
from protocol.arp import Arp
from protocol.icmp_echo import IcmpEcho
from protocol.passthru import Passthru
from protocol.sink import Sink
from vnic import ContractViolation, Info, Packet, PacketPool, ProtocolDriver, Status
from vnic.counters import COUNTED, GAUGES
from vnic.locks import SpinLock
from vnic.offload import Offload
from vnic.packet import LOOPBACK_ONLY
from vnic.verifier.actions import actions_set, set_action
from vnic.verifier.levels import LEVELS, set_level
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from tests.unit.conftest import Wire


@pytest.fixture(autouse=True)
def fresh_verifier() -> Iterator[None]:
    """Begin with no records, and end with the levels and actions that there were."""
    RECORDS.clear()
    yield
    RECORDS.clear()
    for rule in actions_set():
        set_action(rule, None)
    LEVELS.drivers.clear()
    LEVELS.pools.clear()
    set_level(1)


def look(stack: Stack) -> Subject:
    """Look at a stack now."""
    return Inspector(stack).tick()


def of_level(answer: dict[str, Any], about: str) -> str | None:
    """How bad an alert is that is about something; None if there is none."""
    return next((alert["level"] for alert in answer["alerts"] if alert["about"] == about), None)


def test_show_has_each_adapter_with_its_bindings_and_their_figures(wire: Wire) -> None:
    keeper = Keeper()
    stack = stack_on(wire, Sink(), keeper)
    wire.give(FRAME, FRAME)
    answer = show(look(stack))
    (adapter,) = answer["adapters"]
    assert (adapter["name"], adapter["link"], adapter["mtu"], adapter["rx_frames"]) == ("test0", "up", 1500, 2)
    assert adapter["pool"]["indicated"] == 2
    assert {row["name"]: (row["delivered"], row["held"], row["state"]) for row in adapter["bindings"]} == {
        "sink": (2, 0, "open"),
        "keeper": (2, 2, "open"),
    }
    assert answer["answers"]
    keeper.give_back()


def test_show_has_a_line_for_each_of_several_queues(wire: Wire) -> None:
    stack = stack_on(wire, Sink())
    wire.give(FRAME)
    answer = show(look(stack))
    (adapter,) = answer["adapters"]
    assert adapter["queues"] == [{"number": 0, "thread": None, "reader": "read", "frames": 1, "batches": 1}]
    assert not [line for line in overview_text.show(answer, Paint(on=False)) if "queue" in line]
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    readers = DataThreads(wire.adapter, 64, lambda _: None, queues=2)
    readers.start([wire.near.fileno(), near.fileno()])
    far.send(FRAME)
    far.send(FRAME)
    wire.wait_for(lambda: wire.adapter.queues[1].frames == 2)
    answer = show(Inspector(stack, readers).tick())
    assert readers.end(10)
    lines = [line.strip() for line in overview_text.show(answer, Paint(on=False)) if "queue" in line]
    assert lines[0] == "queue 0: 1 in 1 batches by read, vnic-data-0"
    assert lines[1].startswith("queue 1: 2 in ")
    assert lines[1].endswith(" batches by read, vnic-data-1")
    far.close()
    near.close()


def test_a_filter_s_adapter_is_named_by_the_binding_that_it_belongs_to(wire: Wire) -> None:
    stack = Stack(wire.adapter)
    stack.open_filter("passthru", Passthru())
    bind(stack, Sink())
    answer = show(look(stack))
    assert [adapter["name"] for adapter in answer["adapters"]] == ["test0", "test0.passthru"]
    assert answer["adapters"][0]["bindings"][0]["adapters"] == ["test0.passthru"]
    assert stack.close()


def test_stats_has_every_counter_of_the_table(wire: Wire) -> None:
    stack = stack_on(wire, Sink())
    wire.give(FRAME)
    answer = stats(look(stack))
    assert list(answer["adapters"]["test0"]) == [row.name for row in (*COUNTED, *GAUGES)]
    assert answer["bindings"]["sink"]["delivered"] == 1
    assert answer["broken_sums"] == []


def test_rates_are_of_the_time_between_two_looks(wire: Wire) -> None:
    now = [100.0]
    inspector = Inspector(stack_on(wire, Sink()), clock=lambda: now[0])
    inspector.tick()
    wire.give(*[FRAME] * 6)
    now[0] = 102.0
    assert inspector.tick().rates["test0"] == {"rx_frames": 3.0, "tx_frames": 0.0}


def test_pools_says_whose_each_is_and_the_states_make_the_pool(wire: Wire) -> None:
    keeper = Keeper()
    stack = stack_on(wire, Arp(), keeper)
    wire.give(FRAME)
    found = {pool["owner"]: pool for pool in pools(look(stack))["pools"]}
    assert found["adapter test0"]["states"]["indicated"] == 1
    assert found["driver arp"]["capacity"] == 16
    assert all(pool["sum_is_right"] for pool in found.values())
    keeper.give_back()


def test_bindings_of_one_says_where_each_handler_is_and_which_there_are_not(wire: Wire) -> None:
    stack = stack_on(wire, Keeper())
    (row,) = bindings(look(stack), binding="keeper")["bindings"]
    assert row["handlers"]["receive_packet"].rpartition(":")[0] == __file__.replace("test_inspector_views", "inspecting")
    assert row["handlers"]["receive_complete"] is None
    assert row["filter"] == "promiscuous"
    assert "handlers" not in bindings(look(stack))["bindings"][0]


@pytest.mark.parametrize("view", [bindings, pending, log])
def test_an_unknown_driver_is_one_line_with_names_that_are_like_it(view: Callable[..., Any], wire: Wire) -> None:
    stack = stack_on(wire, Keeper(), Sink())
    with pytest.raises(Failure) as failure:
        view(look(stack), **{"binding" if view is bindings else "driver": "keper\x1b"})
    assert str(failure.value) == "there is no driver 'keper\\x1b': did you mean keeper?"
    assert failure.value.status is Exit.USAGE


def test_pending_counts_first_and_then_names_the_holders_the_oldest_first(wire: Wire) -> None:
    first, second = Keeper(), Keeper()
    stack = stack_on(wire, Arp())
    bind(stack, first, "first")
    wire.give(FRAME, FRAME)
    early = time.time_ns()
    wire.wait_for(lambda: time.time_ns() - early > 5_000_000)
    bind(stack, second, "second")
    wire.give(FRAME)
    answer = pending(look(stack))
    assert (answer["pending"], answer["matching"], answer["more"]) == (4, 4, 0)
    assert answer["total"] >= 64 + 16
    assert answer["free"] <= answer["total"] - 3
    assert {row["by"]: (row["packets"], row["owed"]) for row in answer["by"]} == {"first": (3, 3), "second": (1, 1)}
    ages = [row["age_s"] for row in answer["packets"]]
    assert ages == sorted(ages, reverse=True)
    assert ages[0] > ages[-1]
    assert {row["name"]: row["oldest_s"] > 0.004 for row in bindings(look(stack))["bindings"] if row["held"]}["first"]
    assert [row["packet"] for row in pending(look(stack), driver="second")["packets"]] == [second.kept[0].index]
    assert pending(look(stack), top=1)["more"] == 3
    assert pending(look(stack), older_than=60.0)["matching"] == 0
    first.give_back(), second.give_back()


def test_pending_names_the_line_that_keeps(wire: Wire) -> None:
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    wire.give(FRAME)
    (row,) = pending(look(stack))["packets"]
    assert row["kept_at"].rpartition(":")[0].endswith("inspecting.py")
    assert row["made_at"]
    keeper.give_back()


def test_looking_changes_nothing(wire: Wire) -> None:
    keeper = Keeper()
    stack = stack_on(wire, Sink(), keeper, Arp())
    wire.give(FRAME, FRAME)
    before = (wire.adapter.counters(), wire.pool.audit(), [kept.views for kept in keeper.kept])
    for view in PARTS.values():
        view(look(stack))
    packet(look(stack), number=str(keeper.kept[0].index), hex=True, decode=True)
    assert (wire.adapter.counters(), wire.pool.audit(), [kept.views for kept in keeper.kept]) == before
    keeper.give_back()


def test_leaks_are_grouped_by_line_with_their_part_of_all(wire: Wire) -> None:
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    assert leaks(look(stack))["total"] == 0
    wire.give(*[FRAME] * 7)
    assert leaks(look(stack))["total"] == 0
    answer = leaks(look(stack), older_than=0.0)
    (group,) = answer["groups"]
    assert (answer["total"], group["packets"], group["driver"], group["why"]) == (7, 7, "keeper", "held too long")
    assert len(group["examples"]) == 5
    keeper.give_back()


class Slow(Keeper):
    """Keep the packets over the unbinding."""

    def unbind_adapter(self) -> None:
        """Keep them."""


def test_what_a_binding_keeps_that_is_going_is_a_leak_at_once(wire: Wire) -> None:
    slow = Slow()
    stack = stack_on(wire, slow)
    wire.give(FRAME)
    binding = stack.drivers[0].binding
    assert of_level(doctor(look(stack)), "closing") is None
    assert wire.adapter.close(binding) is Status.PENDING
    assert of_level(doctor(look(stack)), "closing") == "warning"
    assert leaks(look(stack))["groups"][0]["why"] == "its binding is going"
    assert bindings(look(stack))["bindings"][0]["state"] == "closing"
    slow.give_back()


def test_a_packet_is_told_with_its_holders_and_its_bytes_only_on_demand(wire: Wire) -> None:
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    wire.give(FRAME)
    index = keeper.kept[0].index
    plain = packet(look(stack), number=str(index))
    assert plain["state"] == "indicated"
    assert [(holder["driver"], holder["owed"]) for holder in plain["holders"]] == [("keeper", 1)]
    assert "bytes_hex" not in plain
    assert FRAME.hex() not in json.dumps(plain)
    assert packet(look(stack), number=str(index), hex=True)["bytes_hex"] == FRAME.hex()
    assert packet(look(stack), number=f"{index}.999")["same"] is False
    keeper.give_back()


def test_the_bytes_of_a_frame_are_refused_to_who_may_only_look(wire: Wire) -> None:
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    wire.give(FRAME)
    subject = look(stack)._replace(bytes_allowed=False)
    with pytest.raises(Failure) as failure:
        packet(subject, number=str(keeper.kept[0].index), decode=True)
    assert failure.value.status is Exit.PERMISSION
    assert packet(subject, number=str(keeper.kept[0].index))["bytes"] == len(FRAME)
    keeper.give_back()


@pytest.mark.parametrize(
    ("number", "pool", "line"),
    [
        ("x", None, "'x' is no packet: give its number in the pool, or number.generation"),
        ("64", None, "pool receive has no packet 64: it has 64, from 0 on"),
        ("1", "receivee", "there is no pool 'receivee': did you mean receive?"),
        ("9" * 400, None, f"'{'9' * 56}...: is no packet"),
    ],
)
def test_an_unknown_packet_or_pool_is_one_line(number: str, pool: str | None, line: str, wire: Wire) -> None:
    stack = stack_on(wire)
    with pytest.raises(Failure) as failure:
        packet(look(stack), number=number, pool=pool)
    assert line.partition(":")[0][:20] in str(failure.value)
    assert len(str(failure.value)) < 300


def test_a_free_packet_has_no_frame_to_show(wire: Wire) -> None:
    with pytest.raises(Failure, match="is free: it has no frame"):
        packet(look(stack_on(wire)), number="3", hex=True)
    assert RECORDS.all() == []  # a question breaks no rule


def test_the_log_has_the_changes_of_hands_the_newest_last_and_no_more_than_200(wire: Wire) -> None:
    set_level(3)
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    for _ in range(60):
        wire.give(FRAME)
        keeper.give_back()
    answer = log(look(stack), packet=0)
    ages = [event["age_s"] for event in answer["events"]]
    assert ages == sorted(ages, reverse=True)
    assert {"receive", "return"} <= {event["what"] for event in answer["events"]}
    assert {event["packet"] for event in answer["events"]} == {0}
    assert len(log(look(stack))["events"]) <= 200
    assert all(event["by"] == "keeper" for event in log(look(stack), driver="keeper")["events"])


def test_violations_are_listed_and_each_is_there_whole(wire: Wire) -> None:
    stack = stack_on(wire, Breaker())
    wire.give(FRAME)
    wire.reports.clear()
    answer = violations(look(stack))
    (record,) = answer["records"]
    assert (record["id"], record["rule"], record["driver"]) == ("02", "ReturnInsideReceiveHandler", "breaker")
    assert answer["counted"] == answer["kept"] == 1
    whole = violation(look(stack), seq=str(record["seq"]))["record"]
    assert whole["where"].rpartition(":")[0].endswith("inspecting.py")
    assert violations(look(stack), rule="2")["records"] == violations(look(stack), rule="ReturnInsideReceiveHandler")["records"] == [record]
    assert violations(look(stack), rule="01")["records"] == []
    assert violations(look(stack), since=0.0)["records"] == []
    with pytest.raises(Failure, match=r"there is no rule 'ReturnInsideReceive': did you mean ReturnInsideReceiveHandler"):
        violations(look(stack), rule="ReturnInsideReceive")
    with pytest.raises(Failure, match="there is no violation '99'"):
        violation(look(stack), seq="99")


def test_the_level_is_set_for_all_for_a_driver_and_for_a_pool(wire: Wire) -> None:
    stack = stack_on(wire, Keeper())
    verify_set(look(stack), level="3")
    verify_set(look(stack), level="4", driver="keeper")
    verify_set(look(stack), level="2", pool="receive")
    answer = verify_show(look(stack))
    assert (answer["levels"]["process"], answer["bindings"]["keeper"], answer["pools"]["receive"]) == (3, 4, 2)
    for wrong in ({"level": "5"}, {"level": "x"}, {"level": "1", "driver": "x"}, {"level": "1", "pool": "x"}):
        with pytest.raises(Failure):
            verify_set(look(stack), **wrong)
    assert verify_show(look(stack))["levels"] == answer["levels"]


def test_the_action_of_a_rule_is_set(wire: Wire) -> None:
    stack = stack_on(wire)
    verify_rule(look(stack), rule="8", action="quarantine")
    assert verify_show(look(stack))["actions"] == {"08": "quarantine"}
    with pytest.raises(Failure, match=r"there is no action 'quarantin': did you mean quarantine\?"):
        verify_rule(look(stack), rule="08", action="quarantin")
    with pytest.raises(Failure, match="rule 08"):
        verify_rule(look(stack), rule="08", action="raise")


def test_the_audit_looks_at_every_packet(wire: Wire) -> None:
    answer = verify_audit(look(stack_on(wire)))
    assert answer["wrong"] == []
    assert answer["packets"] >= 64


def test_a_fault_mode_is_started_shown_and_ended_and_what_it_does_not_know_is_refused(wire: Wire) -> None:
    stack = stack_on(wire, Sink())
    try:
        answer = verify_inject(look(stack), mode="low-resources", settings={"probability": "0.5", "seed": "7"})
        assert answer["changed"].endswith("; it strikes at level 4 only: vnic verify set test0 4")
        shown = verify_show(look(stack))["faults"]["low-resources"]
        assert (shown["probability"], shown["seed"]) == (0.5, 7)
        assert of_level(doctor(look(stack)), "faults") == "warning"
        with pytest.raises(Failure, match=r"there is no fault mode 'low-resource': did you mean low-resources, resources\?"):
            verify_inject(look(stack), mode="low-resource")
        with pytest.raises(Failure, match="fault mode low-resources: mode low-resources has no speed"):
            verify_inject(look(stack), mode="low-resources", settings={"speed": 1})
        verify_set(look(stack), level="4")
        assert verify_inject(look(stack), mode="reorder")["changed"] == "fault mode reorder started"
    finally:
        for mode in ("low-resources", "reorder"):
            verify_inject(look(stack), mode=mode, off=True)
    assert verify_show(look(stack))["faults"] == {}


def test_locks_names_the_holder(wire: Wire) -> None:
    lock = SpinLock("of the table")
    with lock:
        (row,) = locks(look(stack_on(wire)))["locks"]
    assert (row["lock"], row["kind"], row["thread"], row["irql"]) == ("of the table", "SpinLock", "MainThread", "DISPATCH")
    assert locks(look(stack_on(wire)))["locks"] == []


def test_threads_says_who_is_in_which_handler_and_where(wire: Wire) -> None:
    waiter = Waiter()
    stack = stack_on(wire, waiter)
    wire.far.send(FRAME)
    thread = threading.Thread(target=wire.adapter.receive_batch, name="reader")
    thread.start()
    try:
        assert waiter.inside.wait(10)
        inspector = Inspector(stack)
        inspector.tick()
        end = time.monotonic() + 10
        while not (row := threads(inspector.tick())["threads"][0])["stuck"]:
            assert time.monotonic() < end
        assert (row["thread"], row["driver"], row["handler"]) == ("reader", "waiter", "receive_packet")
        assert row["where"].rpartition(":")[0].endswith("inspecting.py")
        assert any("inspecting.py" in line for line in row["stack"])
        assert row["elapsed_s"] >= 0.5
        inspector = Inspector(stack, hanging=lambda: {thread.ident or 0: 7_000_000_000})
        assert threads(inspector.tick())["threads"][0]["elapsed_s"] >= 7
        (found,) = [alert for alert in doctor(inspector.tick())["alerts"] if alert["about"] == "hang"]
        assert "a handler has not returned for 7.0 s, at " in found["what"]
        assert "inspecting.py:" in found["what"]
    finally:
        waiter.go.set()
        thread.join()
    assert not any(row["stuck"] for row in threads(look(stack))["threads"])


class AboveItself(ProtocolDriver):
    """Says that it has an adapter, which is called like the one below."""

    @property
    def adapters(self) -> tuple[Any, ...]:
        """As an intermediate driver has."""
        return (self.binding.adapter,)


def test_an_adapter_above_one_of_the_same_name_is_no_ring(wire: Wire) -> None:
    stack = stack_on(wire, AboveItself(), Sink())
    lines = overview_text.show(show(look(stack)), Paint(False))
    assert sum("adapter test0" in line for line in lines) == 1
    assert any("aboveitself" in line for line in lines)


class HoldsSuperframes(Keeper):
    """Keeps every superframe."""

    offload = Offload.SEGMENTATION


def test_the_doctor_says_that_it_is_large_buffers_that_are_low_and_what_offload_has_refused() -> None:
    virtio, whole = superframe("tcp", 4, bytes(9000), 1448)
    with Bench(packets=64, offload=Offload.SEGMENTATION | Offload.CHECKSUM, large_buffers=8) as bench:
        stack = Stack(bench.adapter)
        keeper = HoldsSuperframes()
        bind(stack, keeper)
        bench.give(virtio + whole)
        assert [alert["about"] for alert in doctor(look(stack))["alerts"]] == []
        for _ in range(5):
            bench.give(virtio + whole)
        mine = bench.owned(bytes(60), bench.own)
        mine.info[Info.TCP_LARGE_SEND] = 1448
        assert keeper.binding.send(mine) is Status.INVALID_PACKET
        bench.own.free(mine)
        alerts = {alert["about"]: alert["what"] for alert in doctor(look(stack))["alerts"]}
        assert alerts["low"] == "4 of 8 large buffers are free: 2 frames were shown by bench0 to be copied"
        assert alerts["offload"] == "1 sends were refused because they asked bench0 for what cannot be"
        keeper.give_back()


class Toils(ProtocolDriver):
    """Takes its time for each frame; it is so many, and each is shown to others while it lasts, that a batch is long."""

    def __init__(self, *, for_ever: bool = False) -> None:
        self.go, self.inside, self.for_ever = threading.Event(), threading.Event(), for_ever
        self.pool = PacketPool(1, 128, name="toils")

    def receive_packet(self, packet: Packet) -> int:
        """Send again and again, each time to a driver that is shown it."""
        self.inside.set()
        mine = self.pool.allocate()
        assert mine is not None
        mine.write(FRAME)
        end = time.monotonic() + (20 if self.for_ever else 0.01)
        while time.monotonic() < end and not self.go.is_set():
            mine.flags = LOOPBACK_ONLY
            self.binding.send(mine)
        self.pool.free(mine)
        return 0


@pytest.mark.parametrize("for_ever", [False, True])
def test_a_data_thread_that_has_much_to_do_does_not_hang_and_one_that_never_ends_does(for_ever: bool, wire: Wire) -> None:
    toils = Toils(for_ever=for_ever)
    stack = stack_on(wire, toils, Sink(promiscuous=True))
    for _ in range(100):
        wire.far.send(FRAME)
    readers = DataThreads(wire.adapter, 128, lambda _: None)
    readers.start([wire.near.fileno()])
    try:
        assert toils.inside.wait(10)
        inspector = Inspector(stack, readers)
        subject = asyncio.run(inspector.look())
        assert (subject.answers, of_level(doctor(subject), "hang")) == (False, None)
        if for_ever:
            inspector.tick()
            time.sleep(0.6)
            assert of_level(doctor(asyncio.run(inspector.look())), "hang") == "error"
    finally:
        toils.go.set()
        assert readers.end(20)


def test_the_doctor_finds_nothing_where_nothing_is_wrong(wire: Wire) -> None:
    stack = stack_on(wire, Arp(), IcmpEcho())
    wire.give(FRAME)
    assert doctor(look(stack)) == {"name": "test0", "wrong": 0, "alerts": []}


def test_the_doctor_says_who_holds_most_of_the_pool_and_what_to_type(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(packets=8)
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    wire.give(*[FRAME] * 7)
    (found,) = [alert for alert in doctor(look(stack))["alerts"] if alert["about"] == "held"]
    assert found["what"].startswith("binding keeper holds 6 of 8 packets, oldest 0.0 s, kept at ")
    assert found["what"].endswith("; 1 frame was shown to it to be copied, its quota is 6")
    assert found["next"] == "vnic pending test0 --driver keeper"
    keeper.give_back()
    wire.reports.clear()


def test_the_doctor_says_what_is_wrong_with_the_set_up(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire()
    stack = Stack(wire.adapter)
    assert of_level(doctor(look(stack)), "no driver") == "warning"
    bind(stack, IcmpEcho())
    assert of_level(doctor(look(stack)), "no arp") == "warning"
    wire.adapter.indicate_status(Status.MEDIA_DISCONNECT)
    (found,) = [alert for alert in doctor(look(stack))["alerts"] if alert["about"] == "link"]
    assert found["next"] == "ip link set test0 up"
    wire.adapter.indicate_status(Status.MEDIA_CONNECT)
    set_level(0)
    assert of_level(doctor(look(stack)), "level") == "note"


def test_the_doctor_names_the_rule_that_was_broken_and_the_line(wire: Wire) -> None:
    stack = stack_on(wire, Breaker())
    wire.give(FRAME)
    wire.reports.clear()
    answer = doctor(look(stack))
    (found,) = [alert for alert in answer["alerts"] if alert["about"] == "violations"]
    assert "binding breaker broke a rule 1 time, last 02 ReturnInsideReceiveHandler at " in found["what"]
    assert of_level(answer, "errors") is None, "the exception is the refusal itself"
    assert answer["wrong"] == 1


class Failing(ProtocolDriver):
    """Raise."""

    def receive_packet(self, packet: object) -> int:
        """Raise."""
        raise ValueError("no")


def test_the_doctor_counts_exceptions_that_are_no_refusals(wire: Wire) -> None:
    stack = stack_on(wire, Failing())
    wire.give(FRAME)
    wire.reports.clear()
    assert of_level(doctor(look(stack)), "errors") == "error"


class Careless(Breaker):
    """Break a rule at the first frame, and take no notice; raise at the second."""

    seen = 0

    def receive_packet(self, packet: Packet) -> int:
        """Break rule 02, or raise."""
        self.seen += 1
        if self.seen > 1:
            raise ValueError("no")
        with suppress(ContractViolation):
            super().receive_packet(packet)
        return 0


def test_the_doctor_hides_no_exception_behind_a_broken_rule_that_raised_nothing(wire: Wire, tmp_path: Path) -> None:
    stack = stack_on(wire, Careless())
    wire.give(FRAME, FRAME)
    with open(tmp_path / "log", "wb") as file:
        reports = Reports(EventLog(file.fileno(), "json"), lambda job: job())
        for event, fields in wire.reports:
            reports(event, fields)
        inspector = Inspector(stack, raised=reports.raised)
        (alert,) = [alert for alert in doctor(inspector.tick())["alerts"] if alert["about"] == "errors"]
        assert alert["what"].startswith("binding careless raised 1 exception; ")
        assert alert["next"] == "vnic violations test0 --rule 84"
        (told,) = violations(inspector.tick(), rule="84")["records"]
        assert "test_inspector_views.py:" in told["where"]
        reports.forget([])
        assert of_level(doctor(inspector.tick()), "errors") is None
    wire.reports.clear()


def test_the_doctor_counts_what_a_thread_of_a_driver_raised_and_names_the_last_line(wire: Wire, tmp_path: Path) -> None:
    stack = stack_on(wire, Sink())
    with open(tmp_path / "log", "wb") as file:
        reports = Reports(EventLog(file.fileno(), "json"), lambda job: job())
        for text in ("one", HOSTILE):
            try:
                raise OSError(text)
            except OSError as error:
                reports.stray(f"thread {text}", error)
    (alert,) = doctor(Inspector(stack, raised=reports.raised).tick())["alerts"]
    assert alert["what"].startswith("outside of its handlers a driver raised 2 exceptions, last OSError at ")
    assert "test_inspector_views.py:" in alert["what"]
    assert alert["what"].isprintable()
    assert (alert["level"], alert["about"], alert["next"]) == ("error", "strays", "vnic threads test0")


def test_the_doctor_says_that_sums_do_not_come_out(wire: Wire) -> None:
    stack = stack_on(wire, Sink())
    subject = look(stack)
    broken = {"test0": dict(subject.counters["test0"]) | {"rx_frames": 7}}
    answer = doctor(subject._replace(counters=broken))
    assert [alert["next"] for alert in answer["alerts"] if alert["about"] == "sums"] == ["vnic verify audit test0"]


def test_the_doctor_sees_frames_lost_on_the_way(wire: Wire) -> None:
    subject = look(stack_on(wire, Sink()))
    lost = {"if_tx_dropped": 5, "rx_dropped_no_packet": 4, "rx_dropped_truncated": 3, "tx_dropped_queue_full": 2}
    counters = {"test0": dict(subject.counters["test0"]) | lost}
    answer = doctor(subject._replace(counters=counters))
    for about in ("queue", "no packet", "truncated", "send queue"):
        assert of_level(answer, about) == "warning"


def test_a_report_has_every_view_and_one_that_fails_says_so(wire: Wire) -> None:
    stack = stack_on(wire, Sink())
    answer = report(look(stack))
    assert list(answer["parts"]) == list(PARTS)
    assert not any("failed" in part for part in answer["parts"].values())
    broken = report(look(stack)._replace(counters={}))["parts"]
    assert broken["show"]["failed"]["type"] == "KeyError"
    assert "failed" not in broken["pools"]


def test_a_hostile_name_is_in_no_answer_as_it_is(wire: Wire) -> None:
    hostile = type(HOSTILE.encode("utf-8", "replace").decode(), (Keeper,), {"__module__": HOSTILE})()
    stack = stack_on(wire)
    bind(stack, hostile, HOSTILE)
    wire.give(FRAME)
    text = json.dumps(report(look(stack)))
    assert text.isascii()
    assert "\x1b" not in text
    hostile.give_back()
