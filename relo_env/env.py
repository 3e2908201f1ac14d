"""The tracking environment: one clip an episode, one frame a step."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from relo_env import rendering
from relo_env.checks import check
from relo_env.config import CropConfig, EnvConfig, RewardFunction
from relo_env.crops import SearchWindow
from relo_env.datasets.base import Dataset
from relo_env.engine import Engine, make_engine
from relo_env.episode import Episode
from relo_env.errors import ArgumentError
from relo_env.proposers import BoxProposer
from relo_env.states import read_generator, reading_state

ROWS = (0,)

VECTOR_ARGUMENTS = {
    *("num_envs", "group_size", "autoreset_mode"),
    *("num_threads", "cache_bytes", "copy"),
}
"""Arguments of `TrackingVectorEnv` alone."""

STEP_LIMIT = "Leave max_episode_steps out and choose clip_length, which is the number of steps."


def draw_episode_seed(rng: np.random.Generator) -> int:
    """Draw the 63-bit seed that determines an episode."""
    return int(rng.integers(2**63))


def peek_episode_seeds(rng: np.random.Generator, count: int) -> list[int]:
    """Next ``count`` values of `draw_episode_seed`; the generator does not advance."""
    state = rng.bit_generator.state
    seeds = [draw_episode_seed(rng) for _ in range(count)]
    rng.bit_generator.state = state
    return seeds


class PublicAttributes:
    """Attributes of `TrackingEnv` and `TrackingVectorEnv` for other modules to read."""

    engine: Engine

    @property
    def config(self) -> EnvConfig:
        """Configuration of clips, rewards and actions."""
        return self.engine.config

    @property
    def crop(self) -> CropConfig:
        """Sizes and factors of the crops, and the action grid."""
        return self.engine.crop

    @property
    def dataset(self) -> Dataset:
        """Data set that the clips come from."""
        return self.engine.dataset

    @property
    def proposer(self) -> BoxProposer:
        """Proposer, bound to this environment's rows."""
        return self.engine.proposer

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Fingerprint of the data set, see `Dataset.fingerprint`."""
        return self.engine.dataset.fingerprint

    def set_clip_length(self, length: int) -> None:
        """Set the search frames of clips that begin later; running episodes keep theirs."""
        self.engine.set_clip_length(length)


class TrackingEnv(PublicAttributes, gym.Env[dict[str, np.ndarray], Any]):
    """Track one object through a clip: in each frame the action chooses its box.

    ## Description

    An episode is a clip of an annotated video. In its K template frames the target's box is given.
    In its T search frames the agent finds the target. A square search window around the last box
    is cut and resized to the search crop. A proposer gives a candidate box for every cell of a grid
    over this crop; the agent chooses a cell and so a box. See RELO, arXiv 2605.07379. With
    `proposer="previous-size"` every candidate has the size of the last box: after a box was clipped
    at the frame's border, the boxes stay small.

    ## Action Space

    `action_mode="grid"`: `Discrete(H * W)`, the cells of the search crop in row-major order (256
    with the default crops). `"box"`: `Box(-1, 2, (4,))`, the box itself, centre and size as
    fractions of the search window. `"move"`: `Discrete(11)`: left, right, up, down, the same at
    double distance, larger, smaller, stop (Yun et al. 2017); a frame ends with stop or after
    `max_moves`.

    With `controls` the grid's action is `MultiDiscrete([H * W, 3?, 2?])`. `"zoom"` chooses the side
    of the next search window: 1, 1.5 or 2.25 times `search_factor`. `"renew"` makes the crop around
    the box just chosen the last of the K templates (K >= 2, the first stays). The observation then
    holds `zoom`, the factor of the current window, and `renewal_age`, the frames since the last
    renewal or the start (at most 1000), both float32 `(1,)`.

    ## Observation Space

    | key | space | content |
    | --- | --- | --- |
    | `template` | `Box(0, 255, (3 * K, Hz, Wz), uint8)` | template crops, RGB, stacked |
    | `template_box` | `Box(0, 1, (4 * K,), float32)` | the target in each, xywh / crop side |
    | `search` | `Box(0, 255, (3, Hx, Wx), uint8)` | search crop, RGB |

    A proposer with a network adds what its policy needs, e.g. `features`.

    ## Rewards

    `iou_weight * IoU` of the chosen box at each frame that shows the target, and
    `auc_weight * AUC` of the clip at the last frame (`relo_env.rewards.clip_auc`). A frame without
    target pays nothing and is left out of the AUC.

    ## Starting State

    The first search window is centred on the last template's box. If a clip is longer than its
    video, the last frame is repeated (consecutive frames) or frames are drawn twice (ordered,
    causal).

    ## Episode End

    The episode terminates after the clip's last frame; it is never truncated. Do not register a
    step limit: it would cut off the AUC (`clip_length` is the limit). The last observation is
    repeated at the end.

    ## Info

    The info of a step describes the frame of the action: `sequence`, `frame`, `box`, `target_box`
    (xywh pixels, zeros when absent), `iou` (0.0 when absent), `visible`; at the end `auc` and
    `ious`. `candidate_info=True` adds `candidate_ious`, the IoU of every position (plain IoU,
    whatever the reward), and `target_box01`, the true box as fractions of the search window
    (cxcywh, zeros when absent). `controls` add `zoom`, the factor chosen for the next window, and
    `renewed`. The info of `reset` describes the last template's frame and has no `iou`.

    ## Arguments

    | argument | default | meaning |
    | --- | --- | --- |
    | `dataset` | the id's | name of a data set, or an instance |
    | `root` | `$RELO_DATA/<Dataset>` | folder of the data set |
    | `split` | the training split, or the only one | split of the data set |
    | `mode` | `"clip"` | `"sequence"`: the whole video, for evaluation |
    | `clip_length` | 8 | search frames T |
    | `search_window` | `"tracked"` | `"jittered"`: around the truth, as the paper trains |
    | `frame_sampling` | by window | `"consecutive"`, `"ordered"`, `"causal"` |
    | `max_stride` | 4 | largest stride of consecutive frames |
    | `max_interval` | 400 | range of frames of ordered and causal draws |
    | `num_templates`, `template_size`, `template_factor` | the proposer's, or 2, 128, 2.0 | crops |
    | `search_size`, `search_factor`, `stride` | the proposer's, or 256, 4.0, 16 | crops |
    | `proposer` | `"previous-size"` | `"target-size"`, `"module:factory"`, an instance |
    | `proposer_kwargs` | none | plain arguments of the factory |
    | `action_mode` | `"grid"` | `"box"`, `"move"` |
    | `max_moves` | 20 | largest number of moves a frame |
    | `reward` | `"iou+auc"` | or a callable `(ious, visible, last) -> float`, or its name |
    | `iou_weight`, `auc_weight` | 1.0, 1.0 | `auc_weight` is the paper's lambda |
    | `augment` | in training clips | grey, mirror, brightness, once a clip |
    | `candidate_info` | False | give `candidate_ious` in the info |
    | `official` | False | official crop geometry and crop-clamped IoU |
    | `controls` | `()` | `"zoom"`, `"renew"`: decisions beside the position |
    | `jitter` | 1.0 | distance of jittered windows from the truth; 1 is the paper's |
    | `render_mode` | None | `"rgb_array"`, `"human"` |

    Other arguments go to the data set, e.g. `difficulty="hard"` to `RELO-Synthetic-v0`.

    `reset(options={"sequence": name, "start": frame})` chooses the next clip only; `start` is the
    frame of the first template.

    ## Version History

    * v0: first version.

    Raises:
        ConfigError: an argument, or a combination of them, is not possible.
        DataError: the data set is missing or malformed.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 10}

    def __init__(
        self,
        dataset: str | Dataset = "Synthetic",
        render_mode: str | None = None,
        *,
        root: str | Path | None = None,
        split: str | None = None,
        mode: Literal["clip", "sequence"] = "clip",
        clip_length: int = 8,
        search_window: Literal["tracked", "jittered"] = "tracked",
        frame_sampling: Literal["consecutive", "ordered", "causal"] | None = None,
        max_stride: int = 4,
        max_interval: int = 400,
        jitter: float = 1.0,
        num_templates: int | None = None,
        template_size: int | None = None,
        template_factor: float | None = None,
        search_size: int | None = None,
        search_factor: float | None = None,
        stride: int | None = None,
        proposer: str | BoxProposer = "previous-size",
        proposer_kwargs: Mapping[str, Any] | None = None,
        action_mode: Literal["grid", "box", "move"] = "grid",
        max_moves: int = 20,
        reward: str | RewardFunction = "iou+auc",
        iou_weight: float = 1.0,
        auc_weight: float = 1.0,
        augment: bool | None = None,
        candidate_info: bool = False,
        official: bool = False,
        controls: Sequence[str] = (),
        **dataset_options: Any,
    ) -> None:
        arguments = dict(locals())  # those of the signature, by name
        check_options(dataset_options, single=True)
        check("render_mode", render_mode, Literal["rgb_array", "human"] | None)
        self.render_mode = render_mode
        self.engine = make_engine(1, arguments)
        self.observation_space = self.engine.observation_space  # type: ignore[assignment]
        self.action_space = self.engine.action_space
        self._running = False
        self._viewer = rendering.Viewer()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; ``options`` may give its ``sequence`` and ``start``.

        Raises:
            ConfigError: an unknown option, no such sequence, or no target at ``start``.
            DataError: too many clips cannot be read; in sequence mode, one.
        """
        check("seed", seed, int | None)
        check("options", options, Mapping[str, Any] | None)
        super().reset(seed=None if seed is None else int(seed))
        seeds = peek_episode_seeds(self.np_random, 1)
        draws = self.engine.clips.draw(ROWS, seeds, options or {})
        draw_episode_seed(self.np_random)
        self._running = False  # until the proposer has answered
        (info,) = self.engine.begin(ROWS, draws)
        self.engine.observe(ROWS)
        self._running = True
        _warn_of_step_limit(len(self.episode.clip.search_frames))
        if self.render_mode == "human":
            self._viewer.show(self._picture())
        return self.engine.observation_of(0), info

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Choose the target's box in the current frame and go on to the next.

        Raises:
            ConfigError: the action is not in the action space, or the reward is not a number.
            ResetNeeded: the episode is over, or none began.
        """
        if not self._running:
            raise gym.error.ResetNeeded("The episode is over, or none began; call reset() first.")
        (outcome,) = outcomes = self.engine.act(ROWS, [action])
        self._running = False  # until the proposer has answered
        self.engine.commit(ROWS, [action], outcomes)
        if not outcome.done:
            self.engine.observe(ROWS)
        self._running = not outcome.done
        if self.render_mode == "human":
            self._viewer.show(self._picture())
        observation = self.engine.observation_of(0)
        return observation, outcome.reward, outcome.done, False, outcome.info

    @property
    def episode(self) -> Episode:
        """Current episode, with its clip and its true boxes: for oracles and drawing."""
        return self.engine.episode(0)

    @property
    def frame(self) -> np.ndarray:
        """Whole current frame, uint8 RGB ``(H, W, 3)``, read-only, for agents beyond crops."""
        return self.engine.episode(0).frame

    @property
    def window(self) -> SearchWindow:
        """Place of the search crop in `frame`; maps boxes between the two."""
        return self.engine.episode(0).window

    @property
    def candidates(self) -> np.ndarray:
        """``(H * W, 4)`` boxes of all positions in `frame`, xywh pixels, before clipping."""
        return self.engine.candidates(0)

    @property
    def candidate_ious(self) -> np.ndarray:
        """``(H * W,)`` IoU of `candidates`, clipped, with the target: for oracles; 0 if absent."""
        return self.engine.candidate_ious(0)

    def state_dict(self) -> dict[str, Any]:
        """State of the environment as plain JSON, for `load_state_dict`."""
        return {
            **self.engine.state(),
            "np_random": self.np_random.bit_generator.state,
            "playing": self._running,
        }

    def load_state_dict(self, state: dict[str, Any]) -> dict[str, np.ndarray]:
        """Restore a `state_dict`; returns the observation of that moment.

        Raises:
            ConfigError: the state belongs to another environment or to other data, or is malformed.
        """
        self.engine.check_state(state)
        with reading_state():
            generator = read_generator(state["np_random"])
            check("playing", running := state["playing"], bool)
        self._running = False  # until all of it is restored
        self.engine.restore(state)
        self.np_random, self._running = generator, running
        return self.engine.observation_of(0)

    def render(self) -> np.ndarray | None:
        """Frame acted on last with boxes and window, uint8 RGB; None unless "rgb_array"."""
        return self._picture() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the window and the decoding threads."""
        self._viewer.close()
        self.engine.loader.close()

    def _picture(self) -> np.ndarray:
        return rendering.draw(**self.engine.episode(0).shown())


def _warn_of_step_limit(num_frames: int) -> None:
    """Warn of a TimeLimit wrapper that ends episodes before their last frame.

    The wrapper is made after the environment and tells it nothing, so its call is looked up.
    """
    callers = (frame.f_locals.get("self") for frame, _ in traceback.walk_stack(None))
    wrappers = (caller for caller in callers if isinstance(caller, gym.wrappers.TimeLimit))
    limit = getattr(next(wrappers, None), "_max_episode_steps", num_frames)
    if limit < num_frames:
        warnings.warn(
            f"The TimeLimit wrapper (max_episode_steps={limit}) truncates episodes of {num_frames} "
            f"frames, so that the AUC at the last frame is never paid. {STEP_LIMIT}",
            stacklevel=3,
        )


def check_options(options: Mapping[str, Any], single: bool = False) -> None:
    """Refuse a step limit and, for a ``single`` environment, arguments of the vector one.

    Raises:
        ArgumentError: one of them is in ``options``.
    """
    if "max_episode_steps" in options:
        raise ArgumentError(
            f"max_episode_steps={options['max_episode_steps']!r}: episodes end with their clip, at "
            f"whose last frame the AUC is paid; a step limit would cut it off. {STEP_LIMIT}"
        )
    if single and (vector := sorted(VECTOR_ARGUMENTS & set(options))):
        raise ArgumentError(
            f"{vector}: arguments of the vector environment, gym.make_vec(id, num_envs=...) or "
            "TrackingVectorEnv, not of a single one. Make that one, or leave them out."
        )
