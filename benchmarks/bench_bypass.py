"""Error and jerk of each smoothing method applied to the bodies that PALLAS predicts.

    python benchmarks/bench_bypass.py --data ../shared/data --clips 8

Clips of the test splits are recorded by simulated sensors (noise, bias, 4 degrees of mounting
error). The samples pass through the live pipeline with the released network, and its bodies through
each method. Errors are root-relative, against the true body; the jerk is that of all joints in the
world, relative to the true jerk.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.smoothing.bones import BoneLengths
from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings, shared_method
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import MotionLibrary
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.virtual import VirtualSensors
from pallas_ros.pipeline import PipelineSettings

F64 = NDArray[np.float64]
_START = 1_000_000_000
_SETTLED_S = (
    1.0  # start of each clip that is excluded: PALLAS and the smoother need time to converge
)


def methods() -> dict[str, SmootherSettings]:
    """Return the compared methods by name."""
    lengths = Skeleton.from_height().lengths
    # PALLAS's bodies have a known skeleton, so bone lengths are not estimated
    bones = BoneLengths(lengths, np.zeros_like(lengths))
    found = {"bypass": SmootherSettings(method="bypass")}
    for lookahead in (0, 2, 5):
        found[f"hpstm, look-ahead {lookahead}"] = SmootherSettings(
            lookahead=lookahead, trust_rotations=True, bones=bones
        )
    return found


def worn(motion: Motion, seed: int) -> list[BodyFrame]:
    """Return the bodies that PALLAS predicts from sensors worn during this motion."""
    pipeline = PipelineSettings(backend="onnxruntime").pipeline()
    pipeline.apply_calibration(Calibration.identity(), 1)  # nominal mounting plus mounting errors
    return [
        body
        for site, sample in VirtualSensors(seed=seed).samples(motion, start=_START)
        for body in pipeline.push(site, sample)
    ]


def figures(bodies: list[BodyFrame], motion: Motion) -> tuple[float, float, float]:
    """Return the root-relative error in cm, the jerk and the true jerk in m/frame^3."""
    seconds = np.array([(body.stamp - _START) / 1e9 for body in bodies])
    kept = (seconds > _SETTLED_S) & (seconds < motion.duration - 0.2)
    times = np.arange(len(motion)) / motion.fps
    flat = motion.positions.reshape(len(motion), -1)
    truth = np.stack(
        [np.interp(seconds[kept], times, column) for column in flat.T], axis=1
    ).reshape(-1, 22, 3)
    out = np.array([body.positions for body in bodies])[kept]
    error = np.linalg.norm((out - out[:, :1]) - (truth - truth[:, :1]), axis=-1).mean()
    jerk = np.linalg.norm(np.diff(out, 3, axis=0), axis=-1).mean()
    k = np.flatnonzero((times > _SETTLED_S) & (times < motion.duration - 0.2))
    true_jerk = (
        np.linalg.norm(np.diff(motion.positions[k], 3, axis=0), axis=-1).mean()
        * (motion.fps / 60.0) ** 3
    )
    return 100 * float(error), float(jerk), float(true_jerk)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the motion packs")
    parser.add_argument(
        "--clips", type=int, default=8, help="clips of each split, evenly spaced (default: 8)"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    library = MotionLibrary.open(args.data)
    compared = methods()
    makers = {name: shared_method(settings) for name, settings in compared.items()}
    rows = []
    for split in ("seen", "unseen"):
        clips = [clip for clip in library.select(split) if 180 <= clip.stop - clip.start <= 1200]
        chosen = clips[:: max(len(clips) // args.clips, 1)][: args.clips]
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in compared}
        for seed, clip in enumerate(tqdm(chosen, desc=split, unit="clip")):
            motion = library.motion(clip)
            bodies = worn(motion, seed)
            for name, settings in compared.items():
                smoother = Smoother(settings, makers[name])
                found[name].append(
                    figures([out for body in bodies for out in smoother.push(body)], motion)
                )
        for name, values in found.items():
            error, jerk, true_jerk = np.mean(
                values, axis=0
            )  # over all clips, because a clip that stands still has almost no jerk
            rows.append(
                {
                    "split": split,
                    "method": name,
                    "clips": len(chosen),
                    "error_cm": float(error),
                    "jerk_ratio": float(jerk / true_jerk),
                }
            )
            print(
                f"{split:<7} {name:<22} {len(chosen):3d} clips  {error:5.2f} cm  jerk"
                f" {jerk / true_jerk:4.2f} of the true one"
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
