"""Arrows between modules point one way, and importing has no side effects but registration."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import agents
import relo_env

ENV = Path(relo_env.__file__).parent
AGENTS = Path(agents.__file__).parent

# Layers from the bottom up: a module may import from its own layer's left and from below.
LAYERS = [
    {"errors"},
    {"checks", "named", "files", "interrupts"},
    {"processes"},
    {"video"},
    {"boxes", "config", "datasets"},
    {"claims"},
    {"crops", "rewards", "proposers"},
    {"clips"},
    {"prefetch"},
    {"clip_source", "spaces"},
    {"episode"},
    {"engine", "rendering"},
    {"env"},
    {"vector_env", "registration"},
    {"__main__"},
]


def imports(path):
    """Names of the modules that a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(ENV.rglob("*.py")), ids=lambda p: str(p.relative_to(ENV)))
def test_the_environment_knows_neither_torch_nor_agents(path):
    forbidden = {"torch", "agents", "stable_baselines3", "timm"}
    assert not {name.split(".")[0] for name in imports(path)} & forbidden


def test_arrows_inside_the_environment_point_down():
    level = {name: i for i, names in enumerate(LAYERS) for name in names}
    for path in ENV.glob("*.py"):
        if path.stem == "__init__":
            continue
        assert path.stem in level, f"say where {path.name} belongs in LAYERS"
        for name in imports(path):
            part = name.split(".")[1] if name.startswith("relo_env.") else None
            if part in level:
                assert level[part] <= level[path.stem], f"{path.name} imports {part}"


def test_the_benchmark_knows_data_sets_and_trackers_only():
    allowed = {"benchmark", "datasets", "errors", "checks", "named", "boxes", "rendering"}
    allowed |= {"claims", "files", "interrupts", "processes"}
    for path in (ENV / "benchmark").rglob("*.py"):
        parts = {n.split(".")[1] for n in imports(path) if n.startswith("relo_env.")}
        assert parts <= allowed, path.name


def test_importing_the_environment_loads_no_torch():
    code = "import sys, relo_env; assert not {'torch', 'agents', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_registration_is_idempotent_and_found_through_gymnasium():
    code = (
        "import warnings; warnings.simplefilter('error'); import gymnasium as gym\n"
        "env = gym.make('relo_env:RELO-Synthetic-v0')\n"
        "import relo_env; relo_env.register_ids(); relo_env.register_ids()\n"
        "ids = {'RELO-%s-v0' % n for n in 'Synthetic Folder LaSOT LaSOText GOT10k'.split()}\n"
        "assert ids <= set(gym.registry)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
