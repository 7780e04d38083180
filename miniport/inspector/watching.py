"""
`vnic watch`: an answer again and again, in one place on the terminal.

Next: `miniport/inspector/overview_text.py`, what is shown.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from miniport.errors import Exit
from miniport.inspector.client import ask
from miniport.inspector.command_line import show
from miniport.inspector.parameters import seconds
from miniport.log import escape

if TYPE_CHECKING:
    import argparse

    from miniport.inspector.commands import Command

SHORTEST_S = 0.1
CLEAR = "\x1b[H\x1b[2J"


def watch(command: Command, name: str | None, arguments: argparse.Namespace) -> int:
    """
    Show an answer, and again, until Ctrl-C or until the daemon is dead.

    Args:
        command: what is asked.
        name: the interface, or None.
        arguments: of the command line.

    Returns:
        The exit status.
    """
    every = max(SHORTEST_S, seconds("--every", arguments.every or 1))
    clear = CLEAR if sys.stdout.isatty() and not arguments.json else ""
    try:
        while True:
            answer = ask(name, command.method, {}, arguments.control or "auto")
            print(end=clear)
            show(command, answer, arguments)
            if answer.past:
                print(f"vnic: {escape(answer.past)}", file=sys.stderr)
                return Exit.UNAVAILABLE
            time.sleep(every)
    except KeyboardInterrupt:
        return Exit.OK
