"""Fingerprint of a data set: plain JSON that is equal for equal data, to compare runs by."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAX_NAMES = 1_000_000
"""Length up to which a list of names is digested whole, not only `SAMPLED_NAMES` of them."""
SAMPLED_NAMES = 1000
MAX_ITEMS = 100
"""Longer lists, tables and arrays among the options are digested instead of written out."""


def fingerprint_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Entries in which two fingerprints describe different data, as ``"name: found, expected"``.

    The folder (``root``) is not compared: the same data may have been moved.

    Args:
        found: `Dataset.fingerprint` that a state or a result folder carries.
        expected: `Dataset.fingerprint` of the data set at hand.
    """
    found, expected = _without_roots(found), _without_roots(expected)
    return [
        f"{name}: {found.get(name)!r}, expected {expected.get(name)!r}"
        for name in dict.fromkeys([*expected, *found])
        if found.get(name) != expected.get(name)
    ]


def bound_arguments(
    function: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of a call by name, defaults and those of ``**kwargs`` included.

    Incomplete calls give what there is; the call itself raises.
    """
    signature = inspect.signature(function)
    try:
        bound = signature.bind_partial(*args, **kwargs)
    except TypeError:
        return dict(kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name)
    return arguments


def digest_names(names: SequenceOf[str]) -> str:
    """Digest of a list of names and its length."""
    count = len(names)
    chosen = range(count)
    if count > MAX_NAMES:
        chosen = range(0, count, count // SAMPLED_NAMES)
    return digest(str(count), *(names[i] for i in chosen))


def digest(*parts: str | bytes) -> str:
    """Digest of texts and bytes, in 16 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:16]


def plain(value: Any) -> Any:
    """An option as plain JSON.

    Data sets become their fingerprints, dataclasses their fields, classes and functions their
    names, long lists and arrays a digest. Any other object becomes the name of its class.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if hasattr(value, "fingerprint"):
        return value.fingerprint
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return _short({str(key): plain(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return _short([plain(item) for item in value])
    if isinstance(value, set | frozenset):
        return _short(sorted((plain(item) for item in value), key=str))
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"


def _plain_array(array: np.ndarray) -> Any:
    if array.size <= MAX_ITEMS and array.dtype.kind in "biufU":
        return array.tolist()
    content = (
        str(array.tolist()) if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()
    )
    return {"array": list(array.shape), "digest": digest(str(array.dtype), content)}


def _short(items: Any) -> Any:
    return items if len(items) <= MAX_ITEMS else {"items": len(items), "digest": digest(str(items))}


def _without_roots(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_roots(item) for key, item in value.items() if key != "root"}
    return [_without_roots(item) for item in value] if isinstance(value, list | tuple) else value
