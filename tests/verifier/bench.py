"""
The bench of the matrix: one driver that breaks a rule, or just does not, with all that it needs around it.

    seen = run(case, case.bad)      what was recorded, with which line of code, and whether a refused call changed anything

A driver under test is a class without arguments: a protocol driver, a miniport (`self.adapter` and `self.pool` are given), or a
card, which is a miniport registered as in C. The case says how it is played: by a frame, by a send, or by its own thread.

Next: `tests/verifier/cases/receive.py`, the first of the cases.
"""

from __future__ import annotations

import inspect
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from types import FrameType, SimpleNamespace, TracebackType
from typing import Any, NamedTuple, Self

from vnic import (
    COMPILED,
    Adapter,
    Binding,
    Buffer,
    BufferPool,
    MiniportDriver,
    Packet,
    PacketPool,
    PacketState,
    ProtocolDriver,
    Status,
    locks,
)
from vnic.characteristics import MiniportCharacteristics, ProtocolCharacteristics
from vnic.counters import broken_sums
from vnic.device import Wrapper
from vnic.interrupt import Interrupt, Phase
from vnic.locks import Irql, current_irql, held_locks, lower_irql, set_profile
from vnic.pnp import PnpEvent
from vnic.registration import Registry
from vnic.request import Request, RequestKind
from vnic.reset import Attributes
from vnic.status import ContractViolation
from vnic.steps import now_ns
from vnic.timers import VirtualClock
from vnic.verifier.levels import set_level
from vnic.verifier.records import RECORDS
from vnic.verifier.rules import Rule
from vnic.verifier.watch import Watch

US, PEER = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
FRAME = US + PEER + b"\x08\x00" + bytes(range(46))
SLOT = 1600
COUNTS_VIEWS = COMPILED or sys.version_info >= (3, 12)
TIMED = ("79", "81", "82")
"""Rules that compare a time with a limit."""
TELLING = ("violations", "violations_refused", "driver_errors")
"""Counters that may change when an operation is refused; no other may."""


def filled(pool: PacketPool) -> Packet:
    """Take a packet out of a pool, with a frame in it."""
    packet = pool.allocate()
    assert packet is not None
    packet.write(FRAME)
    return packet


class Owner(ProtocolDriver):
    """A protocol driver with a pool of two packets of its own, `self.pool`; one is out, `self.packet`, with a frame in it."""

    def bind_adapter(self) -> None:
        self.pool = PacketPool(2, SLOT, name="own")
        self.packet = filled(self.pool)


class Keeper(ProtocolDriver):
    """Keeps packets, `self.kept`, until the batch is over; it does without the frames that must be copied."""

    def bind_adapter(self) -> None:
        self.kept: list[Packet] = []

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        """A frame that must be copied."""

    def receive_complete(self) -> None:
        kept, self.kept = self.kept, []
        self.binding.return_packets(kept)


class Holder(ProtocolDriver):
    """Keeps every packet that may be kept until it is unbound."""

    def bind_adapter(self) -> None:
        self.held: list[Packet] = []

    def receive_packet(self, packet: Packet) -> int:
        if packet.status is Status.RESOURCES:
            return 0
        self.held.append(packet)
        return 1

    def unbind_adapter(self) -> None:
        held, self.held = self.held, []
        self.binding.return_packets([packet for packet in held if self.binding.owed(packet)])


class Asker(ProtocolDriver):
    """Sends a frame, or asks a question, when the bench says so."""

    def bind_adapter(self) -> None:
        self.pool = PacketPool(4, SLOT, name="asker")
        self.buffer = bytearray(4)

    def send(self, count: int = 1) -> None:
        self.binding.send_packets([filled(self.pool) for _ in range(count)])

    def ask(self) -> None:
        self.binding.request(Request(RequestKind.QUERY, 0x00010107, self.buffer))


class OwnMemory(MiniportDriver):
    """Indicates a frame in memory of its own when its card interrupts, with an out-of-band block."""

    adapter: Adapter
    pool: PacketPool

    def __init__(self) -> None:
        self.buffers = BufferPool(1, "card")

    def handle_interrupt(self) -> None:
        packet, buffer = self.pool.allocate(), self.buffers.allocate(bytearray(FRAME))
        assert packet is not None
        assert buffer is not None
        packet.chain_back(buffer)
        packet.oob.time_received = 1
        self.adapter.indicate([packet])

    def return_packet(self, packet: Packet) -> None:
        buffer = packet.unchain_front()
        assert buffer is not None
        self.buffers.free(buffer)
        self.pool.free(packet)


class Slow(MiniportDriver):
    """Keeps every send until it halts, or is told to `finish`."""

    adapter: Adapter

    def __init__(self) -> None:
        self.waiting: list[Packet] = []

    def send(self, packet: Packet) -> Status:
        self.waiting.append(packet)
        return Status.PENDING

    def finish(self) -> None:
        while self.waiting:
            self.adapter.send_complete(self.waiting.pop(0), Status.SUCCESS)


class Registered:
    """A driver that is registered as in C; every handler that its case does not define does nothing."""

    registry: Registry

    def table(self, kind: Any) -> Any:
        """Make its table of handlers."""
        names = [one.name for one in fields(kind) if one.name.endswith("Handler") and one.name not in NOT_NEEDED]
        handlers = {name: getattr(self, name, lambda *_: Status.SUCCESS) for name in names}
        named = {"Name": "transport"} if kind is ProtocolCharacteristics else {}
        return kind(MajorNdisVersion=5, MinorNdisVersion=1, **named, **handlers)


class Card(Registered):
    """A registered miniport driver of one device, `self.device`: what timers and interrupts are claimed from."""

    def attach(self, adapter: Adapter) -> None:
        """The device that its adapter is; to be called first in `InitializeHandler`."""
        self.device = self.registry.device(adapter)
        self.device.set_attributes(self, 0, Attributes.DESERIALIZE)

    def QueryInformationHandler(self, context: object, oid: int, buffer: memoryview, length: int) -> tuple[Status, int, int]:
        answer = US[: len(buffer)]
        buffer[: len(answer)] = answer
        return Status.SUCCESS, len(answer), 0


class Transport(Registered):
    """A registered protocol driver; `self.registry` is what knows it."""


NOT_NEEDED = ("ISRHandler", "HandleInterruptHandler")


@dataclass(frozen=True, eq=False)
class Case:
    """
    One rule, from both sides.

    Attributes:
        rule: what the bad driver breaks.
        bad: breaks it at the line that is marked `# here`; it is the shortest that does.
        good: does the nearest legal thing.
        play: what happens around the driver; it is the same for both.
        level: the verifier level that the rule needs.
        others: drivers that are bound before it.
        miniport: what is below, if the driver under test is a protocol driver.
        views: the rule needs views that are counted.
        by: the culprit's name in the record; by default "driver", or "the miniport".
        also: further rules that cannot but be broken with this one.
        options: of the adapter.
    """

    rule: Rule
    bad: type
    good: type
    play: Callable[[Bench], object]
    level: int = 1
    others: tuple[type[ProtocolDriver], ...] = ()
    miniport: type[MiniportDriver] = MiniportDriver
    views: bool = False
    by: str = ""
    also: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def culprit(self) -> str:
        """Whose fault it is, as the record says it."""
        return self.by or ("driver" if issubclass(self.bad, ProtocolDriver) else "the miniport")

    @property
    def refuses(self) -> bool:
        """Whether the bad driver makes a call that is refused at every level."""
        return self.rule.cls == "A0" and self.level == 1 and Here.of(self.bad).calls

    def __repr__(self) -> str:
        return f"{self.rule.id}-{self.rule.name}"


class Here(NamedTuple):
    """The line that is marked in the source of a driver; `calls` unless it is where a handler is defined."""

    file: str
    line: int
    calls: bool

    @classmethod
    def of(cls, driver: type) -> Here:
        """Find it; there must be one."""
        lines, first = inspect.getsourcelines(driver)
        marked = [(first + index, text) for index, text in enumerate(lines) if text.rstrip().endswith("# here")]
        assert len(marked) == 1, f"{driver.__name__} has {len(marked)} lines marked `# here`"
        return cls(inspect.getfile(driver), marked[0][0], not marked[0][1].lstrip().startswith(("def ", "class ")))


class Bench:
    """
    An adapter on a cable, with the driver under test.

    Attributes:
        driver: it.
        binding: its binding; None for a miniport.
        errors: exceptions that came out of drivers.
    """

    def __init__(self, case: Case, under_test: type) -> None:
        RECORDS.clear()
        self.case = case
        self.driver: Any = under_test()
        self.binding: Binding | None = None
        self.errors: list[BaseException] = []
        options = {"packets": 4, "low_water": 0, **case.options}
        self.pool = PacketPool(options.pop("packets"), SLOT, name="receive")
        self.far, self.near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.far.setblocking(False)
        self.near.setblocking(False)
        self.clock = VirtualClock()
        below: Any = self.driver if isinstance(self.driver, MiniportDriver) else case.miniport()
        self.adapter = Adapter(self.pool, below, name="bench0", address=US, clock=self.clock, report=self.report, **options)
        self.adapter.attach(self.near.fileno())
        below.adapter, below.pool = self.adapter, self.pool
        self.set_level(case.level)

    # the one place that knows how a record is got

    @property
    def records(self) -> list[dict[str, Any]]:
        """
        The records of every broken rule since the bench was made, in order.

        How long something takes depends on what else the machine does, so that is left out unless the case is about it; and there, too,
        if it is but a warning.
        """
        timed = self.case.rule.id in TIMED
        return [record for record in RECORDS.all() if record["id"] not in TIMED or (timed and record["severity"] == "error")]

    def report(self, event: str, fields: dict[str, Any]) -> None:
        """What the adapter reports."""
        if event == "driver_error":
            self.errors.append(fields["error"])

    def set_level(self, level: int) -> None:
        """Set the verifier level of everything."""
        set_level(level)

    # what a case does

    def bind(self) -> None:
        """Bind the drivers around the one under test, and that one if it is a protocol driver."""
        for other in self.case.others:
            self.adapter.open(other(), other.__name__.lower())
        if isinstance(self.driver, ProtocolDriver):
            self.binding = self.adapter.open(self.driver, "driver")

    def give(self, count: int = 1) -> None:
        """So many frames come, as one batch."""
        for _ in range(count):
            self.far.send(FRAME)
        self.adapter.receive_batch()

    def work(self) -> None:
        """The driver does its `work`, as on a thread of its own."""
        try:
            self.driver.work()
        except Exception as error:
            self.adapter.failed(self.binding, "work", error)

    def interrupt(self) -> None:
        """The card of the miniport interrupts, and its `handle_interrupt` runs."""
        below: Any = self.adapter.miniport
        card = SimpleNamespace(isr=None, handle_interrupt=below.handle_interrupt)
        line = Interrupt(card)  # while it runs, the ISR is not asked
        line.phase = Phase.RUNNING
        line.fire()
        try:
            self.adapter._call_below(line.run_deferred)
        except Exception as error:
            self.adapter.failed(None, "handle_interrupt", error)

    @property
    def asker(self) -> Asker:
        """The driver that sends and asks."""
        for binding in self.adapter.bindings:
            if isinstance(binding.driver, Asker):
                return binding.driver
        asker = Asker()
        self.adapter.open(asker, "asker")
        return asker

    def close(self) -> None:
        """Unbind the driver under test."""
        assert self.binding is not None
        self.adapter.close(self.binding)

    # the end

    def end(self) -> None:
        """Everybody lets go, and by force who does not."""
        below = self.adapter.miniport
        if isinstance(below, Slow):
            below.finish()
        for binding in self.adapter.bindings:
            self.adapter.close(binding)
        self.adapter.halt()
        for binding in self.adapter.bindings:
            self.adapter.reclaim(binding)

    # figures

    def pools(self) -> list[PacketPool]:
        """The adapter's pool, and those of the driver under test."""
        return [self.pool, *(value for value in vars(self.driver).values() if isinstance(value, PacketPool))]

    def audit(self) -> list[object]:
        """Everything that a refused operation must leave as it is."""
        found: list[object] = [(pool.name, pool.usage, pool.available, *map(self.look, pool.packets())) for pool in self.pools()]
        found += [(pool.name, pool.usage) for pool in vars(self.driver).values() if isinstance(pool, BufferPool)]
        found += [(one.length, one.packet, one.following) for one in vars(self.driver).values() if isinstance(one, Buffer)]
        found += [figures(binding) for binding in self.adapter.bindings]
        found += [(name, value) for name, value in self.adapter.counters().items() if name not in TELLING]
        return [*found, current_irql(), held_locks()]

    def look(self, packet: Packet) -> tuple[object, ...]:
        """Everything that there is to see of a packet without touching it."""
        owed = [binding.owed(packet) for binding in self.adapter.bindings]
        return packet.state, packet.references, packet.generation, packet.views, packet.flags, owed, packet.has_oob, packet.has_info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.far.close()
        self.near.close()
        for pool in self.pools():
            if not pool.usage:
                pool.close()  # a level is set for every pool that lives
        self.set_level(1)
        lower_irql(Irql.PASSIVE)
        for lock in reversed(held_locks()):
            if isinstance(lock, locks.SpinLock):
                (lock.dpr_release if lock._dpr else lock.release)()
        set_profile(locks.Profile.NT)
        locks.counted.clear()


def figures(binding: Binding) -> tuple[object, ...]:
    """What a binding counts, beside the rules that it broke."""
    return binding.name, binding.held, binding.promised, binding.returned, binding.closing, binding.pending_io, binding.packet_filter


class Watcher:
    """Audits before the marked line runs, and after it was refused, on whatever thread that is."""

    def __init__(self, bench: Bench, here: Here) -> None:
        self.bench = bench
        self.here = here
        self.before: list[object] | None = None
        self.after: list[object] | None = None

    def called(self, frame: FrameType, event: str, argument: object) -> Any:
        """A function begins."""
        return self.inside if frame.f_code.co_filename == self.here.file else None

    def inside(self, frame: FrameType, event: str, argument: object) -> Any:
        """Something happens in a function of the driver's file."""
        if frame.f_lineno == self.here.line and event in ("line", "exception"):
            audit = self.bench.audit()
            self.before, self.after = (audit, self.after) if event == "line" else (self.before, audit)
        return self.inside

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts."""
        former, formers = sys.gettrace(), threading.gettrace()
        sys.settrace(self.called)
        threading.settrace(self.called)
        try:
            yield
        finally:
            sys.settrace(former)
            threading.settrace(formers)


class Seen(NamedTuple):
    """
    What a run has shown.

    Attributes:
        records: of broken rules.
        errors: what came out of drivers.
        before: the audit before the marked line was run; None if there is no such line.
        after: the audit after it was refused; None if it was not.
        missing: packets that were not home at the end.
        sums: those that did not come out.
    """

    records: list[dict[str, Any]]
    errors: list[BaseException]
    before: list[object] | None
    after: list[object] | None
    missing: list[str]
    sums: list[str]


def run(case: Case, driver: type, level: int | None = None) -> Seen:
    """Play a case with a driver; with the bad one what is recorded counts only until everybody lets go."""
    with Bench(case, driver) as bench:
        if level is not None:
            bench.set_level(level)
        watcher = Watcher(bench, Here.of(driver)) if driver is case.bad else None
        if watcher is None:
            case.play(bench)
        else:
            with watcher.watching():
                case.play(bench)
        records, errors = bench.records, list(bench.errors)
        bench.end()
        if driver is case.good:
            records, errors = bench.records, bench.errors
        owned = bench.pools() if driver is case.good else [bench.pool]
        missing = [f"{pool!r}: {packet!r}" for pool in owned for packet in pool.packets() if packet.state is not PacketState.FREE]
        sums = [str(broken) for broken in broken_sums(bench.adapter.counters())]
        if watcher is None:
            return Seen(records, errors, None, None, missing, sums)
        return Seen(records, errors, watcher.before, watcher.after, missing, sums)


# plays


def frame(bench: Bench) -> None:
    """A frame comes."""
    bench.bind()
    bench.give()


def reconfigure(bench: Bench) -> None:
    """The machine is reconfigured: `pnp_event` is called."""
    bench.bind()
    bench.adapter.pnp_event(PnpEvent.RECONFIGURE)


def frame_and_reconfigure(bench: Bench) -> None:
    """A frame comes; then the machine is reconfigured: `pnp_event` is called."""
    frame(bench)
    bench.adapter.pnp_event(PnpEvent.RECONFIGURE)


def interrupt(bench: Bench) -> None:
    """The card interrupts."""
    bench.bind()
    bench.interrupt()


def frame_then_end(bench: Bench) -> None:
    """A frame comes; then the driver is unbound, and what it holds is taken back."""
    frame(bench)
    bench.close()
    assert bench.binding is not None
    bench.adapter.reclaim(bench.binding)


def closed_then_work(bench: Bench) -> None:
    """The driver is unbound; a thread of its own runs on, and does its `work`."""
    bench.bind()
    bench.close()
    bench.work()


def send(bench: Bench) -> None:
    """Another driver sends."""
    bench.bind()
    bench.asker.send()


def send_then_interrupt(bench: Bench) -> None:
    """Another driver sends, and then the card interrupts."""
    send(bench)
    bench.interrupt()


def ask_then_interrupt(bench: Bench) -> None:
    """Another driver asks, and then the card interrupts."""
    bench.bind()
    bench.asker.ask()
    bench.interrupt()


def ask_and_wait(bench: Bench) -> None:
    """Another driver asks; the card interrupts, if it does; thirteen seconds later all requests are looked at."""
    bench.bind()
    bench.asker.ask()
    if hasattr(bench.driver, "handle_interrupt"):
        bench.interrupt()
    bench.adapter.requests.scan(time.monotonic_ns() + 13_000_000_000)


def halt(bench: Bench) -> None:
    """The adapter halts."""
    bench.bind()
    bench.adapter.halt()


def halted_then_interrupt(bench: Bench) -> None:
    """The adapter halts; the card interrupts once more."""
    halt(bench)
    bench.interrupt()


def send_then_halt(bench: Bench) -> None:
    """Another driver sends; then everything ends."""
    send(bench)
    asker = bench.asker.binding
    bench.adapter.close(asker)
    bench.adapter.reclaim(asker)
    bench.adapter.halt()


def starve(bench: Bench) -> None:
    """Three frames come, of the four that there is room for, and then one more."""
    bench.bind()
    bench.give(3)
    bench.give()


def interrupt_in_low_power(bench: Bench) -> None:
    """The card has lost its power; an interrupt comes on the line that it shares with another one."""
    bench.bind()
    interrupt = Interrupt(bench.driver, shared=True)
    interrupt.low_power = True
    try:
        interrupt.fire()
    except ContractViolation as error:
        bench.adapter.failed(None, "isr", error)


def plugged_and_pulled(bench: Bench) -> None:
    """A card comes, and goes, if it has started."""
    driver, registry = bench.driver, Registry()
    driver.registry, registry.clock = registry, bench.clock
    wrapper, table = Wrapper("card"), driver.table(MiniportCharacteristics)
    assert wrapper.register(table, len(table)) is Status.SUCCESS
    _, adapter = registry.add_device(wrapper, "card0", report=bench.report)
    if adapter is not None:
        registry.remove_adapter(adapter)


def registered(bench: Bench) -> None:
    """A protocol is registered while there is an adapter, and deregistered."""
    driver, registry = bench.driver, Registry()
    driver.registry = registry
    registry.add_adapter(bench.adapter)
    table = driver.table(ProtocolCharacteristics)
    _, protocol = registry.register_protocol(table, len(table))
    assert protocol is not None
    registry.deregister_protocol(protocol)


def interrupt_then_return(bench: Bench) -> None:
    """The card interrupts; then the other driver is unbound, and returns what it holds."""
    interrupt(bench)
    for binding in bench.adapter.bindings:
        bench.adapter.close(binding)


def bound_and_unbound(bench: Bench) -> None:
    """The driver is bound, and unbound."""
    bench.bind()
    bench.close()


def work_then_unbound(bench: Bench) -> None:
    """A thread of the driver's own does its `work`; then the driver is unbound."""
    bench.bind()
    bench.work()
    bench.close()


def frame_then_unbound(bench: Bench) -> None:
    """A frame comes; then the driver is unbound."""
    frame(bench)
    bench.close()


def look(seconds: float) -> None:
    """Let everything be looked at, as if so many seconds had passed."""
    Watch(lambda: now_ns() + int(seconds * 1e9)).look()


def frame_then_time(bench: Bench) -> None:
    """A frame comes; two seconds pass."""
    frame(bench)
    look(2)


def bind_then_time(bench: Bench) -> None:
    """The driver is bound; eleven seconds pass."""
    bench.bind()
    look(11)


def send_then_time(bench: Bench) -> None:
    """Another driver sends; thirty-one seconds pass."""
    send(bench)
    look(31)


def send_then_less_time(bench: Bench) -> None:
    """Another driver sends; twenty-three seconds pass."""
    send(bench)
    look(23)


def frame_that_hangs(bench: Bench) -> None:
    """A frame comes, on a thread of its own; a second passes, and then the driver is released."""
    bench.bind()
    at_ns = now_ns()
    watch = Watch(lambda: at_ns)
    data = threading.Thread(target=bench.give, name="data")
    data.start()
    assert bench.driver.entered.wait(10)
    watch.look()
    at_ns += 1_000_000_000
    watch.look()
    bench.driver.released.set()
    data.join()


def busy_second(bench: Bench) -> None:
    """Within one second two frames come."""
    bench.bind()
    at_ns = now_ns()
    watch = Watch(lambda: at_ns)
    watch.look()
    bench.give()
    bench.give()
    at_ns += 1_000_000_000
    watch.look()
