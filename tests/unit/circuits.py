"""
A bench for virtual connections: an adapter with a scripted connection-oriented miniport, and a client that remembers.

    with Circuit() as circuit:
        vc = circuit.active()

When the block ends, every packet must be home, every sum of every connection come out, and every report have been expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from unit.wire import US, frame

from vnic import Adapter, Packet, PacketFilter, PacketPool, Status
from vnic.condis import CoMiniportDriver, CoProtocolDriver
from vnic.counters import broken_sums
from vnic.states import VcState
from vnic.vc import VirtualConnection


class Client(CoProtocolDriver):
    """
    Answer what is asked for, remember everything.

    Attributes:
        answer: the answer to every packet, or a function of the connection and the packet that gives it.
        frames: (context of the connection, frame, status) of each packet shown.
        kept: (connection, packet), once for each reference.
        completed: (context of the connection, packet, status) of each send that came back.
        told: (what, context of the connection, status) of each other handler.
        batches: calls of `receive_complete`.
    """

    packet_filter = PacketFilter.NONE

    def __init__(self, answer: Any = 0, *, frees: bool = True) -> None:
        self.answer = answer
        self.frees = frees
        self.frames: list[tuple[object, bytes, Status]] = []
        self.kept: list[tuple[VirtualConnection, Packet]] = []
        self.completed: list[tuple[object, Packet, Status]] = []
        self.told: list[tuple[str, object, Status]] = []
        self.batches = 0

    def co_receive_packet(self, vc: VirtualConnection, packet: Packet) -> int:
        self.frames.append((vc.context, bytes(packet.data), packet.status))
        answer = self.answer(vc, packet) if callable(self.answer) else self.answer
        if packet.status is Status.SUCCESS and type(answer) is int and 0 < answer < 10:
            self.kept += [(vc, packet)] * answer
        return answer

    def receive_complete(self) -> None:
        self.batches += 1

    def co_send_complete(self, vc: VirtualConnection, packet: Packet, status: Status) -> None:
        self.completed.append((vc.context, packet, status))
        if self.frees:
            packet.pool.free(packet)

    def co_status(self, vc: VirtualConnection | None, status: Status, buffer: bytes) -> None:
        self.told.append(("status", vc and vc.context, status))

    def co_activate_vc_complete(self, vc: VirtualConnection, status: Status) -> None:
        self.told.append(("activated", vc.context, status))

    def co_deactivate_vc_complete(self, vc: VirtualConnection, status: Status) -> None:
        self.told.append(("deactivated", vc.context, status))

    def give_back(self) -> None:
        """Return everything that is kept, one reference at a time."""
        kept, self.kept = self.kept, []
        for vc, packet in kept:
            vc.return_packets([packet])


class CoMiniport(CoMiniportDriver):
    """
    Answer what is asked for, remember every call; keep every send until the test completes it.

    Attributes:
        answers: what each handler answers; SUCCESS if nothing is said.
        calls: (handler, context of the connection) of each call.
        pending: sends that are not completed.
        returned: packets that came back.
    """

    vc_packets = 8

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.calls: list[tuple[str, object]] = []
        self.pending: list[tuple[VirtualConnection, Packet]] = []
        self.returned: list[Packet] = []

    def answer(self, handler: str, vc: VirtualConnection) -> Any:
        """What is answered: an exception is raised, a function called."""
        self.calls.append((handler, vc.context))
        answer = self.answers.get(handler)
        if isinstance(answer, Exception):
            raise answer
        return answer(vc) if callable(answer) else answer

    def co_create_vc(self, vc: VirtualConnection) -> Any:
        return self.answer("create", vc)

    def co_activate_vc(self, vc: VirtualConnection, parameters: Any) -> Any:
        return self.answer("activate", vc)

    def co_send_packets(self, vc: VirtualConnection, packets: Sequence[Packet]) -> None:
        self.pending += [(vc, packet) for packet in packets]
        self.answer("send", vc)

    def co_deactivate_vc(self, vc: VirtualConnection) -> Any:
        return self.answer("deactivate", vc)

    def co_delete_vc(self, vc: VirtualConnection) -> None:
        self.answer("delete", vc)

    def return_packet(self, packet: Packet) -> None:
        self.returned.append(packet)
        packet.pool.free(packet)

    def complete(self, status: Status = Status.SUCCESS) -> None:
        """Complete everything that is pending, in order."""
        pending, self.pending = self.pending, []
        for vc, packet in pending:
            vc.send_complete(packet, status)


class Circuit:
    """
    An adapter whose miniport knows connections, and a client bound to it.

    Attributes:
        own: the client's pool to send from.
        reports: (rule id or handler, culprit) of everything that was reported, except:
        early: indications on a VC that was not active (rule 93).
    """

    def __init__(self, client: Client | None = None, miniport: CoMiniportDriver | None = None) -> None:
        self.reports: list[tuple[str, str]] = []
        self.early = 0
        self.client = client or Client()
        self.below = miniport or CoMiniport()
        self.miniport = self.below if isinstance(self.below, CoMiniport) else CoMiniport()
        self.adapter = Adapter(PacketPool(1, 0), self.below, name="co0", address=US, report=self.report)
        self.binding = self.adapter.open(self.client, "client")
        self.own = PacketPool(16, 1600, name="transmit")
        self.made: list[VirtualConnection] = []

    def report(self, event: str, fields: dict[str, Any]) -> None:
        """Remember what is reported."""
        culprit = fields["binding"].name.split(".")[0] if fields["binding"] else "miniport"
        if event == "violation" and fields["error"].rule.id == "93":
            # an indication on a VC that is not active: legal to try, and told of
            self.early += 1
            return
        self.reports.append((fields["error"].rule.id if event == "violation" else fields["handler"], culprit))

    def expect(self, *reports: tuple[str, str]) -> None:
        """Check, and forget, what was reported up to here."""
        assert self.reports == list(reports), self.reports
        self.reports.clear()

    def create(self, context: object = "a") -> VirtualConnection:
        """Make a connection; it must work."""
        status, vc = VirtualConnection.create(self.binding, context)
        assert status is Status.SUCCESS
        assert vc is not None
        self.made.append(vc)
        return vc

    def active(self, context: object = "a") -> VirtualConnection:
        """Make a connection and activate it."""
        vc = self.create(context)
        assert vc.activate("parameters") is Status.SUCCESS
        return vc

    def received(self, vc: VirtualConnection, mark: int = 0, status: Status = Status.SUCCESS) -> Packet:
        """Take a packet of a connection's pool, as its miniport does, and write a frame into it."""
        assert vc.pool is not None
        packet = vc.pool.allocate()
        assert packet is not None
        packet.write(frame(mark))
        packet.status = status
        return packet

    def to_send(self, mark: int = 0, size: int = 60) -> Packet:
        """Take a packet to send."""
        packet = self.own.allocate()
        assert packet is not None
        packet.write(frame(mark, size=size))
        return packet

    def check_sums(self) -> None:
        """Every packet and frame of every connection is accounted for; of one that is deleted, the pool is gone."""
        for vc in self.made:
            gone = vc.state is VcState.DELETED
            assert [line for line in broken_sums(vc.adapter.counters()) if not (gone and line.startswith("pool_capacity"))] == []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.check_sums()
        self.miniport.answers.clear()
        held = [binding.held for vc in self.made if not (binding := vc.binding).closed]
        for vc in self.made:
            vc.deactivate()
            vc.reclaim()
        self.miniport.complete()
        usage = [vc.pool.usage for vc in self.made if vc.pool is not None]
        assert self.adapter.close(self.binding) is Status.SUCCESS
        self.adapter.halt()
        if kind is None:
            assert not any(held), "the client still holds packets"
            assert not any(usage), "packets are missing"
            assert self.own.usage == 0
            self.check_sums()
            assert {vc.state for vc in self.made} <= {VcState.DELETED}
            assert self.reports == [], self.reports
