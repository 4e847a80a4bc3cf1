"""`pallas demo`: runs and records the whole graph, then writes figures, a video and a page to
`out/demo/`.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from hpstm_ros.bench import demo_report
from hpstm_ros.retarget.robots import RobotDescription, load_robot
from pallas_ros.bags import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.graph.description import Graph
from pallas_ros.graph.foreground import parse, run_graph

HELP = "Run the whole graph with simulated sensors and a simulated arm, and report the results."

EXAMPLE = """\
examples:
  pallas demo
      20 s of a synthetic motion; results in out/demo
  pallas demo --duration 30 --input recording.npz    play an IMU recording or a motion file instead
  pallas demo robot:=ur5

The sensors are pseudo-terminals that send a real sensor protocol, messages go through DDS, MuJoCo
simulates the arm, and the bag is a rosbag2. A node for simulated arms engages the arm and holds
its dead-man switch."""

FPS = 15.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="name:=value",
        help="arguments of the graph, as for `pallas up`",
    )
    parser.add_argument(
        "--input",
        metavar="F",
        help="IMU recording or motion file to play instead of the demonstration",
    )
    parser.add_argument(
        "--duration", type=float, default=20.0, metavar="S", help="seconds to run (default 20)"
    )
    parser.add_argument(
        "--out",
        default="out/demo",
        metavar="DIR",
        help="folder of the results (default out/demo); emptied first",
    )
    parser.add_argument(
        "--single-process", action="store_true", help="run all nodes in one process"
    )
    parser.add_argument("--no-film", action="store_true", help="do not write a video")


def run(args: argparse.Namespace) -> int:
    """Run the demo, evaluate and render it, and print the result.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    if not 5 <= args.duration <= 3600:
        raise PallasError(f"--duration {args.duration:g}: give 5 to 3600 s")
    if args.input and not Path(args.input).is_file():
        raise PallasError(
            f"{args.input}: no such file; give an IMU recording or a motion file (.npz)"
        )
    out = Path(args.out)
    bag_path = out / "bag"
    given = {
        "operator": "auto",
        **({"motion": str(Path(args.input).resolve())} if args.input else {}),
        **parse(args.arguments),
    }
    given["record"] = str(bag_path.resolve())
    graph = Graph.load()
    nodes = graph.resolve(given)
    robot = load_robot(graph.complete(given)["robot"])
    _empty(out)
    run_graph(
        nodes,
        single_process=args.single_process,
        duration=args.duration,
        discovery=graph.complete(given)["discovery"],
    )
    bag = Bag(bag_path)
    arm = demo_report.Arm.read(bag, robot)
    summary = {
        **demo_report.summarise(bag, robot, arm),
        "duration_s": args.duration,
        "robot": robot.name,
        "input": args.input or "demo",
    }
    clip = None if args.no_film else _film(out, bag, robot, arm, args.duration)
    _write(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    _write(out / "index.html", demo_report.page(summary, clip, "pallas: the operator and the arm"))
    _print_summary(summary, out)
    return 0 if summary["commands"] and summary["body_rate_hz"] else 1


def _empty(out: Path) -> None:
    """Remove the files of an earlier demo; reject a folder with other content."""
    # bag.html is written by `pallas report`
    known = {
        "bag",
        "bag.html",
        "summary.json",
        "index.html",
        "demo.mp4",
        "demo.gif",
    }
    if out.exists() and (not out.is_dir() or {entry.name for entry in out.iterdir()} - known):
        raise PallasError(
            f"{out}: contains files that are not results of a demo; give another folder with --out"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)


def _film(
    out: Path, bag: Bag, robot: RobotDescription, arm: demo_report.Arm, duration: float
) -> str | None:
    """Render the video as MP4, or as GIF without ffmpeg; returns its name, or None if drawing is
    not installed.
    """
    try:
        from pallas_ros.view.figure import write_clip
    except ImportError as error:
        print(f"no video: {error.name} is not installed", file=sys.stderr)
        return None
    for name in ("demo.mp4", "demo.gif"):
        pictures = tqdm(
            demo_report.frames(bag, robot, arm, FPS),
            total=round(duration * FPS),
            desc="video",
            leave=False,
            disable=None,
        )
        try:
            write_clip(out / name, pictures, FPS)
            return name
        except PallasError as error:
            print(f"{name} was not written: {error}", file=sys.stderr)
    return None


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def _print_summary(summary: dict[str, Any], out: Path) -> None:
    table = Table(
        title=f"{summary['duration_s']:g} s of the whole graph ({summary['robot']})",
        title_justify="left",
    )
    for heading in ("", "", "goal"):
        table.add_column(heading)
    for row in demo_report.rows(summary):
        table.add_row(*row)
    console = Console()
    console.print(table)
    for violation in summary["violations"]:
        console.print(f"limit violation: {violation}")
    console.print(f"{out}/index.html, summary.json, bag")
