"""
A device of a registered miniport driver: what MiniportInitialize says of it, and what it must give back in MiniportHalt.

    initialize   the driver sets attributes, then claims timers, an interrupt, a shutdown handler; its answer and four queries make
                 the adapter
    halt         the adapter halts; what the driver has left behind is reported

Next: `vnic/interrupt.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import IntFlag
from typing import Any

from vnic.characteristics import MiniportCharacteristics, check
from vnic.core import Adapter, PacketPool, slot_size_for
from vnic.interrupt import Interrupt, Phase
from vnic.ledger import report_to_logging
from vnic.oids import VIRTUAL_NIC, NicValues, Oid
from vnic.registered import RegisteredMiniport
from vnic.status import ContractViolation, Status, VnicError
from vnic.timers import Clock, Timer, TimerThread
from vnic.verifier import rules

MEDIA = (0,)
"""The media that a device may be: 802.3. NDIS: NdisMedium802_3."""
OWN_PACKETS = 64
HANG_SECONDS = 2
ASKED = (Oid.GEN_MAXIMUM_LOOKAHEAD, Oid.GEN_MAC_OPTIONS, Oid.IEEE_802_3_CURRENT_ADDRESS, Oid.IEEE_802_3_MAXIMUM_LIST_SIZE)
"""What every miniport must answer before anything is sent to it. NDIS: LC-07."""


class Attributes(IntFlag):
    """What a miniport says of its device. NDIS: NDIS_ATTRIBUTE_*; LC-10."""

    IGNORE_PACKET_TIMEOUT = 0x001
    IGNORE_REQUEST_TIMEOUT = 0x002
    BUS_MASTER = 0x008
    INTERMEDIATE_DRIVER = 0x010
    DESERIALIZE = 0x020
    NO_HALT_ON_SUSPEND = 0x040
    SURPRISE_REMOVE_OK = 0x080
    NOT_CO_NDIS = 0x100
    USES_SAFE_BUFFER_APIS = 0x200
    MINIPORT_PADS_SHORT_PACKETS = 0x800


class Wrapper:
    """
    A miniport driver, registered or about to be. NDIS: a wrapper handle.

    Attributes:
        system: what the system gave the driver when it was loaded. NDIS: DriverObject.
        characteristics: a copy of its table, once it is registered.
        registered: it is.
        unload: its handler for the end.
        dead: the wrapper is terminated.
    """

    def __init__(self, system: Any) -> None:
        self.system = system
        self.characteristics = MiniportCharacteristics()
        self.registered = self.dead = False
        self.unload: Callable[[Any], object] | None = None

    def register(self, characteristics: MiniportCharacteristics, length: int) -> Status:
        """Take the table of handlers, once. NDIS: NdisMRegisterMiniport; LC-02."""
        if self.dead:
            raise ContractViolation(rules.DEAD_DRIVER, str(self.system), "a miniport is registered with a terminated wrapper")
        if self.registered:
            return Status.FAILURE
        status = check(characteristics, length)
        if status is Status.SUCCESS:
            self.registered = True
            self.characteristics = replace(characteristics)
        return status

    def terminate(self) -> None:
        """No device of the driver is initialised any more. NDIS: NdisTerminateWrapper."""
        self.dead = True


class Device:
    """
    One device, from MiniportInitialize to MiniportHalt.

    `adapter` is what the driver is given as its handle at once; it can be used as an adapter only when initialize has succeeded.

    Args:
        driver: the registered miniport driver.
        name: the adapter's name.
        configuration: what the driver reads its settings from. NDIS: WrapperConfigurationContext.
        report: as for an adapter.
        clock: what the device's timers go by.

    Attributes:
        context: what the driver calls its device. NDIS: MiniportAdapterContext.
        attributes: None until the driver has set them.
        hang_seconds: how often the driver is asked whether its device hangs, an even number.
        timers: where the driver's timers run.
        interrupt: the interrupt that it has registered.
        shutdown: the handler for the end of the system, and its context.
        started: initialize has succeeded.
    """

    def __init__(
        self,
        driver: Wrapper,
        name: str,
        configuration: Mapping[str, Any],
        report: Callable[[str, dict[str, Any]], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.driver = driver
        self.name = name
        self.configuration = configuration
        self.adapter = Adapter.__new__(Adapter)
        self.context: Any = None
        self.attributes: Attributes | None = None
        self.hang_seconds = HANG_SECONDS
        self.timers = TimerThread(clock)
        self.watch = TimerThread(clock)
        self.interrupt: Interrupt | None = None
        self.shutdown: tuple[Callable[[Any], object], Any] | None = None
        self.started = False
        self._report = report or report_to_logging
        self._early: list[tuple[Status, bytes]] = []

    def initialize(self) -> Status:
        """
        Let the driver initialise the device, and make the adapter of what it answers.

        Returns:
            SUCCESS; or why there is no adapter. What the driver has left behind then is taken away and reported (rule 64).

        NDIS: MiniportInitialize; LC-05 to LC-09.
        """
        table: Any = self.driver.characteristics
        try:
            answer, _, medium = table.InitializeHandler(MEDIA, len(MEDIA), self.adapter, self.configuration)
            status = Status(answer)
            if status is Status.SUCCESS and medium not in range(len(MEDIA)):
                status = Status.UNSUPPORTED_MEDIA
            if status is Status.SUCCESS:
                status = self._start()
                if status is not Status.SUCCESS:
                    table.HaltHandler(self.context)
        except Exception as error:
            self._report("driver_error", {"binding": None, "handler": "InitializeHandler", "error": error})
            status = Status.FAILURE
        if status is not Status.SUCCESS and (left := self._left_behind()):
            self._tell(ContractViolation(rules.INIT_NOT_UNDONE, self.name, f"it answers {status.name} and leaves {left}"))
        return status

    def set_attributes(self, context: Any, hang_seconds: int, flags: int) -> None:
        """
        Say what the device is, once, before anything is claimed for it. Without DESERIALIZE its handlers are called one at a time.

        Raises:
            ContractViolation: it was said before (rule 65).

        NDIS: NdisMSetAttributesEx; LC-06, LC-10 to LC-12.
        """
        if self.attributes is not None:
            raise ContractViolation(rules.ILLEGAL_TRANSITION, self.name, "its attributes are set twice")
        self.context = context
        self.attributes = Attributes(flags)
        self.hang_seconds = -(-(hang_seconds or HANG_SECONDS) // 2) * 2

    def require_attributes(self, claimed: str) -> None:
        """Refuse what may only be claimed once the attributes are set (rule 65). NDIS: LC-06."""
        if self.attributes is None:
            raise ContractViolation(rules.ILLEGAL_TRANSITION, self.name, f"{claimed} is claimed before the attributes are set")

    def timer(self, function: Callable[[Any, Any, Any, Any], object], context: Any) -> Timer:
        """Make a timer whose function is called as in C. It must be cancelled when halt ends. NDIS: NdisMInitializeTimer; SYN-16."""
        self.require_attributes("a timer")

        def run(given: Any) -> None:
            function(None, given, None, None)

        return Timer(run, context, self.timers)

    def register_interrupt(self, *, request_isr: bool, shared: bool) -> tuple[Status, Interrupt | None]:
        """
        Claim the device's one interrupt.

        Returns:
            RESOURCE_CONFLICT: it is claimed already. FAILURE: the driver lacks a handler for it.

        NDIS: NdisMRegisterInterrupt.
        """
        self.require_attributes("an interrupt")
        table: Any = self.driver.characteristics
        if table.ISRHandler is None or table.HandleInterruptHandler is None:
            return Status.FAILURE, None
        if self.interrupt is not None and self.interrupt.phase is not Phase.DEREGISTERED:
            return Status.RESOURCE_CONFLICT, None
        self.interrupt = Interrupt(RegisteredMiniport(self), request_isr=request_isr, shared=shared)
        if self.started:
            self.interrupt.phase = Phase.RUNNING
        return Status.SUCCESS, self.interrupt

    def indicate_status(self, status: Status, buffer: bytes) -> None:
        """
        Indicate a status; one from initialize is kept until there is an adapter.

        Raises:
            ContractViolation: a serialized miniport does so in initialize (rule 65).

        NDIS: NdisMIndicateStatus; LC-32.
        """
        if self.started:
            self.adapter.indicate_status(status, buffer)
            return
        if self.attributes is None or not self.attributes & Attributes.DESERIALIZE:
            raise ContractViolation(rules.ILLEGAL_TRANSITION, self.name, f"{status.name} is indicated in initialize, and not DESERIALIZE")
        self._early.append((status, buffer))

    def halt(self) -> None:
        """
        Let the driver halt the device, and report what it has left behind (rule 63). Its bindings are closed before.

        NDIS: MiniportHalt; LC-18 to LC-21, SYN-16.
        """
        self.watch.stop_all()
        if self.interrupt is not None and self.interrupt.phase is Phase.RUNNING:
            self.interrupt.phase = Phase.HALTING
        self.adapter.halt()
        if left := self._left_behind():
            self.adapter.requests.ledger.violation(rules.HALT_LEFTOVER, None, f"{self.name} has halted and leaves {left}")

    def _start(self) -> Status:
        """Ask the device what an adapter needs to know of it, and make that."""
        if self.attributes is None:
            self._tell(ContractViolation(rules.ILLEGAL_TRANSITION, self.name, "it is initialised, and its attributes were not set"))
            return Status.FAILURE
        if any(self._ask(oid) is None for oid in ASKED):
            return Status.FAILURE
        mtu = self._number(Oid.GEN_MAXIMUM_FRAME_SIZE, 1500)
        nic = NicValues(
            self._number(Oid.GEN_LINK_SPEED, VIRTUAL_NIC.link_speed // 100) * 100, self._number(Oid.IEEE_802_3_MAXIMUM_LIST_SIZE, 0)
        )
        try:
            Adapter.__init__(
                self.adapter,
                PacketPool(OWN_PACKETS, slot_size_for(mtu), name=f"{self.name}: copies of what is not indicated as packets"),
                RegisteredMiniport(self),
                name=self.name,
                address=self._ask(Oid.IEEE_802_3_CURRENT_ADDRESS) or b"",
                mtu=mtu,
                joins_pools=True,
                nic=nic,
                serialized=not self.attributes & Attributes.DESERIALIZE,
                report=self._report,
            )
        except (ValueError, VnicError) as error:
            self._report("driver_error", {"binding": None, "handler": "QueryInformationHandler", "error": error})
            return Status.FAILURE
        self.started = True
        if self.interrupt is not None and self.interrupt.phase is Phase.INITIALIZING:
            self.interrupt.phase = Phase.RUNNING
        for status, buffer in self._early:
            self.adapter.indicate_status(status, buffer)
        if self.driver.characteristics.CheckForHangHandler is not None:
            Timer(self._check_for_hang, timers=self.watch).set_periodic(self.hang_seconds * 1000)
        return Status.SUCCESS

    def _check_for_hang(self, _: None) -> None:
        self.adapter.check_for_hang()

    def _ask(self, oid: Oid) -> bytes | None:
        """What the driver answers to a query; None if it does not."""
        buffer = bytearray(8)
        table: Any = self.driver.characteristics
        status, written, _ = table.QueryInformationHandler(self.context, oid, memoryview(buffer), len(buffer))
        return bytes(buffer[:written]) if status == Status.SUCCESS else None

    def _number(self, oid: Oid, otherwise: int) -> int:
        found = self._ask(oid)
        return otherwise if found is None else int.from_bytes(found, "little")

    def _left_behind(self) -> str:
        """Take away what the driver has not given back; answers what it was."""
        left = [f"{len(timers)} timers set"] if (timers := self.timers.stop_all()) else []
        if self.interrupt is not None and self.interrupt.phase is not Phase.DEREGISTERED:
            left.append("its interrupt registered")
            self.interrupt.deregister()
        if self.shutdown is not None:
            left.append("its shutdown handler registered")
            self.shutdown = None
        return ", ".join(left)

    def _tell(self, error: ContractViolation) -> None:
        """Report a broken rule of a device that has no adapter to count it."""
        error.reported = True
        self._report("violation", {"binding": None, "error": error, "packet": None})
