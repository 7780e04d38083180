"""
Superframes and the kernel: TCP and UDP between two namespaces, joined by a bridge of two adapters, with offload on both sides or on one.

What arrives must be what was sent, and the kernel, which checks every checksum that it is not told is right, must not complain.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tap.joined import Joined, joined
from tap.namespace import namespaced

from vnic import Status

SIZE = 8_000_000
SERVER = """
import hashlib, socket, sys
server = socket.create_server((sys.argv[1], 5000), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
peer, _ = server.accept()
digest, size = hashlib.sha256(), 0
while data := peer.recv(1 << 20):
    digest.update(data)
    size += len(data)
print(size, digest.hexdigest(), flush=True)
"""
CLIENT = """
import random, socket, sys
data = random.Random(7).randbytes(int(sys.argv[2]))
with socket.create_connection((sys.argv[1], 5000)) as peer:
    peer.sendall(data)
"""
UDP_SERVER = """
import hashlib, json, socket, sys
server = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
server.bind((sys.argv[1], 5001))
server.settimeout(20)
print("ready", flush=True)
got = []
while (data := server.recv(70000)) != b"end":
    got.append([len(data), hashlib.sha256(data).hexdigest()])
print(json.dumps(got), flush=True)
"""
UDP_CLIENT = """
import random, socket, sys
client = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
client.connect((sys.argv[1], 5001))
client.setsockopt(socket.IPPROTO_UDP, 103, 1200)
for seed in range(5):
    client.send(random.Random(seed).randbytes(50000))
client.setsockopt(socket.IPPROTO_UDP, 103, 0)
client.send(b"end")
"""


def move(both: Joined, address: str, size: int = SIZE) -> None:
    """Send bytes over TCP from left to right, and compare what arrives."""
    server = both.right.start(SERVER, address)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    both.left.run("python3", "-c", CLIENT, address, str(size))
    told, _ = server.communicate(timeout=50)
    assert told.split() == [str(size), hashlib.sha256(random.Random(7).randbytes(size)).hexdigest()]


def move_udp(both: Joined, address: str) -> None:
    """The same with UDP, sent in superframes of 1,200 bytes a datagram."""
    server = both.right.start(UDP_SERVER, address)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    # while the neighbour is not known yet, the kernel itself lets the first ones go
    both.left.run("ping", "-c", "1", "-W", "20", address)
    both.left.run("python3", "-c", UDP_CLIENT, address)
    told, _ = server.communicate(timeout=50)
    expected = []
    for seed in range(5):
        data = random.Random(seed).randbytes(50_000)
        expected += [[len(part), hashlib.sha256(part).hexdigest()] for part in (data[at : at + 1200] for at in range(0, 50_000, 1200))]
    assert json.loads(told) == expected


def no_complaints(both: Joined) -> None:
    """The kernel has found no wrong checksum and no wrong header on either side."""
    for side in both.sides:
        for name in ("TcpInErrs", "TcpExtTCPCsumErrors", "UdpInCsumErrors", "Udp6InCsumErrors", "IpInHdrErrors", "Ip6InHdrErrors"):
            found = [line.split()[1] for line in side.run("nstat", "-az", name).splitlines() if line.startswith(name)]
            assert found in ([], ["0"]), (side.name, name, found)
        for status in (Status.INVALID_PACKET, Status.FAILURE):
            assert status not in side.port.statuses, side.port.statuses
    return


@pytest.mark.parametrize("address", ["10.1.0.2", "fd01::2"])
@namespaced
def test_superframes_pass_whole_where_both_sides_have_offload(address: str) -> None:
    with joined() as both:
        move(both, address)
        assert both.left.port.longest > 10_000
        no_complaints(both)
    left, right = both.counters
    assert left["rx_superframes"] > 0
    assert right["tx_superframes"] > 0
    assert left["rx_segments"] == left["rx_checksums"] == 0


@pytest.mark.parametrize("address", ["10.1.0.2", "fd01::2"])
@namespaced
def test_segments_reach_a_side_without_offload(address: str) -> None:
    with joined(right=False, left_asks=False) as both:
        move(both, address)
        assert both.left.port.longest <= 1514
        no_complaints(both)
    left, right = both.counters
    assert left["rx_segments"] > SIZE / 1500
    assert left["rx_segments_lost"] == 0
    assert right["tx_frames"] > SIZE / 1500
    assert right["tx_superframes"] == 0


@pytest.mark.parametrize("address", ["10.1.0.2", "fd01::2"])
@namespaced
def test_udp_in_superframes(address: str) -> None:
    with joined() as both:
        move_udp(both, address)
        assert both.left.port.longest > 10_000
        no_complaints(both)
    assert both.counters[1]["tx_superframes"] > 0


@pytest.mark.parametrize("address", ["10.1.0.2", "fd01::2"])
@namespaced
def test_udp_in_superframes_is_cut_for_who_has_not_asked(address: str) -> None:
    with joined(right=False, left_asks=False) as both:
        move_udp(both, address)
        assert both.left.port.longest <= 1514
        no_complaints(both)
    assert both.counters[0]["rx_segments"] >= 5 * 41


@namespaced
def test_ethtool_shows_what_the_kernel_leaves_to_us() -> None:
    with joined(right=False, right_asks=False) as both:
        with_offload, without = (side.run("ethtool", "-k", side.name) for side in both.sides)
        for feature in ("tx-checksumming", "tcp-segmentation-offload", "tx-tcp6-segmentation", "tx-udp-segmentation"):
            assert f"{feature}: on" in with_offload
            assert f"{feature}: off" in without


@namespaced
def test_segments_are_right_to_tshark() -> None:
    with joined(right=False, left_asks=False) as both:
        capture = Path("/tmp") / f"vnic-segments-{both.right.holder.pid}.pcap"
        command = both.right.inside("tcpdump", "-i", "right0", "-Q", "in", "-U", "-w", str(capture), "tcp")
        dump = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            assert dump.stderr is not None
            while b"listening" not in dump.stderr.readline():
                assert dump.poll() is None
            move(both, "10.1.0.2", 500_000)
        finally:
            dump.terminate()
            dump.communicate()
        try:
            wrong = tshark(capture, "tcp.checksum.status != 1 or ip.checksum.status != 1")
            assert wrong == []
            assert len(tshark(capture, "tcp.len > 1000")) > 250
        finally:
            capture.unlink()


def tshark(capture: Path, shown: str) -> list[Any]:
    """The frames of a capture that a filter lets through, all checksums looked at."""
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    done = subprocess.run(["tshark", "-r", str(capture), *checks, "-Y", shown], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()
