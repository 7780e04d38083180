"""
The life of an adapter and of its bindings: started, bound, told what happens, closed, halted. `Adapter` is this, and frames.

Next: `vnic/reset.py` and `vnic/pnp.py`, two things that can happen on the way, and `vnic/receive.py`, the frames.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vnic import driver as contract
from vnic.binding import OPEN, Binding
from vnic.context import PASSIVE, Context, here
from vnic.filters import PacketFilter
from vnic.ledger import Ledger, where
from vnic.offload import Offload, with_included
from vnic.packet import BINDING_NAMES, MAX_BINDINGS, Packet
from vnic.pnp import DeviceEvent, PnpEvent, PnpEvents, PowerState
from vnic.pool import PacketPool
from vnic.send import SendPath
from vnic.states import PacketState
from vnic.status import Status, VnicError
from vnic.verifier import rules
from vnic.verifier.leftovers import tell_of_leftovers

if TYPE_CHECKING:
    from typing import Any

    import cython

    from vnic.driver import MiniportDriver, ProtocolDriver
    from vnic.oids import NicValues
    from vnic.requests import RequestQueue
    from vnic.reset import Attributes, Resetter
    from vnic.status import ContractViolation
    from vnic.timers import Clock, TimerThread
    from vnic.verifier.rules import Rule
else:
    from vnic import _cython as cython

SUCCESS, PENDING = Status.SUCCESS, Status.PENDING
ALL_LOCAL = int(PacketFilter.ALL_LOCAL)
SEGMENTATION = int(Offload.SEGMENTATION)


class Lifecycle:
    """
    The part of an adapter that is not about frames; `Adapter` says what the arguments are.

    NDIS: section "Binding and lifecycle"; LC-05 to LC-36.
    """

    def __init__(
        self, pool: PacketPool, miniport: MiniportDriver, ledger: Ledger, sends: SendPath, nic: NicValues | None, clock: Clock | None
    ) -> None:
        self.pool = pool
        self._pools: list[PacketPool] = [pool]
        self.miniport = miniport
        self._ledger = ledger
        self._sends = sends
        self._nic = nic
        self._requests = self._serial = None
        self._opened: list[Binding] = []
        self._bindings: list[Binding] = []
        self._plain = None
        self._turns: tuple[list[Binding], list[Binding], list[Binding]] = ([], [], [])
        self._shown_to = 0
        self._offered = 0
        self._unchecked = False
        self._low_power = self._halt_called = self._batch_open = self._batched = False
        self._ready = contract.handler(miniport, contract.MiniportDriver, "initialize") is None
        self._tells = contract.handler(miniport, contract.MiniportDriver, "set_information") is not None
        self._clock = clock
        self._reset_part = None
        self._pnp = PnpEvents(self, ledger)

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The open bindings, in the order in which they were opened; those that open or close now are among them."""
        return tuple(self._opened)

    @property
    def offload(self) -> Offload:
        """What bindings may leave to the adapter. NDIS: OID_TCP_TASK_OFFLOAD."""
        return Offload(self._offered)

    @property
    def link_up(self) -> bool:
        """Whether the link is up, as `indicate_status` was last told."""
        return self._sends.link_up

    @property
    def halted(self) -> bool:
        """Whether the adapter has stopped."""
        return self._sends.halted

    @property
    def requests(self) -> RequestQueue:
        """The requests that drivers make by OID, and the miniport's end of them."""
        if self._requests is None:
            # most adapters are never asked
            from vnic.oids import VIRTUAL_NIC
            from vnic.requests import RequestQueue

            self._requests = RequestQueue(self, self._ledger, self._nic or VIRTUAL_NIC)
        return self._requests

    @property
    def _resetter(self) -> Resetter:
        if self._reset_part is None:
            # most adapters are never reset, and have no timers
            from vnic.reset import Resetter

            self._reset_part = Resetter(self, self._ledger, self._sends, self._clock)
            if self._halt_called:
                self._reset_part.timers.end()
        return self._reset_part

    @property
    def timers(self) -> TimerThread:
        """The adapter's own timers, for the miniport; they end when it halts."""
        return self._resetter.timers

    @property
    def power(self) -> PowerState:
        """How much power the NIC has; below D0 nothing is indicated. See `pnp_event`."""
        return self._pnp.power

    @property
    def pools(self) -> tuple[PacketPool, ...]:
        """The pools whose packets are indicated."""
        return tuple(self._pools)

    @property
    def pending_sends(self) -> int:
        """Sends that are not over."""
        return self._sends.pending

    @property
    def send_completed_ns(self) -> int:
        """When a pending send was last completed, on the monotonic clock; 0 if none was."""
        return self._sends.completed_ns

    def broke(self, rule: Rule, detail: str, packet: Packet | None = None, more: dict[str, Any] | None = None) -> ContractViolation:
        """
        Count and record that the miniport has broken a rule, where something other than the adapter has found it.

        Returns:
            The exception for it.
        """
        return self._ledger._violation(rule, None, packet, detail, more)

    def tell_of_late_request(self) -> None:
        """Report, once, a request that has been at the miniport for too long (rule 68c)."""
        if self._requests is not None:
            self._requests.scan(time.monotonic_ns())

    @property
    def pending_io(self) -> int:
        """Sends and requests that are not over. NDIS: NdisQueryPendingIOCount, over all bindings; LC-36."""
        binding: Binding
        return sum([binding.pending_io for binding in self._opened])

    # start

    def initialize(self) -> Status:
        """
        Start the miniport, if it has `initialize` or `check_for_hang`; any other needs no start.

        Then it is asked the four things that NDIS asks first, and by its timer whether it hangs. It gives the station address.

        Returns:
            What `initialize` answered; unless SUCCESS, nothing can be opened, and it may be tried again.

        Raises:
            ContractViolation: it is started already (rule 65).
            Exception: whatever `initialize` raised.

        NDIS: MiniportInitialize; LC-05 to LC-09.
        """
        initialize = contract.handler(self.miniport, contract.MiniportDriver, "initialize")
        if self._sends.halted or (initialize is not None and self._ready):
            raise self._ledger._violation(rules.ILLEGAL_TRANSITION, None, None, "initialize: it was started before")
        status = SUCCESS if initialize is None else Status(self._initialize(initialize))
        if status == SUCCESS:
            self._ready = True
            address = self.requests.ask_first()
            if len(address) == 6:
                self.address = address
                self._sends.station = int.from_bytes(address, "big")
            self._resetter.start()
        return status

    def _initialize(self, initialize: Any) -> Any:
        context: Context = here()
        before = context.enter(None, "initialize", context.irql)
        try:
            return self._call_below(initialize)
        finally:
            context.leave(before)

    def set_attributes(self, check_for_hang_seconds: int = 0, flags: Attributes | int = 0) -> None:
        """
        Say how the miniport wants to be treated; to be called in its `initialize`.

        Args:
            check_for_hang_seconds: between two calls of `check_for_hang`, made a multiple of 2; 0 is 2.
            flags: what to leave alone.

        NDIS: NdisMSetAttributesEx; LC-10 to LC-12.
        """
        self._resetter.set_attributes(check_for_hang_seconds, flags)

    # bindings

    def open(self, driver: ProtocolDriver, name: str) -> Binding:
        """
        Bind a driver: `driver.binding` is set, `bind_adapter` is called, and then its packet filter is set, which starts indications.

        To be called on the data thread, or while there is none.

        Returns:
            The binding; `opening` while `bind_adapter` is PENDING: then `binding.complete_bind` does the rest.

        Raises:
            VnicError: the driver declined, no binding is free, or the adapter has not started, or has halted.
            Exception: whatever `bind_adapter` raised; nothing is left of the binding then.

        NDIS: ProtocolBindAdapter, NdisOpenAdapter; LC-24 to LC-26.
        """
        if self._sends.halted or not self._ready:
            raise VnicError(f"the adapter has {'halted' if self._sends.halted else 'not started: call initialize first'}")
        if None not in BINDING_NAMES:
            raise VnicError(f"{MAX_BINDINGS} bindings are open, no more fit")
        slot = BINDING_NAMES.index(None)
        name = str(name)
        BINDING_NAMES[slot] = name
        binding: Binding | None = None
        try:
            binding = Binding(self, driver, name, slot, self._ledger, self._sends)
            OPEN[slot] = driver.binding = binding
            self._opened.append(binding)
            status = self._run(binding, "bind_adapter", driver.bind_adapter)
            if status == PENDING:
                return binding
            if status is not None and status != SUCCESS:
                raise VnicError(f"driver {name} declined: {Status(status).name}")
            self._end_bind(binding, SUCCESS)
        except BaseException:
            if binding is None:
                BINDING_NAMES[slot] = None
            else:
                self._decline(binding)
            raise
        return binding

    def _run(self, binding: Binding, handler: str, call: Any) -> Any:
        """Call a handler that may pend, at PASSIVE."""
        context: Context = here()
        before = context.enter(binding, handler, PASSIVE)
        try:
            return binding._calls[handler].run(call)
        finally:
            if context.leave(before):
                binding._left_unclean(handler, context, before)

    def _decline(self, binding: Binding) -> None:
        """Nothing is left of a binding whose driver declined; what it has asked for by then is aborted."""
        binding.closing = True
        self._abort(binding)
        if binding.sends_pending or binding.transfers_pending or binding._inside:
            # what is below comes back in its own time; the driver is told of that, and not of its end
            with cython.critical_section(binding):
                binding.dead = binding._forced = True
                binding.opening = False
            self._settle(binding)
        else:
            self._release(binding, True)

    def _abort(self, binding: Binding) -> None:
        """Give back what waits of a closing binding."""
        self._sends.abort(binding)
        if self._requests is not None:
            self._requests.close(binding)

    def _end_bind(self, binding: Binding, status: Status) -> None:
        """The driver is bound, or has declined after all. One that is to be closed meanwhile is unbound now."""
        if status != SUCCESS:
            self._decline(binding)
            return
        try:
            if not binding._filter_set:
                binding._filter = int(binding.driver.packet_filter)
            if not binding._offload_set:
                # what the adapter has not, the driver has not either
                binding._offload = with_included(binding.driver.offload) & self._offered
        except BaseException:
            self._decline(binding)
            raise
        binding.opening = False
        if binding.closing:
            binding._filter = 0
            self._unbind(binding)
        else:
            self._reorder()

    def close(self, binding: Binding) -> Status:
        """
        Unbind a driver: nothing is indicated to it any more, its waiting sends are aborted, `unbind_adapter` is called.

        To be called on the data thread, or while there is none.

        Returns:
            SUCCESS; PENDING while `unbind_adapter` is PENDING, or the binding holds packets, or waits for some below. When that is over the
            binding closes by itself, and its `close_complete` is called. Ask again as often as you like, or `reclaim` the packets.

        Raises:
            ValueError: it is no binding of this adapter.

        NDIS: ProtocolUnbindAdapter, NdisCloseAdapter; LC-27 to LC-31, AMB-17.
        """
        self._require_own(binding)
        if binding.closed:
            return SUCCESS
        if not binding.closing:
            binding.closing = True
            binding._filter = 0
            binding._multicast = frozenset()
            self._abort(binding)
            self._reorder()
            if not binding.opening:
                self._unbind(binding)
        return SUCCESS if binding.closed and not binding._pended else PENDING

    def _require_own(self, binding: Binding) -> object:
        if binding is None or binding.adapter is not self:
            raise ValueError(f"{binding!r} is no binding of {self.name}")
        return None

    def _unbind(self, binding: Binding) -> None:
        status = None
        try:
            status = self._run(binding, "unbind_adapter", binding.driver.unbind_adapter)
        except BaseException as error:
            self._ledger._failed(binding, "unbind_adapter", error)
        if status is None or status != PENDING:
            self._end_unbind(binding, False)

    def _end_unbind(self, binding: Binding, pended: cython.bint) -> None:
        """The driver has let go of its handle. What it still owes may come back; with the last of it the binding is gone."""
        over: cython.bint
        if binding.sends_pending:
            # its requests are over by now: each was completed, aborted
            detail = f"{binding.sends_pending} sends of it are pending when it closes"
            self._ledger._violation(rules.CLOSE_PENDING, binding, None, detail, {"where": where(binding.driver, "unbind_adapter")})
        with cython.critical_section(binding):
            over = not binding._owes()
            binding.dead = True
            binding._pended = pended or not over
        if over:
            self._settle(binding)

    def _settle(self, binding: Binding) -> None:
        """Forget a dead binding, if nothing of it is out any more."""
        if self._release(binding, False) and binding._pended:
            self._ask(binding, "close_complete")

    def reclaim(self, binding: Binding) -> int:
        """
        Take back, by force, every packet that a closing binding still holds. It is reported (rule 60); the other holders keep theirs.

        A binding that is open is left alone: `close` it first.

        Returns:
            How many packets were taken back.

        Raises:
            ValueError: it is no binding of this adapter.
        """
        taken = 0
        packet: Packet
        self._require_own(binding)
        if binding.closed or not binding.closing:
            return 0
        for packet in self.packets():
            owed = binding.owed(packet)
            if not owed:
                continue
            if not taken:
                detail = f"it closes with {binding.held} returns owed, this packet's among them"
                self._ledger._violation(rules.LEAKED_AT_UNBIND, binding, packet, detail)
            taken += 1
            # whoever still refers to it must not read the next frame
            packet.pool.withhold(packet)
            # replies that are under way have nothing left to return, and their views are the library's own
            packet._told += packet._owed[binding.slot].replying
            packet._owed[binding.slot].replying = 0
            for _ in range(owed):
                binding._take_back(packet, None)
        if binding.sends_pending or binding.transfers_pending or binding._inside:
            # what is below comes back in its own time, and then it ends by itself
            with cython.critical_section(binding):
                binding.dead = binding._pended = binding._forced = True
            self._settle(binding)
            self._end_halt()
        elif self._release(binding, True):
            self._ask(binding, "close_complete")
        return taken

    def _release(self, binding: Binding, forced: cython.bint) -> cython.bint:
        """Forget a binding, once; answers whether this was it. Unless forced, only if nothing of it is out."""
        packet: Packet
        pool: PacketPool
        with cython.critical_section(binding):
            if binding.closed or (binding._owes() and not forced):
                return False
            binding.closing = binding.dead = binding.closed = True
        tell_of_leftovers(binding)
        for packet in self.packets():
            packet._owed[binding.slot].promised = packet._owed[binding.slot].returned = 0
        for pool in self._pools:
            pool._forget_reserved(binding.slot)
        if binding in self._opened:
            self._opened.remove(binding)
        self._reorder()
        BINDING_NAMES[binding.slot] = OPEN[binding.slot] = None
        self._pnp.forget(binding)
        self._end_halt()
        return True

    def packets(self) -> list[Packet]:
        """Every packet that a binding may hold, to look at; nothing changes hands."""
        return [packet for pool in self._pools for packet in pool.packets()]

    def _held(self) -> cython.int:
        """How many packets are indicated."""
        pool: PacketPool
        found = [0] * len(PacketState)
        for pool in self._pools:
            pool._census(found)
        return found[PacketState.INDICATED]

    def _bound(self, plain: cython.bint) -> list:
        """Who is shown frames; the list is never changed, only exchanged for another."""
        with cython.critical_section(self):
            return self._plain if plain else self._bindings

    def _reorder(self) -> None:
        """Those who watch everything come first, so that they see a frame before its answer."""
        binding: Binding
        watchers, others = [], []
        for binding in self._opened:
            if not (binding.closing or binding.opening or self._low_power or self._sends.halted):
                (watchers if binding._filter & ALL_LOCAL else others).append(binding)
        shown = watchers + others
        # each frame is shown to a driver in the form that it has asked for
        plain = [binding for binding in shown if not binding._offload & SEGMENTATION] if self._offered else None
        early = [binding for binding in watchers if binding._receive_packets is not None]
        late = [binding for binding in others if binding._receive_packets is not None]
        with cython.critical_section(self, self._sends):
            self._bindings = self._sends.bindings = shown
            self._plain = plain
            self._turns = (shown, early, late)
        self._shown_to = len(shown)
        self._batched = bool(early or late)
        self._unchecked = self._offered and bool([binding for binding in shown if not binding._offload])
        self._sync()

    def _sync(self) -> None:
        """Tell the miniport what its bindings want to see, if that has changed. RX-56."""
        if self._tells and not self._sends.halted:
            self.requests.addressing.sync()

    def _may_indicate(self) -> None:
        """
        Check that the miniport may indicate now: refused once it halts (rule 21), reported before a filter or in low power (rule 93).

        NDIS: RX-07.
        """
        binding: Binding
        if self._sends.halted:
            raise self._ledger._violation(rules.INDICATED_AFTER_HALT, None, None, "packets are indicated")
        for binding in self._bound(False):
            if binding._filter:
                return
        what = "in low power" if self._low_power else "before any binding has a packet filter"
        self._ledger._violation(rules.INDICATED_TOO_EARLY, None, None, f"packets are indicated {what}")

    # what happens

    def indicate_status(self, status: Status, buffer: bytes = b"") -> None:
        """
        Tell every driver what has happened. The link is up after MEDIA_CONNECT, down after MEDIA_DISCONNECT: then sends answer NO_CABLE.

        Args:
            status: what has happened.
            buffer: details, if the status has any; each driver is given a copy.

        Raises:
            ContractViolation: the miniport's `halt` was called (rule 21).

        NDIS: NdisMIndicateStatus; LC-22, LC-32, LC-33.
        """
        if self._halt_called:
            raise self._ledger._violation(rules.INDICATED_AFTER_HALT, None, None, f"status {Status(status).name} is indicated")
        if status in (Status.MEDIA_CONNECT, Status.MEDIA_DISCONNECT):
            self._sends.link_up = status == Status.MEDIA_CONNECT
            if not self._sends.link_up:
                self._sends.flush(-1)
        self._tell("status", status, bytes(buffer))

    def indicate_status_complete(self) -> None:
        """
        Tell every driver that the statuses up to now belong together, and now is the time to act on them.

        Raises:
            ContractViolation: the miniport's `halt` was called (rule 21).

        NDIS: NdisMIndicateStatusComplete; LC-32.
        """
        if self._halt_called:
            raise self._ledger._violation(rules.INDICATED_AFTER_HALT, None, None, "the end of a status is indicated")
        self._tell("status_complete")

    def reset(self) -> Status:
        """
        Reset the NIC: its `reset` is called. Sends and requests that wait are aborted; until it is over, new ones answer RESET_IN_PROGRESS.

        Every driver is told RESET_START and RESET_END, with `status_complete` after each.

        Returns:
            PENDING: the miniport calls `reset_complete` later. RESET_IN_PROGRESS: another one is not over. NOT_RESETTABLE: the miniport
            has no `reset`. CLOSING: it has halted. Anything else is what `reset` answered.

        NDIS: MiniportReset; LC-13 to LC-17.
        """
        return self._resetter.reset(None)

    def reset_complete(self, status: Status, addressing_reset: bool) -> None:
        """
        End the reset that the miniport answered with PENDING.

        Args:
            status: how it went.
            addressing_reset: whether the NIC has lost its filter, multicast list and lookahead; then it is told them again.

        Raises:
            ContractViolation: no reset is pending (rule 65).

        NDIS: NdisMResetComplete; LC-14, LC-16.
        """
        self._resetter.reset_complete(status, addressing_reset)

    def check_for_hang(self) -> bool:
        """
        Ask the miniport whether the NIC hangs, and look whether a request or a serialized send has been below for two intervals.

        If so it is reset. The adapter's timer does this by itself, if the miniport has `check_for_hang`.

        Returns:
            Whether it hangs.

        NDIS: MiniportCheckForHang; LC-11, LC-17.
        """
        return self._resetter.check_for_hang()

    def pnp_event(self, event: PnpEvent | DeviceEvent, power: PowerState = PowerState.D0) -> Status:
        """
        Tell every driver of a change of the machine, or the miniport (`pnp_event_notify`) if it is a `DeviceEvent`.

        A driver that answers SET_POWER with NOT_SUPPORTED is unbound. Below D0 nothing is indicated.

        Args:
            event: what happens, or is about to.
            power: for SET_POWER, how much there will be: the drivers are told first if it is less, last if it is D0 again.

        Returns:
            SUCCESS; PENDING until every driver that answered so has called `binding.complete_pnp_event`; or what a driver answered to
            QUERY_REMOVE_DEVICE, which it may refuse.

        Raises:
            VnicError: the event before it is not over.

        NDIS: ProtocolPnPEvent, MiniportPnPEventNotify; LC-35, LC-36.
        """
        if self._halt_called and isinstance(event, DeviceEvent):
            # there is nobody left to be told
            return SUCCESS
        return self._pnp.tell(event, power)

    def _set_low_power(self, low: cython.bint) -> None:
        self._low_power = low
        self._reorder()

    def _tell(self, handler: str, *arguments: Any) -> None:
        """Call an optional handler of every driver that is bound."""
        binding: Binding
        for binding in self.bindings:
            if not (binding.closing or binding.opening):
                self._ask(binding, handler, *arguments)

    def _ask(self, binding: Binding | None, handler: str, *arguments: Any) -> Any:
        """Call an optional handler of a driver, or of the miniport; what it raises is counted and reported."""
        owner, base = (self.miniport, contract.MiniportDriver) if binding is None else (binding.driver, contract.ProtocolDriver)
        call = contract.handler(owner, base, handler)
        if call is None:
            return None
        context: Context = here()
        before = context.enter(binding, handler, context.irql)
        try:
            return self._call_below(call, *arguments) if binding is None else call(*arguments)
        except BaseException as error:
            self._ledger._failed(binding, handler, error)
            return None
        finally:
            if context.leave(before) and binding is not None:
                binding._left_unclean(handler, context, before)

    def _call_below(self, call: Any, *arguments: Any) -> Any:
        """Call a handler of the miniport, or for it; of a serialized one, when no other runs."""
        if self._serial is None:
            return call(*arguments)
        with self._serial.gate.held():
            return call(*arguments)

    # end

    def halt(self) -> None:
        """
        Stop: nobody asks whether it hangs, waiting sends and requests are aborted, new ones answer CLOSING, nothing is indicated any more.

        Bindings are closed by the caller, best before this. When the last one is gone, and so every packet is home, the miniport's
        `halt` is called, once, and then the adapter's timers end. Packets that it leaves out, or sends that it does not complete, are
        reported (rule 61).

        NDIS: MiniportHalt; LC-18 to LC-22.
        """
        if self._sends.halted:
            return
        self._sends.halted = True
        if self._reset_part is not None:
            self._resetter.stop()
        self._reorder()
        self._sends.abort(None)
        if self._requests is not None:
            self._requests.halt()
        self._end_halt()

    def _end_halt(self) -> None:
        """Halt the miniport, if that was asked for and no binding is left but such as wait for sends that it must complete now."""
        binding: Binding
        if not self._sends.halted:
            return
        for binding in self._opened:
            if not binding._forced:
                return
        self._halt_miniport()

    def _halt_miniport(self) -> None:
        called: cython.bint
        pool: PacketPool
        if self._ledger._under_way:
            # a driver has ended everything from inside an indication: when that is over, on all threads
            return
        with cython.critical_section(self):
            called = self._halt_called
            self._halt_called = True
        if called:
            return
        for pool in self._pools:
            # nobody reads into it any more
            pool._claimed = False
        if self._ready:
            self._ask(None, "halt")
        if self._reset_part is not None:
            self.timers.end()
        self._end_lookaheads("it halts")
        held = self._held()
        if held or self._sends.pending:
            detail = f"{held} packets are held and {self._sends.pending} are being sent after halt"
            self._ledger._violation(rules.LEAKED_AT_HALT, None, None, detail, self._ledger.place("halt"))

    def _end_lookaheads(self, what: str) -> None:
        """From verifier level 2 on: rule 23, if lookaheads were shown and their batch was never ended. RX-44."""
        if self._batch_open and self._ledger._level >= 2:
            self._ledger._violation(rules.COMPLETE_MISSING, None, None, f"{what}, and has not ended the batch of lookaheads before")
        self._batch_open = False

    def wait_for_packets(self, timeout: float) -> bool:
        """
        Wait until no packet of the adapter is indicated; for the miniport, before it gives up what they need.

        Args:
            timeout: seconds at most.

        Returns:
            Whether they are all back.

        NDIS: LC-20.
        """
        end = time.monotonic() + timeout
        while self._held():
            if time.monotonic() >= end:
                return False
            time.sleep(0.001)
        return True

    def shutdown(self) -> None:
        """
        The machine goes down: call the miniport's `shutdown`, which leaves the NIC as it was found, and nothing else.

        One that has halted has done that.

        NDIS: MiniportShutdown.
        """
        if not self._halt_called:
            self._ask(None, "shutdown")
