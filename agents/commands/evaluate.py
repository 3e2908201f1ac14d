"""Run a tracker over a data set and print its figures.

Result files go to OUT/<tracker>/<data set>/, one for each sequence. The same command continues an
interrupted run. Failed sequences are listed, and tracked again by the next run. A folder with
results of another tracker, other data or other options is refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agents.commands import arguments
from relo_env.benchmark.evaluation import HiddenTruthError, evaluate, summary_table
from relo_env.benchmark.runner import RunResult
from relo_env.benchmark.runner import run as run_benchmark
from relo_env.datasets.base import Dataset

EXAMPLES = """\
examples:
  relo evaluate --dataset Synthetic --max-sequences 20 --out results
  relo evaluate --dataset LaSOT --root /data/LaSOT --tracker t256.safetensors --out results
  relo evaluate --dataset GOT10k --split val --batch-size 16 --out results
  relo evaluate --dataset Folder --root my-videos --tracker opencv:MIL --out results --workers 4
exit status: 1 if a sequence failed; the table is without it"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo evaluate``."""
    arguments.add_dataset(parser, evaluated=True)
    arguments.add_tracker(parser)
    arguments.add_device(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the results"
    )
    parser.add_argument("--name", help="name in tables and folders (default: from --tracker)")
    arguments.add_protocol(parser)
    arguments.add_subset(parser)
    side_by_side = parser.add_mutually_exclusive_group()
    side_by_side.add_argument(
        "--workers", type=arguments.positive, default=1, metavar="N", help="processes (default: 1)"
    )
    side_by_side.add_argument(
        "--batch-size",
        type=arguments.positive,
        default=1,
        metavar="N",
        help="sequences tracked together by one network, for a GPU (default: 1)",
    )
    parser.add_argument(
        "--score-maps",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the score maps of a network for the report, about 100 bytes a frame",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Track, evaluate and print; return 1 if a sequence failed."""
    dataset = arguments.dataset_from(options)
    factory = arguments.tracker_factory(
        options.tracker,
        device=options.device,
        name=options.name,
        options=dict(options.tracker_option),
    )
    sequences = arguments.subset_from(options, dataset)
    result = run_benchmark(
        factory,
        dataset,
        options.out,
        dataset_options=dict(options.dataset_option),
        sequences=sequences,
        workers=options.workers,
        batch_size=options.batch_size,
        keep_score_maps=options.score_maps,
    )
    if result.finished or result.skipped:
        print(_figures(result, dataset, options.protocol, factory.name, sequences))
        print(f"results: {result.folder}")
    if result.failed:
        print(result.describe_failures(), file=sys.stderr)
    return 1 if result.failed else 0


def _figures(
    result: RunResult, dataset: Dataset, protocol: str, tracker: str, sequences: list[str]
) -> str:
    """Table of figures, or the reason why there is none."""
    try:
        evaluation = evaluate(
            result.folder,
            dataset,
            protocol=protocol,
            tracker=tracker,
            sequences=sequences,
            allow_missing=bool(result.failed),
        )
    except HiddenTruthError as error:
        return str(error)
    return summary_table([evaluation])
