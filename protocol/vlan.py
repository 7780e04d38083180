"""
VLAN: virtual connections over an ordinary adapter, each an 802.1Q VLAN of it.

Below, this is a protocol driver like any other. Above, it is a miniport: drivers that use virtual connections (VCs) bind to its adapter,
make one for each VLAN, and see frames without tags. The frame is copied once in each direction: a tag in the middle of an Ethernet
header cannot be taken out of bytes that others read at the same time.

Next: `vnic/vc.py`, the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

from vnic import Adapter, ContractViolation, Info, Packet, PacketPool, ProtocolDriver, Status, slot_size_for
from vnic.condis import CoMiniportDriver, receive_complete
from vnic.vc import VirtualConnection

ETHERTYPE = 0x8100
ADDRESSES = 12
TAG = 4
SHORTEST = ADDRESSES + TAG + 2
HIGHEST_VLAN = 4094
HIGHEST_PRIORITY = 7


class Vlan(NamedTuple):
    """The parameters of a VC: the VLAN, 0 to 4094 (0: tagged with a priority only), and the priority of what is sent, 0 to 7."""

    id: int
    priority: int = 0


class VlanEdge(ProtocolDriver, CoMiniportDriver):
    """
    Tag what is sent on a VC, and sort what is received by its tag.

    Attributes:
        adapters: the adapter that drivers with VCs bind to, while this is bound.
        vlans: the VC of each VLAN.
        untagged: frames without a tag; they are for other drivers of the adapter below.
        unknown: frames of a VLAN that has no VC.
        dropped: frames of a VC all of whose packets were out.
    """

    adapters: tuple[Adapter, ...] = ()

    def __init__(self, *, packets: int = 64) -> None:
        """
        Check the options.

        Args:
            packets: packets of each VC to receive into, and packets to send from.
        """
        if not 1 <= packets <= 0xFFFF:
            raise ValueError(f"packets {packets} is outside 1..65535")
        self.vc_packets = packets
        self.vlans: dict[int, VirtualConnection] = {}
        self.untagged = self.unknown = self.dropped = 0
        self.lock = Lock()

    def bind_adapter(self) -> None:
        """Make the pool to send from, and the adapter above."""
        below = self.binding.adapter
        self.unbinding = False
        self.sending = PacketPool(self.vc_packets, slot_size_for(below.mtu), name=f"{below.name}.vlan")
        above = Adapter(
            # nothing is indicated on it but on its VCs
            PacketPool(1, 0, name=f"{below.name}.vc"),
            self,
            name=f"{below.name}.vc",
            address=below.address,
            mtu=below.mtu,
            network_addresses=below.network_addresses,
            verifier_level=below.verifier_level,
            report=below.report,
        )
        self.adapters = (above,)

    def unbind_adapter(self) -> Status:
        """Unbind the drivers above; what they keep beyond that is taken back, and reported. Sends that are pending below are waited for."""
        for above in self.adapters:
            for binding in above.bindings:
                above.close(binding)
                for vc in getattr(binding.driver, "vcs", ()):
                    self.take_down(vc)
            above.halt()
        self.adapters = ()
        with self.lock:
            self.unbinding = waits = self.sending.usage > 0
        if waits:
            return Status.PENDING
        self.sending.close()
        return Status.SUCCESS

    def take_down(self, vc: VirtualConnection) -> None:
        """End a VC that its driver has left."""
        vc.deactivate()
        vc.reclaim()
        try:
            vc.delete()
        except ContractViolation as error:
            self.binding.adapter.failed(self.binding, "unbind_adapter", error)

    # from below

    def receive_packet(self, packet: Packet) -> int:
        """Copy a frame without its tag into a packet of its VLAN's VC, and show that; the frame itself is never kept."""
        frame = packet.data
        if packet.ethertype != ETHERTYPE or len(frame) < SHORTEST:
            with self.lock:
                self.untagged += 1
            return 0
        tag = frame[ADDRESSES + 2] << 8 | frame[ADDRESSES + 3]
        vc = self.vlans.get(tag & 0xFFF)
        if vc is None or vc.pool is None:
            with self.lock:
                self.unknown += 1
            return 0
        own = vc.pool.allocate()
        if own is None:
            with self.lock:
                self.dropped += 1
            return 0
        own.length = len(frame) - TAG
        with own.data as bare:
            bare[:ADDRESSES] = frame[:ADDRESSES]
            bare[ADDRESSES:] = frame[ADDRESSES + TAG :]
        own.info[Info.IEEE_8021Q] = tag
        low = vc.pool.available <= vc.adapter.low_water
        own.status = Status.RESOURCES if low else Status.SUCCESS
        vc.indicate([own])
        if low:
            vc.pool.free(own)
        return 0

    def receive_complete(self) -> None:
        """A batch is over below, so it is over above."""
        for above in self.adapters:
            receive_complete(above)

    def send_complete(self, packet: Packet, status: Status) -> None:
        """The copy is back from below: so is the client's packet."""
        vc, original = self.original(packet)
        with self.lock:
            packet.pool.free(packet)
            last = self.unbinding and self.sending.usage == 0
            self.unbinding = self.unbinding and not last
        vc.send_complete(original, status)
        if self.adapters:
            return
        # the drivers above are unbound already
        vc.delete()
        if last:
            self.sending.close()
            self.binding.complete_unbind()

    def status(self, status: Status, buffer: bytes = b"") -> None:
        """What is said of the adapter below holds for the one above, and for each VC."""
        for above in self.adapters:
            above.indicate_status(status)
        for vc in self.vlans.copy().values():
            vc.adapter.indicate_status(status)

    # from above

    def co_activate_vc(self, vc: VirtualConnection, parameters: Any) -> Status:
        """Give a VC its VLAN, or another one."""
        if not isinstance(parameters, Vlan) or not 0 <= parameters.id <= HIGHEST_VLAN or not 0 <= parameters.priority <= HIGHEST_PRIORITY:
            return Status.INVALID_DATA
        if self.vlans.get(parameters.id, vc) is not vc:
            return Status.VC_NOT_AVAILABLE
        self.forget(vc)
        self.vlans[parameters.id] = vc
        return Status.SUCCESS

    def co_send_packets(self, vc: VirtualConnection, packets: Sequence[Packet]) -> None:
        """Copy each frame, with a tag, into a packet of our own, and send that; the client's waits for it."""
        tagged = []
        for packet in packets:
            own = self.sending.allocate()
            if own is None:
                vc.send_complete(packet, Status.RESOURCES)
                continue
            frame = packet.data
            own.length = len(frame) + TAG
            with own.data as whole:
                whole[:ADDRESSES] = frame[:ADDRESSES]
                whole[ADDRESSES : ADDRESSES + TAG] = self.tag(vc.parameters)
                whole[ADDRESSES + TAG :] = frame[ADDRESSES:]
            frame.release()
            own.info[Info.ORIGINAL_PACKET] = (vc, packet)
            tagged.append(own)
        if tagged:
            self.binding.send_packets(tagged)

    def co_deactivate_vc(self, vc: VirtualConnection) -> None:
        """Take the VLAN from a VC; its sends come back from below by themselves."""
        self.forget(vc)

    def forget(self, vc: VirtualConnection) -> None:
        """Show a VC no more frames."""
        self.vlans = {vlan: other for vlan, other in self.vlans.items() if other is not vc}

    @staticmethod
    def tag(parameters: Vlan) -> bytes:
        """Make the four bytes of a tag."""
        return ETHERTYPE.to_bytes(2) + (parameters.priority << 13 | parameters.id).to_bytes(2)

    @staticmethod
    def original(packet: Packet) -> tuple[VirtualConnection, Packet]:
        """Find whose frame a packet of ours carries."""
        found: Any = packet.info[Info.ORIGINAL_PACKET]
        vc, original = found
        return vc, original
