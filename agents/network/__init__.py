"""Networks: encoders, temporal tokens, heads, presets and checkpoints of `RELONetwork`."""

from agents.network.heads import HEADS, HeadOutputs
from agents.network.network import RELONetwork, TemplateCache, normalize_crops
from agents.network.presets import Preset, preset, presets
from agents.network.temporal import TemporalConfig, TokenState

__all__ = [
    "HEADS",
    "HeadOutputs",
    "Preset",
    "RELONetwork",
    "TemplateCache",
    "TemporalConfig",
    "TokenState",
    "normalize_crops",
    "preset",
    "presets",
]
