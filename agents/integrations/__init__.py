"""Adapters to other reinforcement-learning libraries, each imported only by who uses it."""
