"""
What intermediate drivers are made of: filters that go down, copies that go up, views that outlive a frame, and packets too long to copy.
"""

from __future__ import annotations

from typing import Any

from unit.layers import Layers, Owner
from unit.wire import Bench, Driver, Miniport, counts_views, frame

from protocol.mux import Mux
from vnic import BufferPool, Packet, PacketState, Status, slot_size_for
from vnic.intermediate import IntermediateDriver
from vnic.virtual import VirtualMiniport


class Upside(IntermediateDriver):
    """Show a copy of every frame, with its payload reversed; send what is sent reversed, too."""

    def bind_adapter(self) -> None:
        below = self.binding.adapter
        self.start(Reversed(self, "upside", 8, slot_size_for(below.mtu)))

    def receive_packet(self, packet: Packet) -> int:
        virtual = self.virtuals[0]
        shown = virtual.allocate()
        if shown is not None:
            shown.write(turned(packet))
            virtual.adapter.indicate((shown,))
        return 0


class Reversed(VirtualMiniport):
    def fill(self, below: Packet, packet: Packet) -> Status:
        below.write(turned(packet))
        return Status.SUCCESS


def turned(packet: Packet) -> bytes:
    data = bytes(packet.data)
    return data[:14] + data[:13:-1]


def test_a_driver_may_show_and_send_copies() -> None:
    with Layers(Upside()) as bench:
        driver = Owner(1)
        bench.above(driver)
        bench.give(frame(1), frame(2))
        assert driver.frames == [frame(mark)[:14] + frame(mark)[:13:-1] for mark in (1, 2)]
        assert bench.pool.usage == 0
        packet = bench.owned(driver.frames[1], bench.own)
        assert driver.sent(packet) is Status.SUCCESS
        assert bench.taken() == [frame(2)]
        bench.own.free(packet)
        driver.give_back()


@counts_views
def test_a_view_kept_of_what_may_not_be_kept_never_shows_a_later_frame() -> None:
    class Sharer(IntermediateDriver):
        def bind_adapter(self) -> None:
            self.start(VirtualMiniport(self, "sharer", 4))

        def receive_packet(self, packet: Packet) -> int:
            return self.virtuals[0].pass_up(packet)

    with Layers(Sharer(), packets=2, low_water=2) as bench:
        views: list[memoryview] = []
        driver = Driver(look=lambda packet: None if views else views.append(packet.data))
        bench.above(driver)
        for mark in range(6):
            bench.give(frame(mark))
        assert bytes(views[0]) == frame(0)
        assert bench.pool.audit()[PacketState.QUARANTINED] == 1
        assert bench.reports[:2] == [("10", "a"), ("10", "im0")]
        bench.reports.clear()
        driver.look = None
        views.clear()
        bench.give(frame(7))
        assert bench.pool.audit()[PacketState.QUARANTINED] == 0


def test_a_tagged_frame_longer_than_any_packet_is_dropped_and_counted() -> None:
    with Layers(mux := Mux(vlans="7"), miniport=Miniport(frees=False)) as bench:
        driver = Driver()
        bench.above(driver)
        data = frame()[:12] + b"\x81\x00\x00\x07" + bytes(70_000)
        packet, buffers = bench.pool.allocate(), BufferPool(1)
        assert packet is not None
        packet.chain_back(_described(buffers, data))
        bench.adapter.indicate([packet])
        assert (mux.dropped_unknown, driver.frames) == (1, [])
        buffers.free(_taken(packet))
        bench.pool.free(packet)


def _described(buffers: BufferPool, data: bytes) -> Any:
    return buffers.allocate(data)


def _taken(packet: Packet) -> Any:
    return packet.unchain_front()


def test_a_frame_that_comes_up_does_not_change_how_its_packet_can_be_used() -> None:
    with Bench() as bench:
        one, two = bench.owned(frame(1)), bench.pool.allocate()
        assert two is not None
        two.share_chain(one)
        assert (bytes(two.data), two.length) == (frame(1), 60)
        one.write(frame(2, size=80))
        assert bytes(one.data) == frame(2, size=80)
        assert [buffer.length for buffer in one.buffers] == [80]
        bench.pool.free(two)
        bench.pool.free(one)
