"""
What ownership must look like, in the plainest Python: written from the table of states and the packet contract only.

The model never asks the library anything. It answers what an action must do: nothing, or break a rule and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vnic.states import BROKEN, LEGAL, Event, PacketState
from vnic.verifier import rules

S, E = PacketState, Event


class Broken(Exception):
    """The action breaks a rule."""

    def __init__(self, rule: rules.Rule) -> None:
        super().__init__(rule.id)
        self.rule = rule


@dataclass
class ModelPacket:
    """
    One packet.

    Attributes:
        promised: returns promised for this indication, by binding.
        returned: returns made of it, by binding.
        views: views that live.
        before: those of them that lived when the packet was indicated: they are nobody's fault above.
        frame: what a look at it must show.
        sent: whether it was sent since it was allocated.
    """

    index: int
    state: PacketState = S.FREE
    generation: int = 0
    promised: dict[int, int] = field(default_factory=dict)
    returned: dict[int, int] = field(default_factory=dict)
    views: int = 0
    before: int = 0
    frame: bytes = b""
    sent: bool = False

    @property
    def references(self) -> int:
        """Returns still owed."""
        return sum(self.promised.values()) - sum(self.returned.values())

    def owed(self, binding: int) -> int:
        """Returns that one binding still owes."""
        return self.promised.get(binding, 0) - self.returned.get(binding, 0) if self.state is S.INDICATED else 0

    def step(self, event: Event) -> None:
        """Take an edge of the table, or break the rule that stands where there is none."""
        after = LEGAL.get((self.state, event))
        if after is None:
            raise Broken(BROKEN[self.state, event])
        self.state = after


class Model:
    """A pool, a miniport that keeps what comes back, and bindings that promise what they are told to."""

    def __init__(self, packets: int, bindings: int) -> None:
        self.packets = [ModelPacket(index) for index in range(packets)]
        self.bindings = range(bindings)
        self.stack = list(reversed(range(packets)))
        self.came_back: list[int] = []
        self.indicated = self.returned = self.submitted = self.completed = self.violations = 0
        self.promised = [0] * bindings
        self.given_back = [0] * bindings

    def allocate(self) -> ModelPacket | None:
        """Last in, first out; None if all are out."""
        if not self.stack:
            return None
        packet = self.packets[self.stack.pop()]
        packet.step(E.ALLOCATE)
        packet.generation += 1
        packet.frame = b""
        packet.sent = False
        packet.promised, packet.returned = {}, {}
        return packet

    def free(self, packet: ModelPacket) -> None:
        """Back on the stack; or withheld, while a view lives."""
        if packet.state is S.OWNED and packet.views:
            packet.step(E.QUARANTINE)
            return
        packet.step(E.FREE)
        self.stack.append(packet.index)

    def drop_view(self, packet: ModelPacket) -> None:
        """The last view of a withheld packet gives it back."""
        packet.views -= 1
        if packet.views == 0 and packet.state is S.QUARANTINED:
            packet.step(E.RELEASE)
            self.stack.append(packet.index)

    def indicate(self, packet: ModelPacket, answers: list[int]) -> None:
        """SUCCESS: whoever answers more than 0 holds the packet; if nobody does, it comes back at once."""
        packet.step(E.INDICATE)
        self.indicated += 1
        packet.before = packet.views
        packet.promised = {binding: answer for binding, answer in enumerate(answers) if answer}
        packet.returned = dict.fromkeys(packet.promised, 0)
        for binding, answer in enumerate(answers):
            self.promised[binding] += answer
        if not packet.references:
            self.home(packet)

    def lend(self, packet: ModelPacket, answers: list[int]) -> None:
        """RESOURCES: nobody holds it, and to promise anything breaks a rule."""
        packet.step(E.LEND)
        self.violations += sum(answer != 0 for answer in answers)
        packet.step(E.RECLAIM)

    def give_back(self, binding: int, packet: ModelPacket) -> None:
        """One return; the last one brings the packet home."""
        if packet.state is not S.INDICATED:
            raise Broken(rules.OVER_RETURN)
        if binding not in packet.promised:
            raise Broken(rules.WRONG_BINDING)
        if not packet.owed(binding):
            raise Broken(rules.DOUBLE_RETURN)
        packet.returned[binding] += 1
        self.given_back[binding] += 1
        if not packet.references:
            self.home(packet)

    def home(self, packet: ModelPacket) -> None:
        """Back to the miniport, through return_packet; a view taken meanwhile that lives then is a broken rule, told but not refused."""
        packet.step(E.RECLAIM)
        self.returned += 1
        self.violations += packet.views > packet.before
        self.came_back.append(packet.index)

    def send(self, packet: ModelPacket) -> None:
        """Down, and pending."""
        packet.step(E.SEND)
        packet.sent = True
        self.submitted += 1

    def complete(self, packet: ModelPacket) -> None:
        """The sender's again; to complete what was sent and is over is another rule than to complete what never was."""
        if packet.state is not S.SENDING and not packet.sent:
            raise Broken(rules.NOT_SENT)
        packet.step(E.COMPLETE)
        self.completed += 1

    def audit(self) -> dict[PacketState, int]:
        """How many packets are in each state."""
        return {state: sum(packet.state is state for packet in self.packets) for state in S}
