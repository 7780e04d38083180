"""
Loading drivers: what is found under a name, how options arrive, and one line for everything that is wrong.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from miniport.config import FilterConfig, ProtocolConfig
from miniport.drivers import BUNDLED, FILTERS, binding_names, file_of, load_driver, load_filter, parse_driver, parse_filter
from miniport.errors import Exit, Failure
from vnic.driver import ProtocolDriver

HEAD = "from __future__ import annotations\nfrom vnic.driver import ProtocolDriver\n"
OPTIONS = """
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Mine(ProtocolDriver):
    count: int = 1
    rate: float = 1.5
    text: str = ""
    loud: bool | None = None
    file: Path | None = None

    def __post_init__(self):
        if self.count == 5:
            raise ValueError("five\\n is\\x1b too many")
        if self.count == 6:
            raise SystemExit("six")
        if self.count == 7:
            raise KeyboardInterrupt
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + OPTIONS)
    return str(path)


def failure(spec: str, options: dict[str, object] | None = None) -> str:
    with pytest.raises(Failure) as caught:
        load_driver(spec, options or {})
    assert caught.value.status is Exit.CONFIG
    line = str(caught.value)
    assert line.isascii()
    assert line.isprintable()
    return line


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_driver_loads_by_its_name(name: str) -> None:
    found, driver = load_driver(name, {"file": "x.pcapng"} if name == "capture" else {})
    assert found == name
    assert type(driver).__module__ == f"protocol.{name}"


@pytest.mark.parametrize("name", FILTERS)
def test_a_bundled_filter_loads_by_its_name(name: str) -> None:
    found, driver = load_filter(name, {"vlans": "7"} if name == "mux" else {})
    assert found == name
    assert type(driver).__module__ == f"protocol.{name}"


def test_a_bundled_driver_is_found_without_reading_entry_points() -> None:
    code = "import sys; from miniport.drivers import load_driver; load_driver('sink', {}); print('importlib.metadata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "False\n"


def test_another_package_named_protocol_is_called_so_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "protocol.py").write_text("print('was run')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom miniport.drivers import load_driver\nload_driver('sink', {{}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"the package 'protocol' that Python finds is {tmp_path}/protocol.py" in done.stderr
    assert done.stdout == ""


def test_an_unknown_driver_is_answered_with_the_known_ones() -> None:
    known = "arp, capture, classify, hold, icmp_echo, sink, udp"
    assert failure("snik").startswith(f"driver 'snik' is unknown: did you mean sink? known are {known}")
    assert failure("\x1b[2J").startswith(r"driver '\x1b[2J' is unknown: known are ")


def test_an_installed_driver_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugged.py").write_text(HEAD + "class Plugged(ProtocolDriver):\n    pass\nother = 3\n")
    (tmp_path / "plugged-1.dist-info").mkdir()
    points = "[vnic.protocol]\nplug = plugged:Plugged\nlost = plugged:Lost\nodd = plugged:other\n"
    (tmp_path / "plugged-1.dist-info" / "entry_points.txt").write_text(points)
    (tmp_path / "plugged-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    name, driver = load_driver("plug", {})
    assert (name, type(driver).__name__) == ("plug", "Plugged")
    assert failure("plug", {"x": 1}) == "driver plug has no option 'x': it has none"
    assert failure("lost").startswith("driver lost: AttributeError: ")
    assert failure("odd").startswith("driver odd: 3 is no class of drivers")
    assert "did you mean plug?" in failure("plugg")


def test_a_file_with_one_driver_needs_no_class(mine: str) -> None:
    for spec in (mine, f"{mine}:Mine"):
        name, driver = load_driver(spec, {})
        assert name == "Mine"
        assert isinstance(driver, ProtocolDriver)
        assert file_of(type(driver)) == mine


def test_a_file_is_read_anew_and_nothing_is_written_beside_it(mine: str) -> None:
    load_driver(mine, {})
    Path(mine).write_text(HEAD + "class Ours(ProtocolDriver): pass")
    assert load_driver(mine, {})[0] == "Ours"
    assert [path.name for path in Path(mine).parent.iterdir()] == ["mine.py"]


def test_a_file_is_compiled_on_its_own_terms(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text("from vnic.driver import ProtocolDriver\nclass Plain(ProtocolDriver):\n    def __init__(self, a: int = 1): pass\n")
    assert type(load_driver(str(path), {})[1]).__init__.__annotations__ == {"a": int}


def test_a_file_with_two_drivers_needs_the_class(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(HEAD + "class A(ProtocolDriver): pass\nclass B(A): pass\n")
    told = "two.py has not exactly one driver class: its classes derived from ProtocolDriver: A, B; choose one: --driver "
    assert failure(str(path)).endswith(f"{told}{path}:A")
    assert load_driver(f"{path}:B", {})[0] == "B"
    assert failure(f"{path}:C").endswith("two.py has no driver class 'C': its classes derived from ProtocolDriver: A, B")
    assert "has no driver class 'ProtocolDriver'" in failure(f"{path}:ProtocolDriver")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("def recieve_packet(self, p): return 0", " has no handler for frames, but recieve_packet: did you mean receive_packet?"),
        ("def receive_packtes(self, b): return 0", " has no handler for frames, but receive_packtes: did you mean receive_packets?"),
        ("receive_packet = 5", ": receive_packet is no function: define it: def receive_packet(self, packet)"),
        ("unbind_adapter = None", ": unbind_adapter is no function: define it: def unbind_adapter(self)"),
    ],
)
def test_a_handler_that_would_never_be_called_is_named(body: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(HEAD + f"class Odd(ProtocolDriver):\n    {body}\n")
    assert failure(str(path)) == f"driver Odd{line}"


@pytest.mark.parametrize(
    ("body", "what", "right"),
    [
        ("def receive_packet(self): return 0", "receive_packet cannot be called with packet", "receive_packet(self, packet)"),
        ("receive_packet = staticmethod(lambda: 0)", "receive_packet cannot be called with packet", "receive_packet(self, packet)"),
        (
            "def receive(self, context, header): pass",
            "receive cannot be called with context, header, lookahead, packet_size",
            "receive(self, context, header, lookahead, packet_size)",
        ),
        ("def receive_complete(self, packet): pass", "receive_complete cannot be called with nothing", "receive_complete(self)"),
    ],
)
def test_a_handler_with_other_parameters_is_refused(body: str, what: str, right: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(HEAD + f"class Odd(ProtocolDriver):\n    {body}\n")
    assert failure(str(path)) == f"driver Odd: {what}: define it: def {right}"


@pytest.mark.parametrize(
    "body",
    [
        "receive_packet = property(lambda self: 1 // 0)",
        "def __getattribute__(self, name):\n        raise ZeroDivisionError('no')",
    ],
)
def test_a_handler_that_cannot_be_asked_for_is_one_line_too(body: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(HEAD + f"class Odd(ProtocolDriver):\n    {body}\n")
    assert failure(str(path)).startswith("driver Odd: ZeroDivisionError: ")


@pytest.mark.parametrize("body", ["async def receive_packet(self, packet): return 0", "def receive_packet(self, packet): yield 0"])
def test_a_handler_that_only_makes_an_object_is_refused(body: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(HEAD + f"class Odd(ProtocolDriver):\n    {body}\n")
    right = "define it: def receive_packet(self, packet), without async or yield"
    assert failure(str(path)) == f"driver Odd: receive_packet does not run when it is called: {right}"


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "def send_one(self): pass",
        "def receive(self, *a): pass\n    def receive_packed(self): pass",
        "receive_packet = staticmethod(lambda packet: 0)",
        "@classmethod\n    def receive_packet(cls, packet, more=1): return 0",
        "receive_packet = __import__('functools').partial(lambda a, packet: 0, 1)",
        "receive_packet = __import__('functools').partialmethod(lambda self, a, packet: 0, 1)",
        "receive_packet = __import__('functools').singledispatchmethod(lambda self, packet: 0)",
        "receive_packet = property(lambda self: len)",
        "receive_packet = len",
        "receive_packet = None\n    def __init__(self): self.receive_packet = len",
        "def _receive_packet(self, packet): return 0\n    def __init__(self): self.receive_packet = self._receive_packet",
        "def receive_packet(self): return 0\n    def __init__(self): self.receive_packet = len",
        "def co_receive_packet(self, vc, packet): return 0",
        (
            "from functools import wraps\n    def gives(f):\n        @__import__('functools').wraps(f)\n"
            "        def inner(self, packet): return f(self, packet, packet.length)\n        return inner\n"
            "    @gives\n    def receive_packet(self, packet, length): return 0"
        ),
    ],
)
def test_a_driver_may_only_send_and_have_functions_of_its_own(body: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(HEAD + f"class Own(ProtocolDriver):\n    {body}\n")
    assert load_driver(str(path), {})[0] == "Own"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\nclass", "driver bad.py: SyntaxError: invalid syntax ({path}:2): mend the file"),
        ("import nosuch_module", "driver bad.py: ModuleNotFoundError: No module named 'nosuch_module' ({path}:1): mend the file"),
        ("\nraise SystemExit(3)", "driver bad.py: SystemExit: 3 ({path}:2): mend the file"),
        ("import json\njson.loads('')", "driver bad.py: JSONDecodeError: "),
        ("", "{path} has not exactly one driver class: its classes derived from ProtocolDriver: none"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    assert failure(str(path)).startswith(line.format(path=path))


def test_the_line_is_the_deepest_in_the_drivers_own_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import json\ndef inner():\n    json.loads('')\ninner()\n")
    assert f"({path}:3)" in failure(str(path))


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in failure(str(tmp_path / "none.py"))
    (tmp_path / "bin.py").write_bytes(bytes(range(256)))
    assert failure(str(tmp_path / "bin.py")).startswith("driver bin.py: ")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("count", "3", 3),
        ("rate", "2", 2.0),
        ("text", "5", "5"),
        ("text", "yes", "yes"),
        *(("loud", text, True) for text in ("yes", "true", "on", "1", "YES")),
        *(("loud", text, False) for text in ("no", "false", "off", "0", "Off")),
        ("file", "/tmp/x", Path("/tmp/x")),
        ("count", 4, 4),
        ("loud", True, True),
    ],
)
def test_options_arrive_converted(mine: str, key: str, text: object, value: object) -> None:
    found = getattr(load_driver(mine, {key: text})[1], key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"count": "x"}, "driver Mine: option count='x': Expected int, got str"),
        ({"count": [1]}, "driver Mine: option count=[1]: Expected int, got array"),
        ({"loud": "maybe"}, "driver Mine: option loud='maybe': Expected bool | null, got str"),
        ({"text": 7}, "driver Mine: option text=7: Expected str, got int, so write it in quotes"),
        ({"cuont": 1}, "driver Mine has no option 'cuont': did you mean count? its options are count, rate, text, loud, file"),
        ({"\x1b": 1}, r"driver Mine has no option '\x1b': its options are count, rate, text, loud, file"),
        ({"self": 1}, "driver Mine has no option 'self': its options are count, rate, text, loud, file"),
        ({"count": 5}, r"driver Mine: ValueError: five\n is\x1b too many ({path}:17): mend the driver or its options"),
        ({"count": 6}, "driver Mine: SystemExit: six ({path}:19): mend the driver or its options"),
    ],
)
def test_a_bad_option_is_one_line_with_driver_and_option(mine: str, options: dict[str, object], line: str) -> None:
    assert failure(mine, options) == line.replace("{path}", mine)


def test_ctrl_c_in_a_constructor_is_no_driver_problem(mine: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_driver(mine, {"count": 7})


def test_a_missing_option_is_named() -> None:
    assert failure("capture") == "driver capture: option file is missing: give file=..."


def test_a_driver_that_takes_any_option_gets_them_all(tmp_path: Path) -> None:
    path = tmp_path / "any.py"
    path.write_text(HEAD + "class Any(ProtocolDriver):\n    def __init__(self, **options: str) -> None:\n        self.options = options\n")
    assert vars(load_driver(str(path), {"a": "1", "b": "x"})[1]) == {"options": {"a": "1", "b": "x"}}


def test_annotations_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(HEAD + "class Odd(ProtocolDriver):\n    def __init__(self, *, a: Nowhere = 1) -> None: pass\n")
    assert failure(str(path)).startswith("driver Odd: NameError: name 'Nowhere' is not defined")


def test_a_command_line_is_split_as_a_shell_would() -> None:
    assert parse_driver("sink") == ProtocolConfig(driver="sink")
    assert parse_driver("a.py:B x=1 'y=two words' z= w=a=b").options == {"x": "1", "y": "two words", "z": "", "w": "a=b"}


def test_the_adapter_is_a_key_of_the_command_line_and_no_option_of_the_driver() -> None:
    assert parse_driver("arp x=1 adapter=vnic0.7") == ProtocolConfig(driver="arp", adapter="vnic0.7", options={"x": "1"})
    assert parse_driver("./a@b.py:C 'adapter=a b'") == ProtocolConfig(driver="./a@b.py:C", adapter="a b")
    assert parse_filter("mux vlans=7,9 adapter=x") == FilterConfig(driver="mux", options={"vlans": "7,9", "adapter": "x"})


def test_an_adapter_without_a_name_is_a_usage_error() -> None:
    with pytest.raises(Failure, match="adapter is empty") as caught:
        parse_driver("arp adapter=")
    assert caught.value.status is Exit.USAGE


FILTER = """
from vnic.intermediate import IntermediateDriver
class Middle(IntermediateDriver):
    def __init__(self, count: int = 1) -> None:
        self.count = count
class Plain(ProtocolDriver):
    pass
"""


def test_an_intermediate_driver_is_loaded_as_a_filter_only(tmp_path: Path) -> None:
    path = tmp_path / "filter.py"
    path.write_text(HEAD + FILTER)
    name, found = load_filter(f"{path}:Middle", {"count": "3"})
    assert (name, vars(found)) == ("Middle", {"count": 3})
    wrong = "driver Middle is an intermediate driver: give it as a filter: --filter, or [[filter]]"
    assert failure(f"{path}:Middle") == wrong
    with pytest.raises(Failure) as caught:
        load_filter(f"{path}:Plain", {})
    assert str(caught.value) == "driver Plain is no intermediate driver: give it as a driver: --driver, or [[protocol]]"
    with pytest.raises(Failure, match="driver Middle has no option 'colour'"):
        load_filter(f"{path}:Middle", {"colour": "red"})
    with pytest.raises(Failure, match="driver arp is no intermediate driver"):
        load_filter("arp", {})
    with pytest.raises(Failure, match=r"driver 'passtrhu' is unknown: did you mean passthru\? known are mux, passthru"):
        load_filter("passtrhu", {})


@pytest.mark.parametrize("text", ["", " ", "'", "a=b", "sink x", "sink x=1 x=2", "sink =1", "sink \x1b=1", "sink a-b=1"])
def test_a_bad_command_line_is_a_usage_error(text: str) -> None:
    for option, parse in (("--driver", parse_driver), ("--filter", parse_filter)):
        with pytest.raises(Failure, match=option) as caught:
            parse(text)
        assert caught.value.status is Exit.USAGE
        assert str(caught.value).isprintable()


def test_bindings_of_one_driver_get_different_names() -> None:
    assert binding_names(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]
    assert binding_names(["a", "a", "a-2", "a"]) == ["a", "a-2", "a-2-2", "a-3"]
