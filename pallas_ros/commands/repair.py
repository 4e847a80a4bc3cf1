"""`pallas repair`: check a bag, and restore one that is truncated or damaged."""

import argparse
from pathlib import Path

from tqdm import tqdm

from pallas_ros.bags import repair

HELP = "Check a bag, and restore it if it is truncated or damaged, so that every tool can open it."

EXAMPLE = """\
example:
  pallas repair recordings/monday

Every byte is read. An intact bag is not changed. The intact messages of a damaged bag are
written to new files, and the damaged files are kept in its folder `original`. `pallas` reads
damaged bags directly; `ros2 bag`, Foxglove and others need the index that this command writes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("bag", type=Path, help="folder of the bag")


def run(args: argparse.Namespace) -> int:
    """Repair and print the findings."""
    with tqdm(unit=" messages", desc="reading", leave=False, delay=1) as bar:
        found = repair(args.bag, lambda count: bar.update(count - bar.n))
    if not found.damage:
        print(
            f"{args.bag} is intact: {found.messages} messages in {found.duration:.1f} s, nothing"
            " to do"
        )
        return 0
    kept = f"; the previous files are in {found.original}" if found.original else ""
    print(
        f"{args.bag} is repaired: {found.messages} messages in {found.duration:.1f} s are kept"
        f" ({found.damage}){kept}"
    )
    return 0
