"""Pages of the environments, from `TrackingEnv`'s docstring and the table of data sets."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from pathlib import Path

import gymnasium as gym

from relo_env import TrackingEnv, list_datasets
from relo_env.datasets.registry import DatasetSpec
from relo_env.registration import env_id

FOLDER = "environments"


def write(docs: Path) -> list[Path]:
    """Write ``environments/``: an index, and a page for each id."""
    folder = docs / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pages = {env_id(spec.name): page(spec) for spec in list_datasets()}
    pages["index"] = index(list(pages))
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)
    return [folder / f"{name}.md" for name in pages]


def index(ids: list[str]) -> str:
    """Page that all ids share, with their list."""
    lines = "\n".join(ids)
    return f"""# Environments

One environment, `TrackingEnv`, has an id for each data set. This page describes what all ids share;
the page of an id describes its videos.

```{{toctree}}
:maxdepth: 1

{lines}
```

{environment_docstring()}"""


def environment_docstring() -> str:
    """The environment's docstring as Markdown."""
    text = inspect.getdoc(TrackingEnv) or ""
    return re.sub(r"Raises:\n((?: {4}.*\n?)+)", _raises, text)


def _raises(section: re.Match[str]) -> str:
    entries = re.findall(r" {4}(\w+): (.*)", section[1])
    return "## Errors\n\n" + "\n".join(f"* `{name}`: {text}" for name, text in entries) + "\n"


def page(spec: DatasetSpec) -> str:
    """The page of one id."""
    name, dataset = env_id(spec.name), spec.resolve()
    entry = gym.spec(name).entry_point
    root = "" if not spec.needs_root else f', root="/data/{spec.folders[0]}"'
    parts = [
        f"# {name}",
        f"""```python
import gymnasium as gym
import relo_env

env = gym.make("{name}"{root})
```""",
        f"""| | |
| --- | --- |
| Action space | `Discrete(256)` by default, see [](index.md#action-space) |
| Observation | `template`, `template_box`, `search`, see [](index.md#observation-space) |
| Reward | IoU a frame, the clip's AUC at the last, see [](index.md#rewards) |
| Splits, the default first | {", ".join(f"`{split}`" for split in spec.splits)} |
| Entry point | `{entry}` |
| Vectorised | `{gym.spec(name).vector_entry_point}` |""",
        "## Data",
        f"""```{{eval-rst}}
.. autoclass:: {dataset.__module__}.{dataset.__qualname__}
   :no-members:
   :no-index:
```""",
    ]
    layout = getattr(dataset, "layout", None)
    if spec.needs_root and layout:
        parts += [
            "## Layout",
            f"`root` defaults to `$RELO_DATA/{spec.folders[0]}`.",
            f"```text\n{textwrap.dedent(layout)}\n```",
        ]
    return "\n\n".join(parts) + "\n"
