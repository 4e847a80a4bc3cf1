"""Every ready robot on test motions, tip speed limit off: hand error, limit violations, and time of
a step.

    python benchmarks/bench_retarget.py --data ../shared/data --clips 1 --json retarget.json
    python benchmarks/bench_retarget.py --data ../shared/data --every --json retarget.json
        an hour and a half
    python benchmarks/bench_retarget.py --data ../shared/data --clips 1 --pace 0.33
        at the pace of a person who controls an arm

The motions: `calm` and `demo`, written in code; clips of the test splits, a number per content
or all of them; the real recording, if a file with its bodies is given (`pallas process
../shared/data/real_imu_60hz.npz real.npz`). A row is a robot and a group of motions. Robots
that are already in the file are skipped, so that an interrupted run resumes.

`in reach`: share of time in which an ideal follower, limited only by joint velocity and
acceleration (`hpstm_ros.retarget.demand`), reaches the target in time, and the mean error of
the commanded hand in this time; `all`: over the whole time. Each hand is counted separately;
`together_mm` in the file is the error of the worse hand while both targets are in reach.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from hpstm_ros.bench.rows import NO_TIP_LIMIT, reaching
from hpstm_ros.retarget.demand import IN_REACH, OUT_OF_REACH
from hpstm_ros.retarget.robots import load_robot, ready_robots
from hpstm_ros.teleoperation.joint_motion import JointMotion
from hpstm_ros.teleoperation.recorded import retarget_motion
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion, load_motion
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import MotionLibrary
from pallas_ros.data.retargeting import resample
from pallas_ros.imu.motions import demo_motion

WRITTEN = ("calm", "demo")
"""Groups of motions written in code."""


def motions(
    data: Path | None, clips: int | None, seconds: float, real: Path | None
) -> Iterator[tuple[str, str, Motion]]:
    """Yield group, name and motion, the same in each run, each of at most ``seconds``; if ``clips``
    is None, all clips at full length.
    """
    yield "calm", "reaching", reaching(seconds)
    yield "demo", "demo", demo_motion(2 * seconds)
    if data is not None:
        library = MotionLibrary.open(data)
        for split in ("seen", "unseen"):
            known: dict[str, int] = {}
            for clip in library.select(split):
                known[clip.content] = known.get(clip.content, 0) + (clip.seconds > 2)
                if clips is None:
                    yield split, clip.name, library.motion(clip)
                elif clip.seconds > 2 and known[clip.content] <= clips:
                    yield split, clip.name, _first(library.motion(clip), seconds)
    if real is not None:
        yield "real", real.stem, _first(load_motion(real), 2 * seconds)


def _first(motion: Motion, seconds: float) -> Motion:
    count = int(seconds * motion.fps)
    return Motion(motion.fps, motion.positions[:count], motion.rotations[:count])


def paced(motion: Motion, pace: float) -> Motion:
    """Return the motion at ``pace`` times its speed, at the same frame rate."""
    if pace == 1:
        return motion
    rotations, path = resample(
        motion.rotations, motion.positions[:, 0], motion.fps * pace, motion.fps
    )
    return Motion(
        motion.fps,
        np.asarray(forward_kinematics(Skeleton.from_height(), rotations, path), np.float64),
        np.asarray(rotations, np.float64),
    )


def figures(results: list[JointMotion]) -> dict[str, float]:
    """Return the metrics of a group: fractions of the time, mean errors in mm, the 99th percentile
    of the step time, limit violations.
    """
    error = np.concatenate([result.hand_error for result in results])
    demand = np.concatenate([result.demand for result in results])
    tracking = np.concatenate([result.tracking for result in results])
    on = tracking & np.isfinite(error).all(axis=1)
    error = error[on]
    demand = demand[on]
    near = demand == IN_REACH
    both = (demand == IN_REACH).all(axis=1)
    steps = np.concatenate([result.step_s for result in results])
    return {
        "motions": len(results),
        "seconds": float(sum(np.ptp(result.t) for result in results)),
        "tracking": float(tracking.mean()),
        "in_reach": float(near.mean()) if on.any() else 0.0,
        "out_of_reach": float((demand == OUT_OF_REACH).mean()) if on.any() else 0.0,
        "in_reach_mm": float(error[near].mean() * 1e3) if near.any() else float("nan"),
        "in_reach_p95_mm": (
            float(np.percentile(error[near], 95) * 1e3) if near.any() else float("nan")
        ),
        "together": float(both.mean()) if on.any() else 0.0,
        "together_mm": float(error[both].max(axis=1).mean() * 1e3) if both.any() else float("nan"),
        "all_mm": float(error.mean() * 1e3) if on.any() else float("nan"),
        "step_p50_ms": float(np.percentile(steps, 50) * 1e3),
        "step_p99_ms": float(np.percentile(steps, 99) * 1e3),
        "passed": float(sum(len(result.violations) for result in results)),
        "not_finite": float(sum((~np.isfinite(result.q)).sum() for result in results)),
    }


def main() -> None:
    """Print a table with one row per robot and group."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of the motion packs; without, only the motions written in code",
    )
    parser.add_argument("--real", type=Path, help="motion file of the real recording's bodies")
    parser.add_argument(
        "--clips", type=int, default=1, help="of each content of the test splits (default: 1)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=6.0,
        help="of a clip at most; twice that of the demo and the real recording (default: 6)",
    )
    parser.add_argument("--every", action="store_true", help="every clip of the test splits, whole")
    parser.add_argument(
        "--pace", type=float, default=1.0, help="play the clips so many times as fast (default: 1)"
    )
    parser.add_argument("--robots", nargs="+", default=ready_robots(), metavar="ROBOT")
    parser.add_argument(
        "--tip-speed",
        type=float,
        default=NO_TIP_LIMIT,
        help=f"m/s (default: {NO_TIP_LIMIT:g}, as good as none)",
    )
    parser.add_argument("--json", type=Path, help="also append the rows to this file")
    args = parser.parse_args()
    rows = json.loads(args.json.read_text()) if args.json and args.json.exists() else []
    print(
        f"{'robot':8s} {'motions':12s} {'s':>5s} {'in reach':>9s} {'mm':>6s} {'p95':>6s}"
        f" {'all mm':>7s} {'p50 ms':>7s} {'p99 ms':>7s} passed"
    )
    for name in args.robots:
        if name in {row["robot"] for row in rows}:
            continue
        robot = load_robot(name)
        groups = dict[str, list[JointMotion]]()
        for group, _, motion in motions(
            args.data, None if args.every else args.clips, args.seconds, args.real
        ):
            motion = motion if group in WRITTEN else paced(motion, args.pace)
            groups.setdefault(group, []).append(
                retarget_motion(motion, robot, tip_speed=args.tip_speed)
            )
        for group, results in groups.items():
            row = figures(results)
            rows.append({"robot": name, "group": group, **row})
            print(
                f"{name:8s} {group:8s} {row['motions']:3.0f} {row['seconds']:5.0f}"
                f" {100 * row['in_reach']:7.0f} % {row['in_reach_mm']:6.1f}"
                f" {row['in_reach_p95_mm']:6.1f} {row['all_mm']:7.1f} {row['step_p50_ms']:7.2f}"
                f" {row['step_p99_ms']:7.2f} {row['passed']:6.0f}",
                flush=True,
            )
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
