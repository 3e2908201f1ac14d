"""Stage 1: encoder and box regression learn to read a good box off a given position.

The paper says nothing about *where* to look in this stage: a box is supervised at the position of
the true centre only. Beside it, on detached features, the heat-map prior is
trained, which is the baseline that the policy stage has to beat.
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
