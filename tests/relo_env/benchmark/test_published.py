"""Result folders of other people: found, matched to sequences, and read."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from relo_env.benchmark.evaluation import evaluate, summary_table
from relo_env.benchmark.published import find_results
from relo_env.errors import ConfigError, DataError
from tests.relo_env.datasets.layouts import write
from tests.toys import Squares

OTB = ("Basketball", "Human4_2", "Jogging_1", "Jogging_2", "Skating2_1")
UAV = ("bike1", "bike2", "person2", "person2_1", "car1_s")


def found(folder, names):
    """Path of the boxes of each sequence's only run."""
    published = find_results(folder, names)
    assert all(len(paths) == 1 for paths in published.boxes.values())
    return {name: path for name, (path,) in published.boxes.items()}


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (OTB, ["Basketball", "Human4_2", "Jogging_1", "Jogging_2", "Skating2_1"]),
        (OTB, ["Basketball", "Human4-2", "Jogging-1", "Jogging-2", "Skating2-1"]),
        (OTB, ["Basketball", "Human4", "Jogging.1", "Jogging.2", "Skating2.1"]),
        (OTB, ["basketball", "human4_2", "jogging_1", "jogging-2", "SKATING2.1"]),
        (OTB, [f"{name}_ECO" for name in OTB]),
        (OTB, [f"{name.replace('_', '-').lower()}_MDNet_v2" for name in OTB]),
        (UAV, [f"uav_{name}" for name in UAV]),
        (("Gymnastics", "bee"), ["nfs_Gymnastics", "nfs_bee"]),
        (("airplane-1", "airplane-15"), ["ECO-airplane-1", "ECO-airplane-15"]),
    ],
)
def test_names_of_files(tmp_path, names, files):
    for file in files:
        write(tmp_path / f"{file}.txt", "1,2,3,4\n")
    write(tmp_path / "readme.txt", "by us")
    assert found(tmp_path, names) == {
        name: f"{file}.txt" for name, file in zip(names, files, strict=True)
    }
    assert find_results(tmp_path, names).unmatched == ("readme.txt",)


def test_matlab_files_are_found(tmp_path):
    for name in OTB:
        write(tmp_path / f"{name}_ECO.mat", b"")
    assert found(tmp_path, OTB) == {name: f"{name}_ECO.mat" for name in OTB}


def test_a_prefix_is_one_that_most_files_have(tmp_path):
    """`uav_person2_1` is not person2 with a suffix."""
    for name in ("bike1", "bike2", "person2_1"):
        write(tmp_path / f"uav_{name}.txt", "1,2,3,4\n")
    assert set(found(tmp_path, UAV)) == {"bike1", "bike2", "person2_1"}


def test_a_missing_sequence_takes_no_other_ones_file(tmp_path):
    write(tmp_path / "car-1.txt", "1,2,3,4\n")
    write(tmp_path / "car-2_old.txt", "1,2,3,4\n")
    assert set(found(tmp_path, ("car-1", "car-2"))) == {"car-1"}


def test_several_runs_as_got10ks_toolkit_writes_them(tmp_path):
    for run in (1, 2, 3):
        write(tmp_path / "a" / f"a_{run:03d}.txt", f"{run},2,3,4\n")
    write(tmp_path / "a" / "a_time.txt", "0.1,0.2,0.3\n")
    write(tmp_path / "b" / "b_001.txt", "7,2,3,4\n")
    published = find_results(tmp_path, ("a", "b"))
    assert published.runs == 3
    assert [published.read("a", run)[0, 0] for run in range(3)] == [1, 2, 3]
    assert published.read("b", 2)[0, 0] == 7, "the first run stands for those that are not there"
    assert published.read_seconds("a").tolist() == [0.1]
    assert published.read_seconds("b") is None


@pytest.mark.parametrize(
    "time", ["times/a_time.txt", "a_time.txt", "times/a.txt", "time/A_time.txt"]
)
def test_times(tmp_path, time):
    write(tmp_path / "a.txt", "1,2,3,4\n")
    write(tmp_path / time, "0.25\n")
    published = find_results(tmp_path, ("a",))
    assert published.read_seconds("a").tolist() == [0.25]
    assert published.unmatched == ()


def test_times_are_named_after_the_box_files(tmp_path):
    for name in UAV:
        write(tmp_path / f"uav_{name}.txt", "1,2,3,4\n")
        write(tmp_path / f"uav_{name}_time.txt", "0.5\n")
    published = find_results(tmp_path, UAV)
    assert all(published.read_seconds(name).tolist() == [0.5] for name in UAV)


def test_a_sequence_called_as_the_times_of_another(tmp_path):
    write(tmp_path / "a.txt", "1,2,3,4\n")
    write(tmp_path / "a_time.txt", "0.5\n")
    assert found(tmp_path, ("a", "a_time")) == {"a": "a.txt"}
    write(tmp_path / "a_time" / "a_time_001.txt", "5,6,7,8\n")
    write(tmp_path / "a_time" / "a_time_time.txt", "0.7\n")
    published = find_results(tmp_path, ("a", "a_time"))
    assert published.read("a_time").tolist() == [[5, 6, 7, 8]]
    assert published.read_seconds("a").tolist() == [0.5]
    assert published.read_seconds("a_time").tolist() == [0.7]


def test_a_time_file_of_an_unknown_sequence_is_one_of_boxes_if_a_sequence_is_called_so(tmp_path):
    write(tmp_path / "lap_time.txt", "1,2,3,4\n")
    assert found(tmp_path, ("lap_time",)) == {"lap_time": "lap_time.txt"}


def test_leftovers_of_macos_are_nothing(tmp_path):
    for name in ("a.txt", "._a.txt", ".DS_Store", "__MACOSX/a.txt"):
        write(tmp_path / name, "1,2,3,4\n")
    assert found(tmp_path, ("a",)) == {"a": "a.txt"}


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("folder", ["", "ECO_tracking_result/", "results/ECO/"])
def test_zips(tmp_path, folder):
    files = {f"{folder}{name}.txt": "1,2,3,4\n" for name in ("airplane-1", "airplane-9")}
    files |= {"__MACOSX/._airplane-1.txt": "x"}
    published = find_results(zipped(tmp_path / "ECO.zip", files), ("airplane-1", "airplane-9"))
    assert published.read("airplane-9").tolist() == [[1, 2, 3, 4]]


def test_a_zip_in_got10ks_layout(tmp_path):
    files = {f"{n}/{n}_001.txt": "1,2,3,4\n" for n in "ab"} | {"a/a_time.txt": "0.1\n"}
    published = find_results(zipped(tmp_path / "t.zip", files), ("a", "b"))
    assert published.read("b").tolist() == [[1, 2, 3, 4]]
    assert published.read_seconds("a").tolist() == [0.1]


def test_what_is_no_folder_and_no_zip(tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        find_results(tmp_path / "nowhere", ("a",))
    write(tmp_path / "a.zip", b"PK\x03\x04 cut")
    with pytest.raises(DataError, match="neither a folder nor a whole zip"):
        find_results(tmp_path / "a.zip", ("a",))


class TestEvaluation:
    """Through `evaluate`."""

    dataset = Squares(count=3)

    def publish(self, folder, name="{}.txt", change=lambda text: text):
        for sequence in self.dataset:
            text = "".join(",".join(map(str, box)) + "\n" for box in sequence.boxes)
            write(folder / name.format(sequence.name), change(text))
        return folder

    def test_the_same_figures_in_any_form(self, tmp_path):
        plain = evaluate(self.publish(tmp_path / "plain"), self.dataset)
        tabs = self.publish(
            tmp_path / "tabs",
            "toy_{}_SOME.txt",
            lambda text: "\ufeffx\ty\tw\th\r\n" + text.replace(",", "\t").replace("\n", "\r\n"),
        )
        other = evaluate(tabs, self.dataset)
        assert other.figures["AO"].tolist() == plain.figures["AO"].tolist()
        assert plain.mean("AO") == 1

    def test_every_fault_is_told_at_once(self, tmp_path):
        folder = self.publish(tmp_path)
        write(folder / "square-0.txt", "1,2,3\n" * 30)
        write(folder / "square-2.txt", "1,2,3,4\n" * 29)
        with pytest.raises(DataError) as error:
            evaluate(folder, self.dataset)
        text = str(error.value)
        assert "2 faulty files" in text
        assert "square-0.txt, line 1" in text
        assert "square-2.txt has 29 boxes, expected 30" in text
        assert "--lengths" in text

    def test_what_is_missing_is_told_beside_what_was_looked_for(self, tmp_path):
        folder = self.publish(tmp_path, "other-{}-x")
        for k, path in enumerate(sorted(folder.iterdir())):
            path.rename(folder / f"video{k}.txt")
        with pytest.raises(DataError) as error:
            evaluate(folder, self.dataset)
        text = str(error.value)
        assert "0 of 3 sequences" in text
        assert "square-0.txt, square-0/square-0_001.txt and square-0.mat" in text
        assert "match no sequence: video0.txt, video1.txt, video2.txt" in text
        assert "Check the data set and its split (here 'train')" in text

    @pytest.mark.parametrize(
        ("lines", "lengths", "ao", "done"),
        [
            (15, "cut", 1.0, "cut to the common length"),
            (31, "cut", 1.0, "cut to the common length"),
            (31, "hold", 1.0, "longer results are cut"),
            (29, "hold", None, "last box is held"),
        ],
    )
    def test_lengths(self, tmp_path, lines, lengths, ao, done):
        folder = self.publish(tmp_path)
        boxes = self.dataset["square-1"].boxes
        boxes = np.concatenate([boxes, boxes])[:lines]
        np.savetxt(folder / "square-1.txt", boxes, delimiter=",")
        with pytest.raises(DataError, match=f"square-1.txt has {lines} boxes, expected 30"):
            evaluate(folder, self.dataset)
        evaluation = evaluate(folder, self.dataset, lengths=lengths)
        if ao is not None:
            assert evaluation.mean("AO") == pytest.approx(ao)
        (note,) = evaluation.notes
        assert done in note
        assert f"square-1 ({lines} lines, 30 frames)" in note

    def test_lasots_protocol_ignores_what_is_after_the_last_frame(self, tmp_path):
        folder = self.publish(tmp_path)
        write(folder / "square-1.txt", (folder / "square-1.txt").read_text() + "1,2,3,4\n" * 5)
        evaluation = evaluate(folder, self.dataset, protocol="lasot")
        assert evaluation.mean("success_auc") == pytest.approx(20 / 21)
        assert "after the last frame are ignored" in evaluation.notes[0]

    def test_several_runs_give_mean_and_deviation(self, tmp_path):
        rng = np.random.default_rng(0)
        means = []
        for run in (1, 2, 3):
            overlaps = []
            for sequence in self.dataset:
                boxes = sequence.boxes.copy()
                boxes[1:, 0] += rng.integers(0, 12)
                write(tmp_path / sequence.name / f"{sequence.name}_{run:03d}.txt", "")
                np.savetxt(tmp_path / sequence.name / f"{sequence.name}_{run:03d}.txt", boxes)
                shift = boxes[1, 0] - sequence.boxes[1, 0]
                overlaps.append((1 + 29 * (20 - shift) / (20 + shift)) / 30)
            means.append(np.mean(overlaps))
        evaluation = evaluate(tmp_path, self.dataset)
        assert evaluation.mean("AO") == pytest.approx(np.mean(means))
        assert evaluation.deviation("AO") == pytest.approx(np.std(means, ddof=1))
        assert "means of 3 runs" in evaluation.notes[0]


class Sparse(Squares):
    """Every fifth frame has a box; nobody labelled the others, or the target is absent there."""

    def __init__(self, *, labelled):
        super().__init__(count=2)
        shown = np.arange(30) % 5 == 0
        for name, video in self.videos.items():
            self.videos[name] = replace(
                video,
                boxes=np.where(shown[:, None], video.boxes, 0.0),
                visible=shown,
                labelled=np.ones(30, bool) if labelled else shown,
            )


def test_not_labelled_is_not_absent(tmp_path):
    for sequence in Squares(count=2):
        np.savetxt(tmp_path / f"{sequence.name}.txt", sequence.boxes)
    sparse = evaluate(tmp_path, Sparse(labelled=False))
    assert sparse.mean("AO") == 1
    assert "48 of 60 frames are not labelled and left out" in summary_table([sparse])
    absent = evaluate(tmp_path, Sparse(labelled=True))
    assert absent.mean("AO") == pytest.approx(0.2)
    assert "80 % of the frames have no true box and count as failures" in summary_table([absent])
    assert evaluate(tmp_path, Sparse(labelled=True), protocol="dev").notes == ()


def test_folders_of_runs_and_files_of_other_kinds_are_named(tmp_path):
    dataset = Squares()
    for run in ("t_000", "t_001"):
        write(tmp_path / "runs" / run / f"{dataset.names[0]}.txt", "1,2,3,4\n")
    with pytest.raises(DataError, match=r"did you mean .*t_000, .*t_001"):
        evaluate(tmp_path / "runs", dataset)
    write(tmp_path / "other" / f"{dataset.names[0]}.json", "{}")
    with pytest.raises(DataError, match=r"There are .*\.json: write them as text"):
        evaluate(tmp_path / "other", dataset)
    write(tmp_path / "packed" / "ECO.zip", b"")
    with pytest.raises(DataError, match=r"There are ECO\.zip: unpack them"):
        evaluate(tmp_path / "packed", dataset)


def test_folders_of_several_trackers_in_a_zip_are_named(tmp_path):
    dataset = Squares()
    places = ("ECO_result/{0}.txt", "VOT/unsupervised/{0}/{0}_001.txt")
    files = {each.format(name): "1,2,3,4\n" for name in dataset.names for each in places}
    zipped(tmp_path / "all.zip", files)
    with pytest.raises(DataError, match=r"ECO_result, .*VOT.unsupervised\? Unpack it"):
        evaluate(tmp_path / "all.zip", dataset)


def test_a_zip_whose_file_ends_early_is_named(tmp_path):
    dataset = Squares()
    zipped(tmp_path / "cut.zip", {f"{name}.txt": "1,2,3,4\n" for name in dataset.names})
    data = bytearray((tmp_path / "cut.zip").read_bytes())
    entry = data.index(b"PK\x01\x02")  # of the first file, which says that it is longer than all
    data[entry + 20 : entry + 28] = (10**6).to_bytes(4, "little") * 2
    (tmp_path / "cut.zip").write_bytes(data)
    with pytest.raises(DataError, match=rf"{dataset.names[0]}\.txt cannot be read: .*anew"):
        evaluate(tmp_path / "cut.zip", dataset)


def test_a_file_in_a_folder_called_as_a_sequence_is_not_that_of_another(tmp_path):
    """`Human4_2/boxes.txt` is not `Human4` with the suffix `2/boxes`."""
    for name in OTB:
        write(tmp_path / name / "boxes.txt", "1,2,3,4\n")
    assert found(tmp_path, OTB) == {}


def test_a_sequence_that_there_is_not_is_named(tmp_path):
    write(tmp_path / "square-0.txt", "1,2,3,4\n")
    with pytest.raises(ConfigError, match=r"Unknown sequence of .* 'square-9'"):
        evaluate(tmp_path, Squares(), sequences=["square-9"])


def test_an_empty_file_is_no_result(tmp_path):
    dataset = Squares()
    for name in dataset.names:
        write(tmp_path / f"{name}.txt", "")
    with pytest.raises(DataError, match=r"has no boxes.* anew"):
        evaluate(tmp_path, dataset, lengths="hold")
