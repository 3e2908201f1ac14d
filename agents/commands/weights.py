"""List network weights; fetch and convert the authors' released weights; export networks.

Use a converted checkpoint as `relo track --tracker FILE`, `relo evaluate --tracker FILE` or
`relo train policy --network FILE`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from agents.network import RELONetwork, presets
from agents.network.checkpoints import find_checkpoint, read_header
from agents.network.weights import STAGES, convert, fetch, released_file
from relo_env.errors import CheckpointError, ConfigError

EXAMPLES = """\
examples:
  relo weights list
  relo weights list runs/policy/network.safetensors
  relo weights fetch t256 --out downloads
  relo weights convert t256 downloads/checkpoints/train/relo/relo_t256/RELO_ep0090.pth.tar \\
      t256.safetensors
  relo weights export nano nano-onnx"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo weights``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the presets, or the content of a checkpoint")
    listing.add_argument("checkpoint", nargs="?", help="a checkpoint to describe")
    listing.set_defaults(run=run_list)
    fetching = actions.add_parser("fetch", help="download the authors' weights of a preset")
    fetching.add_argument("preset", help="t256, b256 or l256")
    fetching.add_argument(
        "--stage", choices=STAGES, default="policy", help="which weights (default: %(default)s)"
    )
    fetching.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the download (default: the hub's cache)"
    )
    fetching.set_defaults(run=run_fetch)
    converting = actions.add_parser("convert", help="write released weights as a checkpoint")
    converting.add_argument("preset", help="t256, b256 or l256")
    converting.add_argument("source", type=Path, help="the downloaded .pth.tar file")
    converting.add_argument("target", type=Path, help="the .safetensors file to write")
    converting.set_defaults(run=run_convert)
    exporting = actions.add_parser("export", help="write a network as ONNX files")
    exporting.add_argument("checkpoint", help="a checkpoint, or a preset with shipped weights")
    exporting.add_argument("folder", type=Path, help="folder of the ONNX files")
    exporting.set_defaults(run=run_export)


def run_list(options: argparse.Namespace) -> int:
    """Print the table of presets, or a checkpoint's header."""
    if options.checkpoint:
        header = read_header(find_checkpoint(options.checkpoint))
        for key, value in header.items():
            print(f"{key:10} {value}")
        return 0
    print(f"{'preset':8}{'parameters':>12}{'crop':>7}  weights")
    for name in presets():
        with torch.device("meta"):
            network = RELONetwork.from_preset(name)
        millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        print(f"{name:8}{millions:10.1f} M{network.crop.search_size:7}  {_weights(name)}")
    print("Any plain ViT of timm is a preset too: timm:<model name>.")
    return 0


def _weights(name: str) -> str:
    try:
        return f"ship with relo, stage {read_header(find_checkpoint(name))['stage']!r}"
    except CheckpointError:
        pass
    try:
        return f"released: relo weights fetch {name} ({Path(released_file(name)).name})"
    except ConfigError:
        return "none"


def run_fetch(options: argparse.Namespace) -> int:
    """Download released weights."""
    print(f"wrote {fetch(options.preset, options.stage, options.out)}")
    return 0


def run_convert(options: argparse.Namespace) -> int:
    """Convert released weights to a checkpoint."""
    print(f"wrote {convert(options.preset, options.source, options.target)}")
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Export a network as ONNX files."""
    from agents.export import export_onnx  # not needed to list weights

    for path in export_onnx(RELONetwork.from_pretrained(options.checkpoint), options.folder):
        print(f"wrote {path}")
    return 0
