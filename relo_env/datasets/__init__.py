"""Tracking data sets: sequences of annotated frames, by name."""

from relo_env.datasets.base import Dataset, FrameSource, Sequence
from relo_env.datasets.frames import ArrayFrames, ImageFrames, VideoFrames
from relo_env.datasets.registry import DatasetSpec, list_datasets, make_dataset, register_dataset

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
