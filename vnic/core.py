"""
The data path by name, in the order in which it is read.

    context.py   what each thread is doing: whose handler, at which level, with which locks
    steps.py     what was done to packets, by whom, in which line, when
    virtio.py    what stands before a frame of a TAP with offload; where its headers are; checksums
    segment.py   a superframe, cut into the frames that it stands for
    buffer.py    a descriptor of some bytes, and pools of them
    chain.py     the buffers of one packet, linked
    packet.py    a descriptor, its slot of bytes, its state, who owes a return of it
    typed.py     a driver that is compiled itself, asked by a call of a C function
    large.py     where frames lie that do not fit a slot
    facts.py     what is told of a packet, for a violation
    guard.py     what was lent or freed is compared with what it was
    pool.py      the packets, their memory (one memfd, mapped twice: drivers see it read-only), the last-in first-out free stack
    ledger.py    the counter block, broken rules, who holds what
    asking.py    how one driver is asked about a packet, and what becomes of its answer
    binding.py   one driver on one adapter: what it wants to see, what it gives back, what it sends
    wire.py      frames on a descriptor, many in one loop
    completion.py  one send: taken from its driver, looped back, and over exactly once
    backlog.py   sends that wait for room below, or are pended
    send.py      the way down: the wire, or the miniport, or the backlog
    replies.py   replies over the bytes of a received packet
    lifecycle.py who is bound, and when an adapter starts, is reset, and stops
    batch.py     packets of one indication, for drivers that look at them together
    receive.py   one frame on its way up, and home again
    superframes.py  whole for those who have asked, in segments for all others
    indicate.py  packets that a miniport has filled itself
    lookahead.py frames that are in no packet
    uring.py     many frames read in one system call, where that is quicker
    lane.py      what one of several queues has for itself
    queue.py     one descriptor, read batch by batch
    adapter.py   all of these together
    waiting.py   between two batches: sleep until there is something to read

Those are compiled; this file only names them, and `core.pyi` beside it gives their types.

Next: `vnic/packet.py`.
"""

from vnic.adapter import Adapter
from vnic.batch import HEADER, Batch
from vnic.binding import Binding, return_packets
from vnic.buffer import Buffer, BufferPool
from vnic.packet import COMPILED, DONT_LOOPBACK, LOOPBACK, LOOPBACK_ONLY, MAX_BINDINGS, Packet, copy_packet
from vnic.pool import MAX_PACKETS, PROTOCOL_RESERVED_SIZE_IN_PACKET, PacketPool, slot_size_for
from vnic.queue import MAX_BUDGET, MAX_QUEUES, Queue
from vnic.replies import Replies
from vnic.typed import TypedDriver

__all__ = [
    "COMPILED",
    "DONT_LOOPBACK",
    "HEADER",
    "LOOPBACK",
    "LOOPBACK_ONLY",
    "MAX_BINDINGS",
    "MAX_BUDGET",
    "MAX_PACKETS",
    "MAX_QUEUES",
    "PROTOCOL_RESERVED_SIZE_IN_PACKET",
    "Adapter",
    "Batch",
    "Binding",
    "Buffer",
    "BufferPool",
    "Packet",
    "PacketPool",
    "Queue",
    "Replies",
    "TypedDriver",
    "copy_packet",
    "return_packets",
    "slot_size_for",
]
