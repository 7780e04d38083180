"""
A million frames, honest and hostile, through five drivers: every frame and every packet accounted for, and no memory used up.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import signal
import sys
import time
from pathlib import Path

import pytest
from tap.daemon import Daemon, Sender, interface_statistics, taken
from tap.namespace import namespaced_for, until

pytest.importorskip("scapy")

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "traffic"))

import kinds
import replies

ROUND = 50_000
WARM_UP_ROUNDS = 16
NO_CACHE = "glibc.malloc.tcache_count=0"
"""
glibc keeps seven freed blocks of each size for each thread, and frames come in every size: its cache fills up to about 200 KiB a thread,
ever more slowly, 28 to 56 KiB at a time in the second million still. Without it what grows tells of us.
"""
SETTLING = 2500
"""
Counters that are logged before. Until about 2,100 have been, each lets Python's own allocator touch 75 bytes more, without a block more in
use; then nothing for the next 9,000. A slow machine, which logs more of them in the time of this test, would take that for growth.
"""
TOTAL = WARM_UP_ROUNDS * ROUND + 1_000_000
GROWTH_KIB = 64
HOSTS = replies.Hosts(
    bytes.fromhex("020000000064"),
    bytes((10, 0, 0, 100)),
    bytes.fromhex("fd000000000000000000000000000100"),
    bytes.fromhex("020000000002"),
    bytes((10, 0, 0, 2)),
    bytes.fromhex("fd000000000000000000000000000002"),
)


def mixture(seed: int) -> list[bytes]:
    """Make ROUND frames of every kind, in a random order; the same seed gives the same frames."""
    setup = kinds.Setup(HOSTS, 1500, seed)
    framed = {name: kinds.KINDS[name].build(setup).frames for name in ("flood", "sizes", "vlan", "mix", "malformed")}
    requests = {name: itertools.islice(kinds.KINDS[name].build(setup).requests, 1000) for name in ("arp", "ping", "ping6")}
    asked = {name: [request.frame for request in some] for name, some in requests.items()}
    shares = {"flood": 15, "sizes": 3, "vlan": 2, "mix": 10, "malformed": 10, "arp": 4, "ping": 4, "ping6": 2}
    frames: list[bytes] = []
    for name, share in shares.items():
        frames += itertools.islice(itertools.cycle([*framed.get(name, ()), *asked.get(name, ())]), ROUND * share // sum(shares.values()))
    random.Random(seed).shuffle(frames)
    return frames


def settle(daemon: Daemon) -> None:
    """Have it log its counters so often."""
    for _ in range(SETTLING):
        before = daemon.log.stat().st_size
        daemon.signal(signal.SIGUSR1)
        until(lambda before=before: daemon.log.stat().st_size > before)


@pytest.mark.timeout(180)
@namespaced_for(170)
def test_a_million_frames_are_all_accounted_for_and_use_up_no_memory(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    # this process is the test's own
    os.environ["GLIBC_TUNABLES"] = NO_CACHE
    frames = mixture(seed)
    drivers = (
        "sink promiscuous=yes",
        "arp",
        "icmp_echo",
        f"capture file={tmp_path}/all.pcapng rotate_bytes=20000000 keep=2",
        f"hold hold_ms=3 count=300 random=yes seed={seed}",
    )
    words = [word for driver in drivers for word in ("--driver", driver)]
    addresses = ("--address", "10.0.0.2/24", "--address", "fd00::2/64")
    resident: list[int] = []
    with Daemon(tmp_path, *addresses, *words, "--stats-interval", "0.25") as daemon, Sender() as sender:
        settle(daemon)
        settled, begun = daemon.mark(), time.monotonic()
        while taken("vnic0") < TOTAL:
            # once in each round more at once than the queue can take
            sender.send(frames[:3000], paced=False)
            sender.send(frames[3000:])
            until(lambda: daemon.dump()[0]["held"] == 0)
            resident.append(daemon.resident_kib())
        seconds = time.monotonic() - begun
        counters, bindings = daemon.quiet()
        print(f"{sender.sent} frames in {seconds:.1f} s, {counters['rx_frames'] / seconds:.0f}/s taken; resident KiB: {resident}")
        interface = interface_statistics("vnic0")
        assert interface is not None
        read, dropped, written = interface
        assert read + dropped == sender.sent
        assert counters["rx_frames"] == counters["if_tx_packets"] == read >= TOTAL
        assert counters["if_tx_dropped"] == dropped > 0, "the queue did overflow, and that is counted"
        assert counters["tx_frames"] == counters["if_rx_packets"] == written > 0.1 * TOTAL
        for reason in ("runt", "truncated", "no_packet", "no_driver"):
            assert counters[f"rx_dropped_{reason}"] == 0
        assert bindings["sink"]["delivered"] == counters["rx_frames"] + counters["tx_frames"]
        assert bindings["capture"]["delivered"] == counters["rx_frames"] + counters["tx_frames"]
        assert bindings["hold"]["promised"] == bindings["hold"]["returned"] > 100_000
        last = daemon.stop()
        assert (last["driver_errors"], last["held"], last["pool_quarantined"]) == (0, 0, 0)
        assert {event["id"] for event in daemon.events("violation")} <= {"26"}
        assert len(daemon.events("counters", after=settled)) > seconds / 0.5
        after = resident[WARM_UP_ROUNDS - 1 :]
        assert max(after) - after[0] <= GROWTH_KIB, resident
