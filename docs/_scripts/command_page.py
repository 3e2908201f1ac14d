"""Page of the command line: the output of ``relo --help`` and of each command's help."""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.cli import COMMANDS, make_parser

INTRODUCTION = """# Commands

This page shows the output of `relo --help` and `relo COMMAND --help`. Long commands show progress,
can be interrupted and continued, and write to the given folder only. `python -m relo_env` is the
same program."""


def write(docs: Path) -> Path:
    """Write ``commands.md``."""
    parts = [INTRODUCTION, _block(make_parser([]))]
    for name in COMMANDS:
        parser = _subparsers(make_parser([name]))[name]
        parts += [f"## relo {name}", _block(parser)]
        parts += [f"### relo {name} {sub}\n\n{_block(p)}" for sub, p in _subparsers(parser).items()]
    path = docs / "commands.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def _block(parser: argparse.ArgumentParser) -> str:
    return f"```text\n{parser.format_help().rstrip()}\n```"
