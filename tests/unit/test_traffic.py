"""
What the traffic scripts put on the wire, read back by scapy, and what they accept as an answer; no interface is touched.
"""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("scapy")

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import NoPayload, Raw
from scapy.utils import PcapNgWriter, PcapWriter

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "traffic"))

import kinds
import replies
import run

MTU = 1500
HOSTS = replies.Hosts(
    bytes.fromhex("020000000064"),
    bytes((10, 0, 0, 100)),
    bytes.fromhex("fd000000000000000000000000000100"),
    bytes.fromhex("020000000002"),
    bytes((10, 0, 0, 2)),
    bytes.fromhex("fd000000000000000000000000000002"),
)
SETUP = kinds.Setup(HOSTS, MTU, seed=7)
FRAMED = ("flood", "sizes", "vlan", "mix", "malformed")
REQUESTING = ("arp", "ping", "ping6")


def requests(name: str, count: int = 300) -> list[replies.Request]:
    return list(itertools.islice(kinds.KINDS[name].build(SETUP).requests, count))


def rebuilt(frame: bytes) -> bytes:
    """Let scapy compute every length and checksum of a frame anew."""
    packet = Ether(frame)
    computed = {IP: ("len", "chksum"), ICMP: ("chksum",), IPv6: ("plen",), ICMPv6EchoRequest: ("cksum",), ICMPv6ND_NS: ("cksum",)}
    for layer, names in computed.items():
        if layer in packet:
            for name in names:
                packet[layer].delfieldval(name)
    return bytes(packet)


def reply_to(request: replies.Request) -> bytes:
    """Answer as an honest target would, built by scapy from what scapy read."""
    asked = Ether(request.frame)
    ether = Ether(dst=asked.src, src=HOSTS.target_mac.hex(":"))
    if ARP in asked:
        is_at = ARP(op="is-at", hwsrc=ether.src, psrc=asked[ARP].pdst, hwdst=asked[ARP].hwsrc, pdst=asked[ARP].psrc)
        return bytes(ether / is_at).ljust(60, b"\0")
    if ICMP in asked:
        header = IP(src=asked[IP].dst, dst=asked[IP].src, ttl=3, id=77)
        body = bytes(asked[ICMP].payload)
        return bytes(ether / header / ICMP(type=0, id=asked[ICMP].id, seq=asked[ICMP].seq) / Raw(body)).ljust(60, b"\0")
    target = "fd00::2"
    if ICMPv6ND_NS in asked:
        option = ICMPv6NDOptDstLLAddr(lladdr=HOSTS.target_mac.hex(":"))
        return bytes(ether / IPv6(src=target, dst=asked[IPv6].src, hlim=255) / ICMPv6ND_NA(tgt=target, R=0, S=1, O=1) / option)
    echo = asked[ICMPv6EchoRequest]
    return bytes(ether / IPv6(src=target, dst=asked[IPv6].src) / ICMPv6EchoReply(id=echo.id, seq=echo.seq, data=echo.data))


@pytest.mark.parametrize("name", FRAMED)
def test_every_frame_has_a_length_that_the_kernel_accepts(name: str) -> None:
    frames = kinds.KINDS[name].build(SETUP).frames
    assert frames
    for frame in frames:
        assert 14 <= len(frame) <= MTU + 18
        assert len(frame) <= MTU + 14 or frame[12:14] == b"\x81\0"


@pytest.mark.parametrize("name", REQUESTING)
def test_every_request_fits_the_mtu_and_its_checksums_are_what_scapy_computes(name: str) -> None:
    for request in requests(name):
        assert 14 <= len(request.frame) <= MTU + 14
        assert rebuilt(request.frame) == request.frame


@pytest.mark.parametrize("name", ["flood", "vlan", "mix"])
def test_well_formed_frames_parse_back_to_the_same_bytes(name: str) -> None:
    for frame in kinds.KINDS[name].build(SETUP).frames:
        assert bytes(Ether(frame)) == frame


def test_numbered_echo_requests_carry_right_checksums_over_the_whole_range() -> None:
    for name, at in (("ping", 34), ("ping6", 54)):
        template = requests(name, 2)[1].frame
        zero = kinds.numbered(template, at, 0) if name == "ping" else template
        base = rebuilt(zero[: at + 2] + b"\0\0" + zero[at + 4 : at + 6] + b"\0\0" + zero[at + 8 :])
        for number in (0, 1, 255, 256, 0x7FFF, 0xFFFE, 0xFFFF):
            frame = kinds.numbered(base, at, number)
            assert rebuilt(frame) == frame
            assert int.from_bytes(frame[at + 6 : at + 8], "big") == number


@pytest.mark.parametrize("mtu", [68, 1500, 9000])
def test_sizes_holds_each_length_from_14_to_mtu_plus_18_exactly_once(mtu: int) -> None:
    frames = kinds.sizes(SETUP._replace(mtu=mtu)).frames
    assert [len(frame) for frame in frames] == list(range(14, mtu + 19))
    assert [Dot1Q in Ether(frame) for frame in frames[-6:]] == [False, False, True, True, True, True]


def test_vlan_holds_single_and_stacked_tags_of_both_types() -> None:
    packets = [Ether(frame) for frame in kinds.vlan(SETUP).frames]
    stacks = {tuple(layer for layer in packet.layers() if layer in (Dot1Q, Dot1AD)) for packet in packets}
    assert stacks == {(Dot1Q,), (Dot1AD, Dot1Q), (Dot1Q, Dot1Q), (Dot1AD, Dot1AD, Dot1Q)}


def test_mix_holds_broadcast_multicast_and_unicast_to_target_and_stranger() -> None:
    destinations = {frame[:6] for frame in kinds.mix(SETUP).frames}
    assert {b"\xff" * 6, HOSTS.target_mac, bytes.fromhex("020000000099")} < destinations
    assert any(to[0] & 1 and to != b"\xff" * 6 for to in destinations)


def test_malformed_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    first, again, other = (kinds.malformed(SETUP._replace(seed=seed)).frames for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert len(first) == len(other)


def test_malformed_frames_never_speak_for_our_host() -> None:
    batch = kinds.malformed(SETUP)
    assert all(HOSTS.source_mac not in frame and HOSTS.source not in frame and HOSTS.source6 not in frame for frame in batch.frames)
    assert [ARP in Ether(request.frame) for request in batch.requests] == [True, False]


def test_malformed_holds_every_truncation_of_arp_and_wrong_header_lengths() -> None:
    frames = kinds.malformed(SETUP).frames
    assert set(range(14, 42)) <= {len(frame) for frame in frames if frame[12:14] == b"\x08\x06"}
    assert set(range(16)) <= {frame[14] & 15 for frame in frames if frame[12:14] == b"\x08\x00" and len(frame) > 14}


@pytest.mark.parametrize("name", REQUESTING)
def test_the_right_answer_has_the_key_that_its_request_expects(name: str) -> None:
    for request in requests(name, 40):
        assert replies.reply_key(reply_to(request), HOSTS) == request.key


@pytest.mark.parametrize("name", ["ping", "ping6"])
def test_keys_of_echo_requests_in_flight_differ(name: str) -> None:
    assert len({request.key for request in requests(name, 2000)}) == 2000


@pytest.mark.parametrize("name", REQUESTING)
def test_an_answer_with_any_bit_wrong_that_matters_is_not_taken_for_the_right_one(name: str) -> None:
    request = requests(name, 2)[-1]
    answer = reply_to(request)
    # Of the rest ARP leaves nothing open; IPv6 protects neither traffic class, flow label nor hop limit, and padding is nobody's.
    end = {"arp": 42, "ping": 14 + 20 + 8, "ping6": len(answer)}[name]
    for at in range(end):
        for bit in range(8):
            if name == "ping6" and (at in (15, 16, 17, 21) or (at == 14 and bit < 4)):
                continue
            lie = bytearray(answer)
            lie[at] ^= 1 << bit
            assert replies.reply_key(bytes(lie), HOSTS) != request.key, f"byte {at} bit {bit}"


def test_answers_for_our_address_are_what_scapy_would_send() -> None:
    asker = "02:00:00:00:00:02"
    asked = Ether(dst="ff:ff:ff:ff:ff:ff", src=asker) / ARP(op="who-has", hwsrc=asker, psrc="10.0.0.2", pdst="10.0.0.100")
    ours = HOSTS.source_mac.hex(":")
    owed = Ether(dst=asker, src=ours) / ARP(op="is-at", hwsrc=ours, psrc="10.0.0.100", hwdst=asker, pdst="10.0.0.2")
    assert replies.answer(bytes(asked), HOSTS) == bytes(owed)
    question = IPv6(src="fd00::2", dst="ff02::1:ff00:100", hlim=255) / ICMPv6ND_NS(tgt="fd00::100")
    solicited = Ether(dst="33:33:ff:00:01:00", src=asker) / question
    body = ICMPv6ND_NA(tgt="fd00::100", R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=ours)
    owed = Ether(dst=asker, src=ours) / IPv6(src="fd00::100", dst="fd00::2", hlim=255) / body
    assert replies.answer(bytes(solicited), HOSTS) == bytes(owed)
    assert replies.answer(bytes(asked).replace(HOSTS.source, HOSTS.target), HOSTS) is None


def test_no_bytes_at_all_upset_the_reader_of_replies() -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    honest = [reply_to(request) for name in REQUESTING for request in requests(name, 3)]
    for _ in range(20_000):
        frame = bytearray(rng.choice(honest)[: rng.randrange(120)])
        for _ in range(min(len(frame), rng.randrange(4))):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        try:
            replies.reply_key(bytes(frame), HOSTS)
            replies.answer(bytes(frame), HOSTS)
        except Exception as error:
            pytest.fail(f"{error!r} for {frame.hex()}, seed {seed}")


@pytest.mark.parametrize("writer", [PcapWriter, PcapNgWriter])
def test_replay_gives_the_frames_of_a_capture_file(tmp_path: Path, writer: type[PcapWriter]) -> None:
    frames = list(kinds.mix(SETUP).frames)
    with writer(str(tmp_path / "capture")) as capture:
        for frame in frames:
            capture.write(Ether(frame))
    assert kinds.replay(SETUP._replace(file=str(tmp_path / "capture"))).frames == frames


@pytest.mark.parametrize("content", [b"", b"\xa1\xb2", b"no capture at all" * 9, b"\xd4\xc3\xb2\xa1" + bytes(20)])
def test_replay_refuses_what_is_no_capture_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(kinds.BadFile):
        kinds.replay(SETUP._replace(file=str(tmp_path / "file")))


@pytest.mark.parametrize(
    "arguments",
    ["", "ping", "nonsense --iface x", "replay --iface x", "all --iface x --file f", "ping --iface x --count 0",
     "ping --iface x --target fd00::2", "ping --iface x --target-mac 02:00", "ping --iface x --timeout nan"],
)  # fmt: skip
def test_a_command_line_that_makes_no_sense_ends_with_status_2(arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        run.main(arguments.split())
    assert end.value.code == run.USAGE


def test_no_frame_is_described_that_scapy_reads_as_empty() -> None:
    for name in ("flood", "vlan", "mix"):
        assert all(not isinstance(Ether(frame).payload, NoPayload) for frame in kinds.KINDS[name].build(SETUP).frames)
