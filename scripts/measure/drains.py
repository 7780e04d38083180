"""
Frames drained from a TAP by drivers of each kind, warm and cold, short frames and long, against the bare C loop.

Next: `growth.py`, what more bindings, a larger pool and a million frames cost.
"""

from __future__ import annotations

from collections.abc import Callable

from contest import Found, Setting, contest
from readers import Counter, Keeper, Reader, batch_drivers, compiled_counter, has_batches
from taps import Tap

from vnic import ProtocolDriver


def kinds() -> dict[str, Callable[[], list[ProtocolDriver]]]:
    """Who is bound."""
    found: dict[str, Callable[[], list[ProtocolDriver]]] = {"no driver": list}
    compiled = compiled_counter()
    if compiled is not None:
        found["compiled counter"] = lambda: [compiled()]
    if has_batches():
        found["two batch drivers"] = batch_drivers
    found["two Python drivers, nothing kept"] = lambda: [Counter(), Counter()]
    found["two Python drivers, one keeps and returns"] = lambda: [Counter(), Keeper()]
    return found


def measure(setting: Setting) -> list[Found]:
    """Every kind, at every size, warm and cold."""
    answers: list[Found] = []
    drivers = kinds()
    for size in setting.sizes:
        tap = Tap(size, setting.cold, clock=setting.clock)
        readers = {name: Reader(tap.fd, make(), clock=setting.clock) for name, make in drivers.items()}
        for heat, burst in (("warm", setting.warm), ("cold", setting.cold)):
            frames = max(setting.frames, burst)
            found = contest(
                tap,
                tap.drain,
                {name: reader.drain for name, reader in readers.items()},
                rounds=setting.rounds,
                frames=frames,
                burst=burst,
                tolerance=setting.tolerance,
            )
            for name, figure in found.items():
                figure.name = f"drain {size} B {heat}, {name}"
                answers.append(figure)
        for reader in readers.values():
            reader.close()
        tap.close()
    return answers
