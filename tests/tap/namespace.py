"""
Runs test bodies in private network namespaces: real TAPs, and nothing of the host's network is touched.

Next: `tests/tap/test_tap_device.py`, which uses all of it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import pickle
import select
import signal
import stat
import subprocess
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
NOBODY = 65534
LONGEST_BODY = 60.0

libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(function: Callable[..., R], *args: Any, ipv6: bool = False, seconds: float = LONGEST_BODY) -> R:
    """
    Call a function in a child process that has a network namespace of its own, with no IPv6 in it unless asked for.

    Args:
        function: what to call; its result must be picklable.
        args: its arguments.
        ipv6: let the kernel send its own IPv6 frames on every new interface.
        seconds: how long it may take.

    Returns:
        What the function returned.

    Raises:
        AssertionError: the function raised, or took too long; with the child's traceback.
    """
    return _in_child(functools.partial(_enter_namespace, ipv6), function, args, seconds)


def as_nobody(function: Callable[..., R], *args: Any) -> R:
    """
    Call a function in a child process of another user without any capability, in the namespaces of the caller.
    """
    return _in_child(_become_nobody, function, args, LONGEST_BODY)


def namespaced(test: Callable[P, R]) -> Callable[P, R]:
    """
    Run a test's body in a network namespace of its own; skip the test where that cannot be.
    """
    return namespaced_for(LONGEST_BODY)(test)


def namespaced_for(seconds: float) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    The same, for a test with much to do, which takes long on a slow machine.
    """

    def wrap(test: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            return in_namespace(functools.partial(test, *args, **kwargs), seconds=seconds)

        for mark in NEEDS_TAP:
            run = mark(run)
        return run

    return wrap


def replace_device(mode: int | None) -> None:
    """
    Show this process, and the children it starts from now on, another /dev/net/tun.

    Args:
        mode: its permission bits, or None for no device at all.
    """
    try:
        _unshare(CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/net"], check=True, capture_output=True)
        if mode is not None:
            os.mknod("/dev/net/tun", stat.S_IFCHR, os.makedev(10, 200))
            Path("/dev/net/tun").chmod(mode)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("needs root with CAP_SYS_ADMIN and CAP_MKNOD, to put another /dev/net/tun in place of the real one")


def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """
    Wait until a condition holds; fail if it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.002)


def _in_child(prepare: Callable[[], None], function: Callable[..., R], args: tuple[Any, ...], seconds: float) -> R:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _report(writer, prepare, function, args)
    os.close(writer)
    try:
        outcome = _read_all(reader, time.monotonic() + seconds)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert outcome, f"the child died, or was killed after {seconds:.0f} seconds, without a result"
    kind, value = pickle.loads(outcome)
    if kind == "skipped":
        pytest.skip(value)
    assert kind == "returned", f"in the child process:\n{value}"
    result: R = value
    return result


def _report(writer: int, prepare: Callable[[], None], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    outcome: tuple[str, Any]
    try:
        prepare()
        # what earlier tests left to the collector of garbage must not go in the middle of one that counts descriptors
        gc.collect()
        outcome = ("returned", function(*args))
    except pytest.skip.Exception as skipped:
        outcome = ("skipped", skipped.msg)
    except BaseException:
        outcome = ("raised", traceback.format_exc())
    try:
        data = pickle.dumps(outcome)
    except Exception:
        data = pickle.dumps(("raised", traceback.format_exc()))
    with open(writer, "wb") as pipe:
        pipe.write(data)
    # Not sys.exit: the child is a copy of the test runner, whose own clean-up must run once.
    os._exit(0)


def _read_all(reader: int, deadline: float) -> bytes:
    data = b""
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(reader, 65536)
        if not chunk:
            return data
        data += chunk
    return b""


def _enter_namespace(ipv6: bool) -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        _unshare(CLONE_NEWNET)
    except PermissionError:
        _unshare(CLONE_NEWUSER | CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    if not ipv6:
        for which in ("all", "default"):
            switch = Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6")
            if switch.exists():
                switch.write_text("1")


def _become_nobody() -> None:
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    except OSError:
        pytest.skip("needs root, to become a user without capabilities")


def _unshare(flags: int) -> None:
    if libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _can_make_taps() -> bool:
    def create() -> None:
        subprocess.run(["ip", "tuntap", "add", "probe", "mode", "tap"], check=True, capture_output=True)

    try:
        in_namespace(create)
    except AssertionError:
        return False
    return True


REMEDY = "needs ip, /dev/net/tun and CAP_NET_ADMIN or user namespaces: run as root, or allow them"
NEEDS_TAP = [pytest.mark.tap, pytest.mark.skipif(not _can_make_taps(), reason=REMEDY)]
"""The marks of a test that uses a TAP."""
