"""
The wire: frames out of an interface, replies back in, and the interface's own count of what became of them.

Frames leave through a raw AF_PACKET socket on the kernel side of a TAP, so each of them goes to whoever reads the TAP. The kernel
takes 14 to MTU + 14 bytes, and four bytes more only if the outermost tag is 802.1Q (0x8100); anything else it refuses to the
sender's face (EINVAL, EMSGSIZE). It counts a frame as TX packet when the reader takes it, as TX dropped when the queue is full.

Next: `kinds.py` for the frames, `run.py` for the command.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from replies import WRONG, Hosts, Request, answer, reply_key

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
PACKET_IGNORE_OUTGOING = 23
PACKET_OUTGOING = 4
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SIOCGIFMTU = 0x8921
SOCKET_BUFFER = 1 << 23
LONGEST = 65536 + 64
WINDOW = 64
BURST = 256
RETRIES = 100
SETTLED_S = 0.5
GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENETDOWN})

Progress = Callable[[int, int], None]


class Unusable(Exception):
    """The interface cannot be used (any more); says why and what to do."""


@dataclass
class Tally:
    """What was sent and answered. `refused` counts by reason and length what the kernel would not take from the sender."""

    accepted: int = 0
    dropped_at_once: int = 0
    due: int = 0
    replies: int = 0
    wrong: int = 0
    refused: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        """Frames handed over, among them those that found the queue full."""
        return self.accepted + self.dropped_at_once


def enlarge(sock: socket.socket, force: int, ask: int) -> None:
    """Make a socket's buffer large: beyond the limit where that is allowed, up to it in a user namespace, where it is not."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, SOCKET_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, ask, SOCKET_BUFFER)


class Wire:
    """
    One interface: a socket to send, a socket to listen, and the interface's counters since `start`.

    Args:
        name: the interface.
        hosts: our host and the target.
    """

    def __init__(self, name: str, hosts: Hosts) -> None:
        self.name = name
        self.hosts = hosts
        try:
            self._tx = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._rx = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._rx.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            enlarge(self._rx, SO_RCVBUFFORCE, socket.SO_RCVBUF)
            enlarge(self._tx, SO_SNDBUFFORCE, socket.SO_SNDBUF)
            self._tx.bind((name, 0))
            self._rx.bind((name, ETH_P_ALL))
            self.mtu: int = struct.unpack("16xi12x", fcntl.ioctl(self._tx, SIOCGIFMTU, struct.pack("16s16x", name.encode())))[0]
        except PermissionError:
            raise
        except OSError as error:
            raise Unusable(f"no usable interface {name!r} ({error.strerror or error}): create it and set it up first") from None
        self._tx.setblocking(False)
        self._rx.setblocking(False)
        self.start(bypass=False)

    def start(self, bypass: bool) -> None:
        """Begin a new account. With `bypass` frames skip the queueing discipline: faster, and a full queue is told at once."""
        self._tx.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, int(bypass))
        self.tally = Tally()
        self._answered_at = time.monotonic()
        self._outstanding: Counter[bytes] = Counter()
        self._before = self._counters()

    def _counters(self) -> tuple[int, int]:
        with open("/proc/self/net/dev", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                name, _, values = line.rpartition(":")
                if name.strip() == self.name:
                    fields = values.split()
                    return int(fields[9]), int(fields[11])
        raise self._gone()

    def _gone(self) -> Unusable:
        return Unusable(f"interface {self.name!r} is down or gone: set it up, and keep it while traffic runs")

    def taken_and_dropped(self) -> tuple[int, int]:
        """
        Say what became of the frames: (taken by the reader, dropped by the queue).

        Both hold frames of other senders too. With the queueing discipline bypassed some kernels report a full queue to the sender
        without counting it, others do both; hence the larger of the two.
        """
        packets, dropped = self._counters()
        return packets - self._before[0], max(dropped - self._before[1], self.tally.dropped_at_once)

    def send(self, frame: bytes) -> bool:
        """
        Hand one frame to the kernel.

        ENOBUFS is not tried again: the queue is full and has dropped (and mostly counted) the frame, a second try would be a second frame.

        Returns:
            True if the kernel took it.
        """
        for _ in range(RETRIES):
            try:
                self._tx.send(frame)
            except BlockingIOError:
                select.select((), (self._tx,), (), 0.01)
                continue
            except OSError as error:
                if error.errno in GONE:
                    raise self._gone() from None
                if error.errno == errno.ENOBUFS:
                    self.tally.dropped_at_once += 1
                else:
                    self.tally.refused[errno.errorcode.get(error.errno or 0, "unknown"), len(frame)] += 1
                return False
            self.tally.accepted += 1
            return True
        self.tally.refused["EAGAIN", len(frame)] += 1
        return False

    def _receive(self, wait_s: float) -> Iterable[bytes]:
        # At most one burst at a time, so that a flood towards us cannot keep the sender from its own work.
        if wait_s and not select.select((self._rx,), (), (), wait_s)[0]:
            return
        for _ in range(BURST):
            try:
                frame, address = self._rx.recvfrom(LONGEST)
            except BlockingIOError:
                return
            except OSError:
                raise self._gone() from None
            if address[2] != PACKET_OUTGOING:
                yield frame

    def pump(self, wait_s: float = 0.0) -> None:
        """Take in what has arrived: tick off replies, answer for our own address."""
        matched = 0
        for frame in self._receive(wait_s):
            if (reply := answer(frame, self.hosts)) is not None:
                self.send(reply)
                continue
            if (key := reply_key(frame, self.hosts)) is None:
                continue
            if self._outstanding[key] > 0:
                self._outstanding[key] -= 1
                matched += 1
            else:
                self.tally.wrong += 1
        if matched:
            self.tally.replies += matched
            self._answered_at = time.monotonic()

    def _names_target(self, frame: bytes) -> bool:
        named = frame[28:32] == self.hosts.target or frame[62:78] == self.hosts.target6
        return named and reply_key(frame, self.hosts) not in (None, WRONG)

    def learn(self, question: bytes, timeout_s: float) -> bytes | None:
        """Ask up to three times who the target is; the MAC of the first who answers for one of its addresses."""
        for asked_before in range(3):
            self.send(question)
            deadline = time.monotonic() + timeout_s / 3
            while (left := deadline - time.monotonic()) > 0:
                for frame in self._receive(left):
                    if (reply := answer(frame, self.hosts)) is not None:
                        self.send(reply)
                    elif self._names_target(frame):
                        # A target that woke up late answers the earlier questions too; nobody waits for those answers.
                        for _ in range(asked_before):
                            list(self._receive(0.2))
                        return frame[6:12]
        return None

    def blast(self, frames: Sequence[bytes], count: int, rate: int | None, patience_s: float | None, progress: Progress) -> None:
        """
        Send frames in small bursts.

        Args:
            frames: what to send, over and over.
            count: how many.
            rate: at most so many a second.
            patience_s: how long to let the reader take a burst before the next, so that its queue does not overflow; None: not at all.
                A reader that takes nothing for so long is not waited for again.
            progress: told how far this is.
        """
        burst = min(BURST, max(1, rate // 500)) if rate else BURST
        source = itertools.cycle(frames)
        start = time.monotonic()
        for done in range(0, count, burst):
            if rate and (early := start + done / rate - time.monotonic()) > 0:
                time.sleep(early)
            for frame in itertools.islice(source, min(burst, count - done)):
                self.send(frame)
            self.pump()
            if patience_s and not self.drain(patience_s):
                patience_s = None
            progress(done, count)

    def ask(self, requests: Iterable[Request], count: int, rate: int | None, timeout_s: float, progress: Progress) -> None:
        """
        Send requests, at most WINDOW of them unanswered, so that no queue overflows.

        Stops when nothing has been answered for `timeout_s`; what is then unanswered stays missing.
        """
        start = self._answered_at = time.monotonic()
        for done, request in enumerate(requests):
            if rate and (early := start + done / rate - time.monotonic()) > 0:
                time.sleep(early)
            # Before the send: a reply may come at once, and by then it must be expected.
            self._outstanding[request.key] += 1
            if self.send(request.frame):
                self.tally.due += 1
            else:
                self._outstanding[request.key] -= 1
            self.pump()
            progress(done, count)
            if not self._wait(WINDOW - 1, timeout_s):
                return
        self._wait(0, timeout_s)

    def _wait(self, unanswered: int, timeout_s: float) -> bool:
        while self.tally.due - self.tally.replies > unanswered:
            if time.monotonic() - self._answered_at > timeout_s:
                return False
            self.pump(0.05)
        return True

    def drain(self, timeout_s: float) -> bool:
        """Wait, but not longer than `timeout_s`, until the counters stand still; True as soon as every frame is taken or dropped."""
        deadline = time.monotonic() + timeout_s
        seen, changed = (-1, -1), time.monotonic()
        while (now := time.monotonic()) < deadline:
            counters = self.taken_and_dropped()
            if sum(counters) >= self.tally.sent:
                return True
            if counters != seen:
                seen, changed = counters, now
            if now - changed > SETTLED_S:
                return False
            self.pump(0.001)
        return False
