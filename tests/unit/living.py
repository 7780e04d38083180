"""
Drivers and a miniport that remember what happens in their lives, and answer by a script.
"""

from __future__ import annotations

from typing import Any

from unit.wire import Miniport, Sender

from vnic import Adapter, Packet, Status
from vnic.pnp import DeviceEvent, PnpEvent
from vnic.request import Request


class Alive(Sender):
    """
    Write every call of the life cycle down.

    Attributes:
        log: the calls, with what they were told.
        bind, unbind, power: what the handlers answer; a function is called for the answer.
    """

    def __init__(self, answer: Any = 0, *, bind: Any = None, unbind: Any = None, power: Any = None) -> None:
        super().__init__(answer)
        self.log: list[Any] = []
        self.bind, self.unbind, self.power = bind, unbind, power

    def bind_adapter(self) -> Any:
        """Answer by the script."""
        return self.bind() if callable(self.bind) else self.bind

    def unbind_adapter(self) -> Any:
        """Answer by the script."""
        self.log.append("unbind")
        return self.unbind() if callable(self.unbind) else self.unbind

    def close_complete(self) -> None:
        """It is over."""
        self.log.append("closed")

    def request_complete(self, request: Request, status: Status) -> None:
        """A request is over."""
        self.log.append(("request", status))

    def status(self, status: Status, buffer: bytes) -> None:
        """Something happened."""
        self.log.append((status.name, buffer) if buffer else status.name)

    def status_complete(self) -> None:
        """That was all."""
        self.log.append("complete")

    def reset_complete(self, status: Status) -> None:
        """The reset is over."""
        self.log.append(("reset", status))

    def pnp_event(self, event: PnpEvent) -> Any:
        """Answer by the script."""
        self.log.append(event)
        return self.power() if callable(self.power) else self.power


class Nic(Miniport):
    """
    A miniport that has every handler of the life cycle.

    Attributes:
        adapter: to be set by the test.
        log: the calls, with what they were told.
        starts, resets, hangs: what the handlers answer; a function is called for the answer.
        sending: packets whose sends are pending.
    """

    adapter: Adapter

    def __init__(self, *, starts: Any = Status.SUCCESS, resets: Any = (Status.SUCCESS, False), hangs: Any = False) -> None:
        super().__init__()
        self.log: list[Any] = []
        self.told: list[tuple[int, bytes]] = []
        self.starts, self.resets, self.hangs = starts, resets, hangs
        self.sending: list[Packet] = []
        self.set_answer = Status.SUCCESS

    def initialize(self) -> Any:
        """Answer by the script."""
        self.log.append("initialize")
        return self.starts() if callable(self.starts) else self.starts

    def halt(self) -> None:
        """It is over."""
        self.log.append("halt")

    def reset(self) -> Any:
        """Answer by the script."""
        self.log.append("reset")
        return self.resets() if callable(self.resets) else self.resets

    def check_for_hang(self) -> Any:
        """Answer by the script."""
        self.log.append("hang?")
        return self.hangs() if callable(self.hangs) else self.hangs

    def shutdown(self) -> None:
        """The machine goes down."""
        self.log.append("shutdown")

    def pnp_event_notify(self, event: DeviceEvent) -> None:
        """The device goes."""
        self.log.append(event)

    def send(self, packet: Packet) -> Status:
        """Keep it."""
        self.sending.append(packet)
        return Status.PENDING

    def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        """Remember."""
        self.told.append((oid, data))
        return self.set_answer, len(data), 0

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        """Answer the address, and PENDING to what nobody asks."""
        self.log.append(oid)
        if oid < 0x100:
            return Status.PENDING, 0, 0
        buffer[:4] = bytes(4)
        return Status.SUCCESS, 4, 0
