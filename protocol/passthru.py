"""
Passthru: an intermediate driver that changes nothing. Drivers are bound to its virtual adapter as they would be to the one below.

Nothing is copied: a frame is shown above over the bytes that it was read into, and sent below from where its sender wrote it.

Next: `protocol/mux.py`, which makes several adapters of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.intermediate import IntermediateDriver
from vnic.virtual import VirtualMiniport

if TYPE_CHECKING:
    from vnic import Packet


class Passthru(IntermediateDriver):
    """
    Show everything above, send everything below.

    Attributes:
        virtual: the upper edge; `virtual.dropped` counts frames that were not shown for lack of a packet.
    """

    virtual: VirtualMiniport

    def bind_adapter(self) -> None:
        """Make the virtual adapter, with as many packets each way as the adapter below has."""
        below = self.binding.adapter
        self.virtual = VirtualMiniport(self, f"{below.name}.{self.binding.name}", below.pool.capacity)
        self.start(self.virtual)

    def receive_packet(self, packet: Packet) -> int:
        """Show it above; it is held until it comes back."""
        return self.virtual.pass_up(packet)
