"""`relo demo` ends its training when a check on held-back clips says so."""

from agents.commands import demo
from agents.network.checkpoints import read_header
from tests.agents.worlds import micro_network

CONFIG = demo.DemoConfig(steps=800, num_envs=2)
CHECKED = demo.CHECK_EVERY * CONFIG.num_envs * 8


def frames_of(checkpoint):
    return read_header(checkpoint)["metrics"]["num_timesteps"]


def test_the_training_ends_at_the_first_check_that_is_passed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "LEARNT", 0.0)
    checkpoint = demo.learn(CONFIG, micro_network(), tmp_path)
    assert frames_of(checkpoint) == CHECKED
    assert f"Learnt after {CHECKED} frames" in capsys.readouterr().out
    before = checkpoint.read_bytes()
    again = demo.learn(CONFIG, micro_network(), tmp_path)
    assert again.read_bytes() == before
    assert f"Learnt after {CHECKED} frames" in capsys.readouterr().out


def test_without_it_the_training_goes_to_its_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "LEARNT", 1.1)
    config = demo.DemoConfig(steps=96, num_envs=2)
    assert frames_of(demo.learn(config, micro_network(), tmp_path)) == 96
    assert "Learnt" not in capsys.readouterr().out
