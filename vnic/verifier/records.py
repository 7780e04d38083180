"""
The record of a broken rule: who, which rule, with which packet, from which line. One JSON object; the last 256 are kept.

Everything in it is printable ASCII, cut to a bounded size; bytes of a frame are shown only where that was allowed.

Next: `vnic/ledger.py`, which makes most of them.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vnic.context import here
from vnic.steps import now_ns
from vnic.text import escape
from vnic.verifier.actions import action_of
from vnic.verifier.throttle import Throttle

if TYPE_CHECKING:
    from vnic.core import Binding, Packet
    from vnic.status import ContractViolation
    from vnic.steps import Step

VERSION = 1
KEPT = 256
LONGEST_TEXT = 240
MOST_ITEMS = 16
FIRST_BYTES = 64

Record = dict[str, Any]


class Records:
    """
    The last records, oldest first, and how many there were.

    Attributes:
        show_bytes: whether a record may have the first bytes of a frame.
        suppressed: broken rules that were not written down, because ten alike were within the same second.
        counts: how often each rule was broken, by its id, written down or not.
        listener: called with each record of a rule that was broken where no adapter was at hand.
        seed: that of the faults that are provoked now, or None.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.show_bytes = False
        self.suppressed = 0
        self.counts: Counter[str] = Counter()
        self.listener: Callable[[Record], None] | None = None
        self.seed: int | None = None
        self._ring: deque[Record] = deque(maxlen=kept)
        self._sequence = 0
        self._throttle = Throttle()
        self._lock = threading.RLock()

    def write(
        self,
        error: ContractViolation,
        *,
        where: Callable[[], str],
        binding: Binding | None = None,
        packet: Packet | None = None,
        adapter: str | None = None,
        severity: str | None = None,
        more: Record | None = None,
    ) -> Record | None:
        """
        Write a broken rule down.

        Args:
            error: the rule, whose fault it is, and what happened.
            where: finds the culprit's line of code; called only if the record is written.
            binding: the culprit, if it is a driver.
            packet: the packet that it is about.
            adapter: the name of the adapter.
            severity: "warning" or "error"; by default the rule's own.
            more: further keys.

        Returns:
            The record; None if ten alike were written within this second.
        """
        rule = error.rule
        with self._lock:
            self.counts[rule.id] += 1
            earlier = self._throttle.allow((rule.id, error.driver))
            if earlier is None:
                self.suppressed += 1
                return None
            self._sequence += 1
            sequence = self._sequence
        record: Record = {
            "v": VERSION,
            "seq": sequence,
            "rule": rule.name,
            "id": rule.id,
            "class": rule.cls,
            "action": action_of(rule),
            "severity": severity or rule.severity,
            "t_wall": round(time.time(), 6),
            "t_mono_ns": now_ns(),
            "pid": os.getpid(),
            "tid": threading.get_native_id(),
            "thread": escape(threading.current_thread().name)[:LONGEST_TEXT],
            "driver": escape(error.driver)[:LONGEST_TEXT],
            "detail": escape(error.detail)[:LONGEST_TEXT],
            "where": escape(where())[-LONGEST_TEXT:],
        }
        if adapter is not None:
            record["adapter"] = escape(adapter)
        if binding is not None:
            record |= {"binding": escape(binding.name), "owed": binding.held}
        if packet is not None:
            record |= told_of_packet(packet, self.show_bytes)
        record |= told_of_thread()
        if self.seed is not None:
            record["seed"] = self.seed
        if earlier:
            record["suppressed"] = earlier
        record |= (more or {}) | {"remedy": rule.remedy}
        with self._lock:
            self._ring.append(record)
        return record

    def all(self) -> list[Record]:
        """The records that are kept, the oldest first."""
        with self._lock:
            return list(self._ring)

    def find(self, sequence: int) -> Record | None:
        """One record, by its `seq`; None if it is not kept any more."""
        return next((record for record in self.all() if record["seq"] == sequence), None)

    def clear(self) -> None:
        """Forget the records, the counts, and what was suppressed."""
        with self._lock:
            self._ring.clear()
            self.counts.clear()
            self.suppressed = 0
            self._throttle = Throttle()

    def drain(self) -> dict[tuple[str, str], int]:
        """What was suppressed since the last record of the same rule and culprit, once: by rule id and culprit."""
        return dict(self._throttle.drain())


RECORDS = Records()


def told_of_packet(packet: Packet, show_bytes: bool) -> Record:
    """What a record says of a packet; nothing changes hands."""
    # a packet's module writes records, too, and so is not there yet when this one is read
    from vnic.facts import facts_of, first_bytes_of, holders_of

    pool, shown = packet.pool, packet.shown
    told: Record = {
        "pool": {"name": escape(pool.name), "tag": pool.protocol_id, "size": pool.capacity, "free": pool.available},
        "packet": facts_of(packet),
    }
    since = {} if shown is None else {"since_ns": shown.ns}
    holders = [{"binding": escape(name), "owed": owed} | since for name, owed in holders_of(packet)[:MOST_ITEMS]]
    if holders:
        told["holders"] = holders
    if holders and shown is not None:
        told["age_ns"] = now_ns() - shown.ns
    for key, step in (("alloc", packet.made), ("indicate", shown)):
        if step is not None:
            told[key] = {"site": escape(step.where)[-LONGEST_TEXT:], "t": step.ns}
    if packet.last is not None:
        told["last"] = told_of_step(packet.last)
    if packet.history:
        told["history"] = [told_of_step(step) for step in packet.history[-MOST_ITEMS:]]
    if show_bytes and (first := first_bytes_of(packet, FIRST_BYTES)):
        told["bytes_hex"] = first.hex()
    return told


def told_of_step(step: Step) -> Record:
    """One step of a packet."""
    told: Record = {"op": step.what, "by": escape(str(step.by))[:LONGEST_TEXT], "site": escape(step.where)[-LONGEST_TEXT:], "t": step.ns}
    if step.count:
        told["count"] = step.count
    if step.stack:
        told["stack"] = [escape(line)[-LONGEST_TEXT:] for line in step.stack[:MOST_ITEMS]]
    return told


def told_of_thread() -> Record:
    """What a record says of the thread on which it is made."""
    context = here()
    told: Record = {"irql": context.irql}
    if context.handler is not None:
        told["handler"] = context.handler
    if context.held:
        told["locks"] = [escape(repr(lock))[:LONGEST_TEXT] for lock in context.held[:MOST_ITEMS]]
    return told
