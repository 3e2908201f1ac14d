"""Plain words in the code: docstrings begin with a noun or a verb, names say what they hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for root in ("relo_env", "agents") for path in (ROOT / root).rglob("*.py"))
QUESTION = re.compile(r"(what|whether|how|which|where|when|why|who)\b", re.IGNORECASE)
BANNED = {
    "turn": "t",
    "pins": "reset_options",
    "check_origin": "check_state",
    "playing": "evaluation",
    "worth": "action_values",
}
"""Names that told a reader nothing, and those used instead."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, of attributes and private functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.lineno, value.value.strip()


def defined(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every function, class, parameter, variable and attribute that is set."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_docstrings_begin_with_a_noun_or_a_verb(path: Path) -> None:
    found = [f"{line}: {text[:80]}" for line, text in docstrings(path) if QUESTION.match(text)]
    assert not found, "\n".join([name_of(path), *found])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_say_what_they_hold(path: Path) -> None:
    names = [*defined(path), (1, path.stem)]
    found = [f"{line}: {name}" for line, name in names if name.strip("_") in BANNED]
    assert not found, "\n".join([name_of(path), *found])
