"""Recordings are Minari data sets that tell what was played, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest

from agents import recording
from agents.cli import main
from agents.recording import RecordConfig, record
from relo_env import make_dataset
from relo_env.errors import CheckpointError, ConfigError, DataError
from tests.agents.worlds import micro_network
from tests.toys import Squares

minari = pytest.importorskip("minari", reason="needs relo[offline]")
pytest.importorskip("h5py", reason="needs relo[offline]")

CLIP = {"clip_length": 4}


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    """Checkpoint of the smallest network."""
    return str(
        micro_network().save_checkpoint(
            tmp_path_factory.mktemp("net") / "micro.safetensors", stage="policy"
        )
    )


@pytest.fixture(scope="module")
def config(micro):
    """Four clips of four frames, played two at a time."""
    return lambda **changes: RecordConfig(
        **{"policy": micro, "episodes": 4, "num_envs": 2, "env_options": CLIP, **changes}
    )


def synthetic():
    return make_dataset("Synthetic", length=20, difficulty="easy")


def episodes(path):
    return list(minari.MinariDataset(path).iterate_episodes())


def logits_of_two():
    """A policy of one's own: always positions 3 and 5 of the two clips."""
    return lambda observation: np.eye(16)[[3, 5]] * 100


def test_a_recording_says_what_was_played(config, tmp_path):
    path = record(config(), dataset=synthetic(), out=tmp_path)
    data = minari.MinariDataset(path)
    assert (data.total_episodes, data.total_steps) == (4, 16)
    for episode in data.iterate_episodes():
        infos = episode.infos
        assert episode.observations["features"].shape[0] == 5
        assert episode.observations["features"].dtype == np.float16
        assert all(len(values) == 5 for values in infos.values())
        earned = infos["candidate_ious"][np.arange(1, 5), episode.actions]
        np.testing.assert_allclose(earned, infos["iou"][1:], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(episode.rewards[:-1], infos["iou"][1:-1])
        assert episode.terminations.tolist() == [False] * 3 + [True]
        assert not episode.truncations.any()


def test_the_environment_and_a_seed_show_the_clip_again(config, tmp_path):
    path = record(config(), dataset=synthetic(), out=tmp_path)
    data = minari.MinariDataset(path)
    env = data.recover_environment()
    facts = list(data.storage.get_episode_metadata(range(4)))
    for episode, known in zip(data.iterate_episodes(), facts, strict=True):
        _, info = env.reset(seed=known["seed"])
        assert info["sequence"] == known["sequence"]
        for t, action in enumerate(episode.actions):
            _, reward, terminated, _, info = env.step(action)
            # Batches of other sizes round otherwise: a network's boxes agree to 1e-4 of the crop.
            np.testing.assert_allclose(reward, episode.rewards[t], atol=0.02)
        assert terminated
        assert known["auc"] == pytest.approx(info["auc"], abs=0.05)


def test_minari_finds_it_by_id_with_its_page(config, tmp_path, monkeypatch):
    record(config(id="mine/squares-v3"), dataset=Squares(), out=tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    data = minari.load_dataset("mine/squares-v3")
    known = data.storage.metadata
    assert known["relo"]["fingerprint"] == Squares().fingerprint
    page = (tmp_path / "mine" / "squares-v3" / "README.md").read_text()
    assert page == known["description"]
    assert "4 clips of Squares" in page
    assert "(T + 1, 16)" not in page


@pytest.mark.parametrize(("stop_after", "num_envs"), [(0, 2), (1, 2), (1, 3)])
def test_an_interrupted_recording_goes_on_to_the_same(
    config, tmp_path, monkeypatch, stop_after, num_envs
):
    expected = episodes(record(config(), dataset=synthetic(), out=tmp_path / "whole"))
    play = recording._Player.play

    def interrupted(player, first):
        if first >= 2 * stop_after:
            raise KeyboardInterrupt
        return play(player, first)

    with monkeypatch.context() as patched:
        patched.setattr(recording._Player, "play", interrupted)
        with pytest.raises(KeyboardInterrupt):
            record(config(), dataset=synthetic(), out=tmp_path)
    assert not [*tmp_path.glob("relo/*/data")]
    with pytest.raises(ConfigError, match="--resume"):
        record(config(), dataset=synthetic(), out=tmp_path)
    (parts,) = tmp_path.glob("relo/*/.recording")
    (parts / ".part-1-episode-00000000.npz").write_bytes(b"cut by a kill")
    again = config(num_envs=num_envs)
    found = episodes(record(again, dataset=synthetic(), out=tmp_path, resume=True))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=0.02)
        for name, values in theirs.infos.items():
            np.testing.assert_allclose(ours.infos[name], values, atol=0.02)
    (home,) = tmp_path.glob("relo/*")
    assert {path.name for path in home.iterdir()} == {"README.md", "data", "settings.json"}


def test_a_damaged_clip_is_named(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(recording, "_read", lambda path: path.write_bytes(b"cut") and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            record(config(), dataset=synthetic(), out=tmp_path)
    with pytest.raises(DataError, match=r"episode-00000000\.npz is not a recorded clip.*resume"):
        record(config(), dataset=synthetic(), out=tmp_path, resume=True)


def test_a_failure_at_the_end_leaves_no_half_data_set(config, tmp_path, monkeypatch):
    from agents.integrations import minari as ours

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ours, "_page", fail)
        with pytest.raises(OSError, match="No space"):
            record(config(), dataset=synthetic(), out=tmp_path)
    assert not [*tmp_path.glob("relo/*/data")]
    path = record(config(), dataset=synthetic(), out=tmp_path, resume=True)
    assert len(episodes(path)) == 4


def test_finished_recordings_are_kept_and_others_refused(config, tmp_path):
    path = record(config(), dataset=synthetic(), out=tmp_path)
    before = (path / "main_data.hdf5").read_bytes()
    assert record(config(num_envs=4), dataset=synthetic(), out=tmp_path) == path
    assert (path / "main_data.hdf5").read_bytes() == before
    with pytest.raises(ConfigError, match="seed"):
        record(config(seed=1), dataset=synthetic(), out=tmp_path)
    hard = make_dataset("Synthetic", length=20, difficulty="hard")
    with pytest.raises(ConfigError, match="difficulty"):
        record(config(), dataset=hard, out=tmp_path)


def test_how_many_clips_play_at_once_changes_no_action(config, tmp_path):
    one, four = (
        episodes(record(config(num_envs=n), dataset=synthetic(), out=tmp_path / str(n)))
        for n in (1, 4)
    )
    same = [np.array_equal(a.actions, b.actions) for a, b in zip(one, four, strict=True)]
    assert np.mean(same) > 0.5  # batches of other sizes round otherwise


def test_policies(config, micro, tmp_path):
    uniform = config(policy="random", network=micro, episodes=8)
    drawn = [e.actions for e in episodes(record(uniform, dataset=synthetic(), out=tmp_path))]
    assert len(np.unique(drawn)) > 10
    own = config(policy=f"{__name__}:logits_of_two", network=micro, greedy=True)
    path = record(own, dataset=synthetic(), out=tmp_path)
    assert [e.actions.tolist() for e in episodes(path)] == [[3] * 4, [5] * 4] * 2
    half = config(
        policy=f"{__name__}:logits_of_two", network=micro, epsilon=0.5, episodes=16, id="half-v0"
    )
    drawn = np.array([e.actions for e in episodes(record(half, dataset=synthetic(), out=tmp_path))])
    assert 0.25 < np.mean((drawn == 3) | (drawn == 5)) < 0.85


def test_crops_are_what_the_network_reads(config, tmp_path):
    path = record(config(observations="crops"), dataset=synthetic(), out=tmp_path)
    data = minari.MinariDataset(path)
    assert {"template", "template_box", "search"} <= set(data.observation_space)
    episode = data[0]
    for name, space in data.observation_space.items():
        assert all(value in space for value in episode.observations[name])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"episodes": 0}, ConfigError, "episodes is 0"),
        ({"epsilon": 2.0}, ConfigError, "epsilon is 2.0"),
        ({"id": "no version"}, ConfigError, "namespace/name-v0"),
        ({"id": "../../out-v0"}, ConfigError, "namespace/name-v0"),
        ({"policy": "nanno"}, CheckpointError, "nano"),
        ({"policy": "no_module:make"}, ConfigError, "no_module"),
        ({"policy": "json:loads"}, ConfigError, "json:loads"),
        ({"policy": "os:getcwd"}, ConfigError, "os:getcwd' gave .*; expected a function"),
        ({"network": "nano"}, ConfigError, "Leave network out"),
        ({"env_options": {"candidate_info": False}}, ConfigError, "candidate_info"),
        ({"env_options": {"clip_lenght": 4}}, ConfigError, "clip_lenght"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(config, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        record(config(**changes), dataset=synthetic(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_named(config, tmp_path):
    path = record(config(), dataset=synthetic(), out=tmp_path)
    (path.parent / "settings.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"settings\.json"):
        record(config(), dataset=synthetic(), out=tmp_path)


def test_what_is_missing_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "find_spec", lambda name: None if name == "h5py" else True)
    with pytest.raises(ConfigError, match=r"h5py.*relo\[offline\]"):
        record(config(), dataset=synthetic(), out=tmp_path)


def test_command(micro, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"record --policy {micro} --episodes 2 --num-envs 2 --env-options clip_length=3"
    words += " --dataset-option length=20 --device cpu --out recordings"
    assert main(words.split()) == 0
    (home,) = Path("recordings").glob("relo/*")
    assert str(home / "data") in capsys.readouterr().out
    settings = json.loads((home / "settings.json").read_text())
    assert settings["data"]["recorded"]["options"]["length"] == 20
