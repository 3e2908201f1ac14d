"""Functions of RELO that a step passes, from the action to the reward and the next observation.

Counted are distinct functions (comprehensions and lambdas left out) and how deep they call each
other, in a step within a clip: of one environment, of a vector environment, and of SB3's side of
one whose features come from a stub.

    python benchmarks/calls.py --list
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np
from collection import ROWS, stub

import relo_env  # noqa: F401  (registers the ids)
from agents.vec import RELOVecEnv

ROOT = Path(__file__).parents[1]
ID = "RELO-Synthetic-v0"


def traced(step: Callable[[], Any]) -> tuple[set[str], int]:
    """Names of the functions that a step calls, and the depth of their nesting."""
    names: set[str] = set()
    depth = deepest = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal depth, deepest
        path = Path(frame.f_code.co_filename)
        if event not in ("call", "return") or not path.is_relative_to(ROOT):
            return
        if path.relative_to(ROOT).parts[0] in ("relo_env", "agents"):
            depth += 1 if event == "call" else -1
            deepest = max(deepest, depth)
            if not frame.f_code.co_name.startswith("<"):
                owner = frame.f_locals.get("self")
                kind = f"{type(owner).__name__}." if owner is not None else ""
                names.add(f"{path.relative_to(ROOT)} {kind}{frame.f_code.co_name}")

    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(None)
    return names, deepest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the functions, too")
    arguments = parser.parse_args()
    env = gym.make(ID).unwrapped
    vector = {"num_envs": ROWS, "num_threads": 0}
    venv = gym.make_vec(ID, vectorization_mode="vector_entry_point", **vector)
    sb3 = RELOVecEnv(ID, proposer=stub()[1], **vector)
    actions = np.full(ROWS, 100)
    for name, world, action in (
        ("single", env, 100),
        ("vector", venv, actions),
        ("SB3", sb3, actions),
    ):
        world.reset()
        world.step(action)
        names, depth = traced(lambda world=world, action=action: world.step(action))
        print(f"{name}: {len(names)} functions, nested {depth} deep")
        if arguments.list:
            print("\n".join(f"  {function}" for function in sorted(names)))


if __name__ == "__main__":
    main()
