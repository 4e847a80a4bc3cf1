"""`pallas score`: score how well a motion, a text and a scene match."""

import argparse

from pallas_ros.files.json_output import write_json
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.motion_files import add_options, overrides_from, read_motion

HELP = "Score from 0 to 100 how well a motion matches a text and a scene of labelled boxes."
EXAMPLE = """\
examples:
  pallas score motion.npz "a person raises the left hand"
  pallas score motion.npz "sit down" --scene boxes.yaml     boxes: label, centre, size, yaw
  pallas score motion.npz "walk" --json score.json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("motion", metavar="MOTION", help="motion file")
    parser.add_argument(
        "text", metavar="TEXT", help="description to compare the motion with, in English"
    )
    parser.add_argument(
        "--scene", metavar="F", help="YAML file of labelled boxes around the person"
    )
    parser.add_argument(
        "--model", default="models/alignment.onnx", help="the network (default: the released one)"
    )
    parser.add_argument("--json", metavar="F", help="also write the score there")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Score."""
    from hpstm_ros.language.alignment.aligner import Aligner
    from hpstm_ros.language.alignment.scene import load_scene
    from hpstm_ros.language.encoder import checked

    check_outputs([args.json], [args.motion, args.scene, args.model, args.map])
    text = checked(args.text)
    scene = load_scene(args.scene) if args.scene else None
    motion = read_motion(args.motion, overrides_from(args))
    score = Aligner(args.model).score(motion, text, scene)
    if args.json:
        write_json({"score": round(score, 2)}, args.json)
    print(f"{args.motion}: {score:.0f} of 100")
    return 0
