"""Checks of users' arguments against type hints, and imports by name.

Every message has one form: ``NAME is VALUE; expected KIND.``
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from math import inf
from numbers import Integral, Real
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from relo_env.errors import ArgumentError, ConfigError, nearest


@dataclass(frozen=True)
class Bound:
    """Range of a finite number, the second part of an ``Annotated`` type hint.

    Attributes:
        words: the range in messages: ``"an int > 0"``.
        least: lower limit.
        included: the lower limit is in the range.
        most: upper limit, in the range; infinity never is.
    """

    words: str
    least: float
    included: bool = False
    most: float = inf

    def holds(self, value: float) -> bool:
        """True if a number is in the range."""
        above = value >= self.least if self.included else value > self.least
        return above and value <= self.most and value != inf


LARGEST = 2**63 - 1
"""Largest number that arrays hold."""
PositiveInt = Annotated[int, Bound("an int > 0", 0, most=LARGEST)]
NonNegativeInt = Annotated[int, Bound("an int >= 0", 0, included=True, most=LARGEST)]
Seed = Annotated[int, Bound(f"an int from 0 to {2**32 - 1}", 0, included=True, most=2**32 - 1)]
"""Seed that numpy, torch and Stable-Baselines3 take."""
Workers = Annotated[int, Bound("an int from 0 to 1024", 0, included=True, most=1024)]
"""Number of processes beside this one."""
PositiveFloat = Annotated[float, Bound("a number > 0", 0)]
NonNegativeFloat = Annotated[float, Bound("a number >= 0", 0, included=True)]
Share = Annotated[float, Bound("a number from 0 to 1", 0, included=True, most=1)]
Finite = Annotated[float, Bound("a finite number", -inf)]

_PLAIN: Mapping[Any, tuple[Any, str]] = {
    bool: ((bool, np.bool_), "True or False"),
    int: (Integral, "an int"),
    float: (Real, "a number"),
    str: (str, "a string"),
    NoneType: (NoneType, "None"),
}


def check(name: str, value: Any, hint: Any) -> None:
    """Check a value against a type hint.

    Checked are numbers, strings, booleans, None, `Literal`, `Bound`, callables, `Mapping`,
    `Sequence` (not empty) and unions of them. A value passes where the hint is of another kind.

    Raises:
        ConfigError: the value does not fit the hint; NaN never fits a number.
    """
    if not _fits(value, hint):
        most = (
            f" of at most {LARGEST}" if isinstance(value, Integral) and int(value) > LARGEST else ""
        )
        raise ConfigError(f"{name} is {value!r}; expected {_words(hint)}{most}.")


def check_fields(config: Any) -> None:
    """Check the fields of a dataclass against their type hints; raises as `check` does."""
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        check(name, getattr(config, name), hint)


def check_arguments(whose: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Check that a function accepts keyword arguments, by name and by type hint.

    Args:
        whose: beginning of the messages: ``"Tracker 'static'"``.
        function: class or function to be called.
        arguments: its keyword arguments.

    Raises:
        ArgumentError: one is missing or unknown.
        ConfigError: one does not fit its hint; see `check`.
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
        names = list(signature.parameters)
        unknown = [name for name in arguments if name not in names]
        near = [n for name in unknown for n in get_close_matches(name, names, n=1)]
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        known = ", ".join(names) or "none"
        raise ArgumentError(f"{whose}: {error}; known: {known}.{hint}") from None
    hints = _hints(function)
    for name in arguments.keys() & hints:
        check(f"{whose}: {name}", arguments[name], hints[name])


def parameters_of(cls: type) -> dict[str, Any]:
    """Keyword parameters of a class's constructor and of its bases' that ``**kwargs`` reaches.

    Returns:
        Type hint by name; `Any` where the hint is missing or cannot be resolved.
    """
    found: dict[str, Any] = {}
    for owner in cls.__mro__:
        if "__init__" not in vars(owner):
            continue
        constructor = vars(owner)["__init__"]
        hints, parameters = _hints(constructor), inspect.signature(constructor).parameters.values()
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        found = {name: hints.get(name, Any) for name in named[1:]} | found  # without self
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return found


def check_known(whose: str, arguments: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Check keyword arguments against known names and their hints, such as `parameters_of`.

    Raises:
        ArgumentError: a name is unknown.
        ConfigError: a value does not fit; see `check`.
    """
    for name, value in arguments.items():
        if name not in hints:
            raise ArgumentError(f"{whose} has no option {name!r}. {nearest(name, hints)}")
        check(f"{whose}: {name}", value, hints[name])


def import_named(path: str, kind: str) -> Any:
    """Import the object that ``"module:name"`` names; ``"module:Class.method"`` works too.

    Args:
        path: the name; the module may be in the current folder where `relo` was called.
        kind: beginning of the messages: ``"Tracker"``.

    Raises:
        ConfigError: the path is not of this form, the module cannot be imported, or it has no such
            name.
    """
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise ConfigError(f"{kind} {path!r} is not named; expected 'module:name'.")
    try:
        return resolve_name(path)
    except ModuleNotFoundError as error:
        inside = module == error.name or module.startswith(f"{error.name}.")
        who = "no module" if inside else f"{module} imports a module that is not installed,"
        raise ConfigError(
            f"{kind} {path!r}: {who} {error.name!r}; install it or add its folder to PYTHONPATH."
        ) from error
    except Exception as error:
        if module in sys.modules:  # imported, so the name is at fault
            known = [name for name in vars(sys.modules[module]) if not name.startswith("_")]
            advice = nearest(attribute, known)
            raise ConfigError(
                f"{kind} {path!r}: there is no {attribute!r} in {module}. {advice}"
            ) from None
        raise ConfigError(
            f"{kind} {path!r} cannot be imported: {type(error).__name__}: {error}."
        ) from error


def _hints(function: Any) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    try:
        function = vars(function)["__init__"] if isinstance(function, type) else function
        return get_type_hints(function, include_extras=True)
    except (KeyError, NameError, TypeError):  # inherited, or seen by a type checker only
        return {}


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is Annotated:
        bounds = [part for part in parts[1:] if isinstance(part, Bound)]
        return _fits(value, parts[0]) and all(bound.holds(value) for bound in bounds)
    if kind is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind is Callable:
        return callable(value)
    if kind in (Mapping, dict):
        return isinstance(value, Mapping)
    if kind is Sequence:
        items = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
        return items and len(value) > 0 and all(_fits(item, parts[0]) for item in value)
    if hint not in _PLAIN:
        return True
    if isinstance(value, bool | np.bool_):  # which Python takes for a number
        return hint is bool
    is_nan = hint is float and value != value  # `isnan` fails on integers beyond float64
    return isinstance(value, _PLAIN[hint][0]) and not is_nan


def _words(hint: Any) -> str:
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(_words, parts))
    if kind is Annotated:
        return next((part.words for part in parts if isinstance(part, Bound)), _words(parts[0]))
    if kind is Literal:
        return f"one of {list(parts)}"
    if kind is Callable:
        return "a callable"
    if kind in (Mapping, dict):
        return "a dict"
    if kind is Sequence:
        return f"a list of {_words(parts[0]).split()[-1]}s"
    return _PLAIN[hint][1] if hint in _PLAIN else getattr(hint, "__name__", str(hint))
