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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from contest import Drain, Found, Setting, contest
from readers import Counter, Keeper, Reader
from taps import IFF_NO_PI, IFF_TAP, Tap, open_tap

NAME = "tapbench"
Peer = tuple[int, Callable[[], Any]]
"""The descriptor of its TAP, and the call that takes one frame."""


@contextmanager
def os_read() -> Iterator[Peer]:
    fd = open_tap(NAME)
    yield fd, lambda: os.read(fd, 2048)
    os.close(fd)


@contextmanager
def pytun() -> Iterator[Peer]:
    import pytun

    device = pytun.TunTapDevice(name=NAME, flags=IFF_TAP | IFF_NO_PI)
    read = device.read
    yield device.fileno(), lambda: read(2048)
    device.close()


@contextmanager
def scapy() -> Iterator[Peer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.tuntap import TunTapInterface

    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
    device = TunTapInterface(NAME)
    yield device.fileno(), device.recv_raw
    device.close()


PEERS = {"os.read in a Python loop": os_read, "python-pytun": pytun, "scapy TunTapInterface, raw": scapy}


def timed(take: Callable[[], Any], clock: int) -> Drain:
    """Its own loop around its call."""

    def drain(count: int) -> int:
        start = time.clock_gettime_ns(clock)
        for _ in range(count):
            take()
        return time.clock_gettime_ns(clock) - start

    return drain


def measure(setting: Setting) -> list[Found]:
    """
    Drain 64-byte frames, cold.

    Returns:
        For each peer how many times as fast as it vnic is, with two Python drivers, one of which keeps and returns every packet; and
        `more` has both as ratios to the C loop, and what two drivers that keep nothing come to.
    """
    answers: list[Found] = []
    for name, make in PEERS.items():
        answer = Found(f"against {name}")
        answers.append(answer)
        try:
            peer = make()
            fd, take = peer.__enter__()
        except ImportError as error:
            answer.why = f"not installed: {error}"
            continue
        tap = Tap(64, setting.cold, name=NAME, fd=fd, clock=setting.clock)
        reader = Reader(fd, [Counter(), Keeper()], clock=setting.clock)
        keeps_nothing = Reader(fd, [Counter(), Counter()], clock=setting.clock)
        drains = {"vnic": reader.drain, "peer": timed(take, setting.clock), "nothing kept": keeps_nothing.drain}
        found = contest(
            tap, tap.drain, drains, rounds=setting.rounds, frames=setting.cold, burst=setting.cold, tolerance=setting.tolerance
        )
        reader.close()
        keeps_nothing.close()
        tap.close()
        peer.__exit__(None, None, None)
        answers[-1] = against(answer.name, found["vnic"], found["peer"])
        answers[-1].more["nothing_kept_to_c"] = found["nothing kept"].ratio
    return answers


def against(name: str, ours: Found, theirs: Found) -> Found:
    """How many times as fast as a peer vnic is, when both were compared with the C loop in the same rounds."""
    answer = Found(name, rounds=min(ours.rounds, theirs.rounds), discarded=max(ours.discarded, theirs.discarded), noise=theirs.noise)
    answer.why = ours.why or theirs.why
    if ours.ratio is not None and theirs.ratio is not None:
        answer.judged, answer.ratio, answer.us, answer.reference_us = True, round(ours.ratio / theirs.ratio, 3), ours.us, theirs.us
        answer.more = {"vnic_to_c": ours.ratio, "peer_to_c": theirs.ratio}
    return answer
