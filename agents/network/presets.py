"""Presets: named networks, as data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from agents.network.fast_itpn import FastITPNConfig
from agents.network.heads import HeadConfig
from agents.network.temporal import TemporalConfig
from agents.network.vit import ViTConfig, patch_size
from relo_env.config import CropConfig, sorted_controls
from relo_env.datasets.registry import find_dataset
from relo_env.errors import ConfigError, unknown


@dataclass(frozen=True)
class Preset:
    """Architecture of a network: everything but its weights.

    Attributes:
        encoder: architecture of the encoder.
        crop: the crops it reads.
        temporal: its temporal tokens.
        heads: shape of its heads.
        controls: names of the controls that it has heads for.
    """

    encoder: FastITPNConfig | ViTConfig
    crop: CropConfig
    temporal: TemporalConfig
    heads: HeadConfig = field(default_factory=HeadConfig)
    controls: tuple[str, ...] = ()


_TOWERS = HeadConfig(channels=(96, 64, 32), kernels=(1, 3, 3), norm="group")

PRESETS: dict[str, Preset] = {
    "nano": Preset(
        ViTConfig("vit_small_patch14_dinov2", depth=5, separate_blocks=2),
        CropConfig(num_templates=1, template_size=84, search_size=168, stride=14),
        TemporalConfig(num_tokens=4),
        _TOWERS,
    ),
    "micro": Preset(
        ViTConfig("test_vit", depth=3, separate_blocks=1),
        CropConfig(num_templates=1, template_size=48, search_size=64, stride=16),
        TemporalConfig(num_tokens=2),
        _TOWERS,
    ),
    "t256": Preset(
        FastITPNConfig(width=384, stem_blocks=(1, 1), depth=12),
        CropConfig(num_templates=1),
        TemporalConfig(num_tokens=4),
    ),
    "b256": Preset(
        FastITPNConfig(width=512, stem_blocks=(3, 3), depth=24),
        CropConfig(num_templates=2),
        TemporalConfig(num_tokens=32),
    ),
    "l256": Preset(
        FastITPNConfig(width=768, stem_blocks=(2, 2), depth=40),
        CropConfig(num_templates=2),
        TemporalConfig(num_tokens=32),
    ),
}
"""``micro`` is for tests: it runs in a millisecond and knows nothing."""

TIMM = "timm:"


def presets() -> list[str]:
    """Names for `RELONetwork.from_preset`, which also takes ``timm:<model>`` of any plain ViT."""
    return list(PRESETS)


def preset(name: str, **changes: Any) -> Preset:
    """The preset of a name, changed.

    Args:
        name: one of `presets`, or ``timm:<model>`` (search grid 16 x 16, template grid 8 x 8).
        changes: fields of `CropConfig`, ``temporal`` (the mode), ``num_tokens`` and ``controls``.

    Raises:
        ConfigError: an unknown name or change.
    """
    if name.startswith(TIMM):
        model = name.removeprefix(TIMM)
        patch = patch_size(model)
        crop = CropConfig(template_size=8 * patch, search_size=16 * patch, stride=patch)
        base = Preset(ViTConfig(model), crop, TemporalConfig(), _TOWERS)
    elif name in PRESETS:
        base = PRESETS[name]
    else:
        hint = f"Any plain ViT of timm can be had as '{TIMM}<model name>'."
        raise ConfigError(unknown("preset", name, PRESETS, hint))
    temporal = {
        attribute: changes.pop(key)
        for key, attribute in (("temporal", "mode"), ("num_tokens", "num_tokens"))
        if key in changes
    }
    controls = sorted_controls(changes.pop("controls", base.controls))
    known = [option.name for option in fields(CropConfig)]
    for key in changes:
        if key not in known:
            others = ["temporal", "num_tokens", "controls"]
            raise ConfigError(unknown("preset option", key, [*known, *others]))
    return replace(
        base,
        controls=controls,
        crop=replace(base.crop, **changes),
        temporal=replace(base.temporal, **temporal),
    )


OFFICIAL_SETTINGS: dict[str, dict[str | None, dict[str, Any]]] = {
    "t256": {
        None: {"window_exponent": 2.0},
        "LaSOT": {"window_exponent": 2.2},
        "LaSOText": {"window_exponent": 1.7},
        "TrackingNet": {"window_exponent": 2.0},
        "GOT10k": {"window_exponent": 3.2},
    },
    "b256": {
        None: {"window_exponent": 3.0},
        "LaSOT": {"window_exponent": 3.0},
        "LaSOText": {"window_exponent": 3.0},
        "TrackingNet": {"window_exponent": 2.0, "update_interval": 25, "update_threshold": 25.0},
        "GOT10k": {"window_exponent": 2.1, "update_interval": 3, "update_threshold": 25.0},
        "TNL2K": {"window_exponent": 1.8},
        "NfS": {"window_exponent": 2.9},
        "UAV123": {"window_exponent": 1.0},
    },
    "l256": {
        None: {"window_exponent": 2.7},
        "LaSOT": {"window_exponent": 2.9},
        "LaSOText": {"window_exponent": 2.7},
        "TrackingNet": {"window_exponent": 2.0, "update_interval": 25, "update_threshold": 20.0},
        "GOT10k": {"window_exponent": 2.7, "update_interval": 3, "update_threshold": 46.0},
        "TNL2K": {"window_exponent": 3.2},
        "NfS": {"window_exponent": 3.2},
        "UAV123": {"window_exponent": 3.8},
    },
}
"""The public code's tracker options for each preset and data set; None: any other data set."""


def official_settings(name: str | None, dataset: str | None = None) -> dict[str, Any]:
    """Options that the public code gives its tracker; data sets without any get the default ones.

    Args:
        name: an official preset.
        dataset: a data set by any name that `find_dataset` knows; None: any.

    Raises:
        ConfigError: the preset is not an official one, or there is no such data set.
    """
    if name not in OFFICIAL_SETTINGS:
        raise ConfigError(unknown("official preset", str(name), OFFICIAL_SETTINGS))
    settings = OFFICIAL_SETTINGS[name]
    found = None if dataset is None else find_dataset(dataset).name
    never: dict[str, Any] = {"update_interval": None, "update_threshold": None}
    return never | settings.get(found, settings[None])
