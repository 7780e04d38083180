"""
An adapter, whole: reads frames, shows them to its bindings, has them back, and sends.

Its parts have files of their own, each of which builds on the one before: its life (`vnic/lifecycle.py`), what becomes of a frame
(`vnic/receive.py`), packets that a miniport fills (`vnic/indicate.py`), frames without a packet (`vnic/lookahead.py`).

Next: `vnic/queue.py`, where frames come from, or `miniport/adapter.py`, which gives it a TAP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic import driver as contract
from vnic.binding import Binding
from vnic.counters import COUNTED
from vnic.lane import Lane
from vnic.ledger import Ledger, report_to_logging
from vnic.lookahead import LookingAhead
from vnic.offload import Offload
from vnic.packet import Packet
from vnic.pool import PacketPool, slot_size_for
from vnic.queue import LENT_BELOW, MAX_BUDGET, MAX_QUEUES, Queue
from vnic.send import SendPath
from vnic.states import PacketState
from vnic.status import Status, VnicError
from vnic.superframes import Superframes
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS
from vnic.verifier.levels import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import cython

    from vnic.driver import MiniportDriver
    from vnic.oids import NicValues
    from vnic.timers import Clock
    from vnic.uring import Uring
else:
    from vnic import _cython as cython

MOST_AT_ONCE = MAX_BUDGET


class Adapter(LookingAhead):
    """
    A virtual NIC: one pool, one miniport, up to 128 bindings, and a file descriptor that carries frames.

    `receive_batch` is called by one thread, the data thread, or with several queues by one for each; sends and returns may come from any.
    The adapter does not wait: who polls the descriptors is the caller's business.

    NDIS: a miniport adapter handle.

    Args:
        pool: the packets to receive into; the adapter lends them out, and the miniport gets them back.
        miniport: its handlers; each that it leaves alone is done here.
        name: the interface's name.
        address: the 6-byte station address.
        mtu: largest payload of a frame.
        low_water: with this many packets free or fewer, frames are shown with status RESOURCES; by default an eighth of the pool,
            at most 64.
        send_queue: sends that may wait for room below, in order; so many for each queue.
        network_addresses: what `binding.network_addresses` answers.
        serialized: one handler of the miniport runs at a time, sends are queued for it, and `indicate` tells by `packet.status` whether
            a packet is the miniport's again; see `vnic/serialized.py`.
        verifier_level: how much is watched; see `vnic.verifier.levels`. By default the level of the process. It may be changed later.
        offload: what the descriptor that is attached does of it. With any of that a virtio header stands before each frame, in the order
            of this machine, and bindings may ask for it; see `vnic/superframes.py`.
        large_buffers: how many superframes drivers may hold together, and four more; each has 64 KiB.
        joins_pools: packets of other pools may be indicated too, if the pool is no other adapter's: it joins with its first packet.
        nic: what the adapter answers to queries and does not know of itself, as its link speed.
        clock: what its timers go by; a test gives a `VirtualClock`.
        report: called, on the thread where it happened, with "violation" or "driver_error" and its facts: `binding` (None: the
            miniport), `error` (the exception), and `handler`, or `packet`, `record` (None if too many alike were written already)
            and `action` (from `vnic.verifier.actions`; what is not "raise" is left to whoever is told).
    """

    def __init__(
        self,
        pool: PacketPool,
        miniport: MiniportDriver,
        *,
        name: str = "vnic0",
        address: bytes = b"\x02\0\0\0\0\x02",
        mtu: int = 1500,
        low_water: int | None = None,
        send_queue: int = 1024,
        network_addresses: Sequence[str] = (),
        serialized: bool = False,
        verifier_level: int | None = None,
        offload: Offload = Offload.NONE,
        large_buffers: int = 64,
        joins_pools: bool = False,
        nic: NicValues | None = None,
        clock: Clock | None = None,
        report: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        if getattr(self, "pool", None) is not None:
            raise TypeError("an adapter is made once")
        if 0 < pool.slot_size < slot_size_for(mtu):
            raise ValueError(f"slots of {pool.slot_size} bytes are too small for MTU {mtu}: {slot_size_for(mtu)} are needed")
        if offload and not pool.slot_size:
            raise ValueError(f"packets of {pool.name} have no slots, which offload needs")
        if len(address) != 6 or address[0] & 1:
            raise ValueError(f"{address.hex(':')} is no 6-byte station address")
        if pool._claimed:
            raise ValueError(f"pool {pool.name} is another adapter's: an adapter needs a pool of its own")
        pool._require_open()
        ledger = Ledger(name, report or report_to_logging, contract.handler(miniport, contract.MiniportDriver, "return_packet"))
        ledger._miniport = miniport
        ledger._level = LEVELS.process if verifier_level is None else verifier_level
        sends = SendPath(ledger, miniport, mtu, send_queue)
        sends.station = int.from_bytes(address, "big")
        LookingAhead.__init__(self, pool, miniport, ledger, sends, nic, clock)
        if serialized:
            self._serialize()
        self.name = name
        self._joins_pools = joins_pools
        self.address = bytes(address)
        self.mtu = mtu
        self.low_water = min(64, pool.capacity // 8) if low_water is None else low_water
        self.network_addresses = tuple(network_addresses)
        self._transfer_data = contract.handler(miniport, contract.MiniportDriver, "transfer_data")
        self._transfers = 0
        self._offered = int(offload | Offload.CHECKSUM) if offload else 0
        self._superframes = self._sends.superframes = Superframes(self, large_buffers, LENT_BELOW) if offload else None
        self._queue = Queue(self, sends._first)
        self._queues = [self._queue]
        # last: a pool whose adapter could not be made is nobody's
        pool._claimed = True
        pool._share([])
        pool.verifier_level = LEVELS.of_pool(pool.name, ledger._level)
        LEVELS.add_adapter(self)

    @property
    def send_blocked(self) -> bool:
        """Whether sends wait for room below: poll the descriptor for output, then `flush`."""
        return self._sends.waiting(-1) > 0

    def sends_waiting(self, queue: int) -> int:
        """How many sends wait for room below one queue."""
        return self._sends.waiting(queue)

    @property
    def fd(self) -> int:
        """The descriptor that was attached, of the first queue; -1 before."""
        return self._sends.fd

    @property
    def serialized(self) -> bool:
        """Whether one handler of the miniport runs at a time."""
        return self._serial is not None

    @property
    def report(self) -> Callable[[str, dict[str, Any]], None]:
        """What broken rules and failing drivers are reported to; an adapter above this one reports to the same."""
        return self._ledger._report

    @property
    def verifier_level(self) -> int:
        """How much is told of broken rules; see the argument of the same name."""
        return self._ledger._level

    @verifier_level.setter
    def verifier_level(self, level: int) -> None:
        binding: Binding
        pool: PacketPool
        self._ledger._level = level
        for pool in self._pools:
            pool.verifier_level = LEVELS.of_pool(pool.name, level)
        if self._superframes is not None:
            self._superframes._follow(level)
        for binding in self._opened:
            binding.verifier_level = LEVELS.of_driver(binding.name, level)

    def attach(self, fd: int, on_blocked: Callable[[], None] | None = None, ring: Uring | None = None) -> None:
        """
        Read from and write to a non-blocking descriptor, one frame a call. The descriptor stays the caller's to close.

        Args:
            fd: a TAP, or a packet socket.
            on_blocked: called, from the sending thread, when a send has to wait.
            ring: reads many frames in one call; it was made for this descriptor and the adapter's pool, and stays the caller's to close.

        Raises:
            VnicError: a batch is being read; no driver can exchange the wire under its adapter.
            ValueError: the ring is another descriptor's or another pool's, or the adapter has offload, for which there is none.
        """
        self._check(fd, ring)
        self._queue._attach(fd, ring, self._superframes)
        self._sends._first.fd = fd
        self._sends.on_blocked = on_blocked

    def attach_queue(self, fd: int, ring: Uring | None = None) -> int:
        """
        Read from one descriptor more, and write to it what the thread that reads it sends. The descriptor stays the caller's to close.

        Frames keep their order within a queue. Each queue may be read by a thread of its own, and drivers are then called from all of
        them at once; see "Several threads" in docs/drivers.md. A serialized miniport's are called by one at a time.

        Args:
            fd: a further queue of the interface.
            ring: as for `attach`.

        Returns:
            The number of the queue, for `receive_batch`; the one of `attach` is 0.

        Raises:
            VnicError: a batch is being read, or no first descriptor is attached, or there are 256 queues.
            ValueError: the ring is another descriptor's or another pool's.
        """
        lane: Lane
        queue: Queue
        self._check(fd, ring)
        number = len(self._queues)
        if self._queue.fd < 0 or number >= MAX_QUEUES:
            raise VnicError(f"{self.name} has {number} queues, no more fit" if number > 1 else "attach the first queue before others")
        lane = Lane(self._sends, self.pool, number)
        lane.fd = fd
        queue = Queue(self, lane)
        queue._attach(fd, ring, self._superframes)
        if self._superframes is not None:
            # each can go on reading
            self._superframes.reserve += LENT_BELOW
        self._sends._first.pool = self.pool
        self._sends.lanes.append(lane)
        self._queues.append(queue)
        for queue in self._queues:
            queue.several = True
        self.pool._share(self._sends.lanes)
        return number

    def _check(self, fd: int, ring: Uring | None) -> None:
        queue: Queue
        for queue in self._queues:
            if queue.reading:
                raise VnicError("the adapter is reading: attach from outside a handler")
        if ring is not None and (ring.fd != fd or ring.pool is not self.pool):
            raise ValueError(f"a ring for descriptor {ring.fd} and pool {ring.pool.name} is attached to {self.name}, descriptor {fd}")
        if ring is not None and self._superframes is not None:
            raise ValueError(f"{self.name} has offload, and a ring reads no virtio headers")

    @property
    def queues(self) -> tuple[Queue, ...]:
        """The queues, in the order of their numbers: how each is read, and how much came through it."""
        return tuple(self._queues)

    @property
    def reader(self) -> str:
        """How frames are read from the first queue: "io_uring", or "read"."""
        return self._queue.reader

    # receive

    def receive_batch(self, budget: int = 128, queue: int = 0) -> int:
        """
        Read frames of a queue until none is left or the budget is used, and indicate them.

        Each frame is read straight into a free packet. When packets run low, the rest of the batch is shown with status RESOURCES:
        drivers copy, and the packets stay here. With no packet at all a frame is read and counted as dropped; the reader never
        stops. The GIL is released once for the whole batch.

        Args:
            budget: frames at most, 1 to 256.
            queue: its number.

        Returns:
            Frames taken from the descriptor; 0 if there were none.

        Raises:
            OSError: the descriptor is broken (EBADFD: the interface was deleted). Frames read before are indicated first.
            VnicError: it is called by two threads at once for one queue, or from inside a handler.
            ValueError: there is no queue of that number.
        """
        return self._receive_from(queue, budget)

    def _receive_from(self, queue: cython.int, budget: cython.int) -> cython.int:
        found: Queue = self._queue
        if queue:
            if not 0 < queue < len(self._queues):
                raise ValueError(f"queue {queue} of {self.name}: there are {len(self._queues)}")
            found = self._queues[queue]
        return found.receive_batch(max(1, min(budget, MOST_AT_ONCE)))

    # send

    def send_complete(self, packet: Packet, status: Status) -> None:
        """
        Give a packet back to its sender, whose send the miniport had answered with PENDING.

        Raises:
            OwnershipError: no send of this packet is pending (rule 50).

        NDIS: NdisMSendComplete; TX-21, TX-22.
        """
        if self._ledger._level >= 2:
            self._ledger._require_no_locks(None, "send_complete")
            if self._ledger._level >= 4:
                FAULTS.delay(None)
        self._sends.complete(packet, status)

    def send_resources_available(self) -> None:
        """
        A serialized miniport that has answered RESOURCES can take sends again: those that wait are shown to it, in order.

        NDIS: NdisMSendResourcesAvailable; TX-25.
        """
        if self._serial is None:
            self._ledger._violation(rules.RESOURCES_FROM_DESERIALIZED, None, None, "send_resources_available is called")
        else:
            self._serial.resources_available()

    def _serialize(self) -> None:
        """Put a gate before the miniport's handlers."""
        from vnic.serialized import Serialized

        self._serial = Serialized(self._sends, self._ledger, self._ledger._reclaim)
        if self._sends._below is not None or self._sends._below_many is not None:
            self._sends._serial = self._serial
        if self._ledger._reclaim is not None:
            self._ledger._reclaim = self._serial.return_packet

    def cancel_sends(self, binding: Binding, cancel_id: object) -> int:
        """
        Abort the sends of a binding that carry a cancel id and wait for room below; a miniport's own `cancel_sends` is called too.

        Returns:
            How many were aborted here.

        NDIS: NdisCancelSendPackets; TX-28 to TX-30.
        """
        return self._sends.cancel(binding, cancel_id)

    def flush(self, queue: int = -1) -> int:
        """
        Write waiting sends, in order, until the descriptor takes no more; each completes through `send_complete`.

        Args:
            queue: those of one queue only.

        Returns:
            How many of them still wait.
        """
        return self._sends.flush(queue)

    # figures

    def failed(self, binding: Binding | None, handler: str, error: BaseException) -> None:
        """Count and report an exception that came out of a driver (None: the miniport) which a module above the core had called."""
        self._ledger._failed(binding, handler, error)

    def counters(self) -> dict[str, int]:
        """
        Take a snapshot of every counter and gauge of `vnic.counters`, save those of the interface itself.

        The gauges are found by looking at every packet, not by adding and subtracting, so that the sums in
        `vnic.counters.broken_sums` compare two independent ways of counting.
        """
        pool: PacketPool = self.pool
        capacity: cython.int = 0
        found = [0] * len(PacketState)
        counts = [0] * len(COUNTED)
        # these three belong together: no Python code may run between them, not even the collector of garbage
        with cython.critical_section(pool, self._ledger):
            for pool in self._pools:
                pool._census(found)
                # a pool that was closed has no packets any more
                capacity += len(pool._packets) + len(pool._extra)
            pool = self.pool
            self._ledger._copy(counts)
            pending = self._sends.pending
        values = {row.name: count for row, count in zip(COUNTED, counts, strict=True)}
        values["held"] = found[PacketState.INDICATED]
        values["tx_pending"] = pending
        values["pool_capacity"] = capacity
        values["pool_free"] = found[PacketState.FREE]
        values["pool_low_water"] = pool.low_water
        values["pool_owned"] = found[PacketState.OWNED] + found[PacketState.LENT]
        values["pool_indicated"] = found[PacketState.INDICATED]
        values["pool_sending"] = found[PacketState.SENDING] + found[PacketState.TRANSFERRING]
        values["pool_quarantined"] = found[PacketState.QUARANTINED]
        values["large_capacity"] = 0 if self._superframes is None else self._superframes.large.count
        values["large_free"] = 0 if self._superframes is None else self._superframes.large.available
        return values

    def __repr__(self) -> str:
        return f"<Adapter {self.name}: {len(self._opened)} bindings>"
