"""
The log: one event is one line of printable ASCII, whatever is in it and whatever becomes of the descriptor.
"""

from __future__ import annotations

import json
import os
import pty
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniport.log import EventLog, Form, escape, exception_fields, shown
from vnic.verifier.throttle import MAX_KEYS, OTHERS, Throttle

ALL_BYTES = bytes(range(256)).decode("latin-1")
HOSTILE = ("\x1b[2J\x1b]0;owned\x07", "a\nb\r\n", "\x7f\x9b31m", "\u202e\u2028\u0085", "\udcff", ALL_BYTES, '"\\', "")


def written(form: Form, name: str, /, **fields: Any) -> str:
    """What one event leaves in a pipe."""
    reader, writer = os.pipe()
    with open(reader, encoding="latin-1") as stream:
        EventLog(writer, form).event(name, **fields)
        os.close(writer)
        return stream.read()


def one_line(text: str) -> str:
    assert text.endswith("\n")
    line = text[:-1]
    assert line.isascii()
    assert line.isprintable()
    return line


@given(st.text() | st.sampled_from(HOSTILE))
def test_escaped_text_is_printable_ascii_and_stays_so(text: str) -> None:
    escaped = escape(text)
    assert escaped.isascii()
    assert escaped.isprintable()
    assert escape(escaped) == escaped


def test_printable_ascii_is_left_alone() -> None:
    printable = "".join(map(chr, range(32, 127)))
    assert escape(printable) == printable
    assert escape("\n\x1b\x7f\xff\u202e\U0001f600\udcff") == r"\n\x1b\x7f\xff\u202e\U0001f600\udcff"


@given(st.text() | st.sampled_from(HOSTILE), st.text() | st.sampled_from(HOSTILE))
def test_a_json_line_gives_the_text_back(name: str, text: str) -> None:
    record = json.loads(one_line(written("json", name, text=text, nested=[{"x": text}])))
    assert (record["event"], record["text"], record["nested"]) == (name, text, [{"x": text}])


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_escaped_in_names_keys_and_values(form: Form, text: str) -> None:
    line = one_line(written(form, text, **{text: {text: [text]}}))
    assert form == "text" or json.loads(line)[text] == {text: [text]}


@given(st.text() | st.sampled_from(HOSTILE), st.text() | st.sampled_from(HOSTILE))
def test_a_text_line_is_one_line(name: str, text: str) -> None:
    one_line(written("text", name, text=text, nested={text: text, "deeper": {text: [text]}}))


def test_keys_come_in_order_and_time_has_microseconds() -> None:
    record = json.loads(written("json", "x", level="warning", zulu=1, alpha=2, ts="mine", event="mine"))
    assert list(record) == ["ts", "event", "level", "zulu", "alpha", "ts_", "event_"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["ts"])
    assert (record["event"], record["level"], record["event_"]) == ("x", "warning", "mine")


def test_integers_are_exact() -> None:
    assert json.loads(written("json", "x", n=2**64 + 1, m=-(2**63)))["n"] == 2**64 + 1


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_cannot_be_encoded_is_still_a_line(form: Form) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    for value in (float("nan"), float("inf"), {(1, 2): 3}, circle, Broken(), [Broken()], b"\x00\xff", {1, 2}, Path("/x"), 10**5000, None):
        line = one_line(written(form, "odd", value=value, kept=7))
        assert form == "text" or "7" in str(json.loads(line, parse_constant=pytest.fail)["kept"])


def test_counters_in_text_show_only_what_is_not_zero() -> None:
    line = one_line(written("text", "counters", rx_frames=5, rx_bytes=0, delta={"rx_frames": 2, "tx_frames": 0}, total={}))
    assert line.split()[1:] == ["info", "counters", "rx_frames=5", "delta=[rx_frames=2]"]
    assert json.loads(written("json", "counters", rx_frames=5, rx_bytes=0))["rx_bytes"] == 0


def test_the_form_follows_the_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    reader, writer = os.pipe()
    try:
        assert EventLog(slave).form == "text"
        assert EventLog(writer).form == "json"
        assert EventLog(-1).form == "json"
        EventLog(slave).event("x", "error")
        assert re.fullmatch(rb"\x1b\[31m[ -~]*\x1b\[0m\r\n", os.read(master, 4096))
        monkeypatch.setenv("NO_COLOR", "1")
        EventLog(slave).event("x", "error")
        assert re.fullmatch(rb"[ -~]*\r\n", os.read(master, 4096))
        EventLog(writer, "text").event("x", "error")
        assert b"\x1b" not in os.read(reader, 4096)
    finally:
        for fd in (master, slave, reader, writer):
            os.close(fd)


def test_the_journal_gets_a_priority_only_on_its_own_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    found = os.fstat(writer)
    try:
        own = f"{found.st_dev}:{found.st_ino}"
        for stream, start in ((own, b'<3>{"ts"'), (f"{own}0", b'{"ts"'), ("", b'{"ts"')):
            monkeypatch.setenv("JOURNAL_STREAM", stream)
            EventLog(writer).event("x", "error")
            assert os.read(reader, 4096).startswith(start)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_line_that_cannot_be_written_is_counted() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = EventLog(writer)
    log.event("x")
    os.close(writer)
    log.event("x")
    assert log.lost == 2
    nowhere = EventLog(-1)
    nowhere.event("x")
    assert nowhere.lost == 1


def test_a_full_disk_is_counted() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        log = EventLog(full.fileno())
        log.event("x")
        assert log.lost == 1


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_stops_reading_costs_lines_and_not_the_daemon(blocking: bool) -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        for size in (65536, 4096, 1):
            try:
                while True:
                    os.write(writer, b"." * size)
            except BlockingIOError:
                pass
        os.set_blocking(writer, blocking)
        log = EventLog(writer)
        for number in range(1000):
            log.event("lost", number=number)
        assert log.lost == 1000
        os.set_blocking(reader, False)
        drain(reader)
        log.event("back")
        assert json.loads(drain(reader))["event"] == "back"
        assert log.lost == 1000
    finally:
        os.close(reader)
        os.close(writer)


def test_a_torn_line_does_not_spoil_the_next() -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        log = EventLog(writer)
        log.event("long", text="x" * 1_000_000)
        assert log.lost == 1
        torn = drain(reader)
        assert torn
        log.event("next")
        log.event("last")
        lines = drain(reader).split(b"\n")
        assert lines[0] == b""
        assert [json.loads(line)["event"] for line in lines[1:3]] == ["next", "last"]
    finally:
        os.close(reader)
        os.close(writer)


def drain(fd: int) -> bytes:
    found = b""
    try:
        while chunk := os.read(fd, 65536):
            found += chunk
    except BlockingIOError:
        pass
    return found


def test_lines_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as stream:
        log = EventLog(stream.fileno())

        def write(n: int) -> None:
            for i in range(200):
                log.event("x", thread=n, i=i)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    for n in range(4):
        assert [record["i"] for record in records if record["thread"] == n] == list(range(200))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_key_gets_its_lines_for_each_second_and_is_told_what_was_left_out() -> None:
    clock = Clock()
    throttle = Throttle(3, clock)
    assert [throttle.allow("a") for _ in range(5)] == [0, 0, 0, None, None]
    assert throttle.allow("b") == 0
    clock.now += 0.999
    assert throttle.allow("a") is None
    clock.now += 0.001
    assert [throttle.allow("a") for _ in range(4)] == [3, 0, 0, None]


def test_what_was_left_out_at_the_end_is_told_once() -> None:
    throttle = Throttle(1, Clock())
    for key in ("a", "a", "a", "b"):
        throttle.allow(key)
    assert list(throttle.drain()) == [("a", 2)]
    assert list(throttle.drain()) == []


def test_keys_are_bounded_and_the_rest_share_one() -> None:
    throttle = Throttle(1, Clock())
    assert [throttle.allow(key) for key in range(MAX_KEYS)] == [0] * MAX_KEYS
    assert [throttle.allow(f"more {key}") for key in range(5)] == [0, None, None, None, None]
    assert throttle.allow(0) is None
    assert dict(throttle.drain()) == {0: 1, OTHERS: 4}


def raise_deep(depth: int) -> None:
    if depth:
        raise_deep(depth - 1)
    json.loads("\x1b" * 1000)


def caught() -> Iterator[BaseException]:
    try:
        raise_deep(20)
    except ValueError as error:
        yield error


def test_an_exception_is_told_by_type_message_place_and_short_stack() -> None:
    for error in caught():
        fields = exception_fields(error)
        assert list(fields) == ["type", "message", "where", "stack"]
        assert fields["type"] == "JSONDecodeError"
        assert fields["where"].split(":")[0].endswith("decoder.py")
        assert len(fields["stack"]) == 8
        assert fields["stack"][-1] == f"{fields['where']} raw_decode"
        own = raise_deep.__code__
        assert exception_fields(error, own.co_filename)["where"] == f"{own.co_filename}:{own.co_firstlineno + 3}"


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_message_is_escaped_and_cut_and_may_be_broken() -> None:
    assert exception_fields(ValueError("\x1b" * 1000))["message"] == (r"\x1b" * 1000)[:200]
    assert exception_fields(Silent()) == {"type": "Silent", "message": "<message not readable>", "where": "unknown", "stack": []}


def test_a_value_is_shown_short() -> None:
    assert shown("a\n") == r"'a\n'"
    assert shown("x" * 100) == f"'{'x' * 56}..."
    assert shown(10**5000) == "<int>"
