"""Heads for the decisions beside the position: zoom of the next window, renewal of a template."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from agents.network.heads import HeadOutputs, initialize
from relo_env.config import CONTROLS
from relo_env.errors import ConfigError, unknown
from relo_env.spaces import CONTROL_CHOICES, MAX_RENEWAL_AGE

HIDDEN = 32
"""Units of a head's hidden layer."""

START = 0.9
"""Probability of choice 0, "no zoom" or "no renewal", of a head that has not been trained."""

_SCALES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "zoom": lambda zoom: zoom - 1,
    "renew": lambda age: age.log1p() / math.log1p(MAX_RENEWAL_AGE),
}
"""Range of about 0 to 1 for the observed state of each control."""


class ControlHead(nn.Module):
    """Two linear layers from a summary of the frame and the control's state to its choices.

    The summary is the mean of the features over positions, the value, and the entropy and the
    largest probability of the position. They are evidence: no gradient reaches the heads that
    computed them.

    Args:
        width: channels C of the features.
        name: one of `relo_env.config.CONTROLS`.
    """

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.hidden = nn.Linear(width + 4, HIDDEN)
        self.out = nn.Linear(HIDDEN, CONTROL_CHOICES[name])
        self.reset()

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew; choice 0 gets probability `START` whatever the input."""
        initialize(self.hidden, generator)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[0] = math.log(START / (1 - START) * (len(self.out.bias) - 1))

    def forward(self, summary: Tensor, state: Tensor) -> Tensor:
        """Logits float32 ``(N, choices)`` of summaries ``(N, C + 3)`` and states ``(N, 1)``."""
        inputs = torch.cat([summary, _SCALES[self.name](state.float())], dim=1)
        return self.out(self.hidden(inputs.to(self.hidden.weight.dtype)).relu()).float()


class ControlHeads(nn.ModuleDict):
    """A `ControlHead` for each control.

    Args:
        width: channels C of the features.
        names: of the controls.

    Raises:
        ConfigError: an unknown control.
    """

    def __init__(self, width: int, names: Sequence[str]) -> None:
        for name in names:
            if name not in CONTROLS:
                raise ConfigError(unknown("control", name, CONTROLS))
        super().__init__({name: ControlHead(width, name) for name in CONTROLS if name in names})

    def reset(self, seed: int) -> None:
        """Draw all weights anew."""
        for head in self.values():
            assert isinstance(head, ControlHead)
            head.reset(torch.Generator(head.out.weight.device).manual_seed(seed))

    def forward(
        self, features: Tensor, out: HeadOutputs, states: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Logits ``(N, choices)`` of the controls in ``states``.

        Args:
            features: ``(N, C, H, W)``.
            out: policy and value of these features.
            states: observed state ``(N, 1)`` of each control: current zoom, frames since the
                last renewal.
        """
        assert out.policy_logits is not None
        assert out.value is not None
        log_probs = out.policy_logits.detach().log_softmax(1)
        probs = log_probs.exp()
        entropy = -(probs * log_probs).sum(1) / math.log(probs.shape[1])
        evidence = torch.stack([out.value.detach(), entropy, probs.amax(1)], dim=1)
        summary = torch.cat([features.float().mean((2, 3)), evidence], dim=1)
        return {name: self[name](summary, state) for name, state in states.items()}
