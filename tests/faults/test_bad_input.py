"""
What a user can get wrong at the start: one clear line, the right exit status, and nothing left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest
from tap.daemon import AS_NOBODY, DIE_WITH_PARENT, VNIC, Daemon, ip, link
from tap.namespace import namespaced, replace_device

FILE = Path(__file__).with_name("bad_drivers.py")
TUNSETIFF = 0x400454CA
RUN = (*VNIC, "run")


def interfaces() -> list[tuple[str, int, str]]:
    """Every interface with its MTU and address; its carrier follows the reader, with a delay."""
    return [(found["ifname"], found["mtu"], found.get("address", "")) for found in json.loads(ip("-j", "link"))]


def refused(status: int, *words: str, command: tuple[str, ...] = RUN, fds: tuple[int, ...] = ()) -> str:
    """
    Start the daemon, which must end soon with this status, say so in one line, and leave no interface behind.

    Returns:
        The line's text.
    """
    before = interfaces()
    begun = time.monotonic()
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=20, pass_fds=fds)
    assert done.returncode == status, (done.returncode, done.stderr)
    assert time.monotonic() - begun < 5
    assert interfaces() == before
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert done.stderr.isascii()
    assert all(line.isprintable() for line in lines)
    if status == 2:
        assert len(lines) == 1, lines
        return lines[0]
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["failed"], lines
    assert events[-1]["status"] == status
    assert events[-1]["remedy"]
    return f"{events[-1]['error']}: {events[-1]['remedy']}"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--driver", "snik"), 78, "driver 'snik' is unknown: did you mean sink? known are"),
        (("--driver", "sink colour=red"), 78, "driver sink has no option 'colour'"),
        (("--driver", "sink promiscuous=perhaps"), 78, "driver sink: option promiscuous='perhaps'"),
        (("--driver", "hold hold_ms=-1"), 78, "hold_ms -1.0 is outside 0.."),
        (("--driver", "capture"), 78, "driver capture: option file is missing"),
        (("--driver", "capture file=/nowhere/at/all.pcapng"), 78, "/nowhere/at/all.pcapng"),
        (("--driver", "arp address=10.0.0.300"), 78, "10.0.0.300"),
        (("--driver", "sink promiscuous"), 2, "write options as key=value"),
        (("--driver", "sink 'x"), 2, "no closing quotation"),
        (("--driver", ""), 2, "begin with the name of a driver"),
        (("--driver", "/nowhere/driver.py:Driver"), 78, "/nowhere/driver.py: cannot be read: No such file"),
        (("--driver", f"{FILE}:Nothing"), 78, "has no driver class 'Nothing'"),
        (("--driver", str(FILE)), 78, "has not exactly one driver class"),
        (("--mtu", "67"), 78, "--mtu: 67 is not allowed: give an integer from 68 to 65520"),
        (("--mtu", "65521"), 78, "--mtu: 65521 is not allowed"),
        (("--mtu", "big"), 2, "--mtu: invalid int value: 'big'"),
        (("--packets", "0"), 78, "--packets: 0 is not allowed: give an integer from 1 to 65535"),
        (("--packets", "65536"), 78, "--packets: 65536 is not allowed"),
        (("--address", "10.0.0.2"), 78, "'10.0.0.2' is no address: write it as 10.0.0.2/24"),
        (("--address", "10.0.0.2/33"), 78, "'10.0.0.2/33' is no address"),
        (("--address", "\x1b[31mred"), 78, "is no address"),
        (("--mac", "01:00:00:00:00:00"), 78, "'01:00:00:00:00:00' is not unicast"),
        (("--mac", "me"), 78, "'me' is no MAC address"),
        (("--mac", "02:00:00:00:00:0g"), 78, "is no MAC address"),
        (("--verifier", "9"), 78, "--verifier: 9 is not allowed"),
        (("--stats-interval", "0"), 78, "--stats-interval: 0.0 is not allowed"),
        (("--drain-timeout", "nan"), 78, "--drain-timeout"),
        (("--tap-fd", "77"), 2, "--tap-fd: 77 is no open descriptor"),
        (("--tap-fd", "-1"), 2, "--tap-fd: -1 is no open descriptor"),
        (("--ready-fd", "99"), 2, "--ready-fd: 99 is no open descriptor"),
        (("--tap-fd", "0"), 78, "descriptor 0 is no TAP"),
        (("--frobnicate",), 2, "unrecognized arguments: --frobnicate"),
        (("--config", "/nowhere/vnic.toml"), 78, "/nowhere/vnic.toml: cannot be read"),
        (("--config", "/dev/zero"), 78, "/dev/zero: not a regular file"),
        (("--log-format", "xml"), 2, "invalid choice: 'xml'"),
    ],
)
@namespaced
def test_a_bad_argument_is_refused_in_one_line(words: tuple[str, ...], status: int, said: str) -> None:
    assert said in refused(status, "vnic0", *words)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("interface-with-a-long-name", "'interface-with-a-long-name' is no interface name: give 1 to 15"),
        ("", "is no interface name"),
        ("a/b", "is no interface name"),
        ("vnic%d", "is no interface name"),
        ("..", "is no interface name"),
        ("v\nnic", "is no interface name"),
        ("vnîc", "is no interface name"),
        ("lo", "'lo' exists and is no TAP"),
    ],
)
@namespaced
def test_a_bad_name_is_refused_in_one_line(name: str, said: str) -> None:
    assert said in refused(78, name)


def test_no_name_at_all_is_a_usage_error() -> None:
    done = subprocess.run(RUN, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr.count("\n"), "NAME is missing" in done.stderr) == (2, 1, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[adapter]\nmut = 1500\n", "$.adapter.mut: unknown key: did you mean mtu?"),
        ("[adapter]\nmtu = 9\n", "$.adapter.mtu: 9 is not allowed: give an integer from 68 to 65520"),
        ('[adapter]\nmtu = "9000"\n', "$.adapter.mtu: '9000' is not allowed"),
        ("[adaptor]\n", "$.adaptor: unknown key"),
        ("[pool]\nlow_water = 5000\n", "$.pool.low_water: 5000 is not below the 1024 packets"),
        ('[[protocol]]\ndriver = "sink"\n[[protocol]]\npromiscuous = true\n', "$.protocol[1].driver: missing"),
        ('[[protocol]]\ndriver = "sink"\npromiscuos = true\n', "driver sink has no option 'promiscuos': did you mean promiscuous?"),
        ("[adapter\n", ":1: not TOML"),
        ("x = 1\nx = 2\n", "not TOML"),
    ],
)
@namespaced
def test_a_bad_file_is_refused_with_its_key_as_a_path(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(text)
    told = refused(78, "vnic0", "--config", str(config))
    assert said in told
    assert str(config) in told or "driver sink" in told


@namespaced
def test_a_driver_file_that_is_no_python_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "driver.py"
    path.write_text("import vnic\nclass Driver(vnic.ProtocolDriver)\n    pass\n")
    told = refused(78, "vnic0", "--driver", f"{path}:Driver")
    assert f"{path}:2" in told
    assert "SyntaxError" in told


@namespaced
def test_a_driver_file_that_may_not_be_read_is_refused() -> None:
    replace_device(0o666)
    # in a folder that everybody may enter, unlike `tmp_path`
    path = Path("/dev/net/driver.py")
    path.touch(0o600)
    assert f"{path}: cannot be read: Permission denied" in refused(78, "vnic0", "--driver", str(path), command=AS_NOBODY)


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("ConstructorRaises", "no coffee", r"driver ConstructorRaises: RuntimeError: no coffee\nsecond line"),
        ("ConstructorExits", "SystemExit(0)", "driver ConstructorExits: SystemExit: 0"),
        ("BindRaises", "no cable", r"driver BindRaises could not be bound: RuntimeError: no cable in the box\x1b[31m"),
        ("BindDeclines", "", "driver BindDeclines could not be bound: driver BindDeclines declined: NOT_ACCEPTED"),
        ("BindAnswersNonsense", "", "driver BindAnswersNonsense could not be bound"),
    ],
)
@namespaced
def test_a_driver_that_cannot_be_made_or_bound_is_named_with_its_line(name: str, line: str, said: str) -> None:
    told = refused(78, "vnic0", "--driver", "hold", "--driver", f"{FILE}:{name}", "--driver", "sink")
    assert said in told
    if line:
        number = next(number for number, text in enumerate(FILE.read_text().splitlines(), 1) if line in text)
        assert f"({FILE}:{number})" in told


@namespaced
def test_without_the_device_the_status_is_unavailable() -> None:
    replace_device(None)
    assert "no /dev/net/tun: modprobe tun" in refused(69, "vnic0", "--driver", "sink")


@namespaced
def test_without_permission_the_command_that_helps_is_told() -> None:
    replace_device(0o600)
    assert "no permission to open /dev/net/tun: as root: chmod 0666 /dev/net/tun" in refused(77, "vnic0", command=AS_NOBODY)
    Path("/dev/net/tun").chmod(0o666)
    assert "no permission to create 'vnic0': as root: ip tuntap add vnic0 mode tap user" in refused(77, "vnic0", command=AS_NOBODY)


@namespaced
def test_an_interface_that_another_process_reads_is_busy(tmp_path: Path) -> None:
    # a name of its own: the guess at who has it looks at all of the machine
    with Daemon(tmp_path, "--driver", "sink", name="vnicbusy0") as daemon:
        assert f"'vnicbusy0' is in use, perhaps by pid {daemon.pid} (" in refused(75, "vnicbusy0", "--driver", "sink")
        daemon.stop()


@namespaced
def test_an_interface_with_a_larger_mtu_is_not_read() -> None:
    ip("tuntap", "add", "vnic0", "mode", "tap")
    ip("link", "set", "vnic0", "mtu", "9000", "up")
    assert "interface vnic0 has MTU 9000, vnic was told 1500" in refused(78, "vnic0", "--driver", "sink")


@namespaced
def test_a_station_address_that_the_kernel_has_already_is_refused() -> None:
    ip("tuntap", "add", "vnic0", "mode", "tap")
    ip("link", "set", "vnic0", "address", "02:00:00:00:00:07")
    assert "interface vnic0 itself has the address 02:00:00:00:00:07" in refused(78, "vnic0", "--mac", "02:00:00:00:00:07")


@pytest.mark.parametrize(("flags", "said"), [(0x0001 | 0x1000, "is a TUN"), (0x0002, "packet information"), (0x5002, "virtio header")])
@namespaced
def test_an_inherited_descriptor_of_another_sort_is_refused(flags: int, said: str) -> None:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"vnic0", flags))
    assert said in refused(78, "vnic0", "--tap-fd", str(fd), fds=(fd,))


@namespaced
def test_the_ready_descriptor_of_a_failed_start_is_closed_without_a_line() -> None:
    reader, writer = os.pipe()
    command = (*DIE_WITH_PARENT, *RUN)
    refused(78, "vnic0", "--driver", "snik", "--ready-fd", str(writer), command=command, fds=(writer,))
    os.close(writer)
    assert os.read(reader, 100) == b""


@namespaced
def test_for_a_person_the_line_is_plain_text() -> None:
    done = subprocess.run([*RUN, "vnic0", "--driver", "snik", "--log-format", "text"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 78
    [line] = done.stderr.splitlines()
    assert line.startswith("vnic: error: driver 'snik' is unknown: did you mean sink? known are arp, ")
    assert link("vnic0") is None
