"""
Classify: count frames by EtherType, VLAN, IP protocol and size. It is shown whole batches, and looks at none of their packets.

A batch costs four lines here: its lengths and headers are kept, which are copies, and thousands of frames are counted together: with
numpy, if that is installed, a column at a time, otherwise one by one, with the same counts.

Next: `vnic/batch.py`, what it is shown.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from vnic import Batch, PacketFilter, ProtocolDriver
from vnic.core import HEADER

MOST_ETHERTYPES = 64
"""The wire decides what EtherTypes there are, so their number is bounded here."""
TAGS = (0x8100, 0x88A8)
MOST_TAGS = 2
IPV4, IPV6 = 0x0800, 0x86DD
IEEE_802_3 = 0x05FF
"""Below an EtherType it is a length."""
SIZES = {"64": 64, "65-127": 127, "128-255": 255, "256-511": 511, "512-1023": 1023, "1024-1518": 1518, "1519-": 1 << 31}
"""Classes by bytes of a frame without its checksum, with the upper end of each; the first is up to 64."""
LIMITS, CLASSES = list(SIZES.values()), list(SIZES)


@dataclass
class Tally:
    """
    How many frames there were of each kind.

    Attributes:
        frames: all of them.
        bytes: their lengths together.
        ethertypes: by the EtherType behind the VLAN tags, two at most; "802.3", if it is a length; "other", what came after 64 of them.
        vlans: by the number in the outer tag.
        protocols: of whole IPv4 and IPv6 headers, the protocol or the first next header.
        sizes: by class.
    """

    frames: int = 0
    bytes: int = 0
    ethertypes: Counter[int | str] = field(default_factory=Counter)
    vlans: Counter[int] = field(default_factory=Counter)
    protocols: Counter[int] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add what another one has; EtherTypes are taken in their order, as long as there is room."""
        self.frames += other.frames
        self.bytes += other.bytes
        for ethertype, count in sorted(other.ethertypes.items()):
            name: int | str = "802.3" if int(ethertype) <= IEEE_802_3 else ethertype
            known = name in self.ethertypes or len(self.ethertypes) < MOST_ETHERTYPES
            self.ethertypes[name if known else "other"] += count
        self.vlans.update(other.vlans)
        self.protocols.update(other.protocols)
        self.sizes.update(other.sizes)

    def told(self) -> dict[str, Any]:
        """As JSON has it, the most frequent first."""
        ethertypes = {name if isinstance(name, str) else f"{name:#06x}": count for name, count in self.ethertypes.most_common()}
        vlans, protocols = ({str(key): count for key, count in one.most_common()} for one in (self.vlans, self.protocols))
        sizes = {name: self.sizes[name] for name in CLASSES}
        return {"frames": self.frames, "bytes": self.bytes, "ethertypes": ethertypes, "vlans": vlans, "protocols": protocols, "sizes": sizes}


class Classify(ProtocolDriver):
    """Count frames by kind, keep none."""

    def __init__(self, *, promiscuous: bool = False, numpy: bool = True, together: int = 4096, file: str | None = None) -> None:
        """
        Check the options.

        Args:
            promiscuous: also count frames for other stations.
            numpy: count with numpy, if it is installed.
            together: frames that are counted at a time.
            file: where the counts are written, as JSON, when the driver is unbound, and on SIGUSR2.

        Raises:
            ValueError: an option is out of its range.
        """
        if not 1 <= together <= 1 << 20:
            raise ValueError(f"together {together} is outside 1..{1 << 20}")
        if promiscuous:
            self.packet_filter |= PacketFilter.PROMISCUOUS
        self.numpy = load_numpy() if numpy else None
        self.together, self.file = together, file
        self.lock = Lock()  # looped-back frames come on the thread that sent them
        self.headers: list[memoryview] = []
        self.lengths: list[memoryview] = []
        self.waiting = 0
        self.tally = Tally()

    def receive_packets(self, batch: Batch) -> int:
        """Keep the lengths and headers, no packet; with enough of them, count."""
        with self.lock:
            self.headers.append(batch.headers)
            self.lengths.append(batch.lengths)
            self.waiting += len(batch)
            if self.waiting >= self.together:
                self.count()
        return 0

    def counts(self) -> Tally:
        """What has been counted up to now."""
        with self.lock:
            self.count()
            return self.tally

    def unbind_adapter(self) -> None:
        """Write the counts."""
        self.rotate()

    def rotate(self) -> None:
        """Write the counts as they are now: the file is new, or as it was."""
        told = self.counts().told()
        if self.file:
            fresh = Path(f"{self.file}.new")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as out:
                json.dump(told, out, indent=1)
            fresh.replace(self.file)

    def count(self) -> None:
        """Count what waits; the lock is held."""
        if self.waiting:
            headers, lengths = b"".join(self.headers), b"".join(self.lengths)
            self.headers, self.lengths, self.waiting = [], [], 0
            self.tally.add(count_plainly(headers, lengths) if self.numpy is None else count_columns(self.numpy, headers, lengths))


def load_numpy() -> Any:
    """Import numpy; None, if it is not installed."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def count_plainly(headers: bytes, lengths: bytes) -> Tally:
    """Count frames one by one."""
    tally = Tally()
    for position, length in enumerate(memoryview(lengths).cast("i")):
        header = headers[position * HEADER : (position + 1) * HEADER]
        tally.frames += 1
        tally.bytes += length
        tally.sizes[CLASSES[bisect_left(LIMITS, length)]] += 1
        at, ethertype = 12, header[12] << 8 | header[13]
        while ethertype in TAGS and at < 12 + 4 * MOST_TAGS and length >= at + 6:
            if at == 12:
                tally.vlans[(header[14] << 8 | header[15]) & 0xFFF] += 1
            at += 4
            ethertype = header[at] << 8 | header[at + 1]
        tally.ethertypes[ethertype] += 1
        if ethertype == IPV4 and length >= at + 22 and header[at + 2] >> 4 == 4:
            tally.protocols[header[at + 11]] += 1
        elif ethertype == IPV6 and length >= at + 42 and header[at + 2] >> 4 == 6:
            tally.protocols[header[at + 8]] += 1
    return tally


def count_columns(numpy: Any, headers: bytes, lengths: bytes) -> Tally:
    """Count frames with numpy: first those without a tag, then those with one, then those with more."""
    rows = numpy.frombuffer(headers, numpy.uint8).reshape(-1, HEADER)
    sizes = numpy.frombuffer(lengths, numpy.int32)
    tally = Tally(frames=len(sizes), bytes=int(sizes.sum(dtype=numpy.int64)))
    classes = numpy.bincount(numpy.searchsorted(LIMITS, sizes), minlength=len(CLASSES))
    tally.sizes.update({name: count for name, count in zip(CLASSES, classes.tolist(), strict=True) if count})
    for at in range(12, 12 + 4 * MOST_TAGS + 1, 4):
        ethertypes = rows[:, at].astype(numpy.uint16) << 8 | rows[:, at + 1]
        tagged = ((ethertypes == TAGS[0]) | (ethertypes == TAGS[1])) & (sizes >= at + 6) & (at < 12 + 4 * MOST_TAGS)
        some = bool(tagged.any())
        plain = ~tagged if some else slice(None)
        add_layer(numpy, tally, rows[plain], sizes[plain], ethertypes[plain], at)
        if not some:
            break
        rows, sizes = rows[tagged], sizes[tagged]
        if at == 12:
            tally.vlans.update(occurrences(numpy, (rows[:, 14].astype(numpy.uint16) << 8 | rows[:, 15]) & 0xFFF))
    return tally


def add_layer(numpy: Any, tally: Tally, rows: Any, sizes: Any, ethertypes: Any, at: int) -> None:
    """Count EtherTypes and protocols of frames that have their EtherType at the same place."""
    found = occurrences(numpy, ethertypes)
    tally.ethertypes.update(found)
    for ethertype, version, header, protocol in ((IPV4, 4, 20, 9), (IPV6, 6, 40, 6)):
        if ethertype in found:
            whole = (ethertypes == ethertype) & (sizes >= at + 2 + header) & (rows[:, at + 2] >> 4 == version)
            tally.protocols.update(occurrences(numpy, rows[whole, at + 2 + protocol]))


def occurrences(numpy: Any, values: Any) -> dict[int, int]:
    """How often each value stands in an array."""
    found, counts = numpy.unique(values, return_counts=True)
    pairs: Iterable[tuple[int, int]] = zip(found.tolist(), counts.tolist(), strict=True)
    return dict(pairs)
