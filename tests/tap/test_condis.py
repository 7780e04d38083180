"""
Virtual connections on a real interface: the kernel's own VLAN interfaces are the other end.
"""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest
from tap.daemon import Daemon, Sender, frame, ip, needs, run
from tap.namespace import namespaced, until

from vnic.counters import broken_sums

DRIVER = Path(__file__).parent / "vlan_echo.py"
NEIGHBOUR = "02:00:00:00:00:02"
PACKET_AUXDATA = 8
SOL_PACKET = 263
ETH_P_ALL = 3


def vlan_interface(vlan: int) -> str:
    """Make the kernel's interface of a VLAN, and its only neighbour."""
    name = f"vnic0.{vlan}"
    ip("link", "add", "link", "vnic0", "name", name, "type", "vlan", "id", str(vlan), "egress-qos-map", "0:3")
    ip("link", "set", name, "up")
    ip("address", "add", f"10.{vlan}.0.1/24", "dev", name)
    ip("neighbour", "add", f"10.{vlan}.0.2", "lladdr", NEIGHBOUR, "dev", name)
    return name


def knows_vlans() -> bool:
    """Whether this kernel has interfaces for VLANs."""
    made = subprocess.run(["ip", "link", "add", "link", "lo", "name", "probe.1", "type", "vlan", "id", "1"], capture_output=True, text=True)
    return "Unknown device type" not in made.stderr


@needs("ping", "iputils-ping")
@pytest.mark.parametrize("packets", [64, 4])
@namespaced
def test_the_kernels_pings_on_two_vlans_are_answered_each_on_its_own_connection(tmp_path: Path, packets: int) -> None:
    if not knows_vlans():
        pytest.skip("needs a kernel with VLAN interfaces: modprobe 8021q")
    file = tmp_path / "said.json"
    with Daemon(tmp_path, "--driver", f"{DRIVER}:VlanEcho file={file} packets={packets}") as daemon:
        for vlan, count in ((7, 5), (8, 3)):
            name = vlan_interface(vlan)
            said = run("ping", "-c", str(count), "-i", "0.01", "-s", "1400", "-I", name, f"10.{vlan}.0.2")
            assert f"{count} packets transmitted, {count} received, 0% packet loss" in said
        daemon.quiet()
        last = daemon.stop()
        assert last["driver_errors"] == last["violations"] == 0
        said = json.loads(file.read_text())
        assert (said["answered"], said["left"]) == (8, 0)
        assert {vlan: counters["tx_frames"] for vlan, counters in said["counters"].items()} == {"7": 5, "8": 3}
        assert [line for counters in said["counters"].values() for line in broken_sums(counters)] == []
        assert last["tx_frames"] == 8
        shown = sum(counters["rx_frames"] for counters in said["counters"].values())
        assert shown + said["unknown"] + said["untagged"] == last["rx_delivered"]


@pytest.mark.parametrize("packets", [64, 4])
@namespaced
def test_tagged_pings_are_answered_each_on_its_own_connection_and_others_are_counted(tmp_path: Path, packets: int) -> None:
    file = tmp_path / "said.json"
    count = 20
    with Daemon(tmp_path, "--driver", f"{DRIVER}:VlanEcho file={file} packets={packets}") as daemon, Sender() as sender:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
            tap.bind(("vnic0", ETH_P_ALL))
            tap.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            tap.settimeout(5)
            tags: list[int] = []
            for number in range(count):
                sender.send(ping(vlan, number) for vlan in (7, 8, 9))
                until(lambda number=number: replied(tap, tags) == 2 * number + 2)
        daemon.quiet()
        last = daemon.stop()
        assert sorted(tags) == [8] * count + [5 << 13 | 7] * count
        assert last["driver_errors"] == last["violations"] == 0
        said = json.loads(file.read_text())
        assert (said["answered"], said["unknown"], said["left"]) == (2 * count, count, 0)
        assert {vlan: counters["tx_frames"] for vlan, counters in said["counters"].items()} == {"7": count, "8": count}
        assert [line for counters in said["counters"].values() for line in broken_sums(counters)] == []


def ping(vlan: int, number: int) -> bytes:
    """Make an echo request with a VLAN's tag."""
    head = bytes.fromhex("4500001c00010000400166de0a0700010a070002")
    checksum = 0xFFFF - 0x0800 - number
    return frame(
        vlan.to_bytes(2) + b"\x08\x00" + head + b"\x08\x00" + checksum.to_bytes(2) + b"\0\0" + number.to_bytes(2), ethertype=0x8100
    )


def replied(tap: socket.socket, tags: list[int]) -> int:
    """Note the tag of one more frame, if it is a reply; answers how many there were."""
    data, ancillary, _, address = tap.recvmsg(2048, 256)
    if address[2] != socket.PACKET_OUTGOING and data[34:36] == b"\0\0":
        # the kernel takes the tag of what it receives out of the frame: tpacket_auxdata, after 16 bytes
        tags += [int.from_bytes(value[16:18], "little") for _, _, value in ancillary]
    return len(tags)
