"""Compare results that are on disk: tables, plots, and one HTML page with failures and clips.

RESULTS are folders or zips of box files, one for each tracker and data set: of `relo evaluate` or
published by others. The page, index.html, needs no other file and no network. OUT also gets
table.csv and table.tex (a line for each tracker), table-intervals.tex, sequences.csv,
differences.csv (paired bootstrap of every two trackers), attributes.csv and attributes.tex, and
plots/ as PDF and SVG. Several data sets get a folder each, and one table for all.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from agents.commands import arguments
from relo_env.benchmark.alignment import LENGTHS
from relo_env.benchmark.comparison import distinct_names, merge_by_name, tracker_path
from relo_env.benchmark.evaluation import Evaluation, evaluate, rank, summary_table
from relo_env.benchmark.metrics import FIGURES
from relo_env.benchmark.plots import report_plots, to_svg, write_plots
from relo_env.benchmark.protocols import PROTOCOLS, Protocol, get_protocol
from relo_env.benchmark.published import find_results
from relo_env.benchmark.report import write_report
from relo_env.benchmark.scoring import Truths
from relo_env.benchmark.tables import write_overview, write_tables
from relo_env.datasets.base import Dataset
from relo_env.datasets.registry import find_dataset
from relo_env.errors import ConfigError, nearest

EXAMPLES = """\
examples:
  relo report results/*/LaSOT --split test --out report
  relo report results/*/LaSOT published/ECO.zip --dataset LaSOT --split test --out report
  relo report results/nano/* results/ECO/* --figures success_auc P --name nano=RELO --out report
  relo report results/nano/* --protocol OTB100=otb --protocol LaSOT=lasot --out report
  relo report run-1 run-2 --name run-1=Mine --name run-2=Mine --dataset OTB100 --out report
the same NAME for several folders makes them runs of one tracker: mean and deviation"""
MAIN = ("table.csv", "sequences.csv", "table.tex")
"""Tables that are told last, beside the page."""
FOLDER = "the names of the folders of RESULTS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo report``."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="see above")
    arguments.add_dataset(parser, required=False, default=FOLDER, evaluated=True)
    arguments.add_protocol(
        parser,
        type=_protocol_of_dataset,
        action="append",
        default=[],
        metavar="[DATASET=]P",
        help=f"{', '.join(PROTOCOLS)} (default: clean); with changes, otb,count_first=false; "
        "or module:PROTOCOL; for one data set, LaSOT=lasot; may be repeated",
    )
    parser.add_argument(
        "--figures",
        nargs="+",
        choices=FIGURES,
        metavar="F",
        help=f"columns of the tables; trackers are ranked by the first: {', '.join(FIGURES)} "
        "(default: the protocol's)",
    )
    parser.add_argument(
        "--origin",
        type=int,
        choices=(0, 1),
        help="coordinates of the top-left pixel in RESULTS (default: found from their first lines)",
    )
    parser.add_argument(
        "--lengths",
        choices=LENGTHS,
        default="strict",
        help="for results with a line too few or too many: refuse, cut results and truth, or "
        "repeat the last box (default: %(default)s)",
    )
    parser.add_argument(
        "--name",
        type=_display_name,
        action="append",
        default=[],
        metavar="FOLDER=NAME",
        help="name of a folder's tracker in tables; may be repeated",
    )
    parser.add_argument(
        "--order",
        choices=("score", "given"),
        default="score",
        help="order of trackers: best first, or as in RESULTS (default: %(default)s)",
    )
    parser.add_argument(
        "--clips",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show clips in the page; they need the pictures of the data set",
    )
    arguments.add_subset(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the report"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="compare the sequences that are there"
    )
    parser.set_defaults(run=run)


def _protocol_of_dataset(text: str) -> tuple[str, str]:
    """Data set, "" for all, and protocol of ``[DATASET=]P``."""
    name, equals, protocol = text.partition("=")
    if not equals or "," in name or ":" in name:  # of a change, as in otb,count_first=false
        return "", arguments.protocol_name(text)
    try:
        return find_dataset(name).name, arguments.protocol_name(protocol)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _display_name(text: str) -> tuple[str, str]:
    folder, _, name = text.rpartition("=")
    if not folder or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not FOLDER=NAME")
    return folder, name


def run(options: argparse.Namespace) -> int:
    """Evaluate each folder; write the page, the tables and the plots."""
    groups = _by_dataset(options)
    _check_protocols(options, groups)
    datasets = [_dataset(options, name, several=len(groups) > 1) for name in groups]
    names = _display_names(options, zip(datasets, groups.values(), strict=True))
    evaluations = {}
    for dataset, folders in zip(datasets, groups.values(), strict=True):
        evaluations[dataset.name] = _evaluate(options, dataset, folders, names)
        ranked = options.order == "score"
        print(summary_table(evaluations[dataset.name], ranked=ranked))
        out = options.out / dataset.name if len(groups) > 1 else options.out
        for path in _write(options, evaluations[dataset.name], dataset, out):
            print(f"wrote {path}")
    if len(groups) > 1:
        for path in write_overview(evaluations, options.out):
            print(f"wrote {path}")
    return 0


def _by_dataset(options: argparse.Namespace) -> Mapping[str, list[Path]]:
    """Folders of results by the data set that they are of, each once.

    A folder that is called as no data set is of that of the first one.
    """
    folders = list({os.path.realpath(folder): folder for folder in options.results}.values())
    if options.dataset != FOLDER:
        return {options.dataset: folders}
    if folders[0].is_file():
        raise ConfigError(f"{folders[0]} is a file; give its data set by --dataset.")
    first = arguments.dataset_of(folders[0])
    groups: dict[str, list[Path]] = {}
    for folder in folders:
        groups.setdefault(_called_as(folder) or first, []).append(folder)
    return groups


def _called_as(folder: Path) -> str | None:
    """Name of the data set that a folder is called after; None if there is none."""
    try:
        return find_dataset(folder.resolve().name).name
    except ConfigError:
        return None


def _dataset(options: argparse.Namespace, name: str, *, several: bool) -> Dataset:
    if several and options.root is not None:
        raise ConfigError(
            "--root is the folder of one data set, and RESULTS are on several; put their folders "
            "side by side and set RELO_DATA to the folder around them."
        )
    return arguments.dataset_from(options, name=name)


def _evaluate(
    options: argparse.Namespace, dataset: Dataset, folders: list[Path], names: Mapping[Path, str]
) -> list[Evaluation]:
    """One evaluation for each tracker, in the order of the tables."""
    truths = Truths(dataset)
    sequences = _sequences(options, dataset, folders)
    evaluations = merge_by_name(
        evaluate(
            folder,
            truths,
            protocol=_protocol(options, dataset.name),
            tracker=names[folder],
            sequences=sequences,
            allow_missing=options.allow_missing,
            origin=options.origin,
            lengths=options.lengths,
        )
        for folder in folders
    )
    return rank(evaluations) if options.order == "score" else evaluations


def _display_names(
    options: argparse.Namespace, groups: Iterable[tuple[Dataset, list[Path]]]
) -> dict[Path, str]:
    """Names of the folders' trackers in tables, one for a tracker on all of its data sets.

    Raises:
        ConfigError: no folder is called as one of ``--name``.
    """
    paths = {
        folder: tracker_path(folder, dataset.name)
        for dataset, folders in groups
        for folder in folders
    }
    trackers = list(dict.fromkeys(paths.values()))
    own = dict(zip(trackers, distinct_names(trackers), strict=True))
    shown = {folder: own[path] for folder, path in paths.items()}
    for key, name in options.name:
        end = Path(key).parts
        meant = [
            folder
            for folder, path in paths.items()
            if key == own[path]
            or Path(key).resolve() in (folder.resolve(), path)
            or end in (folder.resolve().parts[-len(end) :], path.parts[-len(end) :])
        ]
        if not meant:
            raise ConfigError(
                f"--name {key}=...: no RESULTS is called so. {nearest(key, own.values())}"
            )
        shown.update(dict.fromkeys(meant, name))
    return shown


def _protocol(options: argparse.Namespace, dataset: str) -> Protocol:
    """Protocol of a data set: its own, else the one for all."""
    given = dict(options.protocol)
    protocol = get_protocol(given.get(dataset) or given.get("", "clean"))
    return replace(protocol, figures=tuple(options.figures)) if options.figures else protocol


def _write(
    options: argparse.Namespace, evaluations: list[Evaluation], dataset: Dataset, out: Path
) -> list[Path]:
    plots = report_plots(evaluations)
    pictures = {name: to_svg(figure) for name, figure in plots.items()}
    page = write_report(evaluations, dataset, out, clips=options.clips, pictures=pictures)
    tables = write_tables(evaluations, out, ranked=options.order == "score")
    write_plots(plots, pictures, out / "plots")
    main: list[Path] = []
    others = [out / "plots"]
    for path in tables:
        (main if path.name in MAIN else others).append(path)
    return [*others, page, *main]


def _check_protocols(options: argparse.Namespace, groups: Iterable[str]) -> None:
    known = [find_dataset(name).name for name in groups]
    for name, protocol in options.protocol:
        if name and name not in known:
            raise ConfigError(
                f"--protocol {name}={protocol}: RESULTS are on {', '.join(known)}, not on {name}."
            )


def _sequences(options: argparse.Namespace, dataset: Dataset, folders: list[Path]) -> list[str]:
    """Names of the sequences to evaluate.

    Videos that are made and not stored have no end: of these, those with results.
    """
    if find_dataset(dataset.name).needs_root or options.sequences or options.max_sequences:
        return arguments.subset_from(options, dataset)
    stems = {Path(path).stem for folder in folders for path in find_results(folder, ()).unmatched}
    found = sorted((stem for stem in stems if stem in dataset.names), key=dataset.names.index)
    return found or [dataset.names[0]]
