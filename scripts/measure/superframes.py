"""
Superframes of TCP drained from a TAP with virtio headers: by drivers that have asked for them, against a bare C loop on the same TAP.

One that has not asked is shown segments; it stands beside a C loop that reads as many ordinary frames of the same payload.

Next: `queues.py`, several queues of one TAP.
"""

from __future__ import annotations

import fcntl
import os
import struct

from contest import Found, Setting, contest
from readers import Counter, Keeper, Reader
from taps import IFF_NO_PI, IFF_TAP, SOL_PACKET, TUNSETIFF, Tap

from vnic import ProtocolDriver
from vnic.offload import Offload

TUNSETOFFLOAD, IFF_VNET_HDR, PACKET_VNET_HDR = 0x400454D0, 0x4000, 15
TSO = 0x0F
MSS = 1448
HEADERS = 14 + 20 + 32
PAYLOADS = (MSS * 44, MSS * 22, MSS * 6)
"""Nearly 64 KiB, as the kernel makes them when much is sent; a half; and a few segments."""
FRAMES, BURST = 2000, 100
ALL = Offload.CHECKSUM | Offload.SEGMENTATION


class AskingCounter(Counter):
    """Count superframes."""

    offload = Offload.SEGMENTATION


class AskingKeeper(Keeper):
    """Keep each superframe until its batch is over."""

    offload = Offload.SEGMENTATION


def superframe(payload: int) -> bytes:
    """A virtio header, and TCP over IPv4 with a timestamp option; what is sent, nobody looks at."""
    virtio = struct.pack("=BBHHHH", 1, 1, HEADERS, MSS, 34, 16)
    ethernet = b"\xff" * 6 + b"\x02\0\0\0\0\x64" + b"\x08\0"
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 52 + payload, 1, 0x4000, 64, 6, 0, b"\x0a\0\0\x01", b"\x0a\0\0\x02")
    tcp = struct.pack(">HHIIBBHHH", 1, 2, 3, 4, 0x80, 0x10, 1000, 0, 0) + b"\x01\x01\x08\x0a" + bytes(8)
    return virtio + ethernet + ip + tcp + bytes(payload)


def open_with_offload(name: str) -> int:
    """Make a TAP with virtio headers, whose kernel side hands over superframes."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(fd, TUNSETOFFLOAD, TSO)
    return fd


class SuperTap(Tap):
    """A TAP whose queue is filled with superframes."""

    def __init__(self, payload: int, setting: Setting, name: str) -> None:
        fd = open_with_offload(name)
        super().__init__(64, BURST, name=name, fd=fd, clock=setting.clock)
        self.own = True
        self.sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.frame = superframe(payload)

    def fill(self, count: int) -> int:
        """Queue so many superframes; answers how many there are."""
        return int(self.floor.fill_superframes(self.sender.fileno(), self.index, self.frame, len(self.frame), count))


def measure(setting: Setting) -> list[Found]:
    """Superframes of three sizes, and one that is cut."""
    answers: list[Found] = []
    for nth, payload in enumerate(PAYLOADS):
        tap = SuperTap(payload, setting, f"super{nth}")
        drivers: dict[str, list[ProtocolDriver]] = {
            "TCP superframes": [AskingCounter()],
            "TCP superframes, two drivers, one keeps and returns": [AskingCounter(), AskingKeeper()],
            "TCP superframes, no driver": [],
            "TCP superframes, cut for one who has not asked": [Counter()],
        }
        readers = {name: Reader(tap.fd, bound, clock=setting.clock, offload=ALL) for name, bound in drivers.items()}
        found = contest(
            tap,
            tap.drain,
            {name: reader.drain for name, reader in readers.items()},
            rounds=setting.rounds,
            frames=FRAMES,
            burst=BURST,
            tolerance=setting.tolerance,
        )
        for name, figure in found.items():
            figure.name = name if nth == 0 else f"{name}, {payload // 1000} kB"
            if figure.us:
                figure.more["GB/s"] = round((payload + HEADERS) / figure.us / 1000, 2)
            answers.append(figure)
        for reader in readers.values():
            reader.close()
        tap.close()
    return answers
