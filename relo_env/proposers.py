"""Proposers: candidate boxes for a search crop, one for every position of the grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from relo_env.checks import check, check_arguments, import_named
from relo_env.config import CropConfig
from relo_env.errors import ConfigError, unknown

OBSERVED = ("template", "template_box", "search", "zoom", "renewal_age")
"""Entries of an environment's observation that no proposer may add."""


class Proposals(NamedTuple):
    """Candidate boxes of some rows.

    Attributes:
        boxes: ``(n, H * W, 4)`` cxcywh01 of each row's search crop, row-major positions.
        extras: arrays ``(n, ...)`` added to the observation, by their names in ``extra_spaces``.
    """

    boxes: np.ndarray
    extras: dict[str, np.ndarray]


@runtime_checkable
class BoxProposer(Protocol):
    """Candidate boxes for every position, for all rows of the environment that owns it.

    A proposer whose answers follow from the crops alone, not from the boxes, may have a further
    attribute ``crops_only = True``. In an open loop (``search_window="jittered"``), where the rows
    of a group see the same crops, `reset` and `propose` are then called for the first row of each
    group only, and the others share what comes back.

    ``controls=("renew",)`` needs a further method ``renew(rows, templates, boxes)``: from the next
    `propose` on, uint8 ``(n, 3, Hz, Wz)`` crops with float32 ``(n, 4)`` xywh01 boxes are the last
    templates of ``rows``. It comes once a step for all rows that renew.

    Attributes:
        extra_spaces: spaces that it adds to an environment's observation, unbatched; each `propose`
            fills all of them.
        crop: sizes of the crops that it reads.
    """

    extra_spaces: Mapping[str, gym.Space]
    crop: CropConfig

    def bind(self, num_rows: int) -> BoxProposer:
        """A proposer with state of its own for ``num_rows`` rows, and shared weights."""
        ...

    def reset(self, rows: np.ndarray, templates: np.ndarray, template_boxes: np.ndarray) -> None:
        """Start episodes on ``rows``: uint8 ``(n, K, 3, Hz, Wz)`` and ``(n, K, 4)`` xywh01."""
        ...

    def propose(
        self,
        rows: np.ndarray,
        searches: np.ndarray,
        previous_boxes: np.ndarray,
        target_boxes: np.ndarray | None = None,
    ) -> Proposals:
        """Candidates for the next frame of ``rows``, called once for each row and frame.

        Args:
            rows: int ``(n,)``, any subset of the rows in any order.
            searches: uint8 ``(n, 3, Hx, Wx)``.
            previous_boxes: ``(n, 4)`` boxes chosen last, cxcywh01 of the search crops.
            target_boxes: ``(n, 4)`` true boxes likewise, zeros where absent; for oracles only.
        """
        ...


def grid_centers(grid: tuple[int, int]) -> np.ndarray:
    """Centres ``(H * W, 2)`` of the cells, (x, y) as fractions of the crop, row-major."""
    rows, columns = grid
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([(x + 0.5) / columns, (y + 0.5) / rows], axis=-1)


class PreviousSizeProposer:
    """Gives every cell centre a box of the last size; needs no network.

    After a box was clipped at the frame's border, the boxes stay small.
    """

    extra_spaces: Mapping[str, gym.Space] = {}

    def __init__(self, crop: CropConfig | None = None) -> None:
        self.crop = crop or CropConfig()
        self._centers = grid_centers(self.crop.grid)

    def bind(self, num_rows: int) -> BoxProposer:
        """Return the proposer itself: it has no state."""
        return self

    def reset(self, rows: np.ndarray, templates: np.ndarray, template_boxes: np.ndarray) -> None:
        """Do nothing: there is no state."""

    def renew(self, rows: np.ndarray, templates: np.ndarray, boxes: np.ndarray) -> None:
        """Do nothing: candidates do not depend on templates."""

    def propose(
        self,
        rows: np.ndarray,
        searches: np.ndarray,
        previous_boxes: np.ndarray,
        target_boxes: np.ndarray | None = None,
    ) -> Proposals:
        """Candidates of the last size."""
        shape = (len(previous_boxes), len(self._centers), 2)
        centers = np.broadcast_to(self._centers, shape)
        sizes = np.broadcast_to(previous_boxes[:, None, 2:], shape)
        return Proposals(np.concatenate([centers, sizes], axis=-1), {})


class TargetSizeProposer(PreviousSizeProposer):
    """Gives every cell centre a box of the true size: an oracle for debugging an algorithm."""

    def propose(
        self,
        rows: np.ndarray,
        searches: np.ndarray,
        previous_boxes: np.ndarray,
        target_boxes: np.ndarray | None = None,
    ) -> Proposals:
        """Candidates of the true size; of the last size where the target is absent."""
        if target_boxes is None:
            raise ConfigError('"target-size" needs the true boxes, which only an environment has.')
        boxes = np.where(target_boxes[:, 2:3] > 0, target_boxes, previous_boxes)
        return super().propose(rows, searches, boxes)


BUILT_IN = {"previous-size": PreviousSizeProposer, "target-size": TargetSizeProposer}


def make_proposer(
    proposer: str | BoxProposer,
    proposer_kwargs: Mapping[str, Any] | None = None,
    **crop: int | float | None,
) -> BoxProposer:
    """The proposer that an environment's arguments name.

    Args:
        proposer: ``"previous-size"``, ``"target-size"``, ``"module:factory"`` or an instance.
        proposer_kwargs: plain arguments of a factory.
        **crop: fields of `CropConfig`; None leaves the choice to the proposer.

    Raises:
        ConfigError: no such proposer, or it wants other crops than those asked for.
    """
    asked = {name: value for name, value in crop.items() if value is not None}
    kwargs = {} if proposer_kwargs is None else proposer_kwargs
    check("proposer_kwargs", kwargs, Mapping[str, Any])
    if isinstance(proposer, str):
        factory = _factory(proposer, asked)
        check_arguments(f"Proposer {proposer!r}, proposer_kwargs={kwargs}", factory, kwargs)
        made = check_proposer(factory(**kwargs), f"{proposer!r} gives")
    elif kwargs:
        raise ConfigError("proposer_kwargs belong to a proposer given by name, not to an instance.")
    else:
        made = check_proposer(proposer, "is")
    for name, value in asked.items():
        if getattr(made.crop, name) != value:
            raise ConfigError(
                f"{name}={value} but the proposer {type(made).__name__} was made for "
                f"{name}={getattr(made.crop, name)}. Leave the argument out to take the proposer's."
            )
    return made


def check_proposer(made: Any, source: str) -> BoxProposer:
    """Check an object that is to be a proposer, and return it.

    The message names its ``source``, such as ``"is"`` or ``"'module:factory' gives"``.

    Raises:
        ConfigError: it is not a proposer, or its ``crop`` or ``extra_spaces`` are invalid.
    """
    if isinstance(made, type) or not isinstance(made, BoxProposer):
        kind = f"class {made.__name__}" if isinstance(made, type) else type(made).__name__
        raise ConfigError(
            f"The proposer {source} a {kind}; expected an object with extra_spaces, "
            "crop, bind, reset and propose (relo_env.proposers.BoxProposer). "
            "A network becomes one by agents.proposer.NetworkProposer(network)."
        )
    kind = type(made).__name__
    if not isinstance(made.crop, CropConfig):
        raise ConfigError(f"{kind}.crop is {made.crop!r}; expected a relo_env.CropConfig.")
    spaces = made.extra_spaces
    named = isinstance(spaces, Mapping)
    if not named or any(getattr(space, "shape", None) is None for space in spaces.values()):
        raise ConfigError(
            f"{kind}.extra_spaces is {spaces!r}; expected a dict of names and array spaces, "
            "such as gymnasium.spaces.Box."
        )
    if taken := sorted(set(spaces) & set(OBSERVED)):
        raise ConfigError(
            f"{kind}.extra_spaces holds {taken}, which every observation has already. "
            "Choose other names."
        )
    return made


def check_proposals(proposals: Any, proposer: BoxProposer, num_rows: int) -> Proposals:
    """Check the proposals for ``num_rows`` rows, and return them.

    Raises:
        ConfigError: it is not a `Proposals`, or its names or shapes do not fit.
    """
    source = f"{type(proposer).__name__}.propose gave"
    if not isinstance(proposals, Proposals) or not isinstance(proposals.extras, dict):
        raise ConfigError(
            f"{source} {type(proposals).__name__}; "
            "expected Proposals(boxes, extras), extras being a dict."
        )
    boxes = (num_rows, proposer.crop.num_positions, 4)
    extras = {
        name: (num_rows, *(space.shape or ())) for name, space in proposer.extra_spaces.items()
    }
    found = {name: np.shape(values) for name, values in proposals.extras.items()}
    if np.shape(proposals.boxes) != boxes or found != extras:
        raise ConfigError(
            f"{source} boxes of shape {np.shape(proposals.boxes)} and extras of shapes {found}; "
            f"expected {boxes} and, as extra_spaces says, {extras}."
        )
    return proposals


def _factory(name: str, crop: Mapping[str, Any]) -> Callable[..., Any]:
    if name in BUILT_IN:
        return partial(BUILT_IN[name], CropConfig(**crop))
    if ":" not in name:
        raise ConfigError(
            unknown("proposer", name, BUILT_IN, 'Others are named "module:factory" or given.')
        )
    return import_named(name, "Proposer")
