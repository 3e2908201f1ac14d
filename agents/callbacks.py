"""Callbacks for Stable-Baselines3's ``learn``: pictures, checkpoints, benchmark figures.

`CreditCallback` is here too, for those who use SB3's own A2C or PPO with the paper's credit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image
from stable_baselines3.common.utils import obs_as_tensor

from agents.algorithms.buffer import CreditCallback
from agents.algorithms.state import save_run_state
from agents.network import RELONetwork
from agents.policies import RELOPolicy
from agents.runs import check_finite
from relo_env.benchmark.evaluation import evaluate
from relo_env.benchmark.interface import Tracker
from relo_env.benchmark.runner import run
from relo_env.boxes import cxcywh_to_xywh
from relo_env.crops import SearchWindow
from relo_env.datasets.base import Dataset
from relo_env.interrupts import Stop
from relo_env.rendering import draw

__all__ = ["BenchmarkCallback", "CheckpointCallback", "CreditCallback", "ImageCallback"]


class _EveryFewRollouts(BaseCallback):
    """Base of callbacks that act in every n-th rollout."""

    def __init__(self, every: int = 10):
        super().__init__()
        self.every = every
        self.rollouts = 0

    def _on_rollout_start(self) -> None:
        self.due = self.rollouts % self.every == 0
        self.rollouts += 1

    def _on_step(self) -> bool:
        return True

    @property
    def policy(self) -> RELOPolicy:
        """The policy in training."""
        policy = self.model.policy
        assert isinstance(policy, RELOPolicy)
        return policy


class ImageCallback(_EveryFewRollouts):
    """Logs a rollout's first search crop with score map, candidate (red) and true box (green).

    Args:
        every: rollouts from one picture to the next.
    """

    def _on_rollout_start(self) -> None:
        super()._on_rollout_start()
        self.window: SearchWindow = self.training_env.get_attr("window", 0)[0]

    def _on_step(self) -> bool:
        if self.due:
            picture = Image(self._picture(), "HWC")
            self.logger.record("images/search", picture, exclude=("stdout", "log", "json", "csv"))
            self.due = False
        return True

    def _picture(self) -> np.ndarray:
        seen = {key: value[:1] for key, value in self.locals["obs_tensor"].items()}
        info = self.locals["infos"][0]
        with th.no_grad():
            logits = self.policy.outputs(seen, "policy").policy_logits
        assert logits is not None
        return draw(
            seen["search"][0].permute(1, 2, 0).cpu().numpy(),
            box=self._in_crop(info["box"]),
            target_box=self._in_crop(info["target_box"]) if info["visible"] else None,
            scores=logits.softmax(-1).reshape(self.policy.network.crop.grid).cpu().numpy(),
            caption=f"IoU {info['iou']:.2f}",
        )

    def _in_crop(self, box: np.ndarray) -> np.ndarray:
        return cxcywh_to_xywh(self.window.to_crop(box)) * self.window.size


class CheckpointCallback(_EveryFewRollouts):
    """Keeps a run's last state, for resuming, and its network, for tracking.

    The state is that between two rollouts: an interrupted rollout is played again on resuming. The
    network is the latest one, even if another callback ends the training.

    Args:
        folder: gets ``state.pt`` (`agents.algorithms.state`) and ``network.safetensors``.
        every: rollouts from one checkpoint to the next.
        stop: request to stop; the last finished rollout is saved before it is raised.

    Raises:
        TrainingError: weights or outputs are not finite; nothing is saved.
    """

    def __init__(self, folder: str | Path, every: int = 10, stop: Stop | None = None):
        super().__init__(every)
        self.folder = Path(folder)
        self.stop = stop
        self.played = 0  # steps of finished rollouts

    def _on_rollout_start(self) -> None:
        super()._on_rollout_start()
        self.played = self.num_timesteps
        stopping = self.stop is not None and self.stop.requested
        if self.due or stopping:
            self._save()
        if self.stop is not None:
            self.stop.check()

    def _on_rollout_end(self) -> None:
        self.played = self.num_timesteps

    def _on_training_end(self) -> None:
        if not self.rollouts:
            return
        if self.played == self.num_timesteps:
            self._save()
        else:
            self._save_network()

    def _save(self) -> None:
        self._save_network()
        save_run_state(self.model, self.folder / "state.pt")  # type: ignore[arg-type]

    def _save_network(self) -> None:
        self._check_finite()
        self.policy.network.save_checkpoint(
            self.folder / "network.safetensors",
            stage="policy",
            metrics={"num_timesteps": float(self.played)},
        )

    @th.no_grad()
    def _check_finite(self) -> None:
        outputs: tuple[th.Tensor | None, ...] = ()
        last: Any = self.model._last_obs
        if last is not None:
            read = {name: last[name] for name in self.policy.reads(self.policy.observation_space)}
            out = self.policy.outputs(obs_as_tensor(read, self.policy.device), "policy", "value")
            outputs = out.policy_logits, out.value
        check_finite(self.policy.network, outputs, self.folder)


class BenchmarkCallback(_EveryFewRollouts):
    """Tracks whole sequences with the current network and logs ``benchmark/<figure>``.

    Args:
        dataset: held-back sequences.
        make_tracker: makes a tracker of the network, such as `RELOTracker`.
        every: rollouts from one evaluation to the next.
        sequences: names of those to track; None: all.
        protocol: see `relo_env.benchmark.protocols`.
    """

    def __init__(
        self,
        dataset: Dataset,
        make_tracker: Callable[[RELONetwork], Tracker],
        every: int = 100,
        sequences: list[str] | None = None,
        protocol: str = "clean",
    ):
        super().__init__(every)
        self.dataset = dataset
        self.make_tracker = make_tracker
        self.sequences = sequences
        self.protocol = protocol

    def _on_rollout_end(self) -> None:
        if not self.due:
            return
        for figure, value in self.figures().items():
            self.logger.record(f"benchmark/{figure}", value)

    def figures(self) -> dict[str, float]:
        """Mean of every figure of the protocol over the sequences, in [0, 1]."""
        names, dataset = self.sequences, self.dataset
        with tempfile.TemporaryDirectory() as folder:
            done = run(self._tracker, dataset, folder, sequences=names, progress=False)
            evaluation = evaluate(done.folder, dataset, protocol=self.protocol, sequences=names)
        return {figure: evaluation.mean(figure) for figure in evaluation.figures}

    def _tracker(self) -> Tracker:
        return self.make_tracker(self.policy.network)
