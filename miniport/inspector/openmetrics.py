"""
The counters for a collector of metrics (OpenMetrics text): `vnic stats NAME --openmetrics`.

Next: `vnic/counters.py`, where the names come from.
"""

from __future__ import annotations

from typing import Any

from miniport.log import escape
from vnic.counters import COUNTERS


def openmetrics(answer: dict[str, Any], past: str = "") -> str:
    """Make the text of an answer to `stats`: a family for each counter, a sample for each adapter; `past` if the daemon left it."""
    lines: list[str] = ["# TYPE vnic_up gauge", f"vnic_up{labels(interface=answer['name'])} {int(not past)}"]
    for row in COUNTERS:
        samples = [(name, values[row.name]) for name, values in answer["adapters"].items() if row.name in values]
        if samples:
            total = "_total" if row.kind == "counter" else ""
            lines += [f"# TYPE vnic_{row.name} {row.kind}", f"# HELP vnic_{row.name} {row.help}"]
            lines += [f"vnic_{row.name}{total}{labels(adapter=name)} {value}" for name, value in samples]
    for key, kind in (("delivered", "counter"), ("held", "gauge"), ("errors", "counter"), ("violations", "counter")):
        if answer["bindings"]:
            total = "_total" if kind == "counter" else ""
            lines.append(f"# TYPE vnic_binding_{key} {kind}")
            lines += [f"vnic_binding_{key}{total}{labels(driver=name)} {values[key]}" for name, values in answer["bindings"].items()]
    if answer["held_oldest_s"]:
        lines.append("# TYPE vnic_binding_hold_seconds_max gauge")
        lines += [f"vnic_binding_hold_seconds_max{labels(driver=name)} {age}" for name, age in answer["held_oldest_s"].items()]
    return "\n".join([*lines, "# EOF"])


def labels(**pairs: str) -> str:
    """Write labels; their values may come from anywhere."""
    written = (f'{key}="{escape(value).replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"' for key, value in pairs.items())
    return f"{{{','.join(written)}}}"
