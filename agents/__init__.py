"""Agents that learn to track: networks, Stable-Baselines3 policies, algorithms, a tracker."""
