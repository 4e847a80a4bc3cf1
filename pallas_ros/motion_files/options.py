"""Command-line options that override detection in a motion file."""

import argparse
import math
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.files.yaml_text import load_mapping
from pallas_ros.motion_files.axes import UNITS, UPS
from pallas_ros.motion_files.body import FPS, Overrides

_SPELLINGS = {"in": "inch", "inches": "inch", "metre": "m", "meter": "m", "metres": "m"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--up``, ``--unit``, ``--map`` and ``--fps``."""
    group = parser.add_argument_group("motion files from other tools", "override what is detected")
    group.add_argument(
        "--up", metavar="AXIS", help="up axis of the file: x, y, z, or =-x, =-y, =-z as in --up=-y"
    )
    group.add_argument(
        "--unit", metavar="U", help="unit of the file: m, dm, cm, mm, inch, or its length in metres"
    )
    group.add_argument(
        "--map",
        metavar="FILE",
        help="YAML file that maps joints to the file's names, in lines like 'left_shoulder: NAME'",
    )
    group.add_argument("--fps", type=float, metavar="HZ", help="frames per second of the file")


def overrides_from(args: argparse.Namespace) -> Overrides:
    """Return the values of `add_options`.

    Raises:
        PallasError: one is invalid.
    """
    up = None if args.up is None else args.up.lower().removeprefix("+")
    if up is not None and up not in UPS:
        raise PallasError(f"--up {args.up}: give {', '.join(UPS)} (a minus as in --up=-y)")
    if args.fps is not None and not FPS[0] <= args.fps <= FPS[1]:
        raise PallasError(f"--fps {args.fps:g}: give {FPS[0]:g} to {FPS[1]:g} frames a second")
    joints = {} if args.map is None else _joints(Path(args.map))
    return Overrides(up, None if args.unit is None else metres(args.unit), joints, args.fps)


def metres(unit: str) -> float:
    """Return a unit's length in metres.

    Raises:
        PallasError: it is neither a unit's name nor a positive number.
    """
    name = _SPELLINGS.get(unit.lower(), unit.lower())
    if name in UNITS:
        return UNITS[name]
    try:
        value = float(unit)
    except ValueError:
        value = 0.0
    if not (math.isfinite(value) and value > 0):
        raise PallasError(f"--unit '{unit}': give {', '.join(UNITS)}, or a length in metres")
    return value


def _joints(path: Path) -> dict[str, str]:
    document = load_mapping(path, "map of joints")
    bad = next((joint for joint, name in document.items() if not isinstance(name, str | int)), None)
    if bad is not None:
        raise PallasError(f"{path}: '{bad}' has no name; write lines like '{bad}: LeftArm'")
    return {joint: str(name) for joint, name in document.items()}
