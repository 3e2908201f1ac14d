"""Names that users give, and arguments that go with them."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np
import pytest

from relo_env.errors import ConfigError
from relo_env.named import check_arguments, import_named


def make(
    first: int, rate: float = 1.0, mode: Literal["a", "b"] = "a", name: str | None = None
) -> None:
    """Something to call."""


class Maker:
    """Something else to call."""

    def __init__(self, sure: bool = False, sizes: tuple[int, ...] = ()) -> None:
        pass


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "expected 'module:name'"),
        (":nothing", "expected 'module:name'"),
        ("no.such:thing", "no module 'no'.*PYTHONPATH"),
        ("tests.relo_env.test_named:mak", "no 'mak' in tests.relo_env.test_named. Did.*'make'"),
    ],
)
def test_names_that_name_nothing(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"Thing '{path}'.*{message}"):
        import_named(path, "Thing")


def test_a_module_that_imports_what_is_not_there(tmp_path, monkeypatch) -> None:
    (tmp_path / "half_there.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="half_there imports what is not there, module 'no_such"):
        import_named("half_there:make", "Thing")


def test_a_name_that_names_something() -> None:
    assert import_named("relo_env.named:import_named", "Thing") is import_named


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (make, {}, "missing.*'first'; known: first, rate, mode, name"),
        (make, {"first": 1, "second": 2}, "unexpected.*'second'"),
        (make, {"first": 1.5}, "first is 1.5; expected int"),
        (make, {"first": True}, "first is True; expected int"),
        (make, {"first": 1, "rate": "abc"}, "rate is 'abc'; expected float"),
        (make, {"first": 1, "mode": "c"}, "mode is 'c'; expected 'a' or 'b'"),
        (make, {"first": 1, "name": 3}, "name is 3; expected str or None"),
        (partial(make, 1), {"rate": None}, "rate is None; expected float"),
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
