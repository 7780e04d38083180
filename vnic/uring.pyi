"""Types of reading by io_uring; checked against it by stubtest, in both modes."""

from typing import Final, final

from vnic.core import PacketPool

ROUNDS: Final[int]
CALLS: Final[int]

@final
class Uring:
    pool: PacketPool
    fd: int
    def __init__(self, fd: int, pool: PacketPool) -> None: ...
    @property
    def calls(self) -> int: ...
    @property
    def reads(self) -> int: ...
    @property
    def broken(self) -> int: ...
    def close(self, *, shared: bool = ...) -> None: ...

def can_wait_for_none(ring: Uring) -> int: ...
def race() -> tuple[float, float]: ...
