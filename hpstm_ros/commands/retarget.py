"""`pallas retarget`: retargets a motion file to a robot arm, with the same code as live."""

import argparse
import sys
from pathlib import Path

import numpy as np

from hpstm_ros.retarget.robots import load_robot, ready_robots
from hpstm_ros.retarget.settings import RetargetSettings
from hpstm_ros.teleoperation.joint_motion import summary
from hpstm_ros.teleoperation.recorded import describe, retarget_motion
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import save_npz
from pallas_ros.files.json_output import write_json
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.files.parameters import add_option, described
from pallas_ros.files.writing import save_text
from pallas_ros.motion_files import add_options, overrides_from, read_for_streaming
from pallas_ros.view.figure import check_clip

_PARAMETERS = described("retarget")

HELP = "Drive a robot arm with a motion file."
EXAMPLE = """\
  pallas retarget wave.npz wave_panda.npz --robot panda --arm right
  pallas retarget dance.bvh dance_panda.npz --robot panda
      a BVH file from any tool (docs/guide/motion.md)
  pallas retarget wave.npz out.npz --robot my_arm.urdf --video out.mp4
      your own arm, with a video
  pallas retarget --robot my_arm.urdf --describe my_arm.yaml
      writes a configuration to edit (docs/guide/robots.md)"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "input",
        nargs="?",
        type=Path,
        metavar="IN",
        help="motion file (.npz, BVH, AMASS/SMPL, MVNX, C3D, TRC)",
    )
    parser.add_argument("output", nargs="?", type=Path, metavar="OUT", help="joint file (.npz)")
    parser.add_argument(
        "--robot",
        default="panda",
        metavar="ROBOT",
        help=f"{', '.join(ready_robots())}, or the path of a YAML or URDF (default: panda)",
    )
    parser.add_argument(
        "--arm",
        choices=["left", "right"],
        help=(
            "the human arm to follow (default: set by the robot's configuration; two-armed robots"
            " follow both)"
        ),
    )
    add_option(
        parser,
        "--tip-speed",
        _PARAMETERS["tip_speed"],
        "limit of the tip speed; 3 is effectively unlimited (default: that of the robot's"
        " configuration, else 0.25)",
    )
    add_option(parser, "--rate", _PARAMETERS["rate_hz"], "rate of the joint file")
    add_option(
        parser,
        "--mode",
        _PARAMETERS["mode"],
        "follow the position of the hand, or its displacement",
    )
    add_option(
        parser, "--mapping", _PARAMETERS["mapping"], "map left to the robot's left, or mirror"
    )
    add_option(
        parser,
        "--scale",
        _PARAMETERS["scale"],
        "scale of the motion, in addition to the ratio of reaches",
    )
    add_option(
        parser,
        "--stop-deviation",
        _PARAMETERS["stop_deviation_m"],
        "standard deviation of the hand at which the arm stops; it slows down from half of it on."
        " `pallas up` uses 0.3 for bodies from sensors",
    )
    parser.add_argument(
        "--video", type=Path, metavar="F", help="also write a video of the arm, .mp4 or .gif"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the quality figures here"
    )
    parser.add_argument(
        "--describe",
        type=Path,
        metavar="YAML",
        help="write the robot's configuration, including all derived values, and exit",
    )
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Retarget, check with the independent checker, and save; returns 1 if a limit was violated.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    outputs = [args.output, args.video, args.json, args.describe]
    check_outputs(outputs, [args.input, args.robot, args.map])
    robot = load_robot(args.robot)
    for remark in robot.remarks:
        print(f"pallas: {robot.name}: {remark}", file=sys.stderr)
    if args.describe is not None:
        save_text(args.describe, describe(robot))
        print(
            f"{args.describe}: {robot.name}, {robot.dof} joints, tip {robot.arms[0].tip}, reach"
            f" {robot.arms[0].reach:.2f} m"
        )
        return 0
    if args.input is None or args.output is None:
        raise PallasError(
            "give a motion file and the joint file to write: pallas retarget IN OUT --robot ROBOT"
        )
    if args.video is not None:
        check_clip(args.video)
    settings = RetargetSettings(
        mode=args.mode,
        mapping=args.mapping,
        scale=args.scale,
        stop_deviation_m=args.stop_deviation,
    )
    source = read_for_streaming(args.input, overrides_from(args))
    print(f"{args.input}: {source.found}", flush=True)
    tip_speed = args.tip_speed or None  # 0: the configuration's
    result = retarget_motion(source.motion, robot, args.arm, settings, tip_speed, args.rate)
    save_npz(args.output, result.arrays())
    if args.video is not None:
        from hpstm_ros.simulation.render import render

        render(robot, result.t, result.q, args.video)
    figures = result.figures()
    if args.json is not None:
        write_json(figures, args.json)
    for violation in result.violations:
        print(f"limit violation: {violation}")
    print(summary(figures))
    print(
        f"{args.output}: {len(result.t)} commands in {float(np.ptp(result.t)):.1f} s for"
        f" {robot.name}, {len(result.violations)} limit violations"
    )
    return 1 if result.violations else 0
