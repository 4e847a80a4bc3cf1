"""`pallas repair`: restore the index of a bag whose recorder was killed."""

import argparse
from pathlib import Path

from tqdm import tqdm

from pallas_ros.bags import repair

HELP = "Restore a bag that a crash cut short, so that every tool opens it."

EXAMPLE = """\
example:
  pallas repair recordings/monday

`pallas` itself reads such a bag as it is; `ros2 bag`, Foxglove and others want the index that this writes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("bag", type=Path, help="the bag's folder")


def run(args: argparse.Namespace) -> int:
    """Repair, and say what was found."""
    with tqdm(unit=" messages", desc="copying", leave=False, delay=1) as bar:
        found = repair(args.bag, lambda count: bar.update(count - bar.n))
    if not found.damage:
        print(
            f"{args.bag} is whole: {found.messages} messages in {found.duration:.1f} s, nothing to do"
        )
    else:
        print(
            f"{args.bag} is repaired: {found.messages} messages in {found.duration:.1f} s are kept ({found.damage})"
        )
    return 0
