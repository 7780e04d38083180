"""
Locks, and what is done to numbers and lists under one.

Next: `time.py`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from vnic import locks
from vnic.ndis5.constants import LIST_ENTRY, LOCK_STATE, NDIS_RW_LOCK, NDIS_SPIN_LOCK

T = TypeVar("T")


def NdisAllocateSpinLock() -> NDIS_SPIN_LOCK:
    return NDIS_SPIN_LOCK()


def NdisFreeSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.free()


def NdisAcquireSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.acquire()


def NdisReleaseSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.release()


def NdisDprAcquireSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.dpr_acquire()


def NdisDprReleaseSpinLock(SpinLock: NDIS_SPIN_LOCK) -> None:
    SpinLock.dpr_release()


def NdisInitializeReadWriteLock() -> NDIS_RW_LOCK:
    return NDIS_RW_LOCK()


def NdisAcquireReadWriteLock(Lock: NDIS_RW_LOCK, fWrite: bool) -> LOCK_STATE:
    return Lock.acquire(write=fWrite)


def NdisReleaseReadWriteLock(Lock: NDIS_RW_LOCK, LockState: LOCK_STATE) -> None:
    Lock.release(LockState)


def NdisInterlockedIncrement(Addend: locks.Interlocked) -> int:
    return locks.interlocked_increment(Addend)


def NdisInterlockedDecrement(Addend: locks.Interlocked) -> int:
    return locks.interlocked_decrement(Addend)


def NdisInterlockedAddUlong(Addend: locks.Interlocked, Increment: int, SpinLock: NDIS_SPIN_LOCK) -> None:
    locks.interlocked_add(Addend, Increment, SpinLock)


def NdisInitializeListHead() -> LIST_ENTRY[Any]:
    return LIST_ENTRY()


def NdisInterlockedInsertHeadList(ListHead: LIST_ENTRY[T], ListEntry: T, SpinLock: NDIS_SPIN_LOCK) -> T | None:
    return ListHead.insert_head(ListEntry, SpinLock)


def NdisInterlockedInsertTailList(ListHead: LIST_ENTRY[T], ListEntry: T, SpinLock: NDIS_SPIN_LOCK) -> T | None:
    return ListHead.insert_tail(ListEntry, SpinLock)


def NdisInterlockedRemoveHeadList(ListHead: LIST_ENTRY[T], SpinLock: NDIS_SPIN_LOCK) -> T | None:
    return ListHead.remove_head(SpinLock)
