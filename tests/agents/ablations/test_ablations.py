"""A study at the smallest scale: what it leaves, going on after a kill, what is refused."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.ablations import TABLES, HeldBack, Study, run_study, summarize, write_report
from agents.ablations.report import frames_to
from agents.ablations.tables import read_result
from agents.cli import main
from agents.commands import ablate
from agents.network import RELONetwork
from relo_env.datasets.base import Dataset
from relo_env.errors import CheckpointError, ConfigError, DataError, ReloError
from tests.toys import Squares, hidden_squares

TINY = {
    "network": None,
    "preset": "micro",
    "frames": 64,
    "seeds": 1,
    "held_back": HeldBack(clips=2, length=3),
    "warmup_steps": 2,
}

SCRIPT = """
import sys
from pathlib import Path
from tests.agents.ablations.test_ablations import run, study
if __name__ == "__main__":
    run(study(seeds=2, rows=("actor-critic", "random")), Path(sys.argv[1]))
"""


def study(table: str = "algorithms", **changes: object) -> Study:
    return Study(table, **{**TINY, **changes})  # type: ignore[arg-type]


def run(one: Study, out: Path, workers: int = 1, held_back: Dataset | None = None) -> None:
    run_study(
        one,
        train=Squares("train"),
        held_back=held_back or Squares("test"),
        out=out,
        workers=workers,
        progress=False,
    )


def results(out: Path) -> dict[str, dict]:
    return {
        str(path.parent.relative_to(out / "runs")): read_result(path)
        for path in sorted(out.glob("runs/*/*/result.json"))
    }


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_sound(name: str) -> None:
    table = TABLES[name]
    names = [row.name for row in table.rows]
    assert len(set(names)) == len({row.label for row in table.rows}) == len(names)
    assert table.baseline in names
    one = Study(name, frames=1024)
    configs = [row.config(one.frames, seed=1) for row in table.rows]
    assert len({config.num_envs * config.clip_length for config in configs}) == 1
    assert {config.steps for config in configs} == {1024}


def test_a_study_leaves_tables_curves_and_logs(tmp_path: Path) -> None:
    one = study(seeds=2, rows=("expected-gradient", "ppo", "prior", "oracle"))
    run(one, tmp_path, workers=2)
    text = write_report(one, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "curves.png", "runs", "study.json", "table.csv", "table.json", "table.md",
    }  # fmt: skip
    assert (tmp_path / "table.md").read_text() == text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "PPO", "expected gradient", "prior (heat map)", "best position (oracle)",
    ]  # fmt: skip
    with open(tmp_path / "table.csv") as file:
        rows = {line["row"]: line for line in csv.DictReader(file)}
    table = {line["row"]: line for line in json.loads((tmp_path / "table.json").read_text())}
    done = results(tmp_path)
    assert set(done) == {
        "ppo/seed-0", "ppo/seed-1", "expected-gradient/seed-0", "expected-gradient/seed-1",
        "prior/seed-0", "oracle/seed-0",
    }  # fmt: skip
    mean = np.mean([done[f"ppo/seed-{k}"]["figures"]["success_auc"][-1].mean() for k in (0, 1)])
    assert table["ppo"]["success_auc"] == pytest.approx(mean)
    assert float(rows["ppo"]["success_auc"]) == pytest.approx(mean)
    assert table["oracle"]["success_auc"] >= table["prior"]["success_auc"]
    assert table["prior"]["difference"] is None
    log = EventAccumulator(str(tmp_path / "runs" / "ppo" / "seed-0")).Reload()
    assert [event.step for event in log.Scalars("held_back/success_auc")] == [0, 64]


def test_a_killed_study_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out)])
    first = out / "runs" / "actor-critic" / "seed-0" / "result.json"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    stamp = first.stat().st_mtime_ns
    one = study(seeds=2, rows=("actor-critic", "random"))
    run(one, out)
    assert first.stat().st_mtime_ns == stamp
    run(one, tmp_path / "straight")
    resumed, straight = results(out), results(tmp_path / "straight")
    assert resumed.keys() == straight.keys()
    assert len(straight) == 4
    for name, result in straight.items():
        np.testing.assert_array_equal(
            resumed[name]["figures"]["iou"], result["figures"]["iou"], err_msg=name
        )


def test_rows_with_a_warm_up_of_their_own(tmp_path: Path) -> None:
    one = study("localisation", rows=("policy-centre", "prior-centre", "policy-none"))
    run(one, tmp_path)
    assert [path.name for path in (tmp_path / "warmups").iterdir()] == ["supervision=centre"]
    assert set(results(tmp_path)) == {
        "policy-centre/seed-0", "prior-centre/seed-0", "policy-none/seed-0",
    }  # fmt: skip


def test_rows_with_controls(tmp_path: Path) -> None:
    rows = ("none", "hand-made", "ppo-both", "grpo-zoom", "oracle-both")
    one = study("controls", frames=512, rows=rows)
    long = Squares("train", length=70)
    run_study(one, train=long, held_back=Squares("test"), out=tmp_path, progress=False)
    text = write_report(one, tmp_path)
    assert "| PPO, zoom and renewal | 1 |" in text
    done = results(tmp_path)
    assert done["ppo-both/seed-0"]["frames"] == [0, 512]
    # Heads that are not trained choose neither zoom nor renewal.
    none = done["none/seed-0"]["figures"]["iou"][0]
    for name in ("ppo-both/seed-0", "grpo-zoom/seed-0"):
        np.testing.assert_allclose(done[name]["figures"]["iou"][0], none, atol=5e-3)
    network = RELONetwork.from_checkpoint(tmp_path / "runs/ppo-both/seed-0/network.safetensors")
    assert list(network.controls) == ["zoom", "renew"]


def test_a_trained_encoder_is_played_as_it_was_at_each_point(tmp_path: Path) -> None:
    one = study("encoder", rows=("trained",))
    run(one, tmp_path)
    (result,) = results(tmp_path).values()
    assert result["figures"]["iou"].shape == (2, 2)


def test_more_seeds_are_added_and_other_settings_refused(tmp_path: Path) -> None:
    run(study(rows=("prior",)), tmp_path)
    run(study(rows=("prior", "random"), seeds=3), tmp_path)
    randoms = {f"random/seed-{seed}" for seed in range(3)}
    assert set(results(tmp_path)) == {"prior/seed-0"} | randoms
    with pytest.raises(ConfigError, match="'frames': 64"):
        run(study(rows=("random",), frames=128), tmp_path)
    with pytest.raises(ConfigError, match=r"other data \(held_back\)"):
        run(study(rows=("prior",)), tmp_path, held_back=Squares("test", count=5))
    older = json.loads((tmp_path / "study.json").read_text())
    del older["data"]
    (tmp_path / "study.json").write_text(json.dumps(older))
    run(study(rows=("prior",)), tmp_path, held_back=Squares("test", count=5))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'algorithms'"):
        study("algoritms")
    with pytest.raises(ConfigError, match=r"Table 'algorithms' has no row 'gpro'.*'grpo'"):
        study(rows=("gpro",))
    with pytest.raises(ConfigError, match="Unknown preset 'pico'"):
        study(preset="pico")
    with pytest.raises(ConfigError, match=r"vits14\.safetensors'.* preset 't256' has another"):
        study(preset="t256", backbone="vits14.safetensors")
    with pytest.raises(ConfigError, match="multiple of the 64 frames"):
        study(frames=100)
    with pytest.raises(DataError, match="split 'test', has no boxes but the first ones"):
        run(study(rows=("random",)), tmp_path / "new", held_back=hidden_squares())
    for wrong in ({"network": "nowhere.safetensors"}, {"backbone": "nowhere.safetensors"}):
        with pytest.raises(CheckpointError, match=r"nowhere\.safetensors"):
            run(study(**wrong, rows=("random",)), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    other = RELONetwork.from_preset("micro", temporal="none")
    other.changes = {}  # the file then says that it has temporal tokens
    damaged = other.save_checkpoint(tmp_path / "damaged.safetensors", stage="random")
    with pytest.raises(ReloError, match=r"runs/random/seed-0(.|\n)*damaged"):
        run(study(network=str(damaged), rows=("random",)), tmp_path)
    broken = tmp_path / "result.json"
    whole = {"frames": [0], "seconds": {}, "figures": {"iou": [[0.5, 0.5]]}}
    broken.write_text(json.dumps(whole))
    assert read_result(broken)["figures"]["iou"].shape == (1, 2)
    for text in (
        '{"row": ',
        "[]",
        json.dumps({**whole, "frames": [0, 64]}),
        json.dumps({**whole, "figures": {}}),
        json.dumps({**whole, "figures": {"iou": [0.5]}}),
        json.dumps({"figures": whole["figures"]}),
    ):
        broken.write_text(text)
        with pytest.raises(CheckpointError, match=r"result\.json"):
            read_result(broken)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "ablate algorithms --preset micro --random-weights --frames 64 --seeds 1"
    arguments += f" --clips 1 --length 2 --rows random prior --out {tmp_path / 'out'}"
    assert main(arguments.split()) == 0
    assert "| random position | 1 |" in capsys.readouterr().out
    again = arguments.replace("--clips 1", "--clips 2")
    assert main(again.split()) == 2
    assert "was made with other settings" in capsys.readouterr().err
    assert main([*arguments.split(), "--test-split", "train"]) == 2
    assert "--test-split" in capsys.readouterr().err


def test_a_tables_videos_are_those_of_its_data_set_in_any_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[dict] = []
    monkeypatch.setattr(ablate, "write_report", lambda *_: "")
    monkeypatch.setattr(
        ablate, "run_study", lambda *_, train, **__: trained_on.append(train.fingerprint)
    )
    for name in ("Synthetic", "synthetic"):
        assert main(["ablate", "controls", "--dataset", name, "--out", str(tmp_path)]) == 0
    assert trained_on[0] == trained_on[1]


def test_frames_to_a_share_of_the_final_value() -> None:
    frames = np.array([0, 100, 200, 400])
    assert frames_to(0.95, frames, np.array([0.0, 0.5, 1.0, 1.0])) == pytest.approx(190)
    assert frames_to(0.5, frames, np.array([0.6, 0.7, 0.8, 1.0])) == 0


def test_summaries_need_finished_runs(tmp_path: Path) -> None:
    assert summarize(study(), tmp_path) == []
