"""
The inspector: what a running daemon is asked, what it answers, and how that looks on a terminal and on a page.

Next: `miniport/inspector/commands.py`, the table of everything that can be asked.
"""
