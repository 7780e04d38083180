"""
Task offload: what `OID_TCP_TASK_OFFLOAD` tells and takes.

Next: `vnic/offload.py`, which packs and unpacks it.
"""

from __future__ import annotations

from vnic.offload import ChecksumTask, Encapsulation, LargeSendTask, Task

NDIS_TASK_OFFLOAD_VERSION = 1
NDIS_TASK_TCP_IP_CHECKSUM = ChecksumTask
NDIS_TASK_TCP_LARGE_SEND = LargeSendTask
TcpIpChecksumNdisTask = Task.TCP_IP_CHECKSUM
TcpLargeSendNdisTask = Task.TCP_LARGE_SEND
IEEE_802_3_Encapsulation = Encapsulation.IEEE_802_3
