"""
The table of OIDs, and what a virtual NIC says of itself: the truth, in the right width.
"""

from __future__ import annotations

import pytest
from unit.asking import Asker, Desk
from unit.wire import US, Sender, frame

from vnic import PacketFilter, Status, __version__
from vnic.counters import COUNTERS
from vnic.oids import COUNTED_BY, OIDS, ROW, SUPPORTED, NicValues, Oid, OidRow, answer_query, fill

WIDTHS = {"4": {4}, "2": {2}, "6": {6}, "4/8": {8}, "4n": set(range(4, 1024, 4)), "6n": set(range(0, 1024, 6)), "var": set(range(1, 1024))}


def test_every_oid_has_one_row_and_the_rows_stand_by_number() -> None:
    assert [row.oid for row in OIDS] == sorted(Oid)
    assert set(ROW) == set(Oid)


def test_every_row_says_who_may_ask_who_answers_and_what_it_means() -> None:
    for row in OIDS:
        assert {row.query, row.set} <= {"M", "O", "-"}
        assert (row.query, row.set) != ("-", "-")
        assert row.size in WIDTHS
        assert row.by in ("ndis", "miniport")
        assert row.meaning
    assert sorted(row.name for row in OIDS if row.by == "ndis") == [
        "OID_802_3_MULTICAST_LIST",
        "OID_GEN_CURRENT_LOOKAHEAD",
        "OID_GEN_CURRENT_PACKET_FILTER",
        "OID_GEN_PROTOCOL_OPTIONS",
        "OID_TCP_TASK_OFFLOAD",
    ]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("OID_GEN_SUPPORTED_LIST", 0x00010101),
        ("OID_GEN_CURRENT_PACKET_FILTER", 0x0001010E),
        ("OID_GEN_DRIVER_VERSION", 0x00010110),
        ("OID_GEN_TRANSPORT_HEADER_OFFSET", 0x00010119),
        ("OID_GEN_PHYSICAL_MEDIUM", 0x00010202),
        ("OID_GEN_MACHINE_NAME", 0x0001021A),
        ("OID_GEN_VLAN_ID", 0x0001021C),
        ("OID_GEN_XMIT_OK", 0x00020101),
        ("OID_GEN_RCV_NO_BUFFER", 0x00020105),
        ("OID_GEN_DIRECTED_BYTES_XMIT", 0x00020201),
        ("OID_GEN_DIRECTED_BYTES_RCV", 0x00020207),
        ("OID_GEN_TRANSMIT_QUEUE_LENGTH", 0x0002020E),
        ("OID_802_3_PERMANENT_ADDRESS", 0x01010101),
        ("OID_802_3_MAC_OPTIONS", 0x01010105),
        ("OID_802_3_RCV_ERROR_ALIGNMENT", 0x01020101),
        ("OID_802_3_XMIT_MORE_COLLISIONS", 0x01020103),
        ("OID_802_3_XMIT_DEFERRED", 0x01020201),
        ("OID_802_3_XMIT_LATE_COLLISIONS", 0x01020207),
    ],
)
def test_an_oid_has_its_real_number(name: str, number: int) -> None:
    assert ROW[number].name == name


@pytest.mark.parametrize("row", [row for row in OIDS if row.query == "M"], ids=lambda row: row.name)
def test_what_must_be_answered_is_answered_in_its_width(row: OidRow) -> None:
    with Desk() as desk:
        assert len(desk.value(desk.bind(Asker()), row.oid)) in WIDTHS[row.size]


@pytest.mark.parametrize("row", [row for row in OIDS if row.query != "M"], ids=lambda row: row.name)
def test_what_need_not_be_answered_is_answered_in_its_width_or_not_supported(row: OidRow) -> None:
    with Desk() as desk:
        request, status = desk.query(desk.bind(Asker()), row.oid, 1024)
        if row.oid in SUPPORTED and row.query != "-":
            assert (status, request.bytes_written in WIDTHS[row.size]) == (Status.SUCCESS, True)
        else:
            assert (status, request.bytes_written, request.bytes_needed) == (Status.NOT_SUPPORTED, 0, 0)
            assert bytes(request.information_buffer) == b"\xee" * 1024


def test_the_supported_list_names_exactly_what_is_answered() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        data = desk.value(binding, Oid.GEN_SUPPORTED_LIST)
        listed = [int.from_bytes(data[start : start + 4], "little") for start in range(0, len(data), 4)]
        answered = [row.oid for row in OIDS if desk.query(binding, row.oid, 1024)[1] is not Status.NOT_SUPPORTED]
        assert sorted(listed) == sorted({*answered, Oid.GEN_PROTOCOL_OPTIONS})


@pytest.mark.parametrize("row", [row for row in OIDS if row.query == "M"], ids=lambda row: row.name)
def test_a_short_buffer_is_told_what_is_needed_and_left_alone(row: OidRow) -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        if row.size == "6n":
            assert desk.set(binding, row.oid, bytes.fromhex("01005e000001"))[1] is Status.SUCCESS
        needed = len(desk.value(binding, row.oid))
        for size in (0, 3, needed - 1) if needed > 3 else (0, 1):
            if row.size == "4/8" and size >= 4:
                continue
            request, status = desk.query(binding, row.oid, size)
            assert (status, request.bytes_written, request.bytes_needed) == (Status.INVALID_LENGTH, 0, needed)
            assert bytes(request.information_buffer) == b"\xee" * size


def test_a_buffer_with_room_to_spare_keeps_what_is_behind_the_answer() -> None:
    with Desk() as desk:
        request, _ = desk.query(desk.bind(Asker()), Oid.GEN_DRIVER_VERSION, 8)
        assert bytes(request.information_buffer) == b"\x01\x05" + b"\xee" * 6
        assert request.bytes_written == 2


@pytest.mark.parametrize(("size", "written"), [(3, 0), (4, 4), (7, 4), (8, 8), (9, 8)])
def test_a_counter_of_eight_bytes_goes_into_four_with_its_low_half(size: int, written: int) -> None:
    buffer = bytearray(b"\xee" * size)
    answer = (0x1122334455667788).to_bytes(8, "little")
    status, found, needed = fill(Oid.GEN_RCV_OK, answer, buffer)
    assert (status, found) == (Status.SUCCESS if written else Status.INVALID_LENGTH, written)
    assert needed == (0 if written == 8 else 8)
    assert buffer == answer[:written] + b"\xee" * (size - written)


def test_eight_bytes_that_are_no_counter_do_not_go_into_four() -> None:
    assert fill(Oid.GEN_SUPPORTED_LIST, bytes(8), bytearray(4)) == (Status.INVALID_LENGTH, 0, 8)
    assert fill(0xFF010203, bytes(8), bytearray(4)) == (Status.INVALID_LENGTH, 0, 8)


@pytest.mark.parametrize("oid", [0, 0xFF010203, 0xFFFFFFFF, -1])
def test_an_unknown_oid_is_not_supported(oid: int) -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        assert desk.query(binding, oid)[1] is Status.NOT_SUPPORTED
        assert desk.set(binding, oid, bytes(4))[1] is Status.NOT_SUPPORTED


@pytest.mark.parametrize("row", [row for row in OIDS if row.set != "M"], ids=lambda row: row.name)
def test_a_virtual_nic_can_be_told_nothing(row: OidRow) -> None:
    with Desk() as desk:
        request, status = desk.set(desk.bind(Asker()), row.oid, bytes(4))
        assert (status, request.bytes_read) == (Status.NOT_SUPPORTED, 0)


def test_a_virtual_nic_tells_the_truth_of_its_adapter() -> None:
    with Desk(packets=5) as desk:
        binding = desk.bind(Asker())
        slot = desk.pool.slot_size
        major, minor, _ = (int(part) for part in __version__.split("."))
        expected = {
            Oid.GEN_HARDWARE_STATUS: 0,
            Oid.GEN_MEDIA_SUPPORTED: 0,
            Oid.GEN_MEDIA_IN_USE: 0,
            Oid.GEN_MAXIMUM_LOOKAHEAD: slot,
            Oid.GEN_CURRENT_LOOKAHEAD: slot,
            Oid.GEN_MAXIMUM_FRAME_SIZE: 1500,
            Oid.GEN_MAXIMUM_TOTAL_SIZE: 1514,
            Oid.GEN_LINK_SPEED: 100_000_000,
            Oid.GEN_TRANSMIT_BUFFER_SPACE: 5 * slot,
            Oid.GEN_RECEIVE_BUFFER_SPACE: 5 * slot,
            Oid.GEN_TRANSMIT_BLOCK_SIZE: slot,
            Oid.GEN_RECEIVE_BLOCK_SIZE: slot,
            Oid.GEN_VENDOR_ID: 0xFFFFFF,
            Oid.GEN_CURRENT_PACKET_FILTER: PacketFilter.PROMISCUOUS,
            Oid.GEN_DRIVER_VERSION: 0x0501,
            Oid.GEN_MAC_OPTIONS: 0xD,
            Oid.GEN_MEDIA_CONNECT_STATUS: 0,
            Oid.GEN_MAXIMUM_SEND_PACKETS: 1,
            Oid.GEN_VENDOR_DRIVER_VERSION: major << 16 | minor,
            Oid.IEEE_802_3_MAXIMUM_LIST_SIZE: 32,
            Oid.IEEE_802_3_MAC_OPTIONS: 0,
        }
        assert {oid: desk.number(binding, oid) for oid in expected} == expected
        assert desk.value(binding, Oid.IEEE_802_3_CURRENT_ADDRESS) == desk.value(binding, Oid.IEEE_802_3_PERMANENT_ADDRESS) == US
        assert desk.value(binding, Oid.GEN_VENDOR_DESCRIPTION).endswith(b"adapter\0")


def test_a_virtual_nic_has_the_speed_and_the_list_that_it_is_given() -> None:
    with Desk(values=NicValues(link_speed=10_000_000, maximum_list_size=2)) as desk:
        binding = desk.bind(Asker())
        assert desk.number(binding, Oid.GEN_LINK_SPEED) == 100_000
        assert desk.number(binding, Oid.IEEE_802_3_MAXIMUM_LIST_SIZE) == 2


def test_a_speed_that_does_not_fit_is_the_largest_that_does() -> None:
    with Desk(values=NicValues(link_speed=10**12)) as desk:
        assert desk.number(desk.bind(Asker()), Oid.GEN_LINK_SPEED) == 0xFFFFFFFF


def test_link_and_hardware_status_follow_the_adapter() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        desk.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        assert desk.number(binding, Oid.GEN_MEDIA_CONNECT_STATUS) == 1
        desk.adapter.indicate_status(Status.MEDIA_CONNECT)
        assert desk.number(binding, Oid.GEN_MEDIA_CONNECT_STATUS) == 0
        desk.adapter.attach(-1)
        assert desk.number(binding, Oid.GEN_HARDWARE_STATUS) == 4
        desk.adapter.halt()
        assert answer_query(desk.adapter, Oid.GEN_HARDWARE_STATUS) == b"\x03\0\0\0"


def test_statistics_are_those_of_the_adapters_counters() -> None:
    assert {name for names in COUNTED_BY.values() for name in names} <= {row.name for row in COUNTERS}
    with Desk(packets=4) as desk:
        sender = Sender()
        binding = desk.bind(sender)
        desk.give(frame(1), frame(2), b"runt", frame(3, size=desk.pool.slot_size))
        binding.send_packets([desk.owned(frame(size=size), desk.own) for size in (60, 60, 60, 10, 12)])
        desk.expect(("59", "a"), ("59", "a"))
        mine = [desk.pool.allocate() for _ in range(4)]
        desk.give(frame(4), frame(5), frame(6))
        found = {oid: desk.number(binding, oid) for oid in COUNTED_BY}
        assert found == {
            Oid.GEN_XMIT_OK: 3,
            Oid.GEN_RCV_OK: 2,
            Oid.GEN_XMIT_ERROR: 2,
            Oid.GEN_RCV_ERROR: 2,
            Oid.GEN_RCV_NO_BUFFER: 3,
            Oid.GEN_TRANSMIT_QUEUE_LENGTH: 0,
        }
        for packet in mine:
            assert packet is not None
            desk.pool.free(packet)
