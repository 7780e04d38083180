"""
A driver that is shown batches and one that is shown packets, with the same frames and answers, leave two adapters in the same state.

One adapter has the drivers frame by frame, its twin has some of them in batches. After each indication, and after each return, all that can
be counted or seen is compared.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.wire import BROADCAST, OTHER, US, Bench, frame

from vnic import Batch, MiniportDriver, Packet, PacketFilter, ProtocolDriver, Status
from vnic.counters import broken_sums

PACKETS = 12
FILTERS = (
    PacketFilter.PROMISCUOUS,
    PacketFilter.DIRECTED,
    PacketFilter.BROADCAST,
    PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL,
)
TARGETS = (US, OTHER, BROADCAST, bytes.fromhex("01005e000001"))
ILLEGAL = (-1, 65536, True, None)


class Answering(ProtocolDriver):
    """
    Answer a frame by the byte that a script has for it.

    Attributes:
        shown: every frame that was shown, with its status.
        kept: packets kept, once for each reference.
        completes: calls of `receive_complete`.
    """

    def __init__(self, script: bytes, accepted: PacketFilter, quota: int) -> None:
        self.packet_filter = accepted
        self.script = script
        self.quota = quota
        self.shown: list[tuple[bytes, Status]] = []
        self.kept: list[Packet] = []
        self.completes = 0

    def answer_to(self, packet: Packet) -> Any:
        """What is answered to a packet: mostly 0 or 1; of what must be copied, mostly 0."""
        what = self.script[packet.data[-1] % len(self.script)]
        low = packet.status is Status.RESOURCES
        self.shown.append((bytes(packet.data), packet.status))
        answer: Any = (what >> 4) % 4 == 3 if self.quota else (what >> 4) % 3
        if what & 15 == 15:
            return ILLEGAL[what >> 6]
        answer = int(answer)
        if low:
            return answer if what & 15 == 14 else 0
        self.kept += [packet] * answer
        return answer

    def receive_complete(self) -> None:
        """A batch is over."""
        self.completes += 1


class Each(Answering):
    """Asked for each packet."""

    def receive_packet(self, packet: Packet) -> Any:
        """Answer."""
        return self.answer_to(packet)


class Together(Answering):
    """Asked for batches, answers in every form that there is."""

    def receive_packets(self, batch: Batch) -> Any:
        """Answer."""
        assert list(batch.lengths) == [packet.length for packet in batch]
        assert bytes(batch.headers) == b"".join(bytes(packet.data[:64]).ljust(64, b"\0") for packet in batch)
        answers = [self.answer_to(packet) for packet in batch]
        if any(type(answer) is not int or not 0 <= answer < 256 for answer in answers):
            return answers
        return [answers, tuple(answers), bytes(answers)][len(self.shown) % 3] if len(set(answers)) > 1 else answers[0]


class Remembering(MiniportDriver):
    """Remember what comes back, and free it."""

    def __init__(self) -> None:
        self.returned: list[int] = []

    def return_packet(self, packet: Packet) -> None:
        """A packet comes back."""
        self.returned.append(packet.index)
        packet.pool.free(packet)


class Twin:
    """An adapter with drivers of one kind or the other."""

    def __init__(
        self, kinds: Iterable[type[Answering]], scripts: list[bytes], filters: list[PacketFilter], quotas: list[int], level: int
    ) -> None:
        self.miniport = Remembering()
        self.bench = Bench(packets=PACKETS, low_water=0, miniport=self.miniport)
        self.bench.adapter.verifier_level = level
        made = zip(kinds, scripts, filters, quotas, strict=True)
        self.drivers = [kind(script, accepted, quota) for kind, script, accepted, quota in made]
        self.bindings = [self.bench.bind(driver, f"d{number}") for number, driver in enumerate(self.drivers)]

    def seen(self) -> dict[str, Any]:
        """Everything that must be the same."""
        counters = self.bench.adapter.counters()
        assert list(broken_sums(counters)) == []
        return {
            "counters": counters,
            "states": [packet.state for packet in self.bench.pool.packets()],
            "generations": [packet.generation for packet in self.bench.pool.packets()],
            "owed": [[binding.owed(packet) for packet in self.bench.pool.packets()] for binding in self.bindings],
            "figures": [
                (one.delivered, one.resources, one.over_quota, one.promised, one.returned, one.errors, one.violations)
                for one in self.bindings
            ],
            "shown": [driver.shown for driver in self.drivers],
            "completes": [driver.completes for driver in self.drivers],
            "kept": [[packet.index for packet in driver.kept] for driver in self.drivers],
            "reports": sorted(self.bench.reports),
            "returned": sorted(self.miniport.returned),
        }

    def give_back(self, number: int, count: int) -> None:
        """Return some of what a driver keeps, the oldest first."""
        driver = self.drivers[number]
        back, driver.kept = driver.kept[:count], driver.kept[count:]
        self.bindings[number].return_packets(back)

    def indicate(self, frames: list[bytes], lent: list[bool]) -> None:
        """Be the miniport, and have some packets copied; those behind such a one are copied too."""
        packets = []
        for text, low in zip(frames, lent, strict=True):
            packet = self.bench.owned(text)
            packet.status = Status.RESOURCES if low else Status.SUCCESS
            packets.append(packet)
        self.bench.adapter.indicate(packets)
        for packet, low in zip(packets, lent, strict=True):
            if low:
                self.bench.pool.free(packet)

    def end(self) -> None:
        """Give everything back, and close."""
        for number, driver in enumerate(self.drivers):
            self.give_back(number, len(driver.kept))
        self.bench.reports.clear()
        with self.bench:
            pass


def compare(seed: int, kinds: list[type[Answering]], rounds: int, level: int, quota: bool = False) -> int:
    """Do the same to both; answers how many frames that were."""
    rng = random.Random(seed)
    scripts = [rng.randbytes(16) for _ in kinds]
    filters = [rng.choice(FILTERS) for _ in kinds]
    quotas = [rng.randint(1, 4) if quota else 0 for _ in kinds]
    twins = [Twin([Each] * len(kinds), scripts, filters, quotas, level), Twin(kinds, scripts, filters, quotas, level)]
    given = 0
    for _ in range(rounds):
        # no more than are free: a batch has all its packets out until it is answered, which only a pool that runs low can tell
        count = rng.randint(0, min(6, *[twin.bench.pool.available for twin in twins]))
        frames = [frame(rng.randrange(256), to=rng.choice(TARGETS), size=rng.choice([20, 60, 64, 200])) for _ in range(count)]
        frames = [b"runt" if rng.randrange(20) == 0 else one for one in frames]
        if frames and rng.randrange(3) == 0:
            lent = [rng.randrange(4) == 0 for _ in frames]
            for twin in twins:
                twin.indicate(frames, lent)
            given += count
        elif frames:
            assert [twin.bench.give(*frames) for twin in twins] == [count] * 2
            given += count
        else:
            number, back = rng.randrange(len(kinds)), rng.randint(1, 9)
            for twin in twins:
                twin.give_back(number, back)
        assert twins[1].seen() == twins[0].seen()
    for twin in twins:
        twin.end()
    return given


kinds = st.lists(st.sampled_from([Each, Together]), min_size=1, max_size=4)


@given(seed=st.integers(0, 1 << 32), kinds=kinds, level=st.integers(0, 3), quota=st.booleans())
@settings(max_examples=60, deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
def test_any_mixture_of_drivers_leaves_the_library_where_the_same_drivers_frame_by_frame_do(
    seed: int, kinds: list[type[Answering]], level: int, quota: bool
) -> None:
    compare(seed, kinds, 40, level, quota)


@pytest.mark.parametrize("kinds", [[Together], [Together, Together], [Each, Together], [Together, Each]])
def test_many_frames_leave_both_in_the_same_state(kinds: list[type[Answering]]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    assert compare(seed, kinds, 400, 1) > 200
