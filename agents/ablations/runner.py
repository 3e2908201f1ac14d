"""Runs a table: every row with every seed, in processes, each finished run kept for good."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from agents.ablations.study import RESULT, STUDY, Study, points, run_folder
from agents.ablations.worker import WARMUP, Ended, Worker
from relo_env.benchmark.evaluation import check_truth
from relo_env.benchmark.processes import stream
from relo_env.benchmark.results import write_atomically
from relo_env.datasets.base import Dataset
from relo_env.datasets.disk import root_of
from relo_env.errors import ConfigError, ReloError


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
        ConfigError: ``out`` holds another study.
        HiddenTruthError: a split has no boxes to train or to play on.
        ReloError: runs failed; the others are done.
    """
    out = Path(out)
    for data in (train, held_back):
        check_truth(data)
    _claim(out, study, train, held_back)
    starts = [name for name in study.warm_starts() if not (out / name / "done").exists()]
    runs = [
        run_folder(row, seed)
        for row, seed in study.runs()
        if not (out / run_folder(row, seed) / RESULT).exists()
    ]
    total = sum(_amount(study, name) for name in starts + runs)
    build = partial(Worker, study, train, held_back, out)
    failed = []
    with tqdm(
        total=total, desc=f"ablate {study.table}", unit="frame", disable=not progress, mininterval=1
    ) as bar:
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


def _claim(out: Path, study: Study, train: Dataset, held_back: Dataset) -> None:
    """Take a folder for a study, or check that it holds the same one."""
    now = asdict(study)
    for name in ("seeds", "rows", "cache_bytes", "device"):  # these may change
        del now[name]
    now["datasets"] = [f"{data.name}/{data.split}" for data in (train, held_back)]
    now["roots"] = [root_of(data) for data in (train, held_back)]
    path = out / STUDY
    if path.exists():
        then = {"roots": now["roots"], **json.loads(path.read_text())}  # older ones have none
        changed = {key: then.get(key) for key, value in now.items() if then.get(key) != value}
        if changed:
            raise ConfigError(
                f"{path} was made with other settings: {changed}; go on with those, or choose "
                "another folder."
            )
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(now, indent=1).encode())
