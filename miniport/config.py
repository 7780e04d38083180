"""
The configuration: what a TOML file and the command line can say, within which limits.

Every problem is a `Failure` of one line, with the file, the key as a path (`$.adapter.mtu`), the value and what is allowed.

Next: `miniport/drivers.py`, which turns `[[filter]]` and `[[protocol]]` tables into drivers.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from miniport.errors import Exit, Failure
from miniport.log import escape, shown
from miniport.verifier import verifier_problems

MAX_FILE = 1 << 20


class AdapterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The interface. `mac` is the adapter's own address, None for the default; `address` is for drivers to answer for.

    With `offload` the kernel hands over superframes of up to 64 KiB, and leaves checksums to us.
    """

    name: str = "vnic0"
    mtu: Annotated[int, Meta(ge=68, le=65520)] = 1500
    mac: str | None = None
    address: tuple[str, ...] = ()
    offload: bool = False


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The receive pool. With `low_water` packets free or fewer, frames are lent to be copied; None leaves it to the adapter.

    With offload there are `large_buffers` of 64 KiB for superframes.

    A driver that holds `quota` packets of an adapter has to copy further ones; None is three quarters of the pool, 0 is no limit.
    """

    packets: Annotated[int, Meta(ge=1, le=65535)] = 1024
    large_buffers: Annotated[int, Meta(ge=1, le=4096)] = 64
    low_water: Annotated[int, Meta(ge=0)] | None = None
    quota: Annotated[int, Meta(ge=0, le=65535)] | None = None


class LoopConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The data threads: how many, each with a queue of the interface; frames in one batch, how they are read, how long is asked for the next
    frame without sleeping, and seconds to wait at the end for packets that drivers hold.
    """

    queues: Annotated[int, Meta(ge=1, le=256)] = 1
    budget: Annotated[int, Meta(ge=1, le=256)] = 128
    reader: Literal["auto", "read", "io_uring"] = "auto"
    busy_poll_us: Annotated[int, Meta(ge=0, le=10000)] = 0
    drain_timeout: Annotated[float, Meta(ge=0, le=3600)] = 2.0


class FilterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An intermediate driver between the interface and the drivers: a name or `path/file.py:Class`, and its options, not yet converted."""

    driver: Annotated[str, Meta(min_length=1)]
    options: dict[str, Any] = {}


class ProtocolConfig(FilterConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A driver to bind, written like a filter. `adapter` names what it is bound to; None is the topmost."""

    adapter: Annotated[str, Meta(min_length=1)] | None = None


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log: its form, and seconds between two lines of counters."""

    format: Literal["auto", "text", "json"] = "auto"
    stats_interval: Annotated[float, Meta(ge=0.01, le=86400)] = 10.0


class VerifierConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    How much of the packet contract is checked; see `vnic.verifier.levels`.

    `drivers` has levels of single drivers, `actions` what follows from single rules, by their ids; `bytes` lets records have the first
    bytes of a frame.
    """

    level: Annotated[int, Meta(ge=0, le=4)] = 1
    drivers: dict[str, Annotated[int, Meta(ge=0, le=4)]] = {}
    actions: dict[str, str] = {}
    bytes: bool = False


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The control socket: a path, `auto` for the usual place, or `off`."""

    path: Annotated[str, Meta(min_length=1)] = "auto"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole, valid configuration."""

    adapter: AdapterConfig = AdapterConfig()
    pool: PoolConfig = PoolConfig()
    loop: LoopConfig = LoopConfig()
    filter: tuple[FilterConfig, ...] = ()
    protocol: tuple[ProtocolConfig, ...] = ()
    log: LogConfig = LogConfig()
    verifier: VerifierConfig = VerifierConfig()
    control: ControlConfig = ControlConfig()


OPTIONS: dict[str, tuple[str, str, str]] = {
    "name": ("adapter", "name", "NAME"),
    "mtu": ("adapter", "mtu", "--mtu"),
    "mac": ("adapter", "mac", "--mac"),
    "address": ("adapter", "address", "--address"),
    "offload": ("adapter", "offload", "--offload"),
    "packets": ("pool", "packets", "--packets"),
    "queues": ("loop", "queues", "--queues"),
    "reader": ("loop", "reader", "--reader"),
    "busy_poll_us": ("loop", "busy_poll_us", "--busy-poll-us"),
    "drain_timeout": ("loop", "drain_timeout", "--drain-timeout"),
    "log_format": ("log", "format", "--log-format"),
    "stats_interval": ("log", "stats_interval", "--stats-interval"),
    "verifier": ("verifier", "level", "--verifier"),
    "control": ("control", "path", "--control"),
}
"""What the command line can override: the section and key, and how the option is spelled."""


DRIVER_KEYS = {"filter": ("driver",), "protocol": ("driver", "adapter")}
"""The sections of drivers, with the keys that are not the driver's own options."""


def load(path: str, *, need_name: bool = False) -> Config:
    """
    Read a configuration file.

    Args:
        path: the file.
        need_name: refuse a file that does not name the interface.

    Raises:
        Failure: the file cannot be read, or says something that is not allowed.
    """
    try:
        text = read_file(path).decode()
    except UnicodeDecodeError as error:
        raise Failure(Exit.CONFIG, f"{escape(path)}: byte {error.start} is not UTF-8", "save the file as UTF-8") from None
    return parse(text, path, need_name=need_name)


def read_file(path: str) -> bytes:
    """
    Read a small regular file, never waiting: opening a FIFO with no writer would hang the start.

    Raises:
        Failure: it is no regular file, is too large, or cannot be read.
    """
    where = escape(path)
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError
            content = file.read(MAX_FILE + 1)
    except IsADirectoryError:
        raise Failure(Exit.CONFIG, f"{where}: not a regular file", "give the path of a file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Failure(Exit.CONFIG, f"{where}: cannot be read", reason) from None
    if len(content) > MAX_FILE:
        raise Failure(Exit.CONFIG, f"{where}: larger than 1 MiB", "give the right file")
    return content


def parse(text: str, source: str, *, need_name: bool = False) -> Config:
    """
    Check the text of a configuration file.

    Args:
        text: TOML.
        source: the file's name, for messages.
        need_name: refuse a text that does not name the interface.

    Raises:
        Failure: the text is no TOML, or says something that is not allowed.
    """
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
        line = f":{found[2] or text.count(chr(10), 0, len(text.rstrip())) + 1}" if found else ""
        reason = escape(found[1] if found else str(error))
        raise Failure(Exit.CONFIG, f"{escape(source)}{line}: not TOML", reason) from None
    for section, own in DRIVER_KEYS.items():
        if isinstance(tables := raw.get(section), list):
            raw[section] = [_split(table, own) for table in tables]
    config = _build(raw, source)
    if need_name and "name" not in raw.get("adapter", {}):
        raise Failure(Exit.CONFIG, f"{escape(source)}: $.adapter.name: missing", "name the interface there or on the command line")
    return config


def override(config: Config, *, filters: Iterable[FilterConfig] = (), protocol: Iterable[ProtocolConfig] = (), **cli: Any) -> Config:
    """
    Let the command line have the last word.

    Args:
        config: from the file, or `Config()`.
        filters: the filters given, instead of all those of the file; none given leaves the file's.
        protocol: the drivers given, likewise.
        cli: values by the names of `OPTIONS`; None means not given.

    Raises:
        Failure: a value is not allowed; the message names the option.
    """
    raw = msgspec.structs.asdict(config)
    spelled = {}
    for key, value in cli.items():
        section, field, option = OPTIONS[key]
        if value is None:
            continue
        if not isinstance(raw[section], dict):
            raw[section] = msgspec.structs.asdict(raw[section])
        raw[section][field] = value
        spelled[f"$.{section}.{field}"] = option
    raw["filter"] = tuple(filters) or config.filter
    raw["protocol"] = tuple(protocol) or config.protocol
    return _build(raw, "command line", spelled)


def _split(table: Any, own: tuple[str, ...]) -> Any:
    """Keep the keys that are ours apart from the driver's own options."""
    if not isinstance(table, dict):
        return table
    options = {key: value for key, value in table.items() if key not in own}
    return {key: table[key] for key in own if key in table} | {"options": options}


def _build(raw: dict[str, Any], source: str, spelled: dict[str, str] | None = None) -> Config:
    """Convert and check; a problem names the option in `spelled`, or else the source and the path."""

    def failure(path: str, what: str, remedy: str) -> Failure:
        option = (spelled or {}).get(path.partition("[")[0])
        return Failure(Exit.CONFIG, f"{option or f'{escape(source)}: {escape(path)}'}: {what}", remedy)

    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise failure(*_explain(raw, str(error))) from None
    for path, what, remedy in _problems(config):
        raise failure(path, what, remedy)
    return config


def _explain(raw: Any, message: str) -> tuple[str, str, str]:
    """Make path, problem and remedy of a msgspec message, which knows neither the value nor the whole range."""
    if stray := [key for key in raw if key not in Config.__struct_fields__]:
        return _unknown("$", stray[0], Config)
    located = re.fullmatch(r"(.*) - at `(\$[\w.\[\]]+)`", message, re.DOTALL)
    text, path = (located[1], located[2]) if located else (message, "$")
    hint: Any = Config
    for step in re.findall(r"\w+", path):
        if step.isdigit():
            raw, hint = raw[int(step)], get_args(hint)[0]
        else:
            raw = raw.get(step) if isinstance(raw, dict) else getattr(raw, step, None)
            hint = get_type_hints(hint, include_extras=True)[step]
    if named := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        return _unknown(path, named[1], hint)
    if named := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"{path}.{named[1]}", "missing", "add it"
    if path[2:] in DRIVER_KEYS and isinstance(raw, dict):
        return path, "one table", f"write [[{path[2:]}]] in double brackets"
    return path, f"{shown(raw)} is not allowed", f"give {_allowed(hint)}"


def _unknown(path: str, key: str, table: type[msgspec.Struct]) -> tuple[str, str, str]:
    near = difflib.get_close_matches(key, table.__struct_fields__, 1)
    return f"{path}.{key}", "unknown key", f"did you mean {near[0]}?" if near else f"known are {', '.join(table.__struct_fields__)}"


def _allowed(hint: Any) -> str:
    """Say in words what a key takes."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(arguments)
    if origin is dict:
        return "a table" if arguments[1] in (str, Any) else f"a table, each value {_allowed(arguments[1])}"
    if hint is bool:
        return "true or false"
    if origin is tuple:
        return "a list of tables" if issubclass(arguments[0], msgspec.Struct) else "a list of text"
    if origin is Annotated:
        kind, limit = {int: "an integer", float: "a number", str: "text"}[arguments[0]], arguments[1]
        if limit.le is None:
            return f"{kind} of at least {limit.ge}" if limit.ge is not None else kind
        return f"{kind} from {limit.ge} to {limit.le}"
    if arguments:
        return _allowed(arguments[0])
    return "text" if hint is str else "a table"


def _problems(config: Config) -> Iterable[tuple[str, str, str]]:
    """Check what types cannot say; yields path, problem and remedy."""
    adapter, pool = config.adapter, config.pool
    if adapter.name in (".", "..") or not re.fullmatch(r"[!-$&-.0-9;-~]{1,15}", adapter.name):
        yield "$.adapter.name", f"{shown(adapter.name)} is no interface name", "give 1 to 15 ASCII characters, no space / : or %"
    if adapter.mac is not None and not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", adapter.mac):
        yield "$.adapter.mac", f"{shown(adapter.mac)} is no MAC address", "write it as 02:00:00:00:00:02"
    elif adapter.mac is not None and (int(adapter.mac[:2], 16) & 1 or not adapter.mac.strip("0:")):
        yield "$.adapter.mac", f"{shown(adapter.mac)} is not unicast", "make the first byte even, such as 02, and not all bytes zero"
    elif adapter.mac == "00:00:00:00:00:01":
        yield "$.adapter.mac", f"{shown(adapter.mac)} leaves the kernel's end of the interface all zeros", "make the first byte 02"
    for index, text in enumerate(adapter.address):
        if not _is_address(text):
            yield f"$.adapter.address[{index}]", f"{shown(text)} is no address", "write it as 10.0.0.2/24 or fd00::2/64"
        elif not _is_station(text):
            yield f"$.adapter.address[{index}]", f"{shown(text)} belongs to no single station", "give one that does"
    if "\0" in config.control.path:
        yield "$.control.path", f"{shown(config.control.path)} has a NUL, which no path can have", "leave it out"
    yield from verifier_problems(config.verifier)
    if config.loop.queues > pool.packets:
        what = f"{config.loop.queues} queues are more than the {pool.packets} packets"
        yield "$.loop.queues", what, "ask for more packets, or fewer queues"
    if pool.low_water is not None and pool.low_water >= pool.packets:
        yield "$.pool.low_water", f"{pool.low_water} is not below the {pool.packets} packets", f"give 0 to {pool.packets - 1}"


def _is_address(text: str) -> bool:
    if not re.fullmatch(r"[0-9a-fA-F.:]+/[0-9]{1,3}", text):
        return False
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True


def _is_station(text: str) -> bool:
    """Whether an address can be that of one station on a network: every driver that answers for it refuses any other."""
    address = ipaddress.ip_interface(text).ip
    if address.version == 6:
        return not (address.is_multicast or address.is_unspecified)
    return 0 < address.packed[0] < 224 and not address.is_loopback
