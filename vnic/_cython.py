"""
A typed stand-in for the `cython` module: the uncompiled core runs without Cython.

A compiled module (those that `vnic/core.py` names) puts these lines on top, and its C imports below them:

    if TYPE_CHECKING:
        import cython
    else:
        from vnic import _cython as cython

    if cython.compiled:
        from cython.cimports.libc.string import memset

The first import is for the compiler, which takes every later `cython.name` for its own once it has seen it; it never runs. So
a Python run always uses this module, also where the real one is installed (importing that costs 19 ms, and its
`critical_section` excludes nobody).

Everything here does nothing, except `critical_section`. Add a name when the core needs it.

Next: `vnic/packet.py`.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar, overload

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])

compiled: Final[bool] = False

int: TypeAlias = builtins.int
uint: TypeAlias = builtins.int
char: TypeAlias = builtins.int
uchar: TypeAlias = builtins.int
short: TypeAlias = builtins.int
ushort: TypeAlias = builtins.int
long: TypeAlias = builtins.int
ulong: TypeAlias = builtins.int
longlong: TypeAlias = builtins.int
ulonglong: TypeAlias = builtins.int
size_t: TypeAlias = builtins.int
Py_ssize_t: TypeAlias = builtins.int
bint: TypeAlias = builtins.bool
float: TypeAlias = builtins.float
double: TypeAlias = builtins.float
void: TypeAlias = None

# Uncompiled code has no addresses: what it keeps in such an attribute instead is its own affair.
p_void: TypeAlias = Any
p_char: TypeAlias = Any
p_uchar: TypeAlias = Any
p_short: TypeAlias = Any
p_ushort: TypeAlias = Any
p_int: TypeAlias = Any
p_uint: TypeAlias = Any
p_longlong: TypeAlias = Any
p_ulonglong: TypeAlias = Any


def _unchanged(target: _T) -> _T:
    return target


cclass = cfunc = ccall = inline = final = _unchanged


def locals(**_types: Any) -> Callable[[_F], _F]:
    return _unchanged


def returns(_type: Any) -> Callable[[_F], _F]:
    return _unchanged


def exceptval(_value: Any = None, *, check: builtins.bool = False) -> Callable[[_F], _F]:
    return _unchanged


def declare(type_: Any, value: Any = None, *, visibility: str = "private") -> Any:
    """Without a value: what C starts with, 0 for a number and None for an object."""
    return type_() if value is None and type_ in (builtins.int, builtins.bool) else value


def cast(_type: Any, value: Any, *, typecheck: builtins.bool = False) -> Any:
    return value


def pointer(_type: Any) -> Any:
    return Any


def likely(condition: _T) -> _T:
    return condition


unlikely = likely


class _Switch:
    """A directive, in its three spellings: `@nogil`, `@boundscheck(False)`, `with nogil:`."""

    @overload
    def __call__(self, target: builtins.bool) -> Callable[[_T], _T]: ...
    @overload
    def __call__(self, target: _F) -> _F: ...
    def __call__(self, target: Any) -> Any:
        return _unchanged if isinstance(target, bool) else target

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        pass


nogil = gil = no_gc = no_gc_clear = boundscheck = wraparound = cdivision = initializedcheck = nonecheck = _Switch()
auto_pickle = freelist = annotation_typing = embedsignature = overflowcheck = _Switch()

_exclusive = threading.RLock()


class critical_section:
    """
    Keep every other thread out of every section until this one ends.

    Uncompiled code can lose the GIL between any two bytecodes, so this is a real lock, one for all objects: sections nest, and
    locks taken per object in changing order would deadlock. Compiled, it is free under the GIL, and exclusive as long as the
    section runs no Python code and lets the GIL go nowhere.
    """

    def __init__(self, _first: object, _second: object = None) -> None:
        pass

    def __enter__(self) -> None:
        _exclusive.acquire()

    def __exit__(self, *_error: object) -> None:
        _exclusive.release()
