"""RELO's policy for Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from agents.network import HeadOutputs, RELONetwork, normalize_crops
from agents.proposer import NetworkSource, checkpoint_of, find_network
from relo_env.errors import CheckpointError, ConfigError, unknown

HEADS_ONLY: Mapping[str, float] = {"heads.policy": 1.0, "heads.value": 1.0}
CROP_KEYS = ("template", "template_box", "search", "tokens", "tokens_valid")


class RELOPolicy(ActorCriticPolicy):
    """A categorical over positions and a value, by a `RELONetwork`.

    With ``features`` in the observation only the heads run. Without, the policy encodes the crops
    (with ``tokens``, if the observation has them) and can train all of the network. The network
    stays in evaluation mode, so that an action's probability is the same when it is taken and when
    it is trained on.

    Its parameters, as SB3's algorithms see them, are the ones that it trains; its state dict leaves
    out frozen ones that a checkpoint's path finds again.

    Args:
        observation_space: a tracking environment's.
        action_space: ``Discrete(H * W)``.
        lr_schedule: SB3's.
        network: a preset, ``{"name": preset, ...changes}``, a checkpoint's path, or a module,
            which is used as it is.
        lr_scales: what is trained: learning rates, as multiples of the algorithm's, of all
            parameters whose name begins so, e.g. ``{"heads": 1, "encoder": 0.1}``.
        amp: run the network in bfloat16 where PyTorch finds that safe.
        gradient_checkpointing: where the encoder is trained, run its blocks again on the way back
            instead of keeping what they computed.
        use_sde: must be False.
        optimizer_class: of the trained parameters.
        optimizer_kwargs: of the optimizer, but for the learning rate; None: weight decay 1e-4
            (paper).

    Raises:
        ConfigError: a space or an argument that does not fit the network.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        network: NetworkSource = "nano",
        lr_scales: Mapping[str, float] = HEADS_ONLY,
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
        self.lr_scales = dict(lr_scales)
        self.amp = amp
        self.gradient_checkpointing = gradient_checkpointing
        self.network = find_network(network)
        self.network.encoder.gradient_checkpointing = gradient_checkpointing
        self._in_file = checkpoint_of(network) is not None
        self._greedy_rows: th.Tensor | None = None
        self._check_spaces()
        self._freeze()
        self.optimizer = self._make_optimizer(lr_schedule(1))

    @staticmethod
    def reads(observation_space: spaces.Space) -> list[str]:
        """The observations that the policy looks at; nothing else need be stored."""
        assert isinstance(observation_space, spaces.Dict)
        if "features" in observation_space.spaces:
            return ["features"]
        return [key for key in CROP_KEYS if key in observation_space.spaces]

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Actions ``(N,)``, values ``(N, 1)`` and log-probabilities ``(N,)``."""
        distribution, values = self._decide(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        if self._greedy_rows is not None:
            actions = th.where(self._greedy_rows, distribution.mode(), actions)
        return actions, values, distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Values ``(N, 1)``, log-probabilities and entropies ``(N,)``."""
        distribution, values = self._decide(obs)
        return values, distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """The categorical over positions."""
        return self._categorical(self.outputs(obs, "policy"))

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """Values ``(N, 1)``."""
        value = self.outputs(obs, "value").value
        assert value is not None
        return value[:, None]

    def outputs(self, obs: PyTorchObs, *only: str) -> HeadOutputs:
        """The network's heads named by ``only``, on observations as tensors."""
        with th.autocast(self.device.type, th.bfloat16, enabled=self.amp):
            assert isinstance(obs, dict)
            return self.network.heads(observed_features(self.network, obs), only=only)

    @contextmanager
    def greedy(self, rows: np.ndarray) -> Iterator[None]:
        """While it lasts, the rows that are True take their most probable action."""
        self._greedy_rows = th.as_tensor(rows, device=self.device)
        try:
            yield
        finally:
            self._greedy_rows = None

    def set_training_mode(self, mode: bool) -> None:
        """Change nothing in the network: statistics and drop path stay as in evaluation."""
        self.training = mode
        self.network.eval()

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that are trained."""
        named = super().named_parameters(*args, **kwargs)
        return ((name, value) for name, value in named if value.requires_grad)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """All weights, or only the trained ones where the network's path finds the others."""
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if not self._found_again(name)}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> None:
        """Take a `state_dict`.

        Raises:
            CheckpointError: it belongs to another network.
        """
        missing, unexpected = super().load_state_dict(state_dict, strict=False, assign=assign)
        missing = [name for name in missing if not self._found_again(name)]
        if strict and (missing or unexpected):
            raise CheckpointError(
                f"The saved policy does not fit this network: missing {missing[:3]}, unexpected "
                f"{unexpected[:3]}. Give the network and lr_scales that it was saved with."
            )

    @property
    def recipe(self) -> NetworkSource:
        """How to build the network again; its weights are in the state dict or in a file."""
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
        """Nothing: the network comes whole."""

    def _decide(self, obs: PyTorchObs) -> tuple[Distribution, th.Tensor]:
        out = self.outputs(obs, "policy", "value")
        assert out.value is not None
        return self._categorical(out), out.value[:, None]

    def _categorical(self, out: HeadOutputs) -> Distribution:
        return self.action_dist.proba_distribution(action_logits=out.policy_logits)

    def _check_spaces(self) -> None:
        crop = self.network.crop
        self._check_parts()
        if not isinstance(self.action_space, spaces.Discrete):
            raise ConfigError(
                f"The action space is {self.action_space}; RELOPolicy chooses a position: make the "
                'environment with action_mode="grid".'
            )
        if int(self.action_space.n) != crop.num_positions:
            raise ConfigError(
                f"The environment has {self.action_space.n} positions, the network "
                f"{crop.num_positions}. Give the same network to the environment, "
                'proposer=NetworkProposer(network), and here, policy_kwargs={"network": network}.'
            )
        if "features" in self.observation_space.spaces:  # type: ignore[attr-defined]
            shape = self.observation_space["features"].shape  # type: ignore[index]
            if shape[0] != self.network.width:
                raise ConfigError(
                    f"The observation's features have {shape[0]} channels, the network's heads "
                    f"read {self.network.width}. Give both the same network."
                )
            if any(not name.startswith("heads") for name in self.lr_scales):
                raise ConfigError(
                    f"lr_scales={self.lr_scales} trains the encoder, which does not run on an "
                    "observation with features. Use NetworkProposer(..., train_encoder=True)."
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
        """The longest prefix of ``lr_scales`` that a parameter or buffer falls under."""
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
    """Features ``(N, C, H, W)``: those that an observation holds, or those of its crops."""
    if "features" in observation:
        return observation["features"]
    tokens = None
    if "tokens" in observation:
        valid = observation["tokens_valid"].squeeze(1)
        tokens = network.unpack_tokens(observation["tokens"], valid)
    templates = normalize_crops(observation["template"].unflatten(1, (-1, 3)))
    boxes = observation["template_box"].unflatten(1, (-1, 4))
    return network.encode(templates, boxes, normalize_crops(observation["search"]), tokens)[0]


def _scale_learning_rates(optimizer: th.optim.Optimizer, *_: Any) -> None:
    """SB3 writes one learning rate into every group; while a step is taken, each has its own."""
    for group in optimizer.param_groups:
        group["unscaled_lr"] = group["lr"]
        group["lr"] *= group["lr_scale"]


def _restore_learning_rates(optimizer: th.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.pop("unscaled_lr")
