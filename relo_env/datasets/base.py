"""`Dataset` and `Sequence`: annotated videos, a box a frame, read lazily."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from relo_env.datasets.fingerprint import bound_arguments, digest, digest_names, plain
from relo_env.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    from typing_extensions import Self


class FrameSource(Protocol):
    """Random access to the frames of one video; safe to call from several threads."""

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def read(self, index: int) -> np.ndarray:
        """Frame ``index`` as uint8 RGB ``(H, W, 3)``, a fresh array or one nobody writes to.

        Raises:
            FrameError: the frame is missing or cannot be decoded.
        """
        ...


@dataclass(frozen=True, eq=False)
class Sequence:
    """One annotated video.

    Attributes:
        name: unique within its data set, e.g. ``"airplane-1"``.
        frames: the video.
        boxes: float64 ``(n, 4)``, xywh in 0-based image pixels; zeros where the target is absent.
        visible: bool ``(n,)``; False where the target is absent (out of view, fully occluded).
        attributes: names of the challenges that the benchmark marks this sequence with.
        origin: coordinate of the top-left pixel in ``boxes``: 0, or 1 where a benchmark's 1-based
            boxes are taken as they are.
        file_origin: that in the annotation file, and so in files of results.
        labelled: bool ``(n,)``; False in frames without annotation, which may show the target or
            not. Such a frame has a box of zeros and ``visible`` False; it
            is never a failure of a tracker. By default every frame is labelled.

    Raises:
        DataError: counts differ, a box is not finite, or no frame shows the target.
    """

    name: str
    frames: FrameSource
    boxes: np.ndarray
    visible: np.ndarray
    attributes: tuple[str, ...] = field(default=())
    labelled: np.ndarray = field(default=None)  # type: ignore[arg-type]
    origin: int = field(default=0, kw_only=True)
    file_origin: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        n = len(self.frames)
        labelled = np.ones(n) if self.labelled is None else self.labelled
        given = {"boxes": self.boxes, "visible": self.visible, "labelled": labelled}
        for name, values in given.items():
            kind = np.float64 if name == "boxes" else bool
            try:
                object.__setattr__(self, name, np.asarray(values, dtype=kind))
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"Sequence {self.name!r}: {name} cannot be read as {kind.__name__} ({error}); "
                    f"expected an array of one entry for each of its {n} frames."
                ) from error
        if self.boxes.shape != (n, 4) or self.visible.shape != (n,):
            raise DataError(
                f"Sequence {self.name!r} has {n} frames but boxes of shape {self.boxes.shape} and "
                f"visibility of shape {self.visible.shape}; expected ({n}, 4) and ({n},). "
                "Check that the annotation file belongs to this video."
            )
        if self.labelled.shape != (n,) or (self.visible & ~self.labelled).any():
            raise DataError(
                f"Sequence {self.name!r}: `labelled` has shape {self.labelled.shape}; expected "
                f"({n},), and True at every frame that shows the target."
            )
        bad = np.flatnonzero(~np.isfinite(self.boxes).all(-1))
        if bad.size:
            raise DataError(
                f"Sequence {self.name!r}: box of frame {bad[0]} is {self.boxes[bad[0]]}, "
                "expected four finite numbers (mark a frame without target as absent instead)."
            )
        flat = np.flatnonzero(self.visible & (self.boxes[:, 2:] <= 0).any(-1))
        if flat.size:
            raise DataError(
                f"Sequence {self.name!r}: frame {flat[0]} is marked visible but its box "
                f"{self.boxes[flat[0]]} has no area; expected a positive width and height."
            )
        if not self.visible.any():
            raise DataError(f"Sequence {self.name!r} shows its target in none of its {n} frames.")

    def __len__(self) -> int:
        return len(self.frames)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the frames and boxes, which nobody writes to."""
        return self


class Dataset(ABC):
    """Sequences by index or by name, read lazily: constructing one decodes no frame.

    Subclasses set ``name`` and ``splits`` and implement ``names`` and ``load``.
    """

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    """Known splits, the default first: the training split, or the only one."""
    training_splits: ClassVar[tuple[str, ...]] = ("train",)
    _arguments: dict[str, Any]
    _known: tuple[SequenceOf[str], int, frozenset[str]] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments of the constructor for `fingerprint`."""
        self = super().__new__(cls)
        self._arguments = bound_arguments(cls.__init__, (self, *args), kwargs)
        self._arguments.pop("self", None)  # a call of wrong arguments lacks it
        return self

    def __init__(self, split: str | None = None) -> None:
        self.split = self.splits[0] if split is None else split
        if self.split not in self.splits:
            raise ConfigError(unknown(f"split of {self.name}", self.split, self.splits))

    @property
    @abstractmethod
    def names(self) -> SequenceOf[str]:
        """Names of the split's sequences, in the benchmark's order."""

    @abstractmethod
    def load(self, name: str) -> Sequence:
        """Read the annotation of the sequence ``name`` (one of ``names``).

        Raises:
            DataError: its files are missing or malformed.
        """

    def annotation(self, name: str) -> Sequence:
        """Boxes and labels of a sequence; its frames need not exist.

        Raises:
            DataError: its annotation is missing or malformed.
        """
        return self[name]

    def frame_size(self, name: str) -> tuple[int, int]:
        """Width and height [px] of a sequence's frames, by its first one.

        Raises:
            FrameError: it cannot be read.
        """
        height, width = self[name].frames.read(0).shape[:2]
        return width, height

    def draw(self, rng: np.random.Generator) -> Sequence:
        """A sequence at random, all equally likely unless a subclass weighs them."""
        return self[int(rng.integers(len(self)))]

    @property
    def is_training(self) -> bool:
        """True if the split is one to train on."""
        return self.split in self.training_splits

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Plain JSON that is equal for equal data.

        Keys: ``name``, ``split``, ``root`` (the resolved folder, None without one), ``options``
        (the constructor's other arguments), ``names`` and ``boxes`` (digests of the list of names
        and of the first sequence's annotation; None where that cannot be read). Compare two with
        `relo_env.datasets.fingerprint.fingerprint_differences`.
        """
        given = {k: v for k, v in self._arguments.items() if k not in ("root", "split")}
        root = getattr(self, "root", None)
        return {
            "name": self.name,
            "split": self.split,
            "root": None if root is None else str(Path(root).resolve()),
            "options": {name: plain(value) for name, value in sorted(given.items())},
            "names": digest_names(self.names),
            "boxes": self._digest_first_annotation(),
        }

    def _digest_first_annotation(self) -> str | None:
        if not len(self):
            return None
        try:
            first = self[0]
        except (DataError, OSError):
            return None
        return digest(first.boxes.tobytes(), first.visible.tobytes())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the data set, whose sequences do not change."""
        return self

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        names = self.names
        if not isinstance(names, list | tuple):  # a lazy sequence looks names up itself
            return name in names
        if self._known is None or self._known[0] is not names or self._known[1] != len(names):
            self._known = names, len(names), frozenset(names)
        return name in self._known[2]

    def __getitem__(self, key: int | str) -> Sequence:
        if isinstance(key, str):
            if key not in self:
                some = islice(self.names, 10_000)  # names may be endless
                raise ConfigError(unknown(f"sequence of {self.name}", key, some))
            name = key
        else:
            name = self.names[key]
        sequence = self.load(name)
        if not isinstance(sequence, Sequence):
            raise DataError(
                f"{type(self).__name__}.load({name!r}) returned {sequence!r}; expected a Sequence."
            )
        return sequence

    def __iter__(self) -> Iterator[Sequence]:
        return (self[i] for i in range(len(self)))
