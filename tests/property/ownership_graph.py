"""
The state graph of the ownership contract: every state that the packets of a pool can be in together, and every step between two.

A packet is at one of these places:

    FREE                    in the pool
    OWNED                   the miniport's
    HELD (2, 0, 1)          drivers owe returns: so many each
    SHOWN (2, 0)            in the middle of an indication: these bindings have answered, the next one is being asked

and at most one packet at a time is being shown. The steps of a packet:

    FREE  --allocate--> OWNED --free--> FREE
    OWNED --indicate--> SHOWN (), if no other packet is being shown
    SHOWN --answer n--> SHOWN, one binding further; after the last one HELD, or OWNED if nobody keeps it
    SHOWN --return----> SHOWN, by a binding that has answered and owes
    HELD  --return----> HELD, by a binding that owes; OWNED after the last return of all

What is counted: packets are alike, so a state is the multiset of their places. An edge is one step of one packet of a state; two
packets at the same place give two edges. Written from the contract only; nothing here asks the library anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from itertools import combinations_with_replacement, product
from typing import NamedTuple


class Kind(IntEnum):
    """Where a packet is."""

    FREE = 0
    OWNED = 1
    HELD = 2
    SHOWN = 3


class Place(NamedTuple):
    """Where one packet is; `owed`: returns owed by each binding, of a packet being shown by those that have answered."""

    kind: Kind
    owed: tuple[int, ...] = ()


class Step(NamedTuple):
    """What can happen to a packet: `number` is the binding that returns, or what the next binding answers."""

    what: str
    number: int = 0


FREE, OWNED, BEING_SHOWN = Place(Kind.FREE), Place(Kind.OWNED), Place(Kind.SHOWN)
ALLOCATE, RELEASE, INDICATE = Step("allocate"), Step("free"), Step("indicate")

State = tuple[Place, ...]


class Shape(NamedTuple):
    """How large a graph is: packets, bindings, and how often at most one binding keeps a packet."""

    packets: int
    bindings: int
    most: int

    def resting(self) -> list[Place]:
        """Where a packet can be that is not being shown."""
        held = [Place(Kind.HELD, owed) for owed in product(range(self.most + 1), repeat=self.bindings) if any(owed)]
        return [FREE, OWNED, *held]

    def shown(self) -> list[Place]:
        """Where a packet can be that is being shown."""
        lengths = range(self.bindings)
        return [Place(Kind.SHOWN, owed) for length in lengths for owed in product(range(self.most + 1), repeat=length)]

    def states(self) -> Iterator[State]:
        """Every state, each once: first those in which no packet is being shown."""
        yield from combinations_with_replacement(self.resting(), self.packets)
        for others in combinations_with_replacement(self.resting(), self.packets - 1):
            for place in self.shown():
                yield (*others, place)

    def steps(self, place: Place, *, busy: bool) -> Iterator[tuple[Step, Place]]:
        """What can happen to a packet, and where it is then; `busy`: another one is being shown."""
        if place.kind is Kind.FREE:
            yield ALLOCATE, OWNED
        elif place.kind is Kind.OWNED:
            yield RELEASE, FREE
            if not busy:
                yield INDICATE, BEING_SHOWN
        elif place.kind is Kind.SHOWN:
            for answer in range(self.most + 1):
                yield Step("answer", answer), self.asked((*place.owed, answer))
        for binding, owed in enumerate(place.owed):
            if owed:
                less = (*place.owed[:binding], owed - 1, *place.owed[binding + 1 :])
                yield Step("return", binding), place._replace(owed=less) if any(less) or place.kind is Kind.SHOWN else OWNED

    def asked(self, answers: tuple[int, ...]) -> Place:
        """Where a packet is for which these bindings have answered."""
        if len(answers) < self.bindings:
            return Place(Kind.SHOWN, answers)
        return Place(Kind.HELD, answers) if any(answers) else OWNED


def explore(shape: Shape) -> tuple[int, int]:
    """Walk from the state in which every packet is free wherever the steps lead; answers how many states and edges there are."""
    start: State = (FREE,) * shape.packets
    seen, waiting, edges = {start}, [start], 0
    while waiting:
        state = waiting.pop()
        busy = state[-1].kind is Kind.SHOWN
        for index, place in enumerate(state):
            for _, after in shape.steps(place, busy=busy):
                edges += 1
                found = tuple(sorted((*state[:index], after, *state[index + 1 :])))
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
    return len(seen), edges
