"""
THE table of counters. One counter for each reason; everything that shows a counter reads this table.

A name here is the key in the log, in `Adapter.counters()` and in every later view. Counters only grow (64 bits); gauges say how
things stand now. Always true, in any snapshot:

    rx_frames == rx_delivered + rx_filtered + the sum of rx_dropped_*
    indicated == returned + held
    tx_submitted == tx_frames + tx_looped_only + tx_pending + the sum of tx_dropped_*
    pool_free + pool_owned + pool_indicated + pool_sending + pool_quarantined == pool_capacity
    rx_superframes <= rx_frames, tx_superframes <= tx_frames, large_free <= large_capacity

A superframe is one of rx_frames, whatever it is cut into; its segments are packets that are indicated and returned like any other.

Next: `vnic/core.py`, where they are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Counter(NamedTuple):
    """One row: the name, the unit, whether it is a counter or a gauge, and what it means."""

    name: str
    unit: str
    kind: str
    help: str


COUNTED: tuple[Counter, ...] = (
    Counter("rx_frames", "frames", "counter", "frames taken from the interface, each accounted for below"),
    Counter("rx_bytes", "bytes", "counter", "bytes of those frames"),
    Counter("rx_delivered", "frames", "counter", "frames shown to at least one binding"),
    Counter("rx_filtered", "frames", "counter", "frames that no binding's filter accepted"),
    Counter("rx_dropped_runt", "frames", "counter", "frames shorter than an Ethernet header"),
    Counter("rx_dropped_truncated", "frames", "counter", "frames that filled a slot: longer than MTU + 18, cut by the read"),
    Counter("rx_dropped_no_packet", "frames", "counter", "frames read when no packet at all was free"),
    Counter("rx_dropped_no_driver", "frames", "counter", "frames read while no binding was open"),
    Counter("rx_dropped_no_receive", "frames", "counter", "frames shown by their beginning only, to drivers that have no receive()"),
    Counter("rx_dropped_header", "frames", "counter", "frames whose virtio header is wrong, or not about that frame"),
    Counter("rx_dropped_no_large", "frames", "counter", "superframes that were cut by the read because no large buffer was free"),
    Counter("rx_dropped_fault", "frames", "counter", "frames of a batch in whose middle the library itself failed"),
    Counter("rx_resources", "frames", "counter", "delivered frames shown with status RESOURCES because packets were low"),
    Counter("rx_batches", "batches", "counter", "batches in which frames were taken"),
    Counter("rx_superframes", "frames", "counter", "frames taken that are superframes: each is one of rx_frames"),
    Counter("rx_segments", "frames", "counter", "frames cut out of superframes for drivers that have not asked for those"),
    Counter("rx_segments_lost", "frames", "counter", "frames not cut out, because every packet of the last resort is looked at"),
    Counter("rx_checksums", "frames", "counter", "frames whose checksum was completed for drivers that have not asked to leave that"),
    Counter("indicated", "packets", "counter", "packets lent to drivers with status SUCCESS"),
    Counter("returned", "packets", "counter", "packets that came back through return_packet"),
    Counter("tx_submitted", "frames", "counter", "sends asked for by drivers"),
    Counter("tx_frames", "frames", "counter", "sends that the interface accepted"),
    Counter("tx_bytes", "bytes", "counter", "bytes of those sends"),
    Counter("tx_superframes", "frames", "counter", "sends that the interface accepted as superframes: each is one of tx_frames"),
    Counter("tx_queued", "frames", "counter", "sends that had to wait for room below"),
    Counter("tx_looped", "frames", "counter", "sends shown to other bindings whose filter accepts them, once for each"),
    Counter("tx_not_looped", "frames", "counter", "sends not shown to others: sixteen were already, each within the last one"),
    Counter("tx_looped_only", "frames", "counter", "sends with the flag LOOPBACK_ONLY: shown, and not put on the wire"),
    Counter("tx_dropped_length", "frames", "counter", "sends shorter than 14 bytes or longer than MTU + 18"),
    Counter("tx_dropped_offload", "frames", "counter", "sends that asked for an offload that cannot be: no such header, or no such size"),
    Counter("tx_dropped_link_down", "frames", "counter", "sends refused because the link is down"),
    Counter("tx_dropped_queue_full", "frames", "counter", "sends refused because the send queue was full"),
    Counter("tx_dropped_halted", "frames", "counter", "sends given back because the adapter or the binding closed"),
    Counter("tx_dropped_error", "frames", "counter", "sends that the interface refused for another reason"),
    Counter("driver_errors", "calls", "counter", "exceptions that came out of drivers"),
    Counter("violations", "cases", "counter", "rules of the packet contract broken"),
    Counter("violations_refused", "cases", "counter", "those of them where an operation was refused (class A0)"),
)
"""What `vnic.core` counts, in the order of its counter block."""

GAUGES: tuple[Counter, ...] = (
    Counter("held", "packets", "gauge", "packets that drivers hold now, counted packet by packet"),
    Counter("tx_pending", "frames", "gauge", "sends waiting for room below"),
    Counter("pool_capacity", "packets", "gauge", "packets of the adapter's receive pool"),
    Counter("pool_free", "packets", "gauge", "packets on the free stack"),
    Counter("pool_low_water", "packets", "gauge", "fewest free packets seen after a batch"),
    Counter("pool_owned", "packets", "gauge", "packets in the miniport's own hands"),
    Counter("pool_indicated", "packets", "gauge", "packets lent to drivers"),
    Counter("pool_sending", "packets", "gauge", "packets in a pending send, or being filled"),
    Counter("pool_quarantined", "packets", "gauge", "packets withheld because a view of them lives"),
    Counter("large_capacity", "buffers", "gauge", "large buffers for superframes; 0 without offload"),
    Counter("large_free", "buffers", "gauge", "large buffers that no packet has"),
)
"""What is looked up when a snapshot is taken."""

INTERFACE: tuple[Counter, ...] = (
    Counter("if_tx_packets", "frames", "counter", "the interface's own count of frames handed to the reader, since the start"),
    Counter("if_tx_dropped", "frames", "counter", "frames that the interface's queue dropped before the reader came, since the start"),
    Counter("if_rx_packets", "frames", "counter", "the interface's own count of frames written to it, since the start"),
)
"""What the kernel counts on the interface itself; shown when the daemon could read it."""

COUNTERS: tuple[Counter, ...] = COUNTED + GAUGES + INTERFACE
COLUMN: dict[str, int] = {row.name: index for index, row in enumerate(COUNTED)}
"""Where each of them stands in the counter block."""
RX_DROPS: tuple[str, ...] = tuple(c.name for c in COUNTED if c.name.startswith("rx_dropped_"))
TX_DROPS: tuple[str, ...] = tuple(c.name for c in COUNTED if c.name.startswith("tx_dropped_"))


def broken_sums(values: Mapping[str, int]) -> Iterator[str]:
    """
    Check a snapshot against the sums that are always true.

    Args:
        values: a snapshot, as `Adapter.counters()` gives it.

    Yields:
        One line for each sum that does not come out; nothing if every frame and packet is accounted for.
    """
    sums: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("rx_frames", ("rx_delivered", "rx_filtered", *RX_DROPS)),
        ("indicated", ("returned", "held")),
        ("tx_submitted", ("tx_frames", "tx_looped_only", "tx_pending", *TX_DROPS)),
        ("pool_capacity", ("pool_free", "pool_owned", "pool_indicated", "pool_sending", "pool_quarantined")),
    )
    for part, total in (("rx_superframes", "rx_frames"), ("tx_superframes", "tx_frames"), ("large_free", "large_capacity")):
        if values.get(part, 0) > values.get(total, 0):
            yield f"{part} is {values[part]}, more than {total}, which is {values[total]}"
    for total, parts in sums:
        found = sum(values[part] for part in parts)
        if values[total] != found:
            yield f"{total} is {values[total]}, but {' + '.join(parts)} is {found}"
