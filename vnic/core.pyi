"""Types of the compiled data path; checked against it by stubtest, in both modes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

from typing_extensions import Buffer as _Buffer

from vnic.driver import MiniportDriver, ProtocolDriver
from vnic.filters import PacketFilter
from vnic.states import PacketState
from vnic.status import Status

PROTOCOL_RESERVED_SIZE_IN_PACKET: Final[int]
MAX_PACKETS: Final[int]
MAX_BINDINGS: Final[int]
MAX_BUDGET: Final[int]
COMPILED: Final[bool]
LOOPBACK: Final[int]

def slot_size_for(mtu: int) -> int: ...

@final
class Packet:
    pool: PacketPool
    index: int
    generation: int
    references: int
    views: int
    flags: int
    time_received: int
    length: int
    @property
    def state(self) -> PacketState: ...
    status: Status
    @property
    def data(self) -> memoryview: ...
    @property
    def ethertype(self) -> int: ...
    def write(self, frame: _Buffer) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class PacketPool:
    name: str
    capacity: int
    slot_size: int
    reserved_size: int
    low_water: int
    allocations: int
    exhausted: int
    def __init__(self, capacity: int, slot_size: int = ..., *, reserved_size: int = ..., name: str = ...) -> None: ...
    @property
    def available(self) -> int: ...
    @property
    def usage(self) -> int: ...
    def allocate(self) -> Packet | None: ...
    def free(self, packet: Packet) -> None: ...
    def audit(self) -> dict[PacketState, int]: ...
    def packets(self) -> tuple[Packet, ...]: ...
    def close(self) -> None: ...

@final
class Binding:
    adapter: Adapter
    driver: ProtocolDriver
    name: str
    delivered: int
    resources: int
    promised: int
    returned: int
    errors: int
    violations: int
    sends_pending: int
    closing: bool
    closed: bool
    slot: int
    packet_filter: PacketFilter
    multicast_list: tuple[bytes, ...]
    @property
    def held(self) -> int: ...
    @property
    def address(self) -> bytes: ...
    @property
    def mtu(self) -> int: ...
    @property
    def network_addresses(self) -> tuple[str, ...]: ...
    def owed(self, packet: Packet) -> int: ...
    def reserved(self, packet: Packet) -> memoryview: ...
    def return_packets(self, packets: Iterable[Packet]) -> None: ...
    def send(self, packet: Packet) -> Status: ...
    def send_packets(self, packets: Iterable[Packet]) -> None: ...

@final
class Adapter:
    name: str
    pool: PacketPool
    miniport: MiniportDriver
    address: bytes
    mtu: int
    low_water: int
    verifier_level: int
    network_addresses: tuple[str, ...]
    def __init__(
        self,
        pool: PacketPool,
        miniport: MiniportDriver,
        *,
        name: str = ...,
        address: bytes = ...,
        mtu: int = ...,
        low_water: int | None = ...,
        send_queue: int = ...,
        network_addresses: Sequence[str] = ...,
        verifier_level: int = ...,
        report: Callable[[str, dict[str, Any]], None] | None = ...,
    ) -> None: ...
    @property
    def bindings(self) -> tuple[Binding, ...]: ...
    @property
    def fd(self) -> int: ...
    @property
    def link_up(self) -> bool: ...
    @property
    def halted(self) -> bool: ...
    @property
    def send_blocked(self) -> bool: ...
    def attach(self, fd: int, on_blocked: Callable[[], None] | None = ...) -> None: ...
    def open(self, driver: ProtocolDriver, name: str) -> Binding: ...
    def close(self, binding: Binding) -> Status: ...
    def reclaim(self, binding: Binding) -> int: ...
    def receive_batch(self, budget: int = ...) -> int: ...
    def indicate(self, packets: Sequence[Packet]) -> None: ...
    def send_complete(self, packet: Packet, status: Status) -> None: ...
    def flush(self) -> int: ...
    def indicate_status(self, status: Status) -> None: ...
    def halt(self) -> None: ...
    def counters(self) -> dict[str, int]: ...
