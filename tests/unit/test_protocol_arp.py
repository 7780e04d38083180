"""
Arp answers requests for our addresses, exactly, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import ARP, Ether

from protocol.arp import Arp

if TYPE_CHECKING:
    from tests.unit.conftest import Wire

US, PEER = "02:00:00:00:00:02", "02:00:00:00:00:01"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def request(**fields: Any) -> bytes:
    asked = {"op": 1, "hwsrc": PEER, "psrc": "10.0.0.1", "hwdst": "00:00:00:00:00:00", "pdst": "10.0.0.2"} | fields
    return bytes(Ether(src=PEER, dst=BROADCAST, type=0x0806) / ARP(**asked))


@pytest.fixture
def arp(wire: Wire) -> Arp:
    driver = Arp()
    wire.open(driver)
    return driver


@pytest.mark.parametrize("padding", [0, 18, 400])
def test_a_request_for_our_address_is_answered(wire: Wire, arp: Arp, padding: int) -> None:
    expected = Ether(src=US, dst=PEER) / ARP(op=2, hwsrc=US, psrc="10.0.0.2", hwdst=PEER, pdst="10.0.0.1")
    assert wire.ask(request() + bytes(padding)) == [bytes(expected)]
    assert (arp.answered, arp.dropped, arp.pool.usage) == (1, 0, 0)


def test_a_probe_from_no_address_is_answered(wire: Wire, arp: Arp) -> None:
    [reply] = wire.ask(request(psrc="0.0.0.0"))
    assert Ether(reply)[ARP].pdst == "0.0.0.0"


def test_a_request_sent_to_us_alone_is_answered(wire: Wire, arp: Arp) -> None:
    assert len(wire.ask(bytes.fromhex("020000000002") + request()[6:])) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"pdst": "10.0.0.3"},
        {"pdst": "255.255.255.255"},
        {"op": 2},
        {"op": 0},
        {"op": 257},
        {"hwtype": 6},
        {"ptype": 0x86DD},
        {"hwlen": 7},
        {"plen": 16},
        {"hwsrc": "03:00:00:00:00:01"},
        {"hwsrc": BROADCAST},
        {"psrc": "10.0.0.2"},
    ],
    ids=str,
)
def test_a_wrong_request_is_ignored(wire: Wire, arp: Arp, fields: dict[str, Any]) -> None:
    raw = bytearray(request(**{key: value for key, value in fields.items() if key not in ("hwlen", "plen")}))
    raw[18] = fields.get("hwlen", 6)
    raw[19] = fields.get("plen", 4)
    assert wire.ask(bytes(raw)) == []


def test_a_request_from_a_group_is_ignored(wire: Wire, arp: Arp) -> None:
    assert wire.ask(request()[:6] + b"\x03" + request()[7:]) == []


def test_a_tagged_request_is_ignored(wire: Wire, arp: Arp) -> None:
    assert wire.ask(request()[:12] + b"\x81\x00\x00\x05" + request()[12:]) == []


@pytest.mark.parametrize("length", range(14, 42))
def test_a_short_request_is_ignored(wire: Wire, arp: Arp, length: int) -> None:
    assert wire.ask(request()[:length]) == []


@pytest.mark.parametrize("address", ["10.9.8.7", "10.9.8.7/8"])
def test_the_address_can_be_given(wire: Wire, address: str) -> None:
    wire.open(Arp(address=address))
    assert wire.ask(request()) == []
    assert len(wire.ask(request(pdst="10.9.8.7"))) == 1


@pytest.mark.parametrize("address", ["", "ten", "10.0.0.256", "10.0.0.2/33", "fd00::2", "224.0.0.1", "255.255.255.255", "0.0.0.0"])
def test_a_bad_address_is_refused_in_one_line(address: str) -> None:
    with pytest.raises(ValueError, match="address") as error:
        Arp(address=address)
    assert repr(address) in str(error.value)
    assert "\n" not in str(error.value)


def test_replies_are_dropped_and_counted_when_the_pool_is_empty(wire: Wire, arp: Arp) -> None:
    taken = [arp.pool.allocate() for _ in range(arp.pool.capacity)]
    assert wire.ask(request()) == []
    assert (arp.answered, arp.dropped) == (0, 1)
    for packet in taken:
        assert packet is not None
        arp.pool.free(packet)
    assert len(wire.ask(request())) == 1


def test_packets_of_pending_sends_come_back(wire: Wire, arp: Arp) -> None:
    asked = 0
    while arp.pool.usage < 3 and asked < 5000:
        wire.give(request())
        asked += 1
    assert arp.pool.usage == 3, "the cable never filled"
    answers = 0
    for _ in range(100):
        answers += len(wire.taken())
        wire.adapter.flush()
    assert arp.pool.usage == 0
    assert answers == arp.answered == asked


def test_pending_sends_come_back_when_the_binding_closes(wire: Wire, arp: Arp) -> None:
    asked = 0
    while arp.pool.usage < 3 and asked < 5000:
        wire.give(request())
        asked += 1
    [binding] = wire.adapter.bindings
    wire.adapter.close(binding)
    assert arp.pool.usage == 0


@settings(max_examples=300, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 41), st.integers(0, 7)), max_size=6), tail=st.binary(max_size=8), cut=st.integers(14, 60))
def test_no_bytes_make_it_raise(wire: Wire, arp: Arp, flips: list[tuple[int, int]], tail: bytes, cut: int) -> None:
    raw = bytearray(request())
    for at, bit in flips:
        raw[at] ^= 1 << bit
    replies = wire.ask(bytes(raw + tail)[:cut])
    assert wire.reports == []
    for reply in replies:
        assert Ether(reply)[ARP].op == 2
        assert Ether(reply)[ARP].psrc == "10.0.0.2"


@settings(max_examples=300, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=100))
def test_random_bytes_are_not_answered(wire: Wire, arp: Arp, body: bytes) -> None:
    assert wire.ask(b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x08\x06" + body) == []
    assert wire.reports == []
