"""Plan of a synthetic video: movements, occlusions, camera and light, without a pixel.

Everything follows from one seed and is computed for all frames at once.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from relo_env.datasets.synthetic.actors import Actor, Look, Motion
from relo_env.datasets.synthetic.difficulty import Difficulty
from relo_env.datasets.synthetic.images import Images
from relo_env.datasets.synthetic.scene import Film, Scene
from relo_env.datasets.synthetic.shapes import Shape, draw_screen, draw_shape, draw_wall

OPENING = 10
"""Frames at the start in which nothing hides the target."""
MIN_VISIBLE = 0.1
"""A target counts as absent when less than this share of its area can be seen."""
_SMALLEST_SIDE = 6.0
_LARGEST_SIDE = 0.7
_LARGEST_DISTRACTOR = 0.3
_WALL_MARGIN = 4.0
_WALL_SLIDE = 4


def plan(
    seed: int,
    *,
    level: Difficulty,
    length: int,
    frame_size: tuple[int, int],
    cutouts: Images | None,
    photos: Images | None,
) -> Scene:
    """Decide everything that happens in the video of ``seed``."""
    director = _Director(np.random.default_rng(seed), level, length, frame_size, cutouts)
    film = director.film()
    target = director.target()
    extras = director.distractors(target) + director.occluders(target, film.camera)
    extras += director.walls(target)
    boxes = target.boxes(frame_size)
    interior = target.interior()
    x, y = interior
    in_frame = (x >= 0) & (x < frame_size[0]) & (y >= 0) & (y < frame_size[1])
    front, behind, seen = [], [], in_frame.copy()
    for actor, in_front in extras:
        hidden = _hidden(actor, target, interior) if in_front else np.zeros_like(seen)
        if in_front and not hidden[:OPENING].any():
            front.append(actor)
            seen &= ~hidden
        else:
            behind.append(actor)
    share = seen.mean(-1)
    visible = (share >= MIN_VISIBLE) & (boxes[:, 2:] >= 1).all(-1)
    boxes[~visible] = 0
    return Scene(
        seed=seed,
        frame_size=frame_size,
        photo=director.draw_photo(photos),
        behind=tuple(behind),
        target=target,
        front=tuple(front),
        film=film,
        boxes=boxes,
        visible=visible,
        attributes=_attributes(target, film, boxes, visible, share, in_frame.mean(-1), extras),
    )


class _Director:
    """Draws the parts of one scene from one random stream."""

    def __init__(
        self,
        rng: np.random.Generator,
        level: Difficulty,
        length: int,
        frame_size: tuple[int, int],
        cutouts: Images | None,
    ) -> None:
        self.rng, self.level, self.length, self.cutouts = rng, level, length, cutouts
        self.frame = np.asarray(frame_size, np.float64)
        self.shake = self._wander(2, 2) * level.shake * rng.exponential()

    def film(self) -> Film:
        """Camera path, light and sensor."""
        rng, level = self.rng, self.level
        zoom = np.exp(level.zoom * self._wander(60)[:, 0])
        roll = level.roll * self._wander(60)[:, 0]
        pan = np.cumsum(level.pan * rng.exponential() * self._wander(30, 2), axis=0)
        cos, sin = np.cos(roll) / zoom, np.sin(roll) / zoom
        linear = np.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
        centre = self.frame / 2
        offset = centre + pan - ((centre + self.shake)[:, None] * linear).sum(-1)
        brightness = level.light * self._wander(20)
        balance = level.light / 3 * self._wander(40, 3)
        compressed, lowered = rng.random(2) < level.compression
        return Film(
            camera=np.concatenate([linear, offset[:, :, None]], -1),
            gain=np.exp(brightness + balance),
            exposure=level.exposure * rng.uniform(0, 2),
            defocus=level.defocus * rng.uniform(0, 2),
            noise=level.noise * rng.uniform(0, 2),
            quality=int(rng.integers(15, 80)) if compressed else None,
            resolution=rng.uniform(0.4, 0.9) if lowered else 1.0,
            shadow=bool(rng.random() < level.shadow),
        )

    def target(self) -> Actor:
        """The actor to track, in view at first."""
        level = self.level
        look = self._draw_look()
        shape = self._shape(look)
        smallest, share = level.size
        largest = max(share * self.frame.min(), smallest)
        size = np.exp(self.rng.uniform(np.log(smallest), np.log(largest)))
        motion = self._motion(shape, size)
        centre = motion.centre
        for start in self._events(level.exits):
            centre = self._exit(centre, motion.size.max(-1), start)
        actor = self._actor(shape, replace(motion, centre=centre + self.shake), look)
        if level.drift is None or look.cutout is not None:
            return actor
        return replace(actor, fade=np.arange(self.length) / self.rng.uniform(*level.drift))

    def distractors(self, target: Actor) -> list[tuple[Actor, bool]]:
        """Actors like the target, some of which meet it, and whether each is in front."""
        rng, level = self.rng, self.level
        size = min(np.sqrt(target.motion.size[0].prod()), _LARGEST_DISTRACTOR * self.frame.min())
        found = []
        for _ in range(rng.integers(level.distractors[0], level.distractors[1] + 1)):
            look = self._similar_look(target.look)
            shape = self._shape(look)
            motion = self._motion(shape, size * np.exp(rng.normal(-0.1, 0.25)))
            centre = motion.centre
            if rng.random() < 0.4 and self.length > OPENING:
                meeting = rng.integers(OPENING, self.length)
                centre = centre + target.motion.centre[meeting] - centre[meeting]
                reach = motion.size.max()
                centre = _fold(centre, -reach / 2, self.frame + reach / 2)
            actor = self._actor(shape, replace(motion, centre=centre + self.shake), look)
            found.append((actor, bool(rng.random() < 0.4)))
        return found

    def occluders(self, target: Actor, camera: np.ndarray) -> list[tuple[Actor, bool]]:
        """Actors that cross the target, at rest in the world or moving through it."""
        rng = self.rng
        found = []
        for meeting in self._events(self.level.occlusions):
            look = self._draw_look(screen=True)
            shape = self._shape(look)
            size = target.motion.size[meeting].max() * rng.uniform(0.6, 1.8)
            duration = rng.uniform(6, 40)
            heading = rng.uniform(0, 2 * np.pi)
            velocity = np.array([np.cos(heading), np.sin(heading)]) * 2 * size / duration
            drift = velocity * (np.arange(self.length) - meeting)[:, None]
            place = target.motion.centre[meeting] + rng.normal(0, 0.15, 2) * size
            motion = replace(
                self._still(shape, size), centre=_carried(place, camera, meeting) + drift
            )
            found.append((self._actor(shape, motion, look), True))
        return found

    def walls(self, target: Actor) -> list[tuple[Actor, bool]]:
        """Actors that slide before the target, hide it wholly for 5 to 20 frames and slide off."""
        rng, found = self.rng, []
        if not self.level.blackouts:  # nothing is drawn: those videos stay the same to the bit
            return []
        for event in self._events(self.level.blackouts):
            start, stay = event + _WALL_SLIDE, int(rng.integers(5, 21))
            if start >= self.length:
                continue
            low, high = (corner[start : start + stay] for corner in target.extent)
            low, high = low.min(0) - _WALL_MARGIN, high.max(0) + _WALL_MARGIN
            heading = rng.uniform(0, 2 * np.pi)
            direction = np.array([np.cos(heading), np.sin(heading)])
            distance = np.hypot(*self.frame) + np.hypot(*(high - low))
            knots = start + np.array([-_WALL_SLIDE, 0, stay - 1, stay - 1 + _WALL_SLIDE])
            away = np.interp(np.arange(self.length), knots, [1, 0, 0, 1])[:, None]
            shape, look = draw_wall(), self._draw_look(screen=True)
            motion = self._still(shape, 1.0)
            motion = replace(
                motion,
                centre=(low + high) / 2 + away * distance * direction,
                size=np.zeros((self.length, 2)) + (high - low),
                angle=np.zeros(self.length),
            )
            found.append((self._actor(shape, motion, replace(look, cutout=None)), True))
        return found

    def draw_photo(self, photos: Images | None) -> int | None:
        """Index of a background photograph, mostly, where there are some."""
        if photos is None or self.rng.random() < 0.2:
            return None
        return int(self.rng.integers(len(photos)))

    def _draw_look(self, screen: bool = False) -> Look:
        rng = self.rng
        shape_seed, texture_seed = (int(seed) for seed in rng.integers(2**31, size=2))
        cutout = None
        if self.cutouts is not None and rng.random() < 0.7:
            cutout, screen = int(rng.integers(len(self.cutouts))), False
        camouflage = bool(rng.random() < self.level.camouflage)
        return Look(shape_seed, texture_seed, cutout, screen, camouflage)

    def _similar_look(self, look: Look) -> Look:
        """The look's double, or its texture on another shape, or its shape in another texture."""
        other = self._draw_look()
        # Without relatives nothing is drawn for them: those videos stay the same to the bit.
        relatives = look.cutout is not None and self.level.relatives > 0
        if relatives and self.rng.random() < self.level.relatives:
            assert look.cutout is not None
            assert self.cutouts is not None
            family = self.cutouts.family(look.cutout)
            return replace(look, cutout=family[self.rng.integers(len(family))])
        kind = self.rng.random()
        if kind < self.level.twins:
            return look
        if kind < 0.5 + self.level.twins / 2:
            return replace(look, cutout=None, shape_seed=other.shape_seed)
        return replace(other, shape_seed=look.shape_seed)

    def _shape(self, look: Look) -> Shape:
        if look.cutout is not None:
            assert self.cutouts is not None
            return self.cutouts.shape(look.cutout)
        rng = np.random.default_rng(look.shape_seed)
        return draw_screen(rng) if look.screen else draw_shape(rng)

    def _actor(self, shape: Shape, motion: Motion, look: Look) -> Actor:
        fade = np.zeros(self.length)
        if look.cutout is None and self.rng.random() < self.level.fade:
            fade = np.clip(0.6 * self._wander(50)[:, 0], 0, 0.9)
        return Actor(shape, motion, look, fade)

    def _motion(self, shape: Shape, size: float) -> Motion:
        """A free movement in the frame that starts with a size [px]."""
        rng, level = self.rng, self.level
        side = self.frame.min()
        scale = level.scale * self._wander(50)[:, 0]
        aspect = level.aspect * self._wander(30)[:, 0]
        sides = np.stack([scale + aspect / 2, scale - aspect / 2], -1)
        proportion = np.sqrt(shape.aspect * np.exp(rng.normal(0, 0.15)))
        start = size * np.array([proportion, 1 / proportion])
        sides = np.clip(start * np.exp(sides - sides[0]), _SMALLEST_SIDE, _LARGEST_SIDE * side)
        return replace(
            self._still(shape, size),
            centre=self._walk(size, sides.max(-1)),
            size=sides,
            angle=rng.normal(0, 0.1) + level.rotation * rng.exponential() * self._wander(50)[:, 0],
            tilt=np.clip(level.tilt * self._wander(40, 2), -0.4, 0.4),
            bend=np.clip(level.bend * np.abs(self._wander(40, 2)), 0, 0.2),
            phase=rng.uniform(0, 2 * np.pi)
            + np.cumsum(rng.uniform(0.05, 0.5) * np.exp(0.3 * self._wander(20)[:, 0])),
            waves=rng.uniform(2, 8, 2),
        )

    def _still(self, shape: Shape, size: float) -> Motion:
        """No movement at all, in the middle of the frame."""
        proportion = np.sqrt(shape.aspect)
        zeros = np.zeros((self.length, 2))
        return Motion(
            centre=zeros + self.frame / 2,
            size=zeros + size * np.array([proportion, 1 / proportion]),
            angle=zeros[:, 0] + self.rng.normal(0, 0.1),
            tilt=zeros,
            bend=zeros,
            phase=zeros[:, 0],
            waves=np.zeros(2),
        )

    def _walk(self, size: float, reach: np.ndarray) -> np.ndarray:
        """Centres ``(T, 2)`` of a smooth walk with bursts that stays in the frame."""
        rng, level = self.rng, self.level
        # The length of a 2-d normal vector has median 1.18.
        speed = size / 1.18 * np.exp(rng.uniform(*np.log(level.speed)))
        pace = np.exp(level.burst * self._wander(8))
        path = np.cumsum(speed * pace * self._wander(int(rng.integers(5, 40)), 2), axis=0)
        path += 0.004 * size * rng.standard_normal(path.shape)
        inset = np.minimum(0.4 * reach.max(), 0.45 * self.frame)
        start = rng.uniform(inset, self.frame - inset)
        return _fold(start + path - path[0], inset, self.frame - inset)

    def _exit(self, centre: np.ndarray, reach: np.ndarray, start: int) -> np.ndarray:
        """Centres that leave the frame through its nearest border from ``start`` and return."""
        rng = self.rng
        distances = np.stack([centre[start], self.frame - centre[start]])
        far, axis = np.unravel_index(int(distances.argmin()), distances.shape)
        outside = centre[start].copy()
        outside[axis] += (2 * far - 1) * (distances[far, axis] + reach.max())
        travel = int(
            np.clip(abs(outside[axis] - centre[start, axis]) / (0.2 * reach[start]), 8, 30)
        )
        stay = int(rng.integers(3, 20))
        knots = start + np.array([0, travel, travel + stay, 2 * travel + stay])
        time = np.arange(self.length)
        away = np.interp(time, knots, [0, 1, 1, 0])
        away = (away * away * (3 - 2 * away))[:, None]
        left = (1 - away) * centre + away * outside
        if not self.level.elsewhere:
            return left
        inset = np.minimum(0.4 * reach.max(), 0.45 * self.frame)
        shift = np.zeros(2)
        roomier = np.sign(self.frame / 2 - centre[start])[1 - axis]
        shift[1 - axis] = roomier * rng.uniform(2.5, 5) * reach[start]
        path = _fold(centre + shift, inset, self.frame - inset)
        outside[1 - axis] = _fold(outside + shift, inset, self.frame - inset)[1 - axis]
        back = (1 - away) * path + away * outside
        return np.where((time < start + travel + stay / 2)[:, None], left, back)

    def _events(self, rate: float) -> np.ndarray:
        """Frames after the opening at which something happens, ``rate`` times in 100 frames."""
        span = max(self.length - OPENING, 0)
        count = self.rng.poisson(rate * span / 100)
        return OPENING + np.sort(self.rng.integers(0, max(span, 1), count))

    def _wander(self, period: int, dims: int = 1) -> np.ndarray:
        """Smooth noise ``(T, dims)`` of about unit sd, drawn anew every ``period`` frames."""
        knots = self.rng.standard_normal((self.length // period + 4, dims))
        dense = cv2.resize(knots, (dims, len(knots) * period), interpolation=cv2.INTER_CUBIC)
        start = period + int(self.rng.integers(period))
        return dense.reshape(-1, dims)[start : start + self.length]


def _fold(path: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Reflect a path at the borders ``low`` and ``high`` as often as it takes."""
    span = high - low
    return low + span - np.abs(np.mod(path - low, 2 * span) - span)


def _carried(place: np.ndarray, camera: np.ndarray, frame: int) -> np.ndarray:
    """Image positions ``(T, 2)`` of the point of the world that is at ``place`` in ``frame``."""
    world = camera[frame, :, :2] @ place + camera[frame, :, 2]
    return np.linalg.solve(camera[:, :, :2], (world - camera[:, :, 2])[..., None])[..., 0]


def _hidden(actor: Actor, target: Actor, interior: np.ndarray) -> np.ndarray:
    """Mask ``(T, P)`` of the target's points ``(2, T, P)`` that the actor covers."""
    # An actor reaches half its diagonal from its centre, and less than twice that when tilted.
    reach = np.hypot(*actor.motion.size.T) + np.hypot(*target.motion.size.T)
    near = np.flatnonzero(np.hypot(*(actor.motion.centre - target.motion.centre).T) < reach)
    hidden = np.zeros(interior.shape[1:], bool)
    hidden[near] = actor.covers(interior[:, near], near)
    return hidden


def _attributes(
    target: Actor,
    film: Film,
    boxes: np.ndarray,
    visible: np.ndarray,
    share: np.ndarray,
    in_frame: np.ndarray,
    extras: list[tuple[Actor, bool]],
) -> tuple[str, ...]:
    """Challenges that occur, by the definitions of LaSOT (Fan et al. 2019) where it has any."""
    motion = target.motion
    side = np.sqrt(boxes[visible, 2:].prod(-1))
    aspect = boxes[visible, 2] / boxes[visible, 3]
    steps = np.linalg.norm(np.diff(motion.centre, axis=0), axis=-1)
    occluded = in_frame - share
    occurs = {
        "aspect-ratio-change": _doubles(aspect / aspect[0]),
        "background-clutter": target.look.camouflage
        or any(actor.look == target.look for actor, _ in extras),
        "camera-motion": bool(np.ptp(film.camera[:, :, 2], axis=0).max() > 20),
        "deformation": bool(motion.bend.max() > 0.03 or target.shape.swings.any()),
        "fast-motion": bool((steps > np.sqrt(motion.size[:-1].prod(-1))).any()),
        "full-occlusion": bool(((share < MIN_VISIBLE) & (in_frame > 0.5)).any()),
        "illumination-variation": bool(np.ptp(np.log(film.gain)) > 0.5),
        "low-resolution": bool((side**2 < 1000).any()),
        "motion-blur": bool((film.exposure * steps > 3).any()),
        "occlusion": bool((occluded > 0.1).any()),
        "out-of-view": bool((in_frame < MIN_VISIBLE).any()),
        "rotation": bool(np.ptp(motion.angle) > 0.5),
        "scale-variation": _doubles((side / side[0]) ** 2),
    }
    return tuple(name for name, happens in occurs.items() if happens)


def _doubles(ratio: np.ndarray) -> bool:
    """True if a ratio to the first frame gets above 2 or below a half."""
    return bool((ratio < 0.5).any() or (ratio > 2.0).any())
