"""
THE table of rules: what a driver can do wrong, under which id it is reported, and what to do about it.

Class A0 is refused wherever it happens and leaves all state untouched; class A1 is counted and recorded, the work goes on. V2 to V4 are
looked for from that verifier level on; those that can be refused where they are found are.

At the end stand the rules of a kernel's verifiers that nothing here can break, with the reason.

Next: `vnic/verifier/levels.py`, how much is looked for.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """One rule: its stable id and name, its class, what it catches, the remedy in words, and what follows unless that is set otherwise."""

    id: str
    name: str
    cls: str
    catches: str
    remedy: str
    own_action: str = ""

    @property
    def action(self) -> str:
        """What follows: class A0 raises, all others are recorded, unless the table says otherwise."""
        return self.own_action or ("raise" if self.cls == "A0" else "record")

    @property
    def severity(self) -> str:
        """How bad it is: "warning" where the work goes on at every level, else "error"."""
        return "warning" if self.cls == "A1" else "error"


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
ILLEGAL_ANSWER = Rule("11", "IllegalReceiveReturnValue", "A0", "receive_packet answered something that is no count",
                      "answer the number of references kept, an int from 0 to 65535")
SHARED_MODIFIED = Rule("12", "SharedPacketModified", "V3", "a driver changes a received packet, which others see",
                       "copy what is to be changed into a packet of the driver's own")
OVERRUN = Rule("13", "PacketBufferOverrun", "V3", "bytes behind the end of a frame, in its slot, have changed while it was lent",
               "write through packet.data or a buffer, never through an address")
RESERVED_OVERRUN = Rule("14", "ProtocolReservedOverrun", "V3", "bytes behind the end of a reserved area have changed",
                        "use as many bytes as the pool was made with")
RESERVED_TRESPASS = Rule("15", "ProtocolReservedTrespass", "A0", "the reserved area of a packet that the binding does not hold",
                         "use the area only while the packet is held")
OOB_TAMPERED = Rule("16", "MiniportReservedTampered", "V3", "a driver changes the out-of-band data or the per-packet information of a received packet",
                    "leave them as they came; a packet of the driver's own has its own")
INDICATED_IN_USE = Rule("17", "PacketInUseIndicated", "A0", "a packet is indicated that its indicator does not own",
                        "indicate a packet again only after return_packet")
WRITTEN_WHILE_LENT = Rule("18", "PendedBufferWrittenByMiniport", "V3", "the bytes of a packet have changed while drivers hold it, by nobody who was being shown it",
                          "let go of every view before the packet is indicated")
CHAIN_CORRUPTED = Rule("19", "PacketChainCorrupted", "V3", "the length of a packet is not that of its buffers, which have changed since it was lent",
                       "adjust the buffers of a packet only while it is the driver's own")
INDICATED_AFTER_HALT = Rule("21", "IndicateAfterHalt", "A0", "the miniport indicates packets or a status once its halt was called",
                            "stop the source of frames first thing in halt")
COMPLETE_MISSING = Rule("23", "ReceiveCompleteOrder", "V2", "a miniport halts, or reads on, and has not ended the batch of lookaheads that it showed",
                        "call indicate_lookahead_complete after the last frame of a batch")
HELD_TOO_LONG = Rule("25", "PacketHeldTooLong", "A1", "a binding holds a packet longer than its limit: a warning after hold_limit seconds, from level 2 on an error after thirty times that",
                     "return packets sooner, copy what is needed longer, or set hold_limit in the driver")
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
CALL_WITH_LOCK = Rule("38", "InterlockedCallWithSpinLockHeld", "V2", "a pool, or a packet or buffer of it, is allocated, freed or closed by an interlocked call with a lock held",
                      "release the lock first, or use the unlocked forms with the pool's own lock")
POOL_OUTSTANDING = Rule("39", "PoolFreedWithOutstanding", "A0", "a pool is closed while packets are out",
                        "free every packet first; pool.usage says how many are out")
POOL_AFTER_CLOSE = Rule("40", "PoolHandleAfterFree", "A0", "a closed pool is used", "keep the pool open while it is needed")
BUFFER_CHAINED = Rule("42", "BufferChainedTwice", "A0", "a buffer is chained or freed while it is chained",
                      "unchain it first")
BUFFER_LEAKED = Rule("43", "BufferLeaked", "A1", "a driver is unbound, and buffers of a pool that it made are neither chained nor freed",
                     "free every buffer, and close the pool, in unbind_adapter")
FAILURE_IGNORED = Rule("44", "AllocationFailureIgnored", "A1", "a handler fails on None in place of a packet, right after a pool had none",
                       "ask whether allocate answered None: an empty pool is normal")
NO_NAME = Rule("45", "AllocationWithoutTag", "A1", "a pool is made without a name: its packets cannot be told from others",
               "give the pool a name")
POOL_LIMIT = Rule("46", "PoolLimitExceeded", "A0", "a pool of no packets, or of more than 65,535", "ask for 1 to 65,535 packets")
CONSERVATION = Rule("48", "PoolConservationBroken", "A1", "the sums of a pool, or of the frames, do not come out: a fault of the library",
                    "report it, with the record")
COMPLETED_TWICE = Rule("50", "SendCompletedTwice", "A0", "a send, or a transfer, is completed that is not pending",
                       "complete each pending send or transfer once")
SEND_TIMED_OUT = Rule("51", "SendNeverCompleted", "V2", "a send has been pending for more than 30 seconds",
                      "complete every send, with FAILURE if need be")
SEND_HANG = Rule("52", "SendPathHang", "A1", "sends are pending, and none has completed for 22 seconds",
                 "look what is below: the interface, its queue, or the miniport")
NOT_SENT = Rule("53", "CompletionNotPending", "A0", "a packet is completed that was never sent since it was allocated",
                "complete only packets that send was given")
ILLEGAL_STATUS = Rule("54", "IllegalCompletionStatus", "A0", "a send is completed with PENDING, or with what is no status",
                      "complete with SUCCESS, or with what went wrong")
SENT_WHILE_BELOW = Rule("55", "SendOfPacketOwnedBelow", "A0", "a packet is sent, or given to be filled, that the driver does not own",
                        "wait for send's status or send_complete before sending it again")
PENDING_TOUCHED = Rule("56", "PendingSendTouched", "A0", "a packet is freed or changed while its send or transfer is pending",
                       "wait for send_complete, or transfer_data_complete")
SEND_ON_CLOSED = Rule("57", "SendOnClosedBinding", "A0", "a send on a closed binding", "stop sending in unbind_adapter")
RECEIVED_SENT = Rule("58", "ReceivedPacketSentUncopied", "A0", "a received packet is sent as it is, or given to be filled",
                     "copy it into a packet of the driver's own pool")
LENGTH_ILLEGAL = Rule("59", "FrameLengthIllegal", "A1", "a frame shorter than 14 bytes or longer than the MTU allows is sent: the send is over with INVALID_PACKET",
                      "look at binding.mtu")
LEAKED_AT_UNBIND = Rule("60", "PacketLeakedAtUnbind", "A1", "a binding closes while it still owes returns",
                        "return every held packet in unbind_adapter")
LEAKED_AT_HALT = Rule("61", "PacketLeakedAtHalt", "A1", "the miniport has halted, and packets are still held or being sent",
                      "in halt, complete every send, and wait for indicated packets with adapter.wait_for_packets")
CALL_TIMED_OUT = Rule("62", "UnbindTimedOut", "A1", "a call to bind, unbind or halt has not ended within 10 seconds, PENDING included",
                      "end it: complete_bind, complete_unbind, or return")
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
CLOSE_PENDING = Rule("69", "CloseWithPendingWork", "A1", "a binding closes while sends of it are pending below",
                     "wait for their completions in unbind_adapter")
IRQL_TOO_HIGH = Rule("70", "IrqlTooHigh", "V2", "a call above the highest level that it allows",
                     "put it off to a work item, or call it after the lock is released", "raise")
IRQL_NOT_RESTORED = Rule("71", "IrqlNotRestored", "V2", "a handler ends at another level than it began at, a raise lowers, or a lower raises",
                         "lower the level to what raise_irql answered, before the handler ends", "raise")
BLOCKING_CALL = Rule("72", "BlockingCallAtDispatch", "V2", "a handler sleeps, opens files, connects, looks up names or starts processes",
                     "do it in bind_adapter, in a work item, or on a thread of the driver's own")
LOCK_RECURSION = Rule("73", "SpinLockRecursion", "A0", "a thread acquires a lock that it already holds",
                      "acquire it once, in the outermost function that needs it")
LOCK_NOT_OWNED = Rule("74", "SpinLockReleaseByNonOwner", "A0", "a lock is released that the thread does not hold",
                      "release a lock once, on the thread that acquired it")
LOCK_FORMS_CROSSED = Rule("74b", "SpinLockFormsCrossed", "A0", "a lock acquired with one form is released with the other",
                          "pair acquire with release, and dpr_acquire with dpr_release")
LOCK_HELD_AT_EXIT = Rule("75", "SpinLockHeldAtHandlerReturn", "V2", "a handler ends and still holds a lock that it acquired",
                         "release every lock before the handler ends, also when it raises", "raise")
LOCK_LIFE = Rule("76", "SpinLockNotInitialised", "A0", "a lock is used before it is initialised or after it is freed, initialised twice, or freed while held",
                 "initialise a lock once, and free it when nobody uses it any more")
LOCK_UNBALANCED = Rule("77", "SpinLockUnbalanced", "V2", "a driver is unbound and a lock that it made is still held",
                       "release every lock that is acquired")
LOCK_ORDER = Rule("78", "LockOrderInversion", "V2", "two locks are acquired in both orders",
                  "acquire them in one order everywhere", "raise")
LOCK_HELD_TOO_LONG = Rule("79", "SpinLockHeldTooLong", "V2", "a lock was held for more than 10 milliseconds; from 1 on it is a warning",
                          "hold a lock for a few lines; no call that may wait")
LOCK_RELEASE_ORDER = Rule("79b", "SpinLockReleaseOrder", "V2", "a lock is released before one that was acquired later: the level drops too early",
                          "release locks in the reverse order", "raise")
LOCK_ACROSS_CALL = Rule("80", "LockHeldAcrossCallOut", "V2", "the library is called with a driver's lock held",
                        "release every lock before the call", "raise")
HANDLER_SLOW = Rule("81", "DpcWatchdogSingle", "V2", "a handler ran for more than 500 milliseconds; from 10 on it is a warning",
                    "put work off to a work item or a thread")
HANDLERS_GREEDY = Rule("82", "DpcWatchdogCumulative", "V2", "the handlers of one driver took more than nine tenths of the last second",
                       "do less for each frame, or filter")
STALL_TOO_LONG = Rule("83", "StallTooLong", "V2", "a stall of more than 50 microseconds",
                      "set a timer, or wait in a work item", "raise")
HANDLER_RAISED = Rule("84", "HandlerRaised", "A1", "an exception came out of a handler: 0 was taken for its answer, the other drivers do not notice",
                      "mend the line that is named")
HANDLER_HANGS = Rule("85", "HandlerNeverReturned", "A1", "a handler has not returned for half a second, and has not yet",
                     "look at the line that is named: it waits or loops; nothing in a handler may")
REENTERED = Rule("86", "WrongThreadOrReentry", "A0", "receive_batch is called by two threads at once, or from inside a handler",
                 "one thread reads an adapter")
SERIALIZED_WORK_ITEM = Rule("86b", "WorkItemOfSerializedMiniport", "A0", "a serialized miniport schedules a work item",
                            "use a timer: a serialized miniport cannot synchronise with a work item")
STATUS_READ = Rule("90", "StatusReadAfterIndicate", "V2", "the thread that has indicated a packet reads its status after the call: it may be in use again",
                   "save the status before indicating")
INDICATE_ILLEGAL = Rule("92", "IndicateStatusIllegal", "A1", "a packet is indicated whose header size is not set, or whose first buffer is shorter than a header",
                        "set oob.header_size to 14, and put the header into the first buffer")
INDICATED_TOO_EARLY = Rule("93", "IndicateBeforeFilterOrInLowPower", "A1", "packets are indicated while no binding has a filter, or in low power",
                           "indicate only after a packet filter was set, and not in low power")
ISR_IN_LOW_POWER = Rule("93b", "IsrClaimsInLowPower", "A1", "an interrupt is claimed while the adapter is in low power; the claim is ignored",
                        "answer that the interrupt is not recognised, and do not touch the card", "raise")
SEND_STATUS_MISSING = Rule("94", "SendArrayStatusMissing", "A1", "send_packets of a serialized miniport leaves a packet without a status, and its send fails; or sets one behind the first RESOURCES",
                           "set packet.status of each up to the first RESOURCES, to PENDING if it is completed later")
WRONG_CHANNEL = Rule("95", "WrongCompletionChannel", "A0", "a send or a transfer is both answered with a final status and completed",
                     "answer PENDING if it was, or will be, completed by a call")
RESOURCES_FROM_DESERIALIZED = Rule("96", "ResourcesFromDeserializedSend", "A1", "a deserialized miniport answers RESOURCES to a send, or says that it has resources again",
                                   "queue the packet, answer PENDING and complete it later")
CLOSED_BINDING = Rule("98", "HandleUseAfterClose", "A0", "a closed binding is used, or one that is being closed, except to give back",
                      "forget the binding when unbind_adapter has returned; only returns and completions may follow")
DPR_AT_WRONG_LEVEL = Rule("100", "DprAtWrongLevel", "V2", "a Dpr form is called at another level than DISPATCH",
                          "call the plain form unless the code always runs at DISPATCH", "raise")
LOOKAHEAD_OVER = Rule("101", "LookaheadUsedAfterCall", "A0", "data of a frame is asked for outside the receive call that shows it, or a second time within it",
                      "call transfer_data once, for the context that receive was given, before receive returns")

RULES: tuple[Rule, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Rule))
"""Every rule that this version enforces, in the order of the id."""


class Absent(NamedTuple):
    """A rule of a kernel's verifiers that is not enforced here, and why."""

    id: str
    name: str
    reason: str


ABSENT: tuple[Absent, ...] = (
    Absent("06", "StaleHandleReturn", "a packet is the same object for as long as its pool lives, so there is no handle that could be stale; a late return is rule 04 or 05"),
    Absent("20", "IndicateToClosedBinding", "the library itself chooses whom a packet is shown to, and shows nothing to a binding that closes"),
    Absent("22", "ReferenceImbalance", "references are counted by the library only; the audit compares them, and every state is tried by a test"),
    Absent("24", "PrematureReclaim", "the library's own reference keeps a packet until the last handler has answered; every state is tried by a test"),
    Absent("41", "DescriptorCookieCorrupted", "a descriptor is a Python object, whose fields no driver can write"),
    Absent("47", "FreshDescriptorNotReset", "only the library resets a packet; the audit looks at free ones"),
    Absent("91", "ReclaimOutsideReturnPacket", "the packet is indicated then: to free it is rule 34, to indicate it again rule 17"),
    Absent("97", "HaltReturnedTooEarly", "halt is called when every packet is back, or was taken back by force; what is out after it is rule 61"),
    Absent("99", "UnbindOrder", "the library clears the filter, and ends a binding only when nothing of it is out; what is held then is rule 60"),
)
"""What nothing here can break, in the order of the id."""
