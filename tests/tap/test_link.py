"""
The link of a TAP, read, set and watched over netlink, with `ip` as the judge.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import json
import os
import socket
import struct
import subprocess
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tap.namespace import as_nobody, namespaced, until

from miniport.errors import Exit, Failure
from miniport.link import LinkState, configure, read_link, watch
from miniport.tap import open_tap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MAC = bytes.fromhex("020000000017")
TUNSETCARRIER = 0x400454E2
RTMGRP_LINK = 1


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def shown(index: int) -> LinkState | None:
    """What `ip` says about an interface."""
    links: list[dict[str, Any]] = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
    for link in links:
        if link["ifindex"] == index:
            mac, flags = bytes.fromhex(link["address"].replace(":", "")), link["flags"]
            return LinkState(index, link["ifname"], link["mtu"], mac, "UP" in flags, "UP" in flags and "NO-CARRIER" not in flags)
    return None


def failure_of(function: Callable[[], object]) -> tuple[Exit, str]:
    with pytest.raises(Failure) as caught:
        function()
    text = str(caught.value)
    assert text.isascii()
    assert text.isprintable()
    return caught.value.status, text


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Reports:
    """Collects what `watch` reports."""

    def __init__(self) -> None:
        self.states: list[LinkState | None] = []
        self.news = asyncio.Event()

    def take(self, state: LinkState | None) -> None:
        self.states.append(state)
        self.news.set()

    async def wait_for(self, condition: Callable[[LinkState | None], bool]) -> None:
        async with asyncio.timeout(5):
            while not self.states or not condition(self.states[-1]):
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def watching(index: int) -> AsyncIterator[tuple[Reports, asyncio.Task[None]]]:
    reports = Reports()
    task = asyncio.create_task(watch(index, reports.take))
    try:
        await reports.wait_for(lambda _: True)
        yield reports, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@namespaced
def test_configure_sets_mtu_address_and_state_as_ip_shows_them() -> None:
    with open_tap("vnic0") as tap:
        configure(tap.index, mtu=9000, mac=MAC)
        assert read_link(tap.index) == shown(tap.index) == LinkState(tap.index, "vnic0", 9000, MAC, up=True, carrier=True)
        configure(tap.index, mtu=68, mac=None, up=False)
        state = read_link(tap.index)
        assert state is not None
        assert (state.mtu, state.mac, state.up) == (68, MAC, False)
        configure(tap.index, mtu=65520, mac=None)
        assert read_link(tap.index) == shown(tap.index) == LinkState(tap.index, "vnic0", 65520, MAC, up=True, carrier=True)


@pytest.mark.parametrize(
    ("mtu", "mac", "said"),
    [(67, None, "MTU 67"), (70000, None, "MTU 70000"), (1500, b"\xff" * 6, "address ff:ff:ff:ff:ff:ff"), (1500, bytes(6), "address 00:00")],
)
@namespaced
def test_a_value_that_the_kernel_refuses_is_a_configuration_failure(mtu: int, mac: bytes | None, said: str) -> None:
    with open_tap("vnic0") as tap:
        status, text = failure_of(lambda: configure(tap.index, mtu=mtu, mac=mac))
        assert status is Exit.CONFIG
        assert said in text


@namespaced
def test_configure_without_permission_says_so_and_changes_nothing() -> None:
    with open_tap("vnic0") as tap:
        before = shown(tap.index)
        status, text = as_nobody(failure_of, lambda: configure(tap.index, mtu=9000, mac=MAC))
        assert status is Exit.PERMISSION
        assert "CAP_NET_ADMIN" in text
        assert shown(tap.index) == before


@namespaced
def test_an_interface_that_is_not_there_has_no_state_and_cannot_be_configured() -> None:
    assert read_link(4711) is None
    assert failure_of(lambda: configure(4711, mtu=1500, mac=None))[0] is Exit.UNAVAILABLE


@namespaced
def test_the_carrier_follows_the_descriptor() -> None:
    ip("tuntap", "add", "vnic0", "mode", "tap")
    ip("link", "set", "vnic0", "up")
    with open_tap("vnic0") as tap:
        index = tap.index
        state = read_link(index)
        assert state is not None
        assert state == shown(index)
        assert state.carrier
    state = read_link(index)
    assert state is not None
    assert state == shown(index)
    assert not state.carrier


@namespaced
def test_reading_and_setting_work_inside_a_running_loop_and_leave_nothing_behind() -> None:
    async def body() -> None:
        with open_tap("vnic0") as tap:
            # what other tests left to the collector of garbage must not go while this one counts
            gc.collect()
            before = descriptors(), threading.active_count()
            for mtu in range(1400, 1500):
                configure(tap.index, mtu=mtu, mac=None)
                state = read_link(tap.index)
                assert state is not None
                assert state.mtu == mtu
            assert (descriptors(), threading.active_count()) == before

    asyncio.run(body())


@namespaced
def test_a_watch_reports_the_state_at_once_and_every_change() -> None:
    async def body() -> None:
        with open_tap("vnic0") as tap:
            async with watching(tap.index) as (reports, task):
                assert reports.states == [read_link(tap.index)]
                ip("link", "set", "vnic0", "up")
                await reports.wait_for(lambda state: state is not None and state.up and state.carrier)
                fcntl.ioctl(tap.fd, TUNSETCARRIER, struct.pack("i", 0))
                await reports.wait_for(lambda state: state is not None and state.up and not state.carrier)
                ip("link", "set", "vnic0", "mtu", "1234")
                await reports.wait_for(lambda state: state is not None and state.mtu == 1234)
                ip("link", "set", "vnic0", "address", MAC.hex(":"))
                await reports.wait_for(lambda state: state is not None and state.mac == MAC)
                ip("link", "set", "vnic0", "alias", "an event that changes nothing of ours")
                for _ in range(5):
                    await asyncio.sleep(0)
                ip("link", "set", "vnic0", "name", "other")
                await reports.wait_for(lambda state: state is not None and state.name == "other")
                ip("link", "set", "other", "down")
                await reports.wait_for(lambda state: state is not None and not state.up)
                assert reports.states[-1] == read_link(tap.index)
                assert all(one != next_one for one, next_one in zip(reports.states, reports.states[1:], strict=False))
                ip("link", "delete", "other")
                await asyncio.wait_for(task, 5)
                assert reports.states[-1] is None
                assert reports.states.count(None) == 1

    asyncio.run(body())


@namespaced
def test_a_watch_sees_an_interface_leave_for_another_namespace() -> None:
    async def body(elsewhere: int) -> None:
        with open_tap("vnic0") as tap:
            async with watching(tap.index) as (reports, task):
                ip("link", "set", "vnic0", "netns", str(elsewhere))
                await asyncio.wait_for(task, 5)
                assert reports.states[-1] is None

    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as process:
        until(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink())
        asyncio.run(body(process.pid))
        process.kill()


@namespaced
def test_leaving_a_bridge_is_not_taken_for_the_end_of_the_interface() -> None:
    async def body() -> None:
        with open_tap("vnic0") as tap:
            ip("link", "set", "vnic0", "master", "br0")
            async with watching(tap.index) as (reports, task):
                ip("link", "set", "vnic0", "nomaster")
                ip("link", "set", "vnic0", "mtu", "1234")
                await reports.wait_for(lambda state: state is not None and state.mtu == 1234)
                assert None not in reports.states
                assert not task.done()

    if subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], capture_output=True).returncode:
        pytest.skip("needs the kernel's bridge: modprobe bridge")
    asyncio.run(body())


@namespaced
def test_a_watch_of_a_missing_interface_reports_that_and_ends() -> None:
    reports: list[LinkState | None] = []
    asyncio.run(asyncio.wait_for(watch(4711, reports.append), 5))
    assert reports == [None]


@namespaced
def test_the_last_state_is_reported_after_events_were_lost() -> None:
    async def body() -> None:
        with open_tap("vnic0") as tap, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as witness:
            witness.bind((0, RTMGRP_LINK))
            async with watching(tap.index) as (reports, _):
                for round_ in range(3):
                    # No await here: the watch cannot read, and its queue overflows as the witness's does.
                    for step in range(400):
                        configure(tap.index, mtu=1000 + 2 * step + round_, mac=None, up=bool(step % 2))
                    assert lost_events(witness)
                    await reports.wait_for(lambda state: state == read_link(tap.index))
                    assert reports.states[-1] == shown(tap.index)
                configure(tap.index, mtu=1234, mac=None, up=False)
                await reports.wait_for(lambda state: state is not None and state.mtu == 1234)
                assert len(reports.states) < 100

    asyncio.run(body())


def lost_events(witness: socket.socket) -> bool:
    """Empty a socket; tell whether the kernel had dropped events."""
    lost = False
    witness.setblocking(False)
    for _ in range(10_000):
        try:
            witness.recv(1)
        except BlockingIOError:
            break
        except OSError as error:
            lost = lost or error.errno == errno.ENOBUFS
    return lost


@namespaced
def test_a_cancelled_watch_closes_its_socket_and_leaves_the_loop() -> None:
    async def body() -> None:
        with open_tap("vnic0") as tap:
            before = descriptors(), threading.active_count()
            for mtu in range(1400, 1420):
                # The next watch gets the number of the descriptor that the last one closed.
                async with watching(tap.index) as (reports, _):
                    assert descriptors() == before[0] + 1
                    configure(tap.index, mtu=mtu, mac=None)
                    await reports.wait_for(lambda state, mtu=mtu: state.mtu == mtu)  # type: ignore[misc]
            assert (descriptors(), threading.active_count()) == before
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(body())


@namespaced
def test_an_error_in_the_callback_ends_the_watch_cleanly() -> None:
    def refuse(_: LinkState | None) -> None:
        raise LookupError

    async def body() -> None:
        with open_tap("vnic0") as tap:
            before = descriptors()
            with pytest.raises(LookupError):
                await asyncio.wait_for(watch(tap.index, refuse), 5)
            assert descriptors() == before

    asyncio.run(body())


@namespaced
def test_reading_and_watching_need_no_capability() -> None:
    async def body(index: int) -> None:
        async with watching(index) as (reports, _):
            os.write(ready, b"\n")
            await reports.wait_for(lambda state: state is not None and state.mtu == 1234)
            assert reports.states[-1] == read_link(index)

    with open_tap("vnic0") as tap:
        with subprocess.Popen(["sh", "-c", "read line && ip link set vnic0 mtu 1234"], stdin=subprocess.PIPE) as changer:
            assert changer.stdin is not None
            ready = changer.stdin.fileno()
            as_nobody(lambda: asyncio.run(body(tap.index)))
        assert changer.returncode == 0
