"""
What all bindings together want to see, as the miniport is told: filter, multicast list, lookahead.

Next: `vnic/settings.py`, what each of them wants.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from vnic.filters import PacketFilter
from vnic.oids import Oid, largest_lookahead

if TYPE_CHECKING:
    from vnic.core import Adapter
    from vnic.requests import RequestQueue
    from vnic.settings import Settings


class Addressing:
    """
    The three settings that the miniport has been told, by requests of the library's own. A miniport that cannot be told is not.

    NDIS: RX-56, OID-05, LC-08, LC-14.
    """

    def __init__(self, adapter: Adapter, queue: RequestQueue, settings: Settings) -> None:
        self._adapter = adapter
        self._queue = queue
        self._settings = settings
        self._lock = Lock()
        self._told = {
            Oid.GEN_CURRENT_PACKET_FILTER: bytes(4),
            Oid.IEEE_802_3_MULTICAST_LIST: b"",
            Oid.GEN_CURRENT_LOOKAHEAD: largest_lookahead(adapter).to_bytes(4, "little"),
        }

    def sync(self, *, everything: bool = False) -> None:
        """
        Tell what has changed.

        Args:
            everything: the NIC has forgotten all of it; tell it again.
        """
        if not self._queue.may_tell:
            return
        with self._lock:
            before, self._told = self._told, self._wanted()
            for oid, data in self._told.items():
                if everything or before[oid] != data:
                    # in line while the lock is held: what is newer must be told later
                    self._queue.line_up(oid, data)
        self._queue.go()

    def _wanted(self) -> dict[Oid, bytes]:
        bindings = [binding for binding in self._adapter.bindings if not (binding.closing or binding.opening)]
        accepted = PacketFilter.NONE
        for binding in bindings:
            accepted |= binding.packet_filter
        listed = {address for binding in bindings for address in binding.multicast_list}
        return {
            Oid.GEN_CURRENT_PACKET_FILTER: int(accepted).to_bytes(4, "little"),
            Oid.IEEE_802_3_MULTICAST_LIST: b"".join(sorted(listed)),
            Oid.GEN_CURRENT_LOOKAHEAD: self._settings.lookahead().to_bytes(4, "little"),
        }
