"""The released network written plainly, what `benchmarks/network.py` compares with.

Every frame reads the templates anew, previous tokens are rows like any other, queries, keys and
values have a matrix each, and all heads are computed, batch norms as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


class PlainFastITPN:
    """The official network, layer by layer from a state dict under official names."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        blocks = {int(name.split(".")[3]) for name in state if ".blocks." in name}
        kinds = {i: self._kind(f"encoder.body.blocks.{i}") for i in sorted(blocks)}
        self.stem = [i for i, kind in kinds.items() if kind != "attention"]
        self.attention = [i for i, kind in kinds.items() if kind == "attention"]
        self.merges = [i for i, kind in kinds.items() if kind == "merge"]
        self.reset()

    def reset(self) -> None:
        self.previous: list[Tensor] | None = None

    def __call__(self, templates: Tensor, boxes: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encode(templates, boxes, search)
        grid = features.shape[2:]
        self.branch("decoder", "ctr", features).sigmoid()
        size = self.branch("decoder", "size", features).sigmoid().clamp(1e-4, 1 - 1e-4)
        offset = self.branch("decoder", "offset", features)
        logits = self.branch("policy_model", "ctr", features).flatten(1)
        pooled = self.tower("value_model", "val", features).mean((2, 3))
        F.linear(pooled, *self.pair("value_model.fc_val"))
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
