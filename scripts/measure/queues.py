"""
Several queues of one TAP, each drained by a thread on a core of its own: vnic against as many threads in C, and one queue against two.

By the time that passes, from the moment at which all threads begin to that at which the last one has nothing left: a thread that waits for
the GIL takes longer, and no processor time shows it. So that other programs count little here too, all threads, those in C as well, run
at a real-time priority if they may, turns are short, and there are more of them than elsewhere.

The kernel spreads frames over the queues by a hash of their flow, which is another one in each boot. Which UDP port belongs to which queue
is found out first, and then every queue is given the same number of flows and of frames.

Next: `figures.py`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from contest import Found, Setting, contest
from readers import Counter, Keeper, compiled_counter
from taps import IFF_MULTI_QUEUE, PACKET_QDISC_BYPASS, SO_SNDBUFFORCE, SOL_PACKET, build_floor, open_tap

from vnic import Adapter, MiniportDriver, PacketPool, ProtocolDriver, Status, slot_size_for

FLOWS = 32
"""Flows for each queue."""
FIRST_PORT = 10_000
MOST_PORTS = 4000
BURST = 8000
"""Frames of one turn, in all queues together: a few milliseconds."""
BUDGET = 256
"""Frames of one batch: the larger, the less often the GIL changes hands. With 64 the ratio of two queues is lower by 0.03 to 0.05."""
TIMES = 4
"""So many times as many rounds are judged as elsewhere."""
NOISE = 0.10
"""How far the C threads may move around a turn: no two threads on two processors are as steady as one on one."""
Make = Callable[[], list[ProtocolDriver]]


class QueuesTap:
    """
    A TAP with several queues, each of which holds its part of a run; a socket that fills them, and the C threads that drain them.

    Args:
        queues: how many.
        size: bytes of a frame.
        frames: how many are queued at most.
    """

    def __init__(self, queues: int, size: int, frames: int) -> None:
        self.name = f"queues{queues}"
        self.floor = build_floor()
        self.fds = [open_tap(self.name, IFF_MULTI_QUEUE if queues > 1 else 0) for _ in range(queues)]
        self.cores = (sorted(os.sched_getaffinity(0)) * queues)[:queues]
        self.spent = 0
        Path(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6").write_text("1")
        subprocess.run(["ip", "link", "set", self.name, "up", "txqueuelen", str(frames + 100)], check=True)
        self.index = socket.if_nametoindex(self.name)
        self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sender.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        self.sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 30)
        self.frame = (ctypes.c_ubyte * size)(*frame_of(size))
        self.ports = (ctypes.c_ushort * (FLOWS * queues))(*self._even_ports())

    def _even_ports(self) -> list[int]:
        """As many ports for each queue, in turn."""
        found: list[list[int]] = [[] for _ in self.fds]
        for port in range(FIRST_PORT, FIRST_PORT + MOST_PORTS):
            self.floor.fill_flows(self.sender.fileno(), self.index, self.frame, len(self.frame), (ctypes.c_ushort * 1)(port), 1, 1)
            for fd, ports in zip(self.fds, found, strict=True):
                try:
                    os.read(fd, 2048)
                except BlockingIOError:
                    continue
                ports.append(port)
            if all(len(ports) >= FLOWS for ports in found):
                return [ports[number] for number in range(FLOWS) for ports in found]
        raise SystemExit(f"bench: of {MOST_PORTS} flows not {FLOWS} go to each queue of {self.name}")

    def fill(self, count: int) -> int:
        """Queue so many frames, as many in each queue; answers how many there are."""
        place = (self.sender.fileno(), self.index, self.frame, len(self.frame))
        return int(self.floor.fill_flows(*place, self.ports, len(self.ports), count))

    def drain(self, count: int) -> int:
        """Read so many with a C thread for each queue; answers the nanoseconds that passed."""
        got, spent, many = ctypes.c_int(), ctypes.c_longlong(), len(self.fds)
        fds, cores = (ctypes.c_int * many)(*self.fds), (ctypes.c_int * many)(*self.cores)
        taken = int(self.floor.drain_apart(fds, cores, many, ctypes.byref(got), ctypes.byref(spent)))
        if got.value != count:
            raise SystemExit(f"bench: the C threads read {got.value} of {count} frames")
        self.spent = spent.value
        return taken

    def close(self) -> None:
        """The interface goes with its descriptors."""
        self.sender.close()
        for fd in self.fds:
            os.close(fd)


class QueuesReader:
    """
    An adapter that reads the queues of a TAP, its drivers, and a thread on its own core for each queue.

    Args:
        tap: whose queues.
        drivers: whom it shows the frames to.
    """

    def __init__(self, tap: QueuesTap, drivers: Sequence[ProtocolDriver]) -> None:
        self.adapter = Adapter(PacketPool(1024, slot_size_for(1500), name=tap.name), MiniportDriver(), name=tap.name)
        self.adapter.attach(tap.fds[0])
        for fd in tap.fds[1:]:
            self.adapter.attach_queue(fd)
        self.bindings = [self.adapter.open(driver, f"{type(driver).__name__.lower()}{number}") for number, driver in enumerate(drivers)]
        self.begin = threading.Barrier(len(tap.fds) + 1)
        self.over = threading.Barrier(len(tap.fds) + 1)
        self.ending = False
        self.times: list[tuple[int, int, int]] = [(0, 0, 0)] * len(tap.fds)
        self.threads = [threading.Thread(target=self._run, args=each, daemon=True) for each in enumerate(tap.cores)]
        for thread in self.threads:
            thread.start()

    def _run(self, queue: int, core: int) -> None:
        os.sched_setaffinity(0, {core})
        receive = self.adapter.receive_batch
        while True:
            self.begin.wait()
            if self.ending:
                return
            count, start = 0, time.monotonic_ns()
            while taken := receive(BUDGET, queue):
                count += taken
            self.times[queue] = (start, time.monotonic_ns(), count)
            self.over.wait()

    def drain(self, count: int) -> int:
        """Take so many frames that are queued; answers the nanoseconds that passed."""
        self.begin.wait()
        self.over.wait()
        starts, ends, counts = zip(*self.times, strict=True)
        if sum(counts) != count:
            raise SystemExit(f"bench: the adapter read {sum(counts)} of {count} frames")
        return int(max(ends) - min(starts))

    def close(self) -> None:
        """End the threads and unbind the drivers; the descriptors are the TAP's."""
        self.ending = True
        self.begin.wait()
        for thread in self.threads:
            thread.join()
        for binding in self.bindings:
            assert self.adapter.close(binding) is Status.SUCCESS


def frame_of(size: int) -> bytes:
    """A broadcast frame of IPv4 and UDP, from a station that is not there; its port is to be filled in."""
    length = size - 14
    header = b"\x45\0" + length.to_bytes(2) + bytes(4) + b"\x40\x11\0\0" + bytes([10, 0, 0, 100, 10, 0, 0, 2])
    udp = bytes(2) + (9).to_bytes(2) + (length - 20).to_bytes(2) + bytes(2)
    return (b"\xff" * 6 + b"\x02\0\0\0\0\x64" + b"\x08\0" + header + udp).ljust(size, b"\0")


def kinds() -> dict[str, Make]:
    """Who is bound."""
    found: dict[str, Make] = {"no Python driver": list}
    compiled = compiled_counter()
    if compiled is not None:
        found["no Python driver"] = lambda: [compiled()]
    found["two Python drivers, nothing kept"] = lambda: [Counter(), Counter()]
    found["two Python drivers, one keeps and returns"] = lambda: [Counter(), KeeperOfQueues()]
    return found


class KeeperOfQueues(Keeper):
    """Keep each packet until the batch of its queue is over: a list for each thread."""

    def __init__(self) -> None:
        self.own = threading.local()

    def receive_packet(self, packet: object) -> int:
        self.own.__dict__.setdefault("kept", []).append(packet)
        return 1

    def receive_complete(self) -> None:
        self.binding.return_packets(self.own.kept)
        self.own.kept.clear()


@contextmanager
def before_all_others() -> Iterator[None]:
    """Run at a real-time priority, and every thread that is made meanwhile; without the right to it, as before."""
    policy, before = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, before)


@before_all_others()
def measure(setting: Setting) -> list[Found]:
    """Two queues against two C threads, and how much two are more than one, in C and here."""
    if len(os.sched_getaffinity(0)) < 2:
        return [Found("two queues, no Python driver", why="one core: two threads would take turns on it")]
    tolerance = max(setting.tolerance, NOISE)
    taps = {queues: QueuesTap(queues, 64, BURST) for queues in (1, 2)}
    readers = {queues: {name: QueuesReader(tap, make()) for name, make in kinds().items()} for queues, tap in taps.items()}
    answers, one = [], {}
    for queues, word in ((1, "one queue"), (2, "two queues")):
        tap = taps[queues]
        others = {name: reader.drain for name, reader in readers[queues].items()}
        found = contest(cast("Any", tap), tap.drain, others, rounds=TIMES * setting.rounds, frames=BURST, burst=BURST, tolerance=tolerance)
        for name, figure in found.items():
            figure.name = f"{word}, {name}"
            if queues == 1:
                one[name] = figure
            elif figure.judged and one[name].judged:
                more = {"one_to_two": (one[name].us, figure.us), "one_to_two_c": (one[name].reference_us, figure.reference_us)}
                figure.more = {key: round((alone or 0) / (both or 1), 2) for key, (alone, both) in more.items()}
            answers.append(figure)
    for queues, tap in taps.items():
        for reader in readers[queues].values():
            reader.close()
        tap.close()
    return answers
