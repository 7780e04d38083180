"""
Every shipped driver survives every fault that is provoked: no frame is unexplained, no packet is lost, nobody is blamed.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.layers import Layers
from unit.shipped import FRAMES, KINDS, Stack, level_4, mixture
from unit.test_protocol_passthru import Card, Reader
from unit.wire import frame

from protocol.mux import Mux
from protocol.passthru import Passthru
from vnic import Status
from vnic.intermediate import IntermediateDriver
from vnic.verifier.faults import FAULTS, MODES

HARD: dict[str, dict[str, Any]] = {
    "low-resources": {"probability": 0.3},
    "systematic": {},
    "pend-sends": {"ratio": 0.8, "delay_ms": 2.0, "shuffle": 1},
    "resources": {"ratio": 0.4},
    "delays": {"ratio": 0.5, "max_us": 50},
    "late-reuse": {"length": 30},
    "reorder": {},
}
"""Each mode, harder than by default."""
SILENT = ("sink", "classify", "capture", "hold")
"""What never sends."""


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    with level_4():
        yield


def test_every_mode_that_is_built_is_tried() -> None:
    assert set(HARD) == {mode.name for mode in MODES if not mode.absent}


@pytest.mark.parametrize("mode", HARD)
@pytest.mark.parametrize("kind", ["all", "passthru", "mux", "vlan"])
def test_shipped_drivers_survive_a_mode_with_traffic(kind: str, mode: str, tmp_path: Path) -> None:
    stack = Stack(kind, tmp_path)
    stack.build()
    FAULTS.start(mode, seed=1, **HARD[mode])
    # nearly always the first seed is enough; whether packets come home together depends on threads, too
    for seed in range(1, 11):
        for frames in mixture(seed, 60):
            stack.round(*frames)
        if FAULTS.show()[mode]["struck"]:
            break
    assert FAULTS.show()[mode]["struck"] > 0
    stack.end()


@pytest.mark.parametrize("kind", KINDS)
def test_a_shipped_driver_is_unbound_while_all_its_sends_are_pending(kind: str, tmp_path: Path) -> None:
    stack = Stack(kind, tmp_path)
    stack.build()
    FAULTS.start("pend-sends", ratio=1.0, delay_ms=100.0)
    stack.round(*FRAMES)
    assert stack.adapter.counters()["tx_pending"] > 0 or kind in SILENT
    stack.end()


@pytest.mark.parametrize("kind", ["all", "passthru", "mux", "vlan"])
def test_shipped_drivers_survive_all_modes_at_once(kind: str, tmp_path: Path) -> None:
    stack = Stack(kind, tmp_path)
    stack.build()
    for seed, (mode, knobs) in enumerate(HARD.items()):
        FAULTS.start(mode, seed=seed, **knobs)
    for frames in mixture(2, 60):
        stack.round(*frames)
    stack.end()


@pytest.mark.parametrize("kind", KINDS)
def test_a_shipped_driver_ends_clean_whichever_of_its_allocations_fails(kind: str, tmp_path: Path) -> None:
    for nth in range(1, 400):
        stack = Stack(kind, tmp_path)
        FAULTS.start("systematic", nth=nth)
        try:
            stack.build()
        except OSError:
            assert FAULTS.show()["systematic"]["struck"] == 1, "it declined, and nothing had failed"
        else:
            stack.round(*FRAMES)
        struck = FAULTS.show()["systematic"]["struck"]
        stack.end()
        if not struck:
            break
        del stack
    else:
        pytest.fail("allocations go on for ever")
    print(f"{kind}: {nth - 1} allocations")
    FAULTS.stop()
    gc.collect()


@pytest.mark.parametrize("make", [Passthru, lambda: Mux(vlans="7", untagged=True, packets=8)])
def test_a_transfer_through_a_filter_leaves_nothing_behind_whichever_allocation_fails(make: Callable[[], IntermediateDriver]) -> None:
    data, ended = frame(1, size=200), set[Status]()
    for nth in range(1, 20):
        with Layers(make(), miniport=Card(later=False)) as bench:
            packet = bench.own.allocate()
            assert packet is not None
            reader = Reader(packet)
            above = bench.above(reader, adapter=bench.drivers[0].adapters[-1])
            FAULTS.start("systematic", nth=nth)
            bench.adapter.indicate_lookahead("x", data[:14], data[14:64], 186)
            bench.adapter.indicate_lookahead_complete()
            struck = FAULTS.show()["systematic"]["struck"]
            FAULTS.stop()
            status, moved = reader.told[1]
            ended.add(status)
            assert (status, moved) == ((Status.RESOURCES, 0) if struck else (Status.SUCCESS, 136))
            bench.own.free(packet)
            assert all((virtual.sent.usage, virtual.rests.usage) == (0, 0) for virtual in bench.drivers[0].virtuals)
            above.adapter.close(above)
        if not struck:
            break
    assert ended == {Status.SUCCESS, Status.RESOURCES}
