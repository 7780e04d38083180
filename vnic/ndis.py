"""
The names of NDIS 5, for whoever ports a driver or reads its documents. Each does what the object API does, and nothing else.

    Status, PoolHandle = NdisAllocatePacketPool(64, PROTOCOL_RESERVED_SIZE_IN_PACKET)
    Status, Packet = NdisAllocatePacket(PoolHandle)

One convention: parameters that go in keep their C names and their order; those that come out leave the argument list, and are the
answer, in their C order, `Status` first. VOID without one of those answers None. An array is a sequence and a count. A handle is
the object itself, an address a memoryview, and what C writes through a macro (`NDIS_PACKET_FIRST_NDIS_BUFFER(Packet) = ...`) is
written through the object. Exhaustion is a status; a broken rule raises a `ContractViolation`.

A call above the level that it allows, or a Dpr form at another one than DISPATCH, is counted, and refused from verifier level 2 on.

A name that could not do all of its work is not here. The names stand in `vnic/ndis5`, one subject each, and this is their index.

Next: `vnic/names.py`, which says of every name where it is, or why it is not.
"""

from vnic.ndis5.buffers import *
from vnic.ndis5.condis import *
from vnic.ndis5.configuration import *
from vnic.ndis5.constants import *
from vnic.ndis5.intermediate import *
from vnic.ndis5.lifecycle import *
from vnic.ndis5.locks import *
from vnic.ndis5.offload import *
from vnic.ndis5.oids import *
from vnic.ndis5.packets import *
from vnic.ndis5.receive import *
from vnic.ndis5.requests import *
from vnic.ndis5.send import *
from vnic.ndis5.tdi import *
from vnic.ndis5.time import *
