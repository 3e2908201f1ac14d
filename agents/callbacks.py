"""Callbacks for Stable-Baselines3's ``learn``."""

from __future__ import annotations

from agents.algorithms.buffer import CreditCallback

__all__ = ["CreditCallback"]
