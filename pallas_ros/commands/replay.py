"""`pallas replay`: play a bag into the graph, on a machine without `ros2 bag play`."""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pallas_ros.bags import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.ros import middleware

HELP = "Play a bag into the graph, optionally with its clock."

EXAMPLE = """\
examples:
  pallas replay recordings/monday
      watch it in RViz or with `pallas view`
  pallas up imu_source:=topics use_sim_time:=true
      run the nodes on recorded inputs: start them first; then, in another terminal:
  pallas replay recordings/monday --inputs --clock
  pallas replay recordings/monday --rate 0.5 --start 12

--inputs plays only the external inputs (sensors, camera poses, the dead-man switch), so that
the running nodes recompute the rest."""

INPUTS = ["/imu/*", "/pose/*", "/camera/*", "/retarget/dead_man", "/emergency_stop"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("bag", type=Path, help="rosbag2 folder, .mcap or .db3")
    parser.add_argument(
        "--topics",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="topics to play, with * and ? (default: all)",
    )
    parser.add_argument(
        "--exclude", nargs="+", default=[], metavar="PATTERN", help="topics not to play"
    )
    parser.add_argument(
        "--inputs",
        action="store_true",
        help="play external inputs only: sensors, camera poses, switches",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=1.0,
        help="playback speed (default: 1); 0 is as fast as possible",
    )
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="start this many seconds into the bag"
    )
    parser.add_argument("--duration", type=float, metavar="S", help="stop after this many seconds")
    parser.add_argument(
        "--clock",
        nargs="?",
        type=float,
        const=100.0,
        default=0.0,
        metavar="HZ",
        help="publish /clock (at 100 Hz)",
    )
    parser.add_argument("--loop", action="store_true", help="repeat until Ctrl-C")
    parser.add_argument(
        "--wait",
        type=float,
        default=5.0,
        metavar="S",
        help="how long to wait for a subscriber (default: 5)",
    )
    middleware.add_option(parser)


def _advance(bar: "tqdm[None]", seconds: float) -> None:
    bar.update(min(seconds, bar.total) - bar.n)


def _check(args: argparse.Namespace) -> None:
    """Reject options that are out of range."""
    if not (
        0 <= args.rate <= 100
        and args.start >= 0
        and 0 <= args.clock <= 1000
        and 0 <= args.wait <= 3600
    ):
        raise PallasError(
            "--rate is 0 to 100, --start at least 0 s, --clock up to 1000 Hz, --wait up to 3600 s"
        )
    if args.duration is not None and not 0 < args.duration < 1e7:
        raise PallasError(f"--duration {args.duration:g}: give more than 0 s and less than 1e7 s")


def run(args: argparse.Namespace) -> int:
    """Play the bag.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    _check(args)
    bag = Bag(args.bag)
    if args.start >= bag.duration > 0:
        raise PallasError(
            f"{args.bag}: --start {args.start} s is beyond its end; it lasts {bag.duration:.1f} s"
        )
    from pallas_ros.nodes.player import Plan, playing

    topics = args.topics + (INPUTS if args.inputs else [])
    plan = Plan(topics, args.exclude, args.rate, args.start, args.duration, args.clock, args.wait)
    middleware.prepare(args.discovery)
    with playing(bag, plan) as player:
        for topic, reason in player.skipped.items():
            print(f"not played: {topic} ({reason})")
        known = bag.damage
        if known:
            print(f"{args.bag}: {known}; intact messages are played")
        print(
            f"playing {len(player.topics)} topics of {args.bag}, {bag.duration:.1f} s; Ctrl-C to"
            " stop",
            flush=True,
        )
        if not player.wait_for_subscribers():
            print(f"no subscriber within {args.wait:g} s; playing anyway", flush=True)
        length = min(bag.duration - args.start, args.duration or bag.duration)
        count = 0
        while True:
            with tqdm(
                total=round(length, 1),
                unit="s",
                leave=False,
                bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} s [{remaining}]",
            ) as bar:
                count += player.play(partial(_advance, bar))
            if bag.damage != known:
                known = bag.damage
                print(f"{args.bag}: {known}; intact messages were played")
            if not args.loop:
                break
    print(f"played {count} messages")
    return 0
