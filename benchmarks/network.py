"""Speed and exactness of one tracking step of the network, against a plain form of it.

    python benchmarks/network.py --presets nano t256 --compile --int8 --sequences DATA/dev
    python benchmarks/gpu.py

print tables in Markdown. All variants of a preset take turns, a few frames at a time, in one run,
so that a busy machine slows all of them alike. Each has a process of its own, so that waiting
threads of one do not slow the next. Times are medians, with ``--threads 1`` on a CPU of the
processor's time, which other programs disturb little. ``plain`` computes what the released code
computes: templates read anew each frame, previous tokens as rows, separate q, k and v, every row of
the last block, batch norms, all heads. Differences are the largest from ``plain`` over the run, in
policy logits and in candidate boxes (as fractions of the crop).

With ``--sequences`` every variant also follows real sequences, on windows around the true box of
the frame before, so that all see the same crops: the share of frames in which it chooses the
position that ``plain`` chooses, and the mean overlap of the box chosen with that of ``plain``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol

import numpy as np
import torch
from machine import machine
from plain_network import PlainFastITPN
from torch import Tensor

from agents.backends import Backend, make_backend
from agents.network import RELONetwork, TemplateCache, TokenState, normalize_crops
from agents.proposer import find_network
from agents.tracker import hann_window
from relo_env import boxes as bx
from relo_env.crops import SearchWindow
from relo_env.datasets.folder import Folder
from relo_env.errors import ConfigError

OFFICIAL = ("t256", "b256", "l256")
TURN = 6
"""Frames of a variant's turn. The first one, after the turns of the others, does not count."""
PAUSE = 0.02
"""[s] from one variant to the next: waiting threads of torch spin for some milliseconds."""


class Frame(NamedTuple):
    """Inputs of a step, on the CPU, normalised; templates change with the sequence only."""

    templates: Tensor
    boxes: Tensor
    search: Tensor


class Step(Protocol):
    """A form of the network: reset for every sequence, then called frame by frame."""

    def reset(self) -> None: ...

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        """Policy logits ``(N, H * W)`` and candidate boxes ``(N, H * W, 4)``."""


class Unhurried:
    """Any other preset in the same spirit: all of it computed at every frame."""

    def __init__(self, network: RELONetwork) -> None:
        self.network = network
        self.reset()

    def reset(self) -> None:
        self.tokens: TokenState | None = None

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        outputs, self.tokens = self.network(templates, boxes, search, self.tokens)
        return outputs.policy_logits, outputs.candidates


class Ours:
    """As `RELOTracker` runs it: templates once, only the heads that decide."""

    def __init__(self, network: RELONetwork) -> None:
        self.network = network
        self.reset()

    def reset(self) -> None:
        self.cache: TemplateCache | None = None
        self.tokens: TokenState | None = None

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        if self.cache is None:
            self.cache = self.network.encode_templates(templates, boxes)
        features, self.tokens = self.network.encode(self.cache, None, search, self.tokens)
        outputs = self.network.heads(features, only=("boxes", "policy"))
        return outputs.policy_logits, outputs.candidates


class Backed(Ours):
    """`Ours` with encoder and boxes in another backend."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend.network)
        self.backend = backend

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        if self.cache is None:
            self.cache = self.backend.encode_templates(templates, boxes)
        features, candidates, self.tokens = self.backend.encode(self.cache, search, self.tokens)
        return self.network.heads(features, only=("policy",)).policy_logits, candidates


class Steady(Ours):
    """`Ours` with tokens of one form at every frame, so that one compiled graph serves all."""

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        started = self.tokens is not None
        rows = self.tokens.rows if started else self.no_tokens(search)
        valid = torch.full((len(search),), started, device=search.device)
        self.tokens = TokenState(rows, valid)
        return super().__call__(templates, boxes, search)

    def no_tokens(self, search: Tensor) -> Tensor:
        flat = torch.zeros(len(search), self.network.token_size, device=search.device)
        state = self.network.unpack_tokens(flat)
        assert state is not None
        return state.rows


class Graphed(Steady):
    """The whole step as one CUDA graph, which is launched at once; its buffers are its own."""

    graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        begins = self.cache is None
        if begins:
            self.cache = self.network.encode_templates(templates, boxes)
        if self.graph is None:
            self.capture(search)
        if begins:
            self.rows.copy_(self.cache.rows)
            self.valid.fill_(False)
        self.search.copy_(search)
        self.graph.replay()
        self.valid.fill_(True)
        return self.outputs[0].clone(), self.outputs[1].clone()

    def capture(self, search: Tensor) -> None:
        self.search, self.rows = search.clone(), self.cache.rows.clone()
        self.previous = self.no_tokens(search)
        self.valid = torch.zeros(len(search), dtype=torch.bool, device=search.device)
        stream = torch.cuda.Stream()  # libraries make their workspaces outside of the capture
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.compute()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = self.compute()

    def compute(self) -> tuple[Tensor, Tensor]:
        tokens = TokenState(self.previous, self.valid)
        features, tokens = self.network.encode(TemplateCache(self.rows), None, self.search, tokens)
        self.previous.copy_(tokens.rows)
        outputs = self.network.heads(features, only=("boxes", "policy"))
        return outputs.policy_logits, outputs.candidates


def variants(
    network: RELONetwork, device: torch.device, args: argparse.Namespace
) -> dict[str, Callable[[], Step]]:
    """Constructor of each variant, by name."""
    official = network.preset_name in OFFICIAL
    plain = (lambda: PlainFastITPN(network.export_official())) if official else None
    made: dict[str, Callable[[], Step]] = {"plain": plain or (lambda: Unhurried(network))}
    halves = ("float16", "bfloat16") if device.type == "cuda" else ("bfloat16",)
    for name in ("float32", *halves):
        dtype, label = getattr(torch, name), f"ours, {name}"
        made[label] = lambda dtype=dtype: Ours(network.for_inference(device, dtype))
        if args.compile:
            made[f"{label}, compiled"] = lambda dtype=dtype: Steady(
                network.for_inference(device, dtype, compiled=True)
            )
        if device.type == "cuda":
            made[f"{label}, CUDA graph"] = lambda dtype=dtype: Graphed(
                network.for_inference(device, dtype)
            )
    if device.type == "cpu":
        made["ours, ONNX Runtime"] = lambda: Backed(make_backend(network, "onnxruntime"))
    if args.int8 and device.type == "cpu":
        made["ours, ONNX Runtime int8"] = lambda: Backed(make_backend(network, "onnxruntime-int8"))
    return made


class Answer(NamedTuple):
    """Outputs of a step, what it took in seconds, and the peak of the GPU's memory in MB."""

    logits: np.ndarray
    boxes: np.ndarray
    seconds: float
    megabytes: float


class Worker:
    """A variant in a process of its own; its environment is that of `relo`, plain's the default.

    Raises:
        RuntimeError: this machine cannot run the variant.
    """

    def __init__(self, preset: str, variant: str, args: argparse.Namespace) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        environment = dict(os.environ)
        if variant != "plain":
            os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        self.process = spawn.Process(
            target=serve, args=(theirs, preset, variant, args), daemon=True
        )
        self.process.start()
        os.environ.clear()
        os.environ.update(environment)

    def reset(self) -> None:
        self.pipe.send(None)

    def __call__(self, frame: Frame) -> Answer:
        self.pipe.send([part.numpy() for part in frame])
        answer = self.pipe.recv()
        if not isinstance(answer, Answer):
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        self.process.terminate()
        self.process.join()


def serve(pipe: Connection, preset: str, variant: str, args: argparse.Namespace) -> None:
    """Run a variant on the frames of the pipe; None begins a sequence."""
    try:
        answers(pipe, preset, variant, args)
    except (ConfigError, RuntimeError, ImportError, AttributeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        pipe.send(f"{type(error).__name__}: {reason}")


@torch.inference_mode()
def answers(pipe: Connection, preset: str, variant: str, args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("highest")
    network = load(preset).to(device)
    clock = time.perf_counter if cuda or args.threads > 1 else time.process_time
    before = torch.cuda.memory_allocated() if cuda else 0
    step = variants(network, device, args)[variant]()
    while True:
        arrays = pipe.recv()
        if arrays is None:
            step.reset()
            continue
        frame = [torch.from_numpy(array).to(device) for array in arrays]
        synchronize(device)
        begin = clock()
        logits, boxes = step(*frame)
        synchronize(device)
        seconds = clock() - begin
        peak = torch.cuda.max_memory_allocated() if cuda else 0
        outputs = (part.float().cpu().numpy() for part in (logits, boxes))
        pipe.send(Answer(*outputs, seconds, (peak - before) / 1e6))


def load(preset: str) -> RELONetwork:
    """The network; random weights are the same in every process."""
    torch.manual_seed(0)
    network = find_network(preset)
    if preset in OFFICIAL:
        spread(network)
    return network


class Row:
    """A variant and what was measured of it."""

    def __init__(self, name: str, worker: Worker) -> None:
        self.name, self.worker, self.megabytes = name, worker, 0.0
        self.times: list[float] = []
        self.logits = self.boxes = 0.0
        self.same: list[float] = []
        self.overlaps: list[float] = []


def measure(preset: str, network: RELONetwork, batch: int, args: argparse.Namespace) -> None:
    """Print the rows of one preset and batch size."""
    frames = random_frames(network, batch)
    first = next(frames)
    device = torch.device(args.device)
    made = (start(preset, name, first, args) for name in variants(network, device, args))
    rows = [row for row in made if row is not None]
    for row in rows:
        row.worker.reset()
    while len(rows[0].times) < args.frames:
        turn = [next(frames) for _ in range(TURN)]
        plain: list[Answer] = []
        for row in rows:
            answers = [row.worker(frame) for frame in turn]
            row.times += [answer.seconds for answer in answers[1:]]
            plain = plain or answers
            for answer, wanted in zip(answers, plain, strict=True):
                row.megabytes = answer.megabytes
                row.logits = max(row.logits, float(abs(answer.logits - wanted.logits).max()))
                row.boxes = max(row.boxes, float(abs(answer.boxes - wanted.boxes).max()))
            time.sleep(PAUSE)
    if args.sequences and batch == 1:
        follow(network, rows, args)
    plain_time = statistics.median(rows[0].times)
    for row in rows:
        print_row(network, batch, row, plain_time, device)
        row.worker.close()


def start(preset: str, name: str, frame: Frame, args: argparse.Namespace) -> Row | None:
    """The variant after its first two frames, or None where this machine cannot run it."""
    worker = Worker(preset, name, args)
    try:
        for _ in range(2):
            worker(frame)
    except (RuntimeError, EOFError) as error:
        print(f"{name}: left out, {error or 'its process ended'}", file=sys.stderr)
        worker.close()
        return None
    return Row(name, worker)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def random_frames(network: RELONetwork, batch: int) -> Iterator[Frame]:
    """One endless sequence of noise."""
    crop, generator = network.crop, torch.Generator().manual_seed(0)

    def crops(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    templates = crops(batch, crop.num_templates, 3, crop.template_size, crop.template_size)
    boxes = torch.tensor([0.25, 0.25, 0.5, 0.5]).repeat(*templates.shape[:2], 1)
    while True:
        yield Frame(templates, boxes, crops(batch, 3, crop.search_size, crop.search_size))


def follow(network: RELONetwork, rows: list[Row], args: argparse.Namespace) -> None:
    """Compare what the variants choose on real sequences."""
    window = np.log(hann_window(network.crop.grid).ravel())
    for sequence in Folder(args.sequences):
        for row in rows:
            row.worker.reset()
        for frame in crops_of(sequence, network, args):
            chosen = []
            for row in rows:
                answer = row.worker(frame)
                position = int((answer.logits[0] + window).argmax())
                box = bx.cxcywh_to_xywh(answer.boxes[0, position].astype(np.float64))
                chosen.append((position, box))
            for row, (position, box) in zip(rows, chosen, strict=True):
                row.same.append(position == chosen[0][0])
                row.overlaps.append(float(bx.iou(box, chosen[0][1])))


def crops_of(sequence, network: RELONetwork, args: argparse.Namespace) -> Iterator[Frame]:
    """Crops of a sequence; each window stands where the target was in the frame before."""
    crop = network.crop

    def cut(index: int, box: np.ndarray, factor: float, size: int) -> tuple[Tensor, Tensor]:
        window = SearchWindow.around(box, factor, size)
        pixels = torch.from_numpy(window.extract(sequence.frames.read(index)).copy())
        inside = bx.cxcywh_to_xywh(window.to_crop(box)).astype(np.float32)
        return normalize_crops(pixels.permute(2, 0, 1)[None]), torch.from_numpy(inside)[None]

    template, inside = cut(0, sequence.boxes[0], crop.template_factor, crop.template_size)
    templates = template[:, None].repeat(1, crop.num_templates, 1, 1, 1)
    boxes = inside[:, None].repeat(1, crop.num_templates, 1)
    seen = sequence.boxes[0]
    for index in range(1, min(len(sequence.boxes), args.sequence_frames + 1)):
        yield Frame(templates, boxes, cut(index, seen, crop.search_factor, crop.search_size)[0])
        if sequence.visible[index]:
            seen = sequence.boxes[index]


def spread(network: RELONetwork) -> None:
    """Random weights whose outputs spread as trained ones do, so that differences show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.encoder.named_parameters():
            if name.endswith(("scale1", "scale2")):
                value.fill_(0.5)
            elif value.ndim > 1 and name.endswith("weight"):
                deviation = value[0].numel() ** -0.5
                value.copy_(torch.randn(value.shape, generator=generator) * deviation)


def print_header(args: argparse.Namespace) -> None:
    print(f"{machine()}\n")
    names = ["preset", "batch", "variant", "ms", "crops/s", "against plain", "logits", "boxes"]
    names += ["peak MB"] if args.device.startswith("cuda") else []
    names += ["same position", "overlap"] if args.sequences else []
    print("| " + " | ".join(names) + " |")
    print("| " + " | ".join("---" for _ in names) + " |", flush=True)


def print_row(
    network: RELONetwork, batch: int, row: Row, plain_time: float, device: torch.device
) -> None:
    median = statistics.median(row.times)
    cells = [f"`{network.preset_name}`", f"{batch}", row.name, f"{median * 1e3:.1f}"]
    cells += [f"{batch / median:.1f}", f"{plain_time / median:.2f}"]
    cells += [f"{row.logits:.1e}", f"{row.boxes:.1e}"]
    cells += [f"{row.megabytes:.0f}"] if device.type == "cuda" else []
    if row.same:
        cells += [f"{statistics.mean(row.same):.1%}", f"{statistics.mean(row.overlaps):.4f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; arguments as on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--presets", nargs="+", default=["nano", "t256"], help="or checkpoints")
    add("--threads", type=int, default=2)
    add("--frames", type=int, default=30, help="that are measured at least")
    add("--batch", type=int, nargs="+", default=[1], help="sequences that step together")
    add("--device", default="cpu")
    add("--compile", action="store_true", help="torch.compile too: minutes for each variant")
    add("--int8", action="store_true", help="matrices in 8 bits too, on a CPU")
    add("--sequences", metavar="ROOT", help="real sequences, see `relo datasets` for the layout")
    add("--sequence-frames", type=int, default=30, metavar="N", help="of each of them")
    args = parser.parse_args(arguments)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: this torch ({torch.__version__}) sees no GPU")
    torch.set_num_threads(args.threads)  # of the line about the machine
    print_header(args)
    for name in args.presets:
        network = find_network(name)
        for batch in args.batch:
            measure(name, network, batch, args)


if __name__ == "__main__":
    main()
