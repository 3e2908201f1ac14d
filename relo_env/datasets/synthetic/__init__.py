"""Synthetic videos: the data set that needs no download.

`dataset` has the data set itself, `difficulty` its levels. `planning` makes a `scene` (movements,
in numbers only) with `actors` of various `shapes`; `painting` paints them, partly from a user's
`images`, and `rendering` turns them into frames.
"""

from relo_env.datasets.synthetic.dataset import Synthetic
from relo_env.datasets.synthetic.difficulty import LEVELS, Difficulty

__all__ = ["LEVELS", "Difficulty", "Synthetic"]
