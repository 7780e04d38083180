"""
Rules of pools, packets and buffers: who may allocate, chain, free and close what.

Next: `tests/verifier/cases/sends.py`.
"""

from __future__ import annotations

from verifier.bench import SLOT, Case, Owner, bound_and_unbound, frame, reconfigure

from vnic import BufferPool, PacketPool, PacketState, ProtocolDriver
from vnic.locks import SpinLock
from vnic.verifier import rules


class FreesTwice(Owner):
    def receive_packet(self, packet):
        self.pool.free(self.packet)
        self.pool.free(self.packet)  # here
        return 0


class FreesEachOnce(Owner):
    def receive_packet(self, packet):
        self.pool.free(self.packet)
        self.pool.free(self.pool.allocate())
        return 0


class Chainer(Owner):
    """An owner whose packet has a buffer of its own chained, `self.buffer`."""

    def bind_adapter(self):
        super().bind_adapter()
        self.buffers = BufferPool(1, "own")
        self.packet.reinitialize()
        self.buffer = self.buffers.allocate(b"its own")
        self.packet.chain_back(self.buffer)

    def unbind_adapter(self):
        if self.packet.state is PacketState.OWNED and self.packet.buffers:
            self.packet.unchain_front()
        if self.buffers.usage:
            self.buffers.free(self.buffer)


class FreesWithABuffer(Chainer):
    def receive_packet(self, packet):
        self.pool.free(self.packet)  # here
        return 0


class UnchainsBeforeFree(Chainer):
    def receive_packet(self, packet):
        self.buffers.free(self.packet.unchain_front())
        self.pool.free(self.packet)
        return 0


class ReinitializesWithABuffer(Chainer):
    def receive_packet(self, packet):
        self.packet.reinitialize()  # here
        return 0


class UnchainsBeforeReuse(Chainer):
    def receive_packet(self, packet):
        self.buffer = self.packet.unchain_front()
        self.packet.reinitialize()
        self.pool.free(self.packet)
        return 0


class ForgetsWhatIsAttached(Owner):
    def receive_packet(self, packet):
        self.packet.oob.media_specific = b"priority 7"
        self.pool.free(self.packet)  # here
        return 0


class TakesWhatIsAttached(Owner):
    def receive_packet(self, packet):
        self.packet.oob.media_specific = b"priority 7"
        self.packet.oob.media_specific = None
        self.pool.free(self.packet)
        return 0


class FreesToAnotherPool(Owner):
    def receive_packet(self, packet):
        self.other = PacketPool(1, SLOT, name="other")
        self.other.free(self.packet)  # here
        return 0


class FreesToItsPool(Owner):
    def receive_packet(self, packet):
        self.packet.pool.free(self.packet)
        return 0


class MixesTheForms(ProtocolDriver):
    def receive_packet(self, packet):
        self.pool = PacketPool(1, SLOT, name="own")
        self.packet = self.pool.allocate_unlocked()
        self.pool.free(self.packet)  # here
        return 0


class MixesTheFormsWhileUnloading(ProtocolDriver):
    def receive_packet(self, packet):
        self.pool = PacketPool(1, SLOT, name="own")
        self.packet = self.pool.allocate_unlocked()
        self.pool.unloading = True
        self.pool.free(self.packet)
        return 0


class FreesWithoutTheLock(ProtocolDriver):
    def receive_packet(self, packet):
        self.lock = SpinLock()
        self.pool = PacketPool(1, SLOT, name="own", lock=self.lock)
        with self.lock:
            self.packet = self.pool.allocate_unlocked()
        self.pool.free_unlocked(self.packet)  # here
        return 0


class FreesUnderTheLock(ProtocolDriver):
    def receive_packet(self, packet):
        self.lock = SpinLock()
        self.pool = PacketPool(1, SLOT, name="own", lock=self.lock)
        with self.lock:
            self.pool.free_unlocked(self.pool.allocate_unlocked())
        return 0


class ClosesTooSoon(Owner):
    def receive_packet(self, packet):
        self.pool.close()  # here
        return 0


class ClosesAnEmptyPool(Owner):
    def receive_packet(self, packet):
        self.pool.free(self.packet)
        self.pool.close()
        return 0


class AllocatesAfterClose(Owner):
    def receive_packet(self, packet):
        self.pool.free(self.packet)
        self.pool.close()
        self.packet = self.pool.allocate()  # here
        return 0


class OpensAnother(Owner):
    def receive_packet(self, packet):
        self.pool.free(self.packet)
        self.pool.close()
        self.pool = PacketPool(1, SLOT, name="own")
        self.pool.free(self.pool.allocate())
        return 0


class ChainsTwice(Chainer):
    def receive_packet(self, packet):
        self.packet.chain_back(self.buffer)  # here
        return 0


class MovesABuffer(Chainer):
    def receive_packet(self, packet):
        self.packet.chain_back(self.packet.unchain_front())
        self.buffers.free(self.packet.unchain_front())
        self.pool.free(self.packet)
        return 0


class AsksForTooMany(ProtocolDriver):
    def pnp_event(self, event):
        self.pool = PacketPool(65_536, 0, name="own")  # here


class AsksForTheMost(ProtocolDriver):
    def pnp_event(self, event):
        self.pool = PacketPool(65_535, 0, name="own")
        self.pool.close()


class WritesBehindItsArea(Owner):
    def receive_packet(self, packet):
        area = self.packet.protocol_reserved
        area.obj[len(area)] = 1
        self.pool.free(self.packet)  # here
        return 0


class WritesToTheEndOfItsArea(Owner):
    def receive_packet(self, packet):
        area = self.packet.protocol_reserved
        area[len(area) - 1] = 1
        self.pool.free(self.packet)
        return 0


class FreesUnderALock(Owner):
    lock = SpinLock()

    def receive_packet(self, packet):
        with self.lock:
            self.pool.free(self.packet)  # here
        return 0


class FreesAfterRelease(Owner):
    lock = SpinLock()

    def receive_packet(self, packet):
        with self.lock:
            packet, self.packet = self.packet, None
        self.pool.free(packet)
        return 0


class LeavesABuffer(ProtocolDriver):
    def bind_adapter(self):
        self.buffers = BufferPool(1, "own")  # here
        self.buffer = self.buffers.allocate(b"its own")


class FreesItsBuffers(ProtocolDriver):
    def bind_adapter(self):
        self.buffers = BufferPool(1, "own")
        self.buffer = self.buffers.allocate(b"its own")

    def unbind_adapter(self):
        self.buffers.free(self.buffer)
        self.buffers.close()


class TakesNoneForAPacket(Owner):
    def receive_packet(self, packet):
        self.pool.allocate().write(packet.data)
        self.pool.allocate().write(packet.data)  # here
        return 0


class AsksForNone(Owner):
    def receive_packet(self, packet):
        copies = [self.pool.allocate(), self.pool.allocate(), self.packet]
        for copy in copies:
            if copy is not None:
                self.pool.free(copy)
        return 0


class NamesNoPool(ProtocolDriver):
    def receive_packet(self, packet):
        self.pool = PacketPool(1, SLOT)  # here
        return 0


class NamesItsPool(ProtocolDriver):
    def receive_packet(self, packet):
        self.pool = PacketPool(1, SLOT, name="replies")
        return 0


CASES = (
    Case(rules.DOUBLE_FREE, FreesTwice, FreesEachOnce, frame),
    Case(rules.FREE_CHAINED, FreesWithABuffer, UnchainsBeforeFree, frame),
    Case(rules.REINITIALIZE_CHAINED, ReinitializesWithABuffer, UnchainsBeforeReuse, frame),
    Case(rules.OOB_NOT_RECLAIMED, ForgetsWhatIsAttached, TakesWhatIsAttached, frame),
    Case(rules.FOREIGN_POOL, FreesToAnotherPool, FreesToItsPool, frame),
    Case(rules.MIXED_FORMS, MixesTheForms, MixesTheFormsWhileUnloading, frame),
    Case(rules.UNSYNCHRONISED, FreesWithoutTheLock, FreesUnderTheLock, frame),
    Case(rules.POOL_OUTSTANDING, ClosesTooSoon, ClosesAnEmptyPool, frame),
    Case(rules.POOL_AFTER_CLOSE, AllocatesAfterClose, OpensAnother, frame),
    Case(rules.BUFFER_CHAINED, ChainsTwice, MovesABuffer, frame),
    Case(rules.RESERVED_OVERRUN, WritesBehindItsArea, WritesToTheEndOfItsArea, frame, level=3),
    Case(rules.CALL_WITH_LOCK, FreesUnderALock, FreesAfterRelease, frame, level=2),
    Case(rules.BUFFER_LEAKED, LeavesABuffer, FreesItsBuffers, bound_and_unbound),
    Case(rules.FAILURE_IGNORED, TakesNoneForAPacket, AsksForNone, frame, also=("84",)),
    Case(rules.NO_NAME, NamesNoPool, NamesItsPool, frame),
    Case(rules.POOL_LIMIT, AsksForTooMany, AsksForTheMost, reconfigure),
)
