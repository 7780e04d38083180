"""
Requests: what drivers ask of the adapter and tell it, by OID; one at a time for the miniport.

    request = Request(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4))
    status = queue.request(binding, request)  # PENDING: the driver's request_complete(request, status) is called, once

What belongs to one binding is answered by `vnic.settings`. Everything else goes to the miniport's `query_information(oid, buffer)` or
`set_information(oid, data)`, which answers (status, bytes written or read, bytes needed); if the status is PENDING, it calls
`query_complete` or `set_complete` later. A miniport without these handlers is a virtual 802.3 NIC, which nothing can be told.

Next: `vnic/settings.py`, what is answered for one binding.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING

from vnic.addressing import Addressing
from vnic.context import here
from vnic.driver import MiniportDriver, handler
from vnic.oids import ROW, VIRTUAL_NIC, NicValues, Oid, answer_query, fill
from vnic.request import Entry, Request, RequestKind
from vnic.settings import Settings
from vnic.status import Status
from vnic.verifier import rules

if TYPE_CHECKING:
    from vnic.core import Adapter, Binding
    from vnic.ledger import Ledger

LIMIT_NS = 12_000_000_000
ASKED_FIRST = (Oid.GEN_MAXIMUM_LOOKAHEAD, Oid.GEN_MAC_OPTIONS, Oid.IEEE_802_3_CURRENT_ADDRESS, Oid.IEEE_802_3_MAXIMUM_LIST_SIZE)


class RequestQueue:
    """
    The requests of one adapter. Any thread may ask; no lock is held while a driver or the miniport is called.

    NDIS: OID-04 to OID-09.

    Args:
        adapter: whose bindings ask, and whose miniport answers.
        ledger: where broken rules and failing drivers are counted and reported.
        values: what the adapter does not know of itself.

    Attributes:
        addressing: what the miniport is told of the bindings' settings.
    """

    def __init__(self, adapter: Adapter, ledger: Ledger, values: NicValues = VIRTUAL_NIC) -> None:
        self._adapter = adapter
        self.ledger = ledger
        self._values = values
        self._settings = Settings(adapter, values)
        self.addressing = Addressing(adapter, self, self._settings)
        self._query = handler(adapter.miniport, MiniportDriver, "query_information") or self._answer_query
        self._set = handler(adapter.miniport, MiniportDriver, "set_information") or self._answer_set
        self._lock = Lock()
        self._gate = adapter._serial.gate if adapter._serial is not None else None
        self._waiting: deque[Entry] = deque()
        self._below: Entry | None = None
        self._running = self._resetting = self._completed = self._answering = False

    def request(self, binding: Binding, request: Request) -> Status:
        """
        Lend a request downward, until it is answered.

        Returns:
            PENDING: the driver's `request_complete(request, status)` is called once, perhaps before this returns. Anything else is
            the answer, and that was all. CLOSING and RESET_IN_PROGRESS: it was not looked at.

        Raises:
            ContractViolation: the binding is closed (rule 98).
            TypeError: the request is a query, and its buffer cannot be written to.
            ValueError: the request is of no kind.

        NDIS: NdisRequest; OID-02, OID-04, OID-05.
        """
        if binding.dead:
            raise self.ledger.violation(rules.CLOSED_BINDING, binding, f"it makes a {request} after close")
        lent = memoryview(request.information_buffer).cast("B")
        if RequestKind(request.kind) is not RequestKind.SET and lent.readonly:
            raise TypeError(f"the buffer of a {request} is read-only: give a bytearray")
        with self._lock:
            if binding.closing or self._adapter.halted:
                return Status.CLOSING
            if self._resetting:
                return Status.RESET_IN_PROGRESS
            request.bytes_written = request.bytes_read = request.bytes_needed = 0
            entry = Entry(binding, request, lent)
            answer = self._answer(binding, entry) if request.oid in ROW and ROW[request.oid].by == "ndis" else None
            if answer is None and (self._running or self._below is not None):
                self._waiting.append(entry)
                return Status.PENDING
            if answer is None:
                self._running = True
                self._below = entry
        if answer is not None:
            self.addressing.sync()
            return answer
        try:
            status = self._ask_now(entry)
        except BaseException:
            # the requester's own request may raise when its answer is written; all others must be asked after that
            with self._lock:
                self._below = None if self._below is entry else self._below
            self._run()
            raise
        self._run()
        return status

    # for the miniport

    def query_complete(self, status: Status, bytes_written: int = 0, bytes_needed: int = 0) -> None:
        """
        End the query that the miniport answered with PENDING, or is about to; its buffer is not the miniport's any more.

        Raises:
            ContractViolation: the request is over (rule 68a), no query is pending (68b), or more bytes were written than the buffer
                has, or fewer than none are needed (68d). Nothing has changed then.

        NDIS: NdisMQueryInformationComplete; OID-08, OID-09.
        """
        self._complete(False, Status(status), int(bytes_written), int(bytes_needed))

    def set_complete(self, status: Status, bytes_read: int = 0, bytes_needed: int = 0) -> None:
        """
        End the set that the miniport answered with PENDING, or is about to.

        Raises:
            ContractViolation: as for `query_complete`.

        NDIS: NdisMSetInformationComplete; OID-08, OID-09.
        """
        self._complete(True, Status(status), int(bytes_read), int(bytes_needed))

    # for the adapter

    def close(self, binding: Binding) -> None:
        """
        Abort a closing binding's requests: each is completed with REQUEST_ABORTED. One that is at the miniport ends there unheard.

        NDIS: NdisCloseAdapter; LC-30.
        """
        with self._lock:
            mine = [entry for entry in (self._below, *self._waiting) if entry is not None and entry.binding is binding]
            self._waiting = deque(entry for entry in self._waiting if entry.binding is not binding)
            self._settings.forget(binding)
        self._fail(mine, Status.REQUEST_ABORTED)

    def halt(self) -> None:
        """
        Abort what waits: each is completed with REQUEST_ABORTED. One that is at the miniport ends there.

        NDIS: LC-19.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        self._fail(waiting, Status.REQUEST_ABORTED)

    def begin_reset(self) -> None:
        """
        Refuse requests from now on, and complete those that wait with RESET_IN_PROGRESS.

        NDIS: LC-13, LC-15.
        """
        with self._lock:
            self._resetting = True
            waiting = [entry for entry in self._waiting if entry.binding is not None]
            self._waiting = deque(entry for entry in self._waiting if entry.binding is None)
        self._fail(waiting, Status.RESET_IN_PROGRESS)

    def end_reset(self) -> None:
        """
        Take requests again. One that is still at the miniport ends with RESET_IN_PROGRESS; the miniport must not complete it later.

        NDIS: LC-15.
        """
        with self._lock:
            self._resetting = False
            left = [] if self._below is None else [self._below]
            self._below = None
            self._completed = self._completed or bool(left)
            for entry in left:
                entry.reset = True
            # what the library itself tells is told after all
            self._waiting.extendleft(self._own(entry.request) for entry in left if entry.binding is None)
            idle = not self._running
            self._running = True
        self._fail(left, Status.RESET_IN_PROGRESS)
        if idle:
            self._run()

    def scan(self, now_ns: int) -> None:
        """
        Report, once, a request that has been at the miniport for more than 12 seconds (rule 68c); it stays there.

        Args:
            now_ns: the time, by `time.monotonic_ns`.
        """
        with self._lock:
            entry = self._below
            if entry is None or entry.overdue or now_ns - entry.since_ns <= LIMIT_NS:
                return
            entry.overdue = True
        seconds = (now_ns - entry.since_ns) / 1e9
        who = "the library" if entry.binding is None else entry.binding.name
        detail = f"a {entry.request} by {who} is there for {seconds:.1f} s"
        self.ledger.violation(rules.REQUEST_TIMED_OUT, None, detail, None, self.ledger.place(handler_of(entry)))

    def protocol_options(self, binding: Binding) -> int:
        """The flags that a binding has set of itself. NDIS: OID_GEN_PROTOCOL_OPTIONS; RX-65."""
        return self._settings.options(binding)

    @property
    def below(self) -> Entry | None:
        """The request that is at the miniport now."""
        return self._below

    def pending(self, binding: Binding) -> int:
        """How many requests of a binding are not over."""
        with self._lock:
            return sum(entry is not None and entry.binding is binding for entry in (self._below, *self._waiting))

    # the library's own

    @property
    def may_tell(self) -> bool:
        """Whether the miniport can be told anything; while a binding's own setting is changed, that is put off until it is."""
        return self._set != self._answer_set and not self._answering and not self._adapter.halted

    def line_up(self, oid: int, data: bytes) -> None:
        """Have something set at the miniport in its turn, also when a reset has to end first; `go` follows. NDIS: RX-56, LC-14."""
        with self._lock:
            self._waiting.append(self._own(Request(RequestKind.SET, oid, bytearray(data))))

    def go(self) -> None:
        """Ask the miniport for what waits, unless somebody does that already."""
        with self._lock:
            idle = bool(self._waiting) and not self._running and self._below is None
            self._running = self._running or idle
        if idle:
            self._run()

    def ask_first(self) -> bytes:
        """Ask a miniport that has just started the four things that NDIS asks first; answers its address. NDIS: LC-07."""
        if self._query == self._answer_query:
            return b""
        requests = {oid: Request(RequestKind.QUERY, oid, bytearray(8)) for oid in ASKED_FIRST}
        for request in requests.values():
            self._enter(request)
        found = requests[Oid.IEEE_802_3_CURRENT_ADDRESS]
        return bytes(found.information_buffer[: found.bytes_written])

    def _own(self, request: Request) -> Entry:
        return Entry(None, request, memoryview(request.information_buffer))

    def _enter(self, request: Request) -> None:
        with self._lock:
            self._waiting.append(self._own(request))
        self.go()

    # one at a time

    def _run(self) -> None:
        """Ask for what waits, until one is pending below or nothing waits. Only the thread that has set `_running` starts this."""
        if self._gate is None:
            self._ask_waiting()
        else:
            self._gate.do(self._ask_waiting)

    def _ask_now(self, entry: Entry) -> Status:
        """Ask for an entry that nothing waits before. Answers as `_ask`; PENDING, too, if it has to wait for a handler that is running."""
        answers: list[Status] = []
        if self._gate is None:
            answers.append(self._ask(entry))
        elif not self._gate.do_now(lambda: answers.append(self._ask(entry))):
            # a handler of the serialized miniport is running: this is asked when it has ended
            with self._lock:
                self._below = None
                self._waiting.appendleft(entry)
            answers.append(Status.PENDING)
        return answers[0]

    def _ask_waiting(self) -> None:
        while True:
            with self._lock:
                if self._below is not None or self._resetting or not self._waiting:
                    self._running = False
                    return
                entry = self._waiting.popleft()
                halted = self._adapter.halted
                self._below = None if halted else entry
            if halted:
                # it came too late to be among those that the halt has aborted
                self._fail([entry], Status.REQUEST_ABORTED)
                continue
            status = self._ask(entry)
            if status is not Status.PENDING:
                self._tell(entry, status)

    def _ask(self, entry: Entry) -> Status:
        """Ask the miniport. Answers PENDING if the requester is told by `request_complete`: later, or already."""
        with self._lock:
            self._completed = False
            entry.since_ns = time.monotonic_ns()
        called = handler_of(entry)
        raised, broken = False, None
        try:
            status, moved, needed = self._call(entry)
        except BaseException as error:
            self.ledger.failed(None, called, error)
            raised, status, moved, needed = True, Status.FAILURE, 0, 0
        if status is Status.PENDING:
            return status
        answered = f"{called} answers {status.name}, {moved} bytes of {len(entry.work)}" + (f", {needed} needed" if needed < 0 else "")
        if not 0 <= moved <= len(entry.work) or needed < 0:
            broken = rules.REQUEST_EXCEEDS_BUFFER
            status, needed = Status.FAILURE, 0
        with self._lock:
            if self._below is entry:
                self._below = None
            elif not (raised or entry.reset):
                broken = rules.REQUEST_COMPLETED_TWICE
            untold = entry.finish(status, moved, needed)
        if broken is not None:
            self.ledger.violation(broken, None, f"{answered}, for the {entry.request}", None, self.ledger.place(called))
        return status if untold else Status.PENDING

    def _call(self, entry: Entry) -> tuple[Status, int, int]:
        is_set = entry.request.kind == RequestKind.SET
        oid = entry.request.oid
        context = here()
        before = context.enter(None, handler_of(entry), context.irql)
        try:
            status, moved, needed = self._set(oid, bytes(entry.work)) if is_set else self._query(oid, memoryview(entry.work))
        finally:
            context.leave(before)
        return Status(status), int(moved), int(needed)

    def _complete(self, is_set: bool, status: Status, moved: int, needed: int) -> None:
        status = Status.FAILURE if status is Status.PENDING else status
        untold = idle = False
        with self._lock:
            found = self._completable(is_set, moved, needed)
            if isinstance(found, Entry):
                self._below = None
                self._completed = True
                untold = found.finish(status, moved, needed)
                idle = not self._running
                self._running = True
        if isinstance(found, rules.Rule):
            detail = f"{'set' if is_set else 'query'}_complete with {status.name}, {moved} bytes"
            raise self.ledger.violation(found, None, detail + (f", {needed} needed" if needed < 0 else ""))
        if untold:
            self._tell(found, status)
        if idle:
            self._run()

    def _completable(self, is_set: bool, moved: int, needed: int) -> Entry | rules.Rule:
        """The request that a completion ends, or the rule that it breaks; the caller holds the lock."""
        entry = self._below
        if entry is None:
            return rules.REQUEST_COMPLETED_TWICE if self._completed else rules.REQUEST_NOT_PENDING
        if is_set != (entry.request.kind == RequestKind.SET):
            return rules.REQUEST_NOT_PENDING
        return entry if 0 <= moved <= len(entry.work) and needed >= 0 else rules.REQUEST_EXCEEDS_BUFFER

    # answers of the library itself

    def _answer(self, binding: Binding, entry: Entry) -> Status:
        """Answer for the binding; the caller holds the lock, under which no driver is called."""
        oid = entry.request.oid
        if entry.request.kind == RequestKind.SET:
            self._answering = True
            try:
                status, moved, needed = self._settings.change(binding, oid, bytes(entry.work))
            finally:
                self._answering = False
        else:
            answer = self._settings.query(binding, oid)
            status, moved, needed = (Status.NOT_SUPPORTED, 0, 0) if answer is None else fill(oid, answer, memoryview(entry.work))
        entry.finish(status, moved, needed)
        return status

    def _answer_query(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        """What a miniport without `query_information` answers."""
        answer = answer_query(self._adapter, oid, self._values)
        return (Status.NOT_SUPPORTED, 0, 0) if answer is None else fill(oid, answer, buffer)

    def _answer_set(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        """What a miniport without `set_information` answers."""
        return Status.NOT_SUPPORTED, 0, 0

    # telling

    def _fail(self, entries: Iterable[Entry], status: Status) -> None:
        for entry in entries:
            with self._lock:
                untold = entry.finish(status)
            if untold:
                self._tell(entry, status)

    def _tell(self, entry: Entry, status: Status) -> None:
        """Tell the requester, who was answered PENDING, how it ended."""
        if entry.binding is not None:
            self._adapter._ask(entry.binding, "request_complete", entry.request, status)


def handler_of(entry: Entry) -> str:
    """The miniport's handler that a request is for."""
    return "set_information" if entry.request.kind == RequestKind.SET else "query_information"
