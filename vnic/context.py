"""
What each thread is doing for the library: whose handler it is in, at which level, with which locks.

It costs a handler a few stores of numbers, so it is kept at every verifier level. A watchdog on another thread reads it: a handler
whose number of calls stands still has not returned. All that a handler changes is one number, the thread's place: so one store enters
a handler, one comparison tells whether it has left the level and the locks as they were, and whoever reads it sees nothing half changed.

Next: `vnic/steps.py`, what was done to a packet.
"""

from __future__ import annotations

import threading
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython

    from vnic.core import Binding
    from vnic.lane import Lane
    from vnic.ledger import Ledger
    from vnic.locks import ReadWriteLock, SpinLock
else:
    from vnic import _cython as cython

PASSIVE, DISPATCH = 0, 2
NOBODY, MINIPORT = -2, -1
HANDLERS = (
    "",
    "receive_packet",
    "receive",
    "receive_complete",
    "send_complete",
    "return_packet",
    "send",
    "send_packets",
    "transfer_data",
    "transfer_data_complete",
    "bind_adapter",
    "unbind_adapter",
    "close_complete",
    "request_complete",
    "status",
    "status_complete",
    "reset_complete",
    "pnp_event",
    "initialize",
    "halt",
    "reset",
    "check_for_hang",
    "query_information",
    "set_information",
    "cancel_sends",
    "timer",
    "work item",
    "interrupt",
    "receive_packets",
    "another handler",
)
"""The handlers by number; in a context there is room for a number only."""
WHAT: dict[str, int] = {name: number for number, name in enumerate(HANDLERS)}
OTHER = len(HANDLERS) - 1
SLOTS = 128
"""As many as there can be bindings: `vnic.packet.MAX_BINDINGS`."""

OPEN: list[Binding | None] = []
"""The open bindings of the process, each at its slot; `vnic/binding.py` makes the slots."""
CONTEXTS: dict[int, Context] = {}
"""The contexts of all threads that live and have ever been here, by their number."""


class _Life(threading.local):
    """Ends with its thread, and takes the thread's context away: the number will be another thread's."""

    context: Context
    end: _End


class _End:
    def __init__(self, ident: int) -> None:
        self.ident = ident

    def __del__(self) -> None:
        if cython.compiled:
            vnic_remember(cython.NULL)
        CONTEXTS.pop(self.ident, None)


_LIFE = _Life()


class Context:
    """
    One thread, as the library knows it. Nothing changes hands here.

    NDIS: the interrupt level of a processor, and what a debugger shows of it; SYN-01 to SYN-05.

    Attributes:
        ident: the thread's number, as `threading.get_ident` has it.
        held: the locks that it holds, in the order in which it acquired them; `hold` and `let_go` change it.
        calls: handlers that it has begun; it grows.
        idle_ns: by how much the monotonic clock was ahead of the thread's own when its batch began; only where a driver is at level 2.
        pauses: when the collector of garbage last looked at everything on this thread: begin and end, monotonic; from level 2 on.
        unmet: the pool that had nothing left when it was last asked in this handler, or None.
        lane: of which queue it reads a batch now, or writes what waits; None, if the adapter has one queue only.
        indicating: the ledgers of the indications that it is in, the innermost last, behind four that are None.
        nested: sends that are being shown to drivers on it, each within the last one.
    """

    def __init__(self, ident: int) -> None:
        self.ident = ident
        self._place = place_of(NOBODY, 0, PASSIVE)
        self.held: list[SpinLock | ReadWriteLock] = []
        self.calls = 0
        self.idle_ns = 0
        self.pause_began_ns = 0
        self.pauses: deque[tuple[int, int]] = deque(maxlen=8)
        self.unmet: str | None = None
        self.lane: Lane | None = None
        self.nested = 0
        # with four in it always, Python does not make its memory anew for each batch
        self.indicating: list[Ledger | None] = [None] * 4
        if not cython.compiled:
            self._saw = bytearray(SLOTS)

    @property
    def irql(self) -> int:
        """The thread's level: 0 PASSIVE, 2 DISPATCH, 5 DIRQL. See `vnic.locks.Irql`."""
        return (self._place >> 16) & 255

    @irql.setter
    def irql(self, level: cython.int) -> None:
        self._place = (self._place & ~(255 << 16)) | (level << 16)

    @property
    def binding(self) -> Binding | None:
        """Whose handler is running; None if it is none, or the miniport's."""
        slot = self._slot()
        return None if slot < 0 else OPEN[slot]

    @property
    def of_miniport(self) -> bool:
        """Whether a handler of a miniport is running."""
        return self._slot() == MINIPORT

    @property
    def handler(self) -> str | None:
        """Which handler is running, by name; None if none is."""
        what = (self._place >> 24) & 255
        return HANDLERS[what] if what else None

    @property
    def name(self) -> str:
        """The thread's name."""
        for thread in threading.enumerate():
            if thread.ident == self.ident:
                return thread.name
        return str(self.ident)

    def paused_since(self, started_ns: int) -> int:
        """For how many nanoseconds since then the collector of garbage has had this thread: that is no time of a driver's."""
        return sum([end - max(began, started_ns) for began, end in self.pauses if end > started_ns])

    def hold(self, lock: SpinLock | ReadWriteLock) -> None:
        """The thread has acquired a lock."""
        self.held.append(lock)
        self._place += 1

    def let_go(self, lock: SpinLock | ReadWriteLock) -> None:
        """The thread releases a lock that it holds."""
        self.held.remove(lock)
        self._place -= 1

    def enter(self, binding: Binding | None, handler: str, level: int = DISPATCH) -> int:
        """A handler of a binding, or of a miniport (None), begins, at a level. Answers what `leave` takes."""
        return self._enter(MINIPORT if binding is None else binding.slot, WHAT.get(handler, OTHER), level)

    def leave(self, before: int) -> bool:
        """
        The handler has ended; the thread is where it was before.

        Returns:
            Whether it ended at another level than it began at, or with another number of locks held.
        """
        return self._leave(before)

    def _slot(self) -> cython.int:
        """Whose handler is running: a binding's slot, or MINIPORT, or NOBODY."""
        return cython.cast(cython.int, self._place >> 32) - 2

    def _batch_begins(self, idle_ns: cython.longlong) -> None:
        """A batch begins. Within a driver's handler the number stays: that handler is timed, too, and began in the batch before."""
        if self._slot() < 0:
            self.idle_ns = idle_ns

    def _enter(self, slot: cython.int, what: cython.int, level: cython.int) -> cython.longlong:
        """A handler begins. Answers what `_leave` takes."""
        return self._enter_at(place_of(slot, what, level))

    if not cython.compiled:
        # compiled, they stand in the .pxd file, where each caller has them for its own

        def _enter_at(self, place: int) -> int:
            """A handler begins at a place. Answers the place before, and above its bits the level at which the handler began."""
            before = self._place
            self._place = place | (before & 0xFFFF)
            self.calls += 1
            return before | ((place & 0xFF0000) << 32)

        def _leave(self, before: int) -> bool:
            """The handler has ended; a lock that it has left behind is held still. Answers whether the level or the locks are others."""
            place = self._place
            self._place = (before & 0xFFFFFFFF0000) | (place & 0xFFFF)
            if self.unmet is not None:
                self.unmet = None
            return (place ^ before) & 0xFFFF != 0 or (place ^ (before >> 32)) & 0xFF0000 != 0

    def __repr__(self) -> str:
        return f"<Context of {self.ident}: {self.handler or 'no handler'} at level {self.irql}>"


def place_of(slot: cython.int, what: cython.int, level: cython.int) -> cython.longlong:
    """
    The place of a thread in a handler, without locks.

    Its lowest 16 bits count the locks held; above them are 8 for the level, 8 for the handler's number, and 16 for the slot + 2.
    """
    return (cython.cast(cython.longlong, slot + 2) << 32) | (what << 24) | (level << 16)


def here() -> Context:
    """The context of the calling thread."""
    return _here()


def _here() -> Context:
    if cython.compiled:
        known: cython.pointer(PyObject) = vnic_remembered()
        if known != cython.NULL:
            return cython.cast(Context, known)
        return _begin_thread()
    else:
        return getattr(_LIFE, "context", None) or _begin_thread()


def _begin_thread() -> Context:
    """This thread is here for the first time."""
    ident = get_ident()
    made = CONTEXTS[ident] = _LIFE.context = Context(ident)
    _LIFE.end = _End(ident)
    if cython.compiled:
        # until the thread ends, the dictionary keeps it
        vnic_remember(cython.cast(cython.pointer(PyObject), made))
    return made


def contexts() -> list[Context]:
    """The contexts of all threads that live and have ever been here."""
    return list(CONTEXTS.values())
