"""The `relo` command: one parser; each subcommand is a module of `agents.commands`."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import sys
from collections.abc import Collection, Sequence
from functools import partial
from importlib import import_module, metadata
from typing import Any, NoReturn

from relo_env.errors import ConfigError, ReloError, unknown
from relo_env.interrupts import EXIT_CODE, Terminated, terminable

COMMANDS = {
    "demo": "train a policy in minutes and compare it with baselines",
    "track": "follow an object in a video, a folder of images or a webcam",
    "train": "train a network: `warmup`, then `policy` by reinforcement",
    "record": "play clips with a policy and write a Minari data set",
    "ablate": "train variants of the method with several seeds, and compare",
    "evaluate": "run a tracker over a data set and print its figures",
    "report": "compare results on disk: tables, plots and a page",
    "submit": "pack results for the server of GOT-10k or TrackingNet",
    "datasets": "`list` the data sets, `verify` one on disk",
    "weights": "`list`, `fetch`, `convert` and `export` network weights",
    "bench": "measure the speed of environment, network and tracker",
    "doctor": "check this installation",
    "completion": "print a script for completion with the Tab key",
}
"""Subcommands, each with a line of help."""

EPILOG = "Exit status: 0 done, 1 some failed, 2 wrong input, 130 Ctrl-C, 143 SIGTERM."


class Parser(argparse.ArgumentParser):
    """Parser whose errors take two lines: the fault and the next step."""

    def error(self, message: str) -> NoReturn:
        """Print the message and the next step; exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n{self.prog} --help: arguments and examples\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; the subcommand of an unknown option reports it."""
        namespace, rest = super().parse_known_args(args, namespace)
        if rest:
            near = difflib.get_close_matches(rest[0], self._option_string_actions, n=1)
            advice = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{advice}")
        return namespace, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Args:
        arguments: words after the program's name; None: those of this process.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments:
        make_parser([]).print_help(sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold what it cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        with terminable():
            options = make_parser(arguments).parse_args(arguments)
            return options.run(options)
    except ReloError as error:
        print(f"relo: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # of the disk
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"relo: error: {place}{error.strerror or error}.", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print(f"relo: error: Not enough memory: {error}\nChoose smaller numbers.", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("relo: interrupted", file=sys.stderr)
        return EXIT_CODE if isinstance(error, Terminated) else 130


def _is_out_of_memory(error: Exception) -> bool:
    """True for errors of Python, numpy and torch on a processor or a GPU."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)


def make_parser(arguments: Sequence[str]) -> Parser:
    """Make the parser for a command line; it loads only the subcommand that is named.

    Loading all of them would import torch to print a page of help.

    Raises:
        ConfigError: the subcommand does not exist.
    """
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    if chosen is None:
        return build_parser([])
    if chosen not in COMMANDS:
        raise ConfigError(unknown("command", chosen, COMMANDS, "See `relo --help`."))
    return build_parser([chosen])


def build_parser(loaded: Collection[str]) -> Parser:
    """Make the parser with the arguments of some subcommands and the names of the others."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        "relo",
        description="RELO: visual object tracking as a reinforcement-learning problem.",
        epilog=EPILOG,
        formatter_class=raw,
    )
    parser.add_argument(
        "-V", "--version", action="version", version=f"relo {metadata.version('relo')}"
    )
    parser.set_defaults(every_command=partial(build_parser, COMMANDS))  # for completion
    commands = parser.add_subparsers(
        metavar="COMMAND", required=True, help="relo COMMAND --help explains it, with examples"
    )
    for name, line in COMMANDS.items():
        command = commands.add_parser(name, help=line, formatter_class=raw)
        if name in loaded:
            module = import_module(f"agents.commands.{name}")
            command.description = module.__doc__
            command.epilog = module.EXAMPLES
            module.add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
