"""Tables and curves of a study's results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from agents.ablations.tables import RESULT, Row, Study, read_result, run_folder
from relo_env.benchmark import plots
from relo_env.benchmark.metrics import crossed_bootstrap
from relo_env.files import write_json, write_text

HEADLINE = "success_auc"
ENOUGH = 0.95
"""Share of the final AUC that a policy has to reach."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """A row of a finished table; figures in [0, 1], intervals of 95 % over seeds and clips.

    Attributes:
        row: its name.
        label: as it is printed.
        seeds: runs that were finished.
        success_auc, clip_auc, iou: means over seeds and clips.
        interval: of ``success_auc``.
        difference: of ``success_auc`` from the baseline's, on the same clips; None for itself.
        difference_interval: of that; one that holds 0 is within noise.
        frames: that a policy learned from; 0 for a rule that does not.
        frames_to_95: median over seeds of the frames after which ``success_auc`` is 95 % of its
            final value, interpolated between the points of the curve.
        learning_seconds: a run's updates took, without the environment and its network.
        seconds: a run's training took.
    """

    row: str
    label: str
    seeds: int
    success_auc: float
    clip_auc: float
    iou: float
    interval: Interval
    difference: float | None
    difference_interval: Interval | None
    frames: int
    frames_to_95: float | None
    learning_seconds: float | None
    seconds: float | None


@dataclass(frozen=True, eq=False)
class _Runs:
    """All finished runs of a row: final values ``(S, C)`` by figure, curves ``(S, P)``."""

    row: Row
    final: dict[str, np.ndarray]
    frames: np.ndarray
    curves: np.ndarray
    seconds: list[dict[str, float]]


def summarize(study: Study, out: str | Path) -> list[Summary]:
    """The table, of the runs that are finished; rows without any are left out."""
    return _summaries(study, _read(study, Path(out)))


def write_report(study: Study, out: str | Path) -> str:
    """Write ``table.md``, ``table.csv``, ``table.json`` and ``curves.png``; returns the table."""
    out = Path(out)
    runs = _read(study, out)
    summaries = _summaries(study, runs)
    text = markdown(study, summaries)
    write_text(out / "table.md", text)
    write_text(out / "table.csv", _csv(summaries))
    write_json(out / "table.json", [asdict(summary) for summary in summaries])
    curves = {one.row.label: (one.frames, one.curves) for one in runs if one.frames[-1]}
    if curves:
        figure = plots.learning_curves(curves, x_label="frames", y_label="held-back success AUC")
        plots.save(figure, out / "curves.png")
    return text


def markdown(study: Study, summaries: Sequence[Summary]) -> str:
    """The table as GitHub shows it, and what was measured."""
    table = study.definition
    baseline = next(row.label for row in table.rows if row.name == table.baseline)
    header = ["", "seeds", "success AUC", "95 %", f"less {baseline}", "95 %", "clip AUC", "IoU"]
    header += ["frames", "frames to 95 %", "learning [min]", "run [min]"]
    lines = [header, ["---"] * len(header)]
    for one in summaries:
        seconds = (one.learning_seconds, one.seconds)
        lines.append(
            [
                one.label,
                str(one.seeds),
                f"{one.success_auc:.3f}",
                _pair(one.interval),
                "" if one.difference is None else f"{one.difference:+.3f}",
                "" if one.difference_interval is None else _pair(one.difference_interval, "+"),
                f"{one.clip_auc:.3f}",
                f"{one.iou:.3f}",
                str(one.frames or ""),
                "" if one.frames_to_95 is None else f"{one.frames_to_95:.0f}",
                *("" if s is None else f"{s / 60:.1f}" for s in seconds),
            ]
        )
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    held_back = study.held_back
    return (
        f"{table.title}\n\n{text}\n\n"
        f"{study.frames} frames a run; {held_back.clips} held-back clips of {held_back.length} "
        "frames, closed loop, greedy, no window. Intervals: bootstrap over seeds and clips.\n"
    )


def frames_to(share: float, frames: np.ndarray, curve: np.ndarray) -> float:
    """Frames after which a curve first reaches a share of its last value, between its points."""
    goal = share * curve[-1]
    first = int(np.argmax(curve >= goal))
    if first == 0:
        return float(frames[0])
    low, high = curve[first - 1], curve[first]
    part = (goal - low) / (high - low)
    return float(frames[first - 1] + part * (frames[first] - frames[first - 1]))


def _summaries(study: Study, runs: Sequence[_Runs]) -> list[Summary]:
    baseline = next((one for one in runs if one.row.name == study.definition.baseline), None)
    return [_summary(one, baseline) for one in runs]


def _summary(runs: _Runs, baseline: _Runs | None) -> Summary:
    final = runs.final[HEADLINE]
    difference = interval = None
    if baseline is not None and baseline.row.name != runs.row.name:
        other = baseline.final[HEADLINE]
        difference = float(final.mean() - other.mean())
        interval = crossed_bootstrap(final, other)
    learnt = runs.frames[-1] > 0
    reached = [frames_to(ENOUGH, runs.frames, curve) for curve in runs.curves if learnt]
    learning = [seconds["learning"] for seconds in runs.seconds if "learning" in seconds]
    collecting = [seconds["collecting"] for seconds in runs.seconds if "learning" in seconds]
    return Summary(
        row=runs.row.name,
        label=runs.row.label,
        seeds=len(final),
        success_auc=float(final.mean()),
        clip_auc=float(runs.final["clip_auc"].mean()),
        iou=float(runs.final["iou"].mean()),
        interval=crossed_bootstrap(final),
        difference=difference,
        difference_interval=interval,
        frames=int(runs.frames[-1]),
        frames_to_95=float(np.median(reached)) if reached else None,
        learning_seconds=float(np.mean(learning)) if learning else None,
        seconds=float(np.mean(learning) + np.mean(collecting)) if learning else None,
    )


def _read(study: Study, out: Path) -> list[_Runs]:
    rows = []
    for row in study.selected:
        paths = [out / run_folder(row, seed) / RESULT for r, seed in study.runs() if r == row]
        results = [read_result(path) for path in paths if path.exists()]
        if not results:
            continue
        names = results[0]["figures"]
        rows.append(
            _Runs(
                row,
                {name: np.stack([r["figures"][name][-1] for r in results]) for name in names},
                np.array(results[0]["frames"]),
                np.stack([r["figures"][HEADLINE].mean(1) for r in results]),
                [r["seconds"] for r in results],
            )
        )
    return rows


def _pair(interval: Interval, sign: str = "") -> str:
    return f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"


def _csv(summaries: Sequence[Summary]) -> str:
    table = pd.DataFrame(map(asdict, summaries), columns=list(Summary.__dataclass_fields__))
    for name in ("interval", "difference_interval"):
        table[name] = [ends and f"{ends[0]:.4f} {ends[1]:.4f}" for ends in table[name]]
    return table.to_csv(index=False, lineterminator="\r\n")
