"""Checks of arguments against type hints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from relo_env.checks import (
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    Workers,
    check,
    check_arguments,
    check_fields,
    check_known,
    import_named,
    parameters_of,
)
from relo_env.errors import ArgumentError, ConfigError


def make(
    first: int, rate: float = 1.0, mode: Literal["a", "b"] = "a", name: str | None = None
) -> None:
    """Something to call."""


class Maker:
    """Something else to call."""

    def __init__(self, sure: bool = False, sizes: tuple[int, ...] = ()) -> None:
        pass


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (make, {}, "missing.*'first'; known: first, rate, mode, name"),
        (make, {"first": 1, "second": 2}, "unexpected.*'second'"),
        (make, {"first": 1.5}, "first is 1.5; expected an int"),
        (make, {"first": True}, "first is True; expected an int"),
        (make, {"first": 1, "rate": "abc"}, "rate is 'abc'; expected a number"),
        (make, {"first": 1, "mode": "c"}, "mode is 'c'; expected one of"),
        (make, {"first": 1, "name": 3}, "name is 3; expected a string or None"),
        (partial(make, 1), {"rate": None}, "rate is None; expected a number"),
        (Maker, {"sure": 1}, "sure is 1; expected True or False"),
        (print, {"sep": 1, "bogus": 1}, "bogus"),
        (3, {}, "3 cannot be called"),
    ],
)
def test_arguments_that_do_not_fit(function, arguments, message) -> None:
    with pytest.raises(ConfigError, match=f"Thing: .*{message}"):
        check_arguments("Thing", function, arguments)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (make, {"first": np.int64(1), "rate": 2, "mode": "b", "name": None}),
        (partial(make, 1), {"rate": np.float32(0.5), "name": "x"}),
        (Maker, {"sure": np.bool_(True), "sizes": "not looked at"}),
        (dict, {"anything": 1}),
    ],
)
def test_arguments_that_fit(function, arguments) -> None:
    check_arguments("Thing", function, arguments)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (0, PositiveFloat, "a number > 0"),
        (float("nan"), PositiveFloat, "a number > 0"),
        (float("inf"), PositiveFloat, "a number > 0"),
        (float("nan"), float, "a number"),
        (True, PositiveFloat, "a number > 0"),
        (-1, NonNegativeInt | None, "an int >= 0 or None"),
        (1.0, NonNegativeInt, "an int >= 0"),
        (1, Literal["a", "b", "c"], "one of ['a', 'b', 'c']"),
        (np.ones(2), Literal["a", "b"], "one of ['a', 'b']"),
        (3, Callable[[float], float] | str, "a callable or a string"),
        ([], float | Sequence[float], "a number or a list of numbers"),
        ([1, "x"], float | Sequence[float], "a number or a list of numbers"),
        ("12", Sequence[float], "a list of numbers"),
        (10**400, PositiveInt, f"an int > 0 of at most {2**63 - 1}"),
        (-1, Seed, "an int from 0 to 4294967295"),
        (2**32, Seed, "an int from 0 to 4294967295"),
        (1e4, Workers, "an int from 0 to 1024"),
    ],
)
def test_values_that_do_not_fit(value: object, hint: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"^size is .*; expected {re.escape(expected)}\.$"):
        check("size", value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (0, NonNegativeInt),
        (np.float32(0.1), PositiveFloat),
        (2**32 - 1, Seed),
        (len, Callable[[str], int] | None),
        (np.array([1, 2]), Sequence[float]),
        ("2", Path),
    ],
)
def test_values_that_fit(value: object, hint: object) -> None:
    check("size", value, hint)


@dataclass(frozen=True)
class Sizes:
    """Settings."""

    side: NonNegativeInt = 1
    name: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def test_fields_are_checked() -> None:
    Sizes(side=0, name="x")
    with pytest.raises(ConfigError, match="side is -1; expected an int >= 0"):
        Sizes(side=-1)
    with pytest.raises(ConfigError, match="name is 2; expected a string or None"):
        Sizes(name=2)  # type: ignore[arg-type]


class Wide(Maker):
    """Passes on what it does not know."""

    def __init__(self, width: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Closed(Maker):
    """Takes nothing but its own."""

    def __init__(self, width=1) -> None:
        super().__init__()


def test_parameters_follow_keyword_arguments_to_the_bases() -> None:
    assert list(parameters_of(Wide)) == ["sure", "sizes", "width"]
    assert parameters_of(Wide)["sure"] is bool
    assert parameters_of(Closed) == {"width": Any}
    check_known("Thing", {"sure": True, "width": 2}, parameters_of(Wide))
    with pytest.raises(ArgumentError, match=r"Thing has no option 'widht'\. Did you mean 'width'"):
        check_known("Thing", {"widht": 2}, parameters_of(Wide))
    with pytest.raises(ConfigError, match="Thing: sure is 1; expected True or False"):
        check_known("Thing", {"sure": 1}, parameters_of(Wide))


# --- names that users give as "module:name"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "expected 'module:name'"),
        (":nothing", "expected 'module:name'"),
        ("no.such:thing", "no module 'no'.*PYTHONPATH"),
        ("relo_env.boxes:io", "no 'io' in relo_env.boxes. Did.*'iou'"),
    ],
)
def test_names_that_name_nothing(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"Thing '{path}'.*{message}"):
        import_named(path, "Thing")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such", "half_there imports a module that is not installed, 'no_such'"),
        ("def make(:", "cannot be imported: SyntaxError"),
        ("None.name", "cannot be imported: AttributeError"),
    ],
)
def test_a_module_that_cannot_be_imported(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=message):
        import_named("half_there:make", "Thing")


def test_a_name_that_names_something() -> None:
    assert import_named("relo_env.checks:import_named", "Thing") is import_named
    assert import_named("pathlib:Path.cwd", "Thing") == Path.cwd
