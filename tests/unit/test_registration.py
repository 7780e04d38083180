"""
What registration is made of: the tables of handlers, pools that join an adapter, and the manager's own questions.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from unit.wire import US, Driver, Miniport, frame, violation

from vnic import Adapter, Packet, PacketPool, PacketState, Status
from vnic.characteristics import MINIPORT, PROTOCOL, MiniportCharacteristics, ProtocolCharacteristics, check
from vnic.counters import broken_sums
from vnic.device import Wrapper
from vnic.registered import FORWARDED, RegisteredMiniport, RegisteredProtocol
from vnic.registration import Registry

Kind = type[ProtocolCharacteristics] | type[MiniportCharacteristics]


@pytest.fixture(params=[(ProtocolCharacteristics, PROTOCOL), (MiniportCharacteristics, MINIPORT)], ids=["protocol", "miniport"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_every_member_of_the_version_tables_is_in_the_table_of_handlers(kind: Any) -> None:
    table, versions = kind
    named = {name for row in versions for name in (*row.members, *(name for names in row.needed for name in names))}
    assert named <= {field.name for field in fields(table)}
    assert [row.version for row in versions] == sorted(row.version for row in versions)


def test_a_table_of_zeros_is_of_no_version(kind: Any) -> None:
    table, _ = kind
    assert check(table(), len(table())) is Status.BAD_VERSION


def test_a_full_table_of_the_newest_version_passes_and_is_exactly_so_long(kind: Any) -> None:
    table, versions = kind
    handlers = {field.name: print for field in fields(table) if field.name.endswith("Handler")}
    major, minor = versions[-1].version
    full = table(MajorNdisVersion=major, MinorNdisVersion=minor, **handlers)
    assert check(full, len(full)) is Status.SUCCESS
    assert check(full, len(full) - 1) is Status.BAD_CHARACTERISTICS


def test_every_optional_handler_of_a_table_has_a_place_in_the_core() -> None:
    needed = {names[0] for row in (*PROTOCOL, *MINIPORT) for names in row.needed if len(names) == 1}
    methods = {*FORWARDED, "OpenAdapterCompleteHandler", "UnloadHandler", "ReconfigureHandler", "AllocateCompleteHandler"}
    interrupt = {"ISRHandler", "HandleInterruptHandler"}
    for table in (ProtocolCharacteristics, MiniportCharacteristics):
        optional = {field.name for field in fields(table) if field.name.endswith("Handler")} - needed
        assert optional <= methods | interrupt
    for method in FORWARDED.values():
        assert hasattr(RegisteredProtocol, method) or hasattr(RegisteredMiniport, method)


# pools that join


def adapter_with(pool: PacketPool, miniport: Miniport, **options: Any) -> Adapter:
    return Adapter(pool, miniport, name="joining0", address=US, low_water=0, **options)


def owned(pool: PacketPool, data: bytes = frame()) -> Packet:
    packet = pool.allocate()
    assert packet is not None
    packet.write(data)
    return packet


def test_packets_of_other_pools_are_indicated_if_the_adapter_lets_them_join() -> None:
    own, first, second = (PacketPool(2, 1600, name=name) for name in ("own", "first", "second"))
    adapter = adapter_with(own, Miniport(), joins_pools=True)
    driver = Driver(1)
    binding = adapter.open(driver, "holder")
    assert adapter.counters()["pool_capacity"] == 2
    adapter.indicate([owned(first, frame(1)), owned(second, frame(2)), owned(own, frame(3))])
    counters = adapter.counters()
    assert driver.frames == [frame(1), frame(2), frame(3)]
    assert (counters["held"], counters["pool_capacity"], counters["pool_indicated"]) == (3, 6, 3)
    assert list(broken_sums(counters)) == []
    binding.reserved(driver.kept[0])[:4] = b"mine"
    driver.give_back()
    assert list(broken_sums(adapter.counters())) == []
    assert adapter.close(binding) is Status.SUCCESS
    for pool in (own, first, second):
        pool.close()
    assert adapter.counters()["pool_capacity"] == 0


def test_a_pool_joins_one_adapter_at_a_time_and_none_that_does_not_let_it() -> None:
    pool = PacketPool(1, 1600)
    first, second = (adapter_with(PacketPool(1, 1600), Miniport(), joins_pools=True) for _ in range(2))
    plain = adapter_with(PacketPool(1, 1600), Miniport())
    first_driver, second_driver = Driver(), Driver()
    bindings = first.open(first_driver, "first"), second.open(second_driver, "second")
    packet = owned(pool)
    with pytest.raises(ValueError, match="not from the adapter's pool"):
        plain.indicate([packet])
    first.indicate([packet])
    packet = owned(pool)
    with pytest.raises(ValueError, match="not from the adapter's pool"):
        second.indicate([packet])
    assert first.close(bindings[0]) is Status.SUCCESS
    first.halt()
    second.indicate([packet])
    assert first_driver.frames == second_driver.frames == [frame()]
    assert second.close(bindings[1]) is Status.SUCCESS


def test_packets_of_a_pool_that_joined_are_reclaimed_too() -> None:
    reports: list[str] = []
    pool = PacketPool(1, 1600)
    miniport, driver = Miniport(), Driver(2)
    adapter = adapter_with(
        PacketPool(1, 1600), miniport, joins_pools=True, report=lambda _, fields: reports.append(fields["error"].rule.id)
    )
    binding = adapter.open(driver, "keeper")
    adapter.indicate([owned(pool)])
    assert not adapter.wait_for_packets(0)
    assert adapter.close(binding) is Status.PENDING
    assert adapter.reclaim(binding) == 1
    assert adapter.wait_for_packets(0)
    assert reports == ["60"]
    assert len(miniport.returned) == 1
    miniport.returned.clear()
    assert (pool.release_withheld(), pool.audit()[PacketState.QUARANTINED]) == (0, 1), "the keeper still refers to it"
    driver.kept.clear()
    assert pool.release_withheld() == 1
    assert pool.audit()[PacketState.FREE] == 1


# the manager


def test_a_device_without_a_driver_is_an_adapter_as_any_other() -> None:
    registry = Registry()
    adapter = adapter_with(PacketPool(1, 1600), Miniport())
    registry.add_adapter(adapter)
    with pytest.raises(ValueError, match="joining0 already"):
        registry.add_adapter(adapter)
    assert violation(registry.device, adapter) == "66"
    assert registry.remove_adapter(adapter) is Status.SUCCESS
    assert registry.remove_adapter(adapter) is Status.ADAPTER_NOT_FOUND
    assert not adapter.halted


def test_a_driver_without_devices_is_unloaded_at_once() -> None:
    unloaded: list[object] = []
    driver = Wrapper("system")
    driver.unload = unloaded.append
    assert Registry().unload(driver) is Status.SUCCESS
    assert unloaded == ["system"]
    assert driver.dead


def test_the_protocol_of_the_page_on_porting_runs() -> None:
    (text,) = re.findall(r"^```py\n(.*?)^```$", (Path(__file__).parents[2] / "docs/porting.md").read_text(), re.DOTALL | re.MULTILINE)
    exec(compile(text, "porting.md", "exec", dont_inherit=True), {"__name__": "porting"})
