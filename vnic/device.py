"""
A device of a registered miniport driver: what MiniportInitialize says of it, and what it must give back in MiniportHalt.

    initialize   the driver sets attributes, which makes the adapter, and then claims timers, an interrupt, a shutdown handler
    halt         the adapter halts; what the driver has left behind is reported

Next: `vnic/interrupt.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vnic.characteristics import MiniportCharacteristics, check, check_layered
from vnic.core import Adapter, PacketPool, slot_size_for
from vnic.interrupt import Interrupt, Phase
from vnic.ledger import where
from vnic.oids import Oid
from vnic.registered import RegisteredMiniport
from vnic.reset import Attributes
from vnic.status import ContractViolation, Status
from vnic.timers import Clock, Timer, TimerThread
from vnic.verifier import rules
from vnic.verifier.actions import action_of
from vnic.verifier.levels import LEVELS
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from vnic.binder import Protocol
    from vnic.layered import Instance

MEDIA = (0,)
"""The media that a device may be: 802.3. NDIS: NdisMedium802_3."""
OWN_PACKETS = 64
LAYERED = (
    Attributes.INTERMEDIATE_DRIVER
    | Attributes.DESERIALIZE
    | Attributes.NO_HALT_ON_SUSPEND
    | Attributes.IGNORE_PACKET_TIMEOUT
    | Attributes.IGNORE_REQUEST_TIMEOUT
)
"""What an intermediate driver must say of each of its devices. NDIS: IM-01."""


class Wrapper:
    """
    A miniport driver, registered or about to be. NDIS: a wrapper handle.

    Attributes:
        system: what the system gave the driver when it was loaded. NDIS: DriverObject.
        characteristics: a copy of its table, once it is registered.
        registered: it is.
        layered: as the upper edge of an intermediate driver.
        protocol: its lower edge, once the two are associated.
        unload: its handler for the end.
        dead: the wrapper is terminated.
    """

    def __init__(self, system: Any) -> None:
        self.system = system
        self.characteristics = MiniportCharacteristics()
        self.registered = self.layered = self.dead = False
        self.protocol: Protocol | None = None
        self.unload: Callable[[Any], object] | None = None

    def register(self, characteristics: MiniportCharacteristics, length: int, *, layered: bool = False) -> Status:
        """Take the table of handlers, once. NDIS: NdisMRegisterMiniport, NdisIMRegisterLayeredMiniport; LC-02, LC-04."""
        if self.dead:
            raise ContractViolation(rules.DEAD_DRIVER, str(self.system), "a miniport is registered with a terminated wrapper")
        if self.registered:
            return Status.FAILURE
        status = check_layered(characteristics, length) if layered else check(characteristics, length)
        if status is Status.SUCCESS:
            self.registered, self.layered = True, layered
            self.characteristics = replace(characteristics)
        return status

    def terminate(self) -> None:
        """No device of the driver is initialised any more. NDIS: NdisTerminateWrapper."""
        self.dead = True


class Device:
    """
    One device, from MiniportInitialize to MiniportHalt.

    `adapter` is what the driver is given as its handle; nothing can be done with it before its attributes are set.

    Args:
        driver: the registered miniport driver.
        name: the adapter's name.
        configuration: what the driver reads its settings from. NDIS: WrapperConfigurationContext.
        mtu: largest payload of a frame.
        report: as for an adapter.
        clock: what the device's timers go by.
        instance: what an intermediate driver has asked for; None: the device is a NIC.

    Attributes:
        configuration: as given.
        table: the driver's table of handlers.
        context: what the driver calls its device. NDIS: MiniportAdapterContext.
        timers: where the driver's timers run.
        interrupt: the interrupt that it has registered.
        shutdown: the handler for the end of the system, and its context.
        attributed: its attributes are set.
    """

    def __init__(
        self,
        driver: Wrapper,
        name: str,
        configuration: Mapping[str, Any],
        mtu: int,
        report: Callable[[str, dict[str, Any]], None],
        clock: Clock | None,
        instance: Instance | None = None,
    ) -> None:
        self.driver = driver
        self.name = name
        self.table = driver.characteristics
        self.configuration = configuration
        self.mtu = mtu
        self.instance = instance
        self.adapter = Adapter.__new__(Adapter)
        self.context: Any = None
        self.timers = TimerThread(clock)
        self.interrupt: Interrupt | None = None
        self.shutdown: tuple[Callable[[Any], object], Any] | None = None
        self.attributed = False
        self._report = report
        self._clock = clock

    def initialize(self) -> Status:
        """
        Let the driver initialise the device, then ask it what every miniport must answer.

        Returns:
            SUCCESS; or why there is no adapter. What the driver has left behind then is taken away and reported (rule 64).

        NDIS: MiniportInitialize; LC-05 to LC-09.
        """
        status = self._initialize()
        if status is Status.SUCCESS and not self._start():
            self.halt()
            return Status.FAILURE
        if status is not Status.SUCCESS and (left := self._left_behind()):
            self._tell(rules.INIT_NOT_UNDONE, f"it answers {status.name} and leaves {left}")
        return status

    def set_attributes(self, context: Any, hang_seconds: int, flags: int) -> None:
        """
        Say what the device is, once, before anything is claimed for it. Without DESERIALIZE one handler of it runs at a time.

        Raises:
            ContractViolation: it was said before, or an intermediate driver does not say what such a one must (rule 65).

        NDIS: NdisMSetAttributesEx; LC-06, LC-10 to LC-12, IM-01.
        """
        if self.attributed:
            raise ContractViolation(rules.ILLEGAL_TRANSITION, self.name, "its attributes are set twice")
        if self.driver.layered and (missing := LAYERED & ~flags):
            names = ", ".join(str(flag.name) for flag in Attributes if flag & missing)
            raise ContractViolation(rules.ILLEGAL_TRANSITION, self.name, f"an intermediate driver's device lacks the attributes {names}")
        self.attributed = True
        self.context = context
        Adapter.__init__(
            self.adapter,
            PacketPool(OWN_PACKETS, slot_size_for(self.mtu), name=f"{self.name} own"),
            RegisteredMiniport(self),
            name=self.name,
            mtu=self.mtu,
            serialized=not flags & Attributes.DESERIALIZE,
            joins_pools=True,
            report=self._report,
            clock=self._clock,
        )
        self.adapter.set_attributes(hang_seconds, Attributes(flags))

    def timer(self, function: Callable[[Any, Any, Any, Any], object], context: Any) -> Timer:
        """
        Make a timer whose function is called as in C, as a handler of the device. It must be cancelled when halt ends.

        NDIS: NdisMInitializeTimer; SYN-14, SYN-16.
        """
        self._require_attributes("a timer")

        def run(given: Any) -> None:
            self.adapter._call_below(function, None, given, None, None)

        return Timer(run, context, self.timers)

    def register_interrupt(self, *, request_isr: bool, shared: bool) -> tuple[Status, Interrupt | None]:
        """
        Claim the device's one interrupt. It may fire at once; its deferred part waits until initialize has ended.

        Returns:
            SUCCESS and the interrupt. RESOURCE_CONFLICT: it is claimed already. FAILURE: the driver lacks a handler for it.

        NDIS: NdisMRegisterInterrupt.
        """
        self._require_attributes("an interrupt")
        table: Any = self.driver.characteristics
        if table.ISRHandler is None or table.HandleInterruptHandler is None:
            return Status.FAILURE, None
        if self.interrupt is not None and self.interrupt.phase is not Phase.DEREGISTERED:
            return Status.RESOURCE_CONFLICT, None
        self.interrupt = Interrupt(RegisteredMiniport(self), request_isr=request_isr, shared=shared)
        return Status.SUCCESS, self.interrupt

    def halt(self) -> None:
        """
        Let the driver halt the device, and report what it has left behind (rule 63). Its bindings are closed before.

        NDIS: MiniportHalt; LC-18 to LC-21, SYN-16.
        """
        if self.interrupt is not None and self.interrupt.phase is Phase.RUNNING:
            self.interrupt.phase = Phase.HALTING
        self.adapter.halt()
        if left := self._left_behind():
            ledger = self.adapter.requests.ledger
            ledger.violation(rules.HALT_LEFTOVER, None, f"{self.name} has halted and leaves {left}", None, ledger.place("halt"))

    def _initialize(self) -> Status:
        table: Any = self.driver.characteristics
        try:
            answer, _, medium = table.InitializeHandler(MEDIA, len(MEDIA), self.adapter, self.configuration)
            status = Status(answer)
        except BaseException as error:
            self._report("driver_error", {"binding": None, "handler": "InitializeHandler", "error": error})
            return Status.FAILURE
        if status is Status.SUCCESS and medium not in range(len(MEDIA)):
            return Status.UNSUPPORTED_MEDIA
        if status is Status.SUCCESS and not self.attributed:
            self._tell(rules.ILLEGAL_TRANSITION, "it is initialised, and its attributes were not set")
            return Status.FAILURE
        return status

    def _start(self) -> bool:
        """Ask the driver what NDIS asks first; without an address it is no adapter."""
        table: Any = self.driver.characteristics
        self.adapter.initialize()
        try:
            status, written, _ = table.QueryInformationHandler(self.context, Oid.IEEE_802_3_CURRENT_ADDRESS, memoryview(bytearray(6)), 6)
        except BaseException as error:
            self._report("driver_error", {"binding": None, "handler": "QueryInformationHandler", "error": error})
            return False
        if self.interrupt is not None and self.interrupt.phase is Phase.INITIALIZING:
            self.interrupt.phase = Phase.RUNNING
        return (status, written) == (Status.SUCCESS, 6)

    def _require_attributes(self, claimed: str) -> None:
        if not self.attributed:
            raise ContractViolation(rules.ILLEGAL_TRANSITION, self.name, f"{claimed} is claimed before its attributes are set")

    def _left_behind(self) -> str:
        """Take away what the driver has not given back; answers what it was."""
        left = [f"{len(timers)} timers set"] if (timers := self.timers.end()) else []
        if self.interrupt is not None and self.interrupt.phase is not Phase.DEREGISTERED:
            left.append("its interrupt registered")
            self.interrupt.deregister()
        if self.shutdown is not None:
            left.append("its shutdown handler registered")
            self.shutdown = None
        return ", ".join(left)

    def _tell(self, rule: rules.Rule, detail: str) -> None:
        """Report a broken rule of a device that is no adapter."""
        error = ContractViolation(rule, self.name, detail)
        error.reported = True
        if not LEVELS.process:
            return
        record = RECORDS.write(error, where=lambda: where(self, "initialize"), adapter=self.name)
        self._report("violation", {"binding": None, "error": error, "packet": None, "record": record, "action": action_of(rule)})
