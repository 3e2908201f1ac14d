"""Stage 1: supervised training of encoder and box regression.

Boxes are supervised at the position of the true centre only, so this stage does not learn where to
look (paper). On detached features it also trains the heat-map prior, the baseline of stage 2.
"""

from agents.warmup.clips import ClipBatch, ClipBatches, read_clips
from agents.warmup.config import WarmupConfig
from agents.warmup.losses import WarmupLosses, warmup_loss
from agents.warmup.trainer import CHECKPOINT, STATE, Warmup, warmup

__all__ = [
    "CHECKPOINT",
    "STATE",
    "ClipBatch",
    "ClipBatches",
    "Warmup",
    "WarmupConfig",
    "WarmupLosses",
    "read_clips",
    "warmup",
    "warmup_loss",
]
