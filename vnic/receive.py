"""
One frame on its way up: lent to every driver that accepts it, accounted for, and home again if nobody keeps it.

Next: `vnic/asking.py`, which asks a driver, and `vnic/ledger.py`, what follows from its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.binding import Binding
from vnic.context import Context
from vnic.counters import COLUMN
from vnic.filters import SUPERFRAME_AMONG, PacketFilter
from vnic.ledger import Ledger
from vnic.lifecycle import Lifecycle
from vnic.offload import Offload
from vnic.packet import HEADER_SIZE, Packet
from vnic.pool import PacketPool
from vnic.states import BROKEN, Event, PacketState
from vnic.status import Status
from vnic.verifier import rules
from vnic.verifier.levels import TIMED

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.batch import items_of, show_batches
    from vnic.guard import keep

SHORTEST = HEADER_SIZE
TIMED_FROM = TIMED
OWNED = int(PacketState.OWNED)
LENT = int(PacketState.LENT)
SHOWN = int(PacketState.INDICATED)
PROMISCUOUS = int(PacketFilter.PROMISCUOUS)
EVERYTHING = PROMISCUOUS | int(PacketFilter.ALL_LOCAL)
SEGMENTATION = int(Offload.SEGMENTATION)
AMONG = SUPERFRAME_AMONG
DO_INDICATE = int(Event.INDICATE)
DO_LEND = int(Event.LEND)
DO_RECLAIM = int(Event.RECLAIM)
DO_FREE = int(Event.FREE)
KEPT = int(Status.PENDING)
RX_FRAMES = COLUMN["rx_frames"]
RX_BYTES = COLUMN["rx_bytes"]
RX_DELIVERED = COLUMN["rx_delivered"]
RX_FILTERED = COLUMN["rx_filtered"]
RX_DROPPED_RUNT = COLUMN["rx_dropped_runt"]
RX_DROPPED_NO_DRIVER = COLUMN["rx_dropped_no_driver"]
RX_RESOURCES = COLUMN["rx_resources"]
INDICATED = COLUMN["indicated"]
RETURNED = COLUMN["returned"]


class Receiving(Lifecycle):
    """The part of an adapter that shows frames; `Adapter` says what the rest is."""

    def _receive(self, packet: Packet, here: Context, plain: cython.bint) -> cython.bint:
        """
        Show one OWNED packet to every binding that accepts it; account for its frame; take the library's guard off.

        Plain: only to those that have not asked for superframes.


        Answers whether it is the miniport's again already: it was lent, or the miniport is serialized and nobody keeps it.
        """
        bindings: list
        # `_bound`, without a call
        with cython.critical_section(self):
            bindings = self._plain if plain else self._bindings
        binding: Binding
        position: cython.Py_ssize_t
        lent: cython.bint = packet._status != 0
        outcome: cython.int = self._begin_frame(packet)
        if outcome == RX_FILTERED:
            destination: cython.ulonglong = packet._destination()
            kind: cython.int = self._sends._kind(destination)
            for position in range(len(bindings)):
                binding = cython.cast(Binding, bindings[position])
                # the first half of `_accepts`, without a call
                if not binding._filter & (kind | EVERYTHING) and not binding._accepts(kind, destination):
                    continue
                outcome = RX_DELIVERED
                if lent:
                    binding._show_and_copy(packet, here)
                else:
                    binding._show(packet, here)
        return outcome >= 0 and self._end_frame(packet, outcome, lent)

    def _timed(self) -> cython.bint:
        """Whether one of those who are shown frames is at a verifier level at which its handlers are timed."""
        binding: Binding
        for binding in self._bound(False):  # noqa: SIM110 - a generator has no types
            if binding.verifier_level >= TIMED_FROM:
                return True
        return False

    def _begin_frame(self, packet: Packet) -> cython.int:
        """Lend an OWNED packet upward, with a guard of the library's own. Answers what its frame counts as if nobody is shown it."""
        ledger: Ledger = self._ledger
        lent: cython.bint = packet._status != 0
        if packet._state != OWNED:
            # a handler has indicated, freed or sent it since the whole array was looked at
            ledger._violation(BROKEN[packet.state, Event.INDICATE], None, packet, f"{packet!r} is indicated")
            return -1
        if not packet._ordinary:
            packet._suspect = None
            if packet._chain is not None:
                packet._seal()
        length: cython.int = packet._length
        if packet._promises:
            packet._forget_promises()
        packet.references = 1
        packet._told = packet.views
        with cython.critical_section(packet, ledger):
            packet._change(DO_LEND if lent else DO_INDICATE)
            if not lent:
                ledger._counts[INDICATED] = ledger._counts[INDICATED] + 1
        if not packet._ordinary and packet._history is not None:
            keep(packet)
        if length < SHORTEST:
            return RX_DROPPED_RUNT
        if not packet._ordinary and packet._fault:
            return packet._fault
        # no reference is taken, so that nobody need be kept out
        return RX_FILTERED if self._shown_to else RX_DROPPED_NO_DRIVER

    def _end_frame(self, packet: Packet, outcome: cython.int, lent: cython.bint) -> cython.bint:
        """Every driver has answered: account for the frame and take the guard off. Answers what `_receive` does."""
        ledger: Ledger = self._ledger
        counts: cython.p_ulonglong = ledger._counts
        last: cython.bint
        with cython.critical_section(packet, ledger):
            if packet._ordinary or not packet._segment:
                counts[RX_FRAMES] += 1
                counts[RX_BYTES] += packet._length
                counts[outcome] += 1
            packet.references = packet.references - 1
            last = packet.references == 0
            if self._serial is not None:
                # what a serialized miniport reads when the call has returned
                packet._status = 0 if lent or last else KEPT
        if lent:
            packet._kept = False
            packet._change(DO_RECLAIM)
            if outcome == RX_DELIVERED and not packet._segment:
                with cython.critical_section(ledger):
                    counts[RX_RESOURCES] += 1
            return True
        if last and self._serial is not None:
            return ledger._reclaimed(packet, None)
        if not last:
            return False
        if not ledger._home_plain(packet):
            ledger._home(packet, None)
        return False

    def _begin_together(self, packet: Packet) -> cython.int:
        """
        Lend a packet upward that is shown together with others.

        Returns:
            The filter bit that its frame needs, and whether it is a superframe; -1 if it cannot simply be shown and kept, -2 if it cannot
            be shown at all.
        """
        packet._outcome = self._begin_frame(packet)
        if packet._outcome < 0:
            return -2
        if packet._outcome != RX_FILTERED:
            return -1
        packet._kind = self._sends._kind(packet._destination())
        if packet._status:
            return -1
        # a frame for another station needs this one
        return (packet._kind or PROMISCUOUS) | (AMONG if not packet._ordinary and packet._virtio.kind else 0)

    def _receive_together(self, packets: list, here: Context, copied: set | None, read: cython.bint, plain: cython.bint) -> None:
        """
        Show packets of one indication, where a driver wants them in batches; then account for their frames.

        First the batches of those who watch everything, so that they see each frame before its answer; then frame by frame all drivers
        that are asked for each; then the other batches. The guards come off when all have answered. Who is bound meanwhile has to wait
        for the next indication.

        Args:
            packets: OWNED, each with its status; one that is not is left out.
            here: this thread.
            copied: those that are the miniport's only after a `return_packet`, although they are lent; or None.
            read: the others that are lent are their pool's again, and not a miniport's.
            plain: only to those that have not asked for superframes.
        """
        binding: Binding
        packet: Packet
        illegal: cython.bint = False
        kind: cython.int
        kinds: cython.int = 0
        place: cython.Py_ssize_t = 0
        items: cython.pp_void = items_of(packets)
        try:
            for place in range(len(packets)):
                kind = self._begin_together(cython.cast(Packet, items[place]))
                illegal = illegal or kind == -2
                kinds |= kind
        except BaseException:
            # one of a miniport's own cannot be shown at all: a chain that is too long
            self._end_together([packet for packet in packets[:place] if packet._outcome >= 0], copied, read, plain)
            raise
        if illegal:
            packets = [packet for packet in packets if packet._outcome >= 0]
        if not packets:
            return
        with cython.critical_section(self):
            turns: tuple = self._turns
        bound: list = turns[0]
        early: list = turns[1]
        late: list = turns[2]
        each: cython.bint = len(bound) > len(early) + len(late)
        if plain:
            early = [binding for binding in early if not binding._offload & SEGMENTATION]
            late = [binding for binding in late if not binding._offload & SEGMENTATION]
        try:
            for binding in early:
                show_batches(self, bound, binding, packets, kinds, here)
            if each:
                for packet in packets:
                    self._show_to_each(packet, bound, here, plain)
            for binding in late:
                show_batches(self, bound, binding, packets, kinds, here)
        finally:
            self._end_together(packets, copied, read, plain)

    def _end_together(self, packets: list, copied: set | None, read: cython.bint, plain: cython.bint) -> None:
        """Everybody has answered: account for the frames, and take the guards off."""
        packet: Packet
        pool: PacketPool
        ended: cython.Py_ssize_t = self._end_all(packets) if read and not plain else 0
        for packet in packets[ended:] if ended < len(packets) else ():
            if not self._end_frame(packet, packet._outcome, packet._state == LENT):
                continue
            if read:
                pool = packet.pool
                with cython.critical_section(pool):
                    pool._put_back(packet)
            elif copied is not None and packet in copied:
                self._end_copied(packet)

    def _end_all(self, packets: list) -> cython.Py_ssize_t:
        """
        Do what `_end_frame` does for frames that were read, up to the first of which something is out of the ordinary.

        Nearly always that is none: they were shown, nobody keeps or looks at one, and nobody is to be told. No Python code runs here, so
        all of them are counted at once: 150 instructions less for each.

        Returns:
            How many.
        """
        pool: PacketPool = self.pool
        ledger: Ledger = self._ledger
        counts: cython.p_ulonglong = ledger._counts
        items: cython.pp_void = items_of(packets)
        ended: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t = len(packets)
        size: cython.ulonglong = 0
        length: cython.int
        if self._serial is not None or ledger._reclaim is not None or ledger._level >= 3:
            return 0
        if pool._particular:
            return 0
        with cython.critical_section(pool, ledger):
            while ended < count:
                length = self._end_plain(cython.cast(Packet, items[ended]), pool)
                if length < 0:
                    break
                size += length
                ended += 1
            counts[RX_FRAMES] += ended
            counts[RX_BYTES] += size
            counts[RX_DELIVERED] += ended
            counts[RETURNED] += ended
        return ended

    def _end_plain(self, packet: Packet, pool: PacketPool) -> cython.int:
        """Free a packet that was shown, and answer its length; -1: somebody keeps it, or something about it is out of the ordinary."""
        if packet._state != SHOWN or packet._outcome != RX_DELIVERED or packet.references != 1 or packet.pool is not pool:
            return -1
        if packet.views or not packet._ordinary or packet.index >= pool.capacity:
            return -1
        packet.references = 0
        packet._change(DO_RECLAIM)
        pool._free_plain(packet)
        return packet._length

    def _show_to_each(self, packet: Packet, bound: list, here: Context, plain: cython.bint) -> None:
        """Show one packet to every binding that accepts it, is not shown batches, and was bound when the indication began."""
        binding: Binding
        changed: cython.bint = self._bound(False) is not bound
        bindings: list = self._bound(plain)
        if packet._outcome == RX_FILTERED and not bindings:
            packet._outcome = RX_DROPPED_NO_DRIVER
        if packet._outcome != RX_FILTERED and packet._outcome != RX_DELIVERED:
            return
        destination: cython.ulonglong = packet._destination()
        for binding in bindings:
            if binding._receive_packets is not None or not binding._accepts(packet._kind, destination):
                continue
            if changed and (binding not in bound or (packet._virtio.kind and not binding._offload & SEGMENTATION)):
                continue
            packet._outcome = RX_DELIVERED
            if packet._status:
                binding._show_and_copy(packet, here)
            else:
                binding._show(packet, here)

    def _end_batch(self, here: Context) -> None:
        binding: Binding
        for binding in self._bound(False):
            binding._end_batch(here)

    def _name_the_holder(self) -> None:
        """Packets have just run low: name the binding that holds more than half of them, if there is one."""
        binding: Binding
        for binding in self._opened:
            if 2 * binding.held > self.pool.capacity:
                detail = f"it holds {binding.held} of {self.pool.capacity} packets, {self.pool.available} are free"
                self._ledger._violation(rules.POOL_STARVED, binding, None, detail)

    def _end_copied(self, packet: Packet) -> None:
        """Such a packet was lent and is OWNED again: send it home."""
        packet._status = 0
        if self._serial is not None:
            return
        ledger: Ledger = self._ledger
        with cython.critical_section(packet, ledger):
            packet._change(DO_INDICATE)
            ledger._counts[INDICATED] += 1
        ledger._home(packet, None)

    def _end_indication(self) -> None:
        """An indication is over. A driver that ended everything from inside it had to wait for that."""
        self._ledger._end()
        self._end_halt()
