"""
IcmpEcho answers pings and neighbour solicitations for our addresses, with the checksums that scapy computes, and nothing else.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from protocol.icmp_echo import IcmpEcho

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Wire

US, PEER, BROADCAST = "02:00:00:00:00:02", "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"
LINK_LOCAL = "fe80::ff:fe00:2"
V4 = {"src": "10.0.0.1", "dst": "10.0.0.2"}
V6 = {"src": "fd00::1", "dst": "fd00::2"}
FUZZ = settings(max_examples=300, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def echo(wire: Wire) -> IcmpEcho:
    driver = IcmpEcho()
    wire.open(driver)
    return driver


def ping(payload: bytes = b"abcdefgh", ether: dict[str, str] | None = None, icmp: dict[str, Any] | None = None, **ip: Any) -> bytes:
    frame = Ether(**{"src": PEER, "dst": US} | (ether or {})) / IP(**V4 | ip)
    return bytes(frame / ICMP(**{"type": 8, "id": 7, "seq": 9} | (icmp or {})) / Raw(payload))


def ping6(payload: bytes = b"abcdefgh", ether: dict[str, str] | None = None, icmp: dict[str, Any] | None = None, **ip: Any) -> bytes:
    frame = Ether(**{"src": PEER, "dst": US} | (ether or {})) / IPv6(**V6 | ip)
    return bytes(frame / ICMPv6EchoRequest(**{"id": 7, "seq": 9} | (icmp or {})) / Raw(payload))


def solicitation(ns: dict[str, Any] | None = None, options: bytes | None = None, mac: str = "33:33:ff:00:00:02", **ip: Any) -> bytes:
    frame = Ether(src=PEER, dst=mac) / IPv6(**{"src": "fd00::1", "dst": "ff02::1:ff00:2", "hlim": 255} | ip)
    after = bytes(ICMPv6NDOptSrcLLAddr(lladdr=PEER)) if options is None else options
    return bytes(frame / ICMPv6ND_NS(**{"tgt": "fd00::2"} | (ns or {})) / Raw(after))


def recomputed(frame: bytes) -> bytes:
    """The same frame with scapy's checksums and lengths."""
    packet = Ether(frame)
    computed = (IP, "len"), (IP, "chksum"), (ICMP, "chksum"), (IPv6, "plen"), (ICMPv6EchoReply, "cksum"), (ICMPv6ND_NA, "cksum")
    for layer, field in computed:
        if layer in packet:
            delattr(packet[layer], field)
    return bytes(packet)


PAYLOADS = [b"", b"x", b"abc", b"\xff" * 56, bytes(56), bytes(random.Random(5).randbytes(1472))]


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
def test_an_ipv4_ping_is_answered(wire: Wire, echo: IcmpEcho, payload: bytes) -> None:
    [reply] = wire.ask(ping(payload, tos=0x28))
    answer = Ether(reply)
    assert reply == recomputed(reply)
    assert (answer.src, answer.dst, answer[IP].src, answer[IP].dst, answer[IP].tos) == (US, PEER, "10.0.0.2", "10.0.0.1", 0x28)
    assert (answer[ICMP].type, answer[ICMP].code, answer[ICMP].id, answer[ICMP].seq) == (0, 0, 7, 9)
    assert bytes(answer[ICMP].payload) == payload
    assert (echo.answered, echo.dropped, echo.pool.usage) == (1, 0, 0)


def test_a_reply_of_nothing_but_zeros_has_a_checksum_of_all_ones(wire: Wire, echo: IcmpEcho) -> None:
    [reply] = wire.ask(ping(bytes(8), icmp={"id": 0, "seq": 0}))
    assert reply[36:38] == b"\xff\xff"
    assert reply == recomputed(reply)


def test_a_station_that_pings_again_is_answered_again_and_checked_again(wire: Wire, echo: IcmpEcho) -> None:
    wire.ask(ping(id=1))
    again = ping(id=2, icmp={"seq": 10})
    [reply] = wire.ask(again)
    assert reply == recomputed(reply)
    assert (Ether(reply)[ICMP].seq, bytes(Ether(reply)[ICMP].payload)) == (10, b"abcdefgh")
    for place in (18, 24, 36, 38, 49):  # identification, checksum of the header, checksum of the message, the message
        assert wire.ask(again[:place] + bytes([again[place] ^ 1]) + again[place + 1 :]) == []
    assert wire.ask(again[:-1]) == []
    assert echo.answered == 2


def test_no_more_stations_are_remembered_than_there_is_room_for(wire: Wire, echo: IcmpEcho) -> None:
    for number in range(300):
        [reply] = wire.ask(ping(src=f"10.0.{1 + number // 200}.{1 + number % 200}"))
        assert reply == recomputed(reply)
    assert 0 < len(echo.known) <= 256


def test_padding_behind_the_datagram_is_not_echoed(wire: Wire, echo: IcmpEcho) -> None:
    [reply] = wire.ask(ping(b"hi") + b"padding")
    assert reply[42:] == b"hi"


def test_options_of_the_request_are_skipped(wire: Wire, echo: IcmpEcho) -> None:
    [reply] = wire.ask(ping(options=[IPOption_RR(length=7, routers=["0.0.0.0"])]))
    assert (Ether(reply)[IP].ihl, bytes(Ether(reply)[ICMP].payload)) == (5, b"abcdefgh")
    assert reply == recomputed(reply)


@pytest.mark.parametrize(
    "frame",
    [
        ping(dst="10.0.0.3"),
        ping(dst="10.0.0.255"),
        ping(dst="255.255.255.255", ether={"dst": BROADCAST}),
        ping(ether={"dst": BROADCAST}),
        ping(ether={"src": "03:00:00:00:00:01"}),
        ping(src="10.0.0.255"),
        ping(src="255.255.255.255"),
        ping(src="224.0.0.1"),
        ping(src="0.0.0.0"),
        ping(src="127.0.0.1"),
        ping(src="10.0.0.2"),
        ping(flags="MF"),
        ping(frag=1),
        ping(chksum=1),
        ping(version=6),
        ping(ihl=4),
        ping(len=27),
        ping(len=100),
        ping(proto=17),
        ping(icmp={"chksum": 1}),
        ping(icmp={"type": 0}),
        ping(icmp={"code": 1}),
        bytes(Ether(src=PEER, dst=US) / Dot1Q(vlan=5) / Raw(ping()[14:])),
        ping6(dst="fd00::3"),
        ping6(dst="ff02::2", ether={"dst": "33:33:00:00:00:01"}),
        ping6(ether={"dst": "33:33:00:00:00:01"}),
        ping6(ether={"src": "33:33:00:00:00:01"}),
        ping6(src="::"),
        ping6(src="::1"),
        ping6(src="ff02::1"),
        ping6(src="fd00::2"),
        ping6(version=4),
        ping6(plen=7),
        ping6(plen=17),
        ping6(icmp={"cksum": 1}),
        ping6(icmp={"code": 1}),
        bytes(Ether(src=PEER, dst=US) / IPv6(**V6) / IPv6ExtHdrFragment() / ICMPv6EchoRequest()),
        solicitation({"tgt": "fd00::3"}),
        solicitation({"tgt": "ff02::1"}),
        solicitation({"code": 1}),
        solicitation({"cksum": 1}),
        solicitation(hlim=254),
        solicitation(src="ff02::1"),
        solicitation(src="fd00::2"),
        solicitation(dst="ff02::1", mac="33:33:00:00:00:01"),
        solicitation(options=b"\x01\x00" + bytes(6)),
        solicitation(options=b"\x01\x02" + bytes(6)),
        solicitation(options=b"\x01"),
        solicitation(src="::"),
        solicitation(src="::", options=b"", dst="fd00::2", mac=US),
    ],
)
def test_a_wrong_request_is_ignored(wire: Wire, echo: IcmpEcho, frame: bytes) -> None:
    assert wire.ask(frame) == []


def test_a_short_solicitation_does_not_match_an_ipv4_address(wire: Wire, echo: IcmpEcho) -> None:
    frame = Ether(src=PEER, dst=US, type=0x86DD) / IPv6(**V6, hlim=255, nh=58) / ICMPv6EchoRequest(type=135, id=0, seq=0)
    assert wire.ask(bytes(frame / Raw(bytes([10, 0, 0, 2])))) == []


@pytest.mark.parametrize("payload", [*PAYLOADS[:-1], bytes(1452)], ids=len)
@pytest.mark.parametrize("address", ["fd00::2", LINK_LOCAL])
def test_an_ipv6_ping_is_answered(wire: Wire, echo: IcmpEcho, payload: bytes, address: str) -> None:
    [reply] = wire.ask(ping6(payload, dst=address))
    expected = Ether(src=US, dst=PEER) / IPv6(src=address, dst="fd00::1", hlim=64) / ICMPv6EchoReply(id=7, seq=9, data=payload)
    assert reply == bytes(expected)


def test_a_ping_to_all_nodes_is_answered_from_the_link_local_address(wire: Wire, echo: IcmpEcho) -> None:
    [reply] = wire.ask(ping6(src="fe80::1", dst="ff02::1", ether={"dst": "33:33:00:00:00:01"}))
    expected = Ether(src=US, dst=PEER) / IPv6(src=LINK_LOCAL, dst="fe80::1", hlim=64) / ICMPv6EchoReply(id=7, seq=9, data=b"abcdefgh")
    assert reply == bytes(expected)


@pytest.mark.parametrize("to", [{}, {"dst": "fd00::2", "mac": US}], ids=["group", "unicast"])
@pytest.mark.parametrize("options", [None, b""], ids=["option", "bare"])
def test_a_solicitation_is_answered(wire: Wire, echo: IcmpEcho, to: dict[str, Any], options: bytes | None) -> None:
    [reply] = wire.ask(solicitation(options=options, **to))
    advertisement = ICMPv6ND_NA(R=0, S=1, O=1, tgt="fd00::2") / ICMPv6NDOptDstLLAddr(lladdr=US)
    assert reply == bytes(Ether(src=US, dst=PEER) / IPv6(src="fd00::2", dst="fd00::1", hlim=255) / advertisement)


def test_a_search_for_duplicates_is_answered_to_all_nodes(wire: Wire, echo: IcmpEcho) -> None:
    [reply] = wire.ask(solicitation(src="::", options=b""))
    advertisement = ICMPv6ND_NA(R=0, S=0, O=1, tgt="fd00::2") / ICMPv6NDOptDstLLAddr(lladdr=US)
    assert reply == bytes(Ether(src=US, dst="33:33:00:00:00:01") / IPv6(src="fd00::2", dst="ff02::1", hlim=255) / advertisement)


@pytest.mark.parametrize("make", [ping, ping6])
def test_a_ping_of_the_largest_mtu_is_answered(make_wire: Callable[..., Wire], make: Callable[[bytes], bytes]) -> None:
    wire = make_wire(mtu=65_520, packets=8)
    wire.open(IcmpEcho())
    payload = random.Random(1).randbytes(65_520 - (28 if make is ping else 48))
    [reply] = wire.ask(make(payload))
    assert reply[-len(payload) :] == payload
    assert reply == recomputed(reply)


def test_the_addresses_can_be_given(wire: Wire) -> None:
    driver = IcmpEcho(address="10.9.8.7/8, fd09::7")
    binding = wire.open(driver)
    assert len(wire.ask(ping(dst="10.9.8.7"))) == len(wire.ask(ping6(dst="fd09::7"))) == len(wire.ask(ping6(dst=LINK_LOCAL))) == 1
    assert wire.ask(ping()) == wire.ask(ping6()) == []
    assert [mac.hex() for mac in binding.multicast_list] == ["333300000001", "3333ff000002", "3333ff000007"]


@pytest.mark.parametrize("address", ["", "ten", "10.0.0.2,", "10.0.0.2/33", "224.0.0.1", "ff02::1", "::", "0.0.0.0", "255.255.255.255"])
def test_a_bad_address_is_refused_in_one_line(address: str) -> None:
    with pytest.raises(ValueError, match="address ") as error:
        IcmpEcho(address=address)
    assert "\n" not in str(error.value)


def test_a_peer_of_a_31_bit_prefix_is_answered(wire: Wire) -> None:
    wire.open(IcmpEcho(address="10.0.0.2/31"))
    assert len(wire.ask(ping(src="10.0.0.3"))) == 1


def test_replies_are_dropped_and_counted_when_the_pool_is_empty(wire: Wire, echo: IcmpEcho) -> None:
    taken = [echo.pool.allocate() for _ in range(echo.pool.capacity)]
    assert wire.ask(ping()) == []
    assert (echo.answered, echo.dropped) == (0, 1)
    for packet in taken:
        assert packet is not None
        echo.pool.free(packet)


def test_packets_of_pending_sends_come_back(wire: Wire, echo: IcmpEcho) -> None:
    asked = answers = 0
    while echo.pool.usage < 3 and asked < 5000:
        wire.give(ping())
        asked += 1
    assert echo.pool.usage == 3, "the cable never filled"
    for _ in range(100):
        answers += len(wire.taken())
        wire.adapter.flush()
    assert answers == echo.answered == asked
    assert echo.pool.usage == 0


@FUZZ
@given(
    frame=st.sampled_from([ping(), ping6(), solicitation(), solicitation(src="::", options=b"")]),
    flips=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 7)), max_size=4),
    cut=st.integers(14, 100),
)
def test_a_damaged_request_is_ignored_or_answered_well(wire: Wire, echo: IcmpEcho, frame: bytes, flips: Any, cut: int) -> None:
    damaged = bytearray(frame)
    for at, bit in flips:
        damaged[at % len(frame)] ^= 1 << bit
    for reply in wire.ask(bytes(damaged[:cut])):
        assert reply == recomputed(reply)
        assert reply[6:12] == bytes.fromhex("020000000002")
    assert wire.reports == []


@FUZZ
@given(start=st.sampled_from([b"\x08\x00", b"\x86\xdd", ping()[12:34], ping6()[12:54]]), body=st.binary(max_size=200))
def test_no_bytes_make_it_raise(wire: Wire, echo: IcmpEcho, start: bytes, body: bytes) -> None:
    wire.ask(bytes.fromhex("020000000002020000000001") + start + body)
    assert wire.reports == []


@FUZZ
@given(options=st.binary(max_size=64), payload=st.binary(max_size=64), ident=st.integers(0, 0xFFFF))
def test_good_checksums_around_any_bytes_make_none_raise(wire: Wire, echo: IcmpEcho, options: bytes, payload: bytes, ident: int) -> None:
    for reply in wire.ask(solicitation(options=options)):
        assert reply == recomputed(reply)
    for make in (ping, ping6):
        [reply] = wire.ask(make(payload, icmp={"id": ident}))
        assert Ether(reply).lastlayer().original[-len(payload) or len(reply) :] == payload
        layer = ICMP if make is ping else ICMPv6EchoReply
        assert layer in Ether(reply)
    assert wire.reports == []
