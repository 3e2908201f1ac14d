"""RELOTracker: tracks one object in a video, or many objects in many videos at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch

from agents.backends import Choice, make_backend
from agents.confidence import Absence, Evidence, Recovery
from agents.network import HeadOutputs, RELONetwork, TemplateCache, TokenState, normalize_crops
from agents.network.presets import official_settings
from agents.track_state import Track, View
from relo_env import boxes as bx
from relo_env.checks import NonNegativeFloat, PositiveInt, check
from relo_env.crops import SearchWindow
from relo_env.errors import ConfigError
from relo_env.spaces import CONTROL_STATES, ZOOMS

logger = logging.getLogger(__name__)
Box = tuple[float, float, float, float]


class RELOTracker:
    """A network as a tracker: cut the search window, score positions, take the best one's box.

    The window function, a Hann window to the power of ``window_exponent``, favours positions near
    the centre. By default it weights probabilities, and crops and boxes map exactly.
    ``official=True`` reproduces the public code instead: the window weights raw logits, and the
    geometry is `SearchWindow`'s official one. All state begins anew with every `init`.

    `init` and `update` follow one object. `start` and `step` follow any number at once: tracks may
    start and end at any time. ``model_seconds`` is what the network took in the last frame.

    Args:
        network: its weights as they are now; later training does not change the tracker.
        official: reproduce the official behaviour.
        window_exponent: strength of the window function; 0 switches it off.
        num_templates: templates kept; None for the network's number.
        update_interval: take a new template every so many frames; None for never.
        update_threshold: least score for taking one; None for any.
        localise: ``"policy"``, or ``"prior"`` for the heat-map baseline.
        recovery: search for a lost target in a growing window; None always follows the best box.
        controls: let the network's heads for controls, if it has any, choose the side of the next
            window and the renewal of the last template; False ignores them.
        device: device of the network.
        dtype: of its weights, e.g. ``torch.bfloat16``; None keeps them.
        compiled: run it through ``torch.compile``; the first frames then take minutes.
        backend: ``"torch"``, ``"onnxruntime"``, ``"auto"`` for the faster of the two on this
            machine, or ``"onnxruntime-int8"`` with other boxes; see `agents.backends`.

    Attributes:
        backend: the backend that runs; its ``choice`` tells which, and why.

    Raises:
        ConfigError: an invalid option.
    """

    def __init__(
        self,
        network: RELONetwork,
        *,
        official: bool = False,
        window_exponent: float = 1.0,
        num_templates: int | None = None,
        update_interval: int | None = None,
        update_threshold: float | None = None,
        localise: str = "policy",
        recovery: Recovery | None = None,
        controls: bool = True,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        compiled: bool = False,
        backend: str | Choice = "auto",
    ) -> None:
        if not isinstance(network, RELONetwork):
            raise ConfigError(
                f"network is {network!r}; expected a RELONetwork. Names and paths go to "
                "RELOTracker.from_pretrained."
            )
        check("window_exponent", window_exponent, NonNegativeFloat)
        check("num_templates", num_templates, None | PositiveInt)
        check("update_interval", update_interval, None | PositiveInt)
        check("update_threshold", update_threshold, None | float)
        check("localise", localise, Literal["policy", "prior"])
        if not isinstance(recovery, Recovery | None):
            raise ConfigError(f"recovery is {recovery!r}; expected None or a Recovery.")
        self.backend = make_backend(network, backend, device=device, dtype=dtype, compiled=compiled)
        self.network = self.backend.network
        self.crop = network.crop
        self.official = official
        self.num_templates = num_templates or network.crop.num_templates
        self.update_interval = update_interval
        self.update_threshold = -np.inf if update_threshold is None else update_threshold
        self.localise = localise
        self.controls = tuple(network.controls) if controls and not official else ()
        rules = {"recovery": recovery, "update_interval": update_interval}
        _check_controls(self.controls, self.num_templates, rules)
        self.confidence = None if official else network.confidence
        self.absence = recovery or (Absence() if self.confidence else None)
        self.device = torch.device(device)
        self.model_seconds = 0.0
        self._window = hann_window(self.crop.grid).ravel() ** window_exponent
        self._track: Track | None = None

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str], **options: Any) -> RELOTracker:
        """Tracker of a preset that ships with weights, or of one of our checkpoints.

        Raises:
            CheckpointError: neither such a preset nor a readable checkpoint.
        """
        return cls(RELONetwork.from_pretrained(name_or_path), **options)

    @classmethod
    def as_official(
        cls, network: RELONetwork, dataset: str | None = None, **options: Any
    ) -> RELOTracker:
        """The public code's tracker, with its window and template update for a data set.

        Raises:
            ConfigError: the network or the data set has no official settings.
        """
        settings = official_settings(network.preset_name, dataset)
        return cls(network, official=True, **{**settings, **options})

    def init(self, frame: np.ndarray, box: Box) -> None:
        """Start on uint8 RGB ``frame`` ``(H, W, 3)`` with the target at ``box``, xywh pixels.

        Raises:
            ConfigError: the frame is no such array, or the box has no area or lies outside.
        """
        self._track = self.start(frame, box)

    def update(self, frame: np.ndarray) -> tuple[Box, float]:
        """Box, xywh pixels, and score of the target in the next frame.

        The score is the probability that the box is right (IoU above 0.5) where the network's
        checkpoint holds an `agents.confidence.Confidence`; else the probability of the chosen
        position; in official mode its logit times the window.

        Raises:
            ConfigError: not initialised, or the frame is not a uint8 RGB array.
        """
        if self._track is None:
            raise ConfigError("update was called before init(frame, box).")
        return self.step([self._track], [frame])[0]

    @property
    def lost(self) -> bool:
        """True if the target counts as lost, see `agents.confidence.Absence`."""
        return self._track is not None and self._track.lost

    @property
    def view(self) -> View | None:
        """Window and scores of the last `update`."""
        return None if self._track is None else self._track.view

    @property
    def score_map(self) -> np.ndarray | None:
        """Scores ``(H, W)`` of the last `update`."""
        return None if self._track is None else self._track.score_map

    def start(self, frame: np.ndarray, box: Box) -> Track:
        """A new track; see `init`."""
        _check_frame(frame)
        height, width = frame.shape[:2]
        try:
            start = np.asarray(box, dtype=np.float64).copy()
        except (TypeError, ValueError):
            start = np.zeros(0)
        if start.shape != (4,) or not np.isfinite(start).all():
            raise ConfigError(
                f"Box {box!r}; expected four finite numbers: left, top, width, height in pixels."
            )
        template = self._cut_template(frame, start)
        if bx.iou(start, np.array([0, 0, width, height])) == 0:
            raise ConfigError(
                f"Box {tuple(box)} lies outside the frame of {width}x{height} px; expected "
                "(left, top, width, height) in pixels of this frame."
            )
        if min(start[2:]) < bx.MARGIN:
            logger.warning(
                "Box %s has a side below %g px. RELOTracker reports no smaller side, so that its "
                "boxes will be larger than the object.",
                ",".join(f"{v:g}" for v in start),
                bx.MARGIN,
            )
        crops, boxes = ([part] * self.num_templates for part in template)
        return Track(start, crops, boxes, self._encode(crops, boxes))

    @torch.inference_mode()
    def step(
        self, tracks: Sequence[Track], frames: Sequence[np.ndarray]
    ) -> list[tuple[Box, float]]:
        """Follow each track into its next frame; the network runs once for all.

        Raises:
            ConfigError: not one frame for each track, or one that is no uint8 RGB array.
        """
        if len(tracks) != len(frames):
            raise ConfigError(f"{len(tracks)} tracks and {len(frames)} frames; expected as many.")
        if not tracks:
            return []
        factor, size = self.crop.search_factor, self.crop.search_size
        windows = [
            SearchWindow.around(track.box, factor * track.zoom, size, self.official)
            for track in tracks
        ]
        for frame in frames:
            _check_frame(frame)
        crops = [window.extract(frame) for window, frame in zip(windows, frames, strict=True)]
        begin = perf_counter()
        features, boxes, tokens = self.backend.encode(
            TemplateCache(torch.cat([track.cache.rows for track in tracks])),
            self._normalized(np.stack(crops).transpose(0, 3, 1, 2)),
            TokenState.join([track.tokens for track in tracks]),
        )
        outputs, choices = self._decide(features, tracks)
        scores = self.position_scores(outputs)
        candidates = boxes.cpu().double().numpy()
        self.model_seconds = perf_counter() - begin
        answers = []
        for i, (track, frame) in enumerate(zip(tracks, frames, strict=True)):
            position = int((scores[i] * self._window).argmax())
            evidence = None if self.confidence is None else _evidence(outputs, i)
            grid_scores = scores[i].reshape(self.crop.grid)
            view = View(windows[i], grid_scores, candidates[i], position, evidence)
            own = None if tokens is None else tokens.row(i)
            answers.append(self._follow(track, frame, view, own))
            self._apply_controls(track, frame, {name: c[i] for name, c in choices.items()})
        return answers

    def _follow(
        self, track: Track, frame: np.ndarray, view: View, tokens: TokenState | None
    ) -> tuple[Box, float]:
        """Take a track to the position chosen in a frame; returns its box and score."""
        found = view.window.to_image(view.candidates[view.position])
        box = bx.clip(found, (frame.shape[1], frame.shape[0]))
        score = view.scores.flat[view.position]
        if view.evidence is not None and self.confidence is not None:
            score = self.confidence(view.evidence)
        elif self.official:
            score = score * self._window[view.position]
        score = float(score)
        track.follow(box, tokens, score, self.absence)
        track.frames += 1
        track.view = view
        if track.is_due(self.update_interval, self.update_threshold, score):
            self._renew(track, frame)
        x, y, w, h = box.tolist()
        return (x, y, w, h), score

    def _decide(
        self, features: torch.Tensor, tracks: Sequence[Track]
    ) -> tuple[HeadOutputs, dict[str, list[int]]]:
        """Outputs of the heads that choose a position and rate it, and choices of the controls."""
        if not self.official:
            # An observation carries features in half precision: decide on what was trained on.
            features = features.half().to(features.dtype)
        rated = self.controls or self.confidence is not None
        heads = {self.localise, *(("policy", "value") if rated else ())}
        outputs = self.network.heads(features, only=tuple(heads))
        if not self.controls:
            return outputs, {}
        states = {
            name: torch.tensor(
                [[float(getattr(track, CONTROL_STATES[name]))] for track in tracks],
                device=self.device,
            )
            for name in self.controls
        }
        logits = self.network.controls(features, outputs, states)
        return outputs, {name: values.argmax(1).tolist() for name, values in logits.items()}

    def position_scores(self, outputs: HeadOutputs) -> np.ndarray:
        """Score ``(N, A)`` of every position, before the window; a subclass may give others."""
        if self.localise == "prior":
            assert outputs.prior is not None
            return outputs.prior.cpu().numpy()
        logits = outputs.policy_logits
        assert logits is not None
        return (logits if self.official else logits.softmax(-1)).cpu().numpy()

    def _apply_controls(self, track: Track, frame: np.ndarray, choices: dict[str, int]) -> None:
        """Set the next window's side and renew the last template, as the environment does."""
        if "zoom" in choices:
            track.zoom = ZOOMS[choices["zoom"]]
        track.renewal_age += 1
        if choices.get("renew"):
            self._renew(track, frame)
            track.renewal_age = 0

    def _renew(self, track: Track, frame: np.ndarray) -> None:
        """Make the crop around the track's box the last template; the first one stays."""
        crop, box = self._cut_template(frame, track.box)
        track.templates = [track.templates[0], *track.templates[2:], crop]
        track.template_boxes = [track.template_boxes[0], *track.template_boxes[2:], box]
        track.cache = self._encode(track.templates, track.template_boxes)

    def _cut_template(self, frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        window = SearchWindow.around(
            box, self.crop.template_factor, self.crop.template_size, self.official
        )
        corners = bx.cxcywh_to_xywh(window.to_crop(box))
        return window.extract(frame).transpose(2, 0, 1), corners.astype(np.float32)

    @torch.inference_mode()
    def _encode(self, crops: list[np.ndarray], boxes: list[np.ndarray]) -> TemplateCache:
        corners = torch.from_numpy(np.stack(boxes)[None]).to(self.device)
        return self.backend.encode_templates(self._normalized(np.stack(crops)[None]), corners)

    def _normalized(self, crops: np.ndarray) -> torch.Tensor:
        return normalize_crops(torch.from_numpy(crops).to(self.device))


def _evidence(outputs: HeadOutputs, index: int) -> Evidence:
    assert outputs.policy_logits is not None
    assert outputs.value is not None
    spread = outputs.policy_logits[index].float().std(correction=0)
    return Evidence(spread.item(), outputs.value[index].item())


def hann_window(grid: tuple[int, int]) -> np.ndarray:
    """Hann window ``(H, W)``: ``0.5 (1 - cos(2 pi i / (H + 1)))``, i from 1; zero nowhere."""
    rows, columns = (
        0.5 * (1 - np.cos(2 * np.pi * np.arange(1, n + 1, dtype=np.float32) / (n + 1)))
        for n in grid
    )
    return np.outer(rows, columns)


def _check_controls(controls: Sequence[str], num_templates: int, rules: Mapping[str, Any]) -> None:
    """Refuse rules that would do the work of the network's controls beside them."""
    given = [name for name, rule in rules.items() if rule is not None]
    if controls and given:
        raise ConfigError(
            f"{' and '.join(given)} given beside the network's own controls {list(controls)}; "
            "leave them out, or give controls=False."
        )
    if "renew" in controls and num_templates < 2:
        raise ConfigError(
            f"The network renews its last template and keeps the first; num_templates is "
            f"{num_templates}, expected 2 or more. Or give controls=False."
        )


def _check_frame(frame: np.ndarray) -> None:
    if (
        not isinstance(frame, np.ndarray)
        or frame.dtype != np.uint8
        or frame.ndim != 3
        or frame.shape[2] != 3
        or not frame.size
    ):
        found = (
            f"{frame.dtype} {frame.shape}"
            if isinstance(frame, np.ndarray)
            else type(frame).__name__
        )
        raise ConfigError(f"The frame is {found}; expected a uint8 RGB array (H, W, 3).")
