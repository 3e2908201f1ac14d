"""Models of other people are read without running their pickles."""

import base64
import json
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import torch

from agents.algorithms import GRPO, ActorCritic, ExpectedPolicyGradient
from relo_env.errors import CheckpointError, ConfigError
from tests.agents.worlds import micro_network, square_world


class Harm:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture
def saved(tmp_path):
    """A short run's zip, its model, and a world to load it in."""
    network = micro_network()
    venv = square_world(network)
    model = ActorCritic("RELOPolicy", venv, ent_coef=0.02, seed=0).learn(16)
    model.save(tmp_path / "run.zip")
    yield tmp_path / "run.zip", model, venv
    venv.close()


def with_pickle(path, value):
    """Put a pickle into the zip's settings, as SB3 keeps them."""
    import cloudpickle

    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(files["data"])
    pickled = base64.b64encode(cloudpickle.dumps(value)).decode()
    data["lr_schedule"] = {":type:": "x", ":serialized:": pickled}
    files["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_pickles_of_an_untrusted_file_are_not_run(saved, tmp_path):
    path, model, venv = saved
    with_pickle(path, Harm(tmp_path / "trace"))
    loaded = ActorCritic.load(path, env=venv, trusted=False)
    assert not (tmp_path / "trace").exists()
    assert (loaded.num_timesteps, loaded.ent_coef) == (16, 0.02)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(loaded.policy.state_dict()[name], value), name
    assert ActorCritic.load(path, env=venv, trusted=False, ent_coef=0.5).ent_coef == 0.5


def test_plain_settings_of_every_algorithm_are_read(tmp_path):
    with closing(square_world(micro_network(), candidate_info=True)) as venv:
        settings = {"learning_rate": 3e-3, "vf_coef": 0.3, "greedy_share": 0.25}
        ExpectedPolicyGradient("RELOPolicy", venv, **settings).save(tmp_path / "run.zip")
        loaded = ExpectedPolicyGradient.load(tmp_path / "run.zip", env=venv, trusted=False)
        assert {name: getattr(loaded, name) for name in settings} == settings


def test_untrusted_files_that_do_not_fit(saved, tmp_path):
    path, _, venv = saved
    with pytest.raises(ConfigError, match="give its environment"):
        ActorCritic.load(path, trusted=False)
    with pytest.raises(ConfigError, match="GRPO needs groups"):
        GRPO.load(path, env=venv, trusted=False)
    path.write_bytes(path.read_bytes()[:200])
    for source in (path, tmp_path / "absent.zip"):
        with pytest.raises(CheckpointError, match="cannot be loaded as ActorCritic"):
            ActorCritic.load(source, env=venv, trusted=False)
