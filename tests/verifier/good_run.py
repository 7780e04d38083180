"""
All good drivers of the receive side on one adapter, at verifier level 3, and many frames: nothing may be recorded.

    PYTHONPATH=tests python -P tests/verifier/good_run.py --frames 10000000

The good drivers of the cases, and those that ship: they answer requests, send, keep packets, and return them from other threads, late.
It prints what was counted; the exit status is 0 only if no rule was said to be broken, every frame was shown to every driver of the
cases, and every packet is home. Kinds and batches of frames are random; the seed is printed.

Next: `tests/verifier/page.py`.
"""

from __future__ import annotations

import argparse
import math
import random
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from verifier.bench import FRAME, SLOT, US
from verifier.cases import receive

from protocol.arp import Arp
from protocol.hold import Hold
from protocol.icmp_echo import IcmpEcho
from protocol.sink import Sink
from protocol.udp import Udp
from vnic import COMPILED, Adapter, MiniportDriver, PacketPool, PacketState, ProtocolDriver, Status
from vnic.counters import broken_sums
from vnic.verifier.levels import set_level
from vnic.verifier.rules import HANDLER_SLOW
from vnic.verifier.watch import Watch

PACKETS = 64
BATCH = 4
"""Frames at most: a socket of this kind holds ten, and each frame is answered by two drivers at most."""
OURS, THEIRS = "10.0.0.2", "10.0.0.1"
DESTINATIONS = (US, b"\xff" * 6, bytes.fromhex("01005e0000fb"))
TELLING = ("rx_frames", "rx_delivered", "indicated", "returned", "tx_frames", "tx_looped", "violations", "driver_errors")


def drivers() -> list[ProtocolDriver]:
    """One of each: the good ones of the cases, some of which hold a packet or two all the time, and say so, and those that ship."""
    of_cases = [good() for good in dict.fromkeys(case.good for case in receive.CASES)]
    for driver in of_cases:
        driver.hold_limit = math.inf
    return [Arp(), IcmpEcho(), Udp(echo=7), Sink(promiscuous=True), Hold(hold_ms=2, count=16, copies=3), *of_cases]


def frames_to_give() -> list[bytes]:
    """Each kind of frame that a driver answers, and others of some sizes."""
    to_us = Ether(dst=US.hex(":"), src="02:00:00:00:00:01")
    asks = [
        Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01") / ARP(op=1, hwsrc="02:00:00:00:00:01", psrc=THEIRS, pdst=OURS),
        to_us / IP(src=THEIRS, dst=OURS) / ICMP(id=1, seq=1) / bytes(56),
        to_us / IP(src=THEIRS, dst=OURS) / UDP(sport=1234, dport=7) / b"hello",
    ]
    return [bytes(ask) for ask in asks] + [to + FRAME[6:14] + bytes(size) for to in DESTINATIONS for size in (46, 100, 1500)]


class Run:
    """
    One run.

    Attributes:
        bound: how many drivers.
        records: rules that were said to be broken, and exceptions that came out of drivers.
        slow: of those, the drivers that were warned of for a handler that took long.
        counters: of the adapter, when everybody has been unbound.
        wrong: what did not come out, in words.
    """

    def __init__(self, frames: int, level: int = 3, seed: int = 0) -> None:
        self.records: list[str] = []
        self.slow: list[str] = []
        self.wrong: list[str] = []
        self.pool = PacketPool(PACKETS, SLOT, name="receive")
        self.far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.far.setblocking(False)
        near.setblocking(False)
        addresses = (f"{OURS}/24",)
        self.adapter = Adapter(
            self.pool, MiniportDriver(), name="good0", address=US, low_water=8, network_addresses=addresses, report=self.report
        )
        self.adapter.attach(near.fileno())
        set_level(level)
        watch = Watch()
        watch.start()
        bindings = [self.adapter.open(driver, type(driver).__name__) for driver in drivers()]
        self.bound = len(bindings)
        try:
            self.feed(frames, random.Random(seed))
            of_cases = [one for one in bindings if type(one.driver).__module__ == receive.__name__]
            self.wrong += [f"{one.name} saw {one.delivered} of {frames}" for one in of_cases if one.delivered < frames]
            self.wrong += [f"{one.name} does not close" for one in bindings if self.adapter.close(one) is not Status.SUCCESS]
            self.adapter.halt()
        finally:
            watch.stop()
            set_level(1)
            self.far.close()
            near.close()
        self.counters = self.adapter.counters()
        self.wrong += [str(broken) for broken in broken_sums(self.counters)]
        self.wrong += [f"{packet!r} is not home" for packet in self.pool.packets() if packet.state is not PacketState.FREE]

    def report(self, event: str, fields: dict[str, Any]) -> None:
        """What the adapter reports."""
        error = fields["error"]
        self.records.append(f"{event}: {error}")
        if event == "violation" and error.rule is HANDLER_SLOW and fields["record"]["severity"] == "warning":
            self.slow.append(error.driver)

    def feed(self, frames: int, chance: random.Random) -> None:
        """Let frames come, in batches, until there are enough or something was recorded; what was sent is read away."""
        kinds = frames_to_give()
        while frames and not self.records:
            batch = min(frames, chance.randint(1, BATCH))
            for data in chance.choices(kinds, k=batch):
                self.far.send(data)
            self.adapter.receive_batch(batch)
            self.take()
            frames -= batch

    def take(self) -> None:
        """Read what was sent, and let go down what had to wait."""
        while True:
            with suppress(BlockingIOError):
                while self.far.recv(SLOT):
                    pass
            if not self.adapter.send_blocked:
                return
            self.adapter.flush()


def main() -> int:
    """Run, print, and answer the exit status."""
    parser = argparse.ArgumentParser(prog="good_run", description="Many frames for good drivers at level 3; nothing may be recorded.")
    parser.add_argument("--frames", type=int, default=100_000, help="how many; default %(default)s")
    parser.add_argument("--level", type=int, default=3, help="the verifier level; default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the kinds and batches; default %(default)s")
    options = parser.parse_args()
    begun = time.monotonic()
    run = Run(options.frames, options.level, options.seed)
    seconds = time.monotonic() - begun
    core = "compiled" if COMPILED else "uncompiled"
    print(f"good drivers: {run.bound} at level {options.level}, {core}, seed {options.seed}, {seconds:.0f} s")
    print(", ".join(f"{name} {run.counters[name]}" for name in TELLING))
    print(f"records {len(run.records)}, wrong {len(run.wrong)}")
    for line in (*run.records[:20], *run.wrong[:20]):
        print(line, file=sys.stderr)
    return 1 if run.records or run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
