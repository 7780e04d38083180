"""
Small intermediate drivers that copy every frame, and such as do it wrong.

Next: `tests/tap/test_filters.py`.
"""

from __future__ import annotations

from vnic import Adapter, MiniportDriver, Packet, PacketFilter, PacketPool, Status, slot_size_for
from vnic.intermediate import IntermediateDriver


class Upper(MiniportDriver):
    """The miniport of one virtual adapter."""

    def __init__(self, filter_: Copying, name: str) -> None:
        below = filter_.binding.adapter
        self.filter = filter_
        self.received = PacketPool(filter_.packets, slot_size_for(below.mtu), name=name)
        self.adapter = Adapter(
            self.received,
            self,
            name=name,
            address=below.address,
            mtu=below.mtu,
            network_addresses=below.network_addresses,
            verifier_level=below.verifier_level,
            report=below.report,
        )

    def send(self, packet: Packet) -> Status:
        """Send a copy below; it is complete as soon as that is on its way."""
        copy = self.filter.sent.allocate()
        if copy is None:
            return Status.RESOURCES
        copy.write(packet.data)
        status = self.filter.binding.send(copy)
        if status is Status.PENDING:
            return Status.SUCCESS
        self.filter.sent.free(copy)
        return status


class Copying(IntermediateDriver):
    """
    Shows a copy of every frame on each of its adapters.

    Args:
        count: how many adapters there are: NAME+1, NAME+2 ...
        packets: in the pool of each.
    """

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, count: int = 1, packets: int = 64) -> None:
        self.count = count
        self.packets = packets
        self.uppers: list[Upper] = []

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The virtual adapters."""
        return tuple(upper.adapter for upper in self.uppers)

    def bind_adapter(self) -> Status | None:
        """Make the virtual adapters."""
        below = self.binding.adapter
        self.sent = PacketPool(self.packets, slot_size_for(below.mtu), name="sent")
        self.uppers = [Upper(self, f"{below.name}+{number}") for number in range(1, self.count + 1)]
        return None

    def unbind_adapter(self) -> None:
        """Halt the virtual adapters, to which nobody may be bound any more."""
        for upper in self.uppers:
            assert upper.adapter.bindings == ()
            upper.adapter.halt()
            if not upper.received.usage:
                upper.received.close()
        self.uppers = []

    def receive_packet(self, packet: Packet) -> int:
        """Show copies, where there is anybody to see them."""
        for upper in self.uppers:
            copy = upper.received.allocate() if upper.adapter.bindings else None
            if copy is not None:
                copy.write(packet.data)
                upper.adapter.indicate([copy])
        return 0

    def send_complete(self, packet: Packet, status: Status) -> None:
        """A copy has been sent."""
        packet.pool.free(packet)

    def status(self, status: Status, buffer: bytes) -> None:
        """Pass it up."""
        for upper in self.uppers:
            upper.adapter.indicate_status(status)


class KeepsBelow(Copying):
    """Holds every frame from below, too, and never returns it."""

    def receive_packet(self, packet: Packet) -> int:
        """Show copies, and keep it."""
        super().receive_packet(packet)
        return 0 if packet.status is Status.RESOURCES else 1


class LosesAFrame(Copying):
    """Keeps the first packet that it should have shown."""

    def receive_packet(self, packet: Packet) -> int:
        """Lose one, once."""
        upper = self.uppers[0]
        if upper.received.available == self.packets:
            assert upper.received.allocate() is not None
        return super().receive_packet(packet)


class HasNone(Copying):
    """Has no adapter."""

    adapters = ()


class HasText(Copying):
    """Has an adapter that is none."""

    adapters = ("vnic0.7",)  # type: ignore[assignment]


class Raises(Copying):
    """Does not say what its adapters are."""

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """Raise."""
        raise ValueError("no\x1b idea")


class HasTheSameName(Copying):
    """Its adapter has the name of the one below."""

    def bind_adapter(self) -> Status | None:
        """Make it."""
        super().bind_adapter()
        self.uppers[0].adapter.name = self.binding.adapter.name
        return None


class Declines(Copying):
    """Does not want to be bound."""

    def bind_adapter(self) -> Status:
        """Decline."""
        return Status.NOT_ACCEPTED
