"""
The command line `vnic`.

Only `argparse` and the table of the inspector's commands are imported here; what a command needs, it imports itself, so that `--help`
comes at once.

Next: `miniport/config.py` for what can be configured, `miniport/daemon.py` for what `run` does.
"""

from __future__ import annotations

import argparse
import sys

from miniport.inspector.command_line import add_commands, questions, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from miniport.config import Config
    from miniport.errors import Failure

RUN_EXAMPLE = """example:
  vnic run vnic0 --address 10.0.0.2/24 --driver arp --driver icmp_echo"""
CHECK_EXAMPLE = """example:
  vnic check /etc/vnic/vnic0.toml"""


# for each text of its own argparse looks for a catalogue, in four files: that is most of the time that making the parsers takes
argparse._ = str  # type: ignore[attr-defined]


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line of printable ASCII."""

    def error(self, message: str) -> NoReturn:
        from miniport.log import escape

        self.exit(2, f"{self.prog}: error: {escape(message)}; see {self.prog} --help\n")

    def print_help(self, file: Any = None) -> None:
        say(self.format_help(), end="")


class Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from vnic._version import __version__

        say(f"vnic {__version__}")
        parser.exit()


def main(argv: list[str] | None = None) -> int:
    """
    Run one command.

    Args:
        argv: the arguments, without the program's name; those of the process by default.

    Returns:
        The exit status. A usage error and `--help` leave by SystemExit.
    """
    from miniport.errors import Exit, Failure

    open_standard_streams()
    arguments = argparse.Namespace(command=None, log_format="text")
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        return int(arguments.command(arguments))
    except Failure as failure:
        if failure.status is Exit.USAGE:
            arguments.parser.error(str(failure))
        return report(failure, arguments)
    except KeyboardInterrupt:
        return Exit.KILLED_INT
    except Exception as error:
        from miniport.log import exception_fields

        told = exception_fields(error)
        what = f"vnic itself failed: {told['type']}: {told['message']} ({told['where']})"
        return report(Failure(Exit.VIOLATION, what, "please report this"), arguments)


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    arguments, unknown = build_parser(next((word for word in argv if not word.startswith("-")), "")).parse_known_args(argv)
    if "words" in arguments:
        # argparse takes the words of one place only; those behind an option are words, too
        arguments.words += [word for word in unknown if not word.startswith("-")]
        unknown = [word for word in unknown if word.startswith("-")]
    if unknown:
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return arguments


def open_standard_streams() -> None:
    """Give a process that was started without them descriptors 0 to 2, before the log's number becomes something else's."""
    import os

    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)


def build_parser(first: str | None = None) -> Parser:
    """
    Make the parser of all commands.

    Args:
        first: the first word that was typed: of the other commands only the names are made then, which is quicker.
    """
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog="vnic",
        description="NDIS for Linux user space: protocol drivers on a TAP interface.",
        epilog=f"{questions()}\n\n{RUN_EXAMPLE}",
        formatter_class=layout,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    text = "bind drivers to a TAP interface and run until a signal"
    run = commands.add_parser("run", help=text, description=text, epilog=RUN_EXAMPLE, formatter_class=layout, allow_abbrev=False)
    if first in (None, "run"):
        add_run_arguments(run)
    run.set_defaults(command=run_command, parser=run)
    text = "check a configuration file and its drivers; bind nothing"
    check = commands.add_parser("check", help=text, description=text, epilog=CHECK_EXAMPLE, formatter_class=layout, allow_abbrev=False)
    check.add_argument("file", metavar="FILE", help="a TOML file")
    check.set_defaults(command=check_command, parser=check, log_format=None)
    add_commands(commands, first)
    return parser


def add_run_arguments(run: Parser) -> None:
    """Declare the options of `vnic run`; ranges are checked with the file's, in `miniport/config.py`."""
    run.add_argument("name", metavar="NAME", nargs="?", help="the interface; can be left out if the file names it")
    run.add_argument("--config", metavar="FILE", help="a TOML file; options given here override it")
    run.add_argument(
        "--driver", metavar='"SPEC key=value ..."', action="append", help="bind a driver: a name, or path/file.py:Class; repeat for more"
    )
    run.add_argument(
        "--filter",
        metavar='"SPEC key=value ..."',
        action="append",
        help="put an intermediate driver between the interface and the drivers; repeat for more, the lowest first",
    )
    run.add_argument("--address", metavar="A/P", action="append", help="an address for drivers to answer for; repeat for more")
    run.add_argument("--mtu", metavar="N", type=int, help="68 to 65520, default 1500")
    run.add_argument("--mac", metavar="M", help="the adapter's own address, default 02:00:00:00:00:02")
    run.add_argument("--packets", metavar="N", type=int, help="packets in the receive pool, default 1024")
    text = "let the kernel hand over superframes and leave checksums"
    run.add_argument("--offload", action="store_true", default=None, help=text)
    run.add_argument("--verifier", metavar="LEVEL", type=int, help="how much is checked: 0 to 4, default 1")
    run.add_argument("--stats-interval", metavar="S", type=float, help="seconds between lines of counters, default 10")
    run.add_argument("--log-format", metavar="F", choices=("auto", "text", "json"), help="auto, text or json")
    run.add_argument("--queues", metavar="N", type=int, help="queues of the interface, each with a thread that reads it, default 1")
    run.add_argument("--reader", metavar="R", choices=("auto", "read", "io_uring"), help="auto, read or io_uring")
    text = "microseconds to ask for the next frame without sleeping, default 0"
    run.add_argument("--busy-poll-us", metavar="US", type=int, help=text)
    run.add_argument("--drain-timeout", metavar="S", type=float, help="seconds to wait at the end for held packets, default 2")
    run.add_argument(
        "--control", metavar="PATH", help="where the control socket is to be, or off; by itself in /run/vnic or the session's folder"
    )
    run.add_argument("--tap-fd", metavar="N", type=int, help="use this open TAP descriptor")
    run.add_argument("--ready-fd", metavar="N", type=int, help="write a line to this descriptor when ready")


def run_command(arguments: argparse.Namespace) -> int:
    """Start the daemon; the configuration is made by a function, since a reload makes it again."""
    from miniport.supervisor import keep_early_signals

    keep_early_signals()
    for option, fd in (("--tap-fd", arguments.tap_fd), ("--ready-fd", arguments.ready_fd)):
        check_descriptor(arguments.parser, option, fd)
    if arguments.ready_fd is not None and arguments.ready_fd == arguments.tap_fd:
        arguments.parser.error("--ready-fd and --tap-fd are the same descriptor")
    if arguments.name is None and arguments.config is None:
        arguments.parser.error("NAME is missing")
    from miniport import config
    from miniport.drivers import parse_driver, parse_filter

    filters = [parse_filter(text) for text in arguments.filter or ()]
    protocol = [parse_driver(text) for text in arguments.driver or ()]

    def load_config() -> Config:
        base = config.load(arguments.config, need_name=arguments.name is None) if arguments.config is not None else config.Config()
        return config.override(base, filters=filters, protocol=protocol, **{key: getattr(arguments, key) for key in config.OPTIONS})

    from miniport.daemon import run

    return run(load_config, tap_fd=arguments.tap_fd, ready_fd=arguments.ready_fd)


def check_command(arguments: argparse.Namespace) -> int:
    """Load a file and make its drivers, as `run` would."""
    from miniport import config
    from miniport.drivers import binding_names, load_driver, load_filter
    from miniport.errors import Failure
    from miniport.log import escape

    path = escape(arguments.file)
    found = config.load(arguments.file)
    names = []
    for section, load, tables in (("filter", load_filter, found.filter), ("protocol", load_driver, found.protocol)):
        for index, table in enumerate(tables):
            try:
                names.append(load(table.driver, table.options)[0])
            except Failure as failure:
                raise Failure(failure.status, f"{path}: $.{section}[{index}]: {failure.what}", failure.remedy) from None
    from vnic.core import COMPILED

    names, count = binding_names(names), len(found.filter)
    filters = f"filters: {', '.join(names[:count])}, " if count else ""
    queues = f"{found.loop.queues} queues, " if found.loop.queues > 1 else ""
    adapter = found.adapter
    say(
        f"{path}: ok: adapter {adapter.name}, mtu {adapter.mtu}, {found.pool.packets} packets, {queues}{filters}"
        f"drivers: {', '.join(names[count:]) or 'none'}; core {'compiled' if COMPILED else 'not compiled'}"
    )
    return 0


def check_descriptor(parser: Parser, option: str, fd: int | None) -> None:
    """Refuse a number that is no open descriptor, before one of our own gets it."""
    import os

    try:
        if fd is not None:
            os.fstat(fd)
    except (OSError, OverflowError):
        parser.error(f"{option}: {fd} is no open descriptor")


def report(failure: Failure, arguments: argparse.Namespace) -> int:
    """Say why it failed, in one line: to a person, or to whoever reads the log."""
    from miniport.log import EventLog, escape

    log = EventLog(2, arguments.log_format or "auto")
    if log.form == "json":
        log.event("failed", "error", status=int(failure.status), error=failure.what, remedy=failure.remedy)
    else:
        # what `run` has put in place of the error stream is for the drivers
        stream = sys.__stderr__ if arguments.command is run_command else sys.stderr
        print(f"vnic: error: {escape(str(failure))}", file=stream)
    return int(failure.status)
