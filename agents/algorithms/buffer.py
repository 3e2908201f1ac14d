"""Rollout buffer of the policy stage: SB3's, with credit rules, and without absent frames."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback

from agents.algorithms.credit import (
    CREDITS,
    NEEDS_IOU_REWARD,
    NEEDS_WHOLE_EPISODES,
    Credit,
    Rollout,
    episode_total,
    frame_return,
)
from agents.algorithms.schedules import Changing, linear
from relo_env.config import RewardConfig
from relo_env.errors import ConfigError, TrainingError, unknown
from relo_env.spaces import num_positions

logger = logging.getLogger(__name__)

EPISODE_CONSTANTS = ("template", "template_box")
"""Observations that do not change within an episode, unless templates are renewed; kept once."""

GIB = 2**30


class RolloutSamples(NamedTuple):
    """A batch of frames; the first six fields are those of SB3's ``RolloutBufferSamples``."""

    observations: dict[str, th.Tensor]
    actions: th.Tensor
    old_values: th.Tensor
    old_log_prob: th.Tensor
    advantages: th.Tensor
    returns: th.Tensor
    candidate_returns: th.Tensor | None
    """``(N, A)``: each action's own part of the episode's return, where candidates are stored."""
    target_boxes: th.Tensor | None
    """``(N, 4)``: true boxes, cxcywh01 of the search window, where they are stored."""
    sampled: th.Tensor
    """``(N,)`` bool: actions drawn from the policy; the others are its most probable ones."""

    @property
    def num_frames(self) -> int:
        """Frames in this batch."""
        return len(self.actions)

    def split(self, size: int | None) -> Iterator[RolloutSamples]:
        """Micro-batches of at most ``size`` frames; None: everything at once."""
        size = size or self.num_frames
        for start in range(0, self.num_frames, size):
            part = slice(start, start + size)
            observations = {key: value[part] for key, value in self.observations.items()}
            others = (None if value is None else value[part] for value in self[1:])
            yield RolloutSamples(observations, *others)  # type: ignore[arg-type]


class RELORolloutBuffer(DictRolloutBuffer):
    """SB3's ``DictRolloutBuffer`` that also stores IoU, AUC and visibility of each frame.

    `CreditCallback` passes them from the infos; RELO's algorithms add this callback themselves.
    Frames without target are never sampled, so no loss and no normalisation sees them.

    Args:
        buffer_size: steps T of each environment.
        observation_space: a Dict.
        action_space: the environment's.
        device: device of the samples.
        gae_lambda: of ``credit="gae"``.
        gamma: of ``credit="gae"``.
        n_envs: environments N.
        credit: name in `credit.CREDITS`, or a rule of your own.
        candidates: keep ``candidate_ious`` (the environment needs ``candidate_info=True``).
        targets: keep ``target_box01`` (the environment needs ``candidate_info=True``).
        keys: observations to keep; None: all.
        clip_length: steps of an episode, for the memory estimate.
        memory_limit: [bytes] upper limit of the buffer's memory.

    Raises:
        ConfigError: unknown credit, or more memory than the limit.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Dict,
        action_space: spaces.Space,
        device: th.device | str = "auto",
        gae_lambda: float = 1.0,
        gamma: float = 1.0,
        n_envs: int = 1,
        credit: str | Credit = "paper",
        candidates: bool = False,
        targets: bool = False,
        keys: Sequence[str] | None = None,
        clip_length: int = 1,
        memory_limit: int = 8 * GIB,
    ):
        if not callable(credit) and credit not in CREDITS:
            raise ConfigError(unknown("credit", credit, CREDITS))
        self.credit = credit
        self.candidates = candidates
        self.targets = targets
        self.weights = RewardConfig()
        self.extra_auc_weight = 0.0
        kept = {key: observation_space[key] for key in keys or observation_space}
        constants = () if "renewal_age" in observation_space.spaces else EPISODE_CONSTANTS
        self.constant_keys = [key for key in constants if key in kept]
        per_step = {key: space for key, space in kept.items() if key not in self.constant_keys}

        frames, episodes = buffer_size * n_envs, n_envs * -(-buffer_size // clip_length)
        need = frames * sum(_bytes(space) for space in per_step.values())
        need += episodes * sum(_bytes(kept[key]) for key in self.constant_keys)
        if candidates:
            need += frames * 4 * num_positions(action_space)
        report = f"{buffer_size} steps x {n_envs} environments need {need / GIB:.3g} GiB"
        if need > memory_limit:
            raise ConfigError(
                f"The rollout buffer's {report}; the limit is {memory_limit / GIB:.3g} GiB. Take "
                "fewer environments or steps, let the proposer pass features instead of crops, "
                "or raise memory_limit in rollout_buffer_kwargs."
            )
        logger.info("Rollout buffer: %s.", report)
        super().__init__(
            buffer_size, spaces.Dict(per_step), action_space, device, gae_lambda, gamma, n_envs
        )

    def reset(self) -> None:
        """Forget the rollout."""
        super().reset()
        shape = (self.buffer_size, self.n_envs)
        self.ious = np.zeros(shape, np.float32)
        self.aucs = np.zeros(shape, np.float32)
        self.visible = np.ones(shape, bool)
        self.trainable = np.ones(shape, bool)
        self.sampled = np.ones(shape, bool)
        self.ends = np.zeros(shape, bool)
        self.recorded = 0
        self.episode = np.zeros(shape, np.int64)
        self.constants: dict[str, list[np.ndarray]] = {key: [] for key in self.constant_keys}
        self.tensors: dict[str, th.Tensor] = {}
        if self.candidates:
            positions = num_positions(self.action_space)
            self.candidate_ious = np.zeros((*shape, positions), np.float32)
        if self.targets:
            self.target_boxes = np.zeros((*shape, 4), np.float32)

    def record(self, infos: Sequence[dict[str, Any]]) -> None:
        """Store the infos of the step that the next ``add`` stores."""
        t = self.pos
        for i, info in enumerate(infos):
            self.ious[t, i] = info["iou"]
            self.visible[t, i] = info["visible"]
            self.aucs[t, i] = info.get("auc", 0.0)
            if self.candidates:
                self.candidate_ious[t, i] = info["candidate_ious"]
            if self.targets:
                self.target_boxes[t, i] = info["target_box01"]
        self.trainable[t] = self.visible[t]
        self.recorded += 1

    def add(self, obs: dict[str, Any], action: np.ndarray, *args: Any) -> None:  # type: ignore[override]
        """Store a step as SB3 does, templates only where an episode starts, tensors as tensors."""
        episode_start = np.asarray(args[1], dtype=bool)
        t = self.pos
        new = np.flatnonzero(episode_start) if t else np.arange(self.n_envs)
        if t:
            self.episode[t] = self.episode[t - 1]
        begun = self.episode[:t].max(initial=-1) + 1
        self.episode[t, new] = begun + np.arange(len(new))
        for key in self.constant_keys:
            self.constants[key].extend(np.array(obs[key][new]))
        for key, value in obs.items():
            if isinstance(value, th.Tensor):
                if self.observations.pop(key, None) is not None:
                    self.tensors[key] = value.new_empty((self.buffer_size, *value.shape))
                if key in self.tensors:
                    self.tensors[key][t] = value
        super().add(obs, action, *args)

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        """Returns by the named credit; the advantage is return minus value.

        Raises:
            ConfigError: the credit needs infos, whole episodes or the IoU reward; they are missing.
        """
        self.ends = np.concatenate([self.episode_starts[1:] > 0, np.asarray(dones, bool)[None]])
        self._check_credit()
        if self.extra_auc_weight:
            self.rewards += self.extra_auc_weight * np.where(self.ends, self.aucs, 0)
        rollout = Rollout(
            rewards=self.rewards,
            values=self.values,
            last_values=last_values.detach().cpu().numpy().flatten(),
            ends=self.ends,
            ious=self.ious,
            aucs=self.aucs,
            visible=self.visible,
            weights=self.weights,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
        )
        rule = self.credit if callable(self.credit) else CREDITS[self.credit]
        self.returns = np.asarray(rule(rollout), np.float32)
        if self.returns.shape != self.rewards.shape:
            raise ConfigError(
                f"Credit {rule} returned an array of shape {self.returns.shape}; expected the "
                f"return of each of {self.rewards.shape} steps and environments."
            )
        self.advantages = self.returns - self.values

    def _check_credit(self) -> None:
        name = f"credit={self.credit!r}"
        needed = self.credit in NEEDS_IOU_REWARD or self.extra_auc_weight
        if needed and self.recorded != self.buffer_size:
            raise ConfigError(
                f"{name} needs each frame's IoU and AUC, and {self.recorded} of {self.buffer_size} "
                "steps have them: pass callback=CreditCallback() to learn()."
            )
        if needed and callable(self.weights.reward):
            raise ConfigError(
                f'{name} is defined for reward="iou+auc"; with a reward of your own take '
                'ActorCritic with credit="gae" or "episode", and no auc_weight.'
            )
        if self.credit in NEEDS_IOU_REWARD and not self._rewards_match_infos():
            raise ConfigError(
                f"{name} reads the IoU and AUC of the infos, and the rewards collected are others: "
                'a wrapper changed them. Take ActorCritic with credit="gae" or "episode", which '
                "read the rewards."
            )
        whole = self.ends[-1].all() and self.episode_starts[0].all()
        if self.credit in NEEDS_WHOLE_EPISODES and not whole:
            raise ConfigError(
                f"{name} needs whole episodes, and this rollout of {self.buffer_size} steps cuts "
                "some: make n_steps a multiple of the environment's clip_length."
            )

    def _rewards_match_infos(self) -> bool:
        """True if the rewards are those that the environment pays for these IoUs and AUCs."""
        paid = self.weights.auc_weight - self.extra_auc_weight
        expected = self.weights.iou_weight * self.ious + paid * np.where(self.ends, self.aucs, 0)
        return np.allclose(self.rewards, expected, rtol=1e-3, atol=1e-4)

    def normalise_advantages(self) -> None:
        """Zero mean and unit deviation over the frames that are trained on."""
        used = self.advantages[self.trainable]
        if used.size > 1:
            deviation = used.std(ddof=1, dtype=np.float64) + 1e-8
            self.advantages = ((self.advantages - used.mean()) / deviation).astype(np.float32)

    def get(  # type: ignore[override]
        self, batch_size: int | None = None
    ) -> Generator[RolloutSamples, None, None]:
        """Frames that are trained on in random order, in batches; None: all in one."""
        assert self.full, "the rollout is not complete"
        frames = np.flatnonzero(self.trainable)
        yield from self._batches(frames[th.randperm(len(frames)).numpy()], batch_size)

    def in_order(self, batch_size: int | None = None) -> Iterator[RolloutSamples]:
        """All frames, step by step, environment by environment."""
        yield from self._batches(np.arange(self.buffer_size * self.n_envs), batch_size)

    def _batches(self, frames: np.ndarray, batch_size: int | None) -> Iterator[RolloutSamples]:
        size = batch_size or len(frames)
        for start in range(0, len(frames), size or 1):
            yield self._get_samples(frames[start : start + size])

    def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> RolloutSamples:  # type: ignore[override]
        t, i = np.divmod(batch_inds, self.n_envs)
        stored: dict[str, Any] = {**self.observations, **self.tensors}
        observations = {key: values[t, i] for key, values in stored.items()}
        for key, values in self.constants.items():
            observations[key] = np.stack([values[e] for e in self.episode[t, i]])
        return RolloutSamples(
            {key: self.to_torch(value, copy=False) for key, value in observations.items()},
            self.to_torch(self.actions[t, i]),
            self.to_torch(self.values[t, i]),
            self.to_torch(self.log_probs[t, i]),
            self.to_torch(self.advantages[t, i]),
            self.to_torch(self.returns[t, i]),
            self.to_torch(self._candidate_returns(t, i)) if self.candidates else None,
            self.to_torch(self.target_boxes[t, i]) if self.targets else None,
            self.to_torch(self.sampled[t, i]),
        )

    def _candidate_returns(self, t: np.ndarray, i: np.ndarray) -> np.ndarray:
        num_visible = episode_total(self.visible.astype(np.float32), self.ends)[t, i, None]
        returns = frame_return(self.candidate_ious[t, i], num_visible, self.weights)
        return returns.astype(np.float32)


class CreditCallback(BaseCallback):
    """Passes the environment's infos to a `RELORolloutBuffer`.

    RELO's algorithms add it themselves. SB3's A2C and PPO need it, with
    ``rollout_buffer_class=RELORolloutBuffer``, for the paper's credit. It also logs
    ``rollout/iou_mean`` and ``rollout/auc_mean``.

    Args:
        auc_weight: lambda in place of the environment's: a number, several numbers or an SB3
            schedule, see `agents.algorithms.schedules`.

    Raises:
        TrainingError: no frame of a rollout shows its target, and the algorithm needs one.
    """

    def __init__(self, auc_weight: Changing | None = None) -> None:
        super().__init__()
        self.auc_weight = None if auc_weight is None else linear(auc_weight)

    def _on_rollout_start(self) -> None:
        paid = self.training_env.get_attr("config", 0)[0].reward
        weight = paid.auc_weight
        if self.auc_weight is not None:
            weight = self.auc_weight(self.model._current_progress_remaining)
            self.logger.record("rollout/auc_weight", weight)
        self.buffer.weights = replace(paid, auc_weight=weight)
        self.buffer.extra_auc_weight = weight - paid.auc_weight

    def _on_step(self) -> bool:
        self.buffer.record(self.locals["infos"])
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.buffer
        if not buffer.trainable.any() and not getattr(self.model, "skips_empty_rollouts", False):
            raise TrainingError(
                f"{type(self.model).__name__} has nothing to learn from: no frame of this rollout "
                "shows its target. Use longer clips, more environments or videos that show it; "
                "RELO's own algorithms skip such a rollout."
            )
        if buffer.visible.any():
            self.logger.record("rollout/iou_mean", buffer.ious[buffer.visible].mean())
        if buffer.ends.any():
            self.logger.record("rollout/auc_mean", buffer.aucs[buffer.ends].mean())

    @property
    def buffer(self) -> RELORolloutBuffer:
        """The algorithm's rollout buffer."""
        return self.model.rollout_buffer  # type: ignore[attr-defined]


def _bytes(space: spaces.Space) -> int:
    assert isinstance(space, spaces.Box)
    return int(np.prod(space.shape)) * space.dtype.itemsize
