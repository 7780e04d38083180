"""
What the inspector's tests share: a stack of drivers over a wire, and drivers that keep, sleep and have hostile names.

Next: `tests/unit/test_inspector_views.py`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miniport.config import ProtocolConfig
from miniport.control import Control
from miniport.control_socket import Peer
from miniport.inspector.subject import Inspector
from miniport.log import EventLog
from miniport.stack import Loaded, Stack
from vnic import Binding, Packet, PacketFilter, ProtocolDriver, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.unit.conftest import Wire

HOSTILE = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\n\u202e\udcff\"'&"
"""What a driver could be called."""
FRAME = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5" + bytes(46)
OWNER = Peer(1, 0, (0,))


class Keeper(ProtocolDriver):
    """Keep every packet."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self) -> None:
        self.kept: list[Packet] = []

    def receive_packet(self, packet: Packet) -> int:
        """Keep it, if that is allowed."""
        if packet.status == Status.RESOURCES:
            return 0
        self.kept.append(packet)
        return 1

    def give_back(self) -> None:
        """Return everything."""
        kept, self.kept = self.kept, []
        self.binding.return_packets(kept)

    def unbind_adapter(self) -> None:
        """Return everything."""
        self.give_back()


class Waiter(ProtocolDriver):
    """Wait inside of the handler until it is let go."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()

    def receive_packet(self, packet: Packet) -> int:
        """Wait."""
        self.inside.set()
        assert self.go.wait(20)
        return 0


class Breaker(ProtocolDriver):
    """Return each packet from within the handler."""

    packet_filter = PacketFilter.PROMISCUOUS

    def receive_packet(self, packet: Packet) -> int:
        """Break rule 02."""
        self.binding.return_packets([packet])
        return 0


def bind(stack: Stack, driver: ProtocolDriver, name: str | None = None) -> Binding:
    """Bind a driver as the daemon does."""
    stack.open(Loaded(ProtocolConfig(driver="test"), name or type(driver).__name__.lower(), driver))
    return stack.drivers[-1].binding


def stack_on(wire: Wire, *drivers: ProtocolDriver) -> Stack:
    """Make a stack over a wire, with drivers bound."""
    stack = Stack(wire.adapter)
    for driver in drivers:
        bind(stack, driver)
    return stack


def with_control(path: Path, stack: Stack, body: Callable[[Control], Awaitable[Any]], log: EventLog | None = None) -> Any:
    """Run a test's body on a loop where a control socket answers; the socket is gone afterwards."""

    async def run() -> Any:
        control = Control(path, Inspector(stack), log or EventLog(2, "json"))
        await control.start()
        try:
            return await asyncio.wait_for(body(control), 30)
        finally:
            control.close()
            assert not path.exists()
            await asyncio.sleep(0)

    return asyncio.run(run())


def connected(path: Path) -> socket.socket:
    """Connect to a socket, without waiting."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        made.connect(str(path))
    except BlockingIOError:
        made.close()
        raise
    return made
