"""
The request contract, statement by statement: each test carries the id of the statement that it checks.
"""

from __future__ import annotations

from typing import Any

import pytest
from unit.asking import PENDING, Asker, Desk, Scripted
from unit.wire import BROADCAST, OTHER, US, Driver, frame, violation

from vnic import PacketFilter, Status
from vnic.oids import OIDS, SUPPORTED, NicValues, Oid, OidRow
from vnic.request import Request, RequestKind

SUCCESS = Status.SUCCESS
FILTER, LIST, LOOKAHEAD = Oid.GEN_CURRENT_PACKET_FILTER, Oid.IEEE_802_3_MULTICAST_LIST, Oid.GEN_CURRENT_LOOKAHEAD
GROUPS = [bytes.fromhex(f"01005e0000{number:02x}") for number in range(8)]
SETTINGS = [(FILTER, 4), (LOOKAHEAD, 4), (Oid.GEN_PROTOCOL_OPTIONS, 4), (LIST, 6)]


def u32(value: int) -> bytes:
    """A number in four bytes."""
    return value.to_bytes(4, "little")


def test_oid_01_the_buffer_is_lent_until_completion() -> None:
    with Desk(Scripted(PENDING)) as desk:
        request, _ = desk.query(desk.bind(Asker()), Oid.GEN_LINK_SPEED)
        assert isinstance(request.information_buffer, bytearray)
        with pytest.raises(BufferError):
            request.information_buffer.append(0)
        desk.queue.query_complete(SUCCESS, 4)
        request.information_buffer.append(0)


@pytest.mark.parametrize("kind", [RequestKind.QUERY, RequestKind.STATISTICS])
def test_oid_01_a_query_and_a_query_of_statistics_count_bytes_written(kind: RequestKind) -> None:
    with Desk() as desk:
        request = Request(kind, Oid.GEN_XMIT_OK, bytearray(8))
        assert desk.queue.request(desk.bind(Asker()), request) is SUCCESS
        assert (request.bytes_written, request.bytes_read, request.bytes_needed) == (8, 0, 0)


def test_oid_01_a_set_counts_bytes_read() -> None:
    with Desk() as desk:
        request, status = desk.set(desk.bind(Asker()), FILTER, u32(1))
        assert (status, request.bytes_written, request.bytes_read, request.bytes_needed) == (SUCCESS, 0, 4, 0)


def test_oid_02_an_answer_other_than_pending_is_not_followed_by_a_completion() -> None:
    with Desk() as desk:
        asker = Asker()
        binding = desk.bind(asker)
        found = [desk.query(binding, oid, size)[1] for oid, size in ((Oid.GEN_LINK_SPEED, 4), (Oid.GEN_LINK_SPEED, 1), (0, 4), (FILTER, 4))]
        assert found == [SUCCESS, Status.INVALID_LENGTH, Status.NOT_SUPPORTED, SUCCESS]
        assert asker.completed == []


def test_oid_02_pending_is_followed_by_exactly_one_completion() -> None:
    with Desk(Scripted(PENDING)) as desk:
        asker = Asker()
        request, status = desk.query(desk.bind(asker), Oid.GEN_LINK_SPEED)
        assert (status, asker.completed) == (Status.PENDING, [])
        desk.queue.query_complete(SUCCESS, 4)
        assert asker.completed == [(request, SUCCESS)]
        assert violation(desk.queue.query_complete, SUCCESS, 4) == "68a"
        assert asker.completed == [(request, SUCCESS)]
        desk.expect(("68a", "miniport"))


def test_oid_02_a_completion_may_come_before_the_request_returns() -> None:
    events: list[str] = []

    def completes_at_once(_: int) -> Any:
        desk.queue.query_complete(SUCCESS, 4)
        return PENDING

    with Desk(Scripted(completes_at_once)) as desk:
        _, status = desk.query(desk.bind(Asker(lambda *_: events.append("completed"))), Oid.GEN_LINK_SPEED)
        events.append("returned")
        assert (status, events) == (Status.PENDING, ["completed", "returned"])


def test_oid_03_a_request_with_a_short_buffer_is_made_again_with_what_is_needed() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        request, status = desk.query(binding, Oid.GEN_SUPPORTED_LIST, 2)
        assert (status, request.bytes_needed) == (Status.INVALID_LENGTH, 4 * len(SUPPORTED))
        request.information_buffer = bytearray(request.bytes_needed)
        assert desk.queue.request(binding, request) is SUCCESS
        assert (request.bytes_written, request.bytes_needed) == (4 * len(SUPPORTED), 0)


def test_oid_04_one_request_at_a_time_reaches_the_miniport_in_order_query_or_set_whoever_asks() -> None:
    miniport = Scripted(PENDING)
    with Desk(miniport) as desk:
        told: list[Request] = []
        first, second = (desk.bind(Asker(lambda request, _: told.append(request)), name) for name in "ab")
        requests = [
            desk.query(first, 1),
            desk.set(second, 2, b"xy"),
            desk.query(second, 3),
            desk.set(first, 4, b"z"),
        ]
        assert [status for _, status in requests] == [Status.PENDING] * 4
        expected = [(1, 4), (2, b"xy"), (3, 4), (4, b"z")]
        for done, complete in enumerate((desk.queue.query_complete, desk.queue.set_complete) * 2):
            assert miniport.asked == expected[: done + 1]
            complete(SUCCESS, 1)
        assert miniport.asked == expected
        assert told == [request for request, _ in requests]


@pytest.mark.parametrize(("oid", "size"), SETTINGS)
def test_oid_05_the_library_answers_for_the_binding_while_the_miniport_is_busy(oid: Oid, size: int) -> None:
    miniport = Scripted(PENDING)
    with Desk(miniport) as desk:
        binding = desk.bind(Asker())
        desk.query(binding, Oid.GEN_LINK_SPEED)
        assert desk.set(binding, oid, b"\1" + bytes(size - 1))[1] is SUCCESS
        assert desk.query(binding, oid, 64)[1] is (Status.NOT_SUPPORTED if oid == Oid.GEN_PROTOCOL_OPTIONS else SUCCESS)
        assert miniport.asked == [(Oid.GEN_LINK_SPEED, 4)]
        desk.queue.query_complete(SUCCESS, 4)


def test_oid_05_the_lookahead_is_the_largest_over_the_bindings() -> None:
    with Desk() as desk:
        first, second = desk.bind(Asker()), desk.bind(Asker(), "b")
        for binding, size in ((first, 100), (second, 300), (first, 200)):
            assert desk.set(binding, LOOKAHEAD, u32(size))[1] is SUCCESS
        assert [desk.number(binding, LOOKAHEAD) for binding in (first, second)] == [300, 300]
        assert desk.set(second, LOOKAHEAD, u32(50))[1] is SUCCESS
        assert desk.number(second, LOOKAHEAD) == 200


def test_oid_05_a_lookahead_beyond_the_maximum_is_no_data() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        most = desk.number(binding, Oid.GEN_MAXIMUM_LOOKAHEAD)
        assert desk.set(binding, LOOKAHEAD, u32(most))[1] is SUCCESS
        assert desk.set(binding, LOOKAHEAD, u32(most + 1))[1] is Status.INVALID_DATA
        assert desk.number(binding, LOOKAHEAD) == most


def test_oid_05_protocol_options_are_the_bindings_own() -> None:
    with Desk() as desk:
        first, second = desk.bind(Asker()), desk.bind(Asker(), "b")
        assert desk.set(first, Oid.GEN_PROTOCOL_OPTIONS, u32(2))[1] is SUCCESS
        assert desk.set(second, Oid.GEN_PROTOCOL_OPTIONS, u32(8))[1] is Status.INVALID_DATA
        assert [desk.queue.protocol_options(binding) for binding in (first, second)] == [2, 0]


def test_oid_06_what_is_set_reaches_the_miniport_unchecked_which_may_refuse_it() -> None:
    miniport = Scripted((Status.INVALID_DATA, 0, 0))
    with Desk(miniport) as desk:
        request, status = desk.set(desk.bind(Asker()), Oid.GEN_VLAN_ID, b"nonsense")
        assert (status, request.bytes_read, miniport.asked) == (Status.INVALID_DATA, 0, [(Oid.GEN_VLAN_ID, b"nonsense")])


@pytest.mark.parametrize(
    "status",
    [
        Status.INVALID_OID,
        Status.INVALID_LENGTH,
        Status.BUFFER_TOO_SHORT,
        Status.INVALID_DATA,
        Status.NOT_ACCEPTED,
        Status.NOT_SUPPORTED,
        Status.RESOURCES,
    ],
    ids=lambda status: status.name,
)
def test_oid_07_the_miniports_status_and_bytes_needed_are_the_requesters(status: Status) -> None:
    with Desk(Scripted((status, 0, 77))) as desk:
        binding = desk.bind(Asker())
        for request, found in (desk.query(binding, 1), desk.set(binding, 1, b"abcd")):
            assert (found, request.bytes_needed, request.bytes_written, request.bytes_read) == (status, 77, 0, 0)


def test_oid_08_bytes_and_buffer_of_a_pending_query_are_filled_at_its_completion() -> None:
    miniport = Scripted(PENDING)
    with Desk(miniport) as desk:
        asker = Asker(lambda request, _: seen.append((bytes(request.information_buffer), request.bytes_written, request.bytes_needed)))
        seen: list[tuple[bytes, int, int]] = []
        desk.query(desk.bind(asker), 1)
        miniport.buffer[:] = b"abcd"
        desk.queue.query_complete(SUCCESS, 3, 9)
        assert seen == [(b"abc\xee", 3, 9)]


def test_oid_08_more_bytes_than_the_buffer_has_are_refused_and_the_query_stays_pending() -> None:
    with Desk(Scripted(PENDING)) as desk:
        asker = Asker()
        request, _ = desk.query(desk.bind(asker), 1)
        assert violation(desk.queue.query_complete, SUCCESS, 5) == "68d"
        assert asker.completed == []
        desk.queue.query_complete(SUCCESS, 4)
        assert asker.completed == [(request, SUCCESS)]
        desk.expect(("68d", "miniport"))


def test_oid_09_a_completion_with_nothing_pending_is_refused() -> None:
    with Desk(Scripted(PENDING)) as desk:
        assert violation(desk.queue.query_complete, SUCCESS) == "68b"
        assert violation(desk.queue.set_complete, SUCCESS) == "68b"
        desk.expect(("68b", "miniport"), ("68b", "miniport"))


def test_oid_09_a_query_is_not_completed_as_a_set_nor_a_set_as_a_query() -> None:
    with Desk(Scripted(PENDING)) as desk:
        asker = Asker()
        binding = desk.bind(asker)
        desk.query(binding, 1)
        assert violation(desk.queue.set_complete, SUCCESS) == "68b"
        desk.queue.query_complete(SUCCESS)
        desk.set(binding, 1, b"")
        assert violation(desk.queue.query_complete, SUCCESS) == "68b"
        desk.queue.set_complete(SUCCESS)
        assert len(asker.completed) == 2
        desk.expect(("68b", "miniport"), ("68b", "miniport"))


@pytest.mark.parametrize("row", [row for row in OIDS if row.size == "4/8" and row.query == "M"], ids=lambda row: row.name)
def test_oid_10_a_statistic_answers_in_eight_bytes_in_four_or_not_at_all(row: OidRow) -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        found = []
        for size in (8, 4, 3):
            request, status = desk.query(binding, row.oid, size)
            found.append((status, request.bytes_written, request.bytes_needed, bytes(request.information_buffer)))
        assert found == [(SUCCESS, 8, 0, bytes(8)), (SUCCESS, 4, 8, bytes(4)), (Status.INVALID_LENGTH, 0, 8, b"\xee" * 3)]


def test_oid_11_a_frame_that_finds_the_pool_empty_counts_as_rcv_no_buffer() -> None:
    with Desk(packets=2) as desk:
        binding = desk.bind(keeper := Driver(1))
        desk.give(frame(1), frame(2))
        assert desk.give(frame(3), frame(4), frame(5)) == 3
        assert desk.number(binding, Oid.GEN_RCV_NO_BUFFER) == 3
        assert desk.number(binding, Oid.GEN_RCV_OK) == 2
        keeper.give_back()


def test_rx_56_a_set_of_the_filter_replaces_that_of_the_binding_only() -> None:
    with Desk() as desk:
        first, second = desk.bind(Asker()), desk.bind(Asker(), "b")
        assert desk.set(first, FILTER, u32(PacketFilter.DIRECTED | PacketFilter.BROADCAST))[1] is SUCCESS
        assert desk.set(first, FILTER, u32(PacketFilter.MULTICAST))[1] is SUCCESS
        assert [desk.number(binding, FILTER) for binding in (first, second)] == [PacketFilter.MULTICAST, PacketFilter.PROMISCUOUS]


def test_rx_57_nothing_is_indicated_with_filter_0_and_setting_it_starts() -> None:
    with Desk() as desk:
        asker = Asker()
        binding = desk.bind(asker)
        for value, number in ((0, 1), (PacketFilter.DIRECTED, 2), (0, 3)):
            assert desk.set(binding, FILTER, u32(value))[1] is SUCCESS
            desk.give(frame(number))
        assert asker.frames == [frame(2)]


def test_rx_58_rx_60_a_promiscuous_binding_shows_the_others_nothing_more() -> None:
    with Desk() as desk:
        watcher, other = Asker(), Asker()
        for asker, value in ((watcher, PacketFilter.PROMISCUOUS), (other, PacketFilter.DIRECTED)):
            assert desk.set(desk.bind(asker, f"{value.name}"), FILTER, u32(value))[1] is SUCCESS
        desk.give(frame(1, to=OTHER), frame(2, to=BROADCAST), frame(3, to=US))
        assert (len(watcher.frames), other.frames) == (3, [frame(3)])


def test_rx_59_the_multicast_list_is_the_bindings_own_and_each_set_replaces_it() -> None:
    with Desk() as desk:
        asker, other = Asker(), Asker()
        for name, driver in (("a", asker), ("b", other)):
            assert desk.set(desk.bind(driver, name), FILTER, u32(PacketFilter.MULTICAST))[1] is SUCCESS
        for driver, listed in ((asker, GROUPS[:2]), (other, GROUPS[2:3]), (asker, GROUPS[1:2])):
            assert desk.set(driver.binding, LIST, b"".join(listed))[1] is SUCCESS
        desk.give(*(frame(index, to=group) for index, group in enumerate(GROUPS[:3])))
        assert asker.frames == [frame(1, to=GROUPS[1])]
        assert other.frames == [frame(2, to=GROUPS[2])]


def test_rx_59_a_query_of_the_multicast_list_answers_the_union() -> None:
    with Desk() as desk:
        first, second = desk.bind(Asker()), desk.bind(Asker(), "b")
        assert desk.value(first, LIST) == b""
        desk.set(first, LIST, GROUPS[2] + GROUPS[0])
        desk.set(second, LIST, GROUPS[1] + GROUPS[2])
        assert desk.value(first, LIST) == desk.value(second, LIST) == b"".join(GROUPS[:3])
        desk.set(first, LIST, b"")
        assert desk.value(first, LIST) == b"".join(GROUPS[1:3])


def test_rx_59_the_limit_of_the_multicast_list_is_shared_by_all_bindings() -> None:
    with Desk(values=NicValues(maximum_list_size=4)) as desk:
        first, second = desk.bind(Asker()), desk.bind(Asker(), "b")
        assert desk.set(first, LIST, b"".join(GROUPS[:3]))[1] is SUCCESS
        assert desk.set(second, LIST, b"".join(GROUPS[3:5]))[1] is Status.MULTICAST_FULL
        assert second.multicast_list == ()
        assert desk.set(second, LIST, b"".join(GROUPS[:4]))[1] is SUCCESS
        assert desk.set(first, LIST, b"".join(GROUPS[:5]))[1] is Status.MULTICAST_FULL
        assert first.multicast_list == tuple(GROUPS[:3])


def test_rx_59_an_address_of_no_group_answers_multicast_full_and_changes_nothing() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        assert desk.set(binding, LIST, GROUPS[0])[1] is SUCCESS
        request, status = desk.set(binding, LIST, GROUPS[1] + US)
        assert (status, request.bytes_read, binding.multicast_list) == (Status.MULTICAST_FULL, 0, (GROUPS[0],))


@pytest.mark.parametrize("length", [1, 5, 7, 13])
def test_rx_59_a_multicast_list_whose_length_is_no_multiple_of_6_has_an_invalid_length(length: int) -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        request, status = desk.set(binding, LIST, b"\1" * length)
        assert (status, request.bytes_read, request.bytes_needed) == (Status.INVALID_LENGTH, 0, 6)
        assert binding.multicast_list == ()


@pytest.mark.parametrize("bit", [0x10, 0x40, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x8000, 0x80000000])
def test_rx_61_a_filter_bit_that_is_not_supported_is_refused_and_the_filter_stays(bit: int) -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        request, status = desk.set(binding, FILTER, u32(bit | PacketFilter.DIRECTED))
        assert (status, request.bytes_read) == (Status.NOT_SUPPORTED, 0)
        assert binding.packet_filter == PacketFilter.PROMISCUOUS


@pytest.mark.parametrize("oid", [FILTER, LOOKAHEAD, Oid.GEN_PROTOCOL_OPTIONS], ids=lambda oid: oid.name)
@pytest.mark.parametrize("length", [0, 3, 5, 8])
def test_rx_61_a_set_of_the_wrong_length_has_an_invalid_length(oid: Oid, length: int) -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        request, status = desk.set(binding, oid, bytes(length))
        assert (status, request.bytes_read, request.bytes_needed) == (Status.INVALID_LENGTH, 0, 4)
        assert binding.packet_filter == PacketFilter.PROMISCUOUS


def test_rx_62_all_multicast_does_not_show_broadcasts_nor_broadcast_groups() -> None:
    with Desk() as desk:
        groups, broadcasts = Asker(), Asker()
        desk.set(desk.bind(groups), FILTER, u32(PacketFilter.ALL_MULTICAST))
        desk.set(desk.bind(broadcasts, "b"), FILTER, u32(PacketFilter.BROADCAST))
        desk.give(frame(1, to=BROADCAST), frame(2, to=GROUPS[0]))
        assert groups.frames == [frame(2, to=GROUPS[0])]
        assert broadcasts.frames == [frame(1, to=BROADCAST)]


def test_lc_13_requests_are_refused_during_a_reset() -> None:
    with Desk() as desk:
        asker = Asker()
        binding = desk.bind(asker)
        desk.queue.begin_reset()
        found = [desk.query(binding, oid)[1] for oid in (Oid.GEN_LINK_SPEED, FILTER)] + [desk.set(binding, FILTER, u32(1))[1]]
        assert found == [Status.RESET_IN_PROGRESS] * 3
        desk.queue.end_reset()
        assert desk.number(binding, FILTER) == PacketFilter.PROMISCUOUS
        assert asker.completed == []


def test_lc_15_what_waits_ends_when_the_reset_begins_and_what_is_below_when_it_ends() -> None:
    miniport = Scripted(PENDING)
    with Desk(miniport) as desk:
        asker = Asker()
        binding = desk.bind(asker)
        below, waiting = desk.query(binding, 1)[0], desk.query(binding, 2)[0]
        desk.queue.begin_reset()
        assert asker.completed == [(waiting, Status.RESET_IN_PROGRESS)]
        desk.queue.end_reset()
        assert asker.completed == [(waiting, Status.RESET_IN_PROGRESS), (below, Status.RESET_IN_PROGRESS)]
        assert violation(desk.queue.query_complete, SUCCESS) == "68a"
        desk.expect(("68a", "miniport"))
        assert desk.query(binding, 3)[1] is Status.PENDING
        desk.queue.query_complete(SUCCESS)
        assert miniport.asked == [(1, 4), (3, 4)]


def test_lc_15_the_miniport_may_complete_its_request_during_the_reset() -> None:
    with Desk(Scripted(PENDING)) as desk:
        asker = Asker()
        request, _ = desk.query(desk.bind(asker), 1)
        desk.queue.begin_reset()
        desk.queue.query_complete(SUCCESS, 4)
        desk.queue.end_reset()
        assert asker.completed == [(request, SUCCESS)]


def test_lc_25_block_size_and_lookahead_are_equal_whole_frames_are_shown() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        sizes = {desk.number(binding, oid) for oid in (Oid.GEN_MAXIMUM_LOOKAHEAD, LOOKAHEAD, Oid.GEN_RECEIVE_BLOCK_SIZE)}
        assert len(sizes) == 1


def test_lc_30_a_request_after_unbind_adapter_is_refused() -> None:
    with Desk() as desk:
        keeper = Driver(1)
        binding = desk.bind(keeper)
        desk.give(frame())
        assert desk.adapter.close(binding) is Status.PENDING
        assert violation(desk.query, binding, Oid.GEN_LINK_SPEED) == violation(desk.set, binding, FILTER, u32(1)) == "98"
        desk.expect(("98", "a"), ("98", "a"))
        keeper.give_back()


def test_lc_33_the_media_connect_status_is_that_of_the_link() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        found = []
        for status in (Status.MEDIA_DISCONNECT, Status.MEDIA_CONNECT):
            desk.adapter.indicate_status(status)
            found.append(desk.number(binding, Oid.GEN_MEDIA_CONNECT_STATUS))
        assert found == [1, 0]
