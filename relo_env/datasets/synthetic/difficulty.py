"""Difficulty of synthetic videos: one frozen table of numbers for each level."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difficulty:
    """Difficulty of a synthetic video.

    Ranges are ``(low, high)``; a video draws its own value from them.

    Attributes:
        speed: median displacement of the centre a frame, in units of the target's size
            (drawn log-uniformly).
        burst: sd of the log of the speed's modulation over time.
        size: least target size [px] and largest as a share of the frame's shorter side
            (drawn log-uniformly); size is sqrt(width * height).
        scale: sd of the log of the size over time.
        aspect: sd of the log of the aspect over time.
        rotation: [rad] sd of the angle over time.
        tilt: perspective, as relative change of depth across the target.
        bend: amplitude of non-rigid waves, in units of the target's side.
        fade: probability that the texture changes into another.
        distractors: number of objects that look like the target.
        twins: probability that a distractor is the target's double rather than of its family.
        relatives: probability that a distractor of a cut-out is another cut-out of its folder, as
            one runner is among runners.
        camouflage: probability that the target has the background's colours.
        occlusions: expected number of occluders that cross the target in 100 frames.
        exits: expected number of times the target leaves the frame in 100 frames.
        pan: [px] sd of the camera's movement a frame.
        shake: [px] sd of the camera's jitter.
        zoom: sd of the log of the camera's zoom over time.
        roll: [rad] sd of the camera's roll over time.
        light: sd of the log of the brightness over time; a third of it for the colours' balance.
        shadow: probability that shadows lie on the scene.
        exposure: motion blur as a share of the movement between two frames.
        defocus: [px] sd of the blur of the whole frame.
        noise: [grey levels] sd of the sensor's noise.
        compression: probability of JPEG artefacts, and of a lowered resolution.
        blackouts: expected number of times in 100 frames that a wall hides the whole target, for 5
            to 20 frames.
        elsewhere: after an exit, the target comes back 2.5 to 5 of its sizes aside.
        drift: frames in which the texture of a procedural target turns into another one, and then
            into a third; None: never. Distractors keep their first texture.
    """

    speed: tuple[float, float]
    burst: float
    size: tuple[float, float]
    scale: float
    aspect: float
    rotation: float
    tilt: float
    bend: float
    fade: float
    distractors: tuple[int, int]
    twins: float
    camouflage: float
    occlusions: float
    exits: float
    pan: float
    shake: float
    zoom: float
    roll: float
    light: float
    shadow: float
    exposure: float
    defocus: float
    noise: float
    compression: float
    relatives: float = 0.0
    blackouts: float = 0.0
    elsewhere: bool = False
    drift: tuple[float, float] | None = None


LEVELS = {
    "easy": Difficulty(
        speed=(0.01, 0.05), burst=0.3, size=(24, 0.5), scale=0.1, aspect=0.03, rotation=0.1,
        tilt=0.05, bend=0.01, fade=0.0, distractors=(0, 1), twins=0.0, camouflage=0.0,
        occlusions=0.0, exits=0.0, pan=0.3, shake=0.1, zoom=0.02, roll=0.005, light=0.03,
        shadow=0.0, exposure=0.1, defocus=0.3, noise=2.0, compression=0.1,
    ),
    "medium": Difficulty(
        speed=(0.015, 0.12), burst=0.7, size=(10, 0.6), scale=0.3, aspect=0.12, rotation=0.3,
        tilt=0.2, bend=0.03, fade=0.2, distractors=(0, 4), twins=0.3, camouflage=0.25,
        occlusions=0.7, exits=0.25, pan=1.0, shake=0.5, zoom=0.06, roll=0.02, light=0.12,
        shadow=0.3, exposure=0.3, defocus=0.6, noise=5.0, compression=0.35,
    ),
    "hard": Difficulty(
        speed=(0.02, 0.18), burst=0.9, size=(8, 0.6), scale=0.45, aspect=0.25, rotation=0.8,
        tilt=0.35, bend=0.06, fade=0.4, distractors=(2, 6), twins=0.6, camouflage=0.5,
        occlusions=1.5, exits=0.6, pan=2.5, shake=1.2, zoom=0.12, roll=0.05, light=0.2,
        shadow=0.5, exposure=0.6, defocus=1.0, noise=8.0, compression=0.5,
    ),
    "long": Difficulty(
        speed=(0.03, 0.15), burst=0.5, size=(16, 0.25), scale=0.15, aspect=0.1, rotation=0.25,
        tilt=0.15, bend=0.03, fade=0.0, distractors=(1, 3), twins=0.7, camouflage=0.1,
        occlusions=0.3, exits=1.3, pan=0.7, shake=0.3, zoom=0.04, roll=0.01, light=0.08,
        shadow=0.2, exposure=0.2, defocus=0.4, noise=4.0, compression=0.2,
        blackouts=1.5, elsewhere=True, drift=(40, 70),
    ),
}  # fmt: skip
"""The levels by name."""
