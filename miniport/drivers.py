"""
Drivers and filters by name: bundled ones, installed ones (entry points `vnic.protocol`), and files (`path/file.py:Class`).

Whatever a driver does wrong before it is bound ends as one `Failure` that names the driver and the line.

Next: `vnic/driver.py`, what a driver is called with once it is loaded.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard, TypeVar, get_args, get_type_hints

import msgspec

import vnic
from miniport.config import FilterConfig, ProtocolConfig, read_file
from miniport.errors import Exit, Failure
from miniport.log import escape, exception_fields, shown
from vnic.driver import ProtocolDriver
from vnic.intermediate import IntermediateDriver

D = TypeVar("D", bound=ProtocolDriver)
BUNDLED = ("arp", "capture", "classify", "hold", "icmp_echo", "sink", "udp")
"""Drivers that ship, each in the module of its name in `protocol`."""
FILTERS = ("mux", "passthru")
"""Intermediate drivers that ship, likewise."""

SHOWN_BY = ("receive_packet", "receive_packets", "receive")
"""Handlers that are shown frames; a driver without any of them only sends."""

GROUP = "vnic.protocol"
YES_NO = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}


def parse_driver(text: str) -> ProtocolConfig:
    """
    Take a command line's `SPEC key=value ...` apart, with the quoting of a shell. The key `adapter` is not the driver's, but ours.

    Raises:
        Failure: of status USAGE.
    """
    spec, options = _words("--driver", text)
    adapter = options.pop("adapter", None)
    if adapter == "":
        raise Failure(Exit.USAGE, f"--driver {shown(text)}: adapter is empty", "name the adapter, or leave it out")
    return ProtocolConfig(driver=spec, adapter=adapter, options=options)


def parse_filter(text: str) -> FilterConfig:
    """
    Take a command line's filter apart, which is written like a driver.

    Raises:
        Failure: of status USAGE.
    """
    spec, options = _words("--filter", text)
    return FilterConfig(driver=spec, options=options)


def _words(option: str, text: str) -> tuple[str, dict[str, Any]]:
    what = f"{option} {shown(text)}"
    try:
        spec, *words = shlex.split(text) or [""]
    except ValueError as error:
        raise Failure(Exit.USAGE, what, str(error).lower()) from None
    if not spec or ("=" in spec and ".py" not in spec):
        raise Failure(Exit.USAGE, what, "begin with the name of a driver, or path/file.py:Class")
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise Failure(Exit.USAGE, f"{what}: {shown(word)}", "write options as key=value")
        if key in options:
            raise Failure(Exit.USAGE, f"{what}: {escape(key)} is given twice", "give it once")
        options[key] = value
    return spec, options


def load_driver(spec: str, options: Mapping[str, Any]) -> tuple[str, ProtocolDriver]:
    """
    Find a driver's class, convert its options and make an instance; nothing is bound.

    Args:
        spec: a name, or `path/file.py:Class`; the class can be left out if the file defines only one driver.
        options: for its `__init__`; text is converted by the annotations there.

    Returns:
        The driver's name (the class's, for a file) and the instance.

    Raises:
        Failure: of status CONFIG.
    """
    name, found = _find(spec, BUNDLED)
    if issubclass(found, IntermediateDriver):
        raise Failure(Exit.CONFIG, f"driver {name} is an intermediate driver", "give it as a filter: --filter, or [[filter]]")
    return name, _make(name, found, options)


def load_filter(spec: str, options: Mapping[str, Any]) -> tuple[str, IntermediateDriver]:
    """
    Do the same for an intermediate driver.

    Raises:
        Failure: of status CONFIG.
    """
    name, found = _find(spec, FILTERS)
    if not issubclass(found, IntermediateDriver):
        raise Failure(Exit.CONFIG, f"driver {name} is no intermediate driver", "give it as a driver: --driver, or [[protocol]]")
    return name, _make(name, found, options)


def _find(spec: str, wanted: tuple[str, ...]) -> tuple[str, type[ProtocolDriver]]:
    path, _, class_name = spec.rpartition(":") if ".py:" in spec else (spec, "", "")
    if path.endswith(".py"):
        found = _pick(path, _load_file(path), class_name)
        return escape(found.__name__), found
    return escape(spec), _bundled(spec) if spec in (*BUNDLED, *FILTERS) else _installed(spec, wanted)


def _make(name: str, driver: type[D], options: Mapping[str, Any]) -> D:
    arguments = _convert(name, driver, options)
    try:
        made = driver(**arguments)
        _look_at_handlers(name, made)
    except (KeyboardInterrupt, Failure):
        raise
    except BaseException as error:
        raise _broken(name, error, file_of(driver), "mend the driver or its options") from None
    return made


def binding_names(names: Iterable[str]) -> list[str]:
    """Make the names of bindings unique: a driver given again becomes `name-2`, then `name-3`."""
    unique: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in unique:
            number += 1
            candidate = f"{name}-{number}"
        unique.append(candidate)
    return unique


def file_of(driver: type) -> str | None:
    """Name the file that a driver's class is from, as tracebacks spell it."""
    return getattr(sys.modules.get(driver.__module__), "__file__", None)


def _bundled(name: str) -> type[ProtocolDriver]:
    """Import a driver that ships, from the `protocol` beside our `vnic`: the name is common, and what is found first wins."""
    beside = Path(next(iter(vnic.__path__))).resolve().parent
    try:
        spec = importlib.util.find_spec("protocol")
    except ValueError:
        spec = None
    folders = [str(Path(folder).resolve()) for folder in (spec.submodule_search_locations or ())] if spec else []
    if str(beside / "protocol") not in folders[:1]:
        found = folders[0] if folders else (spec.origin or "without a place") if spec else "missing"
        what = f"driver {name}: the package 'protocol' that Python finds is {escape(found)}"
        raise Failure(Exit.CONFIG, what, f"it must be the one in {escape(str(beside))}; rename the other or take it from the path")
    try:
        module = importlib.import_module(f"protocol.{name}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(name, error, str(beside / "protocol" / f"{name}.py"), "install vnic again") from None
    return _pick(name, module, "")


def _installed(name: str, wanted: tuple[str, ...]) -> type[ProtocolDriver]:
    """Find a driver among the entry points; if it is not there, say what `wanted` ships."""
    # Not at the top: this import costs more than all others here, and a bundled driver does not need it.
    from importlib.metadata import entry_points

    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        known = sorted({*wanted, *points})
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {escape(near[0])}? " if near else ""
        listed = ", ".join(map(escape, known))
        raise Failure(Exit.CONFIG, f"driver {shown(name)} is unknown", f"{hint}known are {listed}, or give path/file.py:Class")
    try:
        found = points[name].load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(escape(name), error, None, "install its package again, or remove it") from None
    if not _is_driver(found):
        raise Failure(Exit.CONFIG, f"driver {escape(name)}: {shown(found)} is no class of drivers", "derive it from vnic.ProtocolDriver")
    return found


def _load_file(path: str) -> ModuleType:
    """Run a driver's file as it is now: no cached bytecode, and nothing written beside it."""
    try:
        path = str(Path(path).absolute())
    except OSError as error:
        raise Failure(Exit.CONFIG, f"driver file {escape(path)}: {error.strerror}", "give its path from the root") from None
    content = read_file(path)
    # The path is a name that no other module has; a decorator such as `dataclass` looks its class's module up.
    module = sys.modules[path] = ModuleType(path)
    module.__file__ = path
    try:
        exec(compile(content, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - to run it is what was asked for
    except BaseException as error:
        del sys.modules[path]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _broken(escape(Path(path).name), error, path, "mend the file") from None
    return module


def _pick(where: str, module: ModuleType, class_name: str) -> type[ProtocolDriver]:
    """Choose the class: the one that is named, or the only driver that the module itself defines."""
    where = escape(where)
    own = {cls.__name__: cls for cls in vars(module).values() if _is_driver(cls) and cls.__module__ == module.__name__}
    remedy = f"its classes derived from ProtocolDriver: {', '.join(map(escape, own)) or 'none'}"
    if class_name:
        named = getattr(module, class_name, None)
        if not _is_driver(named):
            raise Failure(Exit.CONFIG, f"{where} has no driver class {shown(class_name)}", remedy)
        return named
    if len(own) != 1:
        if own:
            remedy += f"; choose one: --driver {where}:{escape(next(iter(own)))}"
        raise Failure(Exit.CONFIG, f"{where} has not exactly one driver class", remedy)
    return next(iter(own.values()))


def _is_driver(found: object) -> TypeGuard[type[ProtocolDriver]]:
    return isinstance(found, type) and issubclass(found, ProtocolDriver) and found is not ProtocolDriver


def _look_at_handlers(name: str, driver: ProtocolDriver) -> None:
    """Refuse a handler that cannot be called, and one that never would be, because its name is not quite that of a handler."""
    shown_by = False
    for key, base in vars(ProtocolDriver).items():
        if key[0] == "_" or not callable(base):
            continue
        found = getattr(driver, key)
        if getattr(found, "__func__", None) is base:
            continue
        shown_by = shown_by or key in SHOWN_BY
        taken = list(inspect.signature(base).parameters)
        remedy = f"define it: def {key}({', '.join(taken)})"
        if not callable(found):
            raise Failure(Exit.CONFIG, f"driver {name}: {key} is no function", remedy)
        if any(lazy(found) for lazy in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)):
            raise Failure(Exit.CONFIG, f"driver {name}: {key} does not run when it is called", f"{remedy}, without async or yield")
        if not _takes(found, taken[1:]):
            raise Failure(Exit.CONFIG, f"driver {name}: {key} cannot be called with {', '.join(taken[1:]) or 'nothing'}", remedy)
    own = () if shown_by else sorted(set(dir(type(driver))) - set(dir(ProtocolDriver)))
    for key in own:
        near = difflib.get_close_matches(key, SHOWN_BY, 1, 0.8)
        # those of virtual connections are called by them
        if near and not key.startswith("co_") and callable(inspect.getattr_static(type(driver), key, None)):
            raise Failure(Exit.CONFIG, f"driver {name} has no handler for frames, but {escape(key)}", f"did you mean {near[0]}?")


def _takes(function: Callable[..., Any], given: list[str]) -> bool:
    """Whether a function can be called with so many arguments; of one that is not Python's nobody can say."""
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*given)
    except TypeError:
        return False
    return True


def _convert(name: str, driver: type[ProtocolDriver], options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert options to what `__init__` is annotated with, and check that none is missing or unknown."""
    init = driver.__init__
    taken = {} if init is ProtocolDriver.__init__ else dict(list(inspect.signature(init).parameters.items())[1:])
    any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    named = {key: p for key, p in taken.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    try:
        hints = get_type_hints(init, include_extras=True) if named else {}
    except Exception as error:
        raise _broken(name, error, file_of(driver), "mend the annotations of __init__") from None
    for key in options:
        if key not in named and not any_name:
            listed = f"its options are {', '.join(map(escape, named))}" if named else "it has none"
            near = difflib.get_close_matches(key, named, 1)
            hint = f"did you mean {escape(near[0])}? " if near else ""
            raise Failure(Exit.CONFIG, f"driver {name} has no option {shown(key)}", f"{hint}{listed}")
    for key, parameter in named.items():
        if parameter.default is parameter.empty and key not in options:
            raise Failure(Exit.CONFIG, f"driver {name}: option {escape(key)} is missing", f"give {escape(key)}=...")
    return {key: _convert_one(name, key, value, hints.get(key, Any)) for key, value in options.items()}


def _convert_one(name: str, key: str, value: Any, hint: Any) -> Any:
    kinds = get_args(hint) or (hint,)
    if isinstance(value, str) and bool in kinds and str not in kinds:
        value = YES_NO.get(value.lower(), value)
    try:
        return msgspec.convert(value, hint, strict=False, dec_hook=lambda kind, given: kind(given))
    except Exception as error:
        what = f"driver {name}: option {escape(key)}={shown(value)}"
        quoted = ", so write it in quotes" if str in kinds and not isinstance(value, str) else ""
        raise Failure(Exit.CONFIG, what, escape(str(error)).replace("`", "") + quoted) from None


def _broken(name: str, error: BaseException, file: str | None, remedy: str) -> Failure:
    fields = exception_fields(error, file)
    return Failure(Exit.CONFIG, f"driver {name}: {fields['type']}: {fields['message']} ({fields['where']})", remedy)
