"""How the shipped ``nano`` weights were trained; anyone with images can run it again.

    python -m agents.recipes.nano warmup --out runs/nano --cutouts DIR ... --photos DIR \\
        --videos DIR --backbone vits14.safetensors [--resume]

Training data are synthetic videos composited of the given cut-outs and photographs, and real
annotated videos in LaSOT's layout. `agents.recipes.dinov2_from_onnx` makes the backbone's file.
Every long step can be interrupted and resumed. docs/training-log.md has the figures.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from agents.network import RELONetwork
from agents.recipes.mixture import Mixture, Sizeable
from agents.warmup import WarmupConfig, warmup
from relo_env.datasets.base import Dataset
from relo_env.datasets.folder import Folder
from relo_env.datasets.synthetic import LEVELS, Synthetic

WARMUP = WarmupConfig(
    steps=2_000,
    clips=8,
    clip_length=2,
    max_interval=60,
    jitter=0.6,
    frozen=(
        "encoder.vit.cls_token",
        "encoder.vit.pos_embed",
        "encoder.vit.patch_embed.",
        "encoder.vit.blocks.0.",
        "encoder.vit.blocks.1.",
    ),
    amp=True,
)
"""Stage 1: the two blocks that read each crop apart stay as they came."""

LEAST_REAL_TARGET = 8.0
"""[px] real targets below this teach only blur."""


def training_data(cutouts: list[Path], photos: Path, videos: Path) -> Dataset:
    """Synthetic videos of two levels and real ones, in the proportion 65 : 15 : 20.

    Targets are at most a third of the frame, so that a search window holds more than black border.
    """

    def synthetic(level: str) -> Dataset:
        low, _ = LEVELS[level].size
        difficulty = replace(LEVELS[level], size=(low, 0.35))
        return Synthetic("train", difficulty=difficulty, cutouts=cutouts, photos=photos)

    real = Sizeable(Folder(videos), least=LEAST_REAL_TARGET)
    return Mixture(
        {"medium": (synthetic("medium"), 0.65), "hard": (synthetic("hard"), 0.15),
         "real": (real, 0.2)}
    )  # fmt: skip


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and logs")
    parser.add_argument("--cutouts", type=Path, nargs="+", required=True, help="see Synthetic")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--videos", type=Path, required=True, help="folder of real sequences")
    parser.add_argument("--backbone", type=Path, help="ViT-S/14 of dinov2_from_onnx")
    parser.add_argument("--init", type=Path, help="checkpoint to start from instead")
    parser.add_argument("--steps", type=int, default=WARMUP.steps)
    parser.add_argument("--seed", type=int, default=WARMUP.seed)
    parser.add_argument("--clip-length", type=int, default=WARMUP.clip_length)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    network = RELONetwork.from_preset("nano")
    if options.backbone:
        network.encoder.load_pretrained(load_file(options.backbone))
    if options.init:
        network = RELONetwork.from_checkpoint(options.init)
    config = replace(
        WARMUP, steps=options.steps, seed=options.seed, clip_length=options.clip_length,
        clips=max(1, WARMUP.clips * WARMUP.clip_length // options.clip_length),
    )  # fmt: skip
    data = training_data(options.cutouts, options.photos, options.videos)
    warmup(config, network=network, dataset=data, out=options.out, resume=options.resume)


if __name__ == "__main__":
    main()
