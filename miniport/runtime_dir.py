"""
Where a daemon's control socket and its state file are, for the daemon that makes them and for the client that looks for them.

Next: `miniport/control.py`, what answers there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from miniport.errors import Exit, Failure
from miniport.log import escape

AUTO, OFF = "auto", "off"
MAX_PATH = 107
"""Bytes of the path of a socket, by the kernel's law."""
SYSTEM = Path("/run/vnic")


def folder_of_daemon() -> Path:
    """Where a daemon of this user puts its socket: the service manager's folder, the system's, the session's, or one in /tmp."""
    if given := os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    if os.geteuid() == 0:
        return SYSTEM
    if session := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(session) / "vnic"
    return Path(f"/tmp/vnic-{os.geteuid()}")  # noqa: S108 - its owner and its mode are checked


def folders_of_client() -> list[Path]:
    """Where a client looks, in this order."""
    return list(dict.fromkeys([folder_of_daemon(), SYSTEM]))


def socket_path(name: str, wanted: str = AUTO) -> Path | None:
    """
    Choose where the control socket of an interface is to be.

    Args:
        name: the interface.
        wanted: a path, `auto`, or `off`.

    Returns:
        The path; None: there is to be no socket.

    Raises:
        Failure: the path is longer than the kernel allows.
    """
    if wanted == OFF:
        return None
    path = folder_of_daemon() / f"{name}.sock" if wanted == AUTO else Path(wanted).absolute()
    if (length := len(os.fsencode(path))) > MAX_PATH:
        what = f"control socket {escape(str(path))}: the path has {length} bytes, a socket's can have {MAX_PATH}"
        raise Failure(Exit.CONFIG, what, "give a shorter one with --control")
    return path


def state_path(socket: Path) -> Path:
    """The state file that belongs to a socket."""
    return socket.with_suffix(".state") if socket.suffix == ".sock" else socket.with_name(f"{socket.name}.state")


def make_folder(path: Path) -> None:
    """
    Make a folder for sockets that only its owner can enter; one that is there is left as it is.

    Raises:
        Failure: somebody else could put something in the folder that is there.
        OSError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        found = path.lstat()
        trusted = (0, os.geteuid())
        if stat.S_ISLNK(found.st_mode) and found.st_uid in trusted and path == folder_of_daemon():
            # a service manager puts the folder of a user that it makes up out of the others' reach, behind a link of its own
            found = path.stat()
        theirs = found.st_uid not in trusted
        open_to_all = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
        if not stat.S_ISDIR(found.st_mode) or theirs or open_to_all:
            what = f"control socket: {escape(str(path))} is not a folder that only you or root can write to"
            raise Failure(Exit.PERMISSION, what, "remove it, or give another path with --control") from None
