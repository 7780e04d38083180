"""
A packet's memory: who may write it, who may look at it, and what becomes of a view that is kept too long.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from unit.wire import COUNTS_VIEWS, Bench, Driver, Miniport, counts_views, frame, violation

from vnic import LOOPBACK, OwnershipError, Packet, PacketPool, PacketState, Status


def test_the_owner_writes_through_a_view() -> None:
    with Bench() as bench:
        packet = bench.owned()
        view = packet.data
        assert not view.readonly
        view[:6] = b"\xff" * 6
        assert bytes(packet.data[:6]) == b"\xff" * 6
        view.release()
        bench.pool.free(packet)


def test_the_owner_sets_the_length_up_to_the_slot() -> None:
    with Bench() as bench:
        packet = bench.owned()
        for length in (0, 14, bench.pool.slot_size):
            packet.length = length
            assert len(packet.data) == length
        for length in (-1, bench.pool.slot_size + 1, 1 << 40):
            with pytest.raises(ValueError, match="outside 0"):
                packet.length = length
        assert packet.length == bench.pool.slot_size
        bench.pool.free(packet)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_frame_is_written_from_anything_with_the_buffer_protocol(kind: Any) -> None:
    with Bench() as bench:
        packet = bench.owned(b"")
        try:
            packet.write(kind(frame(7)))
            assert bytes(packet.data) == frame(7)
        finally:
            bench.pool.free(packet)


def test_a_frame_larger_than_the_slot_is_not_written() -> None:
    with Bench() as bench:
        packet = bench.owned(frame(1))
        with pytest.raises(ValueError, match="does not fit the slot"):
            packet.write(bytes(bench.pool.slot_size + 1))
        assert bytes(packet.data) == frame(1)
        packet.write(bytes(bench.pool.slot_size))
        bench.pool.free(packet)


def test_a_packet_to_indicate_has_status_success_or_resources() -> None:
    with Bench() as bench:
        packet = bench.owned()
        assert packet.status is Status.SUCCESS
        packet.status = Status.RESOURCES
        with pytest.raises(ValueError, match="SUCCESS or RESOURCES"):
            packet.status = Status.PENDING
        assert packet.status is Status.RESOURCES
        bench.pool.free(packet)


@pytest.mark.parametrize(("data", "ethertype"), [(frame(), 0x0800), (frame()[:14], 0x0800), (frame()[:13], 0), (b"", 0)])
def test_the_ethertype_of_a_frame_without_a_header_is_0(data: bytes, ethertype: int) -> None:
    with Bench() as bench:
        packet = bench.owned(data)
        assert packet.ethertype == ethertype
        bench.pool.free(packet)


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.RESOURCES], ids=lambda status: status.name)
def test_a_receiver_cannot_write(status: Status) -> None:
    tried: list[str] = []

    def attack(packet: Packet) -> int:
        view = packet.data
        assert view.readonly
        assert view[:4].readonly
        with pytest.raises(TypeError):
            view[0] = 1
        with pytest.raises(TypeError):
            ctypes.c_char.from_buffer(view)
        exporter: Any = view.obj
        with pytest.raises(TypeError):
            memoryview(exporter)[0] = 1
        tried.append("all")
        return 0

    with Bench() as bench:
        driver = Driver(attack)
        bench.bind(driver)
        packet = bench.owned(frame(5))
        packet.status = status
        bench.adapter.indicate([packet])
        assert driver.frames == [frame(5)]
        if status is Status.RESOURCES:
            bench.pool.free(packet)
    assert tried == ["all"]


def test_the_memory_that_a_receiver_sees_is_mapped_read_only() -> None:
    # even around Python's own checks: the write must end the process, so it happens in another one
    script = """
        import ctypes
        from vnic import Adapter, MiniportDriver, PacketFilter, PacketPool, ProtocolDriver, slot_size_for

        class Vandal(ProtocolDriver):
            packet_filter = PacketFilter.PROMISCUOUS
            def receive_packet(self, packet):
                view = packet.data
                class Buffer(ctypes.Structure):
                    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("rest", ctypes.c_char * 128)]
                buffer = Buffer()
                ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
                print("writing", flush=True)
                ctypes.memset(buffer.buf, 0, 1)
                print("written", flush=True)
                return 0

        pool = PacketPool(2, slot_size_for(1500))
        adapter = Adapter(pool, MiniportDriver())
        adapter.open(Vandal(), "vandal")
        packet = pool.allocate()
        packet.write(bytes(60))
        adapter.indicate([packet])
    """
    import vnic

    root = vnic.__file__.removesuffix("/vnic/__init__.py")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{textwrap.dedent(script)}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.stdout == "writing\n"
    assert ended.returncode == -11, ended.stderr


@pytest.mark.parametrize("look", ["data", "memoryview", "ethertype"])
def test_a_packet_that_is_back_in_its_pool_cannot_be_looked_at(look: str) -> None:
    if look == "memoryview" and not COUNTS_VIEWS:
        pytest.skip("views are counted by the compiled core, or from Python 3.12 on")
    pool = PacketPool(1, 64)
    packet = pool.allocate()
    assert packet is not None
    packet.write(frame()[:60])
    pool.free(packet)
    with pytest.raises(OwnershipError) as caught:
        memoryview(packet) if look == "memoryview" else getattr(packet, look)
    assert caught.value.rule.id == "07"
    pool.close()


def test_no_property_of_a_packet_reads_the_memory_of_a_closed_pool() -> None:
    script = """
        from vnic import PacketPool, VnicError
        pool = PacketPool(1, 64)
        packet = pool.allocate()
        packet.write(bytes(60))
        pool.free(packet)
        pool.close()
        for name in dir(packet):
            if not name.startswith("_"):
                try:
                    getattr(packet, name)
                except VnicError:
                    pass
        repr(packet)
        print("alive")
    """
    import vnic

    root = vnic.__file__.removesuffix("/vnic/__init__.py")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{textwrap.dedent(script)}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr


@counts_views
def test_views_are_counted_and_slices_of_them_live_with_them() -> None:
    with Bench() as bench:
        packet = bench.owned()
        assert packet.views == 0
        first, second = packet.data, memoryview(packet)
        assert packet.views == 2
        inner = second[10:50][5:20][::2]
        second.release()
        assert packet.views in (1, 2)
        del second, first
        assert packet.views == 1, "the slice is still alive"
        assert bytes(inner) == frame()[15:30:2]
        del inner
        assert packet.views == 0
        bench.pool.free(packet)


@counts_views
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_view_kept_after_the_return_withholds_the_packet_until_it_is_gone(depth: int) -> None:
    with Bench(packets=1) as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.give(frame(1))
        view = driver.kept[0].data
        for _ in range(depth):
            view = view[1:]
        driver.give_back()
        bench.expect(("08", "a"))
        packet = bench.pool.packets()[0]
        assert packet.state is PacketState.QUARANTINED
        assert bench.adapter.counters()["pool_quarantined"] == 1
        assert bench.give(frame(2)) == 1
        assert bytes(view) == frame(1)[depth:], "a forgotten view never reads the next frame"
        del view
        assert (packet.state, bench.pool.available) == (PacketState.FREE, 1)
        bench.give(frame(3))
        assert driver.frames == [frame(1), frame(3)]
        assert bench.adapter.counters()["rx_dropped_no_packet"] == 1
        driver.give_back()


@counts_views
@pytest.mark.parametrize("status", [Status.SUCCESS, Status.RESOURCES], ids=lambda status: status.name)
def test_a_view_kept_with_answer_0_is_reported_and_the_packet_withheld(status: Status) -> None:
    views: list[memoryview] = []
    with Bench(packets=1, low_water=1 if status is Status.RESOURCES else 0) as bench:
        binding = bench.bind(Driver(look=lambda packet: views.append(packet.data[14:])))
        bench.give(frame(1))
        rules = [("09", "a")] if status is Status.SUCCESS else [("10", "a")]
        assert [report for report in bench.reports if report[0] != "26"] == rules
        bench.reports.clear()
        assert binding.violations == 1
        assert bench.pool.audit()[PacketState.QUARANTINED] == 1
        assert bytes(views[0]) == frame(1)[14:]
        views.clear()
        assert bench.pool.available == 1


@counts_views
def test_a_view_of_the_miniports_own_is_not_blamed_on_the_drivers() -> None:
    with Bench(miniport=Miniport()) as bench:
        binding = bench.bind(Driver())
        packet = bench.owned()
        view = packet.data
        bench.adapter.indicate([packet])
        blamed = binding.violations
        bench.reports.clear()
        view.release()
        assert blamed == 0


def test_the_flags_of_a_received_packet_are_0() -> None:
    flags: list[int] = []
    with Bench(packets=1) as bench:
        bench.bind(Driver(look=lambda packet: flags.append(packet.flags)))
        packet = bench.owned()
        packet.flags = LOOPBACK
        bench.pool.free(packet)
        bench.give(frame())
    assert flags == [0]


def test_a_packet_names_its_pool_place_generation_and_state() -> None:
    with Bench() as bench:
        packet = bench.owned()
        assert repr(packet) == "<Packet receive[0].1 OWNED 60 bytes>"
        bench.pool.free(packet)
        assert violation(bench.pool.free, packet) == "30"


def test_counts_are_invalid_after_reinitialize_until_they_are_asked_for() -> None:
    pool = PacketPool(1, 0)
    packet = pool.allocate()
    assert packet is not None
    assert packet.valid_counts
    packet.reinitialize()
    assert not packet.valid_counts
    assert packet.length == 0
    assert packet.valid_counts
    packet.reinitialize()
    pool.free(packet)
    again = pool.allocate()
    assert again is packet
    assert packet.valid_counts
    pool.free(packet)
