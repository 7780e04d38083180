"""
THE table of rules: what a driver can do wrong, under which id it is reported, and what to do about it.

Class A0 is refused wherever it happens and leaves all state untouched; class A1 is counted and recorded, the work goes on.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """One rule: its stable id and name, its class, what it catches, and the remedy in words."""

    id: str
    name: str
    cls: str
    catches: str
    remedy: str


DOUBLE_RETURN = Rule("01", "PacketDoubleReturn", "A0", "a binding returns more often than it promised, others still hold the packet",
                     "return each packet exactly as often as receive_packet promised")
RETURN_INSIDE_HANDLER = Rule("02", "ReturnInsideReceiveHandler", "A0", "a return from within receive_packet, for the packet being indicated",
                             "answer 0 instead of returning it, or return it after the handler has answered")
RETURN_BEFORE_ANSWER = Rule("03", "ReturnBeforeHandlerCompleted", "A0", "a return from another thread before receive_packet has answered its count",
                            "hand packets to other threads in receive_complete, not in receive_packet")
WRONG_BINDING = Rule("04", "ReturnByWrongBinding", "A0", "a return by a binding that promised nothing for this packet",
                     "return only packets for which receive_packet answered more than 0")
OVER_RETURN = Rule("05", "PacketOverReturn", "A0", "a return of a packet that has already gone home",
                   "forget a packet when it is returned")
USE_AFTER_RETURN = Rule("07", "UseAfterReturn", "A0", "a look at a packet that is back in its pool",
                        "copy what must outlive the packet, or keep it by answering 1")
RETAINED_VIEW = Rule("08", "RetainedViewAtLastReturn", "A1", "a view of the packet is still alive when its last reference is returned",
                     "drop views (and slices of them) before returning the packet")
RETAIN_UNDECLARED = Rule("09", "RetainWithoutDeclaring", "A1", "receive_packet answered 0 but a view of the packet is still alive",
                         "copy with bytes(), or keep the packet by answering 1")
RETAIN_ON_RESOURCES = Rule("10", "RetainOnResourcesStatus", "A0", "a packet that must be copied during the call was kept",
                           "when packet.status is RESOURCES: copy and answer 0, or define receive()")
DPR_AT_WRONG_LEVEL = Rule("100", "DprAtWrongLevel", "A0", "a Dpr form is called at another level than DISPATCH; checked from verifier level 2",
                          "call the plain form unless the code always runs at DISPATCH")
LOOKAHEAD_OVER = Rule("101", "LookaheadUsedAfterCall", "A0", "data of a frame is asked for outside the receive call that shows it, or a second time within it",
                      "call transfer_data once, for the context that receive was given, before receive returns")
ILLEGAL_ANSWER = Rule("11", "IllegalReceiveReturnValue", "A0", "receive_packet answered something that is no count",
                      "answer the number of references kept, an int from 0 to 65535")
RESERVED_TRESPASS = Rule("15", "ProtocolReservedTrespass", "A0", "the reserved area of a packet that the binding does not hold",
                         "use the area only while the packet is held")
INDICATED_IN_USE = Rule("17", "PacketInUseIndicated", "A0", "a packet is indicated that its indicator does not own",
                        "indicate a packet again only after return_packet")
INDICATED_AFTER_HALT = Rule("21", "IndicateAfterHalt", "A0", "the miniport indicates packets or a status once its halt was called",
                            "stop the source of frames first thing in halt")
POOL_STARVED = Rule("26", "PoolStarvedByHolder", "A1", "the pool is low and one binding holds most of it",
                    "return packets sooner, or give the adapter more of them")
DOUBLE_FREE = Rule("30", "DescriptorDoubleFree", "A0", "a free packet is freed", "free a packet once")
FREE_CHAINED = Rule("31", "FreeWithBuffersChained", "A0", "a packet is freed with its own buffers chained: they would be lost",
                    "unchain every buffer first, and free or keep it")
REINITIALIZE_CHAINED = Rule("32", "ReinitializeWithBuffersChained", "A0", "a packet is reinitialised with its own buffers chained",
                            "unchain every buffer and save it before reinitialize()")
OOB_NOT_RECLAIMED = Rule("33", "OobNotReclaimed", "A0", "a packet is freed or reinitialised with media-specific information attached",
                         "take what is attached, and set oob.media_specific to None")
FREE_WHILE_INDICATED = Rule("34", "FreeWhileIndicated", "A0", "a packet is freed while drivers hold it",
                            "free it after return_packet")
FOREIGN_POOL = Rule("35", "ForeignPoolFree", "A0", "a packet is freed to a pool that it is not from", "free it with packet.pool.free")
MIXED_FORMS = Rule("36", "MixedInterlockedAllocFree", "A1", "a packet is freed by the other kind of call than it was allocated by",
                   "free with free_unlocked what allocate_unlocked gave, and with free what allocate gave")
UNSYNCHRONISED = Rule("37", "NonInterlockedUnsynchronised", "A0", "an unlocked call on a pool without the pool's lock held",
                      "acquire the lock that was given to the pool around every unlocked call")
POOL_OUTSTANDING = Rule("39", "PoolFreedWithOutstanding", "A0", "a pool is closed while packets are out",
                        "free every packet first; pool.usage says how many are out")
POOL_AFTER_CLOSE = Rule("40", "PoolHandleAfterFree", "A0", "a closed pool is used", "keep the pool open while it is needed")
BUFFER_CHAINED = Rule("42", "BufferChainedTwice", "A0", "a buffer is chained or freed while it is chained",
                      "unchain it first")
POOL_LIMIT = Rule("46", "PoolLimitExceeded", "A0", "a pool of no packets, or of more than 65,535", "ask for 1 to 65,535 packets")
COMPLETED_TWICE = Rule("50", "SendCompletedTwice", "A0", "a send, or a transfer, is completed that is not pending",
                       "complete each pending send or transfer once")
SENT_WHILE_BELOW = Rule("55", "SendOfPacketOwnedBelow", "A0", "a packet is sent, or given to be filled, that the driver does not own",
                        "wait for send's status or send_complete before sending it again")
PENDING_TOUCHED = Rule("56", "PendingSendTouched", "A0", "a packet is freed or changed while its send or transfer is pending",
                       "wait for send_complete, or transfer_data_complete")
SEND_ON_CLOSED = Rule("57", "SendOnClosedBinding", "A0", "a send on a closed binding", "stop sending in unbind_adapter")
RECEIVED_SENT = Rule("58", "ReceivedPacketSentUncopied", "A0", "a received packet is sent as it is, or given to be filled",
                     "copy it into a packet of the driver's own pool")
LEAKED_AT_UNBIND = Rule("60", "PacketLeakedAtUnbind", "A1", "a binding closes while it still owes returns",
                        "return every held packet in unbind_adapter")
LEAKED_AT_HALT = Rule("61", "PacketLeakedAtHalt", "A1", "the miniport has halted, and packets are still held or being sent",
                      "in halt, complete every send, and wait for indicated packets with adapter.wait_for_packets")
HALT_LEFTOVER = Rule("63", "HaltLeftoverResources", "A1", "a miniport has halted and has timers set, or an interrupt or shutdown handler registered",
                     "undo in halt what initialize did, in reverse order")
INIT_NOT_UNDONE = Rule("64", "InitFailureNotUndone", "A1", "a miniport fails to initialise a device and has left something behind",
                       "give back what was claimed before answering an error")
ILLEGAL_TRANSITION = Rule("65", "IllegalStateTransition", "A0", "a completion of what is not pending, or a step out of order",
                          "complete once, and only what was answered with PENDING")
DEAD_DRIVER = Rule("66", "CallIntoDeadDriver", "A0", "an interrupt, a protocol or a device is used after it was deregistered or removed",
                   "deregister it last, and forget it then")
REENTRANT_BIND = Rule("67", "ReentrantBindOperation", "A0", "a protocol asks for binds or unbinds inside of one",
                      "put it off until the handler has ended")
REQUEST_COMPLETED_TWICE = Rule("68a", "RequestDoubleComplete", "A0", "a request is completed that is over already",
                               "complete each request once: by the handler's status, or, if that was PENDING, by one completion")
REQUEST_NOT_PENDING = Rule("68b", "RequestNotPending", "A0", "a query or set is completed while none is at the miniport",
                           "complete a query with query_complete, a set with set_complete, and only after PENDING")
REQUEST_TIMED_OUT = Rule("68c", "RequestTimedOut", "A1", "a request has been at the miniport for more than 12 seconds",
                         "complete every request, with FAILURE if need be")
REQUEST_EXCEEDS_BUFFER = Rule("68d", "RequestBytesExceedBuffer", "A0", "a request is completed with more bytes than its buffer has",
                              "count the bytes that were written or read, at most the length of the buffer")
IRQL_TOO_HIGH = Rule("70", "IrqlTooHigh", "A0", "a call above the highest level that it allows; checked from verifier level 2",
                     "put it off to a work item, or call it after the lock is released")
IRQL_NOT_RESTORED = Rule("71", "IrqlNotRestored", "A1", "a handler ends at another level than it began at, a raise lowers, or a lower raises",
                         "lower the level to what raise_irql answered, before the handler ends")
LOCK_RECURSION = Rule("73", "SpinLockRecursion", "A0", "a thread acquires a lock that it already holds",
                      "acquire it once, in the outermost function that needs it")
LOCK_NOT_OWNED = Rule("74", "SpinLockReleaseByNonOwner", "A0", "a lock is released that the thread does not hold",
                      "release a lock once, on the thread that acquired it")
LOCK_FORMS_CROSSED = Rule("74b", "SpinLockFormsCrossed", "A0", "a lock acquired with one form is released with the other",
                          "pair acquire with release, and dpr_acquire with dpr_release")
LOCK_HELD_AT_EXIT = Rule("75", "SpinLockHeldAtHandlerReturn", "A1", "a handler ends and still holds a lock that it acquired",
                         "release every lock before the handler ends, also when it raises")
LOCK_LIFE = Rule("76", "SpinLockNotInitialised", "A0", "a lock is used before it is initialised or after it is freed, initialised twice, or freed while held",
                 "initialise a lock once, and free it when nobody uses it any more")
LOCK_ORDER = Rule("78", "LockOrderInversion", "A0", "two locks are acquired in both orders; checked from verifier level 2",
                  "acquire them in one order everywhere")
LOCK_RELEASE_ORDER = Rule("79b", "SpinLockReleaseOrder", "A0", "a lock is released before one that was acquired later: the level drops too early; checked from verifier level 2",
                          "release locks in the reverse order")
LOCK_ACROSS_CALL = Rule("80", "LockHeldAcrossCallOut", "A0", "the library is called with a driver's lock held; checked from verifier level 2",
                        "release every lock before the call")
STALL_TOO_LONG = Rule("83", "StallTooLong", "A0", "a stall of more than 50 microseconds; checked from verifier level 2",
                      "set a timer, or wait in a work item")
SERIALIZED_WORK_ITEM = Rule("86b", "WorkItemOfSerializedMiniport", "A0", "a serialized miniport schedules a work item",
                            "use a timer: a serialized miniport cannot synchronise with a work item")
INDICATED_TOO_EARLY = Rule("93", "IndicateBeforeFilterOrInLowPower", "A1", "packets are indicated while no binding has a filter, or in low power",
                           "indicate only after a packet filter was set, and not in low power")
ISR_IN_LOW_POWER = Rule("93b", "IsrClaimsInLowPower", "A1", "an interrupt is claimed while the adapter is in low power; the claim is ignored",
                        "answer that the interrupt is not recognised, and do not touch the card")
SEND_STATUS_MISSING = Rule("94", "SendArrayStatusMissing", "A1", "send_packets of a serialized miniport leaves a packet without a status; that send fails",
                           "set packet.status of each, to PENDING if it is completed later")
RESOURCES_FROM_DESERIALIZED = Rule("96", "ResourcesFromDeserializedSend", "A1", "a deserialized miniport answers RESOURCES to a send, or says that it has resources again",
                                   "queue the packet, answer PENDING and complete it later")
CLOSED_BINDING = Rule("98", "HandleUseAfterClose", "A0", "a closed binding is used, or one that is being closed, except to give back",
                      "forget the binding when unbind_adapter has returned; only returns and completions may follow")

RULES: tuple[Rule, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Rule))
"""Every rule that this version enforces, in the order of its id."""
