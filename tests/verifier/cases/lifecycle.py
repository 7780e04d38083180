"""
Rules of binding, initialising, halting, and of what comes after.

Next: `tests/verifier/cases/context.py`.
"""

from __future__ import annotations

from verifier.bench import (
    FRAME,
    Card,
    Case,
    Holder,
    Transport,
    bind_then_time,
    closed_then_work,
    filled,
    halt,
    halted_then_interrupt,
    interrupt,
    interrupt_in_low_power,
    interrupt_then_return,
    plugged_and_pulled,
    registered,
    send_then_halt,
)

from vnic import MiniportDriver, PacketFilter, ProtocolDriver, Status
from vnic.interrupt import Interrupt
from vnic.oids import Oid
from vnic.verifier import rules


class IndicatesAgainTooSoon(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        self.adapter.indicate([packet])
        self.adapter.indicate([packet])  # here


class IndicatesAgainWhatIsCopied(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        packet.status = Status.RESOURCES
        self.adapter.indicate([packet])
        self.adapter.indicate([packet])
        self.pool.free(packet)


class IndicatesAfterHalt(MiniportDriver):
    def handle_interrupt(self):
        self.packet = filled(self.pool)
        try:
            self.adapter.indicate([self.packet])  # here
        finally:
            self.pool.free(self.packet)


class StopsInHalt(MiniportDriver):
    running = True

    def halt(self):
        self.running = False

    def handle_interrupt(self):
        if self.running:
            self.adapter.indicate([filled(self.pool)])


class IndicatesToNobody(MiniportDriver):
    def handle_interrupt(self):
        self.adapter.indicate([filled(self.pool)])  # here


class WaitsForAFilter(MiniportDriver):
    wanted = PacketFilter.NONE

    def set_information(self, oid, data):
        if oid == Oid.GEN_CURRENT_PACKET_FILTER:
            self.wanted = PacketFilter(int.from_bytes(data, "little"))
        return Status.SUCCESS, len(data), 0

    def handle_interrupt(self):
        if self.wanted:
            self.adapter.indicate([filled(self.pool)])


class KeepsSends(MiniportDriver):
    def send(self, packet):
        self.packet = packet
        return Status.PENDING

    def halt(self):  # here
        """It forgets the packet."""


class CompletesInHalt(MiniportDriver):
    def send(self, packet):
        self.packet = packet
        return Status.PENDING

    def halt(self):
        self.adapter.send_complete(self.packet, Status.REQUEST_ABORTED)


class CompletesNoReset(MiniportDriver):
    def handle_interrupt(self):
        self.adapter.reset_complete(Status.SUCCESS, False)  # here


class CompletesAReset(MiniportDriver):
    def reset(self):
        return Status.PENDING, False

    def handle_interrupt(self):
        self.adapter.reset()
        self.adapter.reset_complete(Status.SUCCESS, False)


class Interrupted(MiniportDriver):
    """A miniport with what an interrupt needs."""

    def isr(self):
        return False, False

    def handle_interrupt(self):
        """Nothing is to be done."""


class MasksADeadInterrupt(Interrupted):
    def halt(self):
        interrupt = Interrupt(self)
        interrupt.deregister()
        interrupt.disable()  # here


class MasksThenDeregisters(Interrupted):
    def halt(self):
        interrupt = Interrupt(self)
        interrupt.disable()
        interrupt.deregister()


class WantsFramesAfterUnbind(ProtocolDriver):
    def work(self):
        self.binding.packet_filter = PacketFilter.DIRECTED  # here


class WantsNoFramesInUnbind(ProtocolDriver):
    def unbind_adapter(self):
        self.binding.packet_filter = PacketFilter.NONE

    def work(self):
        """Its binding is gone."""


class ClaimsInLowPower(Interrupted):
    def isr(self):  # here
        return True, True


class IsQuietInLowPower(Interrupted):
    def isr(self):
        return False, False


class LeavesATimer(Card):
    def InitializeHandler(self, media, count, adapter, configuration):
        self.attach(adapter)
        self.timer = self.device.timer(print, None)
        self.timer.set(1000)
        return Status.SUCCESS, Status.SUCCESS, 0

    def HaltHandler(self, context):  # here
        """It forgets the timer."""


class CancelsItsTimer(Card):
    def InitializeHandler(self, media, count, adapter, configuration):
        self.attach(adapter)
        self.timer = self.device.timer(print, None)
        self.timer.set(1000)
        return Status.SUCCESS, Status.SUCCESS, 0

    def HaltHandler(self, context):
        self.timer.cancel()


class FailsAndLeavesATimer(Card):
    def InitializeHandler(self, media, count, adapter, configuration):  # here
        self.attach(adapter)
        self.device.timer(print, None).set(1000)
        return Status.FAILURE, Status.SUCCESS, 0


class FailsAndCancels(Card):
    def InitializeHandler(self, media, count, adapter, configuration):
        self.attach(adapter)
        timer = self.device.timer(print, None)
        timer.set(1000)
        timer.cancel()
        return Status.FAILURE, Status.SUCCESS, 0


class AsksForBindsInABind(Transport):
    def BindAdapterHandler(self, context, name, system1, system2):
        self.registry.enumerate(context.NdisProtocolHandle)  # here
        return Status.SUCCESS


class OpensInABind(Transport):
    def BindAdapterHandler(self, context, name, system1, system2):
        status, self.binding = self.registry.open(context.NdisProtocolHandle, self, name, [0])
        return status


class WritesWhileItIsLent(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        with packet.data as view:
            self.adapter.indicate([packet])  # here
            view[20] = 0xFF


class WritesBeforeItIsLent(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        with packet.data as view:
            view[20] = 0xFF
        self.adapter.indicate([packet])


class WritesBehindTheFrame(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        packet.length = 100
        with packet.data as view:
            packet.length = 60
            self.adapter.indicate([packet])  # here
            view[80] = 0xFF


class WritesBehindTheFrameInTime(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        packet.length = 100
        packet.data[80] = 0xFF
        packet.length = 60
        self.adapter.indicate([packet])


class AdjustsASharedBuffer(MiniportDriver):
    def handle_interrupt(self):
        first, second = filled(self.pool), self.pool.allocate()
        second.share_chain(first)
        self.adapter.indicate([second])  # here
        first.buffers[0].adjust(20)


class AdjustsBeforeItShares(MiniportDriver):
    def handle_interrupt(self):
        first, second = filled(self.pool), self.pool.allocate()
        first.buffers[0].adjust(20)
        second.share_chain(first)
        self.first = first
        self.adapter.indicate([second])

    def halt(self):
        self.pool.free(self.first)


class EndsNoBatch(MiniportDriver):
    def handle_interrupt(self):
        self.adapter.indicate_lookahead(1, FRAME[:14], FRAME[14:], 46)
        self.adapter.indicate([filled(self.pool)])  # here


class EndsItsBatch(MiniportDriver):
    def handle_interrupt(self):
        self.adapter.indicate_lookahead(1, FRAME[:14], FRAME[14:], 46)
        self.adapter.indicate_lookahead_complete()
        self.adapter.indicate([filled(self.pool)])


class ReadsTheStatusAfterwards(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        self.adapter.indicate([packet])
        self.kept = packet.status is Status.PENDING  # here


class ReadsTheStatusBefore(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        self.copied = packet.status is Status.RESOURCES
        self.adapter.indicate([packet])


class SaysAWrongHeaderSize(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        packet.oob.header_size = 0
        self.adapter.indicate([packet])  # here


class SaysTheHeaderSize(MiniportDriver):
    def handle_interrupt(self):
        packet = filled(self.pool)
        packet.oob.header_size = 14
        self.adapter.indicate([packet])


class NeverEndsItsBind(ProtocolDriver):
    def bind_adapter(self):  # here
        return Status.PENDING


class EndsItsBind(ProtocolDriver):
    def bind_adapter(self):
        self.binding.complete_bind(Status.SUCCESS)
        return Status.PENDING


CASES = (
    Case(rules.INDICATED_IN_USE, IndicatesAgainTooSoon, IndicatesAgainWhatIsCopied, interrupt, others=(Holder,)),
    Case(rules.OVERRUN, WritesBehindTheFrame, WritesBehindTheFrameInTime, interrupt_then_return, level=3, others=(Holder,)),
    Case(rules.WRITTEN_WHILE_LENT, WritesWhileItIsLent, WritesBeforeItIsLent, interrupt_then_return, level=3, others=(Holder,)),
    Case(rules.CHAIN_CORRUPTED, AdjustsASharedBuffer, AdjustsBeforeItShares, interrupt_then_return, level=3, others=(Holder,)),
    Case(rules.COMPLETE_MISSING, EndsNoBatch, EndsItsBatch, interrupt, level=2, others=(Holder,)),
    Case(rules.STATUS_READ, ReadsTheStatusAfterwards, ReadsTheStatusBefore, interrupt, level=2, others=(Holder,)),
    Case(rules.INDICATE_ILLEGAL, SaysAWrongHeaderSize, SaysTheHeaderSize, interrupt, others=(Holder,)),
    Case(rules.INDICATED_AFTER_HALT, IndicatesAfterHalt, StopsInHalt, halted_then_interrupt),
    Case(rules.INDICATED_TOO_EARLY, IndicatesToNobody, WaitsForAFilter, interrupt),
    Case(rules.LEAKED_AT_HALT, KeepsSends, CompletesInHalt, send_then_halt, also=("69",)),
    Case(rules.ILLEGAL_TRANSITION, CompletesNoReset, CompletesAReset, interrupt),
    Case(rules.DEAD_DRIVER, MasksADeadInterrupt, MasksThenDeregisters, halt),
    Case(rules.CLOSED_BINDING, WantsFramesAfterUnbind, WantsNoFramesInUnbind, closed_then_work),
    Case(rules.ISR_IN_LOW_POWER, ClaimsInLowPower, IsQuietInLowPower, interrupt_in_low_power, level=2),
    Case(rules.CALL_TIMED_OUT, NeverEndsItsBind, EndsItsBind, bind_then_time),
    Case(rules.HALT_LEFTOVER, LeavesATimer, CancelsItsTimer, plugged_and_pulled),
    Case(rules.INIT_NOT_UNDONE, FailsAndLeavesATimer, FailsAndCancels, plugged_and_pulled, by="card0"),
    Case(rules.REENTRANT_BIND, AsksForBindsInABind, OpensInABind, registered, by="TRANSPORT"),
)
