"""
VLANs as virtual connections: tags go on, tags come off, and every frame is accounted for. The judge of tags is scapy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from unit.circuits import Client
from unit.wire import PEER, US, Bench, Driver, frame

from protocol.vlan import Vlan, VlanEdge
from vnic import Info, MiniportDriver, Packet, PacketFilter, Status
from vnic.counters import broken_sums
from vnic.states import VcState
from vnic.vc import VirtualConnection

scapy = pytest.importorskip("scapy.layers.l2")
Ether, Dot1Q = scapy.Ether, scapy.Dot1Q


def tagged(vlan: int, mark: int = 0, *, priority: int = 0, size: int = 64) -> bytes:
    """Make a tagged frame that is told from others by its last four bytes."""
    head = bytes(Ether(dst=US.hex(":"), src=PEER.hex(":")) / Dot1Q(vlan=vlan, prio=priority, type=0x0800))
    return (head + bytes(size))[: size - 4] + mark.to_bytes(4)


class Trunk:
    """An edge on a bench, and a client above it."""

    def __init__(self, bench: Bench, client: Client, packets: int = 8) -> None:
        self.bench = bench
        self.client = client
        self.edge = VlanEdge(packets=packets)
        self.below = bench.bind(self.edge, "vlan")
        (self.above,) = self.edge.adapters
        self.binding = self.above.open(client, "client")

    def vlan(self, vlan: int, priority: int = 0) -> VirtualConnection:
        """Make a connection for a VLAN and activate it."""
        status, vc = VirtualConnection.create(self.binding, vlan)
        assert status is Status.SUCCESS
        assert vc is not None
        assert vc.activate(Vlan(vlan, priority)) is Status.SUCCESS
        return vc


def keep_if_possible(vc: VirtualConnection, packet: Packet) -> int:
    """Keep what may be kept."""
    return int(packet.status is Status.SUCCESS)


@contextmanager
def trunk(client: Client, *, packets: int = 8, miniport: MiniportDriver | None = None) -> Iterator[Trunk]:
    """A trunk; when the block ends, the sums of each connection that is left must come out, and all packets be home."""
    with Bench(packets=16, miniport=miniport) as bench:
        made = Trunk(bench, client, packets)
        yield made
        vcs = client.vcs
        for vc in vcs:
            assert list(broken_sums(vc.adapter.counters())) == []
        assert bench.adapter.close(made.below) is Status.SUCCESS
        assert [vc.state for vc in vcs] == [VcState.DELETED] * len(vcs)
        assert (made.edge.adapters, made.edge.vlans, made.edge.sending.usage) == ((), {}, 0)


def test_a_frame_of_a_vlan_comes_to_its_connection_without_its_tag() -> None:
    seen: list[object] = []

    def look(vc: VirtualConnection, packet: Packet) -> int:
        seen.append(packet.info[Info.IEEE_8021Q])
        return 0

    with trunk(Client(look)) as made:
        made.vlan(7)
        made.vlan(8)
        made.bench.give(tagged(8, 1, priority=5), tagged(7, 2))
        (context, data, status), (other, _, _) = made.client.frames
        assert (context, other, status) == (8, 7, Status.SUCCESS)
        whole, bare = Ether(tagged(8, 1, priority=5)), Ether(data)
        assert (bare.dst, bare.src, bare.type) == (whole.dst, whole.src, whole[Dot1Q].type)
        assert data[14:] == tagged(8, 1, priority=5)[18:]
        assert seen == [5 << 13 | 8, 7]
        assert made.client.batches == 1


def test_a_frame_sent_on_a_connection_carries_its_vlan_and_priority() -> None:
    with trunk(Client()) as made:
        vc = made.vlan(4094, 6)
        vc.send_packets([made.bench.owned(frame(mark), made.bench.own) for mark in (1, 2)])
        sent = made.bench.taken()
        assert [status for _, _, status in made.client.completed] == [Status.SUCCESS] * 2
        assert [(Ether(data)[Dot1Q].vlan, Ether(data)[Dot1Q].prio, Ether(data)[Dot1Q].type) for data in sent] == [(4094, 6, 0x0800)] * 2
        assert [data[:12] + data[16:] for data in sent] == [frame(1), frame(2)]


@pytest.mark.parametrize("size", [18, 19, 60, 1517, 1518])
def test_every_length_comes_back_as_it_was_sent(size: int) -> None:
    with trunk(Client(0)) as made:
        vc = made.vlan(1)
        data = frame(9, size=max(size - 4, 14))
        vc.send_packets([made.bench.owned(data, made.bench.own)])
        (whole,) = made.bench.taken()
        assert len(whole) == len(data) + 4
        made.bench.give(whole)
        assert [seen for _, seen, _ in made.client.frames] == [data]


def test_a_frame_that_is_too_long_with_its_tag_comes_back_as_such() -> None:
    with trunk(Client()) as made:
        made.vlan(1).send_packets([made.bench.owned(frame(size=1515), made.bench.own)])
        assert [status for _, _, status in made.client.completed] == [Status.INVALID_PACKET]
        made.bench.expect(("59", "vlan"))


def test_what_is_for_no_connection_is_counted_by_reason() -> None:
    with trunk(Client()) as made:
        made.vlan(7)
        made.bench.give(tagged(8), frame(), tagged(7)[:17], tagged(0), tagged(7))
        assert (made.edge.unknown, made.edge.untagged, len(made.client.frames)) == (2, 2, 1)


def test_any_bytes_are_survived() -> None:
    seed = 11
    print(f"seed {seed}")
    choose = random.Random(seed)
    with trunk(Client()) as made:
        made.vlan(7)
        shown = 0
        for _ in range(500):
            data = US + choose.randbytes(choose.randrange(8, 60))
            if choose.random() < 0.5:
                data = data[:12] + b"\x81\0" + data[14:]
            shown += made.bench.give(data)
        assert made.edge.untagged + made.edge.unknown + len(made.client.frames) == shown


def test_when_the_packets_of_a_connection_run_low_the_client_must_copy_and_the_others_are_not_touched() -> None:
    with trunk(Client(keep_if_possible)) as made:
        vc, other = made.vlan(7), made.vlan(8)
        for mark in range(9):
            made.bench.give(tagged(7, mark))
        assert [status for _, _, status in made.client.frames] == [Status.SUCCESS] * 6 + [Status.RESOURCES] * 3
        assert (vc.binding.held, made.edge.dropped, made.bench.pool.usage) == (6, 0, 0)
        made.bench.give(tagged(8))
        assert made.client.frames[-1][2] is Status.SUCCESS
        assert other.binding.held == 1
        made.client.give_back()


def test_when_all_packets_of_a_connection_are_out_its_frames_are_counted_as_dropped() -> None:
    with trunk(Client(), packets=1) as made:
        vc = made.vlan(7)
        assert vc.pool is not None
        packet = vc.pool.allocate()
        made.bench.give(tagged(7))
        assert (made.edge.dropped, made.client.frames) == (1, [])
        assert packet is not None
        vc.pool.free(packet)


def test_when_no_packet_is_left_to_send_with_the_send_fails_for_lack_of_room() -> None:
    with trunk(Client(), packets=2, miniport=Slow()) as made:
        vc = made.vlan(7)
        vc.send_packets([made.bench.owned(frame(mark), made.bench.own) for mark in range(3)])
        assert [status for _, _, status in made.client.completed] == [Status.RESOURCES]
        made.bench.adapter.miniport.complete(made.bench)
        assert [status for _, _, status in made.client.completed] == [Status.RESOURCES, Status.SUCCESS, Status.SUCCESS]


class Slow(MiniportDriver):
    """Keep every send until it is told to complete them."""

    def __init__(self) -> None:
        self.pending: list[Packet] = []

    def send(self, packet: Packet) -> Status:
        self.pending.append(packet)
        return Status.PENDING

    def complete(self, bench: Bench) -> None:
        """Complete everything."""
        pending, self.pending = self.pending, []
        for packet in pending:
            bench.adapter.send_complete(packet, Status.SUCCESS)


@pytest.mark.parametrize("parameters", [None, 7, Vlan(-1), Vlan(4095), Vlan(7, 8), Vlan(7, -1)])
def test_parameters_that_are_no_vlan_are_refused(parameters: object) -> None:
    with trunk(Client()) as made:
        _, vc = VirtualConnection.create(made.binding)
        assert vc is not None
        assert vc.activate(parameters) is Status.INVALID_DATA


def test_a_vlan_belongs_to_one_connection_at_a_time() -> None:
    with trunk(Client()) as made:
        first = made.vlan(7)
        _, second = VirtualConnection.create(made.binding, "second")
        assert second is not None
        assert second.activate(Vlan(7)) is Status.VC_NOT_AVAILABLE
        assert first.activate(Vlan(8)) is Status.SUCCESS
        assert second.activate(Vlan(7)) is Status.SUCCESS
        made.bench.give(tagged(8), tagged(7))
        assert [context for context, _, _ in made.client.frames] == [7, "second"]
        first.deactivate()
        made.bench.give(tagged(8))
        assert made.edge.unknown == 1


def test_the_state_of_the_link_reaches_every_connection() -> None:
    with trunk(Client()) as made:
        vc = made.vlan(7)
        made.bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        assert made.client.told == [("status", None, Status.MEDIA_DISCONNECT), ("status", 7, Status.MEDIA_DISCONNECT)]
        vc.send_packets([made.bench.owned(frame(), made.bench.own)])
        assert made.client.completed[0][2] is Status.NO_CABLE


def test_a_send_that_is_below_when_the_edge_goes_ends_and_its_connection_with_it() -> None:
    below = Slow()
    client = Client()
    with Bench(miniport=below) as bench:
        made = Trunk(bench, client)
        vc = made.vlan(7)
        vc.send_packets([bench.owned(frame(), bench.own)])
        assert bench.adapter.close(made.below) is Status.PENDING
        assert vc.state is VcState.DEACTIVATING
        # the edge itself waits for it
        bench.expect(("69", vc.binding.name))
        below.complete(bench)
        assert (vc.state, client.vcs, client.told) == (VcState.DELETED, (), [("deactivated", 7, Status.SUCCESS)])
        assert bench.adapter.close(made.below) is Status.SUCCESS


def test_packets_that_a_client_keeps_when_the_edge_goes_are_taken_back_and_reported() -> None:
    with trunk(Client(1)) as made:
        vc = made.vlan(7)
        made.bench.give(tagged(7), tagged(7))
        assert vc.binding.held == 2
        made.bench.adapter.close(made.below)
        assert vc.state is VcState.DELETED
        assert [rule for rule, _ in made.bench.reports] == ["60"]
        made.bench.reports.clear()


def test_other_drivers_see_the_tagged_frame_as_it_is() -> None:
    plain = Driver()
    plain.packet_filter = PacketFilter.PROMISCUOUS
    with trunk(Client(0)) as made:
        made.bench.bind(plain, "plain")
        made.vlan(7)
        made.bench.give(tagged(7, 3))
        assert plain.frames == [tagged(7, 3)]


@pytest.mark.parametrize("packets", [0, 65536])
def test_a_number_of_packets_that_no_pool_can_have_is_refused(packets: int) -> None:
    with pytest.raises(ValueError, match="outside 1"):
        VlanEdge(packets=packets)
