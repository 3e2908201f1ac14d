"""Which frames count under which protocol; parity with the official code and GOT-10k's toolkit."""

from pathlib import Path

import numpy as np
import pytest

from relo_env.benchmark.metrics import FIGURES, average_overlap, success_rate
from relo_env.benchmark.protocols import PROTOCOLS, Protocol, frame_errors, get_protocol
from relo_env.errors import ConfigError, DataError

BOX = [10.0, 10.0, 20.0, 20.0]
FAR = [200.0, 200.0, 20.0, 20.0]
NONE = [0.0, 0.0, 0.0, 0.0]


def figures(protocol, predicted, truth, visible=None, **kwargs):
    truth = np.array(truth, float)
    visible = (truth[:, 2:] > 0).all(-1) if visible is None else np.array(visible)
    protocol = get_protocol(protocol)
    e = frame_errors(protocol, np.array(predicted, float), truth, visible, **kwargs)
    return {name: FIGURES[name](e) for name in protocol.figures} | {"frames": len(e)}


class TestHandWorked:
    """Four frames: the given one, a hit, a miss and one without target."""

    predicted = (FAR, BOX, FAR, BOX)
    truth = (BOX, BOX, BOX, NONE)

    def test_clean_counts_the_first_frame_and_fails_absent_ones(self):
        result = figures("clean", self.predicted, self.truth)
        assert result["frames"] == 4
        assert result["success_auc"] == pytest.approx(2 / 4 * 20 / 21)
        assert result["P"] == result["P_norm"] == result["OP50"] == 2 / 4

    def test_dev_leaves_both_out(self):
        result = figures("dev", self.predicted, self.truth)
        assert result["frames"] == 2
        assert result["success_auc"] == pytest.approx(1 / 2 * 20 / 21)
        assert result["P"] == result["P_norm"] == 1 / 2

    @pytest.mark.parametrize(
        ("dataset", "labelled", "p", "p_norm"),
        [
            ("LaSOT", True, 2, 2),
            ("LaSOT", False, 2, 3),
            ("LaSOText", True, 2, 3),
            ("UAV123", True, 3, 3),
            ("NfS", True, 2, 3),
        ],
    )
    def test_official_calls_some_absent_frames_hits(self, dataset, labelled, p, p_norm):
        visible = [True, True, True, not labelled]
        result = figures("official", self.predicted, self.truth, visible, dataset=dataset)
        assert (result["P"], result["P_norm"]) == (p / 4, p_norm / 4)
        assert result["OP50"] == 2 / 4

    @pytest.mark.parametrize("boxes", [np.zeros((0, 4)), np.ones((3, 3))])
    def test_boxes_of_another_shape_are_refused(self, boxes):
        with pytest.raises(DataError, match="expected \\(n, 4\\)"):
            figures("clean", boxes, boxes, np.ones(len(boxes), bool))

    def test_official_holds_the_last_box_with_area(self):
        predicted, truth = (BOX, BOX, NONE, NONE), (BOX,) * 4
        assert figures("official", predicted, truth)["OP75"] == 1
        assert figures("clean", predicted, truth)["OP75"] == 1 / 2

    def test_got10k_leaves_both_out_and_cuts_boxes(self):
        predicted, truth = (FAR, [10, 10, 90, 20], FAR, BOX), (BOX, BOX, BOX, NONE)
        result = figures("got10k", predicted, truth, frame_size=(30, 100))
        assert result["frames"] == 2
        assert result["AO"] == pytest.approx(1 / 2), "cut at the right edge of the frame"
        assert result["SR0.5"] == result["SR0.75"] == 1 / 2

    def test_trackingnet_rounds_to_whole_pixels(self):
        predicted, truth = [BOX, [10.4, 9.6, 20.4, 19.6]], [BOX, BOX]
        assert figures("trackingnet", predicted, truth)["TN_success"] == pytest.approx(1.0)


def test_the_given_box_is_what_counts_in_frame_0():
    assert figures("clean", [FAR, BOX], [BOX, BOX])["OP75"] == 1


def test_inputs_are_not_written_to():
    predicted, truth = np.array([FAR, NONE]), np.array([BOX, BOX])
    frame_errors(get_protocol("official"), predicted, truth, np.ones(2, bool))
    assert predicted.tolist() == [FAR, NONE]
    assert truth.tolist() == [BOX, BOX]


def test_no_protocol_of_that_name():
    with pytest.raises(ConfigError, match="Did you mean 'official'"):
        get_protocol("offical")


@pytest.mark.parametrize("bad", [[np.nan, 0, 1, 1], [0, 0, -1, 1], [0, 0, np.inf, 1]])
def test_boxes_that_cannot_be(bad):
    with pytest.raises(DataError, match="frame 1"):
        figures("clean", [BOX, bad], [BOX, BOX])


def test_counts_that_differ():
    with pytest.raises(DataError, match=r"\(1, 4\).*\(2, 4\)"):
        figures("clean", [BOX], [BOX, BOX])


def test_cutting_needs_the_frame_size():
    with pytest.raises(ConfigError, match="frame_size"):
        figures("got10k", [BOX], [BOX])


def test_a_protocol_may_be_changed_by_its_name():
    mine = get_protocol("otb, count_first=false, figures=P+AO")
    assert mine.figures == ("P", "AO")
    assert not mine.count_first
    assert mine.hold_last, "the rest is otb's"
    assert mine.name == "otb, count_first=false, figures=P+AO"
    assert "count_first=false" in mine.description
    assert get_protocol("clean,false_hits=precision").false_hits == {"*": ("precision",)}


MINE = Protocol("mine", "Only frames with target.", count_absent=False)


def test_a_protocol_may_be_imported():
    assert get_protocol("tests.relo_env.benchmark.test_protocols:MINE") is MINE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("otb,figures=AUC", "Unknown figure 'AUC'"),
        ("otb,count_frist=true", "'count_frist=true' is no change .*count_first"),
        ("otb,count_first=maybe", "=true or"),
        ("otb,name=mine", "no change"),
        ("nowhere:MINE", "no module 'nowhere'"),
        ("json:dumps", "expected a relo_env.benchmark Protocol"),
    ],
)
def test_changes_that_cannot_be(name, message):
    with pytest.raises(ConfigError, match=message):
        get_protocol(name)


def test_no_table_has_a_figure_twice():
    assert get_protocol("otb,figures=AO+P+AO").figures == ("AO", "P")
    for protocol in PROTOCOLS.values():
        assert len({name.replace("OP", "SR0.") for name in protocol.figures}) == len(
            protocol.figures
        )


def test_frames_that_nobody_annotated_never_count():
    truth = [BOX, NONE, NONE, NONE, NONE, BOX]
    labelled = np.array([True, False, False, False, False, True])
    result = figures("clean", [BOX] * 6, truth, labelled=labelled)
    assert result["frames"] == 2
    assert result["success_auc"] == pytest.approx(20 / 21)
    assert figures("clean", [BOX] * 6, truth)["OP50"] == 2 / 6, "absent frames do"


@pytest.mark.parametrize(
    ("protocol", "op50", "p"), [("clean", 2 / 3, 2 / 3), ("otb", 1, 1), ("lasot", 1, 1)]
)
def test_a_row_of_nan_is_no_prediction(protocol, op50, p):
    result = figures(protocol, [BOX, [np.nan] * 4, BOX], [BOX] * 3)
    assert (result["OP50"], result["P"]) == (op50, p)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_boxes_of_a_tracker_that_diverged_are_misses(protocol):
    truth = np.tile([10.0, 10, 20, 20], (3, 1))
    predicted = np.where(np.arange(3)[:, None] == 1, 1e300, truth)
    errors = frame_errors(
        get_protocol(protocol), predicted, truth, np.ones(3, bool), frame_size=(64, 64)
    )
    assert errors.overlap[-2:].tolist() == [0, pytest.approx(1)]
    assert errors.centre[-2:].tolist() == [np.inf, 0]


def test_one_can_bring_a_protocol():
    mine = Protocol("mine", "Only frames with target.", count_absent=False)
    e = frame_errors(mine, np.array([BOX, BOX]), np.array([BOX, NONE]), np.array([True, False]))
    assert len(e) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_every_figure_of_a_protocol_exists(protocol):
    assert set(protocol.figures) <= set(FIGURES)
    assert protocol.headline == protocol.figures[0]


@pytest.fixture(scope="module")
def golden():
    """What the official code made of 60 frames, run by us: see its SEMANTICS, section 7."""
    with np.load(Path(__file__).with_name("golden_metrics.npz")) as archive:
        return dict(archive)


@pytest.mark.parametrize("dataset", ["lasot", "lasot_extension_subset", "uav", "nfs", "got10k"])
def test_official_figures_equal_the_goldens(golden, dataset):
    labelled = dataset.startswith("lasot")
    visible = golden["visible"].astype(bool) if labelled else np.ones(60, bool)
    official = get_protocol("official")
    e = frame_errors(official, golden["pred"], golden["anno"], visible, dataset=dataset)

    overlap = np.where(golden[f"{dataset}/valid"], e.overlap, -1)
    for ours, name in ((overlap, "overlap"), (e.centre, "center"), (e.centre_norm, "center_norm")):
        np.testing.assert_allclose(ours, golden[f"{dataset}/{name}"], rtol=0, atol=1e-9)
    scores = [100 * FIGURES[name](e) for name in ("success_auc", "OP50", "OP75", "P", "P_norm")]
    assert np.float32(scores) == pytest.approx(golden[f"{dataset}/scores"], rel=1e-6)


def test_the_goldens_are_those_that_were_handed_over(shared, golden):
    with np.load(shared / "official" / "golden_misc.npz") as archive:
        assert {f"met/{name}" for name in golden} == {k for k in archive.files if k[:4] == "met/"}
        for name, values in golden.items():
            np.testing.assert_array_equal(values, archive[f"met/{name}"])


def got10k_toolkit_overlaps(predicted, truth, bound):
    """What the toolkit (0.1.3) computes, box by box in plain Python."""

    def cut(box):
        x, y = min(max(box[0], 0), bound[0]), min(max(box[1], 0), bound[1])
        return x, y, min(max(box[2], 0), bound[0] - x), min(max(box[3], 0), bound[1] - y)

    values = []
    for a, b in zip(map(cut, predicted), map(cut, truth), strict=True):
        w = max(min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]), 0)
        h = max(min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]), 0)
        union = a[2] * a[3] + b[2] * b[3] - w * h
        values.append(min(w * h / (union + np.finfo(float).eps), 1))
    return np.array(values)


def test_got10k_figures_equal_the_toolkits():
    rng = np.random.default_rng(1)
    truth = np.concatenate([rng.uniform(-10, 80, (300, 2)), rng.uniform(5, 60, (300, 2))], axis=1)
    predicted = truth + rng.normal(0, 8, truth.shape)
    predicted[:, 2:] = np.abs(predicted[:, 2:])
    visible = rng.random(300) > 0.2
    protocol = get_protocol("got10k")
    e = frame_errors(protocol, predicted, truth, visible, frame_size=(100, 90))
    expected = got10k_toolkit_overlaps(predicted[1:], truth[1:], (100, 90))[visible[1:]]
    assert e.overlap == pytest.approx(expected, abs=1e-9)
    assert average_overlap(e) == pytest.approx(expected.mean(), abs=1e-9)
    assert success_rate(e, 0.75) == (expected > 0.75).mean()
