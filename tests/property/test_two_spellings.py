"""
Any script of operations, legal or not, has the same answers, states and counters in both spellings.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from property.spelled_by_names import Names
from property.spelled_by_objects import MEMORY, Objects

from vnic import ContractViolation, PacketState, Status
from vnic.locks import Irql, at_irql
from vnic.timers import VirtualClock, system_timers
from vnic.verifier.rules import Rule

Step = tuple[str, int, int, int, int]

OPERATIONS = 100_000
LONGEST = 80
ARGUMENTS = {
    "": "allocate allocate_dpr allocate_unlocked usage acquire release acquire_dpr release_dpr free_lock renew_lock increment decrement "
    "remove_head signal reset cancel_timer close_pools",
    "p": "free free_dpr free_unlocked home reinitialize detach unchain_front unchain_back recalculate query ends send",
    "pn": "add_flags clear_flags set_status set_times set_header_size attach set_cancel_id set_info complete",
    "n": "set_protocol_id make_buffer share_lock unshare_lock add insert_head insert_tail set_timer advance cancel_sends ask answer",
    "b": "free_buffer look",
    "bn": "adjust copy_buffer",
    "pb": "chain_front chain_back",
    "pq": "set_original share indicate give_back send_packets",
    "pqn": "copy",
}
"""What each operation takes: p and q are packets, b is a buffer, n a number."""
KINDS = {name: kinds for kinds, names in ARGUMENTS.items() for name in names.split()}
FULL: list[Step] = [
    *[("allocate", 0, 0, 0, 0)] * 2,
    *[("make_buffer", 0, 0, 0, size) for size in (60, 14)],
    *[("chain_back", place, 0, place, 0) for place in (0, 1)],
]
"""Two packets that can be indicated and sent."""
WEIGHTS = {"close_pools": 1, "free_lock": 1} | dict.fromkeys(["indicate", "send", "send_packets", "give_back", "complete", "answer"], 9)
"""How often an operation comes in a random script; 3 for all others."""
NONE_YET = "there is none yet"
places = st.integers(0, 5)
steps = st.tuples(st.sampled_from(sorted(KINDS)), places, places, places, st.integers(0, MEMORY + 4))


@contextmanager
def both() -> Iterator[tuple[Objects, Names]]:
    """Two worlds that know nothing of each other, but share a clock, which stands still between their steps."""
    before, system_timers.clock = system_timers.clock, VirtualClock()
    worlds = Objects(system_timers.clock), Names(system_timers.clock)
    with at_irql(Irql.DISPATCH):
        try:
            yield worlds
        finally:
            for world in worlds:
                world.close()
            system_timers.clock = before


def outcome(world: Objects, step: Step) -> object:
    """Take one step; answers what it answered, or the rule that it broke."""
    name, packet, other, buffer, number = step
    given: dict[str, Callable[[], Any]] = {
        "p": lambda: world.packets[packet % len(world.packets)],
        "q": lambda: world.packets[other % len(world.packets)],
        "b": lambda: world.made[buffer % len(world.made)],
        "n": lambda: number,
    }
    try:
        arguments = [given[kind]() for kind in KINDS[name]]
    except ZeroDivisionError:
        return NONE_YET
    try:
        return getattr(world, name)(*arguments)
    except ContractViolation as error:
        return error.rule
    except (ValueError, TypeError) as error:
        return type(error)


def play(script: list[Step]) -> list[object]:
    """Play a script in both spellings; answers what each step answered, which is the same in both."""
    answers = []
    with both() as (objects, names):
        for number, step in enumerate(script):
            answers.append(outcome(objects, step))
            assert answers[-1] == outcome(names, step), (step, script[: number + 1])
            assert objects.state() == names.state(), (step, script[: number + 1])
    return answers


def random_script(dice: random.Random) -> list[Step]:
    """A script, usually with something to work on."""
    names = dice.choices(list(KINDS), [WEIGHTS.get(name, 3) for name in KINDS], k=dice.randint(1, LONGEST))
    start = [] if dice.random() < 0.1 else FULL
    return start + [(name, dice.randrange(6), dice.randrange(6), dice.randrange(6), dice.randrange(MEMORY + 5)) for name in names]


@settings(max_examples=150, deadline=None)
@given(st.builds(list.__add__, st.sampled_from([[], FULL]), st.lists(steps, max_size=40)))
@example([*FULL, ("indicate", 0, 1, 0, 0), ("give_back", 0, 1, 0, 0), ("give_back", 1, 1, 0, 0), ("give_back", 1, 0, 0, 0)])
@example([*FULL, ("copy", 0, 1, 0, 30), ("send", 0, 0, 0, 0), ("free", 0, 0, 0, 0), ("attach", 1, 0, 0, 4), ("reinitialize", 1, 0, 0, 0)])
@example([*FULL, ("set_cancel_id", 0, 0, 0, 1), ("send_packets", 0, 1, 0, 0), ("cancel_sends", 0, 0, 0, 1), ("complete", 0, 0, 0, 0)])
@example([("acquire", 0, 0, 0, 0), ("acquire_dpr", 0, 0, 0, 0), ("release_dpr", 0, 0, 0, 0), ("release", 0, 0, 0, 0)])
@example([("set_timer", 0, 0, 0, 9), ("advance", 0, 0, 0, 16), ("advance", 0, 0, 0, 4), ("cancel_timer", 0, 0, 0, 0)])
def test_a_script_played_in_both_spellings_ends_the_same(script: list[Step]) -> None:
    play(script)


def test_a_hundred_thousand_random_operations_end_the_same_in_both_spellings() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    operations, worked, broken = 0, set[str](), set[object]()
    while operations < OPERATIONS:
        script = random_script(dice)
        for step, answer in zip(script, play(script), strict=True):
            if isinstance(answer, type | Rule):
                broken.add(answer)
            elif answer != NONE_YET:
                worked.add(step[0])
        operations += len(script)
    print(f"{operations} operations; {len(broken)} ways to be refused")
    assert operations >= OPERATIONS
    assert worked == KINDS.keys()
    assert len(broken) > 15


def test_the_examples_reach_what_they_are_for() -> None:
    with both() as worlds:
        for world in worlds:
            assert [outcome(world, step) for step in FULL] == [Status.SUCCESS] * 4 + [None] * 2
            assert outcome(world, ("indicate", 0, 1, 0, 0)) is None
            assert [packet.state for packet in world.packets] == [PacketState.INDICATED] * 2
            assert [packet.references for packet in world.packets] == [1, 2]
