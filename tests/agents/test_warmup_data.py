"""Batches of stage 1 on their way to the device, and runs that the clock ends."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from agents.commands.arguments import add_config, config_from
from agents.network import RELONetwork
from agents.network.checkpoints import read_header
from agents.warmup import ClipBatches, Warmup, WarmupConfig, warmup
from agents.warmup.clips import load_ahead
from agents.warmup.clock import ENDLESS, RunClock
from agents.warmup.pixels import augment_pixels, blurred, mirrored, repeated
from relo_env.errors import ConfigError
from tests.agents.worlds import micro_network
from tests.toys import Squares

CONFIG = WarmupConfig(steps=4, clips=2, clip_length=2, log_every=1, picture_every=2, save_every=2)


def small_data() -> Squares:
    return Squares("train")


class FakeTime:
    """A clock that a test sets."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_steps_are_fitted_to_the_rate_of_the_second_quarter():
    now = FakeTime()
    clock = RunClock(steps=7, minutes=2.0, now=now)
    done = 0
    while True:
        now.seconds += 0.1 if done < 50 else 0.5  # workers made the first batches beforehand
        done += 1
        if clock.over(done):
            break
        assert clock.fitted == (now.seconds >= 60 - 1e-6) == (clock.steps < ENDLESS)
    # 5 s for fifty steps; the other 115 s have 230 of .5 s.
    assert clock.fitted
    assert done == clock.steps == 280


def test_the_clock_ends_a_run_that_slows_down_and_goes_on_where_it_was():
    now = FakeTime()
    clock = RunClock(steps=7, minutes=1.0, now=now)
    for done in range(1, 31):
        now.seconds += 1.0
        assert not clock.over(done)
    again = RunClock(steps=7, minutes=1.0, now=now)
    now.seconds += 1000.0  # the time between two parts does not count
    again.load(clock.state())
    again.start()
    assert again.steps == clock.steps == 60
    now.seconds += 31.0
    assert again.over(31)
    assert not RunClock(steps=7, now=now).over(6)
    assert RunClock(steps=7, now=now).over(7)


def test_a_run_ends_by_the_clock_and_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    config = replace(CONFIG, minutes=60.0)
    monkeypatch.setattr("agents.warmup.clock.RunClock._fit", fit_to(4))
    whole = warmup(config, network=micro_network(), dataset=small_data(), out=tmp_path / "whole")
    path = tmp_path / "parts"

    def stop_after_two(frames):
        if run.step == 2:
            raise KeyboardInterrupt

    run = Warmup(config, micro_network(), small_data(), path, False, torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt):
        run.run(stop_after_two)
    run.save()
    parts = warmup(config, network=micro_network(1), dataset=small_data(), out=path, resume=True)
    one, other = (RELONetwork.from_checkpoint(file).state_dict() for file in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert read_header(whole)["metrics"]["step"] == 4
    warmup(config, network=micro_network(1), dataset=small_data(), out=path, resume=True)
    assert read_header(parts)["metrics"]["step"] == 4  # a run that has ended stays as it is


def fit_to(steps):
    """Stand-in of `RunClock._fit` for a number of steps that no processor decides."""

    def fit(clock, step):
        clock.steps, clock.fitted = steps, True

    return fit


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_clips_are_the_same_however_they_are_made(start_method):
    if start_method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this platform does not {start_method}")
    batches = ClipBatches(small_data(), micro_network().crop, clips=2, clip_length=2, seed=3)
    device = torch.device("cpu")
    expected = [batches[step] for step in range(2, 5)]
    found = load_ahead(batches, range(2, 5), device, num_workers=2, start_method=start_method)
    for batch, want in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, want, strict=True))


def test_workers_end_with_the_training_that_an_exception_ends(tmp_path):
    config = replace(CONFIG, num_workers=2)
    run = Warmup(config, micro_network(), small_data(), tmp_path, False, torch.device("cpu"))
    at_work = []

    def interrupt(frames):
        at_work.append(len(multiprocessing.active_children()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(interrupt)
    assert (at_work, multiprocessing.active_children()) == ([2], [])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_workers_fork_from_a_process_whose_opencv_has_threads():
    batches = ClipBatches(small_data(), micro_network().crop, clips=2, clip_length=2, seed=3)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        cv2.resize(np.zeros((3000, 3000, 3), np.uint8), (1000, 900))  # its threads start
        time.sleep(0.5)  # they wait for work
        assert len(list(load_ahead(batches, range(2), torch.device("cpu"), 1, "fork"))) == 2
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(threads)


def test_a_clip_may_be_mirrored_with_its_boxes_and_seen_several_times():
    batch = ClipBatches(small_data(), micro_network().crop, clips=2, clip_length=2)[0]
    which = torch.tensor([True, False])
    turned = mirrored(batch, which)
    assert torch.equal(turned.searches[:, 0], batch.searches[:, 0].flip(-1))
    assert torch.equal(turned.templates[0], batch.templates[0].flip(-1))
    assert torch.equal(turned.targets[:, 0, 0], 1 - batch.targets[:, 0, 0])
    left, width = batch.template_boxes[0, :, 0], batch.template_boxes[0, :, 2]
    assert torch.allclose(turned.template_boxes[0, :, 0], 1 - left - width)
    for part, before, axis in zip(turned, batch, (0, 0, 1, 1), strict=True):
        assert torch.equal(part.select(axis, 1), before.select(axis, 1))
    for part, before in zip(mirrored(turned, which), batch, strict=True):
        assert torch.allclose(part.float(), before.float(), atol=1e-6)
    twice = repeated(batch, 2)
    assert twice.templates.shape[0] == twice.searches.shape[1] == 4
    for part, axis in zip(twice, (0, 0, 1, 1), strict=True):
        first, second = part.chunk(2, axis)
        assert torch.equal(first, second)


def test_views_of_the_same_pixels_are_refused():
    assert WarmupConfig(views=2, augment_pixels=True).views == 2
    with pytest.raises(ConfigError, match="set augment_pixels=True"):
        WarmupConfig(views=2)


def test_pixels_are_changed_by_seed_and_step():
    batch = ClipBatches(small_data(), micro_network().crop, clips=3, clip_length=2)[0]
    change = partial(augment_pixels, colour=0.3, mirror=0.0)
    one, other = change(batch, 1, 5), change(batch, 1, 5)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert one.searches.dtype == torch.uint8
    assert not torch.equal(one.searches, batch.searches)
    assert not torch.equal(one.searches, change(batch, 1, 6).searches)
    assert torch.equal(one.targets, batch.targets)
    nothing = augment_pixels(batch, 1, 5, colour=0.0, grey=0.0, blur=0.0, mirror=0.0)
    assert torch.equal(nothing.searches, batch.searches)
    assert torch.equal(nothing.templates, batch.templates)


def test_a_grey_clip_is_grey_in_template_and_search():
    batch = ClipBatches(small_data(), micro_network().crop, clips=2, clip_length=2)[0]
    grey = augment_pixels(batch, 0, 0, colour=0.0, grey=1.0, blur=0.0, mirror=0.0)
    for crops in (grey.templates, grey.searches):
        assert torch.equal(crops[..., 0, :, :], crops[..., 2, :, :])
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    expected = (batch.searches * weights).sum(-3).round()
    torch.testing.assert_close(grey.searches[..., 0, :, :].float(), expected, atol=1.0, rtol=0.0)


def test_blur_is_a_gaussian_of_each_crop():
    crops = torch.zeros(2, 3, 21, 21)
    crops[:, :, 10, 10] = 1000.0
    found = blurred(crops, torch.tensor([0.0, 1.5]))
    torch.testing.assert_close(found[0], crops[0])
    offsets = torch.arange(-10.0, 11.0)
    bell = torch.exp(-offsets.square() / (2 * 1.5**2))
    bell[offsets.abs() > 4] = 0
    bell = bell / bell.sum()
    torch.testing.assert_close(found[1, 0], 1000 * bell[:, None] * bell, atol=1e-2, rtol=1e-3)


def test_the_entropy_bonus_keeps_the_policy_from_certainty():
    # With the weight w the best policy is softmax(IoU / w): its gradient is 0 there.
    earned = torch.tensor([[0.8, 0.7, 0.0, 0.1]])
    logits = (earned / 0.2).requires_grad_()
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    loss = -(logits.softmax(-1) * earned).sum() - 0.2 * entropy
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-7, rtol=0.0)


def test_the_command_line_takes_minutes_and_a_start_method():
    parser = argparse.ArgumentParser()
    add_config(parser, WarmupConfig)
    options = parser.parse_args(["--minutes", "0.5", "--start-method", "spawn", "--augment-pixels"])
    config = config_from(options, WarmupConfig)
    assert (config.minutes, config.start_method, config.augment_pixels) == (0.5, "spawn", True)
    assert config_from(parser.parse_args([]), WarmupConfig) == WarmupConfig()
    with pytest.raises(SystemExit):
        parser.parse_args(["--start-method", "thread"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": 0.0}, "minutes is 0.0; expected"),
        ({"start_method": "thread"}, "start_method is 'thread'; expected"),
        ({"entropy_weight": -1.0}, "entropy_weight is -1.0; expected"),
    ],
)
def test_faulty_settings(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **change)


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "from agents.network import RELONetwork\n"
        "from agents.warmup import WarmupConfig, warmup\n"
        "from relo_env import make_dataset\n"
        "network = RELONetwork.from_preset('micro')\n"
        "config = WarmupConfig(steps=2, num_workers=2, start_method='spawn')\n"
        "warmup(config, network=network, dataset=make_dataset('Synthetic'), out='out')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
