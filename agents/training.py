"""Stage 2: reinforcement learning of policy and value, on frozen features unless told otherwise.

It runs any algorithm of `agents.policy_config` through Stable-Baselines3's ``learn``. A run is a
folder with ``config.json``, ``state.pt`` (to resume from), ``network.safetensors`` (to track with)
and TensorBoard's event file; see `agents.runs`. A killed run resumes to the same numbers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import Schedule
from tqdm import tqdm

from agents.algorithms import ExpectedPolicyGradient, RELORolloutBuffer
from agents.algorithms.base import RELOAlgorithm
from agents.algorithms.schedules import stages
from agents.algorithms.state import load_run_state
from agents.callbacks import CheckpointCallback, CreditCallback, ImageCallback
from agents.network import RELONetwork
from agents.policies import CONTROLS_ONLY, HEADS_ONLY, RELOPolicy
from agents.policy_config import GROUPED, PolicyConfig, find_algorithm
from agents.proposer import NetworkProposer
from agents.runs import Run, diverged, training_claim, untouched_if_refused
from agents.vec import RELOVecEnv
from relo_env.benchmark.evaluation import check_truth
from relo_env.datasets.base import Dataset
from relo_env.errors import ConfigError, ReloError
from relo_env.interrupts import held
from relo_env.vector_env import TrackingVectorEnv

CONFIG, STATE, NETWORK = "config.json", "state.pt", "network.safetensors"
NOT_FINITE = re.compile(r"non-finite|\bnan\b|to satisfy the constraint")
"""Part of torch's errors about gradients, or a policy's logits, that are not finite."""


def train_policy(
    config: PolicyConfig,
    *,
    network: RELONetwork,
    dataset: Dataset,
    out: str | Path,
    resume: bool = False,
    device: str | torch.device = "cpu",
    callbacks: Sequence[BaseCallback] = (),
    proposer: NetworkProposer | None = None,
) -> Path:
    """Train stage 2 and write its checkpoint, ``out/network.safetensors``.

    Progress is shown, and logged for TensorBoard in ``out``. Ctrl-C or SIGTERM ends the training
    after the current rollout, with everything saved; a second Ctrl-C ends it at once. If anything
    is refused, the network and the folder stay as they were.

    Args:
        config: see `PolicyConfig`.
        network: trained in place, on ``device``; parameters that are not trained no longer need
            a gradient.
        dataset: training split.
        out: folder of the run; made if missing.
        resume: continue from the state in ``out``, to the same numbers as without interruption.
            ``steps`` may be more than before; the learning rate then follows the new total.
        device: device of the network.
        callbacks: further ones of SB3's.
        proposer: see `make_env`.

    Returns:
        Path of the checkpoint.

    Raises:
        ConfigError: ``out`` holds a run and ``resume`` is False, or arguments that do not fit.
        CheckpointError: nothing to resume from, or a run of another configuration or other data.
        HiddenTruthError: the split has no boxes to train on.
        TrainingError: weights or losses are not finite any more.
        KeyboardInterrupt: the training was interrupted; the state is saved.
        Terminated: SIGTERM came; the state is saved.
    """
    out = Path(out)
    check_truth(dataset)
    train_on = f"--network {out / NETWORK} --no-fresh-heads --out ANOTHER"
    claim = training_claim(out / CONFIG, config, network, dataset, train_on)
    run = Run(claim, STATE, NETWORK, free=("checkpoint_every", "picture_every"))
    with ExitStack() as stack:
        with untouched_if_refused(network):
            resume = run.check(resume)
            extend(network, config.controls)
            if config.fresh_heads:
                draw_anew(config, network)
            env = make_env(config, network.to(device), dataset, proposer)
            stack.enter_context(closing(env))
            model = make_model(config, network, env, device)
            if resume:
                load_run_state(model, out / STATE)
            run.claim.write()
        _learn(model, config, out, callbacks)
    return out / NETWORK


def extend(network: RELONetwork, controls: Sequence[str]) -> RELONetwork:
    """Give a network heads for controls and, for renewal, a second template if it has only one."""
    renews = "renew" in controls
    templates = max(network.crop.num_templates, 2) if renews else None
    return network.extend(controls=controls, num_templates=templates)


def draw_anew(config: PolicyConfig, network: RELONetwork) -> None:
    """Draw policy, value and controls anew, as far as they are trained."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.reset_heads(config.seed)
    trained = tuple(_trained(config))
    drawn = {n: value for n, value in network.state_dict().items() if n.startswith(trained)}
    network.load_state_dict({**before, **drawn})


def _learn(
    model: OnPolicyAlgorithm, config: PolicyConfig, out: Path, callbacks: Sequence[BaseCallback]
) -> None:
    """Train to ``config.steps``, with progress, checkpoints and TensorBoard's log in ``out``."""
    left = config.steps - model.num_timesteps
    if left <= 0:
        print(f"{out} holds this run, finished; its files are used again", file=sys.stderr)
    model.set_logger(configure(str(out), ["tensorboard"]))
    with (
        closing(model.logger),
        held("stopping after this rollout") as stop,
        _bar(model, config) as bar,
    ):
        try:
            model.learn(
                left,
                callback=[
                    *([] if isinstance(model, RELOAlgorithm) else [CreditCallback()]),
                    ImageCallback(config.picture_every),
                    CheckpointCallback(out, config.checkpoint_every, stop),
                    _Progress(bar),
                    *callbacks,
                ],
                reset_num_timesteps=False,
                log_interval=1,
            )
        except (RuntimeError, ValueError) as error:
            if isinstance(error, ReloError) or not NOT_FINITE.search(str(error)):
                raise
            raise diverged(out) from error


def make_env(
    config: PolicyConfig,
    network: RELONetwork,
    dataset: Dataset,
    proposer: NetworkProposer | None = None,
) -> RELOVecEnv:
    """Environment that an algorithm needs.

    The default ``proposer`` passes on crops if the encoder is trained, else features, which stay on
    the network's device.
    """
    algorithm, options = find_algorithm(config.algorithm), config.algorithm_options
    if proposer is None and config.encoder_scale:
        proposer = NetworkProposer(network, train_encoder=True)
    elif proposer is None:
        proposer = NetworkProposer(
            network,
            backend="torch",  # even if slower: a resumed run gives the same numbers
            dtype=torch.bfloat16 if config.amp else None,
            features_on_device=next(network.parameters()).device.type != "cpu",
        )
    return RELOVecEnv(
        TrackingVectorEnv(
            config.num_envs,
            dataset,
            group_size=config.group_size if issubclass(algorithm, GROUPED) else 1,
            autoreset_mode=AutoresetMode.SAME_STEP,
            proposer=proposer,
            clip_length=config.clip_length,
            search_window=config.search_window,
            max_stride=config.max_stride,
            controls=config.controls,
            iou_weight=config.iou_weight,
            auc_weight=config.auc_weight,
            candidate_info=issubclass(algorithm, ExpectedPolicyGradient)
            or bool(options.get("candidates") or options.get("box_coef")),
        )
    )


def make_model(
    config: PolicyConfig,
    network: RELONetwork,
    env: RELOVecEnv,
    device: str | torch.device = "cpu",
) -> OnPolicyAlgorithm:
    """Algorithm for an environment of `make_env`, whose network it trains on ``device``."""
    arguments: dict[str, Any] = {
        "learning_rate": schedule(config.learning_rate),
        "policy_kwargs": {
            "network": network,
            "lr_scales": _trained(config),
            "amp": config.amp,
            "gradient_checkpointing": config.gradient_checkpointing,
        },
        "seed": config.seed,
        "device": device,
    }
    algorithm = find_algorithm(config.algorithm)
    if issubclass(algorithm, PPO):
        arguments["batch_size"] = config.num_envs * config.clip_length
    if not issubclass(algorithm, RELOAlgorithm):  # it knows nothing of clips
        arguments |= {
            "n_steps": config.clip_length,
            "gamma": 1.0,
            "gae_lambda": 1.0,
            "rollout_buffer_class": RELORolloutBuffer,
            "rollout_buffer_kwargs": {
                "credit": "gae",
                "keys": RELOPolicy.reads(env.observation_space),
                "clip_length": config.clip_length,
            },
        }
    policy = "RELOPolicy" if "RELOPolicy" in algorithm.policy_aliases else RELOPolicy
    try:
        return algorithm(policy, env, **{**arguments, **config.algorithm_options})
    except AssertionError as error:  # Stable-Baselines3's way to refuse an argument
        given = dict(config.algorithm_options)
        raise ConfigError(f"Algorithm {config.algorithm!r} refuses {given}: {error}") from error


def _trained(config: PolicyConfig) -> Mapping[str, float]:
    scales = dict(config.lr_scales or HEADS_ONLY)
    if config.controls and not config.lr_scales:
        scales |= CONTROLS_ONLY
    if config.encoder_scale:
        scales["encoder"] = config.encoder_scale
    if config.algorithm_options.get("box_coef"):
        scales |= {"heads.size": 1.0, "heads.offset": 1.0}
    return scales


def schedule(learning_rate: float) -> Schedule:
    """SB3 schedule: a tenth of the learning rate over the last fifth of the training (paper)."""
    return stages([learning_rate] * 4 + [0.1 * learning_rate])


def _bar(model: OnPolicyAlgorithm, config: PolicyConfig) -> tqdm:
    return tqdm(
        total=config.steps,
        initial=model.num_timesteps,
        unit="frame",
        desc="policy stage",
        mininterval=1 if sys.stderr.isatty() else 60,
    )


class _Progress(BaseCallback):
    """Moves a bar with rate and remaining time, and shows the AUC of the last clips."""

    def __init__(self, bar: tqdm) -> None:
        super().__init__()
        self._bar = bar

    def _on_step(self) -> bool:
        self._bar.update(self.num_timesteps - self._bar.n)
        return True

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        if episodes:
            self._bar.set_postfix_str(f"AUC {np.mean([e['auc'] for e in episodes]):.3f}")
