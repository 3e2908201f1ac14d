"""First stages of the shipped ``nano`` weights, from images to checkpoint, and fit of the score.

Training data are synthetic videos composited of given cut-outs and photographs, and real annotated
videos in LaSOT's layout; `examples.nano.dinov2_from_onnx` makes the backbone's file::

    DATA="--cutouts objects people --photos photos --videos sequences"
    RUN="python -m examples.nano.recipe"
    JOINT="$RUN joint $DATA"
    LONGER="$JOINT --keep-policy --steps 2600"
    $RUN warmup $DATA --out runs/warmup --backbone vits14.safetensors
    $JOINT --out runs/joint-0 --network runs/warmup/warmup.safetensors --seed 10
    $JOINT --out runs/joint-1 --network runs/warmup/warmup.safetensors --seed 11
    $RUN average runs/joint-?/warmup.safetensors runs/joint.safetensors
    $LONGER --out runs/longer-0 --network runs/joint-0/warmup.safetensors --seed 20
    $LONGER --out runs/longer-1 --network runs/joint-1/warmup.safetensors --seed 21
    $LONGER --out runs/longer-2 --network runs/joint.safetensors --seed 22
    $RUN average runs/longer-?/warmup.safetensors runs/longer.safetensors
    $RUN policy $DATA --out runs/policy --network runs/longer.safetensors --steps 6144
    $RUN ship runs/policy/network.safetensors nano.safetensors \\
        --cutouts objects people --photos photos
    $RUN confidence nano.safetensors --cutouts objects people --photos photos

The same command with ``--resume`` continues an interrupted training. docs/training-log.md has all
trials and their figures; examples/nano/train.py is the last stage.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file

from agents.confidence import Recovery
from agents.network import RELONetwork
from agents.network.checkpoints import read_header
from agents.network.vit import ViTEncoder
from agents.policy_config import PolicyConfig
from agents.training import train_policy
from agents.warmup import WarmupConfig, warmup
from examples.nano.calibration import absences, calibrate, calibration_error, judge, reliability
from examples.nano.regions import Regions
from examples.nano.sizeable import Sizeable
from relo_env.datasets.base import Dataset
from relo_env.datasets.base import Sequence as Video
from relo_env.datasets.folder import Folder
from relo_env.datasets.mixture import Mixture
from relo_env.datasets.synthetic import LEVELS, Synthetic

FROZEN = (
    "encoder.vit.cls_token",
    "encoder.vit.pos_embed",
    "encoder.vit.patch_embed.",
    "encoder.vit.blocks.0.",
    "encoder.vit.blocks.1.",
)
"""Parts of the backbone that stay as they came: those that read each crop apart."""

WARMUP = WarmupConfig(
    steps=3_600,
    clips=6,
    clip_length=3,
    max_interval=100,
    jitter=0.7,
    encoder_learning_rate=1e-4,
    frozen=FROZEN,
    supervision="neighbours",
    amp=True,
)
"""Stage 1, on objects."""

JOINT = replace(WARMUP, steps=1_800, policy_weight=1.0)
"""On all there is; the policy's expected gradient in the open loop shapes the encoder too."""

POLICY = PolicyConfig(
    algorithm="expected-gradient",
    steps=8_192,
    num_envs=16,
    clip_length=8,
    search_window="tracked",
    learning_rate=1e-3,
    fresh_heads=False,
)
"""Stage 2, in the closed loop, on frozen features."""

SHARPNESS = 3.0
"""Factor on the prior's logits where the policy starts from them."""

LEAST_REAL_TARGET = 8.0
"""[px] real targets below this teach only blur."""


def training_data(
    cutouts: Sequence[Path], photos: Path, videos: Path, *, objects_only: bool = False
) -> Dataset:
    """Synthetic videos of two levels and two target sizes, regions of photographs, real videos.

    Most synthetic targets are at most a third of the frame, so that a search window holds more than
    black border; some are larger, as in real video. With ``objects_only`` there are neither large
    targets nor regions.
    """

    def synthetic(level: str, largest: float) -> Dataset:
        low, _ = LEVELS[level].size
        difficulty = replace(LEVELS[level], size=(low, largest))
        return Synthetic("train", difficulty=difficulty, cutouts=cutouts, photos=photos)

    parts = {
        "medium": synthetic("medium", 0.35),
        "hard": synthetic("hard", 0.35),
        "real": Sizeable(Folder(videos), least=LEAST_REAL_TARGET),
    }
    weights = {"medium": 0.65, "hard": 0.22, "real": 0.13}
    if not objects_only:
        pictured = [folder / "img" for folder in cutouts if (folder / "img").is_dir()]
        parts["large"] = synthetic("medium", 0.7)
        parts["regions"] = Regions([photos, *pictured])
        weights = {"medium": 0.32, "hard": 0.16, "large": 0.10, "regions": 0.32, "real": 0.10}
    # What is drawn depends on the order of the parts: that of the weights.
    return Mixture({name: parts[name] for name in weights}, weights=list(weights.values()))


def run_warmup(options: argparse.Namespace) -> Path:
    """Stage 1 from the pretrained backbone."""
    torch.manual_seed(options.seed)
    network = RELONetwork.from_preset("nano")
    assert isinstance(network.encoder, ViTEncoder)
    network.encoder.load_pretrained(load_file(options.start))
    return _warm_up(WARMUP, network, options, objects_only=True)


def run_joint(options: argparse.Namespace) -> Path:
    """Box regression and policy together, from a warmed-up checkpoint."""
    network = RELONetwork.from_checkpoint(options.start)
    if not options.keep_policy:
        start_from_prior(network)
    return _warm_up(JOINT, network, options, objects_only=False)


def _warm_up(
    config: WarmupConfig, network: RELONetwork, options: argparse.Namespace, *, objects_only: bool
) -> Path:
    return warmup(
        replace(config, steps=options.steps or config.steps, seed=options.seed),
        network=network,
        dataset=_data(options, objects_only=objects_only),
        out=options.out,
        resume=options.resume,
    )


def _data(options: argparse.Namespace, *, objects_only: bool) -> Dataset:
    folders = options.cutouts, options.photos, options.videos
    return training_data(*folders, objects_only=objects_only)


def start_from_prior(network: RELONetwork) -> None:
    """Make the policy the prior's softmax, sharpened so that its samples follow the target."""
    policy = network.heads.policy
    policy.load_state_dict(network.heads.prior.state_dict())
    with torch.no_grad():
        for parameter in policy.out.parameters():
            parameter.mul_(SHARPNESS)


def run_average(options: argparse.Namespace) -> Path:
    """The mean of networks that come from one start: one that errs less than any of them.

    Wortsman et al. 2022, "Model soups".
    """
    header = read_header(options.checkpoints[0])
    networks = [RELONetwork.from_checkpoint(path) for path in options.checkpoints]
    weights = [network.state_dict() for network in networks]
    for name, value in weights[0].items():
        value.copy_(torch.stack([each[name] for each in weights]).float().mean(0))
    return networks[0].save_checkpoint(options.out, stage=header["stage"])


def run_policy(options: argparse.Namespace) -> Path:
    """Stage 2 from a checkpoint whose policy knows the open loop."""
    return train_policy(
        replace(POLICY, steps=options.steps or POLICY.steps, seed=options.seed),
        network=RELONetwork.from_checkpoint(options.start),
        dataset=_data(options, objects_only=False),
        out=options.out,
        resume=options.resume,
    )


def run_ship(options: argparse.Namespace) -> Path:
    """A checkpoint as it is shipped: its confidence measured, in half precision."""
    header = read_header(options.checkpoint)
    network = RELONetwork.from_checkpoint(options.checkpoint)
    calibrate(network, held_back_videos("val", options.cutouts, options.photos))
    return network.save_checkpoint(
        options.out, stage=header["stage"], metrics=header["metrics"], dtype=torch.float16
    )


def run_confidence(options: argparse.Namespace) -> str:
    """Figures of the confidence, without and with recovery, on videos that it was not fitted to."""
    videos = held_back_videos("test", options.cutouts, options.photos)
    network = RELONetwork.from_pretrained(options.checkpoint)
    lines = []
    for recovery in (None, Recovery()):
        seen = judge(network, videos, recovery=recovery)
        error = calibration_error(seen.score, seen.right)
        lines.append(f"{recovery}: calibration error {error:.3f}, {absences(seen)}")
        bins = zip(*reliability(seen.score, seen.right), strict=True)
        lines += [
            f"  score {score:.2f}: {right:.2f} of {count} right" for score, right, count in bins
        ]
    return "\n".join(lines)


def held_back_videos(
    split: str, cutouts: Sequence[Path] | None = None, photos: Path | None = None
) -> list[Video]:
    """Thirty videos of each level, with targets of 10 px and more."""
    chosen: list[Video] = []
    for first, level in enumerate(LEVELS):
        held_back = Synthetic(split, difficulty=level, length=100, cutouts=cutouts, photos=photos)
        videos = (held_back[100 * first + index] for index in range(100))
        sizeable = (v for v in videos if v.visible[0] and v.boxes[0, 2:].prod() > 100)
        chosen += islice(sizeable, 30)
    return chosen


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    stages = parser.add_subparsers(required=True)
    for name, run, start, what in (
        ("warmup", run_warmup, "--backbone", "ViT-S/14 of dinov2_from_onnx"),
        ("joint", run_joint, "--network", "checkpoint of warmup"),
        ("policy", run_policy, "--network", "checkpoint of joint"),
    ):
        stage = stages.add_parser(name)
        stage.set_defaults(run=run)
        stage.add_argument("--cutouts", type=Path, nargs="+", required=True, help="see Synthetic")
        stage.add_argument("--photos", type=Path, required=True, help="folder of photographs")
        stage.add_argument("--videos", type=Path, required=True, help="folder of real sequences")
        stage.add_argument(start, dest="start", type=Path, required=True, help=what)
        stage.add_argument("--out", type=Path, required=True, help="folder of the run")
        stage.add_argument("--steps", type=int, help="instead of the recipe's")
        stage.add_argument("--seed", type=int, default=0)
        stage.add_argument("--resume", action="store_true")
        if name == "joint":
            stage.add_argument(
                "--keep-policy", action="store_true", help="the checkpoint is one of joint already"
            )
    average = stages.add_parser("average")
    average.set_defaults(run=run_average)
    average.add_argument("checkpoints", type=Path, nargs="+")
    average.add_argument("out", type=Path)
    for name in ("ship", "confidence"):
        stage = stages.add_parser(name)
        stage.set_defaults(run=run_ship if name == "ship" else run_confidence)
        stage.add_argument("--cutouts", type=Path, nargs="+", help="see Synthetic")
        stage.add_argument("--photos", type=Path, help="folder of photographs")
        stage.add_argument("checkpoint", type=Path)
        if name == "ship":
            stage.add_argument("out", type=Path)
    options = parser.parse_args()
    print(options.run(options))


if __name__ == "__main__":
    main()
