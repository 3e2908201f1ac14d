"""Speed of a tracker beside another program, by the time that its waiting threads spin.

Each setting runs in a process of its own, on an idle machine and beside a process that computes
without pause; settings take turns.
"""

import argparse
import os
import subprocess
import sys
from statistics import median

from videos import row, table

SETTINGS = {
    "default": {},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
TRACK = """
from time import perf_counter
from agents.tracker import RELOTracker
from relo_env import make_dataset

video = make_dataset("Synthetic", split="test")[0]
frames = [video.frames.read(index) for index in range(60)]
tracker = RELOTracker.from_pretrained("nano")
tracker.init(frames[0], tuple(video.boxes[0]))
for frame in frames[1:10]:
    tracker.update(frame)
begin = perf_counter()
for frame in frames[10:]:
    tracker.update(frame)
print(50 / (perf_counter() - begin))
"""
BUSY = "while True: pass"


def main() -> None:
    """Print a table of frames a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(table("machine", *SETTINGS))
    for machine, others in (("idle", 0), ("one core busy", 1), ("both cores busy", 2)):
        company = [
            subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)
            for _ in range(others)
        ]
        try:
            rates: dict[str, list[float]] = {name: [] for name in SETTINGS}
            for _ in range(rounds):
                for name, setting in SETTINGS.items():
                    rates[name].append(_track(setting))
        finally:
            for process in company:
                process.kill()
        print(row(machine, *(f"{median(measured):.0f}" for measured in rates.values())))


def _track(setting: dict[str, str]) -> float:
    environment = {**os.environ, **setting}
    out = subprocess.run(
        [sys.executable, "-c", TRACK], env=environment, check=True, capture_output=True, text=True
    )
    return float(out.stdout)


if __name__ == "__main__":
    main()
