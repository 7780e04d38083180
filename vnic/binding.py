"""
A binding: one driver on one adapter, what it wants to see, what it gives back, what it sends.

Next: `vnic/asking.py`, how it is shown frames, and `vnic/send.py`, which takes its sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic import driver as contract
from vnic.asking import Asking
from vnic.context import CONTEXTS, DISPATCH, OPEN, WHAT, Context
from vnic.filters import PacketFilter
from vnic.ledger import Ledger
from vnic.offload import Offload, with_included
from vnic.packet import HEADER_SIZE, MAX_BINDINGS, Packet
from vnic.pending import PendingCall
from vnic.pool import PacketPool
from vnic.states import BROKEN, Event, PacketState
from vnic.status import Status, VnicError
from vnic.steps import Step
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS
from vnic.verifier.levels import LEVELS
from vnic.verifier.refusal import refused

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    import cython

    from vnic.adapter import Adapter
    from vnic.driver import ProtocolDriver
    from vnic.pnp import PnpEvent
    from vnic.request import Request
    from vnic.send import SendPath
    from vnic.status import OwnershipError
    from vnic.verifier.rules import Rule
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import place_of
    from vnic.steps import _step

INDICATED = int(PacketState.INDICATED)
OWNED = int(PacketState.OWNED)
ALL_CLASSES = sum(PacketFilter)
MAX_REFERENCES = 0xFFFF
AT_DISPATCH = DISPATCH
IN_RECEIVE_PACKET = WHAT["receive_packet"]

OPEN[:] = [None] * MAX_BINDINGS


class Binding(Asking):
    """
    One driver on one adapter: what it wants to see, what it owes, what it sent.

    NDIS: a binding handle, from NdisOpenAdapter.

    Attributes:
        name: names the driver wherever it is reported.
        slot: its column in every packet's promised/returned pairs.
        delivered: frames shown to it.
        resources: those of them with status RESOURCES.
        promised: returns it promised, over all packets.
        returned: returns it made.
        errors: exceptions that came out of it.
        violations: rules it broke.
        sends_pending: sends it still owes a completion for.
        transfers_pending: packets of its that are being filled.
        opening: `bind_adapter` has not ended, perhaps because it answered PENDING; nothing is indicated to it yet.
        closing: nothing is indicated to it any more, sends answer CLOSING.
        dead: `unbind_adapter` has ended; any use raises (rule 98), except what gives back: returns, and completions.
        closed: it is gone; any use raises.
        no_loopback: its own sends are not shown to it. NDIS: OID_GEN_PROTOCOL_OPTIONS, bit 2; RX-65.
        early_returns: it may return a packet before it has answered for it. AMB-3.
        verifier_level: how much is watched of it; see `vnic.verifier.levels`.
        quota: returns that it may owe at most; with so many, packets are shown to it as RESOURCES, to be copied. 0: as many as it likes.
        over_quota: packets that were shown to it so.
        busy_ns: time spent in its receive handlers, from verifier level 2 on.
    """

    def __init__(self, adapter: Adapter, driver: ProtocolDriver, name: str, slot: int, ledger: Ledger, sends: SendPath) -> None:
        if getattr(self, "driver", None) is not None or not 0 <= slot < MAX_BINDINGS:
            raise TypeError("bindings are made by adapters, once")
        self.adapter = adapter
        self.driver = driver
        self.name = name
        self.slot = slot
        self.delivered = self.resources = self.promised = self.returned = self.errors = self.violations = 0
        self.sends_pending = 0
        self._inside = 0
        self._in_receive_packet = place_of(slot, IN_RECEIVE_PACKET, AT_DISPATCH)
        self._in_receive_packets = place_of(slot, WHAT["receive_packets"], AT_DISPATCH)
        self.opening = True
        self.closing = self.dead = self.closed = False
        self._pended = self._forced = False
        self._calls = {name: PendingCall(name, ledger, self) for name in ("bind_adapter", "unbind_adapter", "pnp_event")}
        self.no_loopback = driver.no_loopback
        self.early_returns = driver.early_returns
        self._ledger = ledger
        self._sends = sends
        self._filter = 0
        self._filter_set = False
        self._offload = 0
        self._offload_set = False
        self._multicast = frozenset()
        self._looked = False
        # on each thread: the slot was another binding's
        for context in list(CONTEXTS.values()):
            forget(context, slot)
        self._looks = []
        self.transfers_pending = 0
        self.verifier_level = LEVELS.of_driver(name, ledger._level)
        self.quota = int(driver.quota)
        self.over_quota = self.busy_ns = 0
        self._receive = contract.handler(driver, contract.ProtocolDriver, "receive")
        self._receive_packet = contract.handler(driver, contract.ProtocolDriver, "receive_packet")
        self._receive_packets = contract.handler(driver, contract.ProtocolDriver, "receive_packets")
        if self._receive_packets is not None:
            self._receive_packet = None
        elif self._receive_packet is None and self._receive is None:
            self._receive_packet = driver.receive_packet
        if cython.compiled:
            self._typed = typed(driver) if self._receive_packets is None else None
        self._receive_code = getattr(self._receive_packets or self._receive_packet, "__code__", None)
        self._receive_complete = contract.handler(driver, contract.ProtocolDriver, "receive_complete")
        self._send_complete = contract.handler(driver, contract.ProtocolDriver, "send_complete")

    @property
    def held(self) -> int:
        """Returns that the binding still owes, over all packets."""
        return self.promised - self.returned

    @property
    def address(self) -> bytes:
        """The adapter's 6-byte station address. NDIS: OID_802_3_CURRENT_ADDRESS."""
        return self.adapter.address

    @property
    def mtu(self) -> int:
        """Largest payload of a frame, in bytes. NDIS: OID_GEN_MAXIMUM_FRAME_SIZE."""
        return self.adapter.mtu

    @property
    def network_addresses(self) -> tuple[str, ...]:
        """The layer-3 addresses ("10.0.0.2/24") that the adapter was configured to answer for."""
        return self.adapter.network_addresses

    @property
    def packet_filter(self) -> PacketFilter:
        """
        Which frames are shown to the binding; setting it replaces it, and a value other than NONE starts indications.

        Raises:
            ValueError: it has bits that are none of a filter.

        NDIS: OID_GEN_CURRENT_PACKET_FILTER; RX-56, RX-57, RX-61.
        """
        return PacketFilter(self._filter)

    @packet_filter.setter
    def packet_filter(self, value: PacketFilter) -> None:
        self._require_open("its packet filter is set")
        if int(value) & ~ALL_CLASSES:
            raise ValueError(f"{int(value):#x} has bits that no class of frames has: a packet filter is made of {ALL_CLASSES:#x}")
        self._filter = int(value)
        self._filter_set = True
        self.adapter._reorder()

    @property
    def multicast_list(self) -> tuple[bytes, ...]:
        """
        The group addresses that MULTICAST accepts; setting it replaces the list.

        Raises:
            ValueError: an address is not 6 bytes long, or no group address.

        NDIS: OID_802_3_MULTICAST_LIST; RX-59.
        """
        return tuple(sorted(value.to_bytes(6, "big") for value in self._multicast))

    @multicast_list.setter
    def multicast_list(self, addresses: Iterable[bytes]) -> None:
        self._require_open("its multicast list is set")
        listed = [bytes(address) for address in addresses]
        for address in listed:
            if len(address) != 6 or not address[0] & 1:
                raise ValueError(f"{address.hex(':') or 'nothing'} is no 6-byte group address")
        self._multicast = frozenset(int.from_bytes(address, "big") for address in listed)
        self.adapter._sync()

    @property
    def offload(self) -> Offload:
        """
        What is left to the adapter on both ways. `driver.offload` says what is asked for; this is what is had, and can be set any time.

        Raises:
            VnicError: the adapter does not have what is to be set.

        NDIS: OID_TCP_TASK_OFFLOAD.
        """
        return Offload(self._offload)

    @offload.setter
    def offload(self, value: Offload) -> None:
        self._require_open("its offload is set")
        if value & ~int(self.adapter.offload):
            raise VnicError(f"{self.adapter.name} has {self.adapter.offload!r}, and {Offload(value)!r} is asked for")
        self._offload = with_included(value) & int(self.adapter.offload)
        self._offload_set = True
        self.adapter._reorder()

    def owed(self, packet: Packet) -> int:
        """How often the binding still has to return this packet."""
        if self.closed or packet._state != INDICATED:
            return 0
        return max(0, packet._owed[self.slot].promised - packet._owed[self.slot].returned)

    def reserved(self, packet: Packet) -> memoryview:
        """
        The binding's own scratch bytes in a packet that it holds, or that it is being shown.

        Each binding has its own area of each packet; it is not cleared between frames.

        Returns:
            A writable view of `packet.pool.reserved_size` bytes.

        Raises:
            OwnershipError: the binding does not hold the packet (rule 15).

        NDIS: NDIS_PACKET.ProtocolReserved of a received packet; PKT-34, AMB-14.
        """
        if packet._asked != self.slot and not self.owed(packet):
            raise self._ledger._violation(rules.RESERVED_TRESPASS, self, packet, f"its area of {packet!r} is touched")
        pool: PacketPool = packet.pool
        start = packet.index * pool.reserved_size
        return memoryview(pool._reserved_area(self.slot))[start : start + pool.reserved_size]

    def return_packets(self, packets: Iterable[Packet]) -> None:
        """
        Give up one reference of each packet; a packet whose last reference this was goes back to the miniport at once.

        The same packet may stand in `packets` several times. Every legal return is made, even if another one is refused.

        Raises:
            OwnershipError: nothing is owed for a packet (rules 01 to 05); the first such is named, its state is untouched.
            TypeError: in the same way, for what is no packet.

        NDIS: NdisReturnPackets; RX-27 to RX-33.
        """
        if self.closed:
            self._require_open("it returns packets")
        first: object = None
        step: Step = _step("return", self.name, self.verifier_level, 0) if self.verifier_level else None
        if self.verifier_level >= 4:
            FAULTS.delay(self)
            if FAULTS.reorders():
                packets = list(packets)
                FAULTS.shuffle(packets)
        for packet in packets:
            if not is_packet(packet):
                broken = TypeError(f"a {type(packet).__name__} is returned, and not a packet")
            else:
                broken = self._take_back(cython.cast(Packet, packet), step)
            if broken is not None and first is None:
                first = broken
        if first is not None:
            raise first

    def broke(self, rule: Rule, detail: str, packet: Packet | None = None, more: dict[str, Any] | None = None) -> OwnershipError:
        """
        Count and record that the driver has broken a rule, where something other than its adapter has found it.

        Returns:
            The exception for it.
        """
        return self._ledger._violation(rule, self, packet, detail, more)

    def send(self, packet: Packet) -> Status:
        """
        Lend a packet of the driver's own downward.

        SUCCESS or an error: it is the driver's again, and that was all. PENDING: it comes back through `send_complete`, once.
        May be called from any thread.

        Returns:
            SUCCESS, PENDING, INVALID_PACKET (shorter than 14 bytes or longer than MTU + 18), NO_CABLE (link down), RESOURCES (the
            send queue is full), CLOSING, ADAPTER_REMOVED, or FAILURE.

        Raises:
            OwnershipError: the packet is not the driver's to send (rules 55, 58), or the binding is closed (rule 57).
            TypeError: it is no packet.

        NDIS: NdisSend; TX-01 to TX-05.
        """
        if not is_packet(packet):
            raise TypeError(f"a {type(packet).__name__} is sent, and not a packet")
        if self.dead:
            raise self._ledger._violation(rules.SEND_ON_CLOSED, self, packet, f"{packet!r} is sent after close")
        if self.verifier_level >= 2:
            self._before_send("send")
        return self._sends.send(self, packet)

    def send_packets(self, packets: Iterable[Packet]) -> None:
        """
        Lend several packets downward, in order; each comes back through `send_complete`, exactly once, whatever became of it.

        Raises:
            OwnershipError: a packet is not the driver's to send; the others are sent, this one gets no completion.
            TypeError: one of them is no packet; none is sent.

        NDIS: NdisSendPackets; TX-06 to TX-10.
        """
        packets = list(packets)
        for packet in packets:
            if not is_packet(packet):
                raise TypeError(f"a {type(packet).__name__} is sent, and not a packet")
        self._require_sends()
        self._sends.send_packets(self, packets)

    def _require_sends(self) -> None:
        """Several packets are to be sent."""
        if self.dead:
            raise self._ledger._violation(rules.SEND_ON_CLOSED, self, None, "packets are sent after close")
        if self.verifier_level >= 2:
            self._before_send("send_packets")

    def _before_send(self, what: str) -> None:
        self._ledger._require_no_locks(self, what)
        if self.verifier_level >= 4:
            FAULTS.delay(self)

    def transfer_data(self, context: object, offset: int, length: int, packet: Packet) -> tuple[Status, int]:
        """
        Copy a part of the frame that `receive` is being shown into a packet of the driver's own: once, and before `receive` returns.

        SUCCESS: the packet is the driver's again, filled. PENDING: it is lent, and comes back through `transfer_data_complete`,
        perhaps before this returns.

        Args:
            context: the one that `receive` was given.
            offset: the first byte, counted behind the 14 bytes of the header; the next one unread is `len(lookahead)`.
            length: bytes to copy; 0 is allowed.
            packet: filled from its beginning; it must have room.

        Returns:
            The status, and the bytes copied: SUCCESS, PENDING, FAILURE (the range is outside the frame, or no room for it),
            REQUEST_ABORTED (the binding closes) or RESET_IN_PROGRESS.

        Raises:
            OwnershipError: not inside that `receive`, or a second time (rule 101); the packet is not the driver's (rules 55, 58).

        NDIS: NdisTransferData; RX-42, RX-48 to RX-51, AMB-6.
        """
        self._require_open("it transfers data")
        look = self._looking_at(context, "transferred")
        if look.transferred:
            raise self._ledger._violation(rules.LOOKAHEAD_OVER, self, None, "a frame is transferred a second time")
        if packet._state != OWNED:
            raise self._ledger._violation(BROKEN[packet.state, Event.TRANSFER], self, packet, f"{packet!r} is given to be filled")
        if self.closing:
            return Status.REQUEST_ABORTED, 0
        if self._sends.resetting:
            return Status.RESET_IN_PROGRESS, 0
        if offset < 0 or length < 0 or offset + length > look.size:
            return Status.FAILURE, 0
        look.transferred = True
        if look.packet is None:
            return self.adapter._transfer(self, packet, context, offset, length)
        with look.packet.data as frame:
            copied = packet.fill(0, frame[HEADER_SIZE + offset : HEADER_SIZE + offset + length])
        return (Status.SUCCESS, copied) if copied == length else (Status.FAILURE, copied)

    def received_packet(self, context: object) -> Packet | None:
        """
        Find the packet behind the frame that `receive` is being shown: to look at, until `receive` returns.

        Returns:
            The packet; None, if the miniport has shown bytes only.

        Raises:
            OwnershipError: not inside that `receive` (rule 101).

        NDIS: NdisGetReceivedPacket; RX-55.
        """
        found: Packet | None = self._looking_at(context, "asked for").packet
        return found

    def cancel_sends(self, cancel_id: object) -> int:
        """
        Abort the binding's sends whose `packet.info[Info.CANCEL_ID]` is this one and that still wait; each completes, aborted.

        Returns:
            How many were aborted.

        NDIS: NdisCancelSendPackets; TX-28 to TX-31.
        """
        self._require_open("it cancels sends")
        return self._sends.cancel(self, cancel_id)

    def request(self, request: Request) -> Status:
        """
        Ask the adapter something, or tell it; the request is lent until it is answered.

        Returns:
            PENDING: `request_complete` follows, once. Anything else is the answer, and that was all.

        Raises:
            ContractViolation: the binding is closed (rule 98).

        NDIS: NdisRequest; OID-01 to OID-05.
        """
        return self.adapter.requests.request(self, request)

    def __repr__(self) -> str:
        return f"<Binding {self.name} of {self.adapter.name}: holds {self.held}>"

    def reset(self) -> Status:
        """
        Ask for a reset of the adapter, as `Adapter.reset` does it.

        Returns:
            PENDING: `reset_complete(status)` follows. Anything else is how it went, or why it did not, and that was all.

        Raises:
            ContractViolation: the binding is closed (rule 98).

        NDIS: NdisReset; LC-17.
        """
        self._require_open("it asks for a reset")
        return self.adapter._resetter.reset(self)

    @property
    def pending_io(self) -> int:
        """Sends, transfers and requests of the binding that are not over. NDIS: NdisQueryPendingIOCount; LC-36."""
        return self.sends_pending + self.transfers_pending + self.adapter.requests.pending(self)

    def complete_bind(self, status: Status) -> None:
        """
        End what `bind_adapter` left PENDING: with SUCCESS frames are shown from now on, otherwise (PENDING is no end, and taken for
        FAILURE) nothing is left of the binding.

        Raises:
            ContractViolation: it is not pending (rule 65).

        NDIS: NdisCompleteBindAdapter; LC-24.
        """
        status = Status.FAILURE if Status(status) is Status.PENDING else Status(status)
        if self._calls["bind_adapter"].complete(status):
            self.adapter._end_bind(self, status)

    def complete_unbind(self) -> None:
        """
        End what `unbind_adapter` left PENDING. When nothing is held or pending any more, `close_complete` is called.

        Raises:
            ContractViolation: it is not pending (rule 65).

        NDIS: NdisCompleteUnbindAdapter; LC-28.
        """
        if self._calls["unbind_adapter"].complete(Status.SUCCESS):
            self.adapter._end_unbind(self, True)

    def complete_pnp_event(self, event: PnpEvent, status: Status) -> None:
        """
        End what `pnp_event` left PENDING. PENDING is no end, and taken for FAILURE.

        Raises:
            ContractViolation: it is not pending, or it is another event that is (rule 65).

        NDIS: NdisCompletePnPEvent; LC-35.
        """
        status = Status.FAILURE if Status(status) is Status.PENDING else Status(status)
        asked = self.adapter._pnp._event
        if not self.closed and event != asked:
            is_pending = "none is pending" if asked is None else f"{asked.name} is pending"
            raise self._ledger._violation(rules.ILLEGAL_TRANSITION, self, None, f"pnp_event: {event!r} is completed, and {is_pending}")
        if self._calls["pnp_event"].complete(status) and not self.closed:
            # the event does not wait for a binding that is gone: another one may have begun
            self.adapter._pnp.answered(self, event, status)

    def _require_open(self, what: str) -> None:
        if self.dead:
            raise self._ledger._violation(rules.CLOSED_BINDING, self, None, f"{what} after close")


    def _take_back(self, packet: Packet, step: Step | None) -> object:
        """Count one return; the packet goes home with the last. Answers the violation, nothing changed, if none is owed."""
        last: cython.bint = False
        owed: cython.bint
        with cython.critical_section(packet, self):
            owed = not self.closed and packet._state == INDICATED and self._owes_of(packet)
            if self.early_returns and packet._asked == self.slot and self._may_return_early(packet):
                # counted when it answers; until then the library's own reference keeps the packet
                packet._promises = max(packet._promises, self.slot + 1)
                packet._owed[self.slot].returned += 1
                if step is not None:
                    packet._mark(step)
                return None
            if owed:
                packet._owed[self.slot].returned = packet._owed[self.slot].returned + 1
                packet.references = packet.references - 1
                self.returned = self.returned + 1
                last = packet.references == 0
        if not owed:
            return self._ledger._violation(self._broken_return(packet), self, packet, f"{packet!r} is returned")
        if step is not None:
            if packet._ordinary:
                with cython.critical_section(packet):
                    packet.last = step
            else:
                packet._mark(step)
        if last and not self._ledger._home_plain(packet):
            self._ledger._home(packet, self)
        if self.dead:
            self._came_back()
        return None

    def _may_return_early(self, packet: Packet) -> cython.bint:
        """Whether a packet that it is being asked for can be returned already: one that it may keep, and not more often than it may."""
        if packet._state != INDICATED or packet._status or self.closed:
            return False
        return packet._owed[self.slot].returned < MAX_REFERENCES

    if not cython.compiled:
        # compiled, it stands in the .pxd file, where each caller has it for its own

        def _owes_of(self, packet: Packet) -> bool:
            """Whether it owes a return of a packet, beside those that follow replies under way."""
            return packet._owed[self.slot].promised > packet._owed[self.slot].returned + packet._owed[self.slot].replying

    def _owes(self) -> cython.bint:
        """Whether something of it is out: packets it holds or has below, virtual connections, or a handler that says so."""
        return self.promised != self.returned or self.sends_pending != 0 or self.transfers_pending != 0 or self._inside != 0

    def _enter(self) -> None:
        """A handler of it begins that the end of the binding has to wait for; `_leave` follows."""
        with cython.critical_section(self):
            self._inside += 1

    def _enter_open(self) -> cython.bint:
        """The same, unless it closes: then False, and no handler may begin."""
        with cython.critical_section(self):
            if self.closing:
                return False
            self._inside += 1
            return True

    def _leave(self) -> None:
        with cython.critical_section(self):
            self._inside -= 1
        self._came_back()

    def _carry(self) -> bool:
        """A virtual connection stands on the binding, whose end has to wait for it; False: it closes, and nothing may."""
        return bool(self._enter_open())

    def _put_down(self) -> None:
        """A virtual connection that stood on the binding has ended."""
        self._leave()

    def _came_back(self) -> None:
        """Something came back: if the binding waits for that with its end, this may be it."""
        if self.dead and not self.closed:
            self.adapter._settle(self)

    def _broken_return(self, packet: Packet) -> object:
        if self.closed:
            return rules.CLOSED_BINDING
        if packet._asked == self.slot:
            return rules.RETURN_INSIDE_HANDLER if self._ledger._indicating() else rules.RETURN_BEFORE_ANSWER
        if packet._state != INDICATED:
            return rules.OVER_RETURN
        return rules.DOUBLE_RETURN if packet._owed[self.slot].promised else rules.WRONG_BINDING


def forget(context: Context, slot: cython.int) -> None:
    """On one thread, what was seen by the last binding of this slot."""
    context._saw[slot] = False


def is_packet(given: object) -> cython.bint:
    """Whether it is a packet, and of a pool: one can be made without its `__init__`."""
    if cython.compiled:
        return type(given) is Packet and cython.cast(Packet, given).pool is not None
    else:
        return type(given) is Packet and getattr(given, "pool", None) is not None


def return_packets(packets: Iterable[Packet]) -> None:
    """
    Give up one reference of each packet, as `Binding.return_packets` does, where nobody says which binding returns it.

    It is the binding that owes a return of the packet. If several do, the one with the lowest slot is charged: the packet goes home
    with the right return, but until then the figures of its holders may be exchanged. While a packet is being shown on this thread,
    it is the binding that looks at it, and so refused.

    Raises:
        OwnershipError: nobody owes a return of a packet; the first such is named, the others are returned.
        TypeError: in the same way, for what is no packet.

    NDIS: NdisReturnPackets; RX-27 to RX-33.
    """
    first: object = None
    packet: Packet
    binding: Binding
    for given in packets:
        if not is_packet(given):
            first = first or TypeError(f"a {type(given).__name__} is returned, and not a packet")
            continue
        packet = given
        binding = debtor(packet)
        if binding is not None:
            step: Step = _step("return", binding.name, binding.verifier_level, 0) if binding.verifier_level else None
            broken = binding._take_back(packet, step)
        else:
            rule = rules.WRONG_BINDING if packet._state == INDICATED else rules.OVER_RETURN
            broken = refused(rule, "the caller", f"{packet!r} is returned", packet)
        if broken is not None and first is None:
            first = broken
    if first is not None:
        raise first


def debtor(packet: Packet) -> Binding | None:
    """Whose return of a packet it must be that names no binding; None if it can be nobody's."""
    binding: Binding
    asked: Binding = OPEN[packet._asked] if packet._asked >= 0 else None
    if asked is not None and asked._ledger._indicating():
        return asked
    for binding in OPEN:
        if binding is not None and binding.owed(packet):
            return binding
    return asked


