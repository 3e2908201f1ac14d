"""The way in of the `relo` command, also ``python -m relo_env``: hands over to `agents.cli`.

It is here, where no other package can be in the way, to say so when one hides `agents`. Modules in
the current folder can be named (``--tracker my_tracker:Mine``), and hide nothing.
"""

from __future__ import annotations

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
        what = f"hides it: {found}" if found else "is missing, and no other is in its place"
        print(
            f"relo: error: RELO's package `agents` is {ours}, but `import agents` finds another, "
            f"which {what}.\nTake its folder off PYTHONPATH, or install RELO in a virtual "
            "environment of its own.",
            file=sys.stderr,
        )
        return 2
    sys.path.append("")
    # Threads of torch that wait for work spin, by default for so long that beside other busy
    # programs a tracker falls to half of its speed. libgomp reads this as torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    return import_module("agents.cli").main()


if __name__ == "__main__":
    sys.exit(main())
