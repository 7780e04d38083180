"""
What the contract forbids in a state of the graph, and by which rule it is refused; the rules stand here by their ids, from the contract.

After each refusal all that can be seen of the world is what `World.check` saw before.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from property.graph_world import FRAME, Action, World
from property.ownership_graph import FREE, OWNED, Kind

from vnic import ContractViolation, PacketPool, Status, slot_size_for


def broken_by(action: Action) -> ContractViolation | None:
    """Act; answers what it broke."""
    try:
        action()
    except ContractViolation as broken:
        return broken
    return None


class Forbidden:
    """
    Everything that is illegal in the world as it is; to be tried after `World.check`.

    Attributes:
        refused: how many illegal actions were tried, and refused.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.foreign = PacketPool(1, slot_size_for(1500), name="foreign")
        self.refused = 0

    def everything(self) -> None:
        """Try everything that is illegal in this state; each is refused by its rule, and nothing has changed."""
        world = self.world
        for index in range(world.shape.packets):
            for rule, action in self.illegal(index):
                self.refuse(rule, action)
            self.returns(index)
        if not world.stack:
            assert world.pool.allocate() is None
            assert world.seen() == world.checked
        if any(place != FREE for place in world.places):
            self.refuse("39", world.pool.close)

    def refuse(self, rule: str, action: Action, culprit: str | None = None) -> None:
        """Act; it is refused by a rule, and nothing has changed since the last check."""
        broken = broken_by(action)
        assert broken is not None, f"not refused, but rule {rule} is broken"
        assert broken.rule.id == rule
        assert culprit is None or broken.driver == culprit
        assert self.world.seen() == self.world.checked
        self.refused += 1

    def returns(self, index: int) -> None:
        """Every return that nobody owes names its rule and its culprit; so does a look at scratch bytes of a packet that is not held."""
        world = self.world
        packet, place, promised = world.packets[index], world.places[index], world.promised[index]
        for number, binding in enumerate(world.bindings):
            give_back = partial(binding.return_packets, [packet])
            if place.kind is Kind.SHOWN and number == len(place.owed):
                # it is being asked: its scratch bytes are its own meanwhile
                self.refuse("02", give_back, binding.name)
                self.refuse("03", partial(world.elsewhere.do, give_back), binding.name)
                continue
            if place.kind < Kind.HELD:
                self.refuse("05", give_back, binding.name)
            elif number >= len(place.owed) or not place.owed[number]:
                has_promised = number < len(promised) and promised[number]
                self.refuse("01" if has_promised else "04", give_back, binding.name)
            else:
                continue
            self.refuse("15", partial(binding.reserved, packet), binding.name)

    def illegal(self, index: int) -> Iterator[tuple[str, Action]]:
        """What must not be done with a packet where it is, and by which rule; returns apart."""
        world = self.world
        packet, kind, adapter, pool = world.packets[index], world.places[index].kind, world.adapter, world.pool
        sender = world.bindings[index % world.shape.bindings]
        yield "53", lambda: adapter.send_complete(packet, Status.SUCCESS)
        yield "50", lambda: adapter.transfer_data_complete(packet, Status.SUCCESS, 0)
        yield "35", lambda: self.foreign.free(packet)
        if kind is Kind.OWNED:
            yield "17", lambda: adapter.indicate([packet, packet])
            return
        free = kind is Kind.FREE
        owned = [other for other, place in zip(world.packets, world.places, strict=True) if place == OWNED]
        yield "30" if free else "34", lambda: pool.free(packet)
        yield "17", lambda: adapter.indicate([*owned, packet])
        yield "55" if free else "58", lambda: sender.send(packet)
        yield "55" if free else "58", lambda: sender.send_packets([packet])
        yield "07" if free else "34", lambda: packet.write(FRAME[:20])
        if free:
            yield "07", lambda: packet.data
