"""Claim of a folder: the settings and the data of the run whose files it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relo_env.datasets.fingerprint import fingerprint_differences
from relo_env.errors import ConfigError, ReloError
from relo_env.files import digest_file, read_json, write_json

DATA = "data"
"""Key of the fingerprints in the file."""


@dataclass(frozen=True)
class Claim:
    """Settings and data of a run, as a JSON file in its folder keeps them.

    Attributes:
        path: the file.
        settings: settings that the run's numbers depend on.
        data: `Dataset.fingerprint` of each data set that it reads, by role.
        error: class of the errors that are raised.
        advice: last sentence of their messages.
    """

    path: Path
    settings: Mapping[str, Any]
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: type[ReloError] = ConfigError
    advice: str = "Give the same settings and data as then, or another folder."

    def read(self) -> dict[str, Any]:
        """Earlier claim of the folder, {} if there is none; raises ``error`` if it is damaged."""
        return read_json(self.path, self.error) if self.path.is_file() else {}

    def check(
        self,
        then: Mapping[str, Any] | None = None,
        *,
        free: Collection[str] = (),
        free_data: Collection[str] = (),
    ) -> None:
        """Compare with the earlier claim; what that does not mention is not compared.

        The root of a data set may change: its names and boxes tell whether it is the same.

        Args:
            then: earlier claim; None: the one in the file.
            free: settings that may change.
            free_data: entries of the fingerprints that may change.

        Raises:
            ReloError: the folder holds a run of other settings or on other data.
        """
        then, now = _plain(self.read() if then is None else then), _plain(self.settings)
        changed = [k for k, v in now.items() if k not in free and then.get(k, v) != v]
        if changed:
            raise self.error(
                f"{self.path} was made with other settings: { {k: then[k] for k in changed} }; "
                f"this run has { {k: now[k] for k in changed} }. {self.advice}"
            )
        earlier = _fingerprints(then)
        for role in self.data.keys() & earlier.keys():
            found, here = (
                {k: v for k, v in data[role].items() if k not in free_data}
                for data in (earlier, _plain(self.data))
            )
            if different := fingerprint_differences(found, here):
                raise self.error(
                    f"{self.path} was made on other data ({role}): {'; '.join(different)}. "
                    f"{self.advice}"
                )

    def write(self) -> None:
        """Put the claim into the folder; earlier data of other roles stay listed."""
        data = {**_fingerprints(self.read()), **self.data}
        write_json(self.path, _plain({**self.settings, DATA: data}))


def _fingerprints(claim: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Fingerprints of a claim by role; {} in those of older versions."""
    data = claim.get(DATA)
    if not isinstance(data, dict):
        return {}
    return {role: entry for role, entry in data.items() if isinstance(entry, dict)}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back; objects become text without their address."""
    text = json.dumps(settings, default=str)
    return json.loads(re.sub(r" at 0x\w+", "", text))


WEIGHTS = {".safetensors", ".onnx", ".pt", ".pth", ".tar", ".ckpt", ".bin"}
"""Suffixes of files that hold a network's weights."""


def digests_of_weights(settings: Any) -> dict[str, str]:
    """Digests of the weights' files among settings, by path: their content makes the numbers."""
    if isinstance(settings, Mapping):
        settings = list(settings.values())
    if isinstance(settings, list | tuple):
        return {p: d for value in settings for p, d in digests_of_weights(value).items()}
    if isinstance(settings, str | Path):
        path = Path(settings)
        if path.suffix.lower() in WEIGHTS and path.is_file():
            return {str(settings): digest_file(path)}
    return {}
