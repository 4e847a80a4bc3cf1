"""`pallas repair`: check a bag, and restore one that is truncated or damaged."""

import argparse
from pathlib import Path

from tqdm import tqdm

from pallas_ros.bags import repair

HELP = "Check a bag, and restore one that was cut short or damaged, so that every tool opens it."

EXAMPLE = """\
example:
  pallas repair recordings/monday

Every byte is read. Nothing is done to a bag that is whole; of a damaged one what is whole is
written to new files, and the
damaged files are kept in its folder `original`. `pallas` itself reads a damaged bag as it is;
`ros2 bag`, Foxglove and others
want the index that this writes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("bag", type=Path, help="the bag's folder")


def run(args: argparse.Namespace) -> int:
    """Repair and print the findings."""
    with tqdm(unit=" messages", desc="reading", leave=False, delay=1) as bar:
        found = repair(args.bag, lambda count: bar.update(count - bar.n))
    if not found.damage:
        print(
            f"{args.bag} is whole: {found.messages} messages in {found.duration:.1f} s, nothing"
            " to do"
        )
        return 0
    kept = f"; what was there before is in {found.original}" if found.original else ""
    print(
        f"{args.bag} is repaired: {found.messages} messages in {found.duration:.1f} s are kept"
        f" ({found.damage}){kept}"
    )
    return 0
