"""
Classify counts what scapy and tshark find in the same frames, with numpy and without.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

from protocol import classify
from protocol.classify import CLASSES, LIMITS, MOST_ETHERTYPES, Classify, Tally
from vnic import PacketFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Wire

US, PEER, OTHER = bytes.fromhex("020000000002"), bytes.fromhex("020000000001"), bytes.fromhex("020000000003")
HEAD = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
WAYS = pytest.mark.parametrize("numpy", [False, True], ids=["plainly", "with numpy"])


def frames() -> list[bytes]:
    """Frames of many kinds, made by scapy."""
    insides = [V4 / TCP(), V4 / UDP(), V4 / ICMP(), V6 / TCP(), V6 / UDP(), V6 / ICMPv6EchoRequest(), ARP(), IP(proto=89), IPv6(nh=58)]
    tags = [None, Dot1Q(vlan=7), Dot1Q(vlan=4094, prio=5), Dot1AD(vlan=9) / Dot1Q(vlan=7)]
    made = [
        bytes((HEAD if tag is None else HEAD / tag) / inside / Raw(bytes(size)))
        for number, inside in enumerate(insides)
        for tag in tags
        for size in (0, 10, 46, 300 + 90 * number, 1400)
    ]
    return [*made, *[bytes(HEAD / Raw(b"x" * 60))[:12] + length.to_bytes(2) + bytes(50) for length in (3, 0x05DC, 0x0600, 0x88B5)]]


def counted(wire: Wire, data: list[bytes], **options: Any) -> Tally:
    """What a driver counts of frames, in batches of any size."""
    driver = Classify(**options)
    binding = wire.open(driver)
    for start in range(0, len(data), 50):
        for one in data[start : start + 50]:
            wire.far.send(one)
        assert wire.adapter.receive_batch() == len(data[start : start + 50])
    wire.adapter.close(binding)
    return driver.counts()


def require_numpy(numpy: bool) -> None:
    if numpy:
        pytest.importorskip("numpy", reason="needs numpy: pip install numpy")


@WAYS
def test_counts_are_those_of_scapy(make_wire: Callable[..., Wire], numpy: bool) -> None:
    require_numpy(numpy)
    data = frames()
    expected = Tally(frames=len(data), bytes=sum(map(len, data)))
    for one in data:
        packet = Ether(one)
        layer = packet
        while isinstance(layer.payload, Dot1Q | Dot1AD):
            layer = layer.payload
        kind = int.from_bytes(one[12:14]) if not hasattr(layer, "type") else layer.type
        expected.ethertypes["802.3" if kind < 0x600 else kind] += 1
        if packet.haslayer(Dot1AD) or packet.haslayer(Dot1Q):
            expected.vlans[packet.payload.vlan] += 1
        if packet.haslayer(IP):
            expected.protocols[packet[IP].proto] += 1
        if packet.haslayer(IPv6):
            expected.protocols[packet[IPv6].nh] += 1
        expected.sizes[next(name for name, limit in zip(CLASSES, LIMITS, strict=True) if len(one) <= limit)] += 1
    assert counted(make_wire(packets=128), data, numpy=numpy) == expected


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark: apt-get install tshark")
@WAYS
def test_counts_are_those_of_tshark(make_wire: Callable[..., Wire], tmp_path: Path, numpy: bool) -> None:
    require_numpy(numpy)
    # tshark has fields of its own for the outer of two tags, and names an EtherType twice for one inside of another protocol
    data = [one for one in frames() if one[12:14] != b"\x88\xa8" and int.from_bytes(one[12:14]) >= 0x600]
    file = tmp_path / "frames.pcap"
    wrpcap(str(file), [Ether(one) for one in data])
    fields = ("frame.len", "eth.type", "vlan.etype", "vlan.id", "ip.proto", "ipv6.nxt")
    command = ["tshark", "-r", str(file), "-T", "fields", *[word for name in fields for word in ("-e", name)]]
    done = subprocess.run([*command, "-E", "separator=|"], capture_output=True, text=True, timeout=60, check=True)
    found = Tally()
    for line in done.stdout.splitlines():
        length, kind, inner, vlan, v4, v6 = [text.partition(",")[0] for text in line.split("|")]
        found.frames += 1
        found.bytes += int(length)
        found.ethertypes[int(inner or kind, 0)] += 1
        found.vlans.update([int(vlan, 0)] if vlan else [])
        found.protocols.update([int(text) for text in (v4, v6) if text])
        found.sizes[next(name for name, limit in zip(CLASSES, LIMITS, strict=True) if int(length) <= limit)] += 1
    assert counted(make_wire(packets=128), data, numpy=numpy) == found
    assert found.frames == len(data)


def test_both_ways_count_the_same_of_any_frames(make_wire: Callable[..., Wire]) -> None:
    require_numpy(True)
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    kinds = [b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\xa8", b"\x08\x06", b"\x00\x2e"]
    data = []
    for _ in range(3000):
        tags = b"".join(rng.choice(kinds[2:4]) + rng.randbytes(2) for _ in range(rng.randrange(4)))
        text = US + PEER + tags + rng.choice([*kinds, rng.randbytes(2)]) + rng.choice([b"\x45", b"\x60", b""]) + rng.randbytes(100)
        data.append(text[: rng.choice([14, 15, 17, 18, 22, rng.randint(14, 80), len(text)])])
    wire = make_wire(packets=128)
    together = rng.randint(1, 500)
    plainly = counted(wire, data, numpy=False, together=together)
    assert counted(wire, data, numpy=True, together=together) == plainly
    assert plainly.frames == 3000 == sum(plainly.ethertypes.values()) == sum(plainly.sizes.values())


@WAYS
def test_a_frame_that_ends_in_its_tag_or_header_counts_for_what_it_has(make_wire: Callable[..., Wire], numpy: bool) -> None:
    require_numpy(numpy)
    head = US + PEER
    data = [
        head + b"\x81\x00",
        head + b"\x81\x00\x00\x07\x08",
        head + b"\x81\x00\x00\x07\x08\x00",
        head + b"\x08\x00" + b"\x45" + bytes(18),
        head + b"\x08\x00" + b"\x45" + bytes(19),
        head + b"\x08\x00" + b"\x65" + bytes(19),
        head + b"\x86\xdd" + b"\x60" + bytes(38),
        head + b"\x86\xdd" + b"\x60" + bytes(39),
        head + b"\x81\x00\x00\x01" * 3 + b"\x08\x00",
    ]
    found = counted(make_wire(), data, numpy=numpy)
    assert found.ethertypes == Counter({0x8100: 3, 0x0800: 4, 0x86DD: 2})
    assert found.vlans == Counter({7: 1, 1: 1})
    assert found.protocols == Counter({0: 2})


@WAYS
def test_the_number_of_ethertypes_is_bounded(make_wire: Callable[..., Wire], numpy: bool) -> None:
    require_numpy(numpy)
    data = [US + PEER + kind.to_bytes(2) + bytes(46) for kind in range(0x1000, 0x1000 + MOST_ETHERTYPES + 6)]
    found = counted(make_wire(), [*data, data[0], data[-1]], numpy=numpy, together=1000)
    assert found.ethertypes["other"] == 7
    assert found.ethertypes[0x1000] == 2
    assert len(found.ethertypes) == MOST_ETHERTYPES + 1


def test_only_a_promiscuous_one_sees_frames_for_others(wire: Wire) -> None:
    plain, promiscuous = Classify(), Classify(promiscuous=True)
    wire.open(plain)
    wire.open(promiscuous)
    wire.give(OTHER + PEER + b"\x08\x00" + bytes(46))
    assert (plain.counts().frames, promiscuous.counts().frames) == (0, 1)
    assert Classify.packet_filter & PacketFilter.PROMISCUOUS == 0


def test_frames_are_counted_while_packets_are_low(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(packets=4, low_water=4)
    driver = Classify()
    binding = wire.open(driver)
    wire.give(US + PEER + b"\x08\x06" + bytes(46), US + PEER + b"\x86\xdd" + bytes(46))
    assert driver.counts().ethertypes == Counter({0x0806: 1, 0x86DD: 1})
    assert (binding.resources, binding.promised) == (2, 0)


def test_frames_wait_until_there_are_enough_of_them(wire: Wire) -> None:
    driver = Classify(together=3)
    wire.open(driver)
    one = US + PEER + b"\x08\x06" + bytes(46)
    waiting = []
    for _ in range(4):
        wire.give(one)
        waiting.append((driver.waiting, driver.tally.frames))
    assert waiting == [(1, 0), (2, 0), (0, 3), (1, 3)]


@pytest.mark.parametrize("how", ["unbound", "rotated"])
def test_counts_are_written_as_json(wire: Wire, tmp_path: Path, how: str) -> None:
    file = tmp_path / "counts.json"
    driver = Classify(file=str(file))
    binding = wire.open(driver)
    wire.give(bytes(HEAD / Dot1Q(vlan=7) / V4 / UDP() / Raw(bytes(90))), US + PEER + b"\x00\x03" + bytes(46))
    if how == "unbound":
        wire.adapter.close(binding)
    else:
        driver.rotate()
    assert json.loads(file.read_text()) == {
        "frames": 2,
        "bytes": 196,
        "ethertypes": {"0x0800": 1, "802.3": 1},
        "vlans": {"7": 1},
        "protocols": {"17": 1},
        "sizes": {name: {"64": 1, "128-255": 1}.get(name, 0) for name in CLASSES},
    }
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_without_numpy_frames_are_counted_one_by_one(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert classify.load_numpy() is None
    assert Classify(numpy=True).numpy is None


@pytest.mark.parametrize("together", [0, -1, (1 << 20) + 1])
def test_an_option_out_of_its_range_is_refused(together: int) -> None:
    with pytest.raises(ValueError, match=f"together {together}"):
        Classify(together=together)
