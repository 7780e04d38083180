"""
Configuration: every mistake is one line with its place, and what is right arrives typed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniport import config
from miniport.config import Config, FilterConfig, ProtocolConfig
from miniport.errors import Exit, Failure

COMPLETE = """
[adapter]
name = "tap9"
mtu = 65520
mac = "02:00:00:00:00:09"
address = ["10.0.0.2/24", "fd00::2/64"]
[pool]
packets = 64
low_water = 63
[loop]
budget = 256
drain_timeout = 0
[[filter]]
driver = "passthru"
[[filter]]
driver = "./mine.py:Split"
adapter = "an option may be called so here"
[[protocol]]
driver = "arp"
adapter = "tap9.7"
[[protocol]]
driver = "./mine.py:Mine"
count = 3
options = "an option may be called so"
[log]
format = "json"
stats_interval = 0.01
[verifier]
level = 0
"""


def failure(text: str) -> str:
    with pytest.raises(Failure) as caught:
        config.parse(text, "/etc/vnic/x.toml")
    assert caught.value.status is Exit.CONFIG
    line = str(caught.value)
    assert line.isascii()
    assert line.isprintable()
    return line


def test_a_complete_file_arrives_typed() -> None:
    found = config.parse(COMPLETE, "x")
    assert (found.adapter.name, found.adapter.mtu, found.adapter.mac) == ("tap9", 65520, "02:00:00:00:00:09")
    assert found.adapter.address == ("10.0.0.2/24", "fd00::2/64")
    assert (found.pool.packets, found.pool.low_water, found.loop.budget, found.loop.drain_timeout) == (64, 63, 256, 0.0)
    assert found.filter[0] == FilterConfig(driver="passthru")
    assert found.filter[1].options == {"adapter": "an option may be called so here"}
    assert found.protocol[0] == ProtocolConfig(driver="arp", adapter="tap9.7")
    assert found.protocol[1].adapter is None
    assert found.protocol[1].options == {"count": 3, "options": "an option may be called so"}
    assert (found.log.format, found.log.stats_interval, found.verifier.level) == ("json", 0.01, 0)


def test_an_empty_file_is_the_defaults() -> None:
    assert config.parse("", "x") == Config()
    assert (Config().adapter.name, Config().adapter.mtu, Config().pool.packets, Config().loop.budget) == ("vnic0", 1500, 1024, 128)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[adapter]\nmut = 1", "$.adapter.mut: unknown key: did you mean mtu?"),
        ("[adapter]\nqqq = 1", "$.adapter.qqq: unknown key: known are name, mtu, mac, address, offload"),
        ("[adpater]\nmtu = 1500", "$.adpater: unknown key: did you mean adapter?"),
        (
            '"x` - at `$.adapter.mtu" = 1',
            "$.x` - at `$.adapter.mtu: unknown key: known are adapter, pool, loop, filter, protocol, log, verifier, control",
        ),
        ('[adapter]\n"m\\nu\\u001b" = 1', "$.adapter.m\\nu\\x1b: unknown key: known are name, mtu, mac, address, offload"),
        ("[adapter]\nmtu = 67", "$.adapter.mtu: 67 is not allowed: give an integer from 68 to 65520"),
        ("[adapter]\nmtu = 65521", "$.adapter.mtu: 65521 is not allowed: give an integer from 68 to 65520"),
        ("[adapter]\nmtu = '1500'", "$.adapter.mtu: '1500' is not allowed: give an integer from 68 to 65520"),
        ("[adapter]\nmtu = true", "$.adapter.mtu: True is not allowed: give an integer from 68 to 65520"),
        ("[pool]\npackets = 0", "$.pool.packets: 0 is not allowed: give an integer from 1 to 65535"),
        ("[pool]\npackets = 65536", "$.pool.packets: 65536 is not allowed: give an integer from 1 to 65535"),
        ("[pool]\nlow_water = -1", "$.pool.low_water: -1 is not allowed: give an integer of at least 0"),
        ("[pool]\npackets = 8\nlow_water = 8", "$.pool.low_water: 8 is not below the 8 packets: give 0 to 7"),
        ("[loop]\nqueues = 0", "$.loop.queues: 0 is not allowed: give an integer from 1 to 256"),
        ("[loop]\nqueues = 257", "$.loop.queues: 257 is not allowed: give an integer from 1 to 256"),
        (
            "[loop]\nqueues = 8\n[pool]\npackets = 7",
            "$.loop.queues: 8 queues are more than the 7 packets: ask for more packets, or fewer queues",
        ),
        ("[loop]\nbudget = 257", "$.loop.budget: 257 is not allowed: give an integer from 1 to 256"),
        ("[loop]\ndrain_timeout = nan", "$.loop.drain_timeout: nan is not allowed: give a number from 0 to 3600"),
        ("[loop]\ndrain_timeout = inf", "$.loop.drain_timeout: inf is not allowed: give a number from 0 to 3600"),
        ("[log]\nstats_interval = 0", "$.log.stats_interval: 0 is not allowed: give a number from 0.01 to 86400"),
        ("[log]\nformat = 'xml'", "$.log.format: 'xml' is not allowed: give auto or text or json"),
        ("[verifier]\nlevel = 5", "$.verifier.level: 5 is not allowed: give an integer from 0 to 4"),
        (
            "[verifier.drivers]\nmine = 5",
            "$.verifier.drivers[...]: {'mine': 5} is not allowed: give a table, each value an integer from 0 to 4",
        ),
        ('[verifier.actions]\n999 = "count"', "$.verifier.actions.999: there is no such rule: give the id of a rule, such as 09"),
        (
            '[verifier.actions]\n09 = "hope"',
            "$.verifier.actions.09: 'hope' is no action: give raise, record, count, quarantine, unbind, stop",
        ),
        ('[verifier.actions]\n09 = "raise"', "$.verifier.actions.09: too late to refuse: give record, count, quarantine, unbind, stop"),
        ("[verifier]\nbytes = 1", "$.verifier.bytes: 1 is not allowed: give true or false"),
        ("adapter = 3", "$.adapter: 3 is not allowed: give a table"),
        ("[adapter]\naddress = '10.0.0.2/24'", "$.adapter.address: '10.0.0.2/24' is not allowed: give a list of text"),
        ("[adapter]\naddress = ['10.0.0.2/24', 3]", "$.adapter.address[1]: 3 is not allowed: give text"),
        ("[protocol]\ndriver = 'arp'", "$.protocol: one table: write [[protocol]] in double brackets"),
        ("protocol = 3", "$.protocol: 3 is not allowed: give a list of tables"),
        ("[[protocol]]\nx = 1", "$.protocol[0].driver: missing: add it"),
        ("[[protocol]]\ndriver = 'a'\n[[protocol]]\ndriver = 3", "$.protocol[1].driver: 3 is not allowed: give text"),
        ("[[protocol]]\ndriver = ''", "$.protocol[0].driver: '' is not allowed: give text"),
        ("[[protocol]]\ndriver = 'a'\nadapter = 7", "$.protocol[0].adapter: 7 is not allowed: give text"),
        ("[[protocol]]\ndriver = 'a'\nadapter = ''", "$.protocol[0].adapter: '' is not allowed: give text"),
        ("[filter]\ndriver = 'passthru'", "$.filter: one table: write [[filter]] in double brackets"),
        ("filter = 3", "$.filter: 3 is not allowed: give a list of tables"),
        ("filter = [3]", "$.filter[0]: 3 is not allowed: give a table"),
        ("[[filter]]\nx = 1", "$.filter[0].driver: missing: add it"),
        ("[[filter]]\ndriver = 'a'\n[[filter]]\ndriver = 3", "$.filter[1].driver: 3 is not allowed: give text"),
    ],
)
def test_a_mistake_is_named_with_its_path_value_and_range(text: str, line: str) -> None:
    assert failure(text) == f"/etc/vnic/x.toml: {line}"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a:b", "a%d", "sixteen-bytes-xx", "\u0436", "a\\n"])
def test_a_bad_interface_name_is_refused(name: str) -> None:
    assert "$.adapter.name: " in failure(f'[adapter]\nname = "{name}"')


@pytest.mark.parametrize(
    "mac", ["", "02:00", "01:00:00:00:00:02", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "00:00:00:00:00:01", "02-00-00-00-00-02"]
)
def test_a_bad_mac_is_refused(mac: str) -> None:
    assert "$.adapter.mac: " in failure(f'[adapter]\nmac = "{mac}"')


@pytest.mark.parametrize("address", ["", "10.0.0.2", "10.0.0.2/33", "10.0.0.2/255.0.0.0", "10.0.0/8", "fd00::2/129", "fe80::1%e/64", "x"])
def test_a_bad_address_is_refused(address: str) -> None:
    assert "$.adapter.address[1]: " in failure(f'[adapter]\naddress = ["10.0.0.2/24", "{address}"]')


@pytest.mark.parametrize("address", ["224.0.0.1/24", "255.255.255.255/32", "0.0.0.0/0", "0.1.2.3/8", "127.0.0.1/8", "ff02::1/64", "::/64"])
def test_an_address_that_no_driver_can_be_given_is_refused(address: str) -> None:
    line = failure(f'[adapter]\naddress = ["{address}"]')
    assert f"$.adapter.address[0]: '{address}' belongs to no single station: give one that does" in line


def test_a_path_with_a_nul_is_refused() -> None:
    assert "$.control.path: " in failure('[control]\npath = "/run/a\\u0000b"')


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[adapter]\nmtu = = 3", "/etc/vnic/x.toml:2: not TOML: Invalid value"),
        ("[adapter]\n\nmtu", "/etc/vnic/x.toml:3: not TOML: Expected '=' after a key in a key/value pair"),
        ("a = 1\na = 2", "/etc/vnic/x.toml:2: not TOML: Cannot overwrite a value"),
        ("a = " + "[" * 5000, "/etc/vnic/x.toml: not TOML: "),
        ("a = " + "9" * 5000, "/etc/vnic/x.toml: not TOML: "),
    ],
)
def test_what_is_not_toml_is_refused_with_its_line(text: str, line: str) -> None:
    assert failure(text).startswith(line)


def test_a_value_of_any_size_is_shown_short() -> None:
    assert len(failure("[adapter]\nmtu = 0x" + "f" * 100_000)) < 200
    assert len(failure("[log]\nformat = '" + "f" * 100_000 + "'")) < 200


def refusal(text: str) -> str:
    try:
        config.parse(text, "x")
    except Failure as refused:
        return str(refused)
    return ""


@given(st.text())
def test_no_text_ends_in_another_exception(text: str) -> None:
    for source in (text, f"{text} = 1", f"[adapter]\n{text} = 1", f"[log]\nformat = '{text}'"):
        line = refusal(source)
        assert line.isascii()
        assert line.isprintable()


def load_failure(path: str | Path) -> str:
    with pytest.raises(Failure) as caught:
        config.load(str(path))
    assert caught.value.status is Exit.CONFIG
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert load_failure(tmp_path / "none.toml").endswith("none.toml: cannot be read: No such file or directory")
    assert "cannot be read" in load_failure("a\0b")
    assert "not a regular file" in load_failure(tmp_path)


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in load_failure(tmp_path / "fifo")
    assert "not a regular file" in load_failure("/dev/zero")


def test_a_refused_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    load_failure(tmp_path)
    load_failure("/dev/zero")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_file_that_is_not_utf8_is_refused_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"[adapter]\n# \xff")
    assert load_failure(tmp_path / "x.toml").endswith("x.toml: byte 12 is not UTF-8: save the file as UTF-8")


def test_a_file_larger_than_1_mib_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"#" * (1 << 20))
    config.load(str(tmp_path / "x.toml"))
    (tmp_path / "x.toml").write_bytes(b"#" * ((1 << 20) + 1))
    assert "larger than 1 MiB" in load_failure(tmp_path / "x.toml")


def test_a_file_must_name_the_interface_if_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[adapter]\nmtu = 1500")
    with pytest.raises(Failure, match=r"\$\.adapter\.name: missing"):
        config.load(str(path), need_name=True)
    path.write_text("[adapter]\nname = 'tap1'")
    assert config.load(str(path), need_name=True).adapter.name == "tap1"


def test_the_command_line_overrides_the_file() -> None:
    base = config.parse(COMPLETE, "x")
    assert config.override(base, name=None, mtu=None) == base
    found = config.override(base, name="tap1", mtu=9000, address=["10.0.0.3/8"], drain_timeout=1.5, log_format="text", verifier=1)
    assert (found.adapter.name, found.adapter.mtu, found.adapter.mac) == ("tap1", 9000, base.adapter.mac)
    assert (found.adapter.address, found.loop.drain_timeout, found.log.format) == (("10.0.0.3/8",), 1.5, "text")
    assert (found.protocol, found.log.stats_interval, found.verifier.level) == (base.protocol, 0.01, 1)


def test_drivers_and_filters_on_the_command_line_replace_those_of_the_file() -> None:
    base = config.parse(COMPLETE, "x")
    assert config.override(base, filters=[]).filter == base.filter
    assert config.override(base, filters=[FilterConfig(driver="mux")]).filter == (FilterConfig(driver="mux"),)
    assert config.override(base, filters=[FilterConfig(driver="mux")]).protocol == base.protocol
    assert config.override(base, protocol=[]).protocol == base.protocol
    assert config.override(base, protocol=[ProtocolConfig(driver="sink")]).protocol == (ProtocolConfig(driver="sink"),)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("mtu", 99999, "--mtu: 99999 is not allowed: give an integer from 68 to 65520"),
        ("packets", 0, "--packets: 0 is not allowed: give an integer from 1 to 65535"),
        ("verifier", 9, "--verifier: 9 is not allowed: give an integer from 0 to 4"),
        ("stats_interval", float("nan"), "--stats-interval: nan is not allowed: give a number from 0.01 to 86400"),
        ("drain_timeout", -1.0, "--drain-timeout: -1.0 is not allowed: give a number from 0 to 3600"),
        ("mac", "x", "--mac: 'x' is no MAC address: write it as 02:00:00:00:00:02"),
        ("address", ["10.0.0.2/8", "\x1b"], r"--address: '\x1b' is no address: write it as 10.0.0.2/24 or fd00::2/64"),
        ("name", "a b", "NAME: 'a b' is no interface name: give 1 to 15 ASCII characters, no space / : or %"),
    ],
)
def test_a_mistake_on_the_command_line_names_the_option(key: str, value: Any, line: str) -> None:
    with pytest.raises(Failure) as caught:
        config.override(Config(), **{key: value})
    assert caught.value.status is Exit.CONFIG
    assert str(caught.value) == line


def test_fewer_packets_than_the_low_water_of_the_file_are_refused() -> None:
    with pytest.raises(Failure, match=r"\$\.pool\.low_water: 63 is not below the 32 packets"):
        config.override(config.parse(COMPLETE, "x"), packets=32)
