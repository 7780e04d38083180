"""
All good drivers of the receive side on one adapter, at verifier level 3, and many frames: nothing may be recorded.

    PYTHONPATH=tests python -P tests/verifier/good_run.py --frames 10000000

It prints what was counted; the exit status is 0 only if no rule was said to be broken, every frame was shown to every driver, and
every packet is home. Where frames and their order are random, the seed is printed.

Next: `tests/verifier/page.py`.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import time
from typing import Any

from verifier.bench import FRAME, SLOT, US
from verifier.cases import receive

from vnic import COMPILED, Adapter, MiniportDriver, PacketPool, PacketState, ProtocolDriver, locks
from vnic.counters import broken_sums

DRIVERS: tuple[type[ProtocolDriver], ...] = tuple(dict.fromkeys(case.good for case in receive.CASES))
PACKETS = 64
BATCH = 8
"""Frames at most; a socket of this kind holds ten."""
DESTINATIONS = (US, b"\xff" * 6, bytes.fromhex("01005e0000fb"))
TELLING = ("rx_frames", "rx_delivered", "indicated", "returned", "tx_frames", "violations", "driver_errors")


class Run:
    """
    One run.

    Attributes:
        records: rules that were said to be broken, and exceptions that came out of drivers.
        counters: of the adapter, when everybody has been unbound.
        wrong: what did not come out, in words.
    """

    def __init__(self, frames: int, level: int = 3, seed: int = 0) -> None:
        self.records: list[str] = []
        self.wrong: list[str] = []
        self.pool = PacketPool(PACKETS, SLOT, name="receive")
        far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        far.setblocking(False)
        near.setblocking(False)
        self.adapter = Adapter(self.pool, MiniportDriver(), name="good0", address=US, low_water=0, report=self.report)
        self.adapter.attach(near.fileno())
        self.adapter.verifier_level, before = level, locks.checks
        locks.checks = level
        bindings = [self.adapter.open(driver(), driver.__name__) for driver in DRIVERS]
        try:
            self.feed(far, frames, random.Random(seed))
            self.wrong += [f"{one.name} saw {one.delivered} of {frames}" for one in bindings if one.delivered < frames]
            self.wrong += [f"{one.name} does not close" for one in bindings if self.adapter.close(one).name != "SUCCESS"]
            self.adapter.halt()
        finally:
            locks.checks = before
            far.close()
            near.close()
        self.counters = self.adapter.counters()
        self.wrong += [str(broken) for broken in broken_sums(self.counters)]
        self.wrong += [f"{packet!r} is not home" for packet in self.pool.packets() if packet.state is not PacketState.FREE]

    def report(self, event: str, fields: dict[str, Any]) -> None:
        """What the adapter reports."""
        self.records.append(f"{event}: {fields['error']}")

    def feed(self, far: socket.socket, frames: int, chance: random.Random) -> None:
        """Let frames come, in batches: of any kind that the drivers take, of some sizes; what was sent is read away."""
        made = [to + FRAME[6:14] + bytes(size) for to in DESTINATIONS for size in (46, 100, 1500)]
        while frames and not self.records:
            batch = min(frames, chance.randint(1, BATCH))
            for data in chance.choices(made, k=batch):
                far.send(data)
            self.adapter.receive_batch(batch)
            for _ in range(batch):
                far.recv(SLOT)
            frames -= batch


def main() -> int:
    """Run, print, and answer the exit status."""
    parser = argparse.ArgumentParser(prog="good_run", description="Many frames for good drivers at level 3; nothing may be recorded.")
    parser.add_argument("--frames", type=int, default=100_000, help="how many; default %(default)s")
    parser.add_argument("--level", type=int, default=3, help="the verifier level; default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the kinds and sizes; default %(default)s")
    options = parser.parse_args()
    begun = time.monotonic()
    run = Run(options.frames, options.level, options.seed)
    seconds = time.monotonic() - begun
    core = "compiled" if COMPILED else "uncompiled"
    print(f"good drivers: {len(DRIVERS)} at level {options.level}, {core}, seed {options.seed}, {seconds:.0f} s")
    print(", ".join(f"{name} {run.counters[name]}" for name in TELLING))
    print(f"records {len(run.records)}, wrong {len(run.wrong)}")
    for line in (*run.records[:20], *run.wrong[:20]):
        print(line, file=sys.stderr)
    return 1 if run.records or run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
