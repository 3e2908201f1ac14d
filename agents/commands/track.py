"""Follow an object, or several, in a video, a folder of images, a stream or a webcam.

Give the object by its box in the first frame: left, top, width and height in pixels. A folder with
groundtruth.txt has its first box there. The command writes a video with the box, the search window
and the score map, and the boxes as JSON. A lost target is announced. Each of several objects has
its own tracker; then only boxes are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from agents.commands import arguments
from agents.track_state import View
from agents.tracker import RELOTracker
from relo_env import boxes as bx
from relo_env import rendering
from relo_env.benchmark.interface import Tracker, checked_answer, checked_box
from relo_env.datasets.annotations import read_boxes
from relo_env.datasets.frames import find_frames
from relo_env.errors import ConfigError, FrameError
from relo_env.files import write_text
from relo_env.streams import Stream, TimedFrame, open_stream, stream_frames
from relo_env.video import VideoFrames, VideoWriter

EXAMPLES = """\
examples:
  relo track bird.mp4 --box 210,80,42,64 --out tracked.mp4 --json boxes.json
  relo track bird.mp4 --select                      draw the box in a window
  relo track race.mp4 --box 210,80,42,64 --box 300,90,40,60 --out race.webm
  relo track sequences/car-1 --tracker run/policy.safetensors
  relo track 0 --select --show                      the first webcam, until q or Ctrl-C
  relo track rtsp://camera/stream --box 210,80,42,64 --max-frames 1000 --json boxes.json"""


Box = tuple[float, float, float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo track``."""
    parser.add_argument(
        "source",
        help="video file, folder of images, img/%%08d.jpg, http://..., rtsp://..., - (standard "
        "input), or a webcam's number",
    )
    first = parser.add_mutually_exclusive_group()
    first.add_argument(
        "--box",
        type=box,
        metavar="X,Y,W,H",
        action="append",
        help="the object in the first frame; repeat it for several objects; write --box=-5,9,20,30 "
        "if the first number is negative",
    )
    first.add_argument("--select", action="store_true", help="draw the first boxes in a window")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".mp4 (H.264) or .webm (VP8) (default: tracked.mp4, unless --json is given)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for boxes and scores, frame by frame"
    )
    parser.add_argument(
        "--max-frames", type=arguments.positive, metavar="N", help="stop after N frames"
    )
    parser.add_argument(
        "--show", action="store_true", help="show the frames in a window; q, Esc or closing it ends"
    )
    parser.add_argument(
        "--threads",
        type=arguments.positive,
        metavar="N",
        help="threads of the network (default: every core); 1 may be faster on a busy machine",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="print the backend of the network and the reason"
    )
    arguments.add_tracker(parser)
    parser.add_argument(
        "--recovery",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="search for a lost target in a growing window, as --tracker-option recovery=true",
    )
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
    """Track and write; finished frames are kept in any case."""
    out = options.out or (None if options.json else Path("tracked.mp4"))
    stream, annotated = open_source(options.source)
    if options.threads:
        torch.set_num_threads(min(options.threads, os.cpu_count() or 1))
    rules = {"recovery": True} if options.recovery else {}
    factory = arguments.tracker_factory(
        options.tracker,
        device=options.device,
        options=rules | dict(options.tracker_option),
        backend="auto",
    )
    check_targets([path for path in (out, options.json) if path], stream.files)
    writer = VideoWriter(out, stream.fps) if out else None
    first = next(stream.frames, None)
    if first is None:
        raise FrameError(f"{options.source} has no frame that can be decoded.")
    starts = _first_boxes(options, annotated, first.image)
    trackers = [factory() for _ in starts]
    if options.verbose:
        print(_describe(factory.name, trackers[0]))
    about = {
        "source": options.source,
        "tracker": factory.name,
        "fps": stream.fps,
        "frame_size": first.image.shape[1::-1],
    }
    frames = follow(trackers, stream, first, starts, options.max_frames)
    _write(frames, trackers, writer, options, about)
    return 0


def _write(
    frames: Iterator[tuple[TimedFrame, list[Found]]],
    trackers: list[Tracker],
    writer: VideoWriter | None,
    options: argparse.Namespace,
    about: dict[str, Any],
) -> None:
    """Write and show the frames as they are tracked."""
    seconds: list[float] = []
    answers: list[list[Found]] = []
    with ExitStack() as done:
        if options.json:
            done.callback(_write_json, options.json, about, seconds, answers)
        if writer:
            done.callback(_finish, writer)
        viewer = done.enter_context(closing(rendering.Viewer())) if options.show else None
        for index, (frame, found) in enumerate(frames):
            if writer or viewer:
                shown = _draw(trackers, frame.image, found, index)
            if writer:
                writer.add(shown, frame.seconds)
            seconds.append(frame.seconds)
            answers.append(found)
            if viewer and not viewer.show(shown):
                raise KeyboardInterrupt  # a window that is closed ends it as Ctrl-C does


def _describe(name: str, tracker: Tracker) -> str:
    if not isinstance(tracker, RELOTracker):
        return f"tracker {name}: no network of RELO, no backend"
    threads = torch.get_num_threads()
    return f"tracker {name}: backend {tracker.backend.choice}, {threads} CPU threads"


def _finish(writer: VideoWriter) -> None:
    writer.close()
    if writer.path.exists() and writer.count:
        print(f"wrote {writer.path}")


@dataclass(frozen=True)
class Found:
    """Answer of a tracker for a frame.

    Attributes:
        box: left, top, width, height in pixels.
        score: its confidence; None for the box that was given.
        lost: True if the tracker says that it lost the target.
    """

    box: Box
    score: float | None
    lost: bool = False


def check_targets(paths: list[Path], sources: Collection[Path]) -> None:
    """Check files to write before anything is done for them; their folders are made if need be.

    Raises:
        ConfigError: one is a source, another one of them, a folder, or cannot be written.
    """
    read = set(map(os.path.realpath, sources))
    for path in paths:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"Cannot make the folder {path.parent}: {error.strerror}.") from None
        if os.path.realpath(path) in read:
            raise ConfigError(
                f"{path} is a file of the source itself; give another name to write to."
            )
        there = path if path.exists() else path.parent
        if (path.exists() and not path.is_file()) or not os.access(there, os.W_OK):
            raise ConfigError(
                f"Cannot write {path}: {there.resolve()} is read-only, or no file. Give another "
                "place with --out or --json."
            )
    if len(set(map(os.path.realpath, paths))) < len(paths):
        raise ConfigError(f"--out and --json are both {paths[0]}; give two names.")


def _write_json(
    path: Path, about: dict[str, Any], seconds: list[float], answers: list[list[Found]]
) -> None:
    if not answers:
        return
    tracks = [
        {
            "boxes": [found.box for found in track],
            "scores": [found.score for found in track],
            "lost": [found.lost for found in track],
        }
        for track in zip(*answers, strict=True)
    ]
    report = {
        **about,
        "box_format": "left, top, width, height in pixels; the first box was given",
        "seconds": seconds,
        **(tracks[0] if len(tracks) == 1 else {"tracks": tracks}),
    }
    write_text(path, json.dumps(report) + "\n")
    print(f"wrote {path}")


def open_source(source: str) -> tuple[Stream, Box | None]:
    """Open a source of frames; a folder with an annotation also gives the first box.

    Raises:
        FrameError: there is no such source, or it cannot be read.
        DataError: the folder has no frames, or its annotation is malformed.
    """
    path = Path(source)
    if not path.is_dir():
        return open_stream(source), None
    frames = find_frames(path)
    truth = path / "groundtruth.txt"
    given = read_boxes(truth)[:1] if truth.is_file() else np.zeros((0, 4))
    x, y, w, h = given[0].tolist() if given.any() else (0.0,) * 4
    if isinstance(frames, VideoFrames):
        stream = open_stream(str(frames.path))
    else:
        stream = stream_frames(frames)
    stream = replace(stream, files=(*stream.files, truth))
    return stream, (x, y, w, h) if w else None


def _first_boxes(
    options: argparse.Namespace, annotated: Box | None, frame: np.ndarray
) -> list[Box]:
    """The boxes to start with, checked against the frame."""
    starts = options.box or ([annotated] if annotated else [])
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
    picture = rendering.fit_to_screen(frame)
    scale = frame.shape[1] / picture.shape[1]
    drawn = scale * np.array(cv2.selectROIs(title, picture[..., ::-1]), np.float64).reshape(-1, 4)
    cv2.destroyWindow(title)
    boxes = [(x, y, w, h) for x, y, w, h in drawn.tolist() if w and h]
    if not boxes:
        raise ConfigError("No box was drawn.")
    return boxes


def follow(
    trackers: list[Tracker],
    stream: Stream,
    first: TimedFrame,
    starts: list[Box],
    max_frames: int | None = None,
) -> Iterator[tuple[TimedFrame, list[Found]]]:
    """Track in every frame of a stream, with a progress bar.

    Each tracker begins with one of the boxes ``starts`` in the frame ``first``; ``stream`` has the
    frames after it.
    """
    for tracker, start in zip(trackers, starts, strict=True):
        tracker.init(first.image, start)
    yield first, [Found(start, None) for start in starts]
    total = min(filter(None, (stream.total, max_frames)), default=None)
    rest = None if max_frames is None else max_frames - 1
    with tqdm(total=total, initial=1, unit="frame", desc="tracking") as bar:
        for index, frame in enumerate(islice(stream.frames, rest), start=1):
            yield frame, [_update(tracker, frame.image, index) for tracker in trackers]
            bar.update()


def _draw(
    trackers: list[Tracker], image: np.ndarray, answers: list[Found], index: int
) -> np.ndarray:
    caption = f"frame {index}, " + ("; ".join(map(_words, answers)) if index else "given")
    if index and len(trackers) == 1:
        return picture(trackers[0], image, answers[0].box, caption)
    return rendering.draw(image, np.array([found.box for found in answers]), caption=caption)


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
    return rendering.draw(frame, np.array(found), truth, seen.window.box, seen.scores, caption)
