"""The `relo` command as a user meets it: what it prints, writes and returns."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from agents.cli import COMMANDS, main
from agents.commands import arguments, doctor
from agents.integrations import vot
from relo_env.video import VideoFrames
from tests.relo_env.datasets import layouts
from tests.toys import square_video

BOX = "30,25,20,16"
REPORTED = ("index.html", "table.csv", "sequences.csv", "table.tex")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequence on disk: six frames, the boxes, and the same as a video."""
    root = tmp_path_factory.mktemp("square")
    video = square_video(length=6)
    (root / "img").mkdir()
    writer = cv2.VideoWriter(str(root / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 72))
    for index in range(6):
        image = video.frames.read(index)[..., ::-1]
        cv2.imwrite(str(root / "img" / f"{index:04d}.png"), image)
        writer.write(np.ascontiguousarray(image))
    writer.release()
    np.savetxt(root / "groundtruth.txt", video.boxes, fmt="%.1f", delimiter=",")
    return root


def error(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that must fail says."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def test_help_is_one_screen_and_does_without_torch() -> None:
    script = "import sys; from agents.cli import main\ntry: main(['--help'])\n"
    script += "finally: assert 'torch' not in sys.modules"
    screen = {**os.environ, "COLUMNS": "80"}
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=screen)
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 80
    assert all(name in out.stdout for name in COMMANDS)
    assert "Exit status" in out.stdout


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "usage: relo" in error(capsys)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"relo {metadata.version('relo')}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trak", "a.mp4"], ["'trak'", "Did you mean 'track'", "relo --help"]),
        (["track", "a.mp4", "--trackr", "x"], ["--trackr", "--tracker", "relo track --help"]),
        (["track"], ["source", "relo track --help"]),
        (["train", "polcy"], ["'polcy'", "'policy'", "relo train --help"]),
        (["train", "policy", "--out", "x", "--sed", "1"], ["--seed", "relo train policy --help"]),
    ],
)
def test_mistyped_words_are_told_with_the_next_step(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    message = error(capsys, *arguments)
    assert all(word in message for word in words)
    assert len(message.splitlines()) <= 2


def test_python_m_relo_env_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "relo_env", "--version"]
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert out.stdout.startswith("relo "), out.stderr


def test_a_package_that_hides_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("raise SystemExit('should not be run')")
    command = [sys.executable, "-m", "relo_env", "doctor"]
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode == 2
    assert str(tmp_path / "agents") in out.stderr
    assert "virtual environment" in out.stderr


def test_a_tracker_in_the_current_folder_is_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from relo_env.benchmark.trackers import StaticTracker as Mine"
    )
    start = "import sys; sys.path.remove(''); from relo_env.__main__ import main; sys.exit(main())"
    tracking = ["track", str(folder), "--tracker", "mine:Mine", "--json", "boxes.json"]
    command = [sys.executable, "-c", start, *tracking]
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert (tmp_path / "boxes.json").is_file()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options(tmp_path: Path, capfd: Any) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "relo.bash"
    script.write_text(capfd.readouterr().out)

    def completed(*words: str) -> list[str]:
        lines = [
            f"source {script}",
            f"COMP_WORDS=({' '.join(words)}) COMP_CWORD={len(words) - 1}",
            "$(complete -p relo | sed 's/.*-F \\([^ ]*\\).*/\\1/') relo",
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ]
        out = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
        return out.stdout.split()

    assert completed("relo", "tr") == ["track", "train"]
    assert "--learning-rate" in completed("relo", "train", "policy", "--l")
    assert completed("relo", "report", "--lengths", "st") == ["strict"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"relo {name}" in capsys.readouterr().out.split("example")[1]


def test_track_writes_a_video_that_plays_and_boxes(folder: Path, tmp_path: Path) -> None:
    out, boxes = tmp_path / "new" / "out.mp4", tmp_path / "boxes.json"
    arguments = [str(folder), "--tracker", "static", "--out", str(out), "--json", str(boxes)]
    assert main(["track", *arguments]) == 0
    video = VideoFrames(out)
    assert [video.read(i).shape for i in range(6)] == [(288, 384, 3)] * 6  # small ones are enlarged
    assert len(video) == 6
    report = json.loads(boxes.read_text())
    first = [
        float(value) for value in (folder / "groundtruth.txt").read_text().split()[0].split(",")
    ]
    assert report["boxes"] == [first] * 6
    assert report["scores"] == [None, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert report["seconds"] == pytest.approx(np.arange(6) / 25)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["boxes.json", "new", "out.mp4"]


@pytest.mark.parametrize(
    ("tracker", "expected"),
    [
        (["--tracker", "static"], "no backend"),
        (["--tracker-option", "backend=torch"], "backend torch (as asked for)"),
        (["--tracker-option", "dtype=float64"], "backend torch (ONNX Runtime runs float32"),
    ],
)
def test_track_says_its_backend(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tracker, expected: str
) -> None:
    out = ["--json", str(tmp_path / "boxes.json"), "--max-frames", "1"]
    assert main(["track", str(folder), *out, "--verbose", *tracker]) == 0
    assert expected in capsys.readouterr().out


def test_track_follows_several_objects(folder: Path, tmp_path: Path) -> None:
    boxes, video = tmp_path / "b.json", tmp_path / "o.webm"
    two = ["--box", BOX, "--box", "10,5,20,8", "--tracker", "static"]
    files = ["--json", str(boxes), "--out", str(video)]
    assert main(["track", str(folder / "v.mp4"), *two, *files]) == 0
    report = json.loads(boxes.read_text())
    assert [track["boxes"][5] for track in report["tracks"]] == [[30, 25, 20, 16], [10, 5, 20, 8]]
    assert "boxes" not in report
    assert len(report["seconds"]) == len(report["tracks"][1]["lost"]) == 6
    red, _, blue = VideoFrames(video).read(3)[5 * 4, 10 * 4 : 30 * 4].mean(0)  # of the second
    assert red > blue + 60


def test_track_draws_the_box(folder: Path, tmp_path: Path) -> None:
    video = tmp_path / "o.mp4"
    main(["track", str(folder / "v.mp4"), "--box", BOX, "--tracker", "static", "--out", str(video)])
    red, _, blue = VideoFrames(video).read(3)[25 * 4, 30 * 4 : 50 * 4].mean(0)  # its upper edge
    assert red > blue + 60


def test_track_stops_after_max_frames(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    common = ["track", str(folder), "--tracker", "static", "--json", str(out)]
    assert main([*common, "--max-frames", "3"]) == 0
    assert len(json.loads(out.read_text())["boxes"]) == 3


class Thoughtless:
    """A tracker whose boxes are not numbers."""

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        pass

    def update(self, frame: np.ndarray) -> tuple[tuple[float, float, float, float], None]:
        return (np.nan, 2.0, 30.0, 40.0), None


class Interrupted:
    """A tracker whose user presses Ctrl-C at the third frame."""

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        self.frames = 0

    def update(self, frame: np.ndarray) -> tuple[tuple[float, float, float, float], float]:
        self.frames += 1
        if self.frames == 3:
            raise KeyboardInterrupt
        return (1.0, 2.0, 30.0, 40.0), 0.5


def test_track_keeps_what_was_done_when_interrupted(folder: Path, tmp_path: Path) -> None:
    out, boxes = tmp_path / "o.mp4", tmp_path / "b.json"
    spec = f"{__name__}:Interrupted"
    arguments = [str(folder), "--tracker", spec, "--out", str(out), "--json", str(boxes)]
    assert main(["track", *arguments]) == 130
    assert len(VideoFrames(out)) == len(json.loads(boxes.read_text())["boxes"]) == 3


class Terminated(Interrupted):
    """A tracker whose process gets SIGTERM at the third frame."""

    def update(self, frame: np.ndarray) -> tuple[tuple[float, float, float, float], float]:
        if self.frames == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)  # until the signal is handled
        return super().update(frame)


def test_track_keeps_what_was_done_when_terminated(folder: Path, tmp_path: Path) -> None:
    out, boxes = tmp_path / "o.mp4", tmp_path / "b.json"
    spec = f"{__name__}:Terminated"
    arguments = [str(folder), "--tracker", spec, "--out", str(out), "--json", str(boxes)]
    assert main(["track", *arguments]) == 143
    assert len(VideoFrames(out)) == len(json.loads(boxes.read_text())["boxes"]) == 3


@pytest.mark.parametrize(("key", "visible"), [(ord("q"), 1), (27, 1), (-1, 0)])
def test_track_ends_with_its_window(
    key: int, visible: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    monkeypatch.setattr("relo_env.rendering.has_screen", lambda: True)
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: sizes.append(picture.shape[:2]))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: key if len(sizes) == 3 else -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: visible if len(sizes) == 3 else 1)
    monkeypatch.setattr(cv2, "destroyWindow", lambda title: None)
    boxes = tmp_path / "b.json"
    common = [str(folder), "--tracker", "static", "--json", str(boxes)]
    assert main(["track", *common, "--show"]) == 130
    assert len(json.loads(boxes.read_text())["boxes"]) == 3


def test_windows_fit_a_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((2160, 3840, 3), np.uint8))
    shown = []

    def drawn(title: str, picture: np.ndarray) -> np.ndarray:
        shown.append(picture.shape)
        return np.array([[100, 50, 20, 10]])

    monkeypatch.setattr("relo_env.rendering.has_screen", lambda: True)
    monkeypatch.setattr(cv2, "selectROIs", drawn)
    monkeypatch.setattr(cv2, "destroyWindow", lambda title: None)
    boxes = tmp_path / "b.json"
    assert (
        main(["track", str(tmp_path), "--select", "--tracker", "static", "--json", str(boxes)]) == 0
    )
    height, width = shown[0][:2]
    assert height < 720
    assert width < 1280
    expected = np.array([100, 50, 20, 10]) * 3840 / width
    assert json.loads(boxes.read_text())["boxes"][0] == pytest.approx(expected)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are Unix's")
def test_track_on_a_full_disk_says_so(folder: Path, tmp_path: Path) -> None:
    out, boxes = tmp_path / "o.mp4", tmp_path / "b.json"
    code = (
        "import resource, signal, sys; from agents.cli import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); sys.exit(main(sys.argv[1:]))"
    )
    arguments = [
        "track",
        str(folder),
        "--tracker",
        "static",
        "--out",
        str(out),
        "--json",
        str(boxes),
    ]
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "wrote" not in ran.stdout
    assert ran.stderr.splitlines()[-1].startswith("relo: error: Cannot write")
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_opencv_is_given_boxes_inside_the_frame(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "b.json"), "--tracker", "opencv:MIL"]
    assert main(["track", str(folder), "--box=-15,10,40,20", *files]) == 0
    message = error(capsys, "track", folder, "--box", "10,10,0.2,0.2", *files)
    assert "Box (10.0, 10.0, 0.2, 0.2) covers" in message


def test_track_keeps_what_was_done_when_the_video_breaks_off(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    (broken / "img").mkdir(parents=True)
    for index in range(4):
        source = (folder / "img" / f"{index:04d}.png").read_bytes()
        (broken / "img" / f"{index:04d}.png").write_bytes(source if index < 3 else source[:40])
    boxes = tmp_path / "b.json"
    message = error(capsys, "track", broken, "--box", BOX, "--tracker", "static", "--json", boxes)
    assert "0003.png" in message
    assert len(json.loads(boxes.read_text())["boxes"]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.mp4", "--box", BOX], ["missing.mp4", "number of a webcam"]),
        (["{text}", "--box", BOX], ["text.mp4", "text file"]),
        (["{junk}", "--box", BOX], ["junk.mp4", "Cannot open"]),
        (["{empty}", "--box", BOX], ["empty", "No images"]),
        (["{video}"], ["--box", "--select"]),
        (["{video}", "--box", "1,2,3"], ["'1,2,3'", "LEFT,TOP,WIDTH,HEIGHT"]),
        (["{video}", "--box", "a,b,c,d"], ["'a,b,c,d'", "four numbers"]),
        (["{video}", "--box", "1,2,3,0"], ["above 0"]),
        (["{video}", "--box", "nan,2,3,4"], ["finite"]),
        (["{video}", "--box", "500,2,30,40"], ["500,2,30,40", "96 x 72"]),
        (["{video}", "--box", BOX, "--out", "o.avi"], ["o.avi", ".mp4"]),
        (["{video}", "--box", BOX, "--out", "{video}"], ["source itself"]),
        (["{video}", "--box", BOX, "--box", "1,2,3"], ["'1,2,3'", "LEFT,TOP,WIDTH,HEIGHT"]),
        (["missing.mp4", "--box", BOX, "--out", "new/o.mp4"], ["missing.mp4"]),
        (["{video}", "--box", BOX, "--tracker", "nanoo", "--out", "new/o.mp4"], ["nanoo"]),
        (["{video}", "--box", BOX, "--tracker-option", "window_exponent=abc"], ["'abc'", "number"]),
        (["{video}", "--box", BOX, "--json", "empty"], ["Cannot write empty", "no file"]),
        (["{video}", "--box", BOX, "--out", "text.mp4/o.mp4"], ["Cannot make the folder"]),
        (["{video}", "--box", BOX, "--max-frames", "0"], ["'0'", "above 0"]),
        (["{video}", "--box", BOX, "--tracker", "nanoo"], ["nanoo", "opencv:MIL"]),
        (["{video}", "--box", BOX, "--tracker", "mil"], ["Did you mean opencv:MIL"]),
        (["{video}", "--box", BOX, "--tracker", f"{__name__}:BOX"], ["cannot be called"]),
        (["{video}", "--box", BOX, "--out", "o.mp4", "--json", "o.mp4"], ["both o.mp4"]),
        (["{video}", "--box", BOX, "--json", "/dev/full"], ["/dev/full", "no file"]),
        (["{video}", "--box", BOX, "--tracker", "opencv:MILL"], ["MILL", "MIL"]),
        (["{video}", "--box", BOX, "--device", "warp"], ["'warp'"]),
        (["{video}", "--box", BOX, "--device", "meta"], ["'meta'", "cannot be used"]),
        (["{video}", "--box", BOX, "--max-frames", "9" * 20], ["too large"]),
        (["{video}", "--box", BOX, "--tracker-option", "x"], ["'x'", "NAME=VALUE"]),
    ],
)
def test_track_explains_what_is_wrong(
    arguments: list[str],
    words: list[str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "junk.mp4").write_bytes(bytes(100))
    places = {"video": folder / "v.mp4", "empty": "empty", "text": "text.mp4", "junk": "junk.mp4"}
    filled = [argument.format(**places) for argument in arguments]
    chosen = {"--tracker", "--tracker-option"} & set(arguments)
    default = [] if chosen else ["--tracker", "static"]
    message = error(capsys, "track", *filled, *default)
    assert all(word in message for word in words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "junk.mp4", "text.mp4"]


@pytest.mark.parametrize("name", ["groundtruth.txt", "img/0003.png", "linked"])
def test_track_writes_over_no_file_that_it_reads(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "s")
    (tmp_path / "s" / "linked").symlink_to(tmp_path / "s" / "img" / "0001.png")
    target, source = tmp_path / "s" / name, tmp_path / "s"
    before = target.read_bytes()
    message = error(capsys, "track", source, "--tracker", "static", "--json", target)
    assert "source itself" in message
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    "fault",
    [MemoryError("Unable to allocate 9 TiB"), torch.OutOfMemoryError("Tried to allocate 9 TiB")],
)
def test_too_little_memory_is_said_in_a_line(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def allocate(*_: Any) -> None:
        raise fault

    monkeypatch.setattr("agents.commands.datasets.list_datasets", allocate)
    message = error(capsys, "datasets", "list")
    assert message.startswith(f"relo: error: Not enough memory: {fault}")


def test_track_explains_what_a_tracker_did_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "b.json"), "--tracker", f"{__name__}:Thoughtless"]
    message = error(capsys, "track", folder, *files)
    assert "nan" in message
    assert "four finite numbers" in message


def test_track_says_that_it_wrote_only_what_it_wrote(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["track", str(folder), "--tracker", "static", "--out", str(tmp_path / "a.avi")]) == 2
    )
    boxes = tmp_path / "b.json"
    boxes.write_text("of an earlier run")
    too_small = [str(folder), "--box", "0.5,0.5,0.1,0.1", "--json", str(boxes)]
    assert main(["track", *too_small]) == 2
    assert boxes.read_text() == "of an earlier run"
    assert "wrote" not in capsys.readouterr().out


def test_a_box_may_stick_out_of_the_frame(folder: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "b.json"
    arguments = [str(folder), "--box=-5,9,20,30", "--tracker", "static", "--json", str(boxes)]
    assert main(["track", *arguments]) == 0
    assert json.loads(boxes.read_text())["boxes"][0] == [-5, 9, 20, 30]


def test_select_needs_a_screen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relo_env.rendering.has_screen", lambda: False)
    arguments = ["track", folder, "--select", "--tracker", "static"]
    assert "--box" in error(capsys, *arguments)


def test_evaluate_prints_a_table_and_resumes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["evaluate", "--dataset", "Folder", "--root", str(folder), "--tracker", "static"]
    assert main([*common, "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "success_auc" in table
    assert "1/1" in table
    boxes = tmp_path / "static" / "Folder" / f"{folder.name}.txt"
    assert len(boxes.read_text().splitlines()) == 6
    before = boxes.stat().st_mtime_ns
    assert main([*common, "--out", str(tmp_path)]) == 0
    assert boxes.stat().st_mtime_ns == before
    assert capsys.readouterr().out == table


def test_evaluate_tells_options_that_cannot_be(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["evaluate", "--dataset", "Folder", "--root", str(folder), "--out", str(tmp_path)]
    assert "'bogus'; known: official," in error(capsys, *common, "--tracker-option", "bogus=3")
    assert "true or false" in error(capsys, *common, "--tracker-option", "recovery=off")
    assert "Did you mean 'bfloat16'" in error(capsys, *common, "--tracker-option", "dtype=bfloat")


def test_literals_of_python_are_read_as_those_of_json() -> None:
    pairs = [arguments.key_value(f"a={text}")[1] for text in ("False", "TRUE", "None", "0", "Ada")]
    assert pairs == [False, True, None, 0, "Ada"]


def test_nano_takes_a_dtype_by_name() -> None:
    factory = arguments.tracker_factory("nano", device="cpu", options={"dtype": "bfloat16"})
    assert factory.kwargs["dtype"] is torch.bfloat16
    json.dumps(dict(factory.settings))


def test_evaluate_where_a_server_has_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts.make_got10k(tmp_path)
    common = ["--dataset", "GOT10k", "--root", str(tmp_path), "--split", "test"]
    some = ["--sequences", "GOT-10k_Test_000001", "--protocol", "got10k", "--out", str(tmp_path)]
    assert main(["evaluate", *common, *some, "--tracker", "static"]) == 0
    out = capsys.readouterr().out
    assert "`relo submit`, or with relo_env.benchmark.submissions.pack" in out
    assert "AO" not in out


def test_evaluate_steps_sequences_together_and_keeps_score_maps(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["evaluate", "--dataset", "Folder", "--root", str(folder), "--out", str(tmp_path)]
    tracker = ["--tracker", "tests.relo_env.benchmark.toy_trackers:InStep"]
    assert main([*common, *tracker, "--name", "kept", "--batch-size", "2"]) == 0
    assert "95.2" in capsys.readouterr().out
    assert len(list(tmp_path.glob("kept/Folder/*_score_maps.npz"))) == 1
    assert main([*common, *tracker, "--name", "not", "--batch-size", "2", "--no-score-maps"]) == 0
    assert not list(tmp_path.glob("not/Folder/*_score_maps.npz"))
    alone = [*common, "--tracker", "static", "--batch-size", "2"]
    assert "follows one object only" in error(capsys, *alone)
    assert "not allowed with" in error(capsys, *alone, "--workers", "2")


class Failing:
    """A tracker that loses its mind."""

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        """Nothing."""

    def update(self, frame: np.ndarray) -> tuple[tuple[float, float, float, float], float]:
        raise RuntimeError("lost my mind")


def test_evaluate_reports_failed_sequences(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = f"{__name__}:Failing"
    common = ["evaluate", "--dataset", "Folder", "--root", str(folder), "--tracker", tracker]
    assert main([*common, "--out", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert folder.name in message
    assert "lost my mind" in message


def test_evaluate_explains_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RELO_DATA", raising=False)
    out = ["--out", tmp_path, "--tracker", "static"]
    assert "RELO_DATA" in error(capsys, "evaluate", "--dataset", "LaSOT", *out)
    assert "LaSOT" in error(capsys, "evaluate", "--dataset", "LaSTO", *out)
    assert "'test'" in error(capsys, "evaluate", "--dataset", "Synthetic", "--split", "tset", *out)


@pytest.mark.parametrize("setting", ["--sequences=0", "--length=1", "--seed=-1", "--steps=0"])
def test_demo_explains_what_is_wrong_before_it_trains(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = error(capsys, "demo", setting, "--out", tmp_path / "demo")
    assert message.startswith(f"relo: error: {setting[2:].replace('=', ' is ')}; expected")
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("option", ["--dataset-option", "--tracker-option"])
def test_names_that_are_set_elsewhere_are_refused(
    option: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "Folder", "--root", folder, "--tracker", "static", "--out", tmp_path]
    assert "name cannot be set here" in error(capsys, "evaluate", *words, option, "name=x")


def test_train_tells_the_options_of_algorithms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "policy", "--help"])
    assert "kl_coef" in capsys.readouterr().out
    arguments = ["--algorithm", "grpo", "--algorithm-options", "kl_cof=1", "--out", tmp_path]
    assert "Did you mean 'kl_coef'" in error(capsys, "train", "policy", *arguments)


def test_report_compares_with_published_results(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "TheirTracker"
    root = ["--root", str(folder)]
    common = ["evaluate", "--dataset", "Folder", *root, "--tracker", "static"]
    assert main([*common, "--out", str(ours)]) == 0
    theirs.mkdir()  # a text file a sequence, with tabs, as trackers are published
    boxes = np.loadtxt(folder / "groundtruth.txt", delimiter=",")
    np.savetxt(theirs / f"{folder.name}.txt", boxes, fmt="%.0f", delimiter="\t")
    capsys.readouterr()
    results = [str(ours / "static" / "Folder"), str(theirs)]
    assert main(["report", *results, *root, "--out", str(tmp_path / "report")]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[2].startswith("TheirTracker")
    assert "95.2" in table[2]
    files = [f"{tmp_path / 'report' / name}" for name in REPORTED]
    assert table[-4:] == [f"wrote {file}" for file in files]
    assert all(Path(file).is_file() for file in files)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "TheirTracker" in page
    nowhere = ["report", str(theirs), *root, "--out", str(tmp_path)]
    message = error(capsys, *nowhere)
    assert "Unknown data set 'TheirTracker'" in message
    assert "--dataset" in message


def test_report_finds_no_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "no folder" in error(capsys, "report", tmp_path / "loop", "--out", tmp_path / "r")
    (tmp_path / "static" / "Synthetic").mkdir(parents=True)
    out = ["--out", tmp_path]
    inside = f"did you mean {tmp_path / 'static' / 'Synthetic'}"
    assert inside in error(capsys, "report", tmp_path / "static", *out)
    assert inside in error(capsys, "report", tmp_path / "static", "--dataset", "Synthetic", *out)
    assert "There is no folder" in error(capsys, "report", tmp_path / "nowhere", *out)


def test_nobody_tracks_all_of_an_endless_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    all_of_it = ["--dataset", "Synthetic", "--split", "train", "--out", tmp_path]
    assert "--max-sequences" in error(capsys, "evaluate", "--tracker", "static", *all_of_it)


def test_figures_are_of_the_test_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["--dataset", "Synthetic", "--dataset-option", "length=5", "--max-sequences", "1"]
    assert main(["evaluate", *one, "--tracker", "static", "--out", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.rglob("test-*[0-9].txt")] == ["test-000000.txt"]
    results = str(tmp_path / "static" / "Synthetic")
    assert main(["report", results, *one, "--out", str(tmp_path / "report")]) == 0
    assert "1/1" in capsys.readouterr().out


def test_datasets_list_and_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list"]) == 0
    assert "RELO-LaSOT-v0" in capsys.readouterr().out
    assert main(["datasets", "verify", "Folder", "--root", str(folder), "--decode"]) == 0
    assert "6 frames" in capsys.readouterr().out


def test_datasets_verify_reports_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a" / "img").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "a" / "img" / "0.png"), np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "a" / "groundtruth.txt").write_text("1,2,3,4\n1,2,3,4\n")
    assert main(["datasets", "verify", "Folder", "--root", str(tmp_path)]) == 1
    assert "malformed" in capsys.readouterr().out


def test_doctor_finds_this_installation_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0, capsys.readouterr().out
    assert "all well" in capsys.readouterr().out


def test_doctor_tells_what_is_broken_and_what_is_optional(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise OSError("no codec")

    found = [("a", lambda: "1.0", True), ("b", broken, False), ("c", broken, True)]
    monkeypatch.setattr(doctor, "checks", lambda: iter(found))
    assert main(["doctor"]) == 1
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [mark for mark, _ in lines[:3]] == ["ok", "-", "FAILED"]
    assert "OSError: no codec" in lines[2][1]
    assert lines[3][0] == "1"
    monkeypatch.setattr(doctor, "checks", lambda: iter(found[:2]))
    assert main(["doctor"]) == 0


def doctor_line(name: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Mark and words of one check of ``relo doctor``, the others left out."""
    chosen = [check for check in doctor.checks() if check[0] == name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "checks", lambda: iter(chosen))
        main(["doctor"])
    mark, _, words = capsys.readouterr().out.splitlines()[0].split(maxsplit=2)
    return [mark, words]


def test_doctor_names_a_distribution_with_a_package_of_our_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor_line("agents", capsys)[0] == "ok"
    monkeypatch.setattr(
        doctor.metadata, "packages_distributions", lambda: {"agents": ["relo", "other-agents"]}
    )
    mark, words = doctor_line("agents", capsys)
    assert mark == "FAILED"
    assert "other-agents" in words


def test_doctor_finds_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RELO_DATA", raising=False)
    mark, words = doctor_line("data", capsys)
    assert mark == "-"
    assert words.startswith("RELO_DATA is not set")
    monkeypatch.setenv("RELO_DATA", str(tmp_path))
    assert "no data set found" in doctor_line("data", capsys)[1]
    (tmp_path / "LaSOT").mkdir()
    assert doctor_line("data", capsys) == ["ok", f"{tmp_path}: LaSOT"]
    monkeypatch.setenv("RELO_DATA", str(tmp_path / "typo"))
    mark, words = doctor_line("data", capsys)
    assert mark == "-"
    assert "typo" in words


def test_a_missing_vot_toolkit_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trax", None)
    monkeypatch.setattr(sys, "argv", ["vot", "--tracker", "static"])
    with pytest.raises(SystemExit) as end:
        vot.main()
    assert end.value.code == 2
    assert "pip install 'relo[vot]'" in capsys.readouterr().err
