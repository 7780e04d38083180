"""
Packets, buffers and bytes that somebody still refers to when they should be gone: nobody looks at them, and with that they come home.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest
from unit.layers import Layers
from unit.supers import superframe
from unit.wire import Bench, Driver, counts_views, frame, violation

from protocol.passthru import Passthru
from vnic import Adapter, BufferPool, MiniportDriver, OwnershipError, Packet, PacketPool, PacketState, Status
from vnic.offload import Offload

WHOLE = Offload.CHECKSUM | Offload.SEGMENTATION


class Asker(Driver):
    """Take superframes whole."""

    offload = WHOLE


def forced_back(bench: Bench, driver: Driver, look: bool) -> None:
    """Let a driver keep a frame, and take it back by force."""
    binding = bench.bind(driver, "keeper")
    bench.give(frame(1))
    if look:
        assert [buffer.length for buffer in driver.kept[0].buffers] == [60]
    assert bench.adapter.close(binding) is Status.PENDING
    assert bench.adapter.reclaim(binding) == 1
    bench.expect(("60", "keeper"))


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("packets", [1, 2])
def test_a_withheld_packet_is_free_when_its_driver_drops_it_and_not_before(packets: int, look: bool) -> None:
    with Bench(packets=packets) as bench:
        driver = Driver(1)
        forced_back(bench, driver, look)
        assert bench.pool.release_withheld() == 0
        assert driver.kept[0].state is PacketState.QUARANTINED
        driver.kept.clear()
        assert bench.pool.release_withheld() == 1
        later = Driver()
        bench.bind(later, "later")
        assert bench.give(*[frame(mark) for mark in range(packets)]) == packets
        assert len(later.frames) == packets


def test_a_buffer_that_a_driver_keeps_keeps_its_packet_withheld() -> None:
    with Bench(packets=2) as bench:
        driver = Driver(1)
        binding = bench.bind(driver, "keeper")
        bench.give(frame(1))
        kept = [driver.kept[0].buffers[0]]
        bench.adapter.close(binding)
        bench.adapter.reclaim(binding)
        bench.expect(("60", "keeper"))
        driver.kept.clear()
        assert bench.pool.release_withheld() == 0
        assert violation(lambda: kept[0].memory) == "07"
        kept.clear()
        gc.collect()  # the exception's frames refer to it
        assert bench.pool.release_withheld() == 1


def test_a_withheld_superframe_gives_its_large_buffer_back() -> None:
    virtio, whole = superframe("tcp", 4, bytes(3000), 1000)
    with Bench(packets=2, offload=WHOLE, large_buffers=8) as bench:
        driver = Asker(1)
        binding = bench.bind(driver, "keeper")
        bench.give(virtio + whole)
        assert len(driver.kept[0].buffers) == 2
        assert bench.adapter.counters()["large_free"] == 7
        bench.adapter.close(binding)
        bench.adapter.reclaim(binding)
        bench.expect(("60", "keeper"))
        driver.kept.clear()
        assert bench.pool.release_withheld() == 1
        assert bench.adapter.counters()["large_free"] == 8


def test_packets_beyond_the_pool_are_released_too() -> None:
    buffers = BufferPool(2, "frames")
    beyond = PacketPool(1, 0, overflow=1, name="beyond")

    class Unchains(MiniportDriver):
        def return_packet(self, packet: Packet) -> None:
            buffer = packet.unchain_front()
            assert buffer is not None
            buffers.free(buffer)
            packet.pool.free(packet)

    def filled() -> Packet:
        packet, buffer = beyond.allocate(), buffers.allocate(bytearray(frame(1)))
        assert packet is not None
        assert buffer is not None
        packet.chain_back(buffer)
        return packet

    reports: list[str] = []
    main = PacketPool(1, name="main")
    adapter = Adapter(main, Unchains(), joins_pools=True, report=lambda event, _: reports.append(event))
    driver = Driver(1)
    binding = adapter.open(driver, "keeper")
    adapter.indicate([filled(), filled()])
    adapter.close(binding)
    assert adapter.reclaim(binding) == 2
    assert beyond.release_withheld() == 0
    driver.kept.clear()
    assert (beyond.release_withheld(), beyond.usage, buffers.usage, reports) == (2, 0, 0, ["violation"])
    adapter.halt()
    beyond.close()


def test_a_filter_goes_on_after_what_was_held_above_was_taken_back() -> None:
    with Layers(Passthru(), packets=4) as layers:
        driver = Driver(1)
        binding = layers.up.open(driver, "keeper")
        layers.give(*[frame(mark) for mark in range(4)])
        assert len(driver.kept) == 4
        layers.up.close(binding)
        assert layers.up.reclaim(binding) == 4
        layers.expect(("60", "keeper"))
        driver.kept.clear()
        gc.collect()
        later = Driver()
        layers.up.open(later, "later")
        layers.give(frame(7))
        assert later.frames == [frame(7)]
        layers.up.close(later.binding)


@counts_views
def test_a_view_that_was_forgotten_above_lets_the_packet_below_go_when_it_is_gone() -> None:
    with Layers(Passthru(), packets=4) as layers:
        views: list[memoryview] = []
        driver = Driver(look=lambda packet: views.append(packet.data))
        layers.up.open(driver, "forgetful")
        layers.give(frame(1))
        layers.expect(("09", "forgetful"))
        assert layers.pool.available == 3
        views.clear()
        assert layers.adapter.close(layers.low) is Status.SUCCESS
        assert layers.pool.available == 4


def test_a_buffer_of_a_superframe_shows_nothing_when_its_packet_is_back() -> None:
    virtio, whole = superframe("tcp", 4, bytes(3000), 1000)
    with Bench(packets=8, offload=WHOLE, large_buffers=8) as bench:
        driver = Asker(1)
        bench.bind(driver, "asker")
        bench.give(virtio + whole)
        rest = driver.kept[0].buffers[1]
        driver.give_back()
        bench.give(bytes(10) + frame(5))
        looks: list[Any] = [lambda: rest.memory, lambda: rest.data]
        for look in looks:
            assert violation(look) == "07"
        with pytest.raises((OwnershipError, TypeError)):
            memoryview(rest)
        bench.reports.clear()
        driver.give_back()


def test_the_chain_of_a_packet_that_is_back_in_its_pool_cannot_be_shared() -> None:
    with Bench(packets=1) as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.give(frame(1))
        (gone,) = driver.kept
        driver.give_back()
        mine = bench.own.allocate()
        assert mine is not None
        assert violation(mine.share_chain, gone) == "07"
        bench.own.free(mine)
