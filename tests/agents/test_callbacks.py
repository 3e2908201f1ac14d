import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.algorithms import ActorCritic
from agents.callbacks import BenchmarkCallback, CheckpointCallback, ImageCallback
from agents.network import RELONetwork
from relo_env.benchmark.trackers import StaticTracker
from tests.agents.worlds import micro_network, square_world
from tests.toys import Squares


@pytest.fixture
def make():
    worlds = []

    def build(**kwargs):
        network = micro_network()
        worlds.append(square_world(network))
        return ActorCritic(
            "RELOPolicy", worlds[-1], policy_kwargs={"network": network}, seed=0, **kwargs
        )

    yield build
    for world in worlds:
        world.close()


def test_pictures_and_scalars_reach_tensorboard(make, tmp_path):
    model = make(tensorboard_log=str(tmp_path))
    model.learn(64, callback=ImageCallback(every=2))
    (folder,) = tmp_path.iterdir()
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Images("images/search")] == [16, 48]
    image = events.Images("images/search")[0]
    assert image.width == image.height >= 240
    scalars = set(events.Tags()["scalars"])
    assert {"rollout/auc_mean", "rollout/iou_mean", "train/entropy_loss"} <= scalars


def test_a_picture_shows_the_boxes_where_they_are(make):
    class Keep(ImageCallback):
        def _picture(self):
            self.drawn = [
                self._in_crop(self.locals["infos"][0][name]) for name in ("box", "target_box")
            ]
            self.seen = self.locals["obs_tensor"]["search"][0].numpy()
            return super()._picture()

    keep = Keep()
    make().learn(16, callback=keep)
    x, y, w, h = keep.drawn[1]
    inside = keep.seen[:, int(y + h / 2), int(x + w / 2)].astype(int)
    assert inside[0] - inside[2] > 100 or np.ptp(inside) < 5  # the square is yellow, or grey


def test_checkpoints_are_of_the_run_as_it_ended(make, tmp_path):
    model = make()
    model.learn(48, callback=CheckpointCallback(tmp_path / "run", every=2))
    network = RELONetwork.from_checkpoint(tmp_path / "run" / "network.safetensors")
    for name, value in model.policy.network.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        "state.pt",
        "network.safetensors",
    }


def test_a_training_that_a_callback_ends_keeps_its_network(make, tmp_path):
    class End(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps < 40  # within the third rollout

    model = make()
    model.learn(1000, callback=[CheckpointCallback(tmp_path, every=10), End()])
    network = RELONetwork.from_checkpoint(tmp_path / "network.safetensors")
    for name, value in model.policy.network.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_benchmark_figures_are_logged(make):
    networks = []

    def make_tracker(network):
        networks.append(network)
        return StaticTracker()

    model = make()
    callback = BenchmarkCallback(Squares("test", count=2, length=5), make_tracker, every=2)
    model.learn(48, callback=callback, log_interval=None)
    assert networks
    assert all(network is model.policy.network for network in networks)
    figures = callback.figures()
    assert 0 < figures["success_auc"] < 1
    assert model.logger.name_to_value["benchmark/success_auc"] == figures["success_auc"]
