"""
Why a TAP could not be had, each in one line with a remedy; and what else the kernel says of an interface.

Next: `miniport/tap.py`, which asks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shlex
import socket
import struct
from array import array
from pathlib import Path

from miniport.errors import Exit, Failure

DEVICE = "/dev/net/tun"
MAX_QUEUES = 256
"""Queues that the kernel gives an interface: MAX_TAP_QUEUES."""
SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO = 0x03
ETHTOOL_GCHANNELS = 0x3C


def cannot_open(name: str, error: OSError, queues: int) -> Failure:
    """Explain why the device could not be opened."""
    if error.errno in (errno.EACCES, errno.EPERM):
        remedy = f"as root: chmod 0666 {DEVICE} && {_create_command(name, queues)}"
        return Failure(Exit.PERMISSION, f"no permission to open {DEVICE}", remedy)
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
        return Failure(Exit.UNAVAILABLE, f"no {DEVICE}", f"modprobe tun, or pass --device {DEVICE} to the container")
    return Failure(Exit.UNAVAILABLE, f"cannot open {DEVICE}", os.strerror(error.errno or 0))


def cannot_attach(name: str, error: OSError, queues: int) -> Failure:
    """Explain why a descriptor could not become the interface, or so many queues of it."""
    create = _create_command(name, queues)
    if error.errno == errno.EPERM and _driver(name) is None:
        return Failure(Exit.PERMISSION, f"no permission to create {name!a}", f"as root: {create}")
    delete = f"ip tuntap del {shlex.quote(name)} mode tap"
    if error.errno == errno.EPERM:
        several = " multi_queue" if queues > 1 else ""
        return Failure(Exit.PERMISSION, f"{name!a} belongs to another user", f"as root: {delete}{several} && {create}")
    if error.errno == errno.EBUSY:
        return Failure(Exit.BUSY, f"{name!a} is in use{holder(name)}", "stop that process, or choose another interface")
    if error.errno == errno.E2BIG:
        what = f"{name!a} has no room for {queues} queues more, its {MAX_QUEUES} are in use{holder(name)}"
        return Failure(Exit.BUSY, what, "stop that process, or choose another interface")
    if error.errno == errno.EINVAL and _driver(name) == ("tun", "tap"):
        # what it was made for cannot be changed
        if queues > 1:
            return Failure(Exit.CONFIG, f"{name!a} is a TAP with one queue, {queues} are asked for", f"as root: {delete} && {create}")
        what = f"{name!a} is a TAP with several queues, one is asked for"
        return Failure(Exit.CONFIG, what, f"say --queues 2 or more, or as root: {delete} multi_queue && {create}")
    if error.errno == errno.EINVAL:
        return Failure(Exit.CONFIG, f"{name!a} exists and is no TAP", "choose another name, or delete that interface")
    return Failure(Exit.UNAVAILABLE, f"cannot attach to {name!a}", os.strerror(error.errno or 0))


def _create_command(name: str, queues: int = 1) -> str:
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    several = " multi_queue" if queues > 1 else ""
    return f"ip tuntap add {shlex.quote(name)} mode tap{several} user {shlex.quote(user)}"


def _driver(name: str) -> tuple[str, str] | None:
    """
    Find the driver and the bus of an interface, ("tun", "tap") for a TAP; None if there is no such interface.
    """
    answer = array("B", struct.pack("=I192x", ETHTOOL_GDRVINFO))
    if number := _ask_ethtool(name, answer):
        return None if number == errno.ENODEV else ("", "")
    driver, bus = struct.unpack_from("=4x32s32x32x32s", answer)
    return driver.rstrip(b"\0").decode("ascii", "replace"), bus.rstrip(b"\0").decode("ascii", "replace")


def queues_of(name: str) -> int | None:
    """How many queues of a TAP are in use, by anybody; None if the kernel does not say."""
    answer = array("I", [ETHTOOL_GCHANNELS, *[0] * 8])
    return None if _ask_ethtool(name, answer) else answer[8]


def _ask_ethtool(name: str, question: array[int]) -> int:
    """Ask about an interface, by the ioctl that ethtool uses; 0 and the answer in the question's place, or an errno."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as query:
        try:
            fcntl.ioctl(query, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), question.buffer_info()[0]))
        except OSError as error:
            return error.errno or errno.EIO
    return 0


def holder(name: str) -> str:
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
