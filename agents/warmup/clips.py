"""Batches of clips for stage 1, loaded to the device, and a network's outputs on them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from agents.network import RELONetwork, normalize_crops
from relo_env.config import ClipConfig, CropConfig, EnvConfig
from relo_env.datasets.base import Dataset
from relo_env.engine import Engine
from relo_env.errors import ConfigError
from relo_env.interrupts import starting_processes
from relo_env.processes import settle_data_worker
from relo_env.proposers import PreviousSizeProposer


class ClipBatch(NamedTuple):
    """Clips of one step: N clips of T search frames.

    Attributes:
        templates: uint8 ``(N, K, 3, Hz, Wz)``.
        template_boxes: float32 ``(N, K, 4)``, xywh as fractions of the crop.
        searches: uint8 ``(T, N, 3, Hx, Wx)``.
        targets: float32 ``(T, N, 4)``, cxcywh01 of the search crop.
    """

    templates: Tensor
    template_boxes: Tensor
    searches: Tensor
    targets: Tensor


class ClipBatches(torch.utils.data.Dataset[ClipBatch]):
    """Endless sequence of batches; index i gives the same clips in any process.

    Clips and crops are those of the environment with ``search_window="jittered"``.

    Args:
        dataset: source of the clips.
        crop: sizes of the crops.
        clips: clips a batch.
        clip_length: search frames a clip.
        max_interval: reach of a clip's frames.
        jitter: distance of the search windows from the truth; 1 is the paper's.
        seed: first number of every clip's seed.
        part: (which, of how many) equal parts of every batch this one is, for training in several
            processes.

    Raises:
        ConfigError: the batch has no such parts.
    """

    def __init__(
        self,
        dataset: Dataset,
        crop: CropConfig,
        *,
        clips: int,
        clip_length: int,
        max_interval: int = 100,
        jitter: float = 1.0,
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        which, parts = part
        if clips % parts:
            raise ConfigError(
                f"{clips} clips a batch cannot be shared evenly among {parts} processes; give a "
                "multiple."
            )
        self.seed = seed
        self.clips = clips
        self.clip_length = clip_length
        self.part = slice(which * clips // parts, (which + 1) * clips // parts)
        clip = ClipConfig(
            search_window="jittered",
            clip_length=clip_length,
            max_interval=max_interval,
            jitter=jitter,
        )
        self.engine = Engine(
            clips // parts,
            dataset=dataset,
            proposer=PreviousSizeProposer(crop),
            config=EnvConfig(clip, action_mode="box"),
        )

    def __getitem__(self, index: int) -> ClipBatch:
        engine, rows = self.engine, range(self.engine.num_rows)
        seeds = np.random.SeedSequence([self.seed, index]).generate_state(self.clips, np.uint64)
        engine.begin(rows, engine.clips.draw(rows, seeds[self.part].tolist(), {}))
        episodes = engine.episodes
        templates = np.stack([episode.templates for episode in episodes])
        template_boxes = np.stack([episode.template_boxes for episode in episodes])
        searches, targets = [], []
        for _ in range(self.clip_length):
            engine.observe(rows)
            searches.append(engine.observation()["search"])
            boxes = [episode.target_box01 for episode in episodes]
            targets.append(np.stack(boxes))
            engine.commit(rows, boxes, engine.act(rows, boxes))
        return ClipBatch(
            torch.from_numpy(templates),
            torch.from_numpy(template_boxes),
            torch.from_numpy(np.stack(searches)),
            torch.from_numpy(np.stack(targets)).float(),
        )


def load_ahead(
    batches: ClipBatches,
    steps: Sequence[int],
    device: torch.device,
    num_workers: int = 0,
    start_method: str | None = None,
) -> Generator[ClipBatch]:
    """Batches of the given steps, in order, each copied to the device ahead of its step.

    They do not depend on the processes that make them. On a GPU a batch is copied from pinned
    memory while the step before runs. Closing the generator ends the processes.

    Args:
        batches: must pickle where processes are spawned, as the package's data sets do.
        steps: indices of the batches.
        device: their device.
        num_workers: processes that make them; 0: this one does.
        start_method: ``"fork"``, ``"spawn"`` or ``"forkserver"``; None: the platform's.
    """
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=num_workers,
        multiprocessing_context=start_method if num_workers else None,
        worker_init_fn=_settle,
        pin_memory=device.type == "cuda",
    )
    starting = starting_processes() if num_workers else nullcontext()
    with starting, _without_opencv_threads():
        made = iter(loader)
    try:
        ahead: ClipBatch | None = None
        for batch in made:
            moved = ClipBatch(*(part.to(device, non_blocking=True) for part in batch))
            if ahead is not None:
                yield ahead
            ahead = moved
        if ahead is not None:
            yield ahead
    finally:
        del made  # ends the workers, which at the interpreter's exit would be an error to torch


@contextmanager
def _without_opencv_threads() -> Iterator[None]:
    """Within, OpenCV has one thread: a forked child would wait for threads that it lacks."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _settle(worker: int) -> None:
    """Keep a worker process to one core, and leave signals to its parent."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settle_data_worker()


class ClipOutputs(NamedTuple):
    """Outputs of a network on a batch; the first frames of all clips come first.

    Attributes:
        candidates: ``(T * N, H * W, 4)`` cxcywh01.
        prior: ``(T * N, H * W)`` heat map.
        policy_logits: ``(T * N, H * W)``, if asked for.
    """

    candidates: Tensor
    prior: Tensor
    policy_logits: Tensor | None = None


def read_clips(
    network: RELONetwork, batch: ClipBatch, *, shared_prior: bool = False, policy: bool = False
) -> ClipOutputs:
    """Run a network over clips; temporal tokens pass from frame to frame without gradient.

    Args:
        network: in training or evaluation mode.
        batch: on the network's device.
        shared_prior: do not detach the prior from the encoder.
        policy: run the policy's head too.
    """
    cache = network.encode_templates(normalize_crops(batch.templates), batch.template_boxes)
    tokens, frames = None, []
    for search in normalize_crops(batch.searches):
        features, tokens = network.encode(cache, None, search, tokens)
        frames.append(features)
    features = torch.cat(frames)
    read = network.heads(features, only=("boxes", "policy") if policy else ("boxes",))
    prior = network.heads(features if shared_prior else features.detach(), only=("prior",)).prior
    assert read.candidates is not None
    assert prior is not None
    return ClipOutputs(read.candidates, prior, read.policy_logits)
