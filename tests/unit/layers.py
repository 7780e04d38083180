"""
A bench with an intermediate driver on it: the test's drivers are bound above, and both levels are checked at the end.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from unit.wire import Bench, Driver, frame

from vnic import Adapter, Binding, Packet, ProtocolDriver, Status
from vnic.counters import broken_sums
from vnic.intermediate import IntermediateDriver


class Owner(Driver):
    """Send packets that stay the test's own."""

    def __init__(self, answer: Any = 0) -> None:
        super().__init__(answer)
        self.ended: list[tuple[Packet, Status]] = []

    def send_complete(self, packet: Packet, status: Status) -> None:
        """A packet comes back."""
        self.ended.append((packet, status))

    def sent(self, packet: Packet) -> Status:
        """Send a packet; answers how that has ended, by whichever way it was told."""
        status = self.binding.send(packet)
        if status is Status.PENDING and self.ended:
            (ended,) = self.ended
            self.ended.clear()
            assert ended[0] is packet
            return ended[1]
        return status


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

    def fill_cable(self, binding: Binding) -> int:
        """Send until the cable takes no more and one send waits; answers how many went through. The driver frees its packets."""
        for sent in range(400):
            binding.send(self.owned(frame(sent), self.own))
            if binding.sends_pending:
                return sent
        raise AssertionError("the cable never fills")

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
