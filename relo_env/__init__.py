"""Visual object tracking as a Gymnasium environment.

Importing this package registers the ids ``RELO-<Dataset>-v0``, nothing else.
"""

import relo_env.opencv  # noqa: F401  (first: it explains an OpenCV that cannot be imported)

# isort: split
from relo_env.config import ClipConfig, CropConfig, EnvConfig, RewardConfig
from relo_env.crops import SearchWindow
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.registry import list_datasets, make_dataset
from relo_env.env import TrackingEnv
from relo_env.errors import (
    ArgumentError,
    CheckpointError,
    ConfigError,
    DataError,
    FrameError,
    ReloError,
)
from relo_env.proposers import BoxProposer, Proposals
from relo_env.registration import register_dataset, register_ids
from relo_env.rewards import clip_auc
from relo_env.vector_env import TrackingVectorEnv

__version__ = "0.1.0"
__all__ = [
    "ArgumentError",
    "BoxProposer",
    "CheckpointError",
    "ClipConfig",
    "ConfigError",
    "CropConfig",
    "DataError",
    "Dataset",
    "EnvConfig",
    "FrameError",
    "Proposals",
    "ReloError",
    "RewardConfig",
    "SearchWindow",
    "Sequence",
    "TrackingEnv",
    "TrackingVectorEnv",
    "clip_auc",
    "list_datasets",
    "make_dataset",
    "register_dataset",
    "register_ids",
]

register_ids()
