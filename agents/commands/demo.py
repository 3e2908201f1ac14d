"""Train a policy by reinforcement and compare it with baselines.

The demo starts from the shipped weights of `nano`: encoder and box regression after stage 1
(warm-up), with a new policy and value. Stage 2 trains these on synthetic clips. The tracker is then
compared with baselines on other videos, one of them real.

All files go to the folder OUT. The same command continues an interrupted demo.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents.commands import arguments
from agents.commands.track import picture
from agents.network import HeadOutputs, RELONetwork
from agents.network.checkpoints import find_checkpoint
from agents.policy_config import PolicyConfig
from agents.proposer import NetworkProposer
from agents.tracker import RELOTracker
from agents.training import STATE, train_policy
from agents.vec import RELOVecEnv
from relo_env.benchmark import plots
from relo_env.benchmark.evaluation import Evaluation, evaluate, summary_table
from relo_env.benchmark.runner import run as run_benchmark
from relo_env.benchmark.trackers import TrackerFactory, make_tracker_factory
from relo_env.checks import PositiveInt, Seed, check_fields
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.folder import Folder
from relo_env.datasets.synthetic import Synthetic
from relo_env.errors import ReloError
from relo_env.video import VideoWriter

EXAMPLES = """\
examples:
  relo demo
  relo demo --out elsewhere --seed 1
  tensorboard --logdir relo-demo/run"""


@dataclass(frozen=True)
class DemoConfig:
    """Size of the demo.

    Attributes:
        steps: frames of training.
        num_envs: clips that run at the same time.
        difficulty: difficulty of the synthetic videos: easy, medium or hard.
        sequences: synthetic videos of the benchmark.
        length: frames of each of these videos.
        seed: seed of clips, initial policy and value, and sampled actions.
    """

    steps: PositiveInt = 6_400
    num_envs: PositiveInt = 16
    difficulty: str = "easy"
    sequences: PositiveInt = 10
    length: PositiveInt = 60
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo demo``."""
    parser.add_argument(
        "--out", type=Path, default=Path("relo-demo"), metavar="DIR", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=arguments.positive,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes of the benchmark (here: %(default)s)",
    )
    arguments.add_device(parser)
    arguments.add_config(parser, DemoConfig)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Learn, compare, show."""
    begin = time.perf_counter()
    config = arguments.config_from(options, DemoConfig)
    synthetic, real = held_back(config), real_clip()
    out: Path = options.out
    weights = find_checkpoint("nano")
    say("1/4", f"Weights: the encoder and the box regression of nano ({weights.name}).")
    say(
        "",
        "The network has a box for every position; its new policy chooses among them at random.",
    )
    say(
        "2/4",
        f"Policy stage: {config.num_envs} clips at a time, 8 frames each, until it has learnt; "
        f"{config.steps} frames at most.",
    )
    say("", "A frame pays the IoU of the chosen box; a clip's end pays its AUC. TensorBoard:")
    say("", f"tensorboard --logdir {out / 'run'}")
    network = RELONetwork.from_checkpoint(weights)
    checkpoint = learn(config, network, out / "run", device=options.device)
    say("3/4", "Videos of the tracker: its box red, the true one green.")
    names = list(synthetic.names[: config.sequences])
    tracker = RELOTracker.from_pretrained(checkpoint, device=options.device)
    for sequence in (real[0], synthetic[names[0]]):
        say("", str(film(tracker, sequence, out / f"{sequence.name}.mp4")))
    say("4/4", f"Benchmark: {config.sequences} synthetic videos and a real one, none seen before.")
    trackers = contestants(checkpoint, options.device)
    evaluations = compare(trackers, synthetic, out / "results", names, workers=options.workers)
    on_real_clip = compare(
        trackers, real, out / "results", list(real.names), workers=options.workers
    )
    plots.save(plots.curve_plot(evaluations, "success"), out / "success.png")
    print(f"\n{summary_table(evaluations)}\n\nReal clip: {summary_table(on_real_clip)}\n")
    print(f"success plot {out / 'success.png'}")
    print(f"TensorBoard  tensorboard --logdir {out / 'run'}")
    print(f"network      {checkpoint}   (relo track VIDEO --box X,Y,W,H --tracker {checkpoint})")
    print(f"took {(time.perf_counter() - begin) / 60:.1f} minutes")
    return 0


def say(step: str, line: str) -> None:
    """Print a line about the current step."""
    print(f"{step:5}{line}", flush=True)


def learn(config: DemoConfig, network: RELONetwork, out: Path, *, device: str = "cpu") -> Path:
    """Train the policy stage in the demo's setting; a run in the folder is continued.

    Returns:
        The checkpoint.
    """
    check = HeldBackCheck(config, network)
    checkpoint = train_policy(
        PolicyConfig(
            steps=config.steps,
            num_envs=config.num_envs,
            seed=config.seed,
            checkpoint_every=CHECK_EVERY,
        ),
        network=network,
        dataset=Synthetic("train", difficulty=config.difficulty),
        out=out,
        resume=(out / STATE).exists(),
        device=device,
        callbacks=[*([LearningCurve()] if sys.stdout.isatty() else []), check],
    )
    if check.learnt:
        say("", f"Learnt after {check.frames} frames: {check.share:.0%} of the best IoU there is.")
    return checkpoint


CHECK_EVERY = 10
"""Rollouts from one check, and one checkpoint, to the next."""

LEARNT = 0.9
"""Share of the best candidates' IoU from which on the policy counts as trained."""


class HeldBackCheck(BaseCallback):
    """Ends the training once the greedy policy does well on held-back clips, always the same.

    The measure is its IoU as a share of the IoU of the best candidate in each frame.

    Args:
        config: its difficulty and its number of clips.
        network: in training.

    Attributes:
        share: of the last check.
        frames: trained on before it.
        learnt: the share reached `LEARNT`.
    """

    def __init__(self, config: DemoConfig, network: RELONetwork) -> None:
        super().__init__()
        self.config, self.network = config, network
        self.share, self.frames, self.learnt = 0.0, 0, False

    def _on_rollout_start(self) -> None:
        steps = self.model.n_steps * self.config.num_envs  # type: ignore[attr-defined]
        if self.num_timesteps and self.num_timesteps % (CHECK_EVERY * steps) == 0:
            self.frames, self.share = self.num_timesteps, self._measure()
            self.learnt = self.share >= LEARNT
            self.logger.record("demo/held_back_share", self.share)

    def _on_step(self) -> bool:
        return not self.learnt

    def _measure(self) -> float:
        env = RELOVecEnv(
            "RELO-Synthetic-v0",
            num_envs=self.config.num_envs,
            split="val",
            difficulty=self.config.difficulty,
            proposer=NetworkProposer(self.network, backend="torch"),
            candidate_info=True,
        )
        env.seed(self.config.seed)
        observation = env.reset()
        reached = best = 0.0
        for _ in range(self.model.n_steps):  # type: ignore[attr-defined]
            actions, _ = self.model.predict(observation, deterministic=True)  # type: ignore[arg-type]
            observation, _, _, infos = env.step(actions)
            reached += sum(float(info["iou"]) for info in infos)
            best += sum(float(info["candidate_ious"].max()) for info in infos)
        env.close()
        return reached / best


class LearningCurve(BaseCallback):
    """Prints the AUC of the clips just played, as a number and a bar, every few seconds.

    Args:
        seconds: from one line to the next.
    """

    def __init__(self, seconds: float = 8.0) -> None:
        super().__init__()
        self.seconds = seconds

    def _on_training_start(self) -> None:
        self.begin = self.last = time.perf_counter()
        tqdm.write("      frames   time    AUC of the last clips")

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        now = time.perf_counter()
        if now - self.last < self.seconds:
            return
        self.last = now
        auc = np.mean([episode["auc"] for episode in self.model.ep_info_buffer or []])
        minutes, seconds = divmod(int(now - self.begin), 60)
        bar = "#" * round(50 * auc)
        tqdm.write(f"{self.num_timesteps:12,} {minutes:3}:{seconds:02}  {auc:.3f} {bar}")


def held_back(config: DemoConfig) -> Dataset:
    """Synthetic videos that no training has seen."""
    return Synthetic("test", difficulty=config.difficulty, length=config.length)


def real_clip() -> Dataset:
    """The real video that ships, see agents/assets/ASSETS.md."""
    return Folder(Path(str(resources.files("agents"))) / "assets" / "cockatoo")


def contestants(checkpoint: Path, device: str = "cpu") -> list[TrackerFactory]:
    """Learned policy, prior baseline, random policy (all on one network) and OpenCV's MIL."""
    here = f"{__name__}:random_policy"
    loader = f"{arguments.__name__}:load_tracker"
    common = {"name_or_path": str(checkpoint), "device": device}
    return [
        TrackerFactory("learned policy", loader, {**common, "backend": "torch"}),
        TrackerFactory("prior", loader, {**common, "localise": "prior", "backend": "torch"}),
        TrackerFactory("random policy", here, common),
        make_tracker_factory("opencv:MIL"),
    ]


class RandomPolicy(RELOTracker):
    """Chooses among the network's candidates at random."""

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        """Start, with the same random numbers for every video."""
        self._rng = np.random.default_rng(0)
        super().init(frame, box)

    def position_scores(self, outputs: HeadOutputs) -> np.ndarray:
        """Scores at random."""
        assert outputs.policy_logits is not None
        return self._rng.random(tuple(outputs.policy_logits.shape))


def random_policy(name_or_path: str, device: str = "cpu") -> RandomPolicy:
    """A `RandomPolicy` that favours no position."""
    return RandomPolicy(
        RELONetwork.from_pretrained(name_or_path),
        device=device,
        window_exponent=0.0,
        backend="torch",
    )


def compare(
    trackers: list[TrackerFactory],
    dataset: Dataset,
    out: Path,
    sequences: list[str],
    *,
    workers: int = 1,
) -> list[Evaluation]:
    """Track every sequence with every tracker.

    Raises:
        ReloError: a sequence failed.
    """
    evaluations = []
    for tracker in trackers:
        result = run_benchmark(
            tracker,
            dataset,
            out,
            sequences=sequences,
            workers=workers,
            progress=sys.stderr.isatty(),
        )
        if result.failed:
            raise ReloError(f"{tracker.name}: {result.describe_failures()}")
        evaluations.append(
            evaluate(result.folder, dataset, tracker=tracker.name, sequences=sequences)
        )
    return evaluations


def film(tracker: RELOTracker, sequence: Sequence, path: Path) -> Path:
    """Write a video of a tracker at work: its box red, the true one green, the score map inset."""
    with VideoWriter(path, fps=20) as video:
        for index, truth in enumerate(sequence.boxes):
            frame = sequence.frames.read(index)
            found = tuple(truth.tolist())
            if index:
                found, _ = tracker.update(frame)
            else:
                tracker.init(frame, found)
            shown = truth if sequence.visible[index] else None
            video.add(picture(tracker, frame, found, f"{sequence.name} {index}", shown))
    return path
