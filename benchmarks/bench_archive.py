"""Throughput of processing a folder of recordings, by the number of processes.

    python benchmarks/bench_archive.py --recordings 12 --jobs 1 2 4 --json archive.json

Recordings of the demo with simulated sensors are written to a temporary folder. Each is
converted to a motion (`pallas process`), and each motion is indexed (`pallas search`), with one
process, two, and so on; everything is repeated each time. The output is seconds of recording
per second of wall-clock time, including the start of the processes.
"""

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from pallas_ros.body.names import SITES
from pallas_ros.cli import main as pallas
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.virtual import VirtualSensors


def write_recording(path: Path, seconds: float, seed: int) -> None:
    """Write an IMU recording (.npz) of simulated sensors, in the format of the guide."""
    samples = VirtualSensors(seed=seed).samples(demo_motion(seconds))
    of = {site: [sample for name, sample in samples if name == site] for site in SITES}
    count = min(len(row) for row in of.values())
    np.savez(
        path,
        sites=np.array(SITES),
        stamp=np.array([sample.stamp for sample in of[SITES[0]][:count]]) / 1e9,
        orientation=np.stack([[s.orientation for s in row[:count]] for row in of.values()], 1),
        linear_acceleration=np.stack(
            [[s.acceleration for s in row[:count]] for row in of.values()], 1
        ),
        calibrated=np.array(False),
    )


def seconds_of(command: list[str]) -> float:
    """Return the wall time of a command that must succeed."""
    begun = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        status = pallas(command)
    if status:
        raise SystemExit(f"pallas {' '.join(command)} ended with {status}")
    return time.perf_counter() - begun


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--recordings", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each in s")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", metavar="F")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sensors = Path(folder) / "sensors"
        motions = Path(folder) / "motions"
        sensors.mkdir()
        for i in range(args.recordings):
            write_recording(sensors / f"{i:03d}.npz", args.seconds, i)
        total = args.recordings * args.seconds
        for jobs in args.jobs:
            workers = ["--jobs", str(jobs)]
            commands = {
                "process": ["process", str(sensors), str(motions), "--again", *workers],
                "index": ["search", "wave", str(motions), "--rebuild", *workers],
            }
            for name, command in commands.items():
                speed = total / seconds_of(command)
                print(f"{name:8s} {jobs:2d} processes on {os.cpu_count()} cores: {speed:7.1f} x")
                rows.append(
                    {
                        "name": name,
                        "case": f"jobs={jobs}",
                        "metric": "times_real_time",
                        "value": round(speed, 1),
                        "unit": "x",
                    }
                )
    if args.json:
        Path(args.json).write_text(json.dumps({"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
