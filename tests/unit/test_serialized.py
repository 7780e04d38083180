"""
The serialized model: one handler at a time, sends queued by the library, a received packet's fate told by its status.
"""

from __future__ import annotations

import threading

import pytest
from unit.wire import Batched, Bench, Driver, Miniport, Sender, frame, violation

from vnic import Info, MiniportDriver, Packet, PacketState, ProtocolDriver, Status
from vnic.locks import Irql, current_irql

SUCCESS, PENDING, RESOURCES, FAILURE = Status.SUCCESS, Status.PENDING, Status.RESOURCES, Status.FAILURE


class Card(MiniportDriver):
    """Answer sends by a script, one by one; remember what was shown, and whether two handlers ever ran at once."""

    def __init__(self, *script: Status) -> None:
        self.script = list(script)
        self.shown: list[bytes] = []
        self.kept: list[Packet] = []
        self.inside = 0
        self.levels: set[Irql] = set()

    def answer(self, packet: Packet) -> Status:
        self.shown.append(bytes(packet.data))
        status = self.script.pop(0) if self.script else SUCCESS
        if status is PENDING:
            self.kept.append(packet)
        return status

    def send(self, packet: Packet) -> Status:
        self.inside += 1
        assert self.inside == 1, "two handlers run at once"
        self.levels.add(current_irql())
        status = self.answer(packet)
        self.inside -= 1
        return status


class ArrayCard(Card):
    """The same with arrays: each packet's status is set, up to the first RESOURCES."""

    arrays: list[int]

    def send_packets(self, packets: list[Packet]) -> None:
        self.arrays = [*getattr(self, "arrays", []), len(packets)]
        for packet in packets:
            packet.status = self.answer(packet)
            if packet.status is RESOURCES:
                return


@pytest.fixture(params=[Card, ArrayCard], ids=["send", "send_packets"])
def card(request: pytest.FixtureRequest) -> Card:
    made: Card = request.param()
    return made


def sends(bench: Bench, *marks: int) -> list[Packet]:
    return [bench.owned(frame(mark), bench.own) for mark in marks]


@pytest.mark.parametrize("status", [SUCCESS, FAILURE, Status.NO_CABLE, Status.RESET_IN_PROGRESS], ids=lambda status: status.name)
def test_a_status_that_is_final_is_what_send_answers_and_no_completion_follows(card: Card, status: Status) -> None:
    card.script = [status]
    with Bench(miniport=card, serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        (packet,) = sends(bench, 1)
        assert binding.send(packet) is status
        assert (packet.state, packet.status, driver.completed) == (PacketState.OWNED, SUCCESS, [])
        bench.own.free(packet)


def test_handlers_run_at_dispatch() -> None:
    card = Card()
    with Bench(miniport=card, serialized=True) as bench:
        bench.bind(Sender()).send_packets(sends(bench, 1))
        assert (card.levels, current_irql()) == ({Irql.DISPATCH}, Irql.PASSIVE)


def test_resources_never_reaches_the_driver_and_the_packet_is_the_next_one_shown(card: Card) -> None:
    card.script = [RESOURCES]
    with Bench(miniport=card, serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        one, two = sends(bench, 1, 2)
        assert binding.send(one) is PENDING
        assert binding.send(two) is PENDING
        assert (card.shown, one.state, two.state) == ([frame(1)], PacketState.SENDING, PacketState.SENDING)
        assert bench.adapter.counters()["tx_pending"] == 2
        bench.adapter.send_resources_available()
        assert card.shown == [frame(1), frame(1), frame(2)]
        assert driver.completed == [(frame(1), SUCCESS), (frame(2), SUCCESS)]


def test_a_completion_takes_the_block_away_too(card: Card) -> None:
    card.script = [PENDING, RESOURCES]
    with Bench(miniport=card, serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        binding.send_packets(sends(bench, 1, 2, 3))
        assert card.shown == [frame(1), frame(2)]
        bench.adapter.send_complete(card.kept[0], SUCCESS)
        assert card.shown == [frame(1), frame(2), frame(2), frame(3)]
        assert sorted(driver.completed) == [(frame(mark), SUCCESS) for mark in (1, 2, 3)]


def test_from_the_first_resources_on_all_wait_in_front_in_order(card: Card) -> None:
    card.script = [SUCCESS, RESOURCES]
    with Bench(miniport=card, serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        binding.send_packets(sends(bench, 1, 2, 3))
        binding.send_packets(sends(bench, 4))
        assert driver.completed == [(frame(1), SUCCESS)]
        card.script = [SUCCESS, RESOURCES]
        bench.adapter.send_resources_available()
        assert [done for done, _ in driver.completed] == [frame(1), frame(2)]
        bench.adapter.send_resources_available()
        assert [done for done, _ in driver.completed] == [frame(mark) for mark in (1, 2, 3, 4)]
        assert [status for _, status in driver.completed] == [SUCCESS] * 4


def test_waiting_sends_can_be_cancelled_and_are_aborted_at_close(card: Card) -> None:
    card.script = [RESOURCES]
    with Bench(miniport=card, serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        packets = sends(bench, 1, 2, 3)
        packets[1].info[Info.CANCEL_ID] = 9
        binding.send_packets(packets)
        assert binding.cancel_sends(9) == 1
        assert driver.completed == [(frame(2), Status.REQUEST_ABORTED)]
        assert bench.adapter.close(binding) is SUCCESS
        assert [status for _, status in driver.completed] == [Status.REQUEST_ABORTED] * 3


def test_a_packet_without_a_status_fails_and_is_named() -> None:
    class Forgetful(Card):
        def send_packets(self, packets: list[Packet]) -> None:
            packets[1].status = SUCCESS

    with Bench(miniport=Forgetful(), serialized=True) as bench:
        driver = Sender()
        bench.bind(driver).send_packets(sends(bench, 1, 2))
        assert driver.completed == [(frame(1), FAILURE), (frame(2), SUCCESS)]
        bench.expect(("94", "miniport"))


def test_a_handler_that_raises_fails_what_it_had_not_decided() -> None:
    class Broken(Card):
        def send_packets(self, packets: list[Packet]) -> None:
            packets[0].status = SUCCESS
            raise ValueError("no")

    with Bench(miniport=Broken(), serialized=True) as bench:
        driver = Sender()
        bench.bind(driver).send_packets(sends(bench, 1, 2))
        assert driver.completed == [(frame(1), SUCCESS), (frame(2), FAILURE)]
        bench.expect(("send_packets", "miniport"))


class Keeping(Sender):
    """Remember completions, and free nothing."""

    def send_complete(self, packet: Packet, status: Status) -> None:
        self.completed.append((bytes(packet.data), status))


@pytest.mark.parametrize("arrays", [False, True])
def test_a_packet_completed_while_it_is_shown_is_complete_once(arrays: bool) -> None:
    class Hasty(MiniportDriver):
        def send(self, packet: Packet) -> Status:
            bench.adapter.send_complete(packet, FAILURE)
            return PENDING

    class HastyArray(Hasty):
        def send_packets(self, packets: list[Packet]) -> None:
            packets[0].status = PENDING
            bench.adapter.send_complete(packets[0], FAILURE)

    with Bench(miniport=HastyArray() if arrays else Hasty(), serialized=True) as bench:
        driver = Keeping()
        binding = bench.bind(driver)
        (packet,) = sends(bench, 1)
        assert binding.send(packet) is PENDING
        assert driver.completed == [(frame(1), FAILURE)]
        bench.own.free(packet)


def test_a_send_from_inside_a_handler_waits_until_it_has_ended() -> None:
    """The driver answers in the handler that the miniport's own indication calls: the miniport is not entered again."""
    card = Card()

    class Echo(Sender):
        def receive_packet(self, packet: Packet) -> int:
            self.frames.append(bytes(packet.data))
            (answer,) = sends(bench, len(self.frames))
            assert self.binding.send(answer) is PENDING
            assert card.shown == []
            return 0

    with Bench(miniport=card, serialized=True) as bench:
        driver = Echo()
        bench.bind(driver)
        bench.adapter.indicate([bench.owned(), bench.owned()])
        assert card.shown == [frame(1), frame(2)]
        assert [status for _, status in driver.completed] == [SUCCESS] * 2
        for packet in bench.pool.packets():
            if packet.state is PacketState.OWNED:
                bench.pool.free(packet)


def test_threads_never_meet_in_a_handler_and_order_is_kept_for_each() -> None:
    card = Card()
    threads, each = 4, 100

    with Bench(miniport=card, serialized=True) as bench:
        binding = bench.bind(Keeping())
        packets = [sends(bench, *range(thread * 1000, thread * 1000 + each)) for thread in range(threads)]

        def run(mine: list[Packet]) -> None:
            for packet in mine:
                binding.send(packet)

        workers = [threading.Thread(target=run, args=(mine,)) for mine in packets]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        marks = [int.from_bytes(shown[-4:]) for shown in card.shown]
        assert len(marks) == threads * each
        for thread in range(threads):
            assert [mark for mark in marks if mark // 1000 == thread] == list(range(thread * 1000, thread * 1000 + each))
        assert binding.sends_pending == 0
        for mine in packets:
            for packet in mine:
                bench.own.free(packet)


# received packets


def test_the_status_on_return_says_whose_a_packet_is() -> None:
    miniport = Miniport(frees=False)
    with Bench(miniport=miniport, serialized=True) as bench:
        keeper = Driver(lambda packet: int(packet.index == 1))
        bench.bind(keeper)
        packets = [bench.owned(frame(mark)) for mark in range(3)]
        packets[2].status = RESOURCES
        bench.adapter.indicate(packets)
        assert [packet.status for packet in packets] == [SUCCESS, PENDING, SUCCESS]
        assert [packet.state for packet in packets] == [PacketState.OWNED, PacketState.INDICATED, PacketState.OWNED]
        assert miniport.returned == [], "what is the miniport's on return is not handed to it again"
        keeper.give_back()
        assert miniport.returned == [packets[1]]
        assert packets[1].status is SUCCESS
        for packet in packets:
            bench.pool.free(packet)


def test_a_packet_that_is_returned_before_the_miniport_can_look_is_told_to_come_back() -> None:
    """Its status on return says so, or the miniport would take it for its own twice."""
    told: list[Status] = []

    class Polled(Miniport):
        def check_for_hang(self) -> bool:
            bench.adapter.indicate(packets)
            told.extend(packet.status for packet in packets)
            assert self.returned == []
            return False

    miniport = Polled()
    with Bench(miniport=miniport, serialized=True) as bench:
        driver = Batched(1)
        driver.at_end = driver.give_back
        bench.bind(driver)
        packets = [bench.owned(frame(1))]
        assert not bench.adapter.check_for_hang()
        assert told == [PENDING]
        assert miniport.returned == packets


def test_a_packet_is_handed_back_only_when_no_handler_runs() -> None:
    """A return on another thread, while the miniport's indication is going on, waits for its end."""
    order: list[str] = []

    class Noting(MiniportDriver):
        def return_packet(self, packet: Packet) -> None:
            order.append("return_packet")
            packet.pool.free(packet)

    class Last(ProtocolDriver):
        def receive_packet(self, packet: Packet) -> int:
            if packet.data[-1] == 2:
                returner = threading.Thread(target=keeper.give_back)
                returner.start()
                returner.join(60)
                order.append("handler ends")
            return 0

    with Bench(miniport=Noting(), serialized=True) as bench:
        keeper = Driver(lambda packet: int(packet.data[-1] == 1))
        bench.bind(keeper, "keeper")
        bench.bind(Last(), "last")
        packets = [bench.owned(frame(1)), bench.owned(frame(2))]
        bench.adapter.indicate(packets)
        assert order == ["handler ends", "return_packet"]
        bench.pool.free(packets[1])


def test_frames_read_by_the_library_come_home_in_this_model_too() -> None:
    with Bench(packets=4, serialized=True) as bench:
        keeper = Driver(lambda packet: packet.data[-1] % 2)
        bench.bind(keeper)
        bench.give(*(frame(mark) for mark in range(4)))
        assert (bench.pool.usage, len(keeper.kept)) == (2, 2)
        keeper.give_back()
        assert bench.pool.usage == 0


# deserialized


def test_a_deserialized_miniport_completes_every_packet_of_an_array_itself() -> None:
    class Queueing(Card):
        arrays: tuple[int, ...] = ()

        def send_packets(self, packets: list[Packet]) -> None:
            self.arrays += (len(packets),)
            self.kept += packets

    card = Queueing()
    with Bench(miniport=card) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        (single,) = sends(bench, 9)
        assert binding.send(single) is PENDING
        short = bench.owned(frame()[:10], bench.own)
        binding.send_packets([*sends(bench, 1, 2), short, *sends(bench, 3)])
        assert (card.arrays, card.shown) == ((1, 3), []), "send is not called, and what is too short does not get down"
        assert driver.completed == [(frame()[:10], Status.INVALID_PACKET)]
        bench.expect(("59", "a"))
        for packet in reversed(card.kept):
            bench.adapter.send_complete(packet, SUCCESS)
        assert [done[-1] for done, _ in driver.completed[1:]] == [3, 2, 1, 9]
        assert violation(bench.adapter.send_complete, single, SUCCESS) == "50"
        bench.expect(("50", "miniport"))


def test_a_deserialized_miniport_that_raises_fails_what_is_not_complete() -> None:
    class Broken(MiniportDriver):
        def send_packets(self, packets: list[Packet]) -> None:
            bench.adapter.send_complete(packets[0], SUCCESS)
            raise ValueError("no")

    with Bench(miniport=Broken()) as bench:
        driver = Sender()
        bench.bind(driver).send_packets(sends(bench, 1, 2))
        assert driver.completed == [(frame(1), SUCCESS), (frame(2), FAILURE)]
        bench.expect(("send_packets", "miniport"))


def test_resources_available_means_nothing_to_a_deserialized_miniport() -> None:
    with Bench() as bench:
        bench.adapter.send_resources_available()
        bench.expect(("96", "miniport"))




@pytest.mark.parametrize("base", [Card, ArrayCard], ids=["send", "send_packets"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_reset_by_whom_a_send_is_shown_to_fails_no_send_that_is_over(base: type[Card], count: int) -> None:
    class Resetting(base):  # type: ignore[misc, valid-type]
        def reset(self) -> tuple[Status, bool]:
            return SUCCESS, False

    class Watcher(Driver):
        def receive_packet(self, packet: Packet) -> int:
            answers.append(self.binding.reset())
            return 0

    answers: list[Status] = []
    with Bench(miniport=Resetting(), serialized=True) as bench:
        bench.bind(Watcher(), "watcher")
        driver = Sender()
        binding = bench.bind(driver, "sender")
        binding.no_loopback = True
        packets = sends(bench, *range(count))
        binding.send_packets(packets)
        assert [data for data, _ in driver.completed] == [frame(mark) for mark in range(count)]
        assert {status for _, status in driver.completed} == {SUCCESS}
        assert answers[0] is SUCCESS
        assert (binding.sends_pending, bench.adapter.counters()["tx_pending"]) == (0, 0)
        bench.expect()
