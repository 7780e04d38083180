"""
Settings: the OIDs that belong to one binding, which the library answers itself: packet filter, multicast list, lookahead, options.

Next: `vnic/filters.py`, the bits of a packet filter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.filters import PacketFilter
from vnic.offload import pack_tasks, wanted_by
from vnic.oids import NicValues, Oid, largest_lookahead
from vnic.status import Status

if TYPE_CHECKING:
    from vnic.core import Adapter, Binding

FILTERS = sum(PacketFilter)
OPTIONS = 0x7
ADDRESS_SIZE = 6
NO_LOOPBACK = 2


class Settings:
    """
    What the bindings of one adapter have set. Filter and multicast list stand in the binding itself, where every frame meets them.

    NDIS: OID-05.
    """

    def __init__(self, adapter: Adapter, values: NicValues) -> None:
        self._adapter = adapter
        self._values = values
        self._lookahead: dict[Binding, int] = {}
        self._options: dict[Binding, int] = {}

    def query(self, binding: Binding, oid: int) -> bytes | None:
        """
        Answer a query; None if this can only be set.

        The filter is the binding's own. The multicast list is that of all bindings together, the lookahead the largest that one of
        them suggested: whole frames, if none did.
        """
        if oid == Oid.GEN_CURRENT_PACKET_FILTER:
            return int(binding.packet_filter).to_bytes(4, "little")
        if oid == Oid.GEN_CURRENT_LOOKAHEAD:
            return self.lookahead().to_bytes(4, "little")
        if oid == Oid.TCP_TASK_OFFLOAD:
            return pack_tasks(self._adapter.offload) if self._adapter.offload else None
        if oid == Oid.IEEE_802_3_MULTICAST_LIST:
            return b"".join(sorted({*binding.multicast_list, *self._listed_by_others(binding)}))
        return None

    def change(self, binding: Binding, oid: int, data: bytes) -> tuple[Status, int, int]:
        """
        Replace one setting of one binding; the others keep theirs.

        Returns:
            The status, the bytes read, and the bytes that are needed, if the length was wrong (else 0). INVALID_LENGTH;
            NOT_SUPPORTED: an unknown filter bit; MULTICAST_FULL: no group address, or too many; INVALID_DATA: any other bad value.
        """
        if oid == Oid.IEEE_802_3_MULTICAST_LIST:
            if len(data) % ADDRESS_SIZE:
                return Status.INVALID_LENGTH, 0, ADDRESS_SIZE
            status = self._set_multicast_list(binding, data)
        elif oid == Oid.TCP_TASK_OFFLOAD:
            status = self._set_offload(binding, data)
        elif len(data) != 4:
            return Status.INVALID_LENGTH, 0, 4
        else:
            status = self._set_number(binding, oid, int.from_bytes(data, "little"))
        return status, len(data) if status is Status.SUCCESS else 0, 0

    def lookahead(self) -> int:
        """The largest lookahead that a binding suggested: whole frames, if none did."""
        return max(self._lookahead.values(), default=largest_lookahead(self._adapter))

    def options(self, binding: Binding) -> int:
        """The flags that a binding has set of itself. NDIS: OID_GEN_PROTOCOL_OPTIONS; RX-65."""
        return self._options.get(binding, 0)

    def forget(self, binding: Binding) -> None:
        """A binding closes: nothing that it suggested counts any more."""
        self._lookahead.pop(binding, None)
        self._options.pop(binding, None)

    def _set_number(self, binding: Binding, oid: int, value: int) -> Status:
        if oid == Oid.GEN_CURRENT_PACKET_FILTER:
            if value & ~FILTERS:
                return Status.NOT_SUPPORTED
            binding.packet_filter = PacketFilter(value)
        elif oid == Oid.GEN_CURRENT_LOOKAHEAD:
            if value > largest_lookahead(self._adapter):
                return Status.INVALID_DATA
            self._lookahead[binding] = value
        else:
            if value & ~OPTIONS:
                return Status.INVALID_DATA
            self._options[binding] = value
            binding.no_loopback = bool(value & NO_LOOPBACK)
        return Status.SUCCESS

    def _set_multicast_list(self, binding: Binding, data: bytes) -> Status:
        addresses = {data[start : start + ADDRESS_SIZE] for start in range(0, len(data), ADDRESS_SIZE)}
        if not all(address[0] & 1 for address in addresses):
            return Status.MULTICAST_FULL
        if len(addresses | self._listed_by_others(binding)) > self._values.maximum_list_size:
            return Status.MULTICAST_FULL
        binding.multicast_list = tuple(addresses)
        return Status.SUCCESS

    def _set_offload(self, binding: Binding, data: bytes) -> Status:
        if not self._adapter.offload:
            return Status.NOT_SUPPORTED
        try:
            wanted = wanted_by(data)
        except ValueError:
            return Status.INVALID_DATA
        if wanted & ~self._adapter.offload:
            return Status.NOT_SUPPORTED
        binding.offload = wanted
        return Status.SUCCESS

    def _listed_by_others(self, binding: Binding) -> set[bytes]:
        others = (other for other in self._adapter.bindings if other is not binding and not other.closing)
        return {address for other in others for address in other.multicast_list}
