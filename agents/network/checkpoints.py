"""Our own checkpoints: safetensors with a JSON header that says what the weights belong to."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from importlib import metadata, resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from agents.confidence import Confidence
from relo_env.errors import CheckpointError, ConfigError, unknown

if TYPE_CHECKING:
    from agents.network.network import RELONetwork

HEADER = "relo"
"""Key of the header in the file's metadata."""

SUFFIX = ".safetensors"


def save_checkpoint(
    network: RELONetwork,
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
        dtype: of the weights in the file, e.g. ``torch.float16`` for one to ship; None keeps them.

    Raises:
        ConfigError: the network was not made from a preset, so nobody could rebuild it.
    """
    if network.preset_name is None:
        raise ConfigError(
            "This network was not made by RELONetwork.from_preset; a checkpoint could not say "
            "what to build for it. Save network.state_dict() instead."
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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Written by hand: safetensors' save_file makes files that only their owner can read.
        temporary.write_bytes(save(tensors, metadata={HEADER: json.dumps(header)}))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_header(path: str | PathLike[str]) -> dict[str, Any]:
    """Preset, changes, stage, metrics, versions and, where it was measured, confidence.

    Raises:
        CheckpointError: no such file, truncated, or none of ours.
    """
    return _read(path)[0]


def load_checkpoint(network: RELONetwork, path: str | PathLike[str]) -> dict[str, Any]:
    """Load a checkpoint into a network that fits it; returns its header.

    Raises:
        CheckpointError: truncated, none of ours, or made for another preset.
    """
    header, tensors = _read(path)
    if (header["preset"], header["changes"]) != (network.preset_name, network.changes):
        raise CheckpointError(
            f"{path} holds preset {header['preset']!r} with changes {header['changes']}, but this "
            f"network is {network.preset_name!r} with changes {network.changes}. Use "
            "RELONetwork.from_checkpoint(path) to get the network that fits."
        )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} says it is preset {header['preset']!r} but its entries do not fit: {error} "
            f"It was written by relo {header['versions'].get('relo')}."
        ) from error
    if "confidence" in header:
        found = header["confidence"]
        network.confidence = Confidence(**{**found, "features": tuple(found.get("features", ()))})
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


def _read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {error}. Expected a complete .safetensors "
            "file written by relo; official .pth.tar files go through `relo weights convert`."
        ) from error
    if header is None:
        raise CheckpointError(
            f"{path} is a safetensors file without relo's header, so its preset is unknown; "
            "expected a checkpoint written by RELONetwork.save_checkpoint."
        )
    return json.loads(header), tensors


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
