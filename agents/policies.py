"""Policy of RELO for Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from agents.network import HeadOutputs, RELONetwork, normalize_crops
from agents.network.inference import warn_of_slow_half
from agents.proposer import NetworkSource, checkpoint_of, find_network
from relo_env.errors import CheckpointError, ConfigError, unknown
from relo_env.spaces import CONTROL_CHOICES, CONTROL_STATES, num_positions
from relo_env.spaces import observation_space as crop_spaces

HEADS_ONLY: Mapping[str, float] = {"heads.policy": 1.0, "heads.value": 1.0}
CONTROLS_ONLY: Mapping[str, float] = {"controls": 1.0}
CROP_KEYS = ("template", "template_box", "search", "tokens", "tokens_valid")


class RELOPolicy(ActorCriticPolicy):
    """Categorical over positions, and a value, computed by a `RELONetwork`.

    With ``features`` in the observation only the heads run. Otherwise the policy encodes the crops
    (with ``tokens``, if the observation has them) and can train the whole network. The network
    stays in evaluation mode: the probability of an action is the same in collection and training.

    `parameters` are the trained parameters only. The state dict leaves out frozen parameters that
    can be loaded from the network's checkpoint.

    Args:
        observation_space: observation space of a tracking environment.
        action_space: ``Discrete(H * W)``, or ``MultiDiscrete`` with the environment's controls. A
            network without heads for these gets them, see `RELONetwork.extend`.
        lr_schedule: learning rate schedule of SB3.
        network: preset, ``{"name": preset, ...changes}``, path of a checkpoint, or a module, which
            is not copied: it gets heads for controls that it lacks, and parameters that are not
            trained need no gradient from here on.
        lr_scales: learning rate factors by prefix of the parameter's name, such as
            ``{"heads": 1, "encoder": 0.1}``; all other parameters are frozen. None: policy, value
            and, where the action has them, controls (``{"controls": 1}`` trains these alone).
        amp: run the network in bfloat16 autocast.
        gradient_checkpointing: recompute the encoder's blocks in the backward pass to save memory.
        use_sde: must be False.
        optimizer_class: optimizer of the trained parameters.
        optimizer_kwargs: arguments of the optimizer except the learning rate; None: weight decay
            1e-4 (paper).

    Raises:
        ConfigError: a space or an argument does not fit the network.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        network: NetworkSource = "nano",
        lr_scales: Mapping[str, float] | None = None,
        amp: bool = False,
        gradient_checkpointing: bool = False,
        use_sde: bool = False,
        optimizer_class: type[th.optim.Optimizer] = th.optim.AdamW,
        optimizer_kwargs: dict[str, Any] | None = None,
    ):
        if optimizer_kwargs is None:
            optimizer_kwargs = {"weight_decay": 1e-4} if optimizer_class is th.optim.AdamW else {}
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],
            ortho_init=False,
            use_sde=use_sde,
            normalize_images=False,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self._given = (network,)  # in a tuple, or a module would be registered twice
        self.controls = _controls(observation_space, action_space)
        if lr_scales is None:
            lr_scales = {**HEADS_ONLY, **CONTROLS_ONLY} if self.controls else HEADS_ONLY
        self.lr_scales = dict(lr_scales)
        self.amp = amp
        warn_of_slow_half(th.bfloat16 if amp else None, self.device)
        self.gradient_checkpointing = gradient_checkpointing
        self.network = find_network(network).extend(controls=self.controls)
        self.network.encoder.gradient_checkpointing = gradient_checkpointing
        self._in_file = checkpoint_of(network) is not None
        self._greedy_rows: th.Tensor | None = None
        self._check_spaces()
        self._freeze()
        self.optimizer = self._make_optimizer(lr_schedule(1))

    @staticmethod
    def reads(observation_space: spaces.Space) -> list[str]:
        """Keys of the observation that the policy reads."""
        assert isinstance(observation_space, spaces.Dict)
        crops = ["features"] if "features" in observation_space.spaces else CROP_KEYS
        keys = [*crops, *CONTROL_STATES.values()]
        return [key for key in keys if key in observation_space.spaces]

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Actions ``(N,)``, values ``(N, 1)`` and log-probabilities ``(N,)``.

        With controls actions are ``(N, 2)`` or ``(N, 3)``.

        Raises:
            ConfigError: a wrapper has changed the features.
        """
        self._check_features(obs)
        distribution, out = self.decide(obs, "value")
        assert out.value is not None
        actions = distribution.get_actions(deterministic=deterministic)
        if self._greedy_rows is not None:
            rows = self._greedy_rows.view(-1, *[1] * (actions.ndim - 1))
            actions = th.where(rows, distribution.mode(), actions)
        return actions, out.value[:, None], distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Values ``(N, 1)``, log-probabilities and entropies ``(N,)``."""
        distribution, out = self.decide(obs, "value")
        assert out.value is not None
        log_probs = distribution.log_prob(self.actions_of(actions))
        return out.value[:, None], log_probs, distribution.entropy()

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Categorical over positions, and one over the choices of each control."""
        return self.decide(obs)[0]

    def decide(self, obs: PyTorchObs, *only: str) -> tuple[Distribution, HeadOutputs]:
        """Distribution over actions, and the outputs of its heads and of those in ``only``."""
        assert isinstance(obs, dict)
        needed = ("policy", "value") if self.controls else ("policy",)
        with th.autocast(self.device.type, th.bfloat16, enabled=self.amp):
            features = observed_features(self.network, obs)
            out = self.network.heads(features, only=tuple({*needed, *only}))
            assert out.policy_logits is not None
            logits = [out.policy_logits]
            if self.controls:
                states = {name: obs[CONTROL_STATES[name]] for name in self.controls}
                logits += self.network.controls(features, out, states).values()
        return self.action_dist.proba_distribution(action_logits=th.cat(logits, dim=1)), out

    def actions_of(self, stored: th.Tensor) -> th.Tensor:
        """Actions as integers in the shape of the action space, from a rollout buffer's floats."""
        return stored.long().view(-1, *(self.action_space.shape or ()))

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """Values ``(N, 1)``."""
        value = self.outputs(obs, "value").value
        assert value is not None
        return value[:, None]

    def outputs(self, obs: PyTorchObs, *only: str) -> HeadOutputs:
        """Run the heads named in ``only`` on observations, which are tensors."""
        with th.autocast(self.device.type, th.bfloat16, enabled=self.amp):
            assert isinstance(obs, dict)
            return self.network.heads(observed_features(self.network, obs), only=only)

    @contextmanager
    def greedy(self, rows: np.ndarray) -> Iterator[None]:
        """Within the context, rows that are True take their most probable action."""
        self._greedy_rows = th.as_tensor(rows, device=self.device)
        try:
            yield
        finally:
            self._greedy_rows = None

    def set_training_mode(self, mode: bool) -> None:
        """Set the flag; the network stays in evaluation mode, without drop path."""
        self.training = mode
        self.network.eval()

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and values of the trained parameters."""
        named = super().named_parameters(*args, **kwargs)
        return ((name, value) for name, value in named if value.requires_grad)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """All weights; only the trained ones if the others are in the network's checkpoint."""
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if not self._found_again(name)}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> None:
        """Load a `state_dict`.

        Raises:
            CheckpointError: the state belongs to another network.
        """
        whole = super().state_dict()
        missing = [n for n in whole if n not in state_dict and not self._found_again(n)]
        unexpected = [n for n in state_dict if n not in whole]
        if strict and (missing or unexpected):
            raise CheckpointError(
                f"The saved policy does not fit this network: missing {missing[:3]}, unexpected "
                f"{unexpected[:3]}. Give the network and lr_scales that it was saved with."
            )
        super().load_state_dict({**whole, **state_dict}, strict=strict, assign=assign)

    @property
    def recipe(self) -> NetworkSource:
        """Description from which `find_network` builds the network again, without weights."""
        (given,) = self._given
        if isinstance(given, RELONetwork) and given.preset_name is not None:
            return {"name": given.preset_name, **given.changes}
        return given

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "network": self.recipe,
            "lr_scales": self.lr_scales,
            "amp": self.amp,
            "gradient_checkpointing": self.gradient_checkpointing,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }

    def _build(self, lr_schedule: Schedule) -> None:
        """Do nothing: the network is built in ``__init__``."""

    def _check_spaces(self) -> None:
        crop = self.network.crop
        self._check_parts()
        positions = num_positions(self.action_space)
        if positions != crop.num_positions:
            raise ConfigError(
                f"The environment has {positions} positions, the network "
                f"{crop.num_positions}. Give the same network to the environment, "
                'proposer=NetworkProposer(network), and here, policy_kwargs={"network": network}.'
            )
        self._check_observation()
        encoded = "features" in self.observation_space.spaces  # type: ignore[attr-defined]
        if encoded and not all(name.startswith(("heads", "controls")) for name in self.lr_scales):
            raise ConfigError(
                f"lr_scales={self.lr_scales} trains the encoder, which does not run on an "
                "observation with features. Use NetworkProposer(..., train_encoder=True)."
            )

    def _check_observation(self) -> None:
        """Refuse features of another network, and crops or features that a wrapper has changed."""
        found = self.observation_space.spaces  # type: ignore[attr-defined]
        if "features" in found:
            shape = (self.network.width, *self.network.crop.grid)
            box = spaces.Box(-np.inf, np.inf, shape, found["features"].dtype)
            expected: dict[str, spaces.Space] = {"features": box}
        else:
            templates = found["template"].shape[0] // 3
            crop = replace(self.network.crop, num_templates=max(templates, 1))
            expected = {**crop_spaces(crop, {})}
        for name, space in expected.items():
            if found.get(name) != space:
                raise ConfigError(
                    f"The observation's {name!r} is {_words(found.get(name))}, the network reads "
                    f"{_words(space)}. Give environment and policy the same network, and leave out "
                    "wrappers that change observations, such as VecNormalize(norm_obs=True) and "
                    "VecFrameStack."
                )

    def _check_features(self, obs: PyTorchObs) -> None:
        """Refuse features of another type than their space, which VecNormalize leaves as it was."""
        assert isinstance(obs, dict)
        assert isinstance(self.observation_space, spaces.Dict)
        if "features" in obs:
            found = str(obs["features"].dtype).removeprefix("torch.")
            expected = self.observation_space["features"].dtype
            if found != str(expected):
                raise ConfigError(
                    f"The observation's features are {found}, their space says {expected}: a "
                    "wrapper has changed them. Use VecNormalize with norm_obs=False."
                )

    def _check_parts(self) -> None:
        names = [name for name, _ in self.network.named_parameters()]
        parts = {".".join(name.split(".")[:2]) for name in names}
        if not self.lr_scales:
            raise ConfigError(f"lr_scales is empty, so nothing is trained; name some of {parts}.")
        for prefix in self.lr_scales:
            if not any(name.startswith(prefix) for name in names):
                raise ConfigError(unknown("part of the network", prefix, parts))

    def _freeze(self) -> None:
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(self._prefix(name) is not None)

    def _prefix(self, name: str) -> str | None:
        """Longest prefix in ``lr_scales`` of a parameter's or buffer's name, or None."""
        return max((p for p in self.lr_scales if name.startswith(p)), key=len, default=None)

    def _found_again(self, name: str) -> bool:
        return self._in_file and self._prefix(name.removeprefix("network.")) is None

    def _make_optimizer(self, lr: float) -> th.optim.Optimizer:
        groups: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in self.lr_scales}
        for name, parameter in self.network.named_parameters():
            prefix = self._prefix(name)
            if prefix is not None:
                groups[prefix].append(parameter)
        optimizer = self.optimizer_class(
            [
                {"params": parameters, "lr_scale": self.lr_scales[prefix]}
                for prefix, parameters in groups.items()
            ],
            lr=lr,  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )
        optimizer.register_step_pre_hook(_scale_learning_rates)
        optimizer.register_step_post_hook(_restore_learning_rates)
        return optimizer


def observed_features(network: RELONetwork, observation: Mapping[str, th.Tensor]) -> th.Tensor:
    """Features ``(N, C, H, W)`` of an observation: stored in it, or encoded from its crops."""
    if "features" in observation:
        return observation["features"]
    tokens = None
    if "tokens" in observation:
        valid = observation["tokens_valid"].squeeze(1)
        tokens = network.unpack_tokens(observation["tokens"], valid)
    templates = normalize_crops(observation["template"].unflatten(1, (-1, 3)))
    boxes = observation["template_box"].unflatten(1, (-1, 4))
    return network.encode(templates, boxes, normalize_crops(observation["search"]), tokens)[0]


def _controls(observation: spaces.Space, action: spaces.Space) -> list[str]:
    """Controls of the environment, in the order of the action's entries.

    Raises:
        ConfigError: the action's entries after the position are not the environment's controls.
    """
    found = getattr(observation, "spaces", {})
    names = [name for name, state in CONTROL_STATES.items() if state in found]
    given = list(action.nvec[1:]) if isinstance(action, spaces.MultiDiscrete) else []
    if given != [CONTROL_CHOICES[name] for name in names]:
        raise ConfigError(
            f"The action space is {action}, which does not fit an observation with states of the "
            f"controls {names}. Make the environment with controls=(...), and leave out wrappers "
            "that change the action or drop parts of the observation."
        )
    return names


def _words(space: spaces.Space | None) -> str:
    if not isinstance(space, spaces.Box):
        return str(space)
    low, high = space.low.min(), space.high.max()
    return f"{space.dtype} of shape {space.shape} in [{low:g}, {high:g}]"


def _scale_learning_rates(optimizer: th.optim.Optimizer, *_: Any) -> None:
    """Scale each group's learning rate for a step; SB3 writes the same one into all groups."""
    for group in optimizer.param_groups:
        group["unscaled_lr"] = group["lr"]
        group["lr"] *= group["lr_scale"]


def _restore_learning_rates(optimizer: th.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.pop("unscaled_lr")
