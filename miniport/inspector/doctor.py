"""
What is wrong, in words, each with the next command to type.

Next: `miniport/inspector/report.py`, everything on one page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING, Any

from miniport.inspector.places import held, sending, withheld
from miniport.inspector.subject import attribute
from miniport.inspector.text import count
from miniport.log import shown
from vnic import PacketState
from vnic.counters import broken_sums
from vnic.queue import LENT_BELOW
from vnic.verifier.faults import FAULTS
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miniport.inspector.subject import Subject
    from vnic import Binding

LONG_S = 5.0
"""From here on a packet that is held counts as forgotten, and a send as stuck."""
MUCH = 0.8
"""The part of its quota that a driver should not hold."""
ANSWERING = ("arp", "icmp_echo", "udp")
"""Drivers that answer for addresses. Of these, icmp_echo leaves ARP to others."""

Alert = dict[str, Any]


def doctor(subject: Subject) -> dict[str, Any]:
    """Every alert, the worst first; what is only worth knowing does not count as wrong."""
    found = alerts(subject)
    return {"name": subject.name, "wrong": sum(alert["level"] != "note" for alert in found), "alerts": found}


LOSSES = (
    (
        "if_tx_dropped",
        "queue",
        "the queue of {adapter} dropped {n} frames before they were read: drivers are slow, or bursts long",
        "ip link set {adapter} txqueuelen 10000",
    ),
    ("rx_dropped_no_packet", "no packet", "{adapter} dropped {n} frames because no packet was free", "vnic pending {name} --top 5"),
    ("rx_dropped_truncated", "truncated", "{adapter} dropped {n} frames longer than MTU {mtu}", "ip link set {adapter} mtu {mtu}"),
    ("rx_dropped_no_large", "no large", "{adapter} cut {n} superframes because no large buffer was free", "vnic pending {name} --top 5"),
    ("rx_dropped_header", "header", "{adapter} dropped {n} frames whose virtio header is wrong", "vnic stats {name}"),
    ("rx_segments_lost", "segments", "{adapter} lost {n} segments because views of all others are kept", "vnic leaks {name}"),
    ("tx_dropped_queue_full", "send queue", "{n} sends were refused because the send queue of {adapter} was full", "vnic stats {name}"),
    ("tx_dropped_offload", "offload", "{n} sends were refused because they asked {adapter} for what cannot be", "vnic stats {name}"),
)
"""What is lost: the counter, what it is about, in words, and what to type next."""


def alerts(subject: Subject) -> list[Alert]:
    """Look everywhere; the worst first."""
    found = [*_hanging(subject), *_rules(subject), *_links(subject), *_holders(subject), *_not_freed(subject)]
    found += [*_frames(subject), *_set_up(subject)]
    return sorted(found, key=lambda alert: ("error", "warning", "note").index(alert["level"]))


def alert(level: str, about: str, what: str, then: str) -> Alert:
    """Make one: how bad, what it is about in one word, what it is in words, and what to type next."""
    return {"level": level, "about": about, "what": what, "next": then}


def _hanging(subject: Subject) -> Iterator[Alert]:
    several = len(subject.data_threads) > 1
    for ident in subject.late:
        place = _place(subject, ident)
        at = f" in a driver, at {place}" if place else " busy"
        which = f"the data thread of queue {subject.data_threads.index(ident)}" if several else "the data thread"
        passes = "no frame of it passes" if several else "no frame passes"
        yield alert("error", "hang", f"{which} does not answer: it is{at}; {passes}", f"vnic threads {subject.asked_as}")
    for ident, ns in subject.hanging.items():
        if ident not in subject.late:
            what = f"a handler has not returned for {ns / 1e9:.1f} s, at {_place(subject, ident) or 'an unknown line'}"
            yield alert("error", "hang", what, f"vnic threads {subject.asked_as}")


def _place(subject: Subject, ident: int) -> str:
    """The line of a driver at which a thread is."""
    from miniport.inspector.running import line_of_driver

    return line_of_driver(subject, sys._current_frames().get(ident))


def _rules(subject: Subject) -> Iterator[Alert]:
    name = subject.asked_as
    for adapter, values in subject.counters.items():
        for line in broken_sums(values):
            yield alert("error", "sums", f"the counters of {adapter} do not add up: {line}", f"vnic verify audit {name}")
        blamed = sum(binding.violations for binding in subject.stack.bindings if binding.adapter.name == adapter)
        if (others := values["violations"] - blamed) > 0:
            times, last = count(others, "time", "times"), _last_rule("adapter", adapter)
            what = f"on {adapter} a rule was broken {times}, by the miniport or by a driver that is not bound any more{last}"
            yield alert("error", "violations", what, f"vnic violations {name}")
    for binding in subject.stack.bindings:
        if binding.violations:
            times = count(binding.violations, "time", "times")
            last = _last_rule("driver", binding.name)
            yield alert("error", "violations", f"binding {binding.name} broke a rule {times}{last}", f"vnic violations {name}")
        if (errors := subject.raised.by.get(id(binding), 0)) > 0:
            raised = count(errors, "exception", "exceptions")
            what = f"binding {binding.name} raised {raised}; the log has what each says, and its line"
            yield alert("error", "errors", what, f"vnic violations {name} --rule 84")
        if binding.closing and binding.held:
            what = f"binding {binding.name} is being unbound and still holds {count(binding.held, 'packet', 'packets')}"
            yield alert("warning", "closing", what, f"vnic leaks {name}")
    if strays := subject.raised.strays:
        raised = count(strays, "exception", "exceptions")
        what = f"outside of its handlers a driver raised {raised}, last {subject.raised.last}; the log has the lines"
        yield alert("error", "strays", what, f"vnic threads {name}")


def _last_rule(key: str, name: str) -> str:
    """The last rule that a driver broke, or that was broken on an adapter by no driver that is bound, and the line, if it is recorded."""
    for record in reversed(RECORDS.all()):
        if record.get(key) == name and (key == "driver" or "binding" not in record):
            return f", last {record.get('id')} {record.get('rule')} at {record.get('where')}"
    return ""


def _links(subject: Subject) -> Iterator[Alert]:
    adapter = subject.stack.adapter
    if adapter.halted:
        if all(binding.closed for binding in subject.stack.bindings):
            # the daemon has ended, as it should
            return
        yield alert("warning", "halted", f"{adapter.name} is halted: the daemon is stopping", f"vnic pending {subject.asked_as}")
    elif not adapter.link_up:
        yield alert(
            "warning", "link", f"{adapter.name} is down: nothing is read, and sends answer NO_CABLE", f"ip link set {adapter.name} up"
        )


def _holders(subject: Subject) -> Iterator[Alert]:
    name = subject.asked_as
    by: dict[str, list[Any]] = {}
    for out in held(subject):
        by.setdefault(out.driver, []).append(out)
    for outs in by.values():
        oldest, binding = outs[0], outs[0].binding
        capacity = oldest.packet.pool.capacity
        patience = max(LONG_S, float(attribute(binding.driver, "hold_limit", 0.0)))
        if len(outs) >= MUCH * min(binding.quota or capacity, capacity) or oldest.age_s >= patience:
            what = f"binding {binding.name} holds {len(outs)} of {capacity} packets, oldest {oldest.age_s:.1f} s, kept at {oldest.kept_at}"
            if binding.over_quota:
                what += f"; {count(binding.over_quota, 'frame was', 'frames were')} shown to it to be copied, its quota is {binding.quota}"
            yield alert("warning", "held", what, f"vnic pending {name} --driver {binding.name}")
    if stuck := [out for out in sending(subject) if (out.age_s or 0) >= LONG_S]:
        what = f"{count(len(stuck), 'send is', 'sends are')} pending for more than {LONG_S:.0f} s, oldest {stuck[0].age_s:.1f} s"
        yield alert("warning", "sends", what, f"vnic pending {name} --older-than {LONG_S:.0f}s")
    if views := withheld(subject):
        what = f"{count(len(views), 'packet is', 'packets are')} withheld because views of the frame live"
        yield alert("warning", "views", what, f"vnic leaks {name}")


def _not_freed(subject: Subject) -> Iterator[Alert]:
    """Drivers that have used up a pool of theirs, because what they have sent is never freed."""
    for pool, owner, _ in subject.pools():
        whose, _, driver = owner.partition(" ")
        # who takes all packets at the start, to write them again and again, is answered once at most that there is none
        if whose == "driver" and pool.exhausted > 1 and pool.audit()[PacketState.OWNED] == pool.capacity:
            what = f"all {pool.capacity} packets of pool {pool.name} are owned by {driver}, and none is being sent: free each packet"
            what += " when send answers anything but PENDING, and in send_complete"
            yield alert("warning", "not freed", what, f"vnic pools {subject.asked_as}")


def _frames(subject: Subject) -> Iterator[Alert]:
    name = subject.asked_as
    for adapter in subject.stack.adapters:
        values: Mapping[str, int] = subject.counters[adapter.name]
        for counter, about, what, then in LOSSES:
            if lost := values.get(counter, 0):
                facts = {"adapter": adapter.name, "mtu": adapter.mtu, "name": name, "n": lost}
                yield alert("warning", about, what.format(**facts), then.format(**facts))
        if values["rx_resources"] and not values["rx_dropped_no_packet"]:
            large = values["large_capacity"] and values["large_free"] <= LENT_BELOW * len(adapter.queues)
            low = f"{values['large_free']} of {values['large_capacity']} large buffers are free" if large else "packets were low"
            told = f"{low}: {values['rx_resources']} frames were shown by {adapter.name} to be copied"
            yield alert("note", "low", told, f"vnic pending {name} --top 5" if large else f"vnic pools {name}")



def _set_up(subject: Subject) -> Iterator[Alert]:
    name, adapter = subject.asked_as, subject.stack.adapter
    bound = {binding.driver.__class__.__module__.rpartition(".")[2] for binding in subject.stack.bindings}
    if not subject.stack.bindings:
        yield alert("warning", "no driver", "no driver is bound: every frame is dropped", f"vnic run {adapter.name} --driver sink")
    # a driver of somebody's own may answer ARP
    ours = all(type(binding.driver).__module__.startswith("protocol.") for binding in subject.stack.bindings)
    if "icmp_echo" in bound and ours and bound.isdisjoint(("arp", "udp")) and _has_ipv4(subject):
        what = "icmp_echo is bound, and nothing answers ARP: nobody will find it"
        yield alert("warning", "no arp", what, f"vnic run {adapter.name} --driver arp --driver icmp_echo")
    if bound.intersection(ANSWERING) and not adapter.network_addresses and not any(map(_has_own_address, subject.stack.bindings)):
        what = f"{adapter.name} has no address to answer for"
        yield alert("warning", "no address", what, f"vnic run {adapter.name} --address 10.0.0.2/24")
    if faults := FAULTS.show():
        yield alert("warning", "faults", f"faults are provoked: {shown(faults, 100)}", f"vnic verify show {name}")
    if adapter.verifier_level == 0:
        what = "the verifier is at level 0: broken rules are refused and counted, and nobody is told which line it was"
        yield alert("note", "level", what, f"vnic verify set {name} 1")


def _has_ipv4(subject: Subject) -> bool:
    """Whether there is an address that others ask for by ARP, before they send a ping."""
    given = [attribute(binding.driver, "interfaces", ()) for binding in subject.stack.bindings]
    own = any(isinstance(one, IPv4Interface) for found in given if isinstance(found, list) for one in found)
    return own or any(":" not in address for address in subject.stack.adapter.network_addresses)


def _has_own_address(binding: Binding) -> bool:
    """Whether a driver was given an address as its option, as those that ship can be."""
    return any(attribute(binding.driver, name, None) for name in ("addresses", "interfaces"))
