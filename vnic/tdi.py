"""
The upper edge of a transport: how it shows a received packet to its clients, and how they return it without it.

A transport is the highest protocol driver of a stack; a client is whoever opened an endpoint of it. A client that answers PENDING
keeps the packet itself and returns it by `return_chained_receives`, which goes straight to the binding; the transport only
answers, from its `receive_packet`, how many did so:

    def receive_packet(self, packet: Packet) -> int:
        return self.upcalls.chained(self.endpoints, packet, offset, length, source)

A packet shown with status RESOURCES cannot be kept by anybody: the transport copies it in `receive`, and clients hear of it from
`receive_complete` on.

Next: `protocol/udp.py`, a transport.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

from vnic.driver import handler
from vnic.status import ContractViolation, OwnershipError, Status
from vnic.verifier import rules

if TYPE_CHECKING:
    from vnic.core import Binding, Packet, PacketPool
    from vnic.verifier.rules import Rule

    Key = tuple[PacketPool, int, int]


class Client:
    """
    Base of every client; define what is of use. Each datagram comes through exactly one of the first three handlers, and is whole.

    They run on the thread on which the transport receives: what takes long belongs on a thread of the client's own. One that
    raises has not accepted; it is counted and reported under the transport's name.

    NDIS: the event handlers of a TDI client; TDI-02, TDI-06.
    """

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Any) -> Status:
        """
        Look at a datagram where it lies: `tsdu.data[offset : offset + length]`, read-only.

        Args:
            tsdu: the packet that was received, the same one for every client.
            offset: where the datagram begins in it.
            length: its bytes.
            source: who sent it, in the transport's terms.

        Returns:
            SUCCESS: copied, done. PENDING: the packet is kept and owed one `return_chained`, from any thread. NOT_ACCEPTED: of no
            interest. A client that leaves this handler alone gets copies through `receive`.

        NDIS: ClientEventChainedReceive, ClientEventChainedReceiveDatagram; TDI-01, TDI-02.
        """
        return Status.NOT_ACCEPTED

    def receive(self, data: bytes, source: Any) -> Status:
        """
        Take a copy of a datagram that nobody could keep; answer SUCCESS or NOT_ACCEPTED.

        NDIS: ClientEventReceive, ClientEventReceiveDatagram; TDI-05.
        """
        return Status.NOT_ACCEPTED

    def received(self, buffer: memoryview, length: int, source: Any) -> None:
        """
        Take a posted buffer back: a datagram of `length` bytes has been copied into it, cut if the buffer is shorter.

        NDIS: the completion of TDI_RECEIVE_DATAGRAM; TDI-06.
        """

    def closing(self) -> None:
        """Return every kept packet now: the transport closes. What is still kept afterwards is taken back by force (rule 60)."""

    def return_chained(self, tsdus: Iterable[Packet]) -> None:
        """Return packets that this client keeps; the transport that showed them to it is charged. See `return_chained_receives`."""
        return_chained_receives(tsdus, self)


class Endpoint:
    """
    One client at one address of a transport, made by the transport.

    Attributes:
        client: who is called.
        address: where, in the transport's terms.
        held: packets that it keeps now.
    """

    def __init__(self, client: Client, address: Any) -> None:
        self.client = client
        self.address = address
        self.held = 0
        self.closed = False
        self._chained = handler(client, Client, "chained_receive")
        self._posted: deque[memoryview] = deque()

    def post(self, buffer: bytearray | memoryview) -> None:
        """
        Lend a buffer for the next datagram; it comes back through `received`, and no other handler is called for that datagram.

        Raises:
            ValueError: the buffer is read-only.

        NDIS: TDI_RECEIVE_DATAGRAM; TDI-06.
        """
        view = memoryview(buffer).cast("B")
        if view.readonly:
            raise ValueError("a posted buffer must be writable")
        self._posted.append(view)

    def _take_posted(self) -> memoryview | None:
        try:
            return self._posted.popleft()
        except IndexError:
            return None


class Upcalls:
    """
    A transport's calls to its clients, and the account of what they keep. Made in `bind_adapter`, closed in `unbind_adapter`.

    A client, or its thread, may return a packet before the transport has answered: the transport has `early_returns = True`.

    Args:
        binding: the transport's; returns by its clients are charged to it.
        backlog: datagrams, at most, that wait as copies for the end of a batch.

    Attributes:
        delivered: datagrams that at least one client took.
        refused: datagrams that no client took.
        lost: datagrams copied for later and dropped: too many waited, or the transport closed.
    """

    def __init__(self, binding: Binding, backlog: int = 64) -> None:
        self.binding = binding
        self.limit = backlog
        self.delivered = self.refused = self.lost = 0
        self._ledger = binding.adapter.requests.ledger
        # by the key of the packet: what was taken by force must not be referred to from here
        self._kept: dict[Key, list[Endpoint]] = {}
        # each thread that reads a queue has batches of its own, and so copies of its own
        self._backlog: dict[int, deque[tuple[tuple[Endpoint, ...], bytes, Any]]] = {}
        with _lock:
            # what a transport left behind whose packets were taken by force
            _opened[:] = [one for one in _opened if not one.binding.closed] + [self]

    @property
    def held(self) -> int:
        """Returns that clients still owe."""
        with _lock:
            return sum(map(len, self._kept.values()))

    @property
    def waiting(self) -> int:
        """Copies that wait for `deliver`."""
        with _lock:
            return self._waiting()

    def chained(self, endpoints: Iterable[Endpoint], packet: Packet, offset: int, length: int, source: Any) -> int:
        """
        Show the packet itself to clients, from inside `receive_packet`.

        Returns:
            How many keep it: what `receive_packet` is to answer. Each returns it on its own; the transport must not.

        Raises:
            ContractViolation: the packet has status RESOURCES (rule 10): copy it, and give the copy to `later`.

        NDIS: TDI-01 to TDI-04.
        """
        if packet.status == Status.RESOURCES:
            raise self._ledger.violation(rules.RETAIN_ON_RESOURCES, self.binding, f"{packet!r} is shown to clients, who may keep it")
        answers = [self._show(endpoint, packet, offset, length, source) for endpoint in tuple(endpoints) if not endpoint.closed]
        self._count(any(answer is not Status.NOT_ACCEPTED for answer in answers))
        return answers.count(Status.PENDING)

    def later(self, endpoints: Iterable[Endpoint], data: bytes, source: Any) -> None:
        """
        Keep a copy of a datagram until `deliver`, from inside `receive`: clients must not hear of it before.

        NDIS: TDI-05; RX-44.
        """
        with _lock:
            if self._waiting() >= self.limit:
                self.lost += 1
                return
            self._backlog.setdefault(get_ident(), deque()).append((tuple(endpoints), data, source))

    def deliver(self) -> None:
        """Hand the copies that were made on this thread to clients, in order, from inside `receive_complete`."""
        with _lock:
            backlog = self._backlog.get(get_ident(), ())
            count = len(backlog)
        for _ in range(count):
            with _lock:
                if not backlog:
                    # it was closed meanwhile
                    return
                endpoints, data, source = backlog.popleft()
                if not backlog:
                    del self._backlog[get_ident()]
            answers = [self._hand(endpoint, data, source) for endpoint in endpoints if not endpoint.closed]
            self._count(Status.SUCCESS in answers)

    def close(self, endpoints: Iterable[Endpoint]) -> None:
        """Tell clients to return what they keep; what they do not return stays owed by the binding, which cannot close then."""
        for client in {id(endpoint.client): endpoint.client for endpoint in endpoints}.values():
            try:
                client.closing()
            except BaseException as error:
                self._failed(client, "closing", error)
        with _lock:
            self.lost += self._waiting()
            for backlog in self._backlog.values():
                backlog.clear()
            self._backlog.clear()
            self._leave()

    def _waiting(self) -> int:
        return sum(map(len, self._backlog.values()))

    def _show(self, endpoint: Endpoint, packet: Packet, offset: int, length: int, source: Any) -> Status:
        if endpoint._chained is None or endpoint._posted:
            return self._hand(endpoint, bytes(packet.data[offset : offset + length]), source)
        with _lock:
            # before the call: a client, or its thread, may return the packet before it has answered
            self._kept.setdefault(key_of(packet), []).append(endpoint)
            endpoint.held += 1
        answer: object = Status.NOT_ACCEPTED
        try:
            answer = endpoint._chained(packet, offset, length, source)
        except BaseException as error:
            self._failed(endpoint.client, "chained_receive", error)
        if answer is Status.PENDING:
            return Status.PENDING
        with _lock:
            kept = self._take(packet, endpoint=endpoint)
        if not kept:
            # it has returned the packet already, so it had kept it, whatever it says now
            return Status.PENDING
        return self._known(endpoint, answer)

    def _hand(self, endpoint: Endpoint, data: bytes, source: Any) -> Status:
        """Give a copy to a client: into its posted buffer, if there is one."""
        client, buffer = endpoint.client, endpoint._take_posted()
        try:
            if buffer is None:
                return self._known(endpoint, client.receive(data, source))
            size = min(len(data), len(buffer))
            buffer[:size] = data[:size]
            client.received(buffer, len(data), source)
            return Status.SUCCESS
        except BaseException as error:
            self._failed(client, "receive" if buffer is None else "received", error)
            return Status.NOT_ACCEPTED

    def _known(self, endpoint: Endpoint, answer: object) -> Status:
        if answer is Status.SUCCESS or answer is Status.NOT_ACCEPTED:
            return answer
        kind = answer.name if isinstance(answer, Status) else f"a {type(answer).__name__}"
        self._ledger.violation(rules.ILLEGAL_ANSWER, self.binding, f"its client {name_of(endpoint.client)} answered {kind}")
        return Status.NOT_ACCEPTED

    def _count(self, taken: bool) -> None:
        with _lock:
            self.delivered += taken
            self.refused += not taken

    def _failed(self, client: Client, handler: str, error: BaseException) -> None:
        self._ledger.failed(self.binding, f"{handler} of client {name_of(client)}", error)

    def _take(self, packet: Packet, client: Client | None = None, endpoint: Endpoint | None = None) -> bool:
        """Strike out one return of a packet: by an endpoint, by any of a client, or by anybody; False if none is owed."""
        for one in self._kept.get(key_of(packet), ()):
            if one is endpoint or (endpoint is None and (client is None or one.client is client)):
                self._strike(key_of(packet), one)
                return True
        return False

    def _strike(self, key: Key, endpoint: Endpoint) -> None:
        keepers = self._kept[key]
        keepers.remove(endpoint)
        endpoint.held -= 1
        if not keepers:
            del self._kept[key]
            self._leave()

    def _leave(self) -> None:
        """Forget a transport that closes, when its clients have returned everything."""
        if not self._kept and self.binding.closing and self in _opened:
            _opened.remove(self)


def key_of(packet: Packet) -> Key:
    """What a packet and the frame in it are known by, without a reference to the packet."""
    return packet.pool, packet.index, packet.generation


_lock = Lock()
_opened: list[Upcalls] = []
"""Of every transport that is open, or whose clients still keep packets."""


def return_chained_receives(tsdus: Iterable[Packet], client: Client | None = None) -> None:
    """
    Give up one reference of each packet that a client keeps; it goes straight to the binding of the transport that showed it.

    Every legal return is made, even if another one is refused. From any thread; the transport hears nothing of it.

    Args:
        tsdus: the packets; one may stand there several times.
        client: who returns. Without it, and if clients of several transports keep the packet, the transport that was bound first
            is charged: `client.return_chained` is exact.

    Raises:
        OwnershipError: no client, or not this one, keeps a packet (rules 01, 04, 05), or its transport is closed (rule 98); the
            first such is named, its state is untouched.

    NDIS: TdiReturnChainedReceives; TDI-04.
    """
    first: ContractViolation | None = None
    for packet in tsdus:
        try:
            _return_one(packet, client)
        except ContractViolation as error:
            first = first or error
    if first is not None:
        raise first


def _return_one(packet: Packet, client: Client | None) -> None:
    with _lock:
        # an open transport first: what a closed one has on its account was taken by force
        upcalls = next((one for one in sorted(_opened, key=lambda one: one.binding.closed) if one._take(packet, client)), None)
    if upcalls is None:
        raise _refused(packet, client)
    upcalls.binding.return_packets((packet,))


def _refused(packet: Packet, client: Client | None) -> ContractViolation:
    """A return that is not owed: counted and reported for the transport that shows packets of this pool, if there is one."""
    with _lock:
        candidates = [one for one in _opened if not one.binding.closed and one.binding.adapter.pool is packet.pool]
        charged = next((one for one in candidates if key_of(packet) in one._kept), candidates[0] if candidates else None)
        others_keep = charged is not None and key_of(packet) in charged._kept
    rule: Rule = rules.DOUBLE_RETURN if others_keep else rules.WRONG_BINDING if packet.references else rules.OVER_RETURN
    who = f"client {name_of(client)}" if client is not None else "a client"
    if charged is not None:
        return charged._ledger.violation(rule, charged.binding, f"its {who} returns {packet!r}, which it does not keep")
    return OwnershipError(rule, who, f"{packet!r} is returned")


def name_of(client: Client) -> str:
    """How a client is named in reports."""
    return type(client).__name__
