"""What our on-policy algorithms share: collection with credit, accumulated updates, logging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms.buffer import CreditCallback, RELORolloutBuffer, RolloutSamples
from agents.algorithms.credit import Credit
from agents.algorithms.schedules import Changing, linear, stages
from agents.policies import RELOPolicy
from agents.proposer import NetworkProposer
from relo_env.config import EnvConfig
from relo_env.errors import ConfigError

Loss = Callable[[RolloutSamples], tuple[th.Tensor, Mapping[str, th.Tensor | float]]]
"""Loss of a micro-batch, a mean over its frames, and named scalars to log."""


class RELOAlgorithm(OnPolicyAlgorithm):
    """Base of `ActorCritic`, `GRPO`, `SelfCritical` and `ExpectedPolicyGradient`.

    A subclass implements ``train``, which reads from top to bottom.

    Args:
        policy: ``"RELOPolicy"`` or an SB3 policy class.
        env: a `RELOVecEnv`, or what SB3 makes a ``VecEnv`` of.
        learning_rate: a number or SB3 schedule; the parameter groups' ``lr_scale`` multiplies it.
        n_steps: steps a rollout of each environment; None: the environment's clip length.
        gamma: discount of ``credit="gae"``.
        gae_lambda: of ``credit="gae"``.
        ent_coef: weight of the entropy bonus; as the next two a number, several numbers, or an SB3
            schedule, see `agents.algorithms.schedules`.
        auc_weight: lambda, where it is to change: the reward is as if the environment paid it, its
            value being that of a rollout's begin. None: the environment's throughout.
        clip_length: frames of a clip, where they are to change: several numbers hold for equal
            parts of the training. ``n_steps`` follows it. None: the environment's throughout.
        vf_coef: weight of the value loss.
        max_grad_norm: gradients are scaled down to this norm.
        credit: how a sampled action is credited, a name or a rule of your own, see
            `agents.algorithms.credit`; the algorithms with a rule of theirs do not take it.
        candidates: keep what every position would have earned (the environment needs
            ``candidate_info=True``).
        micro_batch_size: frames on the device at once; gradients are accumulated. None: all.
        rollout_buffer_kwargs: of `RELORolloutBuffer`, such as ``memory_limit``.
        stats_window_size: episodes in the logged means.
        tensorboard_log: folder of the TensorBoard log.
        policy_kwargs: of the policy, such as ``network``, by default the proposer's.
        verbose: 0 silent, 1 a table for each rollout.
        seed: of the policy's sampling and of the environment.
        device: where policy and losses run.
        _init_setup_model: build the policy and the buffer at once.

    Raises:
        ConfigError: the environment does not fit the algorithm.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"RELOPolicy": RELOPolicy}
    rollout_buffer: RELORolloutBuffer
    policy: RELOPolicy

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
            supported_action_spaces=(spaces.Discrete,),
        )
        self.auc_weight = auc_weight
        self.clip_length = clip_length
        self.credit = credit
        self.candidates = candidates
        self.micro_batch_size = micro_batch_size
        for name, value in (("n_steps", n_steps), ("micro_batch_size", micro_batch_size)):
            self._require(value is None or value >= 1, f"a {name} above 0", f"{value} is none")
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
        self.ent_schedule = linear(self.ent_coef)
        self._logged: dict[str, list[float]] = defaultdict(list)

    def _fit_to_environment(self, env: VecEnv) -> None:
        """Take what the environment decides; a subclass that needs more of it checks it here."""
        self._require(
            env.has_attr("batch"),
            "an environment of relo_env",
            'such as RELOVecEnv("RELO-Synthetic-v0", num_envs=8)',
        )
        proposer = env.get_attr("batch")[0].proposer
        if isinstance(proposer, NetworkProposer):
            self.policy_kwargs = {"network": proposer.trainable, **self.policy_kwargs}
        clip = self.env_config.clip
        self.n_steps = self.n_steps or clip.clip_length
        self.rollout_buffer_kwargs = {
            **self.rollout_buffer_kwargs,
            "credit": self.credit,
            "candidates": self.candidates,
            "keys": RELOPolicy.reads(env.observation_space),
            "clip_length": clip.clip_length,
        }
        self._require(
            self.env_config.candidate_info or not self.candidates,
            "what every position would have earned",
            "make the environment with candidate_info=True",
        )

    @property
    def env_config(self) -> EnvConfig:
        """The environment's configuration."""
        assert self.env is not None
        return self.env.get_attr("batch")[0].config

    @property
    def group_size(self) -> int:
        """Rows of the environment that play the same clip, in step."""
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
        """SB3's; a rollout that a callback breaks off is thrown away with its clips."""
        if self.clip_length is not None:
            self._follow_clip_length(stages(self.clip_length))
        complete = super().collect_rollouts(env, callback, self.rollout_buffer, self.n_steps)
        if not complete:
            self._last_obs = None
        return complete

    def _follow_clip_length(self, schedule: Schedule) -> None:
        """Where the clips' length changes, begin new ones, and a buffer that holds them."""
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

    def save(self, *args: Any, **kwargs: Any) -> None:
        """SB3's zip; a network that was given as a module is stored by its preset and weights."""
        given = self.policy_kwargs
        self.policy_kwargs = {**given, "network": self.policy.recipe}
        try:
            super().save(*args, **kwargs)
        finally:
            self.policy_kwargs = given

    def _start_update(self) -> None:
        """First line of every ``train``."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        self._logged.clear()

    @property
    def entropy_weight(self) -> float:
        """Weight of the entropy bonus at this point of the training."""
        return self.ent_schedule(self._current_progress_remaining)

    def _optimise(self, samples: RolloutSamples, loss: Loss) -> None:
        """One optimiser step on a batch, its gradients accumulated over micro-batches."""
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

    def _log(self, **scalars: th.Tensor | float) -> None:
        for name, value in scalars.items():
            self._logged[name].append(value.item() if isinstance(value, th.Tensor) else value)

    def _finish_update(self, n_epochs: int = 1) -> None:
        """Last line of every ``train``: means over the update go to SB3's logger."""
        self._n_updates += n_epochs
        if "value_loss" in self._logged:
            buffer = self.rollout_buffer
            explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
            self.logger.record("train/explained_variance", explained)
        for name, values in self._logged.items():
            self.logger.record(f"train/{name}", np.mean(values))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
