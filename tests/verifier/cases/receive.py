"""
Rules of received packets: who may return, look at and keep what, and how often.

Next: `tests/verifier/cases/pools.py`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from verifier.bench import Case, Holder, Keeper, Owner, OwnMemory, frame, frame_then_end, frame_then_time, interrupt, starve

from vnic import ContractViolation, ProtocolDriver, Status
from vnic.verifier import rules


class ReturnsTwice(ProtocolDriver):
    def receive_packet(self, packet):
        self.packet = packet
        return 1

    def receive_complete(self):
        self.binding.return_packets([self.packet])
        self.binding.return_packets([self.packet])  # here


class PromisesTwo(Keeper):
    def receive_packet(self, packet):
        self.kept += [packet, packet]
        return 2


class ReturnsInside(ProtocolDriver):
    def receive_packet(self, packet):
        self.binding.return_packets([packet])  # here
        return 1


class SaysThatItReturnsEarly(Keeper):
    early_returns = True

    def receive_packet(self, packet):
        self.binding.return_packets([packet])
        return 1


class OtherThread(Keeper):
    """Has a thread of its own that returns packets; the driver waits for it."""

    def bind_adapter(self):
        super().bind_adapter()
        self.thread = ThreadPoolExecutor(1)

    def unbind_adapter(self):
        self.thread.shutdown()

    def hand_over(self, packets):
        self.thread.submit(self.consume, packets).result()


class HandsOverTooSoon(OtherThread):
    def receive_packet(self, packet):
        self.hand_over([packet])
        return 0

    def consume(self, packets):
        with suppress(ContractViolation):
            self.binding.return_packets(packets)  # here


class HandsOverAfterwards(OtherThread):
    def receive_packet(self, packet):
        self.kept.append(packet)
        return 1

    def receive_complete(self):
        self.hand_over(self.kept)

    def consume(self, packets):
        self.binding.return_packets(packets)
        packets.clear()


class ReturnsWhatItDidNotKeep(ProtocolDriver):
    def receive_packet(self, packet):
        self.packet = packet
        return 0

    def receive_complete(self):
        self.binding.return_packets([self.packet])  # here


class ReturnsWhatItKept(Keeper):
    def receive_packet(self, packet):
        self.kept.append(packet)
        return 1


class LooksAfterReturn(ProtocolDriver):
    def receive_packet(self, packet):
        self.packet = packet
        return 1

    def receive_complete(self):
        self.binding.return_packets([self.packet])
        self.seen = self.packet.ethertype  # here


class LooksBeforeReturn(Keeper):
    def receive_packet(self, packet):
        self.kept.append(packet)
        return 1

    def receive_complete(self):
        self.seen = [packet.ethertype for packet in self.kept]
        super().receive_complete()


class ForgetsAView(ProtocolDriver):
    def receive_packet(self, packet):
        self.packet, self.header = packet, packet.data[:14]
        return 1

    def receive_complete(self):
        self.binding.return_packets([self.packet])  # here


class DropsTheView(Keeper):
    def receive_packet(self, packet):
        self.kept.append(packet)
        self.header = packet.data[:14]
        return 1

    def receive_complete(self):
        self.header = None
        super().receive_complete()


class KeepsAView(ProtocolDriver):
    def receive_packet(self, packet):  # here
        self.header = packet.data[:14]
        return 0


class KeepsACopy(ProtocolDriver):
    def receive_packet(self, packet):
        self.header = bytes(packet.data[:14])
        return 0


class KeepsAlways(ProtocolDriver):
    def receive_packet(self, packet):  # here
        return 1


class KeepsWhatMayBeKept(ProtocolDriver):
    def bind_adapter(self):
        self.kept = []

    def receive_packet(self, packet):
        if packet.status is Status.RESOURCES:
            return 0
        self.kept.append(packet)
        return 1

    def receive_complete(self):
        self.binding.return_packets(self.kept)
        self.kept.clear()


class AnswersTrue(ProtocolDriver):
    def receive_packet(self, packet):  # here
        return packet.length > 60


class AnswersANumber(Keeper):
    def receive_packet(self, packet):
        wanted = packet.length > 60
        self.kept += [packet] * wanted
        return int(wanted)


class MarksWhatItDidNotKeep(ProtocolDriver):
    def receive_packet(self, packet):
        self.packet = packet
        return 0

    def receive_complete(self):
        self.binding.reserved(self.packet)[0] = 1  # here


class MarksWhatItIsShown(ProtocolDriver):
    def receive_packet(self, packet):
        self.binding.reserved(packet)[0] = 1
        return 0


class HoldsEverything(ProtocolDriver):
    def receive_packet(self, packet):  # here
        return int(packet.status is Status.SUCCESS)


class HoldsHalf(Holder):
    def receive_packet(self, packet):
        return 0 if len(self.held) == 2 else super().receive_packet(packet)


class SendsWhatItReceived(ProtocolDriver):
    def receive_packet(self, packet):
        self.binding.send(packet)  # here
        return 0


class SendsACopy(Owner):
    def receive_packet(self, packet):
        copy = self.pool.allocate()
        if copy is not None:
            copy.write(packet.data)
            self.binding.send_packets([copy])
        return 0

    def unbind_adapter(self):
        self.pool.free(self.packet)


class FreesWhatItReceived(ProtocolDriver):
    def receive_packet(self, packet):
        packet.pool.free(packet)  # here
        return 0


class LeavesItAlone(ProtocolDriver):
    def receive_packet(self, packet):
        return 0


class TransfersTooLate(Owner):
    def receive(self, context, header, lookahead, size):
        self.context = context

    def receive_complete(self):
        self.binding.transfer_data(self.context, 0, 46, self.packet)  # here


class TransfersInTime(Owner):
    def receive(self, context, header, lookahead, size):
        self.binding.transfer_data(context, 0, size, self.packet)

    def unbind_adapter(self):
        self.pool.free(self.packet)


class ForgetsToReturn(ProtocolDriver):
    def receive_packet(self, packet):  # here
        return 1


class ReturnsInUnbind(Keeper):
    def receive_packet(self, packet):
        if self.kept:
            return 0
        self.kept.append(packet)
        return 1

    def receive_complete(self):
        """The packet is held."""

    def unbind_adapter(self):
        self.binding.return_packets(self.kept)


class ChangesWhatItReceived(ProtocolDriver):
    def receive_packet(self, packet):  # here
        packet.buffers[0].memory[20] = 0xFF
        return 0


class ChangesACopy(ProtocolDriver):
    def receive_packet(self, packet):
        self.copy = bytearray(packet.data)
        self.copy[20] = 0xFF
        return 0


class StampsWhatItReceived(ProtocolDriver):
    def receive_packet(self, packet):  # here
        packet.oob.time_received = 0
        return 0


class ReadsTheStamp(ProtocolDriver):
    def receive_packet(self, packet):
        self.came = packet.oob.time_received
        return 0


class RaisesInAHandler(ProtocolDriver):
    def receive_packet(self, packet):
        return packet.size  # here


class CatchesWhatItRaises(ProtocolDriver):
    def receive_packet(self, packet):
        with suppress(AttributeError):
            return packet.size
        return 0


class ReadsFromAHandler(ProtocolDriver):
    def receive_packet(self, packet):
        self.binding.adapter.receive_batch()  # here
        return 0


class LeavesReadingToItsOwner(ProtocolDriver):
    def receive_packet(self, packet):
        return 0


class HoldsTooLong(ProtocolDriver):
    def receive_packet(self, packet):  # here
        return 1


class HoldsAsLongAsItSays(Holder):
    hold_limit = 60.0

    def receive_packet(self, packet):
        return 0 if self.held else super().receive_packet(packet)


CASES = (
    Case(rules.DOUBLE_RETURN, ReturnsTwice, PromisesTwo, frame, others=(Holder,)),
    Case(rules.RETURN_INSIDE_HANDLER, ReturnsInside, SaysThatItReturnsEarly, frame),
    Case(rules.RETURN_BEFORE_ANSWER, HandsOverTooSoon, HandsOverAfterwards, frame),
    Case(rules.WRONG_BINDING, ReturnsWhatItDidNotKeep, ReturnsWhatItKept, frame, others=(Holder,)),
    Case(rules.OVER_RETURN, ReturnsTwice, PromisesTwo, frame),
    Case(rules.USE_AFTER_RETURN, LooksAfterReturn, LooksBeforeReturn, frame),
    Case(rules.RETAINED_VIEW, ForgetsAView, DropsTheView, frame, views=True),
    Case(rules.RETAIN_UNDECLARED, KeepsAView, KeepsACopy, frame, views=True),
    Case(rules.RETAIN_ON_RESOURCES, KeepsAlways, KeepsWhatMayBeKept, frame, options={"low_water": 4}),
    Case(rules.ILLEGAL_ANSWER, AnswersTrue, AnswersANumber, frame),
    Case(rules.RESERVED_TRESPASS, MarksWhatItDidNotKeep, MarksWhatItIsShown, frame, others=(Holder,)),
    Case(rules.HELD_TOO_LONG, HoldsTooLong, HoldsAsLongAsItSays, frame_then_time),
    Case(rules.POOL_STARVED, HoldsEverything, HoldsHalf, starve, options={"low_water": 1}),
    Case(rules.SHARED_MODIFIED, ChangesWhatItReceived, ChangesACopy, interrupt, level=3, miniport=OwnMemory),
    Case(rules.OOB_TAMPERED, StampsWhatItReceived, ReadsTheStamp, interrupt, level=3, miniport=OwnMemory),
    Case(rules.HANDLER_RAISED, RaisesInAHandler, CatchesWhatItRaises, frame),
    Case(rules.REENTERED, ReadsFromAHandler, LeavesReadingToItsOwner, frame),
    Case(rules.FREE_WHILE_INDICATED, FreesWhatItReceived, LeavesItAlone, frame),
    Case(rules.RECEIVED_SENT, SendsWhatItReceived, SendsACopy, frame),
    Case(rules.LOOKAHEAD_OVER, TransfersTooLate, TransfersInTime, frame),
    Case(rules.LEAKED_AT_UNBIND, ForgetsToReturn, ReturnsInUnbind, frame_then_end),
)
