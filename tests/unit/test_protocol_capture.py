"""
Capture writes pcapng files that tshark, tcpdump and scapy read to their end, whatever happened to the disk.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from scapy.utils import RawPcapNgReader

from protocol.arp import Arp
from protocol.capture import Capture
from vnic import PacketPool, ProtocolDriver, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.conftest import Wire

BROADCAST, US, PEER = b"\xff" * 6, bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
REQUEST = BROADCAST + PEER + bytes.fromhex("0806 0001080006040001") + PEER + bytes([10, 0, 0, 1]) + bytes(6) + bytes([10, 0, 0, 2])


def frame(number: int = 0, size: int = 60, target: bytes = US) -> bytes:
    return (target + PEER + b"\x88\xb5" + number.to_bytes(4)).ljust(size, b"\xa5")


def read(path: Path) -> list[tuple[bytes, Any]]:
    with RawPcapNgReader(str(path)) as reader:
        return list(reader)


def frames(path: Path) -> list[bytes]:
    return [data for data, _ in read(path)]


def close(wire: Wire) -> None:
    for binding in wire.adapter.bindings:
        wire.adapter.close(binding)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size: to a writer that is a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [14, 15, 16, 17, 60, 1514])
def test_frames_are_written_whole(wire: Wire, tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Capture(file=str(path)))
    sent = [frame(number, size)[:size] for number in range(3)]
    wire.give(*sent)
    close(wire)
    assert frames(path) == sent


def test_frames_for_others_are_captured(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Capture(file=str(path)))
    wire.give(frame(target=PEER), frame(target=b"\x01\0\x5e\0\0\x09"))
    close(wire)
    assert len(frames(path)) == 2


def test_frames_are_cut_at_snaplen_and_their_length_is_kept(make_wire: Callable[..., Wire], tmp_path: Path) -> None:
    for snaplen in (5, 20):
        for packets, low_water in ((64, 0), (4, 4)):
            path, wire = tmp_path / f"{snaplen}-{packets}", make_wire(packets=packets, low_water=low_water)
            wire.open(Capture(file=str(path), snaplen=snaplen))
            wire.give(frame(size=100))
            close(wire)
            [(data, meta)] = read(path)
            assert (data, meta.wirelen) == (frame(size=100)[:snaplen], 100)


def test_frames_are_captured_while_packets_are_low(make_wire: Callable[..., Wire], tmp_path: Path) -> None:
    wire, path = make_wire(packets=4, low_water=4), tmp_path / "a.pcapng"
    binding = wire.open(Capture(file=str(path)))
    wire.give(frame(1), frame(2))
    assert binding.resources == 2
    close(wire)
    assert frames(path) == [frame(1), frame(2)]


def test_a_request_is_inbound_and_its_reply_outbound(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Arp())
    wire.open(Capture(file=str(path)))
    [reply] = wire.ask(REQUEST)
    close(wire)
    assert [(data, meta.direction) for data, meta in read(path)] == [(REQUEST, 1), (reply, 2)]


def test_timestamps_are_of_now_in_nanoseconds_and_in_order(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Capture(file=str(path)))
    now = time.time_ns()
    clock = iter([now, now + 1, now - 3_600_000_000_000, now + 5])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    wire.give(*[frame()] * 4)
    monkeypatch.undo()
    close(wire)
    stamps = [(meta.tshigh << 32 | meta.tslow) - now for _, meta in read(path)]
    assert stamps == [0, 1, 1, 5]
    assert {meta.tsresol for _, meta in read(path)} == {1_000_000_000}


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark: apt-get install tshark")
def test_tshark_reads_name_direction_time_and_length(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Arp())
    wire.open(Capture(file=str(path), snaplen=40))
    before = time.time_ns()
    wire.ask(REQUEST)
    after = time.time_ns()
    close(wire)
    command = ["tshark", "-r", str(path), "-T", "json", "-J", "frame"]
    rows = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    found = [row["_source"]["layers"]["frame"] for row in rows]
    assert [row["frame.interface_id_tree"]["frame.interface_name"] for row in found] == ["test0", "test0"]
    assert [(row["frame.len"], row["frame.cap_len"]) for row in found] == [("42", "40")] * 2
    listed = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", "-e", "frame.packet_flags_direction", "-e", "frame.time_epoch"],
        capture_output=True, check=True, text=True, timeout=60,
    ).stdout.split()  # fmt: skip
    assert [int(direction, 0) for direction in listed[::2]] == [1, 2]
    seconds, nanoseconds = zip(*(stamp.split(".") for stamp in listed[1::2]), strict=True)
    assert all(len(part) == 9 for part in nanoseconds)
    assert before <= int(seconds[0] + nanoseconds[0]) <= int(seconds[1] + nanoseconds[1]) <= after


@pytest.mark.skipif(not shutil.which("tcpdump"), reason="needs tcpdump: apt-get install tcpdump")
def test_tcpdump_reads_it(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Capture(file=str(path)))
    wire.give(REQUEST)
    close(wire)
    shown = subprocess.run(["tcpdump", "-n", "-r", str(path)], capture_output=True, check=True, text=True, timeout=60).stdout
    assert "Request who-has 10.0.0.2 tell 10.0.0.1" in shown


def test_a_file_with_no_frame_is_a_good_file(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Capture(file=str(path)))
    assert frames(path) == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_frames_are_written_at_most_once_a_second(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = tmp_path / "a.pcapng", [time.monotonic_ns()]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    wire.open(Capture(file=str(path)))
    written = []
    for wait_ms in (0, 500, 499, 1, 999, 1):
        now[0] += wait_ms * 1_000_000
        wire.give(frame())
        written.append(len(frames(path)))
    assert written == [1, 1, 1, 4, 4, 6]


def test_an_operator_can_begin_a_new_file(wire: Wire, tmp_path: Path) -> None:
    path, capture = tmp_path / "a.pcapng", Capture(file=str(tmp_path / "a.pcapng"), keep=2)
    capture.rotate()  # not bound: nothing to do
    wire.open(capture)
    for number in range(5):
        wire.give(frame(number))
        capture.rotate()
    close(wire)
    capture.rotate()
    assert frames(path) == []
    assert [frames(tmp_path / f"a.pcapng.{number}") for number in (1, 2)] == [[frame(4)], [frame(3)]]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pcapng", "a.pcapng.1", "a.pcapng.2"]


def test_no_file_grows_beyond_rotate_bytes_and_none_of_the_kept_is_torn(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Capture(file=str(path), rotate_bytes=1000, keep=3))
    wire.give(*(frame(number) for number in range(60)))
    close(wire)
    files = [tmp_path / f"a.pcapng.{number}" for number in (3, 2, 1)] + [path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 1000 for file in files)
    assert all(file.stat().st_size > 1000 - 2 * 104 for file in files[:-1])
    kept = [data for file in files for data in frames(file)]
    assert kept == [frame(number) for number in range(60 - len(kept), 60)]


def test_a_frame_larger_than_rotate_bytes_has_a_file_of_its_own(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    wire.open(Capture(file=str(path), rotate_bytes=1))
    wire.give(frame(1), frame(2))
    close(wire)
    assert (frames(tmp_path / "a.pcapng.1"), frames(path)) == ([frame(1)], [frame(2)])
    assert len(list(tmp_path.iterdir())) == 2


def test_an_older_capture_is_not_overwritten(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    for number in (1, 2):
        wire.open(Capture(file=str(path)))
        wire.give(frame(number))
        close(wire)
    assert (frames(path), frames(tmp_path / "a.pcapng.1")) == ([frame(2)], [frame(1)])


def test_a_full_disk_loses_counted_frames_and_leaves_a_whole_file(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    capture = Capture(file=str(path))
    binding = wire.open(capture)
    wire.give(frame(0))
    with full_disk(100_000):
        wire.give(*(frame(number, 1514) for number in range(1, 201)))
    assert capture.lost > 0
    assert len(frames(path)) + capture.lost + capture.waiting == capture.frames == 201
    wire.give(frame(201))
    close(wire)
    assert len(frames(path)) == 202 - capture.lost
    assert frames(path)[-1] == frame(201)
    assert capture.lost > 100
    [(event, fields), (last_event, last_fields)] = wire.reports
    assert (event, last_event, binding.errors) == ("driver_error", "driver_error", 2)
    assert str(path) in str(fields["error"])
    assert "lost" in str(fields["error"])
    assert f"; {capture.lost} frames lost so far" in str(last_fields["error"])
    wire.reports.clear()


def told(wire: Wire) -> list[int]:
    """Take the numbers of lost frames that were told."""
    numbers = [int(str(fields["error"]).partition(" frames lost")[0].rpartition(" ")[2]) for _, fields in wire.reports]
    wire.reports.clear()
    return numbers


def test_while_frames_are_lost_it_is_told_once_a_minute_and_in_the_end(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic_ns()]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    capture = Capture(file=str(tmp_path / "a.pcapng"))
    wire.open(capture)
    with full_disk(1000):
        for number in range(150):
            now[0] += 1_000_000_000
            wire.give(frame(number, 1000))
        close(wire)
    assert told(wire) == [1, 60, 120, 150]
    assert (capture.lost, frames(tmp_path / "a.pcapng")) == (150, [])


def test_what_a_file_has_lost_is_told_when_a_new_one_begins(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic_ns()]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    capture = Capture(file=str(tmp_path / "a.pcapng"))
    wire.open(capture)
    with full_disk(1000):
        for number in range(3):
            now[0] += 1_000_000_000
            wire.give(frame(number, 1000))
        assert told(wire) == [1]
    with pytest.raises(OSError, match="3 frames lost so far"):
        capture.rotate()
    close(wire)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pcapng", "a.pcapng.1"]


def test_a_new_file_moves_the_older_ones_up_to_the_first_free_number_only(wire: Wire, tmp_path: Path) -> None:
    for name in ("a.pcapng", "a.pcapng.1", "a.pcapng.2", "a.pcapng.4"):
        (tmp_path / name).write_text(name)
    wire.open(Capture(file=str(tmp_path / "a.pcapng"), keep=1000))
    close(wire)
    found = {entry.name: entry.read_text() for entry in tmp_path.iterdir() if entry.name != "a.pcapng"}
    assert found == {"a.pcapng.1": "a.pcapng", "a.pcapng.2": "a.pcapng.1", "a.pcapng.3": "a.pcapng.2", "a.pcapng.4": "a.pcapng.4"}


def test_the_old_file_goes_on_if_a_new_one_cannot_begin(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    capture = Capture(file=str(path))
    wire.open(capture)
    wire.give(frame(1))
    (tmp_path / "a.pcapng.new").mkdir()
    with pytest.raises(OSError, match=r"a\.pcapng"):
        capture.rotate()
    capture.rotate()  # the same file: said once
    wire.give(frame(2))
    (tmp_path / "a.pcapng.new").rmdir()
    close(wire)
    assert (frames(path), capture.lost) == ([frame(1), frame(2)], 0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pcapng"]


def test_a_file_that_is_no_regular_file_is_refused_and_left_alone(wire: Wire, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "missing").symlink_to("/dev/null")
    for name in ("fifo", "missing", "."):
        with pytest.raises(FileExistsError, match="no regular file"):
            wire.adapter.open(Capture(file=str(tmp_path / name)), "capture")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["fifo", "missing"]


def test_a_folder_that_is_not_there_is_named(wire: Wire, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        wire.adapter.open(Capture(file=str(tmp_path / "nowhere" / "a.pcapng")), "capture")


class Sender(ProtocolDriver):
    """Sends frames from a pool of its own."""

    def bind_adapter(self) -> None:
        self.pool = PacketPool(64, 128, name="sender")

    def unbind_adapter(self) -> None:
        self.pool.close()

    def send_all(self, numbers: range, wire: Wire) -> None:
        for number in numbers:
            packet = self.pool.allocate()
            assert packet is not None
            packet.write(frame(number))
            assert self.binding.send(packet) == Status.SUCCESS
            self.pool.free(packet)
            wire.taken()


def test_sends_of_another_thread_do_not_tear_the_file(wire: Wire, tmp_path: Path) -> None:
    path, sender = tmp_path / "a.pcapng", Sender()
    wire.open(Capture(file=str(path), rotate_bytes=20_000, keep=100))
    wire.open(sender)
    thread = threading.Thread(target=sender.send_all, args=(range(1000, 2000), wire))
    thread.start()
    wire.give(*(frame(number) for number in range(1000)))
    thread.join(30)
    close(wire)
    kept = [(int.from_bytes(data[14:18]), meta.direction) for file in tmp_path.iterdir() for data, meta in read(file)]
    assert sorted(kept) == [(number, 1) for number in range(1000)] + [(number, 2) for number in range(1000, 2000)]


@pytest.mark.parametrize(
    "options",
    [{"file": ""}, {"snaplen": 0}, {"snaplen": 262_145}, {"rotate_bytes": -1}, {"keep": 0}, {"keep": 1001}],
    ids=str,
)
def test_a_bad_option_is_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))) as error:
        Capture(**{"file": "a.pcapng"} | options)
    assert "\n" not in str(error.value)
