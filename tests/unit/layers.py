"""
A bench with an intermediate driver on it: the test's drivers are bound above, and both levels are checked at the end.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from unit.wire import Bench

from vnic import Adapter, Binding, ProtocolDriver
from vnic.counters import broken_sums
from vnic.intermediate import IntermediateDriver


class Layers(Bench):
    """
    An adapter, and intermediate drivers stacked on it.

    Attributes:
        drivers: the intermediate drivers, the lowest first.
        low: the binding of the lowest of them.
    """

    def __init__(self, *drivers: IntermediateDriver, **shape: Any) -> None:
        super().__init__(**shape)
        self.drivers = drivers
        below = self.adapter
        for level, driver in enumerate(drivers):
            below.open(driver, f"im{level}")
            below = driver.adapters[0]
        self.low = drivers[0].binding

    @property
    def up(self) -> Adapter:
        """The first virtual adapter of the highest driver."""
        return self.drivers[-1].adapters[0]

    def above(self, driver: ProtocolDriver, name: str = "a", adapter: Adapter | None = None) -> Binding:
        """Bind a driver that accepts to a virtual adapter."""
        return (adapter or self.up).open(driver, name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        virtuals = [virtual for driver in reversed(self.drivers) for virtual in driver.virtuals]
        above = [binding for virtual in virtuals for binding in virtual.adapter.bindings if binding.driver not in self.drivers]
        pending = [binding.name for binding in above if binding.adapter.close(binding)]
        for driver in reversed(self.drivers[1:]):
            driver.binding.adapter.close(driver.binding)
        super().__exit__(kind, error, trace)
        if kind is None:
            assert pending == [], "these bindings still hold packets"
            assert [(virtual.received.usage, virtual.sent.usage) for virtual in virtuals] == [(0, 0)] * len(virtuals), "packets are missing"
            assert [list(broken_sums(virtual.adapter.counters())) for virtual in virtuals] == [[]] * len(virtuals)
