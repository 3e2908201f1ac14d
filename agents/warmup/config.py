"""Settings of stage 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.warmup.losses import SUPERVISION
from relo_env.checks import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Seed,
    Workers,
    check_fields,
)
from relo_env.errors import ConfigError, unknown


@dataclass(frozen=True)
class WarmupConfig:
    """Settings of stage 1, the warm-up.

    Attributes:
        steps: gradient steps; ignored with ``minutes``.
        minutes: duration of the run, resumed parts included. The number of steps, from which the
            fall of the learning rates follows, is fitted to the rate of the second quarter.
        clips: clips a step.
        clip_length: search frames of a clip; temporal tokens pass from one to the next.
        max_interval: frames of a clip lie within this many frames of a base frame.
        jitter: distance of the search windows from the truth; 1 is the paper's.
        learning_rate: learning rate of heads, temporal tokens and type embeddings.
        encoder_learning_rate: learning rate of the rest of the encoder, which is usually
            pretrained.
        frozen: prefixes of parameter names that are not trained.
        weight_decay: weight decay of AdamW.
        max_gradient_norm: gradients are scaled down to this norm.
        supervision: positions whose boxes are supervised, see `agents.warmup.losses.warmup_loss`.
        shared_prior: let the prior's loss train the encoder too, as the public code does.
        policy_weight: weight of the policy's expected gradient, which also trains the encoder; 0,
            as in the paper, leaves the policy to stage 2.
        entropy_weight: weight of the policy's entropy. The best policy is then
            ``softmax(IoU / entropy_weight)`` of the expected IoU.
        augment_pixels: mirror, change colour and sharpness on the device, see
            `agents.warmup.pixels.augment_pixels`.
        views: times that each clip is in a step, each time in another look of ``augment_pixels``:
            more work for a GPU that waits for its data.
        amp: bfloat16 autocast.
        seed: every clip follows from it and from the step's number.
        num_workers: processes that make clips; 0 makes them in this one.
        start_method: fork, spawn or forkserver for these processes; None: the platform's default.
        save_every: steps between two checkpoints.
        log_every: steps between two logged values.
        picture_every: steps between two pictures.

    Raises:
        ConfigError: a number or name is invalid, or several views show the same pixels.
    """

    steps: PositiveInt = 10_000
    minutes: PositiveFloat | None = None
    clips: PositiveInt = 8
    clip_length: PositiveInt = 2
    max_interval: PositiveInt = 100
    jitter: NonNegativeFloat = 1.0
    learning_rate: PositiveFloat = 1e-3
    encoder_learning_rate: NonNegativeFloat = 6e-5
    frozen: tuple[str, ...] = ()
    weight_decay: NonNegativeFloat = 1e-4
    max_gradient_norm: PositiveFloat = 1.0
    supervision: str = "centre"
    shared_prior: bool = False
    policy_weight: NonNegativeFloat = 0.0
    entropy_weight: NonNegativeFloat = 0.0
    augment_pixels: bool = False
    views: PositiveInt = 1
    amp: bool = False
    seed: Seed = 0
    num_workers: Workers = 0
    start_method: Literal["fork", "spawn", "forkserver"] | None = None
    save_every: PositiveInt = 200
    log_every: PositiveInt = 10
    picture_every: PositiveInt = 100

    def __post_init__(self) -> None:
        if self.supervision not in SUPERVISION:
            raise ConfigError(unknown("supervision", self.supervision, SUPERVISION))
        check_fields(self)
        if self.views > 1 and not self.augment_pixels:
            raise ConfigError(
                f"views={self.views} would show the same pixels again; set augment_pixels=True too."
            )
