"""`pallas cut`: copy a part of a bag or IMU recording to a new file."""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pallas_ros.bags import Bag
from pallas_ros.bags.cut import cut_bag
from pallas_ros.body.motion import save_npz
from pallas_ros.core.errors import PallasError
from pallas_ros.files.npz import load_npz
from pallas_ros.imu.recording import load_recording

HELP = "Extract part of a bag or of an IMU recording."

EXAMPLE = """\
examples:
  pallas cut recordings/monday --from 12.5 --to 40            recordings/monday_cut: 27.5 s of it
  pallas cut walk.npz --from 3 -o start.npz                   an IMU recording, from 3 s on
  pallas cut recordings/monday -o short --to 60

Seconds count from the first message. Calibration and robot description, published once at the
start, are kept."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "input", type=Path, help="rosbag2 folder, .mcap, .db3, or an IMU recording (.npz)"
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=float,
        default=0.0,
        metavar="S",
        help="start of the part in s (default: the beginning)",
    )
    parser.add_argument(
        "--to",
        dest="stop",
        type=float,
        default=math.inf,
        metavar="S",
        help="end of the part in s (default: the end)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="output (default: beside the input, named ..._cut)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the selected part.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    if not 0 <= args.start < args.stop or not math.isfinite(args.start):
        raise PallasError(
            f"--from {args.start:g} --to {args.stop:g}: give seconds, with the start before the end"
        )
    whole = args.input.resolve()
    recording = whole.suffix == ".npz"
    name = f"{whole.stem if whole.is_file() else whole.name}_cut" + (".npz" if recording else "")
    out = args.output or whole.with_name(name)
    if recording and out.suffix != ".npz":
        raise PallasError(f"{out}: give a file name that ends in .npz")
    if recording and out.exists():
        raise PallasError(f"{out}: already exists; give another name with -o, or remove it")
    return _cut_recording(args, out) if recording else _cut_bag(args, out)


def _cut_bag(args: argparse.Namespace, out: Path) -> int:
    bag = Bag(args.input)
    if not bag.count:
        raise PallasError(f"{args.input}: {bag.why_empty()}")
    with tqdm(unit=" messages", leave=False, delay=1, disable=None) as bar:
        written = cut_bag(bag, out, args.start, args.stop, lambda count: bar.update(count - bar.n))
    seconds = (written.last - written.first) / 1e9
    print(f"{out}: {written.count} messages in {seconds:.1f} s")
    if bag.damage:
        print(f"pallas: {args.input}: {bag.damage}; intact messages were copied", file=sys.stderr)
    return 0


def _cut_recording(args: argparse.Namespace, out: Path) -> int:
    load_recording(args.input, as_is=True)  # rejects other files, with a reason
    arrays = load_npz(args.input, "IMU recording")
    stamp = np.asarray(arrays["stamp"], dtype=float)
    since = stamp - stamp[0]
    inside = (since >= args.start) & (since < args.stop)
    if not inside.any():
        raise PallasError(
            f"{args.input}: no sample from {args.start:g} to {args.stop:g} s; it lasts"
            f" {since[-1]:.1f} s"
        )
    of_time = {
        name
        for name, value in arrays.items()
        if name != "sites" and value.ndim and len(value) == len(stamp)
    }
    part = {n: value[inside] if n in of_time else value for n, value in arrays.items()}
    try:
        save_npz(out, part)
    except OSError as error:
        raise PallasError(f"{out}: cannot be written: {error.strerror}") from None
    print(f"{out}: {inside.sum()} samples, {np.ptp(stamp[inside]):.1f} s")
    return 0
