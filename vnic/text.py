"""
Text for people from whatever there is: printable ASCII only.

Next: `vnic/verifier/records.py`, which writes down who broke a rule.
"""

from __future__ import annotations

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {9: "\\t", 10: "\\n", 13: "\\r"}


def escape(text: str) -> str:
    """Make printable ASCII of any text; what is not becomes a backslash escape. Escaping twice changes nothing more."""
    return text.encode("ascii", "backslashreplace").decode("ascii").translate(_CONTROL)


def shown(value: object, limit: int = 60) -> str:
    """Show a value in a message: escaped, quoted if it is text, cut to `limit` characters. Survives a broken `__repr__`."""
    try:
        text = escape(repr(value))
    except BaseException:
        text = f"<{escape(type(value).__name__)}>"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
