"""Description of a synthetic video: actors, camera and light, from which it is painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relo_env.datasets.synthetic.actors import Actor


@dataclass(frozen=True, eq=False)
class Film:
    """Camera of the scene; arrays are per frame.

    Attributes:
        camera: ``(T, 2, 3)`` affine maps from image to background pixels.
        gain: ``(T, 3)`` factors on the colours.
        exposure: share of the movement between two frames that blurs.
        defocus: [px] sd of the blur.
        noise: [grey levels] sd of the noise.
        quality: JPEG quality in percent, or None.
        resolution: share of the resolution that is left, 1 for all of it.
        shadow: shadows lie on the scene.
    """

    camera: np.ndarray
    gain: np.ndarray
    exposure: float
    defocus: float
    noise: float
    quality: int | None
    resolution: float
    shadow: bool


@dataclass(frozen=True, eq=False)
class Scene:
    """A whole video before it is painted.

    Attributes:
        seed: draws the background and the noise.
        frame_size: width and height [px].
        photo: index of the background photograph, or None for a procedural one.
        behind: actors that the target hides.
        target: the actor to track.
        front: actors that hide the target.
        film: camera, light and sensor.
        boxes: float64 ``(T, 4)`` xywh of the target, whatever hides it; zeros where absent.
        visible: bool ``(T,)``.
        attributes: names of the challenges that occur.
    """

    seed: int
    frame_size: tuple[int, int]
    photo: int | None
    behind: tuple[Actor, ...]
    target: Actor
    front: tuple[Actor, ...]
    film: Film
    boxes: np.ndarray
    visible: np.ndarray
    attributes: tuple[str, ...]
