import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO

from agents.algorithms import RELORolloutBuffer
from agents.callbacks import CreditCallback
from agents.policies import RELOPolicy
from relo_env.errors import ConfigError
from tests.agents.worlds import CLIP_LENGTH, micro_network, square_world

SPACE = spaces.Dict(
    {
        "template": spaces.Box(0, 255, (3, 2, 2), np.uint8),
        "search": spaces.Box(0, 255, (3, 4, 4), np.uint8),
    }
)
ACTIONS = spaces.Discrete(5)


def filled(steps: int = 4, rows: int = 2, clip: int = 2, **kwargs) -> RELORolloutBuffer:
    """Clips of two steps; template and search crops are filled with numbers of their own."""
    buffer = RELORolloutBuffer(steps, SPACE, ACTIONS, "cpu", n_envs=rows, **kwargs)
    for t in range(steps):
        episodes = np.array([10 * (t // clip) + row for row in range(rows)], dtype=np.uint8)
        frames = np.array([10 * t + row for row in range(rows)], dtype=np.uint8)
        last = t % clip == clip - 1
        infos = [
            {
                "iou": 0.1 * (t + 1),
                "visible": not (t == 1 and row == 1),
                "candidate_ious": np.full(5, 0.11 * t),
                **({"auc": 0.5} if last else {}),
            }
            for row in range(rows)
        ]
        buffer.record(infos)
        buffer.add(
            {
                "template": np.broadcast_to(episodes[:, None, None, None], (rows, 3, 2, 2)),
                "search": np.broadcast_to(frames[:, None, None, None], (rows, 3, 4, 4)),
            },
            np.full(rows, t),
            np.full(rows, 0.1 * (t + 1) + 0.5 * last),
            np.full(rows, t % clip == 0),
            torch.zeros(rows),
            torch.zeros(rows),
        )
    buffer.compute_returns_and_advantage(torch.zeros(rows), np.ones(rows, dtype=bool))
    return buffer


def test_templates_are_kept_once_an_episode_and_given_back_with_every_frame():
    buffer = filled()
    (samples,) = buffer.in_order()
    assert len(buffer.constants["template"]) == 4
    assert samples.observations["template"][:, 0, 0, 0].tolist() == [0, 1, 0, 1, 10, 11, 10, 11]
    assert samples.observations["search"][:, 0, 0, 0].tolist() == [0, 1, 10, 11, 20, 21, 30, 31]
    assert samples.observations["template"].dtype == torch.uint8


def test_absent_frames_are_never_sampled():
    seen = [
        int(frame)
        for samples in filled().get(3)
        for frame in samples.observations["search"][:, 0, 0, 0]
    ]
    assert sorted(seen) == [0, 1, 10, 20, 21, 30, 31]  # frame 1 of row 1 is absent


def test_absent_frames_are_left_out_of_the_normalisation():
    buffer = filled()
    buffer.normalise_advantages()
    used = buffer.advantages[buffer.trainable]
    assert used.mean() == pytest.approx(0, abs=1e-6)
    assert used.std(ddof=1) == pytest.approx(1, abs=1e-5)


def test_paper_credit_adds_the_clips_auc_to_every_frame():
    assert filled().returns[:, 0] == pytest.approx([0.6, 0.7, 0.8, 0.9])


def test_candidates_come_as_what_each_would_have_earned():
    (samples,) = filled(candidates=True, credit="frame").in_order()
    # Row 0 at step 3: IoU 0.33 at every position passes 7 of 21 thresholds: 0.33 + 0.325 / 2.
    assert samples.candidate_returns[6].tolist() == pytest.approx([0.4925] * 5)


def test_micro_batches_are_parts_of_the_batch():
    (samples,) = filled(candidates=True, credit="frame").get()
    parts = list(samples.split(3))
    assert [part.num_frames for part in parts] == [3, 3, 1]
    for name in ("actions", "returns", "candidate_returns"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(samples, name))


def test_only_the_keys_asked_for_are_kept():
    (samples,) = filled(keys=["search"]).in_order()
    assert set(samples.observations) == {"search"}


def test_memory_is_said_and_limited(caplog):
    with caplog.at_level("INFO"):
        RELORolloutBuffer(1024, SPACE, ACTIONS, "cpu", n_envs=1024, memory_limit=2**30)
    assert "1024 steps x 1024 environments need 0.0586 GiB" in caplog.text
    with pytest.raises(ConfigError, match=r"need 0.0586 GiB; the limit is 0.05"):
        RELORolloutBuffer(1024, SPACE, ACTIONS, "cpu", n_envs=1024, memory_limit=2**29 // 10)


def test_an_episode_that_the_rollout_cuts_is_an_error():
    with pytest.raises(ConfigError, match="clip_length"):
        filled(steps=3, clip=2).compute_returns_and_advantage(
            torch.zeros(2), np.zeros(2, dtype=bool)
        )


def test_an_unknown_credit_is_named():
    with pytest.raises(ConfigError, match="Did you mean 'paper'"):
        RELORolloutBuffer(2, SPACE, ACTIONS, credit="papre")


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_sb3_takes_the_papers_credit(algorithm):
    network = micro_network()
    venv = square_world(network, auc_weight=2.0)
    model = algorithm(
        RELOPolicy,
        venv,
        n_steps=4 * CLIP_LENGTH,
        policy_kwargs={"network": network},
        rollout_buffer_class=RELORolloutBuffer,
        rollout_buffer_kwargs={"credit": "paper"},
        seed=0,
    )
    model.learn(64, callback=CreditCallback())
    buffer = model.rollout_buffer
    for start in range(0, 4 * CLIP_LENGTH, CLIP_LENGTH):
        clip = slice(start, start + CLIP_LENGTH)
        expected = buffer.ious[clip] + 2.0 * buffer.aucs[start + CLIP_LENGTH - 1]
        assert buffer.returns[clip] == pytest.approx(expected, abs=1e-6)
    venv.close()


def test_credit_without_its_callback_says_what_is_missing():
    network = micro_network()
    venv = square_world(network)
    model = A2C(
        RELOPolicy,
        venv,
        n_steps=CLIP_LENGTH,
        policy_kwargs={"network": network},
        rollout_buffer_class=RELORolloutBuffer,
    )
    with pytest.raises(ConfigError, match="CreditCallback"):
        model.learn(16)
    venv.close()
