"""Run a million hostile frames through retargeting and supervisor; only the emitted commands are
checked.

    python benchmarks/hostile.py --frames 1000000 --out hostile.jsonl
        an interrupted run resumes

The variants alternate for each robot: every second scenario computes the barriers after the
command, as the node does; every second pair has intruders (`hpstm_ros.bench.intruders`): people who
come into view, sources that repeat, floods, a failing guard; every second group of four uses bodies
of generated motion (`hpstm_ros.bench.players`) with bursts of goals and takeovers. All of them open
and close the grippers by triggers. Each line of the file is one seeded scenario and its verdict
(`hpstm_ros.bench.hostile.Verdict`). Add a failing seed to test/safety/test_hostile.py.
Only scenarios of the current code count: start a new file when the code has changed.
"""

import argparse
import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tqdm import tqdm

from hpstm_ros.bench.hostile import HostileRun, Verdict
from hpstm_ros.bench.players import generated_clips
from hpstm_ros.retarget.robots import load_robot, ready_robots


def main() -> int:
    """Run scenarios until there are enough frames; return 1 if a limit was violated, a stop began
    late, or an exception was raised.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=20_000,
        help="in all, with those already in the file (default: 20000)",
    )
    parser.add_argument(
        "--scenario", type=int, default=500, help="frames of one scenario (default: 500)"
    )
    parser.add_argument(
        "--robots",
        nargs="+",
        default=ready_robots(),
        metavar="ROBOT",
        help="in turn (default: all ready ones)",
    )
    parser.add_argument(
        "--generated", action="store_true", help="use bodies of generated motion in all of them"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first scenario (default: 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("hostile.jsonl"), help="default: hostile.jsonl"
    )
    args = parser.parse_args()
    warnings.simplefilter(
        "ignore"
    )  # numpy warns about products of infinities, which are intended here
    done = (
        [json.loads(line) for line in args.out.read_text().splitlines()]
        if args.out.exists()
        else []
    )
    done_before = {(scenario["robot"], scenario["seed"]) for scenario in done}
    robots = {name: load_robot(name) for name in args.robots}
    seed = args.seed
    total = sum(scenario["frames"] for scenario in done)
    with args.out.open("a") as file, tqdm(total=args.frames, initial=total, unit="frame") as bar:
        while total < args.frames:
            name = args.robots[seed % len(args.robots)]
            looks_around = bool(seed // len(args.robots) % 2)
            intruders = bool(seed // len(args.robots) // 2 % 2)
            generated = bool(seed // len(args.robots) // 4 % 2) or args.generated
            if (name, seed) not in done_before:
                try:
                    verdict = HostileRun(
                        robots[name],
                        seed,
                        args.scenario,
                        looks_around=looks_around,
                        intruders=intruders,
                        triggers=True,
                        clips=generated_clips() if generated else (),
                    ).run()
                except Exception as error:
                    verdict = Verdict(args.scenario, violations=[f"raised {error!r}"])
                scenario = {
                    "robot": name,
                    "seed": seed,
                    "looks_around": looks_around,
                    "intruders": intruders,
                    "generated": generated,
                    **asdict(verdict),
                }
                done.append(scenario)
                file.write(json.dumps(scenario) + "\n")
                file.flush()
                total += args.scenario
                bar.update(args.scenario)
            seed += 1
    bad = [
        scenario for scenario in done if scenario["violations"] or scenario["stop_begins_s"] > 0.1
    ]
    commands = sum(scenario["commands"] for scenario in done)
    led, tracked = (
        sum(scenario[share] * scenario["commands"] for scenario in done) / max(commands, 1)
        for share in ("led", "tracked")
    )
    print(
        f"{total} frames, {commands} commands, {100 * led:.0f} % of them led on,"
        f" {100 * tracked:.0f} % were sent while tracking; {len(bad)} scenarios of {len(done)}"
        " failed; a stop began after"
        f" {1e3 * max(scenario['stop_begins_s'] for scenario in done):.0f} ms at the latest"
    )
    frames = sum(scenario["frames"] for scenario in done if scenario.get("generated"))
    print(f"{frames} of the frames are generated bodies")
    for scenario in bad[:20]:
        print(f"  {scenario['robot']} seed {scenario['seed']}: {scenario['violations'][:2]}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
