"""Types of waiting; checked against it by stubtest, in both modes."""

from typing import Final, final

from vnic.core import Adapter

POLLIN: Final[int]
POLLOUT: Final[int]
WOKEN: Final[int]
BUSY_POLL_US_MAX: Final[int]

@final
class Waiter:
    wake: int
    busy_polls: int
    leave: bool
    def __init__(self, wake: int) -> None: ...
    def wait(self, fd: int, wanted: int, busy_us: int = ...) -> int: ...
    def serve(self, adapter: Adapter, fd: int, budget: int, busy_us: int = ..., queue: int = ...) -> int: ...
