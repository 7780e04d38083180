"""
The ground that everything is measured on: a namespace of its own, a TAP whose queue holds a whole run, and the C floor.

Next: `contest.py`, who takes turns on it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE = 0x400454CA, 0x0002, 0x1000, 0x0100
SOL_PACKET, PACKET_QDISC_BYPASS, SO_SNDBUFFORCE = 263, 20, 32
NOISE = 0.03
"""How far the floor may move within a round that is judged."""


def enter_namespace() -> None:
    """Run this program again in a network namespace of its own, where its TAP disturbs nobody."""
    if os.environ.get("VNIC_BENCH_NAMESPACE") == "1":
        return
    os.environ["VNIC_BENCH_NAMESPACE"] = "1"
    private = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    os.execvp("unshare", ["unshare", *private, sys.executable, *sys.argv])


def build_floor() -> ctypes.CDLL:
    """Compile floor.c into a temporary folder and load it."""
    folder = tempfile.mkdtemp(prefix="vnic-bench-")
    library = f"{folder}/floor.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-pthread", "-o", library, str(HERE / "floor.c")], check=True)
    floor = ctypes.CDLL(library)
    shutil.rmtree(folder)
    for name in ("drain", "drain_apart", "echo", "drain_for", "send_for"):
        getattr(floor, name).restype = ctypes.c_longlong
    return floor


def open_tap(name: str, flags: int = 0) -> int:
    """Make a TAP of this name, or with IFF_MULTI_QUEUE a queue of it; answers its descriptor, which does not block."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI | flags))
    return fd


class Tap:
    """
    A TAP whose queue holds a whole run, a socket that fills it, and the bare C loop that drains it.

    Args:
        size: bytes of a frame.
        frames: how many are queued at most.
        name: the interface; it is made, unless `fd` is that of somebody who has made it, or -1 if only he can read it.
        floor: where the C floor was built already.
        clock: what the C loop goes by: the time that passes, or `time.CLOCK_THREAD_CPUTIME_ID`.
    """

    def __init__(
        self,
        size: int,
        frames: int,
        *,
        name: str = "bench0",
        fd: int | None = None,
        floor: ctypes.CDLL | None = None,
        clock: int = time.CLOCK_MONOTONIC,
    ) -> None:
        self.name, self.clock = name, clock
        self.floor = floor or build_floor()
        self.fd = open_tap(name) if fd is None else fd
        self.own = fd is None
        if self.fd >= 0:
            os.set_blocking(self.fd, False)
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        subprocess.run(["ip", "link", "set", name, "up", "txqueuelen", str(frames + 100)], check=True)
        self.index = socket.if_nametoindex(name)
        self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sender.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        self.sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 30)
        self.frame = b"\xff" * 6 + b"\x02\0\0\0\0\x64" + b"\x88\xb5" + bytes(size - 14)
        self.floor.set_clock(clock)

    def fill(self, count: int) -> int:
        """Queue so many frames; answers how many there are."""
        return int(self.floor.fill(self.sender.fileno(), self.index, self.frame, len(self.frame), count))

    def drain(self, count: int) -> int:
        """Read so many with the bare loop; answers the nanoseconds taken."""
        got = ctypes.c_int()
        taken = int(self.floor.drain(self.fd, count, ctypes.byref(got)))
        if got.value != count:
            raise SystemExit(f"bench: the C loop read {got.value} of {count} frames")
        return taken

    def close(self) -> None:
        """The interface goes with its descriptor."""
        self.sender.close()
        if self.own:
            os.close(self.fd)
