"""
Rules of sends and requests: whose a packet is while it is below, and how each send and each request ends once.

Next: `tests/verifier/cases/lifecycle.py`.
"""

from __future__ import annotations

from verifier.bench import (
    Case,
    Owner,
    Slow,
    ask_and_wait,
    ask_then_interrupt,
    closed_then_work,
    filled,
    frame,
    frame_then_unbound,
    interrupt,
    send,
    send_then_interrupt,
    send_then_less_time,
    send_then_time,
)

from vnic import MiniportDriver, Status
from vnic.verifier import rules


class CompletesTwice(MiniportDriver):
    def send(self, packet):
        self.packet = packet
        return Status.PENDING

    def handle_interrupt(self):
        self.adapter.send_complete(self.packet, Status.SUCCESS)
        self.adapter.send_complete(self.packet, Status.SUCCESS)  # here


class CompletesBeforeItAnswers(MiniportDriver):
    def send(self, packet):
        self.adapter.send_complete(packet, Status.SUCCESS)
        return Status.PENDING

    def handle_interrupt(self):
        """Nothing is left to do."""


class SendsAgainTooSoon(Owner):
    def receive_packet(self, packet):
        self.binding.send(self.packet)
        self.binding.send(self.packet)  # here
        return 0


class SendsAgainWhenItIsBack(Owner):
    times = 0

    def receive_packet(self, packet):
        self.binding.send(self.packet)
        return 0

    def send_complete(self, packet, status):
        self.times += 1
        if self.times == 1:
            self.binding.send(packet)
        else:
            self.pool.free(packet)


class FreesTooSoon(Owner):
    def receive_packet(self, packet):
        self.binding.send(self.packet)
        self.pool.free(self.packet)  # here
        return 0


class FreesWhenItIsBack(Owner):
    def receive_packet(self, packet):
        if self.binding.send(self.packet) is not Status.PENDING:
            self.pool.free(self.packet)
        return 0

    def send_complete(self, packet, status):
        self.pool.free(packet)


class SendsAfterUnbind(Owner):
    def work(self):
        self.binding.send(self.packet)  # here


class StopsInUnbind(Owner):
    stopped = False

    def unbind_adapter(self):
        self.stopped = True
        self.pool.free(self.packet)

    def work(self):
        if not self.stopped:
            self.binding.send(self.packet)


class SetsNoStatus(MiniportDriver):
    def send_packets(self, packets):  # here
        self.packets = packets


class SetsEachStatus(MiniportDriver):
    def send_packets(self, packets):
        for packet in packets:
            packet.status = Status.SUCCESS


class AnswersResources(MiniportDriver):
    def send(self, packet):  # here
        return Status.RESOURCES


class AnswersFailure(MiniportDriver):
    def send(self, packet):
        return Status.FAILURE


class AnswersLater(MiniportDriver):
    """Every query is PENDING."""

    def query_information(self, oid, buffer):
        return Status.PENDING, 0, 0


class CompletesARequestTwice(AnswersLater):
    def handle_interrupt(self):
        self.adapter.requests.query_complete(Status.SUCCESS, 4)
        self.adapter.requests.query_complete(Status.SUCCESS, 4)  # here


class CompletesEachRequestOnce(AnswersLater):
    def handle_interrupt(self):
        self.adapter.requests.query_complete(Status.SUCCESS, 4)


class CompletesASet(AnswersLater):
    def handle_interrupt(self):
        try:
            self.adapter.requests.set_complete(Status.SUCCESS, 4)  # here
        finally:
            self.adapter.requests.query_complete(Status.SUCCESS, 4)


class CompletesAQuery(AnswersLater):
    def handle_interrupt(self):
        self.adapter.requests.query_complete(Status.FAILURE)


class WritesTooMuch(AnswersLater):
    def handle_interrupt(self):
        try:
            self.adapter.requests.query_complete(Status.SUCCESS, 5)  # here
        finally:
            self.adapter.requests.query_complete(Status.FAILURE)


class SaysWhatItNeeds(AnswersLater):
    def handle_interrupt(self):
        self.adapter.requests.query_complete(Status.BUFFER_TOO_SHORT, 0, 5)


class NeverCompletes(MiniportDriver):
    def query_information(self, oid, buffer):  # here
        return Status.PENDING, 0, 0


class CompletesWithinTheLimit(AnswersLater):
    def handle_interrupt(self):
        self.adapter.requests.query_complete(Status.FAILURE)


class CompletesWhatWasNotSent(MiniportDriver):
    def handle_interrupt(self):
        self.packet = filled(self.pool)
        try:
            self.adapter.send_complete(self.packet, Status.SUCCESS)  # here
        finally:
            self.pool.free(self.packet)


class FreesWhatWasNotSent(MiniportDriver):
    def handle_interrupt(self):
        self.pool.free(filled(self.pool))


class CompletesWithPending(MiniportDriver):
    def send(self, packet):
        self.packet = packet
        return Status.PENDING

    def handle_interrupt(self):
        try:
            self.adapter.send_complete(self.packet, Status.PENDING)  # here
        finally:
            self.adapter.send_complete(self.packet, Status.FAILURE)


class CompletesWithFailure(MiniportDriver):
    def send(self, packet):
        self.packet = packet
        return Status.PENDING

    def handle_interrupt(self):
        self.adapter.send_complete(self.packet, Status.FAILURE)


class SendsARunt(Owner):
    def receive_packet(self, packet):
        self.packet.length = 13
        self.binding.send(self.packet)  # here
        return 0


class SendsAHeader(Owner):
    def receive_packet(self, packet):
        self.packet.length = 14
        self.binding.send(self.packet)
        self.pool.free(self.packet)
        return 0


class CompletesAndAnswers(MiniportDriver):
    def send(self, packet):  # here
        self.adapter.send_complete(packet, Status.SUCCESS)
        return Status.SUCCESS


class CompletesAndAnswersPending(MiniportDriver):
    def send(self, packet):
        self.adapter.send_complete(packet, Status.SUCCESS)
        return Status.PENDING


class ClosesWhileASendIsBelow(Owner):
    def receive_packet(self, packet):
        self.binding.send(self.packet)
        return 0

    def unbind_adapter(self):  # here
        """It does not wait."""


class WaitsForItsSend(Owner):
    def receive_packet(self, packet):
        self.binding.send(self.packet)
        return 0

    def unbind_adapter(self):
        self.binding.adapter.miniport.finish()


class NeverCompletesASend(MiniportDriver):
    def send(self, packet):  # here
        return Status.PENDING


class CompletesEverySend(MiniportDriver):
    def send(self, packet):
        self.adapter.send_complete(packet, Status.FAILURE)
        return Status.PENDING


CASES = (
    Case(rules.COMPLETED_TWICE, CompletesTwice, CompletesBeforeItAnswers, send_then_interrupt),
    Case(rules.SEND_TIMED_OUT, NeverCompletesASend, CompletesEverySend, send_then_time, level=2, also=("52",)),
    Case(rules.SEND_HANG, NeverCompletesASend, CompletesEverySend, send_then_less_time),
    Case(rules.NOT_SENT, CompletesWhatWasNotSent, FreesWhatWasNotSent, interrupt),
    Case(rules.ILLEGAL_STATUS, CompletesWithPending, CompletesWithFailure, send_then_interrupt),
    Case(rules.LENGTH_ILLEGAL, SendsARunt, SendsAHeader, frame),
    Case(rules.WRONG_CHANNEL, CompletesAndAnswers, CompletesAndAnswersPending, send),
    Case(rules.CLOSE_PENDING, ClosesWhileASendIsBelow, WaitsForItsSend, frame_then_unbound, miniport=Slow),
    Case(rules.SENT_WHILE_BELOW, SendsAgainTooSoon, SendsAgainWhenItIsBack, frame, miniport=Slow),
    Case(rules.PENDING_TOUCHED, FreesTooSoon, FreesWhenItIsBack, frame, miniport=Slow),
    Case(rules.SEND_ON_CLOSED, SendsAfterUnbind, StopsInUnbind, closed_then_work),
    Case(rules.SEND_STATUS_MISSING, SetsNoStatus, SetsEachStatus, send, options={"serialized": True}),
    Case(rules.RESOURCES_FROM_DESERIALIZED, AnswersResources, AnswersFailure, send),
    Case(rules.REQUEST_COMPLETED_TWICE, CompletesARequestTwice, CompletesEachRequestOnce, ask_then_interrupt),
    Case(rules.REQUEST_NOT_PENDING, CompletesASet, CompletesAQuery, ask_then_interrupt),
    Case(rules.REQUEST_EXCEEDS_BUFFER, WritesTooMuch, SaysWhatItNeeds, ask_then_interrupt),
    Case(rules.REQUEST_TIMED_OUT, NeverCompletes, CompletesWithinTheLimit, ask_and_wait),
)
