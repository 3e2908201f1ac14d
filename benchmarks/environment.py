"""Speed of environments, beside that of decoding alone and of other ways to make them.

    python benchmarks/environment.py                        # everything; about 20 minutes
    python benchmarks/environment.py --sizes 1280x720 --rows 8 --variants limit ours async

The videos are rendered, written as JPEG files in LaSOT's layout and read from the page cache. Each
variant lives in a process of its own; all take turns, a few episodes at a time, so that a busy
machine slows all of them alike. Reported are medians over the rounds: frames (templates and search
frames of the episodes played) per second of the clock, that over the limit's and over the naive
loop's of the same round, the processor time used over what the cores have, and the milliseconds of
processor that a frame took; and the peak of the resident memory, summed over a variant's processes.

limit             every thread only decodes, with this project's reader
imread            every thread only decodes, with cv2.imread
ours              TrackingVectorEnv
ours-jittered     with search_window="jittered": crops are cut by the decoding threads
ours-official     with the official crops: the pixels of naive, which is checked first
ours-augmented    with augmentation
sync, async       Gymnasium's vector environments of TrackingEnv
dummy, subproc    Stable-Baselines3's
naive             a loop as in tracker code bases: read the frame, pad it, crop, resize
naive-augmented   with grey, mirror and brightness on the whole frame
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from videos import CORES, describe, row, table, write_lasot

import relo_env
from relo_env import boxes as bx
from relo_env.clips import Augmentation, Clip, ClipSampler
from relo_env.config import ClipConfig, CropConfig
from relo_env.datasets.frames import read_image
from relo_env.datasets.lasot import LaSOT

CROP = CropConfig()
CLIP_LENGTH = ClipConfig().clip_length
FRAMES = CROP.num_templates + CLIP_LENGTH
CENTER = CROP.num_positions // 2 + CROP.grid[1] // 2
"""The position whose candidate stays where the target was seen last."""

Play = tuple[Callable[[int], None], Callable[[], None]]
"""Plays so many episodes on every row; and ends."""


def play_limit(data: LaSOT, rows: int, read: Callable[[str], np.ndarray]) -> Play:
    paths = [path for sequence in data for path in sequence.frames.paths]
    rng = np.random.default_rng(0)
    pool = ThreadPoolExecutor(CORES)

    def play(episodes: int) -> None:
        chosen = rng.integers(len(paths), size=episodes * rows * FRAMES)
        for _ in pool.map(lambda i: read(str(paths[i])).shape, chosen):
            pass

    return play, pool.shutdown


def play_ours(data: LaSOT, rows: int, **options: Any) -> Play:
    options = {"augment": False, **options}
    venv = relo_env.TrackingVectorEnv(
        rows, data, num_threads=CORES, autoreset_mode=AutoresetMode.SAME_STEP, **options
    )
    play, close = play_vector(venv)

    def play_and_catch_up(episodes: int) -> None:
        play(episodes)
        venv.engine.clips.wait_for_next()  # what was begun is not left for others to pay

    return play_and_catch_up, close


def play_vector(venv: gym.vector.VectorEnv) -> Play:
    venv.reset(seed=0)
    actions = np.full(venv.num_envs, CENTER)

    def play(episodes: int) -> None:
        for _ in range(episodes * CLIP_LENGTH):
            venv.step(actions)

    return play, venv.close


def play_gymnasium(data: LaSOT, rows: int, kind: type) -> Play:
    make = [lambda: relo_env.TrackingEnv(data, augment=False)] * rows
    return play_vector(kind(make, autoreset_mode=AutoresetMode.SAME_STEP))


def play_stable_baselines(data: LaSOT, rows: int, kind: str) -> Play:
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    make = [lambda: relo_env.TrackingEnv(data, augment=False)] * rows
    venv = DummyVecEnv(make) if kind == "dummy" else SubprocVecEnv(make, start_method="fork")
    venv.seed(0)
    venv.reset()
    actions = np.full(rows, CENTER)

    def play(episodes: int) -> None:
        for _ in range(episodes * CLIP_LENGTH):
            venv.step(actions)

    return play, venv.close


def play_naive(data: LaSOT, rows: int, augment: bool) -> Play:
    sampler = ClipSampler(data, ClipConfig(), CROP.num_templates, augment)
    rng = np.random.default_rng(0)

    def play(episodes: int) -> None:
        for _ in range(episodes):
            clips = [naive_episode(sampler.sample(rng)) for _ in range(rows)]
            for _ in range(FRAMES):
                np.stack([next(crops) for crops in clips])

    return play, lambda: None


def naive_episode(clip: Clip) -> Iterator[np.ndarray]:
    """Crops ``(3, S, S)`` of an episode in which the box stays on the window's centre cell."""
    box = np.zeros(4)
    for index in clip.template_frames:
        image, box = naive_frame(clip, index)
        yield naive_crop(image, box, CROP.template_factor, CROP.template_size)
    shift = 0.5 / CROP.grid[0]  # of a cell's centre from the window's
    for index in clip.search_frames:
        image, _ = naive_frame(clip, index)
        yield naive_crop(image, box, CROP.search_factor, CROP.search_size)
        side = np.ceil(np.sqrt(box[2] * box[3]) * CROP.search_factor)
        # The official geometry divides by S - 1 on the way in and multiplies by S on the way out.
        size = box[2:] * CROP.search_size / (CROP.search_size - 1)
        center = box[:2] + box[2:] / 2 + shift * side
        box = bx.clip(np.concatenate([center - size / 2, size]), image.shape[1::-1])


def naive_frame(clip: Clip, index: int) -> tuple[np.ndarray, np.ndarray]:
    image = cv2.cvtColor(cv2.imread(str(clip.sequence.frames.paths[index])), cv2.COLOR_BGR2RGB)
    box = clip.sequence.boxes[index]
    if clip.augmentation != Augmentation():
        box = clip.augmentation.boxes(box, image.shape[1])
        image = clip.augmentation.colour(image)
        if clip.augmentation.mirror:
            image = np.ascontiguousarray(image[:, ::-1])
    return image, box


def naive_crop(image: np.ndarray, box: np.ndarray, factor: float, size: int) -> np.ndarray:
    side = int(np.ceil(np.sqrt(box[2] * box[3]) * factor))
    left, top = (round(float(c)) for c in box[:2] + box[2:] / 2 - side * 0.5)
    right, bottom = left + side, top + side
    pad = max(0, -left), max(0, -top), max(0, right - image.shape[1] + 1)
    pad_bottom = max(0, bottom - image.shape[0] + 1)
    inside = image[top + pad[1] : bottom - pad_bottom, left + pad[0] : right - pad[2]]
    padded = cv2.copyMakeBorder(inside, pad[1], pad_bottom, pad[0], pad[2], cv2.BORDER_CONSTANT)
    return cv2.resize(padded, (size, size)).transpose(2, 0, 1)


VARIANTS: dict[str, Callable[[LaSOT, int], Play]] = {
    "limit": lambda data, rows: play_limit(data, rows, read_image),
    "imread": lambda data, rows: play_limit(data, rows, cv2.imread),
    "ours": play_ours,
    "ours-jittered": lambda data, rows: play_ours(data, rows, search_window="jittered"),
    "ours-official": lambda data, rows: play_ours(data, rows, official=True),
    "ours-augmented": lambda data, rows: play_ours(data, rows, augment=True),
    "sync": lambda data, rows: play_gymnasium(data, rows, SyncVectorEnv),
    "async": lambda data, rows: play_gymnasium(data, rows, AsyncVectorEnv),
    "dummy": lambda data, rows: play_stable_baselines(data, rows, "dummy"),
    "subproc": lambda data, rows: play_stable_baselines(data, rows, "subproc"),
    "naive": lambda data, rows: play_naive(data, rows, augment=False),
    "naive-augmented": lambda data, rows: play_naive(data, rows, augment=True),
}


def check_naive(data: LaSOT) -> None:
    """Check that the naive loop sees the pixels of the environment with official crops."""
    env = relo_env.TrackingEnv(data, official=True, augment=False)
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        crops = list(naive_episode(env.engine.episodes[0].clip))
        assert (np.concatenate(crops[: CROP.num_templates]) == observation["template"]).all()
        for crop in crops[CROP.num_templates :]:
            assert (crop == observation["search"]).all()
            observation, *_ = env.step(CENTER)


@dataclass(frozen=True)
class Turn:
    """Frames of a turn of a variant, its seconds of the clock and of the processor."""

    frames: int
    seconds: float
    busy: float

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds


class Variant:
    """A variant in a process of its own."""

    def __init__(self, name: str, root: Path, rows: int) -> None:
        self.name, self.rows = name, rows
        self.turns: list[Turn] = []
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=serve, args=(theirs, name, root, rows))
        self._process.start()
        self._pipe.recv()  # it is ready

    def play(self, episodes: int) -> None:
        self._pipe.send(episodes)
        self.turns.append(Turn(episodes * self.rows * FRAMES, *self._pipe.recv()))

    def close(self) -> float:
        """End the process; returns its peak memory [MiB]."""
        self._pipe.send(0)
        peak = self._pipe.recv()
        self._process.join()
        return peak


def serve(pipe: Connection, name: str, root: Path, rows: int) -> None:
    """The process of a variant: plays as many episodes as it is told, until that is none."""
    cv2.setNumThreads(1)
    play, close = VARIANTS[name](LaSOT(root), rows)
    play(1)
    pipe.send("ready")
    while episodes := pipe.recv():
        busy, start = processor_seconds(), time.perf_counter()
        play(episodes)
        pipe.send((time.perf_counter() - start, processor_seconds() - busy))
    pipe.send(sum(peak_memory(pid) for pid in processes()))
    close()


def processes() -> list[int]:
    return [os.getpid(), *(child.pid or 0 for child in multiprocessing.active_children())]


def processor_seconds() -> float:
    others = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1] for pid in processes()[1:]]
    ticks = sum(int(tick) for text in others for tick in text.split()[11:13])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> float:
    """Peak resident memory of a process [MiB]."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def compare(root: Path, rows: int, names: list[str], rounds: int) -> None:
    """Let the variants take turns, and print what came of it."""
    variants = [Variant(name, root, rows) for name in names]
    for _ in range(rounds):
        for variant in variants:
            variant.play(max(1, 32 // rows))
    for variant in variants:
        turns = variant.turns
        share = statistics.median(t.busy / t.seconds for t in turns) / CORES
        cost = statistics.median(t.busy / t.frames for t in turns)
        print(
            row(
                rows,
                variant.name,
                f"{statistics.median(t.rate for t in turns):.0f}",
                against(turns, variants, "limit"),
                against(turns, variants, "naive"),
                f"{share:.0%}",
                f"{1e3 * cost:.2f}",
                f"{variant.close():.0f}",
            ),
            flush=True,
        )


def against(turns: list[Turn], variants: list[Variant], name: str) -> str:
    """Median ratio of the rates to those of another variant in the same rounds."""
    for variant in variants:
        if variant.name == name:
            pairs = zip(turns, variant.turns, strict=True)
            return f"{statistics.median(a.rate / b.rate for a, b in pairs):.2f}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["1280x720", "640x360"], help="of frames")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 32, 64], help="rows N")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each variant [7]")
    parser.add_argument("--videos", type=int, default=12, help="videos [12]")
    parser.add_argument("--length", type=int, default=1000, help="frames a video [1000]")
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            width, height = map(int, size.split("x"))
            data = write_lasot(Path(folder), (width, height), arguments.videos, arguments.length)
            check_naive(data)
            print(f"\n{size}: {describe(data)}\n")
            heads = ("of limit", "of naive", "CPU", "CPU ms a frame", "peak MiB")
            print(table("rows", "variant", "frames/s", *heads))
            for rows in arguments.rows:
                compare(data.root, rows, arguments.variants, arguments.rounds)


if __name__ == "__main__":
    main()
