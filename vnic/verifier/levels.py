"""
How much is checked: 0 to 4, of the process, of each driver and of each pool, and changeable while everything runs.

    0  safety only: broken rules are refused and counted, nothing is told
    1  and told, with holder, time and the lines of code: what a process starts with
    2  and timed scans, locks, interrupt levels, watchdogs
    3  and each packet's history, poison in what is free, a copy of what was lent to compare it with
    4  and whole stacks; faults may be provoked

What a driver does goes by the driver's level, what becomes of a packet by its pool's.

NDIS: the levels of packet tracking of the kernel's debugger.

Next: `vnic/verifier/actions.py`, what follows from a broken rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from vnic.verifier.leftovers import BUFFER_POOLS

if TYPE_CHECKING:
    from vnic.core import Adapter, Binding, PacketPool

MOST = 4
OFF, TOLD, TIMED, COMPARED, PROVOKED = range(MOST + 1)


class Levels:
    """
    The levels of this process, and everything alive that has one.

    Attributes:
        process: the level of all that have none of their own.
        drivers: levels of drivers, by the name of the binding; a name that is not bound now counts when it is.
        pools: levels of pools, by name.
    """

    def __init__(self) -> None:
        self.process = TOLD
        self.drivers: dict[str, int] = {}
        self.pools: dict[str, int] = {}
        self._adapters: WeakSet[Adapter] = WeakSet()
        self._pools: WeakSet[PacketPool] = WeakSet()

    def of_driver(self, name: str, otherwise: int) -> int:
        """The level of a driver."""
        return self.drivers.get(name, otherwise)

    def of_pool(self, name: str, otherwise: int | None = None) -> int:
        """The level of a pool."""
        return self.pools.get(name, self.process if otherwise is None else otherwise)

    def of_owned(self, name: str, owner: Binding | None) -> int:
        """The level of a pool of packets or buffers: its own, or that of the driver in whose handler it was made."""
        return self.of_pool(name, self.process if owner is None else self.of_driver(owner.name, self.process))

    def add_pool(self, pool: PacketPool) -> None:
        """Remember a pool for as long as it lives."""
        self._pools.add(pool)

    def add_adapter(self, adapter: Adapter) -> None:
        """Remember an adapter for as long as it lives."""
        self._adapters.add(adapter)

    def all_pools(self) -> list[PacketPool]:
        """Every pool of packets that lives, whoever made it."""
        return sorted(self._pools, key=lambda pool: pool.name)

    def all_adapters(self) -> list[Adapter]:
        """Every adapter that lives."""
        return sorted(self._adapters, key=lambda adapter: str(adapter.name))

    def apply(self) -> None:
        """Give everything that lives the level that the tables say."""
        for pool in self.all_pools():
            pool.verifier_level = self.of_owned(pool.name, pool.owner)
        for buffers in list(BUFFER_POOLS):
            buffers.verifier_level = self.of_owned(buffers.name, buffers.owner)
        for adapter in self.all_adapters():
            adapter.verifier_level = self.process


LEVELS = Levels()


def set_level(level: int, *, driver: str | None = None, pool: str | None = None) -> None:
    """
    Change a level while everything runs. Nothing changes hands, and no frame is lost.

    Args:
        level: 0 to 4.
        driver: only of the driver of this name.
        pool: only of the pool of this name.

    Raises:
        ValueError: there is no such level.
    """
    # both refuse, and what refuses asks for levels
    from vnic import locks
    from vnic.verifier.blocking import watch_blocking_calls

    if not OFF <= level <= MOST:
        raise ValueError(f"verifier level {level}: 0 to {MOST}")
    if level >= TIMED:
        watch_blocking_calls()
    if driver is None and pool is None:
        LEVELS.process = locks.checks = level
    if driver is not None:
        LEVELS.drivers[driver] = level
    if pool is not None:
        LEVELS.pools[pool] = level
    LEVELS.apply()


def level_table() -> dict[str, Any]:
    """The level of the process, and those that drivers and pools have of their own."""
    return {"process": LEVELS.process, "drivers": dict(LEVELS.drivers), "pools": dict(LEVELS.pools)}
