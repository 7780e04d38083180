"""
Mux: one virtual adapter for each VLAN (IEEE 802.1Q). Frames go up without their tag, and get it on the way down.

A frame with a tag more or less is a copy, in the slot of the packet that shows it: for a full frame that takes a quarter of the time of a
chain of buffers around the tag, which has to be gathered for the next driver anyway. So nothing is held below, and frames may be kept
above even while packets are low below. Untagged frames are not changed, and not copied.

Next: `protocol/sink.py`, or a driver of your own.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from vnic import Info, Status, slot_size_for
from vnic.intermediate import IntermediateDriver
from vnic.oids import COUNTED_BY, Oid, answer_query, fill
from vnic.oob import copy_send_info
from vnic.virtual import VirtualMiniport

if TYPE_CHECKING:
    from vnic import Packet

TAGGED = 0x8100
TPID = b"\x81\x00"
ADDRESSES, TAG_END, TAG_SIZE = 12, 16, 4
SHORTEST = 18
UNTAGGED = 0
LARGEST_VLAN = 4094


class Vlan(VirtualMiniport):
    """
    The virtual adapter of one VLAN.

    Args:
        mux: the driver.
        vlan: the VLAN's number, 1 to 4094; 0 for frames of no VLAN.
    """

    def __init__(self, mux: Mux, vlan: int) -> None:
        below = mux.binding.adapter
        super().__init__(mux, f"{below.name}.{vlan or 'untagged'}", mux.packets, slot_size_for(below.mtu))
        self.vlan = vlan

    def strip(self, packet: Packet, control: int) -> None:
        """Show a copy of a frame without its tag; priority and VLAN go into the per-packet information."""
        shown = self.allocate()
        if shown is None:
            return
        frame = packet.data
        shown.write(b"".join((frame[:ADDRESSES], frame[TAG_END:])))
        shown.flags = packet.flags
        if packet.has_info:
            copy_send_info(shown, packet)
        shown.info[Info.IEEE_8021Q] = info_of(control)
        self.adapter.indicate((shown,))

    def fill(self, below: Packet, packet: Packet) -> Status:
        """Write the frame with a tag: of this VLAN, with the priority that the sender asks for. Without either there is no tag."""
        control = control_of(packet.info[Info.IEEE_8021Q] or 0) if packet.has_info else 0
        if control & 0xFFF not in (0, self.vlan) or packet.length + TAG_SIZE > self.sent.slot_size:
            return Status.INVALID_PACKET
        control |= self.vlan
        if not control:
            return super().fill(below, packet)
        frame = packet.data
        below.write(b"".join((frame[:ADDRESSES], TPID, control.to_bytes(2), frame[ADDRESSES:])))
        return Status.SUCCESS

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        """Say which VLAN it is and what its own counters say; anything else is asked below."""
        if oid == Oid.GEN_VLAN_ID:
            return fill(oid, self.vlan.to_bytes(4, "little"), buffer)
        answer = answer_query(self.adapter, oid) if oid in COUNTED_BY else None
        return super().query_information(oid, buffer) if answer is None else fill(oid, answer, buffer)


class Mux(IntermediateDriver):
    """
    Sort frames by VLAN.

    Attributes:
        vlans: the upper edge of each VLAN, 0 being that of untagged frames; `dropped` there counts frames for which it had no packet.
        dropped_untagged: frames without a tag, if nobody wants them.
        dropped_unknown: frames of other VLANs, those cut off in their tag, and those too long for a packet.
        dropped_unwanted: frames of a VLAN of which no driver wants to see any: none is bound there, or its packet filter is empty.
    """

    def __init__(self, *, vlans: str, untagged: bool = False, packets: int = 256) -> None:
        """
        Check the options.

        Args:
            vlans: their numbers, "7,9"; on vnic0 the virtual adapters are called vnic0.7 and vnic0.9.
            untagged: make one more, vnic0.untagged, for frames without a tag, and those whose tag names no VLAN but a priority.
            packets: how many frames may be kept above at a time, and how many sends may wait, for each of them.

        Raises:
            ValueError: one of them is no VLAN, or stands twice, or `packets` is out of range.
        """
        numbers = [number_of(text) for text in vlans.split(",")]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"vlans {vlans!r}: one of them stands twice")
        if not 1 <= packets <= 0xFFFF:
            raise ValueError(f"packets {packets} is outside 1..65535")
        self.numbers = numbers + [UNTAGGED] * untagged
        self.packets = packets
        self.vlans: dict[int, Vlan] = {}
        self.dropped_untagged = self.dropped_unknown = self.dropped_unwanted = 0
        self.lock = Lock()  # each queue has a thread

    def bind_adapter(self) -> None:
        """Make the virtual adapters."""
        self.vlans = {number: Vlan(self, number) for number in self.numbers}
        self.start(*self.vlans.values())

    def receive_packet(self, packet: Packet) -> int:
        """Find the VLAN; nothing is held, because what goes up is a copy."""
        if packet.ethertype != TAGGED:
            return self.pass_plain(packet)
        control = int.from_bytes(packet.data[14:16])
        vlan = self.vlans.get(control & 0xFFF)
        if vlan is None or not SHORTEST <= packet.length <= vlan.received.slot_size + TAG_SIZE:
            self.drop("dropped_unknown")
        elif not vlan.wanted:
            self.drop("dropped_unwanted")
        else:
            vlan.strip(packet, control)
        return 0

    def receive_lookahead(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        """Find the VLAN in the beginning of a frame; if it is not long enough to have a tag, the frame is dropped."""
        if bytes(header[ADDRESSES:]) != TPID:
            untagged = self.plain()
            if untagged is not None:
                untagged.pass_lookahead(context, header, lookahead, packet_size)
            return
        vlan = self.vlans.get(int.from_bytes(lookahead[:2]) & 0xFFF)
        if vlan is None or len(lookahead) < TAG_SIZE:
            self.drop("dropped_unknown")
            return
        if not vlan.wanted:
            self.drop("dropped_unwanted")
            return
        plain = memoryview(b"".join((header[:ADDRESSES], lookahead[2:TAG_SIZE])))
        vlan.pass_lookahead(context, plain, lookahead[TAG_SIZE:], packet_size - TAG_SIZE, TAG_SIZE)

    def pass_plain(self, packet: Packet) -> int:
        """Show a frame without a tag as it is, and hold it meanwhile."""
        untagged = self.plain()
        return 0 if untagged is None else untagged.pass_up(packet)

    def plain(self) -> Vlan | None:
        """The virtual adapter for frames without a tag; None, and the frame is counted as dropped, if nobody wants them."""
        untagged = self.vlans.get(UNTAGGED)
        if untagged is None:
            self.drop("dropped_untagged")
        elif not untagged.wanted:
            self.drop("dropped_unwanted")
            return None
        return untagged

    def drop(self, reason: str) -> None:
        """Count a frame that nobody is shown."""
        with self.lock:
            setattr(self, reason, getattr(self, reason) + 1)


def number_of(text: str) -> int:
    """
    Read the number of a VLAN.

    Raises:
        ValueError: it is none.
    """
    text = text.strip()
    number = int(text) if text.isdecimal() and len(text) < 5 else 0
    if not 1 <= number <= LARGEST_VLAN:
        raise ValueError(f"vlan {text[:20]!r} is no number from 1 to {LARGEST_VLAN}")
    return number


def info_of(control: int) -> int:
    """Turn a tag's control word into per-packet information: 3 bits of priority, the canonical-format bit, 12 bits of VLAN."""
    return control >> 13 | (control >> 12 & 1) << 3 | (control & 0xFFF) << 4


def control_of(info: int) -> int:
    """Turn per-packet information into a tag's control word."""
    return (info & 7) << 13 | (info >> 3 & 1) << 12 | info >> 4 & 0xFFF
