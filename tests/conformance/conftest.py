"""
What conformance tests share: both profiles, a level, and the strict verifier.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unit.wire import Bench

from vnic import locks
from vnic.locks import Irql, Profile, at_irql, current_irql, held_locks, in_profile


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """No test leaves a level, a lock or a count."""
    locks.counted.clear()
    yield
    assert (current_irql(), held_locks()) == (Irql.PASSIVE, ())
    locks.counted.clear()


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifier level 2: what is only bad practice is refused too."""
    monkeypatch.setattr(locks, "checks", 2)


@pytest.fixture(params=Profile, ids=lambda profile: profile.value)
def profile(request: pytest.FixtureRequest) -> Iterator[Profile]:
    """The contract of the desktop, then that of Windows CE."""
    with in_profile(request.param):
        yield request.param


@pytest.fixture
def dispatch(profile: Profile) -> Iterator[None]:
    """The test runs at DISPATCH, where the Dpr forms are at home; under CE there is no such level."""
    with at_irql(Irql.DISPATCH):
        yield


@pytest.fixture(params=[False, True], ids=["deserialized", "serialized"])
def serialized(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both models of miniport: every adapter on a bench is of the one, then of the other."""
    monkeypatch.setitem(Bench.__init__.__kwdefaults__, "serialized", request.param)
    return bool(request.param)
