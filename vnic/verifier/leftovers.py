"""
What a driver made in its handlers and leaves behind when it is unbound: buffers, and locks that are held.

Packets that it leaves are told of by the adapter itself (rule 60).

Next: `vnic/lifecycle.py`, which asks when a binding ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

from vnic.context import here
from vnic.verifier import rules

if TYPE_CHECKING:
    from vnic.core import Binding, BufferPool
    from vnic.locks import SpinLock

BUFFER_POOLS: WeakSet[BufferPool] = WeakSet()
LOCKS: WeakSet[SpinLock] = WeakSet()
"""Every one of them that lives."""


def owner_now() -> Binding | None:
    """The driver whose handler makes something now."""
    return here().binding


def tell_of_leftovers(binding: Binding) -> None:
    """Tell of what a binding leaves that has ended (rules 43 and 77); nothing of it is touched."""
    for pool in list(BUFFER_POOLS):
        if pool.owner is binding and pool.usage:
            binding.broke(rules.BUFFER_LEAKED, f"{pool.usage} buffers of pool {pool.name} are out", None, {"where": pool.made.where})
    if binding.verifier_level < 2:
        return
    for lock in list(LOCKS):
        if lock.owner is binding and lock.is_held:
            binding.broke(rules.LOCK_UNBALANCED, f"{lock!r} is held by a thread of it", None, {"where": lock.made.where})
