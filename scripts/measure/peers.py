"""
Other people's TAP readers on the same drain, side by side with vnic, which does the whole contract meanwhile.

Who is not installed is named. Each peer makes its own TAP, and all three read from its descriptor: the C loop, vnic, and the peer.

Next: `testpmd.py`, DPDK.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from contest import Drain, Found, Setting, contest
from readers import Counter, Keeper, Reader, batch_drivers, has_batches
from taps import IFF_NO_PI, IFF_TAP, Tap, open_tap

from vnic import ProtocolDriver

NAME = "tapbench"
Peer = tuple[int, Drain]
"""The descriptor of its TAP, and its loop, which calls it without a function in between: that would be 6 % of its time."""


@contextmanager
def os_read(clock: int) -> Iterator[Peer]:
    fd, read = open_tap(NAME), os.read

    def drain(count: int) -> int:
        start = time.clock_gettime_ns(clock)
        for _ in range(count):
            read(fd, 2048)
        return time.clock_gettime_ns(clock) - start

    yield fd, drain
    os.close(fd)


@contextmanager
def pytun(clock: int) -> Iterator[Peer]:
    import pytun

    device = pytun.TunTapDevice(name=NAME, flags=IFF_TAP | IFF_NO_PI)
    read = device.read

    def drain(count: int) -> int:
        start = time.clock_gettime_ns(clock)
        for _ in range(count):
            read(2048)
        return time.clock_gettime_ns(clock) - start

    yield device.fileno(), drain
    device.close()


@contextmanager
def scapy(clock: int) -> Iterator[Peer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.tuntap import TunTapInterface

    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
    device = TunTapInterface(NAME)
    receive = device.recv_raw

    def drain(count: int) -> int:
        start = time.clock_gettime_ns(clock)
        for _ in range(count):
            receive()
        return time.clock_gettime_ns(clock) - start

    yield device.fileno(), drain
    device.close()


PEERS = {"os.read in a Python loop": os_read, "python-pytun": pytun, "scapy TunTapInterface, raw": scapy}


def measure(setting: Setting) -> list[Found]:
    """
    Drain 64-byte frames, cold.

    Returns:
        For each peer how many times as fast as it vnic is, with two Python drivers, one of which keeps and returns every packet; and
        `more` has both as ratios to the C loop, and how many times as fast other drivers are: two that keep nothing, two of batches.
    """
    answers: list[Found] = []
    for name, make in PEERS.items():
        answer = Found(f"against {name}")
        answers.append(answer)
        try:
            peer = make(setting.clock)
            fd, drain = peer.__enter__()
        except ImportError as error:
            answer.why = f"not installed: {error}"
            continue
        tap = Tap(64, setting.cold, name=NAME, fd=fd, clock=setting.clock)
        kinds: dict[str, list[ProtocolDriver]] = {"vnic": [Counter(), Keeper()], "nothing kept": [Counter(), Counter()]}
        if has_batches():
            kinds["two batch drivers"] = batch_drivers()
        readers = {kind: Reader(fd, drivers, clock=setting.clock) for kind, drivers in kinds.items()}
        drains = {kind: reader.drain for kind, reader in readers.items()} | {"peer": drain}
        found = contest(
            tap, tap.drain, drains, rounds=setting.rounds, frames=setting.cold, burst=setting.cold, tolerance=setting.tolerance
        )
        for reader in readers.values():
            reader.close()
        tap.close()
        peer.__exit__(None, None, None)
        answers[-1] = against(answer.name, found["vnic"], found["peer"])
        for kind in kinds:
            if kind != "vnic":
                answers[-1].more[kind.replace(" ", "_")] = against("", found[kind], found["peer"]).ratio
    return answers


def against(name: str, ours: Found, theirs: Found) -> Found:
    """How many times as fast as a peer vnic is, when both were compared with the C loop in the same rounds."""
    answer = Found(name, rounds=min(ours.rounds, theirs.rounds), discarded=max(ours.discarded, theirs.discarded), noise=theirs.noise)
    answer.why = ours.why or theirs.why
    if ours.ratio is not None and theirs.ratio is not None:
        answer.judged, answer.ratio, answer.us, answer.reference_us = True, round(ours.ratio / theirs.ratio, 3), ours.us, theirs.us
        answer.more = {"vnic_to_c": ours.ratio, "peer_to_c": theirs.ratio}
    return answer
