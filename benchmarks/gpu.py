"""`benchmarks/network.py` on a GPU in a few minutes, CUDA graphs and one compiled preset included.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --presets micro --compile micro     # a trial without GPU

It needs torch, timm, OpenCV and safetensors. The project also imports Gymnasium and PyAV, which
this benchmark never uses: where they are not installed, empty classes stand in for theirs.
"""

from __future__ import annotations

import argparse
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

UNUSED = ("gymnasium", "av")


class _Empty(type):
    """Class of empty classes; each has every attribute, holds everything, and takes any type."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Empty(name, (), {"__init__": lambda self, *words, **named: None})

    def __getitem__(cls, item: object) -> Any:
        return cls

    def __contains__(cls, item: object) -> bool:
        return True


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(_Empty(self.__name__, (), {}), name)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, packages: list[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        missing = name.split(".")[0] in self.packages
        return ModuleSpec(name, self, is_package=True) if missing else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Stand in for those of `UNUSED` that are not installed."""
    missing = [name for name in UNUSED if find_spec(name) is None]
    if missing:
        print(f"not installed, not needed: {', '.join(missing)}", file=sys.stderr)
        sys.meta_path.append(_Finder(missing))


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
    install()
    import network

    common = ["--device", options.device, "--batch"]
    network.main(["--presets", *options.presets, *common, *options.batch])
    if options.compile:
        network.main(["--presets", *options.compile, *common, options.batch[0], "--compile"])


if __name__ == "__main__":
    main()
