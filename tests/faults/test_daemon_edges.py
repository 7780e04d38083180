"""
The edges of a daemon's life: signals before it is ready, what a reload changes, rules that end it, a place behind a link.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tap.daemon import AS_NOBODY, DIE_WITH_PARENT, PROMISCUOUS_SINK, VNIC, Daemon, Sender, frame, ip, link, run
from tap.namespace import NOBODY, as_nobody, namespaced, replace_device, until
from tap.test_inspector import found

from miniport.errors import Exit, Failure
from miniport.runtime_dir import make_folder
from miniport.tap import open_tap

BAD = Path(__file__).with_name("bad_drivers.py")
SINK = '[[protocol]]\ndriver = "sink"\n'
SIGNALS_ITSELF = """
import os, signal, subprocess, sys
from vnic import ProtocolDriver

class SignalsItself(ProtocolDriver):
    def __init__(self, file: str) -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), number)
        program = "import signal; print(*signal.pthread_sigmask(signal.SIG_BLOCK, ()), *(int(signal.getsignal(n)) for n in (1, 10, 12)))"
        with open(file, "w") as out:
            subprocess.run([sys.executable, "-c", program], stdout=out, timeout=20, check=True)

    def rotate(self) -> None:
        print("rotated", file=sys.stderr)
"""
PRINTS = """
import sys
from vnic import ProtocolDriver

class Prints(ProtocolDriver):
    def unbind_adapter(self) -> None:
        for number in range(120):
            print(number, file=sys.stderr)
        print("the last words", end="", file=sys.stderr)
"""


def configured(folder: Path, text: str) -> tuple[str, str]:
    """Options that have the daemon read a file with this text."""
    (folder / "vnic.toml").write_text(text)
    return ("--config", str(folder / "vnic.toml"))


def reload(daemon: Daemon, text: str) -> list[str]:
    """Have the daemon read another text; what needs a restart."""
    configured(daemon.folder, text)
    after = daemon.mark()
    daemon.signal(signal.SIGHUP)
    needs: list[str] = daemon.wait_for("reload", after)["needs_restart"]
    return needs


@namespaced
def test_a_signal_before_it_is_ready_is_obeyed_then_and_hidden_from_no_program_of_a_driver(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text(SIGNALS_ITSELF)
    with Daemon(tmp_path, "--driver", f"{tmp_path}/early.py file={tmp_path}/seen") as daemon:
        daemon.wait_for("reload")
        daemon.wait_for("binding")
        daemon.wait_for("output", text="rotated")
        assert (tmp_path / "seen").read_text() == "0 0 0\n"
        daemon.stop()


@namespaced
def test_the_socket_may_be_behind_a_link_of_the_service_manager(tmp_path: Path) -> None:
    (tmp_path / "private" / "vnic").mkdir(parents=True)
    linked = tmp_path / "vnic"
    linked.symlink_to("private/vnic")
    with Daemon(linked, *PROMISCUOUS_SINK) as daemon:
        assert daemon.answer("show", "NAME")["name"] == "vnic0"
        assert not daemon.events("control")
        daemon.stop()


@pytest.mark.tap
def test_a_link_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked = tmp_path / "vnic"
    linked.symlink_to(tmp_path)
    try:
        os.chown(linked, NOBODY, NOBODY, follow_symlinks=False)
    except PermissionError:
        pytest.skip("needs root, to give a link away")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(linked))
    with pytest.raises(Failure, match="not a folder that only you or root can write to"):
        make_folder(linked)


@namespaced
def test_who_cannot_even_reach_the_folder_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "private" / "vnic").mkdir(parents=True)
    (tmp_path / "private").chmod(0o700)
    (tmp_path / "vnic").symlink_to("private/vnic")
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    what, status = as_nobody(found, tmp_path / "vnic")
    assert (what, status) == (f"no permission to look into {tmp_path}/vnic: ask as root, or as the daemon's user", int(Exit.PERMISSION))


@namespaced
def test_what_needs_a_restart_is_what_differs_from_the_start_and_not_from_the_last_file(tmp_path: Path) -> None:
    with Daemon(tmp_path, *configured(tmp_path, SINK)) as daemon:
        assert reload(daemon, SINK + "[adapter]\nmtu = 1400\n") == ["adapter"]
        assert reload(daemon, SINK + "[adapter]\nmtu = 1400\n[loop]\nqueues = 2\n") == ["adapter", "loop.queues"]
        assert reload(daemon, SINK + "[adapter]\nmtu = 1500\n") == []
        daemon.stop()


@namespaced
def test_another_interval_of_the_counters_holds_at_once(tmp_path: Path) -> None:
    with Daemon(tmp_path, *configured(tmp_path, SINK + "[log]\nstats_interval = 3600\n")) as daemon:
        reload(daemon, SINK + "[log]\nstats_interval = 0.05\n")
        daemon.wait_for("counters", count=3)
        daemon.stop()


@namespaced
def test_a_daemon_that_a_rule_ends_names_the_rule_and_has_a_status_of_its_own(tmp_path: Path) -> None:
    words = configured(tmp_path, '[verifier.actions]\n"09" = "stop"\n')
    with Daemon(tmp_path, *words, "--driver", f"{BAD}:KeepsView", *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        # nobody waits for it to be taken: the interface goes with the daemon
        sender.socket.send(frame())
        assert daemon.wait() == 70
        assert daemon.events("stopping")[0]["reason"] == "rule 09 RetainWithoutDeclaring"
        (stopped,) = daemon.events("stopped", status=70)
        assert stopped["why"].endswith("rule 09 RetainWithoutDeclaring was broken, whose action is stop")
        daemon.ask("show", "NAME", status=69)
        assert "ended with status 70 at" in daemon.complaint
        assert "because of rule 09 RetainWithoutDeclaring" in daemon.complaint


@namespaced
def test_a_driver_that_pretends_ctrl_c_at_a_reload_is_not_loaded_and_nothing_else_happens(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt('not really')\n")
    with Daemon(tmp_path, *configured(tmp_path, SINK)) as daemon:
        configured(tmp_path, SINK + f'[[protocol]]\ndriver = "{tmp_path}/mine.py"\n')
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("reload")
        assert (told["level"], told["status"]) == ("error", Exit.CONFIG)
        assert told["error"] == f"a driver: KeyboardInterrupt: not really ({tmp_path}/mine.py:1)"
        assert reload(daemon, SINK) == []
        daemon.stop()


@namespaced
def test_what_drivers_print_while_they_are_unbound_is_told_or_counted(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PRINTS)
    with Daemon(tmp_path, "--driver", f"{tmp_path}/mine.py") as daemon:
        daemon.stop()
        told = daemon.events("output")
        assert sum("text" in event for event in told) + sum(event.get("suppressed", 0) for event in told) == 121


@pytest.mark.parametrize("told", [True, False], ids=["the kernel says where", "the kernel does not say"])
@namespaced
def test_an_interface_that_comes_back_with_another_number_is_known_and_one_with_its_old_number_is_not(tmp_path: Path, told: bool) -> None:
    words = (*PROMISCUOUS_SINK, "--stats-interval", "0.1")
    command = (*DIE_WITH_PARENT, *VNIC, "run")
    if not told:
        command = (*DIE_WITH_PARENT, *AS_NOBODY)
        replace_device(0o666)
        ip("tuntap", "add", "vnic0", "mode", "tap", "user", str(NOBODY))
        ip("link", "set", "vnic0", "up")
    keeping = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
    with keeping as keeper, Daemon(tmp_path, *words, command=command) as daemon:
        until(lambda: not Path(f"/proc/{keeper.pid}/ns/net").samefile("/proc/self/ns/net"))
        before = link("vnic0")
        assert before is not None
        ip("link", "set", "vnic0", "netns", str(keeper.pid))
        daemon.wait_for("link", state="moved")
        # its number and its name are taken
        ip("link", "add", "other0", "index", str(before["ifindex"]), "type", "bridge")
        ip("link", "add", "vnic0", "type", "bridge")
        after = daemon.mark()
        daemon.wait_for("counters", after, count=10)
        assert not daemon.events("link", after)
        ip("link", "delete", "vnic0")
        run("nsenter", f"--net=/proc/{keeper.pid}/ns/net", "ip", "link", "set", "vnic0", "netns", str(os.getpid()))
        daemon.wait_for("link", state="back")
        ip("link", "set", "vnic0", "up")
        daemon.wait_for("link", after, state="up")
        assert not daemon.events("link", state="renamed")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert keeper.stdin is not None
        keeper.stdin.close()


@namespaced
def test_the_kernel_says_whether_an_interface_is_here() -> None:
    with open_tap("vnic0") as tap, subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as keeper:
        until(lambda: not Path(f"/proc/{keeper.pid}/ns/net").samefile("/proc/self/ns/net"))
        assert tap.is_here() is True
        ip("link", "set", "vnic0", "netns", str(keeper.pid))
        assert tap.is_here() is False
        assert keeper.stdin is not None
        keeper.stdin.close()
