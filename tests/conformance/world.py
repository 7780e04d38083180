"""
The registry of the process, empty before and after; time stands still until a test moves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conformance.c_drivers import SampleMiniport, SampleProtocol

from vnic import Adapter, Status
from vnic.registration import Registry, registry
from vnic.timers import VirtualClock, work_items

FIRST, SECOND = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


class World:
    """
    What the manager of devices does.

    Attributes:
        reports: rule or handler of everything that was reported.
    """

    def __init__(self) -> None:
        self.registry: Registry = registry
        self.clock = VirtualClock()
        self.reports: list[str] = []

    def report(self, event: str, fields: dict[str, Any]) -> None:
        """Remember it."""
        self.reports.append(fields["error"].rule.id if event == "violation" else fields["handler"])

    def expect(self, *reports: str) -> None:
        """Check, and forget, what was reported."""
        assert self.reports == list(reports), self.reports
        self.reports.clear()

    def plug(self, miniport: SampleMiniport, name: str = "card0", address: bytes = FIRST) -> tuple[Status, Adapter | None]:
        """A card comes."""
        return self.registry.add_device(miniport.NdisWrapperHandle, name, {"NetworkAddress": address}, report=self.report)

    def cable(self, miniport: SampleMiniport) -> tuple[Adapter, Adapter]:
        """Two cards come, which are joined."""
        assert miniport.DriverEntry() is Status.SUCCESS
        (first, left), (second, right) = self.plug(miniport, "card0", FIRST), self.plug(miniport, "card1", SECOND)
        assert (first, second) == (Status.SUCCESS, Status.SUCCESS)
        assert left is not None
        assert right is not None
        return left, right

    def poll(self) -> None:
        """Let a millisecond pass for the timers of every device."""
        for device in list(self.registry.devices.values()):
            self.clock.advance(1, device.timers)

    def end(self, miniport: SampleMiniport | None, *protocols: SampleProtocol) -> None:
        """Everything goes."""
        for protocol in protocols:
            assert protocol.Unload() is Status.SUCCESS
        if miniport is not None:
            assert self.registry.unload(miniport.NdisWrapperHandle) is Status.SUCCESS


@contextmanager
def empty_world() -> Iterator[World]:
    """A world in which everything that came has to go, and every report to be expected."""
    world = World()
    registry.clock = world.clock
    try:
        yield world
        assert work_items.drain(10_000)
        assert (registry.protocols, registry.adapters, registry.devices, registry.layers.waiting) == ([], {}, {}, {})
        assert world.reports == [], world.reports
    finally:
        registry.clock = None
        registry.layers.at_once = True
        registry.layers.waiting.clear()
        for adapter in list(registry.adapters.values()):
            for binding in adapter.bindings:
                adapter.close(binding)
                adapter.reclaim(binding)
        registry.protocols.clear()
        registry.adapters.clear()
        registry.devices.clear()
        registry._leaving.clear()
