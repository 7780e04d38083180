"""
Status codes have their real values; link changes reach the drivers; errors name their rule.
"""

from __future__ import annotations

import pytest
from unit.wire import Bench, Driver, Sender, frame

from vnic import ContractViolation, OwnershipError, Status, VnicError
from vnic.verifier.rules import DOUBLE_FREE, RULES


class Listener(Sender):
    """Remember what is told about the link."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Status] = []

    def status(self, status: Status, buffer: bytes) -> None:
        self.told.append(status)


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (Status.SUCCESS, 0),
        (Status.PENDING, 0x103),
        (Status.NOT_ACCEPTED, 0x10003),
        (Status.MEDIA_CONNECT, 0x4001000B),
        (Status.MEDIA_DISCONNECT, 0x4001000C),
        (Status.FAILURE, 0xC0000001),
        (Status.RESOURCES, 0xC000009A),
        (Status.CLOSING, 0xC0010002),
        (Status.REQUEST_ABORTED, 0xC001000C),
        (Status.INVALID_PACKET, 0xC001000F),
        (Status.ADAPTER_REMOVED, 0xC0010018),
        (Status.NO_CABLE, 0xC001001F),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_status_has_its_real_value(status: Status, value: int) -> None:
    assert status == value


def test_every_listening_driver_is_told_of_the_link() -> None:
    with Bench() as bench:
        listeners = [Listener(), Listener()]
        for index, listener in enumerate(listeners):
            bench.bind(listener, f"d{index}")
        bench.bind(Driver(), "deaf")
        bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        assert not bench.adapter.link_up
        bench.adapter.indicate_status(Status.MEDIA_CONNECT)
        assert bench.adapter.link_up
        assert [listener.told for listener in listeners] == [[Status.MEDIA_DISCONNECT, Status.MEDIA_CONNECT]] * 2


def test_a_status_handler_that_raises_is_reported_and_the_others_are_told() -> None:
    class Broken(Driver):
        def status(self, status: Status, buffer: bytes) -> None:
            raise ValueError

    with Bench() as bench:
        listener = Listener()
        bench.bind(Broken(), "broken")
        bench.bind(listener, "listener")
        bench.adapter.indicate_status(Status.MEDIA_CONNECT)
        bench.expect(("status", "broken"))
        assert listener.told == [Status.MEDIA_CONNECT]


def test_a_closing_binding_is_told_nothing() -> None:
    with Bench() as bench:
        listener = Listener()
        listener.answer = 1
        binding = bench.bind(listener)
        bench.give(frame())
        bench.adapter.close(binding)
        bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        assert listener.told == []
        listener.give_back()


def test_frames_still_come_in_while_the_link_is_down() -> None:
    with Bench() as bench:
        listener = Listener()
        bench.bind(listener)
        bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        bench.give(frame())
        assert listener.frames == [frame()]


def test_every_rule_has_its_own_id_name_and_a_remedy() -> None:
    for column in ("id", "name", "catches", "remedy"):
        assert len({getattr(rule, column) for rule in RULES}) == len(RULES)
    assert [rule.id for rule in RULES] == sorted((rule.id for rule in RULES), key=lambda id_: (int(id_[:3].rstrip("abcd")), id_))
    assert {rule.cls for rule in RULES} == {"A0", "A1", "V2", "V3"}


def test_an_error_tells_rule_culprit_detail_history_and_remedy() -> None:
    error = OwnershipError(DOUBLE_FREE, "arp", "packet 3 is freed", "FREE, references 0")
    assert isinstance(error, ContractViolation)
    assert isinstance(error, VnicError)
    assert str(error) == "rule 30 DescriptorDoubleFree broken by arp: packet 3 is freed [FREE, references 0]; free a packet once"
    assert (error.rule, error.driver, error.history, error.reported) == (DOUBLE_FREE, "arp", "FREE, references 0", False)
    assert "[" not in str(ContractViolation(DOUBLE_FREE, "arp", "packet 3 is freed"))
