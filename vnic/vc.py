"""
A virtual connection: its life, and what crosses it.

What a connection lends and owes is kept by the core: each has an adapter of its own with exactly one binding, so its packets have the
same states, the same ledger and the same rules as all others.

A connection ends before the binding that it was made over: what its client has not deleted when it lets go of that binding is
deactivated, and deleted as soon as it is quiet; until then the binding waits.

Next: `protocol/vlan.py`, where a connection is a VLAN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

from vnic.condis import Above, Below, CoMiniportDriver, CoProtocolDriver
from vnic.core import Adapter, Binding, PacketPool, slot_size_for
from vnic.filters import PacketFilter
from vnic.states import VC_LEGAL, VC_REFUSED, VcEvent, VcState
from vnic.status import ContractViolation, Status, VnicError

if TYPE_CHECKING:
    from vnic.core import Packet
    from vnic.request import Request

SUCCESS, PENDING = Status.SUCCESS, Status.PENDING
FLOWING = (VcState.ACTIVE, VcState.CHANGING)
numbers = count(1)


class VirtualConnection:
    """
    One connection, between the driver that made it and the miniport below.

    `create`, `activate`, `deactivate` and `delete` are called on the data thread, or while there is none; sends, returns and completions
    may come from any.

    NDIS: a VC handle.

    Attributes:
        name: names it wherever it is reported.
        context: whatever its maker attached. NDIS: ProtocolVcContext.
        driver: its client, the only one that sees its frames.
        miniport: what is below.
        parameters: what it was last activated with.
        pool: where the miniport takes the packets from that it indicates on it.
        adapter: its own adapter, which counts its frames.
        binding: the client's binding there, which counts what the client holds.
        seen: whether the client was shown a packet since the last `receive_complete`.
    """

    adapter: Adapter
    binding: Binding

    def __init__(self, binding: Binding, miniport: CoMiniportDriver, driver: CoProtocolDriver, context: object) -> None:
        number = next(numbers)
        self.name = f"{binding.adapter.name}.vc{number}"
        self.context = context
        self.driver = driver
        self.miniport = miniport
        self.parameters: Any = None
        self.pool: PacketPool | None = None
        self._over = binding
        self._state = VcState.DELETED
        self._lock = Lock()
        self._own_pool: PacketPool | None = None
        self._showing = 0
        self._abandoned = self._unasked = False
        self._below_busy = False
        self._wanted: Any = None
        self.seen = False

    @classmethod
    def create(cls, binding: Binding, context: object = None) -> tuple[Status, VirtualConnection | None]:
        """
        Make a VC over a binding; it is the binding's driver's to delete.

        Returns:
            SUCCESS and the VC; or why there is none: NOT_SUPPORTED (driver or miniport know no VCs), VC_NOT_AVAILABLE (too many are
            there), RESOURCES (no memory, or the miniport has set a pool that cannot be used), CLOSING (the binding closes), or what
            the miniport answered.

        Raises:
            ContractViolation: the binding is closed (rule 98).

        NDIS: NdisCoCreateVc; CO-01.
        """
        driver, miniport = binding.driver, binding.adapter.miniport
        if not isinstance(driver, CoProtocolDriver) or not isinstance(miniport, CoMiniportDriver):
            return Status.NOT_SUPPORTED, None
        binding._require_open("a connection is made over it")
        if not binding._carry():
            return Status.CLOSING, None
        vc = cls(binding, miniport, driver, context)
        status = vc._ask("co_create_vc", vc)
        if status is SUCCESS:
            status = vc._open()
            if status is not SUCCESS:
                vc._close_pool()
                vc._ask("co_delete_vc", vc)
        if status is not SUCCESS:
            binding._put_down()
            return status, None
        vc._step(VcEvent.CREATE)
        driver.vcs = (*driver.vcs, vc)
        binding._calls["bind_adapter"].over = partial(_let_go, binding, (None, SUCCESS))
        binding._calls["unbind_adapter"].over = partial(_let_go, binding, ())
        return SUCCESS, vc

    @property
    def state(self) -> VcState:
        """Where it is."""
        return self._state

    @property
    def active(self) -> bool:
        """Whether frames flow."""
        return self._state in FLOWING

    def activate(self, parameters: Any) -> Status:
        """
        Let frames flow, or change the parameters of a VC on which they do; if that fails, the old ones stay.

        Returns:
            SUCCESS, PENDING (`co_activate_vc_complete` follows), NOT_ACCEPTED (it is changing state), CLOSING (the binding below
            closes), or what the miniport answered.

        Raises:
            ContractViolation: the binding below is closed (rule 98).

        NDIS: NdisCmActivateVc; CO-01, CO-02.
        """
        self._over._require_open(f"{self.name} is activated")
        if self._over.closing:
            return Status.CLOSING
        refused = self._step(VcEvent.ACTIVATE)
        if refused is not None:
            return refused
        self._wanted = parameters
        status = self._ask("co_activate_vc", self, parameters)
        if status is PENDING:
            return PENDING
        if not self._activated(status):
            self._over.adapter.failed(None, "co_activate_vc", VnicError(f"{self.name}: {status.name} is answered after activate_complete"))
            return PENDING
        self.settle()
        return status

    def activate_complete(self, status: Status) -> None:
        """
        End an activation that the miniport had answered with PENDING. PENDING is no end, and taken for FAILURE.

        Raises:
            VnicError: none is pending.

        NDIS: NdisMCoActivateVcComplete; CO-01.
        """
        status = Status.FAILURE if Status(status) is PENDING else Status(status)
        if not self._activated(status):
            raise VnicError(f"{self.name} is {self._state.name}: no activation is pending, complete each once")
        self._tell(self.driver.co_activate_vc_complete, status)
        self.settle()

    def send_packets(self, packets: Iterable[Packet]) -> None:
        """
        Lend packets downward, in order; each comes back through `co_send_complete`, exactly once, whatever became of it.

        On a VC that is not active each completes with VC_NOT_ACTIVATED.

        Raises:
            OwnershipError: a packet is not the driver's to send, or the VC is deleted.
            ContractViolation: the binding below is closed (rule 98).

        NDIS: NdisCoSendPackets; CO-02, CO-03.
        """
        self._over._require_open(f"packets are sent on {self.name}")
        self.binding.send_packets(packets)

    def send_complete(self, packet: Packet, status: Status) -> None:
        """
        Give a packet back to the client that sent it.

        Raises:
            OwnershipError: no send of this packet is pending (rule 50).

        NDIS: NdisMCoSendComplete; CO-03.
        """
        self.adapter.send_complete(packet, status)

    def indicate(self, packets: Sequence[Packet]) -> Status:
        """
        Show packets of `pool` to the client. As with `Adapter.indicate`, one with status SUCCESS comes back through `return_packet`.

        Returns:
            SUCCESS, or VC_NOT_ACTIVATED: the client saw none of them; ownership is the same.

        Raises:
            OwnershipError: a packet is not the miniport's to indicate (rule 17).

        NDIS: NdisMCoIndicateReceivePacket; CO-02, CO-04.
        """
        with self._lock:
            self._showing += 1
            active = self.active
        try:
            self.adapter.indicate(packets)
        finally:
            with self._lock:
                self._showing -= 1
            self.settle()
        return SUCCESS if active else Status.VC_NOT_ACTIVATED

    def return_packets(self, packets: Iterable[Packet]) -> None:
        """
        Give up one reference of each packet, as `Binding.return_packets` does.

        NDIS: NdisReturnPackets; RX-27 to RX-33.
        """
        self.binding.return_packets(packets)

    def request(self, request: Request) -> Status:
        """
        Ask something about the VC; with PENDING, the driver's `request_complete` follows.

        Raises:
            ContractViolation: the binding below is closed (rule 98).

        NDIS: NdisCoRequest; CO-06.
        """
        self._over._require_open(f"a request is made on {self.name}")
        return self.binding.request(request)

    def indicate_status(self, status: Status, buffer: bytes = b"") -> None:
        """
        Tell the client what has happened on this VC alone. After MEDIA_DISCONNECT its sends answer NO_CABLE, until MEDIA_CONNECT.

        NDIS: NdisMCoIndicateStatus; CO-06.
        """
        self.adapter.indicate_status(status, buffer)

    def deactivate(self) -> Status:
        """
        Stop the traffic: nothing is indicated any more, sends are refused, and those below are completed by the miniport.

        Returns:
            SUCCESS; PENDING while the miniport is busy with it, or packets are still held or pending (`co_deactivate_vc_complete`
            follows); VC_NOT_ACTIVATED if there is nothing to stop.

        NDIS: NdisCmDeactivateVc; CO-02.
        """
        refused = self._step(VcEvent.DEACTIVATE)
        if refused is not None:
            return refused
        if self._ask("co_deactivate_vc", self) is not PENDING:
            self._below_busy = False
        return SUCCESS if self._quiet() else PENDING

    def deactivate_complete(self, status: Status) -> None:
        """
        End a deactivation that the miniport had answered with PENDING; whatever the status, it has stopped.

        Raises:
            VnicError: none is pending.

        NDIS: NdisMCoDeactivateVcComplete; CO-02.
        """
        with self._lock:
            pending, self._below_busy = self._below_busy, False
        if not pending:
            raise VnicError(f"{self.name} is {self._state.name}: no deactivation is pending, complete each once")
        self.settle()

    def reclaim(self) -> int:
        """
        Take back, by force, every packet that the client of a VC still holds which is deactivating. It is reported (rule 60).

        Returns:
            How many packets were taken back.
        """
        if self._state is not VcState.DEACTIVATING:
            return 0
        self.adapter.close(self.binding)
        taken = self.adapter.reclaim(self.binding)
        self.settle()
        return taken

    def delete(self) -> Status:
        """
        End a VC that is not active; its packets are all home.

        Returns:
            SUCCESS; NOT_ACCEPTED while it is active or changing state; VC_NOT_AVAILABLE if it is deleted already.

        Raises:
            ContractViolation: packets of its pool are out (rule 39); it is deleted all the same.

        NDIS: NdisCoDeleteVc; CO-01.
        """
        refused = self._step(VcEvent.DELETE)
        if refused is not None:
            return refused
        try:
            self.driver.vcs = tuple(vc for vc in self.driver.vcs if vc is not self)
            self._ask("co_delete_vc", self)
            self.adapter.close(self.binding)
            self.adapter.halt()
            self._close_pool()
        finally:
            self._over._put_down()
        return SUCCESS

    def __repr__(self) -> str:
        return f"<VirtualConnection {self.name} {self._state.name}>"

    def _open(self) -> Status:
        """Give it an adapter of its own, and the client's only binding there; answers why it cannot have them."""
        try:
            self._make()
        except VnicError:
            # no binding is free for it
            return Status.VC_NOT_AVAILABLE
        except (OSError, MemoryError):
            return Status.RESOURCES
        except Exception as error:
            # the miniport has set a pool that is another adapter's, or none
            self._over.adapter.failed(None, "co_create_vc", error)
            return Status.RESOURCES
        return SUCCESS

    def _make(self) -> None:
        over = self._over.adapter
        if self.pool is None:
            self.pool = self._own_pool = PacketPool(self.miniport.vc_packets, slot_size_for(over.mtu), name=self.name)
        self.adapter = Adapter(
            self.pool,
            Below(self),
            name=self.name,
            address=over.address,
            mtu=over.mtu,
            network_addresses=over.network_addresses,
            verifier_level=over.verifier_level,
            report=over.report,
        )
        try:
            self.binding = self.adapter.open(Above(self), f"{self._over.name}.{self.name}")
        except VnicError:
            self.adapter.halt()
            raise

    def _close_pool(self) -> None:
        if self._own_pool is not None:
            self._own_pool.close()

    def _step(self, event: VcEvent) -> Status | None:
        """Take one edge of the table; answers the status of a refusal if there is no such edge, or something is under way."""
        with self._lock:
            after = VC_LEGAL.get((self._state, event))
            if after is None:
                return VC_REFUSED.get((self._state, event), Status.NOT_ACCEPTED)
            if event is VcEvent.DELETE and (self._showing or self.binding.sends_pending):
                return Status.NOT_ACCEPTED
            flowed, self._state = self.active, after
            self._below_busy = event is VcEvent.DEACTIVATE
            if flowed != self.active:
                self.binding.packet_filter = PacketFilter.PROMISCUOUS if self.active else PacketFilter.NONE
        return None

    def _activated(self, status: Status) -> bool:
        """End an activation; False if there was none."""
        if self._step(VcEvent.ACTIVATED if status == SUCCESS else VcEvent.REFUSED) is not None:
            return False
        if status == SUCCESS:
            self.parameters = self._wanted
        return True

    def _quiet(self) -> bool:
        """End a deactivation, if nothing is left of the traffic; False if there was none, or something is."""
        with self._lock:
            if self._state is not VcState.DEACTIVATING or self._below_busy or self._showing:
                return False
            if self.binding.sends_pending or self.binding.held:
                return False
            self._state = VC_LEGAL[self._state, VcEvent.DEACTIVATED]
        return True

    def settle(self) -> None:
        """Something has come to an end: it may have been the last thing that a deactivation waits for."""
        if self._state is VcState.DEACTIVATING and self._quiet() and not self._unasked:
            self._tell(self.driver.co_deactivate_vc_complete, SUCCESS)
        if self._abandoned:
            self._end()

    def abandon(self) -> None:
        """Its client has let go of the binding below: it is deactivated now, and deleted when it is quiet."""
        self._abandoned = True
        self._end()

    def _end(self) -> None:
        """Go on to the end, as far as that is possible now."""
        try:
            if self._state is VcState.ACTIVE:
                # nobody above waits for this one
                self._unasked = True
                self.deactivate()
            self.delete()
        except ContractViolation as error:
            self._over.adapter.failed(None, "co_delete_vc", error)

    def _ask(self, handler: str, *arguments: object) -> Status:
        """Call a handler of the miniport."""
        try:
            answer = getattr(self.miniport, handler)(*arguments)
            return SUCCESS if answer is None else Status(answer)
        except BaseException as error:
            self._over.adapter.failed(None, handler, error)
            return Status.FAILURE

    def _tell(self, handler: Callable[[VirtualConnection, Status], None], status: Status) -> None:
        """Call a handler of the client."""
        try:
            handler(self, status)
        except BaseException as error:
            self._over.adapter.failed(self._over, handler.__name__, error)


def _let_go(binding: Binding, accepting: tuple[Status | None, ...], answer: Any) -> None:
    """A driver has unbound, or declined to be bound: the connections that it has left over the binding end by themselves."""
    if answer in accepting:
        return
    driver: Any = binding.driver
    for vc in [vc for vc in driver.vcs if vc._over is binding]:
        vc.abandon()
