"""Every example runs from its command line, for a few steps with the smallest network."""

import runpy
import sys
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {"torchrl_ppo.py": "torchrl", "tianshou_ppo.py": "tianshou", "rllib_ppo.py": "ray"}
"""Examples of libraries that are not among this project's requirements."""
WITHOUT_NETWORK = {"custom_proposer.py", "recurrent_ppo.py", "sb3_dqn.py", "sb3_sac_box.py"}


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example(name, monkeypatch, capsys, tmp_path):
    if name in NEEDS:
        warnings.simplefilter("ignore")  # those libraries' own; pytest restores the filters
        pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
    arguments = ["--timesteps", "64"]
    if name not in WITHOUT_NETWORK:
        arguments += ["--network", "micro"]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert capsys.readouterr().out
