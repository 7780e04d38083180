"""
The inspector's commands on the command line: `vnic show`, `vnic doctor` and the others of the table.

Nothing but that table is imported until a command is given: `vnic --help` must come at once.

Next: `miniport/inspector/client.py`, which asks.
"""

from __future__ import annotations

import argparse
import sys

from miniport.inspector.commands import COMMANDS, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from miniport.inspector.client import Answer

JSON = Option("--json", "", "flag", "the answer as JSON, with the same keys as the text")
CONTROL = Option("--control", "PATH", "file", "the daemon's control socket, if it is not where it is by itself")
ALL = 1 << 62
"""So many lines as the daemon gives at most."""
VERIFY = "what is checked, how deeply, and what faults are provoked"


def questions() -> str:
    """The list of the table's commands, for the help of `vnic` itself."""
    listed = {command.name.partition(" ")[0]: command.help for command in COMMANDS} | {"verify": VERIFY}
    return "\n".join(["questions to a running daemon:", *(f"  {name:<11} {text}" for name, text in listed.items())])


def add_commands(commands: argparse._SubParsersAction[Any], wanted: str | None = None) -> None:
    """Make a parser of each command of the table; with `wanted`, of that one only, and the others are only known by name."""
    groups: dict[str, argparse._SubParsersAction[Any]] = {}
    unmade = argparse.ArgumentParser(add_help=False)
    for command in COMMANDS:
        first, _, second = command.name.partition(" ")
        if wanted not in (None, first):
            commands.choices[first] = unmade
            continue
        if second and first not in groups:
            group = commands.add_parser(first, description=VERIFY, epilog=example(command), **LAYOUT)
            groups[first] = group.add_subparsers(metavar="WHAT", required=True)
        add_command(groups[first] if second else commands, second or first, command)


def add_command(commands: argparse._SubParsersAction[Any], name: str, command: Command) -> None:
    """Make the parser of one command."""
    # the commands of a group are listed by argparse, the others by `questions`
    listed: dict[str, Any] = {"help": command.help} if name != command.name else {}
    parser = commands.add_parser(name, description=command.help, epilog=example(command), usage=usage(command), **listed, **LAYOUT)
    parser.add_argument("words", nargs="*", metavar="NAME", help="the interface; can be left out if one daemon runs" + after(command))
    for option in options_of(command):
        if not option.metavar:
            parser.add_argument(option.flag, action="store_true", help=option.help)
        else:
            parser.add_argument(option.flag, metavar=option.metavar, help=option.help)
    parser.set_defaults(command=ask_command, parser=parser, asked=command, log_format="text")


def options_of(command: Command) -> tuple[Option, ...]:
    """Its own options, and those that every command has."""
    return (*command.options, JSON, CONTROL)


def usage(command: Command) -> str:
    """The line that shows how it is called."""
    spelled = {"?": "[{}]", "*": "[key=value ...]"}
    words = [spelled.get(word[-1], "{}").format(word.rstrip("?*").upper()) for word in command.words]
    flags = [f"[{option.flag}{' ' + option.metavar if option.metavar else ''}]" for option in options_of(command)]
    return " ".join(["vnic", command.name, "[NAME]", *words, *flags])


def example(command: Command) -> str:
    """What stands at the end of the help."""
    return f"example:\n  {command.example}"


def after(command: Command) -> str:
    """What is said of the words behind NAME."""
    return f"; then {' and '.join(word.rstrip('?*') for word in command.words)}" if command.words else ""


def sort_words(command: Command, words: list[str], complain: Callable[[str], Any]) -> tuple[str | None, dict[str, Any]]:
    """
    Tell the interface's name from the other words, of which it may be missing.

    Args:
        command: what is asked.
        words: as they were typed.
        complain: called with what is wrong; does not return.

    Returns:
        The name, or None, and the parameters.
    """
    settings = next((word.rstrip("*") for word in command.words if word.endswith("*")), None)
    pairs = [word for word in words if "=" in word] if settings else []
    plain = [word for word in words if word not in pairs]
    wanted = [word for word in command.words if not word.endswith("*")]
    needed = sum(not word.endswith("?") for word in wanted)
    name = plain.pop(0) if len(plain) > needed else None
    if len(plain) < needed:
        complain(f"{' and '.join(wanted)} must be given")
    if len(plain) > len(wanted):
        complain(f"unrecognized arguments: {' '.join(plain[len(wanted) :])}")
    found: dict[str, Any] = {word.rstrip("?"): given for word, given in zip(wanted, plain, strict=False)}
    if pairs and settings:
        found[settings] = dict(pair.split("=", 1) for pair in pairs)
    return name, found


def one_word(command: Command, word: str) -> tuple[str | None, dict[str, Any]]:
    """Tell what a single word is that may be the interface's name, or what can follow it: no daemon has that name, and one runs."""
    from miniport.errors import Failure
    from miniport.inspector.client import find

    try:
        find(word)
    except Failure:
        try:
            find(None)
        except Failure:
            return word, {}
        return None, {command.words[0].rstrip("?"): word}
    return word, {}


def ask_command(arguments: argparse.Namespace) -> int:
    """Ask, and show the answer; the exit status says whether there was something to be found."""
    command: Command = arguments.asked
    name, parameters = sort_words(command, arguments.words, arguments.parser.error)
    if name is not None and len(arguments.words) == 1 and command.words and not arguments.control:
        name, parameters = one_word(command, name)
    for option in command.options:
        value = getattr(arguments, option.key)
        if value not in (None, False) and option.kind not in ("file", "here"):
            parameters[option.key] = value
    files = {
        option.key: getattr(arguments, option.key) for option in command.options if option.kind == "file" and getattr(arguments, option.key)
    }
    if command.name == "watch":
        from miniport.inspector.watching import watch

        return watch(command, name, arguments)
    if "pcap" in files and command.method == "packet":
        parameters["hex"] = True
    elif "pcap" in files:
        parameters.setdefault("top", ALL)
    from miniport.errors import Exit
    from miniport.inspector.client import ask
    from miniport.log import escape

    answer = ask(name, command.method, parameters, arguments.control or "auto")
    if answer.past:
        print(f"vnic: {escape(answer.past)}", file=sys.stderr)
    if files:
        save(answer, files, name, arguments.control or "auto")
    else:
        show(command, answer, arguments)
    if answer.past:
        return Exit.UNAVAILABLE
    return Exit.FOUND if command.found and answer.result[command.found] else Exit.OK


def show(command: Command, answer: Answer, arguments: argparse.Namespace) -> None:
    """
    Print an answer.

    Raises:
        Failure: it cannot be written; or a daemon left it, and it is not whole.
    """
    try:
        text = written(command, answer, arguments)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        if not answer.past:
            raise
        from miniport.errors import Exit, Failure
        from miniport.log import escape

        what = f"what the daemon left is no answer to {command.name}: {type(error).__name__} {escape(str(error))}"
        raise Failure(Exit.UNAVAILABLE, what, "its state file was damaged, or is another version's") from None
    say(text)


def say(text: str, end: str = "\n") -> None:
    """
    Print. Who stops reading has seen enough.

    Raises:
        Failure: it cannot be written.
    """
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        import os

        # the interpreter must not try again at its end
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            from miniport.errors import Exit, Failure

            raise Failure(Exit.CONFIG, "standard output: cannot be written", error.strerror or str(error)) from None


def written(command: Command, answer: Answer, arguments: argparse.Namespace) -> str:
    """Make the text of an answer, in the form that was asked for."""
    if arguments.json:
        import json

        return json.dumps(answer.result, indent=2)
    if getattr(arguments, "openmetrics", False):
        from miniport.inspector.openmetrics import openmetrics

        return openmetrics(answer.result, answer.past)
    return "\n".join(render(command, answer.result))


def render(command: Command, result: dict[str, Any]) -> list[str]:
    """Make lines of an answer, by the command's renderer."""
    import importlib
    import os

    from miniport.inspector.text import Paint

    module, _, function = command.text.partition(".")
    renderer = getattr(importlib.import_module(f"miniport.inspector.{module}"), function)
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    lines: list[str] = renderer(result, Paint(wanted))
    return lines


def save(answer: Answer, files: dict[str, str], name: str | None, control: str) -> None:
    """Write an answer to the files that were asked for."""
    from miniport.inspector.capture_file import write_capture, write_private
    from miniport.log import escape

    for kind, path in files.items():
        if kind == "html":
            from miniport.inspector.page import page

            size = write_private(path, page(answer.result).encode("ascii", "xmlcharrefreplace"))
        else:
            packets = answer.result.get("packets")
            size = write_capture(path, [answer.result] if packets is None else frames_of(packets, name, control))
        say(f"{escape(path)}: {size} bytes")
        if kind == "pcap" and answer.result.get("more"):
            print(f"vnic: {answer.result['more']} more packets were left out", file=sys.stderr)


def frames_of(packets: list[dict[str, Any]], name: str | None, control: str) -> list[dict[str, Any]]:
    """Ask for the bytes of each packet of a list; those that have gone home meanwhile are left out."""
    from miniport.errors import Exit, Failure
    from miniport.inspector.client import ask

    found = []
    for row in packets:
        wanted = {"number": f"{row['packet']}.{row['generation']}", "pool": row["pool"], "hex": True}
        try:
            answer = ask(name, "packet", wanted, control)
        except Failure as failure:
            if failure.status is not Exit.USAGE:
                raise
            continue
        if answer.result["same"]:
            found.append(answer.result)
    return found


LAYOUT: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
