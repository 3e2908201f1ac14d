"""The machine that a benchmark runs on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16")
"""Instructions that matrix products use."""


def machine() -> str:
    """Processor, its instructions, those that torch uses, threads and load; the GPU if any."""
    facts = {}
    if (found := Path("/proc/cpuinfo")).is_file():
        lines = [line.partition(":") for line in found.read_text().splitlines()]
        facts = {name.strip(): value.strip() for name, _, value in lines}
    flags = [flag for flag in FLAGS if flag in facts.get("flags", "").split()]
    words = [facts.get("model name") or platform.processor() or platform.machine(), *flags]
    text = f"{' '.join(words)}; torch {torch.__version__} uses "
    text += f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    if hasattr(os, "getloadavg"):
        text += f"; load {os.getloadavg()[0]:.1f}"
    return f"{text}; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else text
