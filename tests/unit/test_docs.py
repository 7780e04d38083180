"""
The documents: their links lead somewhere, their code runs, and their tables are those of the code.

A table that differs is printed as it should be. That of the rules is made anew by `PYTHONPATH=. python tests/unit/test_docs.py`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shlex
import subprocess
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec
import pytest

from miniport import cli, config
from miniport.drivers import BUNDLED, FILTERS
from miniport.errors import Exit
from miniport.inspector.command_line import usage
from miniport.inspector.commands import COMMANDS
from protocol.sink import Sink
from vnic import ProtocolDriver, Status
from vnic.condis import CoProtocolDriver
from vnic.counters import COUNTED, GAUGES, INTERFACE
from vnic.registration import registry
from vnic.verifier.rules import RULES

if TYPE_CHECKING:
    from tests.unit.conftest import Wire

TREE = Path(__file__).parents[2]
DOCS = TREE / "docs"
PAGES = sorted([TREE / "README.md", TREE / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
DRIVERS, OPERATING, MAN, TOUR, PORTING = (DOCS / name for name in ("drivers.md", "operating.md", "vnic.1.md", "tour.md", "porting.md"))
BASH, ZSH = TREE / "packaging/completions/vnic.bash", TREE / "packaging/completions/_vnic"
NAMES = "|".join(["run", "check", *dict.fromkeys(row.name.split()[0] for row in COMMANDS)])
"""The commands, as an alternative of a pattern."""
US = bytes.fromhex("020000000002")
FRAMES = [to + bytes.fromhex("020000000001") + kind for to in (US, b"\xff" * 6) for kind in (b"\x88\xb5" + bytes(46), b"\x08\x00")]


def name_of(page: Path) -> str:
    return str(page.relative_to(TREE))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE) if kind == language]


def numbered(language: str) -> list[Any]:
    """Every block of a language in all pages, with the page's name and its number there."""
    return [
        pytest.param(text, id=f"{name_of(page)}-{number}") for page in PAGES for number, text in enumerate(blocks(page, language), start=1)
    ]


def table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the one table whose header begins with `heading`, without the header."""
    lines = iter(page.read_text().splitlines())
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith(f"| {heading} |"):
            assert not rows, f"{name_of(page)} has two tables of {heading}"
            assert set(next(lines)) <= set("|- ")
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append([cell.strip() for cell in row.strip("|").split(" | ")])
    assert rows, f"{name_of(page)} has no table of {heading}"
    return rows


def options() -> dict[str, dict[str, Any]]:
    """The long options of each command, with what stands for their value."""
    parsers = {"": cli.build_parser(), **{name: subparser(name) for name in ("run", "check", "verify", *(row.name for row in COMMANDS))}}
    return {
        command: {text: action.metavar for action in parser._actions for text in action.option_strings if text.startswith("--")}
        for command, parser in parsers.items()
    }


def subparser(name: str) -> cli.Parser:
    """The parser of a command, or of one below another."""
    parser: Any = cli.build_parser()
    for word in name.split():
        parser = next(action for action in parser._actions if action.nargs == "A...").choices[word]
    found: cli.Parser = parser
    return found


# links


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_resolves(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:vnic|miniport|protocol|scripts|tests|docs|packaging)/[\w./@-]*)`", page.read_text())
    assert [path for path in named if not (TREE / path).exists()] == []


def test_the_tour_names_only_functions_that_are_there() -> None:
    sources = [path for package in ("vnic", "miniport", "protocol", "scripts") for path in (TREE / package).rglob("*.py")]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    defined = {node.name for path in sources for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}
    named = re.findall(r"`(?:\w+\.)*(\w+)\(\)`", TOUR.read_text())
    assert len(named) > 40
    assert sorted({name for name in named if name not in defined}) == []


def test_the_tour_ends_with_what_to_read_next() -> None:
    assert re.findall(r"^## (.*)$", TOUR.read_text(), re.MULTILINE)[-1] == "What to read next"


@pytest.mark.parametrize("page", sorted((DOCS / "adr").glob("*.md")), ids=name_of)
def test_a_decision_is_short_and_has_its_four_parts(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Choice", "Numbers", "Consequences"]
    assert len(text.splitlines()) <= 60


# code


@pytest.mark.parametrize("low", [False, True], ids=["plenty", "low"])
@pytest.mark.parametrize("text", numbered("python"))
def test_every_block_of_python_runs_and_its_drivers_break_no_rule(text: str, low: bool, make_wire: Callable[..., Wire]) -> None:
    # a module of its own, as the daemon makes one of a driver's file
    module = types.ModuleType("block")
    exec(compile(text, "block", "exec", dont_inherit=True), module.__dict__)
    classes = [found for found in vars(module).values() if isinstance(found, type) and found.__module__ == "block"]
    drivers = [found for found in classes if issubclass(found, ProtocolDriver)]
    assert drivers
    wire = make_wire(packets=64, low_water=64 if low else 0)
    for driver in drivers:
        # one with connections is bound by the edge below it
        if not issubclass(driver, CoProtocolDriver):
            for adapter in getattr(wire.open(driver()).driver, "adapters", ()):
                adapter.open(Sink(), "above")
    wire.give(*FRAMES * 5)
    counters = wire.adapter.counters()
    assert counters["rx_delivered"] + counters["rx_filtered"] == len(FRAMES) * 5
    assert counters["rx_delivered"] > 0
    assert (counters["rx_resources"] > 0) == low


def test_the_mirror_of_the_guide_sends_frames_back(wire: Wire) -> None:
    text = next(block for block in blocks(DRIVERS, "python") if "class Mirror" in block)
    space: dict[str, Any] = {"__name__": "block"}
    exec(text, space)
    wire.open(space["Mirror"]())
    peer = bytes.fromhex("020000000001")
    assert wire.ask(US + peer + b"\x88\xb5" + bytes(46)) == [peer + US + b"\x88\xb5" + bytes(46)]


def test_the_echo_of_the_guide_sends_frames_back_and_holds_none(wire: Wire) -> None:
    text = next(block for block in blocks(DRIVERS, "python") if "class Echo" in block)
    space: dict[str, Any] = {"__name__": "block"}
    exec(text, space)
    driver = space["Echo"]()
    binding = wire.open(driver)
    peer = bytes.fromhex("020000000001")
    for size in (4, 46, 1500):
        assert wire.ask(US + peer + b"\x88\xb5" + bytes(size)) == [peer + US + b"\x88\xb5" + bytes(size)]
    assert (binding.held, wire.pool.usage, driver.replies.sent, driver.replies.dropped) == (0, 0, 3, 0)


ECHOED, OTHERS = FRAMES[0], [US + FRAMES[0][6:12] + b"\x08\x00" + bytes(46), FRAMES[2]]
"""What the driver of the page on porting answers, and what not: another EtherType, and a broadcast, which its filter leaves out."""


def echoes(wire: Wire) -> list[bytes]:
    """What comes back from a driver that is bound, and was given frames in one batch."""
    for text in (ECHOED, *OTHERS, ECHOED):
        wire.far.send(text)
    assert wire.adapter.receive_batch() == 4
    return wire.taken()


@pytest.mark.parametrize("low", [False, True], ids=["plenty", "low"])
def test_both_forms_of_the_driver_of_the_page_on_porting_do_the_same(low: bool, make_wire: Callable[..., Wire]) -> None:
    names: dict[str, Any] = {"__name__": "names"}
    exec(compile("\n".join(blocks(PORTING, "python3")), "names", "exec", dont_inherit=True), names)
    wire = make_wire(packets=64, low_water=64 if low else 0)
    registry.add_adapter(wire.adapter)
    status, handle = names["DriverEntry"]()
    assert status == Status.SUCCESS
    assert [binding.name for binding in wire.adapter.bindings] == ["ECHO"]
    answers = echoes(wire)
    assert registry.deregister_protocol(handle) == registry.remove_adapter(wire.adapter) == Status.SUCCESS
    objects: dict[str, Any] = {"__name__": "objects"}
    (text,) = blocks(PORTING, "py")
    exec(compile(text, "objects", "exec", dont_inherit=True), objects)
    wire.open(objects["Echo"]())
    assert answers == echoes(wire) == [ECHOED[6:12] + ECHOED[:6] + ECHOED[12:]] * 2
    assert wire.adapter.counters()["rx_resources"] == (6 if low else 0)


def test_each_piece_of_c_on_porting_is_followed_by_the_same_calls_of_ndis() -> None:
    pieces = re.findall(r"^```c\n(.*?)^```\n\n```python3\n(.*?)^```$", PORTING.read_text(), re.DOTALL | re.MULTILINE)
    assert len(pieces) == len(blocks(PORTING, "c")) == len(blocks(PORTING, "python3"))
    memory = {"NdisAllocateMemoryWithTag", "NdisMoveMemory", "NdisZeroMemory", "NdisInitUnicodeString", "NdisFreeMemory", "NdisQueryBuffer"}
    for original, here in pieces:
        called = [name for name in re.findall(r"\b(Ndis\w+)\(", original) if name not in memory]
        assert re.findall(r"\b(Ndis\w+)\(", here) == called


@pytest.mark.parametrize("text", numbered("toml"))
def test_every_block_of_toml_is_a_configuration(text: str) -> None:
    config.parse(text, "block")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_vnic_is_understood(page: Path) -> None:
    for line in re.findall(rf"^(?: *|ExecStart=)(?:sudo )?(?:/usr/bin/)?(vnic (?:{NAMES}) .*)$", page.read_text(), re.MULTILINE):
        for command in line.partition("   #")[0].split(" && "):
            if "[" not in command:  # a synopsis
                assert callable(cli.build_parser().parse_args(shlex.split(command)[1:]).command)


# the rules


def with_rules(text: str) -> str:
    """The drivers' guide with the table of rules as it should be."""
    rows = [f"| {rule.id} | {rule.name} | {rule.cls} | {rule.catches} | {rule.remedy} |" for rule in RULES]
    wanted = "\n".join(["| rule | name | class | what it catches | what to do |", "| --- | --- | --- | --- | --- |", *rows])
    before, _, rest = text.partition("<!-- rules: ")
    comment, _, after = rest.partition("-->\n")
    return f"{before}<!-- rules: {comment}-->\n\n{wanted}\n\n<!-- end -->{after.partition('<!-- end -->')[2]}"


def test_the_table_of_rules_is_that_of_the_code() -> None:
    assert DRIVERS.read_text().splitlines() == with_rules(DRIVERS.read_text()).splitlines()


# operating


def config_rows() -> Iterator[list[str]]:
    """Key, what it takes, default and option of each key of the configuration."""
    spelled = {(section, field): option for section, field, option in config.OPTIONS.values()}
    for section, hint in get_type_hints(config.Config, include_extras=True).items():
        struct = get_args(hint)[0] if get_args(hint) else hint
        hints = get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            if (section, field.name) in (("filter", "options"), ("protocol", "options")):
                continue  # every other key of the table; they are the driver's
            default = field.default
            empty = default in (None, ()) or field.default_factory is dict
            written = str(default).lower() if isinstance(default, bool) else default
            shown = "none" if empty else "required" if default is msgspec.NODEFAULT else f"`{written}`"
            option = f"`{spelled[section, field.name]}`" if (section, field.name) in spelled else ""
            yield [f"`{section}.{field.name}`", config._allowed(hints[field.name]), shown, option]


def test_the_table_of_keys_is_that_of_the_configuration() -> None:
    wanted = list(config_rows())
    found = [row[:4] for row in table(OPERATING, "key") if row[0] not in ("`filter.*`", "`protocol.*`")]
    assert found == wanted, "the table should be:\n" + "\n".join(f"| {' | '.join(row)} |" for row in wanted)


def test_the_table_of_options_is_that_of_the_drivers_and_filters_that_ship() -> None:
    wanted: list[list[str]] = []
    for name in (*BUNDLED, *FILTERS):
        module = importlib.import_module(f"protocol.{name}")
        (cls,) = [found for found in vars(module).values() if isinstance(found, type) and found.__name__ == name.title().replace("_", "")]
        for option in inspect.signature(cls).parameters.values():
            if option.kind is option.KEYWORD_ONLY:
                default = "none" if option.default is None else "required" if option.default is option.empty else f"`{option.default}`"
                wanted.append([f"`{name}`", f"`{option.name}`", default])
    assert sorted(row[:3] for row in table(OPERATING, "of")) == sorted(wanted)


def test_the_table_of_questions_is_that_of_the_commands() -> None:
    wanted = [[f"`{usage(row).removeprefix('vnic ').partition(' [--')[0]}`", row.help.replace("|", "")] for row in COMMANDS]
    found = [row[:2] for row in table(OPERATING, "question")]
    assert found == wanted, "the table should be:\n" + "\n".join(f"| {' | '.join(row)} |" for row in wanted)


def test_every_event_has_an_example_and_every_example_is_an_event() -> None:
    source = "".join(path.read_text() for path in (TREE / "miniport").glob("*.py"))
    events = set(re.findall(r"\.event[(,]\s*\"(\w+)\"", source)) | {"violation", "driver_error"}
    examples = [json.loads(line) for block in blocks(OPERATING, "json") for line in block.splitlines()]
    assert {example["event"] for example in examples} == events
    for example in examples:
        assert list(example)[:3] == ["ts", "event", "level"]
    counters = {example["event"]: list(example)[3:] for example in examples if example["event"].endswith("counters")}
    names = [row.name for row in (*COUNTED, *GAUGES)]
    assert counters == {"counters": [*names, *(row.name for row in INTERFACE)], "virtual_counters": ["adapter", *names]}


def test_every_signal_is_described() -> None:
    watched = set(re.findall(r"signal\.(SIG[A-Z0-9]+)", (TREE / "miniport/supervisor.py").read_text()))
    for page in (OPERATING, MAN):
        assert {name for name in watched if name not in page.read_text()} == set()


@pytest.mark.parametrize("page", [OPERATING, MAN], ids=name_of)
def test_the_exit_statuses_are_those_of_the_code(page: Path) -> None:
    assert [int(row[0]) for row in table(page, "status")] == [int(status) for status in Exit]


# the manual page


def test_the_manual_page_has_every_option_and_no_other() -> None:
    text = MAN.read_text()
    given = options().values()
    wanted = {f"**{option}** *{metavar}*" if metavar else f"**{option}**" for command in given for option, metavar in command.items()}
    found = set(re.findall(r"^(\*\*--[\w-]+\*\*(?: \*.*?\*)?)$", text, re.MULTILINE))
    assert found == wanted


def test_the_manual_page_has_its_sections_in_order() -> None:
    sections = re.findall(r"^## (.*)$", MAN.read_text(), re.MULTILINE)
    assert sections == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "FILES", "SIGNALS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"]


# completions


@pytest.mark.parametrize("file", [BASH, ZSH], ids=name_of)
def test_every_option_is_completed_and_no_other(file: Path) -> None:
    found = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", file.read_text()))
    assert found == {option for command in options().values() for option in command}


def test_bash_accepts_the_completion() -> None:
    assert subprocess.run(["bash", "-n", str(BASH)], capture_output=True, text=True, timeout=20).stderr == ""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["vnic", "p"], "packet pending pools"),
        (["vnic", "verify", "s"], "set show"),
        (["vnic", "verify", "set", "--d"], "--driver"),
        (["vnic", "pending", "--o"], "--older-than"),
        (["vnic", "r"], "report run"),
        (["vnic", "run", "--m"], "--mac --mtu"),
        (["vnic", "run", "--log-format", ""], "auto json text"),
        (["vnic", "run", "vnic0", "--driver", "a"], "arp"),
        (["vnic", "run", "vnic0", "--filter", ""], "mux passthru"),
        (["vnic", "check", "--"], "--help"),
    ],
)
def test_bash_completes(words: list[str], found: str) -> None:
    assert complete(*words) == found.split()


@pytest.mark.parametrize("command", ["", "run", "check", "verify", *(row.name for row in COMMANDS)])
def test_bash_completes_every_option_of_a_command(command: str) -> None:
    assert set(complete("vnic", *command.split(), "--")) == set(options()[command])


def complete(*words: str) -> list[str]:
    """What bash offers for the last word."""
    program = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vnic; printf "%s\\n" "${COMPREPLY[@]}" | sort'
    done = subprocess.run(["bash", "-c", program, "bash", str(BASH), *words], capture_output=True, text=True, timeout=20)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_completions_name_the_drivers_and_filters_that_ship() -> None:
    for file in (BASH, ZSH):
        assert " ".join(sorted(BUNDLED)) in file.read_text()
        assert " ".join(sorted(FILTERS)) in file.read_text()


if __name__ == "__main__":
    DRIVERS.write_text(with_rules(DRIVERS.read_text()))
