"""
Two drivers that are shown whole indications: one counts, one classifies with numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vnic import ProtocolDriver


class Totals(ProtocolDriver):
    """Count the frames of each batch, and keep nothing."""

    frames = 0

    def receive_packets(self, batch: Any) -> int:
        self.frames += len(batch)
        return 0


class Classifier(ProtocolDriver):
    """Count by EtherType, as numpy does it: no loop over packets."""

    def __init__(self) -> None:
        self.by_type: Any = np.zeros(65536, np.int64)

    def receive_packets(self, batch: Any) -> int:
        kinds = np.asarray(batch.headers)[:, 12:14].copy().view(">u2")[:, 0]
        np.add.at(self.by_type, kinds, 1)
        return 0
