"""
What it costs to reuse packets and buffers, or to free and allocate them, and what the driver's lock around a pool costs.

The ways of one table take turns in one process, and each round gives one ratio of each to the first. Around a round a fixed loop is
timed; when its two times differ by more than the tolerance, the machine has changed its speed, and the round is not judged.
What is timed is the processor time, so that other programs count little. With two threads it is the time that passes, and a round
in which that was longer than the processor time is not judged either: another program had the processor.

Next: `ways.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ways import WAYS, Kit, Use, Way, bare_free, bare_reinitialize, keep_nothing, lock_ways, slot_free, slot_keep

from vnic import COMPILED, Adapter, MiniportDriver, Packet, PacketPool, ProtocolDriver, Status, slot_size_for

Clock = Callable[[], int]

HEADER = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5"


def floor(count: int) -> None:
    for _ in range(count):
        id(count)


def timed(way: Way, count: int, clock: Clock) -> float:
    """Nanoseconds for each."""
    start = clock()
    way(count)
    return (clock() - start) / count


def measure(ways: dict[str, Way], clock: Clock, rounds: int, count: int, tolerance: float) -> dict[str, Any]:
    """Interleave; answer the medians over the rounds in which the machine kept its speed."""
    costs: dict[str, list[float]] = {name: [] for name in ways}
    order, judged, tried = list(ways), 0, 0
    for way in ways.values():
        way(count)
    while judged < rounds and tried < 6 * rounds:
        tried += 1
        order.reverse()
        passed, used = -time.perf_counter_ns(), -time.process_time_ns()
        before = timed(floor, 4 * count, clock)
        found = {name: timed(ways[name], count, clock) for name in order}
        after = timed(floor, 4 * count, clock)
        passed, used = passed + time.perf_counter_ns(), used + time.process_time_ns()
        taken_away = clock is time.perf_counter_ns and passed > (1 + tolerance) * used
        if abs(after - before) <= tolerance * min(after, before) and not taken_away:
            judged += 1
            for name, cost in found.items():
                costs[name].append(cost)
    if judged < max(3, rounds // 3):
        return {"judged": False, "why": f"the machine was not the same to {tolerance:.0%} in {tried - judged} of {tried} rounds"}
    first = costs[next(iter(ways))]
    rows = {
        name: {
            "us": round(statistics.median(found) / 1000, 3),
            "ratio": round(statistics.median(cost / base for cost, base in zip(found, first, strict=True)), 2),
        }
        for name, found in costs.items()
    }
    return {"judged": True, "rounds": judged, "discarded": tried - judged, "rows": rows}


class Keeper(MiniportDriver):
    """Indicate one packet again and again."""

    def return_packet(self, packet: Packet) -> None:
        pass


class Taker(ProtocolDriver):
    """Take every frame by a transfer, into the packet at hand."""

    target: Packet

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        self.binding.transfer_data(context, 0, packet_size, self.target)


def sender(size: int) -> Use:
    """Send a packet to where nothing ever waits."""
    adapter = Adapter(PacketPool(1), MiniportDriver(), name="send0", mtu=size)
    adapter.attach(os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC))
    return adapter.open(ProtocolDriver(), "sender").send


def taker(frame: bytes) -> Use:
    """Show a frame to a driver that transfers it into a packet."""
    pool = PacketPool(1, slot_size_for(len(frame)))
    adapter = Adapter(pool, Keeper(), name="take0", mtu=len(frame), low_water=0)
    driver = Taker()
    adapter.open(driver, "taker")
    shown = pool.allocate()
    assert shown is not None
    shown.write(frame)

    def take(packet: Packet) -> None:
        driver.target = packet
        adapter.indicate([shown])

    return take


def tables(size: int) -> dict[str, tuple[dict[str, Way], Clock]]:
    """Every table of times: its title, its ways, and what they are timed by; ratios are to the first."""
    kit, frame = Kit(size), HEADER + bytes(range(256)) * (size // 256 + 1)
    frame = frame[:size]
    send, take = sender(size), taker(frame)
    packet, buffer = kit.chained()
    assert send(packet) is Status.SUCCESS
    take(packet)
    assert bytes(buffer.memory) == frame[len(HEADER) :] + bytes(len(HEADER))
    keep_nothing(kit, packet)
    uses: dict[str, Use] = {"nothing": id, "a send": send, "a transfer of data": take}
    bare: dict[str, Way] = {"free and allocate": partial(bare_free, kit.pool), "reinitialise": partial(bare_reinitialize, kit.pool)}
    pool = PacketPool(64, slot_size_for(size))
    slots: dict[str, Way] = {"free and allocate": partial(slot_free, pool, send, frame), "keep": partial(slot_keep, pool, send, frame)}
    alone = {"a packet without buffers, for a later use (S002-24)": bare}
    for name, use in uses.items():
        alone[f"for {name}, {size} bytes (S004-11 to S004-13)"] = {text: partial(way, kit, use) for text, way in WAYS.items()}
    alone[f"a packet with a slot, for a send, {size} bytes"] = slots
    alone["allocate and free, one thread"] = lock_ways(1)
    return {title: (ways, time.process_time_ns) for title, ways in alone.items()} | {
        "allocate and free, two threads": (lock_ways(2), time.perf_counter_ns)
    }


# counts


def allocations(size: int, count: int = 1000) -> dict[str, dict[str, int]]:
    """What each way allocates for so many uses, after the first."""
    found = {}
    for name, way in WAYS.items():
        kit = Kit(size)
        kit.count()
        way(kit, id, 1)
        once = kit.allocated.copy()
        way(kit, id, count + 1)
        found[name] = {kind: kit.allocated[kind] - 2 * once[kind] for kind in ("packet", "buffer", "memory")}
    return found


# printing


def show(result: dict[str, Any]) -> None:
    kind = "compiled" if result["compiled"] else "uncompiled"
    print(f"packets, {kind} core, Python {result['python']}; us and ratio to the first line")
    for title, table in result["times"].items():
        print(f"\n{title}")
        if not table["judged"]:
            print(f"  not judged: {table['why']}")
            continue
        for name, row in table["rows"].items():
            print(f"  {name:50}{row['us']:9.3f}{row['ratio']:8.2f}")
        print(f"  medians of {table['rounds']} rounds, {table['discarded']} discarded for noise")
    print("\nallocated for 1,000 uses, once it runs (S004-13)")
    for name, row in result["allocated"].items():
        print(f"  {name:50}" + ", ".join(f"{kind} {number}" for kind, number in row.items()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench packets", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--size", type=int, default=1514, help="bytes of a frame (1514)")
    parser.add_argument("--count", type=int, default=5000, help="uses in each turn (5000)")
    parser.add_argument("--rounds", type=int, default=25, help="rounds to judge (25)")
    parser.add_argument("--tolerance", type=float, default=3, help="percent by which the machine may change in a round (3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result: dict[str, Any] = {"compiled": COMPILED, "python": platform.python_version(), "size": options.size}
    result["times"] = {
        title: measure(ways, clock, options.rounds, options.count, options.tolerance / 100)
        for title, (ways, clock) in tables(options.size).items()
    }
    result["allocated"] = allocations(options.size)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0 if all(table["judged"] for table in result["times"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
