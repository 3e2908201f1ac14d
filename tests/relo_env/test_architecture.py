"""Imports go one way: through imports of imports, `import_module` and entry points alike.

A module imports what its code names: in ``import`` statements, those for type checkers included, in
calls of ``import_module``, and in strings such as ``"relo_env.env:TrackingEnv"``.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("relo_env", "agents")
ENTRY = "relo_env.__main__"
"""Starts the command line: the one module of the environment that names `agents`."""

# Layers of relo_env from the bottom up: a module imports modules of its own layer or below.
LAYERS = [
    {"errors", "opencv"},
    {"checks", "files", "interrupts"},
    {"processes"},
    {"video"},
    {"boxes", "config", "datasets"},
    {"streams"},
    {"claims"},
    {"crops", "rewards", "proposers"},
    {"clips", "rendering"},
    {"prefetch"},
    {"clip_source", "spaces", "states"},
    {"episode"},
    {"engine"},
    {"env"},
    {"vector_env", "registration"},
    {"__main__"},
]
MDP = {"clips", "prefetch", "clip_source", "spaces", "states", "episode", "engine", "env"}
MDP |= {"vector_env"}
"""The core of the environment, which the benchmark does not know."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def named(node: ast.AST) -> Iterator[str]:
    """Dotted names that a piece of code imports; ``package.*`` for one chosen at run time."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        text = ast.unparse(node.args[0]).lstrip("f").strip("'\"")
        yield re.sub(r"\{.*", "*", text)
    elif isinstance(node, ast.Constant) and re.fullmatch(r"[\w.]+:\w+", str(node.value)):
        yield str(node.value).replace(":", ".")


def module_of(name: str) -> str | None:
    """The module of ours that a dotted name is, or lies in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


@cache
def imports(module: str) -> frozenset[str]:
    """Modules that a module names: ours whole, others by their top package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        for name in named(node):
            if name.endswith(".*"):
                found |= {m for m in MODULES if m.startswith(name[:-1])}
            else:
                found.add(module_of(name) or name.partition(".")[0])
    return frozenset(found - {module})


@cache
def reached(module: str) -> frozenset[str]:
    """Modules that a module names, those that these name, and so on."""
    seen: set[str] = set()
    ahead = {module}
    while ahead:
        name = ahead.pop()
        seen.add(name)
        ahead |= (imports(name) if name in MODULES else frozenset()) - seen
    return frozenset(seen - {module})


def part_of(module: str) -> str:
    """File or folder of `relo_env` that a module belongs to: ``datasets``."""
    return module.split(".")[1] if module.startswith("relo_env.") else ""


ENVIRONMENT = sorted(m for m in MODULES if m.startswith("relo_env") and m != ENTRY)


@pytest.mark.parametrize("module", ENVIRONMENT)
def test_the_environment_knows_neither_torch_nor_agents(module: str) -> None:
    found = {name.partition(".")[0] for name in reached(module)}
    assert not found & {"torch", "agents", "stable_baselines3", "timm"}


def test_no_two_modules_import_each_other() -> None:
    """Also not through others, nor for types only."""
    loops, done = [], set[str]()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            loops.append(" -> ".join([*trail[trail.index(module) :], module]))
        elif module not in done:
            for name in sorted(imports(module) & MODULES.keys()):
                visit(name, [*trail, module])
            done.add(module)

    for module in MODULES:
        visit(module, [])
    assert not loops, "\n".join(loops)


LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


@pytest.mark.parametrize("module", [m for m in ENVIRONMENT if part_of(m) not in ("", "benchmark")])
def test_imports_inside_the_environment_point_down(module: str) -> None:
    assert part_of(module) in LEVEL, f"say in LAYERS where {module} belongs"
    for name in imports(module):
        assert name != "relo_env", f"{module} imports the whole package"
        assert part_of(name) != "benchmark", f"{module} imports {name}"
        if part_of(name):
            assert LEVEL[part_of(name)] <= LEVEL[part_of(module)], f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in ENVIRONMENT if part_of(m) == "benchmark"])
def test_the_benchmark_does_not_know_the_mdp(module: str) -> None:
    assert not {part_of(name) for name in reached(module)} & MDP


def test_nobody_reaches_into_an_environments_engine() -> None:
    files = [path for folder in ("agents", "examples") for path in (ROOT / folder).rglob("*.py")]
    files += (ROOT / "docs").glob("*.md")
    pattern = re.compile(r"(?<!self)(?<!relo_env)\.(engine|batch)\.")
    assert [p.name for p in files if pattern.search(p.read_text(encoding="utf-8"))] == []


def test_names_chosen_at_run_time_count() -> None:
    assert "agents.commands.track" in imports("agents.cli")
    assert "relo_env.env" in imports("relo_env.registration")


def test_importing_the_environment_loads_no_torch() -> None:
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
