"""Parity with GOT-10k's own toolkit (``pip install got10k``); skipped where it is not installed."""

import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from relo_env.benchmark.evaluation import evaluate
from relo_env.benchmark.results import SequenceResult, format_boxes, read_boxes, write_result
from relo_env.benchmark.submissions import SERVERS
from relo_env.datasets.registry import make_dataset
from tests.relo_env.datasets.layouts import write, write_images

pytestmark = pytest.mark.skipif(
    find_spec("got10k") is None, reason="needs GOT-10k's toolkit: pip install got10k"
)
LENGTHS = (40, 25, 61)
NAMES = [f"GOT-10k_Val_{k:06d}" for k in range(1, len(LENGTHS) + 1)]


@pytest.fixture
def root(tmp_path):
    """Three validation sequences with absent frames, and boxes that reach over the frame's edge."""
    rng = np.random.default_rng(3)
    write(tmp_path / "val" / "list.txt", "\n".join(NAMES))
    for name, n in zip(NAMES, LENGTHS, strict=True):
        folder = tmp_path / "val" / name
        write_images(folder, range(1, n + 1))
        boxes = np.concatenate([rng.uniform(-3, 12, (n, 2)), rng.uniform(5, 14, (n, 2))], axis=1)
        write(folder / "groundtruth.txt", format_boxes(boxes))
        absent = rng.random(n) < 0.2
        absent[0] = False
        labels = {"absence": absent, "cover": np.where(absent, 0, 8), "cut_by_image": absent * 0}
        for label, values in labels.items():
            write(folder / f"{label}.label", "".join(f"{value:d}\n" for value in values))
        write(folder / "meta_info.ini", "[METAINFO]\nresolution: (24, 16)")
    return tmp_path


@pytest.fixture
def results(root, tmp_path):
    """Boxes near the true ones, as we write them."""
    rng = np.random.default_rng(4)
    dataset = make_dataset("GOT10k", root=root, split="val")
    folder = tmp_path / "results"
    for name in NAMES:
        truth = read_boxes(root / "val" / name, "groundtruth")
        boxes = truth + rng.normal(0, 1.5, truth.shape)
        boxes[0], boxes[:, 2:] = truth[0], np.abs(boxes[:, 2:])
        seconds = {"tracker": rng.uniform(0.01, 0.02, len(boxes))}
        write_result(folder, name, SequenceResult(boxes, seconds))
    return evaluate(folder, dataset, protocol="got10k", sequences=NAMES)


def test_ao_and_sr(root, results, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolkit is of 2019
        from got10k.experiments import ExperimentGOT10k

        experiment = ExperimentGOT10k(
            str(root), "val", str(tmp_path / "theirs"), str(tmp_path / "reports")
        )
        for name in NAMES:
            for kind, suffix in (("boxes", ""), ("times", "_time")):
                path = getattr(SERVERS["got10k"], kind).format(name)
                text = (results.folder / f"{name}{suffix}.txt").read_text()
                write(tmp_path / "theirs" / "GOT-10k" / "ours" / path, text)
        report = experiment.report(["ours"])["ours"]

    assert results.mean("AO") == pytest.approx(report["overall"]["ao"], abs=1e-9)
    assert results.mean("SR0.5") == pytest.approx(report["overall"]["sr"], abs=1e-9)
    thresholds = np.linspace(0, 1, 101)
    at_75 = report["overall"]["succ_curve"][int(np.flatnonzero(thresholds == 0.75)[0])]
    assert results.mean("SR0.75") == pytest.approx(at_75, abs=1e-9)
    for i, name in enumerate(NAMES):
        theirs = report["seq_wise"][name]
        assert results.figures["AO"][i] == pytest.approx(theirs["ao"], abs=1e-9)
        assert results.figures["SR0.5"][i] == pytest.approx(theirs["sr"], abs=1e-9)
