"""
Two drivers that are shown whole indications: one counts, one classifies with numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vnic import ProtocolDriver

TOGETHER = 65536
"""Frames that are counted at a time: a call of numpy takes about a microsecond, however little it does."""


class Totals(ProtocolDriver):
    """Count the frames of each batch, and keep nothing."""

    frames = 0

    def receive_packets(self, batch: Any) -> int:
        self.frames += len(batch)
        return 0


class Classifier(ProtocolDriver):
    """Count by EtherType, as numpy does it: no loop over packets. Of each batch the column of EtherTypes is gathered."""

    def __init__(self) -> None:
        self.column: Any = np.empty(TOGETHER, np.uint16)
        self.rows: memoryview = self.column.data
        self.waiting = 0
        self.by_type: Any = np.zeros(1 << 16, np.int64)

    def receive_packets(self, batch: Any) -> int:
        count = len(batch)
        if self.waiting + count > TOGETHER:
            self.count()
        batch.gather(self.rows, self.waiting, 12, 2)
        self.waiting += count
        return 0

    def count(self) -> None:
        """Count what waits; the numbers are in the byte order of the wire."""
        self.by_type += np.bincount(self.column[: self.waiting], minlength=1 << 16)
        self.waiting = 0
