"""Run of a study: every row with every seed, in processes; each finished run is kept."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from stable_baselines3.common.callbacks import BaseCallback
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from agents.ablations.controls import DecisionHeads, control_oracle, hand_made, tracker_rule
from agents.ablations.evaluation import (
    CachedProposer,
    Rule,
    oracle_rule,
    play,
    policy_rule,
    random_rule,
)
from agents.ablations.tables import (
    RESULT,
    STUDY,
    Row,
    Study,
    WarmStart,
    run_folder,
    warm_folder,
)
from agents.network import RELONetwork
from agents.network.checkpoints import find_checkpoint, read_header
from agents.network.vit import ViTEncoder
from agents.policy_config import PolicyConfig
from agents.training import STATE, train_policy
from agents.warmup import CHECKPOINT, Warmup, WarmupConfig
from agents.warmup import STATE as WARMUP_STATE
from relo_env.benchmark.evaluation import check_truth
from relo_env.benchmark.execution import explain, single_threaded
from relo_env.claims import Claim, digests_of_weights
from relo_env.datasets.base import Dataset
from relo_env.errors import CheckpointError, ReloError
from relo_env.files import locked, write_atomically, write_json
from relo_env.interrupts import terminable
from relo_env.processes import Tell, require_main_guard, stream
from relo_env.proposers import BoxProposer, PreviousSizeProposer

WARMUP = WarmupConfig(clips=6, clip_length=2, save_every=100, picture_every=1000)
"""Settings that rows' own warm-ups change."""


class Ended(NamedTuple):
    """End of a warm-up or a run; ``error`` tells why it failed, if it did."""

    item: str
    error: str | None = None


def run_study(
    study: Study,
    *,
    train: Dataset,
    held_back: Dataset,
    out: str | Path,
    workers: int = 1,
    progress: bool = True,
) -> None:
    """Do the runs of a study that are not done yet; results lie in ``out`` (see `report`).

    Args:
        study: table and scale.
        train: training split.
        held_back: split that nothing is trained on.
        out: folder of the study; a study that was begun is continued.
        workers: processes.
        progress: show a bar with rate and remaining time.

    Raises:
        ConfigError: ``out`` holds another study, or a script without a main guard starts it.
        CheckpointError: the network or the backbone cannot be read.
        HiddenTruthError: a split has no boxes to train or to play on.
        ReloError: runs failed; the others are done.
        OutputError: the disk refuses.
        Terminated: SIGTERM came; the current runs saved their states.
    """
    out = Path(out)
    for data in (train, held_back):
        check_truth(data)
    _check_weights(study)
    claim = _claim(study, train, held_back, out)
    claim.check()
    require_main_guard()
    claim.write()
    starts = [name for name in study.warm_starts() if not (out / name / "done").exists()]
    runs = [
        run_folder(row, seed)
        for row, seed in study.runs()
        if not (out / run_folder(row, seed) / RESULT).exists()
    ]
    total = sum(_amount(study, name) for name in starts + runs)
    build = partial(Worker, study, train, held_back, out)
    bar = tqdm(
        total=total, desc=f"ablate {study.table}", unit="frame", disable=not progress, mininterval=1
    )
    with terminable(), bar:
        failed = _do(build, starts, workers, bar) or _do(build, runs, workers, bar)
    if failed:
        raise ReloError("\n".join([f"{len(failed)} failed; the others are kept:", *failed]))


def _do(build: Callable[[], Worker], items: list[str], workers: int, bar: tqdm) -> list[str]:
    """Do warm-ups or runs in processes; returns those that failed, with the reason."""
    failed, done = [], 0
    for message in stream(build, items, workers=workers, lost=_lost):
        if isinstance(message, int):
            bar.update(message)
            continue
        done += 1
        bar.set_postfix_str(f"{done}/{len(items)} done")
        if message.error is not None:
            failed.append(f"--- {message.item}\n{message.error}")
    return failed


def _check_weights(study: Study) -> None:
    """Check the files that runs start from before the first of them starts."""
    if study.network is not None and any(row.warm is None for row in study.selected):
        read_header(find_checkpoint(study.network))
    if study.backbone is not None:
        _read_weights(study.backbone)


def _read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights: {error}. Expected a complete .safetensors file."
        ) from error


def _lost(item: str, exit_code: int | None) -> Ended:
    return Ended(item, f"its process ended with exit code {exit_code}")


def _amount(study: Study, name: str) -> int:
    """Frames of an item, for the bar."""
    if name in study.warm_starts():
        return study.warmup_steps * WARMUP.clips * WARMUP.clip_length
    row = next(row for row, seed in study.runs() if run_folder(row, seed) == name)
    clips = study.held_back.clips * study.held_back.length
    if row.rule != "policy":
        return clips
    return study.frames + clips * len(study.points(row))


def _claim(study: Study, train: Dataset, held_back: Dataset, out: Path) -> Claim:
    """Settings and data of a study; seeds, rows and what changes no number are left out."""
    settings = asdict(study)
    for name in ("seeds", "rows", "cache_bytes", "device"):
        del settings[name]
    settings["files"] = digests_of_weights(settings)
    data = {"train": train.fingerprint, "held_back": held_back.fingerprint}
    return Claim(out / STUDY, settings, data)


class Worker:
    """Work of one process: warm-ups and runs by the name of their folder.

    Called with a name, it tells the frames as they are done, and at last `Ended`. The trainings
    print to ``log.txt`` in the folder. SIGTERM ends it after the current step or rollout, with the
    state saved. Arguments are those of `run_study`.
    """

    def __init__(self, study: Study, train: Dataset, held_back: Dataset, out: Path) -> None:
        torch.set_num_threads(1)
        self.study, self.train, self.held_back, self.out = study, train, held_back, out
        self.runs = {run_folder(row, seed): (row, seed) for row, seed in study.runs()}
        self.starts: dict[str, tuple[RELONetwork, CachedProposer]] = {}

    def __call__(self, item: str, tell: Tell) -> None:
        """Do the warm-up or the run of a folder.

        Raises:
            OutputError: the disk refuses, which ends the study.
        """
        folder = self.out / item
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with (
                single_threaded(),
                locked(folder),
                open(folder / "log.txt", "a", encoding="utf-8") as log,
                redirect_stderr(log),
            ):
                if item in self.runs:
                    self._run(*self.runs[item], folder, tell)
                else:
                    self._warm_up(*self.study.warm_starts()[item], folder, tell)
        except Exception as error:
            tell(Ended(item, explain(error)))
        else:
            tell(Ended(item))

    def _warm_up(self, warm: WarmStart, seed: int, folder: Path, tell: Tell) -> None:
        changes = {"steps": self.study.warmup_steps, "seed": seed, "amp": self.study.half}
        config = replace(WARMUP, **{**changes, **(warm.settings or {})})
        resume = (folder / WARMUP_STATE).exists()
        device = torch.device(self.study.device)
        Warmup(config, self._raw(warm, seed), self.train, folder, resume, device).run(tell)
        write_atomically(folder / "done", b"")

    def _raw(self, warm: WarmStart, seed: int) -> RELONetwork:
        """Network before any warm-up."""
        network = RELONetwork.from_preset(self.study.preset, seed=seed, **warm.network)
        if self.study.backbone is not None:
            assert isinstance(network.encoder, ViTEncoder)
            network.encoder.load_pretrained(_read_weights(self.study.backbone))
        return network

    def _start(self, row: Row, seed: int) -> tuple[RELONetwork, CachedProposer]:
        """Network that a run starts from, and its features; kept for the runs that follow."""
        key = "" if row.warm is None else warm_folder(row.warm, seed)
        if key not in self.starts:
            self.starts.clear()
            network = self._load(row, seed).to(self.study.device)
            network.extend(num_templates=self.study.definition.num_templates)
            dtype = torch.bfloat16 if self.study.half else None
            proposer = CachedProposer(network, cache_bytes=self.study.cache_bytes, dtype=dtype)
            self.starts[key] = network, proposer
        return self.starts[key]

    def _load(self, row: Row, seed: int) -> RELONetwork:
        if row.warm is None and self.study.network is not None:
            return RELONetwork.from_pretrained(self.study.network)
        if row.warm is None:
            return self._raw(WarmStart(None), seed=0)
        if row.warm.settings is None:
            return self._raw(row.warm, seed)
        return RELONetwork.from_checkpoint(self.out / warm_folder(row.warm, seed) / CHECKPOINT)

    def _run(self, row: Row, seed: int, folder: Path, tell: Tell) -> None:
        network, proposer = self._start(row, seed)
        config = row.config(self.study.frames, seed)
        frames: tuple[int, ...] = (0,)
        seconds: Mapping[str, float] = {}
        if row.rule == "policy":
            network = copy.deepcopy(network)
            keep = Snapshots(folder / "policies", self.study.points(row), tell)
            seconds = self._train(config, folder, network, proposer, keep)
            frames = keep.points
            figures = self._play_policies(config, network, proposer, keep, tell)
            _log_curve(folder, frames, figures)
        elif row.rule == "hand-made":
            rule, alone = tracker_rule(hand_made(network)), PreviousSizeProposer(network.crop)
            figures = self._play([rule], network, alone, tell, action_mode="box")
        else:
            rule = self._rule(row, network, seed)
            figures = self._play([rule], network, proposer, tell, controls=config.controls)
        result = {"row": row.name, "seed": seed, "frames": frames, "seconds": seconds}
        plain = {name: values.tolist() for name, values in figures.items()}
        write_json(folder / RESULT, {**result, "figures": plain})
        shutil.rmtree(folder / "policies", ignore_errors=True)
        (folder / STATE).unlink(missing_ok=True)

    def _train(
        self,
        config: PolicyConfig,
        folder: Path,
        network: RELONetwork,
        proposer: CachedProposer,
        keep: Snapshots,
    ) -> Mapping[str, float]:
        """Train a policy; returns its seconds, which a resumed run does not know whole."""
        resumed = (folder / STATE).exists()
        train_policy(
            config,
            network=network,
            dataset=self.train,
            out=folder,
            resume=resumed,
            device=self.study.device,
            callbacks=[keep],
            proposer=None if config.encoder_scale else proposer,
        )
        return {} if resumed else keep.seconds

    def _play(
        self,
        rules: list[Rule],
        network: RELONetwork,
        proposer: BoxProposer | None,
        tell: Tell,
        **options: Any,
    ) -> dict[str, np.ndarray]:
        """Figures of rules on one network, in one environment."""
        clips, options = self.study.held_back, {**self.study.definition.play, **options}
        return play(rules, network, self.held_back, clips, proposer=proposer, tick=tell, **options)

    def _play_policies(
        self,
        config: PolicyConfig,
        network: RELONetwork,
        proposer: CachedProposer,
        keep: Snapshots,
        tell: Tell,
    ) -> dict[str, np.ndarray]:
        """Figures of a policy at each snapshot, side by side where the encoder stays the same."""
        played: list[dict[str, np.ndarray]] = []
        rules: list[Rule] = []
        for point in keep.points:
            weights = _read_weights(keep.path(point))
            network.load_state_dict({**network.state_dict(), **weights})
            if config.encoder_scale:
                rule = policy_rule(network.heads.policy)
                played.append(self._play([rule], network, None, tell))
            else:
                rules.append(copy.deepcopy(DecisionHeads(network)).rule)
        if rules:
            played = [self._play(rules, network, proposer, tell, controls=config.controls)]
        return {name: np.concatenate([each[name] for each in played]) for name in played[0]}

    def _rule(self, row: Row, network: RELONetwork, seed: int) -> Rule:
        """Rule of a row that trains no policy."""
        if row.rule == "prior":
            return policy_rule(network.heads.prior)
        if row.rule == "random":
            return random_rule(network.crop.num_positions, seed)
        if row.rule == "untrained":
            return DecisionHeads(network).rule
        if row.rule == "control-oracle":
            return control_oracle(policy_rule(network.heads.policy))
        return oracle_rule


class Snapshots(BaseCallback):
    """Callback that keeps the trained weights in a folder after some numbers of frames.

    It also tells the frames as they are done, and measures the seconds of collecting and learning.
    """

    def __init__(self, folder: Path, points: tuple[int, ...], tell: Tell) -> None:
        super().__init__()
        self.folder, self.points, self.tell = folder, points, tell
        self.seconds = {"collecting": 0.0, "learning": 0.0}

    def path(self, point: int) -> Path:
        """File of the weights at a point."""
        return self.folder / f"{point}.safetensors"

    def _on_training_start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._since = time.perf_counter()

    def _on_rollout_start(self) -> None:
        self._take_time("learning")
        self._keep()

    def _on_step(self) -> bool:
        self.tell(self.training_env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        self._take_time("collecting")

    def _on_training_end(self) -> None:
        self._take_time("learning")
        self._keep()

    def _take_time(self, what: str) -> None:
        now = time.perf_counter()
        self.seconds[what] += now - self._since
        self._since = now

    def _keep(self) -> None:
        if self.model.num_timesteps not in self.points:
            return
        named = self.model.policy.named_parameters()
        weights = {
            name.removeprefix("network."): value.detach().cpu().contiguous()
            for name, value in named
        }
        write_atomically(self.path(self.model.num_timesteps), to_bytes(weights))


def _log_curve(folder: Path, frames: tuple[int, ...], figures: Mapping[str, np.ndarray]) -> None:
    with SummaryWriter(str(folder)) as writer:
        for name, values in figures.items():
            for frame, of_clips in zip(frames, values, strict=True):
                writer.add_scalar(f"held_back/{name}", of_clips.mean(), frame)
