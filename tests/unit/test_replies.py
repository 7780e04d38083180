"""
Replies over the bytes of received packets: the right bytes go out, and each received packet is held until then and returned once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from unit.layers import Layers
from unit.shipped import level_4, until
from unit.wire import PEER, US, Bench, Driver, Miniport, counts_views, frame, violation

from protocol.passthru import Passthru
from vnic import BufferPool, MiniportDriver, OwnershipError, Packet, PacketFilter, PacketPool, PacketState, Replies, Status
from vnic.locks import SpinLock
from vnic.verifier.faults import FAULTS
from vnic.verifier.levels import set_level

THEIRS = PEER + US + b"\x08\x00"


def reply(mark: int, size: int = 60) -> bytes:
    """The frame that goes back for `frame(mark)`."""
    return THEIRS + frame(mark, size=size)[14:]


class Replier(Driver):
    """Keep what comes; reply when it is told to, or at the end of each batch."""

    packet_filter = PacketFilter.DIRECTED

    def __init__(self, *, count: int = 8, at_end: bool = False, header_size: int = 14) -> None:
        super().__init__(lambda packet: int(packet.status is Status.SUCCESS))
        self.count = count
        self.at_end = at_end
        self.header_size = header_size
        self.completed: list[Packet] = []

    def bind_adapter(self) -> None:
        """Make the replies."""
        self.replies = Replies(self.binding, self.count, header_size=self.header_size)

    def send(self, **how: Any) -> int:
        """Reply to all that is kept."""
        kept = list(self.kept)
        self.kept.clear()
        return self.replies.send(kept, **how)

    def receive_complete(self) -> None:
        """A batch is over."""
        if self.at_end:
            self.send()

    def send_complete(self, packet: Packet, status: Status) -> None:
        """No reply comes back here."""
        self.completed.append(packet)

    def unbind_adapter(self) -> Status:
        """Give everything back."""
        self.give_back()
        return self.replies.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


def test_a_reply_goes_back_to_where_its_frame_came_from(bench: Bench) -> None:
    driver = Replier(at_end=True)
    binding = bench.bind(driver)
    bench.give(frame(1), frame(2, size=1500), frame(3, size=18))
    assert bench.taken() == [reply(1), reply(2, 1500), reply(3, 18)]
    assert (binding.held, binding.sends_pending, bench.pool.usage) == (0, 0, 0)
    assert (driver.replies.sent, driver.replies.dropped, driver.completed) == (3, 0, [])
    bench.give(*[frame(mark) for mark in range(8)])
    assert bench.taken() == [reply(mark) for mark in range(8)]


def test_the_library_holds_a_packet_until_its_reply_is_over(bench: Bench) -> None:
    driver = Replier()
    binding = bench.bind(driver)
    bench.fill_cable(bench.bind(Driver(), "filler"))
    bench.give(frame(1), frame(2))
    packets = list(driver.kept)
    assert driver.send() == 2
    assert [packet.state for packet in packets] == [PacketState.INDICATED] * 2
    assert (binding.held, binding.sends_pending) == (2, 2)
    bench.taken()
    bench.adapter.flush()
    assert bench.taken()[-2:] == [reply(1), reply(2)]
    assert [packet.state for packet in packets] == [PacketState.FREE] * 2
    assert (binding.held, binding.sends_pending, driver.replies.sent) == (0, 0, 2)


def test_a_reply_is_two_buffers_and_the_second_is_the_packets(bench: Bench) -> None:
    class Watcher(Driver):
        packet_filter = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL

    def look(packet: Packet) -> object:
        return packet.flags and [bytes(buffer.data) for buffer in packet.buffers]

    watcher = Watcher(look=look)
    bench.bind(watcher, "watcher")
    bench.bind(Replier(at_end=True), "replier")
    bench.give(frame(1))
    assert watcher.frames == [frame(1), reply(1)]
    assert watcher.seen[1] == [THEIRS, frame(1)[14:]]
    bench.taken()


@counts_views
def test_the_second_buffer_is_a_view_of_the_packet_while_it_is_under_way(bench: Bench) -> None:
    driver = Replier()
    bench.bind(driver)
    bench.fill_cable(bench.bind(Driver(), "filler"))
    bench.give(frame(1))
    (packet,) = driver.kept
    driver.send()
    assert packet.views == 1
    bench.taken()
    bench.adapter.flush()
    assert packet.views == 0


def test_headers_of_ones_own_stand_in_place_of_as_many_bytes_as_one_likes() -> None:
    with Bench() as bench:
        driver = Replier(header_size=42)
        bench.bind(driver)
        headers = [b"h" * 14, bytearray(b"H" * 42), memoryview(b"x" * 20)]
        bench.give(*[frame(mark) for mark in range(3)])
        assert driver.send(headers=headers, offset=42) == 3
        assert bench.taken() == [bytes(header) + frame(mark)[42:] for mark, header in enumerate(headers)]
        bench.give(frame(4))
        driver.send(headers=[b"h" * 14], offset=60)
        assert bench.taken() == [b"h" * 14], "nothing of the frame"
        bench.give(frame(5))
        driver.send(headers=[b"h" * 14], offset=0)
        assert bench.taken() == [b"h" * 14 + frame(5)]


def test_headers_that_do_not_fit_are_refused_and_nothing_changes_hands(bench: Bench) -> None:
    driver = Replier()
    binding = bench.bind(driver)
    bench.give(frame(1))
    for headers, offset in (([], 14), ([b"h" * 13], 14), ([b"h" * 65], 14), ([b"h" * 14], -1)):
        with pytest.raises(ValueError):
            driver.replies.send(driver.kept, headers, offset)
    assert (binding.held, driver.replies.dropped, bench.taken()) == (1, 0, [])
    driver.send()
    assert bench.taken() == [reply(1)]


def test_without_a_reply_left_packets_are_returned_and_counted(bench: Bench) -> None:
    driver = Replier(count=2, at_end=True)
    binding = bench.bind(driver)
    bench.give(*[frame(mark) for mark in range(5)])
    assert bench.taken() == [reply(0), reply(1)]
    assert (driver.replies.sent, driver.replies.dropped, binding.held) == (2, 3, 0)
    bench.give(frame(7))
    assert bench.taken() == [reply(7)]


def test_frames_that_end_before_the_offset_get_no_reply(bench: Bench) -> None:
    driver = Replier(header_size=20)
    binding = bench.bind(driver)
    bench.give(frame(1, size=18), frame(2, size=20), frame(3, size=21))
    assert driver.send(headers=[b"h" * 20] * 3, offset=20) == 2
    assert bench.taken() == [b"h" * 20, b"h" * 20 + frame(3, size=21)[20:]]
    assert (driver.replies.dropped, binding.held) == (1, 0)


def test_a_refused_reply_is_counted_and_its_packet_returned(bench: Bench) -> None:
    driver = Replier()
    binding = bench.bind(driver)
    bench.give(frame(1))
    bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
    assert driver.send() == 1
    assert (driver.replies.sent, driver.replies.dropped, binding.held) == (0, 1, 0)
    bench.adapter.indicate_status(Status.MEDIA_CONNECT)


def test_what_is_not_held_gets_no_reply_and_the_others_do(bench: Bench) -> None:
    driver, other = Replier(), Driver(1)
    other.packet_filter = PacketFilter.DIRECTED
    binding = bench.bind(driver)
    bench.bind(other, "other")
    bench.give(frame(1), frame(2))
    strange = bench.owned(frame(9), bench.own)
    gone = driver.kept.pop(0)
    binding.return_packets([gone])
    with pytest.raises(OwnershipError) as caught:
        driver.replies.send([gone, strange, *driver.kept])
    driver.kept.clear()
    assert caught.value.rule.id == "01"
    assert bench.taken() == [reply(2)]
    bench.expect(("01", "a"), ("05", "a"))
    bench.own.free(strange)
    other.give_back()


def test_a_packet_may_be_replied_to_once_for_each_reference(bench: Bench) -> None:
    driver = Replier()
    driver.answer = 2
    binding = bench.bind(driver)
    bench.give(frame(1))
    assert driver.send() == 2
    assert bench.taken() == [reply(1)] * 2
    assert (binding.held, bench.pool.usage) == (0, 0)


def test_two_bindings_reply_to_the_same_packet(bench: Bench) -> None:
    drivers = [Replier(), Replier()]
    for number, driver in enumerate(drivers):
        bench.bind(driver, str(number))
    bench.give(frame(1))
    drivers[1].send()
    assert bench.pool.usage == 1
    drivers[0].send()
    assert bench.taken() == [reply(1)] * 2
    assert bench.pool.usage == 0


def test_replies_on_a_closed_binding_are_rule_57(bench: Bench) -> None:
    driver = Replier()
    binding = bench.bind(driver)
    bench.adapter.close(binding)
    assert violation(driver.replies.send, []) == "57"
    bench.expect(("57", "a"))


def test_closing_waits_for_replies_that_are_under_way() -> None:
    pending: list[Packet] = []

    class Below(MiniportDriver):
        def send(self, packet: Packet) -> Status:
            pending.append(packet)
            return Status.PENDING

    with Bench(miniport=Below()) as bench:
        driver = Replier()
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        driver.send()
        assert [bytes(packet.data) for packet in pending] == [reply(1), reply(2)]
        assert bench.adapter.close(binding) is Status.PENDING
        bench.adapter.send_complete(pending[0], Status.SUCCESS)
        assert not binding.closed
        bench.adapter.send_complete(pending[1], Status.FAILURE)
        assert binding.closed
        assert (driver.replies.sent, driver.replies.dropped) == (1, 1)
        assert violation(driver.replies.pool.allocate) == "40"


def test_after_closing_has_begun_there_are_no_replies(bench: Bench) -> None:
    class Late(Replier):
        def unbind_adapter(self) -> Status:
            status = self.replies.close()
            self.send()
            return status

    driver = Late()
    binding = bench.bind(driver)
    bench.give(frame(1))
    assert bench.adapter.close(binding) is Status.SUCCESS
    assert (driver.replies.dropped, bench.taken()) == (1, [])


def test_packets_that_are_taken_back_by_force_come_home_when_their_replies_are_over() -> None:
    pending: list[Packet] = []

    class Below(MiniportDriver):
        def send(self, packet: Packet) -> Status:
            pending.append(packet)
            return Status.PENDING

    with Bench(miniport=Below()) as bench:
        driver = Replier()
        binding = bench.bind(driver)
        bench.give(frame(1))
        driver.send()
        assert bench.adapter.close(binding) is Status.PENDING
        bench.adapter.reclaim(binding)
        # the bytes are under way: nobody may read into them
        assert bench.pool.audit()[PacketState.QUARANTINED] == 1
        assert bytes(pending[0].data) == reply(1)
        bench.adapter.send_complete(pending[0], Status.SUCCESS)
        pending.clear()
        reported = [rule for rule, _ in bench.reports]
        bench.reports.clear()
        assert reported[0] == "60"
        assert binding.closed


def test_a_reply_over_a_chain_of_buffers_that_came_up() -> None:
    with Bench(miniport=Miniport(frees=False)) as bench:
        driver = Replier(at_end=True)
        bench.bind(driver)
        buffers = BufferPool(4, "parts")
        packet = bench.pool.allocate()
        assert packet is not None
        for part in (frame(1)[:20], frame(1)[20:]):
            buffer = buffers.allocate(bytearray(part))
            assert buffer is not None
            packet.chain_back(buffer)
        bench.adapter.indicate([packet])
        assert bench.taken() == [reply(1)]
        while (taken := packet.unchain_front()) is not None:
            buffers.free(taken)
        bench.pool.free(packet)


def test_a_reply_above_a_filter_goes_through_it() -> None:
    with Layers(Passthru()) as bench:
        driver = Replier(at_end=True)
        binding = bench.up.open(driver, "replier")
        bench.give(frame(1), frame(2))
        assert bench.taken() == [reply(1), reply(2)]
        assert (binding.held, bench.low.held, bench.pool.usage) == (0, 0, 0)


@pytest.mark.parametrize("level", range(5))
def test_replies_break_no_rule_at_any_verifier_level(level: int) -> None:
    # the rules about time are only counted
    with level_4():
        set_level(level)
        with Bench() as bench:
            driver = Replier(at_end=True)
            bench.bind(driver)
            for mark in range(20):
                bench.give(frame(mark), frame(mark + 100))
                assert bench.taken() == [reply(mark), reply(mark + 100)]
            bench.fill_cable(bench.bind(Driver(), "filler"))
            bench.give(frame(1))
            bench.taken()
            bench.adapter.flush()
            assert bench.taken()[-1] == reply(1)
            assert (driver.replies.sent, driver.replies.dropped) == (41, 0)


def test_with_a_lock_held_replies_are_rule_80_at_level_2_and_nothing_changes_hands() -> None:
    set_level(2)
    try:
        with Bench() as bench:
            driver = Replier()
            binding = bench.bind(driver)
            bench.give(frame(1))
            lock = SpinLock()
            with lock:
                assert violation(driver.replies.send, driver.kept) == "80"
            assert binding.held == 1
            bench.expect(("80", "a"))
            driver.send()
            assert bench.taken() == [reply(1)]
    finally:
        set_level(1)


def test_where_allocations_fail_there_are_less_replies_or_none() -> None:
    with level_4(), Bench() as bench:
        binding = bench.bind(Driver())
        found = set()
        for seed in range(50):
            FAULTS.start("low-resources", seed=seed, probability=0.3)
            try:
                replies = Replies(binding, 4, name="few")
            except OSError:
                found.add(-1)
            else:
                FAULTS.stop("low-resources")
                assert replies.pool.usage == replies.buffers.usage
                found.add(replies.pool.usage)
                assert replies.close() is Status.SUCCESS
        assert {-1, 1, 2, 3} <= found


def test_replies_survive_sends_that_pend_on_purpose() -> None:
    with level_4(), Bench() as bench:
        driver = Replier(at_end=True)
        bench.bind(driver)
        FAULTS.start("pend-sends", ratio=1.0, delay_ms=1.0)
        bench.give(frame(1), frame(2))
        until(lambda: driver.replies.sent == 2)
        assert sorted(bench.taken()) == [reply(1), reply(2)]
        FAULTS.stop("pend-sends")


def test_a_reply_that_the_driver_sends_itself_is_the_drivers_fault_and_harms_nobody(bench: Bench) -> None:
    driver = Replier(at_end=True)
    binding = bench.bind(driver)
    bench.give(frame(1))
    for packet in driver.replies.pool.packets():
        binding.send_packets([packet])
    bench.give(frame(2))
    assert bench.taken()[-1] == reply(2)


def test_replies_are_made_once(bench: Bench) -> None:
    driver = Replier()
    bench.bind(driver)
    with pytest.raises(TypeError):
        driver.replies.__init__(driver.binding, 4)
    assert repr(driver.replies) == "<Replies of a: 8 of 8 idle>"


def test_the_pools_of_replies_have_the_name_that_they_are_given(bench: Bench) -> None:
    class Named(Replier):
        def bind_adapter(self) -> None:
            self.replies = Replies(self.binding, 4, name="mine", header_size=100)

    driver = Named()
    bench.bind(driver)
    pool: PacketPool = driver.replies.pool
    assert (pool.name, driver.replies.buffers.name, pool.slot_size, pool.usage) == ("mine", "mine", 100, 4)
