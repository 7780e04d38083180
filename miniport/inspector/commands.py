"""
THE table of what can be asked of a daemon. The command line, the control socket, the completions and the pages all read it.

A view makes a dictionary that JSON can carry; a renderer makes lines of text of it. Both are named here and imported when they are
needed: `vnic --help` reads this table, and must come at once.

Next: `miniport/inspector/subject.py`, what the views look at.
"""

from __future__ import annotations

from typing import NamedTuple


class Option(NamedTuple):
    """An option: how it is spelled, what stands for its value, its kind, what it does. `file` and `here` (a flag) stay with the client."""

    flag: str
    metavar: str
    kind: str
    help: str

    @property
    def key(self) -> str:
        """The name that it has as a parameter."""
        return self.flag.removeprefix("--").replace("-", "_")


class Command(NamedTuple):
    """
    One question.

    Attributes:
        name: as typed; two words, if the first has several.
        help: what it is for.
        words: what follows NAME; one with a `?` can be left out, one with a `*` is any number of key=value.
        options: all but `--json`, which each has.
        view: module and function, below `miniport.inspector`.
        text: likewise, the renderer.
        example: a line that works.
        changes: it changes something: only for the daemon's owner and root, and logged.
        found: it ends with status 1 if the answer has something in it.
    """

    name: str
    help: str
    words: tuple[str, ...]
    options: tuple[Option, ...]
    view: str
    text: str
    example: str
    changes: bool = False
    found: str = ""

    @property
    def method(self) -> str:
        """Its name on the socket."""
        return self.name.replace(" ", "_")


DRIVER = Option("--driver", "D", "text", "only this driver, by the name of its binding")
POOL = Option("--pool", "P", "text", "the pool, by its name; the interface's by default")
PCAP = Option("--pcap", "FILE", "file", "write the frame to a capture file")
ALL = Option("--force", "", "flag", "the last 10,000")

COMMANDS: tuple[Command, ...] = (
    Command(
        "show", "what is bound to what, how much passes, what is wrong", (), (), "overview.show", "overview_text.show", "vnic show vnic0"
    ),
    Command(
        "watch",
        "the same again and again, until Ctrl-C",
        (),
        (Option("--every", "S", "here", "how often: 1s, 500ms, 2m; default 1s"),),
        "overview.show",
        "overview_text.show",
        "vnic watch vnic0 --every 500ms",
    ),
    Command(
        "stats",
        "every counter",
        (),
        (Option("--openmetrics", "", "here", "for a collector of metrics"),),
        "overview.stats",
        "overview_text.stats",
        "vnic stats vnic0",
    ),
    Command("pools", "where the packets are", (), (), "overview.pools", "overview_text.pools", "vnic pools vnic0"),
    Command(
        "bindings",
        "each driver: what it was shown, what it holds, what it is; BINDING: all about one",
        ("binding?",),
        (),
        "overview.bindings",
        "overview_text.bindings",
        "vnic bindings vnic0 arp",
    ),
    Command(
        "pending",
        "packets that drivers hold, the oldest first",
        (),
        (
            Option("--older-than", "S", "seconds", "only packets held so long: 1s, 500ms, 2m"),
            Option("--top", "N", "count", "so many lines, default 20"),
            DRIVER,
            PCAP._replace(help="write their frames to a capture file, with who holds each"),
        ),
        "held.pending",
        "held_text.pending",
        "vnic pending vnic0 --older-than 1s --top 5",
    ),
    Command(
        "leaks",
        "packets held too long, or by a driver that is gone, by line of code; status 1 if there are any",
        (),
        (Option("--older-than", "S", "seconds", "how long is too long, default 5s"),),
        "held.leaks",
        "held_text.leaks",
        "vnic leaks vnic0 --older-than 10s",
        found="total",
    ),
    Command(
        "packet",
        "all about one packet",
        ("number",),
        (
            POOL,
            Option("--hex", "", "flag", "its bytes"),
            Option("--decode", "", "flag", "its headers in words"),
            PCAP,
        ),
        "packets.packet",
        "held_text.packet",
        "vnic packet vnic0 17 --decode",
    ),
    Command(
        "log",
        "the last changes of hands, the newest last; 200 of them unless --force",
        (),
        (Option("--packet", "N", "count", "only of this packet of the interface's pool"), DRIVER, ALL),
        "packets.log",
        "held_text.log",
        "vnic log vnic0 --packet 17",
    ),
    Command(
        "violations",
        "rules that were broken",
        (),
        (
            Option("--rule", "R", "text", "only this rule, by id or name"),
            Option("--since", "S", "seconds", "only of the last so many seconds: 30s, 5m, 1h"),
        ),
        "verifying.violations",
        "verifying_text.violations",
        "vnic violations vnic0 --since 5m",
    ),
    Command(
        "violation",
        "one record of a broken rule, whole",
        ("seq",),
        (),
        "verifying.violation",
        "verifying_text.violation",
        "vnic violation vnic0 3",
    ),
    Command(
        "verify show",
        "levels, actions of rules, fault modes",
        (),
        (),
        "verifying.verify_show",
        "verifying_text.verify_show",
        "vnic verify show vnic0",
    ),
    Command(
        "verify set",
        "set the level, 0 to 4, of all or of one driver or pool",
        ("level",),
        (DRIVER, POOL._replace(help="only this pool, by its name")),
        "verifying.verify_set",
        "verifying_text.changed",
        "vnic verify set vnic0 3 --driver arp",
        changes=True,
    ),
    Command(
        "verify rule",
        "choose what follows when a rule is broken: raise, record, count, quarantine, unbind or stop",
        ("rule", "action"),
        (),
        "verifying.verify_rule",
        "verifying_text.changed",
        "vnic verify rule vnic0 08 quarantine",
        changes=True,
    ),
    Command(
        "verify inject",
        "start a fault mode, or end it",
        ("mode", "settings*"),
        (Option("--off", "", "flag", "end it"),),
        "verifying.verify_inject",
        "verifying_text.changed",
        "vnic verify inject vnic0 low_resources probability=0.06 seed=1",
        changes=True,
    ),
    Command(
        "verify audit",
        "walk through every packet now; status 1 if something does not fit",
        (),
        (),
        "verifying.verify_audit",
        "verifying_text.verify_audit",
        "vnic verify audit vnic0",
        found="wrong",
    ),
    Command("locks", "spin locks that are held, by whom", (), (), "running.locks", "running_text.locks", "vnic locks vnic0"),
    Command(
        "threads",
        "what each thread is doing; where one is stuck",
        (),
        (),
        "running.threads",
        "running_text.threads",
        "vnic threads vnic0",
    ),
    Command(
        "doctor",
        "what is wrong, in words, each with the next command; status 1 if anything is",
        (),
        (),
        "doctor.doctor",
        "running_text.doctor",
        "vnic doctor vnic0",
        found="wrong",
    ),
    Command(
        "report",
        "everything in one; --html: one page to keep or to send",
        (),
        (Option("--html", "FILE", "file", "write a page that stands alone"),),
        "report.report",
        "report_text.report",
        "vnic report vnic0 --html vnic0.html",
    ),
)

BY_METHOD = {command.method: command for command in COMMANDS}
