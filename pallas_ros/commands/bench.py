"""`pallas bench`: measure speed, latency and safety on this machine."""

import argparse
import os
from pathlib import Path

from pallas_ros.bench.rows import BenchSettings, Row, benchmarks, line, verdict, write_json
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource

HELP = "Measure speed, latency and safety on this machine, and compare with the goals."
EXAMPLE = """\
  pallas bench                              everything, about five minutes
  pallas bench --only step reference_networks
      the network only, compared with those of TransPose and PIP
  pallas bench --json bench.json
      also write {"rows": [{"name", "case", "metric", "value", "unit"}, ...]}
  pallas bench --only soak --soak 1000000   memory and latency over a million frames"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    names = list(benchmarks())
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"run only these: {', '.join(names)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument(
        "--frames", type=int, default=10_000, help="frames per latency figure (default: 10000)"
    )
    parser.add_argument(
        "--soak",
        type=int,
        default=0,
        metavar="FRAMES",
        help="frames of the soak test (default: not run)",
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="how long the node chain runs (default: 20)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of one step (default: 1)"
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder of the model files (default: the released ones)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure; return 0 even if a goal is missed, 2 if nothing could be measured.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    known = benchmarks()
    wanted = args.only or list(known)
    for name in wanted:
        if name not in known:
            raise PallasError(f"there is no benchmark '{name}': known are {', '.join(known)}")
    if args.frames < 100 or args.seconds < 5 or args.soak < 0 or 0 < args.soak < 1000:
        raise PallasError(
            "too short for meaningful figures: give --frames of at least 100, --seconds of at"
            " least 5, --soak of at least 1000"
        )
    settings = BenchSettings(
        args.frames, args.soak, args.seconds, args.models or resource("models"), args.threads
    )
    load = os.getloadavg()[0]
    cores = os.cpu_count() or 1
    print(
        f"{cores} cores, load {load:.1f}"
        + (
            ": other programs are running, so the figures are worse than this machine can achieve"
            if load > 0.5
            else ""
        )
    )
    rows: list[Row] = []
    failed: list[str] = []
    for name in wanted:
        print(f"-- {name}")
        try:
            for row in known[name](settings):
                rows.append(row)
                print(line(row), flush=True)
        except PallasError as error:
            failed.append(name)
            print(f"  not measured: {error}")
    if not rows:
        raise PallasError(f"nothing could be measured ({', '.join(failed)})")
    if args.json:
        write_json(rows, args.json)
    missed = [
        f"{row.name} {row.case} {row.metric}" for row in rows if verdict(row).startswith("MISSED")
    ]
    goals = sum(bool(verdict(row)) for row in rows)
    print(
        f"{len(rows)} figures; {goals - len(missed)} of {goals} goals met"
        + (f", missed: {'; '.join(missed)}" if missed else "")
        + (f"; not measured: {', '.join(failed)}" if failed else "")
        + (f"; written to {args.json}" if args.json else "")
    )
    return 0
