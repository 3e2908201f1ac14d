"""Base of the on-policy algorithms: collection with credit, accumulated gradients, logging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch as th
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import nn

from agents.algorithms.buffer import CreditCallback, RELORolloutBuffer, RolloutSamples
from agents.algorithms.credit import Credit
from agents.algorithms.schedules import Changing, linear, stages
from agents.algorithms.untrusted import load_untrusted
from agents.network import HeadOutputs
from agents.network.boxes import box_loss
from agents.policies import RELOPolicy
from agents.proposer import NetworkProposer
from relo_env.checks import PositiveInt, check
from relo_env.config import EnvConfig
from relo_env.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self

Loss = Callable[[RolloutSamples], tuple[th.Tensor, Mapping[str, th.Tensor | float]]]
"""Loss of a micro-batch, a mean over its frames, and named scalars to log."""


class RELOAlgorithm(OnPolicyAlgorithm):
    """Base of `ActorCritic`, `GRPO`, `SelfCritical` and `ExpectedPolicyGradient`.

    A subclass implements ``train``, which reads from top to bottom.

    Args:
        policy: ``"RELOPolicy"`` or an SB3 policy class.
        env: a `RELOVecEnv`, or an environment that SB3 wraps as a ``VecEnv``.
        learning_rate: a number or SB3 schedule; the parameter groups' ``lr_scale`` multiplies it.
        n_steps: steps a rollout of each environment; None: the environment's clip length.
        gamma: discount of ``credit="gae"``.
        gae_lambda: lambda of ``credit="gae"``.
        ent_coef: weight of the entropy bonus: a number, several numbers or an SB3 schedule; see
            `agents.algorithms.schedules`. So are the next two.
        auc_weight: schedule of the weight of the clip's AUC, read at the start of each rollout.
            None: the environment's.
        clip_length: schedule of the number of search frames of a clip; several numbers hold for
            equal parts of the training. ``n_steps`` follows it. None: the environment's.
        vf_coef: weight of the value loss.
        max_grad_norm: gradients are scaled down to this norm.
        credit: name of a credit rule, or a callable; see `agents.algorithms.credit`. Algorithms
            with a fixed rule do not take it.
        candidates: store the IoU of every position; needs ``candidate_info=True``.
        micro_batch_size: frames on the device at once; gradients are accumulated. None: all.
        rollout_buffer_kwargs: arguments of `RELORolloutBuffer`, such as ``memory_limit``.
        stats_window_size: episodes in the logged means.
        tensorboard_log: folder of the TensorBoard log.
        policy_kwargs: arguments of the policy, such as ``network``; by default the proposer's.
        verbose: 0 silent, 1 a table for each rollout.
        seed: seed of the policy's samples and of the environment.
        device: device of policy and losses.
        _init_setup_model: build the policy and the buffer at once.

    Raises:
        ConfigError: the environment does not fit the algorithm.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"RELOPolicy": RELOPolicy}
    skips_empty_rollouts: ClassVar[bool] = True
    rollout_buffer: RELORolloutBuffer
    policy: RELOPolicy
    box_coef = 0.0
    """Weight of the boxes' loss, in the algorithms that take one."""

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        *,
        learning_rate: float | Schedule = 1e-4,
        n_steps: int | None = None,
        gamma: float = 1.0,
        gae_lambda: float = 1.0,
        ent_coef: Changing = 0.0,
        auc_weight: Changing | None = None,
        clip_length: Changing | None = None,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.1,
        credit: str | Credit = "paper",
        candidates: bool = False,
        micro_batch_size: int | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ):
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,  # type: ignore[arg-type]
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,  # type: ignore[arg-type]
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            rollout_buffer_class=RELORolloutBuffer,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
            supported_action_spaces=(spaces.Discrete, spaces.MultiDiscrete),
        )
        self.auc_weight = auc_weight
        self.clip_length = clip_length
        self.credit = credit
        self.candidates = candidates
        self.micro_batch_size = micro_batch_size
        check("n_steps", n_steps, PositiveInt | None)
        check("micro_batch_size", micro_batch_size, PositiveInt | None)
        self._require(
            n_steps is None or clip_length is None,
            "rollouts of one clip each, where its length changes",
            "leave n_steps out",
        )
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if self.env is not None:
            self._fit_to_environment(self.env)
        super()._setup_model()
        boxes = self.policy.network.heads.size if self.box_coef else nn.Identity()
        self._require(
            all(value.requires_grad for value in boxes.parameters()),
            f"boxes that are trained for box_coef={self.box_coef}",
            'policy_kwargs=dict(lr_scales={"heads": 1.0, "encoder": 0.1}), or "heads" alone',
        )
        self.ent_schedule = linear(self.ent_coef)
        self._logged: dict[str, list[float]] = defaultdict(list)

    def _fit_to_environment(self, env: VecEnv) -> None:
        """Read settings from the environment; a subclass checks its requirements here."""
        self._require(
            env.has_attr("proposer"),
            "an environment of relo_env",
            'such as RELOVecEnv("RELO-Synthetic-v0", num_envs=8)',
        )
        normalize = unwrap_vec_normalize(env)
        self._require(
            normalize is None or not normalize.norm_obs,
            "observations as the network takes them",
            "use VecNormalize with norm_obs=False",
        )
        proposer = env.get_attr("proposer", 0)[0]
        if isinstance(proposer, NetworkProposer):
            self.policy_kwargs = {"network": proposer.trainable, **self.policy_kwargs}
        clip = self.env_config.clip
        self.n_steps = self.n_steps or clip.clip_length
        self.rollout_buffer_kwargs = {
            **self.rollout_buffer_kwargs,
            "credit": self.credit,
            "candidates": self.candidates,
            "targets": self.box_coef > 0,
            "keys": RELOPolicy.reads(env.observation_space),
            "clip_length": clip.clip_length,
        }
        self._require(
            self.env_config.candidate_info or not (self.candidates or self.box_coef),
            "the IoU of every position, and the true boxes",
            "make the environment with candidate_info=True",
        )

    @property
    def env_config(self) -> EnvConfig:
        """The environment's configuration."""
        assert self.env is not None
        return self.env.get_attr("config", 0)[0]

    @property
    def group_size(self) -> int:
        """Number of rows in a group, which run the same clip in step."""
        assert self.env is not None
        return self.env.get_attr("group_size")[0] if self.env.has_attr("group_size") else 1

    def _require(self, condition: bool, need: str, remedy: str) -> None:
        if not condition:
            raise ConfigError(f"{type(self).__name__} needs {need}: {remedy}.")

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        credit = CreditCallback(self.auc_weight)
        credit.init_callback(self)
        both = CallbackList([credit, super()._init_callback(callback, progress_bar)])
        both.model = self  # initialising the list would initialise the user's callbacks twice
        return both

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """As in SB3, but an interrupted rollout is dropped, and its clips with it."""
        if self.clip_length is not None:
            self._follow_clip_length(stages(self.clip_length))
        complete = super().collect_rollouts(env, callback, self.rollout_buffer, self.n_steps)
        if not complete:
            self._last_obs = None
        return complete

    def _follow_clip_length(self, schedule: Schedule) -> None:
        """Set the clip length of the schedule; a change starts new clips and a new buffer."""
        assert self.env is not None
        length = round(schedule(self._current_progress_remaining))
        if length != self.env_config.clip.clip_length:
            self.env.env_method("set_clip_length", length)
            self._last_obs = self.env.reset()  # type: ignore[assignment]
            self._last_episode_starts = np.ones(self.n_envs, dtype=bool)
        if length != self.n_steps:
            self.n_steps = length
            self.rollout_buffer_kwargs["clip_length"] = length
            self.rollout_buffer = RELORolloutBuffer(
                length,
                cast(spaces.Dict, self.observation_space),
                self.action_space,
                self.device,
                gae_lambda=self.gae_lambda,
                gamma=self.gamma,
                n_envs=self.n_envs,
                **self.rollout_buffer_kwargs,
            )

    @classmethod
    def load(  # type: ignore[override]
        cls, path: str | Path, env: GymEnv | None = None, *, trusted: bool = True, **kwargs: Any
    ) -> Self:
        """Load a model that `save` wrote.

        SB3 unpickles settings from the file, which runs any code in it.

        Args:
            path: the zip.
            env: environment to continue in.
            trusted: False for a file of somebody else: only weights and plain settings are read,
                and ``env`` is required; see `agents.algorithms.untrusted`.
            **kwargs: of SB3's ``load``; with ``trusted=False`` arguments of the constructor.

        Raises:
            CheckpointError: with ``trusted=False``, a file that does not fit.
        """
        if trusted:
            return super().load(path, env, **kwargs)
        return load_untrusted(cls, path, env, **kwargs)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write SB3's zip; a network given as a module is stored as its preset and weights."""
        given = self.policy_kwargs
        self.policy_kwargs = {**given, "network": self.policy.recipe}
        try:
            super().save(*args, **kwargs)
        finally:
            self.policy_kwargs = given

    def _start_update(self) -> None:
        """Prepare an update; the first line of every ``train``."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        self._logged.clear()

    @property
    def entropy_weight(self) -> float:
        """Current weight of the entropy bonus."""
        return self.ent_schedule(self._current_progress_remaining)

    def _optimise(self, samples: RolloutSamples, loss: Loss) -> None:
        """Take one optimiser step on a batch; gradients are accumulated over micro-batches."""
        optimizer = self.policy.optimizer
        optimizer.zero_grad()
        for micro in samples.split(self.micro_batch_size):
            share = micro.num_frames / samples.num_frames
            value, scalars = loss(micro)
            (share * value).backward()
            self._log(loss=value, **scalars)
        norm = th.nn.utils.clip_grad_norm_(
            self.policy.parameters(), self.max_grad_norm, error_if_nonfinite=True
        )
        optimizer.step()
        self._log(grad_norm=norm)

    def _decide(self, samples: RolloutSamples, *heads: str) -> tuple[Distribution, HeadOutputs]:
        """Distribution over actions, and outputs of its heads, ``heads`` and trained boxes."""
        boxes = ("boxes",) if self.box_coef else ()
        return self.policy.decide(samples.observations, *heads, *boxes)

    def _total(
        self,
        samples: RolloutSamples,
        policy_loss: th.Tensor,
        entropy: th.Tensor | None,
        value: th.Tensor | None = None,
        candidates: th.Tensor | None = None,
    ) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        """Weighted sum of a micro-batch's losses, and each of them by name.

        Args:
            samples: the micro-batch.
            policy_loss: of the algorithm.
            entropy: ``(N,)``, of the policy.
            value: ``(N,)``, of a critic.
            candidates: ``(N, A, 4)``, boxes to be trained where ``box_coef`` is above 0.
        """
        assert entropy is not None
        total, losses = policy_loss, {"policy_gradient_loss": policy_loss}
        if value is not None:
            losses["value_loss"] = F.mse_loss(value, samples.returns)
            total = total + self.vf_coef * losses["value_loss"]
        losses["entropy_loss"] = -entropy.mean()
        total = total + self.entropy_weight * losses["entropy_loss"]
        if self.box_coef:
            assert candidates is not None
            assert samples.target_boxes is not None
            grid = self.policy.network.crop.grid
            losses["box_loss"] = box_loss(candidates, samples.target_boxes, grid)
            total = total + self.box_coef * losses["box_loss"]
        return total, losses

    def _log(self, **scalars: th.Tensor | float) -> None:
        for name, value in scalars.items():
            self._logged[name].append(value.item() if isinstance(value, th.Tensor) else value)

    def _finish_update(self, n_epochs: int = 1) -> None:
        """Log the means of an update; the last line of every ``train``."""
        self._n_updates += n_epochs
        if "value_loss" in self._logged:
            buffer = self.rollout_buffer
            explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
            self.logger.record("train/explained_variance", explained)
        for name, values in self._logged.items():
            self.logger.record(f"train/{name}", np.mean(values))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
