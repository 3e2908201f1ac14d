"""Evaluation protocols as data: the frames that count, and the credit of a frame without target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from relo_env.benchmark.metrics import (
    FIGURES,
    FrameErrors,
    centre_errors,
    normalised_centre_errors,
    overlaps,
    overlaps_of_inclusive_pixels,
)
from relo_env.checks import import_named
from relo_env.errors import ConfigError, DataError, unknown

Curve = Literal["precision", "normalised precision"]

OPE_FIGURES = ("success_auc", "OP50", "OP75", "P", "P_norm", "P_norm_auc", "AO")
_BOTH: tuple[Curve, ...] = get_args(Curve)
HUGE = 1e100
"""[px] Numbers from here on, of trackers that diverged, are misses: their areas overflow."""


@dataclass(frozen=True)
class Protocol:
    """Rules that turn boxes into figures.

    Attributes:
        name: in tables and on the command line.
        description: one line for readers.
        figures: names in :data:`relo_env.benchmark.metrics.FIGURES`, each once; the first is the
            headline.
        count_first: the first frame counts, with the box that was given; else it is left out.
        count_absent: frames without target count, as failures; else they are left out.
        pooled: figures are means over all frames of the data set, not over sequences.
        rounded: boxes are rounded to whole pixels first.
        bounded: boxes are first cut to the frame as GOT-10k's toolkit cuts them.
        inclusive: overlaps are computed on inclusive pixels, to the official code's rounding.
        at_threshold: the success curve counts overlap >= threshold, not only above it.
        hold_last: a predicted box without area, or of numbers that are not finite, is replaced by
            the one before it; not in a frame without true box that precision calls a hit, as the
            toolkits leave out frames whose true box is NaN.
        cut_longer: boxes after the last frame are ignored.
        positive: a true box with a left or top edge at or below 0, in the coordinates of its file,
            counts as none, as in the MATLAB toolkits.
        false_hits: by lower-case name of the data set (``"*"`` for all others), the curves that
            call a frame without true box a hit.
        labels_matter: lower-case names of the data sets (``"*"`` for all) where a frame that is
            labelled as absent is a miss whatever ``false_hits`` says.
    """

    name: str
    description: str
    figures: tuple[str, ...] = OPE_FIGURES
    count_first: bool = True
    count_absent: bool = True
    pooled: bool = False
    rounded: bool = False
    bounded: bool = False
    inclusive: bool = False
    at_threshold: bool = False
    hold_last: bool = False
    cut_longer: bool = False
    positive: bool = False
    false_hits: Mapping[str, tuple[Curve, ...]] = field(default_factory=dict)
    labels_matter: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", tuple(dict.fromkeys(self.figures)))

    @property
    def headline(self) -> str:
        """Name of the figure that trackers are ranked by."""
        return self.figures[0]


_ALL = (
    Protocol(
        name="clean",
        description="Frame 0 counts with the given box; absent frames are failures.",
    ),
    Protocol(
        name="official",
        description="As the public RELO code, which calls some absent frames hits.",
        inclusive=True,
        hold_last=True,
        false_hits=MappingProxyType({"*": _BOTH[1:], "uav": _BOTH, "uav123": _BOTH}),
        labels_matter=frozenset({"lasot"}),
    ),
    Protocol(
        name="dev",
        description="Frame 0 and absent frames are left out.",
        count_first=False,
        count_absent=False,
    ),
    Protocol(
        name="otb",
        description="As OTB's MATLAB toolkit: the last box is held, frames without true box are "
        "failures of success and hits of precision.",
        inclusive=True,
        hold_last=True,
        positive=True,
        false_hits=MappingProxyType({"*": _BOTH}),
    ),
    Protocol(
        name="lasot",
        description="As LaSOT's MATLAB toolkit: the last box is held, longer results are cut, "
        "absent frames hit nothing but stay in the number of frames.",
        inclusive=True,
        hold_last=True,
        cut_longer=True,
        positive=True,
        false_hits=MappingProxyType({"*": _BOTH}),
        labels_matter=frozenset({"*"}),
    ),
    Protocol(
        name="got10k-uav123",
        description="As GOT-10k's toolkit on UAV123: frame 0 counts, absent frames are left out.",
        figures=("success_auc", "P", "OP50"),
        count_absent=False,
    ),
    Protocol(
        name="got10k",
        description="As GOT-10k's toolkit: frame 0 and absent frames left out, boxes cut "
        "to the frame, means over all frames of all sequences.",
        figures=("AO", "SR0.5", "SR0.75"),
        count_first=False,
        count_absent=False,
        pooled=True,
        bounded=True,
    ),
    Protocol(
        name="trackingnet",
        description="As TrackingNet's devkit: frame 0 counts, whole pixels, overlap >= threshold, "
        "areas under curves by the trapezoid rule.",
        figures=("TN_success", "TN_precision", "TN_norm_precision"),
        rounded=True,
        at_threshold=True,
    ),
)
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({each.name: each for each in _ALL})


def get_protocol(name: str) -> Protocol:
    """Protocol by name, with changes, or of one's own.

    Args:
        name: a name in :data:`PROTOCOLS`; changes of its fields may follow after commas, such as
            ``"otb,count_first=false,figures=success_auc+P"``; or ``"module:PROTOCOL"``.

    Raises:
        ConfigError: there is none of that name, or no such field, value or module.
    """
    base, *changes = (part.strip() for part in name.split(","))
    if ":" in base:
        protocol = _imported(base)
    elif base in PROTOCOLS:
        protocol = PROTOCOLS[base]
    else:
        raise ConfigError(unknown("protocol", base, PROTOCOLS))
    if not changes:
        return protocol
    return replace(
        protocol,
        name=", ".join([base, *changes]),
        description=f"{protocol.description} Changed: {', '.join(changes)}.",
        **dict(_change(text) for text in changes),
    )


def _imported(path: str) -> Protocol:
    protocol = import_named(path, "Protocol")
    if not isinstance(protocol, Protocol):
        raise ConfigError(f"{path} is {protocol!r}; expected a relo_env.benchmark Protocol.")
    return protocol


def _change(text: str) -> tuple[str, Any]:
    """Field and value of ``field=value``: true or false, or names joined by ``+``."""
    key, _, value = text.partition("=")
    flags = [name for name, kind in Protocol.__annotations__.items() if kind == "bool"]
    if key in flags and value.lower() in ("true", "false"):
        return key, value.lower() == "true"
    names = tuple(filter(None, value.split("+")))
    if key == "figures" and names:
        for figure in names:
            if figure not in FIGURES:
                raise ConfigError(unknown("figure", figure, FIGURES))
        return key, names
    if key == "false_hits" and set(names) <= set(_BOTH):
        return key, {"*": names}
    raise ConfigError(
        f"{text!r} is no change of a protocol; expected one of {', '.join(flags)} with =true or "
        f"=false, figures= with names joined by +, or false_hits= with {' or '.join(_BOTH)}."
    )


def frame_errors(
    protocol: Protocol,
    predicted: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    *,
    labelled: np.ndarray | None = None,
    dataset: str = "",
    frame_size: tuple[int, int] | None = None,
    file_shift: int = 0,
) -> FrameErrors:
    """Errors of the frames that count under a protocol.

    Args:
        protocol: one of :data:`PROTOCOLS`, or one's own.
        predicted: ``(n, 4)`` xywh pixels, one box a frame, the first frame included; a row of NaN
            is no prediction, a miss unless the protocol holds the last box.
        truth: ``(n, 4)`` xywh pixels; a box without area marks a frame without target.
        visible: bool ``(n,)``; False where the target is labelled as absent.
        labelled: bool ``(n,)``; False where nobody annotated the frame: it never counts.
        dataset: name of the data set, for the protocols that treat some in their own way.
        frame_size: (width, height) in pixels, needed by ``bounded`` protocols.
        file_shift: [px] added to x and y gives the coordinates of the annotation file.

    Raises:
        DataError: counts differ, or predicted boxes are not finite or have negative sides.
        ConfigError: the protocol needs ``frame_size``.
    """
    predicted, truth = np.array(predicted, np.float64), np.array(truth, np.float64)
    visible = np.asarray(visible, dtype=bool)
    _check(protocol, predicted, truth, visible)
    target = visible & (truth[:, 2:] > 0).all(-1)
    if protocol.positive:
        target &= (truth[:, :2] + file_shift > 0).all(-1)
    if protocol.hold_last:
        hits = _without_target(protocol, dataset, "precision", visible) < 0
        predicted = _hold_last(predicted, (truth[:, 2:] > 0).all(-1) | ~hits)
    predicted[0] = truth[0]
    lost = ~(np.abs(predicted) < HUGE).all(-1)
    predicted[lost] = 0.0
    if protocol.rounded:
        predicted, truth = predicted.round(), truth.round()
    if protocol.bounded:
        if frame_size is None:
            raise ConfigError(f"Protocol {protocol.name!r} cuts boxes: give frame_size.")
        predicted, truth = _bound(predicted, frame_size), _bound(truth, frame_size)

    def centre(distances: np.ndarray, curve: Curve) -> np.ndarray:
        without = _without_target(protocol, dataset, curve, visible)
        return np.where(target, np.where(lost, np.inf, distances), without)

    overlap = overlaps_of_inclusive_pixels if protocol.inclusive else overlaps
    counts = target | protocol.count_absent
    counts[0] &= protocol.count_first
    if labelled is not None:
        counts &= labelled
    return FrameErrors(
        overlap=np.where(target & ~lost, overlap(predicted, truth), 0.0)[counts],
        centre=centre(centre_errors(predicted, truth), "precision")[counts],
        centre_norm=centre(normalised_centre_errors(predicted, truth), "normalised precision")[
            counts
        ],
    )


def _without_target(
    protocol: Protocol, dataset: str, curve: Curve, visible: np.ndarray
) -> np.ndarray:
    """Centre error of each frame if it has no target: infinite is a miss, -1 a hit."""
    false_hits = protocol.false_hits.get(dataset.lower(), protocol.false_hits.get("*", ()))
    labels_matter = bool({"*", dataset.lower()} & protocol.labels_matter)
    return np.where((~visible & labels_matter) | (curve not in false_hits), np.inf, -1.0)


def _check(
    protocol: Protocol, predicted: np.ndarray, truth: np.ndarray, visible: np.ndarray
) -> None:
    if not predicted.shape == truth.shape == (max(1, len(visible)), 4):
        raise DataError(
            f"Predicted boxes have shape {predicted.shape}, true boxes {truth.shape} and "
            f"visibility {visible.shape}; expected (n, 4), (n, 4) and (n,): one box a frame, the "
            "first frame included."
        )
    none = np.isnan(predicted).all(-1)
    wrong = ~np.isfinite(predicted).all(-1) | (predicted[:, 2:] < 0).any(-1)
    bad = np.flatnonzero(wrong & ~none & (not protocol.hold_last))
    if bad.size:
        raise DataError(
            f"Predicted box of frame {bad[0]} is {predicted[bad[0]]}; expected four finite "
            "numbers with width and height of at least 0, or four NaN where there is no "
            "prediction. Protocols that hold the last box (otb, lasot, official) take it."
        )


def _hold_last(predicted: np.ndarray, replaced: np.ndarray) -> np.ndarray:
    """Replace boxes without area, or not finite, by the one before them, in frames ``replaced``."""
    kept = np.isfinite(predicted).all(-1) & (predicted[:, 2:] > 0).all(-1) | ~replaced
    kept[:1] = True
    return predicted[np.maximum.accumulate(np.where(kept, np.arange(len(predicted)), 0))]


def _bound(xywh: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Cut boxes to the frame; as in GOT-10k's toolkit, moving a left edge keeps the width."""
    size = np.asarray(frame_size, dtype=np.float64)
    low = np.clip(xywh[:, :2], 0, size)
    return np.concatenate([low, np.clip(xywh[:, 2:], 0, size - low)], axis=-1)
