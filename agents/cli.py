"""The `relo` command: one parser, a module of `agents.commands` for each subcommand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from relo_env.errors import ReloError

COMMANDS = {
    "demo": "watch a tracker learn by reinforcement and compare it, in minutes",
    "track": "follow an object in a video, a folder of images or a webcam",
    "train": "train a network: `warmup`, then `policy` by reinforcement",
    "evaluate": "run a tracker over a data set and print its figures",
    "report": "compare results that are on disk, as tables, plots and a page",
    "datasets": "`list` the data sets, `verify` one on disk",
    "weights": "`list`, `fetch` and `convert` network weights",
    "bench": "measure the speed of environment, network and tracker here",
    "doctor": "check this installation",
}
"""The subcommands and what they do, in a line."""

EPILOG = """\
relo COMMAND --help explains a command and shows examples.
exit status: 0 done, 1 done but some sequences failed or some checks did not pass,
2 wrong arguments or data, 130 interrupted (what was done is kept)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        arguments: without the program's name; by default those of this process.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = make_parser(arguments).parse_args(arguments)
        return options.run(options)
    except ReloError as error:
        print(f"relo: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("relo: interrupted", file=sys.stderr)
        return 130


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for a command line; of all subcommands, only the one that is asked for is loaded.

    Loading them all would import torch to print a page of help.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "relo",
        description="RELO: visual object tracking as a reinforcement-learning problem.",
        epilog=EPILOG,
        formatter_class=raw,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for name, line in COMMANDS.items():
        command = commands.add_parser(name, help=line, formatter_class=raw)
        if name == chosen:
            module = import_module(f"agents.commands.{name}")
            command.description = module.__doc__
            command.epilog = module.EXAMPLES
            module.add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
