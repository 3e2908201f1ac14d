"""Synthetic videos: the data set that needs no download.

`dataset` has the data set itself, `difficulty` its levels. A video is planned in `scene` (who
moves where, in numbers only) with `actors` of various `shapes`, painted in `painting`, partly from
a user's `images`, and turned into frames in `rendering`.
"""

from relo_env.datasets.synthetic.dataset import Synthetic
from relo_env.datasets.synthetic.difficulty import LEVELS, Difficulty

__all__ = ["LEVELS", "Difficulty", "Synthetic"]
