"""Small worlds in which zoom or renewal is needed, with a proposer that reads pixels."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents.vec import RELOVecEnv
from relo_env.config import CropConfig
from relo_env.datasets.base import Dataset, Sequence
from relo_env.proposers import Proposals
from relo_env.vector_env import TrackingVectorEnv
from tests.toys import ArrayFrames

SIDE = 16
"""[px] side of the targets; a search window is 64 px wide, 144 px at zoom 2.25."""
FRAMES = 12
"""Search frames of a clip; a video has two more for the templates."""
CROP = CropConfig(num_templates=2, template_size=32, search_size=64, stride=32)
"""Four positions."""
TOLERANCE = 36
"""Greatest difference of grey between a target and a template that still looks like it."""


class Videos(Dataset):
    """Videos of a grey square on black, one of each argument."""

    splits = ("train",)

    def __init__(self, arguments) -> None:
        super().__init__()
        self.videos = {str(argument): self.video(argument) for argument in arguments}

    @property
    def names(self):
        return tuple(self.videos)

    def load(self, name):
        return self.videos[name]

    def video(self, argument) -> Sequence:
        raise NotImplementedError


def video(name, corners, greys, visible=None) -> Sequence:
    count = FRAMES + CROP.num_templates
    visible = np.ones(count, bool) if visible is None else visible
    boxes = np.hstack([corners, np.full((count, 2), SIDE)]).astype(float)
    boxes[~visible] = 0
    frames = np.zeros((count, 160, 320, 3), np.uint8)
    for frame, grey, (x, y, w, h) in zip(frames, greys, boxes.astype(int), strict=True):
        frame[y : y + h, x : x + w] = grey
    return Sequence(name, ArrayFrames(frames), boxes, visible)


class Jumps(Videos):
    """A target that is 60 px aside from search frame ``argument`` on.

    A window of 64 px reaches 32 px far, one of 96 px 48 px, one of 144 px 72 px.
    """

    name = "Jumps"

    def video(self, argument) -> Sequence:
        corners = np.tile([150, 70], (FRAMES + 2, 1))
        corners[2 + argument :, 0] += 60
        return video(str(argument), corners, np.full(FRAMES + 2, 200))


class Fading(Videos):
    """A target that moves 4 px and turns 8 grey levels brighter a frame, and never back.

    It is hidden in the search frames ``argument`` and the next.
    """

    name = "Fading"

    def video(self, argument) -> Sequence:
        t = np.arange(FRAMES + 2)
        visible = (t != 2 + argument) & (t != 3 + argument)
        return video(str(argument), np.stack([100 + 4 * t, 70 + 0 * t], 1), 100 + 8 * t, visible)


class Matcher:
    """Proposer that sees a target which looks like a template, in a window that holds its centre.

    The cell that holds the centre proposes the true centre, with the size seen: as many times too
    large as the window is. All other cells propose the last box.

    Observation ``seen``: 1 at the position of that cell, 0 everywhere else.
    """

    extra_spaces = {"seen": gym.spaces.Box(0, 1, (CROP.num_positions,), np.float32)}
    crop = CROP

    def bind(self, num_rows):
        bound = Matcher()
        bound.greys = np.zeros((num_rows, CROP.num_templates))
        return bound

    def reset(self, rows, templates, template_boxes):
        self.greys[rows] = templates[..., 0, 16, 16]

    def renew(self, rows, templates, boxes):
        self.greys[rows, -1] = templates[:, 0, 16, 16]

    def propose(self, rows, searches, previous_boxes, target_boxes=None):
        boxes = np.repeat(previous_boxes[:, None], CROP.num_positions, axis=1)
        seen = np.zeros((len(rows), CROP.num_positions), np.float32)
        for i, row in enumerate(rows):
            cell = self._cell(searches[i], target_boxes[i], self.greys[row])
            if cell is not None:
                size = target_boxes[i, 2:] * 0.25 / previous_boxes[i, 2:]
                boxes[i, cell] = [*target_boxes[i, :2], *size]
                seen[i, cell] = 1
        return Proposals(boxes, {"seen": seen})

    def _cell(self, search, target, greys):
        x, y = target[:2]
        if not target.any() or not (0 <= x < 1 and 0 <= y < 1):
            return None
        grey = float(search[0, int(y * 64), int(x * 64)])
        return int(y * 2) * 2 + int(x * 2) if (abs(greys - grey) <= TOLERANCE).any() else None


class Seen(BaseFeaturesExtractor):
    """Numbers of the observation, without its pixels."""

    def __init__(self, observation_space) -> None:
        super().__init__(observation_space, CROP.num_positions + 1)
        self.flatten = nn.Flatten()

    def forward(self, observations):
        seen = self.flatten(observations["seen"])
        return torch.cat([seen, 1 - seen.sum(1, keepdim=True)], dim=1)


def control_world(dataset: Dataset, control: str, num_envs: int) -> RELOVecEnv:
    """Whole videos of a world, closed loop, with one control."""
    return RELOVecEnv(
        TrackingVectorEnv(
            num_envs,
            dataset,
            autoreset_mode=AutoresetMode.SAME_STEP,
            proposer=Matcher(),
            clip_length=FRAMES,
            max_stride=1,
            augment=False,
            num_threads=0,
            auc_weight=0.0,
            controls=control,
        )
    )


def mean_iou(venv: RELOVecEnv, act, steps: int = 4 * FRAMES) -> float:
    """Mean IoU over the visible frames, of a function from observations to actions."""
    observation, ious = venv.reset(), []
    for _ in range(steps):
        observation, _, _, infos = venv.step(act(observation))
        ious += [info["iou"] for info in infos if info["visible"]]
    return float(np.mean(ious))
