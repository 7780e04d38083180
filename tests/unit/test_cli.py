"""
The command line: exit statuses, one line for each mistake, and a quick `--help`.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vnic
from miniport.cli import main
from miniport.errors import Exit

SLOW = ("asyncio", "msgspec", "pyroute2", "scapy", "logging", "json", "tomllib", "importlib.metadata", "vnic")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "miniport", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


def one_line(text: str) -> str:
    assert text.endswith("\n")
    assert text[:-1].isascii()
    assert text[:-1].isprintable()
    return text[:-1]


def failed(*arguments: str) -> dict[str, object]:
    """The one JSON line of a failure, whose status is also the exit status."""
    done = run(*arguments)
    record = json.loads(one_line(done.stderr))
    assert list(record) == ["ts", "event", "level", "status", "error", "remedy"]
    assert (record["event"], record["level"], record["status"]) == ("failed", "error", done.returncode)
    assert done.stdout == ""
    return dict(record)


@pytest.mark.parametrize("command", [[], ["run"], ["check"]])
def test_help_on_each_level_ends_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == 0
    assert re.search(r"\nexample:\n  vnic (run|check) \S.*\n$", capsys.readouterr().out)


@pytest.mark.parametrize("command", [[], ["run"], ["check"]])
def test_help_imports_nothing_slow(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "miniport", *command, "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"argparse", "miniport.cli"} <= imported
    assert imported.isdisjoint(SLOW)


def test_help_takes_less_than_four_times_what_an_interpreter_takes_that_does_nothing() -> None:
    nothing, of_all, of_one = processor_times(("-c", "pass"), ("-m", "miniport", "--help"), ("-m", "miniport", "pending", "--help"))
    assert of_all < 4 * nothing
    assert of_one < 4.5 * nothing


def processor_times(*commands: tuple[str, ...]) -> list[float]:
    """The least processor time, of several runs in turn, of an interpreter that is given each of these words."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(15):
        for words, found in zip(commands, times, strict=True):
            started = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
            _, _, used = os.wait4(started.pid, 0)
            started.returncode = 0
            found.append(used.ru_utime + used.ru_stime)
    return [min(found) for found in times]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert (left.value.code, capsys.readouterr().out) == (0, f"vnic {vnic.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "vnic: error: the following arguments are required: COMMAND; see vnic --help"),
        (["frob\x1b"], "vnic: error: argument COMMAND: invalid choice: 'frob\\x1b'; see vnic --help"),
        (["check"], "vnic check: error: the following arguments are required: FILE; see vnic check --help"),
        (["run"], "vnic run: error: NAME is missing; see vnic run --help"),
        (["run", "x", "y\n\x1b"], r"vnic run: error: unrecognized arguments: y\n\x1b; see vnic run --help"),
        (["run", "x", "--pack", "3"], "vnic run: error: unrecognized arguments: --pack 3; see vnic run --help"),
        (["run", "x", "--mtu", "big"], "vnic run: error: argument --mtu: invalid int value: 'big'; see vnic run --help"),
        (["run", "x", "--log-format", "xml"], "vnic run: error: argument --log-format: invalid choice: 'xml'; see vnic run --help"),
        (["run", "x", "--tap-fd", "777"], "vnic run: error: --tap-fd: 777 is no open descriptor; see vnic run --help"),
        (["run", "x", "--ready-fd", "-1"], "vnic run: error: --ready-fd: -1 is no open descriptor; see vnic run --help"),
        (["run", "x", "--ready-fd", "9" * 30], f"vnic run: error: --ready-fd: {'9' * 30} is no open descriptor; see vnic run --help"),
        (
            ["run", "x", "--driver", ""],
            "vnic run: error: --driver '': begin with the name of a driver, or path/file.py:Class; see vnic run --help",
        ),
        (["run", "x", "--driver", "sink '"], 'vnic run: error: --driver "sink \'": no closing quotation; see vnic run --help'),
        (["run", "x", "--driver", "sink x"], "vnic run: error: --driver 'sink x': 'x': write options as key=value; see vnic run --help"),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == Exit.USAGE
    # Each Python version lists the choices in its own way.
    assert re.sub(r" \(choose from [^)]*\)", "", one_line(capsys.readouterr().err)) == line


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["vnic0", "--mtu", "67"], "--mtu: 67 is not allowed"),
        (["vnic0", "--packets", "65536"], "--packets: 65536 is not allowed"),
        (["vnic0", "--stats-interval", "nan"], "--stats-interval: nan is not allowed"),
        (["vnic0", "--drain-timeout", "-1"], "--drain-timeout: -1.0 is not allowed"),
        (["vnic0", "--verifier", "5"], "--verifier: 5 is not allowed"),
        (["vnic0", "--mac", "01:00:00:00:00:00"], "--mac: '01:00:00:00:00:00' is not unicast"),
        (["vnic0", "--address", "10.0.0.2"], "--address: '10.0.0.2' is no address"),
        (["a name"], "NAME: 'a name' is no interface name"),
        (["vnic0", "--config", "/nowhere/x.toml"], "/nowhere/x.toml: cannot be read"),
        (["--config", "/dev/null"], "/dev/null: not a regular file"),
    ],
)
def test_run_refuses_a_bad_value_with_status_78(arguments: list[str], error: str) -> None:
    record = failed("run", *arguments)
    assert (record["status"], record["error"]) == (Exit.CONFIG, error)


def test_run_without_a_name_needs_one_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[adapter]\nmtu = 1500\n")
    record = failed("run", "--config", str(tmp_path / "x.toml"))
    assert (record["status"], record["error"]) == (Exit.CONFIG, f"{tmp_path}/x.toml: $.adapter.name: missing")


def test_check_says_ok_and_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[[protocol]]\ndriver = 'sink'\n[[protocol]]\ndriver = 'sink'\npromiscuous = true\n")
    assert main(["check", str(path)]) == 0
    mode = "compiled" if vnic.COMPILED else "not compiled"
    assert capsys.readouterr().out == f"{path}: ok: adapter vnic0, mtu 1500, 1024 packets, drivers: sink, sink-2; core {mode}\n"
    path.write_text("loop.queues = 4")
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: ok: adapter vnic0, mtu 1500, 1024 packets, 4 queues, drivers: none; core {mode}\n"


def test_check_makes_the_filters_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "middle.py").write_text("from vnic.intermediate import IntermediateDriver\nclass sink(IntermediateDriver): pass\n")
    path = tmp_path / "x.toml"
    path.write_text(f"[[filter]]\ndriver = '{tmp_path}/middle.py'\n[[protocol]]\ndriver = 'sink'\nadapter = 'vnic0'\n")
    assert main(["check", str(path)]) == 0
    assert ", filters: sink, drivers: sink-2; core " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[adapter]\nmut = 1", "$.adapter.mut: unknown key"),
        ("[adapter]\nmtu = 5", "$.adapter.mtu: 5 is not allowed"),
        ("[[protocol]]\ndriver = 'sink'\n[[protocol]]\ndriver = 'snik'", "$.protocol[1]: driver 'snik' is unknown"),
        ("[[filter]]\ndriver = 'arp'", "$.filter[0]: driver arp is no intermediate driver"),
        ("[[filter]]\ndriver = 'pasthru'", "$.filter[0]: driver 'pasthru' is unknown"),
        ("[[protocol]]\ndriver = 'sink'\nloud = 1", "$.protocol[0]: driver sink has no option 'loud'"),
        ("[[protocol]]\ndriver = 'sink'\npromiscuous = 'x'", "$.protocol[0]: driver sink: option promiscuous='x'"),
    ],
)
def test_check_refuses_a_bad_file_with_status_78(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    record = failed("check", str(tmp_path / "x.toml"))
    assert (record["status"], record["error"]) == (Exit.CONFIG, f"{tmp_path}/x.toml: {error}")


def test_check_runs_the_constructors_and_survives_them(tmp_path: Path) -> None:
    driver = tmp_path / "mine.py"
    body = "class Mine(ProtocolDriver):\n    def __init__(self):\n        exit('\\x1b[2J')\n"
    driver.write_text(f"from vnic.driver import ProtocolDriver\n{body}")
    (tmp_path / "x.toml").write_text(f"[[protocol]]\ndriver = '{driver}'\n")
    record = failed("check", str(tmp_path / "x.toml"))
    assert record["error"] == f"{tmp_path}/x.toml: $.protocol[0]: driver Mine: SystemExit: \\x1b[2J ({driver}:4)"


def test_a_failure_on_a_terminal_is_one_line_of_text(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        command = [sys.executable, "-m", "miniport", "check", f"{tmp_path}/\x1b[2J"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave, timeout=30)
        assert done.returncode == Exit.CONFIG
        line = f"vnic: error: {tmp_path}/\\x1b[2J: cannot be read: No such file or directory\r\n"
        assert os.read(master, 4096).decode() == line
    finally:
        os.close(master)
        os.close(slave)


def test_a_failure_is_told_in_the_form_asked_for() -> None:
    done = run("run", "vnic0", "--mtu", "1", "--log-format", "text")
    assert one_line(done.stderr) == "vnic: error: --mtu: 1 is not allowed: give an integer from 68 to 65520"
    assert done.returncode == Exit.CONFIG
