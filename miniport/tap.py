"""
The TAP device: a descriptor that is a network interface. Opened or inherited here, read and written elsewhere.

An interface that this process created dies with its last descriptor (ephemeral); one that somebody else created stays
(persistent), and its settings are not ours to change. The carrier follows the descriptor in both cases.

With several queues there is a descriptor for each, and the kernel spreads the frames over them by flow.

Next: `miniport/link.py`, for what needs netlink: MTU, address, up, and the changes of all of them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from miniport.errors import Exit, Failure
from miniport.tap_failures import DEVICE, cannot_attach, cannot_open, holder, queues_of
from vnic.offload import Offload

if TYPE_CHECKING:
    from types import TracebackType

MAX_NAME = 15

TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNGETIFF = 0x800454D2
TUNSETVNETHDRSZ = 0x400454D8
TUNSETVNETLE = 0x400454DC
TUNGETDEVNETNS = 0x54E3
TUNATTACHFILTER = 0x400054D5 | struct.calcsize("HP") << 16
TUNDETACHFILTER = 0x400054D6 | struct.calcsize("HP") << 16
IFF_TAP = 0x0002
IFF_MULTI_QUEUE = 0x0100
IFF_PERSIST = 0x0800
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
BPF_RET_CONSTANT = 0x06
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN, TUN_F_USO4, TUN_F_USO6 = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
TSO = TUN_F_TSO4 | TUN_F_TSO6
OFFLOADS: tuple[tuple[int, Offload], ...] = (
    (TUN_F_CSUM | TSO | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6, Offload.CHECKSUM | Offload.SEGMENTATION | Offload.UDP_SEGMENTATION),
    (TUN_F_CSUM | TSO | TUN_F_TSO_ECN, Offload.CHECKSUM | Offload.SEGMENTATION),
    (TUN_F_CSUM, Offload.CHECKSUM),
)
"""What is asked of the kernel, the most first: UDP since Linux 6.2."""
VIRTIO_HEADER = 10
IFREQ = struct.Struct("16sH22x")


class InterfaceCounters(NamedTuple):
    """What the kernel counts on an interface, seen from its side: tx is what a reader of the TAP gets."""

    tx_packets: int
    tx_dropped: int
    rx_packets: int
    rx_dropped: int


class Tap:
    """
    Owns the descriptors of a TAP from here on, and closes them.

    Args:
        fd: a descriptor that is attached to a TAP.
        queues: how many queues the interface is to have; with more than one the others are opened here.
        offload: have the kernel hand over superframes, and leave checksums to us, as far as it can.

    Raises:
        Failure: the descriptor is no TAP that vnic can read, or the other queues cannot be had; it still belongs to the caller then.

    Attributes:
        fd: the descriptor, of the first queue: non-blocking, not inherited by children.
        fds: the descriptors of all queues, in order.
        name: the interface's name when last asked for.
        index: the interface's number, which outlives a change of name, but perhaps not one of the network namespace.
        ephemeral: the interface goes when the last descriptor of it is closed.
        offload: what the kernel leaves to us, and takes from us; NONE unless a virtio header stands before each frame.
    """

    def __init__(self, fd: int, queues: int = 1, *, offload: bool = False) -> None:
        self.fd = fd
        self.fds = [fd]
        self.name, flags = _attached(fd)
        if flags & IFF_VNET_HDR and not offload:
            what = f"descriptor {fd} ({self.name!a}) puts a virtio header before each frame"
            raise Failure(Exit.CONFIG, what, "configure offload = true, or open it with IFF_TAP | IFF_NO_PI and no other flag")
        if problem := _unreadable(flags, queues) or _unreadable(_flags_without_filter(fd), queues):
            wanted = "IFF_TAP | IFF_NO_PI and no other flag" if queues == 1 else "IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE"
            raise Failure(Exit.CONFIG, f"descriptor {fd} ({self.name!a}) {problem}", f"open it with {wanted}")
        self.ephemeral = not flags & IFF_PERSIST
        try:
            self.index = socket.if_nametoindex(self.name)
        except OSError:
            remedy = "start vnic in the network namespace of the interface"
            raise Failure(Exit.CONFIG, f"descriptor {fd} is interface {self.name!a}, which is not in this namespace", remedy) from None
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
        # The last user of a persistent TAP may have left offloads on: frames would come 64 KiB long and without checksums.
        fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
        if queues > 1:
            self._open_further(queues, bool(flags & IFF_VNET_HDR))
        self.offload = _take_offload(fd) if flags & IFF_VNET_HDR else Offload.NONE

    def _open_further(self, queues: int, headers: bool) -> None:
        """Open the other queues of the interface; all of them, or none."""
        try:
            while len(self.fds) < queues:
                fd = _open_device(self.name, queues)
                self.fds.append(fd)
                _attach(fd, self.name, queues, headers)
                if socket.if_nametoindex(_attached(fd)[0]) != self.index:
                    raise Failure(Exit.UNAVAILABLE, f"{self.name!a} was renamed while its queues were opened", "start vnic again")
            _require_all_ours(self.name, queues)
        except BaseException:
            for fd in self.fds[1:]:
                os.close(fd)
            raise

    def refresh_name(self) -> str:
        """
        Ask the kernel for the interface's name, which anybody may have changed.

        Raises:
            Failure: the interface was deleted.
        """
        self.name, _ = _attached(self.fd)
        return self.name

    def is_here(self) -> bool | None:
        """Whether the interface is in our network namespace; None: the kernel does not say, as to those who may not administer it."""
        try:
            namespace = fcntl.ioctl(self.fd, TUNGETDEVNETNS)
        except OSError:
            return None
        try:
            return os.path.samestat(os.fstat(namespace), Path("/proc/self/ns/net").stat())
        finally:
            os.close(namespace)

    def close(self) -> None:
        """
        Give the descriptors up; closing twice is allowed. An ephemeral interface is gone afterwards.
        """
        fds, self.fds, self.fd = self.fds, [], -1
        for fd in fds:
            # a driver may have closed it
            with contextlib.suppress(OSError):
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_tap(name: str, queues: int = 1, *, offload: bool = False) -> Tap:
    """
    Attach to a TAP, or create it if there is no interface of that name.

    Args:
        name: the interface's name.
        queues: 1 to `MAX_QUEUES`; an interface that is there must have been made for several, or for one.
        offload: with virtio headers, and as much offload as the kernel has.

    Returns:
        The TAP, which owns its descriptors.

    Raises:
        Failure: no such device, no permission, in use, or not a name or an interface for a TAP with so many queues.
    """
    check_name(name)
    fd = _open_device(name, queues)
    try:
        _attach(fd, name, queues, offload)
        return Tap(fd, queues, offload=offload)
    except BaseException:
        os.close(fd)
        raise


def adopt_tap(fd: int, queues: int = 1, *, offload: bool = False) -> Tap:
    """
    Take over a descriptor that the process was started with.

    Args:
        fd: the descriptor; it belongs to the result, or still to the caller if this raises.
        queues: with more than one it must be a queue of several; the others are opened by the interface's name.
        offload: take as much as the kernel has, if the descriptor was opened with IFF_VNET_HDR.

    Returns:
        The TAP, which owns its descriptors.

    Raises:
        Failure: the descriptor is not open, or is no TAP that vnic can read.
    """
    return Tap(fd, queues, offload=offload)


def check_name(name: str) -> None:
    """
    Refuse what the kernel would refuse, or would take for something else than a name.

    Raises:
        Failure: the name is empty, too long, or has a character that no interface name should have.
    """
    remedy = f"use 1 to {MAX_NAME} letters, digits, '.', '_' or '-'"
    if not name:
        raise Failure(Exit.CONFIG, "interface name is empty", remedy)
    if len(os.fsencode(name)) > MAX_NAME:
        raise Failure(Exit.CONFIG, f"interface name too long: {name!a}", remedy)
    # Above ASCII the kernel's own rule is about single bytes (0xA0 is a space to it); '%' starts a pattern, like vnic%d.
    if name in (".", "..") or any(not "!" <= character <= "~" or character in "/:%" for character in name):
        raise Failure(Exit.CONFIG, f"interface name not allowed: {name!a}", remedy)


def interface_counters(name: str) -> InterfaceCounters | None:
    """
    Read what the kernel counted on an interface since it exists.

    One read of /proc/self/net/dev: 25 us, and 1 us more for each further interface. /proc/self is the
    main thread, so the main thread's network namespace is looked at, whichever thread asks.

    Args:
        name: the interface's name now.

    Returns:
        The counters, or None if there is no such interface, or they cannot be read.
    """
    label = os.fsencode(name) + b":"
    try:
        table = Path("/proc/self/net/dev").read_bytes()
    except OSError:
        return None
    for line in table.splitlines():
        if line.lstrip().startswith(label):
            columns = line.lstrip().removeprefix(label).split()
            return InterfaceCounters(*(int(columns[column]) for column in (9, 11, 1, 3)))
    return None


def _open_device(name: str, queues: int) -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise cannot_open(name, error, queues) from None


def _attach(fd: int, name: str, queues: int, headers: bool) -> None:
    """Make a descriptor the interface, or a queue of it, with virtio headers or without."""
    flags = IFF_TAP | IFF_NO_PI | (IFF_MULTI_QUEUE if queues > 1 else 0) | (IFF_VNET_HDR if headers else 0)
    try:
        fcntl.ioctl(fd, TUNSETIFF, IFREQ.pack(name.encode(), flags))
    except OSError as error:
        raise cannot_attach(name, error, queues) from None


def _require_all_ours(name: str, queues: int) -> None:
    """
    Refuse an interface of which somebody else has queues: the kernel would give him a part of the frames.

    With one queue the kernel refuses by itself. One that does not tell how many there are is older than Linux 5.5; there it is not noticed.
    """
    found = queues_of(name)
    if found is not None and found > queues:
        what = f"{name!a} is in use, {found - queues} of its {found} queues are another's{holder(name)}"
        raise Failure(Exit.BUSY, what, "stop that process, or choose another interface")


def _attached(fd: int) -> tuple[str, int]:
    try:
        name, flags = IFREQ.unpack(fcntl.ioctl(fd, TUNGETIFF, bytes(IFREQ.size)))
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EBADFD:
            what = f"descriptor {fd} has no interface, it was deleted or never attached"
            raise Failure(Exit.UNAVAILABLE, what, "create the interface, then start vnic") from None
        raise Failure(Exit.CONFIG, f"descriptor {fd} is no TAP", "pass the number of an open, attached TAP descriptor") from None
    return os.fsdecode(name.rstrip(b"\0")), flags


def _flags_without_filter(fd: int) -> int:
    """
    Remove the filter that an earlier user may have left, which would hide frames, and tell the flags.

    TUNGETIFF has one bit for two facts, IFF_NO_PI and "no filter". While a filter is there, one that lets everything pass, the
    bit says what we want to know.
    """
    program = array("B", struct.pack("=HBBI", BPF_RET_CONSTANT, 0, 0, 0xFFFFFFFF))
    fcntl.ioctl(fd, TUNATTACHFILTER, struct.pack("HP", 1, program.buffer_info()[0]))
    _, flags = _attached(fd)
    fcntl.ioctl(fd, TUNDETACHFILTER, bytes(struct.calcsize("HP")))
    return flags


def _take_offload(fd: int) -> Offload:
    """
    Ask the kernel for superframes and checksums, the most first. The header has the order of this machine.

    Without any of it a header stands before each frame all the same, so checksums are had even from a kernel that leaves none to us.
    """
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VIRTIO_HEADER))
    fcntl.ioctl(fd, TUNSETVNETLE, struct.pack("i", sys.byteorder == "little"))
    for flags, offload in OFFLOADS:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, TUNSETOFFLOAD, flags)
            return offload
    return Offload.CHECKSUM


def _unreadable(flags: int, queues: int) -> str | None:
    if not flags & IFF_TAP:
        return "is a TUN, which has no Ethernet frames"
    if not flags & IFF_NO_PI:
        return "puts packet information before each frame"
    if queues > 1:
        return None if flags & IFF_MULTI_QUEUE else f"is the only queue of its interface, and {queues} are asked for"
    return "is one queue of several and would see a part of the frames" if flags & IFF_MULTI_QUEUE else None
