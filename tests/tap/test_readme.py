"""
The README's promises, kept by a real daemon: its driver counts what it says, and its configuration is one.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tap.daemon import VNIC, Daemon, Sender, frame
from tap.namespace import namespaced

README = Path(__file__).parents[2] / "README.md"
BROADCAST = b"\xff" * 6
REPORTING = """

class Reporting(BroadcastCounter):
    def unbind_adapter(self) -> None:
        from pathlib import Path

        Path(__file__).with_suffix(".seen").write_text(str(self.seen))
"""


def block(language: str) -> str:
    """The README's one block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


@namespaced
def test_the_driver_of_the_readme_counts_exactly_the_broadcasts(tmp_path: Path) -> None:
    file = tmp_path / "reporting.py"
    file.write_text(block("python") + REPORTING)
    with Daemon(tmp_path, "--driver", f"{file}:Reporting") as daemon, Sender() as sender:
        almost = (b"\xff" * 5 + b"\xfe", b"\x01\0\x5e\0\0\1", daemon_address(daemon), b"\2\0\0\0\0\x99")
        sender.send([frame(to=BROADCAST)] * 321)
        sender.send([frame(to=to) for to in almost] * 100)
        sender.send([frame(to=BROADCAST)] * 79)
        counters, _ = daemon.quiet()
        assert counters["rx_frames"] == 800
        assert counters["indicated"] == counters["returned"] == 800
        last = daemon.stop()
        assert last["violations"] == last["driver_errors"] == 0
    assert file.with_suffix(".seen").read_text() == "400"


@namespaced
def test_the_driver_of_the_readme_is_bound_by_the_name_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(block("python"))
    words = ("--address", "10.0.0.2/24", "--driver", "arp", "--driver", "icmp_echo", "--driver", str(file))
    with Daemon(tmp_path, *words) as daemon, Sender() as sender:
        assert daemon.drivers == ["arp", "icmp_echo", "BroadcastCounter"]
        sender.send([frame(to=BROADCAST)] * 50)
        assert daemon.quiet()[1]["BroadcastCounter"]["delivered"] == 50
        daemon.stop()


def test_the_configuration_of_the_readme_passes_the_check(tmp_path: Path) -> None:
    text = block("toml")
    assert text.count("/var/log/") == 1
    config = tmp_path / "vnic0.toml"
    config.write_text(text.replace("/var/log/", f"{tmp_path}/"))
    done = subprocess.run([*VNIC, "check", str(config)], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{config}: ok: adapter vnic0, mtu 1500, 1024 packets, drivers: arp, capture; core ")


@namespaced
def test_the_configuration_of_the_readme_runs(tmp_path: Path) -> None:
    config = tmp_path / "vnic0.toml"
    config.write_text(block("toml").replace("/var/log/", f"{tmp_path}/"))
    with Daemon(tmp_path, "--config", str(config)) as daemon, Sender() as sender:
        assert daemon.drivers == ["arp", "capture"]
        sender.send([frame()] * 10)
        assert daemon.quiet()[1]["capture"]["delivered"] == 10
        daemon.stop()
    assert (tmp_path / "vnic0.pcapng").stat().st_size > 10 * 60


def daemon_address(daemon: Daemon) -> bytes:
    """The adapter's own address, as the daemon announced it."""
    return bytes.fromhex(daemon.ready["mac"].replace(":", ""))
