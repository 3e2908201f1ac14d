"""State of an object that is followed, and the tracker's rules for lost targets and templates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.confidence import Absence, Evidence, Recovery
from agents.network import TemplateCache, TokenState
from relo_env.crops import SearchWindow


@dataclass(frozen=True)
class View:
    """Window and scores of a frame, for drawing.

    Attributes:
        window: the search window.
        scores: ``(H, W)`` score of every position, before the window function.
        candidates: ``(H * W, 4)`` box of every position, cxcywh01 of the window.
        position: the position chosen.
        evidence: parts of the score, where the network has a confidence.
    """

    window: SearchWindow
    scores: np.ndarray
    candidates: np.ndarray
    position: int
    evidence: Evidence | None = None


@dataclass
class Track:
    """State of one object being followed.

    Attributes:
        box: last box, xywh pixels.
        templates: uint8 crops ``(3, Hz, Wz)``, and ``template_boxes``, xywh as fractions of each.
        cache: encoded templates.
        tokens: temporal tokens, None before the first update.
        frames: number of updates.
        view: window and scores of the last update.
        lost: True if the target counts as lost; under `Recovery`, ``box`` and ``tokens`` are then
            those of the last trusted frame.
        misses: frames in a row whose score was too low.
        zoom: factor on the search window's side.
        renewal_age: frames since a control renewed the last template, or the start.
        trusted: box and tokens of the last frame whose score was high enough.
    """

    box: np.ndarray
    templates: list[np.ndarray]
    template_boxes: list[np.ndarray]
    cache: TemplateCache
    tokens: TokenState | None = None
    frames: int = 0
    view: View | None = None
    lost: bool = False
    misses: int = 0
    zoom: float = 1.0
    renewal_age: int = 0
    trusted: tuple[np.ndarray, TokenState | None] | None = None

    def follow(
        self,
        box: np.ndarray,
        tokens: TokenState | None,
        score: float,
        rule: Absence | None,
    ) -> None:
        """Move the track to a box, unless a lost target is being searched for.

        Args:
            box: box found in the next frame, xywh pixels.
            tokens: temporal tokens of that frame.
            score: score of the box.
            rule: tells when the target counts as lost; None: never. Only `Recovery` searches.
        """
        if rule is None or score >= rule.lost_below:
            self.box, self.tokens, self.trusted = box, tokens, (box, tokens)
            self.lost, self.misses, self.zoom = False, 0, 1.0
            return
        self.misses += 1
        self.lost = self.misses > rule.patience
        if not self.lost or not isinstance(rule, Recovery):
            self.box, self.tokens = box, tokens
        elif self.misses == rule.patience + 1:
            self.box, self.tokens = self.trusted or (self.box, self.tokens)
        else:
            self.zoom = min(self.zoom * rule.growth, rule.reach)

    def is_due(self, interval: int | None, threshold: float, score: float) -> bool:
        """True in a frame whose score and number call for a new template.

        While the target is lost the box is an old one: no template is taken from it.
        """
        if interval is None or len(self.templates) == 1 or self.lost:
            return False
        return self.frames % interval == 0 and score > threshold

    @property
    def score_map(self) -> np.ndarray | None:
        """Scores ``(H, W)`` of the last frame, for the benchmark's runner."""
        return None if self.view is None else self.view.scores
