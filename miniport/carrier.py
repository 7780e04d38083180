"""
The interface from outside: made usable or checked at the start, then watched, and the drivers told of its link.

Next: `miniport/link.py`, which asks the kernel.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from miniport.adapter import TapMiniport, station_address
from miniport.errors import Exit, Failure
from vnic import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from miniport.config import Config
    from miniport.link import LinkState
    from miniport.log import EventLog

OUT_OF_SIGHT = 0.2
"""Seconds between two looks for an interface that has left the network namespace."""


def set_up_link(miniport: TapMiniport, config: Config) -> LinkState:
    """
    Make an interface that we created usable; check one that somebody else made. The drivers hear how its link is.

    Raises:
        Failure: it does not fit the configuration, or is gone.
    """
    from miniport import link

    tap, mtu, address = miniport.tap, config.adapter.mtu, station_address(config)
    if tap.ephemeral:
        # the kernel's end of the wire is another station than ours
        link.configure(tap.index, mtu=mtu, mac=neighbour_of(address), up=True)
    state = link.read_link(tap.index)
    if state is None:
        raise Failure(Exit.UNAVAILABLE, f"interface {tap.name} disappeared during the start", "start vnic again")
    if state.mtu > mtu:
        what = f"interface {tap.name} has MTU {state.mtu}, vnic was told {mtu}: its frames would be cut"
        raise Failure(Exit.CONFIG, what, f"run vnic with --mtu {state.mtu}, or ip link set {tap.name} mtu {mtu}")
    if state.mac == address:
        raise Failure(Exit.CONFIG, f"interface {tap.name} itself has the address {address.hex(':')}", "give vnic another one with --mac")
    miniport.adapter.indicate_status(Status.MEDIA_CONNECT if state.up else Status.MEDIA_DISCONNECT)
    return state


def neighbour_of(address: bytes) -> bytes:
    """The station address that the kernel's end of our own interface gets: ours, but for the last bit."""
    return address[:5] + bytes([address[5] ^ 1])


class LinkWatch:
    """
    Follows the interface, on the main thread.

    Args:
        miniport: whose interface.
        log: where changes are told.
        do: has the data thread do something.
    """

    def __init__(self, miniport: TapMiniport, log: EventLog, do: Callable[[Callable[[], None]], None]) -> None:
        self._miniport = miniport
        self._log = log
        self._do = do
        # what the data thread was told last; the adapter knows it later
        self._up = miniport.adapter.link_up
        self._mac = b""

    async def run(self) -> None:
        """Watch until the interface is deleted."""
        from miniport import link

        while True:
            await link.watch(self._miniport.tap.index, self._on_link)
            while True:
                if not self._miniport.attached():
                    return
                await asyncio.sleep(OUT_OF_SIGHT)
                if self._is_back():
                    break

    def _is_back(self) -> bool:
        """Look for it by its name: it may come back with another number, and another interface may have its old one, or its name."""
        from miniport import link

        tap = self._miniport.tap
        here = tap.is_here()
        if here is False:
            return False
        try:
            index = socket.if_nametoindex(tap.name)
        except OSError:
            return False
        if here is None and ((state := link.read_link(index)) is None or state.mac != self._mac):
            return False
        tap.index = index
        return True

    def _on_link(self, state: LinkState | None) -> None:
        adapter = self._miniport.adapter
        was_here, self._miniport.here = self._miniport.here, state is not None
        if state is None:
            # a deleted interface is the data thread's to notice; one in another namespace goes on as it is, only out of sight
            if was_here and self._miniport.attached():
                self._log.event("link", "warning", adapter=adapter.name, state="moved")
            return
        self._mac = state.mac
        if not was_here:
            self._log.event("link", adapter=adapter.name, state="back")
        if state.name != adapter.name:
            self._log.event("link", adapter=state.name, state="renamed", before=adapter.name)
            self._miniport.rename()
        if state.mtu > adapter.mtu:
            self._log.event("link", "warning", adapter=adapter.name, state="mtu", mtu=state.mtu, configured=adapter.mtu)
        if state.up != self._up:
            self._up = state.up
            self._log.event("link", adapter=adapter.name, state="up" if state.up else "down")
            status = Status.MEDIA_CONNECT if state.up else Status.MEDIA_DISCONNECT
            self._do(lambda: adapter.indicate_status(status))
