"""Forms of a frozen network that run faster; see `RELONetwork.for_inference`."""

from __future__ import annotations

import copy
import functools
import warnings
from time import perf_counter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from relo_env.errors import ConfigError, unknown

Module = TypeVar("Module", bound=nn.Module)

COMPILE_OPTIONS: dict[str, Any] = {"freezing": True}
"""Of ``torch.compile``: weights are constants, which lets it pack them as `PackedLinear` does."""


def check_device(device: str | torch.device) -> None:
    """Check that tensors can be put on a device, and read from it.

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"Device {str(device)!r} cannot be used here: {reason}") from None


HALF = (torch.bfloat16, torch.float16)
DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (*HALF, torch.float32, torch.float64)
}
"""Types of weights by name."""


def find_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Type of weights, by its name or as it is.

    Raises:
        ConfigError: a network cannot run in it.
    """
    name = dtype if isinstance(dtype, str) else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ConfigError(unknown("dtype", name, DTYPES))
    return DTYPES[name]


@functools.cache
@torch.random.fork_rng(devices=[])  # a measurement changes no draw of the run around it
def half_precision_cost(dtype: torch.dtype) -> float:
    """Time of a linear layer in a half-precision type on this CPU, as a multiple of float32's.

    Measured on the spot, in a tenth of a second: 0.5 where the processor has instructions for the
    type, several where it has none.
    """
    layers = {kind: nn.Linear(384, 1536, dtype=kind) for kind in (torch.float32, dtype)}
    times: dict[torch.dtype, list[float]] = {kind: [] for kind in layers}
    with torch.inference_mode():
        for _ in range(8):
            for kind, layer in layers.items():
                x = torch.zeros(192, 384, dtype=kind)
                begin = perf_counter()
                layer(x)
                times[kind].append(perf_counter() - begin)
    return min(times[dtype][1:]) / min(times[torch.float32][1:])


def warn_of_slow_half(dtype: torch.dtype | None, device: str | torch.device) -> None:
    """Warn, once in a process, where half precision is slower than float32 on this CPU."""
    if dtype in HALF and torch.device(device).type == "cpu":
        _warn_once(dtype)


@functools.cache
def _warn_once(dtype: torch.dtype) -> None:
    cost = half_precision_cost(dtype)
    if cost > 1.2:
        warnings.warn(
            f"{dtype} is slower than float32 on this processor: {cost:.1f} times as long for a "
            "linear layer. Leave dtype, amp and half out.",
            stacklevel=4,
        )


def fold(network: Module) -> Module:
    """A frozen copy in which each part that has a ``fold`` method is folded, in evaluation mode."""
    network = copy.deepcopy(network).eval()
    for part in network.modules():
        fold_part: Any = getattr(part, "fold", None)
        if fold_part is not None:
            fold_part()
    return network.requires_grad_(False)


class PackedLinear(nn.Module):
    """A linear layer on a CPU whose matrix lies in memory as oneDNN's kernels read it.

    The kernels are those that ``torch.compile`` uses with frozen weights. `torch.nn.Linear` goes to
    MKL instead, which on processors of other makers than Intel leaves AVX-512 unused.

    Args:
        linear: the layer whose place it takes; frozen, on a CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # Neither parameter nor buffer: opaque to everything but the kernel.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` to ``(..., out_features)``."""
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")

    def __reduce__(self) -> Any:
        """A copy or a pickle of it is the plain layer: the packed form is of this machine only."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(self._packed.to_dense(), requires_grad=False)
        linear.bias = self.bias
        return copy.copy, (linear,)


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """True if packed linear layers of this type are faster on the device."""
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def pack_linears(module: nn.Module) -> None:
    """Put a `PackedLinear` in the place of every linear layer inside a module."""
    for name, part in module.named_children():
        if type(part) is nn.Linear:
            setattr(module, name, PackedLinear(part))
        else:
            pack_linears(part)
