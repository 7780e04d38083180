"""
Modes come and go at random while frames flow, drivers keep, send and return, and bindings come and go: nothing is lost in any of it.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from unit.shipped import KINDS, Stack, level_4, mixture, until
from unit.wire import Bench, Driver, Miniport, Sender, frame

from vnic import MiniportDriver, Packet, PacketPool, Status
from vnic.counters import broken_sums
from vnic.verifier.faults import FAULTS, MODES

SEED = secrets.randbits(32)


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    print(f"seed {SEED}")
    with level_4():
        yield


def drawn(chosen: random.Random) -> None:
    """Start or stop a mode."""
    mode = chosen.choice([one for one in MODES if not one.absent])
    if chosen.random() < 0.4:
        FAULTS.stop(mode.name)
        return
    knobs: dict[str, Any] = {}
    for knob in mode.knobs:
        most = {"delay_ms": 3.0, "max_us": 50, "length": 40, "nth": 20, "after": 20}.get(knob.name, knob.most)
        knobs[knob.name] = chosen.randint(int(knob.least), int(most)) if isinstance(knob.default, int) else chosen.uniform(knob.least, most)
    FAULTS.start(mode.name, seed=chosen.randrange(1 << 32), **knobs)


class Keeper(Driver):
    """Keep packets, and send frames of its own from inside its handlers."""

    def __init__(self, chosen: random.Random) -> None:
        super().__init__(self.choose)
        self.chosen = chosen
        self.asked = self.sent = self.ended = 0

    def bind_adapter(self) -> None:
        self.pool = PacketPool(8, 128, name="keeper")

    def choose(self, packet: Packet) -> int:
        own = self.pool.allocate() if self.chosen.random() < 0.5 else None
        if own is not None:
            own.write(frame(7))
            self.sent += 1
            if self.binding.send(own) is not Status.PENDING:
                self.end(own)
        return 0 if packet.status is Status.RESOURCES else self.chosen.choice((0, 0, 1, 2))

    def send_complete(self, packet: Packet, status: Status) -> None:
        self.end(packet)

    def end(self, packet: Packet) -> None:
        self.pool.free(packet)
        self.ended += 1

    def some_back(self) -> None:
        """Return some of what is kept, all at once or one by one."""
        self.chosen.shuffle(self.kept)
        half = len(self.kept) // 2
        some = self.kept[:half]
        del self.kept[:half]
        if self.chosen.random() < 0.5:
            self.binding.return_packets(some)
        else:
            for packet in some:
                self.binding.return_packets([packet])


@pytest.mark.parametrize("miniport", [MiniportDriver, Miniport])
@pytest.mark.parametrize("turn", range(4))
def test_sums_are_true_and_packets_come_home_while_modes_come_and_go(turn: int, miniport: type[MiniportDriver]) -> None:
    chosen = random.Random(f"{SEED} {turn}")
    with Bench(packets=32, low_water=2, miniport=miniport()) as bench:
        keepers = [Keeper(chosen) for _ in range(2)]
        bindings = [bench.bind(keeper, f"keeper{index}") for index, keeper in enumerate(keepers)]
        given = 0
        for _ in range(150):
            if chosen.random() < 0.3:
                drawn(chosen)
            frames = [frame(mark) for mark in range(chosen.randint(1, 9))]
            bench.give(*frames)
            given += len(frames)
            while bench.adapter.receive_batch():
                pass
            for keeper in keepers:
                keeper.some_back()
            owned = [packet for _ in range(chosen.randint(0, 3)) if (packet := bench.pool.allocate()) is not None]
            for packet in owned:
                packet.write(frame(9))
            bench.adapter.indicate(owned)
            given += len(owned)
            bench.taken()
            assert list(broken_sums(bench.adapter.counters())) == []
            if chosen.random() < 0.05:
                index = chosen.randrange(2)
                keepers[index].give_back()
                bench.adapter.close(bindings[index])
                until(partial(getattr, bindings[index], "closed"))
                assert keepers[index].ended == keepers[index].sent
                assert keepers[index].pool.usage == 0
                FAULTS.stop("low-resources")
                FAULTS.stop("systematic")
                keepers[index] = Keeper(chosen)
                bindings[index] = bench.bind(keepers[index], f"keeper{index}")
        assert bench.adapter.counters()["rx_frames"] == given
        for keeper, binding in zip(keepers, bindings, strict=True):
            keeper.give_back()
            bench.adapter.close(binding)
            until(partial(getattr, binding, "closed"))
            assert keeper.ended == keeper.sent
        bench.reports = [report for report in bench.reports if report[0] != "26"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("sink", "capture")])
def test_shipped_drivers_survive_modes_that_come_and_go(kind: str, tmp_path: Any) -> None:
    chosen = random.Random(f"{SEED} {kind}")
    stack = Stack(kind, tmp_path)
    stack.build()
    for frames in mixture(chosen.randrange(1 << 32), 80):
        if chosen.random() < 0.3:
            drawn(chosen)
        stack.round(*frames)
        for adapter in stack.adapters:
            assert list(broken_sums(adapter.counters())) == [], adapter
    stack.end()


def test_the_same_seed_gives_the_same_faults_to_a_whole_run() -> None:
    runs = []
    for _ in range(2):
        with Bench(packets=16) as bench:
            sender = Sender(lambda packet: int(packet.status is Status.SUCCESS and packet.data[-1] % 3 == 0))
            binding = bench.bind(sender)
            FAULTS.start("low-resources", seed=SEED, probability=0.3)
            FAULTS.start("pend-sends", seed=SEED + 1, delay_ms=0.0)
            FAULTS.start("resources", seed=SEED + 2, ratio=0.3)
            FAULTS.start("reorder", seed=SEED + 3)
            FAULTS.start("late-reuse")
            seen: list[Any] = []
            for mark in range(100):
                bench.give(*[frame(mark + number) for number in range(3)])
                sender.give_back()
                packet = bench.own.allocate()
                seen.append(packet is None)
                if packet is not None:
                    packet.write(frame(mark))
                    seen.append(binding.send(packet))
                    if seen[-1] is not Status.PENDING:
                        bench.own.free(packet)
                    until(lambda: not bench.own.usage)
                bench.taken()
            seen.append([(running["calls"], running["struck"]) for running in FAULTS.show().values()])
            FAULTS.stop()
            runs.append((seen, binding.resources, binding.delivered))
    assert runs[0] == runs[1]
