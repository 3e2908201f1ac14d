"""The one table of data sets: their public names and where their classes are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relo_env.checks import check, check_arguments, import_named
from relo_env.datasets.base import Dataset
from relo_env.datasets.disk import letters
from relo_env.errors import ConfigError, unknown


@dataclass(frozen=True)
class DatasetSpec:
    """A row of the table.

    Attributes:
        name: public name, also in its id ``RELO-<name>-v0``.
        factory: a class or function ``(root=, split=, **options) -> Dataset`` (without ``root``
            where none is needed), or where one is, as ``"module:name"``.
        needs_root: it reads from a folder.
    """

    name: str
    factory: str | Callable[..., Dataset]
    needs_root: bool = True

    def resolve(self) -> Callable[..., Dataset]:
        """The factory itself, imported if given by name; ConfigError if that names nothing."""
        if callable(self.factory):
            return self.factory
        return import_named(self.factory, f"Data set {self.name!r}: factory")

    def unknown_options(self, options: Iterable[str]) -> list[str]:
        """Those of ``options`` that the factory does not take."""
        taken = inspect.signature(self.resolve()).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
            return []
        return [name for name in options if name not in taken]

    @property
    def splits(self) -> tuple[str, ...]:
        """Its splits, the default first; empty where a function makes it."""
        return getattr(self.resolve(), "splits", ())

    @property
    def folders(self) -> tuple[str, ...]:
        """Possible names of its folder in ``$RELO_DATA``; see `relo_env.datasets.disk`."""
        return getattr(self.resolve(), "folder_names", lambda: (self.name,))()


_SPECS: dict[str, DatasetSpec] = {}


def register_dataset(
    name: str, factory: str | Callable[..., Dataset], *, needs_root: bool = True
) -> DatasetSpec:
    """Add a data set to the table. Registering the same one again changes nothing.

    Args:
        name: public name; upper and lower case are not told apart when it is looked up.
        factory: see ``DatasetSpec``.
        needs_root: see ``DatasetSpec``.

    Raises:
        ConfigError: the name is taken by another factory.
    """
    spec = DatasetSpec(name, factory, needs_root)
    if _SPECS.setdefault(name.lower(), spec) != spec:
        raise ConfigError(
            f"Data set {name!r} is already registered as {_SPECS[name.lower()].factory!r}; "
            "choose another name."
        )
    return spec


def list_datasets() -> tuple[DatasetSpec, ...]:
    """All rows of the table, in the order of registration."""
    return tuple(_SPECS.values())


def find_dataset(name: str) -> DatasetSpec:
    """The row of a data set; several between commas are a Mixture.

    Case does not matter, and punctuation does not where one name only is left: ``GOT-10k``. The
    name of its folder is one too: ``OTB2015``. A class or function that is not in the table, or not
    in that of a process started later, is named ``"module:name"``.

    Raises:
        ConfigError: there is none; the message names the nearest ones.
    """
    if "," in name:
        name = "Mixture"
    elif ":" in name:
        return _outside_the_table(name)
    if name.lower() in _SPECS:
        return _SPECS[name.lower()]
    specs, own = list_datasets(), letters(name)
    alike = [spec for spec in specs if letters(spec.name) == own]
    alike = alike or [spec for spec in specs if own in map(letters, spec.folders)][:1]
    if len(alike) != 1:
        hint = 'Your own can be named "module:Class", in any process.'
        raise ConfigError(unknown("data set", name, [spec.name for spec in specs], hint))
    return alike[0]


def is_called_as(folder: str, dataset: str) -> bool:
    """True if a folder's name is that of a data set, or a name that `find_dataset` takes for it."""
    try:
        return folder.lower() == dataset.lower() or find_dataset(folder).name == dataset
    except ConfigError:
        return False


def _outside_the_table(path: str) -> DatasetSpec:
    factory = import_named(path, "Data set")
    if not callable(factory):
        raise ConfigError(f"Data set {path!r} is {factory!r}; expected a class or a function.")
    return DatasetSpec(path, factory, "root" in inspect.signature(factory).parameters)


def make_dataset(
    name: str, *, root: Path | str | None = None, split: str | None = None, **options: Any
) -> Dataset:
    """Make a data set by name.

    Args:
        name: a name of ``list_datasets()``, in any case; several between commas are a Mixture; or
            ``"module:name"`` of a class or function.
        root: its folder; by default ``$RELO_DATA/<name>``, in any case and punctuation.
        split: one of its splits; by default the training split, or its only one.
        **options: further arguments of its class.

    Raises:
        ConfigError: an unknown name, split or option, or a root where none is needed.
        DataError: its folder is missing; the message shows the expected layout.
    """
    check("Data set", name, str)
    if "," in name:
        options["parts"] = name
    spec = find_dataset(name)
    factory = spec.resolve()
    if spec.needs_root:
        options["root"] = root
    elif root is not None:
        raise ConfigError(
            f"Data set {spec.name!r} reads no folder, but root={str(root)!r} was given."
        )
    check_arguments(f"Data set {spec.name!r}", factory, {"split": split, **options})
    return factory(split=split, **options)


register_dataset("Synthetic", "relo_env.datasets.synthetic:Synthetic", needs_root=False)
for _name, _class in (
    ("Folder", "folder:Folder"),
    ("LaSOT", "lasot:LaSOT"),
    ("LaSOText", "lasot:LaSOText"),
    ("GOT10k", "got10k:GOT10k"),
    ("TrackingNet", "trackingnet:TrackingNet"),
    ("TNL2K", "tnl2k:TNL2K"),
    ("NfS", "nfs:NfS"),
    ("NfS240", "nfs:NfS240"),
    ("UAV123", "uav123:UAV123"),
    ("UAV123_10fps", "uav123:UAV123At10fps"),
    ("UAV20L", "uav123:UAV20L"),
    ("OTB100", "otb:OTB100"),
    ("OTB50", "otb:OTB50"),
    ("OTB2013", "otb:OTB2013"),
    ("DTB70", "dtb70:DTB70"),
    ("UAVDT", "uavdt:UAVDT"),
    ("VastTrack", "vasttrack:VastTrack"),
    ("VOT", "vot:VOT"),
    ("COCO", "coco:COCO"),
    ("DAVIS", "masks:DAVIS"),
    ("YouTubeVOS", "masks:YouTubeVOS"),
    ("Mixture", "mixture:Mixture"),
):
    register_dataset(_name, f"relo_env.datasets.{_class}")
