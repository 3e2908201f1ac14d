"""Ray RLlib on its current API stack: environment creator, module, callbacks, configuration.

Every process of a Ray cluster builds its network from one checkpoint. Its path must be valid on all
machines. Only trained weights are sent between processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorObservationWrapper
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.torch_utils import convert_to_torch_tensor
from ray.tune.registry import register_env
from torch import Tensor, nn

import relo_env  # noqa: F401  (registers the ids in each of Ray's processes)
from agents.network import RELONetwork
from agents.network.checkpoints import find_checkpoint
from agents.policies import HEADS_ONLY, RELOPolicy, observed_features

ENVIRONMENT = "RELO"
"""Name of `make_env` in Ray's registry; `ppo_config` registers it."""


def make_env(context: Mapping[str, Any]) -> gym.Env | VectorEnv:
    """Environment creator of RLlib: a tracking environment with a checkpoint's network.

    Args:
        context: ``id``, ``network`` and ``train_encoder``, and any argument of the environment;
            with ``num_envs``, which RLlib adds, a vector environment is made, else a single one.
    """
    options = dict(context)
    proposer = {name: options.pop(name) for name in ("network", "train_encoder")}
    options |= {"proposer": "agents.proposer:make_network_proposer", "proposer_kwargs": proposer}
    if "num_envs" not in options:
        return gym.make(**options)
    return RunnerEnv(
        gym.make_vec(
            **options,
            vectorization_mode="vector_entry_point",
            autoreset_mode=AutoresetMode.NEXT_STEP,
        )
    )


class RunnerEnv(VectorObservationWrapper):
    """Tracking environment for an env runner: observations that the policy reads, distinct seeds.

    RLlib seeds runner i with ``seed + i``, and a vector environment seeds its rows with the
    following numbers. Neighbouring runners would get almost the same clips. This wrapper draws the
    seeds of the rows from the runner's seed instead.
    """

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        self._keys = RELOPolicy.reads(env.single_observation_space)
        self.single_observation_space = self._read(env.single_observation_space)
        self.observation_space = self._read(env.observation_space)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See `TrackingVectorEnv.reset`."""
        if isinstance(seed, int):
            seed = np.random.SeedSequence(seed).generate_state(self.num_envs).tolist()
        return super().reset(seed=seed, options=options)  # type: ignore[arg-type]

    def observations(self, observations: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Observations that the policy reads."""
        return {key: observations[key] for key in self._keys}

    def _read(self, space: gym.Space) -> gym.spaces.Dict:
        assert isinstance(space, gym.spaces.Dict)
        return gym.spaces.Dict({key: space[key] for key in self._keys})


class RELOModule(TorchRLModule, ValueFunctionAPI):
    """RLlib module of a `RELONetwork`: logits of the positions, and a value.

    As `RELOPolicy` it reads ``features`` or encodes crops, and stays in evaluation mode. Its
    parameters and its state are the trained weights only.

    ``model_config`` has ``network``, a checkpoint's path, and ``trained``, the beginnings of the
    names of the parameters that are trained; all of them must bear on policy or value.
    """

    def setup(self) -> None:
        """Build the network; called by RLlib's constructor."""
        self.network = RELONetwork.from_checkpoint(self.model_config["network"])
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(self._is_trained(name))

    def train(self, mode: bool = True) -> RELOModule:
        """Set the flag; the network stays in evaluation mode, without drop path."""
        self.training = mode
        self.network.eval()
        return self

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and values of the trained parameters."""
        named = super().named_parameters(*args, **kwargs)
        return ((name, value) for name, value in named if value.requires_grad)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Trained weights as arrays."""
        state = super().get_state(*args, **kwargs)
        return {
            name: value
            for name, value in state.items()
            if self._is_trained(name.removeprefix("network."))
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Load the state that `get_state` returned."""
        self.load_state_dict({**self.state_dict(), **convert_to_torch_tensor(dict(state))})

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values ``(N,)``; ``embeddings`` are the features of an earlier forward pass."""
        if embeddings is None:
            with torch.no_grad():
                embeddings = observed_features(self.network, batch[Columns.OBS])
        return self.network.heads(embeddings, only=("value",)).value

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._decide(observed_features(self.network, batch[Columns.OBS]))

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        # Only here: what a runner's pass returns is stored with every step.
        features = observed_features(self.network, batch[Columns.OBS])
        return {**self._decide(features), Columns.EMBEDDINGS: features}

    def _decide(self, features: Tensor) -> dict[str, Any]:
        logits = self.network.heads(features, only=("policy",)).policy_logits
        return {Columns.ACTION_DIST_INPUTS: logits}

    def _is_trained(self, name: str) -> bool:
        return name.startswith(tuple(self.model_config["trained"]))


class TrackingCallbacks(RLlibCallback):
    """Log the AUC of clips, and share the module's network with the runner's environment.

    With a shared network, candidate boxes and temporal tokens follow the training of the encoder.
    """

    def on_episode_created(self, *, env: Any, rl_module: RELOModule, **kwargs: Any) -> None:
        """Give the environment the module's network; called before an episode's reset."""
        env.proposer.network = rl_module.network

    def on_episode_end(self, *, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
        """Log the AUC; called after an episode's last frame."""
        metrics_logger.log_value("auc", episode.get_infos(-1)["auc"], window=100)


def ppo_config(
    env: str,
    network: str | Path,
    *,
    trained: Sequence[str] = tuple(HEADS_ONLY),
    num_env_runners: int = 2,
    num_envs: int = 8,
    **options: Any,
) -> PPOConfig:
    """Configuration of PPO, which RLlib's methods change further.

    ``ppo_config("RELO-LaSOT-v0", path).learners(num_learners=2).training(lr=3e-4).build_algo()``

    Args:
        env: a registered id.
        network: a checkpoint's path, the same file on every machine, or a preset that ships.
        trained: see `RELOModule`; with parts of the encoder, policies encode the crops themselves.
        num_env_runners: processes that play.
        num_envs: clips that each of them plays at once.
        **options: arguments of the environment.

    Raises:
        CheckpointError: no such checkpoint.
    """
    path = str(find_checkpoint(network).resolve())
    train_encoder = any(not prefix.startswith("heads") for prefix in trained)
    register_env(ENVIRONMENT, make_env)
    return (
        PPOConfig()
        .environment(
            ENVIRONMENT,
            env_config={"id": env, "network": path, "train_encoder": train_encoder, **options},
        )
        .env_runners(
            num_env_runners=num_env_runners,
            num_envs_per_env_runner=num_envs,
            gym_env_vectorize_mode="vector_entry_point",
        )
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=RELOModule,
                model_config={"network": path, "trained": list(trained)},
            )
        )
        .callbacks(TrackingCallbacks)
        # The AUC comes with a clip's last frame, so nothing is discounted.
        .training(
            gamma=1.0,
            lambda_=0.95,
            lr=1e-3,
            use_kl_loss=False,
            entropy_coeff=0.01,
            vf_loss_coeff=0.5,
            grad_clip=0.5,
            num_epochs=4,
            minibatch_size=128,
            train_batch_size_per_learner=512,
        )
    )


def restore(algorithm: Algorithm, path: str | Path) -> None:
    """Restore the state that ``Algorithm.save_to_path`` wrote, in an algorithm of equal settings.

    The function waits until all runners have started: RLlib drops weights that it sends to a runner
    while earlier ones are still under way.
    """
    algorithm.env_runner_group.foreach_env_runner("ping", local_env_runner=False)
    algorithm.restore_from_path(str(path))


def export_network(algorithm: Algorithm, path: str | Path) -> Path:
    """Write the trained network as a checkpoint for `RELOTracker`."""
    module = algorithm.get_module()
    assert isinstance(module, RELOModule)
    return module.network.save_checkpoint(path, stage="policy")
