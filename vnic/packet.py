"""
A packet: a descriptor, a slot of bytes, a state, and who owes a return of it.

This and the modules that it names are plain Python, and compiled as they are by Cython; the C types stand in the `.pxd` file
beside each. `if cython.compiled:` marks the few places where C calls replace Python ones; everything else is one text with
one meaning. Critical sections cost nothing when compiled under the GIL, because no Python code runs inside them.

Next: `vnic/pool.py`, where packets come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.states import LEGAL, Event, PacketState
from vnic.status import OwnershipError, Status
from vnic.verifier import rules

if TYPE_CHECKING:
    import cython

    from vnic.pool import PacketPool
else:
    from vnic import _cython as cython

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.libc.string import memmove, memset

COMPILED = bool(cython.compiled)
MAX_BINDINGS = 128
"""Bindings open at one time in a process; each packet has one promised/returned pair for each."""
LOOPBACK = 0x100
"""Flag of a frame that is one of the adapter's own sends, shown to an ALL_LOCAL binding. NDIS: HDR flag 0x100; PKT-35."""
HEADER_SIZE = 14

BINDING_NAMES: list[str | None] = [None] * MAX_BINDINGS
"""Which binding uses which column of every packet's promised/returned pairs."""

SUCCESS, RESOURCES = Status.SUCCESS, Status.RESOURCES

FREE = int(PacketState.FREE)
OWNED = int(PacketState.OWNED)
SENDING = int(PacketState.SENDING)
QUARANTINED = int(PacketState.QUARANTINED)
EVENTS = len(Event)
ILLEGAL = 255

_TABLE = bytes(LEGAL.get((state, event), ILLEGAL) for state in PacketState for event in Event)
"""`vnic.states.LEGAL` flattened: the state after `event` in `state` is at state * EVENTS + event."""
if cython.compiled:
    for _i in range(len(_TABLE)):
        NEXT_STATE[_i] = _TABLE[_i]  # declared in packet.pxd
else:
    NEXT_STATE = _TABLE

TOUCHED = {
    PacketState.FREE: rules.USE_AFTER_RETURN,
    PacketState.QUARANTINED: rules.USE_AFTER_RETURN,
    PacketState.SENDING: rules.PENDING_TOUCHED,
}
"""The rule that is broken by changing a packet that is not one's own; in every other state drivers hold it."""
COUNTS_VIEWS = COMPILED or hasattr(memoryview, "__buffer__")


class Packet:
    """
    A descriptor and its slot: lent upward with a frame in it, or downward to be sent.

    Whoever does not own it sees it read-only. `memoryview(packet)`, which is what `data` gives, is counted: a packet freed
    while such a view (or a slice of one, at any depth) is alive is withheld until the last of them is gone, so that a forgotten
    view never reads the next frame. Before Python 3.12 the uncompiled core cannot count views.

    NDIS: NDIS_PACKET; PKT-17 to PKT-45.

    Attributes:
        pool: the pool that it is from and goes back to.
        index: its place in the pool.
        generation: how often it has been allocated.
        references: returns still owed, the library's own guard included while drivers are being asked.
        views: live views.
        time_received: nanoseconds since 1970 of the batch that brought it.
    """

    def __init__(self, pool: PacketPool, index: int) -> None:
        self.pool = pool
        self.index = index
        self.generation = 0
        self.references = 0
        self.views = 0
        self._flags = 0
        self.time_received = 0
        self._state = FREE
        self._status = 0
        self._length = 0
        self._slot_size = pool.slot_size
        self._asked = -1
        self._promises = False
        self._told = 0
        self._suspect = None
        self._sender = None
        if not cython.compiled:
            self._bytes = pool._bytes[index * pool.slot_size : (index + 1) * pool.slot_size]
            self._shared = pool._shared[index * pool.slot_size : (index + 1) * pool.slot_size]
            self._promised = [0] * MAX_BINDINGS
            self._returned = [0] * MAX_BINDINGS

    @property
    def state(self) -> PacketState:
        """Where the packet is."""
        return PacketState(self._state)

    @property
    def length(self) -> int:
        """
        Bytes of the frame in the slot. The owner may set it, from 0 to the slot's size.

        Raises:
            OwnershipError: the packet is set by somebody who does not own it.
            ValueError: the slot is smaller.
        """
        return self._length

    @length.setter
    def length(self, value: int) -> None:
        self._require_owned("its length is set")
        if not 0 <= value <= self._slot_size:
            raise ValueError(f"length {value} is outside 0..{self._slot_size}, the slot of {self!r}")
        self._length = value

    @property
    def status(self) -> Status:
        """
        SUCCESS: drivers may keep the packet. RESOURCES: they must copy it during the call. The miniport sets it before indicating.

        NDIS: NDIS_GET_PACKET_STATUS, NDIS_SET_PACKET_STATUS; RX-06, RX-20.
        """
        return RESOURCES if self._status else SUCCESS

    @status.setter
    def status(self, value: Status) -> None:
        self._require_owned("its status is set")
        if value not in (SUCCESS, RESOURCES):
            raise ValueError(f"status {value!r} of a packet to indicate: SUCCESS or RESOURCES")
        self._status = 0 if value == SUCCESS else 1

    @property
    def flags(self) -> int:
        """
        LOOPBACK, or what the owner put there; the owner may set it.

        NDIS: NdisGetPacketFlags, NdisSetPacketFlags; PKT-35.
        """
        return self._flags

    @flags.setter
    def flags(self, value: int) -> None:
        self._require_owned("its flags are set")
        self._flags = value

    @property
    def data(self) -> memoryview:
        """
        The frame, as a view: writable for the packet's owner, read-only for everybody else.

        Raises:
            OwnershipError: the packet is back in its pool (rule 07).
        """
        if COUNTS_VIEWS:
            return memoryview(self)
        return self._view()

    @property
    def ethertype(self) -> int:
        """
        Bytes 12 and 13 as a number: the EtherType, or the outer VLAN tag's; 0 if the frame is too short.

        Raises:
            OwnershipError: the packet is back in its pool (rule 07).
        """
        if self._state == FREE or self._state == QUARANTINED:
            self._refuse_look()
        if self._length < HEADER_SIZE:
            return 0
        return (self._bytes[12] << 8) | self._bytes[13]

    def write(self, frame: object) -> None:
        """
        Copy a frame into the slot and set `length`. The packet must be the caller's own.

        Args:
            frame: anything with the buffer protocol, at most a slot long.

        Raises:
            OwnershipError: the caller does not own the packet.
            ValueError: the slot is smaller.
        """
        self._require_owned("it is written")
        if cython.compiled:
            view: cython.Py_buffer
            PyObject_GetBuffer(frame, cython.address(view), PyBUF_SIMPLE)
            size: cython.Py_ssize_t = view.len
            if size <= self._slot_size:
                # the frame may be a view of this very slot
                memmove(self._bytes, view.buf, size)
            PyBuffer_Release(cython.address(view))
        else:
            size = memoryview(frame).nbytes
            if size <= self._slot_size:
                self._bytes[:size] = memoryview(frame).cast("B")
        if size > self._slot_size:
            raise ValueError(f"a frame of {size} bytes does not fit the slot of {self._slot_size}")
        self._length = size

    def __repr__(self) -> str:
        return f"<Packet {self.pool.name}[{self.index}].{self.generation} {self.state.name} {self._length} bytes>"

    def _change(self, event: cython.int) -> cython.bint:
        """Take one edge of the state table; False, and nothing changed, if there is no such edge."""
        after: cython.int = NEXT_STATE[self._state * EVENTS + event]
        if after == ILLEGAL:
            return False
        self._state = after
        return True

    def _forget_promises(self) -> None:
        """Before it is shown anew: who held the last frame in it no longer matters."""
        if cython.compiled:
            memset(self._promised, 0, cython.sizeof(self._promised))
            memset(self._returned, 0, cython.sizeof(self._returned))
        else:
            self._promised = [0] * MAX_BINDINGS
            self._returned = [0] * MAX_BINDINGS
        self._promises = False

    def _require_owned(self, what: str) -> object:
        if self._state == OWNED:
            return None
        rule = TOUCHED.get(self.state, rules.FREE_WHILE_INDICATED)
        raise OwnershipError(rule, self.pool.name, f"{self!r} is not the caller's own, but {what}", history_of(self))

    def _refuse_look(self) -> object:
        raise OwnershipError(rules.USE_AFTER_RETURN, "the caller", f"{self!r} is looked at", history_of(self))

    def _view(self) -> memoryview:
        if self._state == FREE or self._state == QUARANTINED:
            self._refuse_look()
        return (self._bytes if self._state == OWNED else self._shared)[: self._length]

    if cython.compiled:

        def __getbuffer__(self, buffer: cython.pointer[cython.Py_buffer], flags: cython.int):
            if self._state == FREE or self._state == QUARANTINED:
                self._refuse_look()
            if self._state == OWNED:
                PyBuffer_FillInfo(buffer, self, self._bytes, self._length, 0, flags)
            else:
                PyBuffer_FillInfo(buffer, self, self._shared, self._length, 1, flags)
            self.views += 1

        def __releasebuffer__(self, buffer: cython.pointer[cython.Py_buffer]):
            self.views -= 1
            # the collector of garbage may have taken the pool away from a packet that dies with it
            if self._state == QUARANTINED and self.views == 0 and self.pool is not None:
                self.pool._release(self)

    else:

        def __buffer__(self, flags: int, /) -> memoryview:
            view = self._view()
            self.views += 1
            return view

        def __release_buffer__(self, view: memoryview, /) -> None:
            if not self.__dict__:
                # the collector of garbage has emptied a packet that dies with its views
                return
            self.views -= 1
            view.release()
            if self._state == QUARANTINED and self.views == 0:
                self.pool._release(self)


def history_of(packet: Packet) -> str:
    """Tell what is known of a packet, for a violation: state, references, and who promised and returned how often."""
    holders = [
        f"{BINDING_NAMES[slot]} returned {packet._returned[slot]} of {packet._promised[slot]}"
        for slot in range(MAX_BINDINGS)
        if packet._promised[slot] and BINDING_NAMES[slot]
    ]
    return f"{packet.state.name}, references {packet.references}, views {packet.views}" + "".join(f", {line}" for line in holders)


BINDING_NAMES: list[str | None] = [None] * MAX_BINDINGS
"""Which binding uses which column of every packet's promised/returned pairs."""
