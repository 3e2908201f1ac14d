"""Decisions beside the position: the side of the next window, and renewal of a template."""

import copy
import json
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import relo_env
from relo_env.crops import SearchWindow
from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import ConfigError
from relo_env.proposers import PreviousSizeProposer
from tests.toys import ArrayFrames, Squares

CROPS = {"num_templates": 2, "template_size": 40, "search_size": 128, "stride": 16}
"""A grid of 8 x 8."""
BOTH = ("zoom", "renew")
SIDE = 16
"""[px] side of the target of `Teleport`: its search window is 64 px wide, 144 px at zoom 2.25."""
CENTER = 8 * 3 + 3
"""Cell whose centre lies half a cell left of and above the window's centre."""


class Teleport(Dataset):
    """A square that stays for three frames and is ``jump`` pixels away from then on."""

    name, splits = "Teleport", ("train",)
    names = ("jump",)

    def __init__(self, jump=(63, 9)):
        super().__init__()
        frames = np.zeros((12, 160, 240, 3), np.uint8)
        boxes = np.tile([60.0, 60, SIDE, SIDE], (12, 1))
        boxes[3:, :2] += jump
        for frame, (x, y, w, h) in zip(frames, boxes.astype(int), strict=True):
            frame[y : y + h, x : x + w] = 200
        self.video = Sequence("jump", ArrayFrames(frames), boxes, np.ones(12, bool))

    def load(self, name):
        return self.video


def make(dataset=None, controls=BOTH, **options):
    dataset = Squares() if dataset is None else dataset
    options = {"augment": False, "clip_length": 4, "max_stride": 1, **CROPS, **options}
    return relo_env.TrackingEnv(dataset, controls=controls, **options)


def make_vector(num_envs=3, **options):
    options = {"augment": False, "clip_length": 4, "controls": BOTH, **CROPS, **options}
    return relo_env.TrackingVectorEnv(num_envs, "tests.toys:Squares", **options)


def best(env):
    """The position with the highest IoU, or one in the middle where none overlaps."""
    ious = env.candidate_ious
    return int(ious.argmax()) if ious.any() else CENTER


@pytest.mark.parametrize(
    ("controls", "space", "states"),
    [
        ((), gym.spaces.Discrete(64), set()),
        (("zoom",), gym.spaces.MultiDiscrete([64, 3]), {"zoom"}),
        ("renew", gym.spaces.MultiDiscrete([64, 2]), {"renewal_age"}),
        (["renew", "zoom"], gym.spaces.MultiDiscrete([64, 3, 2]), {"zoom", "renewal_age"}),
    ],
)
def test_spaces(controls, space, states):
    env = make(controls=controls)
    assert env.action_space == space
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"template", "template_box", "search", *states}
    assert env.config.controls == tuple(c for c in BOTH if c in controls)


@pytest.mark.parametrize("mode", ["clip", "sequence"])
def test_checkers_find_nothing(mode):
    env = make(mode=mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
        check_env_sb3(env, skip_render_check=True)
    made = gym.make("RELO-Synthetic-v0", controls=BOTH, **CROPS)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(made.spec.to_json()))
    assert again.action_space == made.action_space
    assert data_equivalence(again.reset(seed=1), made.reset(seed=1))


def test_without_a_decision_it_is_the_environment_without_controls():
    plain, controlled = make(controls=()), make()
    a, b = plain.reset(seed=2)[0], controlled.reset(seed=2)[0]
    for action in (27, 28, 35, 36):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
        a, b = plain.step(action)[0], controlled.step([action, 0, 0])[0]


def test_zoom_is_the_side_of_the_next_window_only():
    env = make(Teleport(), controls=("zoom",))
    observation, _ = env.reset(options={"start": 0})
    sides, seen = [env.window.side], [observation["zoom"].item()]
    for entry in (1, 2, 0, 1):
        observation, *_, info = env.step(np.array([CENTER, entry]))
        sides.append(env.window.side)
        seen.append(observation["zoom"].item())
        assert info["zoom"] == (1.0, 1.5, 2.25)[entry]
    assert sides[:4] == [64.0, 96.0, 144.0, 64.0]
    assert seen == [1.0, 1.5, 2.25, 1.0, 1.0]  # the last observation is repeated
    assert "renewed" not in info


def test_a_target_that_teleports_is_found_with_zoom_only():
    """It is 63 px away, a whole window side; a window of 144 px reaches 72 px far.

    There the cell of row 4, column 7 has its centre 63 px right of and 9 px below the window's.
    """
    found = {}
    for zoom in (0, 1, 2):
        env = make(Teleport(), controls=("zoom",), clip_length=8)
        env.reset(options={"start": 0})
        env.step([8 * 3 + 3, 0])  # the templates are frames 0 and 1, and this is frame 2
        env.engine.episodes[0].box = np.array([60.0, 60, SIDE, SIDE])
        ious = []
        for _ in range(4):
            *_, info = env.step([best(env), zoom])
            ious.append(info["iou"])
        found[zoom] = max(ious[1:])
    assert found[0] == found[1] == 0.0
    assert found[2] > 0.5


def test_the_cell_that_finds_it_is_the_one_computed_by_hand():
    env = make(Teleport(), controls=("zoom",), num_templates=1)
    env.reset(options={"start": 1})
    *_, info = env.step([CENTER, 2])  # frame 2 shows the target where the template did
    # Half a cell of a 64 px window, 4 px, left and above.
    np.testing.assert_allclose(info["box"], [56, 56, SIDE, SIDE], atol=1e-9)
    np.testing.assert_allclose(env.window.box, [-8, -8, 144, 144], atol=1e-9)
    # Centre of the cell in row 4, column 7: -8 + (7.5, 4.5) * 18 = (127, 73).
    *_, info = env.step([8 * 4 + 7, 0])
    np.testing.assert_allclose(info["box"], [119, 65, SIDE, SIDE], atol=1e-9)
    overlap = (SIDE - 4) * (SIDE - 4)
    assert info["iou"] == pytest.approx(overlap / (2 * SIDE**2 - overlap))


def test_renewal_makes_the_chosen_box_the_last_template():
    env = make(Squares(), controls=("renew",), template_factor=2.0)
    first, _ = env.reset(seed=3)
    frame = env.frame.copy()
    second, *_, info = env.step([best(env), 1])
    assert info["renewed"] is True
    assert "zoom" not in info
    window = SearchWindow.around(info["box"], 2.0, 40)
    np.testing.assert_array_equal(second["template"][3:], window.extract(frame).transpose(2, 0, 1))
    np.testing.assert_array_equal(second["template"][:3], first["template"][:3])
    np.testing.assert_array_equal(second["template_box"][:4], first["template_box"][:4])
    left, top, width, height = second["template_box"][4:]
    assert left + width / 2 == pytest.approx(0.5)
    assert top + height / 2 == pytest.approx(0.5)
    assert width * height == pytest.approx(0.25)  # a factor of 2 along each side
    third, *_, info = env.step([best(env), 0])
    assert info["renewed"] is False
    np.testing.assert_array_equal(third["template"], second["template"])


def test_the_age_counts_frames_since_the_last_renewal():
    env = make(clip_length=6)
    ages = [env.reset(seed=0)[0]["renewal_age"].item()]
    for renew in (0, 0, 1, 0, 0):
        ages.append(env.step([CENTER, 0, renew])[0]["renewal_age"].item())
    assert ages == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("augment", [False, True])
def test_a_renewed_template_is_augmented_as_the_clip_is(augment):
    env = make(augment=augment)
    for seed in range(6):
        env.reset(seed=seed)
        frame = env.frame.copy()
        seen, *_, info = env.step([CENTER, 0, 1])
        wanted = SearchWindow.around(info["box"], 2.0, 40).extract(frame).transpose(2, 0, 1)
        difference = np.abs(seen["template"][3:].astype(int) - wanted)
        assert np.median(difference) <= 1  # colours are changed after the resize here
        assert np.quantile(difference, 0.95) <= 2  # where white is not exceeded


class Logged(PreviousSizeProposer):
    """Remembers what it is told."""

    def __init__(self):
        super().__init__(relo_env.CropConfig(**CROPS))
        self.calls = []

    def renew(self, rows, templates, boxes):
        self.calls.append(("renew", rows.tolist(), templates.copy(), boxes.copy()))

    def propose(self, rows, *args):
        self.calls.append(("propose", rows.tolist()))
        return super().propose(rows, *args)


def test_rows_that_renew_are_passed_on_together_before_the_next_proposal():
    proposer = Logged()
    venv = make_vector(proposer=proposer, autoreset_mode="SameStep")
    venv.reset(seed=0)
    proposer.calls.clear()
    observation = venv.step([[27, 0, 1], [27, 0, 0], [27, 2, 1]])[0]
    (what, rows, templates, boxes), (then, all_rows) = proposer.calls
    assert (what, rows, then, all_rows) == ("renew", [0, 2], "propose", [0, 1, 2])
    np.testing.assert_array_equal(templates, observation["template"][[0, 2], 3:])
    np.testing.assert_array_equal(boxes, observation["template_box"][[0, 2], 4:])
    for _ in range(3):  # the last frame's renewal has no frame to matter for
        proposer.calls.clear()
        venv.step([[27, 0, 1]] * 3)
    assert [call[0] for call in proposer.calls] == ["propose"]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("controls", [("zoom",), ("renew",), BOTH])
def test_many_rows_equal_gymnasiums_sync_vector_env(mode, controls):
    options = {"augment": False, "clip_length": 3, "controls": controls, **CROPS}
    ours = make_vector(3, autoreset_mode=mode, **options)
    single = [lambda: relo_env.TrackingEnv("tests.toys:Squares", **options)] * 3
    theirs = SyncVectorEnv(single, autoreset_mode=mode)
    assert ours.action_space == theirs.action_space
    ours.action_space.seed(0)
    assert data_equivalence(ours.reset(seed=7)[0], theirs.reset(seed=7)[0])
    for _ in range(8):
        actions = ours.action_space.sample()
        a, b = ours.step(actions), theirs.step(actions)
        assert data_equivalence(a[:4], b[:4])
        for name in ("zoom", "renewed", "iou"):
            if name in b[4]:
                np.testing.assert_array_equal(a[4][name], b[4][name])
        if mode is AutoresetMode.DISABLED and a[2].any():
            mask = {"reset_mask": a[2]}
            assert data_equivalence(ours.reset(options=mask)[0], theirs.reset(options=mask)[0])


def test_states_and_copies_go_on_alike():
    venv, other = make_vector(autoreset_mode="SameStep"), make_vector(autoreset_mode="SameStep")
    venv.reset(seed=5)
    venv.action_space.seed(1)
    for _ in range(2):
        observation = venv.step(venv.action_space.sample())[0]
    state = json.loads(json.dumps(venv.state_dict()))
    assert data_equivalence(other.load_state_dict(state), observation)
    twins = [other, copy.deepcopy(venv), pickle.loads(pickle.dumps(venv))]
    for _ in range(6):
        actions = venv.action_space.sample()
        wanted = venv.step(actions)[:4]
        for twin in twins:
            assert data_equivalence(twin.step(actions)[:4], wanted)
    with pytest.raises(ConfigError, match="'controls'"):
        make_vector(controls=("zoom",)).load_state_dict(state)


def test_rows_of_a_group_decide_for_themselves():
    venv = make_vector(2, group_size=2)
    venv.reset(seed=0)
    observation = venv.step([[27, 0, 0], [27, 2, 1]])[0]
    assert observation["zoom"].tolist() == [[1.0], [2.25]]
    assert observation["renewal_age"].tolist() == [[1.0], [0.0]]
    assert (observation["template"][0] != observation["template"][1]).any()
    fresh = venv.engine.episodes[0].templates
    np.testing.assert_array_equal(observation["template"][0].reshape(fresh.shape), fresh)


def test_the_picture_shows_the_zoomed_window():
    pictures = []
    for zoom in (0, 2):
        env = make(Teleport(), render_mode="rgb_array")
        env.reset(options={"start": 0})
        env.step([CENTER, zoom, 0])
        env.step([CENTER, 0, 0])
        assert env.engine.episode(0).shown()["window"][2] == (64, 144)[zoom // 2]
        pictures.append(env.render())
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize(
    "action", [3, [3], [3, 0], [64, 0, 0], [3, 3, 0], [3, 0, 2], [3, -1, 0], [3.0, 0, 0], None]
)
def test_wrong_actions_are_explained(action):
    env = make()
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"expected 3 integers from 0, below \[64, 3, 2\]"):
        env.step(action)


class Fixed(PreviousSizeProposer):
    """A proposer that cannot renew."""

    renew = None

    def __init__(self):
        super().__init__(relo_env.CropConfig(**CROPS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"controls": ("zooom",)}, "Unknown control 'zooom'.*'zoom'"),
        ({"controls": 3}, r"controls is 3; expected some of \['zoom', 'renew'\]"),
        ({"action_mode": "box"}, r"entries beside a position.*action_mode=\"grid\""),
        ({"action_mode": "move"}, r"entries beside a position.*action_mode=\"grid\""),
        ({"search_window": "jittered"}, 'search_window="tracked"'),
        ({"num_templates": 1}, "keeps the first; num_templates is 1"),
        ({"proposer": Fixed()}, "needs a proposer with renew.*which Fixed lacks"),
    ],
)
def test_controls_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)
    if "proposer" in options:
        make(**{**options, "controls": ("zoom",)})
