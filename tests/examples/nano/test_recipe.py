"""The recipe of the shipped weights."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter

import cv2
import numpy as np
import torch

from agents.network import RELONetwork
from agents.network.checkpoints import read_header
from examples.nano.recipe import run_average, training_data
from tests.relo_env.datasets.layouts import write, write_images


def test_training_data_are_drawn_in_proportion(tmp_path):
    cutout = np.full((24, 24, 4), 255, np.uint8)
    write(tmp_path / "cutouts" / "a.png", cv2.imencode(".png", cutout)[1].tobytes())
    write_images(tmp_path / "photos", (1, 2))
    for name, side in (("large", 12), ("small", 4)):
        write_images(tmp_path / "videos" / name / "img", range(30))
        write(tmp_path / "videos" / name / "groundtruth.txt", f"1,2,{side},{side}\n" * 30)
    data = training_data(
        [tmp_path / "cutouts"], tmp_path / "photos", tmp_path / "videos", objects_only=True
    )
    assert data.names[len(data) - 1] == "real/large", "targets of 4 px teach only blur"
    rng = np.random.default_rng(0)
    drawn = Counter(data.draw(rng).name.split("/")[0] for _ in range(300))
    shares = [drawn[part] / 300 for part in ("medium", "hard", "real")]
    # Four standard deviations are 0.11 at most.
    np.testing.assert_allclose(shares, [0.65, 0.22, 0.13], atol=0.11)


def test_the_average_of_networks(tmp_path):
    networks = [RELONetwork.from_preset("nano") for _ in range(3)]
    paths = [
        network.save_checkpoint(tmp_path / f"{i}.safetensors", stage="warmup")
        for i, network in enumerate(networks)
    ]
    out = run_average(Namespace(checkpoints=paths, out=tmp_path / "average.safetensors"))
    assert read_header(out)["stage"] == "warmup"
    average = RELONetwork.from_checkpoint(out)
    for name, value in average.named_parameters():
        ones = [network.get_parameter(name) for network in networks]
        torch.testing.assert_close(value, torch.stack(ones).mean(0))
