"""
The TAP miniport: an interface, a receive pool, and the `vnic.Adapter` between them.

An interface that we create is ours: its MTU, its address and its state are set here. One that existed before is somebody
else's: it is checked and never changed.

Next: `miniport/data_thread.py`, which reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniport.errors import Exit, Failure
from miniport.reader import choose_readers
from miniport.tap import InterfaceCounters, Tap, interface_counters
from vnic import Adapter, MiniportDriver, PacketPool, slot_size_for
from vnic.counters import INTERFACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from miniport.config import Config
    from vnic.uring import Uring

DEFAULT_ADDRESS = bytes.fromhex("020000000002")
_NOTHING = InterfaceCounters(0, 0, 0, 0)


class TapMiniport(MiniportDriver):
    """
    Owner of the TAP and of the packets that its frames are read into.

    Packets that come back are freed, sends are written to the TAP: both by the library itself, compiled.

    Args:
        tap: the open interface; closed by `halt`.
        config: the daemon's configuration.
        report: what the adapter reports broken rules and failing drivers to.

    Raises:
        Failure: there is no memory for the pool.

    NDIS: MiniportInitialize, MiniportHalt; LC-05, LC-18.
    """

    def __init__(self, tap: Tap, config: Config, report: Callable[[str, dict[str, Any]], None]) -> None:
        self.tap = tap
        mtu, packets = config.adapter.mtu, config.pool.packets
        try:
            pool = PacketPool(packets, slot_size_for(mtu), name=tap.name)
        except OSError as error:
            what = f"no memory for {packets} packets ({packets * slot_size_for(mtu) >> 20} MiB): {error.strerror}"
            raise Failure(Exit.UNAVAILABLE, what, "ask for fewer packets") from None
        try:
            self.adapter = Adapter(
                pool,
                self,
                name=tap.name,
                address=station_address(config),
                mtu=mtu,
                low_water=config.pool.low_water,
                network_addresses=config.adapter.address,
                verifier_level=config.verifier.level,
                offload=tap.offload,
                large_buffers=config.pool.large_buffers,
                report=report,
            )
        except OSError as error:
            what = f"no memory for {config.pool.large_buffers} large buffers ({config.pool.large_buffers >> 4} MiB): {error.strerror}"
            raise Failure(Exit.UNAVAILABLE, what, "ask for fewer large buffers") from None
        self.here = True
        self.rings: list[Uring | None] = [None] * len(tap.fds)
        self._at_start = interface_counters(tap.name) or _NOTHING

    def attached(self) -> bool:
        """Whether the descriptor still has its interface, wherever that is."""
        try:
            self.tap.refresh_name()
        except Failure:
            return False
        return True

    def rename(self) -> None:
        """Take over the name that the interface has now."""
        self.adapter.name = self.tap.refresh_name()

    def counters(self) -> dict[str, int]:
        """
        Take a snapshot of the adapter's counters and of the interface's own, counted from the start.

        Between two batches, on a data thread, the two agree exactly: nobody else reads the TAP.
        """
        values = self.adapter.counters()
        now = interface_counters(self.tap.name) if self.here else None
        if now is not None:
            then = self._at_start
            own = (now.tx_packets - then.tx_packets, now.tx_dropped - then.tx_dropped, now.rx_packets - then.rx_packets)
            values |= {row.name: value for row, value in zip(INTERFACE, own, strict=True)}
        return values

    def halt(self) -> None:
        """Let the interface go; one that we created disappears with it. `adapter.halt` calls this, when every binding is gone."""
        self.close_rings()
        self.tap.close()

    def close_rings(self, *, shared: bool = False) -> None:
        """Read through none of them any more; `shared`: this is a forked child."""
        for ring in self.rings:
            if ring is not None:
                ring.close(shared=shared)

    def abandon(self) -> None:
        """In a forked child: close what it has of the interface, which stays the parent's."""
        self.close_rings(shared=True)
        self.tap.close()

    def choose_reader(self, wanted: str) -> str:
        """Choose how the interface is read, and say why; `rings` has None, or what it is to be read through, for each queue."""
        if self.tap.offload:
            return "io_uring reads no virtio headers"
        self.rings, why = choose_readers(wanted, self.tap.fds, self.adapter.pool)
        return why


def station_address(config: Config) -> bytes:
    """The 6-byte address that the drivers answer for: configured, or the default."""
    return bytes.fromhex(config.adapter.mac.replace(":", "")) if config.adapter.mac else DEFAULT_ADDRESS
