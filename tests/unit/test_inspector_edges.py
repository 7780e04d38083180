"""
What the inspector says at the edges: of a daemon that is gone, of a rule that no driver broke, of an interface that was renamed.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from unit.inspecting import FRAME, Keeper, bind, stack_on

from miniport.cli import main
from miniport.errors import Exit, Failure
from miniport.inspector import client, held_text
from miniport.inspector.capture_file import write_private
from miniport.inspector.client import Answer
from miniport.inspector.doctor import doctor
from miniport.inspector.packets import log
from miniport.inspector.past import read_state
from miniport.inspector.state import StateFile
from miniport.inspector.subject import Inspector
from miniport.inspector.text import Paint
from miniport.inspector.verifying import verify_inject
from miniport.stack import Stack
from protocol.arp import Arp
from protocol.icmp_echo import IcmpEcho
from protocol.mux import Mux
from protocol.sink import Sink
from protocol.udp import Udp
from vnic import Adapter, MiniportDriver, Packet, PacketPool, ProtocolDriver, Status, slot_size_for
from vnic.verifier.faults import FAULTS
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.conftest import Wire


@pytest.fixture
def left(wire: Wire, folder: Path) -> Path:
    """The state file of a daemon that does not answer."""
    StateFile(folder / "test0.state", Inspector(stack_on(wire, Sink()))).write()
    return folder / "test0.state"


def found(stack: Stack, about: str) -> list[dict[str, Any]]:
    """What the doctor says about something."""
    return [alert for alert in doctor(Inspector(stack).tick())["alerts"] if alert["about"] == about]


@contextmanager
def stack_with(addresses: tuple[str, ...], *drivers: ProtocolDriver) -> Iterator[Stack]:
    """A stack on an adapter that has these addresses."""
    pool = PacketPool(8, slot_size_for(1500), name="receive")
    stack = Stack(Adapter(pool, MiniportDriver(), name="test0", network_addresses=addresses))
    for driver in drivers:
        bind(stack, driver)
    yield stack
    assert stack.close()
    stack.adapter.halt()


def test_the_metrics_of_a_daemon_that_does_not_answer_say_that_it_is_not_up(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "test0", "--openmetrics"]) == Exit.UNAVAILABLE
    out, told = capsys.readouterr()
    assert 'vnic_up{interface="test0"} 0' in out.splitlines()
    assert "no answer from test0" in told


def test_a_rule_that_no_bound_driver_broke_is_an_alert_of_its_adapter(wire: Wire) -> None:
    RECORDS.clear()
    stack = Stack(wire.adapter)
    mux = Mux(vlans="7")
    stack.open_filter("mux", mux)
    assert found(stack, "violations") == []
    shown = mux.vlans[7].allocate()
    assert shown is not None
    shown.write(FRAME)
    mux.vlans[7].adapter.indicate((shown,))
    (alert,) = found(stack, "violations")
    assert alert["what"].startswith("on test0.7 a rule was broken 1 time, by the miniport or by a driver that is not bound any more")
    assert ", last 93 IndicateBeforeFilterOrInLowPower at " in alert["what"]
    assert (alert["level"], alert["next"]) == ("error", "vnic violations test0")
    wire.reports.clear()
    RECORDS.clear()
    assert stack.close()


@pytest.mark.parametrize(
    ("others", "addresses", "alarm"),
    [
        ((), ("10.0.0.2/24",), True),
        ((Arp,), ("10.0.0.2/24",), False),
        ((Udp,), ("10.0.0.2/24",), False),
        ((), ("fd00::2/64",), False),
        ((), (), False),
    ],
    ids=["icmp_echo alone", "with arp", "with udp, which answers ARP itself", "over IPv6 only", "without an address"],
)
def test_the_doctor_misses_arp_only_where_it_is_needed_and_nobody_answers_it(
    others: tuple[Any, ...], addresses: tuple[str, ...], alarm: bool
) -> None:
    with stack_with(addresses, IcmpEcho(), *(make() for make in others)) as stack:
        assert bool(found(stack, "no arp")) is alarm


def test_a_driver_that_does_not_ship_may_answer_arp() -> None:
    with stack_with(("10.0.0.2/24",), IcmpEcho(), Keeper()) as stack:
        assert found(stack, "no arp") == []


class Sends(ProtocolDriver):
    """Send a frame for each that comes, and free the packet only if told so; or take all packets at the start, and keep them."""

    def __init__(self, frees: bool = False, keeps: bool = False) -> None:
        self.frees, self.keeps = frees, keeps

    def bind_adapter(self) -> None:
        """Make the pool."""
        self.pool = PacketPool(4, 64, name="mine")
        self.kept: list[Packet] = []
        while self.keeps and (packet := self.pool.allocate()) is not None:
            self.kept.append(packet)

    def receive_packet(self, packet: Packet) -> int:
        """Send one."""
        own = self.kept[0] if self.keeps else self.pool.allocate()
        if own is None:
            return 0
        own.write(FRAME)
        assert self.binding.send(own) == Status.SUCCESS
        if self.frees:
            self.pool.free(own)
        elif not self.keeps:
            self.kept.append(own)
        return 0

    def unbind_adapter(self) -> None:
        """Close the pool."""
        for packet in self.kept:
            self.pool.free(packet)
        self.pool.close()


@pytest.mark.parametrize(("words", "alarm"), [({}, True), ({"frees": True}, False), ({"keeps": True}, False)], ids=str)
def test_the_doctor_sees_who_never_frees_what_is_sent(words: dict[str, bool], alarm: bool, wire: Wire) -> None:
    stack = stack_on(wire, Sends(**words))
    wire.give(*[FRAME] * 8)
    alerts = found(stack, "not freed")
    assert bool(alerts) is alarm
    for alert in alerts:
        assert alert["what"].startswith("all 4 packets of pool mine are owned by sends, and none is being sent: free each packet when send")
        assert (alert["level"], alert["next"]) == ("warning", "vnic pools test0")


def test_udp_alone_is_found_by_arp(wire: Wire) -> None:
    assert found(stack_on(wire, Udp(echo=7)), "no arp") == []


def test_an_address_that_only_icmp_echo_was_given_needs_arp_too() -> None:
    with stack_with((), IcmpEcho(address="10.0.0.2/24")) as stack:
        assert [alert["level"] for alert in found(stack, "no arp")] == ["warning"]


def test_what_to_type_next_has_the_name_that_the_socket_still_has_after_a_renaming(wire: Wire) -> None:
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    wire.give(*[FRAME] * 50)
    inspector = Inspector(stack)
    wire.adapter.name = "other0"
    subject = inspector.tick()
    (alert,) = [alert for alert in doctor(subject)["alerts"] if alert["about"] == "held"]
    assert (subject.name, alert["next"]) == ("other0", "vnic pending test0 --driver keeper")
    assert held_text.log(log(subject), Paint(on=False))[-1].endswith("vnic verify set test0 3")
    keeper.give_back()
    wire.reports.clear()


def answered(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Let a daemon answer so; the questions are remembered."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def answer(name: object, method: str, parameters: dict[str, Any], control: str) -> Answer:
        asked.append((method, dict(parameters)))
        return Answer(result)

    monkeypatch.setattr(client, "ask", answer)
    return asked


def test_a_capture_file_of_what_is_pending_has_all_that_the_daemon_gives_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "p.pcapng")
    asked = answered(monkeypatch, {"packets": [], "more": 3})
    assert main(["pending", "test0", "--pcap", file]) == 0
    assert main(["pending", "test0", "--pcap", file, "--top", "5"]) == 0
    assert [parameters["top"] for _, parameters in asked] == [1 << 62, "5"]
    assert capsys.readouterr().err.splitlines() == ["vnic: 3 more packets were left out"] * 2


def test_a_file_for_people_is_not_written_to_a_fifo_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Failure, match="fifo: cannot be written"):
        write_private(str(tmp_path / "fifo"), b"x")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(Failure, match="fifo: cannot be written") as failure:
        write_private(str(tmp_path / "fifo"), b"x")
    os.close(reader)
    assert failure.value.remedy == "no regular file"


@pytest.mark.parametrize("key", ["name", "pid", "started_ticks", "as_of", "views", "v"])
def test_a_state_file_without_one_of_its_keys_is_none(key: str, left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = json.loads(left.read_text())
    del state[key]
    left.write_text(json.dumps(state))
    assert read_state(left) is None
    assert main(["show", "test0"]) == Exit.UNAVAILABLE
    assert capsys.readouterr().err == "vnic: error: no daemon runs for test0: start one: vnic run test0\n"


@pytest.mark.parametrize(
    "change",
    [{"as_of": 1e300}, {"as_of": "now"}, {"ended": {"at": 1}}, {"ended": 7}, {"views": {"show": 7}}, {"views": []}, {"name": None}],
    ids=str,
)
def test_a_state_file_with_a_value_of_the_wrong_kind_is_none(change: dict[str, Any], left: Path) -> None:
    left.write_text(json.dumps(json.loads(left.read_text()) | change))
    assert read_state(left) is None


@pytest.mark.parametrize("words", [["show"], ["stats"], ["stats", "--openmetrics"], ["pending"], ["doctor"], ["pools"]], ids=" ".join)
def test_a_view_that_is_not_whole_in_a_state_file_is_one_line(words: list[str], left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = json.loads(left.read_text())
    state["views"] = {name: {"name": "test0"} for name in state["views"]}
    left.write_text(json.dumps(state))
    assert main([words[0], "test0", *words[1:]]) == Exit.UNAVAILABLE
    out, told = capsys.readouterr()
    assert out == ""
    assert f"vnic: error: what the daemon left is no answer to {words[0]}: " in told.splitlines()[-1]


@pytest.mark.parametrize("value", ["1e400", "-1e400", "nan", float("inf"), float("nan")])
def test_a_setting_of_a_fault_mode_that_is_no_finite_number_is_refused(value: object, wire: Wire) -> None:
    with pytest.raises(Failure, match="fault mode") as failure:
        verify_inject(Inspector(stack_on(wire, Sink())).tick(), mode="low-resources", settings={"probability": value})
    assert (failure.value.status, FAULTS.show()) == (Exit.USAGE, {})
