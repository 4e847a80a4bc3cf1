"""A million hostile frames through retargeting and supervisor; what is judged are the emitted commands alone.

    python benchmarks/hostile.py --frames 1000000 --out hostile.jsonl        stops and goes on where it stopped

Each line of the file is one seeded story: robot, seed, frames, commands, violations, share of time in which the arm followed,
and the longest time in which it was still led after the last good body. A seed that fails belongs into test/safety/test_hostile.py.
"""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tqdm import tqdm

from hpstm_ros.bench.hostile import HostileRun
from hpstm_ros.retarget.robots import load_robot, ready_robots


def main() -> int:
    """Tell stories until there are enough frames; 1 where a limit was passed, a stop began late or something was raised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000, help="in all, with those already in the file (default: 20000)")
    parser.add_argument("--story", type=int, default=200, help="frames of one story (default: 200)")
    parser.add_argument("--robots", nargs="+", default=ready_robots(), metavar="ROBOT", help="default: all ready robots in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the first story (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("hostile.jsonl"), help="default: hostile.jsonl")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # numpy says when it multiplies infinities; that is the point here
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    told = {(story["robot"], story["seed"]) for story in done}
    robots = {name: load_robot(name) for name in args.robots}
    seed = args.seed
    total = sum(story["frames"] for story in done)
    with args.out.open("a") as file, tqdm(total=args.frames, initial=total, unit="frame") as bar:
        while total < args.frames:
            name = args.robots[seed % len(args.robots)]
            if (name, seed) not in told:
                try:
                    verdict = HostileRun(robots[name], seed).run(args.story)
                    found, commands, led, late = verdict.violations, verdict.commands, verdict.led, verdict.stop_begins_s
                except Exception as error:
                    found, commands, led, late = [f"raised {error!r}"], 0, 0.0, 0.0
                story = {
                    "robot": name,
                    "seed": seed,
                    "frames": args.story,
                    "commands": commands,
                    "violations": found,
                    "led": led,
                    "late_s": late,
                }
                done.append(story)
                file.write(json.dumps(story) + "\n")
                file.flush()
                total += args.story
                bar.update(args.story)
            seed += 1
    bad = [story for story in done if story["violations"] or story["late_s"] > 0.1]
    led = sum(story["led"] * story["commands"] for story in done) / max(sum(story["commands"] for story in done), 1)
    print(
        f"{total} frames, {sum(story['commands'] for story in done)} commands, the arm led {100 * led:.0f} % of them, "
        f"{len(bad)} stories of {len(done)} failed, a stop began after {1e3 * max(story['late_s'] for story in done):.0f} ms at the latest"
    )
    for story in bad[:20]:
        print(f"  {story['robot']} seed {story['seed']}: {story['violations'][:2]}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
