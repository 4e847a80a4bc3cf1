"""Every ready robot on test motions: time of a step, hand error with and without the tip's speed limit, limits passed.

python benchmarks/bench_retarget.py --data ../shared/data --clips 6 --json retarget.json
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from hpstm_ros.bench.rows import NO_TIP_LIMIT, reaching
from hpstm_ros.offline import retarget_motion
from hpstm_ros.retarget.robots import load_robot, ready_robots
from pallas_ros.body.motion import Motion
from pallas_ros.data.library import MotionLibrary
from pallas_ros.imu.motions import demo_motion


def motions(data: Path | None, clips: int) -> dict[str, Motion]:
    """The motions written in code, and clips of the test splits, the same ones every time."""
    out = {"reaching": reaching(), "demo": demo_motion(20.0)}
    if data is not None and data.is_dir():
        library = MotionLibrary.open(data)
        known = [clip for clip in library.select("seen") + library.select("unseen") if 3 < clip.seconds < 20]
        for k in np.random.default_rng(0).choice(len(known), clips, replace=False):
            out[known[k].name] = library.motion(known[k])
    return out


def main() -> None:
    """Print a table, one row a robot and motion."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the motion packs; without, only the motions written in code")
    parser.add_argument("--clips", type=int, default=6, help="of the test splits (default: 6)")
    parser.add_argument("--robots", nargs="+", default=ready_robots(), metavar="ROBOT")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    print(
        f"{'robot':8s} {'motion':34s} {'IK mm':>7s} {'hand mm':>8s} {'at 0.25 m/s':>11s} {'elbow deg':>9s} {'p50 ms':>7s} {'p99 ms':>7s} passed"
    )
    for name in args.robots:
        robot = load_robot(name)
        for title, motion in motions(args.data, args.clips).items():
            free = retarget_motion(motion, robot, tip_speed=NO_TIP_LIMIT).figures()
            slow = retarget_motion(motion, robot, tip_speed=0.25).figures()
            passed = free["limits_passed"] + slow["limits_passed"]
            rows.append({"robot": name, "motion": title, "free": free, "slow": slow})
            print(
                f"{name:8s} {title[:34]:34s} {free['ik_error_mean_mm']:7.2f} {free['hand_error_mean_mm']:8.1f} {slow['hand_error_mean_mm']:11.1f} "
                f"{free['elbow_error_mean_deg']:9.0f} {free['step_p50_ms']:7.2f} {free['step_p99_ms']:7.2f} {passed:6.0f}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
