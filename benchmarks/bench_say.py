"""Sentences to arms: requests, each with several seeds, through generator, guard, pacing,
retargeting and supervisor, on robots without hardware.

    python benchmarks/bench_say.py --json say.json
    python benchmarks/bench_say.py --requests 10 --seeds 1 --robots panda

A row is a robot: tip error where the target is within the joint limits ("reachable"), and where it
could also be followed in time ("in time", `hpstm_ros.retarget.demand`), limit violations by the
independent checker, the duration, and the alignment of the sentence with the generated motion and
with that of the arm (`hpstm_ros.teleoperation.mapped_back`). Robots and requests that are already
in the file are skipped, so that an interrupted run resumes.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.request import DEFAULT, Request, limits
from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.retarget.demand import IN_REACH, OUT_OF_REACH
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.teleoperation.mapped_back import mapped_back
from hpstm_ros.teleoperation.pacing import pace
from hpstm_ros.teleoperation.recorded import retarget_motion
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion

REQUESTS = (
    "wave with the right hand",
    "wave with the left hand",
    "raise both hands",
    "raise the right arm",
    "reach forward with the right hand",
    "point forward with the right hand",
    "a person walks forward",
    "a person sits down on a chair",
    "a person stretches both arms",
    "wash a window with the right hand",
    "direct traffic with the arms",
    "a person dances",
    "drink from a cup",
    "sweep the floor with a broom",
    "play basketball",
    "pick up a box from the floor",
    "bend forward and touch the toes",
    "jump up and down",
    "walk in a circle",
    "stand still and look around",
    "a person claps the hands",
    "shake hands with someone",
    "throw a ball with the right hand",
    "catch a ball with both hands",
    "a person stirs a pot",
    "open a door",
    "put a book on a shelf",
    "scratch the head with the right hand",
    "look at the watch on the left wrist",
    "cross the arms",
    "a person swings the arms",
    "conduct an orchestra",
    "climb up a ladder",
    "paint a wall",
    "play the violin",
    "a person runs forward",
    "turn to the left",
    "walk backwards",
    "a person crouches",
    "a person stands up",
)
SECONDS = 4.0


def measured(
    producer: Producer, aligner: Aligner, text: str, seed: int, name: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Measure one request on one robot."""
    robot = load_robot(name)

    def generate(seconds: float) -> Motion:
        request = Request(text, seconds, seed)
        return producer.produce(request, args.model).candidates[0].motion

    row: dict[str, Any] = {"robot": name, "text": text, "seed": seed}
    try:
        paced = pace(
            generate,
            SECONDS,
            limits(args.model or DEFAULT).seconds[1],
            robot,
            tip_speed=args.tip_speed,
        )
    except PallasError as error:
        return {**row, "refused": str(error)}
    made = retarget_motion(paced.motion, robot, tip_speed=args.tip_speed, progress=False)
    on = made.tracking & np.isfinite(made.hand_error).all(axis=1)
    near = made.demand[on] == IN_REACH
    reachable = made.demand[on] != OUT_OF_REACH
    back = mapped_back(paced.motion, made.t, made.q, robot)
    return {
        **row,
        "asked": list(paced.asked),
        "seconds": paced.motion.duration,
        "in_reach": float(near.mean()),
        "reachable": float(reachable.mean()),
        **_errors("error", made.hand_error[on][near]),
        **_errors("reachable_error", made.hand_error[on][reachable]),
        "violations": len(made.violations),
        "alignment": aligner.score(paced.motion, text),
        "alignment_arm": aligner.score(back, text),
    }


def _errors(name: str, error_m: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean and 95th percentile in mm; None if there is no target of the kind."""
    if not len(error_m):
        return {f"{name}_mm": None, f"{name}_p95_mm": None}
    return {
        f"{name}_mm": float(1e3 * error_m.mean()),
        f"{name}_p95_mm": float(1e3 * np.percentile(error_m, 95)),
    }


def show(name: str, rows: list[dict[str, Any]]) -> None:
    """Print one line for a robot, with 95 % bootstrap intervals over requests."""
    met = [row for row in rows if "refused" not in row]
    if not met:
        print(f"{name}: all {len(rows)} requests refused")
        return

    def over_requests(key: str) -> str:
        known = [row for row in met if row[key] is not None]
        if not known:
            return "-"
        texts = sorted({row["text"] for row in known})
        each = [np.mean([row[key] for row in known if row["text"] == text]) for text in texts]
        drawn = np.random.default_rng(0).choice(each, (2000, len(each))).mean(axis=1)
        low, high = np.percentile(drawn, (2.5, 97.5))
        return f"{np.mean(each):.1f} ({low:.1f} to {high:.1f})"

    def share(key: str) -> str:
        return f"{100 * np.mean([row[key] for row in met]):.0f} % of the time"

    print(
        f"{name:6s} {len(met)} motions, {len(rows) - len(met)} refused\n"
        f"  tip error, reachable ({share('reachable')}), mm: {over_requests('reachable_error_mm')}"
        f", p95 {over_requests('reachable_error_p95_mm')}\n"
        f"  tip error, reachable in time ({share('in_reach')}), mm: {over_requests('error_mm')}"
        f", p95 {over_requests('error_p95_mm')}\n"
        f"  motions with a mean above 20 mm, reachable: "
        f"{sum((row['reachable_error_mm'] or 0) > 20 for row in met)}; violations "
        f"{sum(row['violations'] for row in met)}\n"
        f"  duration {over_requests('seconds')} s; alignment generated "
        f"{over_requests('alignment')}, arm {over_requests('alignment_arm')}",
        flush=True,
    )


def main() -> None:
    """Measure every robot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robots", nargs="+", default=["panda", "ur5", "g1"], metavar="ROBOT")
    parser.add_argument("--requests", type=int, default=len(REQUESTS), help="the first so many")
    parser.add_argument("--seeds", type=int, default=3, help="motions a request (default 3)")
    parser.add_argument("--model", default="", help="the generator (default: that of the package)")
    parser.add_argument("--tip-speed", type=float, help="m/s (default: the robot's)")
    parser.add_argument("--json", type=Path, help="one row a motion; goes on where it is")
    args = parser.parse_args()
    rows = json.loads(args.json.read_text()) if args.json and args.json.exists() else []
    known = {(row["robot"], row["text"], row["seed"]) for row in rows}
    producer = Producer()
    aligner = Aligner.default()
    for seed in range(args.seeds):
        for text in REQUESTS[: args.requests]:
            for name in args.robots:
                if (name, text, seed) in known:
                    continue
                rows.append(measured(producer, aligner, text, seed, name, args))
                if args.json:
                    args.json.write_text(json.dumps(rows, indent=1) + "\n")
    for name in args.robots:
        show(name, [row for row in rows if row["robot"] == name])


if __name__ == "__main__":
    main()
