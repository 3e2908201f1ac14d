"""Download and conversion of the authors' released weights (`relo weights fetch`, `convert`)."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from agents.network.checkpoints import save_checkpoint
from agents.network.network import RELONetwork
from relo_env.errors import CheckpointError, ConfigError, unknown
from relo_env.files import digest_file

HUB_REPOSITORY = "xche32/RELO"
"""The authors' repository on the Hugging Face hub."""

_ENCODERS = {
    "t256": "fast_itpn_tiny_1600e_1k.pt",
    "b256": "fast_itpn_base_clipl_e1600.pt",
    "l256": "fast_itpn_large_1600e_1k.pt",
}
STAGES = ("policy", "warmup", "encoder")
"""Released files of each preset."""


def released_file(preset: str, stage: str = "policy") -> str:
    """Path of a released file inside the hub's repository.

    Raises:
        ConfigError: no such preset or stage was released.
    """
    if preset not in _ENCODERS:
        raise ConfigError(unknown("released preset", preset, _ENCODERS))
    if stage not in STAGES:
        raise ConfigError(unknown("stage", stage, STAGES))
    return {
        "policy": f"checkpoints/train/relo/relo_{preset}/RELO_ep0090.pth.tar",
        "warmup": f"checkpoints/train/relo_warmup/relo_warmup_{preset}/RELO_WARMUP_ep0090.pth.tar",
        "encoder": f"pretrained/itpn/{_ENCODERS[preset]}",
    }[stage]


def fetch(preset: str, stage: str = "policy", folder: str | Path | None = None) -> Path:
    """Download a released file; an interrupted download is resumed, its hash is checked.

    Args:
        preset: ``"t256"``, ``"b256"`` or ``"l256"``.
        stage: one of `STAGES`.
        folder: folder of the file; None: the hub's cache.

    Raises:
        ConfigError: no such release, or huggingface_hub is not installed.
        CheckpointError: the hub cannot be reached.
    """
    name = released_file(preset, stage)
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise ConfigError(
            "Fetching weights needs huggingface_hub: pip install '.[hub]'."
        ) from error
    try:
        path = Path(hub.hf_hub_download(HUB_REPOSITORY, name, local_dir=folder))
    except Exception as error:
        raise CheckpointError(
            f"Could not get {name} from the hub: {error}. Offline, download it elsewhere from "
            f"https://huggingface.co/{HUB_REPOSITORY}/blob/main/{name} and pass its path to "
            f"`relo weights convert {preset} FILE {preset}.safetensors`."
        ) from error
    expected, found = _published_hash(name), digest_file(path, 64)
    if expected is not None and found != expected:
        path.resolve().unlink()  # in the hub's cache the path is a link to the file
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} was damaged on its way: its SHA-256 is {found}, expected {expected}. It was "
            "removed; fetch it again."
        )
    return path


def _published_hash(name: str) -> str | None:
    """SHA-256 of a released file, None where the hub does not say.

    That is so offline, where the file came out of the cache, and for files so small that the hub's
    tag is another hash.
    """
    import huggingface_hub as hub

    try:
        tag = hub.get_hf_file_metadata(hub.hf_hub_url(HUB_REPOSITORY, name)).etag or ""
    except Exception:
        return None
    return tag if re.fullmatch("[0-9a-f]{64}", tag) else None


def convert(preset: str, source: str | PathLike[str], target: str | PathLike[str]) -> Path:
    """Write a released RELO or RELO_WARMUP checkpoint as a RELO checkpoint (safetensors).

    Raises:
        ConfigError: the preset is not an official one.
        CheckpointError: the file cannot be read or does not fit the preset.
    """
    network = RELONetwork.from_preset(preset)
    lacking = network.load_official(source)
    return save_checkpoint(network, target, stage="warmup" if lacking else "policy")
