"""
Capture: write every frame to a pcapng file, with nanosecond timestamps and the direction, for tcpdump, tshark and Wireshark.

Blocks collect in memory and are written together. Whatever could not be written whole is cut off again and counted, so a file can
be read to its end even if the disk was full.

Next: `protocol/hold.py`, which keeps packets.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from errno import EEXIST, ENOSPC
from io import FileIO
from pathlib import Path
from threading import Lock

from vnic import LOOPBACK, Packet, PacketFilter, ProtocolDriver

LARGEST_SNAPLEN = 262_144
"""The largest that libpcap reads."""
FLUSH_SIZE = 1 << 16
FLUSH_NS = 1_000_000_000
MOST_KEPT = 1000
"""Older files: each of them is renamed when a new one begins, and no frame passes meanwhile."""
COMPLAINT_NS = 60_000_000_000
"""While frames are lost, that is told so often; at the end of a file it is told anyway, if it was not yet."""
ETHERNET, NANOSECONDS = 1, 9
INBOUND, OUTBOUND = 1, 2


class Capture(ProtocolDriver):
    """
    Write frames to a file, keep no packet. What this adapter sends is captured too, as outbound.

    Attributes:
        frames: frames captured.
        lost: those of them that could not be written.
        told: those of them that an error has told of.
    """

    packet_filter = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL

    def __init__(self, *, file: str, snaplen: int = LARGEST_SNAPLEN, rotate_bytes: int = 0, keep: int = 10) -> None:
        """
        Check the options; the file is opened when the driver is bound.

        Args:
            file: where to write. A file that is there already becomes FILE.1, that one FILE.2, and so on.
            snaplen: bytes to write of each frame.
            rotate_bytes: begin a new file before one gets larger than this; 0 for never.
            keep: how many older files to keep, 1000 at most.

        Raises:
            ValueError: an option is out of its range.
        """
        if not file:
            raise ValueError("file is empty: name the file to write")
        if not 1 <= snaplen <= LARGEST_SNAPLEN:
            raise ValueError(f"snaplen {snaplen} is outside 1..{LARGEST_SNAPLEN}")
        if rotate_bytes < 0:
            raise ValueError(f"rotate_bytes {rotate_bytes} is negative: give bytes, or 0 for never")
        if not 1 <= keep <= MOST_KEPT:
            raise ValueError(f"keep {keep} is outside 1..{MOST_KEPT}: give the number of older files to keep")
        self.file, self.snaplen, self.rotate_bytes, self.keep = Path(file), snaplen, rotate_bytes, keep
        self.frames = self.lost = self.told = 0
        self.lock = Lock()  # looped-back frames come on the thread that sent them
        self.out: FileIO | None = None
        self.blocks = bytearray()
        self.waiting = self.last_ns = self.next_flush_ns = self.next_complaint_ns = self.size = self.room = self.file_frames = 0
        self.error: OSError | None = None

    def bind_adapter(self) -> None:
        """Open the file."""
        with self.lock:
            self.next_complaint_ns = 0
            self.start_file()

    def unbind_adapter(self) -> None:
        """Write what is left and close the file."""
        with self.lock:
            self.flush()
            if self.out is not None:
                self.out.close()
            self.out = None
            self.complain(ended=True)

    def rotate(self) -> None:
        """Begin a new file."""
        with self.lock:
            self.renew()
            self.complain(ended=True)

    def receive_packet(self, packet: Packet) -> int:
        """Copy the frame; the packet is not kept."""
        self.add(bytes(packet.data[: self.snaplen]), packet.length, packet.flags)
        return 0

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        """Copy the frame while packets are low."""
        frame = bytes(header) + bytes(lookahead[: self.snaplen])
        self.add(frame[: self.snaplen], len(header) + packet_size, context.flags)

    def receive_complete(self) -> None:
        """Write what has collected, at most once a second."""
        with self.lock:
            if time.monotonic_ns() >= self.next_flush_ns:
                self.flush()
                self.complain()

    def add(self, frame: bytes, length: int, flags: int) -> None:
        """Append a frame that was `length` bytes long: an enhanced packet block."""
        padding = bytes(-len(frame) % 4)
        size = 44 + len(frame) + len(padding)
        direction = OUTBOUND if flags & LOOPBACK else INBOUND
        with self.lock:
            if self.rotate_bytes and self.file_frames and size > self.room:
                self.renew()
            # the order of the file is the order of time, even if the clock is set back
            self.last_ns = now = max(self.last_ns, time.time_ns())
            self.blocks += struct.pack("<7I", 6, size, 0, now >> 32, now & 0xFFFFFFFF, len(frame), length) + frame + padding
            self.blocks += struct.pack("<HHIHHI", 2, 4, direction, 0, 0, size)
            self.room -= size
            self.frames += 1
            self.file_frames += 1
            self.waiting += 1
            if len(self.blocks) >= FLUSH_SIZE:
                self.flush()
            self.complain()

    def flush(self) -> None:
        """Write what has collected; after an error the file ends where it ended before."""
        self.next_flush_ns = time.monotonic_ns() + FLUSH_NS
        if self.out is None or not self.blocks:
            return
        try:
            write(self.out, self.blocks)
            self.size += len(self.blocks)
        except OSError as error:
            self.error = error
            self.lost += self.waiting
            with suppress(OSError):
                self.out.truncate(self.size)
                self.out.seek(self.size)
        self.blocks.clear()
        self.waiting = 0

    def renew(self) -> None:
        """Begin a new file; if that fails, the old one goes on."""
        if self.out is None:
            return
        self.flush()
        self.room = self.rotate_bytes
        try:
            self.start_file()
        except OSError as error:
            self.error = error

    def start_file(self) -> None:
        """Write the head of a new file under a name of its own; only then do the others move up and does it take its place."""
        if self.file.exists() and not self.file.is_file():
            raise FileExistsError(EEXIST, "is no regular file", str(self.file))
        head, fresh = file_head(self.binding.adapter.name, self.snaplen), Path(f"{self.file}.new")
        out = FileIO(str(fresh), "w", opener=open_private)
        try:
            write(out, head)
            free = next((number for number in range(self.keep) if not os.path.lexists(self.older(number))), self.keep)
            for number in range(free, 0, -1):
                with suppress(FileNotFoundError):
                    self.older(number - 1).replace(self.older(number))
            fresh.replace(self.file)
        except OSError:
            out.close()
            fresh.unlink(missing_ok=True)
            raise
        if self.out is not None:
            self.out.close()
        self.out, self.size, self.room = out, len(head), self.rotate_bytes - len(head)
        self.file_frames = 0

    def older(self, number: int) -> Path:
        """The name of an older file; 0 is the one that is written."""
        return Path(f"{self.file}.{number}") if number else self.file

    def complain(self, *, ended: bool = False) -> None:
        """Raise an error that came up: at once, then once a minute as long as frames are lost, and in the end for those not yet told of."""
        error = self.error
        if error is None:
            return
        untold, now = self.lost > self.told, time.monotonic_ns()
        if now < self.next_complaint_ns and not (ended and untold):
            if not untold:
                self.error = None
            return
        self.error, self.told, self.next_complaint_ns = None, self.lost, now + COMPLAINT_NS
        raise OSError(error.errno, f"{error.strerror}; {self.lost} frames lost so far", str(self.file)) from error


def file_head(name: str, snaplen: int) -> bytes:
    """Make the section header block and the interface description block."""
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface_name = name.encode()
    options = struct.pack("<HH", 2, len(interface_name)) + interface_name + bytes(-len(interface_name) % 4)
    options += struct.pack("<HHB3xHH", 9, 1, NANOSECONDS, 0, 0)
    size = 20 + len(options)
    return section + struct.pack("<IIHHI", 1, size, ETHERNET, 0, snaplen) + options + struct.pack("<I", size)


def write(out: FileIO, data: bytes | bytearray) -> None:
    """
    Write all of it; a regular file takes less only if the disk is full.

    Raises:
        OSError: not all of it was written.
    """
    if out.write(data) != len(data):
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def open_private(path: str, flags: int) -> int:
    """Open a file for its owner only: frames are other people's letters."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
