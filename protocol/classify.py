"""
Classify: count frames by EtherType, VLAN, IP protocol and size. It is shown whole batches, and looks at none of their packets.

A batch costs four lines here: its headers are gathered in a block of our own, its lengths are kept, and thousands of frames are counted
together: with numpy, if that is installed, a column at a time, otherwise one by one, with the same counts.

Next: `vnic/batch.py`, what it is shown.
"""

from __future__ import annotations

import importlib
import json
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from errno import ENOENT
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
SIZES = {"64": 64, "65-127": 127, "128-255": 255, "256-511": 511, "512-1023": 1023, "1024-1518": 1518, "1519-": (1 << 31) - 1}
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
        return {
            "frames": self.frames,
            "bytes": self.bytes,
            "ethertypes": {name if isinstance(name, str) else f"{name:#06x}": count for name, count in self.ethertypes.most_common()},
            "vlans": dict(self.vlans.most_common()),
            "protocols": dict(self.protocols.most_common()),
            "sizes": {name: self.sizes[name] for name in CLASSES},
        }


class Classify(ProtocolDriver):
    """Count frames by kind, keep none."""

    def __init__(self, *, promiscuous: bool = False, numpy: bool = True, together: int = 16384, file: str | None = None) -> None:
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
        self.headers = bytearray(HEADER * together)
        self.lengths: list[memoryview] = []
        self.waiting = 0
        self.tally = Tally()

    def bind_adapter(self) -> None:
        """
        Check that there is a folder for the counts: they are written long after.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.file and not (folder := Path(self.file).absolute().parent).is_dir():
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(folder))

    def receive_packets(self, batch: Batch) -> int:
        """Keep the lengths and headers, no packet; with enough of them, count."""
        with self.lock:
            if (self.waiting + len(batch)) * HEADER > len(self.headers):
                self.count()
            if len(batch) * HEADER > len(self.headers):
                self.headers = bytearray(len(batch) * HEADER)
            batch.gather(self.headers, self.waiting)
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
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                with open(fd, "w") as out:
                    json.dump(told, out, indent=1)
                fresh.replace(self.file)
            except OSError:
                fresh.unlink(missing_ok=True)
                raise

    def count(self) -> None:
        """Count what waits; the lock is held."""
        if self.waiting:
            lengths = b"".join(self.lengths)
            headers = memoryview(self.headers)[: HEADER * self.waiting]
            self.lengths, self.waiting = [], 0
            self.tally.add(count_plainly(headers, lengths) if self.numpy is None else count_columns(self.numpy, headers, lengths))


def load_numpy() -> Any:
    """Import numpy; None, if it is not installed."""
    try:
        return importlib.import_module("numpy")
    except ImportError:
        return None


def count_plainly(headers: memoryview, lengths: bytes) -> Tally:
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


def count_columns(numpy: Any, headers: memoryview, lengths: bytes) -> Tally:
    """Count frames with numpy: first those without a tag, then those with one, then those with more."""
    # big-endian words, of which only those are taken out of the rows that may be asked for: each row is a cache line
    words = numpy.frombuffer(headers, ">u2").reshape(-1, HEADER // 2)
    sizes = numpy.frombuffer(lengths, numpy.int32)
    tally = Tally(frames=len(sizes), bytes=int(sizes.sum(dtype=numpy.int64)))
    classes = numpy.bincount(numpy.searchsorted(numpy.array(LIMITS, numpy.int32), sizes), minlength=len(CLASSES))
    tally.sizes.update({name: count for name, count in zip(CLASSES, classes.tolist(), strict=True) if count})
    for at in range(6, 6 + 2 * MOST_TAGS + 1, 2):
        layer = words[:, at : at + 6].T.astype(numpy.uint16, order="C")
        found = occurrences(numpy, layer[0])
        if at == 6 + 2 * MOST_TAGS or found.keys().isdisjoint(TAGS):
            add_layer(numpy, tally, layer, sizes, found, at)
            break
        tagged = ((layer[0] == TAGS[0]) | (layer[0] == TAGS[1])) & (sizes >= 2 * at + 6)
        plain = layer[:, ~tagged]
        add_layer(numpy, tally, plain, sizes[~tagged], occurrences(numpy, plain[0]), at)
        words, sizes = words[tagged], sizes[tagged]
        if at == 6:
            tally.vlans.update(occurrences(numpy, layer[1, tagged] & 0xFFF))
    return tally


def add_layer(numpy: Any, tally: Tally, layer: Any, sizes: Any, found: dict[int, int], at: int) -> None:
    """Count EtherTypes and protocols of frames whose EtherType is word `at`; `layer` has that and the five words behind it."""
    tally.ethertypes.update(found)
    if IPV4 in found:
        whole = (layer[0] == IPV4) & (sizes >= 2 * at + 22) & (layer[1] >> 12 == 4)
        tally.protocols.update(occurrences(numpy, layer[5, whole] & 0xFF))
    if IPV6 in found:
        whole = (layer[0] == IPV6) & (sizes >= 2 * at + 42) & (layer[1] >> 12 == 6)
        tally.protocols.update(occurrences(numpy, layer[4, whole] >> 8))


def occurrences(numpy: Any, values: Any) -> dict[int, int]:
    """How often each value stands in an array."""
    found, counts = numpy.unique(values, return_counts=True)
    pairs: Iterable[tuple[int, int]] = zip(found.tolist(), counts.tolist(), strict=True)
    return dict(pairs)
