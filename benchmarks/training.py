"""Time of a step of the policy stage, from stored features and encoding anew for each update.

    python benchmarks/training.py --presets nano t256 --threads 2     # about 5 minutes
    python benchmarks/training.py --presets t256 b256 --device cuda --rows 16

A step collects one rollout (T frames of N clips) and updates policy and value on it, once as the
paper does, or several times as PPO does. ``ours`` keeps the features that the rollout's proposer
computed; ``plain`` keeps the crops, and each update runs the frozen encoder over the clips again,
frame after frame, templates included, as the released code does. Both have the same network and the
same loss, and take turns; times are medians. The second table collects rollouts in the open loop,
where the rows of a group see the same crops.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from videos import row, table

from agents.algorithms import ActorCritic
from agents.algorithms.losses import actor_critic_loss
from agents.network import RELONetwork, normalize_crops
from agents.proposer import NetworkProposer
from agents.vec import RELOVecEnv

T = 8
"""Search frames a clip, as in the paper."""
EPOCHS = (1, 4)
"""Updates a rollout: the paper's, and a few of PPO's."""


class Learner:
    """Rollouts and updates of our `ActorCritic`; keeps the crops too, for the plain loop."""

    def __init__(self, network: RELONetwork, rows: int, group_size: int = 1, **options: Any):
        self.network = network
        self.venv = RELOVecEnv(
            "RELO-Synthetic-v0",
            num_envs=rows,
            group_size=group_size,
            proposer=NetworkProposer(network),
            clip_length=T,
            **options,
        )
        device = next(network.parameters()).device
        self.model = ActorCritic(
            "RELOPolicy", self.venv, policy_kwargs={"network": network}, device=device, seed=0
        )
        self.model._setup_learn(T * rows, None)
        self.crops: list[dict[str, np.ndarray]] = []
        self.callback = self.model._init_callback(Recorder(self.crops))
        self.callback.on_training_start({}, {})
        self.collect()

    def collect(self) -> None:
        self.crops.clear()
        model = self.model
        model.collect_rollouts(self.venv, self.callback, model.rollout_buffer, model.n_steps)

    def update(self) -> None:
        """From the stored features."""
        self.model.train()

    def update_plainly(self) -> None:
        """From the stored crops: T passes of the frozen encoder, then the heads and the loss."""
        buffer, policy = self.model.rollout_buffer, self.model.policy
        features, tokens = [], None
        with torch.no_grad():
            for crops in self.crops:
                seen = {k: torch.as_tensor(v, device=policy.device) for k, v in crops.items()}
                encoded, tokens = self.network.encode(
                    normalize_crops(seen["template"].unflatten(1, (-1, 3))),
                    seen["template_box"].unflatten(1, (-1, 4)),
                    normalize_crops(seen["search"]),
                    tokens,
                )
                features.append(encoded)
        out = self.network.heads(torch.cat(features), only=("policy", "value"))
        told = [torch.as_tensor(a).to(policy.device) for a in (buffer.actions, buffer.ious)]
        actions, ious = (a.flatten() for a in told)
        auc = torch.as_tensor(buffer.aucs[-1], device=policy.device).repeat(T)
        loss = actor_critic_loss(out.policy_logits, out.value, actions.long(), ious, auc)
        policy.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), self.model.max_grad_norm)
        policy.optimizer.step()


class Recorder(BaseCallback):
    """Keeps the crops of each step of a rollout."""

    def __init__(self, crops: list[dict[str, np.ndarray]]) -> None:
        super().__init__()
        self._crops = crops

    def _on_step(self) -> bool:
        seen = self.model._last_obs  # type: ignore[attr-defined]
        self._crops.append({k: seen[k] for k in ("template", "template_box", "search")})
        return True


def seconds(job: Callable[[], None], device: str) -> float:
    start = time.perf_counter()
    job()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def medians(jobs: dict[str, Callable[[], None]], rounds: int, device: str) -> dict[str, float]:
    """Let the jobs take turns; the first turn does not count."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            times[name].append(seconds(job, device))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def compare_updates(preset: str, rows: int, rounds: int, device: str) -> None:
    learner = Learner(RELONetwork.from_preset(preset).to(device), rows)
    proposer, inside = learner.venv.proposer, [0.0]
    for method in ("reset", "propose"):
        setattr(proposer, method, timed(getattr(proposer, method), inside, device))
    jobs = {"collect": learner.collect, "ours": learner.update, "plain": learner.update_plainly}
    took = medians(jobs, rounds, device)
    inside[0] = 0.0
    whole = seconds(learner.collect, device)
    network = inside[0] / whole
    print(row(preset, rows, "an update", *compared(took["ours"], took["plain"]), "", ""))
    for epochs in EPOCHS:
        ours, plain = (took["collect"] + epochs * took[way] for way in ("ours", "plain"))
        waits = took["collect"] * (1 - network) / ours
        cells = (*compared(ours, plain), f"{rows / ours:.2f}", f"{waits:.0%}")
        updates = "1 update" if epochs == 1 else f"{epochs} updates"
        print(row(preset, rows, f"rollout and {updates}", *cells), flush=True)
    learner.venv.close()


def timed(method: Callable[..., Any], inside: list[float], device: str) -> Callable[..., Any]:
    """The method, which adds its seconds to ``inside[0]``."""

    def wrapped(*args: Any) -> Any:
        answer: list[Any] = []
        inside[0] += seconds(lambda: answer.append(method(*args)), device)
        return answer[0]

    return wrapped


def compared(ours: float, plain: float) -> tuple[str, str, str]:
    return f"{1e3 * plain:.0f}", f"{1e3 * ours:.0f}", f"{plain / ours:.1f}"


def compare_groups(preset: str, rounds: int, device: str) -> None:
    network = RELONetwork.from_preset(preset).to(device)
    rows = {"one row": (1, 1), "a group of 8": (8, 8), "8 rows": (8, 1)}
    learners = {
        name: Learner(network, n, group, search_window="jittered")
        for name, (n, group) in rows.items()
    }
    took = medians({name: each.collect for name, each in learners.items()}, rounds, device)
    for name, time_taken in took.items():
        ratio = f"{time_taken / took['one row']:.2f}"
        print(row(preset, name, f"{1e3 * time_taken:.0f}", ratio), flush=True)
    for learner in learners.values():
        learner.venv.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["nano", "t256"])
    parser.add_argument("--rows", type=int, default=2, help="clips N of a rollout [2, the paper's]")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way [5]")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch [2]")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(table("preset", "N", "part", "plain ms", "ours ms", "ratio", "clips/s", "network waits"))
    for preset in arguments.presets:
        compare_updates(preset, arguments.rows, arguments.rounds, arguments.device)
    print("\n" + table("preset", "open-loop rollout of", "ms", "of one row"))
    for preset in arguments.presets:
        compare_groups(preset, arguments.rounds, arguments.device)


if __name__ == "__main__":
    main()
