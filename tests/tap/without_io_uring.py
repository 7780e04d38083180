"""
Runs a program in a system where some system calls are refused, as a container or a unit of systemd refuses them.

    python without_io_uring.py NUMBER[,NUMBER] PROGRAM ARGUMENTS
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1
"""Let it pass; EPERM."""


def main() -> None:
    refused = [int(number) for number in sys.argv[1].split(",")]
    lines = [struct.pack("HBBI", LOAD, 0, 0, 0)]
    for number in refused:
        lines += [struct.pack("HBBI", EQUAL, 0, 1, number), struct.pack("HBBI", RETURN, 0, 0, REFUSE)]
    lines.append(struct.pack("HBBI", RETURN, 0, 0, ALLOW))
    program = ctypes.create_string_buffer(b"".join(lines))
    header = struct.pack("HP", len(lines), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header):
        raise OSError(ctypes.get_errno(), "seccomp")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
