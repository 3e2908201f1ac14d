"""Many sequences that step together through one tracker."""

import numpy as np
import pytest
import torch

from agents.network import RELONetwork
from agents.tracker import RELOTracker
from relo_env.benchmark.interface import BatchTracker
from relo_env.benchmark.results import read_boxes, read_score_maps
from relo_env.benchmark.runner import run
from relo_env.benchmark.trackers import make_tracker_factory
from relo_env.errors import ConfigError, OutputError
from tests.relo_env.benchmark.toy_trackers import (
    LENGTHS,
    InStep,
    RefusesBigFrames,
    Uneven,
    seconds_of,
)
from tests.toys import Squares, square_video

TOYS = "tests.relo_env.benchmark.toy_trackers"
BRIGHTEST = make_tracker_factory(f"{TOYS}:Brightest", name="t")
IN_STEP = make_tracker_factory(f"{TOYS}:InStep", name="t")


def boxes(folder, dataset):
    return {name: read_boxes(folder, name).tolist() for name in dataset.names}


@pytest.mark.parametrize("size", [2, 3, 4, 9])
def test_boxes_are_those_of_single_sequences(tmp_path, size):
    one = run(BRIGHTEST, Uneven(), tmp_path / "one", progress=False)
    many = run(IN_STEP, Uneven(), tmp_path / "many", batch_size=size, progress=False)
    assert sorted(many.finished) == sorted(one.finished) == list(Uneven().names)
    assert many.frames == one.frames == sum(LENGTHS)
    assert boxes(many.folder, Uneven()) == boxes(one.folder, Uneven())


def test_the_next_sequence_takes_the_place_of_one_that_ended(tmp_path):
    tracker = InStep()
    run(lambda: tracker, Uneven(), tmp_path, batch_size=2, progress=False)
    # 7, 29, 19 and 24 updates: the first two, then 2 with 1 for 19 steps, 3 with 1 for 3, 3 alone.
    assert tracker.steps == [2] * (7 + 19 + 3) + [1] * 21


def test_frames_are_read_once_and_in_order(tmp_path):
    dataset = Uneven()
    run(IN_STEP, dataset, tmp_path, batch_size=3, progress=False)
    for name, length in zip(dataset.names, LENGTHS, strict=True):
        assert dataset[name].frames.reads == list(range(length))


def test_times_are_shares_and_score_maps_each_sequences_own(tmp_path):
    dataset = Squares(count=2)
    folder = run(
        IN_STEP, dataset, tmp_path, batch_size=2, keep_score_maps=True, progress=False
    ).folder
    for name in dataset.names:
        assert seconds_of(folder, name, "model").tolist() == [0.0] + [0.0005] * 29
        assert (seconds_of(folder, name)[1:] > 0).all()
    single = run(
        BRIGHTEST, dataset, tmp_path / "single", keep_score_maps=True, progress=False
    ).folder
    for name in dataset.names:
        assert (read_score_maps(folder, name) == read_score_maps(single, name)).all()


def test_a_second_run_skips_what_is_finished(tmp_path):
    run(BRIGHTEST, Uneven(), tmp_path, sequences=["square-1"], progress=False)
    tracker = InStep()
    again = run(lambda: tracker, Uneven(), tmp_path, name="t", batch_size=4, progress=False)
    assert again.skipped == ("square-1",)
    assert len(again.finished) == 3
    assert sum(tracker.steps) == 7 + 19 + 24


class TestFailures:
    """One sequence fails; the others get the boxes they would get anyway."""

    def check(self, result, dataset, message, failed="square-1"):
        assert set(result.failed) == {failed}
        assert message in result.failed[failed]
        assert not list(result.folder.glob(f"{failed}*"))
        expected = {n: dataset[n].boxes.tolist() for n in dataset.names if n != failed}
        assert sorted(result.finished) == sorted(expected)
        assert {name: read_boxes(result.folder, name).tolist() for name in expected} == expected

    @pytest.mark.parametrize("frame", [0, 7, 29])
    def test_a_broken_frame(self, tmp_path, frame):
        dataset = Uneven()
        dataset.videos["square-1"] = square_video("square-1", broken=(frame,))
        result = run(IN_STEP, dataset, tmp_path, batch_size=2, progress=False)
        self.check(result, dataset, f"frame {frame} of a toy video is broken")

    def test_no_target_in_the_first_frame(self, tmp_path):
        dataset = Uneven()
        dataset.videos["square-1"] = square_video("square-1", absent=(0,))
        result = run(IN_STEP, dataset, tmp_path, batch_size=2, progress=False)
        self.check(result, dataset, "absent in frame 0")

    def test_a_step_that_fails_is_taken_apart_to_find_the_culprit(self, tmp_path, capsys):
        dataset = Uneven()
        dataset.videos["square-1"] = square_video("square-1", size=(120, 72), seed=1)
        tracker = RefusesBigFrames()
        result = run(lambda: tracker, dataset, tmp_path, batch_size=3)
        self.check(result, dataset, "a frame is too big")
        assert set(tracker.steps) == {1}, "what stepped with it is tracked alone"
        bar = capsys.readouterr().err
        assert "54/83" in bar, "the given frame of the culprit, and all of the others once"

    def test_a_missing_answer(self, tmp_path):
        factory = make_tracker_factory(f"{TOYS}:ForgetsOne", name="t")
        result = run(factory, Uneven(), tmp_path, batch_size=4, progress=False)
        assert not result.failed, "alone, it has an answer for each"
        assert boxes(result.folder, Uneven()) == {
            n: Uneven()[n].boxes.tolist() for n in Uneven().names
        }

    def test_a_box_that_is_none(self, tmp_path):
        class NotANumber(InStep):
            def step(self, tracks, frames):
                answers = super().step(tracks, frames)
                return [
                    ((np.nan, 0.0, 1.0, 1.0), 1.0) if frame.shape[1] > 100 else answer
                    for answer, frame in zip(answers, frames, strict=True)
                ]

        dataset = Uneven()
        dataset.videos["square-1"] = square_video("square-1", size=(120, 72), seed=1)
        result = run(NotANumber, dataset, tmp_path, batch_size=4, progress=False)
        self.check(result, dataset, "box for frame 1 of 'square-1'")

    def test_results_that_cannot_be_written(self, tmp_path):
        (tmp_path / "t" / "Uneven" / "square-1.txt").mkdir(parents=True)
        with pytest.raises(OutputError, match=r"square-1.txt.*directory"):
            run(IN_STEP, Uneven(), tmp_path, batch_size=2, progress=False)

    def test_a_tracker_that_cannot_be_built_ends_the_run(self, tmp_path):
        factory = make_tracker_factory(f"{TOYS}:cannot_be_built")
        with pytest.raises(RuntimeError, match="no weights today"):
            run(factory, Uneven(), tmp_path, batch_size=2, progress=False)


def test_what_cannot_be_combined(tmp_path):
    with pytest.raises(ConfigError, match=r"Brightest follows one object only.*workers"):
        run(BRIGHTEST, Uneven(), tmp_path, batch_size=2, progress=False)
    for options in ({"workers": 2}, {"fresh_process": True}):
        with pytest.raises(ConfigError, match="batch_size=2 steps sequences together"):
            run(IN_STEP, Uneven(), tmp_path, batch_size=2, progress=False, **options)


class Pinned(RELOTracker):
    """Looks around the given box in every frame, so that rounding does not feed on itself."""

    def start(self, frame, box):
        track = super().start(frame, box)
        track.given = track.box
        return track

    def step(self, tracks, frames):
        answers = super().step(tracks, frames)
        for track in tracks:
            track.box = track.given
        return answers


def test_a_network_gives_the_same_boxes_batched_and_single(tmp_path):
    torch.manual_seed(0)
    tracker = Pinned(RELONetwork.from_preset("micro"))
    assert isinstance(tracker, BatchTracker)
    dataset = Uneven()
    batched, single = (
        run(
            lambda: tracker,
            dataset,
            tmp_path / str(size),
            batch_size=size,
            keep_score_maps=True,
            progress=False,
        ).folder
        for size in (3, 1)
    )
    for name in dataset.names:
        ours, theirs = read_boxes(batched, name), read_boxes(single, name)
        assert len(np.unique(ours, axis=0)) > 3, "it moves"
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
        maps = read_score_maps(batched, name), read_score_maps(single, name)
        assert maps[0].shape == (len(dataset[name]), *tracker.crop.grid)
        assert np.abs(maps[0].astype(int) - maps[1]).max() <= 1
        model, whole = seconds_of(batched, name, "model"), seconds_of(batched, name)
        assert (model[1:] > 0).all()
        assert (model[1:] < whole[1:]).all()
