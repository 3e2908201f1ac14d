"""RELOTracker: official parity on generated frames, and its own behaviour."""

import numpy as np
import pytest
import torch

from agents.confidence import Recovery
from agents.network import HeadOutputs, RELONetwork
from agents.network.heads import Heads
from agents.network.presets import official_settings
from agents.proposer import NetworkProposer
from agents.tracker import RELOTracker, hann_window
from relo_env.benchmark.interface import Tracker
from relo_env.errors import CheckpointError, ConfigError

FIRST_BOX = (60.0, 70.0, 50.0, 40.0)

# Official code, t256 with name-seeded weights, window exponent 2.2: xywh, score, position.
FORCED = [
    ([63.393, 37.024, 54.229, 135.864], 1.6559, 136),
    ([75.805, 79.913, 21.118, 36.843], 0.8957, 135),
    ([72.801, 68.001, 48.101, 68.890], 1.1998, 119),
]
UPDATED = [
    ([62.985, 37.296, 55.111, 136.447], 1.5849, 136),
    ([0.0, 29.997, 194.763, 161.027], 1.7903, 119),
    ([0.0, 106.119, 257.683, 133.881], 1.0585, 151),
    ([8.528, 0.0, 221.487, 240.0], 1.0416, 103),
]


def official_frame(t):
    """Frame of the sequence that the official figures belong to, 240 x 320."""
    y, x, c = np.ogrid[:240, :320, :3]
    image = (x * (3 + c) + y * (5 + 2 * c) + 37 * (x // 16) * (y // 16)) % 256
    v, u, c = np.ogrid[:40, :50, :3]
    patch = ((u // 5 + v // 4) * 53 + 60 * c) % 256
    left, top = 60 + 9 * t, 70 + 5 * t
    image[top : top + 40, left : left + 50] = patch
    return image.astype(np.uint8)


@pytest.fixture
def official(t256):
    """Makes a tracker as the official figures belong to, and starts it."""

    def start(**options):
        tracker = RELOTracker(t256, official=True, window_exponent=2.2, **options)
        return tracker, tracker.start(official_frame(0), FIRST_BOX)

    return start


def assert_official(tracker, track, frame, expected):
    ((box, score),) = tracker.step([track], [official_frame(frame)])
    np.testing.assert_allclose(box, expected[0], atol=0.02)
    assert score == pytest.approx(expected[1], abs=3e-4)
    assert track.view.position == expected[2]


def test_official_steps(official):
    tracker, track = official()
    for t, expected in enumerate(FORCED, start=1):
        track.box = np.array([60 + 9 * (t - 1), 70 + 5 * (t - 1), 50, 40], dtype=float)
        assert_official(tracker, track, t, expected)


def test_official_template_update(official):
    tracker, track = official(num_templates=2, update_interval=3, update_threshold=-1e9)
    for t, expected in enumerate(UPDATED, start=1):
        assert_official(tracker, track, t, expected)


@pytest.mark.parametrize("case", ["single", "forced", "double_update"])
def test_official_runs(shared, official, case):
    golden = np.load(shared / "official" / "golden_track_t256.npz")
    options = (
        {"num_templates": 2, "update_interval": 3, "update_threshold": -1e9}
        if case == "double_update"
        else {}
    )
    tracker, track = official(**options)
    for t in range(1, 12):
        if case == "forced":
            track.box = np.array([60 + 9 * (t - 1), 70 + 5 * (t - 1), 50, 40], dtype=float)
        expected = [golden[f"{case}/{key}"][t - 1] for key in ("boxes", "scores", "index")]
        assert_official(tracker, track, t, expected)
    np.testing.assert_allclose(
        track.template_boxes, golden[f"{case}/template_annos_end"][:, 0], atol=1e-6
    )


def test_hann_window():
    window = hann_window((16, 16))
    assert window.min() == pytest.approx(0.00114, abs=1e-5)
    assert window.max() == pytest.approx(0.983, abs=1e-3)
    np.testing.assert_allclose(window, window[::-1, ::-1], atol=1e-6)
    np.testing.assert_allclose(hann_window((1, 3)), [[0.5, 1.0, 0.5]])


@pytest.fixture(scope="module")
def micro():
    torch.manual_seed(3)
    return RELONetwork.from_preset("micro", num_templates=2)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(6)]


def follow(tracker, frames, box=(40.0, 30.0, 30.0, 24.0)):
    tracker.init(frames[0], box)
    return [tracker.update(frame) for frame in frames[1:]]


def test_is_a_tracker(micro):
    assert isinstance(RELOTracker(micro), Tracker)


def test_init_forgets_what_was_before(micro, frames):
    tracker = RELOTracker(micro)
    fresh = follow(tracker, frames)
    assert follow(tracker, frames) == fresh
    assert follow(RELOTracker(micro), frames) == fresh


def test_tokens_are_carried(micro, frames):
    tracker = RELOTracker(micro)
    follow(tracker, frames)
    assert tracker._track.tokens.rows.shape[0] == 1


def test_many_tracks_step_together(micro, frames):
    """The second track starts a frame later; boxes are set alike, as drift feeds on itself."""
    boxes = [(40.0, 30.0, 30.0, 24.0), (10.0, 12.0, 20.0, 40.0)]
    alone = RELOTracker(micro)
    expected = [follow(alone, frames, boxes[0]), follow(alone, frames[1:], boxes[1])]
    tracker = RELOTracker(micro)
    first = tracker.start(frames[0], boxes[0])
    tracker.step([first], frames[1:2])
    second = tracker.start(frames[1], boxes[1])
    for i, frame in enumerate(frames[2:]):
        both = tracker.step([first, second], [frame, frame])
        for track, ours, theirs in zip(
            (first, second), both, (expected[0][i + 1], expected[1][i]), strict=True
        ):
            np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3)
            assert ours[1] == pytest.approx(theirs[1], abs=1e-4)
            track.box = np.array(theirs[0])


def test_window_weights_probabilities(micro, frames):
    """Where all logits are negative a window on logits would pull to the border."""
    tracker = RELOTracker(micro, window_exponent=1.0)
    tracker.init(frames[0], (40.0, 30.0, 30.0, 24.0))
    _, score = tracker.update(frames[1])
    view = tracker.view
    assert view.scores.shape == (4, 4)
    assert view.scores.sum() == pytest.approx(1, abs=1e-5)
    assert view.position == (view.scores * hann_window((4, 4))).argmax()
    assert score == pytest.approx(view.scores.flat[view.position])
    without = RELOTracker(micro, window_exponent=0)
    without.init(frames[0], (40.0, 30.0, 30.0, 24.0))
    without.update(frames[1])
    assert without.view.position == without.view.scores.argmax()


def test_box_is_the_candidate_of_the_position(micro, frames):
    tracker = RELOTracker(micro)
    tracker.init(frames[0], (40.0, 30.0, 30.0, 24.0))
    box, _ = tracker.update(frames[1])
    view = tracker.view
    expected = view.window.to_image(view.candidates[view.position])
    low, high = np.maximum(expected[:2], 0), np.minimum(expected[:2] + expected[2:], (120, 90))
    np.testing.assert_allclose(box, [*low, *(high - low)], atol=1e-6)


def test_prior_localises_by_the_heat_map(micro, frames):
    tracker = RELOTracker(micro, localise="prior", window_exponent=0)
    tracker.init(frames[0], (40.0, 30.0, 30.0, 24.0))
    _, score = tracker.update(frames[1])
    assert score == pytest.approx(tracker.view.scores.max())
    assert tracker.view.scores.sum() != pytest.approx(1, abs=1e-2)


def test_first_template_stays_and_the_oldest_other_goes(micro, frames):
    tracker = RELOTracker(micro, update_interval=2)
    tracker.init(frames[0], (40.0, 30.0, 30.0, 24.0))
    track = tracker._track
    first = track.templates[0]
    tracker.update(frames[1])
    assert track.templates[1] is first
    tracker.update(frames[2])
    newer = track.templates[1]
    assert track.templates[0] is first
    assert newer is not first
    tracker.update(frames[3])
    assert track.templates[1] is newer
    never = RELOTracker(micro, update_interval=1, update_threshold=1.0)
    follow(never, frames)
    assert all(np.array_equal(crop, first) for crop in never._track.templates)


def test_a_lost_targets_box_gives_no_template(micro, frames):
    recovery = Recovery(lost_below=2.0, patience=1)  # no score is high enough
    tracker = RELOTracker(micro, update_interval=1, recovery=recovery)
    tracker.init(frames[0], (40.0, 30.0, 30.0, 24.0))
    track = tracker._track
    first = track.templates[0]
    tracker.update(frames[1])
    followed = track.templates[1]
    assert followed is not first
    for frame in frames[2:5]:
        tracker.update(frame)
        assert tracker.lost
        assert track.templates[1] is followed


class WithoutDoubles(torch.Tensor):
    """A tensor of a device without float64, as Apple's GPUs are."""

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_nothing_is_doubled_on_the_device(micro, frames, monkeypatch):
    heads = Heads.forward

    def on_a_device(self, features, only):
        outputs = heads(self, features, only)
        found = {name: value for name, value in vars(outputs).items() if value is not None}
        return HeadOutputs(**{k: v.as_subclass(WithoutDoubles) for k, v in found.items()})

    expected = follow(RELOTracker(micro), frames)
    monkeypatch.setattr(Heads, "forward", on_a_device)
    assert follow(RELOTracker(micro), frames) == expected
    proposer = NetworkProposer(micro).bind(1)
    templates = np.zeros((1, 2, 3, 48, 48), np.uint8)
    proposer.reset(np.array([0]), templates, np.full((1, 2, 4), 0.25))
    searches = np.zeros((1, 3, 64, 64), np.uint8)
    assert proposer.propose(np.array([0]), searches, np.zeros((1, 4))).boxes.dtype == np.float64


def test_the_tracker_keeps_its_weights(micro, frames):
    torch.manual_seed(3)
    network = RELONetwork.from_preset("micro", num_templates=2)
    tracker = RELOTracker(network)
    before = follow(tracker, frames)
    network.reset_heads(seed=9)
    assert follow(tracker, frames) == before


def test_official_settings_of_data_sets():
    assert official_settings("t256", "LaSOT")["window_exponent"] == 2.2
    assert official_settings("b256", "GOT10k") == {
        "window_exponent": 2.1,
        "update_interval": 3,
        "update_threshold": 25.0,
    }
    assert official_settings("l256", "OTB100") == official_settings("l256")
    for name in ("NFS", "NfS", "nfs"):
        assert official_settings("l256", name)["window_exponent"] == 3.2
    with pytest.raises(ConfigError, match="Unknown data set 'MyVideos'"):
        official_settings("l256", "MyVideos")
    with pytest.raises(ConfigError, match="Unknown official preset 'nano'"):
        official_settings("nano")


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_box_is_any_four_numbers(kind, micro, frames):
    tracker = RELOTracker(micro)
    tracker.init(frames[0], kind([20.0, 20.0, 30.0, 20.0]))
    box, _ = tracker.update(frames[1])
    tracker.init(frames[0], (20, 20, 30, 20))
    assert tracker.update(frames[1])[0] == pytest.approx(box, abs=1e-3)


def test_a_tiny_box_is_warned_of(micro, frames, caplog):
    tracker = RELOTracker(micro)
    tracker.init(frames[0], (20, 20, 30, 10))
    assert not caplog.text
    tracker.init(frames[0], (20, 20, 4, 4))
    assert "20,20,4,4 has a side below 10 px" in caplog.text
    assert min(tracker.update(frames[1])[0][2:]) >= 10


def test_refusals(micro, frames):
    tracker = RELOTracker(micro)
    with pytest.raises(ConfigError, match="before init"):
        tracker.update(frames[0])
    with pytest.raises(ConfigError, match=r"outside the frame of 120x90"):
        tracker.init(frames[0], (200.0, 10.0, 20.0, 20.0))
    with pytest.raises(ConfigError, match="No search window"):
        tracker.init(frames[0], (10, 10, 0, 20))
    for box in [(10, 10, float("nan"), 20), (10, 10, 20), None, "10,10,20,20"]:
        with pytest.raises(ConfigError, match=r"expected four finite numbers"):
            tracker.init(frames[0], box)
    with pytest.raises(ConfigError, match=r"uint8 \(0, 120, 3\)"):
        tracker.init(frames[0][:0], (10, 10, 20, 20))
    for options, message in [
        ({"window_exponent": float("nan")}, "window_exponent is nan; expected a number >= 0"),
        ({"window_exponent": -1}, "window_exponent is -1"),
        ({"num_templates": 0}, "num_templates is 0; expected None or an int > 0"),
        ({"update_interval": 2.5}, "update_interval is 2.5"),
        ({"recovery": True}, "recovery is True; expected None or a Recovery"),
        ({"device": "gpu"}, "Device 'gpu' cannot be used here"),
    ]:
        with pytest.raises(ConfigError, match=message):
            RELOTracker(micro, **options)
    with pytest.raises(ConfigError, match=r"RELOTracker\.from_pretrained"):
        RELOTracker("nano")
    with pytest.raises(ConfigError, match=r"float64 \(90, 120, 3\)"):
        tracker.init(frames[0].astype(float), (10, 10, 20, 20))
    with pytest.raises(ConfigError, match="'policy', 'prior'"):
        RELOTracker(micro, localise="peak")
    assert RELOTracker(micro).step([], []) == []
    with pytest.raises(ConfigError, match="0 tracks and 1 frames"):
        RELOTracker(micro).step([], frames[:1])
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        RELOTracker.from_pretrained("runs/none.safetensors")
    with pytest.raises(CheckpointError, match="Unknown checkpoint"):
        RELOTracker.from_pretrained("no-such-tracker")
