"""
Faults that are provoked on purpose: allocations that fail, sends that pend, packets that must be copied, delays, reuse and returns in
another order. A driver that is right survives them all.

They strike only where the verifier level is 4. The core asks `FAULTS` then, at one place for each mode; below level 4 it does not.
Each mode has a generator of its own: the same seed and the same calls in the same order give the same faults. Where several threads
call, it is they that make the order, and a run is repeated as far as they come in the same order again.

NDIS: what Driver Verifier and NDISTest do to a driver.

Next: `vnic/verifier/records.py`; a record that is written meanwhile has the seed.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections import deque
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from vnic.context import here
from vnic.verifier.levels import LEVELS
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from vnic.core import Binding, Packet, PacketPool
    from vnic.send import SendPath

MOST_SITES = 4096
"""Lines of code that are remembered; at any further one, allocations succeed."""
MOST_DELAYS = 256
"""Delays of one thread that are remembered, which is as many as a handler is forgiven."""
SETTLE_SECONDS = 1.0
"""How long is waited for a completion that is under way on the thread of the pended sends."""
CORE = ("context", "steps", "buffer", "chain", "packet", "facts", "guard", "pool", "ledger", "binding", "send", "lifecycle", "adapter")
HERE = Path(__file__).absolute()
OWN_FILES = frozenset([str(HERE), *[str(HERE.parents[1] / f"{name}.py") for name in CORE]])
"""The files whose lines are no call sites; compiled, most of them have no lines at all."""


class Knob(NamedTuple):
    """One setting of a mode: a whole number if its default is one."""

    name: str
    default: float
    least: float
    most: float
    help: str


class Mode(NamedTuple):
    """
    One mode: what it does, what can be set, and what it can be narrowed to, "driver" or "pool".

    `absent` says why a mode that other verifiers have is not built; empty: it is.
    """

    name: str
    help: str
    knobs: tuple[Knob, ...] = ()
    narrowed: tuple[str, ...] = ()
    absent: str = ""


MODES: tuple[Mode, ...] = (
    Mode(
        "low-resources",
        "allocations of packets, buffers and pools fail at random",
        (Knob("probability", 0.06, 0.0, 1.0, "share that fails"), Knob("after", 0, 0, 10**9, "allocations that succeed first")),
        ("driver", "pool"),
    ),
    Mode(
        "systematic",
        "every line of code that allocates fails once; with nth, the n-th allocation fails instead, and no other",
        (
            Knob("nth", 0, 0, 10**9, "which allocation fails, counted from the start; 0: each line's first"),
            Knob("resume", 0, 0, 1, "1: lines that have failed in an earlier run do not fail again"),
        ),
        ("driver", "pool"),
    ),
    Mode(
        "pend-sends",
        "sends that would be over at once are pending, and completed later, from another thread",
        (
            Knob("ratio", 0.5, 0.0, 1.0, "share that pends"),
            Knob("delay_ms", 1.0, 0.0, 1000.0, "until it completes"),
            Knob("shuffle", 0, 0, 1, "1: after a random part of the delay, and so in another order"),
        ),
        ("driver",),
    ),
    Mode(
        "resources",
        "received packets are shown with status RESOURCES; of an array, all behind one, too",
        (Knob("ratio", 0.1, 0.0, 1.0, "share of packets, or of arrays' packets until the first"),),
        ("pool",),
    ),
    Mode(
        "delays",
        "calls of the library take a little longer: allocate, free, send, return, indicate, complete",
        (Knob("ratio", 0.2, 0.0, 1.0, "share of calls"), Knob("max_us", 100, 1, 2000, "longest delay")),
        ("driver",),
    ),
    Mode(
        "late-reuse",
        "free packets are used again in the order in which they were freed, and late; poison is compared then",
        (Knob("length", 16, 1, 65535, "packets that are used before one is used again; at most half of a pool"),),
        ("pool",),
    ),
    Mode("reorder", "packets that come home within one call go to the miniport, or become free, in random order"),
    Mode(
        "special-pool",
        "single packets on pages of their own, between pages that nobody may touch",
        absent="the copy that level 3 keeps of each packet finds the same writes, and says which bytes; and drivers see packets read-only",
    ),
)
"""Every mode, also those that are not built."""


class Running:
    """
    A mode that is on.

    Attributes:
        calls: how often it was asked.
        struck: how often it has struck.
    """

    def __init__(self, mode: Mode, knobs: dict[str, Any], driver: str | None, pool: str | None, seed: int) -> None:
        self.mode, self.knobs, self.driver, self.pool, self.seed = mode, knobs, driver, pool, seed
        self.random = Random(seed)
        self.calls = self.struck = 0

    def concerns(self, driver: str | None, pool: str | None) -> bool:
        """Whether it is narrowed to something else."""
        return self.driver in (None, driver) and self.pool in (None, pool)

    def strikes(self, share: float) -> bool:
        """Draw; one number for each call, whatever comes of it."""
        self.calls += 1
        struck = self.random.random() < share
        self.struck += struck
        return struck

    def told(self) -> dict[str, Any]:
        """What there is to show of it."""
        narrowed = {name: value for name, value in (("driver", self.driver), ("pool", self.pool)) if value is not None}
        return dict(self.knobs) | narrowed | {"seed": self.seed, "calls": self.calls, "struck": self.struck}


class Delayed(threading.local):
    """The last delays of one thread: when, and how long, in nanoseconds."""

    def __init__(self) -> None:
        self.waits: deque[tuple[int, int]] = deque(maxlen=MOST_DELAYS)


class Faults:
    """
    The modes that are on. What the core asks for stands behind `start`, `stop` and `show`; nothing changes hands here but pended sends.

    Attributes:
        sites: the lines of code at which an allocation has failed on purpose, in order.
    """

    def __init__(self) -> None:
        self.sites: list[str] = []
        self._known: set[str] = set()
        self._on: dict[str, Running] = {}
        # as in the records: a finaliser may come here while this thread is inside
        self._lock = threading.RLock()
        self._later = Later()
        self._behind: WeakKeyDictionary[PacketPool, int] = WeakKeyDictionary()
        self._delayed = Delayed()
        self._never = threading.Lock()
        self._never.acquire()

    def start(self, mode: str, *, driver: str | None = None, pool: str | None = None, seed: int | None = None, **knobs: Any) -> None:
        """
        Begin to provoke faults; a mode that is on begins anew.

        Args:
            mode: its name in `MODES`.
            driver: only when the driver of this name calls, or, outside of all handlers, where its pools are used.
            pool: only in the pool of this name.
            seed: of its generator; without one, a seed is drawn, and shown.
            knobs: as the table has them.

        Raises:
            ValueError: there is no such mode or knob, or a value is out of its range.
        """
        found = mode_of(mode)
        if found.absent:
            raise ValueError(f"mode {mode} is not built: {found.absent}")
        for name, value in (("driver", driver), ("pool", pool)):
            if value is not None and name not in found.narrowed:
                raise ValueError(f"mode {mode} cannot be narrowed to a {name}")
        seed = secrets.randbits(32) if seed is None else seed
        if type(seed) is not int:
            raise ValueError(f"seed {str(seed)[:20]!r} is no whole number")
        settings = {knob.name: checked(found, knob, knobs.pop(knob.name, knob.default)) for knob in found.knobs}
        if knobs:
            known = [knob.name for knob in found.knobs] + [*found.narrowed, "seed"]
            raise ValueError(f"mode {mode} has no {str(next(iter(knobs)))[:40]}: {', '.join(known)}")
        with self._lock:
            self._on[mode] = Running(found, settings, driver, pool, seed)
            if mode == "systematic" and not settings["resume"]:
                self.sites.clear()
                self._known.clear()
            RECORDS.seed = seed
            if mode == "late-reuse":
                self._behind = WeakKeyDictionary({pool: pool.put_behind for pool in LEVELS.all_pools()})
        self._apply()

    def stop(self, mode: str | None = None) -> None:
        """
        End a mode, or all. Sends that were pended are completed before this returns.

        Raises:
            ValueError: there is no such mode.
        """
        ended = [one.name for one in MODES] if mode is None else [mode_of(mode).name]
        with self._lock:
            for name in ended:
                self._on.pop(name, None)
            # of those that are on still, the last that was started
            RECORDS.seed = next((running.seed for running in reversed(self._on.values())), None)
        if "pend-sends" in ended:
            self._later.hurry()
        self._apply()

    def show(self) -> dict[str, Any]:
        """The modes that are on, by name: knobs, seed, how often each was asked and has struck; of the systematic one, where."""
        with self._lock:
            shown = {name: running.told() for name, running in self._on.items()}
            if "late-reuse" in shown:
                # they are counted by the pools, as nothing may run there that is not compiled; those that are gone do not count
                behind = sum(pool.put_behind - self._behind.get(pool, 0) for pool in LEVELS.all_pools())
                shown["late-reuse"]["calls"] = shown["late-reuse"]["struck"] = behind
            if "systematic" in shown:
                shown["systematic"]["sites"] = list(self.sites)
            return shown

    def _apply(self) -> None:
        """Let every pool look again how many packets it keeps back."""
        for pool in LEVELS.all_pools():
            pool.verifier_level = pool.verifier_level

    # what the core asks at level 4

    def fails(self, what: str, pool: str, owner: Binding | None) -> bool:
        """
        Whether an allocation fails.

        Args:
            what: what is allocated.
            pool: from which pool, or the pool itself.
            owner: in whose handler the pool was made: it is the driver if no handler runs now.
        """
        if "low-resources" not in self._on and "systematic" not in self._on:
            return False
        driver = driver_of(owner)
        with self._lock:
            random, systematic = self._on.get("low-resources"), self._on.get("systematic")
            struck = False
            if random is not None and random.concerns(driver, pool):
                struck = random.strikes(random.knobs["probability"] if random.calls >= random.knobs["after"] else 0)
            if systematic is not None and systematic.concerns(driver, pool):
                struck |= self._fails_once(systematic, what)
            return struck

    def _fails_once(self, systematic: Running, what: str) -> bool:
        nth = systematic.knobs["nth"]
        systematic.calls += 1
        if nth and systematic.calls != nth:
            return False
        site = f"{call_site()} {what}"
        if not nth and (site in self._known or len(self._known) >= MOST_SITES):
            return False
        if site not in self._known and len(self._known) < MOST_SITES:
            self._known.add(site)
            self.sites.append(site)
        systematic.struck += 1
        return True

    def delay(self, owner: Binding | None) -> None:
        """Wait a little, at the beginning of a call. Other threads run meanwhile."""
        running = self._on.get("delays")
        if running is None or not running.concerns(driver_of(owner), None):
            return
        with self._lock:
            struck = running.strikes(running.knobs["ratio"])
            wait_us = running.random.uniform(0, running.knobs["max_us"]) if struck else 0
        if struck:
            began = time.monotonic_ns()
            # a lock that nobody lets go: no rule takes it for a sleep
            self._never.acquire(timeout=wait_us / 1e6)
            self._delayed.waits.append((began, time.monotonic_ns() - began))

    def delayed_since(self, started: int) -> int:
        """How long calls on this thread were delayed since a handler began, in nanoseconds: that time is not the driver's."""
        return sum(took for began, took in self._delayed.waits if began >= started)

    def lends(self, pool: str) -> bool:
        """Whether a packet is shown with status RESOURCES."""
        running = self._on.get("resources")
        if running is None or not running.concerns(None, pool):
            return False
        with self._lock:
            return running.strikes(running.knobs["ratio"])

    def pends(self, driver: str) -> bool:
        """Whether a send that is over is to be pending; then `complete_later` follows."""
        running = self._on.get("pend-sends")
        if running is None or not running.concerns(driver, None):
            return False
        with self._lock:
            return running.strikes(running.knobs["ratio"])

    def complete_later(self, sends: SendPath, packet: Packet) -> None:
        """Have a pended send completed when it is due."""
        with self._lock:
            running = self._on.get("pend-sends")
            share = 0.0 if running is None else running.knobs["delay_ms"]
            if running is not None and running.knobs["shuffle"]:
                share = running.random.uniform(0, share)
        self._later.add(share / 1000, sends, packet)

    def wait_for(self, sends: SendPath) -> None:
        """Wait for the completion that another thread is in the middle of, if it is one of these sends."""
        self._later.wait_for(sends)

    def reserve_of(self, pool: PacketPool) -> int:
        """How many free packets a pool keeps back, so that each is used late."""
        running = self._on.get("late-reuse")
        if running is None or not running.concerns(None, pool.name):
            return 0
        return min(int(running.knobs["length"]), pool.capacity // 2)

    def reorders(self) -> bool:
        """Whether packets come home in another order."""
        return "reorder" in self._on

    def shuffle(self, packets: list[Packet]) -> None:
        """Put packets that come home together into a random order, in place."""
        running = self._on.get("reorder")
        if running is None:
            return
        with self._lock:
            before = list(packets)
            running.random.shuffle(packets)
            running.calls += 1
            running.struck += any(one is not other for one, other in zip(before, packets, strict=True))


class Later:
    """Sends that are pended, and the thread that completes them. It is there while there are some."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, SendPath, Any]] = []
        self._number = 0
        self._thread: threading.Thread | None = None
        self._completing: SendPath | None = None
        self._hurried = 0

    def add(self, seconds: float, sends: SendPath, packet: Any) -> None:
        """Complete a send after a time."""
        with self._changed:
            self._number += 1
            heappush(self._waiting, (time.monotonic() + seconds, self._number, sends, packet))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="vnic-pended-sends", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def hurry(self) -> None:
        """Complete everything now; wait for it, unless this is called from inside of a completion."""
        with self._changed:
            if self._thread is None:
                return
            self._hurried = self._number
            self._changed.notify_all()
            if self._thread is not threading.current_thread():
                self._changed.wait_for(lambda: self._completing is None and not self._waiting, SETTLE_SECONDS)

    def wait_for(self, sends: SendPath) -> None:
        """Wait until no completion of these sends is under way, for a second at most: it may itself wait for the caller."""
        with self._changed:
            if self._thread is not threading.current_thread():
                self._changed.wait_for(lambda: self._completing is not sends, SETTLE_SECONDS)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    return
                due, number, sends, packet = self._waiting[0]
                left = due - time.monotonic()
                if left > 0 and number > self._hurried:
                    self._changed.wait(left)
                    continue
                heappop(self._waiting)
                self._completing = sends
            try:
                sends.complete_pended(packet)
            finally:
                del packet
                with self._changed:
                    self._completing = None
                    self._changed.notify_all()


def mode_of(name: str) -> Mode:
    """
    Find a mode.

    Raises:
        ValueError: there is none of that name.
    """
    for mode in MODES:
        if mode.name == name:
            return mode
    raise ValueError(f"there is no mode {str(name)[:40]}: {', '.join(mode.name for mode in MODES if not mode.absent)}")


def checked(mode: Mode, knob: Knob, value: Any) -> float:
    """
    Check the value of a knob.

    Raises:
        ValueError: it is out of its range, or no number.
    """
    kinds = (int, bool) if isinstance(knob.default, int) else (int, float)
    if type(value) not in kinds or not knob.least <= value <= knob.most:
        what = "a whole number" if isinstance(knob.default, int) else "a number"
        raise ValueError(f"{mode.name}: {knob.name} {str(value)[:20]!r} is not {what} from {knob.least} to {knob.most}")
    return type(knob.default)(value)


def driver_of(owner: Binding | None) -> str | None:
    """The driver whose handler runs on this thread; if none does, whose pool it is."""
    binding = here().binding or owner
    return None if binding is None else str(binding.name)


def call_site() -> str:
    """The innermost line outside of the core: "file:line"."""
    frame = sys._getframe(0)
    while frame.f_back is not None and frame.f_code.co_filename in OWN_FILES:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


FAULTS = Faults()
