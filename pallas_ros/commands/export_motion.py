"""`pallas export-motion`: convert a recorded body for Blender (BVH) and plotting tools (CSV)."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pallas_ros.bags import Bag
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.bags.paths import is_bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import (
    MODEL_RATE_HZ,
    TOPIC_HPSTM_BODY,
    TOPIC_PALLAS_BODY,
    TOPIC_POSE_BODY,
)
from pallas_ros.core.errors import readable
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.motion_files import add_options, overrides_from, read
from pallas_ros.view.export import write_bvh, write_csv

HELP = "Export the body of a bag or motion file as BVH (Blender) or CSV."

EXAMPLE = """\
examples:
  pallas export-motion recordings/monday body.bvh
  pallas export-motion motion.npz body.csv
  pallas export-motion mixamo.bvh body.csv
  pallas export-motion recordings/monday raw.bvh --topic /pallas/body
  pallas export-motion recordings/camera second.bvh --body person_2"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "input",
        type=Path,
        help="motion file (.npz, BVH, AMASS/SMPL, MVNX, C3D, TRC), rosbag2 folder, .mcap or .db3",
    )
    parser.add_argument(
        "output", type=Path, help=".bvh (y up, cm, degrees) or .csv (z up, m, quaternions xyzw)"
    )
    parser.add_argument(
        "--topic",
        help=(
            f"topic of a bag (default: {TOPIC_HPSTM_BODY}, else {TOPIC_PALLAS_BODY}, else"
            f" {TOPIC_POSE_BODY})"
        ),
    )
    parser.add_argument(
        "--body",
        metavar="ID",
        help="person to export from a bag with several (default: the one seen the most)",
    )
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Convert the body of a bag or motion file.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    writers = {".bvh": write_bvh, ".csv": write_csv}
    if args.output.suffix not in writers:
        raise PallasError(f"{args.output}: give a name that ends in .bvh or .csv")
    check_outputs([args.output], [args.input, args.map])
    if is_bag(args.input):
        motion = from_bag(args.input, args.topic, args.body)
    else:
        source = read(args.input, overrides_from(args))
        motion = source.motion
        print(f"{args.input}: {source.found}", flush=True)
    writers[args.output.suffix](args.output, motion)
    print(f"{args.output}: {len(motion)} frames at {motion.fps:g} Hz, {motion.duration:.1f} s")
    return 0


def from_bag(path: Path, topic: str | None, body_id: str | None = None) -> Motion:
    """Read the bodies of one person in a bag on the 60 Hz grid; missing frames repeat the previous
    one and are invalid.

    Args:
        path: bag.
        topic: topic of the bodies; None: the first of the usual ones with messages.
        body_id: the person; None: the one with the most bodies.

    Raises:
        PallasError: the bag contains no bodies of that person.
    """
    bag = Bag(path)
    candidates = (topic,) if topic else (TOPIC_HPSTM_BODY, TOPIC_PALLAS_BODY, TOPIC_POSE_BODY)
    chosen = next(
        (name for name in candidates if name in bag.topics and bag.topics[name].count), None
    )
    if chosen is None:
        bag.require(topic or TOPIC_PALLAS_BODY)
    assert chosen is not None
    people: dict[str, dict[int, BodyFrame]] = defaultdict(dict)
    for _, body in read_bodies(bag, chosen):
        people[body.body_id][round(body.stamp * MODEL_RATE_HZ / 1e9)] = body
    if bag.damage:
        print(f"pallas: {path}: {bag.damage}; intact messages are exported", file=sys.stderr)
    if not people:
        raise PallasError(f"{path}: no valid body on {chosen}")
    what = f"{path}: {chosen}"
    return _motion(what, _person(what, people, body_id))


def _person(
    what: str, people: Mapping[str, dict[int, BodyFrame]], body_id: str | None
) -> dict[int, BodyFrame]:
    """Return the frames of the person ``body_id``, or of the one with the most."""
    by_count = sorted(people, key=lambda name: -len(people[name]))
    named = ", ".join(f"{readable(name)} ({len(people[name])} bodies)" for name in by_count[:5])
    if body_id is None:
        if len(people) > 1:
            print(
                f"pallas: {what} contains {len(people)} people: {named}; exporting the first,"
                " choose another with --body",
                file=sys.stderr,
            )
        return people[by_count[0]]
    if body_id not in people:
        raise PallasError(f"{what}: no body '{readable(body_id)}'; it contains {named}")
    return people[body_id]


def _motion(what: str, frames: Mapping[int, BodyFrame]) -> Motion:
    """The bodies on the grid; ``frames`` by their index on it."""
    grid = np.arange(min(frames), max(frames) + 1)
    if len(grid) > 100 * len(frames) + 1000:
        raise PallasError(
            f"{what}: the stamps jump over {len(grid) / MODEL_RATE_HZ:.0f} s with only"
            f" {len(frames)} bodies"
        )
    body = frames[int(grid[0])]
    positions = []
    rotations = []
    valid = []
    for index in grid.tolist():
        body = frames.get(index, body)
        positions.append(body.positions)
        rotations.append(body.rotations)
        valid.append(index in frames)
    return Motion(MODEL_RATE_HZ, np.array(positions), np.array(rotations), valid=np.array(valid))
