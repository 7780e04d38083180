"""
A capture file of packets, with what is known of each, for tcpdump, tshark and Wireshark (pcapng).

Next: `miniport/inspector/text.py`, what a terminal shows.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Sequence
from typing import Any

from miniport.errors import Exit, Failure
from miniport.log import escape

ETHERNET, NANOSECONDS, COMMENT, NAME, RESOLUTION = 1, 9, 1, 2, 9
LONGEST_COMMENT = 1000


def write_capture(path: str, answers: Sequence[dict[str, Any]]) -> int:
    """
    Write the frames of packets to a file.

    Args:
        path: where to; what is there is overwritten, unless it is a link.
        answers: the view `packet` of each, with its bytes.

    Returns:
        Bytes written.

    Raises:
        Failure: the file cannot be written.
    """
    blocks = [packet_block(bytes.fromhex(answer["bytes_hex"]), answer["time_received_ns"], comment_of(answer)) for answer in answers]
    return write_private(path, b"".join([file_head(answers[0]["name"] if answers else ""), *blocks]))


def write_private(path: str, content: bytes) -> int:
    """
    Write a file for its owner only: frames are other people's letters.

    Raises:
        Failure: it cannot be written.
    """
    try:
        # to open a FIFO that nobody reads would wait for ever
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        with open(fd, "wb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("no regular file")
            return file.write(content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Failure(Exit.CONFIG, f"{escape(path)}: cannot be written", reason) from None


def comment_of(answer: dict[str, Any]) -> str:
    """Who holds the packet, for how long, and since which line."""
    holders = [f"{holder['driver']} owes {holder['owed']} (kept at {holder['kept_at']})" for holder in answer["holders"]]
    age = answer["received_s_ago"]
    came = f", received {age:.3f} s before" if age is not None else ""
    head = f"{answer['pool']}[{answer['packet']}].{answer['generation']} {answer['state']}{came}"
    return escape("; ".join([head, *holders]))[:LONGEST_COMMENT]


def file_head(interface: str) -> bytes:
    """Make the section header and the description of the interface."""
    section = _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    options = _option(NAME, interface.encode()) + _option(RESOLUTION, bytes([NANOSECONDS])) + _option(0, b"")
    return section + _block(1, struct.pack("<HHI", ETHERNET, 0, 0) + options)


def packet_block(frame: bytes, time_ns: int, comment: str) -> bytes:
    """Make the block of one frame, with a comment."""
    head = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(frame), len(frame))
    return _block(6, head + _padded(frame) + _option(COMMENT, comment.encode()) + _option(0, b""))


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
