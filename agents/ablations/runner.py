"""Runs a table: every row with every seed, in processes, each finished run kept for good."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from agents.ablations.study import RESULT, STUDY, Study, points, run_folder
from agents.ablations.worker import WARMUP, Ended, Worker
from relo_env.benchmark.evaluation import check_truth
from relo_env.claims import Claim
from relo_env.datasets.base import Dataset
from relo_env.errors import ReloError
from relo_env.interrupts import terminable
from relo_env.processes import require_main_guard, stream


def run_study(
    study: Study,
    *,
    train: Dataset,
    held_back: Dataset,
    out: str | Path,
    workers: int = 1,
    progress: bool = True,
) -> None:
    """Do whatever of a study is not done yet; results lie in ``out`` (`report` reads them).

    Args:
        study: what to run.
        train: training split.
        held_back: split that nothing is trained on.
        out: folder of the study; one that was begun is gone on with.
        workers: processes.
        progress: show a bar with rate and remaining time.

    Raises:
        ConfigError: ``out`` holds another study, or a script without a main guard starts it.
        HiddenTruthError: a split has no boxes to train or to play on.
        ReloError: runs failed; the others are done.
        OutputError: the disk refuses.
        Terminated: SIGTERM came; the runs at hand saved their states.
    """
    out = Path(out)
    for data in (train, held_back):
        check_truth(data)
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
    failed = []
    with (
        terminable(),
        tqdm(
            total=total,
            desc=f"ablate {study.table}",
            unit="frame",
            disable=not progress,
            mininterval=1,
        ) as bar,
    ):
        for items in (starts, runs):  # runs need their warm-ups
            done = 0
            for message in stream(build, items, workers=workers, lost=_lost) if items else ():
                if isinstance(message, int):
                    bar.update(message)
                    continue
                done += 1
                bar.set_postfix_str(f"{done}/{len(items)} done")
                if message.error is not None:
                    failed.append(f"--- {message.item}\n{message.error}")
            if failed:
                break
    if failed:
        raise ReloError("\n".join([f"{len(failed)} failed; the others are kept:", *failed]))


def _lost(item: str, exit_code: int | None) -> Ended:
    return Ended(item, f"its process ended with exit code {exit_code}")


def _amount(study: Study, name: str) -> int:
    """Frames that an item will go through, for the bar."""
    if name in study.warm_starts():
        return study.warmup_steps * WARMUP.clips * WARMUP.clip_length
    row = next(row for row, seed in study.runs() if run_folder(row, seed) == name)
    clips = study.held_back.clips * study.held_back.length
    if row.rule != "policy":
        return clips
    return study.frames + clips * len(points(row.config(study.frames, 0)))


def _claim(study: Study, train: Dataset, held_back: Dataset, out: Path) -> Claim:
    """Settings and data of a study; seeds, rows and what changes no number are left out."""
    settings = asdict(study)
    for name in ("seeds", "rows", "cache_bytes", "device"):
        del settings[name]
    data = {"train": train.fingerprint, "held_back": held_back.fingerprint}
    return Claim(out / STUDY, settings, data)
