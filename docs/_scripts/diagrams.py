"""The parts of the pictures that matplotlib draws."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from play import Play, Step

from examples.nano.calibration import Judged, calibration_error, reliability
from relo_env import clip_auc

Colour = tuple[float, float, float]


def box(ax: Axes, xywh: np.ndarray, colour: Colour, width: float = 2.0, style: str = "-") -> None:
    """A box in data coordinates."""
    x, y, w, h = xywh
    ax.add_patch(
        Rectangle((x, y), w, h, fill=False, edgecolor=colour, linewidth=width, linestyle=style)
    )


def picture(ax: Axes, image: np.ndarray, title: str) -> None:
    """An image without ticks."""
    ax.imshow(image)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)


def in_crop(step: Step, boxes: np.ndarray) -> np.ndarray:
    """Boxes of the frame, xywh pixels of the search crop."""
    centre_size = step.window.to_crop(boxes) * step.window.size
    corner = centre_size[..., :2] - centre_size[..., 2:] / 2
    return np.concatenate([corner, centre_size[..., 2:]], axis=-1)


def show_all(ax: Axes, step: Step) -> None:
    """Limits that hold the frame and what of the window lies outside."""
    x, y, w, h = step.window.box
    height, width = step.frame.shape[:2]
    ax.set(
        xlim=(min(0, x) - 3, max(width, x + w) + 3), ylim=(max(height, y + h) + 3, min(0, y) - 3)
    )


def template(ax: Axes, clip: Play, true: Colour) -> None:
    """A template crop with the box that is given in it."""
    picture(ax, clip.template, "1  template: the box is given")
    box(ax, clip.template_box * clip.template.shape[0], true)


def frame(ax: Axes, step: Step, window: Colour, chosen: Colour, true: Colour | None = None) -> None:
    """A frame with its search window; with ``true`` also the box chosen in it and the true one."""
    picture(ax, step.frame, f"2  frame {step.info['frame']}: search window")
    box(ax, step.window.box, window)
    if true is None:
        show_all(ax, step)
        return
    if step.info["visible"]:
        box(ax, step.info["target_box"], true)
    box(ax, step.info["box"], chosen)
    ax.set(xlim=(0, step.frame.shape[1]), ylim=(step.frame.shape[0], 0))


def grid_of_positions(ax: Axes, step: Step, chosen: Colour) -> None:
    """The search crop, the grid of positions on it, and the one chosen."""
    rows, columns = step.probabilities.shape
    picture(ax, step.crop, f"3  search crop: {rows} x {columns} positions")
    side = step.crop.shape[0]
    for k in range(1, rows):
        ax.axhline(k * side / rows - 0.5, color="white", linewidth=0.4, alpha=0.6)
        ax.axvline(k * side / columns - 0.5, color="white", linewidth=0.4, alpha=0.6)
    row, column = divmod(step.position, columns)
    cell = side / columns
    box(ax, np.array([column * cell, row * cell, cell, cell]) - [0.5, 0.5, 0, 0], chosen, 2.5)


def policy_map(ax: Axes, step: Step, chosen: Colour) -> None:
    """The policy's probabilities; its action is the cell that is chosen."""
    image = ax.imshow(step.probabilities, cmap="viridis", vmin=0)
    ax.set(xticks=[], yticks=[], title=r"4  policy $\pi(a \mid F_t)$, action $a_t$")
    row, column = divmod(step.position, step.probabilities.shape[1])
    box(ax, np.array([column - 0.5, row - 0.5, 1, 1]), chosen, 2.5)
    ax.figure.colorbar(image, ax=ax, shrink=0.8)


def candidates(ax: Axes, step: Step, chosen: Colour, true: Colour) -> None:
    """Candidate boxes: the likeliest ones thin, the chosen one thick, the true one."""
    picture(ax, step.crop, f"5  candidate boxes: IoU$_t$ = {step.info['iou']:.2f}")
    boxes = in_crop(step, step.candidates)
    for index in np.argsort(step.probabilities.ravel())[-12:]:
        box(ax, boxes[index], (1.0, 1.0, 1.0), 0.7)
    box(ax, in_crop(step, step.info["target_box"]), true)
    box(ax, boxes[step.position], chosen)
    side = step.crop.shape[0]
    ax.set(xlim=(0, side), ylim=(side, 0))


def next_frame(ax: Axes, step: Step, following: Step, window: Colour, chosen: Colour) -> None:
    """The next frame: its window lies around the box that was chosen."""
    picture(
        ax, following.frame, f"6  frame {following.info['frame']}: the window follows the choice"
    )
    box(ax, step.info["box"], chosen, 1.5, "--")
    box(ax, following.window.box, window)
    show_all(ax, following)


def success(figure: Figure, clip: Play, thresholds: np.ndarray, colours: tuple) -> None:
    """Overlaps of a clip, the area under its success curve, and what each step is credited."""
    chosen, window = colours
    ious = np.array([step.info["iou"] for step in clip.steps])
    visible = np.array([step.info["visible"] for step in clip.steps])
    area = clip_auc(ious[visible])
    left, middle, right = figure.subplots(1, 3)
    t = np.arange(1, len(ious) + 1)
    left.bar(t, ious, color=window)
    left.set(xlabel="frame t", ylim=(0, 1), title="IoU$_t$ of the chosen boxes")
    curve = (ious[visible][:, None] > thresholds).mean(0)
    middle.fill_between(thresholds, curve, color=chosen, alpha=0.35)
    middle.plot(thresholds, curve, ".-", color=chosen)
    middle.set(xlabel="overlap threshold", ylim=(0, 1.02), title=f"success rate: AUC {area:.3f}")
    paid = ious + area * (t == t[-1])
    for values, marker, label in (
        (paid, "o", r"reward: IoU$_t$, + AUC at the end"),
        (ious + area, "s", r"credit 'paper': IoU$_t$ + AUC"),
        (paid[::-1].cumsum()[::-1], "^", "sum of rewards from t on"),
    ):
        right.plot(t, values, marker=marker, linewidth=1, markersize=4, label=label)
    right.set(xlabel="frame t", title=r"credit of step t ($\lambda$ = 1)", ylim=(0, 9))
    right.legend(fontsize=7, loc="upper right")


def confidence(figure: Figure, seen: Judged, colours: tuple[Colour, Colour, Colour]) -> None:
    """Reliability of scores, and their distribution."""
    left, right = figure.subplots(1, 2)
    mean, share, count = reliability(seen.score, seen.right)
    left.plot([0, 1], [0, 1], ":", color=colours[2])
    left.plot(mean, share, "o-", color=colours[0])
    error = calibration_error(seen.score, seen.right)
    title = f"{count.sum()} boxes, expected calibration error {error:.3f}"
    left.set(xlabel="score", ylabel="share of right boxes", title=title, xlim=(0, 1), ylim=(0, 1))
    for frames, label, colour in zip(
        (seen.right, seen.visible & ~seen.right, ~seen.visible),
        ("right", "wrong", "target absent"),
        colours,
        strict=True,
    ):
        bins = np.linspace(0, 1, 21)
        weights = np.full(frames.sum(), 1 / max(frames.sum(), 1))
        right.hist(
            seen.score[frames], bins, weights=weights, histtype="step", color=colour, label=label
        )
    right.set(xlabel="score", ylabel="share of such boxes", xlim=(0, 1))
    right.legend(loc="upper center")


def token_arrows(ax: Axes, mode: str, arrow: Colour, ink: str) -> None:
    """Blocks of the encoder over three frames, and the source of each block's previous tokens."""
    blocks, frames = 4, 3
    for f in range(frames):
        for b in range(blocks):
            ax.add_patch(Rectangle((f * 3, b * 1.2), 1.5, 0.7, fill=False, edgecolor=ink))
            ax.text(f * 3 + 0.75, b * 1.2 + 0.35, f"block {b + 1}", ha="center", va="center",
                    fontsize=8)  # fmt: skip
            if b:
                _arrow(ax, (f * 3 + 0.4, b * 1.2 - 0.5), (f * 3 + 0.4, b * 1.2), ink)
        name = "t" if f == 1 else f"t {'-' if f == 0 else '+'} 1"
        ax.text(f * 3 + 0.75, -0.75, f"frame ${name}$\nsearch, templates, tokens", ha="center",
                va="center", fontsize=8)  # fmt: skip
        _arrow(ax, (f * 3 + 0.4, -0.4), (f * 3 + 0.4, 0), ink)
    for f in range(frames - 1):
        if mode.startswith("deep"):
            start = (f * 3 + 1.5, (blocks - 1) * 1.2 + 0.35)
            _arrow(ax, start, (f * 3 + 3, 0.35), arrow, 1.8)
        else:
            for b in range(blocks):
                y = b * 1.2 + 0.35
                _arrow(ax, (f * 3 + 1.5, y - 0.2), (f * 3 + 3, y - 0.2), arrow, 1.8)
    ax.set(xlim=(-0.4, 8), ylim=(-1.2, blocks * 1.2), title=mode)
    ax.axis("off")


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: Colour | str,
    width: float = 0.9,
) -> None:  # fmt: skip
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=9, color=colour, linewidth=width,
            shrinkA=0, shrinkB=0,
        )
    )  # fmt: skip


def best_position(ax: Axes, best: dict[str, np.ndarray], colours: tuple) -> None:
    """Mean IoU of the best position, a bar for each setting, with the share of frames below 0.5."""
    means = [values.mean() for values in best.values()]
    bars = ax.barh(list(best), means, color=[colours[1]] * (len(best) - 1) + [colours[0]])
    ax.bar_label(bars, [f" {mean:.2f}" for mean in means])
    ax.set(xlim=(0, 1), xlabel="IoU of the best position, mean over the frames of 20 clips")
    ax.invert_yaxis()
