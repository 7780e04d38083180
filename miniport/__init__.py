"""
The process around the library: the TAP, its link, the daemon and its command.

Next: `miniport/tap.py`, the device.
"""
