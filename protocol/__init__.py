"""
The protocol drivers that ship. Each file stands alone, imports nothing but `vnic`, and is meant to be read and copied.

Next: `protocol/sink.py`, the shortest.
"""
