"""
An adapter as a whole: what it is made from, what it reports, and what it costs in memory while it runs.
"""

from __future__ import annotations

import gc
import logging
import random
import sys
from typing import Any

import pytest
from unit.wire import US, Batched, Bench, Copier, Driver, Miniport, Sender, frame

from vnic import COMPILED, Adapter, MiniportDriver, Packet, PacketPool, PacketState, Status, slot_size_for
from vnic.counters import broken_sums


@pytest.mark.parametrize("address", [b"", US[:5], US + b"\0", b"\x01" + US[1:], b"\xff" * 6], ids=bytes.hex)
def test_a_station_address_has_6_bytes_and_no_group_bit(address: bytes) -> None:
    with pytest.raises(ValueError, match="no 6-byte station address"):
        Adapter(PacketPool(2, slot_size_for(1500)), MiniportDriver(), address=address)


def test_an_adapter_shows_what_it_was_made_from() -> None:
    pool = PacketPool(16, slot_size_for(9000))
    miniport = MiniportDriver()
    adapter = Adapter(pool, miniport, name="tap7", mtu=9000, network_addresses=["10.0.0.2/24"])
    assert (adapter.pool, adapter.miniport, adapter.name, adapter.mtu) == (pool, miniport, "tap7", 9000)
    assert (adapter.network_addresses, adapter.link_up, adapter.halted, adapter.fd) == (("10.0.0.2/24",), True, False, -1)
    assert (adapter.bindings, adapter.send_blocked, adapter.low_water) == ((), False, 2)


def test_a_report_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Bench):
        def report(self, event: str, fields: dict[str, Any]) -> None:
            raise ValueError("deaf")

    with Deaf() as bench, caplog.at_level(logging.ERROR, "vnic"):
        last = Driver()
        bench.bind(Driver(lambda _packet: None))
        bench.bind(last, "last")
        bench.give(frame(1))
        assert last.frames == [frame(1)]
    assert "report_failed" in caplog.text
    assert "deaf" in caplog.text


def test_without_a_report_violations_and_errors_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    pool = PacketPool(2, slot_size_for(1500))
    adapter = Adapter(pool, MiniportDriver())
    binding = adapter.open(Driver(lambda _packet: None), "silent")
    packet = pool.allocate()
    assert packet is not None
    packet.write(frame())
    with caplog.at_level(logging.ERROR, "vnic"):
        adapter.indicate([packet])
    adapter.close(binding)
    assert "rule 11 IllegalReceiveReturnValue broken by silent" in caplog.text
    assert caplog.records[0].name == "vnic"


def test_halt_leaves_held_packets_to_their_holders() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.give(frame())
        bench.adapter.halt()
        assert (bench.adapter.halted, driver.kept[0].state, miniport.returned) == (True, PacketState.INDICATED, [])
        driver.give_back()
        assert len(miniport.returned) == 1


class Mixed(Sender):
    """Keep some packets, return them at the end of the batch, and send one of the adapter's own."""

    data = frame(9)

    def receive_packet(self, packet: Packet) -> int:
        if packet.data[-1] & 1:
            self.kept.append(packet)
            return 1
        return 0

    def receive_complete(self) -> None:
        self.give_back()
        out = self.binding.adapter.pool.allocate()
        if out is not None:
            out.write(self.data)
            self.binding.send_packets([out])

    def send_complete(self, packet: Packet, status: Status) -> None:
        packet.pool.free(packet)


def test_the_steady_state_allocates_nothing() -> None:
    frames = 100_000 if COMPILED else 20_000
    with Bench(packets=64, low_water=24) as bench:
        bench.bind(Mixed(), "mixed")
        data = [frame(mark) for mark in range(10)]
        scratch = bytearray(2000)

        def run(batches: int) -> None:
            for _ in range(batches):
                for one in data:
                    bench.far.send(one)
                assert bench.adapter.receive_batch() == len(data)
                assert bench.far.recv_into(scratch) == 60

        run(100)
        gc.collect()
        before = sys.getallocatedblocks()
        run(frames // len(data))
        gc.collect()
        assert sys.getallocatedblocks() - before < 50
        assert bench.adapter.counters()["rx_delivered"] == frames + 1000


SEED = random.SystemRandom().randrange(1 << 32)


def test_any_mix_of_frames_is_accounted_for() -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)

    def keep(packet: Packet) -> int:
        return rng.randrange(3) if packet.status == Status.SUCCESS else 0

    with Bench(packets=16, low_water=4) as bench:
        drivers: list[Driver] = [Driver(keep), Batched(keep), Copier(keep)]
        for index, driver in enumerate(drivers):
            bench.bind(driver, f"d{index}")
        sent = 0
        for _ in range(300):
            for _ in range(rng.randrange(1, 10)):
                to = rng.choice([US, b"\xff" * 6, rng.randbytes(6)])
                bench.far.send((to + rng.randbytes(1700))[: rng.randrange(1, 1706)])
                sent += 1
            while bench.adapter.receive_batch(rng.randrange(1, 20)):
                pass
            for driver in drivers:
                rng.shuffle(driver.kept)
                cut = rng.randrange(len(driver.kept) + 1)
                driver.binding.return_packets(driver.kept[:cut])
                driver.kept = driver.kept[cut:]
            assert list(broken_sums(bench.adapter.counters())) == []
        for driver in drivers:
            driver.give_back()
        assert bench.adapter.counters()["rx_frames"] == sent
        assert {rule for rule, _ in bench.reports} <= {"26"}
        bench.reports.clear()
