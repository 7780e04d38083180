"""
What is bound to what: the interface's adapter, filters on it one above the other, and drivers on top.

Bindings are opened and closed on a data thread, between two batches of all of them, or while there is none. Whoever only looks may do so
from anywhere.

Next: `vnic/adapter.py` for what opening and closing a binding means, `vnic/intermediate.py` for what a filter is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from miniport.drivers import binding_names, file_of, load_driver, load_filter
from miniport.errors import Exit, Failure
from miniport.log import escape, exception_fields, shown
from vnic import Adapter, Binding, ProtocolDriver, Status, VnicError

if TYPE_CHECKING:
    from miniport.config import FilterConfig, ProtocolConfig
    from vnic.intermediate import IntermediateDriver


class Loaded(NamedTuple):
    """A driver that can be bound: the table it was made from, its name, which may still get a number, and the instance."""

    table: ProtocolConfig
    name: str
    driver: ProtocolDriver


class Bound(NamedTuple):
    """A driver that is bound: the table it was made from, and its binding."""

    table: ProtocolConfig
    binding: Binding


class Stack:
    """
    The bindings of one interface.

    Args:
        adapter: the interface's.
        quota: packets that a driver may hold, unless it says so itself; None: three quarters of its adapter's pool; 0: any number.

    Attributes:
        virtual: the adapters of the filters, from the lowest up; they stay here when the filters are closed, to be counted.
        filters: the bindings of the filters, from the lowest up.
        drivers: the drivers that are bound, in the order of binding.
        leaked: packets that had to be taken back by force.
    """

    def __init__(self, adapter: Adapter, quota: int | None = None) -> None:
        self.adapter = adapter
        self.quota = quota
        self.virtual: list[Adapter] = []
        self.filters: list[Binding] = []
        self.drivers: list[Bound] = []
        self.leaked = 0
        self._top: tuple[Adapter, ...] = (adapter,)

    @property
    def adapters(self) -> list[Adapter]:
        """Every adapter, from the interface's up."""
        return [self.adapter, *self.virtual]

    @property
    def bindings(self) -> list[Binding]:
        """Every binding, in the order of binding: from the bottom to the top."""
        return [*self.filters, *(bound.binding for bound in self.drivers)]

    def open_filter(self, name: str, driver: IntermediateDriver) -> None:
        """
        Bind an intermediate driver to the topmost adapter; its own are the topmost then.

        Raises:
            Failure: several adapters are topmost, or the filter has none, or it declined, or failed.
        """
        if len(self._top) > 1:
            below = self.filters[-1].name
            what = f"filter {name} cannot be above {below}, which has {len(self._top)} adapters ({_names(self._top)})"
            raise Failure(Exit.CONFIG, what, f"put it below {below}, or leave {below} one adapter")
        name = self._free_name(name)
        self.filters.append(_open(self._top[0], name, driver))
        self._top = _adapters_of(name, driver)
        for adapter in self._top:
            if adapter.name in [known.name for known in self.adapters]:
                what = f"filter {name}: there is an adapter {shown(adapter.name)} already"
                raise Failure(Exit.CONFIG, what, "mend the filter: drivers find their adapter by its name")
            self.virtual.append(adapter)

    def open(self, loaded: Loaded) -> None:
        """
        Bind a driver.

        Raises:
            Failure: its adapter is not there, or the driver declined, or failed.
        """
        binding = _open(self.adapter_for(loaded), self._free_name(loaded.name), loaded.driver)
        # a filter holds for all that are above it, and so has none
        binding.quota = binding.quota or (binding.adapter.pool.capacity * 3 // 4 if self.quota is None else self.quota)
        self.drivers.append(Bound(loaded.table, binding))

    def adapter_for(self, loaded: Loaded) -> Adapter:
        """
        Find the adapter that a driver is to be bound to: the one it names, or the first of the topmost.

        Raises:
            Failure: there is no adapter of that name.
        """
        wanted = loaded.table.adapter
        if wanted is None:
            return self._top[0]
        for adapter in self.adapters:
            if adapter.name == wanted:
                return adapter
        what = f"driver {loaded.name}: there is no adapter {shown(wanted)}"
        raise Failure(Exit.CONFIG, what, f"known are {_names(self.adapters)}")

    def close(self) -> bool:
        """
        Close the drivers, the last one first, and when all are closed the filters, from the top.

        Returns:
            Whether all are closed; what still holds packets is asked again by the next call.
        """
        for bound in reversed(self.drivers):
            bound.binding.adapter.close(bound.binding)
        if not all(bound.binding.closed for bound in self.drivers):
            return False
        # nothing may be bound to a filter's adapters when it goes
        return all(binding.adapter.close(binding) is not Status.PENDING for binding in reversed(self.filters))

    def reclaim(self) -> None:
        """Take back, by force, what is held by those that were asked to go; `close` then goes on below them."""
        for binding in self.bindings:
            self.leaked += binding.adapter.reclaim(binding)

    def drop(self, binding: Binding) -> bool:
        """
        Unbind one driver that has broken a rule, and take back what it does not return at once. A filter stays: others stand on it.

        Returns:
            Whether it was a driver that was bound.
        """
        for bound in self.drivers:
            if bound.binding is binding:
                self.drivers.remove(bound)
                if binding.adapter.close(binding) is Status.PENDING:
                    self.leaked += binding.adapter.reclaim(binding)
                return True
        return False

    def exchange(self, old: Iterable[Bound], new: Iterable[Loaded], on_failure: Callable[[Failure], None]) -> None:
        """
        Unbind drivers that are no longer wanted, and bind new ones.

        Args:
            old: drivers to unbind; what they do not return at once is taken back by force.
            new: drivers to bind.
            on_failure: called for each that cannot be bound.
        """
        for bound in old:
            self.drivers.remove(bound)
            binding = bound.binding
            if binding.adapter.close(binding) is Status.PENDING:
                self.leaked += binding.adapter.reclaim(binding)
        for loaded in new:
            try:
                self.open(loaded)
            except Failure as failure:
                on_failure(failure)

    def _free_name(self, name: str) -> str:
        return binding_names([*(binding.name for binding in self.bindings), name])[-1]


def forget_unbound() -> None:
    """
    Have the collector of garbage look at everything once: a driver and its binding refer to each other.

    What was alive at the start is not looked at otherwise. When the driver is gone, what it had kept can be used again.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def load_filters(tables: Iterable[FilterConfig]) -> list[tuple[str, IntermediateDriver]]:
    """
    Make filters: name and instance; nothing is bound.

    Raises:
        Failure: one of them is not there, or its options are wrong.
    """
    return [load_filter(table.driver, table.options) for table in tables]


def load_drivers(tables: Iterable[ProtocolConfig]) -> list[Loaded]:
    """
    Make drivers; nothing is bound.

    Raises:
        Failure: one of them is not there, or its options are wrong.
    """
    return [Loaded(table, *load_driver(table.driver, table.options)) for table in tables]


def _open(adapter: Adapter, name: str, driver: ProtocolDriver) -> Binding:
    try:
        return adapter.open(driver, name)
    except VnicError as error:
        raise Failure(Exit.CONFIG, f"driver {name} could not be bound: {error}", "change its options, or leave it out") from None
    except BaseException as error:
        raise _broken(f"driver {name} could not be bound", driver, error) from None


def _adapters_of(name: str, driver: IntermediateDriver) -> tuple[Adapter, ...]:
    try:
        adapters = tuple(driver.adapters)
    except BaseException as error:
        raise _broken(f"filter {name} does not say what its adapters are", driver, error) from None
    if not adapters or not all(isinstance(adapter, Adapter) for adapter in adapters):
        raise Failure(Exit.CONFIG, f"filter {name} has no adapter after it was bound", "change its options, or mend it")
    return adapters


def _broken(what: str, driver: ProtocolDriver, error: BaseException) -> Failure:
    told = exception_fields(error, file_of(type(driver)))
    return Failure(Exit.CONFIG, f"{what}: {told['type']}: {told['message']} ({told['where']})", "change its options, or mend it")


def _names(adapters: Iterable[Adapter]) -> str:
    return ", ".join(escape(adapter.name) for adapter in adapters)
