"""All pictures of README and docs, from real runs: ``python docs/_scripts/make_pictures.py``.

``--network`` takes another network than the one that ships, ``--only`` makes some of the pictures,
``--out`` puts them elsewhere.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import diagrams
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from play import Play, greedy, play, shifted

from agents.cli import main as relo
from agents.network import RELONetwork
from examples.nano.calibration import absences, judge
from examples.nano.recipe import held_back_videos
from relo_env.rendering import CHOSEN_COLOUR, TRUE_COLOUR, WINDOW_COLOUR
from relo_env.rewards import THRESHOLDS

STATIC = Path(__file__).parent.parent / "_static"
CHOSEN, TRUE, WINDOW = (
    tuple(value / 255 for value in c) for c in (CHOSEN_COLOUR, TRUE_COLOUR, WINDOW_COLOUR)
)
INK = {"light": "#1b1f24", "dark": "#e6e6e6"}
GROUND = {"light": "#ffffff", "dark": "#131416"}


def main(words: list[str] | None = None) -> None:
    """Make the pictures that are asked for."""
    pictures = {f.__name__: f for f in (tracking, mdp, loops, auc, tokens, grid, confidence)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="nano", help="preset that ships, or a checkpoint")
    parser.add_argument("--only", nargs="+", choices=pictures, default=pictures)
    parser.add_argument("--out", type=Path, default=STATIC, help="folder of the pictures")
    arguments = parser.parse_args(words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        begin = time.perf_counter()
        pictures[name](arguments.network, arguments.out)
        print(f"made {name} in {time.perf_counter() - begin:.0f} s")


def tracking(network: str, out: Path) -> None:
    """`relo track` on the real clip that ships, as a moving picture."""
    clip = resources.files("agents") / "assets" / "cockatoo"
    with tempfile.TemporaryDirectory() as folder:
        video = f"{folder}/tracked.mp4"
        relo(["track", str(clip), "--tracker", network, "--device", "cpu", "--out", video])
        reader = cv2.VideoCapture(video)
        frames = []
        while (read := reader.read())[0]:
            frames.append(Image.fromarray(cv2.resize(read[1][..., ::-1], (480, 270))))
    frames[0].save(
        out / "tracking.webp",
        save_all=True,
        append_images=frames[2::2],
        duration=100,
        loop=0,
        quality=50,
        method=6,
    )


def mdp(network: str, out: Path) -> None:
    """One step of the MDP: frame, window, crop, grid, candidates, policy, reward."""
    net = RELONetwork.from_pretrained(network)
    clip = _followed(net)
    step = clip.steps[2]
    for figure, theme in themed(10, 6.4):
        axes = figure.subplots(2, 3).ravel()
        diagrams.template(axes[0], clip, TRUE)
        diagrams.frame(axes[1], step, WINDOW, CHOSEN)
        diagrams.grid_of_positions(axes[2], step, CHOSEN)
        diagrams.policy_map(axes[3], step, CHOSEN)
        diagrams.candidates(axes[4], step, CHOSEN, TRUE)
        diagrams.next_frame(axes[5], step, clip.steps[3], WINDOW, CHOSEN)
        save(figure, out / f"mdp-{theme}.png")


def _followed(net: RELONetwork) -> Play:
    """First of ten clips that the policy follows from the start."""
    for seed in range(2, 12):
        clip = play(greedy(net), seed=seed, network=net)
        if all(step.info["iou"] > 0.5 for step in clip.steps[:4]):
            break
    return clip


def loops(network: str, out: Path) -> None:
    """The same actions in both loops: a cell right of the middle, at every frame."""
    closed, opened = (play(shifted(1), seed=2, search_window=w) for w in ("tracked", "jittered"))
    for figure, theme in themed(10, 3.6):
        axes = figure.subplots(2, 5, gridspec_kw={"wspace": 0.02})
        for row, clip in zip(axes, (closed, opened), strict=True):
            for ax, step in zip(row, clip.steps[:5], strict=True):
                diagrams.frame(ax, step, WINDOW, CHOSEN, TRUE)
                ax.set_title(f"IoU {step.info['iou']:.2f}", fontsize=10)
        axes[0, 0].set_ylabel("closed loop\n(tracked)")
        axes[1, 0].set_ylabel("open loop\n(jittered)")
        save(figure, out / f"loops-{theme}.png")


def auc(network: str, out: Path) -> None:
    """A clip's overlaps, its success curve, and the credit of each step."""
    net = RELONetwork.from_pretrained(network)
    clip = play(greedy(net, sample=np.random.default_rng(1)), seed=2, network=net)
    for figure, theme in themed(10, 3.2):
        diagrams.success(figure, clip, THRESHOLDS, (CHOSEN, WINDOW))
        save(figure, out / f"auc-{theme}.png")


def tokens(network: str, out: Path) -> None:
    """Sources of temporal tokens: arrows between layers and frames."""
    for figure, theme in themed(10, 3.8):
        left, right = figure.subplots(1, 2)
        diagrams.token_arrows(left, "layer_aligned (default)", WINDOW, INK[theme])
        diagrams.token_arrows(right, "deep_to_shallow", WINDOW, INK[theme])
        save(figure, out / f"tokens-{theme}.png")


def grid(network: str, out: Path) -> None:
    """IoU of the best position for three grids and for the network's boxes."""
    best = {
        f"{side} x {side} cells,\ntrue size at their centres": _best(
            proposer="target-size", stride=256 // side
        )
        for side in (8, 16, 32)
    }
    net = RELONetwork.from_pretrained(network)
    cells = "{} x {} cells,\nboxes of the network".format(*net.crop.grid)
    best[cells] = _best(network=net)
    for label, ious in best.items():
        print(f"{label!r}: best position's IoU {ious.mean():.3f} over {len(ious)} frames")
    for figure, theme in themed(7, 3):
        diagrams.best_position(figure.subplots(), best, (CHOSEN, WINDOW))
        save(figure, out / f"grid-{theme}.png")


def confidence(network: str, out: Path) -> None:
    """Reliability of the tracker's score on held-back synthetic videos."""
    net = RELONetwork.from_pretrained(network)
    seen = judge(net, held_back_videos("test"))
    print(absences(seen))
    for figure, theme in themed(10, 3.4):
        diagrams.confidence(figure, seen, (WINDOW, CHOSEN, INK[theme]))
        save(figure, out / f"confidence-{theme}.png")


def _best(**options: object) -> np.ndarray:
    """IoU of the best position in each visible frame of 20 clips, windows around the truth."""
    ious = []
    for seed in range(20):
        clip = play(shifted(0), seed=seed, search_window="jittered", **options)
        ious += [s.info["candidate_ious"].max() for s in clip.steps if s.info["visible"]]
    return np.array(ious)


@contextmanager
def _style(theme: str) -> Iterator[None]:
    ink, ground = INK[theme], GROUND[theme]
    settings = dict.fromkeys(
        ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), ink
    )
    settings |= {"figure.facecolor": ground, "axes.facecolor": ground, "savefig.facecolor": ground}
    settings |= {"font.size": 10, "axes.titlesize": 10, "axes.spines.top": False}
    settings |= {"axes.spines.right": False, "legend.frameon": False}
    with plt.rc_context(settings):
        yield


def themed(width: float, height: float) -> Iterator[tuple[Figure, str]]:
    """A figure [inch] for each of the site's themes."""
    for theme in INK:
        with _style(theme):
            figure = plt.figure(figsize=(width, height), layout="constrained")
            yield figure, theme
            plt.close(figure)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours."""
    figure.canvas.draw()
    figure.savefig(path, dpi=130)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main()
