"""
What C drivers pass that Python cannot take as it is: NULL, other buffers than bytes, numbers that do not fit.
"""

from __future__ import annotations

from typing import Any

import pytest
from unit.circuits import Circuit
from unit.living import Alive
from unit.wire import Bench

from vnic import Status
from vnic.ndis import (
    NDIS_STATUS_LINK_SPEED_CHANGE,
    NdisAllocateBufferPool,
    NdisAllocatePacketPool,
    NdisAllocatePacketPoolEx,
    NdisClearPacketFlags,
    NdisGetPacketFlags,
    NdisMCoIndicateStatus,
    NdisMIndicateStatus,
    NdisSetPacketFlags,
)

BUFFERS = [b"fast", bytearray(b"fast"), memoryview(b"fast"), memoryview(bytearray(b"faster"))[:4]]
SPEED = Status.LINK_SPEED_CHANGE


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_status_buffer_is_any_memory_and_a_copy_is_shown(buffer: Any) -> None:
    with Bench() as bench:
        driver = Alive()
        bench.bind(driver)
        NdisMIndicateStatus(bench.adapter, NDIS_STATUS_LINK_SPEED_CHANGE, buffer, 3)
        assert driver.log == [(SPEED.name, b"fas")]
        assert type(driver.log[0][1]) is bytes


def test_a_status_buffer_may_be_null() -> None:
    with Bench() as bench:
        driver = Alive()
        bench.bind(driver)
        NdisMIndicateStatus(bench.adapter, NDIS_STATUS_LINK_SPEED_CHANGE, None, 0)
        assert driver.log == [SPEED.name]


@pytest.mark.parametrize("buffer", [None, *BUFFERS])
def test_a_status_buffer_of_a_connection_may_be_so_too(buffer: Any) -> None:
    with Circuit() as circuit:
        vc = circuit.create()
        for handle in (vc, None):
            NdisMCoIndicateStatus(circuit.adapter, handle, NDIS_STATUS_LINK_SPEED_CHANGE, buffer, 4)
        assert circuit.client.told == [("status", "a", SPEED), ("status", None, SPEED)]
        assert vc.delete() is Status.SUCCESS


@pytest.mark.parametrize(
    ("count", "overflow", "reserved"), [(10, 0, 1 << 40), (65535, 0, 1 << 31), (65535, 0, 1 << 16), (1, 65534, 1 << 16)]
)
def test_a_packet_pool_that_no_memory_holds_is_a_lack_of_resources(count: int, overflow: int, reserved: int) -> None:
    assert NdisAllocatePacketPoolEx(count, overflow, reserved) == (Status.RESOURCES, None)
    assert overflow or NdisAllocatePacketPool(count, reserved) == (Status.RESOURCES, None)


@pytest.mark.parametrize("count", [1 << 31, 1 << 32, 1 << 70])
def test_a_buffer_pool_that_no_memory_holds_is_a_lack_of_resources(count: int) -> None:
    assert NdisAllocateBufferPool(count) == (Status.RESOURCES, None)


@pytest.mark.parametrize(("flags", "found"), [(-1, 0xFFFFFFFF), (1 << 32, 0), (0xFFFFFFFF, 0xFFFFFFFF), (1 << 32 | 0x80, 0x80)])
def test_the_flags_of_a_packet_are_32_bits(flags: int, found: int) -> None:
    with Bench() as bench:
        packet = bench.owned()
        NdisSetPacketFlags(packet, flags)
        assert NdisGetPacketFlags(packet) == found
        NdisClearPacketFlags(packet, flags)
        assert NdisGetPacketFlags(packet) == 0
        bench.pool.free(packet)
