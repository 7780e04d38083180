"""
What becomes of a pool, of the driver that holds its packets too long, and of the driver beside it.

Frames come in batches; one driver returns each packet some batches later, another one holds nothing. Nothing is timed: the counts
are the same on any machine.
"""

from __future__ import annotations

import argparse
import json
import socket
from collections import deque

from vnic import Adapter, MiniportDriver, Packet, PacketPool, ProtocolDriver, Status, slot_size_for
from vnic.oids import Oid
from vnic.request import Request, RequestKind

PACKETS, BATCH = 64, 8
FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + bytes(46)
DELAYS = (0, 2, 4, 6, 7, 8, 10, 16)


class Holder(ProtocolDriver):
    """Return each packet so many batches later."""

    def __init__(self, delay: int) -> None:
        self.batches = deque[list[Packet]]([[] for _ in range(delay + 1)])

    def receive_packet(self, packet: Packet) -> int:
        if packet.status is Status.RESOURCES:
            return 0
        self.batches[-1].append(packet)
        return 1

    def end_batch(self) -> None:
        """Time goes on, whether there were frames or not."""
        self.binding.return_packets(self.batches.popleft())
        self.batches.append([])


def hold(delay: int, low_water: int, frames: int) -> dict[str, int]:
    """Receive so many frames; answers the counts."""
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    pool = PacketPool(PACKETS, slot_size_for(1500), name="receive")
    # the report is that of rule 26: one binding holds most of the pool
    adapter = Adapter(pool, MiniportDriver(), name="hold0", low_water=low_water, report=lambda *_: None)
    adapter.attach(near.fileno())
    holder = Holder(delay)
    binding, other = adapter.open(holder, "holder"), adapter.open(ProtocolDriver(), "other")
    for _ in range(frames // BATCH):
        for _ in range(BATCH):
            far.send(FRAME)
        adapter.receive_batch()
        holder.end_batch()
    request = Request(RequestKind.QUERY, Oid.GEN_RCV_NO_BUFFER, bytearray(4))
    assert binding.request(request) is Status.SUCCESS
    found = {
        "fewest_free": pool.low_water,
        "kept": binding.promised,
        "resources": binding.resources,
        "rcv_no_buffer": int.from_bytes(request.information_buffer, "little"),
        "other_saw": other.delivered,
    }
    for _ in range(delay + 1):
        holder.end_batch()
    assert [adapter.close(one) for one in (binding, other)] == [Status.SUCCESS] * 2
    far.close()
    near.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench hold", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--frames", type=int, default=4000, help="frames that come (4000)")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    options = parser.parse_args()
    rows = [{"low_water": low, "delay": delay, **hold(delay, low, options.frames)} for low in (PACKETS // 8, 0) for delay in DELAYS]
    if options.json:
        print(json.dumps(rows))
        return 0
    print(f"a pool of {PACKETS} packets, {options.frames} frames in batches of {BATCH}, returned some batches later")
    print("".join(f"{heading:>15}" for heading in rows[0]))
    for row in rows:
        print("".join(f"{number:15}" for number in row.values()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
