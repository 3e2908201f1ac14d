"""Parameter groups and learning-rate schedule of stage 1."""

from __future__ import annotations

from typing import Any

from torch import nn

from agents.network import RELONetwork
from agents.warmup.config import WarmupConfig
from relo_env.errors import ConfigError, unknown


def parameter_groups(network: RELONetwork, config: WarmupConfig) -> list[dict[str, Any]]:
    """Optimiser groups of the trained parameters: new parts first, then the encoder's body.

    Frozen parameters need no gradient from here on. Stage 2 trains the value, and the policy unless
    ``policy_weight`` is above 0.

    Raises:
        ConfigError: a prefix of ``config.frozen`` names no parameter, or they name all.
    """
    names = [name for name, _ in network.named_parameters()]
    for prefix in config.frozen:
        if not any(name.startswith(prefix) for name in names):
            raise ConfigError(unknown("frozen parameter", prefix, names))
    new: list[nn.Parameter] = []
    body: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if name.startswith("heads.value.") or (
            name.startswith("heads.policy.") and not config.policy_weight
        ):
            continue
        if name.startswith(config.frozen):
            parameter.requires_grad_(False)
        elif name.startswith("encoder.") and not name.startswith(_NEW_IN_ENCODER):
            body.append(parameter)
        else:
            new.append(parameter)
    if not new and not body:
        raise ConfigError(f"frozen is {config.frozen}: nothing is left to train. Freeze less.")
    return [
        {"params": new, "initial_lr": config.learning_rate},
        {"params": body, "initial_lr": config.encoder_learning_rate},
    ]


_NEW_IN_ENCODER = ("encoder.temporal.", "encoder.search_token", "encoder.template_")

RAMP = 50
"""Steps over which the learning rate rises from 0."""


def schedule(step: int, steps: int) -> float:
    """Factor on the learning rate: a short ramp, then 1, falling to 0 over the second half."""
    return min(1.0, (step + 1) / RAMP, 2 * (1 - step / steps))
