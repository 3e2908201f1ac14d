"""Tracking data sets: sequences of annotated frames, by name."""

from typing import TYPE_CHECKING, Any

from relo_env.datasets.base import Dataset, FrameSource, Sequence
from relo_env.datasets.frames import ArrayFrames, ImageFrames
from relo_env.datasets.registry import DatasetSpec, list_datasets, make_dataset, register_dataset

if TYPE_CHECKING:
    from relo_env.video import VideoFrames

__all__ = [
    "ArrayFrames",
    "Dataset",
    "DatasetSpec",
    "FrameSource",
    "ImageFrames",
    "Sequence",
    "VideoFrames",
    "list_datasets",
    "make_dataset",
    "register_dataset",
]


def __getattr__(name: str) -> Any:
    """`VideoFrames`, with which PyAV is imported: machines without video need none."""
    if name == "VideoFrames":
        from relo_env.video import VideoFrames

        return VideoFrames
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
