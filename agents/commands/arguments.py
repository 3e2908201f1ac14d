"""Arguments that several subcommands share, and the objects made from them.

torch, which takes seconds to import, is imported only by functions about trackers.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser

from relo_env.benchmark.protocols import PROTOCOLS, get_protocol
from relo_env.benchmark.results import check_folder
from relo_env.benchmark.trackers import OPENCV_TRACKERS, TrackerFactory, make_tracker_factory
from relo_env.checks import check_arguments
from relo_env.datasets.base import Dataset
from relo_env.datasets.registry import find_dataset, list_datasets, make_dataset
from relo_env.errors import CheckpointError, ConfigError, unknown
from relo_env.files import digest_file

if TYPE_CHECKING:
    from agents.tracker import RELOTracker

Config = TypeVar("Config")
EVALUATED = ("test", "val")
"""Default splits of an evaluation, in this order."""
ENDLESS = 10_000_000
"""Number of sequences above which a subset must be chosen."""
LITERALS = {"true": True, "false": False, "null": None, "none": None}


def key_value(text: str) -> tuple[str, Any]:
    """Parse ``name=value``; the value is JSON, else a string.

    True, False and None are accepted in any case, as in Python.
    """
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    if value.lower() in LITERALS:
        return name, LITERALS[value.lower()]
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def option_but(*names: str) -> Callable[[str], tuple[str, Any]]:
    """Parser of ``name=value`` that refuses names which are set elsewhere."""

    def parse(text: str) -> tuple[str, Any]:
        name, value = key_value(text)
        if name in names:
            raise argparse.ArgumentTypeError(
                f"{text!r}: {name} cannot be set here; see the other options"
            )
        return name, value

    return parse


def positive(text: str) -> int:
    """Parse a whole number above 0 that fits 32 bits."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    if int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is too large; expected less than {2**31}")
    return int(text)


def names_after(label: str, names: Iterable[str]) -> str:
    """Format names behind a label for the end of a help text, wrapped at 80 characters."""
    blank = " " * len(label)
    return textwrap.fill(
        " ".join(names),
        80,
        initial_indent=label,
        subsequent_indent=blank,
        break_on_hyphens=False,
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, the device of the network."""
    import torch

    parser.add_argument(
        "--device",
        metavar="D",
        type=_device,
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where the network runs: cpu, cuda, cuda:1, mps (here: %(default)s)",
    )


def _device(text: str) -> str:
    from agents.network.inference import check_device

    try:
        check_device(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def add_dataset(
    parser: argparse.ArgumentParser,
    required: bool = True,
    default: str = "Synthetic",
    evaluated: bool = False,
) -> None:
    """Add ``--dataset`` and the options of `add_place`; see `dataset_from`."""
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        required=required,
        default=None if required else default,
        help="see `relo datasets list`; names between commas are a mixture"
        + ("" if required else f" (default: {default})"),
    )
    add_place(parser, evaluated)


def add_place(parser: argparse.ArgumentParser, evaluated: bool = False) -> None:
    """Add ``--root``, ``--split`` and ``--dataset-option``."""
    parser.add_argument(
        "--root", type=Path, help="folder of the data set (default: $RELO_DATA/NAME)"
    )
    kinds = EVALUATED if evaluated else ("training",)
    parser.add_argument(
        "--split", help=f"split (default: {', else '.join(kinds)}, else the only one)"
    )
    parser.add_argument(
        "--dataset-option",
        metavar="NAME=VALUE",
        type=option_but("name", "root", "split", "decode", "progress"),
        action="append",
        default=[],
        help="further argument of the data set, e.g. difficulty=hard; may be repeated",
    )
    parser.set_defaults(evaluated=evaluated)


def dataset_from(
    options: argparse.Namespace, *, name: str | None = None, split: str | None = None
) -> Dataset:
    """Make the data set from the options of `add_dataset`; ``name`` and ``split`` replace them."""
    name, split = name or options.dataset, split or options.split
    if split is None and options.evaluated:
        known = find_dataset(name).splits
        split = next((kind for kind in EVALUATED if kind in known), None)
    return make_dataset(name, root=options.root, split=split, **dict(options.dataset_option))


def dataset_of(folder: Path) -> str:
    """Name of the data set of a folder of results, which is the folder's name.

    Raises:
        ConfigError: it is called otherwise.
        DataError: the folder does not exist, or contains such folders.
    """
    check_folder(folder, [spec.name for spec in list_datasets()])
    try:
        return find_dataset(folder.resolve().name).name
    except ConfigError as error:
        raise ConfigError(f"{error} Or name it with --dataset.") from None


def add_subset(parser: argparse.ArgumentParser) -> None:
    """Add ``--sequences`` and ``--max-sequences``; see `subset_from`."""
    subset = parser.add_mutually_exclusive_group()
    subset.add_argument("--sequences", nargs="+", metavar="NAME", help="only these")
    subset.add_argument("--max-sequences", type=positive, metavar="N", help="only the first N")


def subset_from(options: argparse.Namespace, dataset: Dataset) -> list[str]:
    """Names of the sequences chosen by the options of `add_subset`.

    Raises:
        ConfigError: no subset is chosen, and the data set has more than `ENDLESS` sequences.
    """
    count = options.max_sequences or len(dataset.names)
    if not options.sequences and count > ENDLESS:
        raise ConfigError(
            f"{dataset.name}, split {dataset.split!r}, has {count:,} sequences; say how many with "
            "--max-sequences, or which with --sequences."
        )
    return options.sequences or list(dataset.names[:count])


def add_protocol(parser: argparse.ArgumentParser, **changes: Any) -> None:
    """Add ``--protocol``, the rules that turn boxes into figures.

    Args:
        parser: gets the argument.
        **changes: of the arguments of `argparse.ArgumentParser.add_argument`.
    """
    given: dict[str, Any] = {
        "type": protocol_name,
        "choices": _Protocols(PROTOCOLS),
        "default": "clean",
        "metavar": "P",
        "help": f"{', '.join(PROTOCOLS)}; with changes, otb,count_first=false,figures=P+AO; or "
        "module:PROTOCOL (default: clean)",
    }
    parser.add_argument("--protocol", **{**given, **changes})


class _Protocols(tuple[str, ...]):
    """Names that a shell completes; `protocol_name` has checked the others."""

    def __contains__(self, name: object) -> bool:
        return True


def protocol_name(text: str) -> str:
    """Name of a protocol, see `get_protocol`, that is checked."""
    try:
        get_protocol(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def add_tracker(parser: argparse.ArgumentParser) -> None:
    """Add ``--tracker`` and ``--tracker-option``; see `tracker_factory`."""
    parser.add_argument(
        "--tracker",
        metavar="T",
        default="nano",
        help="a preset that ships, a checkpoint, opencv:MIL, static, or module:factory "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--tracker-option",
        metavar="NAME=VALUE",
        type=option_but("spec", "name", "fresh_process"),
        action="append",
        default=[],
        help="argument of the tracker, e.g. window_exponent=0; may be repeated",
    )


def add_config(
    parser: argparse.ArgumentParser, config: type, leave_out: Collection[str] = ()
) -> None:
    """Add an option for each field of a dataclass; help texts are those of its docstring."""
    hints, described = get_type_hints(config), docstring_parser.parse_from_object(config).params
    helps = {part.arg_name: " ".join((part.description or "").split()) for part in described}
    group = parser.add_argument_group("settings")
    for setting in fields(config):
        if setting.name in leave_out:
            continue
        default = _default(setting)
        shown = "" if default in ({}, ()) else f" (default: {default})"
        group.add_argument(
            f"--{setting.name.replace('_', '-')}",
            default=default,
            help=f"{helps[setting.name].rstrip('.').replace('`', '')}{shown}".replace("%", "%%"),
            **_option_of(hints[setting.name]),
        )


def config_from(options: argparse.Namespace, config: type[Config], **given: Any) -> Config:
    """Build the dataclass from the options of `add_config`; ``given`` are other fields."""
    for setting in fields(config):  # type: ignore[arg-type]
        if setting.name not in given and hasattr(options, setting.name):
            value, default = getattr(options, setting.name), _default(setting)
            # argparse gathers names and pairs in lists.
            listed = isinstance(default, tuple | dict)
            given[setting.name] = type(default)(value) if listed else value
    return config(**given)


def _default(setting: Field[Any]) -> Any:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def _option_of(hint: Any) -> dict[str, Any]:
    """Arguments of ``add_argument`` for a type hint; ``T | None`` is an option of T."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is tuple:
        return {"nargs": "*", "metavar": "NAME"}
    if get_origin(hint) is Mapping:
        return {"nargs": "+", "metavar": "NAME=VALUE", "type": key_value}
    return {"type": hint, "metavar": hint.__name__.upper()}


def tracker_factory(
    spec: str,
    *,
    device: str,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    backend: str = "torch",
) -> TrackerFactory:
    """Make the factory of a tracker named on the command line.

    Args:
        spec: preset that ships, path of a checkpoint, or a spec of `make_tracker_factory`.
        device: device of the network.
        name: name in tables and folders. By default that of a checkpoint contains a digest of the
            file, so that results of two checkpoints never mix.
        options: keyword arguments of the tracker.
        backend: of the tracker, unless the options name one. By default torch, so that boxes do not
            depend on which is faster today; "auto" lets each tracker choose.

    Raises:
        ConfigError: the tracker does not exist, or does not take these options.
        CheckpointError: the checkpoint or preset does not exist.
    """
    from agents.backends import NAMES, make_backend
    from agents.network import RELONetwork
    from agents.tracker import RELOTracker

    options = dict(options or {})
    if spec == "static" or (":" in spec and not Path(spec).is_file()):
        return make_tracker_factory(spec, name=name, **options)
    path = _checkpoint(spec)
    content = f"{path.stem}-{digest_file(path, 8)}"
    if name is None:
        name = spec if spec == path.stem else content
    whose = f"Options of tracker {spec!r}"
    check_arguments(whose, partial(RELOTracker, None), options)  # type: ignore[arg-type]
    asked = options.pop("backend", None)
    if asked is not None and asked not in NAMES:
        raise ConfigError(unknown("backend", str(asked), NAMES))
    settings: dict[str, Any] = {"tracker": content, "tracker_options": dict(options)}
    arguments = {"name_or_path": str(path), "device": device, **_from_text(options)}
    arguments["backend"] = settings["backend"] = asked or backend
    if asked == "auto":  # one choice for all processes
        where = {k: v for k, v in arguments.items() if k in ("device", "dtype", "compiled")}
        choice = make_backend(RELONetwork.from_checkpoint(path), **where).choice
        arguments["backend"], settings["backend"] = choice, choice.name
    return TrackerFactory(name, f"{__name__}:load_tracker", arguments, settings=settings)


def _checkpoint(spec: str) -> Path:
    """Path of a checkpoint or of the weights of a preset; errors name the other trackers."""
    from agents.network.checkpoints import find_checkpoint

    try:
        return find_checkpoint(spec)
    except CheckpointError as error:
        if spec.upper() in OPENCV_TRACKERS:
            raise ConfigError(
                f"Unknown tracker {spec!r}. Did you mean opencv:{spec.upper()}?"
            ) from None
        raise CheckpointError(
            f"{error} Other trackers: opencv:MIL, static, module:factory; for official weights see "
            "`relo weights fetch`."
        ) from None


def _from_text(options: dict[str, Any]) -> dict[str, Any]:
    """Convert options of a `RELOTracker` from the command line: a dtype's name, recovery=true."""
    from agents.confidence import Recovery
    from agents.network.inference import find_dtype

    dtype, recovery = options.get("dtype"), options.get("recovery")
    if isinstance(recovery, bool):
        options["recovery"] = Recovery() if recovery else None
    elif not isinstance(recovery, Recovery | None):
        raise ConfigError(f"recovery is {recovery!r}; expected true or false.")
    if dtype is not None:
        options["dtype"] = find_dtype(dtype)
    return options


def load_tracker(name_or_path: str, **options: Any) -> RELOTracker:
    """Call `RELOTracker.from_pretrained`; worker processes import this function by name."""
    from agents.tracker import RELOTracker

    return RELOTracker.from_pretrained(name_or_path, **options)
