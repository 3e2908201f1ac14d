"""RELO's checkpoints: safetensors with a JSON header that names the network of the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib import metadata, resources
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from agents.confidence import Confidence
from relo_env.config import CropConfig
from relo_env.errors import CheckpointError, ConfigError, unknown
from relo_env.files import write_atomically

HEADER = "relo"
"""Key of the header in the file's metadata."""

SUFFIX = ".safetensors"


class Network(Protocol):
    """Part of a `RELONetwork` that checkpoints write and read."""

    preset_name: str | None
    changes: dict[str, Any]
    confidence: Confidence | None
    width: int
    crop: CropConfig

    @property
    def encoder(self) -> nn.Module: ...  # noqa: D102

    def state_dict(self) -> Any: ...  # noqa: D102

    def load_state_dict(self, state_dict: Any) -> Any: ...  # noqa: D102


def save_checkpoint(
    network: Network,
    path: str | PathLike[str],
    *,
    stage: str,
    metrics: dict[str, float] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a network; a reader sees the old file or the new one, never a part.

    Args:
        network: made by `RELONetwork.from_preset`.
        path: file to write.
        stage: ``"random"``, ``"warmup"`` or ``"policy"``.
        metrics: figures to go with it.
        dtype: type of the weights in the file, e.g. ``torch.float16``; None keeps theirs.

    Raises:
        ConfigError: the network was not made from a preset, from which it could be rebuilt.
    """
    if network.preset_name is None:
        raise ConfigError(
            "This network was not made by RELONetwork.from_preset, so a checkpoint cannot name its "
            "architecture. Save network.state_dict() instead."
        )
    header = {
        "preset": network.preset_name,
        "changes": network.changes,
        "stage": stage,
        "metrics": metrics or {},
        "versions": {"relo": _version("relo"), "torch": torch.__version__},
    }
    if network.confidence is not None:
        header["confidence"] = asdict(network.confidence)
    tensors = {
        name: (value.to(dtype) if dtype and value.is_floating_point() else value)
        .detach()
        .cpu()
        .contiguous()
        for name, value in network.state_dict().items()
    }
    # safetensors' save_file makes files that only their owner can read.
    write_atomically(Path(path), save(tensors, metadata={HEADER: json.dumps(header)}))
    return Path(path)


def read_header(path: str | PathLike[str]) -> dict[str, Any]:
    """Header: preset, changes, stage, metrics, versions and, if there is one, confidence.

    The weights are not read.

    Raises:
        CheckpointError: no such file, truncated, or not a RELO checkpoint.
    """
    with _opened(path) as file:
        return _header(path, file)


def load_checkpoint(network: Network, path: str | PathLike[str]) -> dict[str, Any]:
    """Load a checkpoint into a network that fits it; returns its header.

    Raises:
        CheckpointError: truncated, not a RELO checkpoint, or made for another preset.
    """
    with _opened(path) as file:
        header = _header(path, file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if (header["preset"], header["changes"]) != (network.preset_name, network.changes):
        raise CheckpointError(
            f"{path} holds preset {header['preset']!r} with changes {header['changes']}, but this "
            f"network is {network.preset_name!r} with changes {network.changes}. Use "
            "RELONetwork.from_checkpoint(path) to get the network that fits."
        )
    confidence = _confidence(path, header)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} says it is preset {header['preset']!r} but its entries do not fit: {error} "
            f"It was written by relo {header['versions'].get('relo')}."
        ) from error
    network.confidence = confidence or network.confidence
    return header


def find_checkpoint(name_or_path: str | PathLike[str]) -> Path:
    """A checkpoint file, or the one that ships with a preset.

    Raises:
        CheckpointError: neither a file nor a preset that ships.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        inside = sorted(path.glob(f"*{SUFFIX}"))
        hint = f" Did you mean {inside[0]}?" if inside else " Look at the path."
        raise CheckpointError(f"There is no checkpoint file {path}.{hint}")
    shipped = Path(str(resources.files("agents") / "pretrained"))
    names = sorted(file.stem for file in shipped.glob(f"*{SUFFIX}"))
    if str(name_or_path) in names:
        return shipped / f"{name_or_path}{SUFFIX}"
    raise CheckpointError(
        unknown(
            "checkpoint",
            str(name_or_path),
            names,
            "Expected the path of a .safetensors checkpoint or a preset whose weights ship.",
        )
    )


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {error}. Expected a complete .safetensors "
            "file written by relo; official .pth.tar files go through `relo weights convert`."
        ) from error


_HEADER_TYPES = {"preset": str, "changes": dict, "stage": str, "metrics": dict, "versions": dict}


def _header(path: str | PathLike[str], file: Any) -> dict[str, Any]:
    """Header of an open file, its entries checked.

    Raises:
        CheckpointError: there is none, it is not JSON, or an entry is missing or of another type.
    """
    text = (file.metadata() or {}).get(HEADER)
    if text is None:
        raise CheckpointError(
            f"{path} is a safetensors file without relo's header, so its preset is unknown; "
            "expected a checkpoint written by RELONetwork.save_checkpoint."
        )
    try:
        header = json.loads(text)
    except ValueError as error:
        raise CheckpointError(
            f"The header of {path} is damaged: {error}. Get another copy of the file."
        ) from error
    entries = header if isinstance(header, dict) else {}
    wrong = [name for name, kind in _HEADER_TYPES.items() if type(entries.get(name)) is not kind]
    if wrong:
        raise CheckpointError(
            f"The header of {path} is damaged: {', '.join(wrong)} missing or of another type. "
            "Get another copy of the file."
        )
    return header


def _confidence(path: str | PathLike[str], header: dict[str, Any]) -> Confidence | None:
    """Confidence of a header; None where there is none, or one of an earlier kind.

    Raises:
        CheckpointError: it is not three finite numbers.
    """
    found = header.get("confidence")
    if found is None or (isinstance(found, dict) and "agreement" in found):
        return None
    try:
        confidence = Confidence(**found)
        fits = all(math.isfinite(number) for number in asdict(confidence).values())
    except (OverflowError, TypeError):
        fits = False
    if not fits:
        names = ", ".join(field.name for field in fields(Confidence))
        raise CheckpointError(
            f"The confidence in {path} is damaged; expected numbers: {names}. Get another "
            "copy of the file, or measure it anew."
        )
    return confidence


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
