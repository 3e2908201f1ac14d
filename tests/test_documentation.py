"""README and docs do what they say: code blocks run, commands parse, links lead somewhere.

A page's Python blocks run in order, in one namespace and one empty folder. ``<!-- needs data -->``
before a block marks what needs files that are not here; ``<!-- minutes -->`` what takes too long;
``<!-- needs MODULE -->`` what runs by itself, where that library is installed.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import pytest

from agents.cli import COMMANDS, main, make_parser
from relo_env.datasets import registry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_DATA, MINUTES = "needs data", "minutes"
LIBRARY = re.compile(r"needs (?!data$)(\w+)")
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>.+?) -->\n)?```(?P<language>python|bash|yaml)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
PROGRAMS = {"export", "pip", "pre-commit", "pytest", "python", "ruff", "sphinx-build"}
PROGRAMS |= {"git", "tensorboard", "torchrun", "mypy", "."}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line where it begins, its mark, language and text."""

    page: Path
    line: int
    mark: str
    language: str
    code: str


def blocks(language: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for found in BLOCK.finditer(text):
            if found["language"] == language:
                line = text.count("\n", 0, found.start("code")) + 1
                yield Block(page, line, found["mark"] or "", language, found["code"])


def commands() -> Iterator[tuple[Block, list[str]]]:
    """Every command of every bash block, as words."""
    for block in blocks("bash"):
        for line in block.code.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|\|", line):
                words = shlex.split(re.sub(r"> \S+", "", command), comments=True)
                if words:
                    yield block, words


def name_of(value: object) -> str:
    return value.stem if isinstance(value, Path) else ""


RUNNABLE = [page for page in PAGES if any(b.page == page for b in blocks("python"))]


@pytest.fixture
def _unregistered(monkeypatch):
    """Undo what a page registers or puts on the path."""
    monkeypatch.setattr(registry, "_SPECS", dict(registry._SPECS))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(gym.registry)
    kwargs = {name: dict(spec.kwargs) for name, spec in gym.registry.items() if "RELO" in name}
    yield
    for name in set(gym.registry) - before:
        del gym.registry[name]
    for name, given in kwargs.items():
        gym.registry[name].kwargs = given


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
@pytest.mark.usefixtures("_unregistered")
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks("python"):
        if block.page == page and not block.mark:
            # Padded, so that a traceback tells the page's own line.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


@pytest.mark.parametrize(
    "block", [b for b in blocks("python") if LIBRARY.fullmatch(b.mark)], ids=lambda b: b.mark[6:]
)
@pytest.mark.usefixtures("_unregistered")
def test_blocks_of_libraries_run(block, tmp_path, monkeypatch):
    warnings.simplefilter("ignore")  # the libraries' own; pytest restores the filters
    pytest.importorskip(block.mark[6:])
    monkeypatch.chdir(tmp_path)
    code = compile("\n" * (block.line - 1) + block.code, str(block.page), "exec")
    exec(code, {"__name__": "page"})


@pytest.mark.slow
def test_rl_zoo3_trains(tmp_path):
    pytest.importorskip("rl_zoo3")
    (settings,) = blocks("yaml")
    (tmp_path / "ppo.yml").write_text(settings.code)
    (words,) = (words for _, words in commands() if words[1:3] == ["-m", "rl_zoo3.train"])
    trained = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert trained.returncode == 0, trained.stderr
    assert [*(tmp_path / "logs" / "ppo").glob("RELO-Synthetic-v0_1/*.zip")]


def test_most_python_blocks_run():
    marks = [block.mark for block in blocks("python")]
    assert {mark for mark in marks if not LIBRARY.fullmatch(mark)} <= {"", NEEDS_DATA, MINUTES}
    assert marks.count("") >= 30
    assert marks.count(NEEDS_DATA) + marks.count(MINUTES) <= 8
    for block in blocks("python"):
        compile(block.code, str(block.page), "exec")


def check_arguments(words: list[str], where: str) -> None:
    """Fail unless ``relo`` takes these arguments."""
    try:
        make_parser(words).parse_args(words)
    except SystemExit as error:
        if error.code:
            pytest.fail(f"{where}: relo {shlex.join(words)}")


def test_commands_parse():
    count = 0
    for block, words in commands():
        where = f"{block.page.name}:{block.line}"
        if "agents.cli" in words:
            words = ["relo", *words[words.index("agents.cli") + 1 :]]
        if words[0] == "relo":
            try:
                make_parser(words[1:]).parse_args(words[1:])
            except SystemExit as error:
                pytest.fail(f"{where}: {shlex.join(words)}") if error.code else None
            count += 1
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), where
        else:
            assert words[0] in PROGRAMS, f"{where}: {words}"
    assert count >= 30


CLIP = str(ROOT / "agents" / "assets" / "cockatoo")
SHORT = {
    "relo train warmup": "--network micro --random-weights --steps 2 --clips 2 --out warmup",
    "relo train policy": "--network micro --random-weights --steps 32 --num-envs 2 --out policy",
    "relo evaluate": "--dataset Synthetic --split test --dataset-option length=9 --max-sequences 1 "
    "--tracker static --out results",
    "relo report": "results/static/Synthetic --dataset Synthetic --split test "
    "--dataset-option length=9 --out report",
    "relo track": f"{CLIP} --max-frames 3 --tracker policy/network.safetensors --out tracked.mp4",
    "relo datasets list": "",
    "relo datasets verify": f"Folder --root {CLIP} --decode",
    "relo weights list": "",
    "relo bench": "--network micro --num-envs 2 --seconds 1",
    "relo completion": "zsh",
}
"""The documented commands with arguments for which a test has time; doctor and demo come below."""
DEMO = ["demo", "--steps", "128", "--num-envs", "4", "--sequences", "1", "--length", "12"]
CHEAP = ["--help", "datasets list", "doctor", *(f"{name} --help" for name in COMMANDS)]
RUN_ELSEWHERE = {
    "relo --help": ("tests/test_documentation.py", '"--help", '),
    "relo doctor": ("tests/test_documentation.py", '"doctor", '),
    "relo demo": ("tests/test_documentation.py", "main([*DEMO"),
    "relo ablate": ("tests/agents/ablations/test_ablations.py", '"ablate algorithms'),
    "relo record": ("tests/agents/test_recording.py", '"record --policy'),
    "python -m rl_zoo3.train": ("tests/test_documentation.py", '"-m", "rl_zoo3.train"'),
    "relo weights convert": ("tests/agents/network/test_checkpoints.py", '"convert"'),
    "relo weights export": ("tests/agents/test_export.py", '"export"'),
    "python docs/_scripts/make_pictures.py": ("tests/test_documentation.py", "make_pictures.main("),
    "torchrun": ("tests/agents/test_distributed.py", "torch.distributed.run"),
    "pip install -e": (".ci/run", "pip install --quiet -e"),
    "pytest": (".ci/run", "pytest -m slow"),
    "ruff": (".ci/run", "ruff check ."),
    "mypy": (".ci/run", "mypy"),
    "sphinx-build": (".ci/run", "sphinx-build"),
    "python -m venv": (".ci/run", "python3 -m venv"),
}
"""File that runs a documented command, and the text in it that does."""
OF_THE_SHELL = (".", "git worktree", "pip install", "tensorboard")
"""Commands of other programs that no test runs."""


@pytest.mark.parametrize("command", RUN_ELSEWHERE)
def test_commands_run_elsewhere_are_run_there(command):
    file, text = RUN_ELSEWHERE[command]
    # This table is no proof: in its own file the text must stand a second time.
    assert (ROOT / file).read_text().count(text) > (file == "tests/test_documentation.py")


def scripts() -> list[str]:
    """Documented programs of ``benchmarks/`` and ``examples/``, with their options."""
    found: dict[str, set[str]] = {}
    for _, words in commands():
        if words[0] == "python" and words[1].startswith(("benchmarks/", "examples/")):
            options = {word for word in words[2:] if word.startswith("--")}
            found.setdefault(words[1], set()).update(options)
    return [" ".join([script, *sorted(options)]) for script, options in sorted(found.items())]


@pytest.mark.parametrize("line", scripts())
def test_documented_programs_have_their_options(line, monkeypatch, capsys):
    script, *options = line.split()
    if "rllib" in script:
        pytest.importorskip("ray")
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(ROOT / script), run_name="__main__")
    help_text = capsys.readouterr().out
    assert [option for option in options if option not in help_text] == []


def test_every_command_is_run_by_a_test_or_marked():
    ran = (*SHORT, *RUN_ELSEWHERE, *OF_THE_SHELL, "python benchmarks/", "python examples/")
    for block, words in commands():
        known = shlex.join(words).startswith(ran)
        assert known or block.mark == NEEDS_DATA, f"{block.page.name}:{block.line}: {words}"


def test_documented_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command, arguments in SHORT.items():
        words = [*command.split()[1:], *arguments.split()]
        if "--random-weights" in words or "evaluate" in words:
            words += ["--device", "cpu"]
        assert main(words) == 0, command
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"warmup", "policy", "results", "report", "tracked.mp4"}


@pytest.mark.slow
def test_the_demo_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*DEMO, "--workers", "1", "--device", "cpu"]) == 0
    assert "learned policy" in capsys.readouterr().out
    assert {"run", "results", "success.png"} < {p.name for p in Path("relo-demo").iterdir()}
    assert len([*Path("relo-demo").glob("*.mp4")]) == 2


@pytest.mark.slow
def test_pictures_can_be_made(tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_scripts"))
    import make_pictures

    make_pictures.main(["--only", "mdp", "tokens", "--out", str(tmp_path)])
    names = {"mdp-dark.png", "mdp-light.png", "tokens-dark.png", "tokens-light.png"}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path):
    pytest.importorskip("furo", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    built = subprocess.run([*command, "docs", str(tmp_path)], cwd=ROOT, capture_output=True)
    assert built.returncode == 0, built.stderr.decode()
    html = {path.stem for path in tmp_path.glob("*.html")}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= html


@pytest.mark.parametrize("command", CHEAP)
def test_cheap_commands_run(command, capsys):
    try:
        status = main(command.split())
    except SystemExit as error:  # how argparse ends after its help
        status = error.code
    assert not status
    assert capsys.readouterr().out


def test_every_command_is_documented():
    text = "".join(page.read_text() for page in PAGES)
    assert [name for name in COMMANDS if f"relo {name}" not in text] == []


def test_readme_has_the_block_that_ci_runs():
    found = re.search(r"<!-- ci: tests -->\n```bash\n(.*?)\n```", (ROOT / "README.md").read_text())
    assert found
    assert "pytest" in found[1]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in kept}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    pictures = re.findall(r"```\{image\} (\S+)", page.read_text())
    for link in [*re.findall(r"\]\(([^)\s]+)\)", text), *pictures]:
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", target):
            assert re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/[^\s<>\"]*)?", target), link
            continue
        if target.startswith(("environments/", "commands.md")):  # generated, see below
            continue
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(path), f"{page.name}: {link}"


def test_toctree_has_every_page():
    text = (ROOT / "docs" / "index.md").read_text()
    trees = re.findall(r"```\{toctree\}(.*?)```", text, re.S)
    listed = {word for tree in trees for word in tree.split()}
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or page.stem in listed


NOT_IN_THE_REFERENCE = re.compile(
    r"agents\.(cli|commands.*|distributed|ablations\.(caching|worker))|agents|relo_env"
    r"|relo_env\.datasets\.(?!base|disk|folder|frames|mixture|registry|annotations|verify).*"
)
"""Commands have a page, data sets theirs; the rest of these is nobody's to call."""


def test_reference_has_every_module():
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    found = re.findall(r"automodule:: (\S+)", pages)
    listed = set(found)
    assert len(found) == len(listed), "a module stands in two places"
    for package in ("relo_env", "agents"):
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if path.stem.startswith("__") or NOT_IN_THE_REFERENCE.fullmatch(name):
                continue
            assert name in listed, f"docs/api has no {name}"


def test_examples_that_are_named_exist():
    for page in PAGES:
        for name in re.findall(r"`(?:examples/)?(\w+\.(?:py|ipynb))`", page.read_text()):
            if name != "my_tracker.py":
                assert [*ROOT.glob(f"*/**/{name}")], f"{page.name}: {name}"


def test_generated_pages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_scripts"))
    import command_page
    import environment_pages

    pages = {page.stem: page.read_text() for page in environment_pages.write(tmp_path)}
    ids = {spec.name for spec in registry.list_datasets()}
    assert {f"RELO-{name}-v0" for name in ids} == set(pages) - {"index"}
    assert "| `max_interval` | 400 |" in pages["index"]
    assert "<root>/<class>/<class>-<k>/" in pages["RELO-LaSOT-v0"]
    assert "relo train policy" in command_page.write(tmp_path).read_text()


@pytest.mark.slow
def test_notebook_runs(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": tmp_path}}
    )
    client.execute(env=environment)
    assert not any("Traceback" in str(cell.get("outputs")) for cell in notebook.cells)
