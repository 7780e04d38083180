"""
What a daemon shows of itself: the control socket and the state file beside it. Frames matter more: without a place for them it runs blind.

Next: `miniport/control.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from miniport.control import Control
from miniport.errors import Exit, Failure
from miniport.inspector.state import EVERY_S, StateFile
from miniport.log import escape
from miniport.runtime_dir import AUTO, socket_path, state_path

if TYPE_CHECKING:
    from miniport.inspector.subject import Inspector
    from miniport.log import EventLog


class Inspection:
    """
    The control socket and the state file of one daemon, or neither, if they are switched off.

    Args:
        name: the interface.
        wanted: where the socket is to be: a path, `auto` or `off`.
        inspector: makes what the views look at.
        log: where it is told if there can be no socket in the usual place, and what is changed through it.

    Raises:
        Failure: there can be no socket at the place that was asked for, or another daemon has it.
    """

    def __init__(self, name: str, wanted: str, inspector: Inspector, log: EventLog) -> None:
        self._control: Control | None = None
        self._state: StateFile | None = None
        path = socket_path(name, wanted)
        if path is None:
            return
        try:
            self._control = Control(path, inspector, log)
        except Failure as failure:
            # beside another daemon of that name we do not start; a place that is not safe is as good as none
            if wanted != AUTO or failure.status is Exit.BUSY:
                raise
            log.event("control", "warning", state="off", error=failure.what, remedy=failure.remedy)
            return
        except OSError as error:
            what, reason = f"control socket {escape(str(path))} cannot be made", error.strerror or str(error)
            if wanted != AUTO:
                status = Exit.PERMISSION if isinstance(error, PermissionError) else Exit.CONFIG
                raise Failure(status, what, reason) from None
            log.event("control", "warning", state="off", error=f"{what}: {reason}", remedy="make its folder, or say --control off")
            return
        self._state = StateFile(state_path(path), inspector)

    async def start(self) -> None:
        """Listen; whoever asks from now on is answered, and the state file is there."""
        if self._control is not None:
            await self._control.start()
        self.keep()

    async def run(self) -> None:
        """Write the state down again and again."""
        while self._state is not None:
            await asyncio.sleep(EVERY_S)
            self._state.write()

    def keep(self) -> None:
        """Write down how things stand now."""
        if self._state is not None:
            self._state.write()

    def end(self, reason: str, status: int, why: str = "") -> None:
        """Write down how it ended, and why its status is not 0, and take the socket away."""
        if self._state is not None:
            self._state.end(reason, status, why)
        self.close()

    def close(self) -> None:
        """Take the socket away."""
        if self._control is not None:
            self._control.close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's sockets. Or the daemon would seem to live when it does not."""
        if self._control is not None:
            self._control.abandon()
