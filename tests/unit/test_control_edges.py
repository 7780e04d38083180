"""
The control socket at the edges: many who ask at once, changes that are refused, numbers that JSON does not have.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from unit.inspecting import OWNER, stack_on, with_control
from unit.test_control import ask, log_to, request

from miniport.errors import Exit
from protocol.sink import Sink

if TYPE_CHECKING:
    from pathlib import Path

    from miniport.control import Control
    from tests.unit.conftest import Wire


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the socket is."""
    return tmp_path / "test0.sock"


def test_many_who_ask_at_once_leave_as_much_time_to_others_as_one(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        spent = 0.0

        def busy(_: object) -> dict[str, Any]:
            nonlocal spent
            begun = time.thread_time()
            while time.thread_time() < begun + 0.005:
                pass
            spent += time.thread_time() - begun
            return {}

        served._views["show"] = busy
        begun = time.monotonic()
        await asyncio.gather(*[ask(path, *[request("show")] * 4) for _ in range(6)])
        # after the last answer nobody waits for the rest
        assert spent < (time.monotonic() - begun + 0.04) / 5

    with_control(path, stack_on(wire, Sink()), body)


def test_a_change_that_was_refused_is_not_logged_as_one(wire: Wire, path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def body(served: Control) -> None:
        for refused in (
            request("verify_set", level="9"),
            request("verify_rule", rule="08", action="x"),
            request("verify_inject", mode="x"),
        ):
            assert (await served.answer(refused, OWNER))["error"]["code"] == Exit.USAGE
        assert "result" in await served.answer(request("verify_set", level="1"), OWNER)

    with_control(path, stack_on(wire), body, log_to(log))
    (event,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (event["verb"], event["with"]) == ("verify set", {"level": "1"})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_of_a_request_that_json_does_not_have_is_not_given_back(number: str, wire: Wire, path: Path) -> None:
    async def body(_: Control) -> None:
        (answer,) = await ask(path, f'{{"id":{number},"method":"version"}}\n'.encode())
        assert answer["id"] is None
        assert answer["result"]["protocol"] == 1

    with_control(path, stack_on(wire), body)
