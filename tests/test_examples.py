"""Every example runs from its command line, for a few steps with the smallest network."""

import csv
import io
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.export import export_onnx
from agents.network import RELONetwork
from agents.tracker import RELOTracker
from relo_env import boxes as bx
from relo_env import make_dataset

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {
    "torchrl_ppo.py": "torchrl",
    "tianshou_ppo.py": "tianshou",
    "rllib_ppo.py": "ray",
    "offline_cloning.py": "h5py",
}
"""Examples of libraries that are not among this project's requirements."""
WITHOUT_NETWORK = {"custom_proposer.py", "recurrent_ppo.py", "sb3_dqn.py", "sb3_sac_box.py"}
ONNX = EXAMPLES / "onnx_tracker.py"
TRAINING = sorted(path.name for path in EXAMPLES.glob("*.py") if path != ONNX)
CLIP = EXAMPLES.parent / "agents" / "assets" / "cockatoo" / "cockatoo.mp4"


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
@pytest.mark.parametrize("name", TRAINING)
def test_example(name, monkeypatch, capsys, tmp_path):
    if name in NEEDS:
        warnings.simplefilter("ignore")  # those libraries' own; pytest restores the filters
        pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
    arguments = ["--timesteps", "64"]
    if name not in WITHOUT_NETWORK:
        arguments += ["--network", "micro"]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert capsys.readouterr().out


@pytest.fixture(scope="module")
def exported(request, tmp_path_factory):
    """A network, without the confidence that ONNX files leave out, and the folder of its files."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the packages of relo[onnx]")
    torch.manual_seed(0)
    if request.param == "nano":
        network = RELONetwork.from_pretrained("nano")
    else:  # random weights: the window function and the tokens decide more than in a learned one
        network = RELONetwork.from_preset("micro", num_templates=2)
    network.confidence = None
    folder = tmp_path_factory.mktemp(request.param)
    export_onnx(network, folder)
    return network, folder


@pytest.mark.parametrize("exported", ["nano", "micro"], indirect=True)
def test_onnx_tracker_finds_what_the_tracker_finds(exported):
    network, folder = exported
    theirs = RELOTracker(network)
    ours = runpy.run_path(str(ONNX))["OnnxTracker"](folder)
    dataset = make_dataset("Synthetic", split="test", length=20)
    overlaps, gaps = [], []
    for name in dataset.names[:2]:
        sequence = dataset.load(name)
        box = tuple(sequence.boxes[0])
        ours.init(sequence.frames.read(0), box)
        track = theirs.start(sequence.frames.read(0), box)
        for index in range(1, 20):
            frame = sequence.frames.read(index)
            # From one box each time: what rounding adds up to says nothing of either.
            track.box = np.array(box)
            box, score = ours.update(frame)
            ((expected, expected_score),) = theirs.step([track], [frame])
            overlaps.append(bx.iou(np.array(box), np.array(expected)))
            gaps.append(abs(score - expected_score))
    # Not all: of two positions as good as each other either may win.
    assert np.mean(np.array(overlaps) > 0.9999) > 0.9
    assert np.mean(np.array(gaps) < 0.005) > 0.9


@pytest.mark.parametrize("exported", ["micro"], indirect=True)
def test_onnx_tracker_needs_no_torch(exported):
    code = f"""
import runpy, sys
sys.argv = ["onnx_tracker.py", {str(exported[1])!r}, {str(CLIP)!r}, "228,68,44,72"]
runpy.run_path({str(ONNX)!r}, run_name="__main__")
assert not {{"torch", "agents", "relo_env"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    header, first, *others = csv.reader(io.StringIO(done.stdout))
    assert header == ["frame", "x", "y", "w", "h", "score"]
    assert first == ["0", "228.0", "68.0", "44.0", "72.0", ""]
    assert len(others) > 10
    for index, row in enumerate(others, start=1):
        assert int(row[0]) == index
        assert 0 < float(row[5]) <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": "nowhere"}, "nowhere is no folder of `relo weights export`"),
        ({"video": "nothing.mp4"}, "nothing.mp4 is no video that OpenCV can read"),
        ({"box": "1,2,3"}, "box '1,2,3' is not LEFT,TOP,WIDTH,HEIGHT in pixels"),
        ({"box": "9999,2,3,4"}, "has no area in a frame of 640x360 px"),
        ({"box": "1,2,0,4"}, "has no area in a frame of 640x360 px"),
    ],
)
@pytest.mark.parametrize("exported", ["micro"], indirect=True)
def test_onnx_tracker_says_what_is_wrong(change, message, exported, monkeypatch, capsys):
    given = {"folder": str(exported[1]), "video": str(CLIP), "box": "228,68,44,72", **change}
    monkeypatch.setattr(sys, "argv", [str(ONNX), *given.values()])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ONNX), run_name="__main__")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
