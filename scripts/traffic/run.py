#!/usr/bin/env python3
"""
Fire traffic out of an interface, check the replies, and account for every frame.

    scripts/traffic/run.py ping --iface vnic0
    scripts/traffic/run.py flood --iface vnic0 --count 1000000 --rate 200000
    scripts/traffic/run.py all --iface vnic0 --json

Frames enter a TAP from the kernel's side, as if the kernel's own stack had sent them, from a host that the kernel does not know. Each
kind ends with one line; "unexplained" is what the interface's counters cannot account for, and each reply that is missing or wrong.
Frames of other senders make the counters larger: keep the interface quiet (IPv6 off on it), or a lost frame can hide behind them.

Exit status: 0 nothing unexplained, 1 something is, 2 usage, 69 no such interface, 77 no permission.

Next: `kinds.py` for what is sent.
"""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

try:
    from kinds import KINDS, BadFile, Setup, solicit, who_has
except ModuleNotFoundError as error:
    sys.exit(f"traffic: no module {error.name!r} in {sys.executable}: use .venv/bin/python, or install vnic with the extra 'traffic'")
from replies import Hosts
from wire import Unusable, Wire

OK, UNEXPLAINED, USAGE, UNAVAILABLE, PERMISSION, INTERRUPTED = 0, 1, 2, 69, 77, 130
BROADCAST = b"\xff" * 6
SOURCE_MAC = b"\x02\0\0\0\0\x64"


class Report(NamedTuple):
    """The end of one kind. `others` are frames that the interface counted beyond ours."""

    kind: str
    sent: int
    taken: int
    dropped: int
    replies_due: int
    replies: int
    unexplained: int
    wrong: int
    others: int
    refused: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.kind} sent {self.sent}, taken by the reader {self.taken}, dropped by the queue {self.dropped}, "
            f"replies due {self.replies_due}, replies {self.replies}, unexplained {self.unexplained}"
        )


class Bar:
    """A progress bar on a terminal, for what takes longer than two seconds."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._next = time.monotonic() + 2 if sys.stderr.isatty() else float("inf")

    def __call__(self, done: int, total: int) -> None:
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + 0.1
        filled = 40 * done // total
        print(f"\r{self._kind:9} [{'#' * filled}{'.' * (40 - filled)}] {done}/{total}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Wipe the bar."""
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def mac(text: str) -> bytes:
    """Read a MAC address."""
    value = bytes.fromhex(text.replace(":", ""))
    if len(value) != 6:
        raise ValueError(text)
    return value


def ipv4(text: str) -> bytes:
    """Read an IPv4 address."""
    try:
        return socket.inet_pton(socket.AF_INET, text)
    except OSError:
        raise ValueError(text) from None


def ipv6(text: str) -> bytes:
    """Read an IPv6 address."""
    try:
        return socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        raise ValueError(text) from None


def between(low: int, high: int) -> Callable[[str], int]:
    """Make a reader of whole numbers from `low` to `high`."""

    def number(text: str) -> int:
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{int(text)} is not between {low} and {high}")
        return int(text)

    return number


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with status 2 if it makes no sense."""
    kinds = "\n".join(f"  {name:10} {kind.help}" for name, kind in KINDS.items())
    parser = argparse.ArgumentParser(
        description="Fire traffic out of an interface, check the replies, and account for every frame.",
        epilog=f"kinds:\n{kinds}\n  {'all':10} each kind but replay in turn\n\nexample: run.py ping --iface vnic0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    number = between(1, 10**12)
    parser.add_argument("kind", metavar="KIND", choices=(*KINDS, "all"), help="what to send, see below")
    parser.add_argument("--iface", required=True, metavar="NAME", help="the interface, on the kernel's side")
    parser.add_argument("--count", type=number, metavar="N", help="how many frames (default: as many as the kind likes)")
    parser.add_argument("--rate", type=number, metavar="PPS", help="at most so many frames a second")
    parser.add_argument("--target-mac", type=mac, metavar="MAC", help="the target's MAC (default: asked for)")
    parser.add_argument("--target", type=ipv4, default="10.0.0.2", metavar="IP", help="who answers (default: %(default)s)")
    parser.add_argument("--target6", type=ipv6, default="fd00::2", metavar="IP", help="the same for IPv6 (default: %(default)s)")
    parser.add_argument("--source", type=ipv4, default="10.0.0.100", metavar="IP", help="who asks (default: %(default)s)")
    parser.add_argument("--source6", type=ipv6, default="fd00::100", metavar="IP", help="the same for IPv6 (default: %(default)s)")
    parser.add_argument("--mtu", type=between(68, 65521), metavar="BYTES", help="build for this MTU (default: the interface's)")
    parser.add_argument("--seed", type=between(0, 2**64), metavar="N", help="seed of malformed (default: a new one, printed)")
    parser.add_argument("--file", metavar="PCAP", help="what to replay, pcap or pcapng")
    parser.add_argument("--json", action="store_true", help="one JSON object for each kind")
    parser.add_argument("--timeout", type=float, default=2.0, metavar="S", help="longest wait for an answer (default: %(default)s)")
    options = parser.parse_args(arguments)
    if (options.kind == "replay") != (options.file is not None):
        parser.error("replay needs --file PCAP, and only replay has a use for it")
    if not 0 < options.timeout <= 3600:
        parser.error("--timeout must be more than 0 and at most 3600 seconds")
    return options


def note(text: str) -> None:
    """Say something beside the results."""
    print(f"traffic: {text}", file=sys.stderr)


def find_target(wire: Wire, options: argparse.Namespace) -> None:
    """Learn the target's MAC; without an answer go on by broadcast, so that what is owed no answer can be sent all the same."""
    if options.target_mac or options.kind == "replay":
        return
    found = wire.learn(who_has(wire.hosts).frame, options.timeout)
    if found is None and options.kind == "ping6":
        found = wire.learn(solicit(wire.hosts).frame, options.timeout)
    if found is None:
        note(f"{socket.inet_ntoa(options.target)} does not answer on {options.iface!r}: sending to broadcast; --target-mac sets another")
    wire.hosts = wire.hosts._replace(target_mac=found or BROADCAST)


def run(name: str, wire: Wire, setup: Setup, options: argparse.Namespace) -> Report:
    """Send one kind, wait for what is due, and account for it."""
    kind = KINDS[name]
    batch = kind.build(setup)
    count = options.count or batch.usual
    requests = batch.requests if batch.frames else itertools.islice(batch.requests, count)
    bar = Bar(name)
    wire.start(kind.bypass)
    start = time.monotonic()
    if batch.frames:
        wire.blast(batch.frames, count, options.rate, None if kind.bypass else options.timeout, bar)
    wire.ask(requests, count, options.rate, options.timeout, bar)
    seconds = round(time.monotonic() - start, 6)
    wire.drain(options.timeout)
    bar.clear()
    taken, dropped = wire.taken_and_dropped()
    tally = wire.tally
    rest = tally.sent - taken - dropped
    wrong = tally.wrong if kind.judged else 0
    # A broken reply stands in the place of a missing one: the two are one fault.
    unexplained = max(rest, 0) + max(tally.due - tally.replies, wrong)
    for reason in sorted({reason for reason, _ in tally.refused}):
        lengths = [length for why, length in tally.refused.elements() if why == reason]
        note(f"{name}: the kernel refused {len(lengths)} frames of {min(lengths)} to {max(lengths)} bytes from the sender ({reason})")
    refused = tally.refused.total()
    return Report(name, tally.sent, taken, dropped, tally.due, tally.replies, unexplained, wrong, max(-rest, 0), refused, seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parse(arguments)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    target_mac = options.target_mac or BROADCAST
    hosts = Hosts(SOURCE_MAC, options.source, options.source6, target_mac, options.target, options.target6)
    try:
        wire = Wire(options.iface, hosts)
        find_target(wire, options)
        unexplained = 0
        for name in [kind for kind in KINDS if kind != "replay"] if options.kind == "all" else [options.kind]:
            extra: dict[str, Any] = {"seed": seed} if name == "malformed" else {}
            if extra:
                note(f"{name}: seed {seed}")
            report = run(name, wire, Setup(wire.hosts, options.mtu or wire.mtu, seed, options.file), options)
            print(json.dumps(report._asdict() | extra) if options.json else report, flush=True)
            unexplained += report.unexplained
    except PermissionError:
        note("no permission to send raw frames: run as root, or give the command CAP_NET_RAW")
        return PERMISSION
    except Unusable as error:
        note(str(error))
        return UNAVAILABLE
    except BadFile as error:
        note(f"cannot replay {options.file!r}: {error}")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return UNEXPLAINED if unexplained else OK


if __name__ == "__main__":
    sys.exit(main())
