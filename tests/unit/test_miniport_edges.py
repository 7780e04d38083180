"""
Miniports that do what they must not: they alone are told of it, and nobody above them waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from unit.asking import Asker
from unit.wire import Bench, Driver, Sender, frame

from vnic import MiniportDriver, Packet, Status
from vnic import locks as library
from vnic.locks import Irql, SpinLock, lower_irql
from vnic.oids import Oid
from vnic.request import Request, RequestKind

SUCCESS, PENDING, RESOURCES = Status.SUCCESS, Status.PENDING, Status.RESOURCES


@pytest.fixture
def at_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process at verifier level 2."""
    monkeypatch.setattr(library, "checks", 2)
    return iter(())


def strict(bench: Bench) -> Bench:
    """The same, at verifier level 2."""
    bench.adapter.verifier_level = 2
    return bench


def link_speed(kind: RequestKind = RequestKind.QUERY) -> Request:
    return Request(kind, Oid.GEN_LINK_SPEED, bytearray(4))


class Holding(MiniportDriver):
    """Leave a lock held in the first call of a handler."""

    def __init__(self, handler: str) -> None:
        self.lock = SpinLock("the card's")
        self.handler = handler

    def leave_held(self, handler: str) -> None:
        if handler == self.handler:
            self.handler = ""
            self.lock.acquire()

    def let_go(self) -> None:
        self.lock.release()
        # the lock remembers the level of the handler in which it was acquired
        lower_irql(Irql.PASSIVE)

    def send(self, packet: Packet) -> Status:
        self.leave_held("send")
        return SUCCESS

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        self.leave_held("query_information")
        return SUCCESS, 4, 0


@pytest.mark.usefixtures("at_two")
def test_a_send_that_leaves_a_lock_held_in_a_serialized_miniport_is_over_and_the_miniport_named() -> None:
    card = Holding("send")
    with strict(Bench(miniport=card, serialized=True)) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is SUCCESS
        card.let_go()
        bench.own.free(packet)
        bench.expect(("75", "miniport"))
        card.handler = "send"
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(3)])
        card.let_go()
        bench.expect(("75", "miniport"))
        assert [status for _, status in driver.completed] == [SUCCESS] * 3


@pytest.mark.usefixtures("at_two")
def test_a_query_that_leaves_a_lock_held_in_a_serialized_miniport_is_answered_and_so_is_the_next() -> None:
    card = Holding("")
    with strict(Bench(miniport=card, serialized=True)) as bench:
        binding = bench.bind(Driver())
        card.handler = "query_information"
        assert binding.request(link_speed()) is SUCCESS
        card.let_go()
        assert binding.request(link_speed()) is SUCCESS
        bench.expect(("75", "miniport"))


def test_a_lock_that_a_serialized_miniport_leaves_held_is_only_counted_below_level_two() -> None:
    card = Holding("send")
    before = library.counted["75"]
    with Bench(miniport=card, serialized=True) as bench:
        binding = bench.bind(Sender())
        binding.send_packets([bench.owned(frame(1), bench.own)])
        card.let_go()
        assert library.counted["75"] == before + 1


class Loud(Request):
    """Refuse to be told what it needs."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "bytes_needed" and value:
            raise RuntimeError("loud")
        super().__setattr__(name, value)


@pytest.mark.parametrize("serialized", [False, True])
def test_a_request_that_raises_when_it_is_answered_keeps_no_other_from_being_asked(serialized: bool) -> None:
    class Card(MiniportDriver):
        answer = (Status.INVALID_LENGTH, 0, 9)

        def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
            return self.answer

    card = Card()
    with Bench(miniport=card, serialized=serialized) as bench:
        binding = bench.bind(Asker())
        with pytest.raises(RuntimeError, match="loud"):
            binding.request(Loud(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4)))
        card.answer = (SUCCESS, 4, 0)
        assert binding.request(link_speed()) is SUCCESS
        assert binding.pending_io == 0
