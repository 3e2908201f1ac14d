"""Speed of one tracking step of the network, against a plain form of the same network.

    python benchmarks/network.py --presets nano t256 --threads 2

All variants of a preset take turns frame by frame in one run, so that a busy machine slows all of
them alike; times are medians. ``plain`` computes what the released code computes: templates read
anew each frame, previous tokens as rows, separate q, k, v, every row of the last block, all heads.
``drift`` is the largest difference from ``plain`` in policy logits and in candidate boxes (as
fractions of the crop) over the run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.network import RELONetwork

Step = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(templates, boxes, search)`` of the next frame to policy logits and candidate boxes."""


class PlainFastITPN:
    """The official network, layer by layer from a state dict under official names."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        blocks = {int(name.split(".")[3]) for name in state if ".blocks." in name}
        kinds = {i: self._kind(f"encoder.body.blocks.{i}") for i in sorted(blocks)}
        self.stem = [i for i, kind in kinds.items() if kind != "attention"]
        self.attention = [i for i, kind in kinds.items() if kind == "attention"]
        self.merges = [i for i, kind in kinds.items() if kind == "merge"]
        self.previous: list[Tensor] | None = None

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encode(templates, boxes, search)
        grid = features.shape[2:]
        self.branch("decoder", "ctr", features).sigmoid()
        size = self.branch("decoder", "size", features).sigmoid().clamp(1e-4, 1 - 1e-4)
        offset = self.branch("decoder", "offset", features)
        logits = self.branch("policy_model", "ctr", features).flatten(1)
        self.tower("value_model", "val", features).mean((2, 3))
        cells = torch.stack(
            torch.meshgrid(torch.arange(grid[1]), torch.arange(grid[0]), indexing="xy")
        )
        centers = (offset + cells.to(offset)) / grid[0]
        return logits, torch.cat([centers, size], 1).flatten(2).transpose(1, 2)

    def encode(self, templates: Tensor, boxes: Tensor, search: Tensor) -> Tensor:
        body = {k.removeprefix("encoder.body."): v for k, v in self.state.items()}
        positions = search.shape[-1] // 16 * (search.shape[-1] // 16)
        x = self.read(search) + body["pos_embed"][:, :positions] + body["search_token"]
        z = self.read(templates.flatten(0, 1)) + body["pos_embed"][:, positions:]
        pixels = torch.arange(templates.shape[-1], device=boxes.device)
        x0, y0, w, h = (boxes.flatten(0, 1) * templates.shape[-1]).unbind(-1)
        inside_x = (pixels >= x0[:, None]) & (pixels < (x0 + w)[:, None])
        inside_y = (pixels >= y0[:, None]) & (pixels < (y0 + h)[:, None])
        mask = (inside_y[:, None, :, None] & inside_x[:, None, None, :]).to(z.dtype)
        mask = F.avg_pool2d(mask, 16).flatten(2).transpose(1, 2)
        z = z + mask * body["template_foreground_token"]
        z = z + (1 - mask) * body["template_background_token"]
        z = z.unflatten(0, templates.shape[:2]).flatten(1, 2)
        current = (body["ttokens"] + body["pos_embed_ttoken"]).expand(len(x), -1, -1)
        tokens = current.shape[1]
        rows = torch.cat([x, z, current, current], 1)
        entered = []
        for depth, i in enumerate(self.attention):
            if self.previous is not None:
                rows = torch.cat([rows[:, :-tokens], self.previous[depth]], 1)
            entered.append(rows[:, -2 * tokens : -tokens])
            rows = self.attend(f"encoder.body.blocks.{i}", rows)
        self.previous = entered
        rows = self.norm("encoder.body.fc_norm", rows)[:, :positions]
        side = search.shape[-1] // 16
        return rows.transpose(1, 2).reshape(len(rows), -1, side, side)

    def read(self, crops: Tensor) -> Tensor:
        x = F.conv2d(crops, *self.pair("encoder.body.patch_embed.proj"), stride=4)
        for i in self.stem:
            name = f"encoder.body.blocks.{i}"
            if i in self.merges:
                x = self.norm(f"{name}.norm", x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                x = F.conv2d(x, *self.pair(f"{name}.reduction"), stride=2)
                continue
            y = self.norm(f"{name}.norm2", x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            y = F.gelu(F.conv2d(y, *self.pair(f"{name}.mlp.fc1")))
            y = self.norm(f"{name}.mlp.ffn_ln", y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            x = x + F.conv2d(y, *self.pair(f"{name}.mlp.fc2"))
        return x.flatten(2).transpose(1, 2)

    def attend(self, name: str, rows: Tensor) -> Tensor:
        state = self.state
        y = self.norm(f"{name}.norm1", rows)
        q = F.linear(y, state[f"{name}.attn.q_proj.weight"], state[f"{name}.attn.q_bias"])
        k = F.linear(y, state[f"{name}.attn.k_proj.weight"])
        v = F.linear(y, state[f"{name}.attn.v_proj.weight"], state[f"{name}.attn.v_bias"])
        q, k, v = (part.unflatten(2, (-1, 64)).transpose(1, 2) for part in (q, k, v))
        weights = ((q * 64**-0.5) @ k.transpose(-2, -1)).softmax(-1)
        y = F.linear((weights @ v).transpose(1, 2).flatten(2), *self.pair(f"{name}.attn.proj"))
        rows = rows + state[f"{name}.gamma_1"] * y
        y = self.norm(f"{name}.norm2", rows)
        y = F.silu(F.linear(y, *self.pair(f"{name}.mlp.w1"))) * F.linear(
            y, *self.pair(f"{name}.mlp.w2")
        )
        y = F.linear(self.norm(f"{name}.mlp.ffn_ln", y), *self.pair(f"{name}.mlp.w3"))
        return rows + state[f"{name}.gamma_2"] * y

    def tower(self, model: str, suffix: str, x: Tensor) -> Tensor:
        for i in range(1, 5):
            name = f"{model}.conv{i}_{suffix}"
            x = F.conv2d(x, *self.pair(f"{name}.0"), padding=1)
            statistics = (self.state[f"{name}.1.running_{part}"] for part in ("mean", "var"))
            x = F.batch_norm(x, *statistics, *self.pair(f"{name}.1")).relu()
        return x

    def branch(self, model: str, suffix: str, x: Tensor) -> Tensor:
        return F.conv2d(self.tower(model, suffix, x), *self.pair(f"{model}.conv5_{suffix}"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.pair(name), eps=1e-6)

    def pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self.state[f"{name}.weight"], self.state[f"{name}.bias"]

    def _kind(self, name: str) -> str:
        if f"{name}.reduction.weight" in self.state:
            return "merge"
        return "attention" if f"{name}.gamma_1" in self.state else "stem"


class Unhurried:
    """Any other preset in the same spirit: all of it computed at every frame."""

    def __init__(self, network: RELONetwork) -> None:
        self.network, self.tokens = network, None

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        outputs, self.tokens = self.network(templates, boxes, search, self.tokens)
        return outputs.policy_logits, outputs.candidates


class Fast:
    """As `RELOTracker` runs it: templates once, only the heads that decide."""

    def __init__(
        self,
        network: RELONetwork,
        device: torch.device,
        dtype: torch.dtype | None = None,
        compiled: bool = False,
    ) -> None:
        self.network = network.for_inference(device, dtype)
        if compiled:
            self.network.encoder.compile()
            self.network.heads.compile()
        self.cache, self.tokens = None, None

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        if self.cache is None:
            self.cache = self.network.encode_templates(templates, boxes)
        features, self.tokens = self.network.encode(self.cache, None, search, self.tokens)
        outputs = self.network.heads(features, only=("boxes", "policy"))
        return outputs.policy_logits, outputs.candidates


def make_variants(
    network: RELONetwork, device: torch.device, compiled: bool
) -> Iterator[tuple[str, Step]]:
    if network.preset_name in ("t256", "b256", "l256"):
        yield "plain", PlainFastITPN(network.export_official())
    else:
        yield "plain", Unhurried(network)
    yield "fast", Fast(network, device)
    yield "fast bf16", Fast(network, device, torch.bfloat16)
    if compiled:
        yield "fast compiled", Fast(network, device, compiled=True)
        yield "fast bf16 compiled", Fast(network, device, torch.bfloat16, compiled=True)


@torch.inference_mode()
def measure(network: RELONetwork, args: argparse.Namespace) -> None:
    crop, device = network.crop, torch.device(args.device)
    variants = dict(make_variants(network, device, args.compile))
    times: dict[str, list[float]] = {name: [] for name in variants}
    drift = {name: [0.0, 0.0] for name in variants}
    generator = torch.Generator().manual_seed(0)

    def crops(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    templates = crops(args.batch, crop.num_templates, 3, crop.template_size, crop.template_size)
    boxes = torch.tensor([0.25, 0.25, 0.5, 0.5], device=device).expand(*templates.shape[:2], 4)
    for frame in range(args.warmup + args.frames):
        search = crops(args.batch, 3, crop.search_size, crop.search_size)
        for name, step in variants.items():
            started = time.perf_counter()
            outputs = step(templates, boxes, search)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if frame >= args.warmup:
                times[name].append(time.perf_counter() - started)
            if name == "plain":
                reference = outputs
            for i, (ours, plain) in enumerate(zip(outputs, reference, strict=True)):
                drift[name][i] = max(drift[name][i], (ours.float() - plain).abs().max().item())
    plain_time = statistics.median(times["plain"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(
            f"{network.preset_name:8s} {name:20s} {median * 1e3:8.1f} ms "
            f"{args.batch / median:8.1f} crops/s {plain_time / median:6.2f}x  "
            f"drift {drift[name][0]:.1e} logits {drift[name][1]:.1e} boxes",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["nano", "t256"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="compiled variants too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.presets:
        torch.manual_seed(0)
        measure(RELONetwork.from_preset(name).to(args.device), args)


if __name__ == "__main__":
    main()
