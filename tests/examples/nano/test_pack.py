import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from agents.network import RELONetwork
from examples.nano.boxed import Boxed
from examples.nano.pack import cut_out, pack
from examples.nano.train import join, release, training_data
from relo_env.datasets.folder import Folder
from tests.relo_env.datasets.layouts import write


def picture(path, height=80, width=400):
    rng = np.random.default_rng(len(str(path)))
    image = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (width, height))
    cv2.ellipse(
        image, (width // 2, height // 2), (width // 8, height // 4), 0, 0, 360, (9, 9, 250), -1
    )
    write(path, cv2.imencode(".png", image)[1].tobytes())


def raw_data(folder):
    for name in ("photos", "objects/img", "people/img"):
        picture(folder / "images" / name / "a.png")
    mask = np.zeros((80, 400), np.uint8)
    cv2.circle(mask, (200, 40), 30, 255, -1)
    for name in ("objects", "people"):
        write(folder / "images" / name / "mask/a.png", cv2.imencode(".png", mask)[1].tobytes())
    sprite = cv2.imencode(".png", np.full((24, 24, 4), 255, np.uint8))[1].tobytes()
    write(folder / "images/sprites/a.png", sprite)
    picture(folder / "images/boxed/zoo/img/a.png")
    write(folder / "images/boxed/zoo/boxes.txt", "a.png,150,20,100,40,dog\n")
    for index in range(1, 41):
        picture(folder / f"sequences/train/one/img/{index:08d}.png")
    write(folder / "sequences/train/one/groundtruth.txt", "100,20,60,40\n" * 40)
    return folder


def test_a_pack_is_read_as_training_data(tmp_path):
    size = pack(raw_data(tmp_path / "data"), tmp_path / "pack", quality=60)
    files = [file for file in (tmp_path / "pack").rglob("*") if file.is_file()]
    assert size == sum(file.stat().st_size for file in files)
    assert {file.suffix for file in files} == {".webp", ".txt"}
    video = Folder(tmp_path / "pack" / "sequences")["one"]
    assert len(video) == 20
    assert video.frames.read(0).shape == (51, 256, 3)
    np.testing.assert_allclose(video.boxes[3], np.array([100, 20, 60, 40]) * 0.64, atol=0.01)
    boxed = Boxed([tmp_path / "pack/boxed/zoo"])
    np.testing.assert_allclose(
        boxed.instances[0].box, np.array([150, 20, 100, 40]) * 0.64, atol=0.1
    )
    data = training_data(tmp_path / "pack")
    rng = np.random.default_rng(0)
    for _ in range(12):
        video = data.draw(rng)
        assert video.frames.read(int(np.flatnonzero(video.visible)[0])).ndim == 3


def test_grabcut_finds_an_object_on_its_ground():
    photo = np.full((100, 100, 3), (40, 160, 40), np.uint8)
    cv2.circle(photo, (50, 50), 20, (250, 20, 20), -1)
    alpha = cut_out(photo, np.array([29.0, 29, 42, 42]))[..., 3] > 127
    assert abs(alpha.sum() - np.pi * 400) < 0.15 * np.pi * 400
    assert cut_out(photo, np.array([0.0, 0, 100, 100])) is None


def test_weights_travel_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("examples.nano.train.PART", 2**16)
    network = RELONetwork.from_preset("micro")
    network.save_checkpoint(tmp_path / "w", stage="policy")
    parts = release(tmp_path / "w", tmp_path / "out")
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) <= 2**16
    again = RELONetwork.from_checkpoint(join(parts[::-1], tmp_path / "again"))
    for ours, theirs in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours.half().float(), theirs)


@pytest.mark.slow
def test_both_stages_run_from_a_pack_and_go_on(tmp_path):
    pack(raw_data(tmp_path / "data"), tmp_path / "pack", quality=60)
    command = [sys.executable, "-m", "examples.nano.train", str(tmp_path / "pack")]
    command += ["--out", str(tmp_path / "run"), "--minutes", "1", "--num-workers", "1"]
    command += ["--device", "cpu"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first = done.stdout.split()[-1]
    assert first.endswith("nano.safetensors.0")
    parts = sorted((tmp_path / "run").glob("nano.safetensors.?"))
    whole = join(parts, tmp_path / "whole.safetensors")
    network = RELONetwork.from_checkpoint(whole)
    shipped = RELONetwork.from_pretrained("nano")
    weights = zip(network.parameters(), shipped.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in weights)
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
