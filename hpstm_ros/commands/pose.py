"""`pallas pose`: generate body poses for a text."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import save_motion
from pallas_ros.body.resources import share
from pallas_ros.files.overwriting import check_outputs

if TYPE_CHECKING:
    from hpstm_ros.generation.poses import Poses

HELP = "Sample body poses for a text, as a motion file and a picture sheet."
EXAMPLE = """\
examples:
  pallas pose "arms raised" raised.npz                        raised.npz and raised.png
  pallas pose "golf swing" swing.npz --count 12 --seed 3
  pallas pose "crouching" crouch.npz --attention words.png    attention to each word
  pallas generate go.npz "arms raised" --model pose           move there from rest, and hold it"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("text", metavar="TEXT", help="description of the pose, in English")
    parser.add_argument(
        "output",
        metavar="OUT",
        help="motion file (.npz) to write; the picture sheet (.png) is written beside it",
    )
    parser.add_argument(
        "--count", type=int, default=6, help="number of poses, 1 to 64 (default: 6)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampler (default: 0)")
    parser.add_argument("--steps", type=int, default=30, help="steps of the sampler (default: 30)")
    parser.add_argument(
        "--hold",
        type=float,
        default=1.0,
        metavar="S",
        help="hold each pose for S seconds (default: 1)",
    )
    parser.add_argument(
        "--attention", metavar="F", help="write a chart of the attention to each word (.png)"
    )
    parser.add_argument(
        "--model", default="models/text_pose.onnx", help="the network (default: the released one)"
    )


def run(args: argparse.Namespace) -> int:
    """Sample the poses and write the files.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    from hpstm_ros.generation.poses import PoseSampler
    from hpstm_ros.language.encoder import checked, ignored_warning

    out = Path(args.output)
    text = checked(args.text)
    check_outputs([out, out.with_suffix(".png"), args.attention], [args.model])
    if out.suffix != ".npz":
        raise PallasError(f"{args.output}: a motion file ends in .npz")
    if args.attention and Path(args.attention).suffix.lower() != ".png":
        raise PallasError(f"{args.attention}: a chart ends in .png")
    if not 0 < args.hold <= 60 or not 0 <= args.seed < 2**63:
        raise PallasError(
            f"--hold {args.hold:g} --seed {args.seed}: give 0 to 60 s, and a seed from 0"
        )
    if not os.path.exists(args.model) and not os.path.exists(share() / args.model):
        raise PallasError(
            f"{args.model}: no such text-to-pose network; train one with `pallas train text_pose`"
            " and pass it with --model"
        )
    sampler = PoseSampler(args.model)
    poses = sampler.sample(text, args.count, args.seed, args.steps)
    motion = poses.motion(args.hold)
    motion.extra = {"text": np.array(text), "seed": np.array(args.seed), "model": np.array("pose")}
    save_motion(out, motion)
    _sheet(poses, text, out.with_suffix(".png"))
    if args.attention:
        _attention(poses, Path(args.attention))
    print(f"{out}: {args.count} poses, {out.with_suffix('.png')}")
    if warning := ignored_warning(sampler.ignored(text)):
        print(f"warning: {warning}")
    return 0


def _sheet(poses: "Poses", text: str, path: Path) -> None:
    from pallas_ros.view.figure import write_png
    from pallas_ros.view.sheet import Cell, picture_sheet

    positions = poses.positions()
    cells = [
        Cell(p, q, text if i == 0 else "")
        for i, (p, q) in enumerate(zip(positions, poses.rotations))
    ]
    write_png(path, picture_sheet(cells))


def _attention(poses: "Poses", path: Path) -> None:
    """Draw a bar per word whose length is the attention to the word."""
    from PIL import Image, ImageDraw

    height = 26
    words = poses.by_word()
    image = Image.new("RGB", (480, height * len(words) + 10), "white")
    draw = ImageDraw.Draw(image)
    most = max([1e-9, *(part for _, part in words)])
    for i, (word, part) in enumerate(words):
        y = 5 + i * height
        draw.text((8, y + 6), word, "black")
        width = int(270 * part / most)
        draw.rectangle((120, y + 3, 120 + width, y + height - 4), "#4a7ab5")
        draw.text((128 + width, y + 6), f"{part:.0f} %", "black")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
