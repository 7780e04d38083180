"""
A VLAN of the kernel's on an interface: its own VLAN device, or, where the kernel was built without, a relay that does the same.

Next: `tests/tap/test_filters.py`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import threading
from typing import TYPE_CHECKING

from tap.daemon import ip

from miniport.tap import open_tap

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKET_AUXDATA = 8
SOL_PACKET = 263
AUXDATA = struct.Struct("=IIIHHHH")
VLAN_VALID = 0x10
LONGEST = 2048


@contextlib.contextmanager
def vlan(number: int, address: str, below: str = "vnic0") -> Iterator[None]:
    """Give the kernel an interface in a VLAN, up, with an address."""
    name = f"{below}.{number}"
    command = ["ip", "link", "add", "link", below, "name", name, "type", "vlan", "id", str(number)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if made.returncode:
        assert "Unknown device type" in made.stderr, made.stderr
    with contextlib.nullcontext() if made.returncode == 0 else relayed(name, number, below):
        ip("addr", "add", address, "dev", name)
        ip("link", "set", name, "up")
        yield


@contextlib.contextmanager
def relayed(name: str, number: int, below: str) -> Iterator[None]:
    """Make a TAP whose frames leave `below` with a tag; those that come in there with this tag come out of the TAP without it."""
    tap = open_tap(name)
    ending, end = os.pipe()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as wire:
        wire.bind((below, 0x0003))
        wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        thread = threading.Thread(target=relay, args=(tap.fd, wire, ending, number), daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.close(end)
            thread.join(10)
            os.close(ending)
            tap.close()


def relay(tap: int, wire: socket.socket, ending: int, number: int) -> None:
    """Tag and untag, until the other end of `ending` is closed."""
    tag = b"\x81\x00" + number.to_bytes(2)
    while True:
        ready = select.select([tap, wire.fileno(), ending], [], [])[0]
        if ending in ready:
            return
        if tap in ready:
            frame = os.read(tap, LONGEST)
            wire.send(frame[:12] + tag + frame[12:])
        if wire.fileno() in ready:
            frame, told, _, sender = wire.recvmsg(LONGEST, socket.CMSG_SPACE(AUXDATA.size))
            status, *_, control, _ = AUXDATA.unpack(told[0][2])
            if sender[2] != socket.PACKET_OUTGOING and status & VLAN_VALID and control & 0xFFF == number:
                os.write(tap, frame)
