"""
The names of NDIS 5, one subject each; `vnic/ndis.py` has them all.
"""
