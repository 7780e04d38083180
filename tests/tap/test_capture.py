"""
Capture files, read by tcpdump and tshark, and against a tcpdump that listens on the interface at the same time.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tap.daemon import PROMISCUOUS_SINK, Daemon, Sender, frame, ip, needs, run
from tap.namespace import namespaced, replace_device, until

ANSWERING = ("--address", "10.0.0.2/24", "--driver", "arp", "--driver", "icmp_echo")
tcpdump = needs("tcpdump", "tcpdump")
tshark = needs("tshark", "tshark")


def frames_in(file: Path) -> int:
    """How many frames tcpdump reads; it must find the file whole."""
    return len(run("tcpdump", "-n", "-t", "-q", "-r", str(file)).splitlines())


def frames_in_all(file: Path) -> int:
    """How many frames are in a file and in its older ones."""
    return sum(frames_in(one) for one in file.parent.glob(f"{file.name}*"))


@contextmanager
def listening(file: Path) -> Iterator[subprocess.Popen[str]]:
    """A tcpdump of its own on the interface, from before the first frame."""
    # a short snapshot, or its buffer has room for few frames; as root it would become another user, who may not write here
    command = ["tcpdump", "-i", "vnic0", "-w", str(file), "-U", "--immediate-mode", "-s", "2048", "-B", "16384", "-Z", "root"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "listening on vnic0" in said, said
        yield process
    finally:
        process.kill()
        process.communicate()


@needs("ping", "iputils-ping")
@tshark
@tcpdump
@namespaced
def test_tcpdump_and_tshark_read_every_frame_that_was_counted_and_a_concurrent_tcpdump_saw_as_many(tmp_path: Path) -> None:
    file, beside = tmp_path / "ours.pcapng", tmp_path / "theirs.pcap"
    with Daemon(tmp_path, "--driver", f"capture file={file}", *ANSWERING) as daemon, listening(beside) as other, Sender() as sender:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        run("ping", "-q", "-c", "100", "-i", "0.005", "10.0.0.2")
        sender.send(frame(number.to_bytes(46), to=to) for to in (b"\xff" * 6, b"\2\0\0\0\0\x99") for number in range(2000))
        counters, bindings = daemon.quiet()
        expected = counters["rx_frames"] + counters["tx_looped"]
        assert counters["tx_looped"] == counters["tx_frames"] >= 101
        assert bindings["capture"]["delivered"] == expected >= 4202
        until(lambda: frames_in(beside) == expected)
        other.send_signal(signal.SIGINT)
        said = other.communicate(timeout=10)[1]
        assert f"{expected} packets captured" in said
        assert "0 packets dropped by kernel" in said
        daemon.stop()
    assert frames_in(file) == expected
    fields = run("tshark", "-r", str(file), "-T", "fields", "-e", "frame.len", "-e", "frame.packet_flags_direction", "-e", "icmp.type")
    rows = [line.split("\t") for line in fields.splitlines()]
    assert len(rows) == expected
    assert sum(int(length) for length, _, _ in rows) == counters["rx_bytes"] + counters["tx_bytes"]
    assert sum(int(direction, 0) == 2 for _, direction, _ in rows) == counters["tx_frames"], "what was sent is marked as outbound"
    assert [sum(kind == wanted for _, _, kind in rows) for wanted in ("8", "0")] == [100, 100]


@tshark
@tcpdump
@namespaced
def test_no_frame_is_lost_between_the_files_of_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "ours.pcapng"
    with Daemon(tmp_path, "--driver", f"capture file={file} rotate_bytes=100000 keep=50") as daemon, Sender() as sender:
        sender.send(frame(number.to_bytes(200)) for number in range(3000))
        daemon.quiet()
        daemon.stop()
    files = sorted(tmp_path.glob("ours.pcapng*"), key=lambda one: int(one.suffix[1:]) if one.suffix[1:].isdigit() else 0, reverse=True)
    assert len(files) > 5
    assert max(one.stat().st_size for one in files) <= 100000
    numbers = [line for one in files for line in run("tshark", "-r", str(one), "-T", "fields", "-e", "data.data").splitlines()]
    assert [int(number, 16) for number in numbers] == list(range(3000))


@tcpdump
@namespaced
def test_usr2_begins_a_new_file_and_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ours.pcapng"
    with Daemon(tmp_path, "--driver", f"capture file={file}") as daemon, Sender() as sender:
        for turn in range(1, 4):
            sender.send([frame()] * 100)
            daemon.quiet()
            daemon.signal(signal.SIGUSR2)
            until(lambda turn=turn: Path(f"{file}.{turn}").exists())
        sender.send([frame()] * 7)
        daemon.quiet()
        assert daemon.stop()["driver_errors"] == 0
    assert [frames_in(Path(f"{file}{suffix}")) for suffix in ("", ".1", ".2", ".3")] == [7, 100, 100, 100]
    assert frames_in_all(file) == 307


@tcpdump
@namespaced
def test_a_capture_that_was_killed_can_be_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "ours.pcapng"
    with Daemon(tmp_path, "--driver", f"capture file={file}") as daemon, Sender() as sender:
        sender.send([frame(bytes(1000))] * 2000)
        daemon.quiet()
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    assert 0 < frames_in(file) <= 2000


@tcpdump
@namespaced
def test_a_full_disk_is_told_at_once_and_in_the_end_with_what_was_lost_and_does_not_disturb_the_others(tmp_path: Path) -> None:
    # for the private mounts that come with it
    replace_device(0o600)
    folder = tmp_path / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder))
    with Daemon(tmp_path, "--driver", f"capture file={folder}/full.pcapng", *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        sender.send([frame(bytes(1000))] * 2000)
        counters, bindings = daemon.quiet()
        assert bindings["sink"]["delivered"] == counters["rx_frames"] == 2000
        told = daemon.wait_for("driver_error", driver="capture")
        assert "No space left on device" in told["message"]
        assert len(daemon.events("driver_error")) == 1
        daemon.stop()
        first, last = (event["message"] for event in daemon.events("driver_error"))
    kept = frames_in(folder / "full.pcapng")
    assert 0 < kept < 2000
    assert first == told["message"]
    assert f"No space left on device; {2000 - kept} frames lost so far" in last
