"""Training in two processes: the same gradients as in one, and one process that writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from agents import distributed
from agents.network import RELONetwork
from agents.warmup import CHECKPOINT, STATE, ClipBatches, Warmup, WarmupConfig, warmup
from agents.warmup.trainer import CONFIG as CLAIM
from relo_env.errors import ConfigError
from tests.toys import Squares

CONFIG = WarmupConfig(steps=2, clips=4, clip_length=2, log_every=1, picture_every=1)


def network(seed: int) -> RELONetwork:
    torch.manual_seed(seed)
    return RELONetwork.from_preset("micro")


def first_update(out: Path) -> dict[str, torch.Tensor]:
    """Losses and clipped gradients of the first batch, as this process sees them."""
    seed = distributed.rank()  # other weights in each process, until the trainer shares those of 0
    run = Warmup(CONFIG, network(seed), Squares("train"), out, False, torch.device("cpu"))
    run.network.train()
    losses = run._update(run.batches[0])
    gradients = {n: p.grad for n, p in run.network.named_parameters() if p.grad is not None}
    return {**losses._asdict(), **gradients}


def main(out: Path) -> None:
    """What each of the two processes does."""
    distributed.join_processes(torch.device("cpu"))
    torch.save(first_update(out / "unused"), out / f"update-{distributed.rank()}.pt")
    warmup(CONFIG, network=network(0), dataset=Squares("train"), out=out / "run")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, "-m", "tests.agents.test_distributed", str(out)],
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=300,
    )
    return out


def test_gradients_are_those_of_one_process(two_processes, tmp_path):
    alone = first_update(tmp_path)
    for rank in range(2):
        shared = torch.load(two_processes / f"update-{rank}.pt", weights_only=True)
        assert shared.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_one_process_writes(two_processes):
    names = sorted(path.name for path in (two_processes / "run").iterdir())
    events = [name for name in names if name.startswith("events.")]
    assert len(events) == 1
    assert names == sorted([CHECKPOINT, CLAIM, STATE, *events])


def test_parts_make_up_the_batch():
    def batches(part: tuple[int, int]) -> ClipBatches:
        crop = network(0).crop
        return ClipBatches(Squares("train"), crop, clips=4, clip_length=2, part=part)

    whole = batches((0, 1))[3]
    parts = [batches((i, 2))[3] for i in range(2)]
    assert torch.equal(torch.cat([part.templates for part in parts]), whole.templates)
    assert torch.equal(torch.cat([part.targets for part in parts], dim=1), whole.targets)


def test_a_batch_that_cannot_be_shared():
    with pytest.raises(ConfigError, match="shared evenly among 3"):
        ClipBatches(Squares("train"), network(0).crop, clips=4, clip_length=2, part=(0, 3))


def test_alone_nothing_happens():
    assert distributed.join_processes(torch.device("cpu")) == torch.device("cpu")
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    values = [torch.ones(2)]
    distributed.average(values)
    assert values[0].tolist() == [1, 1]


def test_on_gpus_the_time_on_the_cpu_travels_too(monkeypatch):
    begun = []
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(dist, "init_process_group", begun.append)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(distributed.atexit, "register", lambda function: None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.join_processes(torch.device("cuda")) == torch.device("cuda", 1)
    assert begun == ["cpu:gloo,cuda:nccl"]  # NCCL alone refuses tensors on a CPU


if __name__ == "__main__":
    main(Path(sys.argv[1]))
