"""
The version, readable without importing `importlib.metadata` (which costs more than the rest of the start).
"""

__version__ = "0.1.0"
