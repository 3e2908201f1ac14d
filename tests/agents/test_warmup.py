"""Stage 1: its losses by hand, its trainer's promises."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.confidence import Confidence
from agents.network import RELONetwork, checkpoints
from agents.network.boxes import neighbour_cells, overlaps, true_cells
from agents.warmup import (
    ClipBatches,
    Warmup,
    WarmupConfig,
    read_clips,
    warmup,
)
from agents.warmup.losses import focal_loss, heat_maps, warmup_loss
from agents.warmup.trainer import parameter_groups, schedule
from relo_env import boxes as bx
from relo_env.errors import CheckpointError, ConfigError, DataError, TrainingError
from tests.toys import Squares, hidden_squares

CONFIG = WarmupConfig(steps=4, clips=2, clip_length=2, log_every=1, picture_every=2, save_every=2)


def small_data() -> Squares:
    return Squares("train")


def small_network() -> RELONetwork:
    torch.manual_seed(0)
    return RELONetwork.from_preset("micro")


def _load(path: Path, prefixes: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    with np.load(path) as file:
        return [(name, file[name]) for name in file if name.startswith(prefixes)]


def train(out: Path, config: WarmupConfig = CONFIG, **options: object) -> dict[str, torch.Tensor]:
    network = small_network()
    warmup(config, network=network, dataset=small_data(), out=out, **options)
    return network.state_dict()


class TestLoss:
    def test_of_one_frame_by_hand(self):
        # Grid 2 x 2; the centre (.6, .3) lies in cell 1. There the candidate is moved by 0.1 in x.
        target = torch.tensor([[0.6, 0.3, 0.4, 0.2]])
        candidates = torch.full((1, 4, 4), 0.01)
        candidates[0, 1] = torch.tensor([0.7, 0.3, 0.4, 0.2])
        prior = torch.full((1, 4), 0.5)
        losses = warmup_loss(candidates, prior, target, grid=(2, 2))
        # Overlap .3 x .2 = .06, union .08 + .08 - .06 = .1, hull .5 x .2 = .1: IoU = GIoU = .6.
        assert float(losses.iou) == pytest.approx(0.6, abs=1e-6)
        assert float(losses.giou) == pytest.approx(0.4, abs=1e-6)
        # Corners differ by (.1, 0, .1, 0).
        assert float(losses.l1) == pytest.approx(0.05, abs=1e-6)
        # Boxes below a cell have radius 0: peak (1 - p)^2 log p, three cells p^2 log (1 - p).
        assert float(losses.focal) == pytest.approx(4 * 0.25 * np.log(2), abs=1e-6)
        assert float(losses.total) == pytest.approx(2 * 0.4 + 5 * 0.05 + np.log(2), abs=1e-5)

    def test_gradient_reaches_the_centre_cell_only(self):
        candidates = torch.rand(3, 16, 4, requires_grad=True)
        targets = torch.tensor([[0.1, 0.1, 0.2, 0.2], [0.5, 0.5, 0.3, 0.3], [0.9, 0.2, 0.1, 0.4]])
        losses = warmup_loss(candidates, torch.full((3, 16), 0.1), targets, grid=(4, 4))
        losses.total.backward()
        touched = candidates.grad.abs().sum(-1).nonzero().tolist()
        assert touched == [[0, 0], [1, 10], [2, 3]]

    def test_neighbours_are_the_cells_inside_the_box(self):
        # Cell centres at .125, .375, .625, .875; the box spans [.2, .7] x [.55, .7].
        targets = torch.tensor([[0.45, 0.625, 0.5, 0.15]])
        frames, cells = neighbour_cells(targets, (4, 4))
        assert frames.tolist() == [0, 0]
        assert cells.tolist() == [9, 10]

    def test_a_box_between_cell_centres_keeps_its_own_cell(self):
        _, cells = neighbour_cells(torch.tensor([[0.45, 0.45, 0.01, 0.01]]), (4, 4))
        assert cells.tolist() == [5]

    def test_frames_count_alike_whatever_their_number_of_neighbours(self):
        targets = torch.tensor([[0.5, 0.5, 0.9, 0.9], [0.45, 0.45, 0.01, 0.01]])
        candidates = targets[:, None].repeat(1, 16, 1)
        candidates[0, :, 0] += 0.1
        candidates[1, :, 0] += 0.3
        losses = warmup_loss(
            candidates, torch.full((2, 16), 0.1), targets, grid=(4, 4), supervision="neighbours"
        )
        assert float(losses.l1) == pytest.approx((0.05 + 0.15) / 2, abs=1e-6)

    def test_peak_takes_the_box_at_the_priors_best_cell(self):
        targets = torch.tensor([[0.5, 0.5, 0.3, 0.3]])
        candidates = torch.zeros(1, 16, 4)
        candidates[0, 7] = targets[0]
        prior = torch.full((1, 16), 0.1)
        prior[0, 7] = 0.9
        losses = warmup_loss(candidates, prior, targets, grid=(4, 4), supervision="peak")
        assert float(losses.giou) == pytest.approx(0.0, abs=1e-6)

    def test_official_heat_map(self):
        # 8 x 8 cells: the radius is floor((-22.4 + sqrt(22.4^2 + 215.04)) / 2) = 2, so the
        # deviation is 5 / 6.
        heat = heat_maps(torch.tensor([[0.5, 0.5, 0.5, 0.5]]), (16, 16), official=True)[0]
        assert heat[8, 8] == 1.0
        assert float(heat[8, 9]) == pytest.approx(np.exp(-0.72), abs=1e-6)
        assert float(heat[9, 9]) == pytest.approx(np.exp(-1.44), abs=1e-6)
        assert heat.count_nonzero() == 25

    def test_official_centre_is_rounded_and_may_leave_the_map(self):
        target = torch.tensor([[0.98, 0.5, 0.01, 0.01]])
        assert heat_maps(target, (16, 16), official=True).count_nonzero() == 0
        ours = heat_maps(target, (16, 16))[0]
        assert ours.argmax() == true_cells(target, (16, 16))[0]

    def test_focal_loss_without_a_peak_is_not_divided(self):
        loss = focal_loss(torch.full((1, 2), 0.5), torch.zeros(1, 2))
        assert float(loss) == pytest.approx(2 * 0.25 * np.log(2), abs=1e-6)

    @given(st.lists(st.floats(0.01, 0.99), min_size=8, max_size=8))
    def test_overlaps_agree_with_the_environments(self, numbers):
        a, b = np.array(numbers).reshape(2, 4)
        expected = bx.iou(bx.cxcywh_to_xywh(a), bx.cxcywh_to_xywh(b))
        assert float(overlaps(torch.tensor(a), torch.tensor(b))) == pytest.approx(expected)

    @pytest.mark.skipif("RELO_SHARED" not in os.environ, reason="RELO_SHARED is not set")
    def test_parity_with_the_public_code(self):
        path = Path(os.environ["RELO_SHARED"]) / "official" / "golden_misc.npz"
        golden = {k: torch.from_numpy(v) for k, v in _load(path, ("heat/", "warm/"))}
        boxes = golden["heat/boxes"]
        targets = torch.cat([boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:]], dim=-1)
        rng = np.random.default_rng(zlib.crc32(b"misc.heat.score"))
        scores = torch.from_numpy(rng.standard_normal((2, 8, 1, 16, 16))).float()
        scores = scores.sigmoid().clamp(1e-4, 1 - 1e-4).reshape(2, 8, 256)
        for i in range(2):
            heat = heat_maps(targets[i], (16, 16), official=True)
            torch.testing.assert_close(heat, golden["heat/maps"][i])
            focal = focal_loss(scores[i], heat.flatten(1))
            assert float(focal) == pytest.approx(float(golden["heat/focal"][i]), rel=1e-5)
            predicted = golden["warm/pred_cxcywh"][i][:, None].expand(-1, 256, -1)
            losses = warmup_loss(
                predicted, scores[i], targets[i], grid=(16, 16), supervision="peak"
            )
            assert float(losses.giou) == pytest.approx(float(golden["warm/giou_loss"][i]), rel=1e-5)
            assert float(losses.l1) == pytest.approx(float(golden["warm/l1"][i]), rel=1e-5)


class TestBatches:
    def test_follow_from_seed_and_index(self):
        crop = small_network().crop
        first, second = (
            ClipBatches(small_data(), crop, clips=2, clip_length=3, seed=seed) for seed in (1, 1)
        )
        _ = first[0]
        for a, b in zip(first[5], second[5], strict=True):
            assert torch.equal(a, b)
        assert not torch.equal(first[4].searches, first[5].searches)

    def test_targets_lie_where_the_crop_shows_them(self):
        batch = ClipBatches(small_data(), small_network().crop, clips=2, clip_length=3)[0]
        assert batch.templates.shape == (2, 1, 3, 48, 48)
        assert batch.searches.shape == (3, 2, 3, 64, 64)
        assert ((batch.targets[..., :2] > 0) & (batch.targets[..., :2] < 1)).all()
        assert (batch.targets[..., 2:] > 0).all()


class TestTraining:
    def test_loss_falls_on_a_batch_seen_often(self, tmp_path):
        network = small_network()
        config = replace(CONFIG, steps=60, clips=4, learning_rate=3e-3, encoder_learning_rate=1e-3)
        run = Warmup(config, network, small_data(), tmp_path, False, torch.device("cpu"))
        network.train()
        batch = run.batches[0]
        losses = [run._update(batch).total.item() for run.step in range(60)]
        assert losses[-1] < 0.5 * losses[0]

    def test_prior_does_not_train_the_encoder_unless_shared(self):
        batch = ClipBatches(small_data(), small_network().crop, clips=1, clip_length=2)[0]
        for shared in (False, True):
            network = small_network()
            read_clips(network, batch, shared_prior=shared).prior.sum().backward()
            gradients = [p.grad is not None for p in network.encoder.parameters()]
            assert any(gradients) == shared

    def test_temporal_tokens_pass_from_frame_to_frame(self):
        network = small_network()
        batch = ClipBatches(small_data(), network.crop, clips=1, clip_length=2)[0]
        swapped = batch._replace(searches=batch.searches.flip(0))
        with torch.no_grad():
            first, second = read_clips(network, batch), read_clips(network, swapped)
        assert not torch.equal(first.prior[1], second.prior[0])

    def test_frozen_and_policy_parameters_are_not_trained(self, tmp_path):
        before = small_network().state_dict()
        after = train(tmp_path, replace(CONFIG, frozen=("encoder.vit.patch_embed.",)))
        for name, value in before.items():
            kept = name.startswith(("heads.policy.", "heads.value.", "encoder.vit.patch_embed."))
            if kept:
                assert torch.equal(value, after[name]), name
        assert not torch.equal(before["heads.size.out.weight"], after["heads.size.out.weight"])

    def test_a_policy_that_is_trained_too_learns_to_choose_and_shapes_the_encoder(self, tmp_path):
        network = small_network()
        config = replace(CONFIG, steps=60, clips=4, learning_rate=3e-3, policy_weight=1.0)
        run = Warmup(config, network, small_data(), tmp_path, False, torch.device("cpu"))
        batch = run.batches[0]
        targets = batch.targets.flatten(0, 1)

        def earned():
            with torch.no_grad():
                seen = read_clips(network, batch, policy=True)
            worth = overlaps(seen.candidates, targets[:, None])
            return float((seen.policy_logits.softmax(-1) * worth).sum(-1).mean())

        before = earned()
        for run.step in range(60):
            run._update(batch)
        assert earned() > before + 0.4
        network.zero_grad()
        read_clips(network, batch, policy=True).policy_logits[:, 0].sum().backward()
        assert network.encoder.search_token.grad.abs().sum() > 0

    def test_groups_have_their_rates(self):
        new, body = parameter_groups(small_network(), CONFIG)
        assert new["initial_lr"] == CONFIG.learning_rate
        assert body["initial_lr"] == CONFIG.encoder_learning_rate
        network = small_network()
        new, body = parameter_groups(network, CONFIG)
        assert any(p is network.encoder.search_token for p in new["params"])
        assert any(p is network.encoder.vit.pos_embed for p in body["params"])

    def test_schedule(self):
        assert schedule(0, 1000) == pytest.approx(1 / 50)
        assert schedule(500, 1000) == 1.0
        assert schedule(750, 1000) == pytest.approx(0.5)


class TestResume:
    def test_after_kill_9_goes_on_to_the_same_numbers(self, tmp_path):
        expected = train(tmp_path / "whole")
        script = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from agents.warmup import Warmup\n"
            "from tests.agents import test_warmup as t\n"
            "step = Warmup._step\n"
            "def dies(self, batch):\n"
            "    step(self, batch)\n"
            "    if self.step == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
            "Warmup._step = dies\n"
            "t.train(Path(sys.argv[1]))\n"
        )
        killed = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "killed")],
            cwd=Path(__file__).parents[2],
            capture_output=True,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        resumed = train(tmp_path / "killed", resume=True)
        for name, value in expected.items():
            assert torch.equal(value, resumed[name]), name

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_saves_a_whole_step(self, number, tmp_path, monkeypatch):
        update = Warmup._update

        def interrupted(self, batch):
            if self.step == 1:
                signal.raise_signal(number)
            return update(self, batch)

        monkeypatch.setattr(Warmup, "_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped")
        monkeypatch.undo()
        resumed = train(tmp_path / "stopped", resume=True)
        for name, value in train(tmp_path / "whole").items():
            assert torch.equal(value, resumed[name]), name

    def test_a_folder_in_use_is_not_overwritten(self, tmp_path):
        train(tmp_path)
        with pytest.raises(ConfigError, match="holds a run already"):
            train(tmp_path)

    def test_other_settings_are_refused(self, tmp_path):
        train(tmp_path)
        with pytest.raises(CheckpointError, match="learning_rate"):
            train(tmp_path, replace(CONFIG, learning_rate=1.0), resume=True)

    def test_other_data_are_refused_and_steps_may_grow(self, tmp_path):
        train(tmp_path)
        other = Squares("train", count=5)
        with pytest.raises(CheckpointError, match="made on other data"):
            warmup(CONFIG, network=small_network(), dataset=other, out=tmp_path, resume=True)
        train(tmp_path, replace(CONFIG, steps=5, save_every=3, log_every=2), resume=True)
        assert checkpoints.read_header(tmp_path / "warmup.safetensors")["metrics"]["step"] == 5

    @pytest.mark.parametrize("refused", ["claim", "settings", "frozen", "cut", "incomplete"])
    def test_a_refused_run_leaves_the_network_as_it_was(self, refused, tmp_path):
        train(tmp_path)
        network = small_network()
        network.confidence = Confidence(0.0, 1.0, 1.0)
        network.heads.size.requires_grad_(False)
        before = copy.deepcopy(network.state_dict())
        flags = [parameter.requires_grad for parameter in network.parameters()]
        config, out, resume = CONFIG, tmp_path, refused != "claim"
        state = tmp_path / "warmup.state.pt"
        if refused == "settings":
            config = replace(CONFIG, clips=4)
        elif refused == "frozen":
            config, out, resume = replace(CONFIG, frozen=("nothing",)), tmp_path / "new", False
        elif refused == "cut":
            state.write_bytes(state.read_bytes()[:500])
        elif refused == "incomplete":
            content = torch.load(state, weights_only=True)
            del content["optimizer"]
            torch.save(content, state)
        with pytest.raises((ConfigError, CheckpointError)):
            warmup(config, network=network, dataset=small_data(), out=out, resume=resume)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert [parameter.requires_grad for parameter in network.parameters()] == flags
        assert network.confidence is not None
        assert not network.training
        assert not (tmp_path / "new").exists()

    def test_numbers_that_are_none_are_never_saved(self, tmp_path):
        config = replace(CONFIG, learning_rate=1e30, encoder_learning_rate=1e30, save_every=1)
        with pytest.raises(TrainingError, match="diverged"):
            train(tmp_path, config)
        for path in tmp_path.glob("*.safetensors"):
            weights = RELONetwork.from_checkpoint(path).state_dict()
            assert all(value.isfinite().all() for value in weights.values())

    def test_a_split_without_boxes_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="split 'test', has no boxes but the first ones"):
            warmup(CONFIG, network=small_network(), dataset=hidden_squares(), out=tmp_path)

    def test_nothing_to_resume(self, tmp_path):
        with pytest.raises(CheckpointError, match="does not exist"):
            train(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"supervision": "center"}, "centre"),
        ({"clips": 0}, "clips is 0"),
        ({"frozen": ("encoder.nothing",)}, "frozen parameter"),
        ({"frozen": ("",)}, "nothing is left to train"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_faulty_configuration(change, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, replace(CONFIG, **change))
