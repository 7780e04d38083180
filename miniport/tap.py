"""
The TAP device: a descriptor that is a network interface. Opened or inherited here, read and written elsewhere.

An interface that this process created dies with its last descriptor (ephemeral); one that somebody else created stays
(persistent), and its settings are not ours to change. The carrier follows the descriptor in both cases.

Next: `miniport/link.py`, for what needs netlink: MTU, address, up, and the changes of all of them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import shlex
import socket
import struct
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from miniport.errors import Exit, Failure
from vnic.offload import Offload

if TYPE_CHECKING:
    from types import TracebackType

DEVICE = "/dev/net/tun"
MAX_NAME = 15

TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNGETIFF = 0x800454D2
TUNSETVNETHDRSZ = 0x400454D8
TUNSETVNETLE = 0x400454DC
TUNATTACHFILTER = 0x400054D5 | struct.calcsize("HP") << 16
TUNDETACHFILTER = 0x400054D6 | struct.calcsize("HP") << 16
SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO = 3
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
    Owns the descriptor of a TAP from here on, and closes it.

    Args:
        fd: a descriptor that is attached to a TAP.
        offload: have the kernel hand over superframes, and leave checksums to us, as far as it can.

    Raises:
        Failure: the descriptor is no TAP that vnic can read; it still belongs to the caller then.

    Attributes:
        fd: the descriptor: non-blocking, not inherited by children.
        name: the interface's name when last asked for.
        index: the interface's number, which outlives a change of name.
        ephemeral: the interface goes when the last descriptor of it is closed.
        offload: what the kernel leaves to us, and takes from us; NONE unless a virtio header stands before each frame.
    """

    def __init__(self, fd: int, *, offload: bool = False) -> None:
        self.fd = fd
        self.name, flags = _attached(fd)
        if flags & IFF_VNET_HDR and not offload:
            what = f"descriptor {fd} ({self.name!a}) puts a virtio header before each frame"
            raise Failure(Exit.CONFIG, what, "configure offload = true, or open it with IFF_TAP | IFF_NO_PI and no other flag")
        if problem := _unreadable(flags) or _unreadable(_flags_without_filter(fd)):
            raise Failure(Exit.CONFIG, f"descriptor {fd} ({self.name!a}) {problem}", "open it with IFF_TAP | IFF_NO_PI and no other flag")
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
        self.offload = _take_offload(fd) if flags & IFF_VNET_HDR else Offload.NONE

    def refresh_name(self) -> str:
        """
        Ask the kernel for the interface's name, which anybody may have changed.

        Raises:
            Failure: the interface was deleted.
        """
        self.name, _ = _attached(self.fd)
        return self.name

    def close(self) -> None:
        """
        Give the descriptor up; closing twice is allowed. An ephemeral interface is gone afterwards.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            # a driver may have closed it
            with contextlib.suppress(OSError):
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_tap(name: str, *, offload: bool = False) -> Tap:
    """
    Attach to a TAP, or create it if there is no interface of that name.

    Args:
        name: the interface's name.
        offload: with virtio headers, and as much offload as the kernel has.

    Returns:
        The TAP, which owns its descriptor.

    Raises:
        Failure: no such device, no permission, in use, or not a name or an interface for a TAP.
    """
    check_name(name)
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_open(name, error) from None
    try:
        try:
            fcntl.ioctl(fd, TUNSETIFF, IFREQ.pack(name.encode(), IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if offload else 0)))
        except OSError as error:
            raise _cannot_attach(name, error) from None
        return Tap(fd, offload=offload)
    except BaseException:
        os.close(fd)
        raise


def adopt_tap(fd: int, *, offload: bool = False) -> Tap:
    """
    Take over a descriptor that the process was started with.

    Args:
        fd: the descriptor; it belongs to the result, or still to the caller if this raises.
        offload: take as much as the kernel has, if the descriptor was opened with IFF_VNET_HDR.

    Returns:
        The TAP, which owns its descriptor.

    Raises:
        Failure: the descriptor is not open, or is no TAP that vnic can read.
    """
    return Tap(fd, offload=offload)


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


def _unreadable(flags: int) -> str | None:
    if not flags & IFF_TAP:
        return "is a TUN, which has no Ethernet frames"
    if not flags & IFF_NO_PI:
        return "puts packet information before each frame"
    return "is one queue of several and would see a part of the frames" if flags & IFF_MULTI_QUEUE else None


def _cannot_open(name: str, error: OSError) -> Failure:
    if error.errno in (errno.EACCES, errno.EPERM):
        remedy = f"as root: chmod 0666 {DEVICE} && {_create_command(name)}"
        return Failure(Exit.PERMISSION, f"no permission to open {DEVICE}", remedy)
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
        return Failure(Exit.UNAVAILABLE, f"no {DEVICE}", f"modprobe tun, or pass --device {DEVICE} to the container")
    return Failure(Exit.UNAVAILABLE, f"cannot open {DEVICE}", os.strerror(error.errno or 0))


def _cannot_attach(name: str, error: OSError) -> Failure:
    if error.errno == errno.EPERM and _driver(name) is None:
        return Failure(Exit.PERMISSION, f"no permission to create {name!a}", f"as root: {_create_command(name)}")
    if error.errno == errno.EPERM:
        remedy = f"as root: ip tuntap del {shlex.quote(name)} mode tap && {_create_command(name)}"
        return Failure(Exit.PERMISSION, f"{name!a} belongs to another user", remedy)
    if error.errno == errno.EBUSY:
        return Failure(Exit.BUSY, f"{name!a} is in use{_holder(name)}", "stop that process, or choose another interface")
    if error.errno == errno.EINVAL:
        problem = "is a TAP with several queues, vnic reads one" if _driver(name) == ("tun", "tap") else "exists and is no TAP"
        return Failure(Exit.CONFIG, f"{name!a} {problem}", "choose another name, or delete that interface")
    return Failure(Exit.UNAVAILABLE, f"cannot attach to {name!a}", os.strerror(error.errno or 0))


def _create_command(name: str) -> str:
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return f"ip tuntap add {shlex.quote(name)} mode tap user {shlex.quote(user)}"


def _driver(name: str) -> tuple[str, str] | None:
    """
    Find the driver and the bus of an interface, ("tun", "tap") for a TAP; None if there is no such interface.
    """
    answer = array("B", struct.pack("=I192x", ETHTOOL_GDRVINFO))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as query:
        try:
            fcntl.ioctl(query, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), answer.buffer_info()[0]))
        except OSError as error:
            return None if error.errno == errno.ENODEV else ("", "")
    driver, bus = struct.unpack_from("=4x32s32x32x32s", answer)
    return driver.rstrip(b"\0").decode("ascii", "replace"), bus.rstrip(b"\0").decode("ascii", "replace")


def _holder(name: str) -> str:
    """
    Find who has a TAP of this name, in words. It is a guess: a TAP of the same name in another namespace looks the same.
    """
    wanted = b"iff:\t" + os.fsencode(name)
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) != DEVICE or wanted not in (link.parents[1] / "fdinfo" / link.name).read_bytes().splitlines():
                continue
            command = (link.parents[1] / "comm").read_bytes().rstrip(b"\n")
        except OSError:
            continue
        return f", perhaps by pid {link.parents[1].name} ({ascii(os.fsdecode(command))[1:-1]})"
    return ""
