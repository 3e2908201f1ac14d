"""Models from untrusted files: SB3's zip read without unpickling anything."""

from __future__ import annotations

import inspect
import json
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from relo_env.checks import parameters_of
from relo_env.errors import CheckpointError, ConfigError

Algorithm = TypeVar("Algorithm", bound=OnPolicyAlgorithm)


def load_untrusted(
    algorithm: type[Algorithm], path: str | Path, env: Any, **arguments: Any
) -> Algorithm:
    """Build an algorithm anew, with the weights and the plain settings of a zip.

    Settings that the zip holds as pickles, such as schedules and callables, are left out: their
    arguments have their defaults unless given.

    Args:
        algorithm: class of the model.
        path: file written by ``model.save``.
        env: environment of the model.
        arguments: of the constructor; they replace those of the zip.

    Raises:
        ConfigError: no environment.
        CheckpointError: the file is missing, damaged, or of another algorithm or network.
    """
    if env is None:
        raise ConfigError(
            "trusted=False builds the model anew: give its environment, "
            f"{algorithm.__name__}.load(path, env=venv, trusted=False)."
        )
    path = Path(path)
    path = path if path.exists() or path.suffix else path.with_suffix(".zip")
    fixed = {"credit", "candidates"} - inspect.signature(algorithm).parameters.keys()
    known = parameters_of(algorithm).keys() - {"policy", "env", "device"} - fixed
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
        plain = {name: data[name] for name in known & data.keys() if _is_plain(data[name])}
        settings = {**plain, **arguments}
        model = algorithm(settings.pop("policy", "RELOPolicy"), env, **settings)
        model.set_parameters(str(path), device=model.device)
        model.num_timesteps = int(data["num_timesteps"])
    except (
        OSError, zipfile.BadZipFile, UnpicklingError, AttributeError, KeyError, RuntimeError,
        TypeError, ValueError,
    ) as error:  # fmt: skip
        if isinstance(error, ConfigError):
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError(
            f"{path} cannot be loaded as {algorithm.__name__} without its pickles: "
            f"{type(error).__name__}: {reason} Expected a file of {algorithm.__name__}.save for "
            "the same network and environment."
        ) from error
    return model


def _is_plain(value: Any) -> bool:
    """True if an entry of SB3's JSON is the value itself, not a pickle in base64."""
    return not (isinstance(value, dict) and ":serialized:" in value)
