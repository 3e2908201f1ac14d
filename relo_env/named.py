"""What users give by name, as ``"module:name"``, and whether it takes what is given with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from relo_env.errors import ArgumentError, ConfigError, nearest

_PLAIN: Mapping[Any, type | tuple[type, ...]] = {
    bool: (bool, np.bool_),
    int: Integral,
    float: Real,
    str: str,
    NoneType: NoneType,
}


def import_named(path: str, kind: str) -> Any:
    """What ``"module:name"`` names.

    Args:
        path: the name; the module may be in the current folder where `relo` was called.
        kind: what it was to be, for messages: ``"Tracker"``.

    Raises:
        ConfigError: it is no such name, or there is no such module, or no such name in it.
    """
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise ConfigError(f"{kind} {path!r} is not named; expected 'module:name'.")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        inside = module == error.name or module.startswith(f"{error.name}.")
        who = "no module" if inside else f"{module} imports what is not there, module"
        raise ConfigError(
            f"{kind} {path!r}: {who} {error.name!r}; install it or add its folder to PYTHONPATH."
        ) from error
    except ImportError as error:
        raise ConfigError(f"{kind} {path!r} cannot be imported: {error}.") from error
    if not hasattr(found, attribute):
        known = [name for name in vars(found) if not name.startswith("_")]
        near = nearest(attribute, known)
        raise ConfigError(f"{kind} {path!r}: there is no {attribute!r} in {module}. {near}")
    return getattr(found, attribute)


def check_arguments(whose: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """See that a function can be called with some keyword arguments.

    Values are checked where the function says that it wants a number, a string, a switch, one of a
    few values or None.

    Args:
        whose: how messages begin: ``"Tracker 'static'"``.
        function: what would be called.
        arguments: keyword arguments.

    Raises:
        ArgumentError: one is missing or unknown.
        ConfigError: one is of another kind.
    """
    if not callable(function):
        raise ConfigError(f"{whose}: {function!r} cannot be called; name a class or a function.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # of compiled code
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise ArgumentError(f"{whose}: {error}; known: {known}.") from None
    hints = _hints(function)
    for name, value in arguments.items():
        if name in hints and not _fits(value, hints[name]):
            raise ConfigError(f"{whose}: {name} is {value!r}; expected {_words(hints[name])}.")


def _hints(function: Any) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    try:
        return get_type_hints(
            vars(function)["__init__"] if isinstance(function, type) else function
        )
    except (KeyError, NameError, TypeError):  # inherited, or seen by a type checker only
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a hint says; True where a hint is not of plain kinds."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not all(kind in _PLAIN or get_origin(kind) is Literal for kind in kinds):
        return True
    for kind in kinds:
        if get_origin(kind) is Literal:
            if value in get_args(kind):
                return True
        elif isinstance(value, _PLAIN[kind]) and (kind is bool or not isinstance(value, bool)):
            return True  # Python takes a bool for a number
    return False


def _words(hint: Any) -> str:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return " or ".join(
        " or ".join(map(repr, get_args(kind)))
        if get_origin(kind) is Literal
        else {bool: "True or False", NoneType: "None"}.get(kind, f"{kind.__name__}")
        for kind in kinds
    )
