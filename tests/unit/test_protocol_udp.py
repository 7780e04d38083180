"""
Udp shows good datagrams to its clients, counts why it refuses the others, and sends what scapy would.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP, IPOption
from scapy.layers.l2 import ARP, Ether
from unit.wire import Bench

from protocol.udp import ARP_TRIES, MOST_STATIONS, MOST_UNRESOLVED, MOST_WAITING, PACKETS, Source, Udp, checksum, make, parse
from vnic import Packet, PacketFilter, Status
from vnic.tdi import Client
from vnic.timers import Clock, TimerThread, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.conftest import Wire

US, PEER, ROUTER = "02:00:00:00:00:02", "02:00:00:00:00:01", "02:00:00:00:00:77"
BROADCAST = "ff:ff:ff:ff:ff:ff"
PORT = 5353


class Reader(Client):
    """Remember what came, and how."""

    def __init__(self, answer: Status = Status.SUCCESS) -> None:
        self.answer = answer
        self.chained: list[tuple[bytes, Source]] = []
        self.copied: list[tuple[bytes, Source]] = []
        self.kept: list[Packet] = []

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Source) -> Status:
        self.chained.append((bytes(tsdu.data[offset : offset + length]), source))
        if self.answer is Status.PENDING:
            self.kept.append(tsdu)
        return self.answer

    def receive(self, data: bytes, source: Source) -> Status:
        self.copied.append((data, source))
        return Status.SUCCESS

    def closing(self) -> None:
        self.return_chained(self.kept)
        self.kept.clear()


def ip(*layers: Any, mac: str = PEER, to: str = US, **fields: Any) -> bytes:
    packet = IP(**{"src": "10.0.0.1", "dst": "10.0.0.2", "proto": 17} | fields)
    for layer in layers:
        packet /= layer
    return bytes(Ether(src=mac, dst=to, type=0x0800) / packet)


def datagram(data: bytes = b"hello", *, sport: int = 4000, dport: int = PORT, udp: dict[str, Any] | None = None, **fields: Any) -> bytes:
    return ip(UDP(sport=sport, dport=dport, **(udp or {})), data, **fields)


def arp(op: int, psrc: str, pdst: str = "10.0.0.2", mac: str = PEER) -> bytes:
    return bytes(Ether(src=mac, dst=US if op == 2 else BROADCAST) / ARP(op=op, hwsrc=mac, psrc=psrc, hwdst=US, pdst=pdst))


def sums(udp: Udp) -> None:
    """Every datagram is accounted for."""
    counters = udp.counters()
    assert counters["datagrams"] == sum(count for name, count in counters.items() if name.startswith("in_")), counters


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def udp(wire: Wire, clock: VirtualClock) -> Iterator[Udp]:
    driver = Udp()
    driver.timer.timers = TimerThread(clock)
    wire.open(driver)
    yield driver
    sums(driver)


@pytest.fixture
def reader(udp: Udp) -> Reader:
    client = Reader()
    udp.open(PORT, client)
    return client


FROM_PEER = Source("10.0.0.1", 4000, "10.0.0.2")

# the way in


@pytest.mark.parametrize("size", [0, 1, 2, 17, 18, 19, 511, 1471, 1472])
def test_a_datagram_reaches_its_client_whole(wire: Wire, udp: Udp, reader: Reader, size: int) -> None:
    data = bytes(range(256)) * 6
    assert wire.ask(datagram(data[:size])) == []
    assert reader.chained == [(data[:size], FROM_PEER)]


def test_padding_options_and_no_checksum_are_no_reason_to_refuse(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(
        datagram() + bytes(20),
        datagram(options=[IPOption(b"\x94\x04\x00\x00")]),
        datagram(udp={"chksum": 0}),
        datagram(flags="DF", ttl=1, tos=255, id=9),
    )
    assert reader.chained == [(b"hello", FROM_PEER)] * 4


def test_bytes_behind_the_datagram_are_not_shown(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(ip(UDP(sport=4000, dport=PORT, len=8 + 3, chksum=0), b"abcdef"))
    assert reader.chained == [(b"abc", FROM_PEER)]


def test_every_client_of_a_port_sees_each_datagram_and_those_of_others_see_none(wire: Wire, udp: Udp) -> None:
    same, other = [Reader(answer) for answer in (Status.SUCCESS, Status.PENDING, Status.NOT_ACCEPTED, Status.PENDING)], Reader()
    for client in same:
        udp.open(PORT, client)
    udp.open(PORT + 1, other)
    wire.give(datagram())
    assert [client.chained for client in same] == [[(b"hello", FROM_PEER)]] * 4
    assert (other.chained, udp.upcalls.held) == ([], 2)
    for client in same:
        client.closing()


def test_a_client_that_keeps_a_datagram_keeps_the_received_packet(wire: Wire, udp: Udp) -> None:
    client = Reader(Status.PENDING)
    udp.open(PORT, client)
    wire.give(datagram(b"first"), datagram(b"second"))
    assert [bytes(packet.data[42:48]) for packet in client.kept] == [b"first"[:6], b"second"]
    assert wire.pool.usage == 2
    client.closing()
    assert wire.pool.usage == 0


def test_while_packets_are_low_clients_get_copies(make_wire: Callable[..., Wire]) -> None:
    wire, udp, client = make_wire(packets=4, low_water=4), Udp(), Reader(Status.PENDING)
    wire.open(udp)
    udp.open(PORT, client)
    wire.give(datagram(b"copy"))
    assert (client.chained, client.copied) == ([], [(b"copy", FROM_PEER)])
    sums(udp)


def test_a_datagram_of_which_only_the_beginning_is_shown_is_refused(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.adapter.indicate_lookahead(object(), datagram()[:14], datagram()[14:40], len(datagram()) - 14)
    wire.adapter.indicate_lookahead_complete()
    assert (reader.copied, udp.dropped["partial"]) == ([], 1)
    wire.adapter.indicate_lookahead(object(), datagram()[:14], datagram()[14:], len(datagram()) - 14)
    wire.adapter.indicate_lookahead_complete()
    assert reader.copied == [(b"hello", FROM_PEER)]


def test_a_closed_port_is_closed(wire: Wire, udp: Udp, reader: Reader) -> None:
    second = Reader()
    endpoint = udp.open(PORT, second)
    udp.close(endpoint)
    wire.give(datagram(b"1"))
    (first,) = udp.ports[PORT]
    udp.close(first)
    udp.close(first)
    wire.give(datagram(b"2"))
    assert (len(reader.chained), second.chained, udp.dropped["no_port"], udp.ports) == (1, [], 1, {})


@pytest.mark.parametrize(
    ("reason", "frame"),
    [
        ("length", datagram(len=19)),
        ("length", datagram(len=34)),
        ("length", datagram(len=27)),
        ("length", datagram(ihl=4)),
        ("length", datagram(ihl=15)),
        ("length", datagram()[:40]),
        ("length", datagram(udp={"len": 7})),
        ("length", datagram(udp={"len": 0})),
        ("length", datagram(udp={"len": 14})),
        ("length", datagram(udp={"len": 65535})),
        ("group", datagram(to=BROADCAST)),
        ("group", datagram(to="01:00:5e:00:00:01", dst="224.0.0.1")),
        ("group", datagram(mac="03:00:00:00:00:01")),
        ("header_checksum", datagram(chksum=1)),
        ("not_ours", datagram(dst="10.0.0.3")),
        ("not_ours", datagram(dst="10.0.0.255")),
        ("not_ours", datagram(dst="255.255.255.255")),
        ("source", datagram(src="10.0.0.255")),
        ("source", datagram(src="10.0.0.0")),
        ("source", datagram(src="0.0.0.0")),
        ("source", datagram(src="127.0.0.1")),
        ("source", datagram(src="224.0.0.1")),
        ("source", datagram(src="255.255.255.255")),
        ("source", datagram(src="10.0.0.2")),
        ("fragment", datagram(flags="MF")),
        ("fragment", datagram(frag=1)),
        ("checksum", datagram(udp={"chksum": 1})),
        ("no_port", datagram(dport=PORT + 1)),
        ("no_port", datagram(dport=0)),
    ],
)
def test_a_refused_datagram_is_counted_by_its_reason_and_not_answered(
    wire: Wire, udp: Udp, reader: Reader, reason: str, frame: bytes
) -> None:
    if frame[0] & 1 and frame[0] != 0xFF:
        udp.binding.multicast_list = (frame[:6],)
        udp.binding.packet_filter |= PacketFilter.MULTICAST
    assert wire.ask(frame) == []
    assert udp.dropped == dict.fromkeys(udp.dropped, 0) | {reason: 1}
    assert (reader.chained, udp.stations) == ([], {})


@pytest.mark.parametrize("frame", [ip(ICMP(), proto=1), ip(b"x" * 20, proto=6), ip(b"x", version=5), b"\2\0\0\0\0\2" + bytes(12)], ids=len)
def test_what_is_no_udp_is_not_counted(wire: Wire, udp: Udp, frame: bytes) -> None:
    assert wire.ask(frame) == []
    assert udp.datagrams == 0


# the way out


@pytest.mark.parametrize("data", [b"", b"x", b"hello", bytes(1472), b"\xff" * 1472], ids=len)
def test_what_is_sent_is_what_scapy_would_send(wire: Wire, udp: Udp, reader: Reader, data: bytes) -> None:
    wire.give(datagram())
    assert udp.send_to("10.0.0.1", 4000, data, PORT) is Status.SUCCESS
    expected = ip(UDP(sport=PORT, dport=4000), data, mac=US, to=PEER, src="10.0.0.2", dst="10.0.0.1", id=0, flags="DF", ttl=64)
    assert wire.taken() == [expected]
    assert udp.pool.usage == 0


def test_a_checksum_that_comes_out_as_nothing_is_sent_as_all_ones() -> None:
    us, them = bytes([10, 0, 0, 2]), bytes([10, 0, 0, 1])
    zero = next(n for n in range(0x10000) if int.from_bytes(make(us, them, 1, 2, n.to_bytes(2))[26:28]) == 0xFFFF)
    assert checksum(us + them + bytes([0, 17, 0, 10, 0, 1, 0, 2, 0, 10]) + zero.to_bytes(2)) == 0


def test_a_datagram_longer_than_the_mtu_allows_is_not_sent(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(datagram())
    assert udp.send_to("10.0.0.1", 4000, bytes(1473), PORT) is Status.INVALID_LENGTH
    assert wire.taken() == []


@pytest.mark.parametrize(
    "address", ["10.0.0.2", "10.0.0.255", "10.0.0.0", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1"]
)
def test_there_is_no_way_to_what_is_no_station_of_our_network(wire: Wire, udp: Udp, address: str) -> None:
    assert udp.send_to(address, 4000, b"x", PORT) is Status.INVALID_ADDRESS
    assert wire.taken() == []


@pytest.mark.parametrize(
    ("address", "port", "source_port"), [("", 1, 1), ("ten", 1, 1), ("fd00::1", 1, 1), ("10.0.0.1", 0, 1), ("10.0.0.1", 1, 65536)]
)
def test_what_is_no_address_or_port_is_an_error(udp: Udp, address: str, port: int, source_port: int) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        udp.send_to(address, port, b"x", source_port)


def test_who_sends_through_a_router_is_answered_through_it(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(datagram(src="192.0.2.1", mac=ROUTER))
    assert udp.send_to("192.0.2.1", 4000, b"x", PORT) is Status.SUCCESS
    [frame] = wire.taken()
    assert (Ether(frame).dst, Ether(frame)[IP].src) == (ROUTER, "10.0.0.2")


def test_a_station_that_moves_is_found_where_it_was_last(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(datagram(), datagram(mac=ROUTER))
    udp.send_to("10.0.0.1", 4000, b"x", PORT)
    assert Ether(wire.taken()[0]).dst == ROUTER


def test_a_station_that_is_heard_of_again_is_known_meanwhile(wire: Wire, udp: Udp, reader: Reader) -> None:
    found: list[bytes | None] = []

    class Watched(dict[bytes, Any]):
        """Ask for the station from another thread, while it is put behind all others."""

        def pop(self, address: bytes, *default: Any) -> Any:
            before = super().pop(address, *default)
            other.start()
            # it has to wait, or has its answer at once
            other.join(0.1)
            return before

    wire.give(datagram())
    address = bytes([10, 0, 0, 1])
    other = threading.Thread(target=lambda: found.append(udp.station(address)))
    udp.stations = Watched(udp.stations)
    wire.give(datagram())
    other.join(10)
    assert found == [bytes.fromhex(PEER.replace(":", ""))]
    assert udp.send_to("10.0.0.1", 4000, b"at once", PORT) is Status.SUCCESS


def test_what_is_sent_through_an_empty_pool_is_counted(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(datagram())
    taken = [udp.pool.allocate() for _ in range(PACKETS)]
    assert udp.send_to("10.0.0.1", 4000, b"x", PORT) is Status.RESOURCES
    assert udp.unsent["no_packet"] == 1
    for packet in taken:
        assert packet is not None
        udp.pool.free(packet)


def test_what_is_sent_while_the_link_is_down_is_counted(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(datagram())
    wire.adapter.indicate_status(Status.MEDIA_DISCONNECT)
    assert udp.send_to("10.0.0.1", 4000, b"x", PORT) is Status.NO_CABLE
    assert (udp.unsent["refused_below"], udp.sent, udp.pool.usage) == (1, 0, 0)


def test_packets_of_pending_sends_come_back_when_the_binding_closes(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(datagram())
    for _ in range(5000):
        udp.send_to("10.0.0.1", 4000, bytes(1000), PORT)
        if udp.pool.usage >= 3:
            break
    assert udp.pool.usage == 3, "the cable never filled"
    [binding] = wire.adapter.bindings
    wire.adapter.close(binding)
    assert udp.pool.usage == 0
    assert udp.send_to("10.0.0.1", 4000, b"x", PORT) is Status.CLOSING


# ARP


def test_a_request_for_our_address_is_answered(wire: Wire, udp: Udp) -> None:
    expected = Ether(src=US, dst=PEER) / ARP(op=2, hwsrc=US, psrc="10.0.0.2", hwdst=PEER, pdst="10.0.0.1")
    assert wire.ask(arp(1, "10.0.0.1") + bytes(18)) == [bytes(expected)]
    assert wire.ask(arp(1, "10.0.0.1", pdst="10.0.0.3")) == wire.ask(arp(1, "10.0.0.2")) == []


def test_who_asks_for_us_is_known(wire: Wire, udp: Udp) -> None:
    wire.ask(arp(1, "10.0.0.9", mac=ROUTER))
    assert udp.send_to("10.0.0.9", 4000, b"x", PORT) is Status.SUCCESS
    assert Ether(wire.taken()[0]).dst == ROUTER


def test_a_station_is_asked_for_and_gets_what_waited_in_order(wire: Wire, udp: Udp) -> None:
    for data in (b"one", b"two"):
        assert udp.send_to("10.0.0.7", 4000, data, PORT) is Status.PENDING
    expected = Ether(src=US, dst=BROADCAST) / ARP(op=1, hwsrc=US, psrc="10.0.0.2", hwdst="00:00:00:00:00:00", pdst="10.0.0.7")
    assert wire.taken() == [bytes(expected)]
    sent = [Ether(frame) for frame in wire.ask(arp(2, "10.0.0.7"))]
    assert [(frame.dst, bytes(frame[UDP].payload)) for frame in sent] == [(PEER, b"one"), (PEER, b"two")]
    assert (udp.sent, udp.waiting) == (2, {})


def test_an_answer_that_nobody_asked_for_teaches_nothing(wire: Wire, udp: Udp) -> None:
    wire.give(arp(2, "10.0.0.7"), arp(2, "10.0.0.2"))
    assert udp.stations == {}


def test_who_never_answers_is_asked_again_and_given_up(wire: Wire, udp: Udp, clock: VirtualClock) -> None:
    udp.send_to("10.0.0.7", 4000, b"x", PORT)
    asked = [len(wire.taken())]
    for _ in range(ARP_TRIES + 1):
        clock.advance(1000, udp.timer.timers)
        asked.append(len(wire.taken()))
    assert asked == [1, 1, 1, 0, 0]
    assert (udp.unsent["unresolved"], udp.waiting, udp.timer.timers.queued) == (1, {}, ())


def test_what_waits_is_bounded(wire: Wire, udp: Udp) -> None:
    for number in range(MOST_UNRESOLVED + 5):
        for _ in range(MOST_WAITING + 5):
            udp.send_to(f"10.0.0.{10 + number}", 4000, b"x", PORT)
    assert len(udp.waiting) == MOST_UNRESOLVED
    assert {len(wait.datagrams) for wait in udp.waiting.values()} == {MOST_WAITING}
    assert udp.unsent["queue_full"] == (MOST_UNRESOLVED + 5) * (MOST_WAITING + 5) - MOST_UNRESOLVED * MOST_WAITING
    [binding] = wire.adapter.bindings
    wire.adapter.close(binding)
    assert (udp.unsent["closing"], udp.timer.timers.queued) == (MOST_UNRESOLVED * MOST_WAITING, ())


def test_the_stations_that_are_known_are_bounded_the_oldest_go_first(wire: Wire, udp: Udp, reader: Reader) -> None:
    for number in range(MOST_STATIONS + 10):
        wire.give(datagram(src=f"10.1.{number >> 8}.{number & 255}"))
    assert len(udp.stations) == MOST_STATIONS
    assert bytes([10, 1, 0, 9]) not in udp.stations
    assert bytes([10, 1, 0, 10]) in udp.stations


def test_a_station_is_forgotten_after_a_minute(wire: Wire, udp: Udp, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Clock().now_ns()
    monkeypatch.setattr("protocol.udp.time.monotonic_ns", lambda: now)
    wire.give(datagram())
    now += 60_000_000_000
    assert udp.send_to("10.0.0.1", 4000, b"x", PORT) is Status.SUCCESS
    now += 1
    assert udp.send_to("10.0.0.1", 4000, b"x", PORT) is Status.PENDING


@pytest.mark.parametrize("length", range(14, 42))
def test_a_short_request_is_ignored(wire: Wire, udp: Udp, length: int) -> None:
    assert wire.ask(arp(1, "10.0.0.1")[:length]) == []


# the clients that ship, and options


def test_echo_sends_every_datagram_back(wire: Wire) -> None:
    udp = Udp(echo=7, discard=9)
    wire.open(udp)
    [reply] = wire.ask(datagram(b"ping", dport=7))
    assert reply == ip(UDP(sport=7, dport=4000), b"ping", mac=US, to=PEER, src="10.0.0.2", dst="10.0.0.1", id=0, flags="DF")
    assert wire.ask(datagram(b"ping", dport=9)) == []
    assert (udp.upcalls.delivered, udp.sent) == (2, 1)
    sums(udp)


def test_echo_answers_a_copy_too(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(packets=4, low_water=4)
    wire.open(Udp(echo=7, discard=9))
    assert bytes(Ether(wire.ask(datagram(b"ping", dport=7))[0])[UDP].payload) == b"ping"
    assert wire.ask(datagram(dport=9)) == []


@pytest.mark.parametrize("sport", [0, 7, 19, 1023])
def test_echo_does_not_answer_another_server(wire: Wire, sport: int) -> None:
    udp = Udp(echo=7)
    wire.open(udp)
    assert wire.ask(datagram(sport=sport, dport=7)) == []
    assert udp.upcalls.refused == 1


def test_echo_answers_from_the_address_that_was_asked(wire: Wire) -> None:
    udp = Udp(echo=7)
    udp.configured = [parse("10.0.0.2/24"), parse("10.9.0.2/16")]
    wire.open(udp)
    [reply] = wire.ask(datagram(dport=7, dst="10.9.0.2"))
    assert Ether(reply)[IP].src == "10.9.0.2"


def test_the_address_can_be_given_and_without_a_prefix_every_station_is_near(wire: Wire) -> None:
    udp = Udp(address="192.0.2.5")
    wire.open(udp)
    assert udp.send_to("198.51.100.1", 1, b"x", PORT) is Status.PENDING
    [asked] = wire.taken()
    assert (Ether(asked)[ARP].psrc, Ether(asked)[ARP].pdst) == ("192.0.2.5", "198.51.100.1")


def test_without_an_address_nothing_is_received_or_sent() -> None:
    udp = Udp(echo=7)
    with Bench() as bench:
        bench.bind(udp)
        assert udp.send_to("10.0.0.1", 1, b"x", PORT) is Status.INVALID_ADDRESS
        bench.give(datagram(dport=7))
        assert bench.taken() == []
        assert udp.dropped["not_ours"] == 1


@pytest.mark.parametrize(
    "options", [{"address": "ten"}, {"address": "fd00::1"}, {"address": "224.0.0.1"}, {"echo": 0}, {"echo": 65536}, {"discard": -1}]
)
def test_bad_options_are_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"address|port") as error:
        Udp(**options)
    assert "\n" not in str(error.value)


# everything at once


@settings(max_examples=300, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 7)), max_size=6), tail=st.binary(max_size=8), cut=st.integers(14, 70))
def test_no_bytes_make_it_raise(wire: Wire, udp: Udp, reader: Reader, flips: list[tuple[int, int]], tail: bytes, cut: int) -> None:
    raw = bytearray(datagram(b"twenty bytes of data"))
    for at, bit in flips:
        raw[at] ^= 1 << bit
    wire.ask(bytes(raw + tail)[:cut])
    assert wire.reports == []
    sums(udp)


def test_what_scapy_finds_whole_is_delivered_and_what_it_does_not_is_not(wire: Wire, udp: Udp) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    reader = Reader()
    udp.open(PORT, reader)
    expected = []
    for _ in range(2000):
        data = rng.randbytes(rng.randrange(60))
        raw = bytearray(datagram(data, options=[IPOption(b"\x01" * 4)] * rng.randrange(3)))
        if rng.random() < 0.7:
            raw[rng.randrange(14, len(raw))] ^= rng.randrange(1, 256)
        if good(bytes(raw)):
            expected.append(bytes(raw[-len(data) :]) if data else b"")
        wire.give(bytes(raw))
    assert [data for data, _ in reader.chained] == expected
    assert 500 < len(expected) < 1500
    assert wire.reports == []


def good(raw: bytes) -> bool:
    """Whether a frame is a datagram for us as scapy reads it: both checksums are those that it would write."""
    frame = Ether(raw)
    if UDP not in frame or frame[IP].dst != "10.0.0.2" or frame[UDP].dport != PORT:
        return False
    again = frame.copy()
    del again[IP].chksum
    if again[UDP].chksum:
        del again[UDP].chksum
    return bytes(again) == raw


def test_programs_send_from_their_own_threads_while_datagrams_come_in(wire: Wire, udp: Udp, reader: Reader) -> None:
    wire.give(datagram())
    senders = [threading.Thread(target=lambda: [udp.send_to("10.0.0.1", 4000, b"x", PORT) for _ in range(500)]) for _ in range(4)]
    for sender in senders:
        sender.start()
    for _ in range(500):
        wire.give(datagram())
        wire.taken()
        wire.adapter.flush()
    for sender in senders:
        while sender.is_alive():
            wire.taken()
            wire.adapter.flush()
            sender.join(0.01)
    wire.wait_for(lambda: wire.taken() is None or wire.adapter.flush() == 0)
    assert udp.sent + sum(udp.unsent.values()) == 2000
    assert (udp.pool.usage, len(reader.chained)) == (0, 501)
