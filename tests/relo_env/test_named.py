"""Names that users give as ``"module:name"``."""

from __future__ import annotations

from pathlib import Path

import pytest

from relo_env.errors import ConfigError
from relo_env.named import import_named


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
    assert import_named("relo_env.named:import_named", "Thing") is import_named
    assert import_named("pathlib:Path.cwd", "Thing") == Path.cwd
