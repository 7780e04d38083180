"""
What shipped drivers do at the edges: with frames that no other station can have sent, frames that cannot go out, and places to write to
that are not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from unit.test_protocol_capture import full_disk

from protocol.arp import Arp
from protocol.classify import Classify
from protocol.icmp_echo import IcmpEcho
from protocol.udp import Udp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Wire

US, PEER, NOBODY, GROUP = "02:00:00:00:00:02", "02:00:00:00:00:01", "00:00:00:00:00:00", "01:00:5e:00:00:09"
BROADCAST = "ff:ff:ff:ff:ff:ff"
NO_STATION = ["255.255.255.255", "224.0.0.1", "10.0.0.255", "10.0.0.0", "127.0.0.1", "0.0.0.1", "10.0.0.2"]


def request(mac: str = PEER, sender: str = PEER, psrc: str = "10.0.0.1") -> bytes:
    return bytes(Ether(src=mac, dst=BROADCAST, type=0x0806) / ARP(op=1, hwsrc=sender, psrc=psrc, pdst="10.0.0.2"))


def ping(mac: str = PEER, source: str = "10.0.0.1", size: int = 56) -> bytes:
    return bytes(Ether(src=mac, dst=US) / IP(src=source, dst="10.0.0.2") / ICMP(type=8, id=7, seq=9) / Raw(bytes(size)))


def ping6(mac: str = PEER, size: int = 56) -> bytes:
    return bytes(Ether(src=mac, dst=US) / IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(id=7, seq=9) / Raw(bytes(size)))


def datagram(mac: str = PEER) -> bytes:
    return bytes(Ether(src=mac, dst=US) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=4000, dport=7) / Raw(b"hello"))


@pytest.mark.parametrize("mac", [US, NOBODY, GROUP])
def test_no_driver_answers_a_frame_that_no_other_station_can_have_sent(wire: Wire, mac: str) -> None:
    udp = Udp(echo=7)
    for driver in (Arp(), IcmpEcho(), udp):
        wire.open(driver)
    wire.give(request(mac=mac), request(sender=mac), ping(mac), ping6(mac), datagram(mac))
    assert wire.taken() == []
    assert udp.stations == {}
    assert sum(udp.dropped.values()) == udp.datagrams == 1


@pytest.mark.parametrize("address", NO_STATION)
@pytest.mark.parametrize("kind", [Arp, Udp])
def test_an_arp_request_from_an_address_that_no_other_station_has_is_not_answered(wire: Wire, kind: Any, address: str) -> None:
    wire.open(kind())
    assert wire.ask(request(psrc=address)) == []


@pytest.mark.parametrize("kind", [Arp, Udp])
def test_an_arp_request_from_a_station_or_from_one_that_has_no_address_yet_is_answered(wire: Wire, kind: Any) -> None:
    wire.open(kind())
    for psrc in ("10.0.0.1", "10.0.0.254", "192.168.7.7", "0.0.0.0"):
        [reply] = wire.ask(request(psrc=psrc))
        assert (Ether(reply)[ARP].op, Ether(reply)[ARP].pdst) == (2, psrc)


@pytest.mark.parametrize("address", NO_STATION)
def test_a_ping_from_an_address_that_no_other_station_has_is_not_answered(wire: Wire, address: str) -> None:
    wire.open(IcmpEcho())
    assert wire.ask(ping(source=address)) == []


def test_a_ping_whose_reply_is_longer_than_the_mtu_allows_is_not_answered_and_breaks_no_rule(wire: Wire) -> None:
    driver = IcmpEcho()
    wire.open(driver)
    for make, header in ((ping, 42), (ping6, 62)):
        assert wire.ask(make(size=1519 - header)) == wire.ask(make(size=wire.pool.slot_size - 1 - header)) == []
        assert [len(frame) for frame in wire.ask(make(size=1518 - header))] == [1518]
    assert (driver.answered, driver.dropped, wire.adapter.counters()["violations"]) == (2, 4, 0)


def test_a_folder_for_counts_that_is_not_there_is_named_when_the_driver_is_bound(wire: Wire, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        wire.adapter.open(Classify(file=str(tmp_path / "nowhere" / "counts.json")), "classify")


def test_a_folder_for_counts_may_be_the_one_where_we_are(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    binding = wire.open(Classify(file="counts.json"))
    wire.adapter.close(binding)
    assert [entry.name for entry in tmp_path.iterdir()] == ["counts.json"]


def test_counts_that_find_no_room_on_the_disk_leave_no_file_behind(wire: Wire, tmp_path: Path) -> None:
    driver = Classify(file=str(tmp_path / "counts.json"))
    wire.open(driver)
    driver.rotate()
    before = (tmp_path / "counts.json").read_text()
    wire.give(ping())
    with full_disk(10), pytest.raises(OSError, match="File too large"):
        driver.rotate()
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"counts.json": before}
