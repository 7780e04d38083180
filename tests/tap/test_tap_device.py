"""
The TAP device against the real kernel, with `ip` as the judge.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tap.namespace import NOBODY, as_nobody, in_namespace, namespaced, replace_device

from miniport.errors import Exit, Failure
from miniport.tap import Tap, adopt_tap, check_name, interface_counters, open_tap

if TYPE_CHECKING:
    from collections.abc import Callable

TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETOFFLOAD = 0x400454D0
TUN, TAP, MULTI_QUEUE, NO_PI, VNET_HDR = 0x0001, 0x0002, 0x0100, 0x1000, 0x4000
PR_SET_NAME = 15


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def shown(name: str) -> dict[str, Any] | None:
    """What `ip` says about an interface."""
    links = json.loads(subprocess.run(["ip", "-s", "-j", "-d", "link"], check=True, capture_output=True).stdout)
    return next((link for link in links if link["ifname"] == name), None)


def raw_tun(name: str, flags: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return fd


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def failure_of(function: Callable[..., object], *args: object) -> tuple[Exit, str]:
    """Call what must fail; check that it did so in one printable line and leaked no descriptor."""
    before = descriptors()
    with pytest.raises(Failure) as caught:
        function(*args)
    text = str(caught.value)
    assert text.isascii()
    assert text.isprintable()
    assert caught.value.remedy
    assert descriptors() == before
    return caught.value.status, text


@pytest.mark.parametrize("name", ["v", "vnic0", "tap-1.2_x", "fifteen-letters", "a;b$c"])
def test_a_name_of_1_to_15_printable_ascii_characters_is_accepted(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "empty"),
        ("sixteen--letters", "too long"),
        ("\N{SNOWMAN}" * 6, "too long"),
        ("a/b", "not allowed"),
        ("a b", "not allowed"),
        ("a\tb", "not allowed"),
        ("a:b", "not allowed"),
        ("a\x1b[31m", "not allowed"),
        ("a\nb", "not allowed"),
        ("a\0b", "not allowed"),
        ("a\x7f", "not allowed"),
        ("vnic%d", "not allowed"),
        (".", "not allowed"),
        ("..", "not allowed"),
        ("\xe0", "not allowed"),
        ("\udcff", "not allowed"),
    ],
)
def test_another_name_is_a_configuration_failure_that_says_why(name: str, said: str) -> None:
    for function in (check_name, open_tap):
        status, text = failure_of(function, name)
        assert status is Exit.CONFIG
        assert said in text


@namespaced
def test_a_new_interface_is_ephemeral_and_goes_with_its_descriptor() -> None:
    with open_tap("vnic0") as tap:
        link = shown("vnic0")
        assert link is not None
        assert (tap.name, tap.index, tap.ephemeral) == ("vnic0", link["ifindex"], True)
        assert (link["linkinfo"]["info_data"]["type"], link["linkinfo"]["info_data"]["pi"]) == ("tap", False)
        assert not os.get_blocking(tap.fd)
        assert not os.get_inheritable(tap.fd)
    assert shown("vnic0") is None
    assert tap.fd == -1
    tap.close()


@namespaced
def test_a_frame_is_read_as_it_was_sent() -> None:
    frame = bytes(range(64))
    with open_tap("vnic0") as tap, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        ip("link", "set", "vnic0", "up")
        sender.bind(("vnic0", 0))
        sender.send(frame)
        assert os.read(tap.fd, 2048) == frame
        with pytest.raises(BlockingIOError):
            os.read(tap.fd, 2048)


@namespaced
def test_the_owner_attaches_to_a_persistent_tap_without_any_capability() -> None:
    def attach() -> None:
        status = Path("/proc/self/status").read_text()
        assert f"CapEff:\t{0:016x}" in status
        with open_tap("vnic0") as tap:
            assert (tap.name, tap.ephemeral) == ("vnic0", False)
            link = shown("vnic0")
            assert link is not None
            assert "LOWER_UP" in link["flags"]

    replace_device(0o666)
    ip("tuntap", "add", "vnic0", "mode", "tap", "user", str(NOBODY))
    ip("link", "set", "vnic0", "up")
    as_nobody(attach)
    link = shown("vnic0")
    assert link is not None
    assert "LOWER_UP" not in link["flags"]


@namespaced
def test_creating_a_tap_without_permission_fails_with_the_command_that_helps() -> None:
    replace_device(0o666)
    status, text = as_nobody(failure_of, open_tap, "vnic0")
    assert status is Exit.PERMISSION
    command = text.split("as root: ")[1]
    assert command.startswith("ip tuntap add vnic0 mode tap user ")
    subprocess.run(command.split(), check=True)
    assert as_nobody(lambda: open_tap("vnic0").ephemeral) is False


@namespaced
def test_a_tap_of_another_user_is_refused_with_the_command_that_helps() -> None:
    replace_device(0o666)
    ip("tuntap", "add", "vnic0", "mode", "tap", "user", "0")
    status, text = as_nobody(failure_of, open_tap, "vnic0")
    assert status is Exit.PERMISSION
    assert "'vnic0' belongs to another user" in text
    subprocess.run(["sh", "-c", text.split("as root: ")[1]], check=True)
    assert as_nobody(lambda: open_tap("vnic0").ephemeral) is False


@namespaced
def test_a_device_that_may_not_be_opened_is_a_permission_failure() -> None:
    replace_device(0o600)
    status, text = as_nobody(failure_of, open_tap, "vnic0")
    assert status is Exit.PERMISSION
    assert "ip tuntap add vnic0 mode tap user " in text
    subprocess.run(["sh", "-c", text.split("as root: ")[1]], check=True)
    assert as_nobody(lambda: open_tap("vnic0").ephemeral) is False


@namespaced
def test_a_missing_device_is_unavailable() -> None:
    replace_device(None)
    assert failure_of(open_tap, "vnic0") == (
        Exit.UNAVAILABLE,
        "no /dev/net/tun: modprobe tun, or pass --device /dev/net/tun to the container",
    )


@namespaced
def test_a_second_opener_is_told_who_has_the_tap() -> None:
    with open_tap("vnicheld0") as tap:
        os.set_inheritable(tap.fd, True)
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, close_fds=False)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("are you there?\n")
        process.stdin.flush()
        assert process.stdout.readline() == "are you there?\n"
        status, text = failure_of(open_tap, "vnicheld0")
        assert status is Exit.BUSY
        assert f"'vnicheld0' is in use, perhaps by pid {process.pid} (cat): " in text


@namespaced
def test_the_holders_command_is_escaped() -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"a\x1b[31m\n\xff)", 0, 0, 0)
    with open_tap("vnicheld0"):
        status, text = failure_of(open_tap, "vnicheld0")
    assert status is Exit.BUSY
    assert rf"pid {os.getpid()} (a\x1b[31m\n\udcff))" in text


@namespaced
def test_an_interface_that_is_no_tap_is_refused() -> None:
    os.close(keep_persistent("tun0", TUN | NO_PI))
    for name in ("lo", "tun0"):
        status, text = failure_of(open_tap, name)
        assert status is Exit.CONFIG
        assert f"'{name}' exists and is no TAP" in text


@namespaced
def test_a_tap_with_several_queues_is_refused() -> None:
    ip("tuntap", "add", "vnic0", "mode", "tap", "multi_queue")
    status, text = failure_of(open_tap, "vnic0")
    assert status is Exit.CONFIG
    assert "'vnic0' is a TAP with several queues, one is asked for: say --queues 2 or more, or as root: " in text
    subprocess.run(["sh", "-c", text.split("as root: ")[1]], check=True)
    with open_tap("vnic0") as tap:
        assert tap.fds == [tap.fd]


# several queues


def queues_in_use(name: str) -> int:
    """How many queues of a TAP are attached, as netlink tells."""
    link = shown(name)
    assert link is not None
    return int(link["linkinfo"]["info_data"]["numqueues"])


@namespaced
def test_each_queue_of_several_has_a_descriptor_and_all_go_together() -> None:
    before = descriptors()
    with open_tap("vnic0", 3) as tap:
        ip("link", "set", "vnic0", "up")
        assert len(set(tap.fds)) == 3
        assert (tap.fds[0], tap.ephemeral, queues_in_use("vnic0")) == (tap.fd, True, 3)
        for fd in tap.fds:
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)
            os.write(fd, bytes(64))
        counters = interface_counters("vnic0")
        assert counters is not None
        assert counters.rx_packets == 3
    assert (tap.fd, tap.fds) == (-1, [])
    assert shown("vnic0") is None
    assert descriptors() == before


@namespaced
def test_the_frames_of_one_flow_come_through_one_queue_and_those_of_many_through_all() -> None:
    with open_tap("vnic0", 2) as tap, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        ip("link", "set", "vnic0", "up")
        ip("address", "add", "10.0.0.1/24", "dev", "vnic0")
        ip("neighbour", "add", "10.0.0.2", "lladdr", "02:00:00:00:00:02", "dev", "vnic0")
        seen: dict[int, set[int]] = {}
        for number in range(200):
            sender.sendto(bytes(8), ("10.0.0.2", 1000 + number % 50))
        for fd in tap.fds:
            with suppress(BlockingIOError):
                while True:
                    frame = os.read(fd, 2048)
                    seen.setdefault(int.from_bytes(frame[36:38]), set()).add(fd)
        assert len(seen) == 50
        assert all(len(fds) == 1 for fds in seen.values())
        assert set.union(*seen.values()) == set(tap.fds)


@namespaced
def test_a_tap_with_one_queue_cannot_have_several_and_the_command_helps() -> None:
    ip("tuntap", "add", "vnic0", "mode", "tap")
    status, text = failure_of(open_tap, "vnic0", 2)
    assert status is Exit.CONFIG
    assert "'vnic0' is a TAP with one queue, 2 are asked for: as root: " in text
    subprocess.run(["sh", "-c", text.split("as root: ")[1]], check=True)
    with open_tap("vnic0", 2) as tap:
        assert (tap.ephemeral, len(tap.fds)) == (False, 2)


@namespaced
def test_the_owner_has_several_queues_of_a_persistent_tap_without_any_capability() -> None:
    def attach() -> None:
        with open_tap("vnic0", 4) as tap:
            assert (tap.ephemeral, len(tap.fds), queues_in_use("vnic0")) == (False, 4, 4)

    replace_device(0o666)
    status, text = as_nobody(failure_of, open_tap, "vnic0", 4)
    assert status is Exit.PERMISSION
    subprocess.run(["sh", "-c", text.split("as root: ")[1]], check=True)
    as_nobody(attach)
    assert queues_in_use("vnic0") == 0


@namespaced
def test_somebody_elses_queue_is_in_use_as_a_whole_interface_is() -> None:
    before = descriptors()
    with open_tap("vnicheld0", 2):
        for queues in (2, 255):
            status, text = failure_of(open_tap, "vnicheld0", queues)
            assert status is Exit.BUSY
            assert f"perhaps by pid {os.getpid()} " in text
        assert queues_in_use("vnicheld0") == 2
    assert descriptors() == before
    with open_tap("vnicheld0", 256) as tap:
        assert len(tap.fds) == 256
        status, text = failure_of(open_tap, "vnicheld0", 2)
        assert status is Exit.BUSY
        assert "'vnicheld0' has no room for 2 queues more, its 256 are in use" in text


@namespaced
def test_an_inherited_queue_is_the_first_and_the_others_are_opened_by_its_name() -> None:
    fd = raw_tun("vnic0", TAP | NO_PI | MULTI_QUEUE)
    ip("link", "set", "vnic0", "name", "other")
    with adopt_tap(fd, 2) as tap:
        assert (tap.fd, tap.name, len(tap.fds), queues_in_use("other")) == (fd, "other", 2, 2)
    assert shown("other") is None


@namespaced
def test_an_inherited_descriptor_of_one_queue_cannot_have_others() -> None:
    fd = raw_tun("vnic0", TAP | NO_PI)
    status, text = failure_of(adopt_tap, fd, 2)
    assert status is Exit.CONFIG
    assert f"descriptor {fd} ('vnic0') is the only queue of its interface, and 2 are asked for: " in text
    assert "IFF_MULTI_QUEUE" in text


@namespaced
def test_an_inherited_queue_stays_the_callers_if_the_others_cannot_be_had() -> None:
    fd = raw_tun("vnic0", TAP | NO_PI | MULTI_QUEUE)
    other = raw_tun("vnic0", TAP | NO_PI | MULTI_QUEUE)
    status, text = failure_of(adopt_tap, fd, 2)
    assert status is Exit.BUSY
    assert "'vnic0' is in use, 1 of its 3 queues are another's" in text
    os.close(other)
    with adopt_tap(fd, 2):
        assert queues_in_use("vnic0") == 2


@namespaced
def test_a_renamed_interface_keeps_its_index_and_tells_its_new_name() -> None:
    with open_tap("vnic0") as tap:
        index = tap.index
        ip("link", "set", "vnic0", "name", "other")
        assert tap.refresh_name() == tap.name == "other"
        link = shown("other")
        assert link is not None
        assert link["ifindex"] == tap.index == index


@namespaced
def test_a_deleted_interface_has_no_name_any_more() -> None:
    with open_tap("vnic0") as tap:
        ip("link", "delete", "vnic0")
        status, text = failure_of(tap.refresh_name)
        assert status is Exit.UNAVAILABLE
        assert "deleted" in text


def keep_persistent(name: str, flags: int, offload: int | None = None) -> int:
    fd = raw_tun(name, flags)
    fcntl.ioctl(fd, TUNSETPERSIST, 1)
    if offload is not None:
        fcntl.ioctl(fd, TUNSETOFFLOAD, offload)
    return fd


@namespaced
def test_an_inherited_tap_is_taken_over_with_its_state() -> None:
    fd = keep_persistent("vnic0", TAP | NO_PI)
    os.set_inheritable(fd, True)
    with adopt_tap(fd) as tap:
        link = shown("vnic0")
        assert link is not None
        assert (tap.fd, tap.name, tap.index, tap.ephemeral) == (fd, "vnic0", link["ifindex"], False)
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(fd)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (TUN | NO_PI, "is a TUN"),
        (TAP, "puts packet information before each frame"),
        (TAP | NO_PI | VNET_HDR, "puts a virtio header before each frame"),
        (TAP | NO_PI | MULTI_QUEUE, "is one queue of several"),
    ],
)
@namespaced
def test_an_inherited_descriptor_whose_frames_are_not_plain_is_refused(flags: int, said: str) -> None:
    fd = raw_tun("vnic0", flags)
    status, text = failure_of(adopt_tap, fd)
    assert status is Exit.CONFIG
    assert f"descriptor {fd} ('vnic0') {said}" in text


@namespaced
def test_an_inherited_descriptor_that_is_no_tap_stays_the_callers() -> None:
    reader, _ = os.pipe()
    for fd in (reader, 4000, -1, 1 << 40):
        assert failure_of(adopt_tap, fd) == (Exit.CONFIG, f"descriptor {fd} is no TAP: pass the number of an open, attached TAP descriptor")
    assert os.get_blocking(reader)
    unattached = os.open("/dev/net/tun", os.O_RDWR)
    assert failure_of(adopt_tap, unattached)[0] is Exit.UNAVAILABLE


@namespaced
def test_an_inherited_tap_of_another_namespace_is_refused() -> None:
    fd = raw_tun("vnic0", TAP | NO_PI)
    status, text = in_namespace(failure_of, adopt_tap, fd)
    assert status is Exit.CONFIG
    assert f"descriptor {fd} is interface 'vnic0', which is not in this namespace" in text


@pytest.mark.skipif(shutil.which("ethtool") is None, reason="needs ethtool: apt install ethtool")
@namespaced
def test_offloads_that_the_last_user_left_on_are_off() -> None:
    def segmentation() -> str:
        features = subprocess.run(["ethtool", "-k", "vnic0"], check=True, capture_output=True, text=True).stdout
        return next(line for line in features.splitlines() if line.startswith("tcp-segmentation-offload"))

    os.close(keep_persistent("vnic0", TAP | NO_PI | VNET_HDR, offload=7))
    assert segmentation().endswith("on")
    with open_tap("vnic0"):
        assert segmentation().endswith("off")


@namespaced
def test_a_filter_that_the_last_user_left_is_gone() -> None:
    drop_all = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(drop_all))
    fd = keep_persistent("vnic0", TAP | NO_PI)
    fcntl.ioctl(fd, 0x400054D5 | len(program) << 16, program)
    ip("link", "set", "vnic0", "up")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("vnic0", 0))
        sender.send(bytes(64))
        os.set_blocking(fd, False)
        with pytest.raises(BlockingIOError):
            os.read(fd, 2048)
        os.close(fd)
        with open_tap("vnic0") as tap:
            sender.send(bytes(64))
            assert os.read(tap.fd, 2048) == bytes(64)


@namespaced
def test_interface_counters_are_those_that_ip_shows() -> None:
    def counted(tap: Tap) -> None:
        link = shown(tap.name)
        assert link is not None
        rx, tx = link["stats64"]["rx"], link["stats64"]["tx"]
        assert interface_counters(tap.name) == (tx["packets"], tx["dropped"], rx["packets"], rx["dropped"])

    with open_tap("vnic") as other, open_tap("vnic0") as tap, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        ip("link", "set", "vnic", "up")
        ip("link", "set", "vnic0", "txqueuelen", "50", "up")
        sender.bind(("vnic0", 0))
        for _ in range(80):
            with suppress(OSError):
                sender.send(bytes(64))
        for _ in range(3):
            os.write(tap.fd, bytes(64))
        for _ in range(20):
            os.read(tap.fd, 2048)
        counted(tap)
        counted(other)
        counters = interface_counters("vnic0")
        assert counters is not None
        assert counters.tx_packets == 20
        assert counters.rx_packets == 3
        assert counters.tx_dropped > 0
        assert interface_counters("vnic") == (0, 0, 0, 0)
        assert interface_counters("vni") is None
    assert interface_counters("vnic0") is None
