"""Import of what users name as ``"module:name"``."""

from __future__ import annotations

import sys
from pkgutil import resolve_name
from typing import Any

from relo_env.errors import ConfigError, nearest


def import_named(path: str, kind: str) -> Any:
    """Import the object that ``"module:name"`` names; ``"module:Class.method"`` works too.

    Args:
        path: the name; the module may be in the current folder where `relo` was called.
        kind: begin of the messages: ``"Tracker"``.

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
