"""Trackers in the toolkit of the VOT challenges, which restarts a tracker after a failure.

The toolkit (``pip install ".[vot]"``) starts the command in a workspace's ``trackers.ini`` and
speaks TraX with it::

    [RELO]
    label = RELO
    protocol = trax
    command = python -m agents.integrations.vot --tracker nano
    timeout = 300

Arguments are those of ``relo evaluate``. Several objects in a video are followed by a tracker each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from agents.commands import arguments
from relo_env.benchmark.interface import Tracker
from relo_env.datasets.frames import read_image
from relo_env.errors import ConfigError, ReloError


def main() -> None:
    """Serve the tracker of the command line to the toolkit that started this program."""
    parser = argparse.ArgumentParser(description="A tracker for the VOT toolkit, over TraX.")
    arguments.add_tracker(parser)
    arguments.add_device(parser)
    options = parser.parse_args()
    try:
        factory = arguments.tracker_factory(
            options.tracker, device=options.device, options=dict(options.tracker_option)
        )
        serve(factory)
    except ReloError as error:
        parser.exit(2, f"error: {error}\n")


def serve(factory: Callable[[], Tracker]) -> None:
    """Answer TraX requests on this process's streams until the client quits.

    Args:
        factory: builds a tracker; called once for each object that is tracked at the same time.

    Raises:
        ConfigError: TraX, an optional extra, is not installed.
    """
    try:
        import trax
    except ImportError as error:
        raise ConfigError("The VOT toolkit's protocol needs `pip install 'relo[vot]'`.") from error

    trackers = [factory()]
    followed = 0
    with trax.Server(
        [trax.Region.RECTANGLE], [trax.Image.PATH], tracker_name="RELO", multiobject=True
    ) as server:
        while True:
            request = server.wait()
            if request.type not in (trax.TraxStatus.INITIALIZE, trax.TraxStatus.FRAME):
                return
            if request.type == trax.TraxStatus.INITIALIZE:
                followed = 0
            frame = read_image(request.image["color"].path())
            states: list[tuple[Any, dict[str, float]]] = []
            for tracker in trackers[:followed]:
                box, score = tracker.update(frame)
                states.append((trax.Rectangle.create(*box), {"confidence": score}))
            for region, _ in request.objects or ():
                if followed == len(trackers):
                    trackers.append(factory())
                trackers[followed].init(frame, region.bounds())
                followed += 1
                states.append((region, {}))
            server.status(states)


if __name__ == "__main__":
    main()
