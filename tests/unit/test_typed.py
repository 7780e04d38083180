"""
A driver whose `answer` is a C function is asked by that, and every rule holds for it as for any other.

With the compiled core the drivers here are compiled, too; with the uncompiled one they are the same in Python.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.wire import Bench, frame

from vnic import COMPILED, Packet, ProtocolDriver, TypedDriver
from vnic.verifier import rules

SOURCE = """\
# cython: language_level=3, freethreading_compatible=True
from vnic import ProtocolDriver
from vnic.packet cimport Packet
from vnic.typed cimport TypedDriver


cdef class Scripted(TypedDriver):
    cdef readonly list seen
    cdef public list answers

    def __cinit__(self):
        self.seen = []
        self.answers = []

    cdef int answer(self, Packet packet) except? -2:
        self.seen.append(packet)
        given = self.answers.pop(0) if self.answers else 0
        if isinstance(given, Exception):
            raise given
        return given


class Driver(Scripted, ProtocolDriver):
    pass
"""


class Scripted(TypedDriver):
    """The same, uncompiled: it answers what it is told, and remembers what it was asked about."""

    def __init__(self) -> None:
        self.seen: list[Packet] = []
        self.answers: list[int | Exception] = []

    def answer(self, packet: Packet) -> int:
        self.seen.append(packet)
        given = self.answers.pop(0) if self.answers else 0
        if isinstance(given, Exception):
            raise given
        return given


class Uncompiled(Scripted, ProtocolDriver):
    pass


@pytest.fixture(scope="module")
def kind(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The class of the driver."""
    if not COMPILED:
        return Uncompiled
    folder = tmp_path_factory.mktemp("typed")
    folder.joinpath("scripted.pyx").write_text(SOURCE)
    command = [sys.executable, "-P", "-m", "Cython.Build.Cythonize", "-q", "-i", "-3", "scripted.pyx"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (library,) = Path(folder).glob("scripted*.so")
    spec = importlib.util.spec_from_file_location("scripted", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Driver


@pytest.fixture
def driver(kind: Callable[[], Any]) -> Any:
    return kind()


def test_it_is_asked_about_each_frame_and_keeps_none(driver: Any) -> None:
    with Bench(packets=8) as bench:
        binding = bench.bind(driver)
        bench.give(*[frame(mark) for mark in range(5)])
        assert len(driver.seen) == binding.delivered == bench.adapter.counters()["rx_delivered"] == 5
        assert (binding.held, bench.pool.usage) == (0, 0)
        driver.seen.clear()


def test_what_it_keeps_comes_home_when_it_is_returned(driver: Any) -> None:
    with Bench(packets=8) as bench:
        binding = bench.bind(driver)
        driver.answers = [1, 0, 2]
        bench.give(frame(1), frame(2), frame(3))
        first, _, third = driver.seen
        assert (binding.held, bench.pool.usage) == (3, 2)
        binding.return_packets([first, third])
        assert (binding.held, bench.pool.usage) == (1, 1)
        binding.return_packets([third])
        driver.seen.clear()


def test_what_it_raises_is_counted_and_no_other_driver_loses_a_frame(kind: Callable[[], Any]) -> None:
    with Bench(packets=8) as bench:
        raising, other = kind(), kind()
        binding = bench.bind(raising)
        bench.bind(other, "b")
        raising.answers = [0, ValueError("on purpose"), 0]
        bench.give(frame(1), frame(2), frame(3))
        assert (len(raising.seen), len(other.seen), binding.errors) == (3, 3, 1)
        bench.expect(("receive_packet", "a"))


@pytest.mark.parametrize("answer", [-1, -2, 0x10000])
def test_an_answer_that_is_none_is_a_broken_rule(driver: Any, answer: int) -> None:
    with Bench(packets=8) as bench:
        binding = bench.bind(driver)
        driver.answers = [answer, 0]
        bench.give(frame(1), frame(2))
        assert (len(driver.seen), binding.held) == (2, 0)
        bench.expect((rules.ILLEGAL_ANSWER.id, "a"))


def test_a_frame_that_it_may_not_keep_is_shown_to_it_too(driver: Any) -> None:
    with Bench(packets=4, low_water=4) as bench:
        binding = bench.bind(driver)
        bench.give(frame(1))
        assert (len(driver.seen), binding.resources) == (1, 1)
        driver.seen.clear()


def test_a_class_with_a_receive_packet_of_its_own_is_asked_by_that(kind: Any) -> None:
    class Own(kind):
        shown = 0

        def receive_packet(self, _packet: Packet) -> int:
            self.shown += 1
            return 0

    with Bench(packets=8) as bench:
        driver = Own()
        bench.bind(driver)
        bench.give(frame(1), frame(2))
        assert (driver.shown, driver.seen) == (2, [])


def test_who_calls_it_from_python_has_the_same_answer(driver: Any) -> None:
    with Bench(packets=8) as bench:
        packet = bench.owned()
        driver.answers = [3, LookupError("on purpose")]
        assert driver.receive_packet(packet) == 3
        with pytest.raises(LookupError, match="on purpose"):
            driver.receive_packet(packet)
        driver.seen.clear()
        bench.pool.free(packet)
