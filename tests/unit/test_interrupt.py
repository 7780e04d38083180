"""
The interrupt of an adapter: the ISR, the deferred handler, masking, and the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from vnic import ContractViolation, locks
from vnic.interrupt import Interrupt, Phase
from vnic.locks import Irql, Profile, SpinLock, at_irql, current_irql, in_profile

PASSIVE, DISPATCH, DIRQL = Irql.PASSIVE, Irql.DISPATCH, Irql.DIRQL


class Card:
    """A miniport that notes which handler was called at which level."""

    def __init__(self) -> None:
        self.answer = (True, True)
        self.calls: list[tuple[str, Irql]] = []

    def note(self, name: str) -> None:
        self.calls.append((name, current_irql()))

    @property
    def names(self) -> list[str]:
        """What was called, without the levels."""
        return [name for name, _ in self.calls]

    def isr(self) -> tuple[bool, bool]:
        self.note("isr")
        return self.answer

    def handle_interrupt(self) -> None:
        self.note("handle")


class MaskedCard(Card):
    """One with the two optional handlers."""

    def disable_interrupt(self) -> None:
        self.note("disable")

    def enable_interrupt(self) -> None:
        self.note("enable")


@pytest.fixture(autouse=True)
def the_level_is_as_before() -> Iterator[None]:
    """No test leaves a level behind."""
    locks.counted.clear()
    yield
    assert current_irql() is PASSIVE


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifier level 2."""
    monkeypatch.setattr(locks, "checks", 2)


def running(card: Card, *, request_isr: bool = False, shared: bool = False) -> Interrupt:
    """The interrupt of a card whose initialize has returned."""
    interrupt = Interrupt(card, request_isr=request_isr, shared=shared)
    interrupt.phase = Phase.RUNNING
    return interrupt


def broken_by(call: Callable[[], object]) -> str:
    """The rule for which a call is refused."""
    with pytest.raises(ContractViolation) as caught:
        call()
    return caught.value.rule.id


@pytest.mark.parametrize("profile", Profile)
def test_the_isr_runs_at_dirql_and_the_deferred_handler_at_dispatch(profile: Profile) -> None:
    card = Card()
    with in_profile(profile):
        interrupt = running(card, request_isr=True)
        assert interrupt.fire()
        assert interrupt.run_deferred()
    levels = (DIRQL, DISPATCH) if profile is Profile.NT else (PASSIVE, PASSIVE)
    assert card.calls == [("isr", levels[0]), ("handle", levels[1])]


@pytest.mark.parametrize(
    ("answer", "ours", "queued"),
    [((True, True), True, True), ((True, False), True, False), ((False, True), False, False), ((False, False), False, False)],
)
def test_the_handler_is_queued_only_if_both_answers_are_true(answer: tuple[bool, bool], ours: bool, queued: bool) -> None:
    card = Card()
    card.answer = answer
    interrupt = running(card, shared=True)
    assert (interrupt.fire(), interrupt.queued, interrupt.run_deferred()) == (ours, queued, queued)


def test_several_interrupts_end_in_one_handler_call() -> None:
    card = Card()
    interrupt = running(card, request_isr=True)
    for _ in range(5):
        interrupt.fire()
    assert (interrupt.run_deferred(), interrupt.run_deferred()) == (True, False)
    assert card.names == ["isr"] * 5 + ["handle"]


def test_an_interrupt_while_the_handler_runs_queues_it_again() -> None:
    class Busy(Card):
        def handle_interrupt(self) -> None:
            super().handle_interrupt()
            if self.names.count("handle") == 1:
                interrupt.fire()

    interrupt = running(Busy(), request_isr=True)
    interrupt.fire()
    assert [interrupt.run_deferred() for _ in range(3)] == [True, True, False]


def test_without_an_isr_the_card_is_masked_until_the_handler_has_run() -> None:
    card = MaskedCard()
    interrupt = running(card)
    assert (interrupt.fire(), interrupt.masked, interrupt.fire()) == (True, True, False)
    assert interrupt.run_deferred()
    assert not interrupt.masked
    assert card.calls == [("disable", DIRQL), ("handle", DISPATCH), ("enable", DISPATCH)]


def test_a_card_without_the_optional_handlers_is_never_masked_by_the_library() -> None:
    card = Card()
    interrupt = running(card)
    assert [interrupt.fire(), interrupt.fire(), interrupt.run_deferred(), interrupt.fire()] == [True] * 4
    assert card.names == ["handle"]


def test_a_handler_without_an_enable_handler_enables_for_itself() -> None:
    class Own(Card):
        def disable_interrupt(self) -> None:
            self.note("disable")

        def handle_interrupt(self) -> None:
            interrupt.enable()

    interrupt = running(Own())
    interrupt.fire()
    assert interrupt.masked
    interrupt.run_deferred()
    assert not interrupt.masked


def test_a_shared_line_asks_the_isr_and_is_not_masked_by_the_library() -> None:
    card = MaskedCard()
    interrupt = running(card, shared=True)
    interrupt.fire()
    interrupt.run_deferred()
    assert card.names == ["isr", "handle"]


def test_a_disabled_interrupt_does_not_fire_until_it_is_enabled() -> None:
    card = MaskedCard()
    interrupt = running(card, request_isr=True)
    interrupt.disable()
    assert (interrupt.fire(), card.names) == (False, ["disable"])
    interrupt.enable()
    assert (interrupt.fire(), card.names) == (True, ["disable", "enable", "isr"])


@pytest.mark.parametrize("phase", [Phase.INITIALIZING, Phase.HALTING])
def test_while_it_initializes_or_halts_the_isr_is_always_asked(phase: Phase) -> None:
    card = MaskedCard()
    interrupt = Interrupt(card)
    assert interrupt.phase is Phase.INITIALIZING
    interrupt.phase = phase
    assert interrupt.fire()
    assert card.names == ["isr"]
    assert interrupt.queued is (phase is Phase.HALTING)


def test_in_low_power_no_interrupt_is_claimed() -> None:
    card = MaskedCard()
    asking, masking = running(card, request_isr=True), running(card)
    asking.low_power = masking.low_power = True
    assert (masking.fire(), masking.masked, masking.queued, card.names) == (False, False, False, [])
    card.answer = (False, False)
    assert not asking.fire()
    assert locks.counted == {}
    card.answer = (True, True)
    assert (asking.fire(), asking.queued) == (False, False)
    assert locks.counted == {"93b": 1}


def test_claiming_in_low_power_is_refused_at_level_2_and_the_lock_is_free_again(strict: None) -> None:
    interrupt = running(Card(), request_isr=True)
    interrupt.low_power = True
    assert broken_by(interrupt.fire) == "93b"
    interrupt.low_power = False
    assert interrupt.fire()


def test_synchronize_runs_at_dirql_and_answers_what_the_function_answers() -> None:
    interrupt = running(Card())
    seen: list[object] = []

    def function(context: str) -> str:
        seen.append((context, current_irql()))
        return "yes"

    with at_irql(DISPATCH):
        assert interrupt.synchronize(function, "context") is True
        assert interrupt.synchronize(lambda _: 0, None) is False
        assert current_irql() is DISPATCH
    assert seen == [("context", DIRQL)]


def test_synchronize_waits_for_a_running_isr() -> None:
    inside, asked, go = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    class Slow(Card):
        def isr(self) -> tuple[bool, bool]:
            inside.set()
            assert go.wait(10)
            order.append("isr")
            return True, True

    interrupt = running(Slow(), request_isr=True)

    def synchronize() -> None:
        asked.set()
        interrupt.synchronize(order.append, "synchronize")

    firing = threading.Thread(target=interrupt.fire, daemon=True)
    firing.start()
    assert inside.wait(10)
    waiting = threading.Thread(target=synchronize, daemon=True)
    waiting.start()
    assert asked.wait(10)
    waiting.join(0.02)
    assert (waiting.is_alive(), order) == (True, [])
    go.set()
    firing.join(10)
    waiting.join(10)
    assert order == ["isr", "synchronize"]


def test_taking_the_interrupt_lock_twice_is_refused_instead_of_deadlocking() -> None:
    interrupt = running(Card())
    refused: list[str] = []
    interrupt.synchronize(lambda _: refused.append(broken_by(lambda: interrupt.synchronize(bool, 1))), None)
    assert refused == ["73"]
    assert interrupt.synchronize(bool, 1)


def test_a_spin_lock_at_dirql_is_refused_at_level_2(strict: None) -> None:
    interrupt, lock = running(Card()), SpinLock()
    assert broken_by(lambda: interrupt.synchronize(lambda _: lock.acquire(), None)) == "70"


def test_a_handler_that_raises_leaves_the_interrupt_enabled_and_usable() -> None:
    class Broken(MaskedCard):
        def handle_interrupt(self) -> None:
            raise KeyError

    interrupt = running(Broken())
    interrupt.fire()
    with pytest.raises(KeyError):
        interrupt.run_deferred()
    assert (interrupt.masked, interrupt.fire()) == (False, True)
    interrupt.deregister()


def test_an_isr_that_raises_leaves_the_lock_free() -> None:
    class Broken(Card):
        def isr(self) -> tuple[bool, bool]:
            raise KeyError

    interrupt = running(Broken(), request_isr=True)
    with pytest.raises(KeyError):
        interrupt.fire()
    assert interrupt.synchronize(bool, 1)


def test_nothing_fires_after_deregister_and_what_was_queued_is_forgotten() -> None:
    card = Card()
    interrupt = running(card, request_isr=True)
    interrupt.fire()
    interrupt.deregister()
    assert (interrupt.run_deferred(), interrupt.fire(), card.names) == (False, False, ["isr"])
    calls = (interrupt.deregister, interrupt.disable, interrupt.enable, lambda: interrupt.synchronize(bool, 1))
    assert [broken_by(call) for call in calls] == ["66"] * 4


def test_deregister_waits_until_a_running_handler_has_ended() -> None:
    inside, go = threading.Event(), threading.Event()

    class Slow(MaskedCard):
        def handle_interrupt(self) -> None:
            inside.set()
            assert go.wait(10)
            self.note("handle")

    card = Slow()
    interrupt = running(card)
    interrupt.fire()
    handling = threading.Thread(target=interrupt.run_deferred, daemon=True)
    handling.start()
    assert inside.wait(10)
    ended: list[list[str]] = []

    def end() -> None:
        interrupt.deregister()
        ended.append(card.names[:])

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    while interrupt.phase is not Phase.DEREGISTERED:
        assert ending.is_alive()
    assert ended == []
    go.set()
    ending.join(10)
    handling.join(10)
    assert ended == [["disable", "handle"]]


def test_deregister_inside_the_handler_is_refused_instead_of_deadlocking() -> None:
    class Hasty(Card):
        def handle_interrupt(self) -> None:
            interrupt.deregister()

    interrupt = running(Hasty())
    interrupt.fire()
    assert broken_by(interrupt.run_deferred) == "70"
    interrupt.deregister()


def test_registering_and_deregistering_above_passive_is_refused_at_level_2(strict: None) -> None:
    interrupt = running(Card())
    with at_irql(DISPATCH):
        assert broken_by(lambda: Interrupt(Card())) == "70"
        assert broken_by(interrupt.deregister) == "70"
    with at_irql(DIRQL):
        assert broken_by(interrupt.run_deferred) == "70"
        assert broken_by(interrupt.enable) == "70"
    interrupt.deregister()
