"""
The rules of the packet contract, and who broke one.
"""
