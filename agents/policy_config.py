"""Settings of stage 2, the policy stage, and the algorithms that it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stable_baselines3 import A2C, PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents.algorithms import GRPO, ActorCritic, ExpectedPolicyGradient, SelfCritical
from relo_env.checks import (
    Finite,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Seed,
    Share,
    check,
    check_fields,
    check_known,
    import_named,
    parameters_of,
)
from relo_env.config import sorted_controls
from relo_env.errors import ConfigError, unknown

ALGORITHMS: Mapping[str, type[OnPolicyAlgorithm]] = {
    "actor-critic": ActorCritic,
    "ppo": PPO,
    "a2c": A2C,
    "grpo": GRPO,
    "self-critical": SelfCritical,
    "expected-gradient": ExpectedPolicyGradient,
}
"""By the name that the command line takes."""

GROUPED = (GRPO, SelfCritical)
"""Algorithms that compare rollouts of one clip with each other."""

CREDITED = (*GROUPED, ExpectedPolicyGradient)
"""Algorithms with a fixed credit rule."""

SET_BY_RUN = {"policy", "env", "policy_kwargs", "rollout_buffer_class", "device"}
SET_BY_RUN |= {"use_sde", "sde_sample_freq", "tensorboard_log", "verbose", "_init_setup_model"}
"""Arguments of algorithms that a run sets itself."""
RANGES: Mapping[str, Any] = {
    "batch_size": PositiveInt | None,
    "clip_range": PositiveFloat | Callable[..., Any],
    "gae_lambda": Share,
    "gamma": Share,
    "kl_coef": NonNegativeFloat,
    "max_grad_norm": PositiveFloat,
    "n_epochs": PositiveInt,
    "stats_window_size": PositiveInt,
    "vf_coef": NonNegativeFloat,
}
"""Values that arguments of algorithms can have, where their type hints do not say."""


@dataclass(frozen=True)
class PolicyConfig:
    """Settings of stage 2, the policy stage.

    Attributes:
        algorithm: actor-critic (the paper's), ppo, a2c, grpo, self-critical, expected-gradient, or
            module:Class, one of your own.
        steps: environment steps (frames), of all environments together.
        num_envs: clips that are played at once.
        group_size: clips at once that are the same, for grpo and self-critical.
        clip_length: search frames of a clip.
        search_window: tracked (closed loop) or jittered (open loop, as in the paper).
        max_stride: largest step from one frame of a clip to the next, in the closed loop.
        controls: decisions beside the position, zoom and renew. The network gets heads for them;
            renew gives a second template to a network that reads one.
        iou_weight: weight of a frame's IoU in the reward.
        auc_weight: weight of the clip's AUC in the reward, the paper's lambda.
        learning_rate: learning rate of AdamW; a tenth of it in the last fifth of the steps (paper).
        encoder_scale: multiple of learning_rate at which the encoder is trained too; 0 freezes it.
        lr_scales: multiples of learning_rate by prefix of the parameters' names, such as
            controls=1 heads.value=1; others are frozen. Default: policy, value and controls.
        amp: bfloat16 autocast: faster, a little less exact.
        gradient_checkpointing: less memory for more time, if the encoder is trained.
        fresh_heads: start with new random heads for policy, value and controls, if trained.
        algorithm_options: further arguments of the algorithm, e.g. ent_coef=0.01.
        seed: seed of clips, new heads and sampled actions.
        checkpoint_every: rollouts from one checkpoint to the next.
        picture_every: rollouts from one logged picture to the next.

    Raises:
        ConfigError: an unknown algorithm or option of it, or numbers that do not fit together.
    """

    algorithm: str = "actor-critic"
    steps: PositiveInt = 100_000
    num_envs: PositiveInt = 16
    group_size: PositiveInt = 8
    clip_length: PositiveInt = 8
    search_window: Literal["tracked", "jittered"] = "tracked"
    max_stride: PositiveInt = 4
    controls: tuple[str, ...] = ()
    iou_weight: Finite = 1.0
    auc_weight: Finite = 1.0
    learning_rate: PositiveFloat = 1e-3
    encoder_scale: NonNegativeFloat = 0.0
    lr_scales: Mapping[str, float] = field(default_factory=dict)
    amp: bool = False
    gradient_checkpointing: bool = False
    fresh_heads: bool = True
    algorithm_options: Mapping[str, Any] = field(default_factory=dict)
    seed: Seed = 0
    checkpoint_every: PositiveInt = 10
    picture_every: PositiveInt = 10

    def __post_init__(self) -> None:
        algorithm = find_algorithm(self.algorithm)
        object.__setattr__(self, "controls", sorted_controls(self.controls))
        check_fields(self)
        for name, scale in self.lr_scales.items():
            check(f"lr_scales: {name}", scale, PositiveFloat)
        if issubclass(algorithm, GROUPED) and self.num_envs % self.group_size:
            raise ConfigError(
                f"{self.algorithm} plays each clip group_size={self.group_size} times; num_envs="
                f"{self.num_envs} is not a multiple of that."
            )
        whose = f"Algorithm {self.algorithm!r}"
        check_known(whose, self.algorithm_options, options_of(algorithm))


def find_algorithm(name: str) -> type[OnPolicyAlgorithm]:
    """The class that a name of `ALGORITHMS`, or ``module:Class``, stands for.

    Raises:
        ConfigError: there is none, or it is not derived from SB3's ``OnPolicyAlgorithm``.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        hint = "One of your own is given as module:Class."
        raise ConfigError(unknown("algorithm", name, ALGORITHMS, hint))
    found = import_named(name, "Algorithm")
    if not (isinstance(found, type) and issubclass(found, OnPolicyAlgorithm)):
        raise ConfigError(
            f"Algorithm {name!r} is {found!r}; expected a class derived from Stable-Baselines3's "
            "OnPolicyAlgorithm, such as one on agents.algorithms.base.RELOAlgorithm."
        )
    return found


def options_of(algorithm: type[OnPolicyAlgorithm]) -> dict[str, Any]:
    """Names and type hints of the arguments that ``algorithm_options`` may hold."""
    fixed = SET_BY_RUN | ({"credit", "candidates"} if issubclass(algorithm, CREDITED) else set())
    hints = parameters_of(algorithm)
    return {name: RANGES.get(name, hint) for name, hint in hints.items() if name not in fixed}
