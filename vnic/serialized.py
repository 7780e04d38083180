"""
The serialized model: one handler of the miniport at a time, sends queued here, and a received packet's fate told by its status.

A deserialized miniport, which is what the TAP's is, does all of that for itself and never comes here.

Next: `vnic/send.py`, which hands sends over, and `vnic/indicate.py`, which shows received packets.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Protocol

from vnic.context import here
from vnic.locks import Irql, at_irql, count
from vnic.status import Status
from vnic.timers import WorkItem, work_items
from vnic.verifier import rules

if TYPE_CHECKING:
    from vnic.core import Packet
    from vnic.ledger import Ledger


ROUNDS = 64
"""How often a thread does what has come to a gate while it did the last of it."""


class Waiting(Protocol):
    """What is needed of `vnic.send.SendPath`: its queue, and the way to the miniport and back."""

    @property
    def verifier_level(self) -> int: ...
    def waiting(self) -> int: ...
    def take_waiting(self) -> list[Packet]: ...
    def wait_first(self, packets: list[Packet]) -> None: ...
    def wait_last(self, packets: list[Packet]) -> None: ...
    def submit(self, packets: list[Packet]) -> list[Status | None]: ...
    def fail_shown(self) -> None: ...
    def give_back(self, packet: Packet, status: Status) -> None: ...


class Gate:
    """
    Lets one handler of a miniport run at a time, at DISPATCH. What comes meanwhile waits in order, and whoever is inside does it.

    Nobody is kept for ever: if there is still something after so many rounds, the thread for work items goes on with it.

    NDIS: the serialization of miniport handlers; section "serialized versus deserialized".

    Args:
        told: told of a rule that a handler has broken when it ended; whoever had it called is not to blame, and does not notice.
    """

    def __init__(self, told: Callable[[rules.Rule, str], None]) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._owner = 0
        self._waiting: deque[Callable[[], object]] = deque()
        self._rest = WorkItem(lambda _item, _context: self._drain())

    def do_now(self, job: Callable[[], object]) -> bool:
        """Do a job, unless a handler is running, on this thread or another one. Answers whether it was done."""
        try:
            return self._try(job)
        finally:
            # what waits is done also if the job has raised
            self._drain()

    def do(self, job: Callable[[], object]) -> None:
        """Do a job, now or when the handler that is running has ended."""
        self._waiting.append(job)
        self._drain()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be inside, for a miniport that calls the library; waits for a handler on another thread."""
        if self._owner == get_ident():
            yield
            return
        self._lock.acquire()
        self._owner = get_ident()
        try:
            with at_irql(Irql.DISPATCH, self._told):
                try:
                    yield
                finally:
                    # a handler that raises has ended, too
                    self._do_waiting()
        finally:
            self._owner = 0
            self._lock.release()
            self._drain()

    def _try(self, job: Callable[[], object]) -> bool:
        """The same, and leave what comes meanwhile alone."""
        if self._owner == get_ident() or not self._lock.acquire(blocking=False):
            return False
        self._owner = get_ident()
        try:
            with at_irql(Irql.DISPATCH, self._told):
                job()
        finally:
            self._owner = 0
            self._lock.release()
        return True

    def _do_waiting(self) -> None:
        """Do what waits now; what comes meanwhile is for the next round."""
        for _ in range(len(self._waiting)):
            self._waiting.popleft()()

    def _drain(self) -> None:
        """Do what waits, unless a handler is running: then whoever is inside does it when that has ended."""
        for _ in range(ROUNDS):
            if not self._waiting or not self._try(self._do_waiting):
                return
        if self._waiting:
            work_items.put(self._rest)


class Serialized:
    """
    The library's half of a serialized miniport.

    A send that finds a handler running, or other sends waiting, waits; so does one that the miniport answers with RESOURCES, with
    all behind it, until a send completes or `resources_available` is called. Then they are shown again, in the same order.

    Args:
        sends: whose waiting packets these are.
        ledger: where failures are counted.
        return_packet: the miniport's handler, or None.

    NDIS: TX-13 to TX-16, TX-23, TX-25, AMB-28.
    """

    def __init__(self, sends: Waiting, ledger: Ledger, return_packet: Callable[[Packet], None] | None) -> None:
        self.gate = Gate(self._left_unclean)
        self.blocked = False
        self._sends = sends
        self._ledger = ledger
        self._return_packet = return_packet

    def send(self, packet: Packet) -> Status:
        """Show one packet to the miniport, or let it wait. Answers its status; with PENDING it completes later."""
        answers: list[Status] = []
        if self.blocked or self._sends.waiting() or not self.gate.do_now(lambda: answers.append(self._show_first(packet))):
            self.send_packets([packet])
            return Status.PENDING
        return answers[0]

    def send_packets(self, packets: list[Packet]) -> None:
        """Let packets wait, and show all that wait, unless the miniport is busy; each completes through its sender's handler."""
        self._sends.wait_last(packets)
        self.gate.do(self._show_waiting)

    def resources_available(self) -> None:
        """The miniport can take sends again: show it those that wait."""
        self.blocked = False
        self.gate.do(self._show_waiting)

    def end_reset(self) -> None:
        """The miniport has been reset: what it has still pending is failed for it, and it can take sends again. LC-15."""
        self._sends.fail_shown()
        self.resources_available()

    def return_packet(self, packet: Packet) -> None:
        """Hand a packet back to the miniport, when no handler of it is running."""
        self.gate.do(partial(self._hand_back, packet))

    def _left_unclean(self, rule: rules.Rule, detail: str) -> None:
        """A handler of the miniport has ended at another level than it began at, or with a lock; told of from verifier level 2 on."""
        count(rule)
        if self._sends.verifier_level >= 2:
            held = here().held
            taken = getattr(held[-1], "taken", None) if rule is rules.LOCK_HELD_AT_EXIT and held else None
            # which handler it was is over; the lock knows the line
            self._ledger.violation(rule, None, detail, None, self._ledger.place("send") if taken is None else {"where": taken.where})

    def _hand_back(self, packet: Packet) -> None:
        try:
            # until now the miniport, which may have been inside `indicate` still, had to read that it comes back
            packet.status = Status.SUCCESS
            if self._return_packet is not None:
                self._return_packet(packet)
        except BaseException as error:
            self._ledger.failed(None, "return_packet", error)

    def _show_first(self, packet: Packet) -> Status:
        """Show a packet that has come alone, and finds nothing before it."""
        if self.blocked or self._sends.waiting():
            # another thread was faster
            self._sends.wait_last([packet])
            self._show_waiting()
            return Status.PENDING
        status = self._sends.submit([packet])[0]
        if status is Status.RESOURCES:
            self.blocked = True
            self._sends.wait_first([packet])
            return Status.PENDING
        return self._unset(packet) if status is None else status

    def _show_waiting(self) -> None:
        # what comes meanwhile has a job of its own
        if not self.blocked and (packets := self._sends.take_waiting()):
            self._settle(packets, self._sends.submit(packets))

    def _settle(self, packets: list[Packet], statuses: list[Status | None]) -> None:
        """Complete what the miniport has finished; from the first RESOURCES on, all wait again, in front."""
        for index, (packet, status) in enumerate(zip(packets, statuses, strict=True)):
            if status is Status.RESOURCES:
                self.blocked = True
                self._sends.wait_first(packets[index:])
                return
            if status is not Status.PENDING:
                self._sends.give_back(packet, self._unset(packet) if status is None else status)

    def _unset(self, packet: Packet) -> Status:
        detail = f"send_packets has set no status of {packet!r}"
        self._ledger.violation(rules.SEND_STATUS_MISSING, None, detail, packet, self._ledger.place("send_packets"))
        return Status.FAILURE
