"""Entry point of the `relo` command and of ``python -m relo_env``; it calls `agents.cli`.

It is in `relo_env`, and not in `agents`, to report another package that hides `agents`. The current
folder is the last entry of the import path: ``--tracker my_tracker:Mine`` finds modules there.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def main() -> int:
    """Run `agents.cli.main`; returns its exit status."""
    ours = Path(__file__).parents[1] / "agents"
    spec = find_spec("agents")
    found = Path(spec.origin).parent if spec and spec.origin else None
    if found != ours:
        print(
            f"relo: error: RELO's package `agents` is {ours}, but `import agents` finds another "
            f"one: {found or 'none'}.\nTake its folder off PYTHONPATH, or install RELO in a "
            "separate virtual environment.",
            file=sys.stderr,
        )
        return 2
    sys.path.append("")
    # Threads of torch that wait for work spin, by default for so long that beside other busy
    # programs a tracker falls to half of its speed. libgomp reads this as torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Imports allocate many objects that stay; Python's 700 between two collections are for other
    # programs and take an eighth of the time of `relo report`.
    gc.set_threshold(50_000, 20, 20)
    return import_module("agents.cli").main()


if __name__ == "__main__":
    sys.exit(main())
