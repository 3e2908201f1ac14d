"""Print a script with which a shell completes commands and options at the Tab key."""

from __future__ import annotations

import argparse

import shtab

EXAMPLES = """\
examples:
  relo completion bash > ~/.local/share/bash-completion/completions/relo
  relo completion zsh > ~/.zsh/completions/_relo    a folder of your $fpath
  relo completion tcsh > ~/relo.completion.csh      and `source` it in ~/.tcshrc"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo completion``."""
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    print(shtab.complete(options.every_command(), shell=options.shell))
    return 0
