"""Runs of both stages: a folder, a state to resume from, an unchanged network of the caller.

A run's folder holds its claim (settings and data, `relo_env.claims`), its state and its checkpoint.
Each file is replaced whole (`relo_env.files`), and SIGINT and SIGTERM wait until a state is saved
(`relo_env.interrupts`).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from agents.network import RELONetwork
from relo_env.claims import Claim
from relo_env.datasets.base import Dataset
from relo_env.errors import CheckpointError, ConfigError, OutputError, TrainingError
from relo_env.files import replacing


@dataclass(frozen=True)
class Run:
    """Folder of a training, with the names of its files.

    Attributes:
        claim: settings and data; its folder is the run's.
        state: name of the file to resume from.
        checkpoint: name of the network's file.
        free: settings that may change when the run is resumed, since no number depends on them.
    """

    claim: Claim
    state: str
    checkpoint: str
    free: Collection[str] = ()

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.claim.path.parent

    def check(self, resume: bool, earlier: Mapping[str, Any] | None = None) -> bool:
        """True if there is a state to resume from; changes nothing.

        A run that was ended before its first state begins anew. ``steps`` may grow.

        Args:
            resume: continue the run in the folder.
            earlier: its claim, where that is not in the claim's file.

        Raises:
            ConfigError: the folder holds a run, and ``resume`` is False.
            CheckpointError: there is no run to resume, or it has other settings or other data.
        """
        state, checkpoint = self.folder / self.state, self.folder / self.checkpoint
        if not resume:
            if state.exists() or checkpoint.exists():
                raise ConfigError(
                    f"{self.folder} holds a run already; resume it (--resume, resume=True), or "
                    "choose another folder."
                )
            return False
        found = state.exists()
        if not found and (checkpoint.exists() or not self.claim.path.exists()):
            raise CheckpointError(
                f"{state} does not exist; there is no run to resume in {self.folder}. Leave "
                "resume out to begin one."
            )
        then = self.claim.read() if earlier is None else earlier
        steps = then.get("steps"), self.claim.settings["steps"]
        grows = isinstance(steps[0], int) and steps[0] < steps[1]
        self.claim.check(then, free=[*self.free, *(["steps"] if grows else [])])
        if grows:
            print(f"{self.folder}: from {steps[0]} steps on to {steps[1]}", file=sys.stderr)
        return found


def training_claim(
    path: Path, config: Any, network: RELONetwork, dataset: Dataset, command: str
) -> Claim:
    """Claim of a training stage; ``command`` trains its weights on in a new run."""
    settings = {**asdict(config), "network": [network.preset_name, network.changes]}
    advice = f"Resume with the same, or train its weights on in a new run: {command}."
    return Claim(path, settings, {"train": dataset.fingerprint}, CheckpointError, advice)


def save_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain values; a reader sees the old file or the new one.

    Raises:
        OutputError: the disk refuses.
    """
    with replacing(path) as temporary:
        try:
            torch.save(dict(state), temporary)
        except RuntimeError as error:  # torch's own, for a disk that is full
            raise OutputError(f"Cannot write {path}: {error}. Is the disk full?") from error


def load_state(path: str | Path, keys: Collection[str]) -> dict[str, Any]:
    """Read a `save_state`, on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, or lacks one of the entries ``keys``.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        # torch advises to load it with weights_only=False, which would run what is in it.
        raise CheckpointError(
            f"{path} is not the state of this run: it is missing, cut short or damaged "
            f"({type(error).__name__}). Begin a new run in another folder."
        ) from error
    missing = sorted(set(keys) - set(state)) if isinstance(state, dict) else sorted(keys)
    if missing:
        raise CheckpointError(
            f"{path} is not the state of this run: it lacks {missing}. Expected a file that this "
            "kind of training wrote; begin a new run in another folder."
        )
    return state


@contextmanager
def mismatches_explained(path: str | Path) -> Iterator[None]:
    """Within, entries of a state that do not fit raise a CheckpointError.

    Raises:
        CheckpointError: with the first line of the mismatch.
    """
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(f"{path} is not the state of this run: {error}") from error
    except (
        RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, AttributeError,
    ) as error:  # fmt: skip
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} is not the state of this run: {reason} Expected one of the same algorithm, "
            "network and environment."
        ) from error


@contextmanager
def untouched_if_refused(network: RELONetwork) -> Iterator[None]:
    """Undo what the block did to a network, if it raises: weights, heads, gradients, device."""
    named = list(network.named_parameters())
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    trained = {name: parameter.requires_grad for name, parameter in named}
    modes = {module: module.training for module in network.modules()}
    device, confidence = named[0][1].device, network.confidence
    checkpointing = network.encoder.gradient_checkpointing
    crop, changes, controls = network.crop, network.changes, set(network.controls)
    try:
        yield
    except BaseException:
        for name in set(network.controls) - controls:
            del network.controls[name]
        network.crop = network.encoder.crop = crop
        network.changes = changes
        network.to(device).load_state_dict(weights)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(trained[name])
        for module, mode in modes.items():
            module.training = mode
        network.confidence = confidence
        network.encoder.gradient_checkpointing = checkpointing
        raise


def check_finite(network: RELONetwork, outputs: Iterable[torch.Tensor | None], run: Path) -> None:
    """Check a network before it is saved in the folder of its run.

    Raises:
        TrainingError: a weight, or one of its outputs, is not a finite number.
    """
    values = [*network.state_dict().values(), *(value for value in outputs if value is not None)]
    if not all(bool(value.isfinite().all()) for value in values):
        raise diverged(run)


def diverged(run: Path) -> TrainingError:
    """Error of a training whose numbers are not finite any more."""
    return TrainingError(
        "The training diverged: weights, outputs or gradients are not finite. Nothing of that is "
        f"saved; {run} keeps the last good state. Begin a new run with a lower learning rate."
    )
