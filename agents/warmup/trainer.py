"""The trainer of stage 1."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.distributions import Categorical
from torch.nn.utils import clip_grad_norm_
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from agents import distributed
from agents.algorithms.losses import expected_policy_gradient_loss
from agents.network import RELONetwork
from agents.network.boxes import overlaps
from agents.network.checkpoints import save_checkpoint
from agents.network.inference import warn_of_slow_half
from agents.runs import (
    Run,
    check_finite,
    diverged,
    load_state,
    mismatches_explained,
    save_state,
    training_claim,
    untouched_if_refused,
)
from agents.warmup.clips import ClipBatch, ClipBatches, load_ahead, read_clips
from agents.warmup.clock import RunClock
from agents.warmup.config import WarmupConfig
from agents.warmup.losses import WarmupLosses, warmup_loss
from agents.warmup.optimisation import parameter_groups, schedule
from agents.warmup.pixels import augment_pixels, repeated
from relo_env.benchmark.evaluation import check_truth
from relo_env.boxes import cxcywh_to_xywh
from relo_env.datasets.base import Dataset
from relo_env.interrupts import held
from relo_env.processes import require_main_guard
from relo_env.rendering import draw

CONFIG = "_run.json"
CHECKPOINT = "warmup.safetensors"
STATE = "warmup.state.pt"
FREE = ("save_every", "log_every", "picture_every", "num_workers", "start_method")
"""Settings that change no number."""


def warmup(
    config: WarmupConfig,
    *,
    network: RELONetwork,
    dataset: Dataset,
    out: str | Path,
    resume: bool = False,
    device: str | torch.device = "cpu",
) -> Path:
    """Train stage 1 and write its checkpoint, ``out/warmup.safetensors``.

    Progress is shown and logged for TensorBoard in ``out``. An interrupt saves before it is raised.
    Under ``torchrun`` the processes share each batch, and gradients are those of a single process
    (but for batch norms, which see their own part of it, as under PyTorch's DDP).

    Args:
        config: see `WarmupConfig`.
        network: trained in place, on ``device``; load pretrained weights into it before. Its
            confidence is removed, and parameters named in ``frozen`` no longer need a gradient.
        dataset: training split.
        out: folder of checkpoint, state and logs; made if missing.
        resume: continue from the state in ``out``, to the same numbers as without interruption.
        device: device of the network.

    Returns:
        Path of the checkpoint.

    Raises:
        ConfigError: ``out`` holds a run and ``resume`` is False, or frozen names nothing.
        CheckpointError: nothing to resume from, or a run of another configuration.
        HiddenTruthError: the split has no boxes to train on.
    """
    check_truth(dataset)
    device = distributed.join_processes(torch.device(device))
    return Warmup(config, network, dataset, Path(out), resume, device).run()


class Warmup:
    """One run of `warmup`.

    Attributes:
        step: gradient steps done.
    """

    def __init__(
        self,
        config: WarmupConfig,
        network: RELONetwork,
        dataset: Dataset,
        out: Path,
        resume: bool,
        device: torch.device,
    ) -> None:
        self.config, self.out, self.device = config, out, device
        warn_of_slow_half(torch.bfloat16 if config.amp else None, device)
        train_on = f"--network {out / CHECKPOINT} --out ANOTHER"
        claim = training_claim(out / CONFIG, config, network, dataset, train_on)
        self._run = Run(claim, STATE, CHECKPOINT, FREE)
        with untouched_if_refused(network):
            self._prepare(network, dataset, resume)

    def _prepare(self, network: RELONetwork, dataset: Dataset, resume: bool) -> None:
        """Build everything, which may be refused; then claim the folder."""
        config = self.config
        if config.num_workers and get_context(config.start_method).get_start_method() != "fork":
            require_main_guard()
        resume = self._run.check(resume)
        self.network = network.to(self.device)
        self.network.confidence = None  # it was measured on features that are about to change
        self.optimizer = torch.optim.AdamW(
            parameter_groups(network, config), weight_decay=config.weight_decay
        )
        self.batches = ClipBatches(
            dataset,
            network.crop,
            clips=config.clips,
            clip_length=config.clip_length,
            max_interval=config.max_interval,
            jitter=config.jitter,
            seed=config.seed,
            part=(distributed.rank(), distributed.world_size()),
        )
        self.step = 0
        self._last: ClipBatch | None = None
        self.clock = RunClock(config.steps, config.minutes)
        torch.manual_seed(config.seed)  # of drop path
        if resume:
            self._load()
        distributed.share_weights(network)
        if not distributed.rank():
            self._run.claim.write()

    def run(self, tell: Callable[[int], None] = lambda frames: None) -> Path:
        """Train to the end.

        Args:
            tell: called after each step with its number of frames.
        """
        self.network.train()
        self.clock.start()
        with (
            self._summary_writer() as self.writer,
            closing(self.batches_left()) as batches,
            held("stopping after this step") as stop,
        ):
            for batch in self._progress(batches):
                self._step(batch)
                tell(self._frames)
                over = self.clock.over(self.step)
                if stop.requested:
                    self.save()
                    stop.check()
                if over:
                    break
        self.save()
        self.network.eval()
        return self.out / CHECKPOINT

    def save(self) -> None:
        """Write checkpoint and state, each replaced whole; the first process does.

        Raises:
            TrainingError: weights or outputs are not finite; nothing is written.
        """
        if distributed.rank():
            return
        self._check_finite()
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self._on_gpu else None,
            "clock": self.clock.state(),
        }
        save_state(self.out / STATE, state)
        metrics = {"step": float(self.step), "frames": float(self.step * self._frames)}
        save_checkpoint(self.network, self.out / CHECKPOINT, stage="warmup", metrics=metrics)

    @torch.no_grad()
    def _check_finite(self) -> None:
        """Check weights, and outputs on the first clip of the last batch, before a save."""
        outputs: tuple[torch.Tensor, ...] = ()
        if self._last is not None:
            mode = self.network.training
            seen = read_clips(self.network.eval(), _first_crop(self._last))
            self.network.train(mode)
            outputs = seen.candidates, seen.prior
        check_finite(self.network, outputs, self.out)

    def _load(self) -> None:
        path = self.out / STATE
        state = load_state(path, ("config", "step", "network", "optimizer", "torch_rng"))
        with mismatches_explained(path):
            self._run.check(True, state["config"])
            self.step = state["step"]
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["torch_rng"])
            if self._on_gpu and state.get("cuda_rng") is not None:
                torch.cuda.set_rng_state(state["cuda_rng"], self.device)
            self.clock.load(state.get("clock", self.clock.state()))

    def _summary_writer(self) -> Any:
        if distributed.rank():
            return nullcontext()
        return SummaryWriter(str(self.out), purge_step=self.step)

    @property
    def _frames(self) -> int:
        return self.config.clips * self.config.clip_length

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def batches_left(self) -> Generator[ClipBatch]:
        """Remaining batches, on the device."""
        config = self.config
        last = self.step if self.clock.ended(self.step) else self.clock.steps
        steps = range(self.step, last)
        return load_ahead(self.batches, steps, self.device, config.num_workers, config.start_method)

    def _progress(self, batches: Iterator[ClipBatch]) -> Iterator[ClipBatch]:
        """Batches, with a bar that shows rate and remaining time."""
        known = self.clock.fitted or self.config.minutes is None
        self._bar = tqdm(
            batches,
            "warm-up",
            self.clock.steps if known else None,
            initial=self.step,
            unit="step",
            disable=distributed.rank() > 0,
        )
        self._since = (self.step, time.perf_counter())
        return iter(self._bar)

    def _step(self, batch: ClipBatch) -> None:
        self._last = batch
        if self.config.augment_pixels:
            views = repeated(batch, self.config.views)
            batch = augment_pixels(views, self.config.seed, self.step)
        losses = self._update(batch)
        self.step += 1
        if self.clock.fitted:
            self._bar.total = self.clock.steps
        if distributed.rank():
            return
        if self.step % self.config.log_every == 0:
            self._log(losses)
        if self.step % self.config.picture_every == 0:
            self._log_picture(batch)
        if self.step % self.config.save_every == 0:
            self.save()

    def _update(self, batch: ClipBatch) -> WarmupLosses:
        factor = schedule(self.step, self.clock.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        config, targets = self.config, batch.targets.flatten(0, 1)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.amp):
            seen = read_clips(
                self.network,
                batch,
                shared_prior=config.shared_prior,
                policy=config.policy_weight > 0,
            )
        losses = warmup_loss(
            seen.candidates,
            seen.prior,
            targets,
            grid=self.network.crop.grid,
            supervision=config.supervision,
        )
        if seen.policy_logits is not None:
            earned = overlaps(seen.candidates.detach(), targets[:, None])
            policy = expected_policy_gradient_loss(seen.policy_logits, earned)
            entropy = Categorical(logits=seen.policy_logits, validate_args=False).entropy().mean()
            policy = policy - config.entropy_weight * entropy
            losses = losses._replace(total=losses.total + config.policy_weight * policy)
        self.optimizer.zero_grad()
        losses.total.backward()
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        distributed.average([p.grad for p in trained if p.grad is not None])
        if not clip_grad_norm_(trained, self.config.max_gradient_norm).isfinite():
            raise diverged(self.out)
        self.optimizer.step()
        values = [value.detach() for value in losses]
        distributed.average(values)
        return WarmupLosses(*values)

    def _log(self, losses: WarmupLosses) -> None:
        step, now = self.step, time.perf_counter()
        rate = (step - self._since[0]) * self._frames / (now - self._since[1])
        self._since = (step, now)
        for name, value in losses._asdict().items():
            self.writer.add_scalar(f"warmup/{name}", float(value), step)
        self.writer.add_scalar("warmup/frames_per_second", rate, step)
        learning_rate = self.optimizer.param_groups[0]["lr"]
        self.writer.add_scalar("warmup/learning_rate", learning_rate, step)
        self._bar.set_postfix(
            loss=f"{float(losses.total):.3f}", iou=f"{float(losses.iou):.3f}", fps=f"{rate:.0f}"
        )

    @torch.no_grad()
    def _log_picture(self, batch: ClipBatch) -> None:
        """First crop of a batch: score map, the prior's candidate (red), the true box (green)."""
        first = _first_crop(batch)
        self.network.eval()
        seen = read_clips(self.network, first)
        self.network.train()
        size = self.network.crop.search_size
        chosen = seen.candidates[0, seen.prior[0].argmax()].cpu().numpy()
        picture = draw(
            first.searches[0, 0].permute(1, 2, 0).cpu().numpy(),
            box=cxcywh_to_xywh(chosen) * size,
            target_box=cxcywh_to_xywh(first.targets[0, 0].cpu().numpy()) * size,
            scores=seen.prior[0].unflatten(0, self.network.crop.grid).cpu().numpy(),
        )
        self.writer.add_image("warmup/search", picture, self.step, dataformats="HWC")


def _first_crop(batch: ClipBatch) -> ClipBatch:
    """First search crop of a batch's first clip, with its templates."""
    return ClipBatch(*(part[:1] for part in batch[:2]), *(part[:1, :1] for part in batch[2:]))
