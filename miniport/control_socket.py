"""
The socket of the control plane: made for its owner and its group only, never taken from a daemon that lives; and who is at its other end.

Next: `miniport/connection.py`, one client.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

from miniport.errors import Exit, Failure
from miniport.log import escape
from miniport.runtime_dir import make_folder

if TYPE_CHECKING:
    from pathlib import Path

MODE = 0o660
SO_PEERGROUPS = 59
MAX_GROUPS = 1024


class Peer(NamedTuple):
    """Who is at the other end, as the kernel says."""

    pid: int
    uid: int
    gids: tuple[int, ...]


def bind_socket(path: Path) -> socket.socket:
    """
    Make the socket; one that a dead daemon left is replaced.

    Raises:
        Failure: another daemon answers there, or something else is there.
        OSError: it cannot be made.
    """
    make_folder(path.parent)
    clear_the_way(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    # the mode must be right before anybody can connect
    before = os.umask(0o777 & ~MODE)
    try:
        made.bind(os.fspath(path))
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def clear_the_way(path: Path) -> None:
    """
    Remove the socket of a daemon that is dead.

    Raises:
        Failure: the daemon lives, or the file is no socket.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    where = escape(str(path))
    if not stat.S_ISSOCK(found.st_mode):
        raise Failure(Exit.CONFIG, f"control socket {where}: something else is there", "move it, or give another path with --control")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except (BlockingIOError, PermissionError):
            # somebody listens
            pass
    raise Failure(Exit.BUSY, f"control socket {where}: another daemon answers there", "stop it, or give another path with --control")


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who is at the other end."""
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MAX_GROUPS)
    except OSError:
        groups = b""
    return Peer(pid, uid, (gid, *struct.unpack(f"{len(groups) // 4}i", groups[: len(groups) // 4 * 4])))
