"""
A real pool with its adapter, miniport and drivers, and beside them the places where the contract says that the packets are.

Every step is taken in both; `check` compares all that can be seen. What happens while a packet is being shown happens inside of the
handler of the binding that is being asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from property.ownership_graph import ALLOCATE, BEING_SHOWN, FREE, INDICATE, OWNED, RELEASE, Kind, Place, Shape, State, Step
from unit.wire import Bench, frame

from vnic import MiniportDriver, Packet, PacketFilter, PacketState, ProtocolDriver, Status
from vnic.counters import broken_sums

FRAME = frame()
STATE_OF = {
    Kind.FREE: PacketState.FREE,
    Kind.OWNED: PacketState.OWNED,
    Kind.HELD: PacketState.INDICATED,
    Kind.SHOWN: PacketState.INDICATED,
}
Action = Callable[[], object]


class Scripted(ProtocolDriver):
    """Do, and answer, what the world says."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number

    def receive_packet(self, packet: Packet) -> int:
        return self.world.asked(self.number, packet)


class Keeper(MiniportDriver):
    """Keep what comes back: it is the miniport's own again. Whatever is sent waits below."""

    def __init__(self) -> None:
        self.came_back = 0

    def return_packet(self, packet: Packet) -> None:
        self.came_back += 1

    def send(self, packet: Packet) -> Status:
        return Status.PENDING


class Elsewhere:
    """Another thread, that acts while this one waits for it."""

    def __init__(self) -> None:
        self.actions: SimpleQueue[Action | None] = SimpleQueue()
        self.answers: SimpleQueue[object] = SimpleQueue()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Act until there is nothing more to do."""
        while (action := self.actions.get()) is not None:
            try:
                self.answers.put(action())
            except BaseException as error:
                self.answers.put(error)

    def do(self, action: Action) -> None:
        """Act there; what it raises is raised here."""
        self.actions.put(action)
        answer = self.answers.get(timeout=10)
        if isinstance(answer, BaseException):
            raise answer

    def close(self) -> None:
        """End the thread."""
        self.actions.put(None)
        self.thread.join(10)


class World:
    """
    The real thing, and its places.

    Attributes:
        places: where the contract says that each packet is.
        promised: how often each binding has promised to return it, in this indication.
        stack: the packets that are free, the next one to be allocated last.
        rows: what must be seen of each packet.
        checked: what was seen by the last `check`.
    """

    def __init__(self, shape: Shape, level: int) -> None:
        self.shape = shape
        self.miniport = Keeper()
        self.bench = Bench(packets=shape.packets, miniport=self.miniport)
        self.adapter, self.pool = self.bench.adapter, self.bench.pool
        self.adapter.verifier_level = level
        self.bindings = [self.bench.bind(Scripted(self, number), f"d{number}") for number in range(shape.bindings)]
        self.packets = self.pool.packets()
        self.elsewhere = Elsewhere()
        self.places: list[Place] = [FREE] * shape.packets
        self.promised: list[tuple[int, ...]] = [()] * shape.packets
        self.generations = [0] * shape.packets
        self.stack = list(reversed(range(shape.packets)))
        self.came_back = self.indicated = 0
        self.rows: list[tuple[Any, ...]] = [()] * shape.packets
        self.checked: tuple[Any, ...] = ()
        self.showing = -1
        self.answers: tuple[int, ...] = ()
        self.acts: dict[int, Action] = {}
        self.failure: BaseException | None = None
        for index in range(shape.packets):
            self.allocate(index)  # from now on there is a frame in each, also while it is free
        self.go((FREE,) * shape.packets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Bring everything home; the bench adds up."""
        self.elsewhere.close()
        if kind is None:
            self.go((FREE,) * self.shape.packets)
            self.check()
        self.bench.reports.clear()
        self.bench.__exit__(kind, error, trace)

    # what must be seen, and what is seen

    def put(self, index: int, place: Place) -> None:
        """A packet is somewhere else now, says the contract."""
        self.places[index] = place
        references = sum(place.owed) + (place.kind is Kind.SHOWN)
        owed = (*place.owed, *[0] * (self.shape.bindings - len(place.owed)))
        self.rows[index] = (STATE_OF[place.kind], references, self.generations[index], len(FRAME), 0, *owed)

    def seen(self) -> tuple[Any, ...]:
        """All that can be seen of the real thing."""
        owed = [binding.owed for binding in self.bindings]
        return (
            [
                (packet.state, packet.references, packet.generation, packet.length, packet.views, *[ask(packet) for ask in owed])
                for packet in self.packets
            ],
            list(self.pool.audit().values()),
            [binding.held for binding in self.bindings],
            self.pool.available,
            self.miniport.came_back,
        )

    def check(self) -> None:
        """The real thing is where the contract says."""
        rows = self.rows
        states = [row[0] for row in rows]
        self.checked = self.seen()
        assert self.checked == (
            rows,
            [states.count(state) for state in PacketState],
            [sum(row[5 + number] for row in rows) for number in range(self.shape.bindings)],
            len(self.stack),
            self.came_back,
        )

    def check_sums(self) -> None:
        """What the adapter has counted is what was done."""
        counters = self.adapter.counters()
        assert (counters["indicated"], counters["returned"], counters["driver_errors"]) == (self.indicated, self.came_back, 0)
        assert (counters["tx_submitted"], counters["rx_frames"], counters["rx_delivered"]) == (0, self.indicated, self.indicated)
        assert list(broken_sums(counters)) == []

    # legal steps

    def take(self, index: int, step: Step) -> None:
        """Take one step of a packet that is not being shown."""
        if step == ALLOCATE:
            self.bring_to_top(index)
            self.allocate(index)
        elif step == RELEASE:
            self.free(index)
        elif step == INDICATE:
            self.indicate(index, (0,) * self.shape.bindings, {0: self.check})
        else:
            self.give_back(index, step.number)

    def bring_to_top(self, index: int) -> None:
        """Make a free packet the next one to be allocated."""
        above = [other for other in reversed(self.stack) if self.stack.index(other) >= self.stack.index(index)]
        for other in above:
            self.allocate(other)
        for other in above:
            self.free(other)

    def allocate(self, index: int) -> None:
        """Last in, first out."""
        packet = self.pool.allocate()
        assert packet is self.packets[index]
        assert self.stack.pop() == index
        packet.write(FRAME)
        self.generations[index] += 1
        self.put(index, OWNED)

    def free(self, index: int) -> None:
        self.pool.free(self.packets[index])
        self.stack.append(index)
        self.put(index, FREE)

    def give_back(self, index: int, binding: int, *, elsewhere: bool = False) -> None:
        """A binding that owes returns a packet, once."""
        place, packets = self.places[index], [self.packets[index]]
        if elsewhere:
            self.elsewhere.do(lambda: self.bindings[binding].return_packets(packets))
        else:
            self.bindings[binding].return_packets(packets)
        owed = (*place.owed[:binding], place.owed[binding] - 1, *place.owed[binding + 1 :])
        if place.kind is Kind.HELD and not any(owed):
            self.came_back += 1
            self.put(index, OWNED)
        else:
            self.put(index, place._replace(owed=owed))

    def indicate(self, index: int, answers: tuple[int, ...], acts: dict[int, Action] | None = None) -> None:
        """Show a packet; each binding answers what it is told to, and the handler of the n-th does `acts[n]` before."""
        self.showing, self.answers, self.acts = index, answers, acts or {}
        self.promised[index] = ()
        self.put(index, BEING_SHOWN)
        self.indicated += 1
        self.adapter.indicate([self.packets[index]])
        if self.failure is not None:
            raise self.failure
        owed = self.places[index].owed
        assert len(owed) == self.shape.bindings, "not every binding was asked"
        self.came_back += not any(owed)
        self.put(index, Place(Kind.HELD, owed) if any(owed) else OWNED)

    def asked(self, number: int, packet: Packet) -> int:
        """What happens inside of a handler; what goes wrong here is raised by `indicate`, as the library catches all that drivers raise."""
        index, answer = self.showing, self.answers[number]
        try:
            assert packet is self.packets[index]
            assert number == len(self.places[index].owed), "asked out of turn"
            self.acts.get(number, bool)()
        except BaseException as error:
            self.failure = self.failure or error
            return 0
        self.promised[index] += (answer,)
        self.put(index, Place(Kind.SHOWN, (*self.places[index].owed, answer)))
        return answer

    def go(self, state: State) -> None:
        """Bring every packet to its place, by legal steps."""
        for index, place in enumerate(state):
            if self.places[index] != place:
                self.move(index, place)

    def move(self, index: int, place: Place, *, worn: bool = False) -> None:
        """Bring one packet to a place; `worn`: every binding has promised more, and has returned it."""
        for binding, owed in enumerate(self.places[index].owed):
            for _ in range(owed):
                self.give_back(index, binding)
        if place == FREE:
            if self.places[index] == OWNED:
                self.free(index)
            return
        if self.places[index] == FREE:
            self.take(index, ALLOCATE)
        if place.kind is Kind.HELD:
            answers = (self.shape.most,) * self.shape.bindings if worn else place.owed
            self.indicate(index, answers)
            for binding, owed in enumerate(place.owed):
                for _ in range(answers[binding] - owed):
                    self.give_back(index, binding)
