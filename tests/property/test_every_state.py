"""
Every state that the packets of a small pool can be in together, every step between them, and everything that is illegal in each.

The graph, and how it is counted, is in `ownership_graph.py`; `graph_world.py` takes its steps with the real pool; `graph_refusals.py` has
what is forbidden. In every state every legal step is taken, and all that can be seen afterwards is what the contract says; every illegal
action is refused by the right rule, and nothing that can be seen has changed.

The whole is walked by the compiled core, in about 100 seconds; the uncompiled one walks a smaller graph. `scripts/long states` walks a
wider one: 3 packets, 4 bindings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations_with_replacement

import pytest
from property.graph_refusals import Forbidden
from property.graph_world import World
from property.ownership_graph import OWNED, Kind, Place, Shape, State, explore
from property.scale import scale

SMALL, WHOLE, WIDE = Shape(3, 2, 2), Shape(4, 3, 2), Shape(3, 4, 2)
FIGURES = {SMALL: (440, 2_376), WHOLE: (84_245, 788_075), WIDE: (231_404, 2_126_958)}
"""States and edges of each graph."""

SHAPE = scale("states", compiled=WHOLE, uncompiled=SMALL, long=WIDE)


def walk(shape: Shape, level: int) -> tuple[int, int, int]:
    """Walk through a whole graph; answers states, edges, and how many illegal actions were refused."""
    with World(shape, level) as world:
        return Walk(world).through()


class Walk:
    """One walk through a whole graph: how many states it was in, and how many edges it took."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shape = world.shape
        self.forbidden = Forbidden(self.world)
        self.states = self.edges = 0

    def through(self) -> tuple[int, int, int]:
        """What `walk` does."""
        for state in combinations_with_replacement(self.shape.resting(), self.shape.packets):
            self.at_rest(state)
        for others in combinations_with_replacement(self.shape.resting(), self.shape.packets - 1):
            self.while_one_is_shown(others)
        return self.states, self.edges, self.forbidden.refused

    def at_rest(self, state: State) -> None:
        """A state in which no packet is being shown."""
        world = self.world
        world.go(state)
        world.check()
        self.states += 1
        self.forbidden.everything()
        for index, place in enumerate(state):
            if place.kind is Kind.HELD and 0 in place.owed:
                # whoever owes nothing now has returned what it promised: that is another rule
                world.move(index, place, worn=True)
                world.check()
                self.forbidden.returns(index)
            for step, after in self.shape.steps(place, busy=False):
                world.take(index, step)
                if after.kind is not Kind.SHOWN:  # that was compared in the handler
                    assert world.places[index] == after
                world.check()
                self.edges += 1
                world.go(state)
                world.check()
        world.check_sums()
        world.bench.reports.clear()

    def while_one_is_shown(self, others: State) -> None:
        """All states in which the last packet is being shown, and the others are where they are."""
        world, shape = self.world, self.shape
        for place in shape.shown():
            asked = len(place.owed)
            self.states += 1
            self.show(others, place.owed, asked, self.forbidden.everything)
            for index, other in enumerate(others):
                for step, _ in shape.steps(other, busy=True):
                    self.edges += 1
                    self.show(others, place.owed, asked, partial(world.take, index, step))
            for step, after in shape.steps(place, busy=False):
                self.edges += 1
                if step.what == "answer":
                    self.show(others, (*place.owed, step.number), asked + 1)
                    continue
                for elsewhere in (False, True):
                    self.show(others, place.owed, asked, partial(self.give_back_the_shown, after, step.number, elsewhere=elsewhere))
        world.check_sums()
        world.bench.reports.clear()

    def give_back_the_shown(self, after: Place, binding: int, *, elsewhere: bool) -> None:
        """A binding that has answered returns the packet while others are still being asked."""
        world, last = self.world, self.shape.packets - 1
        world.give_back(last, binding, elsewhere=elsewhere)
        assert world.places[last] == after
        world.check()
        self.forbidden.returns(last)

    def show(self, others: State, answers: tuple[int, ...], at: int, act: Callable[[], object] | None = None) -> None:
        """Show the last packet; compare when so many bindings have answered, act then, and compare again. The rest keeps nothing."""
        world, last = self.world, self.shape.packets - 1
        world.go((*others, OWNED))

        def inside() -> None:
            assert world.places[last].owed == answers
            world.check()
            if act is not None:
                act()
                world.check()

        world.indicate(last, (*answers, *[0] * (self.shape.bindings - len(answers))), {at: inside})
        world.check()


@pytest.mark.parametrize("shape", [SMALL, WHOLE, *([WIDE] if SHAPE == WIDE else [])], ids=str)
def test_the_contract_has_as_many_states_and_edges_as_it_should(shape: Shape) -> None:
    states = list(shape.states())
    assert len(set(states)) == len(states) == FIGURES[shape][0]
    assert explore(shape) == FIGURES[shape]


@pytest.mark.timeout(7200)
def test_every_legal_edge_equals_the_contract_and_every_illegal_action_is_refused_in_every_state() -> None:
    states, edges, refused = walk(SHAPE, level=1)
    print(f"{SHAPE}: {states} states, {edges} edges, {refused} illegal actions")
    assert (states, edges) == FIGURES[SHAPE]
    assert refused > 10 * states


@pytest.mark.parametrize("level", [0, 2, 3, 4])
def test_the_same_holds_at_every_level_of_the_verifier(level: int) -> None:
    assert walk(SMALL, level)[:2] == FIGURES[SMALL]
