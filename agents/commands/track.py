"""Follow an object, or several, in a video, a folder of images or a webcam.

The object is given by its box in the first frame: left, top, width and height in pixels. A folder
with groundtruth.txt gives its first box itself. Writes a video with the box, the search window and
the score map drawn in, and the boxes as JSON. A target that is lost is announced, and searched for
in a growing window until it is found again. Of several objects each has a tracker of its own, and
only their boxes are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from agents.commands import arguments
from agents.tracker import RELOTracker, View
from relo_env import boxes as bx
from relo_env import rendering
from relo_env.benchmark.interface import Tracker, checked_answer, checked_box
from relo_env.datasets.annotations import read_boxes
from relo_env.datasets.base import FrameSource
from relo_env.datasets.frames import VideoFrames, find_frames
from relo_env.errors import ConfigError, FrameError
from relo_env.files import write_text
from relo_env.video import VideoWriter

EXAMPLES = """\
examples:
  relo track bird.mp4 --box 210,80,42,64 --out tracked.mp4 --json boxes.json
  relo track bird.mp4 --select                      draw the box in a window
  relo track race.mp4 --box 210,80,42,64 --box 300,90,40,60 --out race.webm
  relo track sequences/car-1 --tracker run/policy.safetensors
  relo track 0 --select --show                      the first webcam, until Ctrl-C"""

DEFAULT_FPS = 25.0
Box = tuple[float, float, float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo track``."""
    parser.add_argument("source", help="video file, folder of images, or number of a webcam")
    first = parser.add_mutually_exclusive_group()
    first.add_argument(
        "--box",
        type=box,
        metavar="X,Y,W,H",
        action="append",
        help="the object in the first frame; --box=-5,9,20,30 where it sticks out to the left; "
        "may be repeated for several objects",
    )
    first.add_argument("--select", action="store_true", help="draw the boxes in a window")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".mp4, or .webm, which browsers play (default: tracked.mp4, unless --json is given)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="boxes and scores, frame by frame"
    )
    parser.add_argument("--max-frames", type=arguments.positive, metavar="N", help="stop after N")
    parser.add_argument("--show", action="store_true", help="show the frames in a window")
    parser.add_argument(
        "--threads",
        type=arguments.positive,
        metavar="N",
        help="of the processor (default: every core); 1 where other programs are busy",
    )
    parser.add_argument(
        "--no-recovery", action="store_true", help="follow the best box, however unsure"
    )
    arguments.add_tracker(parser)
    arguments.add_device(parser)
    parser.set_defaults(run=run)


def box(text: str) -> Box:
    """``x,y,w,h`` as four numbers."""
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not four numbers LEFT,TOP,WIDTH,HEIGHT in pixels, without blanks"
        ) from None
    if not np.isfinite([x, y, w, h]).all() or w <= 0 or h <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} needs finite numbers, width and height above 0")
    return x, y, w, h


def run(options: argparse.Namespace) -> int:
    """Track and write; what was done is kept, whatever ends it."""
    out = options.out or (None if options.json else Path("tracked.mp4"))
    footage = open_footage(options.source, options.max_frames)
    if options.threads:
        torch.set_num_threads(options.threads)
    factory = arguments.tracker_factory(
        options.tracker,
        device=options.device,
        options=dict(options.tracker_option),
        backend="auto",
    )
    for target in (out, options.json):
        if target:
            check_target(target, Path(options.source))
    if out and options.json and out.resolve() == options.json.resolve():
        raise ConfigError(f"--out and --json are both {out}; give two names.")
    first = next(footage.shots)
    starts = _first_boxes(options, footage, first.frame)
    trackers = [factory() for _ in starts]
    for tracker in trackers:
        if isinstance(tracker, RELOTracker) and options.no_recovery:
            tracker.recovery = None
    answers: list[Answer] = []
    with ExitStack() as done:
        video = VideoWriter(out, footage.fps) if out else None
        if options.json:
            about = {
                "source": options.source,
                "tracker": factory.name,
                "fps": footage.fps,
                "frame_size": first.frame.shape[1::-1],
            }
            done.callback(_write_json, options.json, about, answers)
        if video:
            done.callback(lambda: answers and print(f"wrote {out}"))
            done.enter_context(video)
        viewer = done.enter_context(closing(rendering.Viewer("RELO"))) if options.show else None
        for answer, shown in follow(trackers, footage, first, starts):
            if video:
                video.add(shown)
            answers.append(answer)
            if viewer:
                viewer.show(shown)
    return 0


@dataclass(frozen=True)
class Shot:
    """A frame of what is tracked.

    Attributes:
        seconds: [s] its time stamp.
        frame: uint8 RGB ``(H, W, 3)``.
    """

    seconds: float
    frame: np.ndarray


@dataclass(frozen=True)
class Found:
    """What a tracker says of its object in a frame.

    Attributes:
        box: left, top, width, height in pixels.
        score: its confidence; None for the box that was given.
        lost: whether the tracker says that it lost the target.
    """

    box: Box
    score: float | None
    lost: bool = False


@dataclass(frozen=True)
class Answer:
    """What the trackers say of a frame.

    Attributes:
        seconds: [s] its time stamp.
        found: where each object is.
    """

    seconds: float
    found: list[Found]


def check_target(path: Path, source: Path) -> None:
    """A file to write, before anything is done for it; its folder is made if need be.

    Raises:
        ConfigError: it is what is read, a folder, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"Cannot make the folder {path.parent}: {error.strerror}.") from None
    if path.exists() and source.exists() and path.samefile(source):
        raise ConfigError(f"{path} is the source itself; give another name to write to.")
    there = path if path.exists() else path.parent
    if (path.exists() and not path.is_file()) or not os.access(there, os.W_OK):
        raise ConfigError(
            f"Cannot write {path}: {there.resolve()} is read-only, or no file. Give another place "
            "with --out or --json."
        )


def _write_json(path: Path, about: dict[str, Any], answers: list[Answer]) -> None:
    if not answers:
        return
    tracks = [
        {
            "boxes": [found.box for found in track],
            "scores": [found.score for found in track],
            "lost": [found.lost for found in track],
        }
        for track in zip(*(answer.found for answer in answers), strict=True)
    ]
    report = {
        **about,
        "box_format": "left, top, width, height in pixels; the first box was given",
        "seconds": [answer.seconds for answer in answers],
        **(tracks[0] if len(tracks) == 1 else {"tracks": tracks}),
    }
    write_text(path, json.dumps(report) + "\n")
    print(f"wrote {path}")


@dataclass(frozen=True)
class Footage:
    """What is tracked.

    Attributes:
        shots: one after the other.
        fps: frames a second of the written video.
        total: number of frames, None where nobody knows.
        first_box: the object in the first frame, where an annotation tells.
    """

    shots: Iterator[Shot]
    fps: float
    total: int | None
    first_box: Box | None = None


def open_footage(source: str, max_frames: int | None = None) -> Footage:
    """Open a video file, a folder of images or a sequence, or a webcam by its number.

    Raises:
        FrameError: there is no such source, or it holds no frames.
        DataError: the folder's annotation is malformed.
    """
    path = Path(source)
    if path.is_dir():
        frames = find_frames(path)
        truth = path / "groundtruth.txt"
        given = read_boxes(truth)[:1] if truth.is_file() else np.zeros((0, 4))
        first = tuple(given[0].tolist()) if given.any() else None
        return _stored(frames, max_frames, first)
    if not path.exists() and not source.isdecimal():
        raise FrameError(
            f"There is no {source!r} in {Path.cwd()}; give the path of a video or of a folder of "
            "images, or the number of a webcam (0 is the first)."
        )
    if path.exists():
        return _stored(VideoFrames(path), max_frames)
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # the message below says it in one line
    capture = cv2.VideoCapture(int(source))
    logging.setLogLevel(level)
    if not capture.isOpened():
        raise FrameError(
            f"There is no file {source!r} and webcam {source} cannot be opened; give the path of a "
            "video or of a folder of images, or the number of a webcam (0 is the first)."
        )
    return Footage(_live(capture, max_frames), _fps(capture), max_frames)


def _stored(frames: FrameSource, max_frames: int | None, first_box: Any = None) -> Footage:
    total = min(len(frames), max_frames or len(frames))
    if not isinstance(frames, VideoFrames):
        shots = (Shot(i / DEFAULT_FPS, frames.read(i)) for i in range(total))
        return Footage(shots, DEFAULT_FPS, total, first_box)
    fps = _fps(cv2.VideoCapture(str(frames.path)))
    return Footage(_played(frames, total), fps, total, first_box)


def _played(frames: VideoFrames, total: int) -> Iterator[Shot]:
    for index in range(total):
        frame = frames.read(index)
        yield Shot(frames.seconds, frame)


def _live(capture: cv2.VideoCapture, max_frames: int | None) -> Iterator[Shot]:
    count, begin = 0, perf_counter()
    while max_frames is None or count < max_frames:
        ok, image = capture.read()
        if not ok:
            break
        count += 1
        yield Shot(perf_counter() - begin, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    if not count:
        raise FrameError("The webcam opened but gives no frame; is another program using it?")


def _fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 1 <= fps <= 1000 else DEFAULT_FPS


def _first_boxes(options: argparse.Namespace, footage: Footage, frame: np.ndarray) -> list[Box]:
    """The boxes to start with, checked against the frame."""
    starts = options.box or ([footage.first_box] if footage.first_box else [])
    if options.select:
        starts = select(frame)
    if not starts:
        raise ConfigError(
            "Where is the object? Give its box in the first frame with --box LEFT,TOP,WIDTH,HEIGHT "
            "(pixels), or draw it with --select."
        )
    height, width = frame.shape[:2]
    for start in starts:
        if not bx.iou(np.array(start), np.array([0.0, 0.0, width, height])):
            raise ConfigError(
                f"Box {','.join(f'{v:g}' for v in start)} lies outside the first frame of "
                f"{width} x {height} px; expected LEFT,TOP,WIDTH,HEIGHT in pixels of that frame."
            )
    return starts


def select(frame: np.ndarray) -> list[Box]:
    """Let the user draw a box, or several, in a window.

    Raises:
        ConfigError: there is no screen, or nothing was drawn.
    """
    if not rendering.has_screen():
        raise ConfigError(
            "--select needs a screen, and an OpenCV built with windows (opencv-python, not "
            "opencv-python-headless). Give --box LEFT,TOP,WIDTH,HEIGHT instead."
        )
    title = "Draw a box, then press Enter; Esc when all are drawn"
    drawn = cv2.selectROIs(title, frame[..., ::-1])
    cv2.destroyWindow(title)
    boxes = [(float(x), float(y), float(w), float(h)) for x, y, w, h in drawn if w and h]
    if not boxes:
        raise ConfigError("No box was drawn.")
    return boxes


def follow(
    trackers: list[Tracker], footage: Footage, first: Shot, starts: list[Box]
) -> Iterator[tuple[Answer, np.ndarray]]:
    """What the trackers say and a picture of every frame, with a progress bar."""
    for tracker, start in zip(trackers, starts, strict=True):
        tracker.init(first.frame, start)
    given = Answer(first.seconds, [Found(start, None) for start in starts])
    yield given, rendering.draw(first.frame, np.array(starts), caption="frame 0, given")
    with tqdm(total=footage.total, initial=1, unit="frame", desc="tracking") as bar:
        for index, shot in enumerate(footage.shots, start=1):
            found = [_update(tracker, shot.frame, index) for tracker in trackers]
            caption = f"frame {index}, " + "; ".join(map(_words, found))
            if len(trackers) == 1:
                shown = picture(trackers[0], shot.frame, found[0].box, caption)
            else:
                boxes = np.array([each.box for each in found])
                shown = rendering.draw(shot.frame, boxes, caption=caption)
            yield Answer(shot.seconds, found), shown
            bar.update()


def _words(found: Found) -> str:
    score = "-" if found.score is None else f"{found.score:.2f}"
    return f"{score}, lost" if found.lost else score


def _update(tracker: Tracker, frame: np.ndarray, index: int) -> Found:
    box, score = checked_answer(tracker.update(frame))
    x, y, w, h = checked_box(box, f"frame {index}").tolist()
    return Found((x, y, w, h), score, bool(getattr(tracker, "lost", False)))


def picture(
    tracker: Tracker,
    frame: np.ndarray,
    found: Box,
    caption: str,
    truth: np.ndarray | None = None,
) -> np.ndarray:
    """A frame with the box found, the true box if it is known, and what the tracker saw."""
    seen: View | None = getattr(tracker, "view", None)
    if seen is None:
        return rendering.draw(frame, np.array(found), truth, caption=caption)
    (cx, cy), side = seen.window.center, seen.window.side
    window = np.array([cx - side / 2, cy - side / 2, side, side])
    return rendering.draw(frame, np.array(found), truth, window, seen.scores, caption)
