"""
Sink counts every frame by its EtherType and keeps none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.sink import MOST_ETHERTYPES, Sink
from vnic import PacketFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Wire

US, PEER, OTHER = bytes.fromhex("020000000002"), bytes.fromhex("020000000001"), bytes.fromhex("020000000003")


def frame(ethertype: int, target: bytes = US) -> bytes:
    return target + PEER + ethertype.to_bytes(2) + bytes(46)


def test_frames_are_counted_by_ethertype(wire: Wire) -> None:
    sink = Sink()
    binding = wire.open(sink)
    wire.give(frame(0x0800), frame(0x0806, b"\xff" * 6), frame(0x0800))
    assert (sink.frames, sink.counts) == (3, {0x0800: 2, 0x0806: 1})
    assert (binding.promised, wire.pool.usage) == (0, 0)


def test_the_number_of_ethertypes_is_bounded(wire: Wire) -> None:
    sink = Sink()
    wire.open(sink)
    for ethertype in range(0x1000, 0x1000 + MOST_ETHERTYPES + 6):
        wire.give(frame(ethertype))
    wire.give(frame(0x1000), frame(0x1000 + MOST_ETHERTYPES))
    assert sink.counts["other"] == 7
    assert sink.counts[0x1000] == 2
    assert len(sink.counts) == MOST_ETHERTYPES + 1
    assert sink.frames == sum(sink.counts.values()) == MOST_ETHERTYPES + 8


def test_only_a_promiscuous_sink_sees_frames_for_others(wire: Wire) -> None:
    plain, promiscuous = Sink(), Sink(promiscuous=True)
    wire.open(plain)
    wire.open(promiscuous)
    wire.give(frame(0x0800, OTHER))
    assert (plain.frames, promiscuous.frames) == (0, 1)
    assert Sink.packet_filter & PacketFilter.PROMISCUOUS == 0


def test_frames_are_counted_while_packets_are_low(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(packets=4, low_water=4)
    sink = Sink()
    binding = wire.open(sink)
    wire.give(frame(0x86DD), frame(0x0806))
    assert sink.counts == {0x86DD: 1, 0x0806: 1}
    assert binding.resources == 2
