"""Error of the body for the demo motion with simulated sensors.

    python benchmarks/bench_body.py [MODEL.onnx ...]

Offline, without ROS: the same pipeline as live. It starts with the T-pose, which is excluded.
"""

import argparse
from pathlib import Path

import numpy as np

from pallas_ros import PipelineSettings
from pallas_ros.body.names import LEG_JOINTS, UPPER_JOINTS
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.virtual import VirtualSensors

START_NS = 1_000_000_000
SETTLED_S = 4.0
SEEDS = (0, 1, 2)


def errors(model: str, duration: float, seed: int) -> np.ndarray:
    """Joint errors (T, 22) cm, relative to the pelvis."""
    motion = demo_motion(duration)
    pipeline = PipelineSettings(model=model).pipeline()
    out = []
    for site, sample in VirtualSensors(seed=seed).samples(motion, start=START_NS):
        for body in pipeline.push(site, sample):
            at = (body.stamp - START_NS) / 1e9
            frame = round(at * motion.fps)
            if at < SETTLED_S or frame >= len(motion):
                continue
            truth = motion.positions[frame] - motion.positions[frame, 0]
            found = body.positions - body.positions[0]
            out.append(100 * np.linalg.norm(found - truth, axis=-1))
    return np.stack(out)


def main() -> None:
    """Print one row per model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=[PipelineSettings().model])
    parser.add_argument("--duration", type=float, default=45.0, help="seconds (default: 45)")
    args = parser.parse_args()
    print(f"{'cm, mean of ' + str(len(SEEDS)) + ' seeds':32s}{'all':>8s}{'upper':>8s}{'legs':>8s}")
    for model in args.models:
        found = np.concatenate([errors(model, args.duration, seed) for seed in SEEDS])
        parts = (found, found[:, list(UPPER_JOINTS)], found[:, list(LEG_JOINTS)])
        print(f"{Path(model).name:32s}" + "".join(f"{part.mean():8.2f}" for part in parts))


if __name__ == "__main__":
    main()
