"""`benchmarks/network.py` on a GPU in a few minutes, CUDA graphs and one compiled preset included.

    PYTHONPATH=. python benchmarks/gpu.py
    PYTHONPATH=. python benchmarks/gpu.py --device cpu --presets micro --compile micro  # no GPU

It needs torch, timm, OpenCV, safetensors, Gymnasium and Stable-Baselines3; examples/nano/README.md
says how to carry the last two to a machine that lacks them.
"""

from __future__ import annotations

import argparse

import network


def main() -> None:
    """Print a table of all presets, then one of compiled forms."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", default="cuda")
    add("--presets", nargs="+", default=["t256", "b256", "l256"])
    add("--batch", nargs="+", default=["1", "32"])
    add("--compile", nargs="*", default=["t256"], help="presets to compile: a minute for each type")
    options = parser.parse_args()
    common = ["--device", options.device, "--batch"]
    network.main(["--presets", *options.presets, *common, *options.batch])
    if options.compile:
        network.main(["--presets", *options.compile, *common, options.batch[0], "--compile"])


if __name__ == "__main__":
    main()
