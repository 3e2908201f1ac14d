"""Running trackers: resume, failures, processes, progress."""

import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest

from relo_env.benchmark.evaluation import evaluate, summary_table
from relo_env.benchmark.execution import track_sequence
from relo_env.benchmark.results import read_boxes, read_score_maps, speed_of
from relo_env.benchmark.runner import run
from relo_env.benchmark.scoring import Truths
from relo_env.benchmark.trackers import make_tracker_factory
from relo_env.datasets.mixture import Mixture
from relo_env.datasets.registry import make_dataset
from relo_env.errors import ConfigError, DataError, ReloError
from tests.relo_env.benchmark.toy_trackers import Brightest, Uneven, seconds_of
from tests.toys import Squares, square_video

TOYS = "tests.relo_env.benchmark.toy_trackers"
BRIGHTEST = make_tracker_factory(f"{TOYS}:Brightest", name="brightest")


def files(folder):
    """Bytes of the box files of a folder."""
    return {p.name: p.read_bytes() for p in folder.glob("*.txt") if "_time" not in p.name}


def test_an_exact_tracker_gets_full_marks(tmp_path):
    dataset = Squares()
    result = run(BRIGHTEST, dataset, tmp_path, progress=False)
    assert result.folder == tmp_path / "brightest" / "Squares"
    assert result.finished == tuple(dataset.names)
    assert result.frames == 4 * 30
    assert not result.failed
    assert result.describe_failures() == ""
    for name in dataset.names:
        assert (read_boxes(result.folder, name) == dataset[name].boxes).all()

    evaluation = evaluate(result.folder, dataset)
    assert evaluation.tracker == "brightest"
    assert evaluation.mean("success_auc") == pytest.approx(20 / 21)
    assert evaluation.interval("P") == (1.0, 1.0)
    assert "95.2" in summary_table([evaluation])


class SlowFrames:
    """Frames that take time to read."""

    SECONDS = 0.01

    def __init__(self, frames):
        self.frames = frames

    def __len__(self):
        return len(self.frames)

    def read(self, index):
        time.sleep(self.SECONDS)
        return self.frames.read(index)


def test_speeds_are_told_apart(tmp_path):
    dataset = Squares(count=1)
    video = dataset["square-0"]
    dataset.videos["square-0"] = replace(video, frames=SlowFrames(video.frames))
    folder = run(BRIGHTEST, dataset, tmp_path, progress=False).folder
    tracker, read, model = (
        seconds_of(folder, "square-0", kind) for kind in ("tracker", "read", "model")
    )
    assert len(tracker) == len(read) == len(model) == 30
    assert read.min() >= SlowFrames.SECONDS
    assert np.median(tracker) < SlowFrames.SECONDS, "reading is not charged to the tracker"
    assert model.tolist() == [0.0] + [0.001] * 29
    speed = speed_of(partial(seconds_of, folder), ["square-0"])
    assert speed.model == pytest.approx(1000)
    assert speed.tracker == pytest.approx(29 / tracker[1:].sum())
    assert speed.end_to_end == pytest.approx(29 / (tracker[1:] + read[1:]).sum())
    assert speed.end_to_end < 1 / SlowFrames.SECONDS


def test_score_maps_are_kept_on_demand(tmp_path):
    run(BRIGHTEST, Squares(count=1), tmp_path / "without", progress=False)
    assert read_score_maps(tmp_path / "without/brightest/Squares", "square-0") is None
    run(BRIGHTEST, Squares(count=1), tmp_path / "with", keep_score_maps=True, progress=False)
    maps = read_score_maps(tmp_path / "with/brightest/Squares", "square-0")
    assert maps.shape == (30, 9, 12)
    assert maps[0].max() == 0, "the first frame has none"
    assert (maps[1:].reshape(29, -1).max(1) == 255).all()


def test_a_second_run_skips_what_is_finished(tmp_path):
    run(BRIGHTEST, Squares(), tmp_path, sequences=["square-1"], progress=False)
    again = run(BRIGHTEST, Squares(), tmp_path, progress=False)
    assert again.skipped == ("square-1",)
    assert again.finished == ("square-0", "square-2", "square-3")


def test_half_a_file_is_tracked_again(tmp_path):
    folder = run(BRIGHTEST, Squares(), tmp_path, progress=False).folder
    before = files(folder)
    half = folder / "square-2.txt"
    half.write_bytes(half.read_bytes()[:200])
    assert run(BRIGHTEST, Squares(), tmp_path, progress=False).finished == ("square-2",)
    assert files(folder) == before


def test_results_of_other_settings_are_not_taken_for_this_runs(tmp_path):
    def again(spec="static", dataset_options=None, **options):
        tracker = make_tracker_factory(spec, name="t", **options)
        data = Squares(count=1)
        return run(tracker, data, tmp_path, dataset_options=dataset_options, progress=False)

    folder = again().folder
    assert again().skipped == ("square-0",)
    with pytest.raises(ConfigError, match=r"other settings(.|\n)*StaticTracker(.|\n)*Brightest"):
        again(f"{TOYS}:Brightest")
    with pytest.raises(ConfigError, match="'count': 2"):
        again(dataset_options={"count": 2})
    (folder / "_run.json").unlink()
    assert again(f"{TOYS}:KilledOnce", marker="m").skipped, "as published results are"
    with pytest.raises(ConfigError, match="'marker': 'n'"):
        again(f"{TOYS}:KilledOnce", marker="n")
    (folder / "square-0.txt").unlink()
    for times in folder.glob("*_time.txt"):
        times.unlink()
    assert again().finished, "nothing is left that it could be mixed with"


def test_results_of_other_weights_in_the_same_file_are_refused(tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"first")
    marker = str(weights)  # an argument of the tracker that is the path of a file
    tracker = make_tracker_factory(f"{TOYS}:KilledOnce", name="t", marker=marker)
    run(tracker, Squares(count=1), tmp_path / "out", progress=False)
    assert run(tracker, Squares(count=1), tmp_path / "out", progress=False).skipped
    weights.write_bytes(b"second")
    with pytest.raises(ConfigError, match=r"'files': .*weights\.safetensors"):
        run(tracker, Squares(count=1), tmp_path / "out", progress=False)


def test_data_that_was_moved_is_the_same_and_other_data_is_refused(tmp_path):
    def again(place, **video):
        dataset = Squares(count=1, **video)
        dataset.root = tmp_path / place
        return run(BRIGHTEST, dataset, tmp_path / "out", progress=False)

    folder = again("a").folder
    assert again("b").skipped == ("square-0",)
    with pytest.raises(ConfigError, match=r"_run\.json was made on other data .*'length': 20"):
        again("a", length=20)
    (folder / "_run.json").unlink()
    assert again("a").skipped, "folders of older versions and published ones carry no fingerprint"


def test_boxes_of_another_video_of_the_same_name_are_refused(tmp_path):
    folder = run(BRIGHTEST, Squares(count=1), tmp_path, progress=False).folder
    other = Squares(count=1)
    boxes = other.videos["square-0"].boxes
    boxes[:] += [40, 0, 0, 0]
    with pytest.raises(ConfigError, match="boxes of 'square-0' on another video"):
        run(BRIGHTEST, other, tmp_path, progress=False)
    (folder / "square-0.txt").unlink()
    assert run(BRIGHTEST, other, tmp_path, progress=False).finished == ("square-0",)


def test_data_are_compared_for_trackers_without_settings_too(tmp_path):
    run(Brightest, Squares(count=1), tmp_path, progress=False)
    with pytest.raises(ConfigError, match="other data"):
        run(Brightest, Squares(count=1, size=(120, 90)), tmp_path, progress=False)


def test_results_are_evaluated_on_the_data_that_they_were_made_on(tmp_path):
    folder = run(BRIGHTEST, Squares(count=1), tmp_path, progress=False).folder
    other = Squares(count=1, size=(120, 90))
    for dataset in (other, Truths(other)):
        with pytest.raises(DataError, match="made on other data"):
            evaluate(folder, dataset)
    for damaged in ("[]", "{", '{"data": 5}'):
        (folder / "_run.json").write_text(damaged)
        if "data" in damaged:
            assert evaluate(folder, other), "as published results are"
        else:
            with pytest.raises(DataError, match=r"_run\.json"):
                evaluate(folder, other)


def test_names_of_sequences_do_not_collide_with_names_of_files(tmp_path):
    dataset = Squares(count=1)
    names = ["a", "a_time", "b_read_time", "b"]
    dataset.videos = {name: square_video(name, seed=i) for i, name in enumerate(names)}
    result = run(BRIGHTEST, dataset, tmp_path, progress=False)
    assert evaluate(result.folder, dataset).mean("P") == 1.0
    assert run(BRIGHTEST, dataset, tmp_path, progress=False).skipped == tuple(names)


def test_a_data_set_may_grow_and_another_split_may_be_added(tmp_path):
    dataset = Squares(count=1)
    run(BRIGHTEST, dataset, tmp_path, progress=False)
    dataset.videos["square-1"] = square_video("square-1", seed=1)
    assert run(BRIGHTEST, dataset, tmp_path, progress=False).skipped == ("square-0",)
    dataset = Squares("test", count=1)
    dataset.videos["square-2"] = square_video("square-2", seed=2)
    assert run(BRIGHTEST, dataset, tmp_path, progress=False).finished == ("square-2",)


def test_no_sequences_are_no_sequences(tmp_path):
    result = run(BRIGHTEST, Squares(), tmp_path, sequences=[], progress=False)
    assert result.finished == result.skipped == ()


@pytest.mark.parametrize("name", ["../escape", "a/../../escape", "{tmp}/escape", "C:\\escape", ""])
def test_names_of_sequences_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    name = name.format(tmp=tmp_path)
    dataset = Squares(count=1)
    dataset.videos[name] = square_video(name or "empty")
    with pytest.raises(DataError, match="outside their folder"):
        run(BRIGHTEST, dataset, tmp_path / "out", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_script_without_a_main_guard_is_told_so_and_runs_once(tmp_path):
    script = tmp_path / "track.py"
    script.write_text(
        "from relo_env.benchmark.runner import run\n"
        "from tests.relo_env.benchmark.toy_trackers import Brightest, Uneven\n"
        "print('begun')\n"
        f"run(Brightest, Uneven(), {str(tmp_path / 'out')!r}, workers=2, progress=False)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout == "begun\n"
    assert done.stderr.count('if __name__ == "__main__":') == 1
    assert not (tmp_path / "out").exists()


def test_a_script_from_standard_input_is_told_to_be_a_file(tmp_path):
    code = (
        "from relo_env.benchmark.runner import run\n"
        "from tests.relo_env.benchmark.toy_trackers import Brightest, Uneven\n"
        f"run(Brightest, Uneven(), {str(tmp_path / 'out')!r}, workers=2, progress=False)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-"], input=code, env=environment, capture_output=True, text=True
    )
    assert "Save the script to a file" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_tracker_of_a_notebook_is_refused_before_processes_start(tmp_path):
    code = (
        "from relo_env.benchmark.runner import run\n"
        "from tests.relo_env.benchmark.toy_trackers import Brightest, Uneven\n"
        "class Mine(Brightest): pass\n"
        f"run(Mine, Uneven(), {str(tmp_path / 'out')!r}, workers=2, progress=False)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stderr.count("defined in a notebook") == 1
    assert not (tmp_path / "out").exists()


def test_a_mixtures_sequences_lie_in_folders(tmp_path):
    dataset = Mixture({"a": Squares(count=1), "b": Squares(count=1)})
    result = run(BRIGHTEST, dataset, tmp_path, progress=False)
    assert result.finished == ("a/square-0", "b/square-0")
    assert (result.folder / "b" / "square-0.txt").is_file()
    assert evaluate(result.folder, dataset).mean("P") == 1.0


@pytest.mark.parametrize("name", ["../esc", "..", "a/b", "a\\b"])
def test_names_that_are_none_of_a_folder_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="expected one without /"):
        run(BRIGHTEST, Squares(), tmp_path / "out", name=name, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", ["workers=1", "workers=2", "batch_size=3"])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, options):
    script = tmp_path / "track.py"
    script.write_text(
        "from relo_env.benchmark.runner import run\n"
        "from relo_env.benchmark.trackers import make_tracker_factory\n"
        "from tests.relo_env.benchmark.toy_trackers import Uneven\n"
        "if __name__ == '__main__':\n"
        f"    tracker = make_tracker_factory('{TOYS}:KilledOnce', name='t', "
        f"marker={str(tmp_path / 'marker')!r})\n"
        f"    run(tracker, Uneven(), {str(tmp_path / 'out')!r}, {options}, progress=False)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    killed = subprocess.run([sys.executable, script], env=environment)
    assert killed.returncode == -9
    folder = tmp_path / "out" / "t" / "Uneven"
    half = files(folder)
    assert 0 < len(half) < 4

    subprocess.run([sys.executable, script], env=environment, check=True)
    whole = run(BRIGHTEST, Uneven(), tmp_path / "whole", progress=False).folder
    assert files(folder) == files(whole)
    assert half.items() <= files(whole).items()


def test_boxes_do_not_depend_on_the_number_of_workers(tmp_path):
    one = run(BRIGHTEST, Squares(), tmp_path / "1", progress=False).folder
    result = run(BRIGHTEST, Squares(), tmp_path / "2", workers=2, progress=False)
    assert sorted(result.finished) == list(Squares().names)
    assert files(result.folder) == files(one)


def test_a_fresh_process_a_sequence(tmp_path):
    counting = make_tracker_factory(f"{TOYS}:Counting", name="counting")
    dataset = Squares(count=2)
    same = run(counting, dataset, tmp_path / "same", progress=False).folder
    assert [read_boxes(same, name)[1, 0] for name in dataset.names] == [1, 2]
    fresh = run(counting, dataset, tmp_path / "fresh", fresh_process=True, progress=False).folder
    assert [read_boxes(fresh, name)[1, 0] for name in dataset.names] == [1, 1]


class TestFailures:
    @pytest.mark.parametrize("batch_size", [1, 2])
    def test_an_answer_without_score(self, tmp_path, batch_size):
        tracker = make_tracker_factory(f"{TOYS}:BoxOnly")
        options = {"batch_size": batch_size, "progress": False}
        result = run(tracker, Squares(count=1), tmp_path, **options)
        assert "must return (box, score); got (1.0, 2.0, 3.0, 4.0)" in result.failed["square-0"]

    def test_a_broken_frame_costs_its_sequence_only(self, tmp_path):
        dataset = Squares()
        dataset.videos["square-1"] = square_video("square-1", broken=(7,))
        result = run(BRIGHTEST, dataset, tmp_path, progress=False)
        assert set(result.failed) == {"square-1"}
        assert "frame 7 of a toy video is broken" in result.failed["square-1"]
        assert len(result.finished) == 3
        assert "1 of 4 sequences failed" in result.describe_failures()
        assert not list(result.folder.glob("square-1*"))

    def test_sequences_that_fail_alike_are_told_together(self, tmp_path):
        class Incomplete(Squares):
            def load(self, name):
                if name != "square-3":
                    raise DataError(f"there is no sequence {name}")
                return super().load(name)

        told = run(BRIGHTEST, Incomplete(count=9), tmp_path, progress=False).describe_failures()
        assert told.splitlines() == [
            "8 of 9 sequences failed:",
            "--- square-0, square-1, square-2 and 5 more",
            "DataError: there is no sequence square-0",
        ]

    def test_a_sequence_that_cannot_be_loaded(self, tmp_path):
        class Partly(Squares):
            def load(self, name):
                if name == "square-2":
                    raise DataError("groundtruth.txt is missing")
                return super().load(name)

        result = run(BRIGHTEST, Partly(), tmp_path, progress=False)
        assert "groundtruth.txt is missing" in result.failed["square-2"]
        assert len(result.finished) == 3

    def test_a_box_that_is_none(self, tmp_path):
        tracker = make_tracker_factory(f"{TOYS}:NotANumber")
        result = run(tracker, Squares(count=1), tmp_path, progress=False)
        assert "box for frame 1 of 'square-0'" in result.failed["square-0"]

    def test_a_box_of_negative_size(self, tmp_path):
        tracker = make_tracker_factory(f"{TOYS}:InsideOut")
        result = run(tracker, Squares(count=1), tmp_path, progress=False)
        assert "box for frame 1 of 'square-0' is" in result.failed["square-0"]
        assert "no size below 0" in result.failed["square-0"]

    def test_no_target_in_the_first_frame(self):
        with pytest.raises(DataError, match="absent in frame 0"):
            list(track_sequence(BRIGHTEST(), square_video(absent=(0,))))

    def test_a_process_that_dies_costs_its_sequence_only(self, tmp_path):
        dataset = Squares(count=3)
        dataset.videos["square-0"] = square_video("square-0", size=(120, 72))
        tracker = make_tracker_factory(f"{TOYS}:DiesOnBigFrames")
        result = run(tracker, dataset, tmp_path, workers=2, progress=False)
        assert set(result.failed) == {"square-0"}
        assert "exit code -9" in result.failed["square-0"]
        assert sorted(result.finished) == ["square-1", "square-2"]
        assert not multiprocessing.active_children()

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_tracker_that_cannot_be_built_ends_the_run(self, tmp_path, workers):
        tracker = make_tracker_factory(f"{TOYS}:cannot_be_built")
        with pytest.raises((RuntimeError, ReloError), match="no weights today"):
            run(tracker, Squares(count=2), tmp_path, workers=workers, progress=False)
        assert not multiprocessing.active_children()

    def test_an_unknown_sequence(self, tmp_path):
        with pytest.raises(ConfigError, match="square-9"):
            run(BRIGHTEST, Squares(), tmp_path, sequences=["square-9"], progress=False)


def test_progress_is_shown_or_not(tmp_path, capsys):
    run(BRIGHTEST, Squares(count=2), tmp_path / "a", progress=False)
    assert capsys.readouterr().err == ""
    run(BRIGHTEST, Squares(count=2), tmp_path / "b")
    bar = capsys.readouterr().err
    assert "60/60" in bar
    assert "frame/s" in bar
    assert "2/2 sequences, 0 failed" in bar


def test_progress_comes_before_the_end_of_a_long_sequence():
    class Slow:
        def init(self, frame, box): ...

        def update(self, frame):
            time.sleep(0.03)
            return (0.0, 0.0, 1.0, 1.0), 1.0

    steps = [event.frames for event in track_sequence(Slow(), square_video())]
    assert len(steps) > 2
    assert sum(steps) == 30


class TestEvaluation:
    def test_missing_results_are_an_error_unless_allowed(self, tmp_path):
        dataset = Squares()
        folder = run(BRIGHTEST, dataset, tmp_path, sequences=["square-0"], progress=False).folder
        with pytest.raises(DataError, match=r"1 of 4 sequences.*square-1"):
            evaluate(folder, dataset)
        partly = evaluate(folder, dataset, allow_missing=True)
        assert partly.missing == ("square-1", "square-2", "square-3")
        assert "1/4" in summary_table([partly])

    def test_a_sequence_named_twice_counts_once(self, tmp_path):
        names = ["square-1", "square-0", "square-1"]
        result = run(BRIGHTEST, Squares(), tmp_path, sequences=names, progress=False)
        assert result.finished == ("square-1", "square-0")
        evaluation = evaluate(result.folder, Squares(), sequences=names)
        assert evaluation.sequences == ("square-1", "square-0")

    def test_another_length_is_an_error(self, tmp_path):
        (tmp_path / "square-0.txt").write_text("1,2,3,4\n")
        with pytest.raises(DataError, match="has 1 boxes, expected 30"):
            evaluate(tmp_path, Squares(count=1))

    def test_pooled_means_weigh_sequences_by_frames(self, tmp_path):
        dataset = Squares(count=2)
        dataset.videos["square-1"] = square_video("square-1", length=11)
        for name in dataset.names:
            length = len(dataset[name])
            boxes = dataset[name].boxes if name == "square-1" else np.ones((length, 4))
            np.savetxt(tmp_path / f"{name}.txt", boxes, delimiter="\t")
        pooled = evaluate(tmp_path, dataset, protocol="got10k")
        assert pooled.mean("AO") == pytest.approx(10 / 39)
        assert evaluate(tmp_path, dataset, protocol="dev").mean("AO") == pytest.approx(1 / 2)

    def test_a_sequence_without_counting_frames_is_in_no_mean(self, tmp_path):
        dataset = Squares(count=2)
        dataset.videos["square-1"] = square_video("square-1", absent=tuple(range(1, 30)))
        folder = run(BRIGHTEST, dataset, tmp_path, progress=False).folder
        assert evaluate(folder, dataset, protocol="dev").mean("AO") == 1.0

    def test_only_like_is_compared(self, tmp_path):
        folder = run(BRIGHTEST, Squares(), tmp_path, progress=False).folder
        both = [evaluate(folder, Squares(), protocol=name) for name in ("clean", "dev")]
        with pytest.raises(DataError, match=r"clean, .*dev"):
            summary_table(both)


@pytest.mark.parametrize(("algorithm", "auc"), [("MIL", 0.180), ("CSRT", 0.698), ("KCF", 0.050)])
def test_opencv_on_a_real_sequence(dev_root, tmp_path, algorithm, auc):
    if not hasattr(cv2, f"Tracker{algorithm}_create"):
        pytest.skip(f"this OpenCV comes without its contrib modules, and so without {algorithm}")
    dataset = make_dataset("Folder", root=dev_root)
    tracker = make_tracker_factory(f"opencv:{algorithm}")
    result = run(tracker, dataset, tmp_path, sequences=["Crossing"], progress=False)
    evaluation = evaluate(result.folder, dataset, protocol="dev", sequences=["Crossing"])
    assert evaluation.mean("success_auc") == pytest.approx(auc, abs=0.02)
