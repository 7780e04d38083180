"""
Frames made to do harm: of every length and content, and with text for whoever reads the log. The daemon answers honest ones after.
"""

from __future__ import annotations

import json
import random
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from tap.daemon import OUR_MAC, PROMISCUOUS_SINK, VNIC, Daemon, Sender, allow_ipv6, frame, ip, needs, run
from tap.namespace import namespaced

FILE = Path(__file__).with_name("bad_drivers.py")
SCRIPT = Path(__file__).parents[2] / "scripts" / "traffic" / "run.py"
ANSWERING = ("--address", "10.0.0.2/24", "--address", "fd00::2/64", "--driver", "arp", "--driver", "icmp_echo")
HOLDING = ("--driver", "hold hold_ms=2 random=yes copies=2")
BROADCAST = b"\xff" * 6
ALL_NODES = bytes.fromhex("333300000001")
ETHERTYPES = (0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x0000, 0x05DC, 0xFFFF)


def noise(rng: random.Random, count: int, longest: int) -> list[bytes]:
    """Make frames of random bytes whose headers get them as far as possible."""
    found = []
    for _ in range(count):
        payload = bytearray(rng.randbytes(rng.randrange(rng.choice((8, 64, 128, longest + 1)))))
        kind = rng.choice((*ETHERTYPES, rng.randrange(65536)))
        # the first bytes of an honest header, most of the time: random ones are thrown away at the first look
        if rng.random() < 0.7:
            head = {0x0800: b"\x45\0\0\x54", 0x86DD: b"\x60\0\0\0", 0x0806: b"\0\1\x08\0\6\4\0\1"}.get(kind, b"")
            payload[: len(head)] = head
        found.append(frame(bytes(payload[:longest]), rng.choice((OUR_MAC, BROADCAST, ALL_NODES, rng.randbytes(6))), kind))
    return found


def answers_pings() -> None:
    """Ask as the kernel does; every question must be answered."""
    run("ping", "-q", "-c", "10", "-i", "0.01", "10.0.0.2")
    run("ping", "-6", "-q", "-c", "10", "-i", "0.01", "fd00::2")


@needs("ping", "iputils-ping")
@namespaced
def test_after_random_frames_of_every_length_the_daemon_answers_as_before(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    allow_ipv6()
    capture = ("--driver", f"capture file={tmp_path}/hostile.pcapng")
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING, *HOLDING, *capture, "--stats-interval", "0.05") as daemon, Sender() as sender:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        ip("addr", "add", "fd00::1/64", "dev", "vnic0", "nodad")
        answers_pings()
        sender.send(frame(rng.randbytes(length), kind, ethertype) for length in range(1501) for kind, ethertype in ((OUR_MAC, 0x0800),))
        sender.send(noise(rng, 30_000, 1500))
        answers_pings()
        counters, bindings = daemon.quiet()
        assert bindings["sink"]["delivered"] == counters["rx_frames"] + counters["tx_frames"] > 31_500
        last = daemon.stop()
        assert last["driver_errors"] == 0
        assert {event["id"] for event in daemon.events("violation")} <= {"26"}


@pytest.mark.parametrize("mtu", ["68", "576", "65520"])
@namespaced
def test_malformed_traffic_at_any_mtu_is_explained_to_the_frame(tmp_path: Path, mtu: str) -> None:
    seed = str(secrets.randbits(32))
    with Daemon(tmp_path, "--mtu", mtu, "--packets", "128", *PROMISCUOUS_SINK, *ANSWERING, *HOLDING) as daemon:
        words = ("malformed", "--iface", "vnic0", "--json", "--seed", seed, "--target-mac", OUR_MAC.hex(":"))
        said = json.loads(run(sys.executable, str(SCRIPT), *words))
        print(f"seed {seed}: {said}")
        assert said["unexplained"] == 0
        counters, bindings = daemon.quiet()
        assert counters["rx_frames"] == bindings["sink"]["delivered"] - counters["tx_frames"] == said["taken"]
        assert daemon.stop()["driver_errors"] == 0


@namespaced
def test_frames_of_14_bytes_and_tags_up_to_the_last_byte_arrive(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING, *HOLDING) as daemon, Sender() as sender:
        tagged = [frame(bytes.fromhex("00648100") + bytes(length), ethertype=0x8100) for length in (0, 1, 46, 1500)]
        sender.send([*(frame(b"", to, kind) for kind in ETHERTYPES for to in (OUR_MAC, BROADCAST)), *tagged] * 20)
        counters, bindings = daemon.quiet()
        assert counters["rx_frames"] == bindings["sink"]["delivered"] - counters["tx_frames"] == 20 * 20
        assert daemon.stop()["driver_errors"] == 0


@namespaced
def test_a_storm_of_arp_requests_is_answered_or_counted(tmp_path: Path) -> None:
    ask = bytes.fromhex("0001080006040001020000000064") + bytes((10, 0, 0, 100)) + bytes(6) + bytes((10, 0, 0, 2))
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING, *HOLDING) as daemon, Sender() as sender:
        sender.send((frame(ask, BROADCAST, 0x0806) for _ in range(20_000)), paced=False)
        counters, bindings = daemon.quiet()
        assert counters["rx_frames"] + counters["if_tx_dropped"] == sender.sent == 20_000
        assert counters["tx_submitted"] == bindings["arp"]["delivered"] == counters["rx_frames"]
        assert daemon.stop()["driver_errors"] == 0


@namespaced
def test_text_from_frames_and_drivers_reaches_the_log_only_as_printable_ascii(tmp_path: Path) -> None:
    driver = tmp_path / "parrot\x1b[31m\n.py"
    driver.write_text(
        "from vnic import ProtocolDriver\n"
        "class Parrot(ProtocolDriver):\n"
        "    def receive_packet(self, packet):\n"
        "        raise ValueError(bytes(packet.data[14:]).decode('latin-1'))\n"
    )
    forged = b'"}\n{"event":"stopped","status":0}\n'
    evil = [forged, b"\x1b]0;title\x07\x1b[2J", "\u202eevil\u0000".encode(), bytes(range(256)), b"%s%n" * 300]
    with Daemon(tmp_path, "--driver", f"'{driver}:Parrot'") as daemon, Sender() as sender:
        sender.send(frame(text) for text in evil)
        daemon.wait_for("driver_error", driver="Parrot", count=5)
        daemon.stop()
    log = daemon.log.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in log)
    assert all(len(line) < 4096 for line in log.splitlines())
    assert [event["event"] for event in map(json.loads, log.splitlines())].count("stopped") == 1


@namespaced
def test_as_text_the_log_is_one_printable_line_for_each_event(tmp_path: Path) -> None:
    log = tmp_path / "text.log"
    with open(log, "wb") as out:
        words = ("--log-format", "text", "--driver", f"{FILE}:RaisesAlways", "--ready-fd", "1")
        process = subprocess.Popen([*VNIC, "run", "vnic0", *words], stderr=out, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"READY=1\n"
            with Sender() as sender:
                sender.send([frame()] * 3)
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
    lines = log.read_text(encoding="ascii").splitlines()
    assert all(line.isprintable() and line[2] == line[5] == ":" for line in lines), lines
    assert sum("driver_error" in line and "ValueError" in line for line in lines) == 3
