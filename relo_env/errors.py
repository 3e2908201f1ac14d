"""The exceptions that RELO raises for its users' mistakes and their data's faults.

Every message says what was found, what was expected, where, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReloError(Exception):
    """Base of the family: catch this to catch everything below."""


class ConfigError(ReloError, ValueError):
    """Argument, id, preset or combination of them that is not possible."""


class ArgumentError(ConfigError, TypeError):
    """A keyword argument that is missing or unknown; a TypeError too, as Python's own is."""


class DataError(ReloError):
    """A data set, a sequence or an annotation file that is missing or malformed."""


class FrameError(DataError):
    """A frame or a video that cannot be read."""


class OutputError(ReloError, OSError):
    """A file that cannot be written: disk full, folder read-only, path that is a folder."""


class TrainingError(ReloError):
    """A training that cannot go on, such as one whose weights are not finite any more."""


class CheckpointError(ReloError):
    """A weights file that is truncated, foreign, or made for another network."""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> str:
    """Message for a name that is not in a registry, with the nearest ones that are."""
    return f"Unknown {kind} {name!r}. {nearest(name, known)}{' ' + hint if hint else ''}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The names that a mistyped one may have meant, or else all of them, as a sentence."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {names}."
