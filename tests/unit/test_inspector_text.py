"""
How answers look: aligned, coloured only where that is wanted, printable ASCII whatever a driver is called; and the page, alone.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.inspecting import FRAME, HOSTILE, Breaker, Keeper, bind, stack_on

from miniport.inspector.capture_file import comment_of, write_capture
from miniport.inspector.command_line import render
from miniport.inspector.commands import BY_METHOD, COMMANDS
from miniport.inspector.decode import decode_frame
from miniport.inspector.openmetrics import openmetrics
from miniport.inspector.overview import stats
from miniport.inspector.packets import packet
from miniport.inspector.page import page
from miniport.inspector.report import report
from miniport.inspector.subject import Inspector
from miniport.inspector.text import Paint, ago, bar, clean, table
from miniport.inspector.verifying import violation
from miniport.inspector.verifying_text import one_line
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from tests.unit.conftest import Wire

PLAIN, COLOURED = Paint(on=False), Paint(on=True)
VOID = {"meta", "br", "path", "rect", "i"}


def hostile_report(wire: Wire) -> dict[str, Any]:
    """A report of a stack whose drivers have hostile names, over the socket's JSON."""
    RECORDS.clear()
    stack = stack_on(wire)
    name = HOSTILE.encode("utf-8", "replace").decode()
    keeper = type(name, (Keeper,), {"__module__": name})()
    bind(stack, keeper, name)
    bind(stack, Breaker(), f"breaker{name}")
    wire.give(FRAME, FRAME)
    wire.reports.clear()
    answer: dict[str, Any] = json.loads(json.dumps(report(Inspector(stack).tick())))
    answer["parts"]["packet"] = json.loads(json.dumps(packet(Inspector(stack).tick(), number="0", hex=True, decode=True)))
    answer["parts"]["violation"] = json.loads(json.dumps(violation(Inspector(stack).tick(), seq=str(RECORDS.all()[-1]["seq"]))))
    keeper.give_back()
    return answer


def test_a_table_is_aligned_numbers_to_the_right_and_text_to_the_left() -> None:
    assert table(["name", "frames", "for"], [["a", 1234, "x"], ["long name", 7, ""]]) == [
        "name       frames  for",
        "a           1,234  x",
        "long name       7",
    ]
    assert table(["name"], []) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0 us"),
        (0.00008, "80 us"),
        (0.25, "250 ms"),
        (4.21, "4.2 s"),
        (150.0, "2 min"),
        (7200.0, "2 h"),
        (864000.0, "10 d"),
    ],
)
def test_a_length_of_time_is_for_people(seconds: float | None, text: str) -> None:
    assert ago(seconds) == text


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=7))
def test_a_bar_is_as_wide_as_it_should_be_and_shows_what_is_not_nothing(counts: list[int]) -> None:
    drawn = bar(list(zip("abcdefg", counts, strict=False)))
    assert len(drawn) == (40 if sum(counts) else 0)
    assert {mark for mark, count in zip("abcdefg", counts, strict=False) if count} == set(drawn)


def test_colour_is_only_where_it_is_wanted() -> None:
    assert PLAIN("error", "x") == "x"
    assert COLOURED("error", "x") == "\x1b[31;1mx\x1b[0m"
    assert COLOURED("error", "") == ""


@given(st.text())
def test_a_cell_is_printable_ascii(text: str) -> None:
    assert clean(text).isascii()
    assert clean(text).isprintable()


def test_no_renderer_lets_a_hostile_name_through(wire: Wire) -> None:
    answer = hostile_report(wire)
    for method, part in answer["parts"].items():
        for line in render(BY_METHOD[method], part):
            assert line.isascii(), method
            assert line.isprintable(), method


def test_every_renderer_colours_only_with_whole_sequences(wire: Wire) -> None:
    import importlib

    answer = hostile_report(wire)
    for method, part in answer["parts"].items():
        module, _, function = BY_METHOD[method].text.partition(".")
        renderer = getattr(importlib.import_module(f"miniport.inspector.{module}"), function)
        coloured, plain = renderer(part, COLOURED), renderer(part, PLAIN)
        assert [re.sub(r"\x1b\[[\d;]+m", "", line) for line in coloured] == plain
        assert all(line.count("\x1b[") == 2 * line.count("\x1b[0m") for line in coloured)


def test_the_table_of_commands_names_views_and_renderers_that_are_there() -> None:
    import importlib

    for command in COMMANDS:
        for place in (command.view, command.text):
            module, _, function = place.partition(".")
            assert callable(getattr(importlib.import_module(f"miniport.inspector.{module}"), function))
        assert command.example.startswith(f"vnic {command.name} vnic0")


# the page


class Reader(HTMLParser):
    """Reads a page as a browser would, and remembers what is in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that is empty."""
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the last one that began."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text += data


def test_the_page_stands_alone_and_no_name_becomes_a_part_of_it(wire: Wire) -> None:
    answer = hostile_report(wire)
    text = page({**answer, "parts": {key: part for key, part in answer["parts"].items() if key not in ("packet", "violation")}})
    reader = Reader(text)
    assert reader.open == []
    assert text.isascii()
    assert "script" not in reader.tags
    assert not reader.tags & {"img", "link", "iframe", "object", "embed", "base", "form"}
    assert [name for name, _ in reader.attributes if name in ("href", "src", "action") or name.startswith("on")] == []
    assert "url(" not in text.replace("url(#round)", "")
    assert "//" not in re.sub(r"/\S*tests/\S*", "", text).replace("<!doctype", "")
    assert "prefers-color-scheme: dark" in text
    assert "ReturnInsideReceiveHandler" in reader.text
    assert r"\x1b[2J" in reader.text
    assert "holds" in reader.text


def test_the_page_has_no_bytes_of_a_frame(wire: Wire) -> None:
    answer = hostile_report(wire)
    del answer["parts"]["packet"]
    assert FRAME.hex() not in json.dumps(answer["parts"])


def test_a_view_that_failed_is_said_on_the_page(wire: Wire) -> None:
    answer = hostile_report(wire)
    for name in answer["parts"]:
        text = page({**answer, "parts": {**answer["parts"], name: {"failed": {"message": "in vain <b>"}}}})
        if name not in ("packet", "violation", "leaks", "locks", "log"):
            assert "in vain &lt;b&gt;" in text, name


# frames


def frame(ethertype: str, body: bytes) -> bytes:
    """A frame from 02:...:01 to 02:...:02."""
    return bytes.fromhex(f"020000000002 020000000001 {ethertype}") + body


ARP = bytes.fromhex("0001080006040001 020000000001 0a000001 000000000000 0a000002")
UDP = bytes.fromhex("1234 0035 001c 0000")
IPV4 = bytes.fromhex("45 00 0030 0000 0000 40 01 0000 0a000001 0a000002")
IPV6 = bytes.fromhex("60000000 0010 3a ff fe800000000000000000000000000001 ff0200000000000000000001ff000002")


@pytest.mark.parametrize(
    ("data", "layers", "field"),
    [
        (frame("0806", ARP), ["Ethernet", "ARP"], ("operation", "request")),
        (frame("0800", IPV4 + bytes.fromhex("0800 0000 0007 0009") + bytes(20)), ["Ethernet", "IPv4", "ICMP", "data"], ("sequence", 9)),
        (frame("0800", IPV4[:9] + b"\x11" + IPV4[10:] + UDP), ["Ethernet", "IPv4", "UDP", "data"], ("to_port", 53)),
        (frame("0800", IPV4[:9] + b"\x06" + IPV4[10:] + bytes.fromhex("1234 0050 00000001 00000000 5002 ffff 0000 0000")),
         ["Ethernet", "IPv4", "TCP", "data"], ("flags", ["SYN"])),
        (frame("8100 4007 86dd", IPV6 + bytes.fromhex("8700 0000 00000000") + bytes(8)), ["Ethernet", "IPv6", "ICMPv6", "data"],
         ("type", "neighbour solicitation")),
        (frame("0800", IPV4[:6] + b"\x20\x05" + IPV4[8:]), ["Ethernet", "IPv4", "data"], ("fragment", "40 and more")),
        (frame("88b5", bytes(46)), ["Ethernet", "data"], ("of", "EtherType 0x88b5")),
        (frame("0800", bytes(5)), ["Ethernet", "cut"], ("needs", 20)),
        (b"", ["cut"], ("of", "Ethernet")),
    ],
)  # fmt: skip
def test_a_frame_is_told_in_words(data: bytes, layers: list[str], field: tuple[str, Any]) -> None:
    found = decode_frame(data)
    assert [layer["layer"] for layer in found] == layers
    assert field in [(key, value) for layer in found for key, value in layer.items()]


def test_the_tags_of_vlans_are_told() -> None:
    (ethernet, *_) = decode_frame(frame("88a8 6064 8100 0007 0806", b""))
    assert ethernet["tags"] == [{"vlan": 100, "priority": 3}, {"vlan": 7, "priority": 0}]
    assert ethernet["ethertype"] == "0x0806"


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=120).map(lambda body: frame("0800", body)),
        st.binary(max_size=90).map(lambda body: frame("86dd", body)),
    )
)
def test_any_bytes_are_survived(data: bytes) -> None:
    layers = decode_frame(data)
    assert json.dumps(layers).isascii()
    assert layers


def test_the_capture_file_has_the_frame_its_time_and_who_holds_it(wire: Wire, tmp_path: Path) -> None:
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    wire.give(FRAME)
    answer = packet(Inspector(stack).tick(), number=str(keeper.kept[0].index), hex=True)
    path = tmp_path / "one.pcapng"
    assert write_capture(str(path), [answer, answer]) == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    blocks, at = [], 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        assert struct.unpack_from("<I", content, at + size - 4) == (size,)
        assert size % 4 == 0
        blocks.append((kind, content[at + 8 : at + size - 4]))
        at += size
    assert [kind for kind, _ in blocks] == [0x0A0D0D0A, 1, 6, 6]
    high, low, captured, length = struct.unpack_from("<4xIIII", blocks[2][1])
    assert (high << 32 | low, captured, length) == (keeper.kept[0].time_received, len(FRAME), len(FRAME))
    assert FRAME in blocks[2][1]
    assert comment_of(answer).encode() in blocks[2][1]
    assert "keeper owes 1 (kept at " in comment_of(answer)
    keeper.give_back()


def test_a_capture_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    from miniport.errors import Failure
    from miniport.inspector.capture_file import write_private

    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(Failure, match="cannot be written"):
        write_private(str(tmp_path / "link"), b"x")
    assert not (tmp_path / "target").exists()


# metrics


def test_the_metrics_have_each_counter_once_with_its_type(wire: Wire) -> None:
    stack = stack_on(wire)
    bind(stack, Keeper(), 'a"b\\c')
    wire.give(FRAME)
    text = openmetrics(json.loads(json.dumps(stats(Inspector(stack).tick()))))
    lines = text.splitlines()
    assert lines[-1] == "# EOF"
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert 'vnic_rx_frames_total{adapter="test0"} 1' in lines
    assert 'vnic_pool_free{adapter="test0"} 63' in lines
    assert r'vnic_binding_held{driver="a\"b\\c"} 1' in lines
    assert all(re.fullmatch(r'vnic_\w+\{\w+="(?:[^"\\]|\\.)*"\} [\d.]+|# .*', line) for line in lines)
    keeper: Any = stack.drivers[0].binding.driver
    keeper.give_back()


def test_colour_comes_with_a_terminal_only_and_not_with_no_color() -> None:
    program = (
        "import sys; from miniport.inspector.command_line import render; from miniport.inspector.commands import BY_METHOD; "
        "print(*render(BY_METHOD['doctor'], {'name': 'x', 'wrong': 0, 'alerts': []}))"
    )
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        assert ("\x1b[" in on_terminal(program, environment)) == coloured
    piped = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert "\x1b" not in piped.stdout


def on_terminal(program: str, environment: dict[str, str]) -> str:
    """Run a program on a terminal of its own; what it wrote."""
    import os
    import pty

    master, slave = pty.openpty()
    try:
        full = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"} | environment
        subprocess.run([sys.executable, "-c", program], stdin=slave, stdout=slave, timeout=30, check=True, env=full)
        return os.read(master, 4096).decode()
    finally:
        os.close(master)
        os.close(slave)


def test_the_times_of_a_record_are_told_from_the_moment_of_the_record() -> None:
    told = {"binding": "mine", "owed": 1, "since_ns": 1_000_000_000, "t": 2_000_000_000}
    assert one_line(told, 3_500_000_000) == "binding mine, owed 1, for 2.5 s, 1.5 s before"
