"""
What is bound to what: the adapter of the interface, and the drivers on it.

Bindings are opened and closed on the data thread, or while there is none. Whoever only looks may do so from anywhere.

Next: `vnic/adapter.py` for what opening and closing a binding means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from miniport.config import ProtocolConfig
from miniport.drivers import binding_names, file_of, load_driver
from miniport.errors import Exit, Failure
from miniport.log import exception_fields
from vnic import Adapter, Binding, ProtocolDriver, Status, VnicError


class Loaded(NamedTuple):
    """A driver that can be bound: the table it was made from, the name it will have, and the instance."""

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

    Attributes:
        drivers: the drivers that are bound, in the order of binding.
        leaked: packets that had to be taken back by force.
    """

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.drivers: list[Bound] = []
        self.leaked = 0

    @property
    def bindings(self) -> list[Binding]:
        """Every binding, in the order of binding."""
        return [bound.binding for bound in self.drivers]

    def open(self, loaded: Loaded) -> None:
        """
        Bind a driver.

        Raises:
            Failure: the driver declined, or failed.
        """
        self.drivers.append(Bound(loaded.table, _open(self.adapter, loaded)))

    def close(self) -> bool:
        """
        Close every binding, the last one first.

        Returns:
            Whether all are closed; a driver that still holds packets is asked again by the next call.
        """
        for binding in reversed(self.bindings):
            binding.adapter.close(binding)
        return all(binding.closed for binding in self.bindings)

    def reclaim(self) -> None:
        """Take back, by force, what drivers hold that were asked to go."""
        for binding in self.bindings:
            self.leaked += binding.adapter.reclaim(binding)

    def exchange(self, old: Iterable[Bound], new: Iterable[Loaded], on_failure: Callable[[Failure], None]) -> None:
        """
        Unbind what is no longer wanted, and bind what is new.

        Args:
            old: drivers to unbind; what they do not return at once is taken back by force.
            new: drivers to bind; their names may still get a number.
            on_failure: called for each that cannot be bound.
        """
        for bound in old:
            self.drivers.remove(bound)
            binding = bound.binding
            if binding.adapter.close(binding) is Status.PENDING:
                self.leaked += binding.adapter.reclaim(binding)
        for loaded in new:
            name = binding_names([*(binding.name for binding in self.bindings), loaded.name])[-1]
            try:
                self.open(loaded._replace(name=name))
            except Failure as failure:
                on_failure(failure)


def load_drivers(tables: Iterable[ProtocolConfig]) -> list[Loaded]:
    """
    Make the drivers of a configuration; nothing is bound.

    Raises:
        Failure: one of them is not there, or its options are wrong.
    """
    tables = list(tables)
    made = [load_driver(table.driver, table.options) for table in tables]
    names = binding_names(name for name, _ in made)
    return [Loaded(table, name, driver) for table, name, (_, driver) in zip(tables, names, made, strict=True)]


def _open(adapter: Adapter, loaded: Loaded) -> Binding:
    name = loaded.name
    try:
        return adapter.open(loaded.driver, name)
    except VnicError as error:
        raise Failure(Exit.CONFIG, f"driver {name} could not be bound: {error}", "change its options, or leave it out") from None
    except BaseException as error:
        told = exception_fields(error, file_of(type(loaded.driver)))
        what = f"driver {name} could not be bound: {told['type']}: {told['message']} ({told['where']})"
        raise Failure(Exit.CONFIG, what, "change its options, or mend it") from None
